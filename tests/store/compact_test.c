/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compact_test.c - room in one piece out of room in many (store/compact.h), against a plain map of who owns which granule:
 * windows are cleared, nothing is lost or overlaps, what may not move stays, and giving up gives back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/compact.h"
#include "transport/base/env.h"

#define ARENA MIB(16)
#define LIVE  16384

struct obj {
	uint64_t off, bytes;
	bool stays;
};

struct rig {
	struct swi_extents x;
	struct swi_compact c;
	struct obj o[LIVE];
	uint32_t n;
	uint32_t *map; /* by granule: number + 1 */
	bool late;     /* old bytes come back only by settle() */
	struct obj gone[LIVE];
	uint32_t gone_n;
};

static uint64_t obj_at(void *ctx, uint64_t offset)
{
	struct rig *r = ctx;
	const uint32_t n = r->map[offset / 64];

	return n && r->o[n - 1].off == offset && !r->o[n - 1].stays ? r->o[n - 1].bytes : 0;
}

static void mark(struct rig *r, uint64_t off, uint64_t bytes, uint32_t from, uint32_t to)
{
	for (uint64_t g = off / 64; g < (off + bytes) / 64; g++) {
		assert_int_equal(r->map[g], from);
		r->map[g] = to;
	}
}

static bool obj_move(void *ctx, uint64_t from, uint64_t bytes, uint64_t to)
{
	struct rig *r = ctx;
	const uint32_t n = r->map[from / 64];

	/* Never into its own window: what was moved there would have to move again. */
	assert_true(to + bytes <= r->c.from || to >= r->c.to);
	mark(r, from, bytes, n, 0);
	mark(r, to, bytes, 0, n);
	r->o[n - 1].off = to;
	if (r->late)
		r->gone[r->gone_n++] = (struct obj){.off = from, .bytes = bytes};
	else
		assert_int_equal(swi_compact_free(&r->c, from, bytes), 0);
	return true;
}

static const struct swi_compact_ops ops = {.at = obj_at, .move = obj_move};

static struct rig *rig_new(void)
{
	struct rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->map = calloc(ARENA / 64, sizeof(*r->map));
	assert_int_equal(swi_extents_init(&r->x, ARENA), 0);
	swi_compact_init(&r->c, &r->x, &ops, r);
	return r;
}

static void rig_free(struct rig *r)
{
	assert_null(swi_extents_check(&r->x));
	swi_compact_fini(&r->c);
	swi_extents_fini(&r->x);
	free(r->map);
	free(r);
}

static int put(struct rig *r, uint64_t bytes)
{
	const uint64_t align = bytes >= SWI_LARGE_MIN ? SWI_PAGE : SWI_GRANULE;
	uint64_t off;
	const int rc = swi_extent_alloc(&r->x, bytes, align, SWI_EXTENT_LOW, &off);

	if (rc)
		return rc;
	mark(r, off, bytes, 0, r->n + 1);
	r->o[r->n++] = (struct obj){.off = off, .bytes = bytes};
	return 0;
}

static void drop(struct rig *r, uint32_t i)
{
	const struct obj o = r->o[i];

	mark(r, o.off, o.bytes, i + 1, 0);
	assert_int_equal(swi_compact_free(&r->c, o.off, o.bytes), 0);
	if (i != --r->n) {
		r->o[i] = r->o[r->n];
		mark(r, r->o[i].off, r->o[i].bytes, r->n + 1, i + 1);
	}
}

/* Every second object of 8 KiB goes: half of the arena is free, in pieces of 8 KiB. */
static struct rig *holes(void)
{
	struct rig *r = rig_new();

	while (!put(r, KIB(8)))
		;
	for (uint32_t i = r->n - 1; i > 0 && i < r->n; i -= i > 1 ? 2 : 1)
		drop(r, i);
	assert_true(swi_extents_free_bytes(&r->x) >= ARENA / 2 - KIB(16));
	assert_true(swi_extents_largest(&r->x) < KIB(64));
	return r;
}

static void test_makes_one_piece(void **state)
{
	struct rig *r = holes();
	const uint64_t free_bytes = swi_extents_free_bytes(&r->x);

	(void)state;
	assert_int_equal(put(r, MIB(1)), -ENOSPC);
	assert_int_equal(swi_compact_begin(&r->c, MIB(1), MIB(1)), 0);
	assert_int_equal(swi_compact_begin(&r->c, MIB(1), MIB(1)), -EBUSY);
	assert_int_equal(swi_compact_run(&r->c, KIB(64)), 1); /* no more at once than asked for */
	assert_int_equal(r->c.moved_bytes, KIB(64));
	assert_int_equal(swi_compact_run(&r->c, UINT64_MAX), 0);
	assert_false(swi_compact_active(&r->c));
	assert_int_equal(swi_extents_free_bytes(&r->x), free_bytes);
	assert_true(r->c.moved_bytes <= MIB(1) / 2 + KIB(64)); /* what lived there, and no more */
	assert_int_equal(put(r, MIB(1)), 0);
	rig_free(r);
}

/* The old bytes come back late, and some are freed meanwhile by others; until all are back nobody gets any. */
static void test_waits_for_the_last(void **state)
{
	struct rig *r = holes();

	(void)state;
	r->late = true;
	assert_int_equal(swi_compact_begin(&r->c, MIB(1), MIB(1)), 0);
	const uint64_t from = r->c.from, to = r->c.to;
	uint64_t free_block, size;

	assert_int_equal(swi_compact_run(&r->c, UINT64_MAX), 0);
	assert_true(r->gone_n > 16);
	while (r->gone_n) {
		const struct obj o = r->gone[--r->gone_n];

		assert_true(swi_compact_active(&r->c));
		if (o.off >= from)
			assert_false(swi_extent_next_free(&r->x, from, &free_block, &size) &&
				     free_block < to && free_block >= from);
		assert_int_equal(swi_compact_free(&r->c, o.off, o.bytes), 0);
	}
	assert_false(swi_compact_active(&r->c));
	assert_int_equal(r->c.windows, 1);
	assert_true(swi_extent_next_free(&r->x, from, &free_block, &size));
	assert_true(free_block <= from && free_block + size >= to);
	rig_free(r);
}

static void test_gives_back(void **state)
{
	struct rig *r = holes();
	const uint64_t before = swi_extents_free_bytes(&r->x);

	(void)state;
	r->late = true;
	assert_int_equal(swi_compact_begin(&r->c, MIB(1), MIB(1)), 0);
	const uint64_t from = r->c.from;

	assert_true(swi_extents_free_bytes(&r->x) < before);
	assert_int_equal(swi_compact_run(&r->c, KIB(128)), 1);
	assert_int_equal(swi_compact_free(&r->c, r->gone[0].off, r->gone[0].bytes), 0);
	assert_int_equal(swi_compact_free(&r->c, r->gone[0].off, r->gone[0].bytes), -EINVAL); /* twice */
	assert_int_equal(r->x.bad_frees, 1);
	swi_compact_end(&r->c);
	assert_false(swi_compact_active(&r->c));
	assert_null(swi_extents_check(&r->x));
	for (uint32_t i = 1; i < r->gone_n; i++)
		assert_int_equal(swi_compact_free(&r->c, r->gone[i].off, r->gone[i].bytes), 0);
	r->gone_n = 0;
	assert_int_equal(swi_extents_free_bytes(&r->x), before);
	/* Not there again in this round, but somewhere. */
	assert_int_equal(swi_compact_begin(&r->c, MIB(1), MIB(1)), 0);
	assert_int_not_equal(r->c.from, from);
	swi_compact_end(&r->c);
	rig_free(r);
}

/* Something that stays in every 256 KiB: no window of 1 MiB, but many of 128 KiB. When it may move, 1 MiB. */
static void test_what_stays(void **state)
{
	struct rig *r = holes();

	(void)state;
	for (uint64_t at = 0, next; at < ARENA; at = next) {
		next = at + KIB(256);
		for (uint64_t g = at / 64; g < next / 64; g++)
			if (r->map[g]) {
				r->o[r->map[g] - 1].stays = true;
				break;
			}
	}
	for (int i = 0; i < 10; i++)
		assert_int_equal(swi_compact_begin(&r->c, MIB(1), MIB(1)), -ENOSPC);
	swi_compact_again(&r->c);
	assert_int_equal(swi_compact_begin(&r->c, MIB(1), KIB(16)), 0); /* less will do */
	assert_in_range(r->c.to - r->c.from, KIB(16), KIB(256));
	swi_compact_end(&r->c);
	swi_compact_again(&r->c);
	assert_int_equal(swi_compact_begin(&r->c, KIB(128), KIB(128)), 0);
	assert_int_equal(swi_compact_run(&r->c, UINT64_MAX), 0);
	assert_int_equal(put(r, KIB(128)), 0);
	for (uint32_t i = 0; i < r->n; i++)
		r->o[i].stays = false;
	swi_compact_again(&r->c);
	assert_int_equal(swi_compact_begin(&r->c, MIB(1), MIB(1)), 0);
	assert_int_equal(swi_compact_run(&r->c, UINT64_MAX), 0);
	assert_int_equal(put(r, MIB(1)), 0);
	rig_free(r);
}

/* Nowhere to go: it says so. */
static void test_no_place(void **state)
{
	struct rig *r = rig_new();

	(void)state;
	while (!put(r, KIB(16)))
		;
	for (uint32_t i = 0; i < r->n; i += 16) { /* holes of 8 KiB, each behind an object of 8 KiB */
		assert_int_equal(swi_compact_free(&r->c, r->o[i].off + KIB(8), KIB(8)), 0);
		mark(r, r->o[i].off + KIB(8), KIB(8), i + 1, 0);
		r->o[i].bytes = KIB(8);
	}
	const uint64_t free_bytes = swi_extents_free_bytes(&r->x);

	for (int i = 0; i < 100; i++) /* a window of objects that fit nowhere is not even begun */
		if (!swi_compact_begin(&r->c, KIB(64), KIB(64))) {
			assert_int_equal(swi_compact_run(&r->c, UINT64_MAX), -ENOSPC);
			swi_compact_end(&r->c);
		}
	assert_int_equal(r->c.windows, 0);
	assert_int_equal(swi_extents_free_bytes(&r->x), free_bytes);
	rig_free(r);
}

static uint64_t draw(uint64_t *seed)
{
	const uint64_t v = swi_splitmix64(seed);

	switch (v % 16) {
	case 0:
		return swi_align_up(KIB(64) + (v >> 8) % KIB(400), SWI_PAGE);
	case 1:
	case 2:
		return swi_align_up((v >> 8) % KIB(60) + 1, SWI_GRANULE);
	default:
		return swi_align_up((v >> 8) % KIB(4) + 1, SWI_GRANULE);
	}
}

/*
 * Puts of mixed sizes for ever; without room a window is cleared, or one object goes. How full is it then? The
 * same without windows, for comparison.
 */
static double churn(bool windows)
{
	struct rig *r = rig_new();
	uint64_t seed = 11, samples = 0;
	double sum = 0;

	for (uint32_t op = 0; op < 60000; op++) {
		const uint64_t bytes = draw(&seed);

		while (r->n == LIVE || put(r, bytes)) {
			swi_compact_again(&r->c);
			if (windows && swi_extents_free_bytes(&r->x) > bytes * 2 &&
			    !swi_compact_begin(&r->c, swi_align_up(bytes, SWI_PAGE), bytes)) {
				(void)swi_compact_run(&r->c, UINT64_MAX);
				swi_compact_end(&r->c);
				if (!put(r, bytes))
					break;
			}
			drop(r, (uint32_t)(swi_splitmix64(&seed) % r->n));
		}
		if (op > 30000) {
			sum += (double)r->x.used / ARENA;
			samples++;
		}
		if (op % 5000 == 0)
			assert_null(swi_extents_check(&r->x));
	}
	for (uint32_t i = 0; i < r->n; i++) /* all that was put and not dropped is there, and nothing else */
		mark(r, r->o[i].off, r->o[i].bytes, i + 1, 0);
	for (uint64_t g = 0; g < ARENA / 64; g++)
		assert_int_equal(r->map[g], 0);
	rig_free(r);
	return sum / (double)samples;
}

static void test_churn(void **state)
{
	const double without = churn(false), with = churn(true);

	(void)state;
	print_message("used when a put must wait: %.3f, with windows %.3f\n", without, with);
	assert_true(with > 0.94);
	assert_true(with > without + 0.02);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_makes_one_piece), cmocka_unit_test(test_waits_for_the_last),
	    cmocka_unit_test(test_gives_back),	    cmocka_unit_test(test_what_stays),
	    cmocka_unit_test(test_no_place),	    cmocka_unit_test(test_churn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
