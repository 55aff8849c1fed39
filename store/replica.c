/* SPDX-License-Identifier: Apache-2.0 */
/* replica.c - see replica.h: SWI_L_REPLICATE, and what keeps the number of copies. */
#include "store/announce.h"
#include "store/replica.h"
#include "store/request.h"
#include "store/snode_internal.h"

#define AGAIN_NS (2 * NS_PER_S) /* peers that refused are asked again */

enum target_state { TARGET_NONE, TARGET_ASKED, TARGET_PLACED, TARGET_REFUSED };

struct target {
	struct swi_replica *rp;
	struct swi_req rq;
	uint32_t node;
	enum target_state state;
};

struct swi_replica {
	struct swarm_oid id;
	UT_hash_handle hh;
	struct swi_snode *sn;
	struct swarm_ref ref;
	uint32_t want; /* copies in all */
	uint64_t len;
	struct target t[SWI_COPIES_MAX];
	struct swi_list calls; /* struct swi_client_replicate, by its link */
	struct swi_timer again;
	int last_status;
};

struct swi_client_replicate { /* a call that waits: for the object, then for its copies */
	struct swi_list link;
	struct swi_list own; /* cl->replicate_calls */
	struct swi_client *cl;
	uint64_t req, deadline_ns;
	uint32_t copies;
	struct swi_want want;
	struct swi_timer due;
};

static struct swi_replica *find(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_replica *rp;

	HASH_FIND(hh, sn->replicas.by_id, &id, sizeof(id), rp);
	return rp;
}

static uint32_t count(const struct swi_replica *rp, enum target_state state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < SWI_COPIES_MAX; i++)
		n += rp->t[i].state == state;
	return n;
}

uint32_t swi_replica_copies(struct swi_snode *sn, struct swarm_oid id)
{
	const struct swi_replica *rp = sn->replicas.by_id ? find(sn, id) : NULL;

	return rp ? count(rp, TARGET_PLACED) + 1 : 0;
}

static void target_clear(struct target *t)
{
	t->rp->sn->replicas.placed -= t->state == TARGET_PLACED;
	swi_req_end(t->rp->sn, &t->rq);
	t->state = TARGET_NONE;
}

/* ---- calls ---- */

static void call_free(struct swi_client_replicate *c)
{
	swi_want_cancel(c->cl->sn, &c->want);
	swi_timer_stop(&c->cl->sn->timers, &c->due);
	swi_list_del(&c->link);
	swi_list_del(&c->own);
	swi_client_blocked(c->cl, -1);
	free(c);
}

static void call_done(struct swi_client_replicate *c, int status, uint32_t copies, const char *text)
{
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_u32(&w, 0);
	swi_wr_u32(&w, copies);
	if (status)
		swi_client_reply_error(c->cl, c->req, status, text);
	else
		swi_client_send(c->cl, SWI_L_REPLY, c->req, buf, w.len);
	call_free(c);
}

static void answer_all(struct swi_replica *rp, int status, const char *text)
{
	const uint32_t copies = count(rp, TARGET_PLACED) + 1;

	swi_list_for_each_safe(it, &rp->calls)
	{
		struct swi_client_replicate *c =
		    swi_list_entry(it, struct swi_client_replicate, link);

		if (status || copies >= c->copies)
			call_done(c, status, copies, text);
	}
}

/* ---- placing ---- */

static bool is_target(const struct swi_replica *rp, uint32_t node)
{
	for (uint32_t i = 0; i < SWI_COPIES_MAX; i++)
		if (rp->t[i].state != TARGET_NONE && rp->t[i].node == node)
			return true;
	return false;
}

/* The peer whose turn it is: each object has an order of its own, so that copies spread. NULL: no more. */
static struct swi_peer *next_peer(const struct swi_replica *rp)
{
	struct swi_peer *best = NULL;
	uint64_t best_weight = 0;

	swi_list_for_each(it, &rp->sn->peers.list) {
		struct swi_peer *p = swi_list_entry(it, struct swi_peer, link);
		const uint64_t w = swi_rendezvous(rp->id, p->node);

		if (!p->node || p->removed || is_target(rp, p->node) || (best && w <= best_weight))
			continue;
		best = p;
		best_weight = w;
	}
	return best;
}

static void place(struct swi_replica *rp);

static int on_placed(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct target *t = rq->owner;
	struct swi_replica *rp = t->rp;
	struct swi_smsg_done done = {.status = status};
	int code;

	if (type && (type != SWI_S_MOVED || swi_smsg_get_done(body, &done)))
		return SWARM_EPROTO;
	swi_req_end(rp->sn, rq);
	if (type && !done.status) {
		t->state = TARGET_PLACED;
		rp->sn->replicas.placed++;
		rp->sn->replicas.placed_ever++;
		/* Before its COPIES message comes: should it be lost with its node, the record knows. */
		if (swi_dir_home(rp->sn, rp->ref, &code) == rp->sn->node && swi_peer_find(rp->sn, t->node))
			swi_dir_add_copy(rp->sn, rp->id, t->node, rp->len, true);
	} else {
		t->state = TARGET_REFUSED;
		rp->last_status = done.status ? done.status : SWARM_EPEERLOST;
	}
	place(rp);
	return 0;
}

static void ask(struct swi_replica *rp, struct swi_peer *p)
{
	struct swi_smsg_move m = {.ref = rp->ref};
	struct target *t = rp->t;
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	while (t->state != TARGET_NONE)
		t++; /* place() asked only where there is room */
	t->rp = rp;
	t->node = p->node;
	t->state = TARGET_ASKED;
	t->rq.cb = on_placed;
	t->rq.owner = t;
	m.req = swi_req_begin(rp->sn, &t->rq, p);
	swi_smsg_put_move(&w, &m);
	(void)swi_peer_send(rp->sn, p, SWI_S_MOVE, buf, w.len);
}

static void place(struct swi_replica *rp)
{
	uint32_t under_way = count(rp, TARGET_ASKED) + count(rp, TARGET_PLACED);
	char text[256];
	struct swi_peer *p;

	while (under_way + 1 < rp->want && count(rp, TARGET_NONE) && (p = next_peer(rp))) {
		ask(rp, p);
		under_way++;
	}
	answer_all(rp, 0, "");
	if (under_way + 1 >= rp->want)
		return;
	swi_timer_set(&rp->sn->timers, &rp->again, rp->sn->now_ns + AGAIN_NS);
	if (swi_list_empty(&rp->calls) || count(rp, TARGET_ASKED))
		return;
	if (count(rp, TARGET_REFUSED))
		snprintf(text, sizeof(text), "%u of %u copies could be placed: %s",
			 count(rp, TARGET_PLACED) + 1, rp->want, swarm_strerror(rp->last_status));
	else
		snprintf(text, sizeof(text), "%u copies were asked for and %u nodes are known: join more peers",
			 rp->want, rp->sn->peers.count + 1);
	answer_all(rp, count(rp, TARGET_REFUSED) ? rp->last_status : SWARM_ENOROOM, text);
}

static void try_again(struct swi_timer *timer)
{
	struct swi_replica *rp = swi_container_of(timer, struct swi_replica, again);

	for (uint32_t i = 0; i < SWI_COPIES_MAX; i++)
		if (rp->t[i].state == TARGET_REFUSED)
			target_clear(&rp->t[i]);
	place(rp);
}

/* ---- life ---- */

static struct swi_replica *get(struct swi_snode *sn, const struct swi_local *lo)
{
	struct swi_replica *rp = find(sn, lo->ref.id);

	if (rp)
		return rp;
	rp = calloc(1, sizeof(*rp));
	if (!rp)
		return NULL;
	rp->sn = sn;
	rp->id = lo->ref.id;
	rp->ref = lo->ref;
	rp->len = lo->len;
	rp->again.cb = try_again;
	for (uint32_t i = 0; i < SWI_COPIES_MAX; i++)
		rp->t[i].rp = rp;
	swi_list_init(&rp->calls);
	HASH_ADD(hh, sn->replicas.by_id, id, sizeof(rp->id), rp);
	return rp;
}

static void rp_free(struct swi_replica *rp)
{
	for (uint32_t i = 0; i < SWI_COPIES_MAX; i++)
		target_clear(&rp->t[i]);
	swi_timer_stop(&rp->sn->timers, &rp->again);
	HASH_DELETE(hh, rp->sn->replicas.by_id, rp);
	free(rp);
}

void swi_replica_forget(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_replica *rp = sn->replicas.by_id ? find(sn, id) : NULL;

	if (!rp)
		return;
	answer_all(rp, SWARM_EDELETED, "the object was deleted meanwhile");
	rp_free(rp);
}

void swi_replicas_fini(struct swi_snode *sn)
{
	struct swi_replica *rp, *tmp;

	HASH_ITER(hh, sn->replicas.by_id, rp, tmp)
		rp_free(rp);
}

void swi_replica_peer_added(struct swi_snode *sn)
{
	struct swi_replica *rp, *tmp;

	HASH_ITER(hh, sn->replicas.by_id, rp, tmp)
		place(rp);
}

void swi_replica_peer_removed(struct swi_snode *sn, uint32_t node)
{
	struct swi_replica *rp, *tmp;

	HASH_ITER(hh, sn->replicas.by_id, rp, tmp) {
		for (uint32_t i = 0; i < SWI_COPIES_MAX; i++)
			if (rp->t[i].state != TARGET_NONE && rp->t[i].node == node)
				target_clear(&rp->t[i]);
		place(rp);
	}
}

/* ---- the request ---- */

static void replicate_due(struct swi_timer *t)
{
	struct swi_client_replicate *c = swi_container_of(t, struct swi_client_replicate, due);

	call_done(c, -ETIMEDOUT, 0, "the copies are still being made; they go on without this call");
}

static void here(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct swi_client_replicate *c = swi_container_of(w, struct swi_client_replicate, want);
	struct swi_snode *sn = c->cl->sn;
	struct swi_replica *rp = NULL;
	struct swi_local lo;

	if (!status && !swi_local_find(sn, w->ref.id, &lo)) {
		status = SWARM_EDELETED;
		text = "the object was deleted meanwhile";
		swi_hold_drop(sn, offset);
	} else if (!status) {
		rp = get(sn, &lo);
		swi_hold_drop(sn, offset);
		status = rp ? 0 : -ENOMEM;
	}
	if (status) {
		call_done(c, status, 0, text);
		return;
	}
	if (lo.flags & SWI_OBJ_F_SECONDARY) { /* ours is one of the copies that count */
		swi_local_set_flags(&lo, 0, SWI_OBJ_F_SECONDARY);
		swi_dir_have(sn, lo.ref, lo.len, SWI_COPY_PRIMARY | SWI_COPY_AGAIN);
	}
	rp->want = c->copies;
	swi_list_push_back(&rp->calls, &c->link);
	swi_timer_set(&sn->timers, &c->due, c->deadline_ns);
	place(rp);
}

int swi_client_replicate(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_snode *sn = cl->sn;
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const struct swarm_ref ref = swi_rd_ref(&r);
	const uint32_t copies = swi_rd_u32(&r);
	const uint64_t timeout_ns = swi_rd_u64(&r);
	struct swi_client_replicate *c;

	if (!swi_rd_done(&r) || !msg->req || !copies || copies > SWI_COPIES_MAX)
		return -EPROTO;
	c = calloc(1, sizeof(*c));
	if (!c) {
		swi_client_reply_error(cl, msg->req, -ENOMEM, "the node is out of memory");
		return 0;
	}
	c->cl = cl;
	c->req = msg->req;
	c->copies = copies;
	c->deadline_ns = swi_sat_add(sn->now_ns, timeout_ns);
	c->due.cb = replicate_due;
	c->want = (struct swi_want){.ref = ref, .deadline_ns = c->deadline_ns, .cb = here};
	swi_list_init(&c->link);
	swi_list_push_back(&cl->replicate_calls, &c->own);
	swi_client_blocked(cl, 1);
	swi_want(sn, &c->want);
	return 0;
}

void swi_client_replicates_drop(struct swi_client *cl)
{
	while (!swi_list_empty(&cl->replicate_calls))
		call_free(swi_list_entry(cl->replicate_calls.next, struct swi_client_replicate, own));
}
