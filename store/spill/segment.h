/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.h - the bytes of a segment file (docs/WIRE.md, "On disk"). Pure functions, no state.
 *
 *   block 0            header: number and nonce of this use of the file
 *   block 1 ..         records: an object's 64-byte header and its payload, as in the arena
 *   last bytes         footer: one 64-byte entry a record, behind that of a large one its sums; then
 *                      a 64-byte trailer (full segments)
 *
 * A record's header crc is salted with the segment's number and nonce and with the record's own
 * offset. So a record of an earlier use of the same file never passes for one of this use, a copy
 * of a record at another place does not either, and no commit block has to be written beside the
 * data. Little-endian hosts only, as the shared memory is.
 */
#ifndef SWI_SPILL_SEGMENT_H
#define SWI_SPILL_SEGMENT_H

#include "store/disk.h"
#include "store/shm.h"

#define SWI_SEG_MAGIC	   0x47455357u /* "WSEG" */
#define SWI_SEG_FOOT_MAGIC 0x544f4f46u /* "FOOT" */
#define SWI_SEG_TOMB_MAGIC 0x424d4f54u /* "TOMB": a record that says another one is forgotten */
#define SWI_SEG_VERSION	   1u
#define SWI_SEG_FOOT_VERSION 2u /* of the footer: with sums; a segment with another one is scanned */
#define SWI_SEG_DATA_OFF   SWI_DISK_ALIGN
#define SWI_SEG_NAME_LEN   32u

struct swi_seg_key { /* one use of a segment file */
	uint64_t number; /* grows with every use of any file of this log */
	uint64_t nonce;	 /* random: no client can write a payload that looks like a record */
};

struct swi_seg_header {
	uint32_t magic, version;
	uint64_t number, nonce;
	uint64_t boot_epoch;
	uint64_t bytes; /* of the file when this use began */
	uint32_t zero[5];
	uint32_t crc; /* crc32c of the bytes before it */
};
static_assert(sizeof(struct swi_seg_header) == 64, "within one sector");

/* A record in the footer. A tombstone has magic SWI_SEG_TOMB_MAGIC, see struct swi_seg_tomb. */
struct swi_seg_entry {
	uint32_t magic; /* SWI_OBJ_MAGIC */
	uint32_t flags;
	uint64_t oid[2];
	uint32_t gen, home;
	uint64_t epoch, len, digest;
	uint64_t off; /* of the record in the segment */
};
static_assert(sizeof(struct swi_seg_entry) == 64, "one cache line");

/*
 * "The record at @target_off of segment @target is forgotten." Lies among the small records, one
 * granule, and as it is in the footer. The nonce tells the segment from another one that got its number
 * after a crash in which it was lost; 0, as an earlier release wrote, stands for any.
 */
struct swi_seg_tomb {
	uint32_t magic, zero;
	uint64_t oid[2];
	uint64_t target, target_off;
	uint64_t off; /* its own place */
	uint64_t target_nonce;
	uint32_t zero2;
	uint32_t crc; /* salted like a record's */
};
static_assert(sizeof(struct swi_seg_tomb) == 64, "one granule");

struct swi_seg_trailer { /* the last 64 bytes of the file */
	uint32_t magic, version;
	uint64_t number, nonce;
	uint64_t count; /* entries just before this, from a block boundary on */
	uint64_t data_end; /* records lie in [SWI_SEG_DATA_OFF, data_end) */
	uint64_t zero[2];
	uint32_t table_crc; /* crc32c of the entries */
	uint32_t crc;	    /* crc32c of the bytes before it */
};
static_assert(sizeof(struct swi_seg_trailer) == 64, "one cache line");

/*
 * Sums: the low half of the XXH3 of the payload bytes in each block of a large record, so that some
 * blocks of it can be proven without the rest (crc32c takes two and a half times as long). 16 to an entry of the footer, the rest of the last one zero.
 */
#define SWI_SEG_ENTRY_SUMS (sizeof(struct swi_seg_entry) / sizeof(uint32_t))

static inline uint64_t swi_seg_sum_count(uint64_t extent_bytes)
{
	return extent_bytes >= SWI_LARGE_MIN ? extent_bytes / SWI_DISK_ALIGN : 0;
}

/* Entries of the footer that a record takes. */
static inline uint64_t swi_seg_entries(uint64_t extent_bytes)
{
	return 1 + (swi_seg_sum_count(extent_bytes) + SWI_SEG_ENTRY_SUMS - 1) / SWI_SEG_ENTRY_SUMS;
}

static inline uint64_t swi_seg_footer_bytes(uint64_t count)
{
	return swi_align_up(count * sizeof(struct swi_seg_entry) + sizeof(struct swi_seg_trailer),
			    SWI_DISK_ALIGN);
}


void swi_seg_header_init(struct swi_seg_header *h, struct swi_seg_key key, uint64_t boot_epoch,
			 uint64_t bytes);
/* 0, -ENODATA: all zero, never written; -EBADMSG: not a header, or a damaged one. */
int swi_seg_header_check(const struct swi_seg_header *h);

/*
 * The salted crc of an object's header: without state, touch and the crc itself. The flags in it are
 * those of @head; the node may change the ones in the arena while the disk reads them.
 */
uint32_t swi_seg_record_crc(const struct swi_object_head *head, struct swi_seg_key key, uint64_t off);
/*
 * Is @head, as read, a record of this segment at @off, and does it end before @limit? Puts the flags
 * right: they are the ones that the crc was made with.
 */
bool swi_seg_record_valid(struct swi_object_head *head, struct swi_seg_key key, uint64_t off,
			  uint64_t limit);
void swi_seg_tomb_init(struct swi_seg_tomb *t, struct swi_seg_key key, const uint64_t oid[2],
		       struct swi_seg_key target, uint64_t target_off, uint64_t off);
bool swi_seg_tomb_valid(const struct swi_seg_tomb *t, struct swi_seg_key key, uint64_t off);

/* Fills the footer of @count entries (already in place at @buf) of swi_seg_footer_bytes(@count). */
void swi_seg_footer_seal(void *buf, uint64_t count, struct swi_seg_key key, uint64_t data_end);
/* The trailer of a file of @bytes: 0 and the number of entries, or -EBADMSG. */
int swi_seg_trailer_check(const struct swi_seg_trailer *t, struct swi_seg_key key, uint64_t bytes,
			  uint64_t *out_count);
/* Are the entries those that the trailer was made for? */
bool swi_seg_table_valid(const struct swi_seg_trailer *t, const void *entries);
/* Is @e a possible entry: a known kind, in [SWI_SEG_DATA_OFF, data_end)? */
bool swi_seg_entry_valid(const struct swi_seg_entry *e, uint64_t data_end);
/* What a table lists at *io_at, which moves behind it: 0 and the entry, its sums behind it. -EBADMSG. */
int swi_seg_table_next(const struct swi_seg_entry *table, const struct swi_seg_trailer *t,
		       struct swi_seg_key key, uint64_t *io_at, const struct swi_seg_entry **out_entry);

/*
 * Sums of the payload bytes [from, from + len) of a large record, at @p: they begin and end where a
 * block of the record does, or with the payload. Into (make), or against (match), @sums, the sum of
 * the block where they begin.
 */
void swi_seg_sums_make(uint32_t *sums, const void *p, uint64_t from, uint64_t len);
bool swi_seg_sums_match(const uint32_t *sums, const void *p, uint64_t from, uint64_t len);

void swi_seg_entry_from_head(struct swi_seg_entry *e, const struct swi_object_head *head,
			     uint64_t off);
void swi_seg_entry_to_head(struct swi_object_head *head, const struct swi_seg_entry *e);

/* A copy of a header without its atomics' races: what the index keeps. */
void swi_head_copy(struct swi_object_head *dst, const struct swi_object_head *src);

/* "swarm-<16 hex digits>.seg" */
void swi_seg_name(uint64_t file_number, char out_name[SWI_SEG_NAME_LEN]);
bool swi_seg_name_parse(const char *name, uint64_t *out_file_number);

#endif
