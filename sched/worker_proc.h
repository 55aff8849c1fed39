/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker_proc.h - real worker processes behind struct swi_worker_ops: watched through pidfds in the host's loop, reaped there. Owner thread: the host's, which also starts them (a worker
 * dies with the thread that started it).
 */
#ifndef SWI_WORKER_PROC_H
#define SWI_WORKER_PROC_H

#include "sched/runner.h"
#include "store/host.h"

struct swi_worker_proc;

struct swi_worker_proc_opts {
	struct swi_host *host; /* outlives this */
	const char *program;   /* NULL = $SWARM_WORKER, else found: see swi_program_find() in spawn.h */
	const char *log_dir;   /* worker-N.log; made if missing */
	/* A process ended; wait_status as of waitpid(2). */
	void (*died)(void *ctx, uint32_t worker, int wait_status);
	void *ctx;
};

int swi_worker_proc_create(const struct swi_worker_proc_opts *opts, struct swi_worker_proc **out,
			   char *why, size_t why_len);
struct swi_worker_ops swi_worker_proc_ops(struct swi_worker_proc *wp);
/* Is @pid one of ours that lives? For admission in the worker's role. */
bool swi_worker_proc_owns(const struct swi_worker_proc *wp, uint32_t pid);
/* Kills and reaps all of them; NULL is fine. */
void swi_worker_proc_destroy(struct swi_worker_proc *wp);

#endif
