/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_report.c - what the runner tells of itself: a row of the cluster's view, counters, and the JSON
 * of `swarm list workers` and `swarm list tasks`. Changes nothing. Owner thread: the core's.
 */
#include <jansson.h>

#include "sched/run.h"

#define ROWS_MAX 10000u

static const char *const state_name[SWI_RUN_STATE_COUNT] = {
    [SWI_RUN_NEW] = "new",	     [SWI_RUN_SIZING] = "sizing",   [SWI_RUN_WAITING] = "waiting",
    [SWI_RUN_FETCHING] = "fetching", [SWI_RUN_QUEUED] = "queued",   [SWI_RUN_ASSIGNED] = "assigned",
    [SWI_RUN_RUNNING] = "running",
    [SWI_RUN_GONE] = "gone",
};

static uint32_t waiting_count(const struct swi_runner *r)
{
	return r->count[SWI_RUN_SIZING] + r->count[SWI_RUN_WAITING] + r->count[SWI_RUN_FETCHING] +
	       r->count[SWI_RUN_QUEUED] + r->count[SWI_RUN_ASSIGNED];
}

void swi_runner_load(struct swi_runner *r, struct swi_view_node *out)
{
	const uint64_t lanes = swi_max_u64(1, r->o.total.cpu / SWARM_RESOURCE_UNIT);

	out->total = r->o.total;
	out->free = r->free;
	out->queued = waiting_count(r);
	out->running = r->count[SWI_RUN_RUNNING];
	out->queue_ns = out->queued * r->run_avg_ns / lanes;
	out->idle_workers = r->idle_count;
	/* What may be parked here: two for each cpu, and what keeps workers busy that run short tasks. */
	out->queue_max = (uint32_t)swi_max_u64(2, 2 * lanes) + swi_ahead_depth(r) * (uint32_t)lanes;
}

void swi_runner_stats(struct swi_runner *r, struct swi_runner_stats *out)
{
	*out = r->stats;
	out->workers_idle = r->idle_count;
	out->workers_busy = r->busy_count;
}

uint64_t swi_runner_ahead_bytes(const struct swi_runner *r)
{
	return r->ahead_bytes;
}

static json_t *oid_json(struct swarm_oid id)
{
	char hex[33];

	snprintf(hex, sizeof(hex), "%016llx%016llx", (unsigned long long)id.w[0],
		 (unsigned long long)id.w[1]);
	return json_string(hex);
}

static const char *worker_state(const struct swi_worker *w)
{
	static const char *const name[] = {"starting", "idle", "busy", "ending"};

	return w->blocked ? "blocked" : name[w->state];
}

static json_t *worker_json(const struct swi_worker *w, uint64_t now)
{
	json_t *o = json_object();

	json_object_set_new(o, "node", json_integer(swi_snode_number(w->r->o.sn)));
	json_object_set_new(o, "worker", json_integer(w->number));
	json_object_set_new(o, "pid", json_integer(w->pid));
	json_object_set_new(o, "state", json_string(worker_state(w)));
	json_object_set_new(o, "runs", json_integer((json_int_t)w->runs));
	json_object_set_new(o, "since_ns", json_integer((json_int_t)(now - w->since_ns)));
	json_object_set_new(o, "function", w->run ? json_string(w->run->spec.function) : json_null());
	json_object_set_new(o, "task", w->run ? oid_json(w->run->spec.task) : json_null());
	return o;
}

static char *dump(json_t *a)
{
	char *text = json_dumps(a, JSON_COMPACT);

	json_decref(a);
	return text;
}

char *swi_runner_workers_json(struct swi_runner *r)
{
	const uint64_t now = swi_now(r->env);
	json_t *a = json_array();
	struct swi_worker *w, *next;

	HASH_ITER(hh, r->by_number, w, next)
		json_array_append_new(a, worker_json(w, now));
	return dump(a);
}

static json_t *task_json(const struct swi_run *run, uint64_t now)
{
	json_t *o = json_object();

	json_object_set_new(o, "task", oid_json(run->spec.task));
	json_object_set_new(o, "function", json_string(run->spec.function));
	json_object_set_new(o, "state", json_string(state_name[run->state]));
	json_object_set_new(o, "node", json_integer(swi_snode_number(run->r->o.sn)));
	json_object_set_new(o, "home", json_integer(run->spec.home));
	json_object_set_new(o, "attempt", json_integer(run->attempt));
	json_object_set_new(o, "worker", run->worker ? json_integer(run->worker->number) : json_null());
	json_object_set_new(o, "pid", run->worker ? json_integer(run->worker->pid) : json_null());
	json_object_set_new(o, "run_ns", json_integer(run->state == SWI_RUN_RUNNING
							  ? (json_int_t)(now - run->started_ns)
							  : 0));
	return o;
}

char *swi_runner_tasks_json(struct swi_runner *r)
{
	const uint64_t now = swi_now(r->env);
	json_t *a = json_array();
	struct swi_run *run, *next;

	HASH_ITER(hh, r->tasks, run, next) {
		for (const struct swi_run *t = run; t; t = t->twin)
			if (json_array_size(a) < ROWS_MAX)
				json_array_append_new(a, task_json(t, now));
	}
	return dump(a);
}
