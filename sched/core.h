/* SPDX-License-Identifier: Apache-2.0 */
/* core.h - struct swi_node, the sum of the rooms of node.h. Private to this folder. Owner thread: the core's. */
#ifndef SWI_CORE_H
#define SWI_CORE_H

#include "sched/dispatch.h"
#include "sched/events.h"
#include "sched/lineage.h"
#include "sched/member.h"
#include "sched/node.h"
#include "sched/prefetch.h"
#include "sched/rebuild.h"
#include "sched/scaler.h"
#include "sched/status.h"

struct swi_counters {
	uint64_t submitted, duplicates, done, failed, retried, replaced;
};

struct swi_node {
	struct swi_node_opts o;
	struct swi_snode *sn;
	struct swi_env *env;
	struct swi_log *log;
	struct swi_runner *runner;
	uint32_t number;
	uint64_t epoch;
	uint32_t drivers; /* attached */
	struct swi_graph graph;
	struct swi_lineage lineage;
	struct swi_rebuild rebuild;
	struct swi_dispatch dispatch;
	struct swi_prefetch prefetch;
	struct swi_cview cview;
	struct swi_membership member;
	struct swi_scaler scaler;
	struct swi_events events;
	struct swi_status status;
	struct swi_counters st;
};

static inline uint64_t swi_node_now(const struct swi_node *n)
{
	return swi_now(n->env);
}

/* To a node by number; lost when it is not known. */
int swi_node_send(struct swi_node *n, uint32_t to, uint16_t type, const struct swi_wr *w);
const char *swi_oid_str(struct swarm_oid id, char buf[33]);

#endif
