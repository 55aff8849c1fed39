/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prefetch.h - arguments that lie on disk are read before their task can be placed.
 *
 * When a task is placed, those that wait for nothing but its results will be next: of their other arguments,
 * those that are on disk alone are asked back into the memory of the node that has them. Wherever the next
 * task runs, it finds them in memory. It is only a hint: it takes free memory below the high-water mark and no
 * other, a bounded part of it, makes nobody leave and holds nothing; what came back is the most recently
 * used. Owner thread: the core's.
 */
#ifndef SWI_PREFETCH_H
#define SWI_PREFETCH_H

#include "sched/graph.h"

struct swi_prefetch {
	struct swi_list wants; /* struct prefetched: being read */
	uint64_t bytes;	       /* of them */
	uint64_t asked, refused, done;
};

void swi_prefetch_init(struct swi_node *n);
void swi_prefetch_fini(struct swi_node *n);
/* @t was placed: look at who waits for it. */
void swi_prefetch_placed(struct swi_node *n, struct swi_task *t);
/* SWI_P_PREFETCH */
int swi_prefetch_on_ask(struct swi_node *n, uint32_t from, struct swi_rd *rd);

#endif
