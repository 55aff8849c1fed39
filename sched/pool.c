/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - the worker processes of this node: started when a run needs one, used again, told to leave
 * when there are too many, buried when they die.
 *
 * A death is heard twice, in any order: the end of the attachment (client_gone) and the process's wait
 * status. The run of a dead worker ends when both are in, or a short while after the first, so that its
 * error can name the signal. A worker number is never used twice. Owner thread: the core's.
 */
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "sched/run.h"

#define READY_NS	     (10 * NS_PER_S)
#define BURY_NS		     (500 * NS_PER_MS) /* how long the second word about a death may take */
#define KILL_BURY_NS	     (5 * NS_PER_S)
#define LEAVE_NS	     (5 * NS_PER_S)
#define IDLE_NS		     (30 * NS_PER_S)
#define SPAWN_BACKOFF_NS     (100 * NS_PER_MS)
#define SPAWN_BACKOFF_MAX_NS (5 * NS_PER_S)
#define SPAWN_TRIES	     3u
#define WORKERS_HARD_MAX     1024u
#define TEXT_MAX	     1024u

struct swi_list *swi_pool_list(struct swi_runner *r, enum swi_worker_state state)
{
	switch (state) {
	case SWI_WK_STARTING:
		return &r->starting;
	case SWI_WK_IDLE:
		return &r->idle;
	case SWI_WK_BUSY:
		return &r->busy;
	default:
		return &r->ending;
	}
}

static uint32_t *counter(struct swi_runner *r, enum swi_worker_state state)
{
	switch (state) {
	case SWI_WK_STARTING:
		return &r->starting_count;
	case SWI_WK_IDLE:
		return &r->idle_count;
	case SWI_WK_BUSY:
		return &r->busy_count;
	default:
		return &r->ending_count;
	}
}

void swi_pool_set_state(struct swi_worker *w, enum swi_worker_state state)
{
	struct swi_runner *r = w->r;

	if (w->blocked && state != SWI_WK_BUSY) {
		r->blocked_count--;
		w->blocked = 0;
	}
	(*counter(r, w->state))--;
	w->state = state;
	(*counter(r, state))++;
	w->since_ns = swi_now(r->env);
	w->deadline_ns = UINT64_MAX;
	swi_list_del(&w->link);
	/* The idle list is a stack: what was used last is used next. */
	swi_list_push_front(swi_pool_list(r, state), &w->link);
	r->changed = true;
}

static void deadline(struct swi_worker *w, uint64_t in_ns)
{
	w->deadline_ns = swi_sat_add(swi_now(w->r->env), in_ns);
	swi_runner_due(w->r, w->deadline_ns);
}

static struct swi_worker *find(struct swi_runner *r, uint32_t number)
{
	struct swi_worker *w;

	HASH_FIND(hh, r->by_number, &number, sizeof(number), w);
	return w;
}

static void worker_free(struct swi_worker *w)
{
	struct swi_runner *r = w->r;

	swi_pool_set_state(w, SWI_WK_ENDING);
	r->ending_count--;
	swi_list_del(&w->link);
	HASH_DEL(r->by_number, w);
	if (w->cl)
		swi_client_set_user(w->cl, NULL);
	free(w);
}

static uint32_t max_workers(const struct swi_runner *r)
{
	if (r->o.workers_max)
		return r->o.workers_max;
	return 2 * (uint32_t)(r->o.total.cpu / SWARM_RESOURCE_UNIT) + 2;
}

/* Workers that count: one that waits inside a call leaves its place to another, or nested tasks would lock up. */
static uint32_t live(const struct swi_runner *r)
{
	return r->starting_count + r->idle_count + r->busy_count - r->blocked_count;
}

/* ---- starting ---- */

static void fail_queue(struct swi_runner *r)
{
	while (!swi_list_empty(&r->queued)) {
		struct swi_run *run = swi_list_first(&r->queued, struct swi_run, link);

		swi_run_end(run, SWARM_ECRASH, "%s could not run on node %u: %s", run->spec.function,
			    swi_snode_number(r->o.sn), r->spawn_why);
	}
}

static void spawn_failed(struct swi_runner *r, const char *fmt, ...) SWI_PRINTF(2, 3);
static void spawn_failed(struct swi_runner *r, const char *fmt, ...)
{
	const uint32_t shift = r->spawn_failures < 6 ? r->spawn_failures : 6;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->spawn_why, sizeof(r->spawn_why), fmt, ap);
	va_end(ap);
	r->spawn_failures++;
	swi_warn(r->log, "%s", r->spawn_why);
	r->spawn_after_ns = swi_now(r->env) +
			    swi_min_u64(SPAWN_BACKOFF_NS << shift, SPAWN_BACKOFF_MAX_NS);
	swi_runner_due(r, r->spawn_after_ns);
	if (r->spawn_failures >= SPAWN_TRIES && !(r->starting_count + r->idle_count + r->busy_count))
		fail_queue(r);
}

static bool spawn_one(struct swi_runner *r)
{
	struct swi_worker *w = calloc(1, sizeof(*w));
	int rc;

	if (!w) {
		spawn_failed(r, "no memory for a worker");
		return false;
	}
	w->r = r;
	w->number = r->next_worker++;
	w->state = SWI_WK_STARTING;
	r->starting_count++;
	swi_list_init(&w->link);
	swi_list_init(&w->behind);
	swi_list_push_back(&r->starting, &w->link);
	HASH_ADD(hh, r->by_number, number, sizeof(w->number), w);
	deadline(w, READY_NS);
	rc = r->o.workers.spawn(r->o.workers.ctx, w->number);
	if (rc < 0) {
		const uint32_t number = w->number;

		worker_free(w);
		spawn_failed(r, "worker %u cannot be started: %s", number, swarm_strerror(rc));
		return false;
	}
	r->stats.workers_started++;
	return true;
}

void swi_pool_spawn(struct swi_runner *r, uint32_t wanted)
{
	if (r->destroying || r->starting_count >= wanted)
		return;
	if (r->spawn_after_ns && swi_now(r->env) < r->spawn_after_ns) {
		swi_runner_due(r, r->spawn_after_ns);
		return;
	}
	while (r->starting_count < wanted && live(r) < max_workers(r) &&
	       HASH_COUNT(r->by_number) < WORKERS_HARD_MAX)
		if (!spawn_one(r))
			return;
}

/* ---- ending ---- */

static void how_it_died(const struct swi_worker *w, char *buf, size_t len)
{
	const int st = w->wait_status;

	if (!w->status_known)
		snprintf(buf, len, "went away");
	else if (WIFSIGNALED(st))
		snprintf(buf, len, "was killed by signal %d (%s)", WTERMSIG(st),
			 strsignal(WTERMSIG(st)));
	else
		snprintf(buf, len, "left with exit status %d", WEXITSTATUS(st));
}

/* Results are told by the report of a run that ends well. Any other left some, perhaps: nobody would ever delete them. */
static void tell_results(const struct swi_run *run)
{
	for (uint32_t i = 0; i < run->spec.return_count; i++)
		swi_dir_found(run->r->o.sn, swi_result_id(run->spec.task, i));
}

static void end_run_of(struct swi_worker *w)
{
	struct swi_run *run = w->run;
	const unsigned int node = swi_snode_number(w->r->o.sn);
	char name[SWI_RUN_NAME_MAX], how[96];

	swi_run_name(run, name, sizeof(name));
	how_it_died(w, how, sizeof(how));
	tell_results(run);
	if (w->end_status == SWARM_ETASKTIME)
		swi_run_end(run, SWARM_ETASKTIME,
			    "%s ran longer than its limit of %.3f s on node %u; worker %u (pid %u) was killed",
			    name, (double)run->spec.timeout_ns / 1e9, node, w->number, w->pid);
	else if (w->end_status == SWARM_ECANCELED)
		swi_run_end(run, SWARM_ECANCELED,
			    "%s was cancelled while it ran on node %u; worker %u (pid %u) was killed",
			    name, node, w->number, w->pid);
	else if (w->end_status)
		swi_run_end(run, w->end_status, "%s was given up on node %u", name, node);
	else
		swi_run_end(run, SWARM_ECRASH, "worker %u (pid %u) of node %u %s while it ran %s",
			    w->number, w->pid, node, how, name);
}

static void bury(struct swi_worker *w)
{
	struct swi_runner *r = w->r;
	const bool never_ready = !w->pid;
	const uint32_t number = w->number;
	char how[96];

	how_it_died(w, how, sizeof(how));
	swi_ahead_return_all(w);
	if (w->run)
		end_run_of(w);
	else if (!w->expected && !never_ready)
		swi_warn(r->log, "worker %u (pid %u) %s while it was idle", number, w->pid, how);
	if (!w->expected)
		r->stats.workers_died++;
	if (never_ready && !w->end_status && !w->expected) {
		worker_free(w);
		spawn_failed(r, "worker %u %s before it was ready", number, how);
	} else {
		worker_free(w);
	}
	r->scan = true;
}

static void ending(struct swi_worker *w, uint64_t in_ns)
{
	/* The run keeps what it has until the process is dead. */
	if (w->state != SWI_WK_ENDING)
		swi_pool_set_state(w, SWI_WK_ENDING);
	deadline(w, in_ns);
}

void swi_pool_kill(struct swi_worker *w, int end_status)
{
	if (!w->end_status)
		w->end_status = end_status;
	ending(w, KILL_BURY_NS);
	w->r->o.workers.kill(w->r->o.workers.ctx, w->number);
}

static void leave(struct swi_worker *w)
{
	w->expected = true;
	ending(w, LEAVE_NS);
	swi_client_send(w->cl, SWI_L_STOP, 0, NULL, 0);
}

/* After its task: idle, or told to leave. */
static void free_worker(struct swi_worker *w)
{
	w->gave_back = false;
	if (w->state == SWI_WK_ENDING || swi_ahead_begin(w))
		return;
	w->run = NULL;
	swi_pool_set_state(w, SWI_WK_IDLE);
	if (live(w->r) > max_workers(w->r))
		leave(w);
	else
		swi_runner_due(w->r, w->since_ns + IDLE_NS);
	w->r->scan = true;
}

void swi_runner_client_gone(struct swi_runner *r, struct swi_client *cl)
{
	struct swi_worker *w = swi_client_user(cl);

	if (!w)
		return;
	swi_client_set_user(cl, NULL);
	w->cl = NULL;
	if (w->status_known) {
		bury(w);
		return;
	}
	/* It may live on after nonsense in its ring; a process without its attachment is of no use. */
	r->o.workers.kill(r->o.workers.ctx, w->number);
	ending(w, BURY_NS);
}

void swi_runner_worker_died(struct swi_runner *r, uint32_t worker, int wait_status)
{
	struct swi_worker *w = find(r, worker);

	if (!w)
		return;
	w->status_known = true;
	w->wait_status = wait_status;
	if (w->cl)
		ending(w, BURY_NS); /* what it said last is still in its ring */
	else
		bury(w);
}

/* ---- what workers say ---- */

static int ready(struct swi_runner *r, struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd rd = swi_rd_init(msg->body, msg->len);
	const uint32_t number = swi_rd_u32(&rd);
	struct swi_worker *w = swi_rd_done(&rd) ? find(r, number) : NULL;

	if (!w || w->cl || w->state != SWI_WK_STARTING || swi_client_user(cl))
		return -EPROTO;
	w->cl = cl;
	w->pid = swi_client_pid(cl);
	swi_client_set_user(cl, w);
	r->spawn_failures = 0;
	r->spawn_after_ns = 0;
	free_worker(w);
	return 0;
}

static uint64_t *read_lens(struct swi_rd *rd, uint32_t n)
{
	uint64_t *lens = calloc(n ? n : 1, sizeof(*lens));

	for (uint32_t i = 0; lens && i < n; i++)
		lens[i] = swi_rd_u64(rd);
	return lens;
}

/* The worker's run takes long: what was behind it can go elsewhere. */
static int returned(struct swi_worker *w, struct swarm_oid task, uint32_t attempt)
{
	struct swi_run *run = swi_ahead_find(w, task, attempt);

	if (run) {
		w->gave_back = true;
		swi_ahead_return(run);
		return 0;
	}
	/* The run before it ended while it was on its way back. */
	run = w->run;
	if (!run || !swarm_oid_equal(task, run->spec.task) || attempt != run->attempt)
		return -EPROTO;
	swi_run_give(run);
	w->run = NULL;
	swi_ahead_return(run);
	free_worker(w);
	return 0;
}

static int done(struct swi_worker *w, const struct swi_msg *msg)
{
	struct swi_rd rd = swi_rd_init(msg->body, msg->len);
	const struct swarm_oid task = swi_rd_oid(&rd);
	const uint32_t attempt = swi_rd_u32(&rd);
	const int status = (int)swi_rd_u32(&rd);
	struct swi_run *run = w->run;
	char text[TEXT_MAX];
	uint32_t n;

	swi_rd_str(&rd, text, sizeof(text));
	n = swi_rd_u32(&rd);
	if (!rd.bad && !n && status == -EAGAIN)
		return returned(w, task, attempt);
	if (rd.bad || !run || !swarm_oid_equal(task, run->spec.task) || attempt != run->attempt ||
	    status > 0 || n != (status ? 0 : run->spec.return_count) || rd.len - rd.pos != n * 8ull)
		return -EPROTO;
	run->lens = read_lens(&rd, n);
	if (!run->lens)
		return -ENOMEM;
	if (status)
		tell_results(run);
	swi_run_end(run, status, "%s", text);
	if (!status && !w->r->run_avg_ns)
		w->r->run_avg_ns = run->run_ns | 1;
	else if (!status)
		w->r->run_avg_ns += (run->run_ns >> 3) - (w->r->run_avg_ns >> 3);
	free_worker(w);
	return 0;
}

static void set_blocked(struct swi_worker *w, unsigned int bit, bool on)
{
	const bool before = w->blocked != 0;
	bool after;

	if (w->state != SWI_WK_BUSY || !w->run)
		return;
	w->blocked = on ? w->blocked | bit : w->blocked & ~bit;
	after = w->blocked != 0;
	if (before == after)
		return;
	w->r->blocked_count += after ? 1u : UINT32_MAX;
	swi_run_cpu_back(w->run, after);
}

void swi_runner_client_blocked(struct swi_runner *r, struct swi_client *cl, bool blocked)
{
	struct swi_worker *w = swi_client_user(cl);

	(void)r;
	if (w)
		set_blocked(w, SWI_WK_BLOCKED_SEEN, blocked);
}

int swi_runner_client_msg(struct swi_runner *r, struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_worker *w = swi_client_user(cl);
	struct swi_rd rd = swi_rd_init(msg->body, msg->len);
	bool on;

	if (msg->type == SWI_L_READY)
		return ready(r, cl, msg);
	if (!w)
		return -EPROTO;
	if (msg->type == SWI_L_DONE)
		return done(w, msg);
	if (msg->type != SWI_L_BLOCKED)
		return -EPROTO;
	on = swi_rd_u8(&rd) != 0;
	if (!swi_rd_done(&rd))
		return -EPROTO;
	set_blocked(w, SWI_WK_BLOCKED_SAID, on);
	return 0;
}

/* ---- time ---- */

static void timer_starting(struct swi_runner *r, uint64_t now)
{
	swi_list_for_each_safe(it, &r->starting)
	{
		struct swi_worker *w = swi_list_entry(it, struct swi_worker, link);
		const uint32_t number = w->number;

		if (now < w->deadline_ns) {
			swi_runner_due(r, w->deadline_ns);
			continue;
		}
		w->end_status = -ETIMEDOUT;
		swi_pool_kill(w, -ETIMEDOUT);
		spawn_failed(r, "worker %u did not say that it is ready within %llu s and was killed",
			     number, (unsigned long long)(READY_NS / NS_PER_S));
	}
}

static void timer_running(struct swi_runner *r, uint64_t now)
{
	swi_list_for_each_safe(it, &r->running)
	{
		struct swi_run *run = swi_list_entry(it, struct swi_run, link);

		if (now < run->deadline_ns)
			swi_runner_due(r, run->deadline_ns);
		else if (run->worker->state == SWI_WK_BUSY)
			swi_pool_kill(run->worker, SWARM_ETASKTIME);
	}
}

static void timer_ending(struct swi_runner *r, uint64_t now)
{
	swi_list_for_each_safe(it, &r->ending)
	{
		struct swi_worker *w = swi_list_entry(it, struct swi_worker, link);

		if (now < w->deadline_ns) {
			swi_runner_due(r, w->deadline_ns);
			continue;
		}
		r->o.workers.kill(r->o.workers.ctx, w->number);
		bury(w);
	}
}

static void timer_idle(struct swi_runner *r, uint64_t now)
{
	const uint64_t keep = swi_max_u64(1, r->o.total.cpu / SWARM_RESOURCE_UNIT);

	/* Those at the end of the stack have been idle longest. */
	while (r->idle_count > keep) {
		struct swi_worker *w =
		    swi_list_entry(r->idle.prev, struct swi_worker, link);

		if (now < w->since_ns + IDLE_NS) {
			swi_runner_due(r, w->since_ns + IDLE_NS);
			return;
		}
		leave(w);
	}
}

void swi_pool_timers(struct swi_runner *r, uint64_t now)
{
	timer_starting(r, now);
	timer_running(r, now);
	timer_ending(r, now);
	timer_idle(r, now);
	if (r->spawn_after_ns > now)
		swi_runner_due(r, r->spawn_after_ns);
}

void swi_pool_destroy(struct swi_runner *r)
{
	struct swi_worker *w, *next;

	HASH_ITER(hh, r->by_number, w, next) {
		r->o.workers.kill(r->o.workers.ctx, w->number);
		worker_free(w);
	}
}
