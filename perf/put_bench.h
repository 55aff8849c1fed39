/* SPDX-License-Identifier: Apache-2.0 */
/* put_bench.h - the inside of put.c and put_remote.c: one measurement of puts. Threads: a worker touches its own index only. */
#ifndef SWARM_PERF_PUT_BENCH_H
#define SWARM_PERF_PUT_BENCH_H

#include "perf/common/bench.h"

#define PERF_PUT_SET PERF_SET_FIRST
#define PERF_PUT_NS  (10 * NS_PER_S)

enum put_op { OP_PUT, OP_CREATE, OP_DELETE, OP_COPY };

struct put_opts {
	struct perf_opts c;
	const char *op;
};

struct put_bench {
	const struct put_opts *o;
	struct perf_rig rig;
	enum perf_kind kind;
	enum put_op op;
	uint64_t size, set, arena;
	uint8_t *data;
	uint64_t serial[PERF_THREADS_MAX]; /* objects ever made by each thread */
	uint64_t clock_ns;
	uint32_t outs; /* objects in one call */
	struct perf_hist *pair; /* of the copies, where they alternate with puts */
	uint64_t pair_ns, pair_ops;
};

/* put_remote.c: the row of one size between two nodes. */
void perf_put_remote(struct put_bench *b, struct perf_report *r);

#endif
