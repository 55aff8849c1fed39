/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.h - a copy on request: it is brought here as by a get, and stays.
 *
 * What is kept is a primary copy like the first one, pinned soft: it leaves memory after everything else, and then to disk
 * alone; it moves on when this node drains, is told to homes that changed, and goes with a delete. Who asks is a node that
 * replicates (replicate.c), by SWI_S_KEEP or about itself. Owner thread of the node.
 */
#ifndef SWI_KEEP_H
#define SWI_KEEP_H

#include "store/node.h"
#include "store/timer.h"

struct swi_link;

struct swi_keep {
	struct swi_snode *sn;
	struct swi_want want;
	struct swi_timer room; /* who has no room by then says so: others may have some */
	void (*cb)(struct swi_keep *k, int status, const char *text);
	void *owner;
};

/* True: a copy that stays is here already, and nothing was begun. Else exactly one cb(), from a later step, unless cancelled. */
bool swi_keep_begin(struct swi_snode *sn, struct swi_keep *k, struct swarm_ref ref, uint64_t deadline_ns);
void swi_keep_cancel(struct swi_keep *k); /* idempotent; one that never began is fine */

struct swi_keeps { /* for peers */
	struct swi_list list;
	uint32_t count;
};
void swi_keeps_init(struct swi_snode *sn);
void swi_keeps_fini(struct swi_snode *sn);
int swi_keep_on_keep(struct swi_link *l, struct swi_rd *body);

#endif
