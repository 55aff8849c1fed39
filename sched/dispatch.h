/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch.h - ready task -> place() -> the runner here, or a message to the runner there. Binding is
 * late: a node gets what it can run now and a few more; the rest waits here, one queue for each shape of need,
 * so that one shape that finds no room does not stop the others. Owner thread: the core's.
 */
#ifndef SWI_DISPATCH_H
#define SWI_DISPATCH_H

#include "sched/graph.h"
#include "sched/runner.h"

struct swi_shape { /* ready tasks with the same need */
	struct swi_list link; /* dispatch.shapes, in order of first use */
	struct swi_list ready; /* those without referenced arguments; and, before them, what was lost */
	struct swi_list fed;   /* those that consume what others made */
	uint64_t count;
	uint32_t picks;
	uint64_t placed_ns; /* when the last one was */
	bool held_back;	    /* blocked, but only until a while after that */
	struct swi_resources need;
	bool blocked;		/* found no room; tried again when the view changes */
	uint64_t never_ns;	/* since when no node could ever take it; 0 = some could */
	uint64_t tasks;		/* that point here, ready or not */
};

struct swi_foreign { /* a task of another home that runs here */
	struct swarm_oid task;
	uint32_t from; /* node that sent it: hears of its end */
	uint32_t attempt;
	struct swi_list link;
};

struct swi_dispatch {
	struct swi_list shapes;
	bool dirty;
	struct swi_idmap foreign_map;
	struct swi_list foreign;
	bool closed; /* draining: tasks of others are refused */
	uint64_t seed;
};

void swi_dispatch_init(struct swi_node *n);
void swi_dispatch_fini(struct swi_node *n);
struct swi_shape *swi_dispatch_shape(struct swi_node *n, const struct swi_resources *need);
void swi_dispatch_ready(struct swi_node *n, struct swi_task *t);
void swi_dispatch_unready(struct swi_node *n, struct swi_task *t); /* leaves its queue */
/* The one that has been ready for the longest; NULL = none. */
const struct swi_task *swi_shape_oldest(const struct swi_shape *sh);
void swi_dispatch_unplaced(struct swi_node *n, struct swi_task *t); /* leaves its node */
void swi_dispatch_kick(struct swi_node *n); /* the view changed */
int swi_dispatch_step(struct swi_node *n);
uint64_t swi_dispatch_deadline_ns(const struct swi_node *n);
void swi_dispatch_cancel(struct swi_node *n, struct swi_task *t, bool force);
/*
 * @lost is made again: tasks of ours that need it and were sent out but have not begun come back and wait
 * here. Parked there they would hold the very places that its making needs.
 */
void swi_dispatch_recall(struct swi_node *n, struct swarm_oid lost);
/* The task that makes @result is homed at @home. */
void swi_dispatch_cancel_at(struct swi_node *n, uint32_t home, struct swarm_oid result, bool force);
/* The connection to @node came back: what was sent may be lost. */
void swi_dispatch_resend(struct swi_node *n, uint32_t node);
void swi_dispatch_node_lost(struct swi_node *n, uint32_t node, bool killed);
/* From the runner. */
void swi_dispatch_run_done(void *ctx, const struct swi_run_result *res);
/* Messages. */
int swi_dispatch_on_task(struct swi_node *n, uint32_t from, struct swi_rd *rd);
int swi_dispatch_on_done(struct swi_node *n, uint32_t from, struct swi_rd *rd);
int swi_dispatch_on_refused(struct swi_node *n, uint32_t from, struct swi_rd *rd);
int swi_dispatch_on_cancel(struct swi_node *n, uint32_t from, struct swi_rd *rd);

#endif
