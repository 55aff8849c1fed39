/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replicas_remote.c - copies on request between real stores: test_store_replicas [TRANSPORT [HOST:PORT]]. The owner is a
 * process of its own, which is killed.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "tests/patience.h"
#include "tests/store/remote_rig.h"

#define OTHERS	 4u
#define OBJECTS	 3u
#define OWNER_FD 3 /* where the owner writes its address */
#define SOON_NS	 (2 * NS_PER_S * TEST_PATIENCE)

static const uint64_t len_of[OBJECTS] = {1000, MIB(1), MIB(9) + 77};

/* Made by the owner: homed there, or named. */
static struct swarm_ref ref_of(uint32_t i, bool named)
{
	const struct swarm_ref ref = {.id = {{40 + i, named}}, .home = named ? 0 : 1};

	return ref;
}

static int owner(void)
{
	struct swarm_store *a = rig_open(1, MIB(64), NULL);
	char address[64] = "";

	for (uint32_t i = 0; i < 2 * OBJECTS; i++)
		rig_put(a, ref_of(i / 2, i & 1), len_of[i / 2]);
	snprintf(address, sizeof(address), "%s", swarm_store_address(a));
	if (write(OWNER_FD, address, sizeof(address)) != sizeof(address))
		return 1;
	for (;;)
		pause();
}

/* A fresh program: librdmacm keeps the card open for good, and what is open does not survive fork(). */
static pid_t owner_start(char address[64])
{
	int fd[2];
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
		if (dup2(fd[1], OWNER_FD) == OWNER_FD)
			execl("/proc/self/exe", "test_store_replicas", rig.transport, rig.bind, "--owner", rig.key,
			      (char *)NULL);
		_exit(127);
	}
	assert_int_equal(read(fd[0], address, 64), 64);
	close(fd[0]);
	close(fd[1]);
	return pid;
}

struct getter {
	pthread_t thread;
	struct swarm_store *st;
	struct swarm_ref ref;
	uint64_t len, ns;
	int rc;
};

static void *get_thread(void *arg)
{
	struct getter *g = arg;
	const uint64_t begun = swi_now(swi_env_real());

	g->rc = rig_get(g->st, g->ref, g->len, TEST_LIMIT_NS);
	g->ns = swi_now(swi_env_real()) - begun;
	return NULL;
}

/* All of them at once by all stores. */
static void all_get_soon(struct swarm_store *const *st)
{
	struct getter g[OTHERS * OBJECTS * 2];

	for (uint32_t k = 0; k < SWI_ARRAY_LEN(g); k++) {
		const uint32_t i = k / 2 % OBJECTS;

		g[k] = (struct getter){.st = st[k / 2 / OBJECTS], .ref = ref_of(i, k & 1), .len = len_of[i]};
		assert_int_equal(pthread_create(&g[k].thread, NULL, get_thread, &g[k]), 0);
	}
	for (uint32_t k = 0; k < SWI_ARRAY_LEN(g); k++) {
		assert_int_equal(pthread_join(g[k].thread, NULL), 0);
		assert_int_equal(g[k].rc, 0);
		assert_true(g[k].ns < SOON_NS);
	}
}

static uint64_t sum(struct swarm_store *const *st, const char *name)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < OTHERS; i++)
		n += rig_stat(st[i], name);
	return n;
}

/* A store that was dialled learns of the other a moment later. */
static void wait_for_peers(struct swarm_store *const *st, uint64_t peers)
{
	const uint64_t end = swi_now(swi_env_real()) + TEST_LIMIT_NS;

	for (uint32_t i = 0; i < OTHERS; i++)
		while (rig_peers(st[i]) < peers && swi_now(swi_env_real()) < end)
			poll(NULL, 0, 1);
}

static void test_owner_killed(void **state)
{
	struct swarm_store *st[OTHERS];
	char address[64];
	const pid_t pid = owner_start(address);

	(void)state;
	for (uint32_t i = 0; i < OTHERS; i++) {
		st[i] = rig_open(2 + i, MIB(64), NULL);
		assert_int_equal(swarm_store_peer(st[i], address, TEST_LIMIT_NS), 0);
		for (uint32_t k = 0; k < i; k++)
			rig_join(st[i], st[k]);
	}
	wait_for_peers(st, OTHERS);
	for (uint32_t i = 0; i < 2 * OBJECTS; i++)
		assert_int_equal(swarm_store_replicate(st[i % OTHERS], ref_of(i / 2, i & 1), 3, TEST_LIMIT_NS), 0);
	assert_int_equal(sum(st, "replicas"), 2 * 2 * OBJECTS);
	assert_int_equal(sum(st, "fetches"), 2 * 2 * OBJECTS);
	for (uint32_t i = 0; i < 2 * OBJECTS; i++) /* by somebody else */
		assert_int_equal(swarm_store_replicate(st[(i + 1) % OTHERS], ref_of(i / 2, i & 1), 3, TEST_LIMIT_NS), 0);
	assert_int_equal(sum(st, "fetches"), 2 * 2 * OBJECTS);
	assert_int_equal(kill(pid, SIGKILL), 0);
	wait_child(pid);
	all_get_soon(st);
	assert_int_equal(sum(st, "digest_errors"), 0);
	for (uint32_t i = 0; i < OTHERS; i++) /* there are four left */
		assert_int_equal(swarm_store_replicate(st[i], ref_of(0, i & 1), 3, TEST_LIMIT_NS), 0);
	for (uint32_t i = 0; i < OTHERS; i++)
		swarm_store_close(st[i]);
}

/* Through the socket of a store's host, as another process would; and the plain mistakes. */
static void test_attached(void **state)
{
	char dir[128], why[256];
	struct swarm_store_opts o = {.size = sizeof(o),
				     .arena_bytes = MIB(16),
				     .bind = rig.bind,
				     .transport = rig.transport,
				     .key_file = rig.key,
				     .node = 11,
				     .dir = dir};
	struct swarm_store *a, *b = rig_open(12, MIB(16), NULL), *at;
	struct swarm_object_info row[4];
	struct swarm_ref ref;

	(void)state;
	snprintf(dir, sizeof(dir), "%s/run", rig.dir);
	assert_int_equal(swarm_store_open(&o, &a, why, sizeof(why)), 0);
	assert_int_equal(swarm_store_attach(dir, &at, why, sizeof(why)), 0);
	ref = rig_put(at, swarm_ref_new(at), 5000);
	assert_int_equal(swarm_store_replicate(at, ref, 1, TEST_LIMIT_NS), 0);
	assert_int_equal(swarm_store_replicate(at, ref, 2, TEST_LIMIT_NS), SWARM_EFEWNODES);
	assert_int_equal(swarm_store_replicate(at, ref, 0, TEST_LIMIT_NS), -EINVAL);
	assert_int_equal(swarm_store_replicate(at, ref, SWARM_COPIES_MAX + 1, TEST_LIMIT_NS), -EINVAL);
	rig_join(a, b);
	assert_int_equal(swarm_store_replicate(at, ref, 2, TEST_LIMIT_NS), 0);
	assert_int_equal(rig_get(b, ref, 5000, 0), 0);
	assert_int_equal(swarm_store_list(b, row, 4), 1);
	assert_true(row[0].flags & SWARM_OBJECT_PIN_SOFT);
	assert_false(row[0].flags & SWARM_OBJECT_SECONDARY);
	assert_int_equal(swarm_store_replicate(at, swarm_ref_new(at), 2, 50 * NS_PER_MS), -ENOENT);
	assert_int_equal(swarm_store_delete(at, ref), 0);
	const uint64_t end = swi_now(swi_env_real()) + TEST_LIMIT_NS;

	while (swarm_store_contains(b, ref) && swi_now(swi_env_real()) < end)
		sched_yield();
	assert_false(swarm_store_contains(b, ref));
	assert_int_equal(swarm_store_replicate(at, ref, 2, NS_PER_S), SWARM_EDELETED);
	swarm_store_close(at);
	swarm_store_close(a);
	swarm_store_close(b);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_owner_killed),
	    cmocka_unit_test(test_attached),
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
