/* SPDX-License-Identifier: Apache-2.0 */
/* names_rig.h - several node cores in virtual time whose clients put and delete names. */
#ifndef SWI_TEST_NAMES_RIG_H
#define SWI_TEST_NAMES_RIG_H

#include "tests/store/sim_rig.h"

#define NAMES_LEN_OLD 3000u

/* Nodes 1 to @count, which know each other. */
struct sim *names_nodes(uint64_t seed, uint32_t count, bool disk);
/* For all: somebody above decides who is a member. @keeps: and when a deleted object goes, so that clients hide nothing themselves. */
void names_hang_in(struct sim *s, bool keeps);
/* A name whose home is @home. */
struct swarm_ref names_at(struct sim *s, uint32_t home);
/* While it is on the node does not come to look at its client's ring. */
void names_busy(struct sim_node *n, bool on);
void names_everybody_has(struct sim *s, struct swarm_ref ref, uint64_t len);
void names_nobody_has(struct sim *s, struct swarm_ref ref);
/* A client of @n makes it, and deletes it; all of that is over on return. */
void names_deleted_once(struct sim_node *n, struct swarm_ref ref);
/* Somebody gets it, whatever it is at that moment. @w->owner is NULL afterwards. */
void names_get(struct sim_node *n, struct swarm_ref ref, uint64_t timeout_ns, struct swi_want *w);
/* swi_drain.cb: *(int *)owner is the status + 1. */
void names_drained(struct swi_drain *d, int status);

#endif
