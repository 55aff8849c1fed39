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

struct count {
	const char *name; /* NULL: the end */
	uint64_t value;
};

static json_t *counts(const struct count *c)
{
	json_t *o = json_object();

	for (; c->name; c++)
		json_object_set_new(o, c->name, num(c->value));
	return o;
}

static json_t *task_counts(const struct swi_node *n)
{
	const uint64_t *c = n->graph.count;

	return counts((const struct count[]){
	    {"submitted", n->st.submitted},
	    {"duplicates", n->st.duplicates},
	    {"waiting", c[SWI_TASK_WAITING]},
	    {"ready", c[SWI_TASK_READY]},
	    {"placed", c[SWI_TASK_PLACED]},
	    {"done", n->st.done},
	    {"failed", n->st.failed},
	    {"retried", n->st.retried},
	    {"replaced", n->st.replaced},
	    {"rerun", n->rebuild.reruns},
	    {"nondeterministic", n->rebuild.nondeterministic},
	    {NULL, 0},
	});
}

static json_t *run_counts(struct swi_node *n)
{
	struct swi_runner_stats st;

	swi_runner_stats(n->runner, &st);
	return counts((const struct count[]){
	    {"done", st.runs_done},
	    {"failed", st.runs_failed},
	    {"run_ns", st.run_ns_total},
	    {"args_local_bytes", st.args_local_bytes},
	    {"args_fetched_bytes", st.args_fetched_bytes},
	    {"given_back", st.given_back},
	    {"prefetch_asked", n->prefetch.asked},
	    {"prefetched", n->prefetch.done},
	    {"prefetch_refused", n->prefetch.refused},
	    {"workers_started", st.workers_started},
	    {"workers_died", st.workers_died},
	    {"workers_idle", st.workers_idle},
	    {"workers_busy", st.workers_busy},
	    {NULL, 0},
	});
}

static json_t *store_counts(struct swi_node *n)
{
	struct swi_snode_stats st;

	swi_snode_stats(n->sn, &st);
	return counts((const struct count[]){
	    {"arena_bytes", st.arena_bytes},
	    {"arena_used", st.arena_used},
	    {"arena_largest_free", st.arena_largest_free},
	    {"objects", st.objects},
	    {"records", swi_dir_count(n->sn)},
	    {"fetches", st.fetches},
	    {"fetch_bytes", st.fetch_bytes},
	    {"gets_one_read", st.warm_gets},
	    {"gets_two_reads", st.cold_gets},
	    {"gets_by_message", st.message_gets},
	    {"served_bytes", st.served_bytes},
	    {"restores", st.restores},
	    {"restore_bytes", st.restore_bytes},
	    {"spilled_objects", st.spilled_objects},
	    {"spilled_bytes", st.spilled_bytes},
	    {"evicted_bytes", st.evicted_bytes},
	    {"moved_objects", st.moved_objects},
	    {"moved_bytes", st.moved_bytes},
	    {"dropped_unwritten", n->rebuild.dropped},
	    {"quarantine_bytes", st.quarantine_bytes},
	    {"quarantine_peak", st.quarantine_peak},
	    {"lease_syncs", st.syncs},
	    {"revoked", st.revoked},
	    {"digest_errors", st.digest_errors},
	    {"clients", st.clients},
	    {NULL, 0},
	});
}

static json_t *recovery_counts(const struct swi_node *n)
{
	const struct swi_rebuild *r = &n->rebuild;

	return counts((const struct count[]){
	    {"objects_lost", r->objects_lost},
	    {"objects_recovered", r->objects_recovered},
	    {"objects_gone", r->objects_gone},
	    {"last_recovery_ns", r->last_recovery_ns},
	    {"recovery_ns", r->recovery_ns_total},
	    {NULL, 0},
	});
}

static json_t *lineage_counts(const struct swi_node *n)
{
	const struct swi_lineage *l = &n->lineage;

	return counts((const struct count[]){
	    {"records", l->records},
	    {"bytes", l->bytes},
	    {"budget_bytes", l->budget},
	    {"evicted", l->evicted},
	    {"dropped", l->dropped},
	    {NULL, 0},
	});
}

/* Only the head counts them, so that a sum over the nodes is right. */
static json_t *member_counts(const struct swi_node *n)
{
	if (!n->o.head)
		return json_object();
	return counts((const struct count[]){
	    {"joined", n->member.joined},
	    {"died", n->member.died},
	    {"drained", n->member.drained},
	    {"started", n->scaler.started},
	    {"start_failed", n->scaler.failed},
	    {NULL, 0},
	});
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
