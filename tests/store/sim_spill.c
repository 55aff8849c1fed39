/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_spill.c - when memory is short, in virtual time: a writer that outruns the disk, the line of those who
 * wait, what is dropped and what is written, readers of spilled objects.
 */
#include "tests/store/sim_rig.h"

#define OBJ KIB(500)

/* ---- a writer that asks for room without waiting for the last answer ---- */

struct asked {
	struct swi_call call;
	struct writer *w;
	uint64_t posted_ns, order;
	bool over;
};

struct writer {
	struct sim_node *n;
	uint64_t posted, answered, failed, next_id, slowest_ns;
	uint64_t bytes, patience_ns;
	bool in_order;
	char text[512];
	struct asked ask[64];
};

static void seal_one(struct writer *w)
{
	const struct swarm_ref ref = sim_ref(++w->next_id, w->n->number);
	struct swarm_buf b;

	assert_int_equal(swi_lc_try_create(w->n->lc, ref, w->bytes, &b), 0);
	sim_fill(b.data, ref.id, w->bytes);
	assert_int_equal(swi_lc_seal(w->n->lc, &b), 0);
}

static void on_room(struct swi_call *call, int status, struct swi_rd *body)
{
	struct asked *a = call->owner;
	struct writer *w = a->w;
	const uint64_t ns = swi_simnet_now(w->n->sim->net) - a->posted_ns;

	w->in_order &= a->order == w->answered++;
	w->slowest_ns = swi_max_u64(w->slowest_ns, ns);
	a->over = true;
	if (status) {
		w->failed++;
		swi_rd_str(body, w->text, sizeof(w->text));
		return;
	}
	const uint64_t offset = swi_rd_u64(body), bytes = swi_rd_u64(body);

	swi_lc_grant(w->n->lc, offset, bytes, swi_rd_u32(body), true);
	seal_one(w);
}

static void ask(struct writer *w)
{
	struct asked *a = &w->ask[w->posted % SWI_ARRAY_LEN(w->ask)];
	uint8_t buf[32];
	struct swi_wr wr = swi_wr_init(buf, sizeof(buf));

	*a = (struct asked){.call = {.on_reply = on_room, .owner = a},
			    .w = w,
			    .order = w->posted++,
			    .posted_ns = swi_simnet_now(w->n->sim->net)};
	swi_wr_u64(&wr, swi_align_up(swi_extent_bytes(w->bytes), SWI_PAGE));
	swi_wr_u8(&wr, 1);
	swi_wr_u64(&wr, w->patience_ns);
	assert_int_equal(swi_lc_try_post(w->n->lc, SWI_L_CHUNK, buf, wr.len, &a->call), 0);
}

/* Keeps @depth requests open until @count were answered. */
static void write_all(struct writer *w, uint64_t count, uint32_t depth)
{
	while (w->answered < count) {
		while (w->posted < count && w->posted - w->answered < depth)
			ask(w);
		sim_run(w->n->sim, 100 * NS_PER_US);
	}
}

static struct sim *slow_disk(uint64_t seed, uint64_t rate)
{
	struct sim *s = sim_new(seed);

	s->disk_rate = rate;
	return s;
}

static void test_writer_outruns_the_disk(void **state)
{
	struct sim *s = slow_disk(1, 20000000);
	struct sim_node *a = sim_start(s, 1, MIB(8), true);
	struct writer w = {.n = a, .bytes = OBJ, .patience_ns = 5 * NS_PER_S, .in_order = true};
	const uint64_t begin = swi_simnet_now(s->net);
	struct swi_snode_stats st;
	uint64_t ns;

	(void)state;
	write_all(&w, 200, 16); /* 102 MB, through 8 MiB of memory, as fast as room comes */
	ns = swi_simnet_now(s->net) - begin;
	swi_snode_stats(a->sn, &st);
	assert_int_equal(w.failed, 0);
	assert_true(w.in_order);
	/* Nobody waited for much longer than those before him and himself take on the disk: 17 x 25.6 ms. */
	assert_in_range(w.slowest_ns, 50 * NS_PER_MS, 900 * NS_PER_MS);
	/* The disk was what held the writer up, and it was kept busy: 94 MB at 20 MB/s. */
	assert_in_range(ns, 4500 * NS_PER_MS, 5600 * NS_PER_MS);
	assert_in_range(a->sn->evict.write.rate, 15000000, 25000000);
	assert_true(st.spilled_objects >= 180);
	for (uint64_t i = 1; i <= 200; i += 13)
		assert_int_equal(sim_get(a, sim_ref(i, 1), OBJ, 5 * NS_PER_S, NULL, 0), 0);
	sim_free(s);
}

/* Patience that is too short fails, and says what the matter is; what is behind it goes on. */
static void test_no_room_in_time(void **state)
{
	struct sim *s = slow_disk(2, 2000000);
	struct sim_node *a = sim_start(s, 1, MIB(8), true);
	struct writer w = {.n = a, .bytes = OBJ, .patience_ns = 300 * NS_PER_MS, .in_order = true};

	(void)state;
	write_all(&w, 60, 16);
	assert_in_range(w.failed, 10, 50);
	assert_true(w.in_order);
	assert_in_range(w.slowest_ns, 299 * NS_PER_MS, 302 * NS_PER_MS); /* never later than it was told */
	assert_non_null(strstr(w.text, "within 30"));
	assert_non_null(strstr(w.text, "the disk takes"));
	assert_non_null(strstr(w.text, "wait longer"));
	sim_free(s);
}

/* One that reads back is in the same line: a writer without end does not starve it. */
static void test_restore_in_the_line(void **state)
{
	struct sim *s = slow_disk(3, 20000000);
	struct sim_node *a = sim_start(s, 1, MIB(8), true);
	struct writer w = {.n = a, .bytes = OBJ, .patience_ns = 60 * NS_PER_S, .in_order = true};
	uint64_t slowest = 0;

	(void)state;
	write_all(&w, 64, 16);
	for (uint64_t i = 1; i <= 10; i++) {
		uint64_t t = swi_simnet_now(s->net);

		while (w.posted - w.answered < 16)
			ask(&w);
		assert_int_equal(sim_get(a, sim_ref(i, 1), OBJ, 10 * NS_PER_S, NULL, 0), 0);
		t = swi_simnet_now(s->net) - t;
		slowest = swi_max_u64(slowest, t);
	}
	assert_in_range(slowest, NS_PER_MS, 1500 * NS_PER_MS);
	write_all(&w, w.posted, 0);
	assert_int_equal(w.failed, 0);
	assert_true(w.in_order);
	sim_free(s);
}

/* From the high mark down to the low one, and nobody waits for it. */
static void test_before_anybody_waits(void **state)
{
	struct sim *s = slow_disk(4, 0);
	struct sim_node *a = sim_start(s, 1, MIB(16), true);
	uint64_t i = 0;

	(void)state;
	while (!swi_snode_tight(a->sn)) {
		assert_int_equal(a->sn->stats.spilled_objects, 0);
		assert_int_equal(sim_put(a, sim_ref(++i, 1), OBJ), 0);
	}
	sim_run(s, NS_PER_S);
	assert_in_range(swi_snode_arena_used(a->sn), MIB(16) / 100 * 70, MIB(16) / 100 * 75 + 1000);
	assert_int_equal(a->sn->clients.served, 0);
	assert_in_range(a->sn->stats.spilled_bytes, MIB(16) / 100 * 10, MIB(16) / 100 * 16);
	sim_run(s, 10 * NS_PER_S);
	assert_in_range(a->sn->stats.spilled_bytes, MIB(16) / 100 * 10, MIB(16) / 100 * 16);
	sim_free(s);
}

/* ---- what goes first ---- */

/* Copies of a peer's objects, and what is on disk already, make room before anything is written. */
static void consume(struct sim_node *n, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i <= to; i++) {
		uint64_t offset;

		if (swi_hold_find(n->sn, sim_ref(i, 1).id, &offset))
			swi_hold_drop_used(n->sn, offset);
	}
}

static uint64_t written(struct sim_node *n)
{
	struct swi_snode_stats st;

	swi_snode_stats(n->sn, &st);
	return st.spilled_objects;
}

/*
 * What tasks have consumed is mostly deleted a moment later: until then nothing of it is written while nobody waits, and for
 * who waits only when that moment is over. Where it turns out to stay it is written as everything else.
 */
static void test_consumed_is_not_written(void **state)
{
	struct sim *s = sim_new(18);
	struct sim_node *n = sim_start(s, 1, MIB(16), true);
	uint64_t at;

	(void)state;
	for (uint64_t i = 1; i <= 28; i++) { /* 13.7 of 16 MiB: past the mark */
		assert_int_equal(sim_put(n, sim_ref(i, 1), OBJ), 0);
		consume(n, i, i);
	}
	sim_run(s, NS_PER_S);
	assert_int_equal(written(n), 0);
	for (uint64_t i = 1; i <= 10; i++)
		swi_delete(n->sn, sim_ref(i, 1));
	sim_run(s, 10 * NS_PER_MS);
	consume(n, 11, 28);
	at = swi_simnet_now(s->net);
	for (uint64_t i = 31; i <= 46; i++) { /* somebody has to wait */
		assert_int_equal(sim_put(n, sim_ref(i, 1), OBJ), 0);
		consume(n, i, i);
	}
	assert_true(written(n) > 0);
	assert_true(swi_simnet_now(s->net) - at >= 100 * NS_PER_MS);
	assert_true(swi_simnet_now(s->net) - at < NS_PER_S);
	for (uint64_t i = 51; i <= 90; i++) { /* from here on nothing is deleted, and that is remembered */
		assert_int_equal(sim_put(n, sim_ref(i, 1), OBJ), 0);
		consume(n, i, i);
		sim_run(s, 3 * NS_PER_S);
	}
	at = swi_simnet_now(s->net);
	for (uint64_t i = 101; i <= 140; i++) {
		assert_int_equal(sim_put(n, sim_ref(i, 1), OBJ), 0);
		consume(n, i, i);
	}
	assert_true(swi_simnet_now(s->net) - at < 100 * NS_PER_MS); /* no waiting for deletes that do not come */
	sim_free(s);
}

static void test_copies_go_first(void **state)
{
	struct sim *s = slow_disk(5, 0);
	struct sim_node *a = sim_start(s, 1, MIB(16), true), *b = sim_start(s, 2, MIB(16), true);
	struct swi_snode_stats st;

	(void)state;
	sim_know_all(s);
	for (uint64_t i = 1; i <= 12; i++)
		assert_int_equal(sim_put(b, sim_ref(i, 2), OBJ), 0);
	for (uint64_t i = 101; i <= 112; i++)
		assert_int_equal(sim_put(a, sim_ref(i, 1), OBJ), 0);
	for (uint64_t i = 1; i <= 12; i++)
		assert_int_equal(sim_get(a, sim_ref(i, 2), OBJ, NS_PER_S, NULL, 0), 0);
	sim_run(s, 3 * NS_PER_S); /* all of one age, more or less */
	for (uint64_t i = 201; i <= 212; i++)
		assert_int_equal(sim_put(a, sim_ref(i, 1), OBJ), 0);
	swi_snode_stats(a->sn, &st);
	assert_true(st.evicted_objects >= 8);
	assert_int_equal(st.spilled_objects, 0);
	sim_free(s);
}

struct remaker {
	struct sim_node *n;
	uint64_t make_ns, dropped, lost;
};

static uint64_t remake_ns(void *ctx, struct swarm_oid id, bool drop)
{
	struct remaker *m = ctx;

	if (id.w[0] >= 1000) /* a put */
		return UINT64_MAX;
	m->dropped += drop;
	return m->make_ns;
}

static int obj_lost(void *ctx, struct swarm_oid id, bool made, char *why, size_t why_len)
{
	struct remaker *m = ctx;

	(void)made;
	(void)why;
	(void)why_len;
	m->lost++;
	swi_dir_expect(m->n->sn, id);
	return 0;
}

/* A cheap task's result against a slow disk: dropped, and made again when somebody asks. A put is written. */
static void test_made_again_instead(void **state)
{
	struct sim *s = slow_disk(6, 20000000);
	struct sim_node *a = sim_start(s, 1, MIB(8), true);
	struct remaker m = {.n = a, .make_ns = NS_PER_MS};
	const struct swi_snode_hooks h = {.ctx = &m, .obj_lost = obj_lost, .obj_remake_ns = remake_ns};
	char text[256];

	(void)state;
	swi_snode_set_hooks(a->sn, &h);
	for (uint64_t i = 1030; i < 1060; i++) /* from here on it is known how slow the disk is */
		assert_int_equal(sim_put(a, sim_ref(i, 1), OBJ), 0);
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(sim_put(a, sim_ref(i, 1), OBJ), 0);
	sim_run(s, NS_PER_S);
	for (uint64_t i = 1000; i < 1030; i++)
		assert_int_equal(sim_put(a, sim_ref(i, 1), OBJ), 0);
	for (uint64_t i = 1; i <= 10; i++) /* none of them was written */
		assert_false(swi_spill_find(a->sn->spill, sim_ref(i, 1).id, NULL));
	assert_int_equal(m.dropped, 10);
	assert_int_equal(a->sn->evict.remade_objects, 10);
	assert_int_equal(m.lost, 0); /* nobody asked */
	for (uint64_t i = 1000; i < 1030; i++)
		assert_int_equal(sim_get(a, sim_ref(i, 1), OBJ, 5 * NS_PER_S, NULL, 0), 0);
	assert_int_equal(sim_get(a, sim_ref(3, 1), OBJ, 100 * NS_PER_MS, text, sizeof(text)), -ETIMEDOUT);
	assert_int_equal(m.lost, 1);
	assert_int_equal(sim_put(a, sim_ref(3, 1), OBJ), 0);
	assert_int_equal(sim_get(a, sim_ref(3, 1), OBJ, NS_PER_S, NULL, 0), 0);
	/* A dear one is written like a put. */
	m.make_ns = NS_PER_S;
	m.dropped = 0;
	for (uint64_t i = 11; i <= 40; i++)
		assert_int_equal(sim_put(a, sim_ref(i, 1), OBJ), 0);
	assert_int_equal(m.dropped, 0);
	sim_free(s);
}

/* ---- readers ---- */

struct reader {
	struct swi_want want;
	struct sim_node *n;
	int status;
	bool done;
};

static void got(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct reader *r = w->owner;

	(void)text;
	r->status = status;
	r->done = true;
	if (!status)
		swi_hold_drop(r->n->sn, offset);
}

/* However many want a spilled object at once, here and elsewhere: it is read once. */
static void test_one_disk_read_for_all(void **state)
{
	struct sim *s = slow_disk(7, 20000000);
	struct sim_node *a = sim_start(s, 1, MIB(8), true);
	struct reader r[12];
	uint64_t reads;

	(void)state;
	for (uint32_t i = 2; i <= 4; i++)
		sim_start(s, i, MIB(8), true);
	sim_know_all(s);
	for (uint64_t i = 1; i <= 40; i++)
		assert_int_equal(sim_put(a, sim_ref(i, 1), OBJ), 0);
	sim_run(s, NS_PER_S);
	reads = swi_disk_sim_count(a->disk, SWI_DIO_READ);
	for (uint32_t i = 0; i < 12; i++) {
		r[i] = (struct reader){.n = &s->node[1 + i % 4]};
		r[i].want = (struct swi_want){.ref = sim_ref(1, 1),
					      .deadline_ns = swi_simnet_now(s->net) + 5 * NS_PER_S,
					      .cb = got,
					      .owner = &r[i]};
		swi_want(r[i].n->sn, &r[i].want);
	}
	for (uint32_t i = 0; i < 12; i++) {
		assert_true(sim_until(s, &r[i].done, 6 * NS_PER_S));
		assert_int_equal(r[i].status, 0);
	}
	assert_int_equal(swi_disk_sim_count(a->disk, SWI_DIO_READ) - reads, 1);
	sim_free(s);
}

/* What peers read of a full node's disk passes through a reserve: nobody leaves memory for it, nothing is written. */
static void test_readers_evict_nobody(void **state)
{
	struct sim *s = slow_disk(8, 0);
	struct sim_node *a = sim_start(s, 1, MIB(8), true), *b = sim_start(s, 2, MIB(32), true);
	struct swi_snode_stats before, after;

	(void)state;
	sim_know_all(s);
	for (uint64_t i = 1; i <= 100; i++)
		assert_int_equal(sim_put(a, sim_ref(i, 1), KIB(200)), 0);
	sim_run(s, NS_PER_S);
	swi_snode_stats(a->sn, &before);
	assert_true(before.spilled_objects > 50);
	for (uint64_t i = 1; i <= 100; i++) /* checks the bytes */
		assert_int_equal(sim_get(b, sim_ref(i, 1), KIB(200), NS_PER_S, NULL, 0), 0);
	sim_run(s, 10 * NS_PER_MS); /* the last lease ends */
	swi_snode_stats(a->sn, &after);
	assert_int_equal(after.evicted_objects, before.evicted_objects);
	assert_int_equal(after.spilled_objects, before.spilled_objects);
	assert_true(after.restores > 50);
	assert_int_equal(after.holds, 0);
	assert_int_equal(a->sn->rooms.reserve.used, 0);
	assert_true(a->sn->rooms.reserve.frees > 50);
	assert_null(swi_extents_check(&a->sn->rooms.reserve));
	sim_free(s);
}

#define BIG (MIB(3) + 12345)

/* What is too large for the reserve comes part by part: still nobody leaves, and a death in the middle harms nobody. */
static void test_large_come_in_parts(void **state)
{
	(void)state;
	for (uint64_t when = 0; when < 6; when++) {
		struct sim *s = slow_disk(30 + when, 0);
		struct sim_node *a = sim_start(s, 1, MIB(64), true), *b = sim_start(s, 2, MIB(64), false);
		struct swi_snode_stats before, after;
		uint64_t len, parts = 0;

		sim_know_all(s);
		for (uint64_t i = 1; i <= 30; i++)
			assert_int_equal(sim_put(a, sim_ref(i, 1), BIG), 0);
		for (uint64_t i = 101; !swi_snode_tight(a->sn) && i < 200; i++)
			assert_int_equal(sim_put(a, sim_ref(i, 1), KIB(200)), 0);
		sim_run(s, NS_PER_S);
		swi_snode_stats(a->sn, &before);
		for (uint64_t i = 1; i <= 12; i++) { /* checks the bytes */
			const bool here = swi_hold_find(a->sn, sim_ref(i, 1).id, &len);

			if (here)
				swi_hold_drop(a->sn, len);
			parts += !here;
			if (when && i == 5)
				break;
			assert_int_equal(sim_get(b, sim_ref(i, 1), BIG, 5 * NS_PER_S, NULL, 0), 0);
		}
		if (when) {
			struct reader r = {.n = b};
			const bool never = false;

			r.want = (struct swi_want){.ref = sim_ref(6, 1),
						   .deadline_ns = swi_simnet_now(s->net) + 10 * NS_PER_S,
						   .cb = got,
						   .owner = &r};
			swi_want(b->sn, &r.want);
			sim_until(s, &never, when * 400 * NS_PER_US);
			sim_kill(a, when % 2 ? SWI_SIM_KILL_RESET : SWI_SIM_KILL_SILENT);
			assert_true(sim_until(s, &r.done, 12 * NS_PER_S));
			sim_run(s, NS_PER_S);
			assert_int_equal(b->sn->holds.count, 0);
			sim_free(s);
			continue;
		}
		sim_run(s, 10 * NS_PER_MS);
		swi_snode_stats(a->sn, &after);
		assert_true(parts >= 6);
		/* One or two found plenty of room, and came whole. */
		assert_in_range(after.restores - before.restores, 0, 2);
		assert_true(a->sn->ranges.reads >= 4 * 7);
		assert_int_equal(after.spilled_objects, before.spilled_objects);
		assert_int_equal(a->sn->rooms.reserve.used, 0);
		sim_free(s);
	}
}

/* ---- parts ---- */

struct part {
	struct swi_range_ask ask;
	struct sim_node *n;
	int status;
	bool done;
};

static void part_came(struct swi_range_ask *a, int status, const char *text, uint64_t hold, uint64_t at)
{
	struct part *p = a->owner;
	uint8_t *all = malloc(OBJ);

	(void)text;
	p->status = status;
	p->done = true;
	if (!status) {
		sim_fill(all, a->ref.id, OBJ);
		assert_memory_equal((uint8_t *)p->n->arena + at, all + a->from, a->len);
		swi_hold_drop(p->n->sn, hold);
	}
	free(all);
}

static void part_ask(struct sim_node *n, struct part *p, struct swarm_ref ref, uint64_t from, uint64_t len)
{
	*p = (struct part){.n = n,
			   .ask = {.ref = ref,
				   .from = from,
				   .len = len,
				   .deadline_ns = swi_simnet_now(n->sim->net) + 5 * NS_PER_S,
				   .cb = part_came,
				   .owner = p}};
	swi_range_get(n->sn, &p->ask);
}

static int part_get(struct sim_node *n, struct swarm_ref ref, uint64_t from, uint64_t len)
{
	struct part p;

	part_ask(n, &p, ref, from, len);
	assert_true(sim_until(n->sim, &p.done, 6 * NS_PER_S));
	return p.status;
}

static void test_parts(void **state)
{
	struct sim *s = slow_disk(9, 0);
	struct sim_node *a = sim_start(s, 1, MIB(8), true), *b = sim_start(s, 2, MIB(8), true);
	const struct swarm_ref old = sim_ref(1, 1), young = sim_ref(40, 1);
	uint64_t rng = 3, len, reads;
	struct part p[6];

	(void)state;
	sim_know_all(s);
	for (uint64_t i = 1; i <= 40; i++)
		assert_int_equal(sim_put(a, sim_ref(i, 1), OBJ), 0);
	sim_run(s, NS_PER_S);
	assert_true(swi_spilled_here(a->sn, old.id, &len));
	assert_false(swi_spilled_here(a->sn, young.id, &len));
	for (uint32_t i = 0; i < 200; i++) {
		const uint64_t from = swi_splitmix64(&rng) % OBJ;
		const uint64_t n = 1 + swi_splitmix64(&rng) % (OBJ - from);

		assert_int_equal(part_get(i % 2 ? a : b, i % 3 ? old : young, from, n), 0);
	}
	assert_int_equal(part_get(a, old, 0, OBJ), 0);
	assert_int_equal(part_get(b, old, OBJ - 1, 1), 0);
	assert_int_equal(part_get(a, old, OBJ, 1), -EINVAL);
	assert_int_equal(part_get(b, old, 1, OBJ), -EINVAL);
	assert_int_equal(part_get(a, young, OBJ - 5, 6), -EINVAL);
	assert_int_equal(part_get(b, young, UINT64_MAX - 9, 5), -EINVAL);
	/* Nothing of it stayed, here or there. */
	sim_run(s, 100 * NS_PER_MS);
	assert_false(swi_hold_find(b->sn, old.id, &len));
	assert_int_equal(a->sn->holds.count, 0);
	assert_int_equal(b->sn->holds.count, 0);
	assert_int_equal(a->sn->rooms.reserve.used, 0);
	assert_in_range(swi_snode_arena_used(b->sn), 0, MIB(1));
	/* Who asks for the same part at the same time shares the disk read. */
	reads = swi_disk_sim_count(a->disk, SWI_DIO_READ);
	for (uint32_t i = 0; i < 6; i++)
		part_ask(i % 2 ? a : b, &p[i], old, 100000, 9000);
	for (uint32_t i = 0; i < 6; i++) {
		assert_true(sim_until(s, &p[i].done, 6 * NS_PER_S));
		assert_int_equal(p[i].status, 0);
	}
	/* One for those here, one for the peer. */
	assert_in_range(swi_disk_sim_count(a->disk, SWI_DIO_READ) - reads, 1, 2);
	sim_free(s);
}

/* The holder dies under it, the asker leaves, nobody has it: no hold and no byte stays behind. */
static void test_parts_and_deaths(void **state)
{
	(void)state;
	for (uint64_t when = 0; when < 30; when++) {
		struct sim *s = slow_disk(50 + when, 20000000);
		struct sim_node *a = sim_start(s, 1, MIB(8), true), *b = sim_start(s, 2, MIB(8), false);
		const bool never = false;
		struct part p;

		sim_know_all(s);
		for (uint64_t i = 1; i <= 20; i++)
			assert_int_equal(sim_put(a, sim_ref(i, 1), OBJ), 0);
		sim_run(s, NS_PER_S);
		part_ask(b, &p, sim_ref(1, 1), 1000, KIB(100));
		sim_until(s, &never, when * 250 * NS_PER_US);
		if (when % 3 == 0 && !p.done) {
			swi_range_cancel(b->sn, &p.ask);
			swi_range_cancel(b->sn, &p.ask);
			p.done = true;
		} else if (when % 3 == 1) {
			sim_kill(a, when % 2 ? SWI_SIM_KILL_RESET : SWI_SIM_KILL_SILENT);
		}
		assert_true(sim_until(s, &p.done, 6 * NS_PER_S));
		sim_run(s, NS_PER_S);
		assert_int_equal(b->sn->holds.count, 0);
		assert_in_range(swi_snode_arena_used(b->sn), 0, KIB(300));
		sim_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_writer_outruns_the_disk),
	    cmocka_unit_test(test_no_room_in_time),
	    cmocka_unit_test(test_restore_in_the_line),
	    cmocka_unit_test(test_before_anybody_waits),
	    cmocka_unit_test(test_consumed_is_not_written),
	    cmocka_unit_test(test_copies_go_first),
	    cmocka_unit_test(test_made_again_instead),
	    cmocka_unit_test(test_one_disk_read_for_all),
	    cmocka_unit_test(test_readers_evict_nobody),
	    cmocka_unit_test(test_large_come_in_parts),
	    cmocka_unit_test(test_parts),
	    cmocka_unit_test(test_parts_and_deaths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
