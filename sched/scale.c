/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scale.c - see scale.h. Starting needs demand, draining needs its absence and a full idle timeout, and
 * never both at once: so the size does not swing. Pure function, any thread.
 */
#include "sched/scale.h"

static uint64_t ceil_div(uint64_t a, uint64_t b)
{
	return b ? a / b + (a % b != 0) : 0;
}

static uint64_t custom_of(const struct swi_resources *r, const char *name)
{
	for (uint32_t i = 0; i < r->custom_count; i++)
		if (!strcmp(r->custom[i].name, name))
			return r->custom[i].amount;
	return 0;
}

/* Nodes of @shape that hold the whole sum, by the scarcest resource. */
static uint64_t nodes_for(const struct swi_resources *sum, const struct swi_resources *shape)
{
	uint64_t n = 1;

	n = swi_max_u64(n, ceil_div(sum->cpu, shape->cpu));
	n = swi_max_u64(n, ceil_div(sum->gpu, shape->gpu));
	n = swi_max_u64(n, ceil_div(sum->memory, shape->memory));
	for (uint32_t i = 0; i < sum->custom_count; i++)
		n = swi_max_u64(n, ceil_div(sum->custom[i].amount,
					    custom_of(shape, sum->custom[i].name)));
	return n;
}

struct census {
	uint32_t all, staying;
	uint32_t idle; /* the newest node that was idle long enough; 0 = none */
	bool draining;
};

static struct census count_nodes(const struct swi_scale_opts *opts, const struct swi_scale_node *nodes,
				 uint32_t count, uint64_t now_ns)
{
	struct census c = {.all = count};

	for (uint32_t i = 0; i < count; i++) {
		const struct swi_scale_node *n = &nodes[i];

		if (n->draining) {
			c.draining = true;
			continue;
		}
		c.staying++;
		if (!n->head && n->idle_since_ns && now_ns >= n->idle_since_ns &&
		    now_ns - n->idle_since_ns >= opts->idle_timeout_ns && n->node > c.idle)
			c.idle = n->node;
	}
	return c;
}

static void decide_start(struct swi_scale_decision *d, uint64_t want, uint32_t starting, uint64_t room,
			 const char *reason)
{
	if (want <= starting)
		return;
	want = swi_min_u64(want - starting, room);
	if (!want)
		return;
	d->start = (uint32_t)want;
	snprintf(d->why, sizeof(d->why), "%s", reason);
}

void swi_scale(const struct swi_scale_opts *opts, const struct swi_scale_node *nodes, uint32_t count,
	       uint32_t starting, const struct swi_scale_demand *demand, uint64_t now_ns,
	       struct swi_scale_decision *out)
{
	const struct census c = count_nodes(opts, nodes, count, now_ns);
	const uint64_t used = (uint64_t)c.all + starting;
	const uint64_t room = opts->max_nodes > used ? opts->max_nodes - used : 0;

	*out = (struct swi_scale_decision){0};
	if (!opts->max_nodes)
		return;
	if (c.staying + starting < opts->min_nodes)
		decide_start(out, (uint64_t)opts->min_nodes - c.staying, starting, room,
			     "fewer nodes than the minimum");
	if (demand->tasks) {
		char why[sizeof(out->why)];

		snprintf(why, sizeof(why), "%u ready tasks found no room", demand->tasks);
		if (!out->start && swi_resources_fit(&opts->shape, &demand->largest))
			decide_start(out, nodes_for(&demand->need, &opts->shape), starting, room, why);
		return;
	}
	if (!starting && !out->start && !c.draining && c.idle && c.staying > opts->min_nodes) {
		out->drain = c.idle;
		snprintf(out->why, sizeof(out->why), "node %u was idle for its timeout", c.idle);
	}
}
