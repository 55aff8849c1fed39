/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_queue.c - gives runs whose arguments are here their resources and a worker.
 *
 * The queue is first come, first served, except that a run which does not fit lets later ones pass, a
 * bounded number of times: then nobody passes until it fits. cpu of a run that waits inside a call is
 * given back; when it goes on while others have that cpu, the shortfall is a debt that is paid from
 * the next cpu to become free. Owner thread: the core's.
 */
#include "sched/run.h"

#define SCAN_MAX   64u /* runs looked at behind the first */

static void cpu_give(struct swi_runner *r, uint64_t cpu)
{
	const uint64_t paid = swi_min_u64(r->cpu_debt, cpu);

	r->cpu_debt -= paid;
	r->free.cpu += cpu - paid;
}

static void cpu_take(struct swi_runner *r, uint64_t cpu)
{
	const uint64_t got = swi_min_u64(r->free.cpu, cpu);

	r->free.cpu -= got;
	r->cpu_debt += cpu - got;
}

void swi_run_take(struct swi_run *run)
{
	struct swi_resources rest = run->spec.need;

	rest.cpu = 0;
	swi_resources_sub(&run->r->free, &rest);
	cpu_take(run->r, run->spec.need.cpu);
	run->r->changed = true;
}

void swi_run_give(struct swi_run *run)
{
	struct swi_runner *r = run->r;
	struct swi_resources give = run->spec.need;

	give.cpu = 0;
	swi_resources_add(&r->free, &give);
	if (!run->cpu_back)
		cpu_give(r, run->spec.need.cpu);
	run->cpu_back = false;
	r->changed = r->scan = true;
}

void swi_run_cpu_back(struct swi_run *run, bool back)
{
	struct swi_runner *r = run->r;
	const uint64_t cpu = run->spec.need.cpu;

	if (run->cpu_back == back)
		return;
	run->cpu_back = back;
	if (back)
		cpu_give(r, cpu);
	else
		cpu_take(r, cpu);
	r->changed = r->scan = true;
}

/* The worker that was used last: its caches are warm. */
static struct swi_worker *idle_worker(struct swi_runner *r)
{
	return swi_list_first(&r->idle, struct swi_worker, link);
}

static void start(struct swi_run *run, struct swi_worker *w)
{
	struct swi_runner *r = run->r;

	swi_run_not_ahead(run);
	swi_run_take(run);
	swi_run_event(run, SWI_RUN_EV_DISPATCH);
	run->worker = w;
	w->run = run;
	w->runs++;
	run->started_ns = swi_now(r->env);
	run->deadline_ns = run->spec.timeout_ns
			       ? swi_sat_add(run->started_ns, run->spec.timeout_ns)
			       : UINT64_MAX;
	swi_runner_due(r, run->deadline_ns);
	swi_pool_set_state(w, SWI_WK_BUSY);
	swi_client_send(w->cl, SWI_L_EXEC, 0, run->msg, run->msg_len);
}

/* How many of the runs that wait could run at once if there were workers. */
static uint32_t workers_wanted(struct swi_runner *r)
{
	struct swi_resources left = r->free;
	uint32_t n = 0, seen = 0;

	swi_list_for_each(it, &r->queued)
	{
		const struct swi_run *run = swi_list_entry(it, struct swi_run, link);

		if (seen++ == SCAN_MAX)
			break;
		if (!swi_resources_fit(&left, &run->spec.need))
			continue;
		swi_resources_sub(&left, &run->spec.need);
		n++;
	}
	return n;
}

/* One pass over the head of the queue; true when it started something. */
static bool scan_once(struct swi_runner *r)
{
	struct swi_run *passed = NULL;
	uint32_t seen = 0;

	swi_list_for_each(it, &r->queued)
	{
		struct swi_run *run = swi_list_entry(it, struct swi_run, link);
		struct swi_worker *w = idle_worker(r);

		if (!w || seen++ == SCAN_MAX)
			return false;
		if (swi_resources_fit(&r->free, &run->spec.need)) {
			if (passed)
				passed->passed++;
			start(run, w);
			return true;
		}
		if (!passed)
			passed = run;
		if (run->passed >= SWI_RUN_PASSED_MAX)
			return false;
	}
	return false;
}

void swi_run_dispatch(struct swi_runner *r)
{
	r->scan = false;
	while (!swi_list_empty(&r->queued) && idle_worker(r))
		if (!scan_once(r))
			break;
	/* What start() freed (bytes ahead) lets others be fetched. */
	if (!swi_list_empty(&r->waiting))
		swi_run_admit(r);
	if (!swi_list_empty(&r->queued))
		swi_ahead_send(r);
	if (!swi_list_empty(&r->queued) && !idle_worker(r))
		swi_pool_spawn(r, workers_wanted(r));
}
