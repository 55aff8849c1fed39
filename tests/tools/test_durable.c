/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_durable.c - a daemon that keeps its folder: objects of a killed one are found by the next, and
 * `swarm list segments` says where the bytes are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <swarm/store.h>

#include "tests/tools/proc.h"

#define COUNT 40u
#define LEN   100000u

static struct test_cluster cl;
static struct proc_result res;

static struct swarm_ref named(uint32_t n)
{
	char name[32];

	snprintf(name, sizeof(name), "thing-%u", n);
	return swarm_ref_named(name);
}

static void put_all(void)
{
	static char bytes[LEN];
	struct swarm_store *s;

	assert_int_equal(swarm_store_attach(cl.node[0].dir, &s, NULL, 0), 0);
	for (uint32_t n = 0; n < COUNT; n++) {
		memset(bytes, (int)(n + 1), sizeof(bytes));
		assert_int_equal(swarm_store_put(s, named(n), bytes, sizeof(bytes), SWARM_FOREVER), 0);
	}
	swarm_store_close(s);
}

static void check_all(void)
{
	struct swarm_store *s;
	struct swarm_view v;

	assert_int_equal(swarm_store_attach(cl.node[0].dir, &s, NULL, 0), 0);
	for (uint32_t n = 0; n < COUNT; n++) {
		assert_int_equal(swarm_store_get(s, named(n), 20000000000u, &v), 0);
		assert_int_equal(v.len, LEN);
		for (uint32_t i = 0; i < LEN; i++)
			assert_int_equal(((const unsigned char *)v.data)[i], n + 1);
		swarm_view_release(s, &v);
	}
	swarm_store_close(s);
}

static void segments(uint64_t least_objects)
{
	const json_t *row;
	uint64_t objects = 0, live = 0;
	json_t *doc;
	size_t i;

	PROC_RUN(&res, "swarm", "list", "segments", "-f", "json", "-d", cl.node[0].dir);
	assert_int_equal(res.status, 0);
	doc = json_loads(res.out, 0, NULL);
	assert_non_null(doc);
	json_array_foreach(json_object_get(doc, "segments"), i, row) {
		assert_non_null(strstr(json_string_value(json_object_get(row, "folder")), "spill"));
		assert_non_null(strstr(json_string_value(json_object_get(row, "file")), ".seg"));
		objects += (uint64_t)json_integer_value(json_object_get(row, "objects"));
		live += (uint64_t)json_integer_value(json_object_get(row, "live_bytes"));
	}
	json_decref(doc);
	assert_true(objects >= least_objects);
	assert_true(live >= least_objects * LEN);
	PROC_RUN(&res, "swarm", "list", "segments", "-d", cl.node[0].dir);
	assert_int_equal(res.status, 0);
	assert_non_null(strstr(res.out, "PUNCHED"));
	assert_non_null(strstr(res.out, "swarm-0"));
}

static void daemon__killed__the_next_one_has_what_was_put(void **state)
{
	char dir[128];
	const char *const opts[] = {"--arena=16M", "--cpus=1", "--durable", dir, NULL};

	(void)state;
	cluster_init(&cl);
	snprintf(dir, sizeof(dir), "--spill-dir=%s/spill", cl.root);
	cluster_start(&cl, 0, opts);
	put_all();
	segments(COUNT);
	cluster_kill(&cl, 0);
	cluster_start(&cl, 0, opts);
	segments(COUNT);
	check_all();
	cluster_fini(&cl);
}

static void spill_depth__reaches_the_disk(void **state)
{
	static char text[65536];
	char dir[128], log[192];
	const char *const opts[] = {"--arena=16M", "--cpus=1", "--spill-depth=24", dir, NULL};
	FILE *f;

	(void)state;
	cluster_init(&cl);
	snprintf(dir, sizeof(dir), "--spill-dir=%s/spill", cl.root);
	cluster_start(&cl, 0, opts);
	snprintf(log, sizeof(log), "%s/logs/swarmd.log", cl.node[0].dir);
	f = fopen(log, "re");
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	if (strstr(text, "io_uring, depth"))
		assert_non_null(strstr(text, "io_uring, depth 24,"));
	else
		assert_non_null(strstr(text, "io_uring is not available"));
	cluster_fini(&cl);
	PROC_RUN(&res, "swarm", "start", "--head", "--spill-depth=4097");
	assert_int_equal(res.status, 2);
	assert_non_null(strstr(res.err, "--spill-depth=4097"));
}

static void keep__without_a_folder__is_refused(void **state)
{
	(void)state;
	PROC_RUN(&res, "swarm", "start", "--head", "--durable");
	assert_int_equal(res.status, 2);
	assert_non_null(strstr(res.err, "--spill-dir"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(daemon__killed__the_next_one_has_what_was_put),
		cmocka_unit_test(spill_depth__reaches_the_disk),
		cmocka_unit_test(keep__without_a_folder__is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
