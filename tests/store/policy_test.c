/* SPDX-License-Identifier: Apache-2.0 */
/* policy_test.c - the choice of what leaves memory, as the pure functions that it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/policy.h"
#include "transport/base/env.h"
#include "transport/base/hash.h"

static const struct swi_rates slow = {.write_bytes_per_s = 100000000, .read_bytes_per_s = 200000000};

static uint64_t price(enum swi_back back, uint64_t bytes, uint32_t age)
{
	const struct swi_leaver l = {.bytes = bytes, .age = age, .back = back, .make_ns = 5 * NS_PER_MS};

	return swi_policy_price(&l, &slow);
}

static void test_order(void **state)
{
	(void)state;
	/* Of the same size and age: a copy of a peer's, what is on disk, what must be written. */
	assert_true(price(SWI_BACK_PEER, MIB(1), 5) < price(SWI_BACK_DISK, MIB(1), 5));
	assert_true(price(SWI_BACK_DISK, MIB(1), 5) < price(SWI_BACK_WRITE, MIB(1), 5));
	/* The older first; old enough, what must be written goes before what was just used. */
	assert_true(price(SWI_BACK_WRITE, MIB(1), 50) < price(SWI_BACK_WRITE, MIB(1), 5));
	assert_true(price(SWI_BACK_WRITE, MIB(1), 100) < price(SWI_BACK_PEER, MIB(1), 0));
	/* A byte of a small object is dearer to get back than one of a large object. */
	assert_true(price(SWI_BACK_WRITE, MIB(64), 5) < price(SWI_BACK_WRITE, 4096, 5));
	/* What a task has just consumed is not written: it is probably deleted. Once it is old, it is. */
	const struct swi_leaver used = {.bytes = MIB(1), .age = 1, .back = SWI_BACK_WRITE, .used = true};

	assert_true(price(SWI_BACK_WRITE, MIB(1), 1) < swi_policy_price(&used, &slow));
	assert_true(price(SWI_BACK_WRITE, 4096, 3) < swi_policy_price(&used, &slow));
	/* Running a task of 5 ms against 16 ms of disk. */
	assert_true(price(SWI_BACK_REMAKE, MIB(1), 5) < price(SWI_BACK_WRITE, MIB(1), 5));
}

static void test_classes(void **state)
{
	uint64_t rng = 7, last = 0;
	uint32_t class = 0;

	(void)state;
	for (uint32_t i = 0; i < 64; i++) { /* never falling, all different from one power of two to the next */
		assert_true(swi_policy_class(1ull << i) < SWI_POLICY_CLASSES);
		assert_true(!i || swi_policy_class(1ull << i) > class);
		class = swi_policy_class(1ull << i);
	}
	assert_true(swi_policy_class(UINT64_MAX) < SWI_POLICY_CLASSES);
	for (int i = 0; i < 100000; i++) {
		const uint64_t p = last + swi_splitmix64(&rng) % (last / 8 + 2);

		assert_true(swi_policy_class(p) >= swi_policy_class(last));
		last = p < UINT64_MAX / 4 ? p : 0;
	}
	/* A quarter of an octave apart at most. */
	assert_true(swi_policy_class(1000000) < swi_policy_class(1400000));
}

static void test_prices_of_extremes(void **state)
{
	const struct swi_leaver l = {.bytes = UINT64_MAX / 2, .age = 0, .back = SWI_BACK_WRITE};
	const struct swi_leaver none = {.bytes = 0, .age = UINT32_MAX, .back = SWI_BACK_PEER};
	const struct swi_leaver never = {.bytes = 64, .back = SWI_BACK_REMAKE, .make_ns = UINT64_MAX - 1};
	const struct swi_rates r = {.write_bytes_per_s = 1, .read_bytes_per_s = 1, .net_bytes_per_s = 1};

	(void)state;
	assert_true(swi_policy_class(swi_policy_price(&l, &r)) < SWI_POLICY_CLASSES);
	assert_true(swi_policy_class(swi_policy_price(&none, &r)) < SWI_POLICY_CLASSES);
	assert_true(swi_policy_class(swi_policy_price(&never, &r)) < SWI_POLICY_CLASSES);
}

static void test_remake(void **state)
{
	const uint64_t disk_ns = 16 * NS_PER_MS; /* 1 MiB written at 100 and read at 200 MB/s: 15.8 ms */

	(void)state;
	assert_true(swi_policy_remake(MIB(1), disk_ns / 5, true, &slow));
	assert_false(swi_policy_remake(MIB(1), disk_ns / 2, true, &slow)); /* not for so little */
	assert_false(swi_policy_remake(MIB(1), SWI_REMAKE_NEVER, true, &slow)); /* a put */
	assert_false(swi_policy_remake(MIB(1), SWI_REMAKE_NEVER, false, &slow));
	/* A small object is never worth a task. */
	assert_false(swi_policy_remake(4096, 1000, true, &slow));
	/* Nowhere to write: a second of work rather than no room, but not an hour. */
	assert_true(swi_policy_remake(MIB(1), NS_PER_S, false, &slow));
	assert_false(swi_policy_remake(MIB(1), 3600 * NS_PER_S, false, &slow));
}

static void test_wanted(void **state)
{
	const struct swi_marks m = {.arena = 1000, .high = 850, .low = 750};
	struct swi_pressure p = {.used = 850};

	(void)state;
	assert_int_equal(swi_policy_wanted(&m, &p), 0);
	p.used = 851; /* past the high mark: down to the low one */
	assert_int_equal(swi_policy_wanted(&m, &p), 101);
	assert_true(p.running);
	p.used = 800; /* and not only to the high one */
	assert_int_equal(swi_policy_wanted(&m, &p), 50);
	p.going = 40;
	assert_int_equal(swi_policy_wanted(&m, &p), 10);
	p.going = 50;
	assert_int_equal(swi_policy_wanted(&m, &p), 0);
	assert_false(p.running);
	p.going = 0;
	assert_int_equal(swi_policy_wanted(&m, &p), 0);
	/* Somebody waits: what is lacking. */
	p = (struct swi_pressure){.used = 840, .missing = 300, .head = 100};
	assert_int_equal(swi_policy_wanted(&m, &p), 140);
	/* Enough is free, in pieces that are too small: one more such object. */
	p = (struct swi_pressure){.used = 500, .missing = 100, .head = 100};
	assert_int_equal(swi_policy_wanted(&m, &p), 100);
	p.going = 100;
	assert_int_equal(swi_policy_wanted(&m, &p), 0);
	/* Never more than there is, and no wrap. */
	p = (struct swi_pressure){.used = 1000, .missing = UINT64_MAX, .head = UINT64_MAX};
	assert_int_equal(swi_policy_wanted(&m, &p), 1000);
	p = (struct swi_pressure){.used = 10, .going = 20, .missing = 5, .head = 5};
	assert_int_equal(swi_policy_wanted(&m, &p), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_classes),
	    cmocka_unit_test(test_prices_of_extremes),
	    cmocka_unit_test(test_remake),
	    cmocka_unit_test(test_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
