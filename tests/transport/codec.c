/* SPDX-License-Identifier: Apache-2.0 */
/* codec.c - both cursors: round trips, every truncation, writers past their end, strings of
 * strangers. */
#include "check.h"

#include "transport/base/codec.h"

static uint32_t write_all(uint8_t *buf, uint32_t cap)
{
	struct swi_wr w = swi_wr_init(buf, cap);

	swi_wr_u8(&w, 0x12);
	swi_wr_u16(&w, 0x3456);
	swi_wr_u32(&w, 0x789abcde);
	swi_wr_u64(&w, 0x1122334455667788ull);
	swi_wr_oid(&w, (struct swarm_oid){{1, 2}});
	swi_wr_ref(&w, (struct swarm_ref){.id = {{3, 4}}, .home = 5});
	swi_wr_bytes(&w, "abc", 3);
	swi_wr_str(&w, "hello");
	swi_wr_str(&w, NULL);
	return w.len;
}

static bool read_all(const uint8_t *buf, uint32_t len)
{
	struct swi_rd r = swi_rd_init(buf, len);
	char s[8], empty[1];
	uint32_t n;
	bool same = true;

	same &= swi_rd_u8(&r) == 0x12;
	same &= swi_rd_u16(&r) == 0x3456;
	same &= swi_rd_u32(&r) == 0x789abcde;
	same &= swi_rd_u64(&r) == 0x1122334455667788ull;
	same &= swarm_oid_equal(swi_rd_oid(&r), (struct swarm_oid){{1, 2}});
	const struct swarm_ref f = swi_rd_ref(&r);
	const void *b = swi_rd_bytes(&r, &n);

	same &= f.id.w[0] == 3 && f.id.w[1] == 4 && f.home == 5 && f.flags == 0;
	same &= b && n == 3 && !memcmp(b, "abc", 3);
	swi_rd_str(&r, s, sizeof(s));
	swi_rd_str(&r, empty, sizeof(empty));
	same &= !strcmp(s, "hello") && !empty[0];
	return same && swi_rd_done(&r);
}

static void round_trip__is_little_endian(void **state)
{
	uint8_t buf[128];
	const uint32_t len = write_all(buf, sizeof(buf));

	(void)state;
	assert_int_equal(len, 1 + 2 + 4 + 8 + 16 + 20 + 7 + 9 + 4);
	assert_int_equal(buf[0], 0x12);
	assert_int_equal(buf[1], 0x56);
	assert_int_equal(buf[2], 0x34);
	assert_int_equal(buf[3], 0xde);
	assert_int_equal(buf[7], 0x88);
	assert_true(read_all(buf, len));
}

static void truncated__is_never_done(void **state)
{
	uint8_t buf[128];
	const uint32_t len = write_all(buf, sizeof(buf));

	(void)state;
	for (uint32_t n = 0; n < len; n++) {
		uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees one byte too many */

		assert_non_null(exact);
		memcpy(exact, buf, n);
		assert_false(read_all(exact, n));
		free(exact);
	}
	assert_false(read_all(buf, len + 1)); /* something left over */
}

static void writer__counts_past_its_end(void **state)
{
	uint8_t full[128], part[128];
	const uint32_t len = write_all(full, sizeof(full));

	(void)state;
	for (uint32_t cap = 0; cap <= len; cap++) {
		memset(part, 0xee, sizeof(part));
		assert_int_equal(write_all(part, cap), len);
		for (uint32_t i = cap; i < sizeof(part); i++)
			assert_int_equal(part[i], 0xee);
	}
	struct swi_wr w = swi_wr_init(part, sizeof(part));

	w.len = UINT32_MAX - 1; /* does not wrap back into the buffer */
	swi_wr_u64(&w, 1);
	assert_false(swi_wr_ok(&w));
}

static void rd_str__refuses_long_and_embedded_nul(void **state)
{
	uint8_t buf[32];
	char dst[4] = "zzz";
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	(void)state;
	swi_wr_str(&w, "abcd");
	struct swi_rd r = swi_rd_init(buf, w.len);

	swi_rd_str(&r, dst, sizeof(dst));
	assert_true(r.bad);
	assert_string_equal(dst, "");
	w = swi_wr_init(buf, sizeof(buf));
	swi_wr_bytes(&w, "a\0b", 3);
	r = swi_rd_init(buf, w.len);
	swi_rd_str(&r, dst, sizeof(dst));
	assert_true(r.bad);
	w = swi_wr_init(buf, sizeof(buf));
	swi_wr_u32(&w, UINT32_MAX); /* a length that lies */
	r = swi_rd_init(buf, w.len);
	uint32_t n = 7;

	assert_null(swi_rd_bytes(&r, &n));
	assert_int_equal(n, 0);
	assert_int_equal(swi_rd_u8(&r), 0); /* sticky */
	assert_true(r.bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(round_trip__is_little_endian),
	    cmocka_unit_test(truncated__is_never_done),
	    cmocka_unit_test(writer__counts_past_its_end),
	    cmocka_unit_test(rd_str__refuses_long_and_embedded_nul),
	};

	return RUN(tests);
}
