/* SPDX-License-Identifier: Apache-2.0 */
/*
 * census.h - a name is lost, as far as its home knows, or an object's home is: every other node is asked whether it has it,
 * before anybody is told.
 *
 * Anybody may put a name again, and the news of that may be on its way, or held up by a link that is down. An answer to LEASE
 * comes behind all COPIES that its sender sent before: when everybody has answered (or is removed), the home knows what was
 * there when it asked. What was answered before says nothing of a put since then, so no answer is kept; instead one name is asked
 * for once in 10 ms at most, and who comes meanwhile waits for the next.
 *
 * Where a home died that nobody inherited, nobody is told of copies any more. Who wants the object asks all nodes itself: one that has a copy
 * (replicas, for one) says so. Owner thread of the node.
 */
#ifndef SWI_CENSUS_H
#define SWI_CENSUS_H

#include "store/directory.h"

/* True: all have answered. Begins when it has not begun; the record is touched at the end. */
bool swi_census_over(struct swi_snode *sn, struct swi_rec *rec);
/* The next one asks anew. NULL or idle is fine. */
void swi_census_end(struct swi_snode *sn, struct swi_rec *rec);

#endif
