/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c - the decoders of the wire: round trips, every truncation, garbage, and what must not be
 * accepted. */
#include "check.h"

#include "transport/wire.h"

static void hdr__round_trip(void **state)
{
	static const struct swi_wire_hdr list[] = {
	    {.kind = SWI_WIRE_MSG, .type = 0xbeef, .credits = 64, .total = 10},
	    {.kind = SWI_WIRE_MSG, .total = SWI_MSG_MAX, .flags = SWI_WIRE_MORE},
	    {.kind = SWI_WIRE_HELLO, .total = 10},
	    {.kind = SWI_WIRE_REJECT, .total = 10, .credits = 1},
	};
	uint8_t frame[SWI_WIRE_HDR_BYTES + 10] = {0};

	(void)state;
	for (size_t i = 0; i < SWI_ARRAY_LEN(list); i++) {
		struct swi_wire_hdr h;

		swi_wire_put_hdr(&list[i], frame);
		assert_int_equal(swi_wire_get_hdr(frame, sizeof(frame), &h), 0);
		assert_int_equal(h.kind, list[i].kind);
		assert_int_equal(h.type, list[i].type);
		assert_int_equal(h.flags, list[i].flags);
		assert_int_equal(h.credits, list[i].credits);
		assert_int_equal(h.total, list[i].total);
		for (uint32_t n = 0; n < SWI_WIRE_HDR_BYTES; n++)
			assert_int_equal(swi_wire_get_hdr(frame, n, &h), SWARM_EPROTO);
	}
}

/* The bytes themselves, so that a change of the wire is a change of this test. */
static void hdr__bytes_are_as_documented(void **state)
{
	static const uint8_t want[SWI_WIRE_HDR_BYTES] = {0x53, 0x4d, 1, 1, 0x34, 0x12, 7, 0,
							 0x78, 0x56, 0, 0, 1,    0,    0, 0};
	uint8_t got[SWI_WIRE_HDR_BYTES];

	(void)state;
	swi_wire_put_hdr(&(struct swi_wire_hdr){.kind = SWI_WIRE_MSG,
						.type = 0x1234,
						.credits = 7,
						.total = 0x5678,
						.flags = SWI_WIRE_MORE},
			 got);
	assert_memory_equal(got, want, sizeof(want));
}

static void hdr__refuses_what_contradicts_itself(void **state)
{
	static const struct swi_wire_hdr bad[] = {
	    {.kind = 0, .total = 10},
	    {.kind = SWI_WIRE_KIND_COUNT, .total = 10},
	    {.kind = SWI_WIRE_MSG, .total = 10, .flags = 2},
	    {.kind = SWI_WIRE_MSG, .total = 9},
	    {.kind = SWI_WIRE_MSG, .total = 10, .flags = SWI_WIRE_MORE},
	    {.kind = SWI_WIRE_MSG, .total = SWI_MSG_MAX + 1, .flags = SWI_WIRE_MORE},
	    {.kind = SWI_WIRE_MSG, .total = 10, .credits = SWI_BE_RECV_DEPTH + 1},
	    {.kind = SWI_WIRE_HELLO, .total = 10, .type = 1},
	    {.kind = SWI_WIRE_HELLO, .total = 11},
	    {.kind = SWI_WIRE_PING, .total = 20, .flags = SWI_WIRE_MORE},
	};
	uint8_t frame[SWI_WIRE_HDR_BYTES + 10] = {0};
	struct swi_wire_hdr h;

	(void)state;
	for (size_t i = 0; i < SWI_ARRAY_LEN(bad); i++) {
		swi_wire_put_hdr(&bad[i], frame);
		assert_int_equal(swi_wire_get_hdr(frame, sizeof(frame), &h), SWARM_EPROTO);
	}
	swi_wire_put_hdr(&(struct swi_wire_hdr){.kind = SWI_WIRE_MSG, .total = 10}, frame);
	for (size_t i = 13; i < SWI_WIRE_HDR_BYTES; i++) { /* reserved bytes are 0 */
		frame[i] = 1;
		assert_int_equal(swi_wire_get_hdr(frame, sizeof(frame), &h), SWARM_EPROTO);
		frame[i] = 0;
	}
	frame[2] = SWI_WIRE_VERSION + 1;
	assert_int_equal(swi_wire_get_hdr(frame, sizeof(frame), &h), SWARM_EVERSION);
	frame[0]++;
	assert_int_equal(swi_wire_get_hdr(frame, sizeof(frame), &h), SWARM_EPROTO);
}

static void hello__round_trip_and_truncation(void **state)
{
	struct swi_wire_hello m = {.id = {.node = 3, .epoch = 1ull << 60}}, got;
	uint8_t buf[256];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	(void)state;
	memset(m.nonce, 0x42, sizeof(m.nonce));
	memset(m.id.address, 'a', sizeof(m.id.address) - 1);
	m.paths = 2;
	swi_wire_put_hello(&w, &m);
	assert_int_equal(w.len, 32 + 4 + 8 + 4 + 63 + 1);
	assert_int_equal(swi_wire_get_hello(buf, w.len, &got), 0);
	assert_memory_equal(&got, &m, sizeof(m));
	for (uint32_t n = 0; n < w.len; n++)
		assert_int_equal(swi_wire_get_hello(buf, n, &got), SWARM_EPROTO);
	assert_int_equal(swi_wire_get_hello(buf, w.len + 1, &got), SWARM_EPROTO);
}

static void reject__passes_known_codes_only(void **state)
{
	static const int known[] = {SWARM_EAUTH, SWARM_EVERSION, SWARM_EPROTO, SWARM_EDRAINING};
	static const int other[] = {0, 1, -1, -ENOMEM, SWARM_ELOST, INT32_MIN, INT32_MAX};
	uint8_t buf[8];
	int code;

	(void)state;
	for (size_t i = 0; i < SWI_ARRAY_LEN(known); i++) {
		struct swi_wr w = swi_wr_init(buf, sizeof(buf));

		swi_wire_put_reject(&w, known[i]);
		assert_int_equal(swi_wire_get_reject(buf, 4, &code), 0);
		assert_int_equal(code, known[i]);
	}
	for (size_t i = 0; i < SWI_ARRAY_LEN(other); i++) {
		struct swi_wr w = swi_wr_init(buf, sizeof(buf));

		swi_wire_put_reject(&w, other[i]);
		assert_int_equal(swi_wire_get_reject(buf, 4, &code), 0);
		assert_int_equal(code, SWARM_EPEERLOST);
	}
	assert_int_equal(swi_wire_get_reject(buf, 3, &code), SWARM_EPROTO);
	assert_int_equal(swi_wire_get_reject(buf, 5, &code), SWARM_EPROTO);
}

static uint32_t sample_regions(uint8_t *buf, uint32_t cap)
{
	struct swi_chunk chunks[3] = {{1, 2}, {3, 4}, {5, 6}};
	struct swi_regions t = {0};
	struct swi_wr w = swi_wr_init(buf, cap);

	t.at[0] =
	    (struct swi_region){.len = 2500, .chunk_len = 1000, .chunk_count = 3, .chunks = chunks};
	t.at[2] =
	    (struct swi_region){.len = 1, .chunk_len = 4096, .chunk_count = 1, .chunks = chunks};
	swi_wire_put_regions(&w, &t);
	assert_true(swi_wr_ok(&w));
	return w.len;
}

static void regions__round_trip_and_truncation(void **state)
{
	uint8_t buf[512];
	const uint32_t len = sample_regions(buf, sizeof(buf));
	struct swi_regions t;

	(void)state;
	assert_int_equal(len, 4 * 20 + 4 * 16);
	assert_int_equal(swi_wire_get_regions(buf, len, &t), 0);
	assert_int_equal(t.at[0].len, 2500);
	assert_int_equal(t.at[0].chunks[2].rkey, 6);
	assert_int_equal(t.at[1].len, 0);
	assert_null(t.at[1].chunks);
	assert_int_equal(t.at[2].chunks[0].base, 1);
	swi_regions_fini(&t);
	for (uint32_t n = 0; n < len; n++)
		assert_int_equal(swi_wire_get_regions(buf, n, &t), SWARM_EPROTO);
	assert_int_equal(swi_wire_get_regions(buf, len + 1, &t), SWARM_EPROTO);
}

static void regions__refuses_lies(void **state)
{
	static const struct {
		uint32_t at; /* byte offset in the first region */
		uint64_t value;
		uint32_t bytes;
	} lies[] = {
	    {0, 0, 8},                   /* no bytes, yet chunks */
	    {0, 3001, 8},                /* more bytes than chunks */
	    {0, 2000, 8},                /* more chunks than bytes */
	    {8, 0, 8},                   /* chunks of nothing */
	    {16, 4, 4},                  /* a count that does not follow */
	    {16, SWI_CHUNKS_MAX + 1, 4}, /* more than there may be */
	    {16, UINT32_MAX, 4},
	    {20, UINT64_MAX, 8}, /* a chunk around the end of the address space */
	};
	uint8_t good[512], buf[512];
	const uint32_t len = sample_regions(good, sizeof(good));
	struct swi_regions t;

	(void)state;
	for (size_t i = 0; i < SWI_ARRAY_LEN(lies); i++) {
		memcpy(buf, good, len);
		memcpy(buf + lies[i].at, &lies[i].value, lies[i].bytes);
		assert_int_equal(swi_wire_get_regions(buf, len, &t), SWARM_EPROTO);
	}
}

static void garbage__is_survived(void **state)
{
	uint64_t rnd = 4;
	uint8_t good[512];
	const uint32_t len = sample_regions(good, sizeof(good));

	(void)state;
	for (int i = 0; i < 300000; i++) {
		const uint32_t n = (uint32_t)(swi_splitmix64(&rnd) % (len + 8));
		uint8_t *buf = malloc(n ? n : 1);
		struct swi_regions t;
		struct swi_wire_hdr h;
		struct swi_wire_hello m;

		assert_non_null(buf);
		memcpy(buf, good, swi_min_u64(n, len));
		for (int k = 0; n && k < 1 + i % 8; k++)
			buf[swi_splitmix64(&rnd) % n] = (uint8_t)swi_splitmix64(&rnd);
		if (!swi_wire_get_regions(buf, n, &t))
			swi_regions_fini(&t);
		(void)swi_wire_get_hdr(buf, n, &h);
		(void)swi_wire_get_hello(buf, n, &m);
		free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hdr__round_trip),
	    cmocka_unit_test(hdr__bytes_are_as_documented),
	    cmocka_unit_test(hdr__refuses_what_contradicts_itself),
	    cmocka_unit_test(hello__round_trip_and_truncation),
	    cmocka_unit_test(reject__passes_known_codes_only),
	    cmocka_unit_test(regions__round_trip_and_truncation),
	    cmocka_unit_test(regions__refuses_lies),
	    cmocka_unit_test(garbage__is_survived),
	};

	return RUN(tests);
}
