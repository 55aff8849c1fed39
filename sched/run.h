/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - what the runner's files share: a run (one attempt of one task on this node), a worker, and
 * the edges between a run's states. runner.c takes and ends runs, run_fetch.c brings their arguments,
 * run_queue.c gives them resources and a worker, ahead.c keeps workers that run
 * short tasks supplied, pool.c starts and buries workers, run_report.c tells. Owner thread: the core's.
 */
#ifndef SWI_RUN_H
#define SWI_RUN_H

#include "transport/base/hash.h"

#include "sched/proto.h"
#include "sched/runner.h"

/* from, event, to, why. swi_run_event() in runner.c is the only place that moves a run. */
#define SWI_RUN_EDGES(X)                                                                           \
	X(NEW, UNKNOWN, SIZING, "the length of an argument is not known here: ask its home")       \
	X(NEW, KNOWN, WAITING, "every length is known")                                            \
	X(SIZING, KNOWN, WAITING, "every length is known")                                         \
	X(WAITING, ADMIT, FETCHING, "its bytes fit into what may be ahead, or nothing else is")    \
	X(FETCHING, FULL, WAITING, "no room: it gives its holds back and tries again later")       \
	X(FETCHING, HERE, QUEUED, "module and arguments are in memory and held")                   \
	X(QUEUED, FULL, WAITING, "what runs needs the room: it gives its holds back and tries again later") \
	X(QUEUED, DISPATCH, RUNNING, "resources and a worker are free")                            \
	X(QUEUED, AHEAD, ASSIGNED, "sent to a worker behind a short run that needs the same")      \
	X(ASSIGNED, BEGIN, RUNNING, "the run before it ended")                                     \
	X(ASSIGNED, RETURNED, QUEUED, "the worker gave it back, or died before it began")          \
	X(RUNNING, RETURNED, QUEUED, "the worker gave it back before it began")                    \
	X(NEW, END, GONE, "it can never run here")                                                 \
	X(SIZING, END, GONE, "cancelled, or an argument cannot be had")                            \
	X(WAITING, END, GONE, "cancelled, or too large for the arena")                             \
	X(FETCHING, END, GONE, "cancelled, or an argument cannot be had")                          \
	X(QUEUED, END, GONE, "cancelled, or no worker can be started")                             \
	X(RUNNING, END, GONE, "the worker said so, or died")

enum swi_run_state {
	SWI_RUN_NEW,
	SWI_RUN_SIZING,
	SWI_RUN_WAITING,
	SWI_RUN_FETCHING,
	SWI_RUN_QUEUED,
	SWI_RUN_ASSIGNED,
	SWI_RUN_RUNNING,
	SWI_RUN_GONE,
	SWI_RUN_STATE_COUNT,
};

enum swi_run_ev {
	SWI_RUN_EV_UNKNOWN,
	SWI_RUN_EV_KNOWN,
	SWI_RUN_EV_ADMIT,
	SWI_RUN_EV_FULL,
	SWI_RUN_EV_HERE,
	SWI_RUN_EV_DISPATCH,
	SWI_RUN_EV_AHEAD,
	SWI_RUN_EV_BEGIN,
	SWI_RUN_EV_RETURNED,
	SWI_RUN_EV_END,
	SWI_RUN_EV_COUNT,
};

enum swi_slot_use { SWI_SLOT_USE_NONE, SWI_SLOT_USE_WATCH, SWI_SLOT_USE_WANT, SWI_SLOT_USE_HELD };

/* The module (slot 0) or one referenced argument of a run. */
struct swi_run_slot {
	struct swi_run *run;
	struct swarm_ref ref;
	enum swi_slot_use use;
	uint64_t len;	 /* payload bytes, once known */
	uint64_t offset; /* while HELD */
	union {
		struct swi_want want;
		struct swi_watch watch;
	} io;
};

struct swi_worker;

struct swi_run {
	struct swi_list link;	/* in the runner's list of its state */
	struct swi_run *twin;	/* another attempt of the same task */
	UT_hash_handle hh;	/* by task; only the first of its twins */
	struct swi_runner *r;
	struct swi_spec spec;	/* leads into msg */
	uint32_t attempt;
	enum swi_run_state state;
	uint64_t ahead_bytes;	/* of its arguments */
	bool ahead;		/* they count as fetched ahead */
	bool local;		/* all of them were in memory when it came */
	uint32_t open;		/* watches or wants under way */
	uint32_t fulls;		/* how often there was no room */
	uint32_t passed;	/* runs behind it that went first */
	uint64_t retry_at_ns;	/* WAITING after FULL */
	uint64_t full_until_ns; /* gives up then */
	struct swi_worker *worker; /* while ASSIGNED or RUNNING */
	struct swi_list behind;	   /* while ASSIGNED: in its worker's list */
	uint64_t started_ns, deadline_ns;
	bool cpu_back;		/* RUNNING, blocked: its cpu is given back */
	bool forget;		/* its home is dead: nobody wants to hear of it */
	bool cancelled, forced; /* asked for while ASSIGNED */
	/* the end */
	int status;
	char *text;
	uint64_t *lens;
	uint64_t run_ns;
	uint8_t *msg; /* body of SWI_L_EXEC: attempt, encoded spec */
	uint32_t msg_len;
	uint32_t slot_count;
	struct swi_run_slot slot[];
};

#define SWI_RUN_PASSED_MAX 256u /* so often a run lets others pass */

enum swi_worker_state { SWI_WK_STARTING, SWI_WK_IDLE, SWI_WK_BUSY, SWI_WK_ENDING };

#define SWI_WK_BLOCKED_SAID 1u /* by SWI_L_BLOCKED */
#define SWI_WK_BLOCKED_SEEN 2u /* by the store: a call of its waits */

struct swi_worker {
	struct swi_list link; /* of the runner's list of its state */
	struct swi_runner *r;
	UT_hash_handle hh;
	uint32_t number;
	enum swi_worker_state state;
	unsigned int blocked; /* SWI_WK_BLOCKED_* */
	uint32_t pid;	      /* once attached */
	struct swi_client *cl;
	struct swi_run *run;
	struct swi_list behind; /* runs that were sent and have not begun, in order */
	uint32_t behind_count;
	bool gave_back;	      /* its run takes long: nothing more behind it */
	uint64_t since_ns;    /* in this state */
	uint64_t deadline_ns; /* STARTING: ready by then; ENDING: buried by then */
	bool status_known;    /* wait_status is valid */
	int wait_status;
	int end_status;	  /* ENDING: what its run gets */
	bool expected;	  /* ENDING on purpose: no crash */
	uint64_t runs;
};

struct swi_runner {
	struct swi_runner_opts o;
	struct swi_env *env;
	struct swi_log *log;
	const uint8_t *arena;
	uint64_t arena_bytes;
	struct swi_resources free;
	uint64_t cpu_debt; /* taken back by runs that went on while others had the cpu */
	struct swi_run *tasks; /* hash */
	struct swi_list sizing, waiting, fetching, queued, assigned, running, gone;
	uint32_t count[SWI_RUN_STATE_COUNT];
	uint64_t ahead_bytes;
	struct swi_worker *by_number; /* hash */
	struct swi_list starting, idle, busy, ending;
	uint32_t starting_count, idle_count, busy_count, ending_count, blocked_count;
	uint32_t next_worker;
	uint32_t spawn_failures; /* in a row */
	uint64_t spawn_after_ns; /* back-off */
	char spawn_why[192];
	bool scan;    /* something changed: look at the queue again */
	bool changed; /* tell the view */
	bool destroying;
	uint64_t timer_ns; /* nothing is due before */
	uint64_t run_avg_ns;
	struct swi_runner_stats stats;
};

/* runner.c */
void swi_run_event(struct swi_run *run, enum swi_run_ev ev);
/* Ends a run: done() follows from the next step. @text is copied. */
void swi_run_end(struct swi_run *run, int status, const char *fmt, ...) SWI_PRINTF(3, 4);
void swi_runner_due(struct swi_runner *r, uint64_t at_ns);
const char *swi_run_name(const struct swi_run *run, char *buf, size_t len);
#define SWI_RUN_NAME_MAX 128u

/* run_fetch.c */
void swi_run_size(struct swi_run *run);	      /* NEW -> SIZING or WAITING */
void swi_run_admit(struct swi_runner *r);     /* WAITING -> FETCHING -> QUEUED, as far as the bytes go */
void swi_run_drop_slots(struct swi_run *run); /* ends watches, wants and holds */
void swi_run_not_ahead(struct swi_run *run);

/* run_queue.c */
void swi_run_dispatch(struct swi_runner *r);
void swi_run_take(struct swi_run *run);	  /* resources */
void swi_run_give(struct swi_run *run);
void swi_run_cpu_back(struct swi_run *run, bool back);

/* ahead.c */
void swi_ahead_send(struct swi_runner *r);     /* queued runs to workers that are busy with short ones */
bool swi_ahead_begin(struct swi_worker *w);    /* its run ended: the next of those behind begins; false: none */
void swi_ahead_return(struct swi_run *run);    /* ASSIGNED -> QUEUED, or its end when it was cancelled */
void swi_ahead_return_all(struct swi_worker *w);
struct swi_run *swi_ahead_find(struct swi_worker *w, struct swarm_oid task, uint32_t attempt);
uint32_t swi_ahead_depth(const struct swi_runner *r); /* a worker's, now */

/* pool.c */
void swi_pool_spawn(struct swi_runner *r, uint32_t wanted);
struct swi_list *swi_pool_list(struct swi_runner *r, enum swi_worker_state state);
void swi_pool_set_state(struct swi_worker *w, enum swi_worker_state state);
void swi_pool_kill(struct swi_worker *w, int end_status);
void swi_pool_timers(struct swi_runner *r, uint64_t now);
void swi_pool_destroy(struct swi_runner *r);

#endif
