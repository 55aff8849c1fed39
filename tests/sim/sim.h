/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - several whole node cores in one process, in virtual time, from one seed.
 *
 * The cores are the daemon's own, to the line: only clock, randomness, network, disk, memory and the processes of
 * workers and drivers are simulated. world.c holds the nodes, time and faults; proc.c the processes (state
 * machines on the real client library's try_ calls); load.c a random graph of tasks, and what every
 * byte of its results must be. Everything that happens goes into a trace whose digest the seed decides.
 */
#ifndef SWI_TEST_SIM_H
#define SWI_TEST_SIM_H

#include <stdarg.h>

#include "sched/node.h"
#include "sched/proto.h"
#include "store/index.h"
#include "store/object.h"
#include "store/spill/disk_sim.h"
#include "transport/sim/sim_net.h"

#define SIM_NODES     5u
#define SIM_PROCS_MAX 256u
#define SIM_TASKS_MAX 96u
#define SIM_INPUTS    8u

struct sim;
struct sim_node;

struct sim_opts {
	uint64_t seed;
	FILE *trace;
	bool faults; /* false: nothing goes wrong */
	bool remake; /* little memory, slow disks, large results: they are dropped and made again */
	bool verbose;
};

/* ---- processes ---- */

enum sim_kind_of_proc { SIM_WORKER, SIM_DRIVER };

struct sim_fetch { /* one get under way */
	struct swi_call call;
	bool asked;
	int status;
	uint64_t offset, len;
	uint32_t gen;
};

struct sim_room { /* one chunk asked for */
	struct swi_call call;
	bool asked, large;
	int status;
};

#define SIM_BEHIND_MAX 64u
struct sim_behind { /* a task that was sent ahead */
	uint8_t *body;
	uint32_t len;
};

struct sim_exec { /* the task in a worker's hands */
	bool active;
	uint64_t begun_ns;
	uint8_t *body; /* the spec */
	struct swi_spec spec;
	uint32_t attempt;
	uint32_t step;
	uint32_t arg_pos, result;
	uint64_t digest;
	uint64_t until_ns;
	struct swarm_ref child;
};

struct sim_proc {
	struct sim_node *node;
	enum sim_kind_of_proc kind;
	uint32_t number; /* of the worker */
	uint64_t born_ns;
	bool killed;	 /* SIGKILL is under way */
	bool leaving;	 /* told to stop */
	struct swi_client_shm *shm;
	struct swi_client *cl; /* NULL: not attached yet */
	struct swi_lc *lc;
	struct sim_fetch fetch;
	struct sim_room room;
	struct sim_exec exec;
	struct sim_behind behind[SIM_BEHIND_MAX];
	uint32_t behind_count;
};

struct sim_proc *sim_proc_new(struct sim_node *node, enum sim_kind_of_proc kind, uint32_t number);
void sim_proc_free(struct sim_proc *p);
/* The process ends now, at whatever it is: the node sees it. */
void sim_proc_die(struct sim_proc *p, int wait_status);
int sim_proc_step(struct sim_proc *p);
uint64_t sim_proc_next_ns(const struct sim_proc *p);
/* 0: @out is pinned. -EAGAIN: asked, come again. Else the object's error. */
int sim_proc_get(struct sim_proc *p, struct swarm_ref ref, struct swarm_view *out);
/* 0; -EAGAIN: come again; -EEXIST: it is there already. */
int sim_proc_put(struct sim_proc *p, struct swarm_ref ref, const void *data, uint64_t len);
void sim_proc_post(struct sim_proc *p, uint16_t type, const void *body, uint32_t len);
void sim_proc_submit(struct sim_proc *p, const struct swi_spec *s, const struct swarm_arg *args);

/* ---- what tasks compute: shared by workers and by the model ---- */

/* From now on one result in so many is large. */
void sim_large_results(uint32_t one_in);
uint64_t sim_digest(const void *p, uint64_t len);
uint64_t sim_mix(uint64_t a, uint64_t b);
/* Result @i of a task whose arguments gave @digest. */
uint64_t sim_result_len(uint64_t digest, uint32_t i);
void sim_result_fill(uint64_t digest, uint32_t i, uint8_t *out, uint64_t len);
uint64_t sim_result_digest(uint64_t digest, uint32_t i);
/* The spec of the child that "nest" submits. */
void sim_child_spec(struct swarm_oid parent, uint32_t home, struct swarm_ref module, struct swi_spec *out);

/* ---- the load: a driver on the head ---- */

struct sim_task {
	struct swi_spec spec;
	struct swarm_ref arg[4];
	uint32_t arg_from[4]; /* index of a task, or UINT32_MAX - index of an input */
	uint32_t arg_ret[4];
	uint32_t args;
	uint64_t salt;
	uint64_t digest;
	bool fails; /* it, or one it depends on, reports an error */
};

struct sim_load {
	struct swarm_oid driver;
	struct swarm_ref module;
	struct swarm_ref input[SIM_INPUTS];
	uint64_t input_salt[SIM_INPUTS];
	struct sim_task task[SIM_TASKS_MAX];
	uint32_t tasks;
	uint32_t phase, pos, round;
	uint64_t wait_ns;
	bool done;
	uint64_t checked;
};

void sim_load_make(struct sim *s);
int sim_load_step(struct sim *s);
uint64_t sim_load_next_ns(const struct sim *s);

/* ---- the world ---- */

struct sim_node {
	struct sim *s;
	uint32_t index; /* 0 = the head */
	uint32_t life;
	bool up, ended;
	int end_status;
	char addr[24];
	uint64_t back_ns; /* when it starts again, if it is down */
	uint64_t heal_ns; /* when the cut link to the head heals, 0 = whole */
	struct swi_sim_env env;
	struct swi_log log;
	void *arena;
	struct swi_shm_head *shm;
	struct swi_platter *platter;
	struct swi_disk *disk;
	struct swi_snode *sn;
	struct swi_node *node;
	struct sim_proc *proc[SIM_PROCS_MAX];
	uint32_t procs;
};

struct sim {
	struct sim_opts o;
	uint64_t rng;
	struct swi_simnet *net;
	struct sim_node node[SIM_NODES];
	struct sim_proc *driver;
	struct sim_load load;
	uint64_t next_fault_ns;
	uint64_t lines;
	void *hash; /* XXH3 of the trace */
	bool failed;
	char why[512];
	uint64_t crashes, restarts, cuts, drains, worker_deaths;
};

struct sim_outcome {
	bool ok;
	char why[512];
	uint64_t digest, lines, virtual_ns, checked;
	uint64_t crashes, restarts, cuts, drains, worker_deaths;
	uint64_t dropped, remade, spilled; /* on the head, the home of all results */
};

/* left.c: true, and what, when the node has more than it may have after all was deleted. */
bool sim_left(const struct sim_node *n, char *why, size_t why_len);
void sim_run(const struct sim_opts *o, struct sim_outcome *out);
void sim_trace(struct sim *s, const char *fmt, ...) SWI_PRINTF(2, 3);
void sim_fail(struct sim *s, const char *fmt, ...) SWI_PRINTF(2, 3);
uint64_t sim_rand(struct sim *s);
uint64_t sim_now(const struct sim *s);

#endif
