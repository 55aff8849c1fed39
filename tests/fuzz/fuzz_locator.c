/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_locator.c - what READs of another node's memory brought: a pair of its index, then a header. A place
 * that is taken from them lies on a granule, and its object ends within the bytes that were READ for it.
 */
#include "store/index.h"
#include "store/locator.h"
#include "tests/fuzz/fuzz.h"

#define EPOCH 5u
#define LEN   100u

static const struct swarm_oid id = {{0x1111, 0x2222}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t pair[SWI_PAIR_WORDS] = {0}, bytes;
	struct swi_object_head h;
	struct swi_locator loc;

	memcpy(pair, data, swi_min_u64(size, sizeof(pair)));
	if (!swi_locator_of_pair(pair, id, EPOCH, &loc, &bytes))
		return 0;
	FUZZ_CHECK(bytes >= sizeof(h) && bytes <= SWI_DIRECT_MAX);
	FUZZ_CHECK(loc.offset % SWI_GRANULE == 0 && loc.offset < SWI_ARENA_MAX);
	FUZZ_CHECK(loc.epoch == EPOCH && swarm_oid_equal(loc.id, id) && !loc.has_digest);
	if (size < sizeof(pair) + sizeof(h))
		return 0;
	memcpy(&h, data + sizeof(pair), sizeof(h));
	if (!swi_locator_complete(&loc, &h, bytes))
		return 0;
	FUZZ_CHECK(loc.len <= bytes - sizeof(h) && swi_extent_bytes(loc.len) <= SWI_DIRECT_MAX);
	FUZZ_CHECK(loc.gen == h.gen && h.epoch == EPOCH && h.oid[0] == id.w[0] && h.oid[1] == id.w[1]);
	FUZZ_CHECK(swi_locator_fits(&loc, &h));
	return 0;
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	static const uint64_t len[] = {LEN, 0, KIB(64), SWI_DIRECT_MAX - sizeof(struct swi_object_head)};
	uint64_t pair[SWI_PAIR_WORDS] = {0};
	struct swi_object_head h = {.magic = SWI_OBJ_MAGIC, .state = SWI_OBJ_SEALED, .oid = {id.w[0], id.w[1]},
				    .gen = 0x300003 + i, .home = 1, .epoch = EPOCH, .digest = 7,
				    .flags = i % 2 ? SWI_OBJ_F_DIGEST : 0};

	if (i >= SWI_ARRAY_LEN(len) || cap < sizeof(pair) + sizeof(h))
		return 0;
	h.len = len[i];
	pair[4 * i] = swi_slot_sized(swi_slot_word(SWI_SLOT_SEALED, h.gen, (i + 1) * MIB(2)), swi_extent_bytes(h.len));
	pair[4 * i + 1] = swi_index_key(id);
	memcpy(buf, pair, sizeof(pair));
	memcpy(buf + sizeof(pair), &h, sizeof(h));
	return sizeof(pair) + sizeof(h);
}
