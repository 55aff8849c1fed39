/* SPDX-License-Identifier: Apache-2.0 */
/* test_scale.c - the cluster's size: examples, and a random life in which it must never swing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sched/scale.h"
#include "transport/base/env.h"

#define CPU(n) ((uint64_t)(n) * SWARM_RESOURCE_UNIT)

static const struct swi_scale_opts opts = {.min_nodes = 1, .max_nodes = 4, .idle_timeout_ns = 1000,
					   .shape = {.cpu = CPU(2)}};

static struct swi_scale_demand cpus(uint32_t tasks)
{
	return (struct swi_scale_demand){tasks, {.cpu = CPU(tasks)}, {.cpu = tasks ? CPU(1) : 0}};
}

static void starts_what_is_missing(void **state)
{
	const struct swi_scale_node n[] = {{.node = 1, .head = true}};
	struct swi_scale_demand d = cpus(3);
	struct swi_scale_decision out;

	(void)state;
	swi_scale(&opts, n, 1, 0, &d, 5, &out);
	assert_int_equal(out.start, 2);
	swi_scale(&opts, n, 1, 1, &d, 5, &out);
	assert_int_equal(out.start, 1);
	swi_scale(&opts, n, 1, 2, &d, 5, &out);
	assert_int_equal(out.start, 0);
	d = cpus(100);
	swi_scale(&opts, n, 1, 0, &d, 5, &out);
	assert_int_equal(out.start, 3); /* at most max */
	d.largest.gpu = 1;		/* a new node would not help */
	swi_scale(&opts, n, 1, 0, &d, 5, &out);
	assert_int_equal(out.start, 0);
}

static void drains_one_idle_node(void **state)
{
	struct swi_scale_node n[] = {{.node = 1, .head = true, .idle_since_ns = 1},
				     {.node = 2, .idle_since_ns = 1},
				     {.node = 5, .idle_since_ns = 500}};
	const struct swi_scale_demand none = cpus(0), some = cpus(1);
	struct swi_scale_decision out;

	(void)state;
	swi_scale(&opts, n, 3, 0, &none, 1200, &out);
	assert_int_equal(out.drain, 2);
	swi_scale(&opts, n, 3, 0, &some, 1200, &out);
	assert_int_equal(out.drain, 0);
	n[1].draining = true;
	swi_scale(&opts, n, 3, 0, &none, 2000, &out);
	assert_int_equal(out.drain, 0); /* one at a time */
	swi_scale(&opts, n, 1, 0, &none, 90000, &out);
	assert_int_equal(out.drain, 0); /* never the head, never below min */
}

struct life { /* a toy cluster that obeys */
	struct swi_scale_node n[8];
	uint32_t count, starting, next;
	uint64_t last_start;
};

static void obey(struct life *l, const struct swi_scale_decision *d, uint64_t now, uint32_t demand)
{
	assert_false(d->start && d->drain);
	assert_in_range(l->count + l->starting + d->start, 1, opts.max_nodes);
	if (d->start) {
		assert_true(demand > 0 || l->count + l->starting < opts.min_nodes);
		l->last_start = now;
	}
	if (d->drain) {
		assert_true(!demand && now - l->last_start >= opts.idle_timeout_ns);
		for (uint32_t i = 0; i < l->count; i++)
			if (l->n[i].node == d->drain)
				l->n[i].draining = true;
	}
	l->starting += d->start;
}

static void advance(struct life *l, uint64_t now, uint64_t r, uint32_t demand)
{
	if (l->starting && r % 3 == 0) {
		l->n[l->count++] = (struct swi_scale_node){.node = l->next++, .idle_since_ns = now};
		l->starting--;
	}
	for (uint32_t i = 0; i < l->count; i++) {
		if (l->n[i].draining && r >> 8 & 1) {
			l->n[i] = l->n[--l->count];
			break;
		}
		if (demand)
			l->n[i].idle_since_ns = 0;
		else if (!l->n[i].idle_since_ns)
			l->n[i].idle_since_ns = now;
	}
}

static void never_swings(void **state)
{
	uint64_t rng = 1;

	(void)state;
	for (int run = 0; run < 300; run++) {
		struct life l = {.n = {{.node = 1, .head = true}}, .count = 1, .next = 2};
		uint32_t demand = 0;

		for (uint64_t now = 2000; now < 60000; now += 50) {
			const uint64_t r = swi_splitmix64(&rng);
			const struct swi_scale_demand d = cpus(demand);
			struct swi_scale_decision out;

			swi_scale(&opts, l.n, l.count, l.starting, &d, now, &out);
			obey(&l, &out, now, demand);
			advance(&l, now, r >> 16, demand);
			if (r % 40 == 0)
				demand = (uint32_t)(r >> 40) % 12;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(starts_what_is_missing),
	    cmocka_unit_test(drains_one_idle_node),
	    cmocka_unit_test(never_swings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
