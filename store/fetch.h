/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch.h - wants and watches that wait for an object. Owner thread of the node.
 */
#ifndef SWI_FETCH_H
#define SWI_FETCH_H

#include "store/node.h"

struct swi_fetches {
	struct swi_list wants;	 /* struct swi_want */
	struct swi_list watches; /* struct swi_watch */
	bool look;		 /* something was sealed or asked since the last step */
};

void swi_fetches_init(struct swi_snode *sn);
int swi_fetches_step(struct swi_snode *sn);
uint64_t swi_fetches_deadline_ns(const struct swi_snode *sn);
/* A client announced a seal (head->waiters > 0, or named and clustered). @len is foreign. */
void swi_fetch_sealed(struct swi_snode *sn, struct swarm_ref ref, uint64_t len);

#endif
