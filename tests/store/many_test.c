/* SPDX-License-Identifier: Apache-2.0 */
/* many_test.c - get_many and put_many: partial results, limits, duplicates, room, and what is left pinned. */
#include <pthread.h>

#include "tests/store/api_rig.h"

#define N 600u

static uint8_t bytes[KIB(300)];

static void make_rows(struct swarm_put *row, uint32_t n, uint64_t first, uint64_t len)
{
	for (uint32_t i = 0; i < n; i++)
		row[i] = (struct swarm_put){
		    .ref = numbered(first + i), .data = bytes + (first + i) % 97, .len = len + i % 50};
}

static void check_views(const struct swarm_view *v, const struct swarm_put *row, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(v[i].len, row[i].len);
		assert_memory_equal(v[i].data, row[i].data, row[i].len);
	}
}

static uint64_t pins(struct swarm_store *st)
{
	return status_number(st, "pins");
}

static void test_put_get_many(void **state)
{
	struct api *a = *state;
	static struct swarm_put row[N];
	static struct swarm_view v[N];
	static struct swarm_ref ref[N];
	int status[N];

	make_rows(row, N, 0, 3000); /* more than one chunk */
	assert_int_equal(swarm_store_put_many(a->st, row, N, 0, status), N);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(status[i], 0);
		ref[i] = row[i].ref;
	}
	assert_int_equal(swarm_store_get_many(a->other, ref, N, 0, v, status), N);
	check_views(v, row, N);
	assert_int_equal(pins(a->st), N);
	swarm_views_release(a->other, v, N);
	assert_int_equal(pins(a->st), 0);
	assert_null(v[0].data);
	/* Again: theirs stand, and one new one among them is put. */
	row[7].ref = numbered(100000);
	assert_int_equal(swarm_store_put_many(a->st, row, N, 0, status), 1);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(status[i], i == 7 ? 0 : -EEXIST);
	assert_int_equal(swarm_store_put_many(a->st, row, N, 0, NULL), 0);
}

static void test_partial(void **state)
{
	struct api *a = *state;
	struct swarm_ref ref[4] = {numbered(1), numbered(2), numbered(1), numbered(3)};
	struct swarm_view v[4];
	int status[4];

	assert_int_equal(swarm_store_put(a->st, ref[0], "one", 3, 0), 0);
	assert_int_equal(swarm_store_put(a->st, ref[3], "", 0, 0), 0);
	for (uint64_t t = 0; t <= 5 * NS_PER_MS; t += 5 * NS_PER_MS) {
		assert_int_equal(swarm_store_get_many(a->st, ref, 4, t, v, status), 3);
		assert_int_equal(status[0], 0);
		assert_int_equal(status[1], -ENOENT);
		assert_int_equal(status[2], 0);
		assert_int_equal(status[3], 0);
		assert_null(v[1].data);
		assert_memory_equal(v[2].data, "one", 3);
		assert_non_null(v[3].data);
		assert_int_equal(v[3].len, 0);
		assert_int_equal(pins(a->st), 3);
		swarm_views_release(a->st, v, 4);
	}
	assert_int_equal(swarm_store_get_many(a->st, ref, 4, 0, v, NULL), 3);
	swarm_views_release(a->st, v, 4);
	assert_int_equal(swarm_store_get_many(a->st, ref, 0, 0, v, status), 0);
	assert_int_equal(swarm_store_get_many(a->st, ref, SWARM_MANY_MAX + 1, 0, v, status), -EINVAL);
	assert_int_equal(swarm_store_put_many(a->st, NULL, SWARM_MANY_MAX + 1, 0, status), -EINVAL);
	assert_int_equal(swarm_store_put_many(a->st, NULL, 0, 0, status), 0);
	assert_int_equal(pins(a->st), 0);
	assert_int_equal(status_number(a->st, "holds"), 0);
}

struct late {
	struct swarm_store *st;
	struct swi_shm_head *head;
	struct swarm_put *row;
	int put;
};

static void *put_late(void *arg)
{
	struct late *l = arg;

	while (!atomic_load(&l->head->waiters)) /* the reader's question came to the node */
		sched_yield();
	l->put = swarm_store_put_many(l->st, l->row, N, NS_PER_S, NULL);
	return NULL;
}

/* One question for all of them, answered when the last one was sealed. */
static void test_waits_for_all(void **state)
{
	struct api *a = *state;
	static struct swarm_put row[N];
	static struct swarm_view v[N];
	static struct swarm_ref ref[N];
	struct late l = {.st = a->other, .head = swi_store_lc(a->st)->index.head, .row = row};
	pthread_t t;

	make_rows(row, N, 5000, 200);
	for (uint32_t i = 0; i < N; i++)
		ref[i] = row[N - 1 - i].ref;
	assert_int_equal(pthread_create(&t, NULL, put_late, &l), 0);
	assert_int_equal(swarm_store_get_many(a->st, ref, N, 20 * NS_PER_S, v, NULL), N);
	pthread_join(t, NULL);
	assert_int_equal(l.put, N);
	for (uint32_t i = 0; i < N; i++)
		assert_memory_equal(v[i].data, row[N - 1 - i].data, row[N - 1 - i].len);
	swarm_views_release(a->st, v, N);
	assert_int_equal(pins(a->st), 0);
	assert_int_equal(status_number(a->st, "holds"), 0);
}

/* Large and small ones mixed; more than fits: the first ones are put, the others say why. */
static void test_full(void **state)
{
	struct api *a = *state;
	static struct swarm_put row[200];
	static int status[200];
	uint32_t ok = 0;

	make_rows(row, 200, 0, KIB(290));
	for (uint32_t i = 0; i < 200; i += 3)
		row[i].len = 100;
	row[150].len = MIB(200); /* never fits; nothing of its bytes is read */
	const int put = swarm_store_put_many(a->st, row, 200, NS_PER_MS, status);

	for (uint32_t i = 0; i < 200; i++) {
		assert_true(!status[i] || status[i] == (i == 150 ? -E2BIG : SWARM_EFULL));
		ok += !status[i];
	}
	assert_int_equal(put, ok);
	assert_true(put >= 100 && put < 199); /* 32 MiB hold about 109 of 290 KiB */
	for (uint32_t i = 0; i < 200; i++) {
		struct swarm_view v;

		assert_int_equal(swarm_store_get(a->other, row[i].ref, 0, &v), status[i] ? -ENOENT : 0);
		if (status[i])
			continue;
		assert_int_equal(v.len, row[i].len);
		assert_memory_equal(v.data, row[i].data, v.len);
		swarm_view_release(a->other, &v);
		assert_int_equal(swarm_store_delete(a->other, row[i].ref), 0);
	}
	assert_true(arena_settles(a->st, MIB(3)));
}

/* A client that goes away in the middle of a question leaves nothing held. */
static int child_asks(const char *dir)
{
	struct swarm_store *st;
	struct swarm_ref ref[3] = {numbered(1), numbered(2), numbered(77)};
	uint8_t body[128];
	struct swi_wr w = swi_wr_init(body, sizeof(body));
	struct swi_call call = {0};

	if (swarm_store_attach(dir, &st, NULL, 0))
		return 1;
	swi_wr_u64(&w, 60 * NS_PER_S);
	swi_wr_u32(&w, 3);
	for (uint32_t i = 0; i < 3; i++)
		swi_wr_ref(&w, ref[i]);
	if (swi_lc_post(swi_store_lc(st), SWI_L_GET_MANY, body, w.len, &call))
		return 2;
	while (!atomic_load(&swi_store_lc(st)->index.head->waiters))
		sched_yield(); /* two are held by now, one is waited for */
	_exit(0);
}

static void test_asker_dies(void **state)
{
	struct api *a = *state;
	struct swi_shm_head *head = swi_store_lc(a->st)->index.head;
	const uint64_t end = test_now() + 10 * NS_PER_S;

	assert_int_equal(swarm_store_put(a->st, numbered(1), "1", 1, 0), 0);
	assert_int_equal(swarm_store_put(a->st, numbered(2), "2", 1, 0), 0);
	assert_int_equal(wait_child(fork_child(child_asks, test_dir)), 0);
	while (status_number(a->st, "holds") || atomic_load(&head->waiters) ||
	       status_number(a->st, "clients") > (a->st == a->host ? 2 : 3))
		assert_true(test_now() < end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    API_TEST(test_put_get_many), API_TEST(test_partial), API_TEST(test_waits_for_all),
	    API_TEST(test_full),	 API_TEST(test_asker_dies),
	};

	fill(bytes, sizeof(bytes), 5);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
