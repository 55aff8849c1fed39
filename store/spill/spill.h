/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill.h - the face of the spill log: objects out of memory, and back.
 *
 * Append-only segments on one or several disks. What is written is the object's extent as it lies
 * in the arena: its 64-byte header (struct swi_object_head, store/shm.h) and its payload, padded to
 * SWI_DISK_ALIGN; small objects are gathered in a staging buffer first ("fused"). The index of what
 * is spilled lives in memory and is rebuilt by recovery. Owner thread only; nothing blocks.
 */
#ifndef SWI_SPILL_H
#define SWI_SPILL_H

#include "store/disk.h"

struct swi_spill;
struct swi_object_head;

struct swi_spill_opts {
	struct swi_disk *const *disks; /* owned by the caller, outlive the log */
	uint32_t disk_count;	       /* 0: spilling is off, every write answers SWARM_EDISKFULL */
	uint64_t segment_bytes;	       /* 0 = 64 MiB; rounded up to hold one largest object */
	uint64_t quota_bytes;	       /* 0 = no limit but the disks */
	uint64_t reserve_bytes;	       /* left free on every disk; 0 = 2 % of it, at least 64 MiB and at most 1 GiB */
	uint64_t boot_epoch;
	bool keep;		       /* recover what is there at open; else files of earlier lives are swept */
	void *staging;		       /* SWI_DISK_ALIGN aligned memory for fused writes and unaligned restores */
	uint64_t staging_bytes;	       /* at least 1 MiB */
};

struct swi_spill_stats {
	uint64_t objects, live_bytes, segment_count, segment_bytes;
	uint64_t written_objects, written_bytes, restored_objects, restored_bytes;
	uint64_t compacted_bytes, write_errors, read_errors, corrupt_records;
	uint64_t syncs; /* of records, in a kept log: each serves all that were written before it */
};

/* A request; borrowed until cb(). */
struct swi_spill_io {
	struct swi_list link;
	struct swarm_oid id;
	void *extent;		/* write: header + payload in the arena; restore: where they go */
	uint64_t extent_bytes;	/* the extent's size; large ones are page-aligned and a page multiple */
	int status;		/* 0, -EIO, -ENOSPC / SWARM_EDISKFULL, SWARM_ECORRUPT, -ENOENT */
	void (*cb)(struct swi_spill_io *io); /* exactly once, never from inside the call that began it */
	void *owner;
	uint64_t from, len;	/* of swi_spill_read_range() alone: which bytes of the payload */
	void *data;		/* and, at cb(): where in @extent they begin */
	struct swi_dio dio;	/* spill's own */
	void *priv;		/* spill's own */
};

int swi_spill_create(const struct swi_spill_opts *opts, struct swi_env *env,
		     const struct swi_log *log, struct swi_spill **out, char *why, size_t why_len);
void swi_spill_destroy(struct swi_spill *sp); /* finishes or fails what is in flight; NULL is fine */

/*
 * Writes an object out. The digest in its header must be set. On status 0 it is in the spill index,
 * and of a kept log it is durable. Who asks while the same value is being written waits for that.
 */
void swi_spill_write(struct swi_spill *sp, struct swi_spill_io *io);
/* Reads a spilled object into @io->extent and verifies header and digest. It stays spilled. */
void swi_spill_restore(struct swi_spill *sp, struct swi_spill_io *io);
/*
 * Reads the bytes [from, from + len) of a spilled object's payload into @io->extent, SWI_DISK_ALIGN
 * aligned memory of @io->extent_bytes >= swi_spill_range_room(), and proves them: of a large object
 * (SWI_LARGE_MIN) no more than their blocks, each by its sum; a small one is read whole. At cb() they
 * begin at @io->data. Byte b of a large object comes to lie at (64 + b) % SWI_DISK_ALIGN in its block,
 * as in its extent: a range can be read straight into place. -EINVAL: there are no such bytes; -ENOENT.
 */
void swi_spill_read_range(struct swi_spill *sp, struct swi_spill_io *io);
/* Bytes of memory for such a range; 0: the object is not spilled here or has no such bytes. */
uint64_t swi_spill_range_room(struct swi_spill *sp, struct swarm_oid id, uint64_t from, uint64_t len);
/* The file where reading failed the last time ("folder/file"), or "": for messages, at cb(). */
const char *swi_spill_trouble(struct swi_spill *sp);
/* true: spilled here; *out_head is its header as written (any pointer may be NULL). */
bool swi_spill_find(struct swi_spill *sp, struct swarm_oid id, struct swi_object_head *out_head);
/*
 * Forgets a spilled object; its bytes count as dead. In-flight restores finish. A kept log may have it
 * again after a crash, until swi_spill_barrier() says otherwise.
 */
void swi_spill_forget(struct swi_spill *sp, struct swarm_oid id);
/*
 * cb() when all that was forgotten before is durable: no crash brings it back. Status: 0, or why one of
 * them may come back (-EIO, SWARM_EDISKFULL, -ENOMEM). At once where the log is not kept.
 */
void swi_spill_barrier(struct swi_spill *sp, struct swi_spill_io *io);
/* Every spilled object, in a fixed order; @each must not change the log. */
void swi_spill_each(struct swi_spill *sp,
		    void (*each)(void *ctx, const struct swi_object_head *head), void *ctx);
struct swi_spill_segment {
	const char *folder;
	const char *state; /* "open", "closing", "closed", "dying", "free" */
	uint64_t number;   /* of this use of the file */
	uint64_t file;	   /* the digits of its name */
	uint64_t bytes, live_bytes, dead_bytes, punched_bytes, objects;
	bool compacting;
};
/* Every segment file, those with nothing in them too, in a fixed order. */
void swi_spill_each_segment(struct swi_spill *sp,
			    void (*each)(void *ctx, const struct swi_spill_segment *seg), void *ctx);
/* Could @bytes more be written now (quota, reserve, free space)? */
bool swi_spill_has_room(struct swi_spill *sp, uint64_t bytes);

/*
 * Waits until no transfer is in flight; their requests are answered by the next progress() or by
 * destroy(). For the thread that ran the log, before another one ends it: a disk's ring belongs to
 * the thread that uses it.
 */
void swi_spill_quiesce(struct swi_spill *sp);
int swi_spill_progress(struct swi_spill *sp); /* completions, compaction; number of events */
uint64_t swi_spill_deadline_ns(struct swi_spill *sp); /* back-off after errors; UINT64_MAX = none */
const struct swi_spill_stats *swi_spill_stats(struct swi_spill *sp);

#endif
