/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h - an embedded store whose node can be stopped between two steps and then looked at from inside.
 *
 * While it is stopped the test's thread owns the node core. world_check() then compares every record with
 * every other: extents, grants, objects, index, counts, pins, holds, descriptors, mappings.
 */
#ifndef SWARM_TEST_WORLD_H
#define SWARM_TEST_WORLD_H

#include <semaphore.h>

#include "store/host_internal.h"
#include "store/snode_internal.h"
#include "tests/store/store_test.h"

struct world {
	struct swarm_store *st;
	char dir[64];
	uint32_t fds, maps; /* as they were with no other client */
	sem_t gone;		  /* posted when the node has dealt with the end of a client */
	_Atomic uint64_t gone_ns; /* when the last one was */
	_Atomic uint64_t gone_cpu_ns; /* by the processor time of the node's thread; 0: another thread did it */
	_Atomic uint64_t gone_waited_ns; /* as world_waited_ns() said then */
	_Atomic int tid;		 /* of the node's thread */
};

void world_open(struct world *w, uint64_t arena_bytes, uint64_t objects_max);
void world_close(struct world *w);
/* Processor time of the node's thread so far. */
uint64_t world_cpu_ns(struct world *w);
/* For how long the node's thread was ready and had no processor so far; UINT64_MAX: the kernel does not say. */
uint64_t world_waited_ns(struct world *w);
/* The same of any thread, also of a process that ended and was not waited for. */
uint64_t thread_waited_ns(int tid);
void world_stop(struct world *w);
void world_go(struct world *w);
/* Waits until no process but this one is attached and nothing of it is left in this one; running. */
void world_alone(struct world *w);
/* Stopped: steps the node until nothing is on its way out any more. */
void world_settle(struct world *w);
/* Stopped, settled, only this process attached: every invariant, or the test fails naming @when. */
void world_check(struct world *w, const char *when);

static inline uint64_t seed_of(struct swarm_oid id, uint64_t len)
{
	return id.w[1] + len;
}

#endif
