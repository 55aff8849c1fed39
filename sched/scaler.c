/* SPDX-License-Identifier: Apache-2.0 */
/* scaler.c - see scaler.h. */
#include "sched/scaler.h"

#include "sched/core.h"

#define PERIOD_NS     (50 * NS_PER_MS)
#define PATIENCE_NS   (200 * NS_PER_MS) /* how long a ready task waits before it counts as demand */
#define START_DEFAULT (30 * NS_PER_S)
#define RETRY_NS      NS_PER_S

static void times(const struct swi_resources *need, uint64_t count, struct swi_resources *out)
{
	*out = *need;
	/* Amounts are below 2^60 and counts below 2^32: a float finds the overflow, precision does not matter. */
	out->cpu = (double)need->cpu * (double)count > 1e18 ? UINT64_MAX : need->cpu * count;
	out->gpu = (double)need->gpu * (double)count > 1e18 ? UINT64_MAX : need->gpu * count;
	out->memory = (double)need->memory * (double)count > 1e18 ? UINT64_MAX : need->memory * count;
	for (uint32_t i = 0; i < out->custom_count; i++)
		out->custom[i].amount = (double)need->custom[i].amount * (double)count > 1e18
					    ? UINT64_MAX
					    : need->custom[i].amount * count;
}

static void larger(struct swi_resources *a, const struct swi_resources *b)
{
	a->cpu = swi_max_u64(a->cpu, b->cpu);
	a->gpu = swi_max_u64(a->gpu, b->gpu);
	a->memory = swi_max_u64(a->memory, b->memory);
	for (uint32_t i = 0; i < b->custom_count; i++) {
		struct swi_resources one = {.custom_count = 1};

		one.custom[0] = b->custom[i];
		if (!swi_resources_fit(a, &one)) {
			swi_resources_sub(a, &one); /* to zero, then as much as needed */
			swi_resources_add(a, &one);
		}
	}
}

void swi_scaler_demand(struct swi_node *n, struct swi_scale_demand *out)
{
	const uint64_t now = swi_node_now(n);

	*out = (struct swi_scale_demand){0};
	swi_list_for_each(it, &n->dispatch.shapes) {
		const struct swi_shape *sh = swi_list_entry(it, struct swi_shape, link);
		const struct swi_task *first = swi_shape_oldest(sh);
		struct swi_resources sum;

		if (!first || now - first->since_ns < PATIENCE_NS)
			continue;
		times(&sh->need, sh->count, &sum);
		out->tasks = (uint32_t)swi_min_u64(UINT32_MAX, out->tasks + sh->count);
		swi_resources_add(&out->need, &sum);
		larger(&out->largest, &sh->need);
	}
}

bool swi_scaler_can_grow(const struct swi_node *n)
{
	const uint32_t nodes = n->cview.view.count + n->scaler.starting;

	return n->o.head && n->o.provider.start && n->o.scale.max_nodes &&
	       (n->scaler.starting || nodes < n->o.scale.max_nodes);
}

void swi_scaler_joined(struct swi_node *n, bool provided)
{
	if (provided && n->scaler.starting)
		n->scaler.starting--;
}

static void start(struct swi_node *n, const struct swi_scale_decision *d)
{
	struct swi_scaler *s = &n->scaler;
	const int rc = n->o.provider.start(n->o.provider.ctx, d->start);

	if (rc < 0) {
		swi_warn(n->log, "cannot start %u nodes: %s", d->start, swarm_strerror(rc));
		s->next_ns = swi_node_now(n) + RETRY_NS;
		return;
	}
	s->starting += d->start;
	s->started += d->start;
	s->asked_ns = swi_node_now(n);
	swi_event(n, "scale_up", json_pack("{s:i,s:s}", "nodes", (int)d->start, "why", d->why));
}

static void give_up_starting(struct swi_node *n, uint64_t now)
{
	struct swi_scaler *s = &n->scaler;
	const uint64_t limit = n->o.scale.start_timeout_ns ? n->o.scale.start_timeout_ns : START_DEFAULT;

	if (!s->starting || now - s->asked_ns < limit)
		return;
	swi_warn(n->log, "%u nodes were started and did not join", s->starting);
	swi_event(n, "start_failed", json_pack("{s:i}", "nodes", (int)s->starting));
	s->failed += s->starting;
	s->starting = 0;
}

static uint32_t gather(struct swi_node *n, struct swi_scale_node *nodes, struct swi_scale_demand *sum)
{
	swi_scaler_demand(n, sum);
	for (uint32_t i = 0; i < n->cview.view.count; i++) {
		const struct swi_member *m = n->cview.member[i];

		nodes[i] = (struct swi_scale_node){.node = m->node,
						   .head = m->node == n->number,
						   .draining = n->cview.view.node[i].draining,
						   .idle_since_ns = m->provided && !m->placed_count
									? m->idle_since_ns
									: 0};
		sum->tasks += m->demand.tasks;
		swi_resources_add(&sum->need, &m->demand.need);
		larger(&sum->largest, &m->demand.largest);
	}
	return n->cview.view.count;
}

int swi_scaler_step(struct swi_node *n)
{
	struct swi_scaler *s = &n->scaler;
	const uint64_t now = swi_node_now(n);
	struct swi_scale_demand demand;
	struct swi_scale_decision d;
	struct swi_scale_node *nodes;
	uint32_t count;

	if (!n->o.head || !n->o.scale.max_nodes || !n->o.provider.start || now < s->next_ns ||
	    n->member.ended)
		return 0;
	s->next_ns = now + PERIOD_NS;
	give_up_starting(n, now);
	nodes = calloc(n->cview.view.count + 1, sizeof(*nodes));
	if (!nodes)
		return 0;
	count = gather(n, nodes, &demand);
	swi_scale(&n->o.scale, nodes, count, s->starting, &demand, now, &d);
	free(nodes);
	if (d.start)
		start(n, &d);
	if (d.drain)
		(void)swi_member_drain(n, d.drain);
	return d.start || d.drain;
}

uint64_t swi_scaler_deadline_ns(const struct swi_node *n)
{
	return n->o.head && n->o.scale.max_nodes && n->o.provider.start && !n->member.ended
		   ? n->scaler.next_ns
		   : UINT64_MAX;
}
