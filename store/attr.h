/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attr.h - what was asked for one object on this node: a pin by policy, an end in time. Owner thread of the node.
 *
 * Kept by id, in memory of the core's own, for those objects alone that somebody asked something for; so it outlives
 * the object's way to disk and back, and ends when the object is deleted.
 */
#ifndef SWI_ATTR_H
#define SWI_ATTR_H

#include "store/local.h"
#include "store/timer.h"
#include "transport/base/hash.h"

struct swi_attr {
	struct swarm_oid id;
	UT_hash_handle hh;
	struct swi_snode *sn;
	struct swarm_ref ref;
	uint8_t pin;	/* enum swarm_pin_policy */
	bool replica;	/* a copy on request (keep.h): never dropped, as long as it is here */
	uint64_t bytes; /* of the extent, counted while the pin is hard */
	struct swi_timer ttl;
};

struct swi_attrs {
	struct swi_attr *by_id;
	uint64_t hard_bytes, hard_max;
	uint64_t soft, hard, expiring, expired, replicas;
	uint64_t scan_ns; /* the step whose pins are in holds.pins */
};

void swi_attrs_init(struct swi_snode *sn);
void swi_attrs_fini(struct swi_snode *sn);
/* How the object is pinned by policy: enum swarm_pin_policy. */
uint8_t swi_attr_pin(struct swi_snode *sn, struct swarm_oid id);
/* The copy in memory here was asked for: it stays. -ENOMEM. */
int swi_attr_keep(struct swi_snode *sn, struct swarm_ref ref);
bool swi_attr_is_replica(struct swi_snode *sn, struct swarm_oid id);
/* The object was deleted; nothing is remembered. */
void swi_attr_forget(struct swi_snode *sn, struct swarm_oid id);
/* A copy whose primary is elsewhere left memory: its pin ends. */
void swi_attr_left(struct swi_snode *sn, struct swarm_oid id);

#endif
