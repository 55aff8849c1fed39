/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scale.h - the size of the cluster as a pure function, beside place(). No I/O, no clock.
 */
#ifndef SWI_SCALE_H
#define SWI_SCALE_H

#include "sched/place.h"

struct swi_scale_opts {
	uint32_t min_nodes, max_nodes; /* max 0 = no autoscaling */
	uint64_t idle_timeout_ns;
	uint64_t start_timeout_ns; /* a node that was asked for and did not join counts as failed; 0 = 30 s */
	struct swi_resources shape; /* what a new node brings */
};

struct swi_scale_demand { /* tasks that are ready and found no room, by shape, summed over all homes */
	uint32_t tasks;
	struct swi_resources need; /* sum */
	struct swi_resources largest; /* of one task */
};

struct swi_scale_node {
	uint32_t node;
	bool head, draining;
	uint64_t idle_since_ns; /* 0 = busy */
};

struct swi_scale_decision {
	uint32_t start;	    /* nodes to start now */
	uint32_t drain;	    /* node number to drain, 0 = none */
	char why[96];
};

/* @starting: nodes asked for that have not joined yet. */
void swi_scale(const struct swi_scale_opts *opts, const struct swi_scale_node *nodes, uint32_t count,
	       uint32_t starting, const struct swi_scale_demand *demand, uint64_t now_ns,
	       struct swi_scale_decision *out);

#endif
