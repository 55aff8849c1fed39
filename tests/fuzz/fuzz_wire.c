/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_wire.c - frames and handshake bodies of an unauthenticated peer. First byte: which decoder.
 * What is accepted must encode to the same bytes again: there is exactly one encoding.
 */
#include "tests/fuzz/fuzz.h"
#include "transport/wire.h"

static void try_header(const uint8_t *data, uint32_t len)
{
	struct swi_wire_hdr h;
	uint8_t again[SWI_WIRE_HDR_BYTES];

	if (swi_wire_get_hdr(data, len, &h))
		return;
	FUZZ_CHECK(len >= SWI_WIRE_HDR_BYTES);
	FUZZ_CHECK(h.kind > 0 && h.kind < SWI_WIRE_KIND_COUNT);
	swi_wire_put_hdr(&h, again);
	FUZZ_CHECK(!memcmp(again, data, sizeof(again)));
}

static void try_hello(const uint8_t *data, uint32_t len)
{
	struct swi_wire_hello m;
	uint8_t again[256];
	struct swi_wr w = swi_wr_init(again, sizeof(again));

	if (swi_wire_get_hello(data, len, &m))
		return;
	FUZZ_CHECK(memchr(m.id.address, 0, sizeof(m.id.address)));
	swi_wire_put_hello(&w, &m);
	FUZZ_CHECK(swi_wr_ok(&w) && w.len == len && !memcmp(again, data, len));
}

static void try_reject(const uint8_t *data, uint32_t len)
{
	int code;

	if (!swi_wire_get_reject(data, len, &code))
		FUZZ_CHECK(code < 0);
}

static void try_regions(const uint8_t *data, uint32_t len)
{
	struct swi_regions t;
	struct swi_wr w;
	uint8_t *again;

	if (swi_wire_get_regions(data, len, &t))
		return;
	again = malloc(len + 1u);
	FUZZ_CHECK(again);
	w = swi_wr_init(again, len);
	swi_wire_put_regions(&w, &t);
	FUZZ_CHECK(w.len == len && !memcmp(again, data, len));
	free(again);
	swi_regions_fini(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const decoder[])(const uint8_t *, uint32_t) = {try_header, try_hello, try_reject,
								      try_regions};

	if (size)
		decoder[data[0] % SWI_ARRAY_LEN(decoder)](data + 1, (uint32_t)size - 1);
	return 0;
}

static void seed_hello(struct swi_wr *w, const char *address)
{
	struct swi_wire_hello m = {.id = {.node = 7, .epoch = 0x1122334455667788ull}};

	memset(m.nonce, 0xa5, sizeof(m.nonce));
	snprintf(m.id.address, sizeof(m.id.address), "%s", address);
	swi_wire_put_hello(w, &m);
}

static void seed_regions(struct swi_wr *w, uint32_t chunks)
{
	struct swi_chunk c[3] = {{0x7f0000000000ull, 1}, {0x7f0040000000ull, 2}, {0, 3}};
	struct swi_regions t = {0};

	if (chunks) {
		t.at[0] = (struct swi_region){(uint64_t)chunks * MIB(1) - 4096, MIB(1), chunks, c};
		t.at[1] = (struct swi_region){4096, 4096, 1, c + 2};
	}
	swi_wire_put_regions(w, &t);
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	const struct swi_wire_hdr h = {.kind = SWI_WIRE_MSG, .type = 0x101, .credits = 3, .total = 100};
	struct swi_wr w = swi_wr_init(buf + 1, (uint32_t)cap - 1);

	switch (i) {
	case 0:
		memset(buf, 0, 1 + SWI_WIRE_HDR_BYTES + 100);
		swi_wire_put_hdr(&h, buf + 1);
		return 1 + SWI_WIRE_HDR_BYTES + 100;
	case 1:
	case 2:
		buf[0] = 1;
		seed_hello(&w, i == 1 ? "" : "10.0.0.1:6480");
		break;
	case 3:
		buf[0] = 2;
		swi_wire_put_reject(&w, SWARM_EAUTH);
		break;
	case 4:
	case 5:
	case 6:
		buf[0] = 3;
		seed_regions(&w, i - 4);
		break;
	default:
		return 0;
	}
	return w.len + 1;
}
