/* SPDX-License-Identifier: Apache-2.0 */
/* world.c - nodes, time, faults and the trace (sim.h). */
#include <signal.h>
#include <sys/mman.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sched/core.h"
#include "tests/sim/sim.h"

#define ARENA_BYTES  MIB(8)
#define REMAKE_ARENA MIB(4)
#define REMAKE_DISK  4000000u /* bytes a second */
#define QUOTA	     (MIB(2) + KIB(512))
#define BAD_READS    4u /* of each kind, in the life of a disk */
#define GUEST_NUMBER 5000u /* no worker's */
#define OBJECTS_MAX  4096u
#define DISK_BYTES   MIB(64)
#define TIME_LIMIT   (300 * NS_PER_S)
#define QUIET_LIMIT  (60 * NS_PER_S) /* after the driver is done, until everything is back */
#define LOOK_NS      (20 * NS_PER_MS)
#define ROUNDS_MAX   200000u	     /* steps without time moving: more is a loop */

uint64_t sim_now(const struct sim *s)
{
	return swi_simnet_now(s->net);
}

uint64_t sim_rand(struct sim *s)
{
	return swi_splitmix64(&s->rng);
}

/* ---- trace ---- */

static void trace_line(struct sim *s, const char *line)
{
	s->lines++;
	XXH3_64bits_update(s->hash, line, strlen(line) + 1);
	if (s->o.trace)
		fprintf(s->o.trace, "%.6f %s\n", (double)sim_now(s) / 1e9, line);
}

void sim_trace(struct sim *s, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	trace_line(s, line);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->failed)
		return;
	s->failed = true;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	sim_trace(s, "FAILED: %s", s->why);
}

static void net_line(void *ctx, const char *line)
{
	trace_line(ctx, line);
}

static void log_line(void *ctx, enum swi_log_level level, const char *name, const char *line)
{
	struct sim_node *n = ctx;

	(void)level;
	sim_trace(n->s, "n%u log [%s] %s", n->index, name, line);
	if (n->s->o.verbose)
		fprintf(stderr, "%.6f n%u [%s] %s\n", (double)sim_now(n->s) / 1e9, n->index, name, line);
}

/* ---- what a node's core asks of its host ---- */

static int spawn(void *ctx, uint32_t worker)
{
	struct sim_node *n = ctx;

	if (n->procs == SIM_PROCS_MAX)
		return -EAGAIN;
	n->proc[n->procs++] = sim_proc_new(n, SIM_WORKER, worker);
	return 0;
}

static void kill_worker(void *ctx, uint32_t worker)
{
	struct sim_node *n = ctx;

	for (uint32_t i = 0; i < n->procs; i++)
		if (n->proc[i]->kind == SIM_WORKER && n->proc[i]->number == worker)
			n->proc[i]->killed = true;
}

static void ended(void *ctx, int status, const char *text)
{
	struct sim_node *n = ctx;

	sim_trace(n->s, "n%u ended: %s: %s", n->index, swarm_errname(status), text);
	n->ended = true;
	n->end_status = status;
	if (!n->index)
		sim_fail(n->s, "the head ended: %s", text);
}

static void event(void *ctx, const char *json)
{
	struct sim_node *n = ctx;

	sim_trace(n->s, "n%u event %s", n->index, json);
}

/* ---- nodes ---- */

static uint64_t arena_bytes(const struct sim *s)
{
	return s->o.remake ? REMAKE_ARENA : ARENA_BYTES;
}

static void memory_make(struct sim_node *n, uint64_t epoch)
{
	const uint64_t arena = arena_bytes(n->s), index = swi_index_bytes(OBJECTS_MAX);

	/* Page-aligned, zeroed, and given back whole: a new life begins with fresh memory. */
	n->arena = aligned_alloc(SWI_PAGE, arena);
	n->shm = aligned_alloc(SWI_PAGE, index);
	SWI_BUG_ON(!n->arena || !n->shm);
	memset(n->arena, 0, arena);
	memset(n->shm, 0, index);
	swi_index_format(n->shm, arena, OBJECTS_MAX, epoch);
}

/*
 * In every second world of little memory. What such disks take is made again, or is somewhere else too; on the head are the
 * inputs, which nobody can make again.
 */
static bool bad_reads(const struct sim_node *n)
{
	return n->s->o.remake && n->s->o.seed % 2 && n->index;
}

static void disk_make(struct sim_node *n, uint64_t seed)
{
	const struct swi_disk_sim_opts o = {.seed = seed,
					    .bytes_per_second = n->s->o.remake ? REMAKE_DISK : 0};
	struct swi_sim_fault f[2 + 2 * BAD_READS] = {
	    {.kind = SWI_SIM_EIO, .op = SWI_DIO_WRITE, .after = 20 + sim_rand(n->s) % 50, .count = 1},
	    {.kind = SWI_SIM_SHORT, .op = SWI_DIO_READ, .after = sim_rand(n->s) % 20, .count = 2},
	};
	size_t faults = 2;
	char name[16];

	if (bad_reads(n))
		for (uint32_t i = 0; i < BAD_READS; i++) {
			/* Twice: the log reads once more itself. */
			f[faults++] = (struct swi_sim_fault){SWI_SIM_EIO, SWI_DIO_READ, sim_rand(n->s) % 20, 2, 0};
			f[faults++] = (struct swi_sim_fault){SWI_SIM_FLIP, SWI_DIO_READ, sim_rand(n->s) % 20, 2, 0};
		}
	snprintf(name, sizeof(name), "disk%u", n->index);
	if (!n->platter)
		n->platter = swi_platter_create(DISK_BYTES, name);
	SWI_BUG_ON(!n->platter || swi_disk_sim_create(&o, n->platter, &n->env.env, &n->disk));
	if (n->s->o.faults)
		SWI_BUG_ON(swi_disk_sim_faults(n->disk, f, faults));
}

uint64_t sim_quota(const struct sim *s)
{
	return s->o.seed % 4 == 3 && !s->o.remake ? QUOTA : 0;
}

static int snode_make(struct sim_node *n, uint64_t epoch, char *why, size_t why_len)
{
	struct swi_snode_opts so = {
	    .env = &n->env.env,
	    .log = &n->log,
	    .arena = n->arena,
	    .arena_bytes = arena_bytes(n->s),
	    .shm = n->shm,
	    .tp = {.backend = "sim", .bind = n->addr, .param = n->s->net, .epoch = epoch},
	    .disks = &n->disk,
	    .disk_count = 1,
	    .spill_bytes = DISK_BYTES,
	    .spill_reserve = n->s->o.remake ? MIB(1) : 0, /* else the default: all of so small a disk */
	    .segment_bytes = MIB(2),
	    .piece_bytes = KIB(64), /* so that the larger ones here travel in pieces, and from reader to reader */
	    .epoch = epoch,
	    .client_quota = sim_quota(n->s),
	};

	memset(so.tp.key, 0x5a, sizeof(so.tp.key));
	return swi_snode_create(&so, &n->sn, why, why_len);
}

static void node_start(struct sim_node *n)
{
	struct sim *s = n->s;
	struct swi_node_opts no = {
	    .head = n->index == 0,
	    .head_address = n->index ? s->node[0].addr : NULL,
	    .total = {.cpu = 2 * SWARM_RESOURCE_UNIT, .memory = GIB(1)},
	    .workers = {.ctx = n, .spawn = spawn, .kill = kill_worker},
	    .ended = ended,
	    .event = event,
	    .ctx = n,
	};
	const uint64_t epoch = sim_rand(s) | 1;
	char why[256] = "";

	n->life++;
	n->ended = false;
	n->drained = false;
	memset(n->pinned, 0, sizeof(n->pinned));
	snprintf(n->addr, sizeof(n->addr), "n%u:%u", n->index, 1);
	swi_sim_env_init(&n->env, s->net, sim_rand(s));
	n->log = (struct swi_log){.level = s->o.verbose ? SWI_LOG_DEBUG : SWI_LOG_INFO,
				  .sink = log_line, .sink_ctx = n};
	snprintf(n->log.name, sizeof(n->log.name), "life %u", n->life);
	memory_make(n, epoch);
	disk_make(n, sim_rand(s));
	if (snode_make(n, epoch, why, sizeof(why))) {
		sim_fail(s, "node %u cannot be made: %s", n->index, why);
		return;
	}
	no.sn = n->sn;
	if (swi_node_create(&no, &n->node, why, sizeof(why))) {
		sim_fail(s, "node %u cannot be made: %s", n->index, why);
		return;
	}
	n->up = true;
	if (!s->o.remake) /* there memory is the tasks' */
		n->proc[n->procs++] = sim_proc_new(n, SIM_GUEST, GUEST_NUMBER);
	sim_trace(s, "n%u starts, life %u", n->index, n->life);
}

static void count_bad_reads(struct sim_node *n)
{
	const struct swi_spill_stats *st = swi_spill_stats(swi_snode_spill(n->sn));

	n->s->bad_reads += st->read_errors + st->corrupt_records;
}

static void node_end(struct sim_node *n, bool crash)
{
	if (crash) {
		swi_simnet_kill(n->s->net, n->addr,
				sim_rand(n->s) % 2 ? SWI_SIM_KILL_RESET : SWI_SIM_KILL_SILENT);
		if (n->disk)
			swi_disk_sim_crash(n->disk);
	}
	n->up = false;
	count_bad_reads(n);
	if ((crash || n->end_status) && n->node->number && n->s->lost_homes < SWI_ARRAY_LEN(n->s->lost_home))
		n->s->lost_home[n->s->lost_homes++] = n->node->number;
	swi_node_destroy(n->node);
	n->node = NULL;
	for (uint32_t i = 0; i < n->procs; i++) {
		if (n->proc[i]->cl)
			swi_client_gone(n->sn, n->proc[i]->cl);
		sim_proc_free(n->proc[i]);
	}
	n->procs = 0;
	swi_snode_destroy(n->sn);
	n->sn = NULL;
	if (n->disk)
		n->disk->ops->destroy(n->disk);
	n->disk = NULL;
	free(n->arena);
	free(n->shm);
	n->arena = NULL;
	n->shm = NULL;
}

/* ---- faults ---- */

static void crash_one(struct sim *s)
{
	struct sim_node *n = &s->node[1 + sim_rand(s) % (SIM_NODES - 1)];

	if (!n->up)
		return;
	sim_trace(s, "fault: n%u crashes", n->index);
	s->crashes++;
	node_end(n, true);
	n->back_ns = sim_now(s) + 100 * NS_PER_MS + sim_rand(s) % (3 * NS_PER_S);
}

static void cut_one(struct sim *s)
{
	struct sim_node *a = &s->node[sim_rand(s) % SIM_NODES], *b = &s->node[1 + sim_rand(s) % (SIM_NODES - 1)];

	if (a == b || !a->up || !b->up || b->heal_ns)
		return;
	sim_trace(s, "fault: n%u and n%u are cut", a->index, b->index);
	s->cuts++;
	swi_simnet_cut(s->net, a->addr, b->addr);
	b->heal_ns = sim_now(s) + sim_rand(s) % (1500 * NS_PER_MS);
}

static void kill_one(struct sim *s)
{
	struct sim_node *n = &s->node[sim_rand(s) % SIM_NODES];
	struct sim_proc *p = n->up && n->procs ? n->proc[sim_rand(s) % n->procs] : NULL;

	if (!p || p->kind == SIM_DRIVER)
		return;
	sim_trace(s, "fault: a %s of n%u is killed", p->kind == SIM_WORKER ? "worker" : "guest", n->index);
	p->killed = true;
}

/* Not a fault, but no less trouble: somebody takes a node out of service. */
static void drain_one(struct sim *s)
{
	struct sim_node *n = &s->node[1 + sim_rand(s) % (SIM_NODES - 1)];

	if (!n->up || !n->node->number || swi_member_drain(s->node[0].node, n->node->number))
		return;
	n->drained = true;
	sim_trace(s, "fault: n%u is drained", n->index);
	s->drains++;
}

static void faults(struct sim *s)
{
	const uint64_t kind = sim_rand(s) % 11;

	s->next_fault_ns = sim_now(s) + 5 * NS_PER_MS + sim_rand(s) % (250 * NS_PER_MS);
	if (s->faults_stop)
		return;
	if (kind < 3)
		crash_one(s);
	else if (kind < 6)
		cut_one(s);
	else if (kind < 7)
		drain_one(s);
	else
		kill_one(s);
}

static void heal(struct sim *s, struct sim_node *n)
{
	n->heal_ns = 0;
	for (uint32_t i = 0; i < SIM_NODES; i++)
		if (i != n->index)
			swi_simnet_heal(s->net, s->node[i].addr, n->addr);
	sim_trace(s, "n%u is healed", n->index);
}

/* ---- time ---- */

static void bury(struct sim_node *n)
{
	for (uint32_t i = 0; i < n->procs;) {
		struct sim_proc *p = n->proc[i];
		const bool leaves = p->leaving && !p->exec.active;

		if (!p->killed && !leaves) {
			i++;
			continue;
		}
		n->s->worker_deaths += p->killed;
		n->proc[i] = n->proc[--n->procs];
		sim_proc_die(p, p->killed ? SIGKILL : 0);
		if (p->kind == SIM_GUEST)
			n->proc[n->procs++] = sim_proc_new(n, SIM_GUEST, GUEST_NUMBER);
		sim_proc_free(p);
	}
}

static int node_step(struct sim_node *n)
{
	int handled = swi_snode_step(n->sn);

	handled += swi_node_step(n->node);
	for (uint32_t i = 0; i < n->procs && !n->ended; i++) {
		handled += sim_proc_step(n->proc[i]);
		if (n->proc[i]->cl && swi_client_condemned(n->proc[i]->cl))
			sim_fail(n->s, "n%u: a client was cut off", n->index);
	}
	bury(n);
	return handled;
}

static int step_all(struct sim *s)
{
	const uint64_t now = sim_now(s);
	int handled = 0;

	for (uint32_t i = 0; i < SIM_NODES; i++) {
		struct sim_node *n = &s->node[i];

		if (n->up && n->ended) {
			node_end(n, false);
			n->back_ns = now + 200 * NS_PER_MS;
		}
		if (!n->up && n->back_ns && now >= n->back_ns) {
			n->back_ns = 0;
			s->restarts++;
			node_start(n);
		}
		if (n->heal_ns && now >= n->heal_ns)
			heal(s, n);
		if (n->up)
			handled += node_step(n);
	}
	handled += sim_load_step(s);
	return handled;
}

static uint64_t next_time(struct sim *s)
{
	uint64_t at = swi_min_u64(swi_simnet_next_ns(s->net), sim_load_next_ns(s));

	if (s->o.faults)
		at = swi_min_u64(at, s->next_fault_ns);
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		struct sim_node *n = &s->node[i];

		at = swi_min_u64(at, n->heal_ns ? n->heal_ns : UINT64_MAX);
		if (!n->up) {
			at = swi_min_u64(at, n->back_ns ? n->back_ns : UINT64_MAX);
			continue;
		}
		at = swi_min_u64(at, swi_snode_deadline_ns(n->sn));
		at = swi_min_u64(at, swi_node_deadline_ns(n->node));
		at = swi_min_u64(at, swi_disk_sim_deadline_ns(n->disk));
		for (uint32_t k = 0; k < n->procs; k++)
			at = swi_min_u64(at, sim_proc_next_ns(n->proc[k]));
	}
	return at;
}

/* One instant: everything that can happen, happens; then time moves. */
static void instant(struct sim *s)
{
	uint32_t rounds = 0;
	uint64_t at;

	while (!s->failed && step_all(s))
		if (++rounds > ROUNDS_MAX) {
			sim_fail(s, "time stands still: something goes round in circles");
			return;
		}
	at = next_time(s);
	if (at == UINT64_MAX) {
		sim_fail(s, "nothing will ever happen any more");
		return;
	}
	/* Somebody's deadline has passed and it did nothing: give it a microsecond. */
	if (at <= sim_now(s))
		at = sim_now(s) + NS_PER_US;
	swi_simnet_advance(s->net, at);
	if (s->o.faults && sim_now(s) >= s->next_fault_ns)
		faults(s);
}

/* ---- the end ---- */

bool sim_world_whole(const struct sim *s)
{
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		const struct sim_node *n = &s->node[i];

		if (!n->up || n->ended || n->heal_ns || !swi_node_joined(n->node) || n->node->member.leaving)
			return false;
	}
	return true;
}

static bool quiet(struct sim *s, char *why, size_t why_len)
{
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		struct sim_node *n = &s->node[i];
		struct swi_snode_stats st;

		if (!n->up) {
			snprintf(why, why_len, "n%u is down", i);
			return false;
		}
		swi_snode_stats(n->sn, &st);
		snprintf(why, why_len, "n%u: %s%llu pins, %llu holds, %llu objects, joined %d", i,
			 swi_runner_idle(swi_node_runner(n->node)) ? "" : "runner busy, ",
			 (unsigned long long)st.pins, (unsigned long long)st.holds,
			 (unsigned long long)st.objects, swi_node_joined(n->node));
		if (!swi_runner_idle(swi_node_runner(n->node)) || st.pins || st.holds ||
		    !swi_node_joined(n->node))
			return false;
		const int at = snprintf(why, why_len, "n%u (number %u) still has ", i, n->node->number);

		if (sim_left(n, why + at, why_len - (size_t)at))
			return false;
	}
	return true;
}

static void check_guests(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_NODES; i++)
		for (uint32_t k = 0; k < s->node[i].procs; k++)
			if (s->node[i].proc[k]->kind == SIM_GUEST)
				sim_guest_check(s->node[i].proc[k]);
}

static void setup(struct sim *s, const struct sim_opts *o)
{
	const struct swi_simnet_opts no = {.seed = o->seed,
					   .latency_ns = 20 * NS_PER_US,
					   .jitter_ns = 30 * NS_PER_US,
					   .tail_permille = o->faults ? 5 : 0,
					   .tail_ns = 20 * NS_PER_MS,
					   .bytes_per_s = 1000 * 1000 * 1000};

	s->o = *o;
	sim_large_results(o->remake ? 3 : 16);
	s->rng = o->seed;
	s->hash = XXH3_createState();
	XXH3_64bits_reset(s->hash);
	SWI_BUG_ON(swi_simnet_create(&no, &s->net));
	swi_simnet_trace(s->net, net_line, s);
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		s->node[i].s = s;
		s->node[i].index = i;
		node_start(&s->node[i]);
	}
	s->next_fault_ns = sim_now(s) + 50 * NS_PER_MS;
	s->driver = sim_proc_new(&s->node[0], SIM_DRIVER, 1);
	s->node[0].proc[s->node[0].procs++] = s->driver;
	sim_load_make(s);
	sim_objs_make(s);
}

static void teardown(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		if (s->node[i].up)
			node_end(&s->node[i], false);
		swi_platter_destroy(s->node[i].platter);
	}
	swi_simnet_destroy(s->net);
	XXH3_freeState(s->hash);
}

void sim_run(const struct sim_opts *o, struct sim_outcome *out)
{
	struct sim *s = calloc(1, sizeof(*s));
	uint64_t done_ns = 0, look_ns = 0;
	char why[256] = "";

	SWI_BUG_ON(!s);
	setup(s, o);
	while (!s->failed) {
		instant(s);
		if (s->load.done && !done_ns)
			done_ns = sim_now(s);
		if (done_ns && sim_now(s) >= look_ns) {
			if (quiet(s, why, sizeof(why))) {
				check_guests(s);
				break;
			}
			look_ns = sim_now(s) + LOOK_NS;
		}
		if (done_ns && sim_now(s) - done_ns > QUIET_LIMIT)
			sim_fail(s, "never quiet: %s", why);
		if (sim_now(s) > TIME_LIMIT)
			sim_fail(s, "not finished in %llu s of virtual time (phase %u, round %u, task %u of %u)",
				 TIME_LIMIT / NS_PER_S, s->load.phase, s->load.round, s->load.pos / 3,
				 s->load.tasks);
	}
	*out = (struct sim_outcome){.ok = !s->failed, .digest = XXH3_64bits_digest(s->hash), .lines = s->lines,
				    .virtual_ns = sim_now(s), .checked = s->load.checked, .guest_ops = s->guest_ops, .guest_answers = s->guest_answers, .crashes = s->crashes,
				    .restarts = s->restarts, .cuts = s->cuts, .drains = s->drains, .worker_deaths = s->worker_deaths};
	snprintf(out->why, sizeof(out->why), "%s", s->why);
	if (s->node[0].up) {
		out->dropped = s->node[0].node->rebuild.dropped;
		out->remade = s->node[0].node->rebuild.remade;
		out->spilled = swi_spill_stats(swi_snode_spill(s->node[0].sn))->written_objects;
	}
	teardown(s);
	out->bad_reads = s->bad_reads;
	free(s);
}
