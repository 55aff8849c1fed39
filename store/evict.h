/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evict.h - what leaves memory, and where to. Owner thread of the node.
 *
 * A clock hand over the index, in rounds of falling age. Secondary copies and what is on disk already are
 * dropped, primary copies are written first. An object leaves by: out of the index, fence, look at
 * every pin; found pinned, it goes back. While it is being written it stays in the index and is
 * served. Begins at the high-water mark or when somebody waits for room.
 */
#ifndef SWI_EVICT_H
#define SWI_EVICT_H

#include "transport/base/hash.h"

#include "store/digest.h"
#include "store/local.h"
#include "store/spill/spill.h"

struct swi_spilling { /* a primary copy on its way to disk */
	struct swarm_oid id;
	UT_hash_handle hh;
	struct swi_snode *sn;
	uint64_t offset, bytes;
	bool forgotten; /* deleted meanwhile */
	struct swi_digest digest;
	struct swi_spill_io io;
};

struct swi_evict {
	uint64_t slot;	    /* the hand */
	uint64_t left;	    /* slots until this round is over */
	uint32_t round;	    /* which age is old enough */
	uint64_t retry_ns;  /* nothing could leave: look again then; 0 = now */
	uint64_t disk_ns;   /* the disk refused: no write before */
	struct swi_spilling *spilling;
	uint64_t spilling_bytes;
};

void swi_evict_fini(struct swi_snode *sn);
int swi_evict_step(struct swi_snode *sn);
uint64_t swi_evict_deadline_ns(struct swi_snode *sn);
uint64_t swi_evict_high_permille(struct swi_snode *sn);
/* The object is deleted: what is being written of it is forgotten when it is done. */
void swi_evict_forget(struct swi_snode *sn, struct swarm_oid id);

#endif
