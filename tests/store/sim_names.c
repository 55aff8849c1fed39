/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_names.c - a name is deleted and put again: whatever is on its way at that moment, the new object stays and everybody has it.
 *
 * Several node cores in virtual time. A client whose node does not look at its ring, or who was stopped inside its seal,
 * is one that the processor was taken from: so each order of events can be had.
 */
#include "store/announce.h"
#include "store/lc.h"
#include "tests/store/names_rig.h"

#define LEN_NEW 500u

/* ---- a client that is stopped inside its seal: everybody can see the object, but the node was not told ---- */

static void seal_begin(struct sim_node *n, struct swarm_ref ref, uint64_t len, struct swarm_buf *out_buf)
{
	struct swi_object_head *h;
	struct swi_chunk *c;

	assert_int_equal(swi_lc_try_create(n->lc, ref, len, out_buf), 0);
	sim_fill(out_buf->data, ref.id, len);
	c = (void *)(uintptr_t)out_buf->priv[0];
	h = (void *)((uint8_t *)n->arena + out_buf->priv[1]);
	atomic_store(&h->state, SWI_OBJ_SEALED);
	assert_int_equal(swi_index_insert(&n->lc->index, swi_index_key(ref.id), c->gen, out_buf->priv[1],
					  swi_extent_bytes(len), NULL), 0);
}

static void seal_end(struct sim_node *n, const struct swarm_buf *b)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_ref(&w, b->ref);
	swi_wr_u64(&w, b->priv[1]);
	assert_int_equal(swi_lc_try_post(n->lc, SWI_L_SEALED, buf, w.len, NULL), 0);
	swi_chunk_put(n->lc, (void *)(uintptr_t)b->priv[0]);
}

/* ---- the walk that tells a home what is here ---- */

/* It comes by before the node has read the client's message, at the home or elsewhere. */
static void walk_before_sealed(uint32_t home, uint64_t until_ns)
{
	struct sim *s = names_nodes(home + until_ns, 3, false);
	struct sim_node *a = &s->node[1];
	const struct swarm_ref ref = names_at(s, home);

	names_deleted_once(a, ref);
	names_busy(a, true);
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	swi_announce_node(a->sn, 2);
	a->sn->announce.all = true; /* as after many changes */
	sim_run(s, until_ns);
	names_busy(a, false);
	sim_run(s, 20 * NS_PER_MS);
	names_everybody_has(s, ref, LEN_NEW);
	sim_free(s);
}

static void test_walk_before_sealed_is_read(void **state)
{
	(void)state;
	for (uint32_t home = 1; home <= 3; home++) {
		walk_before_sealed(home, 20 * NS_PER_MS);
		walk_before_sealed(home, 2 * NS_PER_US);
	}
}

/* ---- a delete and a put of one client, without a pause ---- */

enum { KEEPS = 1, READ = 2, SETTLED = 4, HOWS = 8 };

static void delete_and_put(uint32_t home, uint32_t how, uint64_t between_ns)
{
	struct sim *s = names_nodes(home + between_ns, 3, true);
	struct sim_node *a = &s->node[1];
	const struct swarm_ref ref = names_at(s, home);

	names_hang_in(s, how & KEEPS);
	assert_int_equal(sim_put(a, ref, NAMES_LEN_OLD), 0);
	sim_run(s, 20 * NS_PER_MS);
	if (how & READ)
		names_everybody_has(s, ref, NAMES_LEN_OLD);
	if (how & SETTLED)
		sim_run(s, 20 * NS_PER_MS); /* the home knows of all copies */
	assert_int_equal(swi_lc_delete(a->lc, ref), 0);
	if (between_ns) /* else not one step */
		sim_run(s, between_ns);
	while (sim_put(a, ref, LEN_NEW) == -EEXIST) /* its home decides when it goes */
		sim_run(s, NS_PER_US);
	sim_run(s, 20 * NS_PER_MS);
	names_everybody_has(s, ref, LEN_NEW);
	sim_free(s);
}

static void test_delete_and_put_at_once(void **state)
{
	static const uint64_t between[] = {0, 1, 2 * NS_PER_US, 5 * NS_PER_US, 20 * NS_PER_US};

	(void)state;
	for (uint32_t home = 1; home <= 2; home++)
		for (uint32_t how = 0; how < HOWS; how++)
			for (size_t i = 0; i < SWI_ARRAY_LEN(between); i++)
				delete_and_put(home, how, between[i]);
}

/* The same again and again, and the processor is taken from the client inside the last seal: all messages are read, but that one. */
static void stopped_inside_seal(uint32_t home, uint32_t rounds)
{
	struct sim *s = names_nodes(home, 3, false);
	struct sim_node *a = &s->node[1];
	const struct swarm_ref ref = names_at(s, home);
	struct swarm_buf b;

	names_deleted_once(a, ref);
	for (uint32_t i = 0; i < rounds; i++) {
		assert_int_equal(sim_put(a, ref, NAMES_LEN_OLD), 0);
		assert_int_equal(swi_lc_delete(a->lc, ref), 0);
	}
	seal_begin(a, ref, LEN_NEW, &b);
	swi_announce_node(a->sn, 2);
	a->sn->announce.all = true;
	sim_run(s, 20 * NS_PER_MS);
	seal_end(a, &b);
	sim_run(s, 20 * NS_PER_MS);
	names_everybody_has(s, ref, LEN_NEW);
	sim_free(s);
}

static void test_stopped_inside_its_seal(void **state)
{
	(void)state;
	for (uint32_t home = 1; home <= 2; home++)
		for (uint32_t rounds = 0; rounds < 3; rounds++)
			stopped_inside_seal(home, rounds);
}

/* ---- somebody gets it at that moment ---- */

/* What the reader @by gets at that moment does not stay there. @begun: how long it has been getting it. */
static void read_meanwhile(uint32_t by, uint64_t begun_ns)
{
	struct sim *s = names_nodes(by + begun_ns, 3, false);
	struct sim_node *a = &s->node[1];
	const struct swarm_ref ref = names_at(s, 3);
	struct swi_want w;

	assert_int_equal(sim_put(a, ref, KIB(900)), 0);
	sim_run(s, 20 * NS_PER_MS);
	names_get(&s->node[by], ref, NS_PER_S, &w);
	sim_run(s, begun_ns);
	assert_int_equal(swi_lc_delete(a->lc, ref), 0);
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	sim_run(s, 50 * NS_PER_MS);
	assert_null(w.owner);
	names_everybody_has(s, ref, LEN_NEW);
	sim_free(s);
}

static void test_read_meanwhile(void **state)
{
	(void)state;
	for (uint32_t by = 2; by <= 3; by++)
		for (uint64_t us = 1; us <= 128; us *= 2)
			read_meanwhile(by, us * NS_PER_US);
}

/* The same by one who has had the old one and knows where it lies: somebody still reads it there. */
static void read_where_it_lay(uint32_t by, uint64_t after_ns)
{
	struct sim *s = names_nodes(by + after_ns, 3, false);
	struct sim_node *a = &s->node[1];
	const struct swarm_ref ref = names_at(s, 3);
	struct swarm_view view;
	struct swi_want w;

	assert_int_equal(sim_put(a, ref, NAMES_LEN_OLD), 0);
	names_everybody_has(s, ref, NAMES_LEN_OLD);
	assert_int_equal(swi_lc_try_get(a->lc, ref, &view), 0);
	sim_run(s, 20 * NS_PER_MS);
	assert_int_equal(swi_lc_delete(a->lc, ref), 0);
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	sim_run(s, after_ns);
	names_get(&s->node[by], ref, NS_PER_S, &w);
	sim_run(s, 50 * NS_PER_MS);
	assert_null(w.owner);
	names_everybody_has(s, ref, LEN_NEW);
	swi_lc_release(a->lc, &view);
	sim_free(s);
}

static void test_read_where_it_lay(void **state)
{
	(void)state;
	for (uint32_t by = 2; by <= 3; by++)
		for (uint64_t us = 1; us <= 64; us *= 2)
			read_where_it_lay(by, us * NS_PER_US);
}

/* It is deleted at its home while the answer to the news of it is on its way. A walk meanwhile does not bring it back. */
static void test_walk_before_told_is_read(void **state)
{
	struct sim *s = names_nodes(1, 3, false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	const struct swarm_ref ref = names_at(s, 3);

	(void)state;
	names_deleted_once(a, ref);
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	while (!swi_dir_get(c->sn, ref.id, NULL) || swi_dir_is_deleted(c->sn, ref.id)) {
		swi_announce_node(a->sn, 3);
		sim_run(s, NS_PER_US / 2);
	}
	assert_true(swi_untold(a->sn, ref.id));
	swi_delete(c->sn, ref);
	sim_run(s, 20 * NS_PER_MS);
	names_nobody_has(s, ref);
	sim_free(s);
}

/* A reader comes when the old one has gone; its home hears of that only after the new one was put on the same node. */
static void test_late_news_of_a_failed_get(void **state)
{
	struct sim *s = names_nodes(1, 3, false);
	struct sim_node *a = &s->node[1], *b = &s->node[2], *c = &s->node[3];
	const struct swarm_ref ref = names_at(s, 3);
	struct swi_want w;
	struct swi_fetch *f;

	(void)state;
	assert_int_equal(sim_put(a, ref, KIB(900)), 0);
	sim_run(s, 20 * NS_PER_MS);
	names_get(b, ref, NS_PER_S, &w);
	do {
		sim_run(s, NS_PER_US / 2);
		HASH_FIND(hh, b->sn->fetches.by_id, &ref.id, sizeof(ref.id), f);
	} while (f && f->phase == SWI_FETCH_LOCATE);
	swi_simnet_cut(s->net, b->addr, c->addr);
	assert_int_equal(swi_lc_delete(a->lc, ref), 0);
	sim_run(s, 100 * NS_PER_US);
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	sim_run(s, 10 * NS_PER_MS);
	swi_simnet_heal(s->net, b->addr, c->addr);
	sim_run(s, 50 * NS_PER_MS);
	names_everybody_has(s, ref, LEN_NEW);
	sim_free(s);
}

/* ---- the news is lost, or comes to the wrong node ---- */

/* The connection ends while the row is on its way. @ms: how long nothing goes through. */
static void row_lost(uint64_t seed, uint64_t ms)
{
	struct sim *s = names_nodes(seed, 3, false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	const struct swarm_ref ref = names_at(s, 3);

	names_deleted_once(a, ref);
	swi_simnet_cut(s->net, a->addr, c->addr);
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	sim_run(s, ms * NS_PER_MS);
	swi_simnet_heal(s->net, a->addr, c->addr);
	sim_run(s, 2 * NS_PER_S);
	names_everybody_has(s, ref, LEN_NEW);
	/* And a delete is a delete. */
	assert_int_equal(swi_lc_delete(s->node[2].lc, ref), 0);
	sim_run(s, 20 * NS_PER_MS);
	names_nobody_has(s, ref);
	sim_free(s);
}

static void test_row_is_lost_with_its_connection(void **state)
{
	(void)state;
	for (uint64_t ms = 100; ms <= 6400; ms *= 2)
		row_lost(ms, ms);
}

/* The home died. Node 3 is the next one and has not heard of it: it deletes as it is told, and does not think that it is the home. */
static void test_home_does_not_know_yet(void **state)
{
	struct sim *s = names_nodes(1, 4, false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	struct swarm_ref ref = sim_ref(1, 0);

	(void)state;
	for (uint64_t i = 2; swi_home_of(a->sn, ref) != 4 || swi_rendezvous(ref.id, 3) < swi_rendezvous(ref.id, 1) ||
			     swi_rendezvous(ref.id, 3) < swi_rendezvous(ref.id, 2); i++)
		ref = sim_ref(i, 0);
	assert_int_equal(sim_put(a, ref, NAMES_LEN_OLD), 0);
	sim_run(s, 20 * NS_PER_MS);
	sim_kill(&s->node[4], SWI_SIM_KILL_RESET);
	swi_peer_remove(a->sn, 4, true, 0);
	swi_peer_remove(s->node[2].sn, 4, true, 0);
	assert_int_equal(swi_lc_delete(a->lc, ref), 0);
	sim_run(s, NS_PER_MS);
	assert_true(swi_dir_is_deleted(c->sn, ref.id));
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	sim_run(s, NS_PER_MS);
	swi_peer_remove(c->sn, 4, true, 0);
	sim_run(s, 300 * NS_PER_MS);
	names_everybody_has(s, ref, LEN_NEW);
	sim_free(s);
}

/* Node 1 leaves while its home has not heard of the new object: it is moved all the same. */
static void test_leaving_before_the_home_knows(void **state)
{
	static const uint32_t targets[] = {2};
	struct sim *s = names_nodes(1, 3, false);
	struct sim_node *a = &s->node[1], *b = &s->node[2], *c = &s->node[3];
	const struct swarm_ref ref = names_at(s, 3);
	int status = 0;
	struct swi_drain d = {.cb = names_drained, .owner = &status, .heir = 2};

	(void)state;
	names_deleted_once(a, ref);
	swi_simnet_cut(s->net, a->addr, c->addr);
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	swi_drain_start(a->sn, &d, targets, 1);
	sim_run(s, 300 * NS_PER_MS);
	assert_int_equal(status, 0);
	swi_simnet_heal(s->net, a->addr, c->addr);
	sim_run(s, 300 * NS_PER_MS);
	assert_int_equal(status, 1);
	sim_kill(a, SWI_SIM_KILL_RESET);
	swi_peer_remove(b->sn, 1, false, 2);
	swi_peer_remove(c->sn, 1, false, 2);
	sim_run(s, 20 * NS_PER_MS);
	names_everybody_has(s, ref, LEN_NEW);
	sim_free(s);
}

/* It is deleted while it moves, and put again: what moves is not what stays. */
static void put_again_while_it_moves(uint32_t home, uint64_t begun_ns)
{
	static const uint32_t targets[] = {2};
	struct sim *s = names_nodes(home + begun_ns, 3, false);
	struct sim_node *a = &s->node[1];
	const struct swarm_ref ref = names_at(s, home);
	int status = 0;
	struct swi_drain d = {.cb = names_drained, .owner = &status, .heir = 2};

	assert_int_equal(sim_put(a, ref, KIB(300)), 0);
	sim_run(s, NS_PER_MS);
	swi_drain_start(a->sn, &d, targets, 1);
	sim_run(s, begun_ns);
	assert_int_equal(swi_lc_delete(a->lc, ref), 0);
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	sim_run(s, 300 * NS_PER_MS);
	assert_int_equal(status, 1);
	sim_kill(a, SWI_SIM_KILL_RESET);
	for (uint32_t i = 2; i <= 3; i++)
		swi_peer_remove(s->node[i].sn, 1, false, 2);
	sim_run(s, 20 * NS_PER_MS);
	names_everybody_has(s, ref, LEN_NEW);
	sim_free(s);
}

static void test_put_again_while_it_moves(void **state)
{
	(void)state;
	for (uint32_t home = 1; home <= 3; home++)
		for (uint64_t us = 1; us < 60; us += 2)
			put_again_while_it_moves(home, us * NS_PER_US);
}

/* ---- memory is short ---- */

/* Large objects, of which not all stay in memory. */
static void fill_up(struct sim_node *n, uint64_t first)
{
	for (uint64_t i = 0; i < 24; i++)
		assert_int_equal(sim_put(n, sim_ref(first + i, n->number), KIB(300)), 0);
	sim_run(n->sim, NS_PER_S);
}

/* What is deleted is on disk, and also in memory if it was just @read. What is put then goes the same way, and comes back. */
static void put_over_what_is_on_disk(uint32_t home, bool read)
{
	struct sim *s = names_nodes(home, 3, true);
	struct sim_node *a = &s->node[1];
	const struct swarm_ref ref = names_at(s, home);

	assert_int_equal(sim_put(a, ref, KIB(290)), 0);
	fill_up(a, 1000);
	assert_false(swi_lc_contains(a->lc, ref));
	if (read)
		assert_int_equal(sim_get(a, ref, KIB(290), NS_PER_S, NULL, 0), 0);
	assert_int_equal(swi_lc_delete(a->lc, ref), 0);
	assert_int_equal(sim_put(a, ref, KIB(299)), 0);
	fill_up(a, 2000);
	names_everybody_has(s, ref, KIB(299));
	fill_up(a, 3000);
	names_everybody_has(s, ref, KIB(299));
	sim_free(s);
}

static void test_put_over_what_is_on_disk(void **state)
{
	(void)state;
	for (uint32_t home = 1; home <= 2; home++) {
		put_over_what_is_on_disk(home, false);
		put_over_what_is_on_disk(home, true);
	}
}

/* ---- a node without peers: nobody tells it of a seal ---- */

/* It still remembers the delete when the new object goes to disk and comes back. */
static void test_alone_and_short_of_memory(void **state)
{
	struct sim *s = names_nodes(1, 1, true);
	struct sim_node *a = &s->node[1];
	const struct swarm_ref ref = sim_ref(1, 0);

	(void)state;
	names_deleted_once(a, ref);
	assert_int_equal(sim_put(a, ref, KIB(299)), 0);
	fill_up(a, 1000);
	assert_false(swi_lc_contains(a->lc, ref));
	names_everybody_has(s, ref, KIB(299));
	sim_run(s, NS_PER_S);
	names_everybody_has(s, ref, KIB(299));
	sim_free(s);
}

/* And when others come, their copies of the new object are not dropped as copies of the old one. */
static void test_alone_and_then_not(void **state)
{
	struct sim *s = names_nodes(1, 1, false);
	struct sim_node *a = &s->node[1], *b;
	struct swarm_ref ref = sim_ref(1, 0);
	struct swi_local lo;

	(void)state;
	for (uint64_t i = 2; swi_rendezvous(ref.id, 2) > swi_rendezvous(ref.id, 1); i++)
		ref = sim_ref(i, 0);
	names_deleted_once(a, ref);
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	b = sim_start(s, 2, MIB(4), false);
	sim_know_all(s);
	names_hang_in(s, false);
	sim_run(s, 50 * NS_PER_MS);
	names_everybody_has(s, ref, LEN_NEW);
	sim_run(s, 50 * NS_PER_MS);
	assert_true(swi_local_find(b->sn, ref.id, &lo));
	names_everybody_has(s, ref, LEN_NEW);
	sim_free(s);
}

/* ---- an end in time ---- */

static void expire(struct sim_node *n, struct swarm_ref ref, uint64_t ttl_ns)
{
	struct swi_call call = {0};
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_ref(&w, ref);
	swi_wr_u64(&w, ttl_ns);
	assert_int_equal(swi_lc_try_post(n->lc, SWI_L_EXPIRE, buf, w.len, &call), 0);
	assert_true(sim_until(n->sim, &call.done, NS_PER_S));
	assert_int_equal(call.status, 0);
}

/* As soon as it is gone it is put again. */
static void test_put_after_its_end_in_time(void **state)
{
	(void)state;
	for (uint32_t home = 1; home <= 2; home++) {
		struct sim *s = names_nodes(home, 3, false);
		struct sim_node *a = &s->node[1];
		const struct swarm_ref ref = names_at(s, home);

		for (int i = 0; i < 5; i++) {
			assert_int_equal(sim_put(a, ref, NAMES_LEN_OLD), 0);
			expire(a, ref, NS_PER_MS);
			while (swi_lc_contains(a->lc, ref))
				sim_run(s, NS_PER_US);
		}
		assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
		sim_run(s, 3 * NS_PER_S);
		names_everybody_has(s, ref, LEN_NEW);
		sim_free(s);
	}
}

/* What is deleted was to end in time, and was on disk alone when it was deleted. */
static void test_end_in_time_of_the_old_one(void **state)
{
	(void)state;
	for (uint32_t home = 0; home <= 2; home++) {
		struct sim *s = names_nodes(home, home ? 3 : 1, true);
		struct sim_node *a = &s->node[1];
		const struct swarm_ref ref = names_at(s, home ? home : 1);

		assert_int_equal(sim_put(a, ref, KIB(290)), 0);
		expire(a, ref, 5 * NS_PER_S);
		fill_up(a, 1000);
		assert_false(swi_lc_contains(a->lc, ref));
		assert_int_equal(swi_lc_delete(a->lc, ref), 0);
		assert_int_equal(sim_put(a, ref, KIB(299)), 0);
		sim_run(s, 10 * NS_PER_S);
		names_everybody_has(s, ref, KIB(299));
		sim_free(s);
	}
}

/* Its time is over when a client has just deleted it and put it again, of which the node has read nothing yet. */
static void test_end_in_time_of_what_is_deleted(void **state)
{
	struct sim *s = names_nodes(1, 1, false);
	struct sim_node *a = &s->node[1];
	const struct swarm_ref ref = sim_ref(1, 0);

	(void)state;
	assert_int_equal(sim_put(a, ref, NAMES_LEN_OLD), 0);
	expire(a, ref, 10 * NS_PER_MS);
	assert_int_equal(swi_lc_delete(a->lc, ref), 0);
	assert_int_equal(sim_put(a, ref, LEN_NEW), 0);
	swi_timers_run(&a->sn->timers, swi_simnet_now(s->net) + 20 * NS_PER_MS);
	sim_run(s, NS_PER_S);
	names_everybody_has(s, ref, LEN_NEW);
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_walk_before_sealed_is_read),
	    cmocka_unit_test(test_delete_and_put_at_once),
	    cmocka_unit_test(test_stopped_inside_its_seal),
	    cmocka_unit_test(test_read_meanwhile),
	    cmocka_unit_test(test_read_where_it_lay),
	    cmocka_unit_test(test_walk_before_told_is_read),
	    cmocka_unit_test(test_late_news_of_a_failed_get),
	    cmocka_unit_test(test_row_is_lost_with_its_connection),
	    cmocka_unit_test(test_home_does_not_know_yet),
	    cmocka_unit_test(test_leaving_before_the_home_knows),
	    cmocka_unit_test(test_put_again_while_it_moves),
	    cmocka_unit_test(test_put_over_what_is_on_disk),
	    cmocka_unit_test(test_alone_and_short_of_memory),
	    cmocka_unit_test(test_alone_and_then_not),
	    cmocka_unit_test(test_put_after_its_end_in_time),
	    cmocka_unit_test(test_end_in_time_of_the_old_one),
	    cmocka_unit_test(test_end_in_time_of_what_is_deleted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
