/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo.h - what the parts of the demo share: its options, the cluster's handle, and what it reports.
 * One thread; a signal only sets demo_interrupted.
 */
#ifndef DEMO_H
#define DEMO_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>
#include <swarm/sched.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

enum demo_kill { KILL_NONE, KILL_NODE, KILL_WORKER, KILL_ANY_NODE };

struct demo_opts {
	uint64_t sort_bytes;
	enum demo_kill kill;
	uint64_t kill_at; /* percent of the tasks */
	uint64_t seed;
	const char *dir;  /* where the temporary folder goes */
	const char *text; /* folders whose files are counted, separated by ':' */
	uint64_t arena_bytes; /* of each node */
	uint64_t nodes;	      /* least; half as many more may be started */
	const char *only;     /* "words" or "sort"; NULL = both */
	bool json;
};

/* What one program of the demo did; the closing table. */
struct demo_report {
	const char *name;
	bool exact;
	double seconds;
	uint64_t items;	      /* words or records */
	uint64_t bytes;	      /* of input */
	char victim[96];      /* "node 3 (..)", "" = none */
	double recovery_s;    /* from the kill until all that was there before was there again; < 0: none */
	uint64_t lost, recovered, rerun; /* objects without a copy left; made again; tasks run again */
	uint64_t tasks, local_bytes, remote_bytes, spilled_bytes, restored_bytes;
	uint64_t nodes_min, nodes_max;
};

struct cluster;

struct demo {
	struct demo_opts opts;
	struct cluster *cluster;
	struct swarm_client *client;
	struct swarm_module module;
	uint64_t rng;
};

extern volatile sig_atomic_t demo_interrupted;

uint64_t demo_now_ns(void);
/* Prints "demo: ..." to stderr and returns -1. */
int demo_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- cluster.c: nodes as processes, through the `swarm` program ---- */
int cluster_start(const struct demo_opts *opts, struct cluster **out);
const char *cluster_head_dir(const struct cluster *c);
/* Where `swarm`, the modules and the other programs of the build lie: "DIR/<name>". */
int demo_beside(const char *name, char *buf, size_t len);
/* How many nodes are up, or -1. */
int cluster_size(struct cluster *c);
/* Waits until the cluster has exactly @size nodes; false when it took longer than @limit_ns. */
bool cluster_wait_size(struct cluster *c, int size, uint64_t limit_ns);
/*
 * SIGKILLs a node that is not the head (the one that holds most, or any), or a worker; says which in @what. 1; 0 = no
 * node but the head holds anything yet: nobody was killed.
 */
int cluster_kill(struct cluster *c, enum demo_kill kill, uint64_t rnd, char *what, size_t what_len);
/* Counters of the whole cluster since its start; those of a node that is gone stay as last seen. */
struct cluster_sums {
	uint64_t tasks, local_bytes, remote_bytes, spilled_bytes, restored_bytes, lost, recovered;
};
int cluster_sums(struct cluster *c, struct cluster_sums *out);
/* What the cluster wrote down since the last call. */
struct cluster_events {
	uint64_t rerun, died, started, drained;
	double recovery_s; /* longest; < 0: nothing was recovered */
};
int cluster_events(struct cluster *c, struct cluster_events *out);
/* Ends every node and removes the folder. NULL is fine. */
void cluster_stop(struct cluster *c);

/* ---- progress.c: bars on a terminal, lines in a pipe ---- */
struct progress {
	const char *name; /* of the program: "sort" */
	uint64_t start_ns, last_ns;
	uint32_t last_permille;
};
#define PROGRESS_STAGES 4
struct stage {
	const char *name;
	uint32_t done, total;
};
void progress_begin(struct progress *p, const char *name);
void progress_show(struct progress *p, const struct stage *stage, uint32_t count, int nodes);
/* Ends the bars, so that something else can be printed. */
void progress_break(void);
void progress_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- run.c: watching tasks, and the kill on the way ---- */
struct watch { /* one result of each task of a stage stands for the task */
	const char *name;
	const struct swarm_ref *refs;
	uint32_t count, done;
	uint8_t *ready;
	/* Called once for each task when its results are there; NULL = nothing to do. */
	void (*each)(void *ctx, uint32_t i);
	uint8_t *seen;
};
/* Waits for every stage; kills what the options say when so many tasks are done. */
int run_watch(struct demo *d, struct demo_report *r, struct watch *w, uint32_t count, void *ctx);
int run_submit(struct demo *d, const char *function, const struct swarm_arg *args, uint32_t arg_count,
	       uint32_t return_count, struct swarm_ref *out_refs);
#define RUN_GET_MAX 256u
/* Waits for all of at most RUN_GET_MAX results, and pins them: swarm_views_release(). */
int run_get_all(struct demo *d, const struct swarm_ref *refs, uint32_t count, struct swarm_view *out_views);
void run_delete(struct demo *d, const struct swarm_ref *refs, uint64_t count);

/* ---- the two programs ---- */
int wordcount_run(struct demo *d, struct demo_report *r);
int sort_run(struct demo *d, struct demo_report *r);

#endif
