/* SPDX-License-Identifier: Apache-2.0 */
/* test_spec.c - a spec survives the round trip, and no damaged one passes the gate unchecked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sched/spec.h"
#include "transport/base/env.h"

static struct swi_spec sample(void)
{
	struct swi_spec s = {.home = 3, .flags = SWARM_TASK_RETRY_ERRORS, .retries = 5, .timeout_ns = 77};

	s.parent = (struct swarm_oid){{1, 2}};
	s.task = swi_task_id(s.parent, 9);
	s.module = (struct swarm_ref){.id = {{5, 6}}};
	snprintf(s.function, sizeof(s.function), "count_words");
	s.need.cpu = 15000;
	s.need.memory = GIB(1);
	s.need.custom_count = 1;
	snprintf(s.need.custom[0].name, sizeof(s.need.custom[0].name), "tape");
	s.need.custom[0].amount = 20000;
	s.return_count = 2;
	s.arg_count = 4;
	return s;
}

static uint32_t encode_sample(uint8_t *buf, uint32_t cap)
{
	const struct swi_spec s = sample();
	const struct swarm_arg args[] = {
	    SWARM_ARG_BYTES("abc", 3),
	    SWARM_ARG_REF(((struct swarm_ref){.id = {{7, 8}}, .home = 2})),
	    SWARM_ARG_BYTES("", 0),
	    SWARM_ARG_REF(((struct swarm_ref){.id = {{9, 9}}})),
	};
	struct swi_wr w = swi_wr_init(buf, cap);

	swi_spec_encode(&w, &s, args);
	assert_true(swi_wr_ok(&w));
	return w.len;
}

static void round_trip(void **state)
{
	uint8_t buf[512];
	const struct swi_spec s = sample();
	const uint32_t len = encode_sample(buf, sizeof(buf));
	struct swi_spec_arg a;
	struct swi_spec d;
	uint32_t pos = 0;

	(void)state;
	assert_int_equal(swi_spec_decode(buf, len, &d), 0);
	assert_true(swarm_oid_equal(d.task, s.task) && swarm_oid_equal(d.parent, s.parent));
	assert_int_equal(d.home, 3);
	assert_int_equal(d.retries, 5);
	assert_int_equal(d.timeout_ns, 77);
	assert_string_equal(d.function, "count_words");
	assert_memory_equal(&d.need, &s.need, sizeof(s.need));
	assert_int_equal(d.return_count, 2);
	assert_int_equal(d.ref_count, 2);
	assert_true(swi_spec_next_arg(&d, &pos, &a) && !a.is_ref && a.len == 3);
	assert_memory_equal(a.data, "abc", 3);
	assert_true(swi_spec_next_arg(&d, &pos, &a) && a.is_ref && a.ref.id.w[1] == 8 && a.ref.home == 2);
	assert_true(swi_spec_next_arg(&d, &pos, &a) && !a.is_ref && a.len == 0);
	assert_true(swi_spec_next_arg(&d, &pos, &a) && a.is_ref && a.ref.home == 0);
	assert_false(swi_spec_next_arg(&d, &pos, &a));
}

static void every_prefix_is_refused(void **state)
{
	uint8_t buf[512];
	const uint32_t len = encode_sample(buf, sizeof(buf) - 1);
	struct swi_spec d;

	(void)state;
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(swi_spec_decode(buf, i, &d), -EBADMSG);
	assert_int_equal(swi_spec_decode(buf, len + 1, &d), -EBADMSG);
}

/* Whatever passes the gate can be iterated in full. */
static void damaged_bytes_are_safe(void **state)
{
	uint64_t rng = 42;
	uint32_t passed = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		uint8_t buf[512];
		const uint32_t len = encode_sample(buf, sizeof(buf));
		struct swi_spec_arg a;
		struct swi_spec d;
		uint32_t pos = 0, n = 0;
		const uint64_t r = swi_splitmix64(&rng);

		buf[r % len] ^= (uint8_t)(1u << (r >> 32) % 8);
		if (swi_spec_decode(buf, len, &d))
			continue;
		passed++;
		while (swi_spec_next_arg(&d, &pos, &a))
			n++;
		assert_int_equal(n, d.arg_count);
	}
	assert_in_range(passed, 1000, 19999);
}

static void limits(void **state)
{
	static uint8_t buf[SWARM_INLINE_MAX + 4096], data[SWARM_INLINE_MAX + 1];
	struct swi_spec s = sample(), d;
	struct swarm_arg arg = {data, SWARM_INLINE_MAX, {{{0, 0}}, 0, 0}};
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	(void)state;
	s.arg_count = 1;
	swi_spec_encode(&w, &s, &arg);
	assert_int_equal(swi_spec_decode(buf, w.len, &d), 0);
	arg.len++;
	w = swi_wr_init(buf, sizeof(buf));
	swi_spec_encode(&w, &s, &arg);
	assert_int_equal(swi_spec_decode(buf, w.len, &d), -EBADMSG);
	s.arg_count = 0;
	s.return_count = 0;
	w = swi_wr_init(buf, sizeof(buf));
	swi_spec_encode(&w, &s, NULL);
	assert_int_equal(swi_spec_decode(buf, w.len, &d), -EBADMSG);
}

static void ids_are_distinct(void **state)
{
	const struct swarm_oid p = {{1, 1}};
	struct swarm_oid t = swi_task_id(p, 0);

	(void)state;
	assert_true(swarm_oid_equal(t, swi_task_id(p, 0)));
	assert_false(swarm_oid_equal(t, swi_task_id(p, 1)));
	assert_false(swarm_oid_equal(swi_result_id(t, 0), swi_result_id(t, 1)));
	assert_false(swarm_oid_equal(swi_result_id(p, 0), swi_task_id(p, 0)));
}

static void resources(void **state)
{
	struct swi_resources have = {.cpu = 40000, .memory = GIB(2)}, need = sample().need;
	char buf[96];

	(void)state;
	assert_false(swi_resources_fit(&have, &need)); /* no tape */
	swi_resources_add(&have, &need);
	assert_true(swi_resources_fit(&have, &need));
	assert_string_equal(swi_resources_str(&have, buf, sizeof(buf)), "cpu=5.5 memory=3GiB tape=2");
	swi_resources_sub(&have, &need);
	assert_false(swi_resources_fit(&have, &need));
	assert_int_equal(have.cpu, 40000);
	assert_string_equal(swi_resources_str(&need, buf, 8), "cpu=1.5");
	swi_resources_sub(&have, &(struct swi_resources){.cpu = 50000});
	assert_int_equal(have.cpu, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(round_trip),	      cmocka_unit_test(every_prefix_is_refused),
	    cmocka_unit_test(damaged_bytes_are_safe), cmocka_unit_test(limits),
	    cmocka_unit_test(ids_are_distinct),	      cmocka_unit_test(resources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
