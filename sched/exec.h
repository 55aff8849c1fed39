/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.h - inside a worker process: the loop that runs tasks, and what a running task is.
 */
#ifndef SWI_EXEC_H
#define SWI_EXEC_H

#include "sched/client.h"
#include "sched/module.h"

#define SWI_TASK_TEXT_MAX 512u

struct swi_task_arg {
	const void *data;
	uint64_t len;
	struct swarm_ref ref;
	struct swarm_view view; /* pinned; zero for inline bytes */
};

enum swi_task_ret_state { SWI_RET_NONE, SWI_RET_MADE, SWI_RET_STANDS };

struct swi_task_ret {
	enum swi_task_ret_state state;
	struct swarm_buf buf; /* MADE */
	void *scratch;	      /* STANDS: another run sealed it first; ours is written here and dropped */
	uint64_t len;
};

struct swarm_task { /* one thread at a time, the worker's or one of the function's own */
	struct swi_spec spec;
	uint32_t attempt;
	struct swi_task_arg *args;
	uint8_t *inline_args; /* aligned copies */
	struct swi_task_ret *rets;
	struct swarm_client client;
	char text[SWI_TASK_TEXT_MAX]; /* of swarm_task_fail() */
};

/*
 * task.c: @task is zeroed but for its client. init pins the arguments; finish seals the results (status 0) or drops
 * them, and fills @text when it makes a failure of a success; fini unpins. All negative codes of the contract.
 */
int swi_task_init(struct swarm_task *task, const void *spec, uint32_t len, uint32_t attempt);
int swi_task_finish(struct swarm_task *task, int status);
void swi_task_fini(struct swarm_task *task);

/* Attaches to the node at @dir as worker @number and runs tasks until told to stop. Process exit status. */
int swi_worker_main(const char *dir, uint32_t number);

#endif
