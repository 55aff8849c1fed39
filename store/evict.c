/* SPDX-License-Identifier: Apache-2.0 */
/* evict.c - see evict.h. */
#include "store/snode_internal.h"

#define SLOTS_A_STEP   8192u
#define VICTIMS	       64u
#define SPILLING_MAX   16u
#define SPILLING_BYTES MIB(64)
#define RETRY_NS       (5 * NS_PER_MS)
#define DISK_RETRY_NS  (200 * NS_PER_MS)

/* Ticks of 100 ms since the last get, for each round of the hand; the last takes everything. */
static const uint16_t age_of_round[] = {100, 20, 5, 1, 0};
#define ROUNDS ((uint32_t)SWI_ARRAY_LEN(age_of_round))

uint64_t swi_evict_high_permille(struct swi_snode *sn)
{
	const uint32_t p = sn->opts.high_water_permille;

	return p && p <= 1000 ? p : 850;
}

/* ---- leaving ---- */

/*
 * Takes @n objects out of the index and frees what nobody pins; the others go back. One look at the
 * pins serves all. Returns the bytes that left.
 */
static uint64_t leave(struct swi_snode *sn, const struct swi_local *victim, uint32_t n)
{
	uint64_t bytes = 0;
	bool out[VICTIMS];

	for (uint32_t i = 0; i < n; i++)
		out[i] = swi_index_remove(&sn->index, &victim[i].hit);
	const int rc = swi_pins_scan(sn); /* begins with the fence that pairs with a reader's pin */

	for (uint32_t i = 0; i < n; i++) {
		const struct swi_local *v = &victim[i];

		if (!out[i])
			continue;
		if ((rc || swi_pinset_has(&sn->holds.pins, v->offset)) &&
		    !swi_local_publish(sn, v->ref.id, v->gen, v->offset))
			continue; /* back: a get of that moment asked us and is answered after this */
		swi_retire(sn, v->offset, v->bytes);
		bytes += v->bytes;
		sn->stats.evicted_objects++;
		sn->stats.evicted_bytes += v->bytes;
		if (v->flags & SWI_OBJ_F_SECONDARY)
			swi_dir_have_not(sn, v->ref, sn->node, 0);
		else
			swi_dir_have(sn, v->ref, v->len,
				     SWI_COPY_PRIMARY | SWI_COPY_AGAIN | SWI_COPY_SPILLED);
	}
	return bytes;
}

/* ---- writing ---- */

static void spilling_free(struct swi_spilling *s)
{
	struct swi_snode *sn = s->sn;

	swi_digest_cancel(&s->digest);
	HASH_DELETE(hh, sn->evict.spilling, s);
	sn->evict.spilling_bytes -= s->bytes;
	swi_hold_drop(sn, s->offset);
	free(s);
}

static void written(struct swi_spill_io *io)
{
	struct swi_spilling *s = io->owner;
	struct swi_snode *sn = s->sn;
	const bool forgotten = s->forgotten;
	const int status = io->status; /* @io goes with @s */
	const uint64_t offset = s->offset, bytes = s->bytes;
	const struct swarm_oid id = s->id;
	struct swi_local lo;

	spilling_free(s);
	sn->evict.retry_ns = 0;
	if (status) {
		swi_warn(sn->log, "an object of %llu bytes could not be written to disk: %s",
			 (unsigned long long)bytes, swarm_strerror(status));
		sn->evict.disk_ns = sn->now_ns + DISK_RETRY_NS;
		return;
	}
	sn->stats.spilled_objects++;
	sn->stats.spilled_bytes += bytes;
	if (forgotten) {
		swi_spill_forget(sn->spill, id);
		return;
	}
	if (swi_local_find(sn, id, &lo) && lo.offset == offset && !swi_is_held(sn, offset))
		leave(sn, &lo, 1);
}

static void write_out(struct swi_spilling *s)
{
	s->io.id = s->id;
	s->io.extent = s->sn->arena + s->offset;
	s->io.extent_bytes = s->bytes;
	s->io.cb = written;
	s->io.owner = s;
	swi_spill_write(s->sn->spill, &s->io);
}

static void digested(struct swi_digest *d, uint64_t digest)
{
	struct swi_spilling *s = d->owner;
	struct swi_local lo;

	if (!swi_local_find(s->sn, s->id, &lo) || lo.offset != s->offset) {
		spilling_free(s); /* deleted meanwhile */
		return;
	}
	swi_local_set_digest(&lo, digest);
	write_out(s);
}

static bool may_write(struct swi_snode *sn, uint64_t bytes)
{
	const struct swi_evict *e = &sn->evict;

	return sn->spill && sn->now_ns >= e->disk_ns && HASH_COUNT(e->spilling) < SPILLING_MAX &&
	       (!e->spilling || e->spilling_bytes + bytes <= SPILLING_BYTES) &&
	       swi_spill_has_room(sn->spill, bytes);
}

static void spill_begin(struct swi_snode *sn, const struct swi_local *lo)
{
	struct swi_spilling *s = calloc(1, sizeof(*s));

	if (!s)
		return;
	s->sn = sn;
	s->id = lo->ref.id;
	s->offset = lo->offset;
	s->bytes = lo->bytes;
	s->digest.cb = digested;
	s->digest.owner = s;
	HASH_ADD(hh, sn->evict.spilling, id, sizeof(s->id), s);
	sn->evict.spilling_bytes += s->bytes;
	swi_hold_add(sn, s->offset);
	if (lo->flags & SWI_OBJ_F_DIGEST)
		write_out(s);
	else
		swi_digest_begin(sn, &s->digest, lo->head + 1, lo->len);
}

void swi_evict_forget(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_spilling *s;

	HASH_FIND(hh, sn->evict.spilling, &id, sizeof(id), s);
	if (s)
		s->forgotten = true;
}

void swi_evict_fini(struct swi_snode *sn)
{
	struct swi_spilling *s, *tmp;

	HASH_ITER(hh, sn->evict.spilling, s, tmp)
		spilling_free(s);
}

/* ---- choosing ---- */

/* Bytes that should leave beyond those on their way. */
static uint64_t wanted(struct swi_snode *sn)
{
	const uint64_t high = sn->arena_bytes / 1000 * swi_evict_high_permille(sn);
	const uint64_t going = sn->evict.spilling_bytes, used = sn->extents.used;
	const uint64_t missing = swi_room_missing(sn);
	uint64_t want = used > high + going ? used - high - going : 0;

	if (missing > going)
		want = swi_max_u64(want, missing - going);
	return want;
}

/* 0: may not leave now. 1: is on disk or elsewhere: just drop it. 2: must be written first. */
static int kind(struct swi_snode *sn, const struct swi_local *lo)
{
	const uint16_t tick = (uint16_t)atomic_load_explicit(&sn->shm->tick, memory_order_relaxed);
	struct swi_spilling *s;

	if ((uint16_t)(tick - lo->touch) < age_of_round[sn->evict.round] ||
	    swi_is_held(sn, lo->offset))
		return 0;
	/* Its bytes would stay with the writer's chunk: nothing would be won. */
	if (sn->clients.page_grant[lo->offset / SWI_PAGE])
		return 0;
	if ((lo->flags & SWI_OBJ_F_SECONDARY) ||
	    (sn->spill && swi_spill_find(sn->spill, lo->ref.id, NULL)))
		return 1;
	HASH_FIND(hh, sn->evict.spilling, &lo->ref.id, sizeof(lo->ref.id), s);
	return !s && may_write(sn, lo->bytes) ? 2 : 0;
}

static void next_round(struct swi_snode *sn)
{
	struct swi_evict *e = &sn->evict;

	e->left = swi_index_slots(&sn->index);
	if (e->round + 1 < ROUNDS)
		e->round++;
	else
		e->retry_ns = sn->now_ns + RETRY_NS; /* everything is pinned, held or being written */
}

static void calm(struct swi_snode *sn)
{
	sn->evict.round = 0;
	sn->evict.retry_ns = 0;
	sn->evict.left = swi_index_slots(&sn->index);
}

int swi_evict_step(struct swi_snode *sn)
{
	struct swi_evict *e = &sn->evict;
	struct swi_local victim[VICTIMS], lo;
	const uint64_t slots = swi_index_slots(&sn->index), want = wanted(sn);
	uint64_t got = 0;
	uint32_t n = 0;

	if (!want) {
		calm(sn);
		return 0;
	}
	if (sn->now_ns < e->retry_ns)
		return 0;
	e->retry_ns = 0;
	for (uint32_t i = 0; i < SLOTS_A_STEP && got < want && n < VICTIMS && !e->retry_ns; i++) {
		if (!e->left)
			next_round(sn);
		else
			e->left--;
		const int k = swi_local_at(sn, e->slot, &lo) ? kind(sn, &lo) : 0;

		e->slot = e->slot + 1 == slots ? 0 : e->slot + 1;
		got += k ? lo.bytes : 0;
		if (k == 1)
			victim[n++] = lo;
		else if (k == 2)
			spill_begin(sn, &lo);
	}
	if (n)
		leave(sn, victim, n);
	return 1;
}

uint64_t swi_evict_deadline_ns(struct swi_snode *sn)
{
	if (!wanted(sn))
		return UINT64_MAX;
	return sn->evict.retry_ns ? sn->evict.retry_ns : sn->now_ns;
}
