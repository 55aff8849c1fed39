/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch.c - see prefetch.h. */
#include "sched/prefetch.h"

#include "sched/core.h"
#include "sched/tmsg.h"

#define RESULTS_MAX 16u /* of the placed task that are looked at */
#define REFS_MAX    32u /* arguments of a task that waits for it */
#define PREFETCH_NS (5 * NS_PER_S)

struct prefetched {
	struct swi_list link;
	struct swi_node *n;
	uint64_t bytes;
	struct swi_want want;
};

void swi_prefetch_init(struct swi_node *n)
{
	swi_list_init(&n->prefetch.wants);
}

void swi_prefetch_fini(struct swi_node *n)
{
	while (n->prefetch.wants.next && !swi_list_empty(&n->prefetch.wants)) {
		struct prefetched *p = swi_list_first(&n->prefetch.wants, struct prefetched, link);

		swi_want_cancel(n->sn, &p->want);
		swi_list_del(&p->link);
		free(p);
	}
}

/* ---- the node that has it on disk ---- */

static void came(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct prefetched *p = w->owner;
	struct swi_prefetch *pf = &p->n->prefetch;

	(void)text;
	if (!status)
		swi_hold_drop(p->n->sn, offset);
	pf->done += !status;
	pf->refused += status != 0;
	pf->bytes -= p->bytes;
	swi_list_del(&p->link);
	free(p);
}

static void read_here(struct swi_node *n, struct swarm_ref ref, uint64_t len)
{
	struct swi_prefetch *pf = &n->prefetch;
	const uint64_t bytes = swi_extent_bytes(len);
	struct prefetched *p;

	pf->asked++;
	if (pf->bytes + bytes > swi_snode_arena_bytes(n->sn) / 8) {
		pf->refused++;
		return;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return;
	p->n = n;
	p->bytes = bytes;
	p->want = (struct swi_want){.ref = ref,
				    .deadline_ns = swi_node_now(n) + PREFETCH_NS,
				    .hint = true,
				    .cb = came,
				    .owner = p};
	pf->bytes += bytes;
	swi_list_push_back(&pf->wants, &p->link);
	swi_want(n->sn, &p->want);
}

int swi_prefetch_on_ask(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	const uint32_t count = swi_rd_u32(rd);

	(void)from;
	if (rd->bad || count > REFS_MAX || rd->len - rd->pos != (uint64_t)count * 28)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		const struct swarm_ref ref = swi_rd_ref(rd);
		const uint64_t len = swi_rd_u64(rd);

		if (len <= swi_snode_arena_bytes(n->sn))
			read_here(n, ref, len);
	}
	return 0;
}

/* ---- the home ---- */

struct waiter { /* what a task that waits for @t needs besides, and who has it on disk */
	struct swi_node *n;
	uint32_t node; /* all from one node: the first one's */
	uint32_t count;
	struct swarm_ref ref[REFS_MAX];
	uint64_t len[REFS_MAX];
};

static bool on_disk_alone(const struct swi_copies *c)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (!c->spilled[i])
			return false;
	return c->count > 0;
}

static void collect(struct waiter *w, struct swi_task *t)
{
	const struct swi_spec s = swi_task_spec(t);
	struct swi_spec_arg a;
	uint32_t pos = 0;

	while (w->count < REFS_MAX && swi_spec_next_arg(&s, &pos, &a)) {
		struct swi_copies c;

		if (!a.is_ref || swi_dir_get(w->n->sn, a.ref.id, &c) != SWI_DIR_AVAILABLE || !on_disk_alone(&c))
			continue;
		if (!w->count)
			w->node = c.node[0];
		if (c.node[0] != w->node)
			continue;
		w->ref[w->count] = a.ref;
		w->len[w->count++] = c.len;
	}
}

static void send(struct swi_node *n, const struct waiter *w)
{
	uint8_t buf[8 + REFS_MAX * 28];
	struct swi_wr wr = swi_wr_init(buf, sizeof(buf));

	if (w->node == n->number) {
		for (uint32_t i = 0; i < w->count; i++)
			read_here(n, w->ref[i], w->len[i]);
		return;
	}
	swi_wr_u32(&wr, w->count);
	for (uint32_t i = 0; i < w->count; i++) {
		swi_wr_ref(&wr, w->ref[i]);
		swi_wr_u64(&wr, w->len[i]);
	}
	(void)swi_node_send(n, w->node, SWI_P_PREFETCH, &wr);
}

static void each_watch(void *ctx, struct swi_watch *watch)
{
	struct swi_node *n = ctx;
	struct swi_task *t = swi_graph_waiter(watch);
	struct waiter w = {.n = n};

	if (!t || !t->deps || t->deps->open != 1)
		return;
	collect(&w, t);
	if (w.count)
		send(n, &w);
}

void swi_prefetch_placed(struct swi_node *n, struct swi_task *t)
{
	if (!t->dependents || n->o.no_prefetch)
		return;
	for (uint32_t i = 0; i < t->returns && i < RESULTS_MAX; i++)
		swi_watch_each(n->sn, swi_result_id(t->id, i), each_watch, n);
}
