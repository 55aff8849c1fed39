/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locator.h - where an object lies in another node's arena, as this node last learned it.
 *
 * A bounded table, eight ways a set; the one not used for longest in its set goes. A locator is a hint: what
 * a READ through it brings is believed only after the header was checked (swi_locator_fits), and a
 * locator whose check failed, or whose node began another life, is dropped. Keys of regions are not
 * part of it: they are the connection's. Owner thread of the node.
 */
#ifndef SWI_LOCATOR_H
#define SWI_LOCATOR_H

#include <swarm/store.h>

#include "store/shm.h"

#define SWI_LOCATOR_SETS 8192u
#define SWI_LOCATOR_WAYS 8u

struct swi_locator {
	struct swarm_oid id;
	uint64_t epoch; /* boot epoch of the node that has it: names the node's life */
	uint64_t offset; /* of the header, in its arena */
	uint64_t len, digest;
	uint32_t gen;
	uint32_t used : 31; /* coarse age */
	uint32_t has_digest : 1;
};

struct swi_locators {
	struct swi_locator *v; /* made when the first peer may be READ */
	uint32_t clock;
	uint64_t count;
};

/* Makes the table, its pages too: else most cold gets wait for the kernel to clear one. Without memory nothing is remembered. */
void swi_locators_make(struct swi_locators *ls);
void swi_locators_fini(struct swi_locators *ls);
/* It will be looked for. */
void swi_locator_prefetch(const struct swi_locators *ls, struct swarm_oid id);
/* NULL = none. Valid until the next call on @ls. */
const struct swi_locator *swi_locator_find(struct swi_locators *ls, struct swarm_oid id);
/* Copies; replaces what was known of the id. Without memory it is forgotten. */
void swi_locator_put(struct swi_locators *ls, const struct swi_locator *loc);
void swi_locator_drop(struct swi_locators *ls, struct swarm_oid id);
/* Is @h, as READ, the header of exactly this sealed object, whole, in that life of that node? */
bool swi_locator_fits(const struct swi_locator *loc, const struct swi_object_head *h);

/*
 * Where @id lies by a pair of the index of the node with @epoch, as READ; *out_bytes, at most SWI_DIRECT_MAX: what a READ has to
 * bring so that all of the object is in it. False: no slot of the pair says it. Length and digest are not known yet.
 */
bool swi_locator_of_pair(const uint64_t pair[SWI_PAIR_WORDS], struct swarm_oid id, uint64_t epoch,
			 struct swi_locator *out, uint64_t *out_bytes);
/* The rest, out of what a READ of @bytes brought: is @h the header that the slot meant, of an object that ends within them? */
bool swi_locator_complete(struct swi_locator *loc, const struct swi_object_head *h, uint64_t bytes);

#endif
