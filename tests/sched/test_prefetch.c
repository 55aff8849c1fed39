/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_prefetch.c - a chain of tasks, each of which also needs an object that lies on disk: with prefetch that
 * is read while the task before runs. Prints what a link takes with and without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <swarm/sched.h>

#include "tests/patience.h"
#include "tests/tools/proc.h"

#define LINKS 60u
#define INPUT (4u << 20)
#define S     1000000000ull

static struct proc_result res;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * S + (uint64_t)ts.tv_nsec;
}

static uint64_t counter(const struct test_cluster *cl, const char *group, const char *name)
{
	json_t *doc;
	uint64_t v;

	PROC_RUN(&res, "swarm", "status", "--format=json", "--dir", cl->node[0].dir);
	assert_int_equal(res.status, 0);
	doc = json_loads(res.out, 0, NULL);
	v = (uint64_t)json_integer_value(
	    json_object_get(json_object_get(json_object_get(doc, "sum"), group), name));
	json_decref(doc);
	return v;
}

/* The chain over inputs in this order; the nanoseconds of a link. */
static uint64_t chain(struct swarm_client *client, struct swarm_module module, const struct swarm_ref *input)
{
	struct swarm_ref last = input[0];
	const uint64_t begin = now_ns();
	struct swarm_view v;
	uint64_t want = 0, got;

	for (uint32_t i = 0; i < LINKS; i++) {
		const struct swarm_arg args[] = {SWARM_ARG_REF(input[i]), SWARM_ARG_REF(last)};
		const struct swarm_task_opts o = {.size = sizeof(o),
						  .module = module,
						  .function = "t_link_slowly",
						  .args = args,
						  .arg_count = i ? 2 : 1};

		assert_int_equal(swarm_submit(client, &o, &last), 0);
		want = 3 * (want + i) + 1;
	}
	assert_int_equal(swarm_get(client, last, TEST_LIMIT_NS, &v), 0);
	memcpy(&got, v.data, sizeof(got));
	swarm_release(client, &v);
	assert_int_equal(got, want);
	return (now_ns() - begin) / LINKS;
}

static uint64_t run(bool prefetch, uint64_t *out_prefetched)
{
	char spill[160], why[256];
	struct test_cluster cl;
	struct swarm_client *client;
	struct swarm_module module;
	static struct swarm_ref input[LINKS];
	uint64_t ns, before;

	cluster_init(&cl);
	snprintf(spill, sizeof(spill), "--spill-dir=%s/spill", cl.root);
	{
		const char *const on[] = {"--arena=64M", "--cpus=1", spill, NULL};
		const char *const off[] = {"--arena=64M", "--cpus=1", spill, "--no-prefetch", NULL};

		cluster_start(&cl, 0, prefetch ? on : off);
	}
	if (swarm_client_open(cl.node[0].dir, &client, why, sizeof(why)))
		fail_msg("%s", why);
	if (swarm_module_load(client, getenv("TEST_MODULE"), &module, why, sizeof(why)))
		fail_msg("%s", why);
	for (uint64_t i = 0; i < LINKS; i++) {
		struct swarm_store *st = swarm_client_store(client);
		struct swarm_buf b;

		input[i] = swarm_ref_new(st);
		assert_int_equal(swarm_store_create(st, input[i], INPUT, TEST_LIMIT_NS, &b), 0);
		memset(b.data, 0, INPUT);
		memcpy(b.data, &i, sizeof(i));
		assert_int_equal(swarm_store_seal(st, &b), 0);
	}
	before = counter(&cl, "store", "restores");
	ns = chain(client, module, input);
	*out_prefetched = counter(&cl, "runs", "prefetched");
	/* Most lay on disk, and each was read once. */
	assert_in_range(counter(&cl, "store", "restores") - before, LINKS / 2, LINKS + LINKS / 5);
	swarm_client_close(client);
	cluster_fini(&cl);
	return ns;
}

static void test_chain(void **state)
{
	uint64_t prefetched, none;
	uint64_t with, without;

	(void)state;
	without = run(false, &none);
	with = run(true, &prefetched);
	printf("a link of 5 ms and 4 MiB on disk: %.2f ms, with prefetch %.2f ms; %llu prefetched\n",
	       (double)without / 1e6, (double)with / 1e6, (unsigned long long)prefetched);
	assert_int_equal(none, 0);
	assert_in_range(prefetched, LINKS / 3, LINKS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_chain)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
