/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_paths.c - what a stranger may send on a further path: header, addresses, joins, tables of keys. First byte:
 * which decoder. What is accepted must encode to the same bytes again.
 */
#include "tests/fuzz/fuzz.h"
#include "transport/paths/paths_wire.h"

static void try_hdr(const uint8_t *data, uint32_t len)
{
	struct swi_rd r = swi_rd_init(data, len);
	uint8_t again[SWI_PATHS_HDR];
	struct swi_wr w = swi_wr_init(again, sizeof(again));
	struct swi_paths_hdr h;

	if (swi_paths_get_hdr(&r, &h))
		return;
	FUZZ_CHECK(len >= SWI_PATHS_HDR && swi_paths_is_ours(h.kind));
	swi_paths_put_hdr(&w, &h);
	FUZZ_CHECK(w.len == SWI_PATHS_HDR && !memcmp(again, data, w.len));
}

static void try_addrs(const uint8_t *data, uint32_t len)
{
	struct swi_rd r = swi_rd_init(data, len);
	uint8_t again[512];
	struct swi_wr w = swi_wr_init(again, sizeof(again));
	struct swi_paths_addrs m;

	if (swi_paths_get_addrs(&r, &m))
		return;
	FUZZ_CHECK(m.count <= SWI_PATHS_MAX && m.here < m.count);
	for (uint32_t i = 0; i < m.count; i++)
		FUZZ_CHECK(memchr(m.addr[i], 0, sizeof(m.addr[i])));
	swi_paths_put_addrs(&w, &m);
	FUZZ_CHECK(swi_wr_ok(&w) && w.len == len && !memcmp(again, data, len));
}

static void try_join(const uint8_t *data, uint32_t len)
{
	struct swi_rd r = swi_rd_init(data, len);
	uint8_t again[128];
	struct swi_wr w = swi_wr_init(again, sizeof(again));
	struct swi_paths_join m;

	if (swi_paths_get_join(&r, &m))
		return;
	swi_paths_put_join(&w, &m);
	FUZZ_CHECK(swi_wr_ok(&w) && w.len == len && !memcmp(again, data, len));
}

static void try_keys(const uint8_t *data, uint32_t len)
{
	struct swi_rd r = swi_rd_init(data, len);
	static uint8_t again[SWI_BE_MSG_MAX];
	struct swi_wr w = swi_wr_init(again, sizeof(again));
	struct swi_paths_keys m;

	if (swi_paths_get_keys(&r, &m))
		return;
	FUZZ_CHECK(m.count <= SWI_PATHS_KEYS_MAX);
	swi_paths_put_keys(&w, &m);
	swi_wr_raw(&w, m.mac, sizeof(m.mac));
	FUZZ_CHECK(swi_wr_ok(&w) && w.len == len && !memcmp(again, data, len));
	free(m.keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const decoder[])(const uint8_t *, uint32_t) = {try_hdr, try_addrs, try_join, try_keys};

	if (size)
		decoder[data[0] % SWI_ARRAY_LEN(decoder)](data + 1, (uint32_t)size - 1);
	return 0;
}

static void seed_keys(struct swi_wr *w, uint32_t count)
{
	struct swi_paths_key keys[3] = {{1, 0x7f0000000000ull, 0x101, 0x7f0000000000ull}, {2, 0, 0x102, 4096}, {3, 1, 2, 3}};
	struct swi_paths_keys m = {.attempt = 7, .count = count, .keys = keys};

	memset(m.mac, 0x3c, sizeof(m.mac));
	swi_paths_put_keys(w, &m);
	swi_wr_raw(w, m.mac, sizeof(m.mac));
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	const struct swi_paths_hdr h = {.kind = SWI_PATHS_DATA, .seq = 9, .ack = 4};
	const struct swi_paths_addrs a = {
	    .id = 0x1122334455667788ull, .here = 1, .count = 2, .addr = {"10.0.0.1:6480", "10.1.0.1:6480"}};
	struct swi_paths_join j = {.id = 5, .attempt = 6};
	struct swi_wr w = swi_wr_init(buf + 1, (uint32_t)cap - 1);

	switch (i) {
	case 0:
		buf[0] = 0;
		swi_paths_put_hdr(&w, &h);
		break;
	case 1:
		buf[0] = 1;
		swi_paths_put_addrs(&w, &a);
		break;
	case 2:
		buf[0] = 2;
		memset(j.mac, 0xc3, sizeof(j.mac));
		swi_paths_put_join(&w, &j);
		break;
	case 3:
	case 4:
		buf[0] = 3;
		seed_keys(&w, i == 3 ? 0 : 3);
		break;
	default:
		return 0;
	}
	return w.len + 1;
}
