/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dirmsg.c - the directory's half that talks: questions and answers between homes and others, what
 * copies exist, deletes, and what membership does to the records. Everything here that comes from
 * a peer was decoded by smsg.c. See directory.h.
 */
#include "store/announce.h"
#include "store/census.h"
#include "store/delete.h"
#include "store/direct.h"
#include "store/directory.h"
#include "store/drain.h"
#include "store/serve.h"
#include "store/snode_internal.h"

#define TROUBLE_SHOWN 64u /* so much of the end of a damaged file's path: an explanation is short */
#define TELL_AGAIN_NS (100 * NS_PER_MS)
#define TOLD_HEAD     12u /* u64 number, u32 ids */

/* ---- proxies: asking ---- */

void swi_rec_unask(struct swi_snode *sn, struct swi_rec *rec)
{
	const struct swi_smsg_move m = {.req = rec->rq.num,
					.ref = {.id = rec->id, .home = rec->home}};
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (!rec->rq.num)
		return;
	swi_smsg_put_move(&w, &m);
	if (swi_peer_is_up(rec->rq.peer))
		(void)swi_peer_send(sn, rec->rq.peer, SWI_S_UNWATCH, buf, w.len);
	swi_req_end(sn, &rec->rq);
	rec->answered = false;
}

static int on_located(struct swi_snode *sn, struct swi_rec *rec, struct swi_rd *body)
{
	struct swi_smsg_located m;

	if (swi_smsg_get_located(body, &m) ||
	    (m.state == SWI_DIR_AVAILABLE && !m.copies.count))
		return SWARM_EPROTO;
	rec->answered = true;
	if (m.state == SWI_DIR_UNKNOWN || m.state == SWI_DIR_PENDING) {
		rec->state = m.state;
		swi_rec_touch(sn, rec); /* peers that wait here learn of it */
		return 0;
	}
	if (m.state == SWI_DIR_AVAILABLE)
		swi_direct_learn_place(sn, rec->id, rec->rq.peer->epoch, &m);
	swi_req_end(sn, &rec->rq);
	if (m.state == SWI_DIR_FAILED)
		swi_rec_fire(sn, rec, m.status, m.text, NULL);
	else
		swi_rec_fire(sn, rec, 0, "", &m.copies);
	swi_rec_touch(sn, rec);
	return 0;
}

/* The home has it in memory and gave a lease at once. */
static int on_leased(struct swi_snode *sn, struct swi_rec *rec, struct swi_rd *body)
{
	struct swi_peer *peer = rec->rq.peer;
	struct swi_smsg_leased m;
	struct swi_copies copies = {.count = 1, .node = {peer->node}};

	if (swi_smsg_get_leased(body, &m) || m.status)
		return SWARM_EPROTO;
	swi_req_end(sn, &rec->rq);
	copies.len = m.len;
	if (!swi_fetch_leased(sn, rec->id, peer, &m))
		swi_peer_say_end(sn, peer, m.lease);
	swi_rec_fire(sn, rec, 0, "", &copies);
	swi_rec_touch(sn, rec);
	return 0;
}

static int on_answer(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct swi_rec *rec = rq->owner;
	struct swi_snode *sn = rec->sn;

	(void)status;
	if (type == SWI_S_LOCATED)
		return on_located(sn, rec, body);
	if (type == SWI_S_LEASED)
		return on_leased(sn, rec, body);
	if (type)
		return SWARM_EPROTO;
	rec->answered = false; /* lost: the step asks again, or asks the heir */
	swi_rec_touch(sn, rec);
	return 0;
}

void swi_rec_ask(struct swi_snode *sn, struct swi_rec *rec)
{
	const struct swarm_ref ref = {.id = rec->id, .home = rec->home};
	struct swi_smsg_locate m = {.ref = ref, .flags = rec->want_bytes ? SWI_LOCATE_LEASE : 0};
	int code;
	const uint32_t home = swi_dir_home(sn, ref, &code);
	struct swi_peer *p = home ? swi_peer_find(sn, home) : NULL;
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	char text[SWI_SMSG_TEXT];

	if (rec->rq.num && rec->rq.peer == p)
		return;
	swi_rec_unask(sn, rec);
	if (code == SWARM_EHOMELOST) {
		if (!swi_census_over(sn, rec))
			return;
		swi_census_end(sn, rec);
		swi_dir_explain(sn, ref, text, sizeof(text));
		swi_rec_fire(sn, rec, code, text, NULL);
	}
	if (!p)
		return; /* not known yet: asked when it is */
	rec->rq.cb = on_answer;
	m.req = swi_req_begin(sn, &rec->rq, p);
	swi_smsg_put_locate(&w, &m);
	sn->stats.get_messages += rec->want_bytes;
	(void)swi_peer_send(sn, p, SWI_S_LOCATE, buf, w.len);
}

/* ---- homes: answering ---- */

/* Where our own copy lies, for a get that follows. */
static void put_place(struct swi_snode *sn, struct swarm_oid id, struct swi_smsg_located *m)
{
	struct swi_local lo;

	if (!swi_local_find(sn, id, &lo))
		return;
	m->place = SWI_PLACE_KNOWN | (lo.flags & SWI_OBJ_F_DIGEST ? SWI_PLACE_DIGEST : 0);
	m->offset = lo.offset;
	m->gen = lo.gen;
	m->digest = lo.digest;
}

void swi_remote_tell(struct swi_snode *sn, struct swi_rec *rec, struct swi_remote *r, int status,
		     const char *text, const struct swi_copies *copies)
{
	struct swi_smsg_located m = {.req = r->req};
	uint8_t buf[SWI_SMSG_BODY_MAX];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	m.state = status < 0 ? SWI_DIR_FAILED : copies ? SWI_DIR_AVAILABLE : rec->state;
	m.status = status;
	if (copies) {
		m.copies = *copies;
		swi_deleted_again(sn, rec->id, r->peer->node);
	}
	if (copies && copies->count && copies->node[0] == sn->node && !copies->spilled[0])
		put_place(sn, rec->id, &m);
	snprintf(m.text, sizeof(m.text), "%s", text);
	r->told = (uint8_t)(rec->state + 1);
	swi_smsg_put_located(&w, &m);
	(void)swi_peer_send(sn, r->peer, SWI_S_LOCATED, buf, w.len);
}

int swi_dir_on_locate(struct swi_link *l, struct swi_rd *body)
{
	struct swi_snode *sn = l->sn;
	struct swi_smsg_locate m;
	struct swi_remote *r;
	struct swi_rec *rec;

	if (swi_smsg_get_locate(body, &m))
		return SWARM_EPROTO;
	if ((m.flags & SWI_LOCATE_LEASE) && swi_serve_memory(l, m.req, m.ref.id)) {
		swi_deleted_again(sn, m.ref.id, l->peer->node);
		return 0;
	}
	r = calloc(1, sizeof(*r));
	SWI_BUG_ON(!r);
	r->peer = l->peer;
	r->req = m.req;
	rec = swi_rec_get(sn, m.ref);
	swi_list_push_back(&rec->remotes, &r->link);
	swi_rec_touch(sn, rec);
	return 0;
}

int swi_dir_on_unwatch(struct swi_link *l, struct swi_rd *body)
{
	struct swi_snode *sn = l->sn;
	struct swi_smsg_move m;
	struct swi_rec *rec;

	if (swi_smsg_get_move(body, &m))
		return SWARM_EPROTO;
	rec = swi_dir_find(sn, m.ref.id);
	if (!rec)
		return 0; /* was answered meanwhile */
	swi_list_for_each_safe(it, &rec->remotes) {
		struct swi_remote *r = swi_list_entry(it, struct swi_remote, link);

		if (r->peer != l->peer || r->req != m.req)
			continue;
		swi_list_del(&r->link);
		free(r);
		swi_rec_touch(sn, rec);
		return 0;
	}
	return 0;
}

/* ---- copies ---- */

static void row_to_home(struct swi_snode *sn, const struct swi_smsg_copy *row)
{
	int code;
	const uint32_t home = swi_dir_home(sn, row->ref, &code);
	struct swi_peer *p = home ? swi_peer_find(sn, home) : NULL;

	/* A name may soon be another object's: its rows do not wait. */
	const bool lazy = row->ref.home && row->node == sn->node && !row->reason &&
			  !(row->flags & (SWI_COPY_PRIMARY | SWI_COPY_AGAIN));

	if (p && row->node)
		swi_peer_say_copy(sn, p, row, lazy);
	else if (home == sn->node)
		swi_untold_forget(sn, row->ref.id);
}

void swi_dir_have(struct swi_snode *sn, struct swarm_ref ref, uint64_t len, uint8_t flags)
{
	const struct swi_smsg_copy row = {.ref = ref, .node = sn->node, .flags = flags, .len = len};
	struct swi_rec *rec = swi_dir_find(sn, ref.id);

	if (flags & SWI_COPY_PRIMARY) {
		swi_deleted_again(sn, ref.id, sn->node); /* a delete left none here: it was made since */
	} else if (swi_dir_is_deleted(sn, ref.id)) { /* it was on its way here when it was deleted */
		swi_dir_drop_local(sn, ref.id);
		return;
	}
	if (rec) {
		if (rec->state == SWI_DIR_FAILED || rec->state == SWI_DIR_PENDING)
			rec->state = SWI_DIR_UNKNOWN;
		swi_rec_touch(sn, rec);
	}
	row_to_home(sn, &row);
}

/* What became of the copy on @node. Most of these nobody ever asks for: copies that made room get no text before. */
static void set_where(struct swi_snode *sn, struct swi_rec *rec, uint32_t node, int reason)
{
	const bool corrupt = reason == SWARM_ECORRUPT;
	const char *at = corrupt && node == sn->node && sn->spill ? swi_spill_trouble(sn->spill) : "";
	const size_t long_by = strlen(at) > TROUBLE_SHOWN ? strlen(at) - TROUBLE_SHOWN : 0;
	char text[SWI_SMSG_TEXT];

	if (!reason) {
		swi_rec_set_text(rec, NULL);
		rec->dropped_by = node;
		return;
	}
	snprintf(text, sizeof(text), "on node %u%s%s%s: %s%s%s", node, *at ? ", in " : "",
		 long_by ? ".." : "", at + long_by, swarm_strerror(reason), corrupt ? "; " : "",
		 corrupt ? swarm_strremedy(reason) : "");
	swi_rec_set_text(rec, text);
}

void swi_dir_have_not(struct swi_snode *sn, struct swarm_ref ref, uint32_t node, int reason)
{
	const struct swi_smsg_copy row = {
	    .ref = ref, .node = node, .flags = SWI_COPY_DEL, .reason = reason};
	struct swi_rec *rec;
	int code;

	if (node == sn->node)
		swi_untold_forget(sn, ref.id);
	if (swi_dir_home(sn, ref, &code) != sn->node) {
		row_to_home(sn, &row);
		return;
	}
	if (swi_dir_is_deleted(sn, ref.id)) { /* whoever looked for it then learns no more than that: nothing is lost */
		rec = swi_dir_find(sn, ref.id);
		if (rec) {
			swi_rec_del_copy(sn, rec, node);
			swi_rec_touch(sn, rec);
		}
		return;
	}
	rec = swi_rec_get(sn, ref);
	rec->made = true;
	if (rec->state == SWI_DIR_UNKNOWN)
		rec->state = SWI_DIR_AVAILABLE; /* it was: the step sees whether it still is */
	swi_rec_del_copy(sn, rec, node);
	if (rec->state != SWI_DIR_FAILED)
		set_where(sn, rec, node, reason);
	swi_rec_touch(sn, rec);
}

bool swi_dir_is_new(struct swi_snode *sn, const struct swi_local *lo)
{
	/* Of a client that was cut off nothing is read any more; its grants end. */
	return lo->flags & SWI_OBJ_F_NEW && swi_in_grant(sn, lo->offset);
}

void swi_snode_sealed(struct swi_snode *sn, struct swarm_oid id, uint64_t offset)
{
	struct swi_local lo;

	/* Another one under this id was made after this one was deleted, and will be announced itself. */
	if (!swi_local_find(sn, id, &lo) || lo.offset != offset)
		return;
	if (lo.flags & SWI_OBJ_F_NEW) {
		swi_local_set_flags(&lo, 0, SWI_OBJ_F_NEW);
		swi_attr_forget(sn, id); /* was asked for another one that had its name */
	}
	swi_dir_have(sn, lo.ref, lo.len, SWI_COPY_PRIMARY);
	swi_notify_sealed(sn, &lo);
}

void swi_dir_found(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_local lo;

	if (swi_local_find(sn, id, &lo) && !(lo.flags & SWI_OBJ_F_SECONDARY))
		swi_dir_have(sn, lo.ref, lo.len, SWI_COPY_PRIMARY | SWI_COPY_AGAIN);
}

/* False: whoever sent it thinks that we are the home, and we do not (yet). */
static bool copy_row(struct swi_link *l, const struct swi_smsg_copy *row)
{
	const bool fresh = (row->flags & SWI_COPY_PRIMARY) && !(row->flags & SWI_COPY_AGAIN);
	struct swi_snode *sn = l->sn;
	struct swi_rec *rec;
	int code;

	if (row->flags & SWI_COPY_DEL) {
		if (row->reason == SWARM_ECORRUPT)
			swi_warn(sn->log, "node %u says that the copy on node %u is corrupt",
				 l->peer->node, row->node);
		rec = swi_dir_find(sn, row->ref.id);
		if (rec && rec->proxy)
			return true;
		swi_dir_have_not(sn, row->ref, row->node, row->reason);
		return true;
	}
	if (row->node != l->peer->node)
		return l->peer->node != 0; /* nobody speaks for another; but perhaps we do not know its number yet */
	if (swi_dir_home(sn, row->ref, &code) != sn->node && code != SWARM_EHOMELOST)
		return false;
	if (!fresh && swi_deleted_means(sn, row->ref.id, row->node)) {
		swi_deleted_drop(sn, l->peer, row->ref);
		return true;
	}
	if (fresh)
		swi_deleted_again(sn, row->ref.id, row->node);
	rec = swi_rec_get(sn, row->ref);
	rec->len = row->len;
	swi_rec_add_copy(sn, rec,
			 (struct swi_copy){.node = row->node,
					   .primary = row->flags & SWI_COPY_PRIMARY,
					   .spilled = row->flags & SWI_COPY_SPILLED});
	if (rec->state == SWI_DIR_FAILED || rec->state == SWI_DIR_PENDING)
		rec->state = SWI_DIR_UNKNOWN;
	swi_rec_touch(sn, rec);
	return true;
}

int swi_dir_on_copies(struct swi_link *l, struct swi_rd *body)
{
	struct swi_smsg_told told = {.req = swi_rd_u64(body)};
	struct swi_smsg_copy row;
	struct swi_wr w, head;
	uint8_t *buf;
	uint32_t n;

	if (swi_smsg_get_count(body, SWI_SMSG_COPY_BYTES, &n))
		return SWARM_EPROTO;
	buf = malloc(TOLD_HEAD + (uint64_t)n * sizeof(row.ref.id));
	SWI_BUG_ON(!buf);
	head = swi_wr_init(buf, TOLD_HEAD);
	w = swi_wr_init(buf, TOLD_HEAD + n * (uint32_t)sizeof(row.ref.id));
	w.len = TOLD_HEAD;
	for (; n && !swi_smsg_get_copy(body, &row); n--) {
		if (copy_row(l, &row))
			continue;
		swi_wr_oid(&w, row.ref.id);
		told.refused++;
	}
	swi_smsg_put_told(&head, &told);
	if (swi_rd_done(body) && (told.req || told.refused))
		(void)swi_peer_send(l->sn, l->peer, SWI_S_TOLD, buf, w.len);
	free(buf);
	return swi_rd_done(body) ? 0 : SWARM_EPROTO;
}

/*
 * Who learns first of a change of membership tells its copies to homes that have not heard of it: they say so, and are told
 * again. By then they know, or we learned that the home is another.
 */
int swi_dir_on_told(struct swi_link *l, struct swi_rd *body)
{
	struct swi_peer *p = l->peer;
	struct swi_rd peek = *body;
	struct swi_smsg_told m;

	if (swi_smsg_get_told(&peek, &m))
		return SWARM_EPROTO;
	if (m.refused && !p->tell.pos)
		swi_timer_set(&l->sn->timers, &p->tell, l->sn->now_ns + TELL_AGAIN_NS);
	const int rc = m.req ? swi_req_answer(l->sn, p, SWI_S_TOLD, body) : 0;

	return rc == -ENOENT ? 0 : rc;
}

void swi_dir_tell_again(struct swi_timer *t)
{
	struct swi_peer *p = swi_container_of(t, struct swi_peer, tell);

	if (p->node)
		swi_announce_node(p->sn, p->node);
}

/* ---- inheritance ---- */

bool swi_dir_record(struct swi_snode *sn, struct swi_rec *rec, struct swi_smsg_record *out)
{
	char buf[SWI_REC_TEXT];

	if (rec->proxy || !rec->home)
		return false; /* named ones are told to their new home by who has them */
	memset(out, 0, sizeof(*out));
	out->ref = (struct swarm_ref){.id = rec->id, .home = rec->home};
	out->state = rec->state;
	out->status = rec->state == SWI_DIR_FAILED ? rec->code : 0;
	out->copies.len = rec->len;
	for (uint32_t i = 0; i < rec->count && out->copies.count < SWI_COPIES_MAX; i++) {
		if (rec->copies[i].node == sn->node)
			continue;
		out->copies.node[out->copies.count] = rec->copies[i].node;
		out->copies.spilled[out->copies.count++] = rec->copies[i].spilled;
	}
	snprintf(out->text, sizeof(out->text), "%s", swi_rec_text(rec, buf));
	return true;
}

static void inherit(struct swi_snode *sn, const struct swi_smsg_record *m)
{
	struct swi_rec *rec = swi_rec_get(sn, m->ref);

	if (rec->proxy) {
		swi_rec_unask(sn, rec);
		rec->proxy = false;
	}
	rec->state = m->state == SWI_DIR_AVAILABLE ? SWI_DIR_UNKNOWN : m->state;
	rec->made = rec->made || m->state == SWI_DIR_AVAILABLE;
	rec->code = m->status;
	rec->len = m->copies.len;
	swi_rec_set_text(rec, m->text);
	for (uint32_t i = 0; i < m->copies.count; i++)
		swi_rec_add_copy(sn, rec,
				 (struct swi_copy){.node = m->copies.node[i],
						   .spilled = m->copies.spilled[i]});
	swi_rec_touch(sn, rec);
}

int swi_dir_on_xfer(struct swi_link *l, struct swi_rd *body)
{
	struct swi_smsg_done done = {0};
	struct swi_smsg_record m;
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	uint32_t n;

	done.req = swi_rd_u64(body);
	if (swi_smsg_get_count(body, SWI_SMSG_RECORD_MIN, &n))
		return SWARM_EPROTO;
	while (n--) {
		if (swi_smsg_get_record(body, &m))
			return SWARM_EPROTO;
		inherit(l->sn, &m);
	}
	if (!swi_rd_done(body))
		return SWARM_EPROTO;
	swi_smsg_put_done(&w, &done);
	(void)swi_peer_send(l->sn, l->peer, SWI_S_XFERRED, buf, w.len);
	return 0;
}

/* ---- membership ---- */

void swi_dir_peer_added(struct swi_snode *sn, uint32_t node)
{
	/* Partner: a sealer publishes its slot, then reads clustered (object.c): it announces, or we walk over it. */
	atomic_store_explicit(&sn->shm->clustered, 1, memory_order_seq_cst);
	sn->dir.moved = true;
	swi_announce_node(sn, node);
}

void swi_dir_peer_again(struct swi_snode *sn, uint32_t node)
{
	swi_announce_node(sn, node);
}

void swi_dir_peer_link_lost(struct swi_snode *sn, struct swi_peer *peer)
{
	struct swi_rec *rec, *tmp;

	HASH_ITER(hh, sn->dir.recs, rec, tmp) {
		swi_list_for_each_safe(it, &rec->remotes) {
			struct swi_remote *r = swi_list_entry(it, struct swi_remote, link);

			if (r->peer != peer)
				continue;
			swi_list_del(&r->link);
			free(r);
			swi_rec_touch(sn, rec);
		}
	}
}

void swi_dir_peer_removed(struct swi_snode *sn, uint32_t node)
{
	struct swi_rec *rec, *tmp;
	char text[64];

	snprintf(text, sizeof(text), "the last copy was on node %u, which is lost", node);
	HASH_ITER(hh, sn->dir.recs, rec, tmp) {
		const uint32_t before = rec->count;

		swi_rec_del_copy(sn, rec, node);
		if (rec->count == before)
			continue;
		if (rec->state == SWI_DIR_UNKNOWN)
			rec->state = SWI_DIR_AVAILABLE;
		if (!rec->count)
			swi_rec_set_text(rec, text);
		swi_rec_touch(sn, rec);
	}
	sn->dir.moved = true;
	swi_announce_node(sn, node);
	if (!sn->peers.count)
		atomic_store_explicit(&sn->shm->clustered, 0, memory_order_seq_cst);
}
