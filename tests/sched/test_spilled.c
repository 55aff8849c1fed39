/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spilled.c - bytes that go bad on a node's disk, on a real cluster: a task's result is made again
 * by its task, a put comes from the copy on another node, and what has neither fails with its cause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <swarm/sched.h>

#include "tests/patience.h"
#include "tests/tools/proc.h"

#define LEN   300000u
#define COUNT 20u
#define MAGIC 0x4a424f53u /* of a record (docs/WIRE.md) */

static struct test_cluster cl;
static struct swarm_client *client;
static struct swarm_module module;
static char folder[160];

static struct swarm_store *store(void)
{
	return swarm_client_store(client);
}

static int start(void **state)
{
	char dir[200], why[256];
	const char *const head[] = {"--arena=16M", "--cpus=1", dir, NULL};
	static const char *const node[] = {"--arena=64M", "--cpus=1", NULL};

	(void)state;
	cluster_init(&cl);
	snprintf(folder, sizeof(folder), "%s/spill", cl.root);
	snprintf(dir, sizeof(dir), "--spill-dir=%s", folder);
	cluster_start(&cl, 0, head);
	cluster_start(&cl, 1, node);
	if (swarm_client_open(cl.node[0].dir, &client, why, sizeof(why)) ||
	    swarm_module_load(client, getenv("TEST_MODULE"), &module, why, sizeof(why)))
		fail_msg("%s", why);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	swarm_client_close(client);
	cluster_fini(&cl);
	return 0;
}

static void make_bytes(uint8_t *out, uint64_t seed)
{
	uint64_t x = seed;

	for (uint64_t i = 0; i < LEN; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		out[i] = (uint8_t)(x >> 56);
	}
}

static struct swarm_ref submit_bytes(uint64_t seed)
{
	const uint64_t len = LEN;
	const struct swarm_arg args[] = {SWARM_ARG_BYTES(&len, sizeof(len)),
					 SWARM_ARG_BYTES(&seed, sizeof(seed))};
	const struct swarm_task_opts o = {.size = sizeof(o), .module = module, .function = "t_bytes",
					  .args = args, .arg_count = 2};
	struct swarm_ref ref;

	assert_int_equal(swarm_submit(client, &o, &ref), 0);
	return ref;
}

static struct swarm_ref put_bytes(uint64_t seed)
{
	const struct swarm_ref ref = swarm_ref_new(store());
	uint8_t *p = malloc(LEN);

	assert_non_null(p);
	make_bytes(p, seed);
	assert_int_equal(swarm_store_put(store(), ref, p, LEN, TEST_LIMIT_NS), 0);
	free(p);
	return ref;
}

static int get_from(struct swarm_store *s, struct swarm_ref ref, uint64_t seed)
{
	uint8_t *want = malloc(LEN);
	struct swarm_view v;
	int rc = swarm_store_get(s, ref, TEST_LIMIT_NS, &v);

	assert_non_null(want);
	make_bytes(want, seed);
	if (!rc) {
		if (v.len != LEN || memcmp(v.data, want, LEN))
			rc = -EBADMSG;
		swarm_view_release(s, &v);
	}
	free(want);
	return rc;
}

/* Other objects crowd these out of the head's memory. */
static void crowd_out(const struct swarm_ref *refs, uint32_t count)
{
	static uint64_t seed = 1000000;
	uint32_t left = 1;

	for (int round = 0; left && round < 20; round++) {
		for (int i = 0; i < 40; i++)
			put_bytes(seed++);
		left = 0;
		for (uint32_t i = 0; i < count; i++)
			left += swarm_store_contains(store(), refs[i]) == 1;
	}
	assert_int_equal(left, 0);
}

/* One byte of the payload of each record of @refs in this file. */
static uint32_t damage_file(const char *path, const struct swarm_ref *refs, uint32_t count)
{
	const int fd = open(path, O_RDWR);
	uint32_t hits = 0;
	uint64_t head[8];

	assert_true(fd >= 0);
	for (off_t at = 4096; pread(fd, head, sizeof(head), at) == sizeof(head); at += 4096) {
		uint8_t byte;

		if ((uint32_t)head[0] != MAGIC)
			continue;
		for (uint32_t i = 0; i < count; i++) {
			if (head[1] != refs[i].id.w[0] || head[2] != refs[i].id.w[1])
				continue;
			assert_int_equal(pread(fd, &byte, 1, at + 64 + 12345), 1);
			byte ^= 0x10;
			assert_int_equal(pwrite(fd, &byte, 1, at + 64 + 12345), 1);
			hits++;
		}
	}
	assert_int_equal(fsync(fd), 0);
	close(fd);
	return hits;
}

static void damage(const struct swarm_ref *refs, uint32_t count)
{
	DIR *d = opendir(folder);
	const struct dirent *e;
	uint32_t hits = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		char path[512];

		if (!strstr(e->d_name, ".seg"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		hits += damage_file(path, refs, count);
	}
	closedir(d);
	assert_true(hits >= count);
}

static bool on_disk(struct swarm_ref ref)
{
	static struct swarm_object_info rows[4000];
	const int64_t n = swarm_store_list(store(), rows, 4000);

	for (int64_t k = 0; k < n && k < 4000; k++)
		if (swarm_oid_equal(rows[k].ref.id, ref.id) && (rows[k].flags & SWARM_OBJECT_SPILLED))
			return true;
	return false;
}

static void result__bad_on_disk__is_made_again(void **state)
{
	struct swarm_ref refs[COUNT];
	uint32_t damaged = 0;

	(void)state;
	for (uint32_t i = 0; i < COUNT; i++)
		refs[i] = submit_bytes(i + 1);
	for (uint32_t i = 0; i < COUNT; i++)
		assert_int_equal(get_from(store(), refs[i], i + 1), 0);
	/* Those that ran here are on this disk now; a copy of the others was at most in memory. */
	crowd_out(refs, COUNT);
	for (uint32_t i = 0; i < COUNT; i++) {
		if (on_disk(refs[i])) {
			damage(&refs[i], 1);
			damaged++;
		}
		assert_int_equal(get_from(store(), refs[i], i + 1), 0);
	}
	print_message("%u of %u results were damaged on disk\n", damaged, COUNT);
	assert_true(damaged > 0);
}

static void put__bad_on_disk__comes_from_another_node(void **state)
{
	struct swarm_store *other;
	struct swarm_ref refs[COUNT];

	(void)state;
	assert_int_equal(swarm_store_attach(cl.node[1].dir, &other, NULL, 0), 0);
	for (uint32_t i = 0; i < COUNT; i++) {
		refs[i] = put_bytes(500 + i);
		assert_int_equal(get_from(other, refs[i], 500 + i), 0); /* a copy there */
	}
	crowd_out(refs, COUNT);
	damage(refs, COUNT);
	for (uint32_t i = 0; i < COUNT; i++)
		assert_int_equal(get_from(store(), refs[i], 500 + i), 0);
	swarm_store_close(other);
}

static void put__bad_on_disk_and_no_copy__fails_with_its_cause(void **state)
{
	const struct swarm_ref ref = put_bytes(77);
	char text[512] = "";
	int rc;

	(void)state;
	crowd_out(&ref, 1);
	damage(&ref, 1);
	rc = get_from(store(), ref, 77);
	if (rc != SWARM_ECORRUPT && rc != SWARM_ELOST)
		fail_msg("%s", swarm_errname(rc));
	(void)swarm_store_explain(store(), ref, text, sizeof(text));
	print_message("%s: %s\n", swarm_errname(rc), text);
	assert_non_null(strstr(text, "last copy"));
	assert_non_null(strstr(text, "on node 1"));   /* where .. */
	assert_non_null(strstr(text, ".seg"));	      /* .. in which file .. */
	assert_non_null(strstr(text, "check the memory and disk")); /* .. and what to do */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(result__bad_on_disk__is_made_again),
		cmocka_unit_test(put__bad_on_disk__comes_from_another_node),
		cmocka_unit_test(put__bad_on_disk_and_no_copy__fails_with_its_cause),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
