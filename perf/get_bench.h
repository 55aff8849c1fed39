/* SPDX-License-Identifier: Apache-2.0 */
/* get_bench.h - the inside of get.c and get_event.c: one measurement of gets. Threads: a worker touches its own index only. */
#ifndef SWARM_PERF_GET_BENCH_H
#define SWARM_PERF_GET_BENCH_H

#include <stdatomic.h>

#include "perf/common/bench.h"

#define PERF_GET_SET PERF_SET_FIRST
#define PERF_GET_NS  (30 * NS_PER_S)

struct get_opts {
	struct perf_opts c;
	const char *op;
};

struct get_bench {
	const struct get_opts *o;
	struct perf_rig rig;
	enum perf_kind kind;
	uint64_t size, set, count; /* the objects */
	uint64_t span; /* remote: bytes of the reading store's arena */
	uint64_t at[PERF_THREADS_MAX];	 /* local: next object of each thread */
	_Atomic uint64_t next;		 /* remote: of all threads, for the whole set is larger than the arena, not a share of it */
	uint8_t *copy[PERF_THREADS_MAX]; /* local bandwidth: where bytes are copied to */
	uint32_t outs;
	uint64_t back_count, back_set; /* -b */
	uint64_t clock_ns;
	bool contains;
};

static inline struct swarm_ref get_next_ref(struct get_bench *b, const struct perf_worker *w)
{
	const uint64_t i = b->at[w->index];

	b->at[w->index] = i + w->load->threads;
	return perf_ref(b->set, i % b->count, b->rig.home);
}

/* The next object that is not in our arena; w->error = -EEXIST when all are. */
static inline struct swarm_ref get_next_remote(struct get_bench *b, struct perf_worker *w)
{
	for (uint64_t tries = 0; tries <= b->count; tries++) {
		const uint64_t i = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
		const struct swarm_ref ref = perf_ref(b->set, i % b->count, b->rig.home);

		if (!swarm_store_contains(b->rig.st, ref))
			return ref;
	}
	w->error = -EEXIST;
	return perf_ref(b->set, 0, b->rig.home);
}

static inline void get_count_sample(struct perf_worker *w, uint64_t ns, uint64_t clock_ns)
{
	ns = perf_net(ns, clock_ns);
	perf_hist_add(w->hist, ns);
	if (w->arm)
		perf_arm_sample(w->arm, ns);
}

/* get_event.c: -e. Up to outs gets in flight, each replaced as it ends; the thread sleeps in poll(2) meanwhile. */
void perf_get_event(struct perf_worker *w);

#endif
