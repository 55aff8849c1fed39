/* SPDX-License-Identifier: Apache-2.0 */
/*
 * announce.h - after a change of membership: what is here is told again to homes that moved.
 *
 * One walk over the index, a few thousand slots a step, then over the spill log. A change during a
 * walk makes it go round once more. Owner thread only.
 */
#ifndef SWI_ANNOUNCE_H
#define SWI_ANNOUNCE_H

#include "store/node.h"

#define SWI_ANNOUNCE_NODES 8u
struct swi_announce {
	bool running, all;
	uint32_t node[SWI_ANNOUNCE_NODES]; /* whose coming, going or return is being answered */
	uint32_t count;
	uint64_t slot, left; /* where the walk is, and how many slots are left */
};

/* @node came, came back or is gone: what it is or was the home of is told to its home of today. */
void swi_announce_node(struct swi_snode *sn, uint32_t node);
int swi_announce_step(struct swi_snode *sn);
/* Rendezvous weight: the live node with the largest is the home of a named object. */
uint64_t swi_rendezvous(struct swarm_oid id, uint32_t node);

#endif
