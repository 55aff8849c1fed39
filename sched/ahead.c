/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahead.c - keeps workers supplied that run short tasks: the next runs are sent before the present one ends, so
 * that neither side sleeps and wakes between two tasks.
 *
 * A run that was sent ahead holds no resources: it takes those of the run before it, which must need the same. It is
 * sent only when nothing is free that it could use at once. A worker whose run takes long (a millisecond) gives
 * back what is behind it (exec.c), and gets nothing more until that run ends. Owner thread: the core's.
 */
#include "sched/run.h"

#define SHORT_NS      (200 * NS_PER_US) /* what counts as short, on average */
#define DEPTH_MAX     32u
#define DEPTH_NS      (500 * NS_PER_US) /* no more than this is sent ahead */
#define AHEAD_ARG_MAX KIB(64)		/* arguments of runs that were sent count nowhere: small ones only */

uint32_t swi_ahead_depth(const struct swi_runner *r)
{
	if (!r->run_avg_ns || r->run_avg_ns > SHORT_NS)
		return 0;
	return (uint32_t)swi_min_u64(DEPTH_MAX, DEPTH_NS / r->run_avg_ns + 1);
}

static bool same_need(const struct swi_resources *a, const struct swi_resources *b)
{
	return a->cpu == b->cpu && a->gpu == b->gpu && a->memory == b->memory &&
	       a->custom_count == b->custom_count &&
	       !memcmp(a->custom, b->custom, a->custom_count * sizeof(a->custom[0]));
}

static struct swi_worker *least_supplied(struct swi_runner *r, const struct swi_run *run, uint32_t depth)
{
	struct swi_worker *best = NULL;

	swi_list_for_each(it, &r->busy)
	{
		struct swi_worker *w = swi_list_entry(it, struct swi_worker, link);

		if (w->blocked || w->gave_back || w->behind_count >= depth ||
		    !same_need(&w->run->spec.need, &run->spec.need))
			continue;
		if (!best || w->behind_count < best->behind_count)
			best = w;
	}
	return best;
}

void swi_ahead_send(struct swi_runner *r)
{
	const uint32_t depth = swi_ahead_depth(r);

	while (depth && !swi_list_empty(&r->queued)) {
		struct swi_run *run = swi_list_first(&r->queued, struct swi_run, link);
		struct swi_worker *w;

		if (run->spec.timeout_ns || run->ahead_bytes > AHEAD_ARG_MAX ||
		    swi_resources_fit(&r->free, &run->spec.need))
			return;
		w = least_supplied(r, run, depth);
		if (!w)
			return;
		swi_run_not_ahead(run);
		swi_run_event(run, SWI_RUN_EV_AHEAD);
		run->worker = w;
		swi_list_push_back(&w->behind, &run->behind);
		w->behind_count++;
		swi_client_send(w->cl, SWI_L_EXEC, 0, run->msg, run->msg_len);
	}
}

static void unlink_behind(struct swi_run *run)
{
	swi_list_del(&run->behind);
	run->worker->behind_count--;
}

bool swi_ahead_begin(struct swi_worker *w)
{
	struct swi_run *run = swi_list_first(&w->behind, struct swi_run, behind);

	if (!run)
		return false;
	unlink_behind(run);
	swi_run_take(run);
	swi_run_event(run, SWI_RUN_EV_BEGIN);
	w->run = run;
	w->runs++;
	run->started_ns = swi_now(w->r->env);
	w->r->scan = true;
	if (run->cancelled && run->forced)
		swi_pool_kill(w, run->forget ? SWARM_EHOMELOST : SWARM_ECANCELED);
	return true;
}

void swi_ahead_return(struct swi_run *run)
{
	if (run->state == SWI_RUN_ASSIGNED)
		unlink_behind(run);
	run->worker = NULL;
	swi_run_event(run, SWI_RUN_EV_RETURNED);
	run->r->scan = true;
	if (run->cancelled)
		swi_run_end(run, run->forget ? SWARM_EHOMELOST : SWARM_ECANCELED,
			    "%s was cancelled before it began", run->spec.function);
}

void swi_ahead_return_all(struct swi_worker *w)
{
	/* From the last to the first: each goes to the front of the queue. */
	while (!swi_list_empty(&w->behind))
		swi_ahead_return(swi_list_entry(w->behind.prev, struct swi_run, behind));
}

struct swi_run *swi_ahead_find(struct swi_worker *w, struct swarm_oid task, uint32_t attempt)
{
	swi_list_for_each(it, &w->behind)
	{
		struct swi_run *run = swi_list_entry(it, struct swi_run, behind);

		if (run->attempt == attempt && swarm_oid_equal(run->spec.task, task))
			return run;
	}
	return NULL;
}
