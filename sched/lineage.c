/* SPDX-License-Identifier: Apache-2.0 */
/* lineage.c - see lineage.h. Dropping a record may set its makers free: done with a list, not by recursion. */
#include "sched/lineage.h"

#include "sched/core.h"

#define BLOOM_BITS (1u << 20)
#define TELL_NS	   NS_PER_S

static uint64_t record_bytes(const struct swi_task *t)
{
	/* The record, its spec, and its slots in the two maps at their usual fill. */
	return sizeof(*t) + t->spec_len + 48u * (1u + t->returns);
}

void swi_lineage_init(struct swi_node *n, uint64_t budget)
{
	n->lineage.budget = budget ? budget : MIB(256);
	swi_list_init(&n->lineage.done);
	swi_list_init(&n->lineage.loose);
}

void swi_lineage_fini(struct swi_node *n)
{
	free(n->lineage.evicted_bits);
	n->lineage.evicted_bits = NULL;
}

void swi_lineage_each_maker(struct swi_node *n, struct swi_task *t,
			    void (*each)(struct swi_node *n, struct swi_task *maker))
{
	const struct swi_spec s = swi_task_spec(t);
	struct swi_spec_arg a;
	uint32_t pos = 0;

	while (s.ref_count && swi_spec_next_arg(&s, &pos, &a)) {
		struct swi_task *maker = a.is_ref ? swi_graph_maker(n, a.ref.id, NULL) : NULL;

		/* A child may name its own parent's result, a task never its own. */
		if (maker && maker != t)
			each(n, maker);
	}
}

static void ref_up(struct swi_node *n, struct swi_task *maker)
{
	(void)n;
	maker->dependents++;
}

static bool is_loose(const struct swi_task *t)
{
	return !t->live && !t->dependents;
}

static bool is_finished(const struct swi_task *t)
{
	return t->state == SWI_TASK_DONE || t->state == SWI_TASK_FAILED;
}

static void file(struct swi_node *n, struct swi_task *t)
{
	struct swi_lineage *l = &n->lineage;

	swi_list_del(&t->link);
	if (!is_loose(t)) {
		swi_list_push_back(&l->done, &t->link);
		return;
	}
	swi_list_push_back(&l->loose, &t->link);
	l->loose_bytes += record_bytes(t);
}

static void ref_down(struct swi_node *n, struct swi_task *maker)
{
	maker->dependents--;
	if (is_finished(maker) && is_loose(maker))
		file(n, maker);
}

static void bloom_words(struct swarm_oid id, uint32_t out[3])
{
	out[0] = (uint32_t)id.w[0] % BLOOM_BITS;
	out[1] = (uint32_t)(id.w[0] >> 32) % BLOOM_BITS;
	out[2] = (uint32_t)id.w[1] % BLOOM_BITS;
}

static void remember_evicted(struct swi_lineage *l, const struct swi_task *t)
{
	if (!l->evicted_bits)
		l->evicted_bits = calloc(BLOOM_BITS / 64, sizeof(uint64_t));
	for (uint32_t i = 0; l->evicted_bits && i < t->returns; i++) {
		uint32_t bit[3];

		bloom_words(swi_result_id(t->id, i), bit);
		for (int k = 0; k < 3; k++)
			l->evicted_bits[bit[k] / 64] |= 1ull << bit[k] % 64;
	}
}

bool swi_lineage_was_evicted(const struct swi_node *n, struct swarm_oid result)
{
	const uint64_t *bits = n->lineage.evicted_bits;
	uint32_t bit[3];

	bloom_words(result, bit);
	return bits && bits[bit[0] / 64] >> bit[0] % 64 & 1 && bits[bit[1] / 64] >> bit[1] % 64 & 1 &&
	       bits[bit[2] / 64] >> bit[2] % 64 & 1;
}

/* Takes the record out; makers that nobody references any more become loose. */
static void drop(struct swi_node *n, struct swi_task *t)
{
	struct swi_lineage *l = &n->lineage;

	if (is_loose(t))
		l->loose_bytes -= record_bytes(t);
	l->bytes -= record_bytes(t);
	l->records--;
	swi_lineage_each_maker(n, t, ref_down);
	swi_graph_drop(n, t);
}

static void tell_evictions(struct swi_node *n)
{
	struct swi_lineage *l = &n->lineage;
	const uint64_t now = swi_node_now(n);

	if (!l->untold || (l->told_ns && now - l->told_ns < TELL_NS))
		return;
	swi_warn(n->log, "lineage is over its budget of %llu bytes: %llu of the oldest records left",
		 (unsigned long long)l->budget, (unsigned long long)l->untold);
	swi_event(n, "lineage_evicted", json_pack("{s:I,s:I}", "records", (json_int_t)l->untold, "budget_bytes",
						  (json_int_t)l->budget));
	l->untold = 0;
	l->told_ns = now;
}

static void keep_to_budget(struct swi_node *n)
{
	struct swi_lineage *l = &n->lineage;

	while (l->loose_bytes > l->budget / 16 || (l->bytes > l->budget && !swi_list_empty(&l->loose))) {
		l->dropped++;
		drop(n, swi_list_first(&l->loose, struct swi_task, link));
	}
	while (l->bytes > l->budget && !swi_list_empty(&l->done)) {
		struct swi_task *t = swi_list_first(&l->done, struct swi_task, link);

		remember_evicted(l, t);
		l->evicted++;
		l->untold++;
		drop(n, t);
	}
	tell_evictions(n);
}

void swi_lineage_add(struct swi_node *n, struct swi_task *t)
{
	n->lineage.bytes += record_bytes(t);
	n->lineage.records++;
	swi_lineage_each_maker(n, t, ref_up);
	keep_to_budget(n);
}

void swi_lineage_finished(struct swi_node *n, struct swi_task *t)
{
	file(n, t);
	keep_to_budget(n);
}

void swi_lineage_reopened(struct swi_node *n, struct swi_task *t)
{
	swi_list_del(&t->link);
	if (is_loose(t))
		n->lineage.loose_bytes -= record_bytes(t);
}

void swi_lineage_keep(struct swi_node *n, struct swi_task *t)
{
	(void)n;
	if (!is_loose(t))
		swi_list_del(&t->link); /* in no list: nothing finds it that looks for records to drop */
}

void swi_lineage_unref(struct swi_node *n, struct swi_task *t)
{
	if (!is_finished(t) || !is_loose(t))
		return;
	file(n, t);
	keep_to_budget(n);
}
