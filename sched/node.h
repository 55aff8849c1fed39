/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - the whole node core: the store half (store/node.h) and the scheduler on its hooks.
 *
 * Rooms: graph.c (tasks homed here, ready when their arguments are), lineage.c (what made what, by task
 * and by result, within a byte budget), rebuild.c (what to run again when an object is lost), view.c (what we know of the cluster), dispatch.c
 * (ready task -> place -> runner here or TASK to a node there), runner.c (tasks placed here), member.c (who is alive: head and node
 * side), scaler.c (drives scale() and the provider; draining), tmsg.c (messages), node.c (the hooks and the step).
 */
#ifndef SWI_SCHED_NODE_H
#define SWI_SCHED_NODE_H

#include "sched/proto.h"
#include "sched/runner.h"
#include "sched/scale.h"
#include "store/node.h"

struct swi_node;

/* How nodes come: `local` starts processes here; the simulator starts cores. */
struct swi_provider_ops {
	void *ctx;
	int (*start)(void *ctx, uint32_t count);	  /* asynchronous; they JOIN when up */
	void (*removed)(void *ctx, uint32_t node, uint64_t epoch); /* drained and let go: end its process */
};

struct swi_node_opts {
	struct swi_snode *sn; /* owned by the caller, outlives the node; its hooks are set here */
	bool head;
	const char *head_address; /* of the head; NULL when head */
	struct swi_resources total;
	struct swi_worker_ops workers;
	uint32_t workers_max;
	struct swi_scale_opts scale; /* head only */
	struct swi_provider_ops provider; /* head only; start NULL = none */
	enum swi_place_policy policy;
	uint64_t lineage_bytes; /* budget; 0 = 256 MiB */
	uint64_t load_period_ns; /* 0 = 50 ms */
	uint64_t silence_ns;	 /* 0 = 2 s without a word: dead */
	bool no_prefetch; /* arguments stay on disk until their task is placed */
	bool provided; /* started by a provider: may be drained away */
	/* The node must end: told to stop, drained, declared dead by the head, or refused (status, sentence). */
	void (*ended)(void *ctx, int status, const char *text);
	/* A line worth a person's eye: node joined / died / drained, object lost, task re-run, recovered. JSON object text, one line. */
	void (*event)(void *ctx, const char *json);
	void *ctx;
};

int swi_node_create(const struct swi_node_opts *opts, struct swi_node **out, char *why, size_t why_len);
void swi_node_destroy(struct swi_node *n); /* before its snode; NULL is fine */
/* After swi_snode_step(): moves the scheduler forward. */
int swi_node_step(struct swi_node *n);
uint64_t swi_node_deadline_ns(struct swi_node *n);
struct swi_runner *swi_node_runner(struct swi_node *n);
bool swi_node_joined(struct swi_node *n);
/* Leave in good order: drain, tell the head, then ended(0). */
void swi_node_leave(struct swi_node *n);

/* JSON documents of SWI_L_STATUS (malloc'd): what = "status", "nodes", "tasks", "objects", "memory", "workers", "info", "events".
 * Cluster-wide ones are gathered from the peers by the node that is asked. */

#endif
