/* SPDX-License-Identifier: Apache-2.0 */
/* test_place.c - placement: examples, properties over random clusters, and its speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sched/place.h"
#include "transport/base/env.h"

#define CPU(n) ((uint64_t)(n) * SWARM_RESOURCE_UNIT)

static struct swi_view_node node(uint32_t number, uint64_t total, uint64_t free_cpu)
{
	return (struct swi_view_node){.node = number, .total = {.cpu = total}, .free = {.cpu = free_cpu},
				      .idle_workers = 1, .queue_max = 2};
}

static void bytes_decide(void **state)
{
	struct swi_view_node n[] = {node(1, CPU(2), CPU(1)), node(2, CPU(2), CPU(1)), node(3, CPU(2), CPU(1))};
	const struct swi_view v = {.node = n, .count = 3};
	const struct swi_resources need = {.cpu = CPU(1)};
	struct swi_place_arg a = {.len = MIB(10), .copy_count = 1, .copy_node = {2}};
	struct swi_place_why why;

	(void)state;
	assert_int_equal(swi_place(&v, SWI_PLACE_COST, &need, &a, 1, 7, &why), 2);
	assert_int_equal(why.missing_bytes, 0);
	n[1].free.cpu = 0;
	n[1].queue_ns = NS_PER_S; /* waiting costs more than moving 10 MiB */
	assert_int_not_equal(swi_place(&v, SWI_PLACE_COST, &need, &a, 1, 7, &why), 2);
	assert_int_equal(why.missing_bytes, MIB(10));
	assert_int_equal(swi_place(&v, SWI_PLACE_BYTES, &need, &a, 1, 7, &why), 2);
	n[1].queue_ns = NS_PER_MS; /* less */
	assert_int_equal(swi_place(&v, SWI_PLACE_COST, &need, &a, 1, 7, &why), 2);
	n[1].queue_ns = 0;
	n[1].free.cpu = CPU(1);
	a.copy_count = 2;
	a.copy_node[1] = 3;
	a.spilled_mask = 1; /* node 2's copy is on disk: node 3's is nearer */
	assert_int_equal(swi_place(&v, SWI_PLACE_COST, &need, &a, 1, 7, &why), 3);
}

static void none_and_never(void **state)
{
	struct swi_view_node n[] = {node(1, CPU(2), 0), node(2, CPU(4), 0)};
	const struct swi_view v = {.node = n, .count = 2};
	struct swi_resources need = {.cpu = CPU(3)};

	(void)state;
	assert_int_equal(swi_place(&v, SWI_PLACE_COST, &need, NULL, 0, 1, NULL), 2); /* parked */
	n[1].queued = 2;
	assert_int_equal(swi_place(&v, SWI_PLACE_COST, &need, NULL, 0, 1, NULL), SWI_PLACE_NONE);
	n[1].draining = true;
	assert_int_equal(swi_place(&v, SWI_PLACE_COST, &need, NULL, 0, 1, NULL), SWI_PLACE_NEVER);
	n[1].draining = false;
	need.gpu = 1;
	assert_int_equal(swi_place(&v, SWI_PLACE_COST, &need, NULL, 0, 1, NULL), SWI_PLACE_NEVER);
}

static void random_view(struct swi_view_node *n, uint32_t count, uint64_t *rng)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t r = swi_splitmix64(rng);
		const uint64_t total = CPU(1 + r % 8);

		n[i] = node(i * 3 + 1, total, total * (r >> 8 & 3) / 4);
		n[i].queued = r >> 16 & 3;
		n[i].queue_ns = (r >> 20 & 15) * NS_PER_MS;
		n[i].idle_workers = r >> 24 & 1;
		n[i].draining = (r >> 32 & 15) == 0;
		n[i].total.memory = GIB(4);
		n[i].free.memory = r >> 40 & 1 ? GIB(1) : 0;
	}
}

/* Columns and rows agree on the cost of the winner, and the winner can take the task. */
static void columns_agree_with_rows(void **state)
{
	uint64_t rng = 11;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		struct swi_view_node n[37];
		const uint32_t count = 1 + (uint32_t)(swi_splitmix64(&rng) % 37);
		struct swi_view v = {.node = n, .count = count}, plain = {.node = n, .count = count};
		const struct swi_resources need = {.cpu = CPU(swi_splitmix64(&rng) % 9)};
		struct swi_place_arg a = {.len = swi_splitmix64(&rng) % MIB(20), .copy_count = 1};
		struct swi_place_why w1 = {0}, w2 = {0};
		uint32_t p1, p2;

		random_view(n, count, &rng);
		a.copy_node[0] = n[swi_splitmix64(&rng) % count].node;
		assert_int_equal(swi_view_hot_init(&v.hot, count), 0);
		for (uint32_t i = 0; i < count; i++)
			swi_view_sync(&v, i);
		p1 = swi_place(&v, SWI_PLACE_COST, &need, &a, 1, rng, &w1);
		p2 = swi_place(&plain, SWI_PLACE_COST, &need, &a, 1, rng, &w2);
		assert_true((p1 == SWI_PLACE_NONE) == (p2 == SWI_PLACE_NONE));
		assert_true((p1 == SWI_PLACE_NEVER) == (p2 == SWI_PLACE_NEVER));
		if (p1 != SWI_PLACE_NONE && p1 != SWI_PLACE_NEVER) {
			const struct swi_view_node *w = &n[(p1 - 1) / 3];

			/* Floats keep 24 bits of a nanosecond count. */
			assert_in_range(w1.cost_ns, w2.cost_ns, w2.cost_ns + w2.cost_ns / 1000000 + 1);
			assert_true(!w->draining && w->total.cpu >= need.cpu);
			assert_true(w->free.cpu >= need.cpu || w->queued < w->queue_max);
		}
		swi_view_hot_fini(&v.hot);
	}
}

static void ties_spread(void **state)
{
	struct swi_view_node n[8];
	const struct swi_view v = {.node = n, .count = 8};
	const struct swi_resources need = {.cpu = CPU(1)};
	uint32_t hits[9] = {0};
	uint64_t rng = 5;

	(void)state;
	for (uint32_t i = 0; i < 8; i++)
		n[i] = node(i + 1, CPU(4), CPU(4));
	for (int i = 0; i < 8000; i++)
		hits[swi_place(&v, SWI_PLACE_COST, &need, NULL, 0, swi_splitmix64(&rng), NULL)]++;
	for (uint32_t i = 1; i <= 8; i++)
		assert_in_range(hits[i], 700, 1300);
}

/* The limit is ten times the target: this says that nobody made it quadratic, not how fast the machine is. */
static void speed(void **state)
{
	static struct swi_view_node n[1000];
	struct swi_view v = {.node = n, .count = 1000};
	const struct swi_resources need = {.cpu = CPU(1)};
	struct swi_place_arg a = {.len = MIB(1), .copy_count = 1, .copy_node = {500}};
	struct swi_env *env = swi_env_real();
	uint64_t rng = 3, best = UINT64_MAX, sum = 0;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		n[i] = node(i + 1, CPU(8), CPU(i % 8));
		n[i].queue_ns = swi_splitmix64(&rng) % NS_PER_S;
	}
	assert_int_equal(swi_view_hot_init(&v.hot, 1000), 0);
	for (uint32_t i = 0; i < 1000; i++)
		swi_view_sync(&v, i);
	for (int round = 0; round < 20; round++) {
		const uint64_t t0 = swi_now(env);

		for (int i = 0; i < 500; i++)
			sum += swi_place(&v, SWI_PLACE_COST, &need, &a, 1, swi_splitmix64(&rng), NULL);
		best = swi_min_u64(best, (swi_now(env) - t0) / 500);
	}
	swi_view_hot_fini(&v.hot);
	print_message("place at 1,000 nodes: %llu ns (sum %llu)\n", (unsigned long long)best,
		      (unsigned long long)sum);
	assert_in_range(best, 1, 10000 * TEST_PATIENCE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bytes_decide), cmocka_unit_test(none_and_never),
	    cmocka_unit_test(columns_agree_with_rows), cmocka_unit_test(ties_spread),
	    cmocka_unit_test(speed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
