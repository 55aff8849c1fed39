/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph.h - the tasks homed here: a task becomes ready when its arguments exist, its results exist when
 * it is done. The record of a task is also its lineage (lineage.h) and stays after the task is done.
 *
 * States are data: SWI_TASK_EDGES yields the table, and the .dot beside this file is checked against it.
 * swi_task_move() is the only writer of task->state. Owner thread: the core's.
 */
#ifndef SWI_GRAPH_H
#define SWI_GRAPH_H

#include "sched/idmap.h"
#include "sched/place.h"
#include "sched/spec.h"
#include "store/node.h"

struct swi_node;
struct swi_shape;
struct swi_recovery;

/* from, event, to, why */
#define SWI_TASK_EDGES(X)                                                                          \
	X(NEW, SUBMIT, WAITING, "recorded; waits for its arguments")                               \
	X(NEW, ADOPT, DONE, "its home left, and its record came here")                             \
	X(WAITING, ARGS, READY, "every argument exists")                                           \
	X(WAITING, FAIL, FAILED, "an argument failed, or cancelled")                               \
	X(READY, PLACE, PLACED, "a node was chosen and told")                                      \
	X(READY, FAIL, FAILED, "cancelled, or no node can ever take it")                           \
	X(PLACED, DONE, DONE, "its results exist")                                                 \
	X(PLACED, AGAIN, WAITING, "crashed with attempts left, or its node is lost or refused")    \
	X(PLACED, FAIL, FAILED, "its error is final")                                              \
	X(DONE, RERUN, WAITING, "a result was lost")

enum swi_task_state {
	SWI_TASK_NEW,
	SWI_TASK_WAITING,
	SWI_TASK_READY,
	SWI_TASK_PLACED,
	SWI_TASK_DONE,
	SWI_TASK_FAILED,
	SWI_TASK_STATE_COUNT,
};

enum swi_task_ev {
	SWI_TASK_EV_SUBMIT,
	SWI_TASK_EV_ADOPT,
	SWI_TASK_EV_ARGS,
	SWI_TASK_EV_PLACE,
	SWI_TASK_EV_DONE,
	SWI_TASK_EV_AGAIN,
	SWI_TASK_EV_FAIL,
	SWI_TASK_EV_RERUN,
	SWI_TASK_EV_COUNT,
};

#define SWI_TASK_F_CANCELED 0x01u /* must not be tried again */
#define SWI_TASK_F_FORCE    0x02u
#define SWI_TASK_F_RERUN    0x04u /* was done before: this run makes lost results again */
#define SWI_TASK_F_RECALLED 0x10u /* asked to come back from its node unless it has begun */
#define SWI_TASK_F_DROPPED  0x20u /* a result left memory unwritten: its record stays until a run has made it again */
#define SWI_TASK_F_TALLIED  0x08u /* its lens are those of a finished run */

struct swi_dep { /* an argument that was not here when the task was taken up */
	struct swi_watch watch;
	struct swi_task *task;
	struct swi_copies copies; /* once it exists */
	bool open;
};

struct swi_deps {
	uint32_t count, open;
	struct swi_dep dep[];
};

struct swi_task {
	struct swi_list link; /* restart list (WAITING), shape (READY), node (PLACED), lineage order (DONE, FAILED) */
	struct swarm_oid id;
	uint8_t *spec;
	uint32_t spec_len;
	uint8_t state, flags;
	uint16_t crashes;  /* attempts that count against retries */
	uint16_t rebuilds; /* runs again because of losses */
	uint16_t returns;
	uint32_t attempt; /* of the next or present run */
	uint32_t node;	  /* PLACED: where */
	uint32_t live;	  /* results that no user deleted */
	uint32_t dependents; /* kept records that name a result of it */
	uint32_t active;     /* of them: not finished */
	uint32_t seq;	     /* PLACED: of the messages to its node */
	uint32_t lens;	     /* digest of the results' lengths at the last run */
	uint32_t run_us;     /* what the last run took */
	struct swi_deps *deps;
	struct swi_shape *shape;
	struct swi_recovery *recovery;
	uint64_t since_ns; /* READY or PLACED since */
	uint64_t gone;	   /* bit i: result i was deleted */
	uint64_t *gone_more; /* of results from 64 on; NULL until one of them is deleted */
};

struct swi_graph {
	struct swi_idmap tasks, results; /* id -> struct swi_task; results: aux = index */
	struct swi_idmap puts;		 /* objects that no task makes and unfinished tasks need: aux = how many; val: deleted by the user meanwhile */
	struct swi_list restart;	 /* WAITING, to be taken up by the next step */
	uint64_t count[SWI_TASK_STATE_COUNT];
};

void swi_graph_init(struct swi_node *n);
void swi_graph_fini(struct swi_node *n);
const char *swi_task_state_name(enum swi_task_state st);
void swi_task_move(struct swi_node *n, struct swi_task *t, enum swi_task_ev ev);
/* O(1) but for the task's own arguments. 0; -EBADMSG: nonsense; -ENOMEM. A known task is not an error. */
int swi_graph_submit(struct swi_node *n, const void *spec, uint32_t len);
/* A record of a home that left; its results exist. */
int swi_graph_adopt(struct swi_node *n, const struct swi_spec *spec, uint32_t attempt);
struct swi_task *swi_graph_find(struct swi_node *n, struct swarm_oid task);
/* The task that makes @result, or NULL; its index in *out_index. */
struct swi_task *swi_graph_maker(struct swi_node *n, struct swarm_oid result, uint32_t *out_index);
/* The run of @t on @node ended: 0 with its lengths, or why not. */
void swi_graph_ended(struct swi_node *n, struct swi_task *t, int status, const char *text,
		     const uint64_t *lens, uint32_t lens_count);
void swi_graph_again(struct swi_node *n, struct swi_task *t); /* PLACED -> WAITING, as soon as possible */
void swi_graph_rerun(struct swi_node *n, struct swi_task *t); /* DONE -> WAITING */
void swi_graph_fail(struct swi_node *n, struct swi_task *t, int code, const char *text);
void swi_graph_cancel(struct swi_node *n, struct swarm_oid result, bool force);
/*
 * A user deletes an object homed here. true: unfinished tasks still need it, it goes when the last of
 * them has ended (and again after each time it was made anew for a re-run).
 */
bool swi_graph_delete(struct swi_node *n, struct swarm_oid id);
/* Takes the record of a finished task out for good. */
void swi_graph_drop(struct swi_node *n, struct swi_task *t);
int swi_graph_step(struct swi_node *n);
/* Tasks that are neither done nor failed. */
uint64_t swi_graph_open(const struct swi_node *n);
bool swi_task_result_gone(const struct swi_task *t, uint32_t i);
/* Where the arguments are, for place(); at most @max. */
uint32_t swi_graph_args(struct swi_node *n, struct swi_task *t, struct swi_place_arg *out, uint32_t max);
/* The task that waits by this watch, or NULL: it is another's. */
struct swi_task *swi_graph_waiter(struct swi_watch *w);
struct swi_spec swi_task_spec(const struct swi_task *t);

#endif
