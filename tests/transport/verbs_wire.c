/* SPDX-License-Identifier: Apache-2.0 */
/* verbs_wire.c - what two verbs backends tell each other: bytes, round trips, cuts, and what must not be accepted. */
#include "check.h"

#include "transport/verbs/verbs_wire.h"

static uint8_t buf[VERBS_OWN_MAX];

static int get_ask(const void *p, uint32_t len, struct verbs_ask *out)
{
	struct swi_rd r = swi_rd_init(p, len);

	assert_int_equal(swi_rd_u8(&r), VERBS_ASK);
	return swi_verbs_get_ask(&r, out);
}

static int get_ok(const void *p, uint32_t len, struct verbs_ok *out)
{
	struct swi_rd r = swi_rd_init(p, len);

	assert_int_equal(swi_rd_u8(&r), VERBS_OK);
	return swi_verbs_get_ok(&r, out);
}

static uint32_t put_ok(const struct verbs_ok *m)
{
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_verbs_put_ok(&w, m);
	assert_true(swi_wr_ok(&w));
	return w.len;
}

static void hello__is_known_with_padding_and_nothing_else_is(void **state SWI_UNUSED)
{
	uint8_t padded[56] = {'S', 'W', 'R', 'M', 1};

	assert_memory_equal(padded, swi_verbs_hello, VERBS_HELLO_BYTES);
	assert_true(swi_verbs_is_hello(swi_verbs_hello, VERBS_HELLO_BYTES));
	assert_true(swi_verbs_is_hello(padded, sizeof(padded)));
	assert_false(swi_verbs_is_hello(NULL, 0));
	for (uint32_t n = 0; n < VERBS_HELLO_BYTES; n++)
		assert_false(swi_verbs_is_hello(padded, n));
	for (uint32_t i = 0; i < VERBS_HELLO_BYTES; i++) {
		padded[i] ^= 1;
		assert_false(swi_verbs_is_hello(padded, sizeof(padded)));
		padded[i] ^= 1;
	}
}

static void ask__bytes_are_as_documented(void **state SWI_UNUSED)
{
	static const uint8_t want[] = {'A', 2, 0x11, 0, 0, 0, 5, 0, 0, 0, 0xff, 0xff, 0xff, 0, 6, 0, 0, 0};
	const struct verbs_ask m = {.count = 2, .end = {{0x11, 5}, {VERBS_NUMBER_MAX, 6}}};
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	struct verbs_ask got;

	swi_verbs_put_ask(&w, &m);
	assert_int_equal(w.len, sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
	assert_int_equal(get_ask(buf, w.len, &got), 0);
	assert_memory_equal(&got, &m, sizeof(m));
	for (uint32_t n = 1; n < w.len; n++)
		assert_int_equal(get_ask(buf, n, &got), SWARM_EPROTO);
	assert_int_equal(get_ask(buf, w.len + 1, &got), SWARM_EPROTO); /* a byte too much */
}

static void ask__of_no_or_too_many_lanes_or_large_numbers__is_refused(void **state SWI_UNUSED)
{
	static const uint8_t none[] = {'A', 0}, far_qp[] = {'A', 1, 17, 0, 0, 1, 5, 0, 0, 0};
	static const uint8_t far_psn[] = {'A', 1, 17, 0, 0, 0, 5, 0, 0, 1};
	static const uint8_t many[2 + 8 * (VERBS_MORE_LANES + 1)] = {'A', VERBS_MORE_LANES + 1};
	struct verbs_ask m;

	assert_int_equal(get_ask(none, sizeof(none), &m), SWARM_EPROTO);
	assert_int_equal(get_ask(far_qp, sizeof(far_qp), &m), SWARM_EPROTO);
	assert_int_equal(get_ask(far_psn, sizeof(far_psn), &m), SWARM_EPROTO);
	assert_int_equal(get_ask(many, sizeof(many), &m), SWARM_EPROTO);
}

static void ok__bytes_are_as_documented(void **state SWI_UNUSED)
{
	static const uint8_t refusal[] = {'O', 0, 0, 0, 0, 0};
	static const uint8_t one[] = {'O', 1, 0x11, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0x21, 0, 0, 0, 0x31, 0, 0, 0};
	const struct verbs_ok m = {.count = 1, .end = {{0x11, 5}}, .name_count = 1, .name = {{0x21, {0x31}}}};
	struct verbs_ok got;

	assert_int_equal(put_ok(&(struct verbs_ok){0}), sizeof(refusal));
	assert_memory_equal(buf, refusal, sizeof(refusal));
	assert_int_equal(put_ok(&m), sizeof(one));
	assert_memory_equal(buf, one, sizeof(one));
	assert_int_equal(get_ok(one, sizeof(one), &got), 0);
	assert_memory_equal(&got, &m, sizeof(m));
	assert_int_equal(get_ok(refusal, sizeof(refusal), &got), 0);
	assert_int_equal(got.count, 0);
}

static void ok__of_the_most__makes_the_round_and_no_cut_does(void **state SWI_UNUSED)
{
	static struct verbs_ok m, got;
	uint32_t len;

	m.count = VERBS_MORE_LANES;
	m.name_count = VERBS_WINDOWS_MAX;
	for (uint32_t i = 0; i < m.count; i++)
		m.end[i] = (struct verbs_end){100 + i, VERBS_NUMBER_MAX - i};
	for (uint32_t k = 0; k < m.name_count; k++)
		m.name[k] = (struct verbs_name){~k, {k, 2 * k, 3 * k}};
	len = put_ok(&m);
	assert_int_equal(get_ok(buf, len, &got), 0);
	assert_memory_equal(&got, &m, sizeof(m));
	for (uint32_t n = 1; n < len; n++)
		assert_int_equal(get_ok(buf, n, &got), SWARM_EPROTO);
	assert_int_equal(get_ok(buf, len + 1, &got), SWARM_EPROTO);
}

static void ok__that_contradicts_itself__is_refused(void **state SWI_UNUSED)
{
	static const uint8_t names_of_nothing[] = {'O', 0, 1, 0, 0, 0, 0x21, 0, 0, 0};
	static const uint8_t far_qp[] = {'O', 1, 17, 0, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t lies[] = {'O', 1, 17, 0, 0, 0, 5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
	static uint8_t lanes[2 + 8 * (VERBS_MORE_LANES + 1) + 4] = {'O', VERBS_MORE_LANES + 1};
	static uint8_t names[14 + 8 * (VERBS_WINDOWS_MAX + 1)] = {'O', 1, [10] = VERBS_WINDOWS_MAX + 1};
	struct verbs_ok m;

	assert_int_equal(get_ok(names_of_nothing, sizeof(names_of_nothing), &m), SWARM_EPROTO);
	assert_int_equal(get_ok(far_qp, sizeof(far_qp), &m), SWARM_EPROTO);
	assert_int_equal(get_ok(lies, sizeof(lies), &m), SWARM_EPROTO);
	assert_int_equal(get_ok(lanes, sizeof(lanes), &m), SWARM_EPROTO);
	assert_int_equal(get_ok(names, sizeof(names), &m), SWARM_EPROTO);
	names[10]--;
	assert_int_equal(get_ok(names, sizeof(names) - 8, &m), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hello__is_known_with_padding_and_nothing_else_is),
	    cmocka_unit_test(ask__bytes_are_as_documented),
	    cmocka_unit_test(ask__of_no_or_too_many_lanes_or_large_numbers__is_refused),
	    cmocka_unit_test(ok__bytes_are_as_documented),
	    cmocka_unit_test(ok__of_the_most__makes_the_round_and_no_cut_does),
	    cmocka_unit_test(ok__that_contradicts_itself__is_refused),
	};

	return RUN(tests);
}
