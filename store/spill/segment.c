/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.c - writing and checking the pieces of a segment file.
 *
 * Everything that is checked here comes from a disk and may be anything: every length is compared
 * with the file before it is used. Pure functions; any thread.
 */
#include <isa-l/crc.h>

#include "store/spill/segment.h"
#include "transport/base/xxh.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the disk format is little-endian");

#define KNOWN_FLAGS (SWI_OBJ_F_SECONDARY | SWI_OBJ_F_DIGEST | SWI_OBJ_F_NAMED)

static uint32_t crc32c(uint32_t crc, const void *p, size_t len)
{
	union {
		const void *in;
		unsigned char *out;
	} u = {.in = p}; /* the library takes a non-const pointer and only reads */

	for (; len > GIB(1); len -= GIB(1), u.out += GIB(1))
		crc = crc32_iscsi(u.out, (int)GIB(1), crc);
	return crc32_iscsi(u.out, (int)len, crc);
}

void swi_seg_header_init(struct swi_seg_header *h, struct swi_seg_key key, uint64_t boot_epoch,
			 uint64_t bytes)
{
	memset(h, 0, sizeof(*h));
	h->magic = SWI_SEG_MAGIC;
	h->version = SWI_SEG_VERSION;
	h->number = key.number;
	h->nonce = key.nonce;
	h->boot_epoch = boot_epoch;
	h->bytes = bytes;
	h->crc = crc32c(~0u, h, offsetof(struct swi_seg_header, crc));
}

int swi_seg_header_check(const struct swi_seg_header *h)
{
	static const struct swi_seg_header zero;

	if (!memcmp(h, &zero, sizeof(zero)))
		return -ENODATA;
	if (h->magic != SWI_SEG_MAGIC || h->version != SWI_SEG_VERSION ||
	    h->crc != crc32c(~0u, h, offsetof(struct swi_seg_header, crc)))
		return -EBADMSG;
	return 0;
}

static uint32_t salted_crc(const void *p, size_t len, struct swi_seg_key key, uint64_t off)
{
	const uint64_t salt[3] = {key.number, key.nonce, off};

	return crc32c(crc32c(~0u, p, len), salt, sizeof(salt));
}

void swi_head_copy(struct swi_object_head *dst, const struct swi_object_head *src)
{
	memset(dst, 0, sizeof(*dst));
	dst->magic = src->magic;
	atomic_init(&dst->state, atomic_load_explicit(&src->state, memory_order_relaxed));
	memcpy(dst->oid, src->oid, sizeof(dst->oid));
	dst->gen = src->gen;
	dst->home = src->home;
	dst->epoch = src->epoch;
	dst->len = src->len;
	atomic_init(&dst->digest, atomic_load_explicit(&src->digest, memory_order_relaxed));
	dst->flags = src->flags;
}

uint32_t swi_seg_record_crc(const struct swi_object_head *head, struct swi_seg_key key, uint64_t off)
{
	struct swi_object_head h;

	swi_head_copy(&h, head);
	atomic_init(&h.state, 0);
	h.flags = head->flags & KNOWN_FLAGS;
	return salted_crc(&h, sizeof(h), key, off);
}

bool swi_seg_record_valid(struct swi_object_head *head, struct swi_seg_key key, uint64_t off,
			  uint64_t limit)
{
	static const uint32_t flags[] = {
		SWI_OBJ_F_DIGEST,
		SWI_OBJ_F_DIGEST | SWI_OBJ_F_NAMED,
		SWI_OBJ_F_DIGEST | SWI_OBJ_F_SECONDARY,
		SWI_OBJ_F_DIGEST | SWI_OBJ_F_NAMED | SWI_OBJ_F_SECONDARY,
	};

	if (head->magic != SWI_OBJ_MAGIC || off > limit || head->len > limit - off)
		return false;
	if (swi_extent_bytes(head->len) > limit - off)
		return false;
	if (swi_extent_bytes(head->len) >= SWI_LARGE_MIN && off % SWI_DISK_ALIGN)
		return false;
	for (size_t i = 0; i < SWI_ARRAY_LEN(flags); i++) {
		head->flags = flags[i];
		if (head->crc == swi_seg_record_crc(head, key, off))
			return true;
	}
	return false;
}

void swi_seg_tomb_init(struct swi_seg_tomb *t, struct swi_seg_key key, const uint64_t oid[2],
		       struct swi_seg_key target, uint64_t target_off, uint64_t off)
{
	*t = (struct swi_seg_tomb){
		.magic = SWI_SEG_TOMB_MAGIC,
		.oid = {oid[0], oid[1]},
		.target = target.number,
		.target_off = target_off,
		.off = off,
		.target_nonce = target.nonce,
	};
	t->crc = salted_crc(t, offsetof(struct swi_seg_tomb, crc), key, off);
}

bool swi_seg_tomb_valid(const struct swi_seg_tomb *t, struct swi_seg_key key, uint64_t off)
{
	return t->magic == SWI_SEG_TOMB_MAGIC && t->off == off &&
	       t->crc == salted_crc(t, offsetof(struct swi_seg_tomb, crc), key, off);
}

void swi_seg_footer_seal(void *buf, uint64_t count, struct swi_seg_key key, uint64_t data_end)
{
	const uint64_t bytes = swi_seg_footer_bytes(count);
	const uint64_t used = count * sizeof(struct swi_seg_entry);
	struct swi_seg_trailer *t;

	memset((char *)buf + used, 0, bytes - used);
	t = (struct swi_seg_trailer *)(void *)((char *)buf + bytes - sizeof(*t));
	t->magic = SWI_SEG_FOOT_MAGIC;
	t->version = SWI_SEG_FOOT_VERSION;
	t->number = key.number;
	t->nonce = key.nonce;
	t->count = count;
	t->data_end = data_end;
	t->table_crc = crc32c(~0u, buf, used);
	t->crc = crc32c(~0u, t, offsetof(struct swi_seg_trailer, crc));
}

int swi_seg_trailer_check(const struct swi_seg_trailer *t, struct swi_seg_key key, uint64_t bytes,
			  uint64_t *out_count)
{
	if (t->magic != SWI_SEG_FOOT_MAGIC || t->version != SWI_SEG_FOOT_VERSION ||
	    t->number != key.number || t->nonce != key.nonce ||
	    t->crc != crc32c(~0u, t, offsetof(struct swi_seg_trailer, crc)))
		return -EBADMSG;
	if (t->count > bytes / sizeof(struct swi_seg_entry) ||
	    t->data_end < SWI_SEG_DATA_OFF || t->data_end > bytes ||
	    swi_seg_footer_bytes(t->count) > bytes - t->data_end)
		return -EBADMSG;
	*out_count = t->count;
	return 0;
}

bool swi_seg_table_valid(const struct swi_seg_trailer *t, const void *entries)
{
	return t->table_crc == crc32c(~0u, entries, t->count * sizeof(struct swi_seg_entry));
}

bool swi_seg_entry_valid(const struct swi_seg_entry *e, uint64_t data_end)
{
	if (e->magic == SWI_SEG_TOMB_MAGIC)
		return true;
	if (e->magic != SWI_OBJ_MAGIC || e->off < SWI_SEG_DATA_OFF || e->off > data_end ||
	    e->off % SWI_GRANULE || e->len > data_end - e->off)
		return false;
	if (swi_extent_bytes(e->len) >= SWI_LARGE_MIN && e->off % SWI_DISK_ALIGN)
		return false;
	return swi_extent_bytes(e->len) <= data_end - e->off;
}

int swi_seg_table_next(const struct swi_seg_entry *table, const struct swi_seg_trailer *t,
		       struct swi_seg_key key, uint64_t *io_at, const struct swi_seg_entry **out_entry)
{
	const struct swi_seg_entry *e = &table[*io_at];
	uint64_t entries = 1;

	if (e->magic == SWI_SEG_TOMB_MAGIC) {
		const struct swi_seg_tomb *tomb = (const struct swi_seg_tomb *)e;

		if (!swi_seg_tomb_valid(tomb, key, tomb->off))
			return -EBADMSG;
	} else {
		if (!swi_seg_entry_valid(e, t->data_end))
			return -EBADMSG;
		entries = swi_seg_entries(swi_extent_bytes(e->len));
		if (entries > t->count - *io_at)
			return -EBADMSG;
	}
	*io_at += entries;
	*out_entry = e;
	return 0;
}

/* ---- sums ---- */
/* Bytes of the payload from @from to the end of the block that it lies in. */
static uint64_t to_block_end(uint64_t from, uint64_t len)
{
	const uint64_t at = sizeof(struct swi_object_head) + from;

	return swi_min_u64(SWI_DISK_ALIGN - at % SWI_DISK_ALIGN, len);
}

void swi_seg_sums_make(uint32_t *sums, const void *p, uint64_t from, uint64_t len)
{
	const char *c = p;

	while (len) {
		const uint64_t n = to_block_end(from, len);

		*sums++ = (uint32_t)XXH3_64bits(c, n);
		c += n;
		from += n;
		len -= n;
	}
}

bool swi_seg_sums_match(const uint32_t *sums, const void *p, uint64_t from, uint64_t len)
{
	const char *c = p;

	while (len) {
		const uint64_t n = to_block_end(from, len);

		if (*sums++ != (uint32_t)XXH3_64bits(c, n))
			return false;
		c += n;
		from += n;
		len -= n;
	}
	return true;
}

void swi_seg_entry_from_head(struct swi_seg_entry *e, const struct swi_object_head *head,
			     uint64_t off)
{
	*e = (struct swi_seg_entry){
		.magic = SWI_OBJ_MAGIC,
		.flags = head->flags,
		.oid = {head->oid[0], head->oid[1]},
		.gen = head->gen,
		.home = head->home,
		.epoch = head->epoch,
		.len = head->len,
		.digest = atomic_load_explicit(&head->digest, memory_order_relaxed),
		.off = off,
	};
}

void swi_seg_entry_to_head(struct swi_object_head *head, const struct swi_seg_entry *e)
{
	memset(head, 0, sizeof(*head));
	head->magic = SWI_OBJ_MAGIC;
	atomic_init(&head->state, SWI_OBJ_SEALED);
	memcpy(head->oid, e->oid, sizeof(head->oid));
	head->gen = e->gen;
	head->home = e->home;
	head->epoch = e->epoch;
	head->len = e->len;
	atomic_init(&head->digest, e->digest);
	head->flags = e->flags & KNOWN_FLAGS;
}

void swi_seg_name(uint64_t file_number, char out_name[SWI_SEG_NAME_LEN])
{
	snprintf(out_name, SWI_SEG_NAME_LEN, "swarm-%016llx.seg", (unsigned long long)file_number);
}

bool swi_seg_name_parse(const char *name, uint64_t *out_file_number)
{
	static const char prefix[] = "swarm-";
	uint64_t v = 0;

	if (strlen(name) != 26 || strncmp(name, prefix, 6) || strcmp(name + 22, ".seg"))
		return false;
	for (int i = 6; i < 22; i++) {
		const char c = name[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*out_file_number = v;
	return true;
}
