/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_compact.c - objects that make way (store/relocate.h), on whole cores in virtual time: room where only holes are free,
 * with readers here and on other nodes, pins, deletes and quotas meanwhile.
 */
#include "tests/store/sim_rig.h"

#define SMALL KIB(12)

/* Fills the arena with small objects 1 to *out_n, then deletes every second: half is free, in holes of one object. */
static void holes(struct sim_node *a, uint64_t arena, uint64_t *out_n)
{
	uint64_t n = 0;

	while ((n + 3) * (SMALL + 128) < arena * 15 / 16)
		assert_int_equal(sim_put(a, sim_ref(++n, a->number), SMALL), 0);
	for (uint64_t i = 2; i <= n; i += 2)
		assert_int_equal(swi_lc_delete(a->lc, sim_ref(i, a->number)), 0);
	sim_run(a->sim, 50 * NS_PER_MS);
	*out_n = n;
}

static void assert_there(struct sim_node *a, uint64_t n)
{
	for (uint64_t i = 1; i <= n; i++) {
		const struct swarm_ref ref = sim_ref(i, a->number);
		struct swarm_view v;
		const int rc = swi_lc_try_get(a->lc, ref, &v);

		assert_int_equal(rc, i % 2 ? 0 : -ENOENT);
		if (rc)
			continue;
		assert_int_equal(v.len, SMALL);
		assert_true(sim_filled(v.data, ref.id, SMALL));
		swi_lc_release(a->lc, &v);
	}
}

static struct swi_snode_stats stats(struct sim_node *a)
{
	struct swi_snode_stats s;

	swi_snode_stats(a->sn, &s);
	return s;
}

/* No disk, nothing may leave: a large object finds room all the same, again and again until nearly all is used. */
static void test_room_among_holes(void **state)
{
	struct sim *s = sim_new(1);
	struct sim_node *a = sim_start(s, 1, MIB(16), false);
	uint64_t n, large = 0;

	(void)state;
	holes(a, MIB(16), &n);
	assert_true(swi_extents_largest(&a->sn->extents) < MIB(2));
	while (!sim_put(a, sim_ref(100000 + large, 1), MIB(1)))
		large++;
	assert_there(a, n);
	assert_true(large >= 7);
	const double used = (double)stats(a).arena_used / (double)MIB(16);

	print_message("%llu large objects among %llu small ones, %.3f used, %llu bytes moved\n",
		      (unsigned long long)large, (unsigned long long)n / 2, used,
		      (unsigned long long)stats(a).moved_bytes);
	assert_true(used > 0.90);
	assert_true(stats(a).moved_bytes > 0 && stats(a).moved_bytes <= large * MIB(1));
	assert_int_equal(stats(a).client_errors, 0);
	assert_null(swi_extents_check(&a->sn->extents));
	for (uint64_t i = 0; i < large; i++)
		assert_int_equal(sim_get(a, sim_ref(100000 + i, 1), MIB(1), NS_PER_S, NULL, 0), 0);
	sim_free(s);
}

/* What is pinned stays where it is, and its bytes with it. */
static void test_pinned_stays(void **state)
{
	struct sim *s = sim_new(2);
	struct sim_node *a = sim_start(s, 1, MIB(16), false);
	struct swarm_view v[64];
	uint64_t n, large = 0;

	(void)state;
	holes(a, MIB(16), &n);
	for (uint32_t i = 0; i < 64; i++) /* the first quarter */
		assert_int_equal(swi_lc_try_get(a->lc, sim_ref(1 + 2 * i, 1), &v[i]), 0);
	while (!sim_put(a, sim_ref(100000 + large, 1), MIB(1)))
		large++;
	assert_true(large >= 3);
	assert_true(stats(a).moved_bytes > 0);
	for (uint32_t i = 0; i < 64; i++) {
		struct swarm_view again;

		assert_true(sim_filled(v[i].data, v[i].ref.id, SMALL));
		assert_int_equal(swi_lc_try_get(a->lc, v[i].ref, &again), 0);
		assert_ptr_equal(again.data, v[i].data);
		swi_lc_release(a->lc, &again);
		swi_lc_release(a->lc, &v[i]);
	}
	assert_there(a, n);
	sim_free(s);
}

/* Another node knows where objects lay: it never gets other bytes, and finds each where it lies now. */
static void test_reader_elsewhere(void **state)
{
	struct sim *s = sim_new(3);
	struct sim_node *a = sim_start(s, 1, MIB(16), false), *b = sim_start(s, 2, MIB(32), false);
	uint64_t n, large = 0;

	(void)state;
	sim_know_all(s);
	sim_run(s, 50 * NS_PER_MS);
	holes(a, MIB(16), &n);
	for (uint64_t i = 1; i <= n; i += 2) {
		assert_int_equal(sim_get(b, sim_ref(i, 1), SMALL, NS_PER_S, NULL, 0), 0);
		swi_dir_drop_local(b->sn, sim_ref(i, 1).id);
	}
	sim_run(s, 50 * NS_PER_MS);
	for (; !sim_put(a, sim_ref(100000 + large, 1), MIB(1)); large++)
		for (uint64_t i = 1 + large % 2 * 2; i <= n; i += 34) {
			assert_int_equal(sim_get(b, sim_ref(i, 1), SMALL, NS_PER_S, NULL, 0), 0);
			swi_dir_drop_local(b->sn, sim_ref(i, 1).id);
		}
	assert_true(large >= 6);
	assert_true(stats(a).moved_objects > 20);
	for (uint64_t i = 1; i <= n; i += 2)
		assert_int_equal(sim_get(b, sim_ref(i, 1), SMALL, NS_PER_S, NULL, 0), 0);
	assert_int_equal(stats(b).digest_errors, 0);
	assert_there(a, n);
	sim_free(s);
}

/* All that moved can be deleted, and then everything is free in one piece but for the client's chunk. */
static void test_deleted_after(void **state)
{
	struct sim *s = sim_new(4);
	struct sim_node *a = sim_start(s, 1, MIB(16), false);
	uint64_t n, large = 0;

	(void)state;
	holes(a, MIB(16), &n);
	while (!sim_put(a, sim_ref(100000 + large, 1), MIB(1)))
		large++;
	for (uint64_t i = 1; i <= n; i += 2)
		assert_int_equal(swi_lc_delete(a->lc, sim_ref(i, 1)), 0);
	for (uint64_t i = 0; i < large; i++)
		assert_int_equal(swi_lc_delete(a->lc, sim_ref(100000 + i, 1)), 0);
	sim_run(s, 200 * NS_PER_MS);
	assert_true(stats(a).arena_used <= 2 * a->shm->chunk_bytes);
	assert_int_equal(stats(a).objects, 0);
	assert_int_equal(stats(a).client_errors, 0);
	assert_int_equal(a->sn->extents.bad_frees, 0);
	assert_null(swi_extents_check(&a->sn->extents));
	sim_free(s);
}

/* The same seed gives the same run, moves included. */
static void test_replays(void **state)
{
	uint64_t trace[2], moved[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct sim *s = sim_new(5);
		struct sim_node *a = sim_start(s, 1, MIB(8), true);
		uint64_t n;

		holes(a, MIB(8), &n);
		for (uint64_t j = 0; j < 12; j++)
			assert_int_equal(sim_put(a, sim_ref(100000 + j, 1), KIB(900)), 0);
		trace[i] = s->trace;
		moved[i] = stats(a).moved_bytes;
		for (uint64_t j = 1; j <= n; j += 2) /* in memory or on disk */
			assert_int_equal(sim_get(a, sim_ref(j, 1), SMALL, NS_PER_S, NULL, 0), 0);
		sim_free(s);
	}
	assert_int_equal(trace[0], trace[1]);
	assert_int_equal(moved[0], moved[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_room_among_holes), cmocka_unit_test(test_pinned_stays),
	    cmocka_unit_test(test_reader_elsewhere), cmocka_unit_test(test_deleted_after),
	    cmocka_unit_test(test_replays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
