/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extent.c - see extent.h. All sizes inside are in granules. Owner thread: the node core.
 *
 * Invariants: free blocks never touch; each is in by_start, in the list of its size class and in
 * starts; the large ones are found by the unit of 64 KiB that they begin in as well. The block before an address is
 * found by starts alone, so that neither ends nor allocated ranges need records.
 */
#include "store/extent.h"
#include "transport/base/hash.h"

struct swi_free_block {
	UT_hash_handle hh;
	uint64_t start, size;
	struct swi_list link; /* in class_list[] */
};

#define STEPS	  16u
#define NONE	  SWI_BITS_NONE
#define UNIT	  (SWI_LARGE_MIN / SWI_GRANULE) /* in each at most one large block begins */
#define SCAN_MAX  256u /* blocks of one class looked at when no larger class has any */

static uint32_t class_of(uint64_t size)
{
	if (size < STEPS)
		return (uint32_t)size;
	const uint32_t log = 63u - (uint32_t)__builtin_clzll(size);
	const uint32_t c = (log - 3) * STEPS + (uint32_t)(size >> (log - 4)) - STEPS;

	return c < SWI_EXTENT_CLASSES ? c : SWI_EXTENT_CLASSES - 1;
}

/* The first class all of whose blocks are at least @size. */
static uint32_t class_above(uint64_t size)
{
	if (size < STEPS)
		return (uint32_t)size;
	const uint32_t log = 63u - (uint32_t)__builtin_clzll(size);

	return class_of(size + (1ull << (log - 4)) - 1);
}

/* ---- blocks ---- */

static struct swi_free_block *block_at(const struct swi_extents *x, uint64_t start)
{
	struct swi_free_block *b;

	HASH_FIND(hh, x->by_start, &start, sizeof(start), b);
	return b;
}

static void class_insert(struct swi_extents *x, struct swi_free_block *b)
{
	const uint32_t c = class_of(b->size);

	swi_list_push_front(&x->class_list[c], &b->link);
	x->class_map[c / 64] |= 1ull << (c % 64);
	if (b->size >= UNIT) {
		swi_bits_set(&x->large, b->start / UNIT);
		x->large_at[b->start / UNIT] = b;
	}
}

static void class_remove(struct swi_extents *x, struct swi_free_block *b)
{
	const uint32_t c = class_of(b->size);

	swi_list_del(&b->link);
	if (swi_list_empty(&x->class_list[c]))
		x->class_map[c / 64] &= ~(1ull << (c % 64));
	if (b->size >= UNIT)
		swi_bits_clear(&x->large, b->start / UNIT);
}

static int block_add(struct swi_extents *x, uint64_t start, uint64_t size)
{
	struct swi_free_block *b = swi_pool_get(&x->spare, sizeof(*b), 0);

	if (!b)
		return -ENOMEM;
	b->start = start;
	b->size = size;
	HASH_ADD(hh, x->by_start, start, sizeof(b->start), b);
	swi_bits_set(&x->starts, start);
	class_insert(x, b);
	x->free_blocks++;
	return 0;
}

static void block_del(struct swi_extents *x, struct swi_free_block *b)
{
	class_remove(x, b);
	swi_bits_clear(&x->starts, b->start);
	HASH_DELETE(hh, x->by_start, b);
	swi_pool_put(&x->spare, b);
	x->free_blocks--;
}

static void block_resize(struct swi_extents *x, struct swi_free_block *b, uint64_t size)
{
	class_remove(x, b);
	b->size = size;
	class_insert(x, b);
}

/* What was carved was its front. */
static void block_move(struct swi_extents *x, struct swi_free_block *b, uint64_t start, uint64_t size)
{
	class_remove(x, b);
	swi_bits_clear(&x->starts, b->start);
	HASH_DELETE(hh, x->by_start, b);
	b->start = start;
	b->size = size;
	HASH_ADD(hh, x->by_start, start, sizeof(b->start), b);
	swi_bits_set(&x->starts, start);
	class_insert(x, b);
}

/* ---- life ---- */

int swi_extents_init(struct swi_extents *x, uint64_t bytes)
{
	memset(x, 0, sizeof(*x));
	for (uint32_t c = 0; c < SWI_EXTENT_CLASSES; c++)
		swi_list_init(&x->class_list[c]);
	if (bytes < SWI_PAGE || bytes % SWI_PAGE || bytes / SWI_GRANULE > 1ull << 40)
		return -EINVAL;
	x->granules = bytes / SWI_GRANULE;
	const uint64_t units = x->granules / UNIT + 1;
	int rc = swi_bits_init(&x->starts, x->granules);

	if (!rc)
		rc = swi_bits_init(&x->large, units);
	if (!rc)
		rc = swi_vacancy_init(&x->vacancy, x->granules);
	x->large_at = calloc(units, sizeof(*x->large_at));
	if (rc || !x->large_at)
		return -ENOMEM;
	swi_vacancy_count(&x->vacancy, 0, x->granules, true);
	return block_add(x, 0, x->granules);
}

void swi_extents_fini(struct swi_extents *x)
{
	struct swi_free_block *b, *tmp;

	HASH_ITER (hh, x->by_start, b, tmp) {
		HASH_DELETE(hh, x->by_start, b);
		free(b);
	}
	swi_pool_fini(&x->spare);
	swi_bits_fini(&x->starts);
	swi_bits_fini(&x->large);
	free(x->large_at);
	swi_vacancy_fini(&x->vacancy);
	memset(x, 0, sizeof(*x));
}

/* ---- allocation ---- */

/* Where in @b an aligned run of @size lies, at the side wanted; NONE if it does not fit. */
static uint64_t place(const struct swi_free_block *b, uint64_t size, uint64_t align,
		      enum swi_extent_side side)
{
	const uint64_t lo = swi_align_up(b->start, align);

	if (b->size < size || lo + size > b->start + b->size)
		return NONE;
	return side == SWI_EXTENT_LOW ? lo : swi_align_down(b->start + b->size - size, align);
}

static struct swi_free_block *first_in(const struct swi_extents *x, uint32_t from)
{
	for (uint32_t w = from / 64; w < SWI_ARRAY_LEN(x->class_map); w++) {
		uint64_t m = x->class_map[w];

		if (w == from / 64)
			m &= ~0ull << (from % 64);
		if (m) {
			const uint32_t c = w * 64 + (uint32_t)__builtin_ctzll(m);

			return swi_list_first(&x->class_list[c], struct swi_free_block, link);
		}
	}
	return NULL;
}

/* A block in classes [class_of(size), to) that happens to fit: sizes vary within a class. */
static struct swi_free_block *search(const struct swi_extents *x, uint64_t size, uint64_t align,
				     uint32_t to)
{
	for (uint32_t c = class_of(size); c <= to && c < SWI_EXTENT_CLASSES; c++) {
		uint32_t looked = 0;

		swi_list_for_each(it, &x->class_list[c]) {
			struct swi_free_block *b = swi_list_entry(it, struct swi_free_block, link);

			if (place(b, size, align, SWI_EXTENT_LOW) != NONE)
				return b;
			if (++looked == SCAN_MAX)
				break;
		}
	}
	return NULL;
}

/*
 * The outermost block of its side that fits, among the first few that are large: large extents are packed towards the
 * ends, so that what stays (held, pinned) does not lie all over the arena and a larger one still finds room between.
 */
static struct swi_free_block *outermost(const struct swi_extents *x, uint64_t size, uint64_t align,
					enum swi_extent_side side)
{
	const bool low = side == SWI_EXTENT_LOW;
	uint64_t at = low ? swi_bits_next(&x->large, 0) : swi_bits_prev(&x->large, x->granules / UNIT);

	for (uint32_t looked = 0; at != NONE && looked < SCAN_MAX; looked++) {
		struct swi_free_block *b = x->large_at[at];

		if (place(b, size, align, side) != NONE)
			return b;
		if (!low && !at)
			break;
		at = low ? swi_bits_next(&x->large, at + 1) : swi_bits_prev(&x->large, at - 1);
	}
	return NULL;
}

/* Takes [at, at + size) out of @b. */
static int carve(struct swi_extents *x, struct swi_free_block *b, uint64_t at, uint64_t size)
{
	const uint64_t front = at - b->start, all = b->size;
	const uint64_t back = b->start + all - (at + size);

	/* What is left in front is made small first: two large ones cannot begin in one unit. */
	if (front)
		block_resize(x, b, front);
	else if (back)
		block_move(x, b, at + size, back);
	else
		block_del(x, b);
	if (front && back) {
		const int rc = block_add(x, at + size, back);

		if (rc) {
			block_resize(x, b, all);
			return rc;
		}
	}
	x->used += size * SWI_GRANULE;
	swi_vacancy_count(&x->vacancy, at, size, false);
	return 0;
}

int swi_extent_alloc(struct swi_extents *x, uint64_t bytes, uint64_t align,
		     enum swi_extent_side side, uint64_t *out_offset)
{
	const uint64_t step = align / SWI_GRANULE;

	if (bytes == 0 || bytes > x->granules * SWI_GRANULE)
		return -E2BIG;
	const uint64_t size = swi_align_up(bytes, SWI_GRANULE) / SWI_GRANULE;
	const uint32_t sure = class_above(size + step - 1);
	struct swi_free_block *b = NULL;

	if (!first_in(x, class_of(size))) /* nothing is so large: no look at what is smaller */
		return -ENOSPC;
	if (bytes >= SWI_LARGE_MIN)
		b = outermost(x, size, step, side);
	if (!b)
		b = search(x, size, step, class_of(size));
	if (!b || (bytes < SWI_LARGE_MIN && class_of(b->size) > sure))
		b = first_in(x, sure);
	if (!b || place(b, size, step, side) == NONE)
		b = search(x, size, step, sure);
	if (!b)
		return -ENOSPC;
	const uint64_t at = place(b, size, step, side);
	const int rc = carve(x, b, at, size);

	if (rc)
		return rc;
	*out_offset = at * SWI_GRANULE;
	return 0;
}

/* ---- giving back ---- */

/* The free blocks around an allocated range; false when part of the range is free. */
static bool neighbours(const struct swi_extents *x, uint64_t start, uint64_t size,
		       struct swi_free_block **out_before, struct swi_free_block **out_after)
{
	const uint64_t p = swi_bits_prev(&x->starts, start);
	const uint64_t n = swi_bits_next(&x->starts, start);

	*out_before = NULL;
	*out_after = NULL;
	if (n != NONE) {
		if (n < start + size)
			return false;
		if (n == start + size)
			*out_after = block_at(x, n);
	}
	if (p != NONE) {
		struct swi_free_block *b = block_at(x, p);

		if (b->start + b->size > start)
			return false;
		if (b->start + b->size == start)
			*out_before = b;
	}
	return true;
}

static bool in_range(const struct swi_extents *x, uint64_t offset, uint64_t bytes)
{
	const uint64_t all = x->granules * SWI_GRANULE;

	return offset % SWI_GRANULE == 0 && bytes != 0 && offset < all && bytes <= all - offset;
}

bool swi_extent_is_allocated(const struct swi_extents *x, uint64_t offset, uint64_t bytes)
{
	struct swi_free_block *before, *after;

	return in_range(x, offset, bytes) &&
	       neighbours(x, offset / SWI_GRANULE, swi_align_up(bytes, SWI_GRANULE) / SWI_GRANULE,
			  &before, &after);
}

int swi_extent_free(struct swi_extents *x, uint64_t offset, uint64_t bytes)
{
	struct swi_free_block *before, *after;
	const uint64_t start = offset / SWI_GRANULE;
	const uint64_t size = swi_align_up(bytes, SWI_GRANULE) / SWI_GRANULE;

	if (!in_range(x, offset, bytes) || !neighbours(x, start, size, &before, &after)) {
		x->bad_frees++;
		return -EINVAL;
	}
	const uint64_t back = after ? after->size : 0;

	if (after)
		block_del(x, after);
	if (before) {
		block_resize(x, before, before->size + size + back);
	} else {
		const int rc = block_add(x, start, size + back);

		if (rc)
			return rc;
	}
	x->used -= size * SWI_GRANULE;
	x->frees++;
	swi_vacancy_count(&x->vacancy, start, size, true);
	return 0;
}

bool swi_extent_next_free(const struct swi_extents *x, uint64_t offset, uint64_t *out_offset,
			  uint64_t *out_bytes)
{
	const uint64_t at = offset / SWI_GRANULE;
	const uint64_t p = at < x->granules ? swi_bits_prev(&x->starts, at) : NONE;
	const struct swi_free_block *b = p != NONE ? block_at(x, p) : NULL;

	if (!b || b->start + b->size <= at) {
		const uint64_t n = at < x->granules ? swi_bits_next(&x->starts, at) : NONE;

		b = n != NONE ? block_at(x, n) : NULL;
	}
	if (!b)
		return false;
	*out_offset = b->start * SWI_GRANULE;
	*out_bytes = b->size * SWI_GRANULE;
	return true;
}

int swi_extent_take(struct swi_extents *x, uint64_t offset, uint64_t bytes)
{
	const uint64_t start = offset / SWI_GRANULE;
	const uint64_t size = swi_align_up(bytes, SWI_GRANULE) / SWI_GRANULE;
	const uint64_t p = in_range(x, offset, bytes) ? swi_bits_prev(&x->starts, start) : NONE;
	struct swi_free_block *b = p != NONE ? block_at(x, p) : NULL;

	if (!b || start + size > b->start + b->size)
		return -EINVAL;
	return carve(x, b, start, size);
}

uint64_t swi_extents_largest(const struct swi_extents *x)
{
	for (uint32_t w = (uint32_t)SWI_ARRAY_LEN(x->class_map); w-- > 0;) {
		uint64_t best = 0;

		if (!x->class_map[w])
			continue;
		const uint32_t c = w * 64 + 63u - (uint32_t)__builtin_clzll(x->class_map[w]);

		swi_list_for_each(it, &x->class_list[c]) {
			const uint64_t s = swi_list_entry(it, struct swi_free_block, link)->size;

			best = s > best ? s : best;
		}
		return best * SWI_GRANULE;
	}
	return 0;
}

const char *swi_extents_check(const struct swi_extents *x)
{
	uint64_t at = swi_bits_next(&x->starts, 0), blocks = 0, free_size = 0, end = 0, in_regions = 0, large = 0;

	for (uint64_t r = 0; r < x->vacancy.count; r++)
		in_regions += x->vacancy.free[r];
	while (at != NONE) {
		const struct swi_free_block *b = block_at(x, at);

		if (!b || b->size == 0 || b->start + b->size > x->granules)
			return "a start bit without a proper block";
		if (blocks && b->start <= end)
			return "free blocks touch or overlap";
		if (swi_bits_prev(&x->starts, at) != at)
			return "the bitmap levels disagree";
		if (b->size >= UNIT && (swi_bits_prev(&x->large, at / UNIT) != at / UNIT || x->large_at[at / UNIT] != b))
			return "a large block is not found as such";
		large += b->size >= UNIT;
		end = b->start + b->size;
		free_size += b->size;
		blocks++;
		at = end < x->granules ? swi_bits_next(&x->starts, end) : NONE;
	}
	if (blocks != x->free_blocks || blocks != HASH_COUNT(x->by_start))
		return "the number of blocks differs";
	if ((x->granules - free_size) * SWI_GRANULE != x->used)
		return "the used bytes differ";
	for (at = swi_bits_next(&x->large, 0); at != NONE; at = swi_bits_next(&x->large, at + 1))
		large--;
	if (large)
		return "the number of large blocks differs";
	if (in_regions != free_size)
		return "the regions' counts differ";
	for (uint32_t c = 0; c < SWI_EXTENT_CLASSES; c++) {
		const bool bit = x->class_map[c / 64] >> (c % 64) & 1;

		if (bit == swi_list_empty(&x->class_list[c]))
			return "the class bitmap is wrong";
		swi_list_for_each(it, &x->class_list[c])
		{
			const struct swi_free_block *b = swi_list_entry(it, struct swi_free_block, link);

			if (class_of(b->size) != c || blocks-- == 0)
				return "a block is in a wrong class";
		}
	}
	return blocks ? "a block is in no class" : NULL;
}
