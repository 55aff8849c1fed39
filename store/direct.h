/* SPDX-License-Identifier: Apache-2.0 */
/*
 * direct.h - a fetch without a word: READs under the standing lease of the connection (lease.h).
 *
 * Warm: the place is known by a locator: one READ of header and payload. Cold: one READ of the pair of the owner's
 * index in which the id has its slot, then the object, as much as the slot's size class says. Whatever
 * does not fit (no slot, a slot that is being changed, too large, a header that is not the object's, a lost
 * connection) sends the fetch on its way by messages; the object is still got. Owner thread only.
 */
#ifndef SWI_DIRECT_H
#define SWI_DIRECT_H

#include "store/fetch.h"

/* The way begins: by a locator, or cold at the home that the reference names. False: by messages. */
bool swi_direct_begin(struct swi_fetch *f);
/* The home named @p as a holder and room is there. False: ask it for a lease. */
bool swi_direct_holder(struct swi_fetch *f, struct swi_peer *p);
/* Room was given to a fetch that swi_direct_begin() began. */
void swi_direct_read(struct swi_fetch *f);
/* What it brought is not the object. */
void swi_direct_failed(struct swi_fetch *f);
/* What the fetch keeps for it; its READ is over. */
void swi_direct_drop(struct swi_fetch *f);
/* A lease told where the object lies: remembered. */
void swi_direct_learn(struct swi_snode *sn, struct swarm_oid id, uint64_t holder_epoch,
		      const struct swi_smsg_leased *m);
/* A home told where its own copy lies. */
void swi_direct_learn_place(struct swi_snode *sn, struct swarm_oid id, uint64_t home_epoch,
			    const struct swi_smsg_located *m);

#endif
