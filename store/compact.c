/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compact.c - see compact.h.
 *
 * Invariant: every byte of the window is allocated in the extents; of those, the granules in hand belong to the
 * window, the others to objects that were there when it was chosen. missing is what the latter have in it.
 */
#include "store/compact.h"

#define TRIES	    8u	  /* windows looked at to find one that can be cleared */
#define FREE_PART   16u	  /* of a window must be free, or it is not looked at */
#define OBJECTS_MAX 8192u /* in one window; and looked at in one begin() */

void swi_compact_init(struct swi_compact *c, struct swi_extents *x, const struct swi_compact_ops *ops,
		      void *ctx)
{
	*c = (struct swi_compact){.x = x, .ops = ops, .ctx = ctx};
}

void swi_compact_fini(struct swi_compact *c)
{
	free(c->hand);
	free(c->obj);
	memset(c, 0, sizeof(*c));
}

static void bar(struct swi_compact *c, uint64_t offset)
{
	swi_vacancy_bar(&c->x->vacancy, offset / SWI_GRANULE);
}

static void bar_all(struct swi_compact *c, uint64_t from, uint64_t to)
{
	const uint64_t region = c->x->vacancy.granules * SWI_GRANULE;

	for (uint64_t at = from; at < to; at = swi_align_down(at + region, region))
		bar(c, at);
}

/* Where the regions with the most free bytes begin that @bytes fit into; UINT64_MAX = there are none. */
static uint64_t emptiest(const struct swi_compact *c, uint64_t bytes)
{
	const uint64_t region = c->x->vacancy.granules * SWI_GRANULE;
	const uint64_t at = swi_vacancy_emptiest(&c->x->vacancy, (bytes + region - 1) / region,
						 bytes / SWI_GRANULE / FREE_PART);

	return at == UINT64_MAX ? at : at * region;
}

static bool add(struct swi_compact *c, uint64_t offset, uint64_t bytes)
{
	if (c->count == c->cap) {
		const uint64_t cap = c->cap ? c->cap * 2 : 256;
		struct swi_compact_object *o = realloc(c->obj, cap * sizeof(*o));

		if (!o)
			return false;
		c->obj = o;
		c->cap = cap;
	}
	c->obj[c->count++] = (struct swi_compact_object){.offset = offset, .bytes = bytes};
	return true;
}

/*
 * The window that begins with the first free block from @start on: all that lies in it is free, or an object that may
 * move. Where a free block ends an object begins, and where that ends the next thing does. False: something bars it.
 */
static bool survey(struct swi_compact *c, uint64_t start, uint64_t bytes, uint64_t largest, uint64_t *looks)
{
	const uint64_t arena = c->x->granules * SWI_GRANULE;
	uint64_t pos, size, live = 0;

	c->count = 0;
	if (!swi_extent_next_free(c->x, start, &pos, &size) || arena - pos < bytes) {
		bar(c, start);
		return false;
	}
	c->from = swi_align_up(pos, SWI_PAGE);
	c->to = c->from + bytes;
	while (pos < c->to) {
		uint64_t next, ext;
		const bool more = swi_extent_next_free(c->x, pos, &next, &size);

		if (more && next <= pos) {
			pos = next + size;
			continue;
		}
		ext = *looks ? c->ops->at(c->ctx, pos) : 0;
		*looks -= *looks > 0;
		live += ext;
		if (!ext || ext > largest || ext > (more ? next : arena) - pos || live > 2 * bytes ||
		    c->count == OBJECTS_MAX) {
			bar(c, pos);
			bar(c, start);
			return false;
		}
		if (pos + ext > c->from && !add(c, pos, ext))
			return false;
		pos += ext;
	}
	return c->to <= arena;
}

/* ---- the window's bytes ---- */

static void take_in_hand(struct swi_compact *c, uint64_t from, uint64_t to)
{
	const uint64_t end = (to - c->from) / SWI_GRANULE;

	for (uint64_t g = (from - c->from) / SWI_GRANULE; g < end; g = (g / 64 + 1) * 64) {
		const uint64_t last = swi_min_u64(end - 1, g | 63);

		c->hand[g / 64] |= ~0ull << (g % 64) & ~0ull >> (63 - last % 64);
	}
	c->missing -= to - from;
}

/* What is free in the window leaves the allocator. */
static int take_free(struct swi_compact *c)
{
	uint64_t at, size;

	for (uint64_t pos = c->from; swi_extent_next_free(c->x, pos, &at, &size) && at < c->to;) {
		const uint64_t from = swi_max_u64(at, c->from), to = swi_min_u64(at + size, c->to);
		const int rc = swi_extent_take(c->x, from, to - from);

		if (rc)
			return rc;
		take_in_hand(c, from, to);
		pos = to;
		if (pos == c->to)
			break;
	}
	return 0;
}

static void window_over(struct swi_compact *c)
{
	free(c->hand);
	c->hand = NULL;
	c->from = c->to = c->missing = c->count = c->next = 0;
}

/* The first granule of the window from @g on that is in hand, or is not; the end if there is none. */
static uint64_t next_granule(const struct swi_compact *c, uint64_t g, bool is_in_hand)
{
	const uint64_t n = (c->to - c->from) / SWI_GRANULE;

	while (g < n) {
		const uint64_t w = (is_in_hand ? c->hand[g / 64] : ~c->hand[g / 64]) >> (g % 64);

		if (w)
			return swi_min_u64(n, g + (uint64_t)__builtin_ctzll(w));
		g = (g / 64 + 1) * 64;
	}
	return n;
}

void swi_compact_end(struct swi_compact *c)
{
	const uint64_t n = (c->to - c->from) / SWI_GRANULE;

	if (!swi_compact_active(c))
		return;
	for (uint64_t g = 0, run, next; g < n; g = next) {
		run = next_granule(c, g, true); /* up to it lies what did not come back */
		next = next_granule(c, run, false);
		bar_all(c, c->from + g * SWI_GRANULE, c->from + run * SWI_GRANULE);
		if (next > run)
			(void)!swi_extent_free(c->x, c->from + run * SWI_GRANULE, (next - run) * SWI_GRANULE);
	}
	window_over(c);
}

static void done_if_whole(struct swi_compact *c)
{
	if (c->missing)
		return;
	(void)!swi_extent_free(c->x, c->from, c->to - c->from);
	c->windows++;
	window_over(c);
}

int swi_compact_free(struct swi_compact *c, uint64_t offset, uint64_t bytes)
{
	const uint64_t end = offset + swi_align_up(bytes, SWI_GRANULE);
	const uint64_t from = swi_max_u64(offset, c->from), to = swi_min_u64(end, c->to);
	int rc = 0;

	if (!swi_compact_active(c) || offset % SWI_GRANULE || end < offset || from >= to)
		return swi_extent_free(c->x, offset, bytes);
	if (next_granule(c, (from - c->from) / SWI_GRANULE, true) < (to - c->from) / SWI_GRANULE) {
		c->x->bad_frees++;
		return -EINVAL;
	}
	if (offset < from)
		rc = swi_extent_free(c->x, offset, from - offset);
	if (!rc && end > to)
		rc = swi_extent_free(c->x, to, end - to);
	if (rc)
		return rc;
	take_in_hand(c, from, to);
	done_if_whole(c);
	return 0;
}

/* ---- clearing it ---- */

static int window_open(struct swi_compact *c, uint64_t bytes)
{
	int rc;

	c->missing = bytes;
	c->next = 0;
	c->hand = calloc(bytes / SWI_GRANULE / 64 + 1, sizeof(*c->hand));
	if (!c->hand) {
		window_over(c);
		return -ENOMEM;
	}
	rc = take_free(c);
	if (rc)
		swi_compact_end(c);
	return rc;
}

int swi_compact_begin(struct swi_compact *c, uint64_t bytes, uint64_t least)
{
	const uint64_t largest = swi_extents_largest(c->x); /* what is larger has no place to go */
	uint64_t looks = OBJECTS_MAX;

	if (swi_compact_active(c))
		return -EBUSY;
	for (; bytes >= least; bytes = swi_align_down(bytes / 2, SWI_PAGE))
		for (uint32_t i = 0; i < TRIES && looks; i++) {
			const uint64_t start = emptiest(c, bytes);

			if (start == UINT64_MAX)
				break;
			if (survey(c, start, bytes, largest, &looks))
				return window_open(c, bytes);
			window_over(c);
		}
	return -ENOSPC;
}

static int move(struct swi_compact *c, const struct swi_compact_object *o)
{
	const bool large = o->bytes >= SWI_LARGE_MIN;
	uint64_t to;
	int rc;

	if (c->ops->at(c->ctx, o->offset) != o->bytes)
		return 0; /* it leaves, or is in use now: then it is missing to the end */
	rc = swi_extent_alloc(c->x, o->bytes, large ? SWI_PAGE : SWI_GRANULE,
			      swi_extent_side(o->bytes, c->x->granules * SWI_GRANULE), &to);
	if (rc)
		return rc;
	c->moved_objects++;
	c->moved_bytes += o->bytes;
	if (!c->ops->move(c->ctx, o->offset, o->bytes, to))
		return swi_extent_free(c->x, to, o->bytes);
	return 0;
}

int swi_compact_run(struct swi_compact *c, uint64_t bytes)
{
	const uint64_t stop = swi_sat_add(c->moved_bytes, bytes);

	while (c->next < c->count && c->moved_bytes < stop) {
		const struct swi_compact_object o = c->obj[c->next++];
		const int rc = move(c, &o);

		if (rc)
			return rc;
	}
	if (c->next < c->count)
		return 1;
	return 0;
}
