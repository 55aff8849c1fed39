/* SPDX-License-Identifier: Apache-2.0 */
/*
 * left.c - what a node still has when the driver has deleted everything (sim.h). Nothing may be left but
 * the module and what children of tasks made: nobody deletes those. Read only.
 */
#include "sched/core.h"
#include "store/snode_internal.h"
#include "tests/sim/sim.h"

#define TIMERS_MAX 256u /* of an idle node */
#define DELETED_MAX SWI_DELETED_MAX

struct left {
	const struct sim *s;
	char *why;
	size_t len;
	bool found;
};

__attribute__((format(printf, 2, 3))) static void say(struct left *l, const char *fmt, ...)
{
	va_list ap;

	if (l->found)
		return;
	l->found = true;
	va_start(ap, fmt);
	vsnprintf(l->why, l->len, fmt, ap);
	va_end(ap);
}

static bool same(struct swarm_oid a, struct swarm_oid b)
{
	return a.w[0] == b.w[0] && a.w[1] == b.w[1];
}

static bool may_stay(const struct sim *s, struct swarm_oid id)
{
	const struct sim_load *d = &s->load;

	if (same(id, d->module.id) || sim_obj_may_stay(s, id))
		return true;
	for (uint32_t i = 0; i < d->tasks; i++) {
		const struct swarm_oid child = swi_task_id(d->task[i].spec.task, 0);

		if (!strcmp(d->task[i].spec.function, "nest") &&
		    (same(id, child) || same(id, swi_result_id(child, 0))))
			return true;
	}
	return false;
}

static const char *name_of(const struct sim *s, struct swarm_oid id, char *buf, size_t len)
{
	const struct sim_load *d = &s->load;

	snprintf(buf, len, "not of the load");
	for (uint32_t i = 0; i < SIM_OBJS; i++)
		if (same(s->obj[i].ref.id, id))
			snprintf(buf, len, "object %u of a guest, home %u", i, s->obj[i].ref.home);
	for (uint32_t i = 0; i < SIM_INPUTS; i++)
		if (same(d->input[i].id, id))
			snprintf(buf, len, "input %u", i);
	for (uint32_t i = 0; i < d->tasks; i++)
		for (uint32_t k = 0; k < d->task[i].spec.return_count; k++)
			if (same(swi_result_id(d->task[i].spec.task, k), id))
				snprintf(buf, len, "result %u of task %u, %s", k, i, d->task[i].spec.function);
	return buf;
}

static void object(struct left *l, struct swarm_oid id, const char *where)
{
	char what[64];

	if (!may_stay(l->s, id))
		say(l, "%s %016llx%016llx (%s)", where, (unsigned long long)id.w[0], (unsigned long long)id.w[1],
		    name_of(l->s, id, what, sizeof(what)));
}

static void spilled(void *ctx, const struct swi_object_head *head)
{
	object(ctx, (struct swarm_oid){{head->oid[0], head->oid[1]}}, "a spilled object");
}

/* Every byte of the arena in use belongs to a grant, an object of the index, or waits for readers. */
static void memory(struct left *l, struct swi_snode *sn)
{
	uint64_t known = sn->holds.retired_bytes, ext;

	for (uint32_t i = 0; i < sn->clients.grant_count; i++)
		known += sn->clients.grant[i] ? sn->clients.grant[i]->bytes : 0;
	for (uint64_t i = 0; i < swi_index_slots(&sn->index); i++) {
		const uint64_t word = swi_index_word(&sn->index, i);
		const enum swi_slot_state st = swi_slot_state(word);

		if (st == SWI_SLOT_EMPTY)
			continue;
		const uint64_t at = swi_slot_offset(word);
		const struct swi_object_head *h = swi_object_at(sn, at, &ext);

		if (st != SWI_SLOT_SEALED || !h) {
			say(l, "slot %llu in state %d", (unsigned long long)i, (int)st);
			continue;
		}
		object(l, (struct swarm_oid){{h->oid[0], h->oid[1]}}, "object");
		known += sn->clients.page_grant[at / SWI_PAGE] ? 0 : ext;
	}
	known += sn->rooms.reserve_bytes; /* laid aside for readers of the disk */
	if (sn->rooms.reserve.used)
		say(l, "%llu bytes of the reserve in use", (unsigned long long)sn->rooms.reserve.used);
	if (known != sn->extents.used)
		say(l, "%lld bytes of the arena that belong to nothing",
		    (long long)(sn->extents.used - known));
	if (!swi_list_empty(&sn->holds.retired))
		say(l, "%llu retired bytes", (unsigned long long)sn->holds.retired_bytes);
	if (sn->spill)
		swi_spill_each(sn->spill, spilled, l);
}

static void clients(struct left *l, struct swi_snode *sn)
{
	swi_list_for_each(it, &sn->clients.list)
	{
		const struct swi_client *cl = swi_list_entry(it, struct swi_client, link);

		if (cl->requests || cl->out_bytes || cl->items || !swi_list_empty(&cl->held))
			say(l, "client %u: %u requests, %u items, %llu bytes of answers, %sheld", cl->number,
			    cl->requests, cl->items, (unsigned long long)cl->out_bytes,
			    swi_list_empty(&cl->held) ? "nothing " : "");
	}
	if (!swi_list_empty(&sn->clients.rooms) || sn->clients.rooms_bytes)
		say(l, "a request for room");
}

/* What somebody filled of his quota is an object that stays. */
static void charge(struct left *l, struct swi_snode *sn, const struct swi_charge *ch)
{
	const struct swi_object_head *h = swi_object_at(sn, ch->offset, NULL);

	if (!h)
		say(l, "a charge for what is no object");
	else
		object(l, (struct swarm_oid){{h->oid[0], h->oid[1]}}, "a charge for object");
}

static void store(struct left *l, struct swi_snode *sn)
{
	for (const struct swi_rec *r = sn->dir.recs; r; r = r->hh.next) {
		object(l, r->id, r->proxy ? "proxy record" : "record");
		if (!swi_list_empty(&r->watches) || !swi_list_empty(&r->remotes))
			say(l, "a watch of %016llx", (unsigned long long)r->id.w[0]);
	}
	if (sn->fetches.count || !swi_list_empty(&sn->fetches.fresh) || sn->fetches.in_flight)
		say(l, "a fetch");
	if (!swi_list_empty(&sn->dir.fresh) || !swi_list_empty(&sn->dir.dirty))
		say(l, "a record to be looked at");
	if (sn->reqs)
		say(l, "a request to a peer");
	if (sn->untolds.by_id || !swi_list_empty(&sn->untolds.tellings))
		say(l, "a name whose home does not know it");
	if (sn->leases.by_num)
		say(l, "a lease");
	if (!swi_list_empty(&sn->rooms.list) || sn->rooms.bytes)
		say(l, "a wait for room");
	if (!swi_list_empty(&sn->digests) || !swi_list_empty(&sn->syncs) || sn->announce.running)
		say(l, "work of the store");
	if (sn->evict.spilling || sn->evict.spilling_bytes)
		say(l, "a write to disk");
	if (!swi_list_empty(&sn->draining.taking))
		say(l, "something taken over");
	for (const struct swi_attr *at = sn->attrs.by_id; at; at = at->hh.next)
		object(l, at->id, "a pin or an end in time");
	if (!swi_list_empty(&sn->ranges.list))
		say(l, "a part of an object");
	for (const struct swi_charge *ch = sn->quotas.by_offset; ch; ch = ch->hh.next)
		charge(l, sn, ch);
	if (sn->timers.count > TIMERS_MAX || HASH_COUNT(sn->dir.deleted) > DELETED_MAX)
		say(l, "%u timers, %u names of what was deleted", sn->timers.count,
		    HASH_COUNT(sn->dir.deleted));
	swi_list_for_each(it, &sn->peers.list)
	{
		const struct swi_peer *p = swi_list_entry(it, struct swi_peer, link);

		if (p->queue_bytes || p->copies_count || p->ends_count)
			say(l, "messages to node %u", p->node);
	}
	memory(l, sn);
	clients(l, sn);
}

static void lineage(struct left *l, struct swi_node *n)
{
	uint64_t records = 0, loose = 0, listed = 0;

	for (uint64_t i = 0; i < n->graph.tasks.cap; i++) {
		const struct swi_task *t = n->graph.tasks.slot[i].val;

		if (!t)
			continue;
		/* Without live results it may stay, but only as what the budget throws out first. */
		if (t->live)
			object(l, t->id, "the lineage of task");
		records++;
		loose += !t->live && !t->dependents;
		if (t->active)
			say(l, "task %016llx with %u open dependents", (unsigned long long)t->id.w[0], t->active);
		if (t->state != SWI_TASK_DONE && t->state != SWI_TASK_FAILED)
			say(l, "task %016llx in state %s", (unsigned long long)t->id.w[0],
			    swi_task_state_name((enum swi_task_state)t->state));
	}
	swi_list_for_each(it, &n->lineage.loose)
		listed++;
	if (records != n->lineage.records || loose != listed || n->lineage.bytes > n->lineage.budget)
		say(l, "%llu records of lineage, %llu loose, where %llu and %llu are known",
		    (unsigned long long)records, (unsigned long long)loose,
		    (unsigned long long)n->lineage.records, (unsigned long long)listed);
}

static void sched(struct left *l, struct swi_node *n)
{
	lineage(l, n);
	if (n->graph.puts.count || !swi_list_empty(&n->graph.restart))
		say(l, "%llu arguments of tasks", (unsigned long long)n->graph.puts.count);
	if (!swi_list_empty(&n->dispatch.foreign) || n->dispatch.foreign_map.count)
		say(l, "a task of another home");
	swi_list_for_each(it, &n->dispatch.shapes)
	{
		const struct swi_shape *sh = swi_list_entry(it, struct swi_shape, link);

		if (sh->count)
			say(l, "%llu queued tasks", (unsigned long long)sh->count);
	}
	swi_list_for_each(it, &n->rebuild.recoveries)
	{
		const struct swi_recovery *r = swi_list_entry(it, struct swi_recovery, link);

		if (r->open)
			say(l, "a recovery with %llu runs open", (unsigned long long)r->open);
	}
}

bool sim_left(const struct sim_node *n, char *why, size_t why_len)
{
	struct left l = {.s = n->s, .why = why, .len = why_len};

	store(&l, n->sn);
	sched(&l, n->node);
	return l.found;
}
