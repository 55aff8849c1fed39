/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - which objects leave memory first: pure functions, no state, no clock.
 *
 * The price of an object is what its absence is expected to cost, per byte that becomes free: the time to
 * write it (when it must be) and to have it back, discounted by how long nobody has used it. The lowest
 * price leaves first. Prices are told apart by class, four to an octave, so that a pass over the index
 * can add up bytes by class without a list of the objects.
 */
#ifndef SWI_POLICY_H
#define SWI_POLICY_H

#include "transport/base/base.h"

/* How an object comes back once it has left. */
enum swi_back {
	SWI_BACK_PEER,	 /* a secondary copy: from a peer; dropped */
	SWI_BACK_DISK,	 /* it is on disk already: dropped */
	SWI_BACK_WRITE,	 /* it must be written before it leaves */
	SWI_BACK_REMAKE, /* dropped; its task runs again should anybody want it */
};

struct swi_leaver {
	uint64_t bytes;	  /* that become free */
	uint64_t make_ns; /* REMAKE: what its task takes */
	uint32_t age;	  /* ticks of 100 ms since the last use */
	enum swi_back back;
	bool used; /* a task has just consumed it, or is about to: its owner probably deletes it, a write would be for nothing */
};

struct swi_rates { /* as measured on this node; 0 = not yet, a default is assumed */
	uint64_t write_bytes_per_s, read_bytes_per_s, net_bytes_per_s;
};

#define SWI_REMAKE_NEVER   UINT64_MAX
#define SWI_POLICY_CLASSES 256u

/* The lowest leaves first. */
uint64_t swi_policy_price(const struct swi_leaver *l, const struct swi_rates *r);
/* 0 to SWI_POLICY_CLASSES - 1, never falling with the price. */
uint32_t swi_policy_class(uint64_t price);
/*
 * Is running the task again so much cheaper than the disk that the result of @bytes may be dropped unwritten?
 * @make_ns SWI_REMAKE_NEVER: no. @disk false: nothing can be written now, so any bounded time is.
 */
bool swi_policy_remake(uint64_t bytes, uint64_t make_ns, bool disk, const struct swi_rates *r);

/* ---- when ---- */

struct swi_marks { /* of the arena, in bytes */
	uint64_t arena, high, low;
};
struct swi_pressure {
	uint64_t used;	  /* allocated */
	uint64_t going;	  /* of them: on their way out */
	uint64_t missing; /* what waits for room wants in all */
	uint64_t head;	  /* what the first of those wants */
	bool running;	  /* the high-water mark was passed, the low one not reached again */
};
/*
 * Bytes that should begin to leave now; *running is moved. From the high-water mark down to the low one before
 * anybody waits; for those who wait, what they lack; where that is nothing but they wait all the same
 * (no free piece is large enough), as much again as the first of them wants.
 */
uint64_t swi_policy_wanted(const struct swi_marks *m, struct swi_pressure *p);

#endif
