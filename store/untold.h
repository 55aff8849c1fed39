/* SPDX-License-Identifier: Apache-2.0 */
/*
 * untold.h - names that were put here, and whose home has not said yet that it knows.
 *
 * A home remembers that a name was deleted, and has every copy dropped that it hears of later, unless that one was made since. Of
 * a new object a row of COPIES says so, as often as it is told, until the home has answered that row (TOLD): a row may be lost with its
 * connection, and may come to a node that is not the home, or not yet. And what the home says of the name before its answer
 * it says of an object that was here before: messages of a connection keep their order. Owner thread of the node.
 */
#ifndef SWI_UNTOLD_H
#define SWI_UNTOLD_H

#include "transport/base/hash.h"

#include "store/peer.h"
#include "store/pool.h"

struct swi_telling; /* one message of COPIES, from its first new name to its answer */

struct swi_untold {
	struct swarm_oid id;
	UT_hash_handle hh;
	struct swi_telling *in; /* NULL: to be told again */
	struct swi_list link;	/* in->rows */
};

struct swi_untolds {
	struct swi_untold *by_id;
	struct swi_list tellings; /* struct swi_telling */
	struct swi_pool spare;
};

void swi_untolds_init(struct swi_snode *sn);
void swi_untolds_fini(struct swi_snode *sn);
bool swi_untold(struct swi_snode *sn, struct swarm_oid id);
/* Is the news on its way to this node? */
bool swi_untold_on_way(struct swi_snode *sn, struct swarm_oid id, uint32_t node);
/* The next COPIES to @p has a row that says that it is new. */
void swi_untold_say(struct swi_snode *sn, struct swi_peer *p, struct swarm_oid id);
/* These COPIES are about to be sent to @p: the number that is to be answered, 0 = no answer is wanted. */
uint64_t swi_untold_ask(struct swi_snode *sn, struct swi_peer *p);
/* They could not be sent. 0 is fine. */
void swi_untold_unsent(struct swi_snode *sn, uint64_t num);
/* @p is about to be freed. */
void swi_untold_peer_gone(struct swi_peer *p);
/* It is here no more, or we are its home. */
void swi_untold_forget(struct swi_snode *sn, struct swarm_oid id);

#endif
