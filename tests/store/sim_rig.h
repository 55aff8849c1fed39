/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_rig.h - several node cores in one thread, on the simulated network, disks and clock: the same
 * code as the real node, memory from malloc. The same seed gives the same run.
 */
#ifndef SWI_TEST_SIM_RIG_H
#define SWI_TEST_SIM_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/node.h"
#include "store/object.h"
#include "store/snode_internal.h"
#include "store/spill/disk_sim.h"
#include "transport/sim/sim_net.h"

#define SIM_NODES 16u /* numbers from 1 on are used */

struct sim_node {
	struct sim *sim;
	uint32_t number;
	char addr[16];
	bool alive;
	struct swi_sim_env env;
	struct swi_log log;
	void *arena;
	struct swi_shm_head *shm;
	struct swi_platter *platter;
	struct swi_disk *disk;
	struct swi_snode *sn;
	struct swi_client_shm *client;
	struct swi_client *cl;
	struct swi_lc *lc;
	uint64_t epoch;
};

struct sim {
	struct swi_simnet *net;
	uint64_t piece_bytes; /* of the nodes started from now on; 0 = the default */
	uint64_t trace; /* digest of everything that happened */
	uint64_t disk_rate; /* bytes a second of disks made from now on; 0 = fast */
	struct sim_node node[SIM_NODES];
};

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *s);
struct sim_node *sim_start(struct sim *s, uint32_t number, uint64_t arena_bytes, bool disk);
void sim_kill(struct sim_node *n, enum swi_sim_kill how);
/* Everybody who lives learns of everybody else, as a layer above would tell them. */
void sim_know_all(struct sim *s);
/* Runs until *@flag, for at most @limit_ns of virtual time. */
bool sim_until(struct sim *s, const bool *flag, uint64_t limit_ns);
void sim_run(struct sim *s, uint64_t ns);

/* Bytes that follow from the id. */
void sim_fill(void *p, struct swarm_oid id, uint64_t len);
bool sim_filled(const void *p, struct swarm_oid id, uint64_t len);
struct swarm_ref sim_ref(uint64_t n, uint32_t home);
/* A client of the node makes it; 0 or the status. */
int sim_put(struct sim_node *n, struct swarm_ref ref, uint64_t len);
/* A want of the core; checks the bytes. */
int sim_get(struct sim_node *n, struct swarm_ref ref, uint64_t len, uint64_t timeout_ns, char *text,
	    size_t text_len);

#endif
