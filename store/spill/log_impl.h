/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_impl.h - what the files of the spill log share: its state and who may call what.
 *
 *   spill.c    the face: requests, completions, the turn of progress()
 *   index.c    from id to record
 *   space.c    which disk, which segment, which bytes; opening, closing and releasing segments
 *   append.c   writes: large ones straight from the arena, small ones gathered; acknowledgement
 *   sums.c     the sums of large records, made beside their transfers
 *   restore.c  reads of whole objects
 *   range.c    reads of a part
 *   recover.c  what earlier lives left in the folders
 *   compact.c  moving or punching what dead records hold
 *
 * Every completion goes through sp->done and is delivered by progress(), so no callback ever runs
 * inside the call that began its request. Owner thread only.
 */
#ifndef SWI_SPILL_LOG_IMPL_H
#define SWI_SPILL_LOG_IMPL_H

#define HASH_NONFATAL_OOM 1
#include "transport/base/hash.h"

#include "store/spill/segment.h"
#include "store/spill/spill.h"

#define SPILL_BATCHES_MAX 16u
#define SPILL_BATCH_MIN	  KIB(128) /* two of the largest small records */
#define SPILL_BATCH_MAX	  KIB(512) /* one request of a disk that takes 254 pages */
#define SPILL_PAGES_MAX	  4096u /* of the read area */
#define SPILL_FREE_SEGS	  2u	/* a disk keeps this many dead files for the next segments */
#define SPILL_SEG_MIN	  MIB(1)

enum seg_state {
	SEG_OPEN,    /* takes records */
	SEG_CLOSING, /* takes none; its transfers end, then its footer is written */
	SEG_CLOSED,
	SEG_DYING, /* dead, in a kept log: its header is being taken back, then its file goes */
	SEG_FREE,  /* dead, its file waits for another use */
};

struct swi_seg {
	struct swi_list link;	     /* sp->segs, or the disk's free list */
	struct swi_list victim_link; /* sp->victims, or alone */
	struct swi_spill *sp;
	struct swi_seg_key key;
	uint32_t disk; /* index into sp->disks */
	enum seg_state state;
	struct swi_file *file;
	uint64_t file_number, bytes;
	uint64_t append; /* where the next record goes */
	uint64_t recs;	 /* entries that the footer must have room for */
	uint64_t live_bytes, live_objects;
	uint64_t punched; /* bytes given back to the file system */
	uint32_t writes;  /* data transfers in flight */
	uint32_t busy;	  /* all transfers and holes in flight */
	uint32_t reads[2]; /* of records, by the phase in which they began */
	uint8_t phase;	   /* the other one begins when gaps are looked for */
	bool failed, header_ok, foot_done, emptied; /* emptied: compaction copied what it could */
	struct swi_list objs;		   /* spilled and live, by seg_link */
	struct swi_list unsynced, syncing; /* written, not acknowledged yet (keep) */
	struct swi_list tombs;		   /* tombstones that lie here (keep) */
	uint32_t tombs_pending; /* marks for records here that are not on disk yet */
	uint32_t tombs_moving;	/* marks from here that are being written elsewhere */
	struct swi_dio meta;		   /* header, later the footer */
	void *meta_buf;
	struct swi_dio sync;
	bool sync_busy;
};

enum obj_state { OBJ_WRITING, OBJ_SPILLED };

/* A record: in the index while it is written and as long as it is spilled. */
struct swi_spill_obj {
	struct swi_object_head head; /* as written; key of the index: head.oid */
	struct swi_seg *seg;
	uint64_t off; /* in the segment; in the batch while gathered */
	struct swi_list seg_link;
	struct swi_spill_io *io;   /* while writing */
	union {
		struct swi_spill_read *read;	/* of one that is spilled: the read in flight, if any */
		struct swi_mark_group *doom; /* of one that is written: who waits for its end, if doomed */
	};
	struct swi_move *move; /* this is the copy that compaction makes; not in the index */
	struct swi_tomb *tomb; /* this is no object but a mark; not in the index, no io */
	uint8_t state;		   /* enum obj_state */
	uint8_t attempts;
	int16_t avoid; /* after a failed attempt: the disk that failed */
	bool doomed;   /* forgotten while it was written */
	bool moving;   /* compaction is copying it */
	bool landed;   /* large: on disk, its sums are not made yet */
	uint32_t summed; /* so many of its sums are made */
	uint32_t sums[]; /* of a large one, one a block: swi_seg_sum_count() */
};

/* A "forgotten" mark. Keep mode only. */
struct swi_tomb {
	struct swi_list link; /* the tombs of the segment where it lies */
	uint64_t oid[2];
	struct swi_seg_key target; /* segment of the forgotten record */
	uint64_t target_off;
	uint64_t off;		     /* where it lies itself */
	uint64_t from;		     /* the segment that it lay in before and that waits to go, or 0 */
	struct swi_mark_group *group; /* until it is durable */
};

/* What was forgotten between one barrier and the next, until all of it is durable. */
struct swi_mark_group {
	struct swi_list link; /* sp->groups, oldest first */
	uint32_t pending;
	int status;
	struct swi_list ios; /* barriers; none while it is the last and open */
};

struct swi_batch { /* one staging buffer of small records */
	struct swi_list link; /* sp->batches when idle */
	struct swi_dio dio;
	struct swi_spill *sp;
	struct swi_seg *seg;
	char *buf;
	uint32_t used, count;
	struct swi_list objs; /* by seg_link */
};

struct swi_spill_read {
	struct swi_list link; /* sp->reads_waiting while there is no buffer; sp->arrived */
	struct swi_dio dio;
	struct swi_spill *sp;
	struct swi_spill_obj *obj; /* NULL when it was forgotten meanwhile */
	struct swi_seg *seg;	   /* busy */
	struct swi_object_head head;
	uint64_t off;
	struct swi_list ios; /* all get the same bytes; the first one's extent takes a large read */
	char *buf;	     /* small: in the read area */
	uint32_t pages;	     /* of the read area */
	bool retried;
	uint8_t phase; /* of its segment, when it began */
	int status;	       /* once it has arrived */
	XXH3_state_t *digest; /* of a large payload, under way */
	uint64_t digested, sum;
};

struct swi_log_slot {
	uint64_t hash;
	struct swi_spill_obj *obj; /* NULL = free */
};

struct swi_log_index {
	struct swi_log_slot *slots; /* NULL while there was nothing */
	uint64_t mask, count;
};

struct spill_disk {
	struct swi_disk *d;
	struct swi_seg *open;
	struct swi_list free;
	uint32_t free_count, inflight, errors;
	bool no_punch;
	uint64_t avail, space_ns; /* last answer of space(), less the reserve; when */
	uint64_t retry_ns;	  /* not before; 0 = usable */
	uint64_t backoff_ns;
	int why; /* of the back-off */
	uint64_t vtime; /* bytes given / (free bytes x speed): the lowest is next */
	/* Speed of writes, measured while it is busy; 0 = not known yet. */
	uint64_t speed, window_ns, window_bytes;
	uint32_t writing; /* write transfers in flight */
};

struct swi_spill {
	/* const after create */
	struct swi_spill_opts opts;
	struct swi_env *env;
	const struct swi_log *log;
	uint32_t batch_bytes;
	char *area; /* staging for reads */
	uint32_t area_pages;

	struct spill_disk *disks;
	struct swi_list segs; /* every segment but the free ones, oldest first */
	struct swi_log_index index;
	uint64_t foot_bytes; /* of the last footer that was read */
	uint64_t next_number, next_file, held_bytes;
	uint32_t inflight; /* transfers, all disks */
	bool dirty;	   /* something was submitted since the disks were last asked to progress */
	bool closing;

	struct swi_list done;	/* swi_spill_io with a status, to be delivered */
	struct swi_list small;	/* small records not gathered yet, by seg_link */
	struct swi_list batches;
	struct swi_batch *filling;
	struct swi_batch batch[SPILL_BATCHES_MAX];
	uint32_t batches_busy;
	struct swi_list reads_waiting;
	struct swi_list arrived; /* reads to be verified */
	struct swi_list summing; /* large records that are being written, by seg_link */
	uint64_t area_used[SPILL_PAGES_MAX / 64];
	uint32_t area_hint, area_taken; /* taken: pages */

	struct swi_list groups; /* of marks; keep mode */
	int mark_error;		/* of marks that no barrier has heard of yet */
	struct swi_list victims;
	struct swi_seg *victim; /* being punched, or emptied */
	struct swi_gap *gaps;	/* its dead ranges, in order of offset; NULL once punched, or while not looked for */
	size_t gap_count, gap_next;
	uint64_t gap_done;   /* bytes of the next one that are a hole */
	struct swi_dio hole; /* being punched */
	bool punching;	     /* it is in flight, even if the victim was given up */
	struct swi_list moves; /* copies on their way */
	uint32_t move_count;
	uint64_t move_bytes;
	struct swi_spill_stats stats;
	char trouble[256]; /* the file where the last read failed */
};

static inline uint64_t obj_bytes(const struct swi_spill_obj *o)
{
	return o->tomb ? sizeof(struct swi_seg_tomb) : swi_extent_bytes(o->head.len);
}

static inline uint8_t seg_read_begin(struct swi_seg *seg)
{
	seg->reads[seg->phase]++;
	return seg->phase;
}

static inline void seg_read_end(struct swi_seg *seg, uint8_t phase)
{
	seg->reads[phase]--;
}

static inline uint64_t obj_sums(const struct swi_spill_obj *o)
{
	return o->tomb ? 0 : swi_seg_sum_count(obj_bytes(o));
}

/* Entries of the footer. */
static inline uint64_t obj_entries(const struct swi_spill_obj *o)
{
	return o->tomb ? 1 : swi_seg_entries(obj_bytes(o));
}

static inline bool obj_is_large(const struct swi_spill_obj *o)
{
	return obj_bytes(o) >= SWI_LARGE_MIN;
}

/* spill.c */
void swi_log_finish(struct swi_spill *sp, struct swi_spill_io *io, int status);
int swi_log_submit(struct swi_spill *sp, struct swi_seg *seg, struct swi_dio *dio);
void swi_log_dio_over(struct swi_seg *seg); /* first thing in every dio callback */
void swi_log_dio_end(struct swi_seg *seg);  /* and the last: @seg may be gone afterwards */
void swi_log_attach(struct swi_spill *sp, struct swi_spill_obj *o, struct swi_seg *seg, uint64_t off);
void swi_log_detach(struct swi_spill *sp, struct swi_spill_obj *o);
void swi_log_drop(struct swi_spill *sp, struct swi_spill_obj *o); /* a spilled one: out and freed */
int swi_log_poll(struct swi_spill *sp); /* what was submitted goes to the disks, what is over comes back */
void swi_log_drain(struct swi_spill *sp); /* until nothing is in flight */

/* index.c */
struct swi_spill_obj *swi_log_lookup(struct swi_spill *sp, const uint64_t oid[2]);
int swi_log_index_reserve(struct swi_spill *sp, uint64_t more); /* room for so many further records */
int swi_log_index_add(struct swi_spill *sp, struct swi_spill_obj *o); /* not there yet; 0 or -ENOMEM */
void swi_log_index_del(struct swi_spill *sp, struct swi_spill_obj *o);
void swi_log_index_ahead(const struct swi_spill *sp, const struct swi_spill_obj *o); /* it is looked up soon */
void swi_log_index_fini(struct swi_spill *sp); /* frees the records too */

/* space.c */
/* Room for @len bytes (a block multiple) and @count records; @avoid: a disk that just failed, or -1. */
int swi_log_alloc(struct swi_spill *sp, uint64_t len, uint64_t count, int avoid,
		  struct swi_seg **out_seg, uint64_t *out_off);
bool swi_log_room(struct swi_spill *sp, uint64_t bytes);
void swi_log_disk_fine(struct spill_disk *sd);
void swi_log_room_again(struct spill_disk *sd); /* bytes were given back */
/* A write of records begins (@bytes 0), or ends with so many bytes written: how fast is this disk? */
void swi_log_speed(struct swi_spill *sp, struct spill_disk *sd, uint64_t bytes);
void swi_log_retire(struct swi_spill *sp, struct swi_seg *seg, int why);
void swi_log_close(struct swi_spill *sp, struct swi_seg *seg); /* no more records; footer when idle */
/* What can be done with it now? It may be freed by this call. */
void swi_log_settle(struct swi_spill *sp, struct swi_seg *seg);
struct swi_seg *swi_log_seg_new(struct swi_spill *sp, uint32_t disk);
void swi_log_unlink_all(struct swi_spill *sp);

/* tomb.c: "forgotten" marks, so that a kept log does not bring back what was forgotten */
/* @group: whose barriers wait for it; NULL = of now. */
void swi_log_bury(struct swi_spill *sp, const struct swi_spill_obj *o, struct swi_mark_group *group);
/* Something has begun that must end before what was forgotten until now is durable. NULL: no memory. */
struct swi_mark_group *swi_log_group_get(struct swi_spill *sp);
void swi_log_group_put(struct swi_spill *sp, struct swi_mark_group *g, int status); /* NULL is fine */
void swi_log_groups_free(struct swi_spill *sp);
void swi_log_tomb_over(struct swi_spill *sp, struct swi_spill_obj *o, int status); /* frees @o */
/* May the dead @seg go? Marks in it that are still needed are written again elsewhere first. */
bool swi_log_tombs_free(struct swi_spill *sp, struct swi_seg *seg);

/* sums.c */
/* A record as @head says, with room for its sums; NULL: no memory. @head NULL: a mark's. */
struct swi_spill_obj *swi_log_obj_new(const struct swi_object_head *head);
void swi_log_sum(struct swi_spill *sp, uint64_t bytes); /* so many bytes of what is being written */

/* append.c */
/* The transfer of the large record @o is over, and its sums are made or @status is an error. */
void swi_log_large_over(struct swi_spill *sp, struct swi_spill_obj *o, int status);
void swi_log_append(struct swi_spill *sp, struct swi_spill_obj *o);
void swi_log_pump(struct swi_spill *sp, bool force); /* gathered records to disk */
void swi_log_sync(struct swi_spill *sp, struct swi_seg *seg);
void swi_log_fail_waiting(struct swi_spill *sp, int status);

/* restore.c */
/* A record that cannot be read, or not be proven: counted, said, and remembered for swi_spill_trouble(). */
void swi_log_corrupt(struct swi_spill *sp, const struct swi_seg *seg,
		     const struct swi_object_head *head, int status);
/* The record at @p, as read from @off of @seg, and the digest of its payload, against what the index says. */
int swi_log_record_check(const struct swi_object_head *want, const struct swi_seg *seg, uint64_t off,
			 const char *p, uint64_t sum);
void swi_log_read_pump(struct swi_spill *sp);
void swi_log_verify(struct swi_spill *sp, uint64_t bytes); /* so many bytes of what has arrived */

/* recover.c */
int swi_log_recover(struct swi_spill *sp, char *why, size_t why_len);

/* compact.c */
/* @o is forgotten while it is being copied: the copy must be marked before that is durable. */
void swi_log_move_doom(struct swi_spill *sp, const struct swi_spill_obj *o);
void swi_log_consider(struct swi_spill *sp, struct swi_seg *seg); /* some of it died */
void swi_log_compact(struct swi_spill *sp);
bool swi_log_compact_due(const struct swi_spill *sp); /* there is something to do that no completion calls for */
/* The copy @shadow is written (status 0) or not; frees it. */
void swi_log_moved(struct swi_spill *sp, struct swi_spill_obj *shadow, int status);
void swi_log_compact_stop(struct swi_spill *sp);
void swi_log_compact_forget(struct swi_spill *sp, const struct swi_seg *seg); /* @seg goes */

#endif
