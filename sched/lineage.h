/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lineage.h - how long the record of a task is kept: while a result of it is referenced, or a kept
 * record names one as its argument; within a byte budget, which the oldest finished records leave first.
 * Records that nobody references are kept a while longer (a 16th of the budget): dependents on other
 * nodes are not counted. Owner thread: the core's.
 */
#ifndef SWI_LINEAGE_H
#define SWI_LINEAGE_H

#include "sched/graph.h"

struct swi_lineage {
	uint64_t budget, bytes;
	struct swi_list done;	/* finished and referenced, oldest first */
	struct swi_list loose;	/* finished, referenced by nobody here; oldest first */
	uint64_t loose_bytes;
	uint64_t records, evicted, dropped;
	uint64_t told_ns, untold; /* evictions not yet logged */
	uint64_t *evicted_bits;	  /* a Bloom filter of the results whose lineage was evicted */
};

void swi_lineage_init(struct swi_node *n, uint64_t budget);
void swi_lineage_fini(struct swi_node *n);
void swi_lineage_add(struct swi_node *n, struct swi_task *t); /* before it may run */
void swi_lineage_finished(struct swi_node *n, struct swi_task *t);
void swi_lineage_reopened(struct swi_node *n, struct swi_task *t);
void swi_lineage_unref(struct swi_node *n, struct swi_task *t); /* live or dependents went down */
/* A finished record that no budget takes away: until it is reopened, or nobody references it any more. */
void swi_lineage_keep(struct swi_node *n, struct swi_task *t);
bool swi_lineage_was_evicted(const struct swi_node *n, struct swarm_oid result);
/* For every distinct local maker of an argument of @t. */
void swi_lineage_each_maker(struct swi_node *n, struct swi_task *t,
			    void (*each)(struct swi_node *n, struct swi_task *maker));

#endif
