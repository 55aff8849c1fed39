/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.h - making objects durable because a client asks for it (SWI_L_SYNC). Owner thread of the node.
 *
 * The objects stay where they are in memory; each gets a record in the kept spill log unless it has
 * one, and the answer goes out when the log has acknowledged them all, and that what was deleted on
 * this node before is not coming back. The log syncs many records at once: what is asked for together
 * costs one fdatasync or few.
 */
#ifndef SWI_SYNC_H
#define SWI_SYNC_H

#include "store/node.h"

/* SWI_L_SYNC. < 0: nonsense. */
int swi_sync_request(struct swi_client *cl, const struct swi_msg *msg);
/* The client leaves: what is being written is finished, nobody is told. */
void swi_syncs_drop(struct swi_client *cl);
/* The log is closed and the clients are gone. */
void swi_syncs_fini(struct swi_snode *sn);

#endif
