/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.h - one run of an operation on some threads that begin together. Each thread has its own
 * histogram and counters; the caller reads them after perf_load_run() has returned.
 */
#ifndef SWARM_PERF_LOAD_H
#define SWARM_PERF_LOAD_H

#include "perf/common/report.h"
#include "transport/base/env.h"

struct perf_load;

struct perf_worker {
	struct perf_load *load;
	uint32_t index;	    /* 0 .. threads - 1 */
	uint64_t iters;	    /* at most so many operations; UINT64_MAX with -D */
	uint64_t deadline;  /* [ns] of -D; UINT64_MAX without */
	struct perf_hist *hist;
	struct perf_arm *arm; /* takes samples with -U; NULL without */
	uint64_t ops, bytes;
	uint64_t begin, end; /* [ns] */
	uint64_t busy;	     /* [ns] of what counts, when that is less than end - begin; 0 = all of it */
	int error;	     /* < 0: what went wrong */
};

struct perf_load {
	const struct perf_opts *o;
	uint32_t threads;
	uint64_t iters; /* all threads together */
	bool number;	/* so many, whatever -D says */
	void *ctx;
	void (*fn)(struct perf_worker *w); /* until perf_go() says no */
	/* results */
	uint64_t ops, bytes, ns;
	int error;
};

/* One more operation? */
static inline bool perf_go(const struct perf_worker *w, uint64_t now)
{
	return w->ops < w->iters && now < w->deadline && !w->error;
}

static inline uint64_t perf_now(void)
{
	return swi_now(swi_env_real());
}

/*
 * A part of a run: latencies go into @hist, samples to @samples (NULL = nobody wants them), thread by thread. 0 or the
 * first error.
 */
int perf_load_part(struct perf_load *l, struct perf_hist *hist, struct perf_arm *samples);
/* Runs it; adds a run to @arm (NULL = warm-up) unless an operation failed. 0 or the first error. */
int perf_load_run(struct perf_load *l, enum perf_kind kind, struct perf_arm *arm);
/* What reading the clock adds to a sample at least [ns]. */
uint64_t perf_clock_cost(void);
/* A sample of @ns without that; 1 ns for what is too short for the clock, so that there is a ratio to it. */
static inline uint64_t perf_net(uint64_t ns, uint64_t clock_ns)
{
	return ns > clock_ns ? ns - clock_ns : 1;
}

#endif
