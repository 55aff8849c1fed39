/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compact.h - room in one piece out of room in many: which objects make way for it, and where they go.
 *
 * An arena whose objects left one by one is full of holes that no chunk and no large object fits. Then the emptiest
 * window of the size wanted is looked for by the regions' counts of free bytes (vacancy.h), its free blocks are taken
 * out of the allocator, and each object in it is copied into a hole elsewhere, the smallest that fits. When the last old byte came back
 * the whole window is free at once. So a byte of room costs less than a byte of copying, whatever the arena's state, and
 * nothing that is in use leaves memory for it. (Choosing the emptiest segment and copying what lives is the cleaner of
 * log-structured memory: Rumble, Kejriwal, Ousterhout, FAST'14; here the holes are the log's new segments. Choosing by
 * address what leaves is Linux's lumpy reclaim; it would drop what is hot with what is cold.)
 *
 * What lies where and how an object moves is the owner's (ops): the node (relocate.c), swarm_alloc_util. One window at a
 * time. A step copies so many bytes and looks at so many objects, whatever the arena's size. Owner thread only; deterministic.
 */
#ifndef SWI_COMPACT_H
#define SWI_COMPACT_H

#include "store/extent.h"

/* Where a chunk for small objects is asked for, so much is cleared: more would be less empty. */
#define SWI_COMPACT_CHUNK KIB(256)

struct swi_compact_ops {
	/* Bytes of the object that begins at @offset and may move now; 0: none that is known, or it stays. */
	uint64_t (*at)(void *ctx, uint64_t offset);
	/* It lies at @to from now on; its old bytes come to swi_compact_free() when nobody can read them any more. False: it stays. */
	bool (*move)(void *ctx, uint64_t from, uint64_t bytes, uint64_t to);
};

struct swi_compact_object {
	uint64_t offset, bytes;
};

struct swi_compact {
	struct swi_extents *x;
	const struct swi_compact_ops *ops;
	void *ctx;
	uint64_t from, to;    /* the window; equal: none */
	uint64_t missing;     /* its bytes that are not in hand */
	uint64_t *hand;	      /* a bit a granule of it that is */
	struct swi_compact_object *obj; /* in it when it was chosen */
	uint64_t count, cap, next;
	uint64_t windows, moved_objects, moved_bytes; /* ever */
};

void swi_compact_init(struct swi_compact *c, struct swi_extents *x, const struct swi_compact_ops *ops,
		      void *ctx);
void swi_compact_fini(struct swi_compact *c);
/* Begins to clear a window of @bytes, whole pages; down to @least where no such can be. 0, -EBUSY: one is being cleared, -ENOSPC: there is none, -ENOMEM. */
int swi_compact_begin(struct swi_compact *c, uint64_t bytes, uint64_t least);
/* Moves the next objects, about @bytes. 1: more are left. 0: what is missing is on its way. -ENOSPC: there is no place for one; end it. */
int swi_compact_run(struct swi_compact *c, uint64_t bytes);
/* Gives up: what is in hand is free again, and for this round nothing there is chosen. */
void swi_compact_end(struct swi_compact *c);
/* What could not move may move now. */
static inline void swi_compact_again(struct swi_compact *c)
{
	swi_vacancy_next_round(&c->x->vacancy);
}
static inline bool swi_compact_active(const struct swi_compact *c)
{
	return c->to > c->from;
}
/* Bytes that are allocated only because the window is being cleared. */
static inline uint64_t swi_compact_in_hand(const struct swi_compact *c)
{
	return c->to - c->from - c->missing;
}
/* In place of swi_extent_free(): what lies in the window stays with it. */
int swi_compact_free(struct swi_compact *c, uint64_t offset, uint64_t bytes);

#endif
