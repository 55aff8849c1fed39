/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner.h - tasks that were placed on this node: bring the arguments, wait for resources, hand the
 * task to a worker, report. The home of a task (graph.h) says what must run; the runner runs it.
 *
 * States of a run (the table is in run.h): SIZING (lengths of the arguments), WAITING (bytes ahead), FETCHING (swi_want on the
 * module and on every reference), QUEUED (resources), ASSIGNED (sent behind a short run), RUNNING (on a worker), gone. The bytes of arguments fetched ahead are bounded by half the arena.
 * A worker that blocks inside a call gives its cpu back until it goes on. Owner thread: the core's.
 */
#ifndef SWI_RUNNER_H
#define SWI_RUNNER_H

#include "sched/place.h"
#include "sched/spec.h"
#include "store/node.h"

struct swi_runner;

/* How worker processes come and go. Real: fork/exec and pidfd; the simulator's are state machines. */
struct swi_worker_ops {
	void *ctx;
	/* Starts a process that attaches as SWI_ROLE_WORKER and says SWI_L_READY{worker}. 0 or a negative code. */
	int (*spawn)(void *ctx, uint32_t worker);
	/* SIGKILL. The death is seen as client_gone (attached) or through swi_runner_worker_died(). */
	void (*kill)(void *ctx, uint32_t worker);
};

struct swi_run_result {
	struct swarm_oid task;
	uint32_t attempt, home;
	int status;	  /* 0, SWARM_ETASK, SWARM_ECRASH, SWARM_ETASKTIME, SWARM_ENOFUNC, SWARM_EMODULE, SWARM_ECANCELED, SWARM_EDEPENDENCY, SWARM_EDRAINING ... */
	const char *text; /* why, in words; borrowed */
	uint32_t return_count;
	const uint64_t *return_len; /* bytes of each result, status 0 only; borrowed */
	uint64_t run_ns;
};

struct swi_runner_opts {
	struct swi_snode *sn;
	struct swi_resources total;
	struct swi_worker_ops workers;
	uint32_t workers_max; /* 0 = 2 x whole cpus + 2 */
	void (*done)(void *ctx, const struct swi_run_result *res); /* never from inside a call of the API below */
	void (*changed)(void *ctx); /* free resources or queue changed (for the view) */
	void *ctx;
};

int swi_runner_create(const struct swi_runner_opts *opts, struct swi_runner **out);
void swi_runner_destroy(struct swi_runner *r); /* kills the workers */
/* Takes a copy of the spec. done() follows exactly once. -EEXIST: the same task and attempt is here already. */
int swi_runner_submit(struct swi_runner *r, const struct swi_spec *spec, uint32_t attempt);
void swi_runner_cancel(struct swi_runner *r, struct swarm_oid task, bool force);
/* The home of these tasks died: forget them (their home's heir, or nobody, will ask again). */
void swi_runner_drop_home(struct swi_runner *r, uint32_t home);
int swi_runner_step(struct swi_runner *r); /* deadlines, spawns; events handled */
uint64_t swi_runner_deadline_ns(struct swi_runner *r);
/* Fills total, free, queued, running, queue_ns, idle_workers of a view row. */
void swi_runner_load(struct swi_runner *r, struct swi_view_node *out);
bool swi_runner_idle(struct swi_runner *r); /* nothing fetched, queued or running */
struct swi_runner_stats {
	uint64_t runs_done, runs_failed, workers_started, workers_died, workers_idle, workers_busy;
	uint64_t run_ns_total, args_local_bytes, args_fetched_bytes;
	uint64_t given_back; /* runs that gave their room to those that ran */
};
void swi_runner_stats(struct swi_runner *r, struct swi_runner_stats *out);
/* JSON array text (malloc'd) for `swarm list workers` / the running part of `list tasks`. */
uint64_t swi_runner_ahead_bytes(const struct swi_runner *r); /* of arguments held for runs that have not begun */
char *swi_runner_workers_json(struct swi_runner *r);
char *swi_runner_tasks_json(struct swi_runner *r);
/* Inputs from the node core. */
void swi_runner_client_gone(struct swi_runner *r, struct swi_client *cl); /* a worker's end */
int swi_runner_client_msg(struct swi_runner *r, struct swi_client *cl, const struct swi_msg *msg); /* READY, DONE, BLOCKED */
void swi_runner_worker_died(struct swi_runner *r, uint32_t worker, int wait_status); /* pidfd; before or after client_gone */
/* A running task waits for room, and nothing may leave memory: what is held for those that have not begun may. */
void swi_runner_need_room(struct swi_runner *r);
void swi_runner_client_blocked(struct swi_runner *r, struct swi_client *cl, bool blocked);

#endif
