/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idmap.h - object or task id -> pointer and a small number, in 32 bytes a slot: open addressing,
 * linear probing, deletion by moving back. There are two entries for every queued task, which is why
 * this is not a chained hash with its handle of 56 bytes. No iteration: order would depend on capacity.
 * Owner thread only.
 */
#ifndef SWI_IDMAP_H
#define SWI_IDMAP_H

#include "transport/base/base.h"

struct swi_idslot {
	struct swarm_oid id; /* zero = free */
	void *val;
	uint32_t aux;
};

struct swi_idmap {
	struct swi_idslot *slot;
	uint64_t cap; /* a power of two, or 0 */
	uint64_t count;
};

void swi_idmap_fini(struct swi_idmap *m);
/* Adds or replaces. -ENOMEM. The id must not be zero. */
int swi_idmap_set(struct swi_idmap *m, struct swarm_oid id, void *val, uint32_t aux);
/* NULL when it is not there. The slot is valid until the next set or del. */
const struct swi_idslot *swi_idmap_get(const struct swi_idmap *m, struct swarm_oid id);
void swi_idmap_del(struct swi_idmap *m, struct swarm_oid id);

#endif
