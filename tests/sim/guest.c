/* SPDX-License-Identifier: Apache-2.0 */
/* guest.c - the life of a guest, and what comes to it unasked (guest.h). */
#include "tests/sim/guest.h"

#define KEEP_MAX (40 * NS_PER_MS) /* how long a view is kept */
#define PACE_NS	 (12 * NS_PER_MS) /* between two requests, at most */
#define WATCH_NS SIM_PATIENT_NS  /* by then the wait set knows of what is sure */

static struct sim *world(const struct sim_guest *g)
{
	return g->p->node->s;
}

/* ---- answers ---- */

static bool may_fail_with(int status)
{
	return status == -ENOENT || status == -ETIMEDOUT || status == SWARM_EDELETED || status == SWARM_ELOST ||
	       status == SWARM_EHOMELOST || status == SWARM_EPEERLOST || status == SWARM_EFULL;
}

static void keep(struct sim_guest *g, uint32_t obj, uint64_t from, struct swarm_view *v)
{
	struct sim *s = world(g);

	if (g->views == GUEST_VIEWS || sim_rand(s) % 2) {
		swi_lc_release(g->p->lc, v);
		return;
	}
	g->view[g->views++] = (struct guest_view){*v, obj, from, sim_now(s) + 1 + sim_rand(s) % KEEP_MAX};
	memset(v, 0, sizeof(*v));
}

void guest_got(struct sim_guest *g, uint32_t obj, bool sure, bool patient, uint64_t from, int status,
	       struct swarm_view *view)
{
	struct sim *s = world(g);

	s->guest_answers++;
	if (status) {
		if (sure && patient && sim_obj_sure(s, obj))
			sim_fail(s, "n%u guest: object %u of n%u cannot be had: %s", g->p->node->index, obj,
				 s->obj[obj].node, swarm_errname(status));
		else if (!may_fail_with(status))
			sim_fail(s, "n%u guest: object %u gives %s", g->p->node->index, obj, swarm_errname(status));
		return;
	}
	if (!s->obj[obj].made)
		sim_fail(s, "n%u guest: object %u was never made and can be had", g->p->node->index, obj);
	if (!sim_obj_right(s, obj, from, view->data, view->len))
		sim_fail(s, "n%u guest: object %u has the wrong bytes", g->p->node->index, obj);
	keep(g, obj, from, view);
}

static int let_go(struct sim_guest *g, bool all)
{
	struct sim *s = world(g);
	int n = 0;

	for (uint32_t i = 0; i < g->views;) {
		struct guest_view *v = &g->view[i];

		if (!all && sim_now(s) < v->until_ns) {
			i++;
			continue;
		}
		if (!sim_obj_right(s, v->obj, v->from, v->view.data, v->view.len))
			sim_fail(s, "n%u guest: the bytes of object %u changed under a view", g->p->node->index,
				 v->obj);
		swi_lc_release(g->p->lc, &v->view);
		*v = g->view[--g->views];
		n++;
	}
	return n;
}

/* ---- notifications ---- */

static void subscribed(struct swi_call *call, int status, struct swi_rd *body SWI_UNUSED)
{
	struct sim_guest *g = call->owner;

	if (status)
		sim_fail(world(g), "n%u guest: subscribe gives %s", g->p->node->index, swarm_errname(status));
	g->sub_ns = sim_now(world(g));
}

static void said(struct sim_guest *g, const struct swarm_event *ev)
{
	struct sim *s = world(g);

	if (ev->kind == SWARM_EVENT_LOST) {
		g->lost += ev->len;
		return;
	}
	for (uint32_t i = 0; i < SIM_OBJS; i++) {
		if (!s->obj[i].used || !swarm_oid_equal(s->obj[i].ref.id, ev->ref.id))
			continue;
		if (ev->len != sim_obj_len(s, i) || ev->ref.home != s->obj[i].ref.home)
			sim_fail(s, "n%u guest: an event of object %u is wrong", g->p->node->index, i);
		if (ev->kind == SWARM_EVENT_SEALED)
			g->said_sealed[i]++;
		else
			g->said_deleted[i]++;
		if (ev->kind == SWARM_EVENT_DELETED && !s->obj[i].doomed)
			sim_fail(s, "n%u guest: object %u was deleted by nobody", g->p->node->index, i);
	}
}

static int take_events(struct sim_guest *g)
{
	struct sim *s = world(g);
	struct swarm_event ev[32];
	int n;

	if (!g->sub_ns || (g->slow && !s->guests_stop && sim_rand(s) % 64))
		return 0;
	n = swi_sub_next(g->sub, 0, ev, SWI_ARRAY_LEN(ev));
	for (int i = 0; i < n; i++)
		said(g, &ev[i]);
	return n < 0 ? 0 : n;
}

/* ---- the completion queue ---- */

static int take_completions(struct sim_guest *g)
{
	struct swarm_completion row[4];
	const int n = g->cq ? swi_cq_poll(g->cq, row, SWI_ARRAY_LEN(row)) : 0;

	for (int i = 0; i < n; i++) {
		struct guest_get *get = &g->get[row[i].user % GUEST_GETS];

		if (!get->active || !swarm_oid_equal(row[i].ref.id, world(g)->obj[get->obj].ref.id)) {
			sim_fail(world(g), "n%u guest: a completion of no get", g->p->node->index);
			return 0;
		}
		get->active = false;
		guest_got(g, get->obj, get->sure, get->patient, 0, row[i].status, &row[i].view);
	}
	return n;
}

static void begin_get(struct sim_guest *g)
{
	struct sim *s = world(g);

	for (uint32_t i = 0; i < GUEST_GETS; i++) {
		const uint32_t obj = (uint32_t)(sim_rand(s) % SIM_OBJS);
		struct guest_get *get = &g->get[i];

		if (get->active || !s->obj[obj].used)
			continue;
		*get = (struct guest_get){.active = true, .obj = obj, .sure = sim_obj_sure(s, obj)};
		get->patient = sim_rand(s) % 2;
		if (swi_cq_get(g->cq, s->obj[obj].ref, get->patient ? SIM_PATIENT_NS : sim_rand(s) % (30 * NS_PER_MS),
			       i, &get->id))
			sim_fail(s, "n%u guest: a get was refused", g->p->node->index);
		return;
	}
}

static void cancel_get(struct sim_guest *g)
{
	struct guest_get *get = &g->get[sim_rand(world(g)) % GUEST_GETS];

	if (get->active && swi_cq_cancel(g->cq, get->id) == 0)
		get->active = false;
}

/* ---- the wait set ---- */

static int take_ready(struct sim_guest *g)
{
	struct sim *s = world(g);
	struct swarm_ready row[8];
	const int n = g->ws ? swi_waitset_wait_any(g->ws, 0, row, SWI_ARRAY_LEN(row)) : 0;

	for (int i = 0; i < n; i++) {
		const uint32_t obj = (uint32_t)row[i].token;

		if (obj >= SIM_OBJS || !g->watched_ns[obj] || !swarm_oid_equal(row[i].ref.id, s->obj[obj].ref.id))
			sim_fail(s, "n%u guest: a row of what is not in the wait set", g->p->node->index);
		else if (!row[i].status && !s->obj[obj].made)
			sim_fail(s, "n%u guest: object %u is ready and was never made", g->p->node->index, obj);
		else if (row[i].status && g->watched_sure[obj] && sim_obj_sure(s, obj))
			sim_fail(s, "n%u guest: object %u will never be, says the wait set: %s",
				 g->p->node->index, obj, swarm_errname(row[i].status));
		else
			g->watched_ns[obj] = 0;
	}
	return n < 0 ? 0 : n;
}

static void watch(struct sim_guest *g)
{
	struct sim *s = world(g);
	const uint32_t obj = (uint32_t)(sim_rand(s) % SIM_OBJS);
	const uint64_t token = obj;

	if (!s->obj[obj].used)
		return;
	if (g->watched_ns[obj] && sim_rand(s) % 2) {
		if (swi_waitset_remove(g->ws, s->obj[obj].ref))
			sim_fail(s, "n%u guest: the wait set lost object %u", g->p->node->index, obj);
		g->watched_ns[obj] = 0;
	} else if (!g->watched_ns[obj]) {
		if (swi_waitset_add(g->ws, &s->obj[obj].ref, &token, 1) != 1)
			sim_fail(s, "n%u guest: object %u does not go into the wait set", g->p->node->index, obj);
		g->watched_ns[obj] = sim_now(s);
		g->watched_sure[obj] = sim_obj_sure(s, obj);
	}
}

static void none_forgotten(struct sim_guest *g)
{
	struct sim *s = world(g);

	for (uint32_t i = 0; i < SIM_OBJS; i++)
		if (g->watched_ns[i] && g->watched_sure[i] && sim_obj_sure(s, i) &&
		    sim_now(s) > g->watched_ns[i] + WATCH_NS)
			sim_fail(s, "n%u guest: the wait set never said that object %u is there", g->p->node->index, i);
}

/* ---- pins ---- */

static void pinned_are_there(struct sim_guest *g)
{
	const struct sim_node *n = g->p->node;
	struct sim *s = world(g);

	for (uint32_t i = 0; i < SIM_OBJS; i++)
		if (n->pinned[i] && !s->obj[i].doomed && !n->drained && !swi_lc_contains(g->p->lc, s->obj[i].ref))
			sim_fail(s, "n%u guest: object %u is pinned hard and not in memory", n->index, i);
}

/* ---- life ---- */

static void delete_one(struct sim_guest *g)
{
	struct sim *s = world(g);
	const uint32_t obj = (uint32_t)(sim_rand(s) % SIM_OBJS);

	if (!s->obj[obj].used)
		return;
	s->obj[obj].doomed = true;
	if (swi_lc_delete(g->p->lc, s->obj[obj].ref))
		sim_fail(s, "n%u guest: a delete was refused", g->p->node->index);
}

static void begin(struct sim_guest *g)
{
	struct sim *s = world(g);
	const uint64_t kind = sim_rand(s) % 16;

	s->guest_ops++;
	g->next_ns = sim_now(s) + sim_rand(s) % PACE_NS;
	if (kind < 2)
		begin_get(g);
	else if (kind < 3)
		cancel_get(g);
	else if (kind < 5)
		watch(g);
	else if (kind < 6)
		delete_one(g);
	else
		guest_op_begin(g);
}

static void open_all(struct sim_guest *g)
{
	struct sim *s = world(g);
	struct swarm_sub_opts so = {.size = sizeof(so)};

	g->slow = sim_rand(s) % 4 == 0;
	so.capacity = g->slow ? 4 : 0;
	g->sub_call = (struct swi_call){.on_reply = subscribed, .owner = g};
	if (swi_cq_create(g->p->lc, GUEST_GETS, &g->cq) || swi_waitset_create(g->p->lc, &g->ws) ||
	    swi_sub_begin(g->p->lc, &so, &g->sub_call, &g->sub))
		sim_fail(s, "n%u guest: it cannot begin", g->p->node->index);
	g->next_ns = sim_now(s);
}

static void close_most(struct sim_guest *g)
{
	let_go(g, true);
	none_forgotten(g);
	swi_cq_destroy(g->cq);
	swi_waitset_destroy(g->ws);
	g->cq = NULL;
	g->ws = NULL;
	g->idle = true;
}

int sim_guest_step(struct sim_proc *p)
{
	struct sim_guest *g = p->guest;
	struct sim *s = p->node->s;
	int n = 0;

	if (!g) {
		g = p->guest = calloc(1, sizeof(*g));
		SWI_BUG_ON(!g);
		g->p = p;
	}
	if (!swi_lc_node(p->lc))
		return 0; /* it has not joined */
	if (!g->sub && !g->idle) {
		if (s->guests_stop)
			g->idle = true;
		else
			open_all(g);
		return 1;
	}
	if (!g->sub)
		return 0;
	n += take_events(g);
	if (g->idle)
		return n;
	n += take_completions(g) + take_ready(g) + let_go(g, false);
	pinned_are_there(g);
	if (g->op != OP_NONE) {
		n += guest_op_step(g);
	} else if (s->guests_stop) {
		close_most(g);
		n++;
	} else if (g->sub_ns && sim_now(s) >= g->next_ns) {
		begin(g);
		n++;
	}
	return n;
}

uint64_t sim_guest_next_ns(const struct sim_proc *p)
{
	const struct sim_guest *g = p->guest;
	uint64_t at = UINT64_MAX;

	if (!g || g->idle || !g->sub)
		return at;
	for (uint32_t i = 0; i < g->views; i++)
		at = swi_min_u64(at, g->view[i].until_ns);
	return swi_min_u64(at, g->op == OP_NONE ? g->next_ns : guest_op_next_ns(g));
}

bool sim_guest_idle(const struct sim_proc *p)
{
	return p->guest && p->guest->idle;
}

void sim_guest_free(struct sim_proc *p)
{
	struct sim_guest *g = p->guest;

	if (!g)
		return;
	guest_op_drop(g);
	swi_cq_destroy(g->cq);
	swi_waitset_destroy(g->ws);
	swi_sub_destroy(g->sub);
	free(g);
	p->guest = NULL;
}

/* Everything was deleted and the world is quiet: each seal was said once, and each end of a copy. */
void sim_guest_check(struct sim_proc *p)
{
	const struct sim_guest *g = p->guest;
	struct sim *s = p->node->s;

	for (uint32_t i = 0; g && g->sub && i < SIM_OBJS; i++) {
		const uint32_t made = g->sealed[i], told = g->said_sealed[i], ended = g->said_deleted[i];

		if (told > made || told + g->lost < made)
			sim_fail(s, "n%u guest: %u seals of object %u were said %u times, %llu events lost",
				 p->node->index, made, i, told, (unsigned long long)g->lost);
		else if (ended + g->lost < made || (i >= SIM_NAMED && made && ended > 1))
			sim_fail(s, "n%u guest: the end of object %u, made %u times, was said %u times, %llu events lost",
				 p->node->index, i, made, ended, (unsigned long long)g->lost);
	}
}
