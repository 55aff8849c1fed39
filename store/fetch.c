/* SPDX-License-Identifier: Apache-2.0 */
/* fetch.c - the transfer of one object into this arena; see fetch.h. Who waits for it: want.c. Its end: publish.c. */
#include "store/cast.h"
#include "store/direct.h"
#include "store/evict.h"
#include "store/fetch_impl.h"
#include "store/pieces.h"
#include "store/snode_internal.h"

/* About 4 s in all: a silent node is declared dead after 2 s, and only then its copies leave the records. */
#define ATTEMPTS_MAX 22u
#define PAUSE_NS     NS_PER_MS /* doubled with every attempt, up to ... */
#define PAUSE_MAX_NS (256 * NS_PER_MS)

static void fetch_start(struct swi_fetch *f);
static void fetch_next_holder(struct swi_fetch *f);
static void fetch_read(struct swi_fetch *f);
static void fetch_lease(struct swi_fetch *f, struct swi_peer *p, uint8_t flags);

/* ---- the end ---- */

void swi_fetch_lease_back(struct swi_fetch *f)
{
	struct swi_peer *p = f->leased ? swi_peer_by_epoch(f->sn, f->holder_epoch) : NULL;

	if (p)
		swi_peer_say_end(f->sn, p, f->lease.lease);
	f->leased = false;
	swi_stripes_end(f);
}

static void give_room_back(struct swi_fetch *f)
{
	swi_room_cancel(f->sn, &f->room);
	if (f->have_room && f->followed)
		swi_retire(f->sn, f->offset, f->bytes);
	else if (f->have_room)
		swi_arena_free(f->sn, f->offset, f->bytes);
	f->have_room = f->followed = false;
}

void swi_fetch_free(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;

	swi_watch_cancel(sn, &f->watch);
	swi_req_end(sn, &f->rq);
	swi_parts_free(f);
	swi_digest_cancel(&f->digest);
	swi_timer_stop(&sn->timers, &f->pause);
	swi_direct_drop(f);
	swi_followers_refuse(f);
	swi_fetch_lease_back(f);
	give_room_back(f);
	free(f->pieces);
	HASH_DELETE(hh, sn->fetches.by_id, f);
	sn->fetches.count--;
	swi_pool_put(&sn->fetches.spare, f);
}

/* From here on the wants are on their own: a cancel does not look for the fetch. */
static void detach(struct swi_fetch *f, struct swi_list *wants)
{
	swi_list_init(wants);
	swi_list_splice(wants, &f->wants);
	swi_list_for_each(it, wants)
		((struct swi_wnode *)swi_list_entry(it, struct swi_want, link)->priv)->f = NULL;
}

void swi_fetch_fail(struct swi_fetch *f, int status, const char *text)
{
	struct swi_snode *sn = f->sn;
	char copy[SWI_SMSG_TEXT];
	struct swi_list wants;

	snprintf(copy, sizeof(copy), "%s", text);
	detach(f, &wants);
	sn->stats.fetch_failures++;
	swi_fetch_free(f);
	swi_wants_answer(sn, &wants, status, copy, 0);
}

/* The object lies at @offset, held once for us. */
void swi_fetch_done(struct swi_fetch *f, uint64_t offset)
{
	struct swi_snode *sn = f->sn;
	struct swi_list wants;

	detach(f, &wants);
	swi_fetch_free(f);
	swi_wants_answer(sn, &wants, 0, "", offset);
}

void swi_fetch_unwanted(struct swi_fetch *f)
{
	if (!swi_list_empty(&f->wants))
		return;
	/* What the card or the disk writes to stays until they are done; then it is published. */
	if (f->phase != SWI_FETCH_READ && f->phase != SWI_FETCH_BUCKET &&
	    f->phase != SWI_FETCH_RESTORE && f->phase != SWI_FETCH_VERIFY)
		swi_fetch_free(f);
}

/* ---- trying again ---- */

static void pause_over(struct swi_timer *t)
{
	fetch_start(swi_container_of(t, struct swi_fetch, pause));
}

/* Nobody who has it could give it: look again who has it, a bounded number of times. */
void swi_fetch_again(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;

	swi_followers_refuse(f);
	swi_fetch_lease_back(f);
	give_room_back(f);
	f->root_epoch = 0;
	f->restoring = false;
	if (++f->attempts >= ATTEMPTS_MAX) {
		swi_fetch_fail(f, f->last_status ? f->last_status : SWARM_ELOST, f->last_text);
		return;
	}
	f->phase = SWI_FETCH_PAUSE;
	if (swi_list_empty(&f->wants)) {
		swi_fetch_free(f);
		return;
	}
	f->pause.cb = pause_over;
	swi_timer_set(&sn->timers, &f->pause,
		      sn->now_ns + swi_min_u64(PAUSE_NS << f->attempts, PAUSE_MAX_NS));
}

/* Another reader was to give it, and cannot: back to who sent us there, to be given the object itself. */
static bool back_to_root(struct swi_fetch *f)
{
	struct swi_peer *p = swi_peer_by_epoch(f->sn, f->root_epoch);

	f->root_epoch = 0;
	if (!p || swi_list_empty(&f->wants))
		return false;
	fetch_lease(f, p, SWI_LEASE_FROM_YOU);
	return true;
}

/* The holder that was asked cannot serve. */
void swi_fetch_holder_failed(struct swi_fetch *f, int status, const char *why)
{
	struct swi_snode *sn = f->sn;
	char id[SWI_OID_TEXT];

	swi_followers_more(f, status);
	swi_req_end(sn, &f->rq);
	if (f->root_epoch) {
		swi_fetch_lease_back(f);
		if (!back_to_root(f))
			fetch_next_holder(f);
		return;
	}

	f->last_status = status;
	snprintf(f->last_text, sizeof(f->last_text), "object %s on node %u: %.150s",
		 swi_oid_text(f->id, id), f->holder, why && why[0] ? why : swarm_strerror(status));
	if (status == SWARM_ECORRUPT) {
		sn->stats.digest_errors++;
		swi_error(sn->log, "%s", f->last_text);
	}
	if (status == SWARM_ECORRUPT && f->striped) { /* whose bytes they are is not known: once more, from one at a time */
		f->striped = false;
		f->stripe_off = true;
		memset(f->tried, 0, sizeof(f->tried));
	} else if (status == -ENOENT || status == SWARM_ECORRUPT || status == SWARM_ESTALE) {
		swi_dir_have_not(sn, f->ref, f->holder, status);
	}
	swi_fetch_lease_back(f);
	fetch_next_holder(f);
}

/* ---- READ ---- */

static void read_done(struct swi_read *rd, int status)
{
	struct swi_fetch *f = rd->owner;

	f->sn->fetches.in_flight--;
	swi_fetch_read_over(f, status);
}

static void fetch_read(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;
	struct swi_peer *p = swi_peer_by_epoch(sn, f->holder_epoch);
	const uint64_t need = sizeof(struct swi_object_head) + f->len;
	uint64_t region;
	int rc;

	if (!p || !p->chosen) {
		swi_fetch_holder_failed(f, SWARM_EPEERLOST, NULL);
		return;
	}
	region = swi_conn_region_len(p->chosen->conn, f->lease.region);
	if (f->lease.offset > region || need > region - f->lease.offset) {
		swi_fetch_holder_failed(f, SWARM_EPROTO, "it leased what lies outside of its memory");
		return;
	}
	if (f->from_part || swi_is_large(sn, f->len)) {
		swi_pieces_begin(f);
		return;
	}
	swi_fetch_will_land(f, sn->opts.no_verify ? 0 : f->len);
	f->phase = SWI_FETCH_READ;
	f->rd.cb = read_done;
	f->rd.owner = f;
	f->rd.landed = swi_fetch_landed;
	sn->fetches.in_flight++;
	rc = swi_conn_read(p->chosen->conn, f->lease.region, f->lease.offset,
			   sn->arena + f->offset, need, &f->rd);
	sn->stats.get_reads += !rc;
	if (rc) {
		sn->fetches.in_flight--;
		f->phase = SWI_FETCH_LEASE;
		swi_fetch_holder_failed(f, rc, NULL);
	}
}

/* ---- part by part ---- */

static void fetch_parts(struct swi_fetch *f)
{
	struct swi_peer *p = swi_peer_by_epoch(f->sn, f->holder_epoch);
	int rc = p && p->chosen ? 0 : SWARM_EPEERLOST;

	swi_followers_refuse(f); /* parts come in any order, and from a disk */
	free(f->pieces);
	f->pieces = NULL;
	swi_fetch_will_land(f, 0);
	f->phase = SWI_FETCH_READ;
	if (!rc)
		rc = swi_parts_begin(f, p);
	if (rc) {
		f->phase = SWI_FETCH_LEASE;
		swi_fetch_holder_failed(f, rc, NULL);
	}
}

void swi_fetch_parts_over(struct swi_fetch *f, int status, const char *text)
{
	struct swi_object_head *h = (void *)(f->sn->arena + f->offset);
	char why[SWI_SMSG_TEXT];

	snprintf(why, sizeof(why), "%s", text);
	swi_parts_free(f);
	if (status) {
		f->phase = SWI_FETCH_LEASE;
		swi_fetch_holder_failed(f, status, why);
		return;
	}
	swi_head_begin(h, f->ref, f->len);
	atomic_store_explicit(&h->digest, f->lease.digest, memory_order_relaxed);
	swi_fetch_verify(f, f->lease.digest, !f->sn->opts.no_verify);
}

/* ---- leases ---- */

static int on_parent(struct swi_fetch *f, struct swi_rd *body)
{
	struct swi_smsg_parent m;
	struct swi_peer *p;

	if (swi_smsg_get_parent(body, &m))
		return SWARM_EPROTO;
	swi_req_end(f->sn, &f->rq);
	f->root_epoch = f->holder_epoch;
	p = swi_peer_by_epoch(f->sn, m.epoch);
	if (p && m.epoch != f->holder_epoch) /* connected now, if it was not needed before */
		fetch_lease(f, p, SWI_LEASE_FROM_YOU);
	else
		swi_fetch_holder_failed(f, SWARM_EPEERLOST, NULL);
	return 0;
}

static int on_more(struct swi_fetch *f, struct swi_rd *body)
{
	struct swi_smsg_more m;

	if (swi_smsg_get_more(body, &m) || m.have > f->len)
		return SWARM_EPROTO;
	swi_pieces_more(f, m.status, m.have);
	return 0;
}

static int on_leased(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct swi_fetch *f = rq->owner;
	struct swi_snode *sn = f->sn;
	struct swi_smsg_leased m;

	if (!type && f->phase == SWI_FETCH_READ) { /* in pieces: those in flight end first */
		swi_pieces_more(f, status, 0);
		return 0;
	}
	if (!type) {
		swi_fetch_holder_failed(f, status, NULL);
		return 0;
	}
	if (type == SWI_S_PARENT && f->phase == SWI_FETCH_LEASE && !f->root_epoch)
		return on_parent(f, body);
	if (type == SWI_S_MORE && f->phase == SWI_FETCH_READ && f->from_part)
		return on_more(f, body);
	if (type != SWI_S_LEASED || f->phase != SWI_FETCH_LEASE || swi_smsg_get_leased(body, &m))
		return SWARM_EPROTO;
	if (m.have == m.len)
		swi_req_end(sn, rq); /* else MORE comes */
	if (m.status) {
		swi_fetch_holder_failed(f, m.status, m.text);
		return 0;
	}
	f->lease = m;
	f->leased = m.lease != 0;
	f->from_part = m.lease && !m.epoch;
	if (m.len != f->len) {
		swi_fetch_holder_failed(f, SWARM_ECORRUPT, "its length is not what the home knows");
		return 0;
	}
	if (!m.lease)
		fetch_parts(f);
	else
		fetch_read(f);
	return 0;
}

/* @flags: SWI_LEASE_* */
static void fetch_lease(struct swi_fetch *f, struct swi_peer *p, uint8_t flags)
{
	struct swi_smsg_lease m = {.id = f->id, .flags = flags, .sent_by = f->root_epoch};
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	f->phase = SWI_FETCH_LEASE;
	f->holder = p->node;
	f->holder_epoch = p->epoch;
	f->rq.cb = on_leased;
	f->rq.owner = f;
	m.req = swi_req_begin(f->sn, &f->rq, p);
	swi_smsg_put_lease(&w, &m);
	f->sn->stats.get_messages++;
	(void)swi_peer_send(f->sn, p, SWI_S_LEASE, buf, w.len);
}

static bool usable(struct swi_fetch *f, uint32_t i, bool spilled)
{
	const uint32_t node = f->copies.node[i];

	return !f->tried[i] && f->copies.spilled[i] == spilled && node != f->sn->node &&
	       swi_peer_find(f->sn, node);
}

/* Memory before disk; at random among equals, so that many readers spread over many copies. */
static void fetch_next_holder(struct swi_fetch *f)
{
	swi_followers_refuse(f); /* what they were promised is not what comes now */
	if (swi_list_empty(&f->wants)) {
		swi_fetch_free(f);
		return;
	}
	for (int spilled = 0; spilled < 2; spilled++) {
		uint32_t n = 0, pick;

		for (uint32_t i = 0; i < f->copies.count; i++)
			n += usable(f, i, spilled);
		if (!n)
			continue;
		pick = n == 1 ? 0 : (uint32_t)(swi_rand(f->sn->env) % n);
		for (uint32_t i = 0; i < f->copies.count; i++) {
			if (!usable(f, i, spilled) || pick--)
				continue;
			f->tried[i] = true;
			if (spilled || !swi_direct_holder(f, swi_peer_find(f->sn, f->copies.node[i])))
				fetch_lease(f, swi_peer_find(f->sn, f->copies.node[i]), 0);
			return;
		}
	}
	swi_fetch_again(f);
}

/* ---- room ---- */

static void restore_begin(struct swi_fetch *f);

static void room_given(struct swi_room *r, int status)
{
	struct swi_fetch *f = r->owner;
	char text[SWI_SMSG_TEXT];

	if (status) {
		snprintf(text, sizeof(text), "no memory for an object of %llu bytes: %s",
			 (unsigned long long)f->len, swarm_strerror(status));
		swi_fetch_fail(f, status == -E2BIG ? SWARM_EFULL : status, text);
		return;
	}
	f->offset = r->offset;
	f->have_room = true;
	if (f->restoring)
		restore_begin(f);
	else if (f->direct)
		swi_direct_read(f);
	else if (f->leased)
		fetch_read(f);
	else
		fetch_next_holder(f);
}

void swi_fetch_room(struct swi_fetch *f)
{
	int rc;

	f->phase = SWI_FETCH_ROOM;
	if (f->len > f->sn->arena_bytes) { /* a peer's word: nothing is computed with it before */
		room_given(&f->room, -E2BIG);
		return;
	}
	f->bytes = swi_extent_bytes(f->len);
	f->room.bytes = f->bytes;
	f->room.recovery = swi_fetch_recovers(f);
	f->room.reserve = f->restoring && swi_fetch_for_peers_only(f);
	if (swi_fetch_hint_only(f) && !swi_evict_idle_room(f->sn, f->bytes)) {
		swi_fetch_fail(f, SWARM_EFULL, "no free memory for what is only a hint");
		return;
	}
	rc = swi_room_ask(f->sn, &f->room);
	if (rc == -EAGAIN)
		swi_followers_refuse(f);
	if (rc != -EAGAIN) {
		room_given(&f->room, rc);
		return;
	}
	/* Who waits for room keeps nobody else's memory: two full stores would wait for each other. */
	swi_fetch_lease_back(f);
}

/* ---- restoring ---- */

static void restore_begin(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;

	f->phase = SWI_FETCH_RESTORE;
	sn->fetches.in_flight++;
	f->io.id = f->id;
	f->io.extent = sn->arena + f->offset;
	f->io.extent_bytes = f->bytes;
	f->io.cb = swi_fetch_restored;
	f->io.owner = f;
	swi_meter_begin(sn, &sn->evict.read);
	swi_spill_restore(sn->spill, &f->io);
}

/* ---- beginning ---- */

static void located(struct swi_watch *w, int status, const char *text,
		    const struct swi_copies *copies)
{
	struct swi_fetch *f = w->owner;
	struct swi_snode *sn = f->sn;
	uint64_t offset;

	if (status) {
		swi_fetch_fail(f, status, text);
		return;
	}
	if (swi_hold_find(sn, f->id, &offset)) {
		swi_fetch_done(f, offset);
		return;
	}
	memset(f->tried, 0, sizeof(f->tried));
	f->copies = *copies;
	f->len = copies->len;
	for (uint32_t i = 0; i < copies->count; i++) {
		uint64_t len;

		if (copies->node[i] != sn->node || swi_spilled_here(sn, f->id, &len))
			continue;
		/* The home believes that we have it. */
		swi_dir_have_not(sn, f->ref, sn->node, -ENOENT);
	}
	swi_fetch_room(f);
}

static void fetch_locate(struct swi_fetch *f)
{
	f->phase = SWI_FETCH_LOCATE;
	f->watch = (struct swi_watch){
	    .ref = f->ref, .deadline_ns = UINT64_MAX, .cb = located, .owner = f};
	swi_watch_bytes(f->sn, &f->watch);
}

void swi_fetch_go_on(struct swi_fetch *f)
{
	struct swi_peer *p = swi_peer_by_epoch(f->sn, f->holder_epoch);

	if (swi_list_empty(&f->wants)) {
		swi_fetch_free(f);
	} else if (!f->copies.count) {
		give_room_back(f);
		fetch_locate(f);
	} else if (p) {
		fetch_lease(f, p, 0);
	} else {
		fetch_next_holder(f);
	}
}

/* It is not in memory here. */
static void fetch_begin(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;

	if (swi_spilled_here(sn, f->id, &f->len)) {
		f->restoring = true;
		swi_fetch_room(f);
		return;
	}
	f->copies.count = 0;
	if (!swi_direct_begin(f))
		fetch_locate(f);
}

static void fetch_start(struct swi_fetch *f)
{
	uint64_t offset;

	if (swi_hold_find(f->sn, f->id, &offset))
		swi_fetch_done(f, offset);
	else
		fetch_begin(f);
}

bool swi_fetch_leased(struct swi_snode *sn, struct swarm_oid id, struct swi_peer *peer,
		      const struct swi_smsg_leased *lease)
{
	struct swi_fetch *f;

	HASH_FIND(hh, sn->fetches.by_id, &id, sizeof(id), f);
	if (!f || f->phase != SWI_FETCH_LOCATE)
		return false;
	swi_watch_cancel(sn, &f->watch);
	memset(f->tried, 0, sizeof(f->tried));
	f->copies = (struct swi_copies){.len = lease->len, .count = 1, .node = {peer->node}};
	f->len = lease->len;
	f->lease = *lease;
	f->leased = true;
	f->from_part = false;
	f->holder = peer->node;
	f->holder_epoch = peer->epoch;
	swi_fetch_room(f);
	return true;
}

void swi_fetch_deleted(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_fetch *f;

	HASH_FIND(hh, sn->fetches.by_id, &id, sizeof(id), f);
	if (f)
		f->deleted = true;
}

void swi_fetch_join(struct swi_snode *sn, struct swi_want *w, struct swi_wnode *n)
{
	struct swi_fetch *f;

	HASH_FIND(hh, sn->fetches.by_id, &w->ref.id, sizeof(w->ref.id), f);
	if (f) {
		n->f = f;
		swi_list_push_back(&f->wants, &w->link);
		return;
	}
	f = swi_pool_get(&sn->fetches.spare, sizeof(*f), SWI_FETCH_CLEAR);
	SWI_BUG_ON(!f);
	f->last_text[0] = 0;
	f->sn = sn;
	f->id = w->ref.id;
	f->ref = w->ref;
	f->room.cb = room_given;
	f->room.owner = f;
	swi_list_init(&f->wants);
	swi_list_init(&f->followers);
	HASH_ADD(hh, sn->fetches.by_id, id, sizeof(f->id), f);
	sn->fetches.count++;
	n->f = f;
	swi_list_push_back(&f->wants, &w->link);
	fetch_begin(f);
}
