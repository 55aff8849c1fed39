/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch.c - see dispatch.h. A task message may be sent twice (the connection was lost in between); the
 * runner takes each attempt once. An answer that does not match the task's node and attempt is late and ignored.
 */
#include "sched/dispatch.h"

#include "sched/core.h"
#include "sched/tmsg.h"

#define ARGS_MAX   64u /* arguments that placement looks at */
#define BATCH	   512u
#define OLDEST_EVERY 8u /* depth first: so often the oldest */
#define HOLD_BACK  (300 * NS_PER_MS)
#define NEVER_WAIT (500 * NS_PER_MS) /* a node that is just joining may bring what is missing */

void swi_dispatch_init(struct swi_node *n)
{
	swi_list_init(&n->dispatch.shapes);
	swi_list_init(&n->dispatch.foreign);
}

static void foreign_free(struct swi_node *n, struct swi_foreign *f);

void swi_dispatch_fini(struct swi_node *n)
{
	struct swi_dispatch *d = &n->dispatch;

	while (d->foreign.next && !swi_list_empty(&d->foreign))
		foreign_free(n, swi_list_first(&d->foreign, struct swi_foreign, link));
	while (d->shapes.next && !swi_list_empty(&d->shapes)) {
		struct swi_shape *sh = swi_list_first(&d->shapes, struct swi_shape, link);

		swi_list_del(&sh->link);
		free(sh);
	}
	swi_idmap_fini(&d->foreign_map);
}

/* ---- shapes ---- */

static bool same_need(const struct swi_resources *a, const struct swi_resources *b)
{
	if (a->cpu != b->cpu || a->gpu != b->gpu || a->memory != b->memory ||
	    a->custom_count != b->custom_count)
		return false;
	for (uint32_t i = 0; i < a->custom_count; i++)
		if (strcmp(a->custom[i].name, b->custom[i].name) != 0 ||
		    a->custom[i].amount != b->custom[i].amount)
			return false;
	return true;
}

struct swi_shape *swi_dispatch_shape(struct swi_node *n, const struct swi_resources *need)
{
	struct swi_dispatch *d = &n->dispatch;
	struct swi_shape *idle = NULL, *sh;

	swi_list_for_each(it, &d->shapes) {
		sh = swi_list_entry(it, struct swi_shape, link);
		if (same_need(&sh->need, need))
			return sh;
		if (!sh->tasks && !idle)
			idle = sh;
	}
	sh = idle;
	if (!sh) {
		sh = calloc(1, sizeof(*sh));
		if (!sh)
			return NULL;
		swi_list_push_back(&d->shapes, &sh->link);
		swi_list_init(&sh->ready);
		swi_list_init(&sh->fed);
	}
	sh->need = *need;
	sh->blocked = false;
	sh->never_ns = 0;
	return sh;
}

void swi_dispatch_ready(struct swi_node *n, struct swi_task *t)
{
	/* What was lost comes first: tasks that are placed already may wait for it. */
	if (t->flags & SWI_TASK_F_RERUN)
		swi_list_push_front(&t->shape->ready, &t->link);
	else if (swi_task_spec(t).ref_count)
		swi_list_push_back(&t->shape->fed, &t->link);
	else
		swi_list_push_back(&t->shape->ready, &t->link);
	t->shape->count++;
	n->dispatch.dirty = true;
}

void swi_dispatch_unready(struct swi_node *n, struct swi_task *t)
{
	(void)n;
	swi_list_del(&t->link);
	t->shape->count--;
}

void swi_dispatch_kick(struct swi_node *n)
{
	swi_list_for_each(it, &n->dispatch.shapes)
		swi_list_entry(it, struct swi_shape, link)->blocked = false;
	n->dispatch.dirty = true;
}

/* ---- sending ---- */

static void task_body(struct swi_wr *w, const void *ctx)
{
	const struct swi_task *t = ctx;

	swi_wr_u32(w, t->seq);
	swi_wr_u32(w, t->attempt);
	swi_wr_bytes(w, t->spec, t->spec_len);
}

static void send_task(struct swi_node *n, struct swi_task *t)
{
	struct swi_wr w = swi_tmsg_build(task_body, t);

	/* What cannot be sent now is sent again when the connection is back, or placed again when the node is dead. */
	(void)swi_node_send(n, t->node, SWI_P_TASK, &w);
	free(w.buf);
}

static void cancel_send(struct swi_node *n, uint32_t to, struct swarm_oid id, bool result, bool force)
{
	uint8_t buf[24];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_oid(&w, id);
	swi_wr_u8(&w, result);
	swi_wr_u8(&w, force);
	(void)swi_node_send(n, to, SWI_P_TASK_CANCEL, &w);
}

void swi_dispatch_cancel(struct swi_node *n, struct swi_task *t, bool force)
{
	if (t->node == n->number)
		swi_runner_cancel(n->runner, t->id, force);
	else
		cancel_send(n, t->node, t->id, false, force);
}

static bool needs(const struct swi_task *t, struct swarm_oid id)
{
	const struct swi_spec s = swi_task_spec(t);
	struct swi_spec_arg a;
	uint32_t pos = 0;

	while (s.ref_count && swi_spec_next_arg(&s, &pos, &a))
		if (a.is_ref && swarm_oid_equal(a.ref.id, id))
			return true;
	return false;
}

void swi_dispatch_recall(struct swi_node *n, struct swarm_oid lost)
{
	for (uint32_t i = 0; i < n->cview.view.count; i++)
		swi_list_for_each(it, &n->cview.member[i]->placed) {
			struct swi_task *t = swi_list_entry(it, struct swi_task, link);

			if (t->flags & (SWI_TASK_F_RECALLED | SWI_TASK_F_CANCELED) || !needs(t, lost))
				continue;
			t->flags |= SWI_TASK_F_RECALLED;
			swi_dispatch_cancel(n, t, false);
		}
}

void swi_dispatch_cancel_at(struct swi_node *n, uint32_t home, struct swarm_oid result, bool force)
{
	cancel_send(n, home, result, true, force);
}

static void place_at(struct swi_node *n, struct swi_task *t, struct swi_member *m)
{
	int rc;

	swi_dispatch_unready(n, t);
	swi_task_move(n, t, SWI_TASK_EV_PLACE);
	t->node = m->node;
	t->since_ns = swi_node_now(n);
	swi_view_placed(n, m, t);
	swi_prefetch_placed(n, t);
	if (m->node != n->number) {
		send_task(n, t);
		return;
	}
	{
		const struct swi_spec s = swi_task_spec(t);

		rc = swi_runner_submit(n->runner, &s, t->attempt);
	}
	/* -EEXIST: another home's twin of this task has the same attempt number here: take the next. */
	if (rc)
		swi_graph_again(n, t);
}

void swi_dispatch_unplaced(struct swi_node *n, struct swi_task *t)
{
	struct swi_member *m = swi_view_find(n, t->node);

	if (m)
		swi_view_unplaced(n, m, t);
	swi_list_del(&t->link);
	swi_dispatch_kick(n);
}

/* ---- placing ---- */

static void have_text(struct swi_node *n, char *buf, size_t len)
{
	size_t at = 0;

	buf[0] = 0;
	for (uint32_t i = 0; i < n->cview.view.count && i < 8 && at < len; i++) {
		char res[128];

		at += (size_t)snprintf(buf + at, len - at, "%snode %u: %s", i ? "; " : "",
				       n->cview.view.node[i].node,
				       swi_resources_str(&n->cview.view.node[i].total, res, sizeof(res)));
	}
	if (n->cview.view.count > 8 && at < len)
		snprintf(buf + at, len - at, "; and %u more", n->cview.view.count - 8);
}

static void fail_shape(struct swi_node *n, struct swi_shape *sh)
{
	char text[1200], need[160], have[900];

	have_text(n, have, sizeof(have));
	snprintf(text, sizeof(text), "no node can ever hold a task that needs %s (%s)",
		 swi_resources_str(&sh->need, need, sizeof(need)), have);
	while (!swi_list_empty(&sh->ready))
		swi_graph_fail(n, swi_list_first(&sh->ready, struct swi_task, link), SWARM_ENOROOM, text);
	while (!swi_list_empty(&sh->fed))
		swi_graph_fail(n, swi_list_first(&sh->fed, struct swi_task, link), SWARM_ENOROOM, text);
}

/* No node's total fits: wait for one that may come, else give up after a moment. */
static void never_fits(struct swi_node *n, struct swi_shape *sh)
{
	const uint64_t now = swi_node_now(n);

	sh->blocked = true;
	if (n->cview.can_grow && swi_resources_fit(&n->cview.grow_shape, &sh->need)) {
		sh->never_ns = 0;
		return;
	}
	if (!sh->never_ns)
		sh->never_ns = now;
	if (now - sh->never_ns >= NEVER_WAIT)
		fail_shape(n, sh);
}

/*
 * Every queue is full, perhaps of tasks that wait for what this one makes again: so it is parked all the same,
 * where the fewest wait. NONE when no node that stays can hold it.
 */
static uint32_t place_beyond(const struct swi_node *n, const struct swi_shape *sh)
{
	const struct swi_view_node *best = NULL;

	for (uint32_t i = 0; i < n->cview.view.count; i++) {
		const struct swi_view_node *v = &n->cview.view.node[i];

		if (!v->draining && swi_resources_fit(&v->total, &sh->need) &&
		    (!best || v->queued < best->queued))
			best = v;
	}
	return best ? best->node : SWI_PLACE_NONE;
}

/* Ties are broken by a generator of our own: the kernel's would be a system call a task. */
static uint64_t tie(struct swi_node *n)
{
	if (!n->dispatch.seed)
		n->dispatch.seed = swi_rand(n->env);
	return swi_splitmix64(&n->dispatch.seed);
}

const struct swi_task *swi_shape_oldest(const struct swi_shape *sh)
{
	const struct swi_task *t = swi_list_first(&sh->ready, struct swi_task, link);
	const struct swi_task *f = swi_list_first(&sh->fed, struct swi_task, link);

	return !f || (t && t->since_ns <= f->since_ns) ? t : f;
}

/* The memory of those nodes is more than half full: from now on what is made is soon written to disk. */
static bool memory_short(const struct swi_node *n)
{
	const struct swi_view *v = &n->cview.view;
	uint64_t used = 0, all = 0;

	for (uint32_t i = 0; i < v->count; i++) {
		used += v->node[i].arena_used;
		all += v->node[i].arena_bytes;
	}
	return used > all / 2;
}

/*
 * First come, first served; what was lost before all others. While memory is short, those that consume go before
 * those that only make, and of them the latest, whose arguments were made a moment ago and are still in
 * memory: depth first. Every eighth is the oldest all the same, so that none waits for ever.
 */
static struct swi_task *pick(struct swi_shape *sh, bool depth_first)
{
	struct swi_task *t = swi_list_first(&sh->ready, struct swi_task, link);
	struct swi_task *f = swi_list_first(&sh->fed, struct swi_task, link);

	if (!f || (t && t->flags & SWI_TASK_F_RERUN))
		return t;
	if (depth_first && ++sh->picks % OLDEST_EVERY)
		return swi_list_entry(sh->fed.prev, struct swi_task, link);
	return t && t->since_ns <= f->since_ns ? t : f;
}

/*
 * Memory is short: what only makes is not parked behind what runs, it would make more than is consumed
 * meanwhile. Only as long as tasks are placed at all: what is parked there may wait for it.
 */
static bool not_now(const struct swi_node *n, const struct swi_shape *sh, const struct swi_task *t, uint32_t to)
{
	if (t->flags & SWI_TASK_F_RERUN || swi_task_spec(t).ref_count ||
	    swi_node_now(n) >= sh->placed_ns + HOLD_BACK)
		return false;
	for (uint32_t i = 0; i < n->cview.view.count; i++)
		if (n->cview.view.node[i].node == to)
			return !swi_resources_fit(&n->cview.view.node[i].free, &t->shape->need);
	return false;
}

static int place_shape(struct swi_node *n, struct swi_shape *sh, int budget)
{
	const bool depth_first = memory_short(n);
	int placed = 0;

	while (!sh->blocked && swi_shape_oldest(sh) && placed < budget) {
		struct swi_task *t = pick(sh, depth_first);
		struct swi_place_arg args[ARGS_MAX];
		const uint32_t count = swi_graph_args(n, t, args, ARGS_MAX);
		uint32_t to = swi_place(&n->cview.view, n->o.policy, &sh->need, args, count,
					tie(n), NULL);
		struct swi_member *m;

		if (to == SWI_PLACE_NEVER) {
			never_fits(n, sh);
			break;
		}
		sh->never_ns = 0;
		if (to == SWI_PLACE_NONE && t->flags & SWI_TASK_F_RERUN)
			to = place_beyond(n, sh);
		sh->held_back = to != SWI_PLACE_NONE && depth_first && not_now(n, sh, t, to);
		if (to == SWI_PLACE_NONE || sh->held_back) {
			sh->blocked = true;
			break;
		}
		m = swi_view_find(n, to);
		SWI_BUG_ON(!m);
		place_at(n, t, m);
		sh->placed_ns = swi_node_now(n);
		placed++;
	}
	return placed;
}

int swi_dispatch_step(struct swi_node *n)
{
	struct swi_dispatch *d = &n->dispatch;
	int placed = 0;

	if (swi_node_now(n) >= swi_dispatch_deadline_ns(n))
		swi_dispatch_kick(n);
	if (!d->dirty || !n->number || !n->cview.view.count)
		return 0;
	d->dirty = false;
	if (n->graph.count[SWI_TASK_READY])
		swi_view_self(n);
	swi_list_for_each(it, &d->shapes) {
		placed += place_shape(n, swi_list_entry(it, struct swi_shape, link), (int)BATCH);
		if (placed >= (int)BATCH) {
			/* The next step begins with the next shape. */
			d->dirty = true;
			if (it->next != &d->shapes) {
				struct swi_list *next = it->next;

				swi_list_del(&d->shapes);
				swi_list_insert(next, &d->shapes);
			}
			break;
		}
	}
	return placed;
}

uint64_t swi_dispatch_deadline_ns(const struct swi_node *n)
{
	uint64_t at = UINT64_MAX;

	swi_list_for_each(it, &n->dispatch.shapes) {
		const struct swi_shape *sh = swi_list_entry(it, struct swi_shape, link);

		if (sh->never_ns && sh->count)
			at = swi_min_u64(at, sh->never_ns + NEVER_WAIT);
		if (sh->held_back && sh->blocked && sh->count)
			at = swi_min_u64(at, sh->placed_ns + HOLD_BACK);
	}
	return at;
}

/* ---- nodes come back and go ---- */

void swi_dispatch_resend(struct swi_node *n, uint32_t node)
{
	struct swi_member *m = swi_view_find(n, node);

	if (!m || node == n->number)
		return;
	swi_list_for_each(it, &m->placed) {
		struct swi_task *t = swi_list_entry(it, struct swi_task, link);

		send_task(n, t);
		if (t->flags & SWI_TASK_F_CANCELED)
			swi_dispatch_cancel(n, t, t->flags & SWI_TASK_F_FORCE);
	}
}

static void foreign_free(struct swi_node *n, struct swi_foreign *f);

void swi_dispatch_node_lost(struct swi_node *n, uint32_t node, bool killed)
{
	struct swi_member *m = swi_view_find(n, node);

	while (m && !swi_list_empty(&m->placed)) {
		struct swi_task *t = swi_list_first(&m->placed, struct swi_task, link);

		n->st.replaced++;
		if (killed)
			swi_rebuild_join(n, t);
		swi_graph_again(n, t);
	}
	swi_list_for_each_safe(it, &n->dispatch.foreign) {
		struct swi_foreign *f = swi_list_entry(it, struct swi_foreign, link);

		if (f->from == node)
			foreign_free(n, f);
	}
}

/* ---- tasks of other homes ---- */

/* Attempts of one task are different entries. */
static struct swarm_oid foreign_key(struct swarm_oid task, uint32_t attempt)
{
	struct swarm_oid k = {{task.w[0] ^ attempt * 0x9e3779b97f4a7c15ull, task.w[1]}};

	k.w[1] |= !(k.w[0] | k.w[1]);
	return k;
}

static struct swi_foreign *foreign_find(struct swi_node *n, struct swarm_oid task, uint32_t attempt)
{
	const struct swi_idslot *s =
	    swi_idmap_get(&n->dispatch.foreign_map, foreign_key(task, attempt));

	return s ? s->val : NULL;
}

static void foreign_free(struct swi_node *n, struct swi_foreign *f)
{
	swi_idmap_del(&n->dispatch.foreign_map, foreign_key(f->task, f->attempt));
	swi_list_del(&f->link);
	free(f);
}

static int foreign_add(struct swi_node *n, struct swarm_oid task, uint32_t attempt, uint32_t from)
{
	struct swi_foreign *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->task = task;
	f->attempt = attempt;
	f->from = from;
	if (swi_idmap_set(&n->dispatch.foreign_map, foreign_key(task, attempt), f, 0)) {
		free(f);
		return -ENOMEM;
	}
	swi_list_push_back(&n->dispatch.foreign, &f->link);
	return 0;
}

static void refuse(struct swi_node *n, uint32_t to, struct swarm_oid task, uint32_t attempt, int status)
{
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_oid(&w, task);
	swi_wr_u32(&w, attempt);
	swi_wr_u32(&w, (uint32_t)status);
	(void)swi_node_send(n, to, SWI_P_TASK_REFUSED, &w);
}

int swi_dispatch_on_task(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	const uint32_t seq = swi_rd_u32(rd), attempt = swi_rd_u32(rd);
	uint32_t len;
	const void *bytes = swi_rd_bytes(rd, &len);
	struct swi_member *m = swi_view_find(n, from);
	const struct swi_foreign *known;
	struct swi_spec s;
	int rc;

	if (!swi_rd_done(rd) || swi_spec_decode(bytes, len, &s))
		return -EBADMSG;
	if (m && seq > m->got)
		m->got = seq;
	known = foreign_find(n, s.task, attempt);
	if (known && known->from == from)
		return 0; /* sent again */
	rc = n->dispatch.closed ? SWARM_EDRAINING : 0;
	if (!rc)
		rc = swi_runner_submit(n->runner, &s, attempt);
	if (!rc)
		rc = foreign_add(n, s.task, attempt, from);
	if (rc)
		refuse(n, from, s.task, attempt, rc);
	return 0;
}

int swi_dispatch_on_cancel(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	const struct swarm_oid id = swi_rd_oid(rd);
	const bool result = swi_rd_u8(rd), force = swi_rd_u8(rd);

	(void)from;
	if (!swi_rd_done(rd))
		return -EBADMSG;
	if (result)
		swi_graph_cancel(n, id, force);
	else
		swi_runner_cancel(n->runner, id, force);
	return 0;
}

struct done_ctx {
	const struct swi_run_result *res;
	struct swi_report report;
};

static void done_body(struct swi_wr *w, const void *ctx)
{
	const struct done_ctx *d = ctx;
	const struct swi_run_result *r = d->res;
	const uint32_t n = r->status ? 0 : r->return_count;

	swi_wr_oid(w, r->task);
	swi_wr_u32(w, r->attempt);
	swi_wr_u32(w, (uint32_t)r->status);
	swi_wr_str(w, r->text);
	swi_wr_u64(w, r->run_ns);
	swi_wr_u32(w, n);
	for (uint32_t i = 0; i < n; i++)
		swi_wr_u64(w, r->return_len[i]);
	swi_report_encode(w, &d->report);
}

/* A run that nobody waits for any more succeeded: its results are copies like any other. */
static void late_success(struct swi_node *n, struct swi_task *t, uint32_t node, const uint64_t *lens,
			 uint32_t count)
{
	for (uint32_t i = 0; t && i < count && i < t->returns; i++) {
		const struct swarm_oid id = swi_result_id(t->id, i);

		if (swi_dir_get(n->sn, id, NULL) == SWI_DIR_AVAILABLE)
			swi_dir_add_copy(n->sn, id, node, lens[i], false);
	}
}

static void ended_at(struct swi_node *n, uint32_t node, const struct swi_run_result *r)
{
	struct swi_task *t = swi_graph_find(n, r->task);

	if (t && !r->status)
		t->run_us = (uint32_t)swi_min_u64(UINT32_MAX, r->run_ns / NS_PER_US + 1);
	if (t && t->state == SWI_TASK_PLACED && t->node == node && t->attempt == r->attempt)
		swi_graph_ended(n, t, r->status, r->text, r->return_len, r->return_count);
	else if (!r->status)
		late_success(n, t, node, r->return_len, r->return_count);
}

void swi_dispatch_run_done(void *ctx, const struct swi_run_result *res)
{
	struct swi_node *n = ctx;
	struct swi_foreign *f = foreign_find(n, res->task, res->attempt);
	struct done_ctx d = {.res = res};
	struct swi_wr w;

	if (!f) {
		ended_at(n, n->number, res);
		return;
	}
	swi_view_make_report(n, f->from, &d.report);
	w = swi_tmsg_build(done_body, &d);
	(void)swi_node_send(n, f->from, SWI_P_TASK_DONE, &w);
	free(w.buf);
	foreign_free(n, f);
	n->member.check = true;
}

int swi_dispatch_on_done(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	struct swi_run_result r = {.home = n->number};
	struct swi_report rep;
	uint64_t *lens = NULL;
	char text[600];
	const char *p;
	uint32_t len;

	r.task = swi_rd_oid(rd);
	r.attempt = swi_rd_u32(rd);
	r.status = (int)swi_rd_u32(rd);
	p = swi_rd_bytes(rd, &len);
	snprintf(text, sizeof(text), "%.*s", (int)swi_min_u64(len, sizeof(text) - 1), p ? p : "");
	r.text = text;
	r.run_ns = swi_rd_u64(rd);
	r.return_count = swi_rd_u32(rd);
	if (rd->bad || r.return_count > SWARM_RETURNS_MAX || r.status > 0)
		return -EBADMSG;
	lens = calloc(r.return_count + 1, sizeof(*lens));
	if (!lens)
		return 0; /* as if lost: the home of a lost message asks again */
	for (uint32_t i = 0; i < r.return_count; i++)
		lens[i] = swi_rd_u64(rd);
	r.return_len = lens;
	swi_report_decode(rd, &rep);
	if (!swi_rd_done(rd)) {
		free(lens);
		return -EBADMSG;
	}
	swi_view_report(n, from, &rep, true);
	ended_at(n, from, &r);
	free(lens);
	return 0;
}

int swi_dispatch_on_refused(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	const struct swarm_oid task = swi_rd_oid(rd);
	const uint32_t attempt = swi_rd_u32(rd);
	const int status = (int)swi_rd_u32(rd);
	struct swi_task *t;

	if (!swi_rd_done(rd) || status >= 0)
		return -EBADMSG;
	t = swi_graph_find(n, task);
	if (!t || t->state != SWI_TASK_PLACED || t->node != from || t->attempt != attempt)
		return 0;
	if (status == SWARM_EDRAINING) {
		struct swi_member *m = swi_view_find(n, from);

		if (m)
			m->report.draining = true;
		swi_view_refresh(n, from);
	}
	n->st.replaced++;
	swi_graph_again(n, t);
	return 0;
}
