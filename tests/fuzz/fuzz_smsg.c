/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_smsg.c - bodies of the messages between stores. First byte: which decoder. What is accepted encodes
 * to bytes that mean the same; rows of a batch are read until the first that is refused.
 */
#include "store/smsg.h"
#include "tests/fuzz/fuzz.h"

#define AGAIN_MAX 4096u

#define TRY(name)                                                                                  \
	static void try_##name(struct swi_rd *r, struct swi_wr *w)                                 \
	{                                                                                          \
		static uint8_t second[AGAIN_MAX];                                                  \
		struct swi_wr w2 = swi_wr_init(second, sizeof(second));                            \
		struct swi_smsg_##name m, m2;                                                      \
		struct swi_rd r2;                                                                  \
                                                                                                   \
		if (swi_smsg_get_##name(r, &m))                                                    \
			return;                                                                    \
		swi_smsg_put_##name(w, &m);                                                        \
		r2 = swi_rd_init(w->buf, w->len);                                                  \
		FUZZ_CHECK(swi_wr_ok(w) && !swi_smsg_get_##name(&r2, &m2));                        \
		swi_smsg_put_##name(&w2, &m2);                                                     \
		FUZZ_CHECK(w2.len == w->len && !memcmp(second, w->buf, w->len));                   \
	}
TRY(locate)
TRY(located)
TRY(lease)
TRY(leased)
TRY(move)
TRY(done)
TRY(parent)
TRY(more)
TRY(range)
TRY(keep)

static void try_copies(struct swi_rd *r, struct swi_wr *w)
{
	struct swi_smsg_copy m;
	uint32_t n;

	(void)w;
	(void)swi_rd_u64(r); /* the number of the answer */
	if (swi_smsg_get_count(r, SWI_SMSG_COPY_BYTES, &n))
		return;
	FUZZ_CHECK((uint64_t)n * SWI_SMSG_COPY_BYTES <= r->len);
	while (n-- && !swi_smsg_get_copy(r, &m))
		FUZZ_CHECK(r->pos <= r->len);
}

static void try_records(struct swi_rd *r, struct swi_wr *w)
{
	struct swi_smsg_record m;
	uint32_t n;

	(void)w;
	if (swi_smsg_get_count(r, SWI_SMSG_RECORD_MIN, &n))
		return;
	while (n-- && !swi_smsg_get_record(r, &m)) {
		FUZZ_CHECK(m.copies.count <= SWI_COPIES_MAX);
		FUZZ_CHECK(memchr(m.text, 0, sizeof(m.text)));
	}
}

static void try_told(struct swi_rd *r, struct swi_wr *w)
{
	struct swi_smsg_told m;

	if (swi_smsg_get_told(r, &m))
		return;
	swi_smsg_put_told(w, &m);
	FUZZ_CHECK(r->pos == w->len && !memcmp(w->buf, r->buf, w->len));
	while (m.refused--)
		(void)swi_rd_oid(r);
	FUZZ_CHECK(swi_rd_done(r));
}

static void try_ref(struct swi_rd *r, struct swi_wr *w)
{
	struct swarm_ref m;
	const uint32_t len = r->len;
	const uint8_t *const in = r->buf;

	if (swi_smsg_get_ref(r, &m))
		return;
	swi_wr_ref(w, m);
	FUZZ_CHECK(w->len == len && !memcmp(w->buf, in, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const decoder[])(struct swi_rd *, struct swi_wr *) = {
		try_locate, try_located, try_lease, try_leased,
		try_move,   try_done,	 try_copies, try_records,
		try_parent, try_more, try_range, try_ref,
		try_told, try_keep};
	static uint8_t again[AGAIN_MAX];
	struct swi_wr w = swi_wr_init(again, sizeof(again));
	struct swi_rd r;

	if (!size)
		return 0;
	r = swi_rd_init(data + 1, (uint32_t)size - 1);
	decoder[data[0] % SWI_ARRAY_LEN(decoder)](&r, &w);
	return 0;
}

static const struct swarm_ref ref = {{{0x1111, 0x2222}}, 3, 0};

static void seed_copies(struct swi_wr *w)
{
	const struct swi_smsg_copy row = {.ref = ref, .node = 2, .flags = SWI_COPY_PRIMARY, .len = 100};

	swi_wr_u64(w, 1);
	swi_wr_u32(w, 2);
	swi_smsg_put_copy(w, &row);
	swi_smsg_put_copy(w, &row);
}

static void seed_told(struct swi_wr *w)
{
	const struct swi_smsg_told m = {.req = 1, .refused = 2};

	swi_smsg_put_told(w, &m);
	swi_wr_oid(w, ref.id);
	swi_wr_oid(w, ref.id);
}

static void seed_records(struct swi_wr *w)
{
	const struct swi_smsg_record row = {.ref = ref, .state = SWI_DIR_AVAILABLE, .text = "why",
					    .copies = {.len = 100, .count = 2, .node = {1, 2}}};

	swi_wr_u32(w, 1);
	swi_smsg_put_record(w, &row);
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	const struct swi_smsg_locate locate = {.req = 1, .ref = ref, .flags = SWI_LOCATE_LEASE};
	const struct swi_smsg_located located = {.req = 1, .state = SWI_DIR_AVAILABLE,
						 .copies = {.len = 9, .count = 1, .node = {2}},
						 .place = SWI_PLACE_KNOWN | SWI_PLACE_DIGEST,
						 .offset = 4096, .gen = 3, .digest = 7};
	const struct swi_smsg_lease lease = {.req = 1, .id = ref.id};
	const struct swi_smsg_leased leased = {.req = 1, .lease = 2, .offset = 4096, .gen = 3, .epoch = 4, .len = 5};
	const struct swi_smsg_move move = {.req = 1, .ref = ref};
	const struct swi_smsg_parent parent = {.req = 1, .node = 2, .epoch = 3};
	const struct swi_smsg_range range = {.req = 1, .id = ref.id, .from = 100, .len = 50};
	const struct swi_smsg_more more = {.req = 1, .have = 4096};
	const struct swi_smsg_keep keep = {.req = 1, .ref = ref, .timeout_ns = NS_PER_S};
	const struct swi_smsg_done done = {.req = 1, .status = SWARM_EFULL, .text = "no room"};
	struct swi_wr w = swi_wr_init(buf + 1, (uint32_t)cap - 1);

	buf[0] = (uint8_t)i;
	switch (i) {
	case 0:
		swi_smsg_put_locate(&w, &locate);
		break;
	case 1:
		swi_smsg_put_located(&w, &located);
		break;
	case 2:
		swi_smsg_put_lease(&w, &lease);
		break;
	case 3:
		swi_smsg_put_leased(&w, &leased);
		break;
	case 4:
		swi_smsg_put_move(&w, &move);
		break;
	case 5:
		swi_smsg_put_done(&w, &done);
		break;
	case 6:
		seed_copies(&w);
		break;
	case 7:
		seed_records(&w);
		break;
	case 8:
		swi_smsg_put_parent(&w, &parent);
		break;
	case 9:
		swi_smsg_put_more(&w, &more);
		break;
	case 10:
		swi_smsg_put_range(&w, &range);
		break;
	case 11:
		swi_wr_ref(&w, ref);
		break;
	case 12:
		seed_told(&w);
		break;
	case 13:
		swi_smsg_put_keep(&w, &keep);
		break;
	default:
		return 0;
	}
	return w.len + 1;
}
