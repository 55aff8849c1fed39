/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local.h - the node core's own look at what lies in the arena.
 *
 * Slots and headers can be written by clients, so everything found there is checked before it is
 * believed: the header lies in the arena, names the id, is sealed, and its payload ends inside
 * allocated bytes. The values are copied once; nothing is read twice. Owner thread only.
 */
#ifndef SWI_LOCAL_H
#define SWI_LOCAL_H

#include "store/index.h"
#include "store/node.h"

struct swi_local { /* a sealed object in local memory */
	struct swarm_ref ref;
	struct swi_index_hit hit;
	struct swi_object_head *head;
	uint64_t offset, len, bytes; /* bytes: of the extent */
	uint64_t epoch, digest;
	uint32_t gen, flags;
	uint16_t touch;
};

bool swi_local_find(struct swi_snode *sn, struct swarm_oid id, struct swi_local *out);
bool swi_local_at(struct swi_snode *sn, uint64_t slot, struct swi_local *out);
bool swi_spilled_here(struct swi_snode *sn, struct swarm_oid id, uint64_t *out_len);
/* Publishes an extent of ours. 0, -EEXIST, SWARM_EINDEXFULL. */
int swi_local_publish(struct swi_snode *sn, struct swarm_oid id, uint32_t gen, uint64_t offset,
		      uint64_t bytes);
/* The header of an object of @len bytes that was brought here without one: all but what publishing it adds. */
void swi_head_begin(struct swi_object_head *h, struct swarm_ref ref, uint64_t len);
void swi_local_set_flags(const struct swi_local *lo, uint32_t set, uint32_t clear);
void swi_local_set_digest(const struct swi_local *lo, uint64_t digest);

/* For texts: 32 hex digits. */
#define SWI_OID_TEXT 40u
const char *swi_oid_text(struct swarm_oid id, char buf[SWI_OID_TEXT]);

#endif
