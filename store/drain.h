/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.h - leaving in good order: primary copies move to peers, home records to the heir.
 *
 * The receiver fetches the object like any reader and then calls its copy primary; ours becomes a
 * secondary one. Rounds over the index and the spill log go on until one finds nothing, and even
 * after that: what is made meanwhile is moved too. Owner thread only.
 */
#ifndef SWI_DRAIN_H
#define SWI_DRAIN_H

#include "transport/base/hash.h"

#include "store/req.h"

struct swi_moving;
struct swi_taking;

struct swi_draining {
	struct swi_drain *d; /* NULL = not draining */
	uint32_t heir;	     /* has records of ours, also when the node could not leave; 0 = nobody has */
	bool told;
	uint32_t *target;
	uint32_t target_count, next_target;
	struct swi_moving *moving; /* by id: in flight, and given up */
	uint32_t in_flight;
	uint64_t slot, left;
	bool found; /* this round met something to move */
	bool later; /* and a name whose home does not know it yet */
	uint32_t waited; /* rounds for such names */
	uint64_t retry_ns;
	int status; /* the first failure */
	struct swi_req xfer;
	uint32_t xfer_tries;
	struct swi_list taking; /* struct swi_taking: what we take from a peer that drains */
};

void swi_draining_init(struct swi_snode *sn);
void swi_draining_fini(struct swi_snode *sn);
int swi_draining_step(struct swi_snode *sn);
uint64_t swi_draining_deadline_ns(const struct swi_snode *sn);
/* The object was deleted here; another one may be put under its id. */
void swi_drain_deleted(struct swi_snode *sn, struct swarm_oid id);
int swi_drain_on_move(struct swi_link *l, struct swi_rd *body);

#endif
