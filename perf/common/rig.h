/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rig.h - the stores that a harness measures: one inside this process, one attached to, or one that has another
 * store as its peer. Everything made for a run (folder, key, child processes) goes away with the program,
 * however it ends. Children are started before any thread.
 */
#ifndef SWARM_PERF_RIG_H
#define SWARM_PERF_RIG_H

#include <jansson.h>
#include <sys/types.h>

#include <swarm/store.h>

#include "perf/common/opts.h"

#define PERF_SERVER_NODE 1u
#define PERF_PATH_MAX	 256u

struct perf_rig {
	const struct perf_opts *o;
	struct swarm_store *st;	     /* what is measured */
	uint32_t home;		     /* node that answers for the objects: ours, or the server's */
	char key[PERF_PATH_MAX];     /* file with the cluster key */
	char server[128];	     /* its address; "" = none */
	uint32_t next_node;
	uint64_t asked;		     /* requests to the server so far */
	uint64_t server_arena;
	char backend[64];
};

/* A folder of this program below TMPDIR, else /tmp; made at the first call, which is before any thread; removed at its end. */
const char *perf_dir(const struct perf_opts *o);

/* A store inside this process; @run: folder for other processes, NULL = private; @bind: NULL = no network. */
struct swarm_store *perf_open(const struct perf_opts *o, uint64_t arena, uint64_t objects,
			      const char *run, const char *bind, const char *key, uint32_t node);
/*
 * Starts what the options ask for besides this process: the process attached to, the server of --loopback.
 * @arena: default for the store with the objects. To be called first; the store is opened by perf_rig_open().
 */
void perf_rig_start(struct perf_rig *rig, const struct perf_opts *o, uint64_t arena);
/* Opens or reopens the store that is measured, with @arena bytes where it is a store of its own; peers with the server. */
void perf_rig_open(struct perf_rig *rig, uint64_t arena);
/* A fresh cluster key for this run in rig->key; the file goes with the folder. */
void perf_rig_key(struct perf_rig *rig);
void perf_rig_close(struct perf_rig *rig);
/* The same at the end of the program: the server ends too. */
void perf_rig_end(struct perf_rig *rig);
static inline bool perf_remote(const struct perf_rig *rig)
{
	return rig->server[0] != '\0';
}

/* A number of the store's status ("a.b" leads into an object); 0 when it is not there. */
uint64_t perf_status(struct swarm_store *st, const char *path);

#endif
