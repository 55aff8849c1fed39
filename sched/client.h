/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - what a driver's client and the client inside a task share.
 */
#ifndef SWI_SCHED_CLIENT_H
#define SWI_SCHED_CLIENT_H

#include <swarm/sched.h>

#include "sched/spec.h"
#include "store/object.h"

struct swarm_client {
	struct swarm_store *store;
	struct swi_lc *lc;
	struct swarm_oid parent; /* task id that children's ids derive from; a driver's is random */
	_Atomic uint64_t counter; /* children so far */
	bool in_task; /* a worker: the node is told of waits, so that others may use the cpu */
	_Atomic uint32_t waits; /* threads of the task that wait now */
};

#endif
