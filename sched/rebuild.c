/* SPDX-License-Identifier: Apache-2.0 */
/* rebuild.c - see rebuild.h. Called from the directory's hooks: only marks; the graph takes the runs up. */
#include "sched/rebuild.h"

#include "sched/core.h"

#define FRESH_NS    NS_PER_S
#define REMAKES_MAX 3u /* who was made again so often is worth its place on disk */

void swi_rebuild_init(struct swi_node *n)
{
	swi_list_init(&n->rebuild.recoveries);
}

void swi_rebuild_fini(struct swi_node *n)
{
	while (n->rebuild.recoveries.next && !swi_list_empty(&n->rebuild.recoveries)) {
		struct swi_recovery *r = swi_list_first(&n->rebuild.recoveries, struct swi_recovery, link);

		swi_list_del(&r->link);
		free(r);
	}
}

static void recovery_free(struct swi_recovery *r)
{
	swi_list_del(&r->link);
	free(r);
}

void swi_rebuild_begin(struct swi_node *n, uint32_t node, uint64_t died_ns)
{
	struct swi_recovery *r = calloc(1, sizeof(*r)), *last = n->rebuild.current;

	SWI_BUG_ON(!r);
	r->node = node;
	r->died_ns = r->since_ns = died_ns;
	swi_list_push_back(&n->rebuild.recoveries, &r->link);
	n->rebuild.current = r;
	if (last && !last->open)
		recovery_free(last);
}

static void count_loss(struct swi_recovery *r, const char *function, struct swarm_oid id)
{
	struct swi_loss *l = r->loss;

	while (l->objects && strcmp(l->function, function) != 0 && l + 1 < r->loss + SWI_LOSSES_MAX)
		l++;
	if (!l->objects++) {
		snprintf(l->function, sizeof(l->function), "%s", function);
		l->first = id;
	}
	r->objects++;
}

static json_t *losses_json(const struct swi_recovery *r)
{
	json_t *list = json_array();
	char oid[33];

	for (const struct swi_loss *l = r->loss; l < r->loss + SWI_LOSSES_MAX && l->objects; l++)
		json_array_append_new(list, json_pack("{s:s,s:I,s:s}", "function", l->function, "objects",
						      (json_int_t)l->objects, "first",
						      swi_oid_str(l->first, oid)));
	return list;
}

/* Nothing of it is missing now. What is asked for later, and found lost, begins anew. */
static void recovery_over(struct swi_node *n, struct swi_recovery *r)
{
	const uint64_t ns = swi_node_now(n) - r->since_ns;

	n->rebuild.last_recovery_ns = ns;
	n->rebuild.recovery_ns_total += ns;
	swi_event(n, "recovered",
		  json_pack("{s:i,s:I,s:I,s:I,s:I,s:o}", "lost_node", (int)r->node, "ns", (json_int_t)ns,
			    "objects", (json_int_t)r->objects, "tasks", (json_int_t)r->tasks, "failed",
			    (json_int_t)r->failed, "lost", losses_json(r)));
	r->objects = r->tasks = r->failed = 0;
	memset(r->loss, 0, sizeof(r->loss));
	if (n->rebuild.current != r)
		recovery_free(r);
}

void swi_rebuild_join(struct swi_node *n, struct swi_task *t)
{
	struct swi_recovery *r = n->rebuild.current;
	const uint64_t now = swi_node_now(n);

	if (!r || t->recovery)
		return;
	if (!r->open && now - r->died_ns > FRESH_NS)
		r->since_ns = now; /* nobody missed it before */
	t->recovery = r;
	r->open++;
	r->tasks++;
}

static int refuse(struct swi_node *n, struct swi_task *t, struct swarm_oid id, char *why, size_t why_len)
{
	const struct swi_spec s = swi_task_spec(t);
	char oid[33], tid[33];

	n->rebuild.objects_gone++;
	snprintf(why, why_len,
		 "object %s lost its last copy (last node %u); its task %s (%s) was run %u times and %s",
		 swi_oid_str(id, oid), t->node, swi_oid_str(t->id, tid), s.function, t->attempt + 1,
		 t->state == SWI_TASK_FAILED ? "failed" : "will not be run once more");
	swi_event(n, "object_lost", json_pack("{s:s,s:s}", "object", oid, "why", why));
	return SWARM_ELOST;
}

static int no_maker(struct swi_node *n, struct swarm_oid id, bool made, char *why, size_t why_len)
{
	char oid[33];

	if (!made && !swi_lineage_was_evicted(n, id))
		return 0; /* nobody has made it yet: who waits goes on waiting */
	n->rebuild.objects_gone++;
	if (swi_lineage_was_evicted(n, id))
		snprintf(why, why_len, "object %s lost its last copy; lineage evicted (budget %llu bytes)",
			 swi_oid_str(id, oid), (unsigned long long)n->lineage.budget);
	else
		snprintf(why, why_len,
			 "object %s lost its last copy; it was put, not made by a task",
			 swi_oid_str(id, oid));
	return SWARM_ELOST;
}

/* Runs the maker again for a result that is wanted; an execution under way will do. */
static void run_again(struct swi_node *n, struct swi_task *t)
{
	const struct swi_spec s = swi_task_spec(t);
	char tid[33];

	if (t->state != SWI_TASK_DONE)
		return;
	n->rebuild.reruns++;
	swi_graph_rerun(n, t);
	if (t->flags & SWI_TASK_F_DROPPED) { /* on purpose: no loss */
		t->flags &= (uint8_t)~SWI_TASK_F_DROPPED;
		n->rebuild.remade++;
		swi_event(n, "remake", json_pack("{s:s,s:s,s:i}", "task", swi_oid_str(t->id, tid), "function",
						 s.function, "attempt", (int)t->attempt));
		return;
	}
	swi_rebuild_join(n, t);
	swi_event(n, "rerun", json_pack("{s:s,s:s,s:i,s:i}", "task", swi_oid_str(t->id, tid), "function",
					s.function, "attempt", (int)t->attempt, "lost_node",
					(int)(t->recovery ? t->recovery->node : 0)));
}

static void note_loss(struct swi_node *n, struct swi_task *maker, struct swarm_oid id)
{
	n->rebuild.objects_lost++;
	if (n->rebuild.current)
		count_loss(n->rebuild.current, swi_task_spec(maker).function, id);
}

uint64_t swi_rebuild_remake_ns(struct swi_node *n, struct swarm_oid id, bool drop)
{
	struct swi_task *t = swi_graph_maker(n, id, NULL);

	if (!t || t->state != SWI_TASK_DONE || !t->run_us || t->rebuilds >= REMAKES_MAX ||
	    swi_task_spec(t).ref_count)
		return UINT64_MAX;
	if (drop) {
		n->rebuild.dropped++;
		t->flags |= SWI_TASK_F_DROPPED;
		swi_lineage_keep(n, t);
	}
	return t->run_us * NS_PER_US;
}

int swi_rebuild_lost(struct swi_node *n, struct swarm_oid id, bool made, char *why, size_t why_len)
{
	struct swi_task *t = swi_graph_maker(n, id, NULL);

	if (!t)
		return no_maker(n, id, made, why, why_len);
	if (made && !(t->flags & SWI_TASK_F_DROPPED))
		note_loss(n, t, id);
	if (t->state == SWI_TASK_FAILED || (t->state == SWI_TASK_DONE && t->rebuilds >= SWI_REBUILDS_MAX))
		return refuse(n, t, id, why, why_len);
	swi_dir_expect(n->sn, id);
	run_again(n, t);
	swi_dispatch_recall(n, id);
	return 0;
}

void swi_rebuild_need(struct swi_node *n, struct swi_task *by, struct swi_task *maker, uint32_t index)
{
	const struct swarm_oid id = swi_result_id(maker->id, index);
	char why[256];

	if (maker == by || maker->state == SWI_TASK_FAILED)
		return;
	/* Asked for by a second run, or deleted before the first: made again as long as there is a record of it. */
	if (maker->state == SWI_TASK_DONE && maker->rebuilds >= SWI_REBUILDS_MAX) {
		swi_dir_fail(n->sn, id, refuse(n, maker, id, why, sizeof(why)), why);
		return;
	}
	if (swi_task_result_gone(maker, index) && !(by->flags & SWI_TASK_F_RERUN))
		return; /* the user deleted what the user needs: the watch says so */
	if (swi_dir_get(n->sn, id, NULL) != SWI_DIR_PENDING) {
		if (maker->state == SWI_TASK_DONE && !swi_task_result_gone(maker, index))
			note_loss(n, maker, id);
		swi_dir_expect(n->sn, id);
	}
	run_again(n, maker);
}

void swi_rebuild_finished(struct swi_node *n, struct swi_task *t, bool ok)
{
	struct swi_recovery *r = t->recovery;

	if (t->flags & SWI_TASK_F_RERUN) {
		if (ok)
			n->rebuild.objects_recovered += t->live;
		else
			n->rebuild.objects_gone += t->live;
	}
	if (!r)
		return;
	t->recovery = NULL;
	r->failed += !ok;
	if (!--r->open)
		recovery_over(n, r);
}
