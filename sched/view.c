/* SPDX-License-Identifier: Apache-2.0 */
/* view.c - see view.h. */
#include "sched/view.h"

#include "sched/core.h"

void swi_view_init(struct swi_node *n)
{
	n->cview = (struct swi_cview){0};
}

struct swi_member *swi_view_find(struct swi_node *n, uint32_t node)
{
	const int64_t row = swi_view_row(&n->cview.view, node);

	return row < 0 ? NULL : n->cview.member[row];
}

static void sync_from(struct swi_cview *c, uint32_t row)
{
	for (uint32_t i = row; i < c->view.count; i++)
		swi_view_sync(&c->view, i);
	/* Columns behind the last row never fit. */
	for (uint32_t i = c->view.count; i < c->view.hot.count; i++)
		c->view.hot.free_cpu[i] = c->view.hot.park_cpu[i] = -1;
}

static int grow(struct swi_cview *c)
{
	const uint32_t cap = c->cap ? c->cap * 2 : 8;
	struct swi_view_hot hot;
	void *p;

	if (c->view.count < c->cap)
		return 0;
	p = realloc(c->view.node, cap * sizeof(*c->view.node));
	if (!p)
		return -ENOMEM;
	c->view.node = p;
	p = realloc(c->member, cap * sizeof(struct swi_member *));
	if (!p)
		return -ENOMEM;
	c->member = p;
	if (swi_view_hot_init(&hot, cap))
		return -ENOMEM;
	swi_view_hot_fini(&c->view.hot);
	c->view.hot = hot;
	c->cap = cap;
	return 0;
}

static uint32_t queue_max(const struct swi_resources *total)
{
	return (uint32_t)swi_max_u64(2, 2 * (total->cpu / SWARM_RESOURCE_UNIT));
}

struct swi_member *swi_view_add(struct swi_node *n, uint32_t node, uint64_t epoch, const char *address,
				const struct swi_resources *total)
{
	struct swi_cview *c = &n->cview;
	struct swi_member *m = swi_view_find(n, node);
	uint32_t row;

	if (m)
		return m;
	m = calloc(1, sizeof(*m));
	SWI_BUG_ON(!m || grow(c));
	row = (uint32_t)(-swi_view_row(&n->cview.view, node) - 1);
	memmove(c->view.node + row + 1, c->view.node + row, (c->view.count - row) * sizeof(*c->view.node));
	memmove(c->member + row + 1, c->member + row, (c->view.count - row) * sizeof(struct swi_member *));
	c->view.count++;
	c->member[row] = m;
	m->node = node;
	m->epoch = epoch;
	snprintf(m->address, sizeof(m->address), "%s", address ? address : "");
	swi_list_init(&m->placed);
	m->heard_ns = swi_node_now(n);
	m->report.total = m->report.free = *total;
	c->view.node[row] = (struct swi_view_node){.node = node, .total = *total, .free = *total,
						   .queue_max = queue_max(total)};
	sync_from(c, row);
	swi_dispatch_kick(n);
	return m;
}

void swi_view_remove(struct swi_node *n, uint32_t node)
{
	struct swi_cview *c = &n->cview;
	const int64_t at = swi_view_row(&n->cview.view, node);
	uint32_t row;

	if (at < 0)
		return;
	row = (uint32_t)at;
	SWI_BUG_ON(!swi_list_empty(&c->member[row]->placed));
	free(c->member[row]);
	c->view.count--;
	memmove(c->view.node + row, c->view.node + row + 1, (c->view.count - row) * sizeof(*c->view.node));
	memmove(c->member + row, c->member + row + 1, (c->view.count - row) * sizeof(struct swi_member *));
	sync_from(c, row);
	swi_dispatch_kick(n);
}

void swi_view_fini(struct swi_node *n)
{
	struct swi_cview *c = &n->cview;

	for (uint32_t i = 0; i < c->view.count; i++)
		free(c->member[i]);
	free(c->member);
	free(c->view.node);
	swi_view_hot_fini(&c->view.hot);
	*c = (struct swi_cview){0};
}

static void refresh(struct swi_node *n, uint32_t row)
{
	struct swi_member *m = n->cview.member[row];
	struct swi_view_node *v = &n->cview.view.node[row];
	const struct swi_report *r = &m->report;

	v->draining = r->draining || m->drain_asked;
	v->total = r->total;
	/* Whoever has tasks waiting has nothing free for one more: it would only be parked. */
	v->free = r->queued ? (struct swi_resources){0} : r->free;
	v->queued = r->queued;
	if (m->unheard_count && !swi_resources_fit(&v->free, &m->unheard))
		v->queued += m->unheard_count;
	swi_resources_sub(&v->free, &m->unheard);
	v->running = r->running;
	v->queue_ns = r->queue_ns;
	v->idle_workers = r->idle_workers;
	v->arena_bytes = r->arena_bytes;
	v->arena_used = r->arena_used;
	v->queue_max = r->queue_max ? r->queue_max : queue_max(&r->total);
	swi_view_sync(&n->cview.view, row);
}

void swi_view_refresh(struct swi_node *n, uint32_t node)
{
	const int64_t row = swi_view_row(&n->cview.view, node);

	if (row >= 0)
		refresh(n, (uint32_t)row);
}

/* What we sent and the report does not know yet: the tail of the list. */
static void count_unheard(struct swi_member *m)
{
	m->unheard = (struct swi_resources){0};
	m->unheard_count = 0;
	for (struct swi_list *it = m->placed.prev; it != &m->placed; it = it->prev) {
		const struct swi_task *t = swi_list_entry(it, struct swi_task, link);

		if (t->seq <= m->heard)
			break;
		swi_resources_add(&m->unheard, &t->shape->need);
		m->unheard_count++;
	}
}

void swi_view_report(struct swi_node *n, uint32_t node, const struct swi_report *r, bool direct)
{
	const int64_t row = swi_view_row(&n->cview.view, node);
	struct swi_member *m;

	if (row < 0)
		return;
	m = n->cview.member[row];
	if (r->stamp <= m->report.stamp)
		return;
	if (direct || !m->placed_count) {
		m->report = *r;
		m->heard = direct ? r->heard : m->sent;
	} else {
		/* Through the head: it does not say which of our tasks it counts. */
		m->report.draining = r->draining;
	}
	count_unheard(m);
	refresh(n, (uint32_t)row);
	swi_dispatch_kick(n);
}

void swi_view_make_report(struct swi_node *n, uint32_t to, struct swi_report *out)
{
	const struct swi_member *m = swi_view_find(n, to);
	struct swi_view_node v = {0};
	struct swi_snode_stats st;

	swi_runner_load(n->runner, &v);
	swi_snode_stats(n->sn, &st);
	*out = (struct swi_report){
	    .stamp = ++n->cview.stamp,
	    .total = v.total,
	    .free = v.free,
	    .queued = v.queued,
	    .running = v.running,
	    .idle_workers = v.idle_workers,
	    .queue_ns = v.queue_ns,
	    .arena_bytes = st.arena_bytes,
	    .arena_used = st.arena_used,
	    .heard = m ? m->got : 0,
	    .draining = n->member.leaving,
	    .idle = swi_runner_idle(n->runner) && !swi_graph_open(n) && !n->drivers,
	};
}

void swi_view_self(struct swi_node *n)
{
	const int64_t row = swi_view_row(&n->cview.view, n->number);
	struct swi_view_node v = {0};
	struct swi_member *m;

	if (row < 0)
		return;
	m = n->cview.member[row];
	swi_runner_load(n->runner, &v);
	m->report.free = v.free;
	m->report.total = v.total;
	m->report.queued = v.queued;
	m->report.running = v.running;
	m->report.queue_ns = v.queue_ns;
	m->report.idle_workers = v.idle_workers;
	m->report.queue_max = v.queue_max;
	m->report.arena_bytes = swi_snode_arena_bytes(n->sn);
	m->report.arena_used = swi_snode_arena_used(n->sn);
	m->report.draining = n->member.leaving;
	m->heard = m->sent;
	count_unheard(m);
	refresh(n, (uint32_t)row);
}

void swi_view_placed(struct swi_node *n, struct swi_member *m, struct swi_task *t)
{
	const int64_t row = swi_view_row(&n->cview.view, m->node);
	struct swi_view_node *v = &n->cview.view.node[row];

	swi_list_push_back(&m->placed, &t->link);
	m->placed_count++;
	t->seq = ++m->sent;
	swi_resources_add(&m->unheard, &t->shape->need);
	m->unheard_count++;
	if (swi_resources_fit(&v->free, &t->shape->need))
		swi_resources_sub(&v->free, &t->shape->need);
	else
		v->queued++;
	swi_view_sync(&n->cview.view, (uint32_t)row);
}

void swi_view_unplaced(struct swi_node *n, struct swi_member *m, struct swi_task *t)
{
	swi_list_del(&t->link);
	m->placed_count--;
	if (t->seq > m->heard) {
		m->unheard_count--;
		swi_resources_sub(&m->unheard, &t->shape->need);
	}
	swi_view_refresh(n, m->node);
}
