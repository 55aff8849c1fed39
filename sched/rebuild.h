/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rebuild.h - what was lost is made again: find the maker, expect its lost results, run it again. Its own
 * lost arguments follow because the run waits for them. Owner thread: the core's.
 */
#ifndef SWI_REBUILD_H
#define SWI_REBUILD_H

#include "sched/graph.h"

#define SWI_REBUILDS_MAX 20u

#define SWI_LOSSES_MAX 8u

struct swi_loss { /* the lost results of one function */
	char function[SWARM_NAME_MAX];
	uint64_t objects;
	struct swarm_oid first;
};

struct swi_recovery { /* the consequences of one node's death */
	struct swi_list link;
	uint32_t node;
	uint64_t died_ns;
	uint64_t since_ns; /* something has been missing since */
	uint64_t open;	   /* runs not finished */
	uint64_t objects, tasks, failed;
	struct swi_loss loss[SWI_LOSSES_MAX]; /* what the objects were; the last counts all others too */
};

struct swi_rebuild {
	struct swi_list recoveries;
	struct swi_recovery *current; /* of the last death: losses are noticed when somebody asks */
	uint64_t objects_lost, objects_recovered, objects_gone, reruns, last_recovery_ns, recovery_ns_total;
	uint64_t nondeterministic;
	uint64_t dropped, remade; /* results that left memory unwritten; runs that made such again */
};

void swi_rebuild_init(struct swi_node *n);
void swi_rebuild_fini(struct swi_node *n);
/* Before swi_peer_remove() of a dead node. */
void swi_rebuild_begin(struct swi_node *n, uint32_t node, uint64_t died_ns);
/* @t runs once more because of the last death. */
void swi_rebuild_join(struct swi_node *n, struct swi_task *t);
/*
 * hooks.obj_remake_ns: what it takes to make @id again by running its task, for the choice between that and the disk.
 * Only tasks that need nothing but inline arguments: what others need may be gone by then. @drop: it is dropped
 * now, unwritten; the task's record stays.
 */
uint64_t swi_rebuild_remake_ns(struct swi_node *n, struct swarm_oid id, bool drop);
/* hooks.obj_lost */
int swi_rebuild_lost(struct swi_node *n, struct swarm_oid id, bool made, char *why, size_t why_len);
/* An argument made by @maker is needed by a run of @by and may not exist any more. */
void swi_rebuild_need(struct swi_node *n, struct swi_task *by, struct swi_task *maker, uint32_t index);
/* The re-run of @t ended. */
void swi_rebuild_finished(struct swi_node *n, struct swi_task *t, bool ok);

#endif
