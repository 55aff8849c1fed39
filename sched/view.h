/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.h - what this node knows of the cluster: one row a node for place(), and what stands behind it.
 *
 * A row is what the node itself said last (its report) less what we sent it since. Reports come with
 * every finished task, and else through the head. Rows are in ascending order of number. Owner thread: the core's.
 */
#ifndef SWI_VIEW_H
#define SWI_VIEW_H

#include "sched/graph.h"
#include "sched/place.h"
#include "sched/scale.h"

struct swi_report { /* a node about itself; tmsg.c encodes it */
	uint64_t stamp; /* grows with every report of a node's life */
	struct swi_resources total, free;
	uint32_t queued, running, idle_workers;
	uint64_t queue_ns, arena_bytes, arena_used;
	uint32_t heard; /* of the receiver's task messages: the last that is counted in here */
	bool draining, idle;
	uint32_t queue_max; /* tasks it takes beyond what runs; known of the node itself only, 0 = by its cpus */
};

struct swi_member { /* beside the row of the same index */
	uint32_t node;
	uint64_t epoch;
	char address[64];
	struct swi_list placed; /* our tasks there, in the order in which they were sent */
	uint32_t placed_count;
	uint32_t sent, heard;	/* task messages: sent by us, counted in its last report */
	struct swi_resources unheard; /* needs of those between */
	uint32_t unheard_count;
	struct swi_report report;
	uint32_t got; /* task messages of theirs that came here */
	uint64_t told_ns; /* when we last reported to it */
	bool provided, left;
	/* the head's */
	uint64_t heard_ns, lost_ns, idle_since_ns, told_stamp;
	bool drain_asked;
	struct swi_scale_demand demand;
};

struct swi_cview {
	struct swi_view view;
	struct swi_member **member; /* stable addresses */
	uint32_t cap;
	uint64_t stamp; /* of our own reports */
	bool can_grow;	/* the head may start nodes ... */
	struct swi_resources grow_shape; /* ... of this shape */
};

void swi_view_init(struct swi_node *n);
void swi_view_fini(struct swi_node *n);
struct swi_member *swi_view_find(struct swi_node *n, uint32_t node);
struct swi_member *swi_view_add(struct swi_node *n, uint32_t node, uint64_t epoch, const char *address,
				const struct swi_resources *total);
void swi_view_remove(struct swi_node *n, uint32_t node);
/* Its own report, fresh; @direct: from the node itself (not through the head). */
void swi_view_report(struct swi_node *n, uint32_t node, const struct swi_report *r, bool direct);
void swi_view_refresh(struct swi_node *n, uint32_t node); /* the row, after its member changed */
void swi_view_self(struct swi_node *n); /* the same for our own row */
void swi_view_make_report(struct swi_node *n, uint32_t to, struct swi_report *out);
/* A task of ours goes to, or leaves, @m. */
void swi_view_placed(struct swi_node *n, struct swi_member *m, struct swi_task *t);
void swi_view_unplaced(struct swi_node *n, struct swi_member *m, struct swi_task *t);

#endif
