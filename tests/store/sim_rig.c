/* SPDX-License-Identifier: Apache-2.0 */
/* sim_rig.c - see sim_rig.h. */
#include "tests/store/sim_rig.h"

#include <xxhash.h>

static void on_trace(void *ctx, const char *line)
{
	struct sim *s = ctx;

	s->trace = XXH3_64bits_withSeed(line, strlen(line), s->trace);
}

struct sim *sim_new(uint64_t seed)
{
	const struct swi_simnet_opts o = {
	    .seed = seed, .tail_permille = 10, .tail_ns = 200 * NS_PER_US};
	struct sim *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	assert_int_equal(swi_simnet_create(&o, &s->net), 0);
	swi_simnet_trace(s->net, on_trace, s);
	return s;
}

static void *zeroed(uint64_t bytes)
{
	void *p = aligned_alloc(SWI_PAGE, swi_align_up(bytes, SWI_PAGE));

	assert_non_null(p);
	memset(p, 0, swi_align_up(bytes, SWI_PAGE));
	return p;
}

static void attach(struct sim_node *n)
{
	struct swi_lc_opts lo = {.arena = n->arena, .index = n->shm};

	n->client = zeroed(SWI_CLIENT_BYTES);
	assert_int_equal(swi_client_attach(n->sn, n->client, NULL, n->number, 0, &n->cl), 0);
	lo.shm = n->client;
	assert_int_equal(swi_lc_create(&lo, &n->lc), 0);
}

struct sim_node *sim_start(struct sim *s, uint32_t number, uint64_t arena_bytes, bool disk)
{
	struct sim_node *n = &s->node[number];
	const struct swi_disk_sim_opts dopts = {.seed = number, .bytes_per_second = s->disk_rate};
	struct swi_snode_opts o = {.arena_bytes = arena_bytes, .segment_bytes = MIB(4)};
	char why[256] = "";

	n->sim = s;
	n->number = number;
	snprintf(n->addr, sizeof(n->addr), "n%u:1", number);
	snprintf(n->log.name, sizeof(n->log.name), "node %u", number);
	n->log.level = SWI_LOG_NONE;
	swi_sim_env_init(&n->env, s->net, 1000 + number + swi_simnet_now(s->net)); /* each life its own epoch */
	n->epoch = swi_rand(&n->env.env) | 1;
	n->arena = zeroed(arena_bytes);
	n->shm = zeroed(swi_index_bytes(4096));
	swi_index_format(n->shm, arena_bytes, 4096, n->epoch);
	if (disk) {
		n->platter = swi_platter_create(MIB(512), "platter");
		assert_int_equal(
		    swi_disk_sim_create(&dopts, n->platter, &n->env.env, &n->disk), 0);
		o.disks = &n->disk;
		o.disk_count = 1;
	}
	o.env = &n->env.env;
	o.log = &n->log;
	o.arena = n->arena;
	o.shm = n->shm;
	o.tp = (struct swi_tp_opts){.backend = "sim", .bind = n->addr, .param = s->net};
	memset(o.tp.key, 7, sizeof(o.tp.key));
	o.node = number;
	o.piece_bytes = s->piece_bytes;
	o.epoch = n->epoch;
	if (swi_snode_create(&o, &n->sn, why, sizeof(why)))
		fail_msg("node %u: %s", number, why);
	n->alive = true;
	attach(n);
	return n;
}

static void stop(struct sim_node *n)
{
	swi_lc_destroy(n->lc);
	swi_client_gone(n->sn, n->cl);
	swi_snode_destroy(n->sn);
	if (n->disk)
		n->disk->ops->destroy(n->disk);
	swi_platter_destroy(n->platter);
	free(n->client);
	free(n->arena);
	free(n->shm);
	memset(n, 0, sizeof(*n));
}

void sim_kill(struct sim_node *n, enum swi_sim_kill how)
{
	swi_simnet_kill(n->sim->net, n->addr, how);
	stop(n);
}

void sim_free(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		if (s->node[i].alive)
			stop(&s->node[i]);
	}
	swi_simnet_destroy(s->net);
	free(s);
}

void sim_know_all(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		for (uint32_t k = 0; k < SIM_NODES; k++) {
			if (i != k && s->node[i].alive && s->node[k].alive)
				swi_peer_add(s->node[i].sn, k, s->node[k].epoch, s->node[k].addr);
		}
	}
}

static int step_all(struct sim *s, uint64_t *out_next)
{
	uint64_t next = swi_simnet_next_ns(s->net);
	int n = 0;

	for (uint32_t i = 0; i < SIM_NODES; i++) {
		struct sim_node *nd = &s->node[i];

		if (!nd->alive)
			continue;
		n += swi_snode_step(nd->sn);
		n += swi_lc_pump(nd->lc);
		next = swi_min_u64(next, swi_snode_deadline_ns(nd->sn));
		if (nd->disk)
			next = swi_min_u64(next, swi_disk_sim_deadline_ns(nd->disk));
	}
	*out_next = next;
	return n;
}

bool sim_until(struct sim *s, const bool *flag, uint64_t limit_ns)
{
	const uint64_t end = swi_simnet_now(s->net) + limit_ns;
	uint64_t next, now;

	while (!*flag) {
		const int n = step_all(s, &next);

		now = swi_simnet_now(s->net);
		if (now >= end)
			return false;
		/* A step takes time too: nothing here may spin while the clock stands still. */
		next = n || next <= now ? now + 500 : next;
		swi_simnet_advance(s->net, swi_min_u64(next, end));
	}
	return true;
}

void sim_run(struct sim *s, uint64_t ns)
{
	const bool never = false;

	sim_until(s, &never, ns);
}

static uint8_t pattern(struct swarm_oid id, uint64_t i)
{
	return (uint8_t)((id.w[0] * 131 + id.w[1] + i * 7 + (i >> 9)) ^ i >> 17);
}

void sim_fill(void *p, struct swarm_oid id, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		((uint8_t *)p)[i] = pattern(id, i);
}

bool sim_filled(const void *p, struct swarm_oid id, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++) {
		if (((const uint8_t *)p)[i] != pattern(id, i))
			return false;
	}
	return true;
}

struct swarm_ref sim_ref(uint64_t n, uint32_t home)
{
	return (struct swarm_ref){.id = {{n, ~n}}, .home = home};
}

/* ---- put ---- */

struct chunk_call {
	struct swi_call call;
	bool done;
	bool large;
	struct swi_lc *lc;
};

static void on_chunk(struct swi_call *call, int status, struct swi_rd *body)
{
	struct chunk_call *c = call->owner;
	uint64_t offset, bytes;

	c->done = true;
	call->status = status;
	if (status)
		return;
	offset = swi_rd_u64(body);
	bytes = swi_rd_u64(body);
	swi_lc_grant(c->lc, offset, bytes, swi_rd_u32(body), c->large);
}

static int ask_chunk(struct sim_node *n, uint64_t len)
{
	struct chunk_call c = {.lc = n->lc, .call = {.on_reply = on_chunk}};
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	uint64_t bytes;

	c.call.owner = &c;
	swi_lc_want_chunk(n->lc, len, &bytes, &c.large);
	swi_wr_u64(&w, bytes);
	swi_wr_u8(&w, c.large);
	swi_wr_u64(&w, 5 * NS_PER_S);
	assert_int_equal(swi_lc_try_post(n->lc, SWI_L_CHUNK, buf, w.len, &c.call), 0);
	assert_true(sim_until(n->sim, &c.done, 20 * NS_PER_S));
	return c.call.status;
}

int sim_put(struct sim_node *n, struct swarm_ref ref, uint64_t len)
{
	struct swarm_buf b;
	int rc;

	while ((rc = swi_lc_try_create(n->lc, ref, len, &b)) == -EAGAIN) {
		rc = ask_chunk(n, len);
		if (rc)
			return rc;
	}
	if (rc)
		return rc;
	sim_fill(b.data, ref.id, len);
	return swi_lc_seal(n->lc, &b);
}

/* ---- get ---- */

struct get {
	struct swi_want want;
	struct sim_node *n;
	bool done;
	int status;
	uint64_t len;
	char text[256];
};

static void got(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct get *g = w->owner;
	const struct swi_object_head *h;

	g->done = true;
	g->status = status;
	snprintf(g->text, sizeof(g->text), "%s", text);
	if (status)
		return;
	h = swi_object_at(g->n->sn, offset, NULL);
	assert_non_null(h);
	assert_int_equal(h->len, g->len);
	assert_true(sim_filled(h + 1, w->ref.id, g->len));
	swi_hold_drop(g->n->sn, offset);
}

int sim_get(struct sim_node *n, struct swarm_ref ref, uint64_t len, uint64_t timeout_ns, char *text,
	    size_t text_len)
{
	struct get g = {.n = n, .len = len};

	g.want = (struct swi_want){.ref = ref,
				   .deadline_ns = swi_simnet_now(n->sim->net) + timeout_ns,
				   .cb = got,
				   .owner = &g};
	swi_want(n->sn, &g.want);
	assert_true(sim_until(n->sim, &g.done, timeout_ns + NS_PER_S));
	if (text)
		snprintf(text, text_len, "%s", g.text);
	return g.status;
}
