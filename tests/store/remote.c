/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote.c - real stores over a real transport: test_store_remote [TRANSPORT [HOST:PORT]].
 */
#include <pthread.h>
#include <signal.h>

#include "tests/patience.h"
#include "tests/store/remote_rig.h"

static void test_sizes(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(160), NULL), *b = rig_open(2, MIB(160), NULL);
	static const uint64_t sizes[] = {0,	 1,	 63,	  64,	   100,	     4096,    65472,
					 65473, 100000, MIB(1), MIB(5) + 7, MIB(64)};

	(void)state;
	rig_join(a, b);
	for (size_t i = 0; i < SWI_ARRAY_LEN(sizes); i++) {
		const struct swarm_ref ref = rig_put(a, swarm_ref_new(a), sizes[i]);

		assert_int_equal(rig_get(b, ref, sizes[i], TEST_LIMIT_NS), 0);
		assert_int_equal(rig_get(b, ref, sizes[i], 0), 0); /* a copy stays */
		assert_int_equal(swarm_store_delete(a, ref), 0);
	}
	assert_int_equal(rig_stat(b, "fetches"), SWI_ARRAY_LEN(sizes));
	assert_int_equal(rig_stat(a, "digest_errors"), 0);
	swarm_store_close(a);
	swarm_store_close(b);
}

static void test_both_ways_and_absent(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(16), NULL), *b = rig_open(2, MIB(16), NULL);
	struct swarm_ref ref;
	char text[256];

	(void)state;
	rig_join(a, b);
	ref = rig_put(a, swarm_ref_new(a), 5000);
	assert_int_equal(rig_get(b, ref, 5000, TEST_LIMIT_NS), 0);
	ref = rig_put(b, swarm_ref_new(b), 6000);
	assert_int_equal(rig_get(a, ref, 6000, TEST_LIMIT_NS), 0);
	/* Nobody made it: the home says so, in words. */
	ref = swarm_ref_new(a);
	assert_int_equal(rig_get(b, ref, 0, 200 * NS_PER_MS), -ENOENT);
	assert_int_equal(swarm_store_explain(b, ref, text, sizeof(text)), -ENOENT);
	assert_non_null(strstr(text, "node 1"));
	/* A home that nobody knows. */
	ref.home = 77;
	assert_true(rig_get(b, ref, 0, 50 * NS_PER_MS) < 0);
	swarm_store_close(a);
	swarm_store_close(b);
}

/* Half of them are on the other node, two nowhere: one question, one deadline, each has its own answer. */
static void test_many(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(16), NULL), *b = rig_open(2, MIB(16), NULL);
	struct swarm_ref ref[64];
	struct swarm_view v[64];
	int status[64];

	(void)state;
	rig_join(a, b);
	for (uint32_t i = 0; i < 64; i++) {
		ref[i] = swarm_ref_new(i % 2 ? a : b);
		if (i != 20 && i != 31)
			rig_put(i % 2 ? a : b, ref[i], 1000 + i * 997);
	}
	assert_int_equal(swarm_store_get_many(b, ref, 64, NS_PER_S, v, status), 62);
	for (uint32_t i = 0; i < 64; i++) {
		const bool absent = i == 20 || i == 31;

		assert_int_equal(status[i], absent ? -ENOENT : 0);
		if (absent)
			continue;
		assert_int_equal(v[i].len, 1000 + i * 997);
		assert_true(filled(v[i].data, v[i].len, ref[i].id.w[0] ^ ref[i].id.w[1]));
	}
	assert_int_equal(rig_stat(b, "pins"), 62);
	swarm_views_release(b, v, 64);
	assert_int_equal(rig_stat(b, "pins"), 0);
	assert_int_equal(rig_stat(b, "holds"), 0);
	assert_int_equal(rig_stat(b, "fetches"), 31);
	swarm_store_close(a);
	swarm_store_close(b);
}

static void test_named(void **state)
{
	struct swarm_store *st[3];
	char name[32];

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		st[i] = rig_open(i + 1, MIB(16), NULL);
	/* Some before anybody knows anybody, some after. */
	for (int i = 0; i < 60; i++) {
		if (i == 20)
			rig_join(st[0], st[1]);
		if (i == 40) {
			rig_join(st[2], st[0]);
			rig_join(st[1], st[2]);
		}
		snprintf(name, sizeof(name), "name %d", i);
		rig_put(st[i % 3], swarm_ref_named(name), (uint64_t)i * 100);
	}
	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "name %d", i);
		for (int k = 0; k < 3; k++)
			assert_int_equal(rig_get(st[k], swarm_ref_named(name), (uint64_t)i * 100,
						 TEST_LIMIT_NS),
					 0);
	}
	for (int k = 0; k < 3; k++)
		swarm_store_close(st[k]);
}

struct getter {
	pthread_t thread;
	struct swarm_store *st;
	struct swarm_ref ref;
	uint64_t len, timeout_ns;
	int rc;
};

static void *get_thread(void *arg)
{
	struct getter *g = arg;

	g->rc = rig_get(g->st, g->ref, g->len, g->timeout_ns ? g->timeout_ns : TEST_LIMIT_NS);
	return NULL;
}

static void test_wait_before_it_is_made(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(32), NULL), *b = rig_open(2, MIB(32), NULL);
	struct getter g = {.st = b, .ref = swarm_ref_new(a), .len = 70000}, h;
	uint8_t ready = 0;

	(void)state;
	rig_join(b, a);
	h = g;
	h.ref = swarm_ref_named("made later");
	assert_int_equal(pthread_create(&g.thread, NULL, get_thread, &g), 0);
	assert_int_equal(pthread_create(&h.thread, NULL, get_thread, &h), 0);
	assert_true(rig_stat_reaches(b, "gets_local_miss", 2));
	rig_put(a, g.ref, g.len);
	rig_put(a, h.ref, h.len);
	assert_int_equal(pthread_join(g.thread, NULL), 0);
	assert_int_equal(pthread_join(h.thread, NULL), 0);
	assert_int_equal(g.rc, 0);
	assert_int_equal(h.rc, 0);
	assert_int_equal(swarm_store_wait(b, &g.ref, 1, 1, TEST_LIMIT_NS, &ready), 1);
	assert_int_equal(ready, 1);
	swarm_store_close(b);
	swarm_store_close(a);
}

static void test_shared_transfer(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(64), NULL), *b = rig_open(2, MIB(64), NULL);
	struct getter g[16];
	struct swarm_ref ref = swarm_ref_new(a);

	(void)state;
	rig_join(a, b);
	for (size_t i = 0; i < SWI_ARRAY_LEN(g); i++) {
		g[i] = (struct getter){.st = b, .ref = ref, .len = MIB(16)};
		assert_int_equal(pthread_create(&g[i].thread, NULL, get_thread, &g[i]), 0);
	}
	assert_true(rig_stat_reaches(b, "gets_local_miss", SWI_ARRAY_LEN(g)));
	rig_put(a, ref, MIB(16));
	for (size_t i = 0; i < SWI_ARRAY_LEN(g); i++) {
		assert_int_equal(pthread_join(g[i].thread, NULL), 0);
		assert_int_equal(g[i].rc, 0);
	}
	assert_int_equal(rig_stat(b, "fetches"), 1);
	assert_int_equal(rig_stat(a, "served_reads"), 1);
	assert_true(rig_stat_reaches(a, "objects", 1));
	swarm_store_close(a);
	swarm_store_close(b);
}

static void test_delete_everywhere(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(16), NULL), *b = rig_open(2, MIB(16), NULL);
	struct swarm_ref ref, named = swarm_ref_named("gone soon");
	struct swi_env *env = swi_env_real();
	uint64_t end;
	int rc;

	(void)state;
	rig_join(a, b);
	ref = rig_put(a, swarm_ref_new(a), 10000);
	rig_put(b, named, 20000);
	assert_int_equal(rig_get(b, ref, 10000, TEST_LIMIT_NS), 0);
	assert_int_equal(rig_get(a, named, 20000, TEST_LIMIT_NS), 0);
	assert_int_equal(swarm_store_delete(b, ref), 0); /* not by its home */
	assert_int_equal(swarm_store_delete(a, named), 0);
	end = swi_now(env) + TEST_LIMIT_NS;
	while ((swarm_store_contains(a, ref) || swarm_store_contains(b, ref) ||
		swarm_store_contains(a, named) || swarm_store_contains(b, named)) &&
	       swi_now(env) < end)
		sched_yield();
	assert_int_equal(rig_get(b, ref, 10000, TEST_LIMIT_NS), SWARM_EDELETED);
	assert_int_equal(rig_get(a, ref, 10000, TEST_LIMIT_NS), SWARM_EDELETED);
	assert_int_equal(rig_get(a, named, 20000, TEST_LIMIT_NS), SWARM_EDELETED);
	/* A name can be used again; its home hears of that a moment later. */
	rig_put(a, named, 300);
	end = swi_now(env) + TEST_LIMIT_NS;
	while ((rc = rig_get(b, named, 300, TEST_LIMIT_NS)) == SWARM_EDELETED && swi_now(env) < end)
		sched_yield();
	assert_int_equal(rc, 0);
	swarm_store_close(a);
	swarm_store_close(b);
}

/* A delete and a put, again and again, while nodes read of them when they come to it: the last one is there, and no other. */
static void test_put_again_at_once(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(16), NULL), *b = rig_open(2, MIB(16), NULL);
	const uint64_t end = swi_now(swi_env_real()) + TEST_LIMIT_NS;
	char name[32];
	int rc;

	(void)state;
	rig_join(a, b);
	for (uint64_t i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "again %d", (int)(i % 20)); /* half of them are at home there */
		assert_int_equal(swarm_store_delete(a, swarm_ref_named(name)), 0);
		rig_put(a, swarm_ref_named(name), 100 + i);
		assert_int_equal(rig_get(a, swarm_ref_named(name), 100 + i, 0), 0);
	}
	for (uint64_t i = 380; i < 400; i++) {
		snprintf(name, sizeof(name), "again %d", (int)(i % 20));
		while ((rc = rig_get(b, swarm_ref_named(name), 100 + i, TEST_LIMIT_NS)) == SWARM_EDELETED &&
		       swi_now(swi_env_real()) < end)
			sched_yield();
		assert_int_equal(rc, 0);
		assert_int_equal(rig_get(a, swarm_ref_named(name), 100 + i, 0), 0);
	}
	swarm_store_close(a);
	swarm_store_close(b);
}

static void test_spilled(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(16), "spill-a"), *b = rig_open(2, MIB(16), "spill-b");
	struct swarm_ref ref[64];

	(void)state;
	rig_join(a, b);
	for (int i = 0; i < 64; i++) /* four arenas full */
		ref[i] = rig_put(a, swarm_ref_new(a), MIB(1) - 64 - (uint64_t)i);
	assert_true(rig_stat(a, "spilled_objects") >= 40);
	for (int i = 0; i < 64; i++)
		assert_int_equal(rig_get(b, ref[i], MIB(1) - 64 - (uint64_t)i, TEST_LIMIT_NS), 0);
	for (int i = 0; i < 64; i++) /* here the copies were dropped again: no disk was written */
		assert_int_equal(rig_get(a, ref[i], MIB(1) - 64 - (uint64_t)i, TEST_LIMIT_NS), 0);
	assert_int_equal(rig_stat(b, "spilled_objects"), 0);
	assert_true(rig_stat(b, "evicted_objects") > 40);
	assert_int_equal(rig_stat(b, "digest_errors"), 0);
	assert_int_equal(rig_stat(a, "digest_errors"), 0);
	swarm_store_close(a);
	swarm_store_close(b);
}

/* ---- an owner that is killed ---- */

#define KILL_LEN MIB(48)

#define OWNER_FD 3 /* where the owner writes its address */

/* A process of its own: a store with two objects; tells its address and lives until it is killed. */
static int owner(void)
{
	struct swarm_store *a = rig_open(1, MIB(64), NULL);
	char address[64] = "";

	rig_put(a, swarm_ref_named("victim"), KILL_LEN);
	rig_put(a, (struct swarm_ref){.id = {{4, 4}}, .home = 1}, KILL_LEN / 8);
	snprintf(address, sizeof(address), "%s", swarm_store_address(a));
	if (write(OWNER_FD, address, sizeof(address)) != sizeof(address))
		return 1;
	for (;;)
		pause();
}

/* A fresh program: librdmacm keeps the card open for good, and what is open does not survive fork(). */
static pid_t owner_start(int fd)
{
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	if (dup2(fd, OWNER_FD) == OWNER_FD)
		execl("/proc/self/exe", "test_store_remote", rig.transport ? rig.transport : "ofi",
		      rig.bind ? rig.bind : "127.0.0.1:0", "--owner", rig.key, (char *)NULL);
	_exit(127);
}

static void test_owner_killed(void **state)
{
	(void)state;
	for (int when = 0; when < 4; when++) {
		struct getter g = {.ref = {.id = {{4, 4}}, .home = 1}, .len = KILL_LEN / 8};
		/* When the name's home was the victim, ours waits for somebody to make it: till the end. */
		struct getter h = {.ref = swarm_ref_named("victim"),
				   .len = KILL_LEN,
				   .timeout_ns = 5 * NS_PER_S};
		char address[64];
		int fd[2];
		pid_t pid;

		assert_int_equal(pipe(fd), 0);
		pid = owner_start(fd[1]);
		assert_int_equal(read(fd[0], address, sizeof(address)), sizeof(address));
		g.st = h.st = rig_open(2, MIB(128), NULL);
		assert_int_equal(swarm_store_peer(g.st, address, TEST_LIMIT_NS), 0);
		assert_int_equal(pthread_create(&g.thread, NULL, get_thread, &g), 0);
		assert_int_equal(pthread_create(&h.thread, NULL, get_thread, &h), 0);
		assert_true(rig_stat_reaches(g.st, "gets_local_miss", 1));
		for (int i = 0; i < when * 60; i++)
			sched_yield();
		assert_int_equal(kill(pid, SIGKILL), 0);
		wait_child(pid);
		const uint64_t killed = swi_now(swi_env_real());

		assert_int_equal(pthread_join(g.thread, NULL), 0);
		/* Its host says that nobody listens there any more; a silent one is waited for, 3 s. */
		assert_true(swi_now(swi_env_real()) - killed < 2 * NS_PER_S * TEST_PATIENCE);
		assert_int_equal(pthread_join(h.thread, NULL), 0);
		assert_true(g.rc == 0 || g.rc == SWARM_EHOMELOST);
		/* The name's home is another one now, and nobody has it. */
		assert_true(h.rc == 0 || h.rc == -ENOENT || h.rc == SWARM_EHOMELOST ||
			    h.rc == SWARM_ELOST || h.rc == -ETIMEDOUT);
		assert_int_equal(rig_stat(g.st, "digest_errors"), 0);
		assert_int_equal(rig_stat(g.st, "holds"), 0);
		assert_true(arena_settles(g.st, (h.rc ? 0 : KILL_LEN) + (g.rc ? 0 : KILL_LEN / 8) +
						    MIB(1)));
		swarm_store_close(g.st);
		close(fd[0]);
		close(fd[1]);
	}
}

/* ---- both arenas too small, both sides read and write ---- */

struct churn {
	pthread_t thread;
	struct swarm_store *mine, *other;
	uint32_t home;
	uint64_t seed;
	int failed;
};

#define CHURN_REFS 120u

static struct swarm_ref churn_ref(uint32_t home, uint64_t i)
{
	return (struct swarm_ref){.id = {{1000 + home, i}}, .home = home};
}

static uint64_t churn_len(uint64_t i)
{
	return i % 7 ? 1000 + i * 977 : 900000 + i;
}

static void *churn_thread(void *arg)
{
	struct churn *c = arg;

	for (uint64_t i = 0; i < CHURN_REFS; i++) {
		const struct swarm_ref ref = churn_ref(c->home, i);

		rig_put(c->mine, ref, churn_len(i));
		for (int k = 0; k < 3; k++) {
			const uint64_t j = swi_splitmix64(&c->seed) % (i + 1);

			c->failed += rig_get(c->other, churn_ref(c->home, j), churn_len(j),
					     TEST_LIMIT_NS) != 0;
		}
	}
	return NULL;
}

static void test_small_arenas(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(8), "churn-a"), *b = rig_open(2, MIB(8), "churn-b");
	struct churn c[2] = {{.mine = a, .other = b, .home = 1, .seed = 5},
			     {.mine = b, .other = a, .home = 2, .seed = 6}};

	(void)state;
	rig_join(a, b);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&c[i].thread, NULL, churn_thread, &c[i]), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(c[i].thread, NULL), 0);
		assert_int_equal(c[i].failed, 0);
	}
	assert_true(rig_stat(a, "spilled_objects") > 0);
	assert_true(rig_stat(b, "evicted_objects") > 0);
	assert_int_equal(rig_stat(a, "digest_errors") + rig_stat(b, "digest_errors"), 0);
	assert_int_equal(rig_stat(a, "client_errors") + rig_stat(b, "client_errors"), 0);
	swarm_store_close(a);
	swarm_store_close(b);
}

static void test_wrong_key(void **state)
{
	struct swarm_store *a, *b;
	int rc;

	(void)state;
	a = rig_open_key(1, rig.key, &rc);
	assert_int_equal(rc, 0);
	b = rig_open_key(2, rig.other_key, &rc);
	assert_int_equal(rc, 0);
	rc = swarm_store_peer(b, swarm_store_address(a), TEST_LIMIT_NS);
	assert_int_equal(rc, SWARM_EAUTH);
	assert_int_equal(rig_peers(a), 0);
	swarm_store_close(a);
	swarm_store_close(b);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_both_ways_and_absent),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_named),
	    cmocka_unit_test(test_wait_before_it_is_made),
	    cmocka_unit_test(test_shared_transfer),
	    cmocka_unit_test(test_delete_everywhere),
	    cmocka_unit_test(test_put_again_at_once),
	    cmocka_unit_test(test_spilled),
	    cmocka_unit_test(test_small_arenas),
	    cmocka_unit_test(test_owner_killed),
	    cmocka_unit_test(test_wrong_key),
	};

	if (argc > 1)
		rig.transport = argv[1];
	if (argc > 2)
		rig.bind = argv[2];
	if (argc > 4 && !strcmp(argv[3], "--owner")) {
		snprintf(rig.key, sizeof(rig.key), "%s", argv[4]);
		return owner();
	}
	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
