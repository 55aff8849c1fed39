/* SPDX-License-Identifier: Apache-2.0 */
/* extent_test.c - the arena's allocator against a plain bitmap: random operations, invariants, nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/extent.h"
#include "transport/base/env.h"

#define ARENA MIB(64)
#define LIVE  4096

static void test_bounds(void **state SWI_UNUSED)
{
	struct swi_extents x;
	uint64_t a, b;

	assert_int_equal(swi_extents_init(&x, 100), -EINVAL);
	swi_extents_fini(&x);
	assert_int_equal(swi_extents_init(&x, KIB(64)), 0);
	assert_int_equal(swi_extent_alloc(&x, KIB(64) + 1, 64, SWI_EXTENT_LOW, &a), -E2BIG);
	assert_int_equal(swi_extent_alloc(&x, 0, 64, SWI_EXTENT_LOW, &a), -E2BIG);
	assert_int_equal(swi_extent_alloc(&x, KIB(64), 4096, SWI_EXTENT_HIGH, &a), 0);
	assert_int_equal(swi_extent_alloc(&x, 1, 64, SWI_EXTENT_LOW, &b), -ENOSPC);
	assert_int_equal(swi_extents_largest(&x), 0);
	/* freed in parts, from the middle */
	assert_int_equal(swi_extent_free(&x, 4096, 4096), 0);
	assert_int_equal(swi_extent_free(&x, 4096, 64), -EINVAL);
	assert_int_equal(swi_extent_free(&x, 0, KIB(64)), -EINVAL);
	assert_int_equal(swi_extent_free(&x, 32, 64), -EINVAL);
	assert_int_equal(swi_extent_free(&x, KIB(64), 64), -EINVAL);
	assert_int_equal(swi_extent_free(&x, KIB(60), KIB(8)), -EINVAL);
	assert_int_equal(swi_extent_free(&x, 0, UINT64_MAX), -EINVAL);
	assert_int_equal(swi_extent_free(&x, UINT64_MAX - 63, 64), -EINVAL);
	assert_int_equal(x.bad_frees, 7);
	assert_int_equal(swi_extent_free(&x, 0, 4096), 0);
	assert_int_equal(swi_extent_free(&x, 8192, KIB(64) - 8192), 0);
	assert_int_equal(x.free_blocks, 1);
	assert_int_equal(x.used, 0);
	assert_null(swi_extents_check(&x));
	swi_extents_fini(&x);
}

struct live {
	uint64_t off, bytes;
};

static void mark(uint8_t *map, uint64_t off, uint64_t bytes, uint8_t from, uint8_t to)
{
	for (uint64_t g = off / 64; g < (off + bytes) / 64; g++) {
		assert_int_equal(map[g], from);
		map[g] = to;
	}
}

static uint64_t draw_size(uint64_t *seed)
{
	const uint64_t r = swi_splitmix64(seed);

	switch (r % 8) {
	case 0:
		return swi_align_up(KIB(64) + (r >> 8) % KIB(512), 4096);
	case 1:
		return swi_align_up((r >> 8) % KIB(64) + 1, 64);
	default:
		return swi_align_up((r >> 8) % 2048 + 1, 64);
	}
}

static void test_random(void **state SWI_UNUSED)
{
	struct swi_extents x;
	struct live *live = calloc(LIVE, sizeof(*live));
	uint8_t *map = calloc(ARENA / 64, 1);
	uint64_t seed = 42, n = 0, full = 0;

	assert_int_equal(swi_extents_init(&x, ARENA), 0);
	for (uint32_t op = 0; op < 1000000; op++) {
		const uint64_t r = swi_splitmix64(&seed);

		if (n < LIVE && (r & 7) < 4 + (op >> 17) % 2) {
			const uint64_t bytes = draw_size(&seed);
			const bool large = bytes >= KIB(64);
			uint64_t off;

			if (swi_extent_alloc(&x, bytes, large ? 4096 : 64,
					     large ? SWI_EXTENT_HIGH : SWI_EXTENT_LOW, &off)) {
				full++;
				continue;
			}
			assert_int_equal(off % (large ? 4096 : 64), 0);
			mark(map, off, bytes, 0, 1);
			live[n++] = (struct live){off, bytes};
		} else if (n) {
			struct live *l = &live[(r >> 8) % n];
			uint64_t part = l->bytes;

			if ((r & 0x70) == 0 && part > 64) /* its first part only */
				part = swi_align_up(part / 3, 64);
			mark(map, l->off, part, 1, 0);
			assert_int_equal(swi_extent_free(&x, l->off, part), 0);
			assert_int_equal(swi_extent_free(&x, l->off, part), -EINVAL);
			l->off += part;
			l->bytes -= part;
			if (!l->bytes)
				*l = live[--n];
		}
		if (op % 50000 == 0)
			assert_null(swi_extents_check(&x));
	}
	print_message("refused %llu of 1,000,000; %llu free blocks at the end\n",
		      (unsigned long long)full, (unsigned long long)x.free_blocks);
	while (n--)
		assert_int_equal(swi_extent_free(&x, live[n].off, live[n].bytes), 0);
	assert_int_equal(x.free_blocks, 1);
	assert_int_equal(x.used, 0);
	assert_null(swi_extents_check(&x));
	swi_extents_fini(&x);
	free(map);
	free(live);
}

/* How full is it when an allocation is refused, under churn of mixed sizes? */
static void test_fragmentation(void **state SWI_UNUSED)
{
	struct swi_extents x;
	struct live *live = calloc(200000, sizeof(*live));
	uint64_t seed = 7, n = 0, sum = 0, refused = 0;

	assert_int_equal(swi_extents_init(&x, ARENA), 0);
	for (uint32_t op = 0; op < 200000; op++) {
		const uint64_t bytes = draw_size(&seed);
		const bool large = bytes >= KIB(64);
		uint64_t off;

		while (swi_extent_alloc(&x, bytes, large ? 4096 : 64,
					large ? SWI_EXTENT_HIGH : SWI_EXTENT_LOW, &off)) {
			if (op > 100000) {
				refused++;
				sum += x.used / KIB(1);
			}
			SWI_BUG_ON(!n); /* an empty arena refuses nothing */
			const uint64_t k = swi_splitmix64(&seed) % n;

			assert_int_equal(swi_extent_free(&x, live[k].off, live[k].bytes), 0);
			live[k] = live[--n];
		}
		live[n++] = (struct live){off, bytes};
	}
	const double used = 100.0 * (double)sum / (double)refused / (ARENA / 1024.0);

	print_message("%llu refusals, with %.1f %% used on average\n", (unsigned long long)refused,
		      used);
	assert_true(used > 70.0); /* random victims of 64 B to 576 KiB: the worst way to make room */
	swi_extents_fini(&x);
	free(live);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_fragmentation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
