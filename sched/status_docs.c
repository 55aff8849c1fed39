/* SPDX-License-Identifier: Apache-2.0 */
/* status_docs.c - what this node says of itself (status.h). */
#include "sched/core.h"
#include "store/memory.h"

#define TASKS_SHOWN   1000u
#define OBJECTS_SHOWN 5000u /* of each node: an answer is one message */

static json_t *num(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *task_counts(const struct swi_node *n)
{
	const uint64_t *c = n->graph.count;
	json_t *o = json_object();

	json_object_set_new(o, "submitted", num(n->st.submitted));
	json_object_set_new(o, "duplicates", num(n->st.duplicates));
	json_object_set_new(o, "waiting", num(c[SWI_TASK_WAITING]));
	json_object_set_new(o, "ready", num(c[SWI_TASK_READY]));
	json_object_set_new(o, "placed", num(c[SWI_TASK_PLACED]));
	json_object_set_new(o, "done", num(n->st.done));
	json_object_set_new(o, "failed", num(n->st.failed));
	json_object_set_new(o, "retried", num(n->st.retried));
	json_object_set_new(o, "replaced", num(n->st.replaced));
	json_object_set_new(o, "rerun", num(n->rebuild.reruns));
	json_object_set_new(o, "nondeterministic", num(n->rebuild.nondeterministic));
	return o;
}

static json_t *run_counts(struct swi_node *n)
{
	struct swi_runner_stats st;
	json_t *o = json_object();

	swi_runner_stats(n->runner, &st);
	json_object_set_new(o, "done", num(st.runs_done));
	json_object_set_new(o, "failed", num(st.runs_failed));
	json_object_set_new(o, "run_ns", num(st.run_ns_total));
	json_object_set_new(o, "args_local_bytes", num(st.args_local_bytes));
	json_object_set_new(o, "args_fetched_bytes", num(st.args_fetched_bytes));
	json_object_set_new(o, "given_back", num(st.given_back));
	json_object_set_new(o, "prefetch_asked", num(n->prefetch.asked));
	json_object_set_new(o, "prefetched", num(n->prefetch.done));
	json_object_set_new(o, "prefetch_refused", num(n->prefetch.refused));
	json_object_set_new(o, "workers_started", num(st.workers_started));
	json_object_set_new(o, "workers_died", num(st.workers_died));
	json_object_set_new(o, "workers_idle", num(st.workers_idle));
	json_object_set_new(o, "workers_busy", num(st.workers_busy));
	return o;
}

static json_t *store_counts(struct swi_node *n)
{
	struct swi_snode_stats st;
	json_t *o = json_object();

	swi_snode_stats(n->sn, &st);
	json_object_set_new(o, "arena_bytes", num(st.arena_bytes));
	json_object_set_new(o, "arena_used", num(st.arena_used));
	json_object_set_new(o, "arena_largest_free", num(st.arena_largest_free));
	json_object_set_new(o, "objects", num(st.objects));
	json_object_set_new(o, "records", num(swi_dir_count(n->sn)));
	json_object_set_new(o, "fetches", num(st.fetches));
	json_object_set_new(o, "fetch_bytes", num(st.fetch_bytes));
	json_object_set_new(o, "gets_one_read", num(st.warm_gets));
	json_object_set_new(o, "gets_two_reads", num(st.cold_gets));
	json_object_set_new(o, "gets_by_message", num(st.message_gets));
	json_object_set_new(o, "served_bytes", num(st.served_bytes));
	json_object_set_new(o, "restores", num(st.restores));
	json_object_set_new(o, "restore_bytes", num(st.restore_bytes));
	json_object_set_new(o, "spilled_objects", num(st.spilled_objects));
	json_object_set_new(o, "spilled_bytes", num(st.spilled_bytes));
	json_object_set_new(o, "evicted_bytes", num(st.evicted_bytes));
	json_object_set_new(o, "dropped_unwritten", num(n->rebuild.dropped));
	json_object_set_new(o, "quarantine_bytes", num(st.quarantine_bytes));
	json_object_set_new(o, "quarantine_peak", num(st.quarantine_peak));
	json_object_set_new(o, "lease_syncs", num(st.syncs));
	json_object_set_new(o, "revoked", num(st.revoked));
	json_object_set_new(o, "digest_errors", num(st.digest_errors));
	json_object_set_new(o, "clients", num(st.clients));
	return o;
}

static json_t *recovery_counts(const struct swi_node *n)
{
	const struct swi_rebuild *r = &n->rebuild;
	json_t *o = json_object();

	json_object_set_new(o, "objects_lost", num(r->objects_lost));
	json_object_set_new(o, "objects_recovered", num(r->objects_recovered));
	json_object_set_new(o, "objects_gone", num(r->objects_gone));
	json_object_set_new(o, "last_recovery_ns", num(r->last_recovery_ns));
	json_object_set_new(o, "recovery_ns", num(r->recovery_ns_total));
	return o;
}

static json_t *lineage_counts(const struct swi_node *n)
{
	const struct swi_lineage *l = &n->lineage;
	json_t *o = json_object();

	json_object_set_new(o, "records", num(l->records));
	json_object_set_new(o, "bytes", num(l->bytes));
	json_object_set_new(o, "budget_bytes", num(l->budget));
	json_object_set_new(o, "evicted", num(l->evicted));
	json_object_set_new(o, "dropped", num(l->dropped));
	return o;
}

/* Only the head counts them, so that a sum over the nodes is right. */
static json_t *member_counts(const struct swi_node *n)
{
	json_t *o = json_object();

	if (!n->o.head)
		return o;
	json_object_set_new(o, "joined", num(n->member.joined));
	json_object_set_new(o, "died", num(n->member.died));
	json_object_set_new(o, "drained", num(n->member.drained));
	json_object_set_new(o, "started", num(n->scaler.started));
	json_object_set_new(o, "start_failed", num(n->scaler.failed));
	return o;
}

static json_t *status_part(struct swi_node *n)
{
	json_t *o = json_pack("{s:i,s:s}", "node", (int)n->number, "state",
			      n->member.leaving ? "draining" : "up");

	json_object_set_new(o, "tasks", task_counts(n));
	json_object_set_new(o, "runs", run_counts(n));
	json_object_set_new(o, "store", store_counts(n));
	json_object_set_new(o, "recovery", recovery_counts(n));
	json_object_set_new(o, "lineage", lineage_counts(n));
	json_object_set_new(o, "members", member_counts(n));
	return o;
}

static json_t *task_row(const struct swi_task *t)
{
	const struct swi_spec s = swi_task_spec(t);
	char id[33], need[160];

	return json_pack("{s:s,s:s,s:s,s:i,s:i,s:s}", "task", swi_oid_str(t->id, id), "function",
			 s.function, "state", swi_task_state_name(t->state), "node", (int)t->node, "attempt",
			 (int)t->attempt, "needs", swi_resources_str(&s.need, need, sizeof(need)));
}

static json_t *parse(char *text)
{
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	return o ? o : json_array();
}

static json_t *tasks_part(struct swi_node *n)
{
	json_t *list = json_array();

	/* Open ones first; what is done is history. */
	for (int pass = 0; pass < 2; pass++)
		for (uint64_t i = 0; i < n->graph.tasks.cap && json_array_size(list) < TASKS_SHOWN; i++) {
			const struct swi_task *t = n->graph.tasks.slot[i].val;
			const bool over = t && (t->state == SWI_TASK_DONE || t->state == SWI_TASK_FAILED);

			if (t && over == (pass == 1))
				json_array_append_new(list, task_row(t));
		}
	return json_pack("{s:i,s:o,s:o,s:o}", "node", (int)n->number, "counts", task_counts(n), "homed", list,
			 "running", parse(swi_runner_tasks_json(n->runner)));
}

/* Which task a worker process runs, and what kind the others are. */
static void name_owner(json_t *owner, const json_t *workers)
{
	static const char *const kind[] = {"store", "driver", "worker", "tool"};
	const json_int_t role = json_integer_value(json_object_get(owner, "role"));
	json_t *w;
	size_t i;

	json_object_set_new(owner, "kind",
			    json_string(role >= 0 && role < (json_int_t)SWI_ARRAY_LEN(kind) ? kind[role] : "?"));
	json_array_foreach(workers, i, w) {
		if (!json_equal(json_object_get(w, "pid"), json_object_get(owner, "pid")))
			continue;
		json_object_set(owner, "task", json_object_get(w, "task"));
		json_object_set(owner, "function", json_object_get(w, "function"));
	}
}

static json_t *memory_part(struct swi_node *n)
{
	json_t *o = parse(swi_snode_memory_json(n->sn)), *workers, *owner;
	size_t i;

	if (!json_is_object(o))
		return o;
	workers = parse(swi_runner_workers_json(n->runner));
	json_array_foreach(json_object_get(o, "owners"), i, owner)
		name_owner(owner, workers);
	json_object_set_new(json_object_get(o, "why"), "ahead_bytes", num(swi_runner_ahead_bytes(n->runner)));
	json_decref(workers);
	return o;
}

static json_t *objects_part(struct swi_node *n)
{
	json_t *o = json_pack("{s:i,s:o,s:o}", "node", (int)n->number, "store",
			      parse(swi_snode_status_json(n->sn)), "lineage", lineage_counts(n));
	json_t *rows = parse(swi_snode_objects_json(n->sn, OBJECTS_SHOWN));

	json_object_set(o, "total", json_object_get(rows, "total"));
	json_object_set(o, "list", json_object_get(rows, "list"));
	json_decref(rows);
	return o;
}

json_t *swi_status_part(struct swi_node *n, const char *what)
{
	if (!strcmp(what, "status"))
		return status_part(n);
	if (!strcmp(what, "tasks"))
		return tasks_part(n);
	if (!strcmp(what, "workers"))
		return json_pack("{s:i,s:o}", "node", (int)n->number, "workers",
				 parse(swi_runner_workers_json(n->runner)));
	if (!strcmp(what, "objects"))
		return objects_part(n);
	if (!strcmp(what, "memory"))
		return memory_part(n);
	return NULL;
}

json_t *swi_status_nodes(struct swi_node *n)
{
	json_t *list = json_array();

	swi_view_self(n);
	for (uint32_t i = 0; i < n->cview.view.count; i++) {
		const struct swi_view_node *v = &n->cview.view.node[i];
		const struct swi_member *m = n->cview.member[i];
		char total[160], room[160], epoch[20];

		snprintf(epoch, sizeof(epoch), "%016llx", (unsigned long long)m->epoch);
		json_array_append_new(
		    list, json_pack("{s:i,s:s,s:s,s:b,s:s,s:s,s:s,s:i,s:i,s:i,s:I,s:I}", "node", (int)m->node,
				    "address", m->address, "epoch", epoch, "head", m->node == 1, "state",
				    v->draining ? "draining" : m->lost_ns ? "unreachable" : "up", "total",
				    swi_resources_str(&v->total, total, sizeof(total)), "free",
				    swi_resources_str(&m->report.free, room, sizeof(room)), "running",
				    (int)v->running, "queued", (int)v->queued, "idle_workers", (int)v->idle_workers,
				    "arena_bytes", (json_int_t)v->arena_bytes, "arena_used",
				    (json_int_t)v->arena_used));
	}
	return json_pack("{s:o}", "nodes", list);
}

json_t *swi_status_info(struct swi_node *n)
{
	struct swi_tp *tp = swi_snode_tp(n->sn);
	static const char *const policy[] = {"cost", "random", "bytes"};
	char total[160], epoch[20];

	snprintf(epoch, sizeof(epoch), "%016llx", (unsigned long long)n->epoch);
	return json_pack("{s:i,s:b,s:s,s:s,s:s,s:s,s:s,s:s,s:b}", "node", (int)n->number, "head", n->o.head,
			 "epoch", epoch, "address", tp ? swi_tp_address(tp) : "", "transport",
			 tp ? swi_tp_backend(tp) : "none", "device", tp ? swi_tp_device(tp) : "none", "total",
			 swi_resources_str(&n->o.total, total, sizeof(total)), "placement",
			 policy[n->o.policy % SWI_ARRAY_LEN(policy)], "draining", n->member.leaving);
}
