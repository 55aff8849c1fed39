/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote_rig.h - two or three real stores for the tests between nodes: a cluster key in a folder of
 * its own, and which transport carries them (argv[1], argv[2]). One test thread.
 */
#ifndef SWI_TEST_REMOTE_RIG_H
#define SWI_TEST_REMOTE_RIG_H

#include <sys/stat.h>
#include <unistd.h>

#include <swarm/store.h>

#include "store/host.h"
#include "tests/store/store_test.h"

struct rig {
	const char *transport, *bind;
	char dir[64], key[96], other_key[96];
};
extern struct rig rig;

int rig_setup(void **state);
int rig_teardown(void **state);

/* @spill: a folder of its own below the rig's, NULL = none. Exits with 77 when there is no such transport. */
struct swarm_store *rig_open(uint32_t node, uint64_t arena, const char *spill);
struct swarm_store *rig_open_key(uint32_t node, const char *key, int *out_rc);
void rig_join(struct swarm_store *a, struct swarm_store *b); /* a dials b */
/* A number of the store's status; 0 when it is not there. */
uint64_t rig_stat(struct swarm_store *st, const char *name);
uint64_t rig_peers(struct swarm_store *st);
struct swarm_ref rig_put(struct swarm_store *st, struct swarm_ref ref, uint64_t len);
/* Gets and compares with what rig_put() wrote. */
int rig_get(struct swarm_store *st, struct swarm_ref ref, uint64_t len, uint64_t timeout_ns);
/* Until the number reaches @at_least, for at most ten seconds. */
bool rig_stat_reaches(struct swarm_store *st, const char *name, uint64_t at_least);

#endif
