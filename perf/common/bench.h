/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - what the latency and bandwidth harnesses share: sets of objects, the remote baselines, other
 * processes as load, the header of the report. One thread unless said otherwise.
 */
#ifndef SWARM_PERF_BENCH_H
#define SWARM_PERF_BENCH_H

#include "perf/common/data.h"
#include "perf/common/load.h"
#include "perf/common/raw.h"
#include "perf/common/rig.h"
#include "perf/common/serve.h"
#include "perf/common/tool.h"
#include "perf/common/traffic.h"
#include "store/shm.h"

/* The two commands of a harness that measures latency and bandwidth of one thing, in the order of enum perf_kind. */
#define PERF_LAT_AND_BW(lat_name, bw_name, what, lat_options, bw_options)                          \
	{                                                                                          \
		{.name = lat_name,                                                                 \
		 .summary = "Measures the latency of " what ". Without HOST: the server.",         \
		 .args = "[HOST]",                                                                 \
		 .args_max = 1,                                                                    \
		 .opts = lat_options},                                                             \
		{.name = bw_name,                                                                  \
		 .summary = "Measures the bandwidth of " what ". Without HOST: the server.",       \
		 .args = "[HOST]",                                                                 \
		 .args_max = 1,                                                                    \
		 .opts = bw_options},                                                              \
	}
/* perf_opts_parse() of these; @op: the option of that name inside @out. */
int perf_lat_bw_parse(const struct swt_command *cmd, int argc, char **argv, void *out, struct perf_opts *o,
		      const char *const *op);
static inline bool perf_is_server(const struct perf_opts *o)
{
	return !o->host && !o->loopback && !o->local && !o->attach;
}
static inline uint64_t perf_iters(const struct perf_opts *o, uint64_t dflt)
{
	return o->iters ? o->iters : dflt;
}
/* Room for samples of @iters operations in each run. */
static inline uint64_t perf_samples(const struct perf_opts *o, uint64_t iters)
{
	return o->unsorted ? iters * o->runs : 0;
}

/* Objects of @size where they are to be read from: our own store, or the server's. */
void perf_make(struct perf_rig *rig, uint64_t set, uint64_t count, uint64_t size);
/* Deletes them; returns when their memory is free again. */
void perf_drop(struct perf_rig *rig, uint64_t set, uint64_t count);
/* Waits until the store uses at most @bytes of its arena; false after ten seconds. */
bool perf_arena_below(struct perf_rig *rig, uint64_t bytes);
/* The same for the number of objects in its index: deletes take effect later. */
bool perf_objects_below(struct perf_rig *rig, uint64_t objects);

/* How it was measured, for the header: mode, transport, threads. */
void perf_describe(struct perf_report *r, const struct perf_rig *rig);

/* The baselines of a remote row: READs without the store, and the program of others that is installed. */
struct perf_bases {
	struct perf_rig *rig;
	struct perf_raw *raw;
	const char *tool; /* NULL = none */
	uint32_t raw_arm, tool_arm; /* 0 = none */
};
/*
 * Adds the arms to @row and opens what they need for READs of at most @size, which walk through @span bytes here and
 * @source there: as many as the store's arena and the objects have, or the one would be measured in cache and the other
 * not. 0 = 16 MiB.
 */
void perf_bases_open(struct perf_bases *b, struct perf_rig *rig, struct perf_row *row, uint64_t size, uint64_t span,
		     uint64_t source);
/* One run of each. @op_size bytes, @depth in flight, @iters times. */
void perf_bases_run(struct perf_bases *b, struct perf_row *row, uint32_t depth, uint64_t iters);
void perf_bases_close(struct perf_bases *b);

/* @n processes that attach to the store and get objects of @set all the while, until the program ends. */
void perf_others_start(struct perf_rig *rig, uint64_t set, uint64_t count, uint32_t n);
void perf_others_end(void);

#endif
