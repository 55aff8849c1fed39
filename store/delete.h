/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delete.h - an object is deleted: its home tells everybody who has it, and remembers.
 *
 * A home keeps SWI_DELETED_MAX ids, so that news of copies that come late end in a DROP. Of a name only while it is the home: the next
 * one hears of it when it is put again, this one does not. A name that is put again keeps its entry, with the nodes that
 * made the new object or were told where it is: a copy on any other node, unless it was made just now, is of the old one.
 * Owner thread of the node.
 */
#ifndef SWI_DELETE_H
#define SWI_DELETE_H

#include "store/directory.h"

struct swi_deleted {
	struct swarm_oid id;
	bool named;
	bool again;	/* it was put again since */
	uint32_t *node; /* who may have that: made it, or was told where it is */
	uint32_t count, cap;
	UT_hash_handle hh;
};
#define SWI_DELETED_MAX 65536u

bool swi_dir_is_deleted(struct swi_snode *sn, struct swarm_oid id);
void swi_deleted_add(struct swi_snode *sn, struct swarm_ref ref);
void swi_deleted_clear(struct swi_snode *sn, struct swarm_oid id);
/* The object is there again, and @node has it or knows where it is. */
void swi_deleted_again(struct swi_snode *sn, struct swarm_oid id, uint32_t node);
/* If there is a copy on @node, not one that was made just now: is it of what was deleted? */
bool swi_deleted_means(struct swi_snode *sn, struct swarm_oid id, uint32_t node);
/* The members changed: names that have another home now, where they may have been put again since, are forgotten. */
void swi_deleted_moved(struct swi_snode *sn);
void swi_deleted_fini(struct swi_snode *sn);

/* As swi_delete(), asked for by a client of this node: what was put here under the same id since then stays. */
void swi_dir_delete_asked(struct swi_snode *sn, struct swarm_ref ref);
/* Removes the local copies of an object, in memory and on disk. What is known of others stays. */
void swi_dir_drop_local(struct swi_snode *sn, struct swarm_oid id);
/* Everything that goes with an object that was deleted here, but its bytes. */
void swi_deleted_forget(struct swi_snode *sn, struct swarm_oid id);
/* A holder is told that it has a copy of what was deleted. */
void swi_deleted_drop(struct swi_snode *sn, struct swi_peer *p, struct swarm_ref ref);

int swi_dir_on_drop(struct swi_link *l, struct swi_rd *body);
int swi_dir_on_delete(struct swi_link *l, struct swi_rd *body);

#endif
