/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.h - runs an operation in a process of its own and stops it at its n-th step, whatever the code does.
 *
 * A step is a write to shared memory or a system call (before it, and after it). Nobody numbers them in the
 * sources: while the operation runs, the shared memory is mapped read-only in that process, so every
 * store or atomic faults, and the tracer sees it. Code that is added later has steps by construction.
 */
#ifndef SWARM_TEST_STEP_H
#define SWARM_TEST_STEP_H

#include <sys/types.h>

#include "tests/store/store_test.h"

struct step_op {
	/* In the victim, freely; NULL: nothing. @st is NULL when bare. */
	void (*prepare)(struct swarm_store *st);
	/* In the victim, step by step. */
	void (*run)(struct swarm_store *st, const char *dir);
	bool bare; /* not attached before */
};

#define STEP_SITES 512u

struct step_sites { /* where in the program the writes are: addresses of instructions */
	uint64_t pc[STEP_SITES];
	uint32_t count;
};

/* 1: stopped before step @n and not yet killed. 0: it ended before; also stopped. -1: no tracing here. */
int step_run(const char *dir, const struct step_op *op, uint32_t n, pid_t *out_pid);
void step_kill(pid_t pid); /* and takes its status */
const struct step_sites *step_sites(void);

#endif
