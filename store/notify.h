/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.h - who wants to hear of objects sealed and deleted on this node. Owner thread of the node.
 *
 * A subscriber has room for so many rows; what comes while it is used up is counted, and the count is the next
 * row that it gets. So neither the sealer nor the node ever waits for it, and no gap is silent.
 */
#ifndef SWI_NOTIFY_H
#define SWI_NOTIFY_H

#include "store/local.h"

struct swi_notify {
	struct swi_list subs;  /* struct swi_client_sub, of all clients */
	struct swi_list dirty; /* those with rows to be sent */
	struct swarm_oid last_deleted; /* an object leaves memory and disk: one row for both */
	bool deleted_known;
};

void swi_notify_init(struct swi_snode *sn);
int swi_notify_step(struct swi_snode *sn);
void swi_notify_sealed(struct swi_snode *sn, const struct swi_local *lo);
void swi_notify_deleted(struct swi_snode *sn, struct swarm_ref ref, uint64_t len);

#endif
