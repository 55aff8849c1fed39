/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner.c - the face of the runner (runner.h): takes runs, moves them along the table of run.h, and
 * tells their end exactly once, from swi_runner_step() and nowhere else. Owner thread: the core's.
 */
#include <stdarg.h>

#include "sched/run.h"

/* next state + 1; 0 = no such edge */
#define EDGE(from, ev, to, why) [SWI_RUN_##from][SWI_RUN_EV_##ev] = SWI_RUN_##to + 1,
static const uint8_t run_next[SWI_RUN_STATE_COUNT][SWI_RUN_EV_COUNT] = {SWI_RUN_EDGES(EDGE)};
#undef EDGE

static struct swi_list *state_list(struct swi_runner *r, enum swi_run_state st)
{
	switch (st) {
	case SWI_RUN_SIZING:
		return &r->sizing;
	case SWI_RUN_WAITING:
		return &r->waiting;
	case SWI_RUN_FETCHING:
		return &r->fetching;
	case SWI_RUN_QUEUED:
		return &r->queued;
	case SWI_RUN_ASSIGNED:
		return &r->assigned;
	case SWI_RUN_RUNNING:
		return &r->running;
	default:
		return &r->gone;
	}
}

void swi_run_event(struct swi_run *run, enum swi_run_ev ev)
{
	struct swi_runner *r = run->r;
	const uint8_t next = run_next[run->state][ev];
	struct swi_list *l;

	SWI_BUG_ON(!next);
	r->count[run->state]--;
	run->state = (enum swi_run_state)(next - 1);
	r->count[run->state]++;
	l = state_list(r, run->state);
	swi_list_del(&run->link);
	/* Who comes back keeps its turn. */
	if (ev == SWI_RUN_EV_FULL || ev == SWI_RUN_EV_RETURNED)
		swi_list_push_front(l, &run->link);
	else
		swi_list_push_back(l, &run->link);
	r->changed = true;
}

void swi_runner_due(struct swi_runner *r, uint64_t at_ns)
{
	r->timer_ns = swi_min_u64(r->timer_ns, at_ns);
}

const char *swi_run_name(const struct swi_run *run, char *buf, size_t len)
{
	snprintf(buf, len, "%s (task %016llx%016llx, attempt %u)", run->spec.function,
		 (unsigned long long)run->spec.task.w[0], (unsigned long long)run->spec.task.w[1],
		 run->attempt);
	return buf;
}

void swi_run_end(struct swi_run *run, int status, const char *fmt, ...)
{
	struct swi_runner *r = run->r;
	va_list ap;

	if (run->state == SWI_RUN_GONE)
		return;
	swi_run_drop_slots(run);
	swi_run_not_ahead(run);
	if (run->state == SWI_RUN_RUNNING) {
		swi_run_give(run);
		run->run_ns = swi_now(r->env) - run->started_ns;
		r->stats.run_ns_total += run->run_ns;
		run->worker->run = NULL;
		run->worker = NULL;
	}
	run->status = status;
	va_start(ap, fmt);
	if (vasprintf(&run->text, fmt, ap) < 0)
		run->text = NULL;
	va_end(ap);
	swi_run_event(run, SWI_RUN_EV_END);
	r->scan = true;
}

/* ---- making and finding ---- */

static struct swi_run *find(struct swi_runner *r, struct swarm_oid task)
{
	struct swi_run *run;

	HASH_FIND(hh, r->tasks, &task, sizeof(task), run);
	return run;
}

static void hash_add(struct swi_run *run)
{
	struct swi_runner *r = run->r;
	struct swi_run *first = find(r, run->spec.task);

	if (first) {
		run->twin = first->twin;
		first->twin = run;
		return;
	}
	HASH_ADD(hh, r->tasks, spec.task, sizeof(run->spec.task), run);
}

static void hash_del(struct swi_run *run)
{
	struct swi_runner *r = run->r;
	struct swi_run *first = find(r, run->spec.task);

	if (first == run) {
		HASH_DEL(r->tasks, run);
		if (run->twin)
			HASH_ADD(hh, r->tasks, spec.task, sizeof(run->spec.task), run->twin);
		return;
	}
	while (first && first->twin != run)
		first = first->twin;
	SWI_BUG_ON(!first);
	first->twin = run->twin;
}

static void run_free(struct swi_run *run)
{
	swi_list_del(&run->link);
	run->r->count[run->state]--;
	hash_del(run);
	free(run->text);
	free(run->lens);
	free(run);
}

static void slots_init(struct swi_run *run)
{
	struct swi_spec_arg a;
	uint32_t pos = 0, n = 1;

	run->slot[0].ref = run->spec.module;
	while (swi_spec_next_arg(&run->spec, &pos, &a))
		if (a.is_ref && n < run->slot_count)
			run->slot[n++].ref = a.ref;
	for (uint32_t i = 0; i < run->slot_count; i++)
		run->slot[i].run = run;
}

static struct swi_run *run_new(struct swi_runner *r, const struct swi_spec *spec, uint32_t attempt)
{
	const uint32_t slots = spec->ref_count + 1;
	const size_t head = sizeof(struct swi_run) + slots * sizeof(struct swi_run_slot);
	struct swi_run *run = calloc(1, head + 4 + spec->bytes_len);
	struct swi_wr w;

	if (!run)
		return NULL;
	run->r = r;
	run->attempt = attempt;
	run->slot_count = slots;
	run->msg = (uint8_t *)run + head;
	run->msg_len = 4 + spec->bytes_len;
	w = swi_wr_init(run->msg, run->msg_len);
	swi_wr_u32(&w, attempt);
	swi_wr_raw(&w, spec->bytes, spec->bytes_len);
	run->spec = *spec;
	run->spec.bytes = run->msg + 4;
	run->spec.args = run->spec.bytes + (spec->args - spec->bytes);
	run->deadline_ns = UINT64_MAX;
	swi_list_init(&run->link);
	swi_list_init(&run->behind);
	slots_init(run);
	return run;
}

static bool is_here(struct swi_runner *r, struct swarm_oid task, uint32_t attempt)
{
	for (struct swi_run *run = find(r, task); run; run = run->twin)
		if (run->attempt == attempt)
			return true;
	return false;
}

int swi_runner_submit(struct swi_runner *r, const struct swi_spec *spec, uint32_t attempt)
{
	struct swi_run *run;

	if (is_here(r, spec->task, attempt))
		return -EEXIST;
	run = run_new(r, spec, attempt);
	if (!run)
		return -ENOMEM;
	r->count[SWI_RUN_NEW]++;
	hash_add(run);
	if (!swi_resources_fit(&r->o.total, &spec->need)) {
		char need[160], have[160];

		swi_run_end(run, SWARM_ENOROOM, "%s needs %s, but this node has only %s in all",
			    spec->function, swi_resources_str(&spec->need, need, sizeof(need)),
			    swi_resources_str(&r->o.total, have, sizeof(have)));
		return 0;
	}
	swi_run_size(run);
	swi_run_admit(r);
	swi_run_dispatch(r);
	return 0;
}

/* ---- ending from above ---- */

void swi_runner_cancel(struct swi_runner *r, struct swarm_oid task, bool force)
{
	char name[SWI_RUN_NAME_MAX];

	for (struct swi_run *run = find(r, task); run; run = run->twin) {
		if (run->state == SWI_RUN_GONE)
			continue;
		if (run->state == SWI_RUN_ASSIGNED) {
			run->cancelled = true;
			run->forced |= force;
		} else if (run->state != SWI_RUN_RUNNING)
			swi_run_end(run, SWARM_ECANCELED, "%s was cancelled before it began",
				    swi_run_name(run, name, sizeof(name)));
		else if (force)
			swi_pool_kill(run->worker, SWARM_ECANCELED);
	}
}

void swi_runner_drop_home(struct swi_runner *r, uint32_t home)
{
	struct swi_run *run, *next;

	HASH_ITER(hh, r->tasks, run, next) {
		for (struct swi_run *t = run; t; t = t->twin) {
			if (t->spec.home != home || t->forget)
				continue;
			t->forget = true;
			t->cancelled = t->forced = t->state == SWI_RUN_ASSIGNED;
			if (t->state == SWI_RUN_RUNNING)
				swi_pool_kill(t->worker, SWARM_EHOMELOST);
			else if (t->state != SWI_RUN_ASSIGNED)
				swi_run_end(t, SWARM_EHOMELOST, "the task's home, node %u, died", home);
		}
	}
}

/* ---- life ---- */

int swi_runner_create(const struct swi_runner_opts *opts, struct swi_runner **out)
{
	struct swi_runner *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->o = *opts;
	r->env = swi_snode_env(opts->sn);
	r->log = swi_snode_log(opts->sn);
	r->arena = swi_snode_arena(opts->sn);
	r->arena_bytes = swi_snode_arena_bytes(opts->sn);
	r->free = opts->total;
	r->timer_ns = UINT64_MAX;
	r->next_worker = 1;
	for (int st = SWI_RUN_SIZING; st <= SWI_RUN_GONE; st++)
		swi_list_init(state_list(r, (enum swi_run_state)st));
	for (int st = SWI_WK_STARTING; st <= SWI_WK_ENDING; st++)
		swi_list_init(swi_pool_list(r, (enum swi_worker_state)st));
	*out = r;
	return 0;
}

static void runs_destroy(struct swi_runner *r)
{
	struct swi_run *run, *next;

	HASH_ITER(hh, r->tasks, run, next) {
		struct swi_run *t = run;

		while (t) {
			struct swi_run *twin = t->twin;

			swi_run_drop_slots(t);
			run_free(t);
			t = twin;
		}
	}
}

void swi_runner_destroy(struct swi_runner *r)
{
	if (!r)
		return;
	r->destroying = true;
	swi_pool_destroy(r);
	runs_destroy(r);
	free(r);
}

static int tell_ends(struct swi_runner *r)
{
	int n = 0;

	while (!swi_list_empty(&r->gone)) {
		struct swi_run *run = swi_list_first(&r->gone, struct swi_run, link);
		const struct swi_run_result res = {
		    .task = run->spec.task,
		    .attempt = run->attempt,
		    .home = run->spec.home,
		    .status = run->status,
		    .text = run->text ? run->text : "",
		    .return_count = run->spec.return_count,
		    .return_len = run->lens,
		    .run_ns = run->run_ns,
		};

		/* Out of every table first: the answer may be to submit it again. */
		swi_list_del(&run->link);
		hash_del(run);
		if (run->status)
			r->stats.runs_failed++;
		else
			r->stats.runs_done++;
		if (!run->forget && r->o.done)
			r->o.done(r->o.ctx, &res);
		r->count[SWI_RUN_GONE]--;
		free(run->text);
		free(run->lens);
		free(run);
		n++;
	}
	return n;
}

static void retry_timers(struct swi_runner *r, uint64_t now)
{
	swi_list_for_each(it, &r->waiting)
	{
		const struct swi_run *run = swi_list_entry(it, struct swi_run, link);

		if (run->retry_at_ns > now)
			swi_runner_due(r, run->retry_at_ns);
	}
}

int swi_runner_step(struct swi_runner *r)
{
	int n;

	if (r->timer_ns != UINT64_MAX) {
		const uint64_t now = swi_now(r->env);

		if (now >= r->timer_ns) {
			r->timer_ns = UINT64_MAX;
			retry_timers(r, now);
			swi_pool_timers(r, now);
			r->scan = true;
		}
	}
	n = tell_ends(r);
	if (r->scan) {
		swi_run_admit(r);
		swi_run_dispatch(r);
	}
	n += tell_ends(r);
	if (r->changed && r->o.changed) {
		r->changed = false;
		r->o.changed(r->o.ctx);
	}
	return n;
}

uint64_t swi_runner_deadline_ns(struct swi_runner *r)
{
	return swi_list_empty(&r->gone) && !r->scan ? r->timer_ns : 0;
}

bool swi_runner_idle(struct swi_runner *r)
{
	return r->tasks == NULL;
}
