/* SPDX-License-Identifier: Apache-2.0 */
/* local_test.c - the public API over a real host: in one process, and between processes. */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/store/store_test.h"

static void test_put_get(void **state)
{
	struct swarm_store *st = *state;
	struct swarm_ref ref = swarm_ref_new(st);
	struct swarm_view v;

	assert_int_equal(swarm_store_get(st, ref, 0, &v), -ENOENT);
	assert_int_equal(swarm_store_put(st, ref, "hello", 5, 0), 0);
	assert_int_equal(swarm_store_contains(st, ref), 1);
	assert_int_equal(swarm_store_get(st, ref, 0, &v), 0);
	assert_int_equal(v.len, 5);
	assert_memory_equal(v.data, "hello", 5);
	assert_int_equal(v.ref.home, swarm_store_node(st));
	swarm_view_release(st, &v);
	assert_int_equal(swarm_store_put(st, ref, "other", 5, 0), -EEXIST);
	assert_int_equal(swarm_store_delete(st, ref), 0);
	assert_int_equal(swarm_store_get(st, ref, 0, &v), -ENOENT);
}

static void test_large_and_empty(void **state)
{
	struct swarm_store *st = *state;
	const uint64_t used = arena_used(st);

	for (uint64_t len = 0; len <= MIB(3); len = len * 3 + 1) {
		struct swarm_ref ref = swarm_ref_new(st);
		struct swarm_buf b;
		struct swarm_view v;

		assert_int_equal(swarm_store_create(st, ref, len, TEST_LIMIT_NS, &b), 0);
		fill(b.data, len, ref.id.w[1]);
		assert_int_equal(swarm_store_seal(st, &b), 0);
		assert_int_equal(swarm_store_get(st, ref, 0, &v), 0);
		assert_int_equal(v.len, len);
		assert_true(filled(v.data, len, ref.id.w[1]));
		assert_int_equal(swarm_store_delete(st, ref), 0);
		assert_true(filled(v.data, len, ref.id.w[1])); /* pinned: still there */
		swarm_view_release(st, &v);
	}
	/* All but the open chunk comes back. */
	assert_true(arena_settles(st, used + MIB(1)));
	struct swarm_buf b;

	assert_int_equal(swarm_store_create(st, swarm_ref_new(st), MIB(100), 0, &b), -E2BIG);
}

static void test_full(void **state)
{
	struct swarm_store *st = *state;
	struct swarm_buf b[64];
	struct swarm_buf extra;
	int n = 0, rc;

	while (n < 64 && !(rc = swarm_store_create(st, swarm_ref_new(st), MIB(4), 0, &b[n])))
		n++;
	assert_int_equal(rc, SWARM_EFULL);
	assert_true(n >= 6);
	/* Somebody who waits gets the room that another gives back. */
	swarm_store_abort(st, &b[--n]);
	assert_int_equal(swarm_store_create(st, swarm_ref_new(st), MIB(4), TEST_LIMIT_NS, &extra), 0);
	swarm_store_abort(st, &extra);
	while (n)
		swarm_store_abort(st, &b[--n]);
	assert_true(arena_settles(st, MIB(1)));
}

/* The arena is full of holes, none of which holds a whole chunk: small objects find room nevertheless. */
static void test_holes(void **state)
{
	struct swarm_store *st = *state;
	const uint64_t chunk = swi_store_lc(st)->index.head->chunk_bytes, len = chunk * 5 / 16;
	uint8_t *data = calloc(1, len);
	uint64_t n = 0, largest;

	assert_non_null(data);
	while (swarm_store_put(st, numbered(n), data, len, 0) == 0) /* three in a chunk */
		n++;
	for (uint64_t i = 0; i < n; i++)
		if (i % 3 != 2)
			assert_int_equal(swarm_store_delete(st, numbered(i)), 0);
	assert_true(arena_settles(st, n / 3 * (len + KIB(1)) + 2 * chunk));
	largest = status_number(st, "arena_largest_free");
	assert_true(largest < chunk && largest >= KIB(64));
	for (uint64_t i = 0; i < n / 3; i++)
		assert_int_equal(swarm_store_put(st, numbered(n + i), data, len, 0), 0);
	free(data);
}

static bool ahead_over(void *arg)
{
	return !atomic_load(&((struct swi_lc *)arg)->ahead_on);
}

static void put_numbered(struct swarm_store *st, uint64_t *n, uint64_t count, const void *data)
{
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(swarm_store_put(st, numbered((*n)++), data, KIB(64), TEST_LIMIT_NS), 0);
}

/*
 * Who makes many large objects asks for room when the last of it is used, and does not wait: the next ones ask nothing.
 * A refusal is no error: then each asks for what it needs, and the arena is filled to the end.
 */
static void test_room_ahead(void **state)
{
	struct swarm_store *st = *state;
	struct swi_lc *lc = swi_store_lc(st);
	const uint64_t ext = swi_extent_bytes(KIB(64)), several = MIB(32) / 64 / ext;
	uint8_t *data = calloc(1, KIB(64));
	uint64_t n = 0, asked, used;

	assert_non_null(data);
	put_numbered(st, &n, 3 + several - 1, data); /* two singly, the third with room for several */
	put_numbered(st, &n, 8 * several - n % several, data);
	while (!atomic_load(&lc->ahead_on))
		put_numbered(st, &n, 1, data);
	assert_true(swi_list_empty(&lc->large));
	assert_int_equal(swi_lc_wait_for(lc, ahead_over, lc, TEST_LIMIT_NS), 0);
	assert_false(swi_list_empty(&lc->large));
	asked = atomic_load(&lc->next_req);
	put_numbered(st, &n, several - 1, data);
	assert_int_equal(atomic_load(&lc->next_req), asked);
	put_numbered(st, &n, 1, data); /* the last of it: one more question */
	assert_int_equal(atomic_load(&lc->next_req), asked + 1);
	assert_true(atomic_load(&lc->ahead_on));
	put_numbered(st, &n, several - 1, data); /* nobody waited for the answer, and it is there */
	assert_int_equal(atomic_load(&lc->next_req), asked + 1);
	while (swarm_store_put(st, numbered(n), data, KIB(64), 0) == 0)
		n++;
	used = arena_used(st);
	assert_true(n * ext >= used && used + ext > MIB(32)); /* nothing asked for ahead is left over */
	assert_false(atomic_load(&lc->ahead_on));
	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(swarm_store_delete(st, numbered(i)), 0);
	assert_true(arena_settles(st, MIB(1)));
	free(data);
}

static void test_status_list_explain(void **state)
{
	struct swarm_store *st = *state;
	struct swarm_ref named = swarm_ref_named("a name"), none = swarm_ref_named("no such name");
	struct swarm_object_info rows[8];
	char text[256], *json;

	assert_int_equal(swarm_store_put(st, named, "x", 1, 0), 0);
	assert_int_equal(swarm_store_list(st, rows, 8), 1);
	assert_true(swarm_oid_equal(rows[0].ref.id, named.id));
	assert_int_equal(rows[0].len, 1);
	assert_int_equal(rows[0].flags, SWARM_OBJECT_IN_MEMORY);
	assert_int_equal(swarm_store_explain(st, named, text, sizeof(text)), 0);
	assert_non_null(strstr(text, "1 bytes"));
	assert_int_equal(swarm_store_explain(st, none, text, sizeof(text)), -ENOENT);
	assert_true(strlen(text) > 0);
	assert_int_equal(swarm_store_status(st, &json), 0);
	assert_non_null(strstr(json, "\"objects\":1"));
	free(json);
}

struct late {
	struct swarm_store *st;
	struct swarm_ref ref;
};

static void *put_late(void *arg)
{
	struct late *l = arg;

	/* The reader's want makes head->waiters non-zero; then and not earlier the put is a late one. */
	while (!atomic_load(&swi_store_lc(l->st)->index.head->waiters))
		sched_yield();
	assert_int_equal(swarm_store_put(l->st, l->ref, "late", 4, TEST_LIMIT_NS), 0);
	return NULL;
}

static void test_get_waits_for_seal(void **state)
{
	struct late l = {.st = *state, .ref = swarm_ref_new(*state)};
	struct swarm_ref refs[2] = {l.ref, swarm_ref_named("never")};
	uint8_t ready[2];
	struct swarm_view v;
	pthread_t t;

	assert_int_equal(swarm_store_get(l.st, l.ref, NS_PER_MS, &v), -ENOENT);
	assert_int_equal(pthread_create(&t, NULL, put_late, &l), 0);
	assert_int_equal(swarm_store_get(l.st, l.ref, TEST_LIMIT_NS, &v), 0);
	assert_memory_equal(v.data, "late", 4);
	swarm_view_release(l.st, &v);
	pthread_join(t, NULL);
	assert_int_equal(swarm_store_wait(l.st, refs, 2, 1, 0, ready), 1);
	assert_int_equal(swarm_store_wait(l.st, refs, 2, 2, NS_PER_MS, ready), -ETIMEDOUT);
	assert_int_equal(ready[0], 1);
	assert_int_equal(ready[1], 0);
	assert_int_equal(swarm_store_wait(l.st, refs, 2, 3, 0, ready), -EINVAL);
}

/* ---- between processes ---- */

static int child_puts(const char *dir)
{
	struct swarm_store *st;
	char why[256];

	if (swarm_store_attach(dir, &st, why, sizeof(why)))
		return 1;
	for (uint64_t i = 0; i < 2000; i++) {
		struct swarm_buf b;
		const uint64_t len = i % 100 == 99 ? KIB(200) : i % 700;

		if (swarm_store_create(st, numbered(i), len, TEST_LIMIT_NS, &b))
			return 2;
		fill(b.data, len, i);
		if (swarm_store_seal(st, &b))
			return 3;
	}
	swarm_store_close(st);
	return 0;
}

static void test_two_processes(void **state)
{
	struct swarm_store *st = *state;
	const pid_t pid = fork_child(child_puts, test_dir);

	for (uint64_t i = 0; i < 2000; i++) {
		struct swarm_view v;

		assert_int_equal(swarm_store_get(st, numbered(i), TEST_LIMIT_NS, &v), 0);
		assert_true(filled(v.data, v.len, i));
		swarm_view_release(st, &v);
	}
	assert_int_equal(wait_child(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_put_get, open_store, close_store),
	    cmocka_unit_test_setup_teardown(test_large_and_empty, open_store, close_store),
	    cmocka_unit_test_setup_teardown(test_full, open_store, close_store),
	    cmocka_unit_test_setup_teardown(test_holes, open_store, close_store),
	    cmocka_unit_test_setup_teardown(test_room_ahead, open_store, close_store),
	    cmocka_unit_test_setup_teardown(test_status_list_explain, open_store, close_store),
	    cmocka_unit_test_setup_teardown(test_get_waits_for_seal, open_store, close_store),
	    cmocka_unit_test_setup_teardown(test_two_processes, open_store, close_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
