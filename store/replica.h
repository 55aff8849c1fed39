/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replica.h - objects that this node was asked to keep in several copies. Owner thread of the node.
 *
 * A replica is a primary copy on another node: a peer that is told MOVE fetches the object and calls its copy
 * primary, while ours stays what it is. So it is never just dropped for room, its home knows it as any other copy,
 * and a get finds it. Where one is lost with its node, another is placed as long as we live and there is a peer.
 */
#ifndef SWI_REPLICA_H
#define SWI_REPLICA_H

#include "store/local.h"
#include "store/req.h"
#include "store/timer.h"

struct swi_replicas {
	struct swi_replica *by_id;
	uint64_t placed; /* copies on peers now, as far as we placed them */
	uint64_t placed_ever;
};

/* How many copies we know of by placing them, ours too; 0: nobody asked for any. */
uint32_t swi_replica_copies(struct swi_snode *sn, struct swarm_oid id);
void swi_replica_forget(struct swi_snode *sn, struct swarm_oid id); /* deleted */
void swi_replica_peer_added(struct swi_snode *sn);
void swi_replica_peer_removed(struct swi_snode *sn, uint32_t node);
void swi_replicas_fini(struct swi_snode *sn);

#endif
