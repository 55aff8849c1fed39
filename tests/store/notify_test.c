/* SPDX-License-Identifier: Apache-2.0 */
/* notify_test.c - subscriptions over a real host: what is told, to whom, and what happens when it is too much. */
#include <poll.h>
#include <pthread.h>

#include "tests/store/api_rig.h"

static struct swarm_sub *subscribe(struct swarm_store *st, const struct swarm_sub_opts *o)
{
	struct swarm_sub *sub;

	assert_int_equal(swarm_store_subscribe(st, o, &sub), 0);
	return sub;
}

static void expect(struct swarm_sub *sub, uint32_t kind, struct swarm_ref ref, uint64_t len)
{
	struct swarm_event ev;

	assert_int_equal(swarm_sub_next(sub, 10 * NS_PER_S, &ev, 1), 1);
	assert_int_equal(ev.kind, kind);
	assert_true(swarm_oid_equal(ev.ref.id, ref.id));
	assert_int_equal(ev.ref.home, ref.home);
	assert_int_equal(ev.len, len);
}

static void expect_none(struct swarm_sub *sub)
{
	struct swarm_event ev;

	assert_int_equal(swarm_sub_next(sub, NS_PER_MS, &ev, 1), -ETIMEDOUT);
}

static void put(struct swarm_store *st, struct swarm_ref ref, uint64_t len)
{
	static uint8_t bytes[KIB(200)];

	assert_int_equal(swarm_store_put(st, ref, bytes, len, NS_PER_S), 0);
}

static void test_sealed_and_deleted(void **state)
{
	struct api *a = *state;
	const struct swarm_sub_opts sealed = {.size = sizeof(sealed), .kinds = 1u << SWARM_EVENT_SEALED};
	const struct swarm_ref one = swarm_ref_new(a->st), two = swarm_ref_named("two");
	struct swarm_sub *all, *some;

	put(a->other, numbered(1), 5); /* before: not told */
	all = subscribe(a->st, NULL);
	some = subscribe(a->st, &sealed);
	put(a->other, one, 10);
	expect(all, SWARM_EVENT_SEALED, one, 10);
	put(a->st, two, KIB(150));
	expect(all, SWARM_EVENT_SEALED, two, KIB(150));
	assert_int_equal(swarm_store_delete(a->other, one), 0);
	expect(all, SWARM_EVENT_DELETED, one, 10);
	assert_int_equal(swarm_store_delete(a->other, one), 0); /* there is nothing left to tell of */
	assert_int_equal(swarm_store_delete(a->st, numbered(1)), 0);
	expect(all, SWARM_EVENT_DELETED, numbered(1), 5);
	put(a->st, one, 11); /* again under the same name */
	expect(all, SWARM_EVENT_SEALED, one, 11);
	assert_int_equal(swarm_store_delete(a->st, one), 0);
	expect(all, SWARM_EVENT_DELETED, one, 11);
	expect_none(all);
	expect(some, SWARM_EVENT_SEALED, one, 10);
	expect(some, SWARM_EVENT_SEALED, two, KIB(150));
	expect(some, SWARM_EVENT_SEALED, one, 11);
	expect_none(some);
	swarm_sub_close(all);
	swarm_sub_close(some);
	swarm_sub_close(NULL);
}

static void test_filters(void **state)
{
	struct api *a = *state;
	const uint8_t key[3][16] = {{1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 2, 3, 4, 5, 6, 7, 8, 8}, {1, 3}};
	const struct swarm_ref refs[2] = {numbered(7), swarm_ref_named("seven")};
	struct swarm_sub_opts o = {.size = sizeof(o), .filter = SWARM_SUB_PREFIX, .prefix_len = 9};
	struct swarm_ref generated = swarm_ref_key(key[0]);
	struct swarm_sub *nine, *one, *set;

	memcpy(o.prefix, key[0], 16);
	nine = subscribe(a->st, &o);
	o.prefix_len = 1;
	one = subscribe(a->st, &o);
	o = (struct swarm_sub_opts){
	    .size = sizeof(o), .filter = SWARM_SUB_REFS, .refs = refs, .ref_count = 2};
	set = subscribe(a->st, &o);
	for (uint32_t i = 0; i < 3; i++)
		put(a->other, swarm_ref_key(key[i]), i);
	generated.home = swarm_store_node(a->st); /* no key: it only looks like one */
	generated.id.w[1]++;
	put(a->other, generated, 9);
	put(a->other, refs[1], 70);
	put(a->other, numbered(8), 80);
	put(a->other, refs[0], 71);
	expect(nine, SWARM_EVENT_SEALED, swarm_ref_key(key[0]), 0);
	expect_none(nine);
	for (uint32_t i = 0; i < 3; i++)
		expect(one, SWARM_EVENT_SEALED, swarm_ref_key(key[i]), i);
	expect_none(one);
	expect(set, SWARM_EVENT_SEALED, refs[1], 70);
	expect(set, SWARM_EVENT_SEALED, refs[0], 71);
	expect_none(set);
	swarm_sub_close(nine);
	swarm_sub_close(one);
	swarm_sub_close(set);
}

static void test_bad_options(void **state)
{
	struct api *a = *state;
	const struct swarm_sub_opts bad[] = {
	    {.size = 3},
	    {.size = sizeof(bad[0]) + 8},
	    {.size = sizeof(bad[0]), .kinds = 1u << SWARM_EVENT_LOST},
	    {.size = sizeof(bad[0]), .capacity = SWARM_SUB_CAPACITY_MAX + 1},
	    {.size = sizeof(bad[0]), .filter = 3},
	    {.size = sizeof(bad[0]), .filter = SWARM_SUB_PREFIX, .prefix_len = 17},
	    {.size = sizeof(bad[0]), .filter = SWARM_SUB_REFS, .ref_count = 1},
	    {.size = sizeof(bad[0]), .ref_count = SWARM_MANY_MAX + 1},
	};
	struct swarm_sub *sub;

	for (uint32_t i = 0; i < SWI_ARRAY_LEN(bad); i++)
		assert_int_equal(swarm_store_subscribe(a->st, &bad[i], &sub), -EINVAL);
	put(a->st, numbered(1), 1); /* the node lives on */
}

/* A subscriber that takes nothing: its room fills, the rest is counted, and nobody waits for it. */
static void test_overflow(void **state)
{
	struct api *a = *state;
	const struct swarm_sub_opts o = {.size = sizeof(o), .capacity = 10};
	struct swarm_sub *sub = subscribe(a->st, &o);
	struct swarm_event ev[64];
	uint64_t sealed = 0, lost = 0;

	for (uint64_t i = 0; i < 5000; i++)
		put(a->other, numbered(i), i % 100);
	while (sealed + lost < 5000) {
		const int n = swarm_sub_next(sub, 10 * NS_PER_S, ev, 64);

		assert_true(n > 0);
		for (int i = 0; i < n; i++) {
			if (ev[i].kind == SWARM_EVENT_LOST) {
				assert_true(ev[i].len > 0);
				lost += ev[i].len;
				continue;
			}
			assert_int_equal(ev[i].kind, SWARM_EVENT_SEALED);
			assert_int_equal(ev[i].ref.id.w[1], sealed + lost + 1); /* in order, no silent gap */
			sealed++;
		}
	}
	assert_int_equal(sealed + lost, 5000);
	assert_true(sealed >= 10);
	assert_true(lost > 0);
	put(a->other, numbered(9000), 1);
	expect(sub, SWARM_EVENT_SEALED, numbered(9000), 1);
	swarm_sub_close(sub);
}

static void *put_all(void *arg)
{
	for (uint64_t i = 0; i < 3000; i++)
		put(arg, numbered(i), 10);
	return NULL;
}

static void test_poll_loop(void **state)
{
	struct api *a = *state;
	const struct swarm_sub_opts o = {.size = sizeof(o), .capacity = 4000};
	struct swarm_sub *sub = subscribe(a->st, &o);
	struct pollfd p = {.fd = swarm_sub_fd(sub), .events = POLLIN};
	struct swarm_event ev[100];
	uint64_t came = 0;
	pthread_t t;

	assert_true(p.fd >= 0);
	assert_int_equal(swarm_sub_fd(sub), p.fd);
	assert_int_equal(pthread_create(&t, NULL, put_all, a->other), 0);
	while (came < 3000) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		const int n = swarm_sub_next(sub, 0, ev, 100);

		if (n == -ETIMEDOUT)
			continue; /* once too often is allowed */
		assert_true(n > 0);
		for (int i = 0; i < n; i++)
			assert_int_equal(ev[i].ref.id.w[1], ++came);
	}
	pthread_join(t, NULL);
	assert_int_equal(swarm_sub_next(sub, 0, ev, 1), -ETIMEDOUT);
	assert_int_equal(poll(&p, 1, 0), 0);
	swarm_sub_close(sub);
}

/* Those who go are forgotten: sealers need not say anything any more. */
static void test_ends(void **state)
{
	struct api *a = *state;
	struct swi_shm_head *head = swi_store_lc(a->st)->index.head;
	const uint64_t end = test_now() + 10 * NS_PER_S;
	struct swarm_sub *sub[65];

	for (uint32_t i = 0; i < 64; i++)
		sub[i] = subscribe(a->st, NULL);
	assert_int_equal(swarm_store_subscribe(a->st, NULL, &sub[64]), -EMFILE);
	assert_int_equal(atomic_load(&head->subscribers), 64);
	for (uint32_t i = 0; i < 64; i++)
		swarm_sub_close(sub[i]);
	if (!fork()) {
		struct swarm_store *st;

		_exit(swarm_store_attach(test_dir, &st, NULL, 0) ||
		      swarm_store_subscribe(st, NULL, &sub[0]));
	}
	int status;

	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
	while (atomic_load(&head->subscribers))
		assert_true(test_now() < end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    API_TEST(test_sealed_and_deleted), API_TEST(test_filters), API_TEST(test_bad_options),
	    API_TEST(test_overflow),	       API_TEST(test_poll_loop), API_TEST(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
