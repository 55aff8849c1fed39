/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room.h - arena memory for the core's own copies (fetched, restored): now, or when something left.
 *
 * Those who wait, clients (grant.c) and the core, are served in the order in which they asked: each has a ticket. Where
 * nothing can leave memory any more the order is given up for what fits, so that nobody waits for what
 * somebody behind him holds. Those that recover lost objects may use a last sixteenth of the arena that others
 * leave free, so that a full store cannot dead-lock recovery. Owner thread only.
 */
#ifndef SWI_ROOM_H
#define SWI_ROOM_H

#include "store/extent.h"
#include "store/node.h"

struct swi_room {
	struct swi_list link; /* rooms.list while it waits */
	bool active;
	bool recovery;
	bool paged;	/* aligned to a page, whatever its size */
	bool reserve;	/* for a peer that reads what is on disk here: nobody leaves memory for it */
	bool reserved;	/* it came out of the reserve */
	uint64_t ticket;
	uint64_t bytes;	      /* of the extent */
	uint64_t offset;      /* when given */
	void (*cb)(struct swi_room *r, int status); /* from the step: 0 or -E2BIG, -ENOMEM */
	void *owner;
};

struct swi_rooms {
	struct swi_list list;
	uint64_t bytes; /* what they want in all */
	uint64_t frees; /* extents.frees when they were last tried */
	bool again;	 /* tried again although nothing was freed: one left the line */
	uint64_t ticket; /* the last one given */
	/* A piece of the arena for what peers read of our disk: passing through, never in the index. */
	struct swi_extents reserve;
	uint64_t reserve_at, reserve_bytes, reserve_frees;
	struct swi_list peers; /* struct swi_room that wait for it */
};

void swi_rooms_init(struct swi_snode *sn);
/* Lays the reserve aside where there are peers and a disk. */
int swi_rooms_reserve(struct swi_snode *sn);
/* Is an object of @bytes on our disk read by peers part by part: too large for the reserve, and no plenty? */
bool swi_rooms_in_parts(struct swi_snode *sn, uint64_t bytes);
void swi_rooms_fini(struct swi_snode *sn);
/* Gives arena memory back to whom it came from. 0 or -EINVAL. */
int swi_arena_free(struct swi_snode *sn, uint64_t offset, uint64_t bytes);
/* 0: r->offset is ours, no cb. -EAGAIN: cb() follows. Else a failure, no cb. */
int swi_room_ask(struct swi_snode *sn, struct swi_room *r);
void swi_room_cancel(struct swi_snode *sn, struct swi_room *r); /* idempotent; not when given */
int swi_rooms_step(struct swi_snode *sn);
/* What occupies the arena, in words. */
void swi_room_explain(struct swi_snode *sn, uint64_t bytes, char *text, size_t len);
/* Bytes that somebody waits for: clients and the core; and of them, what the first in line wants. */
uint64_t swi_room_missing(struct swi_snode *sn);
uint64_t swi_room_head(struct swi_snode *sn);
/* What the first in line needs in one piece; 0 = nobody waits. */
uint64_t swi_room_piece(struct swi_snode *sn);
/* And with what he would do: a chunk may be smaller. */
uint64_t swi_room_least(struct swi_snode *sn);
/* A place in the one line of all who wait. */
uint64_t swi_room_ticket(struct swi_snode *sn);
/* May a client with @ticket be served before everybody of the core's in the line? */
bool swi_room_before_core(struct swi_snode *sn, uint64_t ticket);

#endif
