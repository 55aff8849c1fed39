/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pieces.h - the READ of a large object, in pieces of 1 MiB, some of them in flight at a time: so that others can have
 * what has landed already, and so that it can be READ from a node where it is landing itself, or from several nodes.
 *
 * Positions count from the header: 0 is its first byte, 64 the payload's first. Invariant: landed <= posted <= have.
 * Owner thread of the node.
 */
#ifndef SWI_PIECES_H
#define SWI_PIECES_H

#include "store/fetch.h"
#include "store/stripe.h"

#define SWI_PIECES_WINDOW 8u /* in flight from one holder */
#define SWI_PIECES_RING	  (SWI_PIECES_WINDOW * (1 + SWI_STRIPES_MAX))

struct swi_piece {
	struct swi_read rd;
	uint64_t at, end;
	struct swi_stripe *from; /* NULL: the first holder */
	bool done;
};

struct swi_pieces {
	uint64_t have;	 /* the holder has it up to here */
	uint64_t posted; /* a READ was posted up to here */
	uint64_t landed; /* it is here, without a gap, up to here */
	uint32_t first, next; /* pieces in flight: numbers of the oldest, and of the next to be posted */
	uint32_t busy;	     /* of which this many have not ended, ... */
	uint32_t first_busy; /* ... and of those, from the first holder */
	int status;
	struct swi_piece piece[SWI_PIECES_RING];
	uint32_t stripes;
	struct swi_stripe stripe[SWI_STRIPES_MAX];
};

uint64_t swi_piece_bytes(const struct swi_snode *sn);
/* Begins to READ what f->lease names; ends in swi_fetch_read_over(), perhaps before it returns. */
void swi_pieces_begin(struct swi_fetch *f);
/* There is one more to READ from. */
void swi_pieces_go_on(struct swi_fetch *f);
/* The holder has @have payload bytes now, or, with a negative @status, cannot serve any more. */
void swi_pieces_more(struct swi_fetch *f, int status, uint64_t have);
/* Bytes are coming, or have come, into the fetch's room. */
bool swi_pieces_flow(const struct swi_fetch *f);
/* Payload bytes that are here without a gap. */
uint64_t swi_pieces_landed(const struct swi_fetch *f);

#endif
