/* SPDX-License-Identifier: Apache-2.0 */
/* relocate.c - see relocate.h. */
#include "store/snode_internal.h"

#define STEP_BYTES  MIB(1)	      /* copied in one step: some 100 us */
#define WINDOW_NS   (50 * NS_PER_MS)  /* to wait for pins and READs of what lay there */
#define RETRY_NS    (5 * NS_PER_MS)
#define RETRY_FREES 64u
#define BARS_NS	    (20 * NS_PER_MS)

static uint64_t object_at(void *ctx, uint64_t offset)
{
	struct swi_snode *sn = ctx;
	struct swi_local *lo = &sn->relocate.lo;
	/* In an open grant its bytes would stay with the writer's chunk, and the writer may be writing there. */
	const struct swi_object_head *h =
	    sn->clients.page_grant[offset / SWI_PAGE] ? NULL : swi_object_at(sn, offset, NULL);

	if (!h)
		return 0;
	const struct swarm_oid id = {.w = {h->oid[0], h->oid[1]}};

	if (!swi_local_find(sn, id, lo) || lo->offset != offset || swi_is_held(sn, offset) ||
	    swi_retiring(sn, offset) || swi_pinset_has(&sn->holds.pins, offset))
		return 0;
	return lo->bytes;
}

/* A whole object at a place of its own that no slot leads to yet. */
static uint32_t copy(struct swi_snode *sn, const struct swi_local *lo, uint64_t to)
{
	struct swi_object_head *h = (void *)(sn->arena + to);
	const uint32_t gen = swi_snode_gen(sn);

	h->magic = SWI_OBJ_MAGIC;
	atomic_store_explicit(&h->state, SWI_OBJ_SEALED, memory_order_relaxed);
	atomic_store_explicit(&h->touch, lo->touch, memory_order_relaxed);
	h->oid[0] = lo->ref.id.w[0];
	h->oid[1] = lo->ref.id.w[1];
	h->home = lo->ref.home;
	h->epoch = lo->epoch;
	h->len = lo->len;
	atomic_store_explicit(&h->digest, lo->digest, memory_order_relaxed);
	h->flags = lo->flags;
	h->crc = 0;
	memcpy(h + 1, lo->head + 1, lo->len);
	__atomic_store_n(&h->gen, gen, __ATOMIC_RELEASE);
	return gen;
}

static bool object_move(void *ctx, uint64_t from, uint64_t bytes, uint64_t to)
{
	struct swi_snode *sn = ctx;
	const struct swi_local *lo = &sn->relocate.lo;

	if (lo->offset != from || lo->bytes != bytes)
		return false;
	const uint32_t gen = copy(sn, lo, to);

	if (!swi_index_move(&sn->index, &lo->hit, gen, to, bytes))
		return false; /* its client has just deleted it */
	swi_quota_move(sn, from, to);
	swi_retire(sn, from, bytes);
	return true;
}

static const struct swi_compact_ops ops = {.at = object_at, .move = object_move};

void swi_relocate_init(struct swi_snode *sn)
{
	swi_compact_init(&sn->relocate.c, &sn->extents, &ops, sn);
}

void swi_relocate_fini(struct swi_snode *sn)
{
	swi_compact_fini(&sn->relocate.c);
}

/* Somebody waits, enough is free, and no piece is large enough. */
static bool wanted(struct swi_snode *sn, uint64_t *out_bytes)
{
	const uint64_t piece = swi_align_up(swi_room_piece(sn), SWI_PAGE);

	*out_bytes = piece;
	return piece && swi_extents_free_bytes(&sn->extents) >= piece + piece / 8 &&
	       swi_extents_largest(&sn->extents) < piece + SWI_PAGE;
}

static void none_found(struct swi_snode *sn)
{
	sn->relocate.again_ns = sn->now_ns + RETRY_NS;
	sn->relocate.frees = sn->extents.frees;
}

static bool begin(struct swi_snode *sn)
{
	struct swi_relocate *re = &sn->relocate;
	uint64_t bytes;

	if (!wanted(sn, &bytes) ||
	    (sn->now_ns < re->again_ns && sn->extents.frees - re->frees < RETRY_FREES))
		return false;
	if (sn->now_ns >= re->bars_ns) {
		swi_compact_again(&re->c);
		re->bars_ns = sn->now_ns + BARS_NS;
	}
	if (swi_pins_scan(sn) || swi_compact_begin(&re->c, bytes, swi_min_u64(bytes, swi_room_least(sn)))) {
		none_found(sn);
		return false;
	}
	re->until_ns = sn->now_ns + WINDOW_NS;
	return true;
}

int swi_relocate_step(struct swi_snode *sn)
{
	struct swi_relocate *re = &sn->relocate;

	if (!swi_compact_active(&re->c) && !begin(sn))
		return 0;
	const int rc = swi_compact_run(&re->c, STEP_BYTES);

	if (rc < 0 || (!rc && sn->now_ns >= re->until_ns)) {
		swi_compact_end(&re->c);
		none_found(sn);
	}
	return rc > 0;
}

uint64_t swi_relocate_deadline_ns(const struct swi_snode *sn)
{
	const struct swi_relocate *re = &sn->relocate;

	if (swi_compact_active(&re->c))
		return re->c.next < re->c.count ? sn->now_ns : re->until_ns;
	return swi_room_missing((struct swi_snode *)sn) && re->again_ns > sn->now_ns ? re->again_ns
										     : UINT64_MAX;
}
