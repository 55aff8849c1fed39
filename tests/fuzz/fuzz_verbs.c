/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_verbs.c - what the verbs backend is told by another: private data of a connection, ASK and OK. First byte: which
 * decoder. What is accepted must encode to the same bytes again.
 */
#include "tests/fuzz/fuzz.h"
#include "transport/verbs/verbs_wire.h"

static void try_hello(const uint8_t *data, uint32_t len)
{
	if (swi_verbs_is_hello(data, len))
		FUZZ_CHECK(len >= VERBS_HELLO_BYTES && !memcmp(data, swi_verbs_hello, VERBS_HELLO_BYTES));
}

/* The kind, which the decoder's caller has read, and then @data. */
static void check_same(const struct swi_wr *w, uint8_t kind, const uint8_t *data, uint32_t len)
{
	FUZZ_CHECK(swi_wr_ok(w) && w->len == len + 1 && w->buf[0] == kind && !memcmp(w->buf + 1, data, len));
}

static void check_ends(const struct verbs_end *end, uint32_t count)
{
	FUZZ_CHECK(count <= VERBS_MORE_LANES);
	for (uint32_t i = 0; i < count; i++)
		FUZZ_CHECK(end[i].qp <= VERBS_NUMBER_MAX && end[i].psn <= VERBS_NUMBER_MAX);
}

static void try_ask(const uint8_t *data, uint32_t len)
{
	uint8_t again[VERBS_OWN_MAX];
	struct swi_wr w = swi_wr_init(again, sizeof(again));
	struct swi_rd r = swi_rd_init(data, len);
	struct verbs_ask m;

	if (swi_verbs_get_ask(&r, &m))
		return;
	FUZZ_CHECK(m.count);
	check_ends(m.end, m.count);
	swi_verbs_put_ask(&w, &m);
	check_same(&w, VERBS_ASK, data, len);
}

static void try_ok(const uint8_t *data, uint32_t len)
{
	uint8_t again[VERBS_OWN_MAX];
	struct swi_wr w = swi_wr_init(again, sizeof(again));
	struct swi_rd r = swi_rd_init(data, len);
	struct verbs_ok m;

	if (swi_verbs_get_ok(&r, &m))
		return;
	check_ends(m.end, m.count);
	FUZZ_CHECK(m.name_count <= (m.count ? VERBS_WINDOWS_MAX : 0));
	swi_verbs_put_ok(&w, &m);
	check_same(&w, VERBS_OK, data, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const decoder[])(const uint8_t *, uint32_t) = {try_hello, try_ask, try_ok};

	if (size)
		decoder[data[0] % SWI_ARRAY_LEN(decoder)](data + 1, (uint32_t)size - 1);
	return 0;
}

/* put() writes a kind in front; here stands which decoder. */
static size_t seed_ask(struct swi_wr *w, uint32_t count)
{
	const struct verbs_ask m = {.count = count, .end = {{17, 5}, {18, VERBS_NUMBER_MAX}, {VERBS_NUMBER_MAX, 0}}};

	swi_verbs_put_ask(w, &m);
	w->buf[0] = 1;
	return w->len;
}

static size_t seed_ok(struct swi_wr *w, uint32_t count, uint32_t names)
{
	struct verbs_ok m = {.count = count, .end = {{17, 5}, {18, 6}, {19, 7}}, .name_count = names};

	for (uint32_t k = 0; k < names; k++)
		m.name[k] = (struct verbs_name){0x1000 - k, {k, k + 1, 0xffffffffu - k}};
	swi_verbs_put_ok(w, &m);
	w->buf[0] = 2;
	return w->len;
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	struct swi_wr w = swi_wr_init(buf, (uint32_t)cap);

	switch (i) {
	case 0:
		swi_wr_u8(&w, 0);
		swi_wr_raw(&w, swi_verbs_hello, VERBS_HELLO_BYTES);
		return w.len;
	case 1:
		return seed_ask(&w, 1);
	case 2:
		return seed_ask(&w, VERBS_MORE_LANES);
	case 3:
		return seed_ok(&w, 0, 0);
	case 4:
		return seed_ok(&w, 1, 0);
	case 5:
		return seed_ok(&w, VERBS_MORE_LANES, 2);
	case 6:
		return seed_ok(&w, VERBS_MORE_LANES, VERBS_WINDOWS_MAX);
	case 7: /* names of memories on no lane: refused */
		return seed_ok(&w, 0, 1);
	default:
		return 0;
	}
}
