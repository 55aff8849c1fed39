/* SPDX-License-Identifier: Apache-2.0 */
/* lease.c - see lease.h. Why it is sound: docs/decisions/020-standing-leases.md. */
#include "store/lease.h"
#include "store/snode_internal.h"

#define PACE_NS (5 * NS_PER_MS) /* while memory is not short: rounds are batches */

void swi_quarantine_init(struct swi_snode *sn)
{
	swi_list_init(&sn->quarantine.standing);
	swi_list_init(&sn->quarantine.fresh);
	swi_list_init(&sn->quarantine.asked);
}

/* ---- the owner: extents ---- */

/*
 * From here on no READ that begins is accepted. While its grant is open the header keeps its place in the
 * chain (walk.c); the id alone makes it nobody's.
 */
static void spoil(struct swi_snode *sn, uint64_t offset)
{
	struct swi_object_head *h = swi_object_at(sn, offset, NULL);

	if (!h)
		return;
	atomic_store_explicit(&h->state, SWI_OBJ_ABORTED, memory_order_relaxed);
	h->oid[0] = h->oid[1] = 0;
	if (!sn->clients.page_grant[offset / SWI_PAGE])
		h->gen = 0;
	/* Partner: the card, and the reader's READ after it has received a later SYNC or STAND. */
	atomic_thread_fence(memory_order_seq_cst);
}

bool swi_quarantine_pass(struct swi_snode *sn, struct swi_hold *h)
{
	struct swi_quarantine *q = &sn->quarantine;

	spoil(sn, h->offset);
	if (swi_list_empty(&q->standing))
		return true;
	if (swi_list_empty(&q->fresh))
		q->fresh_ns = sn->now_ns;
	swi_list_del(&h->link);
	swi_list_push_back(&q->fresh, &h->link);
	q->fresh_bytes += h->bytes;
	q->peak_bytes = swi_max_u64(q->peak_bytes, swi_quarantine_bytes(q));
	return false;
}

static bool memory_is_short(struct swi_snode *sn)
{
	return swi_room_missing(sn) || sn->quarantine.fresh_bytes >= sn->arena_bytes / 64 ||
	       sn->evict.running;
}

static void ask(struct swi_snode *sn, struct swi_link *l)
{
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	l->owes = sn->quarantine.round;
	l->owes_ns = sn->now_ns;
	sn->quarantine.owing++;
	sn->stats.syncs++;
	swi_wr_u64(&w, l->owes);
	/* Of this connection alone: never by the peer's queue, which outlives it. */
	if (!l->peer || l->peer->chosen != l || swi_conn_send(l->conn, SWI_S_SYNC, buf, w.len) < 0)
		swi_conn_close(l->conn, SWARM_EPEERLOST); /* it is on its way out */
}

static void round_begin(struct swi_snode *sn)
{
	struct swi_quarantine *q = &sn->quarantine;

	swi_list_splice(&q->asked, &q->fresh);
	q->asked_bytes = q->fresh_bytes;
	q->fresh_bytes = 0;
	q->round++;
	swi_list_for_each_safe(it, &q->standing)
		ask(sn, swi_list_entry(it, struct swi_link, standing));
}

static int round_end(struct swi_snode *sn)
{
	struct swi_quarantine *q = &sn->quarantine;
	int n = 0;

	while (!swi_list_empty(&q->asked)) {
		swi_hold_free(sn, swi_list_first(&q->asked, struct swi_hold, link));
		n++;
	}
	q->asked_bytes = 0;
	return n;
}

static uint64_t patience_ns(const struct swi_snode *sn)
{
	return sn->opts.tp.silence_timeout_ns ? sn->opts.tp.silence_timeout_ns : 2 * NS_PER_S;
}

static void revoke_silent(struct swi_snode *sn)
{
	swi_list_for_each_safe(it, &sn->quarantine.standing) {
		struct swi_link *l = swi_list_entry(it, struct swi_link, standing);

		if (!l->owes || l->revoked || sn->now_ns < l->owes_ns + patience_ns(sn))
			continue;
		swi_warn(sn->log, "node %u does not say that its READs have ended: its lease is revoked, "
				  "the connection closed", l->peer ? l->peer->node : 0);
		l->revoked = true;
		sn->stats.revoked++;
		swi_conn_revoke(l->conn, SWARM_ESILENT);
	}
}

int swi_quarantine_step(struct swi_snode *sn)
{
	struct swi_quarantine *q = &sn->quarantine;
	int n = 0;

	if (q->owing)
		revoke_silent(sn);
	else
		n = round_end(sn);
	if (swi_list_empty(&q->asked) && !swi_list_empty(&q->fresh) &&
	    (sn->now_ns >= q->fresh_ns + PACE_NS || memory_is_short(sn))) {
		round_begin(sn);
		n++;
	}
	return n;
}

uint64_t swi_quarantine_deadline_ns(const struct swi_snode *sn)
{
	const struct swi_quarantine *q = &sn->quarantine;
	uint64_t d = UINT64_MAX;

	if (!q->owing && !swi_list_empty(&q->asked))
		return sn->now_ns;
	if (!q->owing && !swi_list_empty(&q->fresh))
		return memory_is_short((struct swi_snode *)sn) ? sn->now_ns : q->fresh_ns + PACE_NS;
	swi_list_for_each(it, &q->standing) {
		const struct swi_link *l = swi_list_entry(it, struct swi_link, standing);

		if (l->owes && !l->revoked)
			d = swi_min_u64(d, l->owes_ns + patience_ns(sn));
	}
	return d;
}

/* ---- the owner: connections ---- */

void swi_lease_stand(struct swi_link *l)
{
	struct swi_snode *sn = l->sn;
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_u64(&w, sn->index.mask + 1);
	if (l->stands || swi_conn_send(l->conn, SWI_S_STAND, buf, w.len) < 0)
		return;
	l->stands = true;
	swi_list_push_back(&sn->quarantine.standing, &l->standing);
}

static void answered(struct swi_link *l)
{
	if (!l->owes)
		return;
	l->owes = 0;
	l->sn->quarantine.owing--;
}

int swi_lease_on_synced(struct swi_link *l, struct swi_rd *body)
{
	const uint64_t round = swi_rd_u64(body);

	if (!swi_rd_done(body) || !l->owes || round != l->owes)
		return SWARM_EPROTO;
	answered(l);
	return 0;
}

void swi_lease_link_down(struct swi_link *l)
{
	answered(l);
	if (l->stands)
		swi_list_del(&l->standing);
	l->stands = false;
}

/* ---- the reader ---- */

int swi_lease_on_stand(struct swi_link *l, struct swi_rd *body)
{
	const uint64_t pairs = swi_rd_u64(body), have = swi_conn_region_len(l->conn, SWI_REGION_INDEX);

	if (!swi_rd_done(body) || l->may_read || !swi_is_pow2(pairs) || have < SWI_PAGE ||
	    pairs > (have - SWI_PAGE) / SWI_PAIR_BYTES)
		return SWARM_EPROTO;
	l->index_pairs = pairs;
	l->may_read = true;
	swi_locators_make(&l->sn->locators);
	return 0;
}

static void say_synced(struct swi_link *l)
{
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_u64(&w, l->sync);
	l->sync = 0;
	if (l->peer && l->peer->chosen == l &&
	    swi_conn_send(l->conn, SWI_S_SYNCED, buf, w.len) == -ENOBUFS)
		swi_conn_close(l->conn, -ENOBUFS);
}

/* READs of two phases are told apart: those before the SYNC, and those after it. */
int swi_lease_on_sync(struct swi_link *l, struct swi_rd *body)
{
	const uint64_t round = swi_rd_u64(body);

	if (!swi_rd_done(body) || !round || l->sync || !l->may_read)
		return SWARM_EPROTO;
	l->sync = round;
	l->read_phase ^= 1;
	if (!l->reading[l->read_phase ^ 1])
		say_synced(l);
	return 0;
}

uint8_t swi_lease_read_begin(struct swi_link *l)
{
	l->reading[l->read_phase]++;
	return l->read_phase;
}

void swi_lease_read_end(struct swi_link *l, uint8_t phase)
{
	SWI_BUG_ON(!l->reading[phase]);
	l->reading[phase]--;
	if (l->sync && phase != l->read_phase && !l->reading[phase])
		say_synced(l);
}
