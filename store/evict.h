/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evict.h - what leaves memory, and where to. Owner thread of the node.
 *
 * From the high-water mark of the arena on, before anybody waits, until the low one; and when somebody waits.
 * What goes first is policy.h's to say. A hand goes around the index: once to survey, adding up bytes by
 * class of price, once to take what is cheap enough. A few objects in a large index are remembered by their slots,
 * so that most rounds go over those alone: what the last round of all slots found, and what was published here
 * since. Secondary copies and what is on disk already are dropped, primary copies are written first, or dropped
 * where running their task again is much cheaper. An
 * object leaves by: out of the index, fence, look at every pin; found pinned, it goes back. While it is being
 * written it stays in the index and is served.
 */
#ifndef SWI_EVICT_H
#define SWI_EVICT_H

#include "transport/base/hash.h"

#include "store/digest.h"
#include "store/local.h"
#include "store/policy.h"
#include "store/spill/spill.h"

struct swi_spilling { /* a primary copy on its way to disk */
	struct swarm_oid id;
	UT_hash_handle hh;
	struct swi_list link; /* evict.written, once it is there */
	struct swi_snode *sn;
	uint64_t offset, bytes;
	bool forgotten; /* deleted meanwhile */
	struct swi_digest digest;
	struct swi_spill_io io;
};

struct swi_meter { /* bytes per second of a disk, while it has something to do */
	uint64_t since_ns, bytes, ns, rate;
	uint32_t busy;
};

struct swi_known { /* slots in which there was an object; one may be named twice, and be empty by now */
	uint32_t *slot;	   /* [0, kept) and [at, n); NULL until the first survey */
	uint32_t kept, at, n;
	bool all;	   /* of the last round over all slots, and of what was published here since */
	uint64_t whole_ns; /* when that round began */
};

struct swi_evict {
	struct swi_known known;
	bool few;	     /* this round goes over the known ones */
	uint32_t put_off;    /* steps in a row in which others had something to do */
	uint64_t slot;	     /* the hand */
	uint64_t left;	     /* slots until this pass is over */
	bool taking;	     /* else: surveying */
	bool gone;	     /* something left, or began to, since this pass of taking began */
	bool shy;	     /* such a pass found nothing but what readers have pinned: that does not count until something leaves */
	bool running;	     /* between the marks, on the way down */
	bool stuck;	     /* the last survey found nothing that may leave, and nothing is on its way */
	bool going;	     /* the last survey passed over something that is probably deleted in a moment */
	uint32_t limit;	     /* taking: classes up to this one leave */
	uint64_t survey_ns;  /* when it was made */
	uint64_t by_class[SWI_POLICY_CLASSES];
	uint64_t retry_ns;   /* nothing could leave: look again then; 0 = now */
	uint64_t disk_ns;    /* the disk refused: no write before */
	struct swi_spilling *spilling;
	uint64_t spilling_bytes;
	struct swi_list written; /* they may leave */
	struct swi_meter write, read;
	uint64_t remade_objects, remade_bytes; /* dropped unwritten: their task can run again */
	uint64_t looks; /* at slots */
};

void swi_evict_init(struct swi_snode *sn);
void swi_evict_fini(struct swi_snode *sn);
/* @busy: somebody else had something to do in this step, so what nobody waits for may wait. */
int swi_evict_step(struct swi_snode *sn, bool busy);
/* An object was published in @slot. */
void swi_evict_note(struct swi_snode *sn, uint64_t slot);
uint64_t swi_evict_deadline_ns(struct swi_snode *sn);
/* Is the arena fuller than its high-water mark? */
bool swi_evict_tight(struct swi_snode *sn);
/* Would it stay below the high one with @bytes more, and does nobody wait for room? */
bool swi_evict_idle_room(struct swi_snode *sn, uint64_t bytes);
/* Would it stay below the low one with @bytes more? */
bool swi_evict_plenty(struct swi_snode *sn, uint64_t bytes);
void swi_meter_begin(struct swi_snode *sn, struct swi_meter *m);
void swi_meter_end(struct swi_snode *sn, struct swi_meter *m, uint64_t bytes);
/* The object is deleted: what is being written of it is forgotten when it is done. */
void swi_evict_forget(struct swi_snode *sn, struct swarm_oid id);

#endif
