/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - placement as a pure function: place(cluster view, task) -> node. No I/O, no clock.
 *
 * Minimises the estimated finish time: queue wait + missing bytes / measured bandwidth (spilled
 * bytes priced as such) + cold start, over the nodes whose free resources fit. Ties at random.
 */
#ifndef SWI_PLACE_H
#define SWI_PLACE_H

#include "sched/spec.h"

struct swi_view_node {
	uint32_t node;
	bool draining;
	struct swi_resources total, free; /* free: after what the viewer itself placed there */
	uint32_t queued;		  /* tasks waiting there for resources */
	uint32_t running;
	uint64_t queue_ns;	  /* estimated wait of a task that joins the queue */
	uint64_t net_bytes_per_s; /* measured to it; 0 = not yet: 1 GB/s assumed */
	uint64_t disk_bytes_per_s; /* 0 = 500 MB/s assumed */
	uint64_t arena_bytes, arena_used;
	uint32_t idle_workers; /* 0: a cold start is added */
	uint32_t queue_max;    /* tasks beyond what runs that a home may park there */
};

/* The rows once more as columns, so that a task that needs only cpu is placed by a few vector operations a node. */
struct swi_view_hot {
	float *free_cpu; /* what is free now */
	float *park_cpu; /* what there is in all, 0 when nothing may be parked there */
	float *idle_ns;	 /* cost when it runs at once: the cold start */
	float *wait_ns;	 /* cost when it is parked */
	float *ns_per_byte;
	uint32_t count; /* rows in step with the view, padded to a multiple of 4; 0 = no columns */
};

struct swi_view { /* what a node knows of the cluster; rows in ascending order of node */
	struct swi_view_node *node;
	uint32_t count;
	struct swi_view_hot hot;
};

/* Room for the columns of @cap rows; then swi_view_sync() for each row that changed. -ENOMEM. */
int swi_view_hot_init(struct swi_view_hot *hot, uint32_t cap);
void swi_view_hot_fini(struct swi_view_hot *hot);
void swi_view_sync(struct swi_view *view, uint32_t row);
/* The row of @node, or -1 - the row before which it would go in. */
int64_t swi_view_row(const struct swi_view *v, uint32_t node);

struct swi_place_arg { /* where an argument's bytes are */
	uint64_t len;
	uint32_t copy_count;
	uint32_t copy_node[16];
	uint32_t spilled_mask; /* bit i: copy i is on disk */
};

enum swi_place_policy { SWI_PLACE_COST, SWI_PLACE_RANDOM, SWI_PLACE_BYTES };
#define SWI_PLACE_NONE 0u	/* fits some node, but all are full now: ask again when the view changes */
#define SWI_PLACE_NEVER UINT32_MAX /* no node's total resources fit: more nodes or an error */

struct swi_place_why { /* for the decision log */
	uint64_t cost_ns, wait_ns, move_ns, cold_ns, missing_bytes;
	uint32_t candidates;
};

/* The node number, or NONE / NEVER. @rnd: one random word. Cost: O(nodes + args x copies). */
uint32_t swi_place(const struct swi_view *view, enum swi_place_policy policy,
		   const struct swi_resources *need, const struct swi_place_arg *args,
		   uint32_t arg_count, uint64_t rnd, struct swi_place_why *out_why);

#endif
