/* SPDX-License-Identifier: Apache-2.0 */
/* drain.c - see drain.h. */
#include "store/snode_internal.h"

#define MOVES_MAX    16u
#define SLOTS_A_STEP 8192u
#define TAKE_NS	     (60 * NS_PER_S)
#define ROUND_NS     (20 * NS_PER_MS) /* between two rounds that found nothing new */
#define LATER_ROUNDS 500u /* so many, of ROUND_NS, a name waits whose home does not answer */
#define XFER_BYTES   KIB(128)
#define XFER_TRIES   3u

struct swi_moving {
	struct swarm_oid id;
	UT_hash_handle hh;
	struct swi_snode *sn;
	struct swarm_ref ref;
	uint64_t len;
	uint32_t tries, turn, target;
	bool given_up;
	bool deleted; /* meanwhile: what is here under its id by then is another object */
	struct swi_req rq;
};

struct swi_taking {
	struct swi_list link;
	struct swi_snode *sn;
	uint64_t epoch, req;
	struct swi_want want;
};

void swi_draining_init(struct swi_snode *sn)
{
	swi_list_init(&sn->draining.taking);
}

/* ---- the receiver ---- */

static void taken(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct swi_taking *t = w->owner;
	struct swi_snode *sn = t->sn;
	struct swi_peer *p = swi_peer_by_epoch(sn, t->epoch);
	struct swi_smsg_done done = {.req = t->req, .status = status};
	uint8_t buf[SWI_SMSG_BODY_MAX];
	struct swi_wr wr = swi_wr_init(buf, sizeof(buf));
	struct swi_local lo;

	if (!status && swi_local_find(sn, w->ref.id, &lo)) {
		swi_local_set_flags(&lo, 0, SWI_OBJ_F_SECONDARY);
		swi_dir_have(sn, w->ref, lo.len, SWI_COPY_PRIMARY | SWI_COPY_AGAIN);
	} else if (!status) {
		done.status = swi_dir_is_deleted(sn, w->ref.id) ? SWARM_EDELETED : -EAGAIN; /* it did not stay */
	}
	if (!status)
		swi_hold_drop(sn, offset);
	snprintf(done.text, sizeof(done.text), "%s", text);
	swi_smsg_put_done(&wr, &done);
	if (p)
		(void)swi_peer_send(sn, p, SWI_S_MOVED, buf, wr.len);
	swi_list_del(&t->link);
	free(t);
}

int swi_drain_on_move(struct swi_link *l, struct swi_rd *body)
{
	struct swi_snode *sn = l->sn;
	struct swi_smsg_move m;
	struct swi_taking *t;

	if (swi_smsg_get_move(body, &m))
		return SWARM_EPROTO;
	t = calloc(1, sizeof(*t));
	SWI_BUG_ON(!t);
	t->sn = sn;
	t->epoch = l->peer->epoch;
	t->req = m.req;
	t->want = (struct swi_want){
	    .ref = m.ref, .deadline_ns = sn->now_ns + TAKE_NS, .cb = taken, .owner = t};
	swi_list_push_back(&sn->draining.taking, &t->link);
	swi_want(sn, &t->want);
	return 0;
}

/* ---- the sender: objects ---- */

static void move_free(struct swi_moving *m)
{
	swi_req_end(m->sn, &m->rq);
	HASH_DELETE(hh, m->sn->draining.moving, m);
	free(m);
}

static void move_send(struct swi_moving *m);

static void give_up(struct swi_moving *m, int status)
{
	struct swi_draining *dr = &m->sn->draining;

	m->given_up = true;
	dr->in_flight--;
	if (!dr->status)
		dr->status = status;
}

static void move_over(struct swi_moving *m)
{
	m->sn->draining.in_flight--;
	move_free(m);
}

static void moved(struct swi_moving *m)
{
	struct swi_snode *sn = m->sn;
	struct swi_local lo;
	int code;

	/* Before its COPIES message: a record that is handed on now must name the new place. */
	if (swi_dir_home(sn, m->ref, &code) == sn->node && swi_peer_find(sn, m->target))
		swi_dir_copy_at(sn, m->ref, m->target, m->len, true);
	if (swi_local_find(sn, m->id, &lo))
		swi_local_set_flags(&lo, SWI_OBJ_F_SECONDARY, 0);
	if (sn->spill)
		swi_spill_forget(sn->spill, m->id);
	swi_evict_forget(sn, m->id);
	move_over(m);
}

static int on_moved(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct swi_moving *m = rq->owner;
	struct swi_smsg_done done = {.status = status};

	if (type && (type != SWI_S_MOVED || swi_smsg_get_done(body, &done)))
		return SWARM_EPROTO;
	swi_req_end(m->sn, rq);
	if (m->deleted)
		move_over(m);
	else if (!done.status && type)
		moved(m);
	else if (done.status == SWARM_EDELETED)
		give_up(m, 0); /* the DROP is on its way, but the node need not wait for it */
	else
		move_send(m);
	return 0;
}

void swi_drain_deleted(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_moving *m;

	HASH_FIND(hh, sn->draining.moving, &id, sizeof(id), m);
	if (!m)
		return;
	if (m->given_up)
		move_free(m);
	else
		m->deleted = true;
	sn->draining.found = true; /* what has its id next is looked for */
}

static bool still_ours(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_local lo;
	uint64_t len;

	return swi_local_find(sn, id, &lo) || swi_spilled_here(sn, id, &len);
}

/* Nobody can ask for it any more; a peer that never knew its home would try for TAKE_NS, in vain. */
static bool home_is_lost(struct swi_snode *sn, struct swarm_ref ref)
{
	int code;

	(void)swi_dir_home(sn, ref, &code);
	return code == SWARM_EHOMELOST;
}

/* Each object goes round by itself, and who died takes no turn: it comes to every target that is left. */
static struct swi_peer *next_target(struct swi_moving *m)
{
	const struct swi_draining *dr = &m->sn->draining;

	for (uint32_t i = 0; i < dr->target_count; i++) {
		struct swi_peer *p = swi_peer_find(m->sn, dr->target[m->turn++ % dr->target_count]);

		if (p)
			return p;
	}
	return NULL;
}

static void move_send(struct swi_moving *m)
{
	struct swi_snode *sn = m->sn;
	struct swi_smsg_move msg = {.ref = m->ref};
	struct swi_peer *p;
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (!still_ours(sn, m->id)) { /* deleted meanwhile */
		move_over(m);
		return;
	}
	if (home_is_lost(sn, m->ref)) {
		give_up(m, 0);
		return;
	}
	p = m->tries++ < 3 * sn->draining.target_count ? next_target(m) : NULL;
	if (!p) {
		give_up(m, SWARM_ENOROOM);
		return;
	}
	m->target = p->node;
	m->rq.cb = on_moved;
	m->rq.owner = m;
	msg.req = swi_req_begin(sn, &m->rq, p);
	swi_smsg_put_move(&w, &msg);
	(void)swi_peer_send(sn, p, SWI_S_MOVE, buf, w.len);
}

static void move_begin(struct swi_snode *sn, struct swarm_ref ref, uint64_t len)
{
	struct swi_draining *dr = &sn->draining;
	struct swi_moving *m;

	HASH_FIND(hh, dr->moving, &ref.id, sizeof(ref.id), m);
	if (m)
		return;
	m = calloc(1, sizeof(*m));
	SWI_BUG_ON(!m);
	m->sn = sn;
	m->id = ref.id;
	m->ref = ref;
	m->len = len;
	m->turn = dr->next_target++;
	HASH_ADD(hh, dr->moving, id, sizeof(m->id), m);
	dr->in_flight++;
	dr->found = true;
	move_send(m);
}

/* Its taker asks the home, which would say that what had this name was deleted. */
static bool too_new(struct swi_snode *sn, struct swarm_oid id, const struct swi_local *lo)
{
	struct swi_draining *dr = &sn->draining;
	const bool yes = dr->waited < LATER_ROUNDS && (swi_untold(sn, id) || (lo && swi_dir_is_new(sn, lo)));

	dr->later = dr->later || yes;
	return yes;
}

struct spilled_walk {
	struct swi_snode *sn;
	struct swarm_ref ref[MOVES_MAX];
	uint64_t len[MOVES_MAX];
	uint32_t n, max;
};

static void each_spilled(void *ctx, const struct swi_object_head *head)
{
	struct spilled_walk *sw = ctx;
	const struct swarm_oid id = {{head->oid[0], head->oid[1]}};
	struct swi_moving *m;

	HASH_FIND(hh, sw->sn->draining.moving, &id, sizeof(id), m);
	if (m || sw->n == sw->max || too_new(sw->sn, id, NULL))
		return;
	sw->ref[sw->n] = (struct swarm_ref){.id = id, .home = head->home};
	sw->len[sw->n++] = head->len;
}

static void walk_spilled(struct swi_snode *sn)
{
	struct spilled_walk sw = {.sn = sn, .max = MOVES_MAX - sn->draining.in_flight};

	if (!sn->spill || !sw.max)
		return;
	swi_spill_each(sn->spill, each_spilled, &sw);
	for (uint32_t i = 0; i < sw.n; i++)
		move_begin(sn, sw.ref[i], sw.len[i]);
}

/* ---- the sender: records ---- */

static int on_xferred(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct swi_snode *sn = rq->owner;
	struct swi_smsg_done done = {.status = status};
	struct swi_rec *rec, *tmp;

	if (type && (type != SWI_S_XFERRED || swi_smsg_get_done(body, &done)))
		return SWARM_EPROTO;
	swi_req_end(sn, rq);
	if (type && !done.status)
		return 0;
	HASH_ITER(hh, sn->dir.recs, rec, tmp) /* once more, all */
		rec->drained = false;
	if (++sn->draining.xfer_tries >= XFER_TRIES && !sn->draining.status)
		sn->draining.status = SWARM_EPEERLOST;
	return 0;
}

/* True: something was sent, or nobody is there to take it; wait. */
static bool xfer_batch(struct swi_snode *sn)
{
	struct swi_draining *dr = &sn->draining;
	struct swi_peer *p = swi_peer_find(sn, dr->d->heir);
	struct swi_smsg_record row;
	struct swi_rec *rec, *tmp;
	uint8_t *buf;
	struct swi_wr w;
	uint32_t n = 0;

	if (dr->xfer.num)
		return true;
	if (!p || dr->xfer_tries >= XFER_TRIES)
		return false;
	buf = malloc(XFER_BYTES + SWI_SMSG_BODY_MAX);
	SWI_BUG_ON(!buf);
	w = swi_wr_init(buf, XFER_BYTES + SWI_SMSG_BODY_MAX);
	w.len = 12;
	HASH_ITER(hh, sn->dir.recs, rec, tmp) {
		if (w.len >= XFER_BYTES)
			break;
		if (rec->drained || rec->dirty || !swi_dir_record(sn, rec, &row))
			continue;
		rec->drained = true;
		swi_smsg_put_record(&w, &row);
		n++;
	}
	if (n) {
		struct swi_wr head = swi_wr_init(buf, 12);

		dr->xfer.cb = on_xferred;
		dr->xfer.owner = sn;
		swi_wr_u64(&head, swi_req_begin(sn, &dr->xfer, p));
		swi_wr_u32(&head, n);
		(void)swi_peer_send(sn, p, SWI_S_XFER, buf, w.len);
	}
	free(buf);
	return n > 0;
}

/* ---- the loop ---- */

void swi_drain_start(struct swi_snode *sn, struct swi_drain *d, const uint32_t *targets,
		     uint32_t target_count)
{
	struct swi_draining *dr = &sn->draining;

	if (dr->d)
		return; /* one at a time, and none after one that went well */
	dr->target = calloc(target_count + 1, sizeof(*targets));
	SWI_BUG_ON(!dr->target);
	if (target_count)
		memcpy(dr->target, targets, target_count * sizeof(*targets));
	dr->target_count = target_count;
	dr->d = d;
	dr->heir = d->heir;
	dr->left = swi_index_slots(&sn->index);
}

/* The node stays, and may be asked to leave again: from the beginning. Nothing is in flight. */
static void drain_failed(struct swi_snode *sn)
{
	struct swi_draining *dr = &sn->draining;
	struct swi_moving *m, *tmp;

	HASH_ITER(hh, dr->moving, m, tmp)
		move_free(m);
	free(dr->target);
	dr->target = NULL;
	dr->d = NULL;
	dr->status = 0;
	dr->xfer_tries = 0;
	dr->waited = 0;
}

static void walk_memory(struct swi_snode *sn)
{
	struct swi_draining *dr = &sn->draining;
	const uint64_t slots = swi_index_slots(&sn->index);
	struct swi_local lo;

	for (uint32_t i = 0; i < SLOTS_A_STEP && dr->left && dr->in_flight < MOVES_MAX; i++) {
		if (swi_local_at(sn, dr->slot, &lo) && !(lo.flags & SWI_OBJ_F_SECONDARY) &&
		    !too_new(sn, lo.ref.id, &lo))
			move_begin(sn, lo.ref, lo.len);
		dr->slot = dr->slot + 1 == slots ? 0 : dr->slot + 1;
		dr->left--;
	}
}

int swi_draining_step(struct swi_snode *sn)
{
	struct swi_draining *dr = &sn->draining;
	struct swi_drain *d = dr->d;
	int status;

	if (!d || sn->now_ns < dr->retry_ns)
		return 0;
	if (dr->left) {
		walk_memory(sn);
		return dr->left && dr->in_flight < MOVES_MAX;
	}
	if (dr->in_flight < MOVES_MAX)
		walk_spilled(sn);
	if (dr->in_flight)
		return 0;
	dr->left = swi_index_slots(&sn->index);
	if (dr->found) { /* look again whether something came meanwhile */
		dr->found = false;
		return 1;
	}
	dr->retry_ns = sn->now_ns + ROUND_NS;
	if (dr->later) {
		dr->later = false;
		dr->waited++;
		return 1;
	}
	if (xfer_batch(sn) || dr->told)
		return 1;
	status = dr->status;
	if (status < 0)
		drain_failed(sn);
	else
		dr->told = true;
	d->cb(d, status);
	return 1;
}

uint64_t swi_draining_deadline_ns(const struct swi_snode *sn)
{
	if (!sn->draining.d || sn->draining.in_flight)
		return UINT64_MAX;
	return swi_max_u64(sn->draining.retry_ns, sn->now_ns);
}

void swi_draining_fini(struct swi_snode *sn)
{
	struct swi_moving *m, *tmp;

	HASH_ITER(hh, sn->draining.moving, m, tmp)
		move_free(m);
	swi_req_end(sn, &sn->draining.xfer);
	while (!swi_list_empty(&sn->draining.taking)) {
		struct swi_taking *t =
		    swi_list_first(&sn->draining.taking, struct swi_taking, link);

		swi_want_cancel(sn, &t->want);
		swi_list_del(&t->link);
		free(t);
	}
	free(sn->draining.target);
}
