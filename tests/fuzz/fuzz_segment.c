/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_segment.c - the structures of a spill segment as they lie on a disk that somebody else wrote: 64 bytes, or a
 * footer's table of entries. First byte: which. What is accepted stays inside the segment that it claims to describe.
 */
#include "store/shm.h"
#include "store/spill/segment.h"
#include "tests/fuzz/fuzz.h"

#define FILE_BYTES MIB(64)
#define LIMIT	   MIB(32)
#define TABLE_MAX  64u /* entries */

static const struct swi_seg_key key = {.number = 5, .nonce = 0x1234567890abcdefull};

static void try_record(const void *p)
{
	struct swi_object_head head;

	memcpy((void *)&head, p, sizeof(head));
	if (swi_seg_record_valid(&head, key, SWI_SEG_DATA_OFF, LIMIT))
		FUZZ_CHECK(SWI_SEG_DATA_OFF + swi_extent_bytes(head.len) <= LIMIT);
}

static void try_trailer(const void *p)
{
	struct swi_seg_trailer t;
	uint64_t count;

	memcpy(&t, p, sizeof(t));
	if (!swi_seg_trailer_check(&t, key, FILE_BYTES, &count))
		FUZZ_CHECK(count <= FILE_BYTES / sizeof(struct swi_seg_entry) && t.data_end <= FILE_BYTES);
}

static void try_entry(const void *p)
{
	struct swi_seg_entry e;

	memcpy(&e, p, sizeof(e));
	if (swi_seg_entry_valid(&e, LIMIT) && e.magic == SWI_OBJ_MAGIC)
		FUZZ_CHECK(e.off >= SWI_SEG_DATA_OFF && e.off < LIMIT);
}

static void try_header(const void *p)
{
	struct swi_seg_header h;

	memcpy(&h, p, sizeof(h));
	(void)swi_seg_header_check(&h);
}

static void try_tomb(const void *p)
{
	struct swi_seg_tomb t;

	memcpy(&t, p, sizeof(t));
	(void)swi_seg_tomb_valid(&t, key, SWI_SEG_DATA_OFF);
}

/* As if its checksum were right: what it lists must lie in the segment, and its sums in the table. */
static void try_table(const uint8_t *data, size_t size)
{
	const struct swi_seg_trailer t = {.count = swi_min_u64(size / 64, TABLE_MAX), .data_end = LIMIT};
	struct swi_seg_entry *table = malloc(t.count * sizeof(*table) + 1);
	const struct swi_seg_entry *e;
	uint64_t at = 0;

	FUZZ_CHECK(table);
	memcpy(table, data, t.count * sizeof(*table));
	while (at < t.count) {
		const uint64_t before = at;

		if (swi_seg_table_next(table, &t, key, &at, &e))
			break;
		FUZZ_CHECK(at > before && at <= t.count && e == &table[before]);
		if (e->magic != SWI_OBJ_MAGIC)
			continue;
		FUZZ_CHECK(e->off + swi_extent_bytes(e->len) <= LIMIT);
		FUZZ_CHECK((at - before - 1) * SWI_SEG_ENTRY_SUMS >=
			   swi_seg_sum_count(swi_extent_bytes(e->len)));
	}
	free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const checker[])(const void *) = {try_record, try_trailer, try_entry, try_header, try_tomb};
	uint8_t block[64] = {0};

	if (!size)
		return 0;
	if (data[0] % (SWI_ARRAY_LEN(checker) + 1) == SWI_ARRAY_LEN(checker)) {
		try_table(data + 1, size - 1);
		return 0;
	}
	memcpy(block, data + 1, size - 1 < sizeof(block) ? size - 1 : sizeof(block));
	checker[data[0] % SWI_ARRAY_LEN(checker)](block);
	return 0;
}

static void seed_head(struct swi_object_head *h, uint64_t len)
{
	memset((void *)h, 0, sizeof(*h));
	h->magic = SWI_OBJ_MAGIC;
	h->state = SWI_OBJ_SEALED;
	h->oid[0] = 1;
	h->gen = 3;
	h->home = 1;
	h->len = len;
	h->flags = SWI_OBJ_F_DIGEST;
	h->crc = swi_seg_record_crc(h, key, SWI_SEG_DATA_OFF);
}

/* A small record, a large one with its sums, a mark. */
static size_t seed_table(uint8_t *out)
{
	const uint64_t oid[2] = {1, 2}, len = KIB(70), small = SWI_SEG_DATA_OFF + SWI_DISK_ALIGN;
	struct swi_seg_entry table[8];
	struct swi_object_head head;
	uint64_t n = 0;

	memset(table, 0, sizeof(table));
	seed_head(&head, 1000);
	swi_seg_entry_from_head(&table[n++], &head, SWI_SEG_DATA_OFF);
	seed_head(&head, len);
	swi_seg_entry_from_head(&table[n], &head, small);
	memset(&table[n + 1], 0x5c, swi_seg_sum_count(swi_extent_bytes(len)) * sizeof(uint32_t));
	n += swi_seg_entries(swi_extent_bytes(len));
	swi_seg_tomb_init((struct swi_seg_tomb *)&table[n++], key, oid, key, SWI_SEG_DATA_OFF, small);
	memcpy(out, table, n * sizeof(table[0]));
	return n * sizeof(table[0]);
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	static uint8_t footer[SWI_DISK_ALIGN];
	const uint64_t oid[2] = {1, 2};
	struct swi_object_head head;
	struct swi_seg_entry entry;
	struct swi_seg_header header;
	struct swi_seg_tomb tomb;

	FUZZ_CHECK(cap > 9 * 64);
	buf[0] = (uint8_t)i;
	seed_head(&head, 1000);
	swi_seg_entry_from_head(&entry, &head, SWI_SEG_DATA_OFF);
	if (i == 0) {
		memcpy(buf + 1, (const void *)&head, 64);
	} else if (i == 1) {
		memcpy(footer, &entry, sizeof(entry));
		swi_seg_footer_seal(footer, 1, key, LIMIT);
		memcpy(buf + 1, footer + sizeof(footer) - 64, 64);
	} else if (i == 2) {
		memcpy(buf + 1, &entry, 64);
	} else if (i == 3) {
		swi_seg_header_init(&header, key, 9, FILE_BYTES);
		memcpy(buf + 1, &header, 64);
	} else if (i == 4) {
		swi_seg_tomb_init(&tomb, key, oid, key, SWI_SEG_DATA_OFF, SWI_SEG_DATA_OFF);
		memcpy(buf + 1, &tomb, 64);
	} else if (i == 5) {
		return 1 + seed_table(buf + 1);
	} else {
		return 0;
	}
	return 65;
}
