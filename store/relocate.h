/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relocate.h - objects that make way: the node's half of compact.h. Owner thread of the node.
 *
 * While somebody waits for room, and enough is free but in no piece that is large enough, sealed objects in a window of the arena
 * are copied elsewhere. An object that nobody holds or pins moves so: its bytes are written to the new place under a
 * generation of its own; one compare-and-swap on its slot leads there (index.c); the old extent is retired as if the
 * object had been evicted (hold.h), so it waits for pins that came meanwhile and for READs of other nodes (lease.h).
 * Those find the old header spoiled, as they would after an eviction, and ask where it lies.
 */
#ifndef SWI_RELOCATE_H
#define SWI_RELOCATE_H

#include "store/compact.h"
#include "store/local.h"

struct swi_relocate {
	struct swi_compact c;
	struct swi_local lo; /* the object looked at last */
	uint64_t until_ns;   /* a window that is not clear by then is given up */
	uint64_t again_ns;   /* no window was found: not before, or when more was freed */
	uint64_t frees;	     /* extents.frees then */
	uint64_t bars_ns;    /* until then what could not move is not looked at */
};

void swi_relocate_init(struct swi_snode *sn);
void swi_relocate_fini(struct swi_snode *sn);
int swi_relocate_step(struct swi_snode *sn);
uint64_t swi_relocate_deadline_ns(const struct swi_snode *sn);

#endif
