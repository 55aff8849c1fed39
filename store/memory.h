/* SPDX-License-Identifier: Apache-2.0 */
/* memory.h - where the bytes of this node are, and which objects it has, as JSON (malloc'd). Owner thread. */
#ifndef SWI_MEMORY_H
#define SWI_MEMORY_H

#include "store/node.h"

char *swi_snode_memory_json(struct swi_snode *sn);
/* {total, list}: at most @max rows. */
char *swi_snode_objects_json(struct swi_snode *sn, uint64_t max);

#endif
