/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - plain clients of the store, one on each node: everything in store.h that a task does not use.
 *
 * objs.c holds the objects that they share and what must be true of each; guest.c the life of a guest and what comes to
 * it unasked (notifications, completions, rows of its wait set); guest_ops.c the single requests.
 */
#ifndef SWI_TEST_SIM_GUEST_H
#define SWI_TEST_SIM_GUEST_H

#include "store/store_internal.h"
#include "tests/sim/sim.h"

#define GUEST_VIEWS  8u
#define GUEST_GETS   8u
#define GUEST_MANY   6u
#define GUEST_ROOMS  3u

enum guest_op {
	OP_NONE,
	OP_PUT,
	OP_PUT_MANY,
	OP_GET,
	OP_RANGE,
	OP_GET_MANY,
	OP_WAIT,
	OP_PIN,
	OP_EXPIRE,
	OP_LOOK, /* EXPLAIN, LIST, STATUS */
};

struct guest_view { /* read again when it is let go: bytes in a reader's hands never change */
	struct swarm_view view;
	uint32_t obj;
	uint64_t from, until_ns;
};

struct guest_get { /* in the completion queue */
	bool active, sure, patient;
	uint32_t obj;
	uint64_t id;
};

struct guest_room { /* PUT_MANY: one of several requests for room at once */
	struct swi_call call;
	struct sim_proc *p;
	bool large, posted;
};

struct sim_guest {
	struct sim_proc *p;
	enum guest_op op;
	uint64_t next_ns;
	bool idle; /* told to stop, and has let go of everything but its subscription */

	/* the request under way */
	struct swi_call call;
	bool asked;
	int status;
	uint8_t *body; /* of the answer, behind the status */
	uint32_t body_len;
	uint32_t obj[GUEST_MANY], n, pos;
	bool sure[GUEST_MANY], patient;
	uint64_t from, len, ttl_ns;
	uint8_t policy;
	uint16_t look;
	struct guest_room room[GUEST_ROOMS];
	struct swarm_buf buf; /* created and not yet sealed */
	bool created, abort;
	uint64_t seal_ns;

	struct guest_view view[GUEST_VIEWS];
	uint32_t views;

	struct swarm_cq *cq;
	struct guest_get get[GUEST_GETS];
	struct swarm_waitset *ws;
	uint64_t watched_ns[SIM_OBJS]; /* since when; 0 = not in the set */
	bool watched_sure[SIM_OBJS];

	struct swarm_sub *sub;
	struct swi_call sub_call;
	bool slow; /* seldom takes its notifications, of which few are kept */
	uint64_t sub_ns;
	uint64_t lost;
	uint32_t sealed[SIM_OBJS];	/* by us, since the subscription stands */
	uint32_t said_sealed[SIM_OBJS], said_deleted[SIM_OBJS];
};

/* guest.c */
/* Was this an answer that may come for the object? @view NULL or status != 0: there is none. Keeps or releases the view. */
void guest_got(struct sim_guest *g, uint32_t obj, bool sure, bool patient, uint64_t from, int status,
	       struct swarm_view *view);

/* guest_ops.c */
void guest_op_begin(struct sim_guest *g);
int guest_op_step(struct sim_guest *g);
uint64_t guest_op_next_ns(const struct sim_guest *g);
void guest_op_drop(struct sim_guest *g);

#endif
