/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_fetch.c - brings the module and the arguments of a run into local memory and holds them there
 * for the run's life.
 *
 * Invariant: the argument bytes of the runs that are FETCHING or QUEUED stay below half the arena, or there is
 * one such run only. So two runs can never hold half of what each needs and wait for the other half. Nor do
 * they take what those that run need: their arguments, and as much again for their results.
 * To keep it, lengths are learned before anything is fetched. The module is shared by many runs
 * and not counted. Owner thread: the core's.
 */
#include "sched/run.h"

#define FULL_RETRY_NS (10 * NS_PER_MS)
#define BACK_NS	      (50 * NS_PER_MS) /* who gave its room to others comes back after this */
#define FULL_GIVE_UP_NS (20 * NS_PER_S)

static void want_done(struct swi_want *w, int status, const char *text, uint64_t offset);
static void watch_done(struct swi_watch *w, int status, const char *text,
		       const struct swi_copies *copies);

/* ---- lengths ---- */

static bool slot_size_local(struct swi_run_slot *s)
{
	struct swi_runner *r = s->run->r;
	uint64_t off;

	if (!swi_hold_find(r->o.sn, s->ref.id, &off))
		return false;
	s->len = ((const struct swi_object_head *)(const void *)(r->arena + off))->len;
	swi_hold_drop_soon(r->o.sn, off);
	return true;
}

static void slot_watch(struct swi_run_slot *s)
{
	struct swi_run *run = s->run;

	s->use = SWI_SLOT_USE_WATCH;
	memset(&s->io, 0, sizeof(s->io));
	swi_list_init(&s->io.watch.link);
	s->io.watch.ref = s->ref;
	s->io.watch.deadline_ns = UINT64_MAX;
	s->io.watch.cb = watch_done;
	s->io.watch.owner = s;
	run->open++;
	swi_watch(run->r->o.sn, &s->io.watch);
}

static int slot_cmp(const void *a, const void *b)
{
	const struct swi_run_slot *x = *(struct swi_run_slot *const *)a;
	const struct swi_run_slot *y = *(struct swi_run_slot *const *)b;

	if (x->ref.id.w[0] != y->ref.id.w[0])
		return x->ref.id.w[0] < y->ref.id.w[0] ? -1 : 1;
	return (x->ref.id.w[1] > y->ref.id.w[1]) - (x->ref.id.w[1] < y->ref.id.w[1]);
}

/* Bytes of the distinct arguments; only asked for when the plain sum is too large. */
static uint64_t distinct_bytes(struct swi_run *run)
{
	const uint32_t n = run->slot_count - 1;
	struct swi_run_slot **v = calloc(n ? n : 1, sizeof(struct swi_run_slot *));
	uint64_t sum = 0;

	if (!v)
		return run->ahead_bytes;
	for (uint32_t i = 0; i < n; i++)
		v[i] = &run->slot[i + 1];
	qsort(v, n, sizeof(v[0]), slot_cmp);
	for (uint32_t i = 0; i < n; i++)
		if (!i || slot_cmp(&v[i - 1], &v[i]))
			sum = swi_sat_add(sum, swi_extent_bytes(v[i]->len));
	free(v);
	return sum;
}

static void sized(struct swi_run *run)
{
	struct swi_runner *r = run->r;

	run->ahead_bytes = 0;
	for (uint32_t i = 1; i < run->slot_count; i++)
		run->ahead_bytes =
		    swi_sat_add(run->ahead_bytes, swi_extent_bytes(run->slot[i].len));
	if (run->ahead_bytes > r->arena_bytes / 2)
		run->ahead_bytes = distinct_bytes(run);
	if (run->ahead_bytes > r->arena_bytes) {
		swi_run_end(run, SWARM_EFULL,
			    "the arguments of %s take %llu bytes, more than the whole arena of %llu",
			    run->spec.function, (unsigned long long)run->ahead_bytes,
			    (unsigned long long)r->arena_bytes);
		return;
	}
	swi_run_event(run, SWI_RUN_EV_KNOWN);
	r->scan = true;
}

void swi_run_size(struct swi_run *run)
{
	bool unknown = false;

	/* The module is not counted: its length does not matter. */
	for (uint32_t i = 1; i < run->slot_count; i++) {
		if (slot_size_local(&run->slot[i]))
			continue;
		if (!unknown)
			swi_run_event(run, SWI_RUN_EV_UNKNOWN);
		unknown = true;
		slot_watch(&run->slot[i]);
	}
	if (unknown)
		return;
	run->local = run->slot_count > 1;
	sized(run);
}

static void cannot_be_had(struct swi_run_slot *s, int status, const char *text)
{
	struct swi_run *run = s->run;
	const unsigned int i = (unsigned int)(s - run->slot);

	if (!i)
		swi_run_end(run, status == SWARM_EFULL ? status : SWARM_EMODULE,
			    "the module of %s cannot be had: %s", run->spec.function,
			    text && *text ? text : swarm_strerror(status));
	else
		swi_run_end(run, status == SWARM_EFULL ? status : SWARM_EDEPENDENCY,
			    "referenced argument %u of %s (object %016llx%016llx) cannot be had: %s",
			    i - 1, run->spec.function, (unsigned long long)s->ref.id.w[0],
			    (unsigned long long)s->ref.id.w[1],
			    text && *text ? text : swarm_strerror(status));
}

static void watch_done(struct swi_watch *w, int status, const char *text,
		       const struct swi_copies *copies)
{
	struct swi_run_slot *s = w->owner;
	struct swi_run *run = s->run;

	s->use = SWI_SLOT_USE_NONE;
	run->open--;
	if (status < 0) {
		cannot_be_had(s, status, text);
		return;
	}
	s->len = copies->len;
	if (!run->open)
		sized(run);
}

/* ---- admission ---- */

void swi_run_not_ahead(struct swi_run *run)
{
	if (!run->ahead)
		return;
	run->ahead = false;
	run->r->ahead_bytes -= run->ahead_bytes;
	run->r->scan = true;
}

void swi_run_drop_slots(struct swi_run *run)
{
	struct swi_snode *sn = run->r->o.sn;

	for (uint32_t i = 0; i < run->slot_count; i++) {
		struct swi_run_slot *s = &run->slot[i];

		if (s->use == SWI_SLOT_USE_WATCH)
			swi_watch_cancel(sn, &s->io.watch);
		else if (s->use == SWI_SLOT_USE_WANT)
			swi_want_cancel(sn, &s->io.want);
		else if (s->use == SWI_SLOT_USE_HELD && run->state == SWI_RUN_RUNNING && i)
			swi_hold_drop_used(sn, s->offset);
		else if (s->use == SWI_SLOT_USE_HELD)
			swi_hold_drop(sn, s->offset);
		s->use = SWI_SLOT_USE_NONE;
	}
	run->open = 0;
}

static void no_room(struct swi_run_slot *s, const char *text)
{
	struct swi_run *run = s->run;
	const uint64_t now = swi_now(run->r->env);

	if (!run->fulls++)
		run->full_until_ns = now + FULL_GIVE_UP_NS;
	if (now >= run->full_until_ns) {
		cannot_be_had(s, SWARM_EFULL, text);
		return;
	}
	swi_run_drop_slots(run);
	swi_run_not_ahead(run);
	run->retry_at_ns = now + FULL_RETRY_NS;
	swi_run_event(run, SWI_RUN_EV_FULL);
	swi_runner_due(run->r, run->retry_at_ns);
}

/* Its arguments lie in memory, which is short: it may go before those that would be fetched. */
static bool local_first(struct swi_run *run)
{
	return run->local && swi_snode_tight(run->r->o.sn);
}

static void here(struct swi_run *run)
{
	struct swi_run *head = swi_list_first(&run->r->queued, struct swi_run, link);
	const bool first = local_first(run) && head && head->passed < SWI_RUN_PASSED_MAX;

	swi_run_event(run, SWI_RUN_EV_HERE);
	if (first) {
		head->passed++;
		swi_list_del(&run->link);
		swi_list_push_front(&run->r->queued, &run->link);
	}
	run->r->scan = true;
}

static void slot_hold(struct swi_run_slot *s, uint64_t offset)
{
	s->use = SWI_SLOT_USE_HELD;
	s->offset = offset;
}

static void want_done(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct swi_run_slot *s = w->owner;
	struct swi_run *run = s->run;

	s->use = SWI_SLOT_USE_NONE;
	run->open--;
	if (status == SWARM_EFULL || status == -ENOMEM) {
		no_room(s, text);
		return;
	}
	if (status < 0) {
		cannot_be_had(s, status, text);
		return;
	}
	slot_hold(s, offset);
	run->r->stats.args_fetched_bytes += s->len;
	if (!run->open)
		here(run);
}

static void slot_want(struct swi_run_slot *s)
{
	struct swi_run *run = s->run;

	s->use = SWI_SLOT_USE_WANT;
	memset(&s->io, 0, sizeof(s->io));
	swi_list_init(&s->io.want.link);
	s->io.want.ref = s->ref;
	s->io.want.deadline_ns = UINT64_MAX;
	/* A re-run is how lost objects come back: it may use the memory kept for that. */
	s->io.want.recovery = run->attempt > 0;
	s->io.want.cb = want_done;
	s->io.want.owner = s;
	run->open++;
	swi_want(run->r->o.sn, &s->io.want);
}

static void fetch(struct swi_run *run)
{
	struct swi_runner *r = run->r;
	uint64_t off;

	run->ahead = true;
	r->ahead_bytes += run->ahead_bytes;
	swi_run_event(run, SWI_RUN_EV_ADMIT);
	for (uint32_t i = 0; i < run->slot_count; i++) {
		struct swi_run_slot *s = &run->slot[i];

		if (swi_hold_find(r->o.sn, s->ref.id, &off)) {
			slot_hold(s, off);
			r->stats.args_local_bytes += s->len;
		} else {
			slot_want(s);
		}
	}
	if (!run->open)
		here(run);
}

/* What those that run hold and are about to make; who waits inside a call waits perhaps for what is to be fetched. */
static uint64_t running_bytes(struct swi_runner *r)
{
	uint64_t sum = 0;

	swi_list_for_each(it, &r->running)
	{
		const struct swi_run *run = swi_list_entry(it, struct swi_run, link);

		if (!run->cpu_back)
			sum = swi_sat_add(sum, 2 * run->ahead_bytes);
	}
	return sum;
}

/* A run without arguments takes nothing: it never waits for bytes. */
static bool may_fetch(struct swi_runner *r, const struct swi_run *run)
{
	const uint64_t all = r->ahead_bytes + run->ahead_bytes;
	uint64_t running;

	if (!run->ahead_bytes || (!r->ahead_bytes && swi_list_empty(&r->running)))
		return true;
	if (r->ahead_bytes && all > r->arena_bytes / 2)
		return false;
	running = running_bytes(r);
	return !running || all + running <= r->arena_bytes / 8 * 7;
}

static struct swi_run *next_waiting(struct swi_runner *r)
{
	struct swi_run *first = swi_list_first(&r->waiting, struct swi_run, link);
	struct swi_run *last = swi_list_entry(r->waiting.prev, struct swi_run, link);

	return local_first(last) && may_fetch(r, last) ? last : first;
}

void swi_runner_need_room(struct swi_runner *r)
{
	struct swi_run *run = NULL;

	swi_list_for_each(it, &r->queued)
		run = swi_list_entry(it, struct swi_run, link)->ahead_bytes
			      ? swi_list_entry(it, struct swi_run, link)
			      : run;
	swi_list_for_each(it, &r->fetching)
		run = swi_list_entry(it, struct swi_run, link);
	/* Only where somebody runs who can go on with it. */
	if (!run || swi_list_empty(&r->running))
		return;
	swi_run_drop_slots(run);
	swi_run_not_ahead(run);
	run->retry_at_ns = swi_now(r->env) + BACK_NS;
	run->local = false;
	swi_run_event(run, SWI_RUN_EV_FULL);
	swi_runner_due(r, run->retry_at_ns);
	r->stats.given_back++;
}

void swi_run_admit(struct swi_runner *r)
{
	while (!swi_list_empty(&r->waiting)) {
		struct swi_run *run = next_waiting(r);

		if (!may_fetch(r, run))
			return;
		if (run->retry_at_ns && run->retry_at_ns > swi_now(r->env)) {
			swi_runner_due(r, run->retry_at_ns);
			return;
		}
		fetch(run);
	}
}
