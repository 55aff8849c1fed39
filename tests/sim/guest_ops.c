/* SPDX-License-Identifier: Apache-2.0 */
/* guest_ops.c - the requests of a guest, one at a time: put, get, range, many, wait, pin, expire, look (guest.h). */
#include "store/snode_internal.h"
#include "tests/sim/guest.h"

#define SEAL_MAX (15 * NS_PER_MS) /* how long a buffer stays unsealed */
#define SHORT_MAX (30 * NS_PER_MS)

static struct sim *world(const struct sim_guest *g)
{
	return g->p->node->s;
}

static void end_op(struct sim_guest *g)
{
	free(g->body);
	g->body = NULL;
	g->op = OP_NONE;
}

/* ---- asking ---- */

static void answered(struct swi_call *call, int status, struct swi_rd *body)
{
	struct sim_guest *g = call->owner;

	g->status = status;
	g->body_len = body->len - body->pos;
	g->body = malloc(g->body_len + 1);
	SWI_BUG_ON(!g->body);
	memcpy(g->body, swi_rd_raw(body, g->body_len), g->body_len);
}

static void ask(struct sim_guest *g, uint16_t type, const struct swi_wr *w)
{
	free(g->body);
	g->body = NULL;
	g->call = (struct swi_call){.on_reply = answered, .owner = g};
	g->asked = true;
	if (!swi_wr_ok(w) || swi_lc_try_post(g->p->lc, type, w->buf, w->len, &g->call))
		sim_fail(world(g), "n%u guest: a request was refused", g->p->node->index);
}

/* False: not yet. */
static bool answer(struct sim_guest *g, struct swi_rd *out)
{
	if (!g->call.done)
		return false;
	g->asked = false;
	*out = swi_rd_init(g->body, g->body_len);
	return true;
}

static uint64_t timeout_of(struct sim_guest *g)
{
	g->patient = sim_rand(world(g)) % 2;
	return g->patient ? SIM_PATIENT_NS : sim_rand(world(g)) % SHORT_MAX;
}

static bool pick(struct sim_guest *g, uint32_t i)
{
	struct sim *s = world(g);

	g->obj[i] = (uint32_t)(sim_rand(s) % SIM_OBJS);
	if (!s->obj[g->obj[i]].made && sim_rand(s) % 4)
		return false; /* some of what is asked for is made later, or never */
	g->sure[i] = sim_obj_sure(s, g->obj[i]);
	return s->obj[g->obj[i]].used;
}

static struct swarm_ref ref_of(const struct sim_guest *g, uint32_t i)
{
	return world(g)->obj[g->obj[i]].ref;
}

static void pick_many(struct sim_guest *g)
{
	const uint32_t want = 1 + (uint32_t)(sim_rand(world(g)) % GUEST_MANY);

	for (g->n = 0; g->n < want; g->n++)
		while (!pick(g, g->n))
			;
}

/* ---- putting ---- */

static bool pick_new(struct sim_guest *g, uint32_t i)
{
	struct sim *s = world(g);

	g->obj[i] = sim_rand(s) % 4 ? sim_obj_new(s, swi_lc_node(g->p->lc)) : SIM_OBJS;
	if (g->obj[i] == SIM_OBJS)
		g->obj[i] = (uint32_t)(sim_rand(s) % SIM_NAMED);
	return true;
}

static void got_room(struct swi_call *call, int status, struct swi_rd *body)
{
	struct guest_room *r = call->owner;

	if (status)
		return;
	const uint64_t offset = swi_rd_u64(body), bytes = swi_rd_u64(body);

	swi_lc_grant(r->p->lc, offset, bytes, swi_rd_u32(body), r->large);
}

/* As swarm_store_put_many(): some room in advance, now or not at all. */
static void ask_rooms(struct sim_guest *g)
{
	for (uint32_t i = 0; i < GUEST_ROOMS; i++) {
		struct guest_room *r = &g->room[i];
		uint8_t buf[32];
		struct swi_wr w = swi_wr_init(buf, sizeof(buf));
		uint64_t bytes;

		*r = (struct guest_room){.p = g->p, .posted = sim_rand(world(g)) % 2};
		if (!r->posted)
			continue;
		r->call = (struct swi_call){.on_reply = got_room, .owner = r};
		swi_lc_want_chunk(g->p->lc, sim_obj_len(world(g), g->obj[i % g->n]), &bytes, &r->large);
		swi_wr_u64(&w, bytes);
		swi_wr_u8(&w, r->large);
		swi_wr_u64(&w, 0);
		if (swi_lc_try_post(g->p->lc, SWI_L_CHUNK, buf, w.len, &r->call))
			sim_fail(world(g), "n%u guest: a request was refused", g->p->node->index);
	}
}

static bool rooms_answered(struct sim_guest *g)
{
	for (uint32_t i = 0; i < GUEST_ROOMS; i++)
		if (g->room[i].posted && !g->room[i].call.done)
			return false;
	return true;
}

static void seal(struct sim_guest *g)
{
	struct sim *s = world(g);
	const uint32_t obj = g->obj[g->pos];
	int rc;

	g->created = false;
	if (g->abort) {
		swi_lc_abort(g->p->lc, &g->buf);
		return;
	}
	sim_obj_fill(s, obj, g->buf.data);
	rc = swi_lc_seal(g->p->lc, &g->buf);
	if (rc && !(rc == -EEXIST && obj < SIM_NAMED))
		sim_fail(s, "n%u guest: seal of object %u gives %s", g->p->node->index, obj, swarm_errname(rc));
	if (rc)
		return;
	if (g->p->cl->account && g->p->cl->account->used > sim_quota(s))
		sim_fail(s, "n%u guest: it fills more than its quota", g->p->node->index);
	sim_obj_made(s, obj, g->p->node);
	g->sealed[obj] += g->sub_ns != 0;
}

static void put_refused(struct sim_guest *g, int rc)
{
	struct sim *s = world(g);
	const uint64_t need = swi_extent_bytes(sim_obj_len(s, g->obj[g->pos])) + SWI_LARGE_MIN;
	const struct swi_account *ac = g->p->cl->account;

	if (rc == -EEXIST && g->obj[g->pos] < SIM_NAMED)
		return;
	if (rc == SWARM_EQUOTA && ac && ac->used + need > sim_quota(s))
		return;
	sim_fail(s, "n%u guest: object %u cannot be made: %s", g->p->node->index, g->obj[g->pos], swarm_errname(rc));
}

static int step_put(struct sim_guest *g)
{
	struct sim *s = world(g);
	int rc;

	if (!rooms_answered(g))
		return 0;
	if (g->pos == g->n) {
		end_op(g);
		return 1;
	}
	if (g->created) {
		if (sim_now(s) < g->seal_ns)
			return 0;
		seal(g);
		g->pos++;
		return 1;
	}
	rc = sim_proc_make(g->p, ref_of(g, g->pos), sim_obj_len(s, g->obj[g->pos]), &g->buf);
	if (rc == -EAGAIN)
		return 0;
	if (rc) {
		put_refused(g, rc);
		g->pos++;
		return 1;
	}
	g->created = true;
	g->abort = sim_rand(s) % 12 == 0;
	g->seal_ns = sim_now(s) + (sim_rand(s) % 2 ? 0 : sim_rand(s) % SEAL_MAX);
	return 1;
}

static void begin_put(struct sim_guest *g)
{
	struct sim *s = world(g);

	g->n = g->op == OP_PUT ? 1 : 1 + (uint32_t)(sim_rand(s) % GUEST_MANY);
	for (uint32_t i = 0; i < g->n; i++)
		pick_new(g, i);
	g->pos = 0;
	memset(g->room, 0, sizeof(g->room));
	if (g->op == OP_PUT_MANY)
		ask_rooms(g);
}

/* ---- getting ---- */

static void begin_get(struct sim_guest *g)
{
	struct sim *s = world(g);
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	struct swarm_view v = {0};
	const uint64_t whole = sim_obj_len(s, g->obj[0]);
	int rc;

	g->from = g->op == OP_RANGE ? sim_rand(s) % (whole + 1) : 0;
	g->len = g->op == OP_RANGE ? 1 + sim_rand(s) % (whole + 1) : whole;
	rc = swi_lc_try_get(g->p->lc, ref_of(g, 0), &v);
	if (rc != -ENOENT) {
		guest_got(g, g->obj[0], g->sure[0], true, 0, rc, &v);
		end_op(g);
		return;
	}
	swi_wr_ref(&w, ref_of(g, 0));
	if (g->op == OP_RANGE) {
		swi_wr_u64(&w, g->from);
		swi_wr_u64(&w, g->len);
	}
	swi_wr_u64(&w, timeout_of(g));
	ask(g, g->op == OP_RANGE ? SWI_L_GET_RANGE : SWI_L_GET, &w);
}

static int step_get(struct sim_guest *g)
{
	struct sim *s = world(g);
	const uint64_t head = sizeof(struct swi_object_head);
	const uint64_t whole = sim_obj_len(s, g->obj[0]);
	struct swarm_view v = {0};
	struct swi_rd r;

	if (!answer(g, &r))
		return 0;
	if (!g->status) {
		const uint64_t offset = swi_rd_u64(&r);
		const uint32_t gen = swi_rd_u32(&r);
		const uint64_t last = swi_rd_u64(&r); /* the length, or how far behind the offset the part begins */

		g->status = swi_lc_accept(g->p->lc, ref_of(g, 0), offset, gen, &v);
		if (!g->status && g->op == OP_RANGE) {
			if (last < head || last - head > v.len || g->len > v.len - (last - head))
				sim_fail(s, "n%u guest: a part lies outside of its extent", g->p->node->index);
			v.data = (const uint8_t *)v.data + (last - head);
			v.len = g->len;
		}
	}
	if (g->op == OP_RANGE && g->status == -EINVAL && (g->from > whole || g->len > whole - g->from))
		s->guest_answers++;
	else
		guest_got(g, g->obj[0], g->sure[0], g->patient, g->from, g->status, &v);
	end_op(g);
	return 1;
}

static void begin_many(struct sim_guest *g)
{
	uint8_t buf[16 + GUEST_MANY * 20];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	pick_many(g);
	swi_wr_u64(&w, timeout_of(g));
	swi_wr_u32(&w, g->n);
	for (uint32_t i = 0; i < g->n; i++)
		swi_wr_ref(&w, ref_of(g, i));
	ask(g, SWI_L_GET_MANY, &w);
}

static int step_many(struct sim_guest *g)
{
	uint8_t buf[8 + GUEST_MANY * 8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	uint64_t held[GUEST_MANY];
	uint32_t n = 0;
	struct swi_rd r;

	if (!answer(g, &r))
		return 0;
	if (g->status || swi_rd_u32(&r) != g->n)
		sim_fail(world(g), "n%u guest: a get of many gives %s", g->p->node->index, swarm_errname(g->status));
	for (uint32_t i = 0; i < g->n && !r.bad; i++) {
		int rc = (int)swi_rd_u32(&r);
		const uint64_t offset = swi_rd_u64(&r);
		const uint32_t gen = swi_rd_u32(&r);
		struct swarm_view v = {0};

		(void)swi_rd_u64(&r);
		if (!rc) {
			held[n++] = offset;
			rc = swi_lc_adopt(g->p->lc, ref_of(g, i), offset, gen, &v);
		}
		guest_got(g, g->obj[i], g->sure[i], g->patient, 0, rc, &v);
	}
	swi_wr_u32(&w, n);
	for (uint32_t i = 0; i < n; i++)
		swi_wr_u64(&w, held[i]);
	if (n)
		sim_proc_post(g->p, SWI_L_HELD_MANY, buf, w.len);
	end_op(g);
	return 1;
}

/* ---- waiting ---- */

static void begin_wait(struct sim_guest *g)
{
	uint8_t buf[32 + GUEST_MANY * 20];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	pick_many(g);
	g->pos = (uint32_t)(sim_rand(world(g)) % (g->n + 1)); /* so many suffice */
	swi_wr_u32(&w, g->n);
	swi_wr_u32(&w, g->pos);
	swi_wr_u64(&w, timeout_of(g));
	for (uint32_t i = 0; i < g->n; i++)
		swi_wr_ref(&w, ref_of(g, i));
	ask(g, SWI_L_WAIT, &w);
}

static int step_wait(struct sim_guest *g)
{
	struct sim *s = world(g);
	uint32_t len, ready, sure = 0, said = 0;
	struct swi_rd r;

	if (!answer(g, &r))
		return 0;
	if (g->status == -ETIMEDOUT)
		(void)swi_rd_bytes(&r, &len);
	ready = swi_rd_u32(&r);
	for (uint32_t i = 0; i < g->n; i++) {
		const uint8_t there = swi_rd_u8(&r);

		said += there;
		sure += g->sure[i] && sim_obj_sure(s, g->obj[i]);
		if (there && !s->obj[g->obj[i]].made)
			s->guest_answers++; /* its task or home is gone: that is an end, too */
	}
	if (!swi_rd_done(&r) || (g->status && g->status != -ETIMEDOUT) || said != ready ||
	    (!g->status && ready < g->pos) || (g->status && g->patient && sure >= g->pos))
		sim_fail(s, "n%u guest: a wait for %u of %u, %u of them sure, gives %s with %u", g->p->node->index, g->pos,
			 g->n, sure, swarm_errname(g->status), ready);
	s->guest_answers++;
	end_op(g);
	return 1;
}

/* ---- pins and ends in time ---- */

static void begin_pin(struct sim_guest *g)
{
	struct sim_node *n = g->p->node;
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	g->policy = (uint8_t)(sim_rand(world(g)) % 3);
	n->pinned[g->obj[0]] = false; /* until the answer comes nobody knows */
	swi_wr_ref(&w, ref_of(g, 0));
	swi_wr_u8(&w, g->policy);
	swi_wr_u64(&w, timeout_of(g));
	ask(g, SWI_L_PIN, &w);
}

static int step_pin(struct sim_guest *g)
{
	struct sim *s = world(g);
	struct swi_rd r;

	if (!answer(g, &r))
		return 0;
	if (!g->status && g->policy == SWARM_PIN_HARD)
		g->p->node->pinned[g->obj[0]] = true;
	if (g->status && g->policy == SWARM_PIN_NONE)
		sim_fail(s, "n%u guest: an unpin gives %s", g->p->node->index, swarm_errname(g->status));
	if (g->status && g->status != SWARM_EPINLIMIT)
		guest_got(g, g->obj[0], g->sure[0], g->patient, 0, g->status, NULL);
	s->guest_answers++;
	end_op(g);
	return 1;
}

static void begin_expire(struct sim_guest *g)
{
	struct sim *s = world(g);
	struct sim_obj *o = &s->obj[g->obj[0]];
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	g->ttl_ns = sim_rand(s) % 5 ? sim_rand(s) % (3 * NS_PER_S) : UINT64_MAX;
	o->doomed = o->doomed || g->ttl_ns != UINT64_MAX;
	if (o->ttl_node == g->p->node->index)
		o->ttl = false;
	swi_wr_ref(&w, o->ref);
	swi_wr_u64(&w, g->ttl_ns);
	ask(g, SWI_L_EXPIRE, &w);
}

static int step_expire(struct sim_guest *g)
{
	struct sim *s = world(g);
	struct sim_obj *o = &s->obj[g->obj[0]];
	struct swi_rd r;

	if (!answer(g, &r))
		return 0;
	if (g->status && g->status != -ENOENT)
		sim_fail(s, "n%u guest: expire gives %s", g->p->node->index, swarm_errname(g->status));
	/* A name may be made again by others: only what is made once must be gone then. */
	if (!g->status && g->ttl_ns != UINT64_MAX && g->obj[0] >= SIM_NAMED) {
		o->ttl = true;
		o->ttl_node = g->p->node->index;
		o->ttl_life = g->p->node->life;
	}
	s->guest_answers++;
	end_op(g);
	return 1;
}

/* ---- questions about the node ---- */

static void begin_look(struct sim_guest *g)
{
	static const uint16_t type[] = {SWI_L_EXPLAIN, SWI_L_LIST, SWI_L_STATUS};
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	g->look = type[sim_rand(world(g)) % SWI_ARRAY_LEN(type)];
	if (g->look == SWI_L_EXPLAIN) {
		swi_wr_ref(&w, ref_of(g, 0));
	} else if (g->look == SWI_L_LIST) {
		swi_wr_u64(&w, 0);
		swi_wr_u32(&w, UINT32_MAX);
	} else {
		swi_wr_str(&w, "store");
		swi_wr_u64(&w, 0);
	}
	ask(g, g->look, &w);
}

static void list_is_true(struct sim_guest *g, struct swi_rd *r)
{
	struct sim *s = world(g);
	uint32_t n;

	(void)swi_rd_u64(r);
	(void)swi_rd_u64(r);
	n = swi_rd_u32(r);
	while (n-- && !r->bad) {
		const struct swarm_ref ref = swi_rd_ref(r);
		const uint64_t len = swi_rd_u64(r);

		(void)swi_rd_u32(r);
		for (uint32_t i = 0; i < SIM_OBJS; i++)
			if (s->obj[i].used && swarm_oid_equal(s->obj[i].ref.id, ref.id) &&
			    (len != sim_obj_len(s, i) || ref.home != s->obj[i].ref.home))
				sim_fail(s, "n%u guest: a row of the list is wrong", g->p->node->index);
	}
	if (!swi_rd_done(r))
		sim_fail(s, "n%u guest: the list does not decode", g->p->node->index);
}

static int step_look(struct sim_guest *g)
{
	struct sim *s = world(g);
	struct swi_rd r;

	if (!answer(g, &r))
		return 0;
	if (g->look == SWI_L_EXPLAIN)
		guest_got(g, g->obj[0], false, false, 0, g->status ? g->status : -ENOENT, NULL);
	else if (g->status)
		sim_fail(s, "n%u guest: list or status gives %s", g->p->node->index, swarm_errname(g->status));
	else if (g->look == SWI_L_LIST)
		list_is_true(g, &r);
	s->guest_answers++;
	end_op(g);
	return 1;
}

/* ---- which ---- */

static const struct {
	void (*begin)(struct sim_guest *g);
	int (*step)(struct sim_guest *g);
} ops[] = {
    [OP_PUT] = {begin_put, step_put},	    [OP_PUT_MANY] = {begin_put, step_put},
    [OP_GET] = {begin_get, step_get},	    [OP_RANGE] = {begin_get, step_get},
    [OP_GET_MANY] = {begin_many, step_many}, [OP_WAIT] = {begin_wait, step_wait},
    [OP_PIN] = {begin_pin, step_pin},	    [OP_EXPIRE] = {begin_expire, step_expire},
    [OP_LOOK] = {begin_look, step_look},
};

void guest_op_begin(struct sim_guest *g)
{
	static const uint8_t often[] = {OP_PUT, OP_PUT,	 OP_PUT_MANY, OP_GET,  OP_GET, OP_RANGE,
					OP_GET_MANY, OP_WAIT, OP_PIN, OP_EXPIRE, OP_LOOK};
	struct sim *s = world(g);

	g->op = often[sim_rand(s) % SWI_ARRAY_LEN(often)];
	while (!pick(g, 0))
		;
	sim_trace(s, "n%u guest: op %d object %u", g->p->node->index, (int)g->op, g->obj[0]);
	ops[g->op].begin(g);
}

int guest_op_step(struct sim_guest *g)
{
	return ops[g->op].step(g);
}

uint64_t guest_op_next_ns(const struct sim_guest *g)
{
	return g->created ? g->seal_ns : UINT64_MAX;
}

void guest_op_drop(struct sim_guest *g)
{
	end_op(g);
}
