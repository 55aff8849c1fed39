/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - several whole node cores in one process, in virtual time, from one seed.
 *
 * The cores are the daemon's own, to the line: only clock, randomness, network, disk, memory and the processes of
 * workers and drivers are simulated. world.c holds the nodes, time and faults; proc.c the processes (state
 * machines on the real client library's try_ calls); load.c a random graph of tasks, and what every
 * byte of its results must be; guest.c clients beside them that use the rest of store.h (guest.h). Everything
 * that happens goes into a trace whose digest the seed decides.
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
#define SIM_NAMED     8u  /* objects of the guests that have names */
#define SIM_OBJS      72u /* all of theirs; the named ones come first */
#define SIM_PATIENT_NS (15 * NS_PER_S)
#define SIM_GUEST_OPS 120u /* at least so many before the driver deletes everything */

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

enum sim_kind_of_proc { SIM_WORKER, SIM_DRIVER, SIM_GUEST };

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
	struct sim_guest *guest; /* of a guest */
};

struct sim_proc *sim_proc_new(struct sim_node *node, enum sim_kind_of_proc kind, uint32_t number);
void sim_proc_free(struct sim_proc *p);
/* The process ends now, at whatever it is: the node sees it. */
void sim_proc_die(struct sim_proc *p, int wait_status);
int sim_proc_step(struct sim_proc *p);
uint64_t sim_proc_next_ns(const struct sim_proc *p);
/* 0: @out is pinned. -EAGAIN: asked, come again. Else the object's error. */
int sim_proc_get(struct sim_proc *p, struct swarm_ref ref, struct swarm_view *out);
/* Room for an object, as create. 0; -EAGAIN: come again; -EEXIST: it is there already. */
int sim_proc_make(struct sim_proc *p, struct swarm_ref ref, uint64_t len, struct swarm_buf *buf);
/* The same for create, write and seal. */
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
	uint32_t phase, pos, round, obj_pos;
	uint64_t wait_ns;
	bool whole; /* the members are all there */
	bool done;
	uint64_t checked;
};

void sim_load_make(struct sim *s);
int sim_load_step(struct sim *s);
uint64_t sim_load_next_ns(const struct sim *s);

/* ---- the guests and their objects ---- */

struct sim_obj {
	struct swarm_ref ref;
	bool used;	     /* there is such a reference */
	bool made, doomed;   /* was sealed once; somebody began to delete it once */
	uint32_t node, life; /* who made it */
	bool ttl;	     /* ends in time on this node, in this life */
	uint32_t ttl_node, ttl_life;
};

int sim_guest_step(struct sim_proc *p);
uint64_t sim_guest_next_ns(const struct sim_proc *p);
bool sim_guest_idle(const struct sim_proc *p);
void sim_guest_free(struct sim_proc *p);
void sim_guest_check(struct sim_proc *p);
/* Of the arena that one process may fill; 0 = no limit in this world. */
uint64_t sim_quota(const struct sim *s);
void sim_objs_make(struct sim *s);
/* A reference that nobody has used; SIM_OBJS: all are. */
uint32_t sim_obj_new(struct sim *s, uint32_t home);
uint64_t sim_obj_len(const struct sim *s, uint32_t obj);
void sim_obj_fill(const struct sim *s, uint32_t obj, uint8_t *out);
bool sim_obj_right(const struct sim *s, uint32_t obj, uint64_t from, const void *data, uint64_t len);
bool sim_obj_sure(const struct sim *s, uint32_t obj);
void sim_obj_made(struct sim *s, uint32_t obj, const struct sim_node *n);
/* The next that the driver must delete, from *pos on. */
bool sim_obj_next_left(struct sim *s, uint32_t *pos, struct swarm_ref *out);
/* It may be somewhere for ever: who answered for it, or for its end, is dead. */
bool sim_obj_may_stay(const struct sim *s, struct swarm_oid id);

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
	bool drained;	       /* told to leave in this life, whether it could or not */
	bool pinned[SIM_OBJS]; /* hard, said the node */
};

struct sim {
	struct sim_opts o;
	uint64_t rng;
	struct swi_simnet *net;
	struct sim_node node[SIM_NODES];
	struct sim_proc *driver;
	struct sim_load load;
	struct sim_obj obj[SIM_OBJS];
	bool guests_stop, faults_stop;
	uint64_t guest_ops, guest_answers;
	uint32_t lost_home[4096], lost_homes; /* numbers of nodes that were killed or declared dead */
	uint64_t next_fault_ns;
	uint64_t lines;
	void *hash; /* XXH3 of the trace */
	bool failed;
	char why[512];
	uint64_t crashes, restarts, cuts, drains, worker_deaths;
	uint64_t bad_reads; /* objects that a disk could not give back */
};

struct sim_outcome {
	bool ok;
	char why[512];
	uint64_t digest, lines, virtual_ns, checked, guest_ops, guest_answers;
	uint64_t crashes, restarts, cuts, drains, worker_deaths;
	uint64_t bad_reads;
	uint64_t dropped, remade, spilled; /* on the head, the home of all results */
};

/* left.c: true, and what, when the node has more than it may have after all was deleted. */
bool sim_left(const struct sim_node *n, char *why, size_t why_len);
/* Every node is up, has joined, and stays. */
bool sim_world_whole(const struct sim *s);
void sim_run(const struct sim_opts *o, struct sim_outcome *out);
void sim_trace(struct sim *s, const char *fmt, ...) SWI_PRINTF(2, 3);
void sim_fail(struct sim *s, const char *fmt, ...) SWI_PRINTF(2, 3);
uint64_t sim_rand(struct sim *s);
uint64_t sim_now(const struct sim *s);

#endif
