/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv.h - a cache of KV blocks on some nodes, as an inference cluster has it: who made a block keeps it, others READ
 * it, the least recently used go when a node is full. The table of blocks is the cluster's index (one lock); the
 * bytes are in the stores. A reference to a block that somebody just makes waits for it and is a hit.
 */
#ifndef SWARM_PERF_KV_H
#define SWARM_PERF_KV_H

#include <pthread.h>

#include "perf/common/bench.h"
#include "perf/trace.h"

#define KV_NODES_MAX 16u

enum kv_outcome { KV_MEMORY, KV_REMOTE, KV_SPILLED, KV_MISS, KV_OUTCOMES };

struct kv_block { /* under kv.lock */
	uint32_t prev, next; /* LRU of its owner, by number; KV_NONE */
	uint32_t serial;     /* times that it was made */
	uint8_t owner;	     /* index of the node */
	uint8_t state;	     /* enum kv_state */
};

struct kv_node {
	struct swarm_store *st;
	uint32_t number, newest, oldest; /* LRU */
	uint64_t live, capacity;	 /* bytes of extents */
};

struct kv_counts {
	uint64_t n[KV_OUTCOMES], bytes[KV_OUTCOMES];
	uint64_t evicted, lost, wrong;
	struct perf_hist hist[KV_OUTCOMES], request;
};

struct kv {
	const struct perf_opts *o;
	const struct perf_trace *trace;
	uint64_t block_bytes;
	uint32_t nodes;
	double speed; /* 0: as fast as it goes */
	struct kv_node node[KV_NODES_MAX];
	pthread_mutex_t lock;
	struct kv_block *block;
	struct kv_counts *counts; /* one for each node; its thread's */
	uint64_t begin;
	uint64_t clock_ns;
};

/* Runs the whole trace; the stores are open and know each other. 0 or the first error. */
int kv_run(struct kv *kv, uint64_t *out_ns);
void kv_add(struct kv_counts *into, const struct kv_counts *from);

#endif
