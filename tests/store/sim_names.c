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

enum { KEEPS = 1, READ = 2, HOWS = 4 };

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
	for (uint32_t how = 0; how < HOWS; how++)
		for (size_t i = 0; i < SWI_ARRAY_LEN(between); i++)
			delete_and_put(1, how, between[i]);
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
	put_over_what_is_on_disk(1, false);
	put_over_what_is_on_disk(1, true);
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
	for (uint32_t home = 0; home <= 1; home++) {
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
	    cmocka_unit_test(test_put_over_what_is_on_disk),
	    cmocka_unit_test(test_alone_and_short_of_memory),
	    cmocka_unit_test(test_put_after_its_end_in_time),
	    cmocka_unit_test(test_end_in_time_of_the_old_one),
	    cmocka_unit_test(test_end_in_time_of_what_is_deleted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
