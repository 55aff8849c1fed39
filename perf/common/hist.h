/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hist.h - a log-linear histogram of nanoseconds in fixed memory: values below 128 exactly, larger ones in
 * 128 equal buckets for each power of two. A percentile is off by at most 1/256 of its value; count,
 * minimum, maximum and sum are exact. No sample is ever dropped. One thread each; merge them afterwards.
 */
#ifndef SWARM_PERF_HIST_H
#define SWARM_PERF_HIST_H

#include "transport/base/base.h"

#define PERF_HIST_SUB_BITS 7u
#define PERF_HIST_SUB	   (1u << PERF_HIST_SUB_BITS)
#define PERF_HIST_BUCKETS  ((64u - PERF_HIST_SUB_BITS + 1u) * PERF_HIST_SUB)

struct perf_hist {
	uint64_t count, min, max;
	double sum, squares;
	uint64_t bucket[PERF_HIST_BUCKETS];
};

static inline uint32_t perf_hist_index(uint64_t v)
{
	uint32_t top;

	if (v < PERF_HIST_SUB)
		return (uint32_t)v;
	top = 63u - (uint32_t)__builtin_clzll(v);
	return ((top - PERF_HIST_SUB_BITS + 1u) << PERF_HIST_SUB_BITS) +
	       (uint32_t)((v >> (top - PERF_HIST_SUB_BITS)) & (PERF_HIST_SUB - 1u));
}

void perf_hist_init(struct perf_hist *h);
void perf_hist_merge(struct perf_hist *into, const struct perf_hist *from);
/* The smallest value of bucket @i, and how many values it holds. */
uint64_t perf_hist_low(uint32_t i, uint64_t *out_width);
/* @percent of all samples are at or below the returned value [ns]; 0 when there is none. 0 <= percent <= 100. */
double perf_hist_percentile(const struct perf_hist *h, double percent);
double perf_hist_mean(const struct perf_hist *h);
double perf_hist_stdev(const struct perf_hist *h);

static inline void perf_hist_add(struct perf_hist *h, uint64_t ns)
{
	h->bucket[perf_hist_index(ns)]++;
	h->count++;
	h->sum += (double)ns;
	h->squares += (double)ns * (double)ns;
	if (ns < h->min)
		h->min = ns;
	if (ns > h->max)
		h->max = ns;
}

#endif
