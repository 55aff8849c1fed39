/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traffic.h - what both ends of a remote measurement do to a set of objects: make them, get them. Each function is the
 * whole of a worker's run (load.h); several share a set by @at and @step.
 */
#ifndef SWARM_PERF_TRAFFIC_H
#define SWARM_PERF_TRAFFIC_H

#include <swarm/store.h>

#include "perf/common/load.h"

/* One get at a time; with -e it ends in a queue, and the thread sleeps on its descriptor. Of one thread. */
struct perf_getter {
	struct swarm_store *st;
	struct swarm_cq *cq; /* NULL = without -e */
};
int perf_getter_init(struct perf_getter *g, struct swarm_store *st, bool events);
int perf_getter_get(struct perf_getter *g, struct swarm_ref ref, uint64_t timeout_ns, struct swarm_view *out_view);
void perf_getter_fini(struct perf_getter *g);
/* Sleeps until some gets of @cq have ended; as swarm_cq_poll(). */
int perf_cq_take(struct swarm_cq *cq, struct swarm_completion *rows, uint32_t max);

struct perf_pull { /* gets each object once */
	struct swarm_store *st;
	uint64_t set, count, size, at, step;
	uint32_t home;
	bool check, events;
};
void perf_pull(struct perf_worker *w, const struct perf_pull *p);

struct perf_make { /* makes each object once; a sample is of a call */
	struct swarm_store *st;
	uint64_t set, count, size, at, step;
	uint32_t home, outs; /* objects in a call */
	const void *data;    /* what they contain, unless @check says that every byte follows from the id */
	bool check;
};
void perf_make_some(struct perf_worker *w, const struct perf_make *m);

#endif
