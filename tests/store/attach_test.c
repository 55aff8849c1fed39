/* SPDX-License-Identifier: Apache-2.0 */
/* attach_test.c - who may attach, what a dead daemon means, and what a hostile client can do: nothing to others. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "store/snode_internal.h"
#include "tests/store/store_test.h"

/* ---- the daemon dies ---- */

static int daemon_process(const char *dir)
{
	struct swarm_store_opts o = {.size = sizeof(o), .arena_bytes = MIB(16), .dir = dir};
	struct swarm_store *st;
	char why[256];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (swarm_store_open(&o, &st, why, sizeof(why)))
		return 1;
	for (;;)
		pause();
}

static struct swarm_store *attach_soon(const char *dir)
{
	const uint64_t end = test_now() + TEST_LIMIT_NS;
	struct swarm_store *st;
	char why[256];
	int rc;

	while ((rc = swarm_store_attach(dir, &st, why, sizeof(why))) == SWARM_ENODAEMON)
		assert_true(test_now() < end);
	assert_int_equal(rc, 0);
	return st;
}

static void test_daemon_killed(void **state SWI_UNUSED)
{
	char dir[] = "/tmp/swarm-test-XXXXXX", why[256], text[64], *json;
	struct swarm_view v;
	struct swarm_buf b;
	struct swarm_store *st, *none;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(swarm_store_attach(dir, &none, why, sizeof(why)), SWARM_ENODAEMON);
	assert_non_null(strstr(why, dir));
	const pid_t pid = fork_child(daemon_process, dir);

	st = attach_soon(dir);
	assert_int_equal(swarm_store_put(st, numbered(1), "abc", 3, TEST_LIMIT_NS), 0);
	kill(pid, SIGKILL);
	assert_int_equal(wait_child(pid), 256 + SIGKILL);
	assert_int_equal(swarm_store_get(st, numbered(2), SWARM_FOREVER, &v), SWARM_ENODAEMON);
	assert_int_equal(swarm_store_create(st, numbered(3), MIB(1), SWARM_FOREVER, &b),
			 SWARM_ENODAEMON);
	assert_int_equal(swarm_store_status(st, &json), SWARM_ENODAEMON);
	assert_int_equal(swarm_store_explain(st, numbered(2), text, sizeof(text)), SWARM_ENODAEMON);
	assert_int_equal(swarm_store_get(st, numbered(1), 0, &v), 0); /* what is in memory stays readable */
	assert_memory_equal(v.data, "abc", 3);
	swarm_view_release(st, &v);
	swarm_store_close(st);
	assert_int_equal(swarm_store_attach(dir, &none, why, sizeof(why)), SWARM_ENODAEMON);
	/* A new one takes the directory over. */
	const pid_t again = fork_child(daemon_process, dir);

	st = attach_soon(dir);
	assert_int_equal(swarm_store_contains(st, numbered(1)), 0);
	swarm_store_close(st);
	kill(again, SIGKILL);
	wait_child(again);
	remove_dir(dir);
}

/* ---- the local path ---- */

#define LOCAL_ROUNDS 20u /* their objects fit into the chunk that the first put has got */
#define LOCAL_BYTES  64u
#define NO_SECCOMP   77

/* From here on any system call but the end of the process kills it (SIGSYS). */
static bool forbid_calls(void)
{
	struct sock_filter f[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	const struct sock_fprog prog = {.len = SWI_ARRAY_LEN(f), .filter = f};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* @forbidden: the process asks the kernel for something after all, and the filter has to notice it. */
static int local_client(const char *dir, bool forbidden)
{
	struct swarm_store *st = attach_soon(dir);
	const struct swarm_ref first = numbered(forbidden ? 1 : 2);
	struct swarm_view v;
	struct swarm_buf b;

	if (swarm_store_put(st, first, "abc", 3, TEST_LIMIT_NS) || swarm_store_get(st, first, 0, &v))
		return 1;
	swarm_view_release(st, &v);
	if (!forbid_calls())
		_exit(NO_SECCOMP);
	if (forbidden)
		(void)getppid();
	for (uint32_t i = 0; i < LOCAL_ROUNDS; i++) {
		if (swarm_store_create(st, numbered(100 + i), LOCAL_BYTES, 0, &b))
			_exit(2);
		memset(b.data, (int)i, LOCAL_BYTES);
		if (swarm_store_seal(st, &b) || swarm_store_contains(st, numbered(100 + i)) != 1 ||
		    swarm_store_contains(st, numbered(99)) || swarm_store_get(st, numbered(100 + i), 0, &v))
			_exit(3);
		if (v.len != LOCAL_BYTES || ((const uint8_t *)v.data)[LOCAL_BYTES - 1] != (uint8_t)i)
			_exit(4);
		swarm_view_release(st, &v);
	}
	_exit(0);
}

static int local_allowed(const char *dir)
{
	return local_client(dir, false);
}

static int local_forbidden(const char *dir)
{
	return local_client(dir, true);
}

/* Finding, pinning, releasing, and creating out of the chunk: no system call. */
static void test_local_path_is_without_the_kernel(void **state SWI_UNUSED)
{
	char dir[] = "/tmp/swarm-test-XXXXXX";

#if defined(__SANITIZE_ADDRESS__)
	skip(); /* AddressSanitizer asks the kernel for things of its own */
#endif
	assert_non_null(mkdtemp(dir));
	const pid_t pid = fork_child(daemon_process, dir);
	const int seen = wait_child(fork_child(local_forbidden, dir));
	const int rc = wait_child(fork_child(local_allowed, dir));

	kill(pid, SIGKILL);
	wait_child(pid);
	remove_dir(dir);
	if (seen == NO_SECCOMP) {
		printf("no system call can be forbidden here\n");
		skip();
	}
	assert_int_equal(seen, 256 + SIGSYS);
	assert_int_equal(rc, 0);
}

/* ---- the daemon stands still ---- */

#define STILL_NS (SWI_LC_GRACE_NS + NS_PER_S / 2)

static void *go_on(void *pid)
{
	const struct timespec still = {.tv_sec = STILL_NS / NS_PER_S, .tv_nsec = STILL_NS % NS_PER_S};

	nanosleep(&still, NULL);
	kill(*(pid_t *)pid, SIGCONT);
	return NULL;
}

/* Whoever has time waits for it: also when room for several objects is asked for ahead. */
static void test_daemon_stopped(void **state SWI_UNUSED)
{
	char dir[] = "/tmp/swarm-test-XXXXXX";
	struct swarm_buf b;
	pthread_t t;

	assert_non_null(mkdtemp(dir));
	pid_t pid = fork_child(daemon_process, dir);
	struct swarm_store *st = attach_soon(dir);
	const uint64_t began = test_now();

	for (uint32_t i = 0; i < 40; i++) {
		if (i == 10) {
			kill(pid, SIGSTOP);
			assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid); /* it stands */
			assert_int_equal(pthread_create(&t, NULL, go_on, &pid), 0);
		}
		assert_int_equal(swarm_store_create(st, numbered(i), KIB(64), TEST_LIMIT_NS, &b), 0);
		assert_int_equal(swarm_store_seal(st, &b), 0);
	}
	assert_true(test_now() - began >= STILL_NS); /* the node was needed in that time */
	assert_int_equal(pthread_join(t, NULL), 0);
	swarm_store_close(st);
	kill(pid, SIGKILL);
	wait_child(pid);
	remove_dir(dir);
}

/* ---- who may attach ---- */

static void test_one_store_a_directory(void **state SWI_UNUSED)
{
	struct swarm_store_opts o = {.size = sizeof(o), .arena_bytes = MIB(16), .dir = test_dir};
	struct swarm_store *st;
	char why[256];

	assert_int_equal(swarm_store_open(&o, &st, why, sizeof(why)), -EBUSY);
	assert_non_null(strstr(why, test_dir));
	o.arena_bytes = 1ull << 50;
	o.dir = NULL;
	assert_int_equal(swarm_store_open(&o, &st, why, sizeof(why)), -ENOMEM);
	assert_non_null(strstr(why, "arena"));
	o.size = 3;
	assert_int_equal(swarm_store_open(&o, &st, why, sizeof(why)), -EINVAL);
}

static int other_user(const char *dir)
{
	struct swarm_store *st;
	char why[256];

	if (setgid(65534) || setuid(65534))
		return 77;
	return swarm_store_attach(dir, &st, why, sizeof(why)) == -EACCES ? 0 : 1;
}

static void test_other_user(void **state SWI_UNUSED)
{
	char path[128];

	if (geteuid() != 0)
		skip();
	assert_int_equal(wait_child(fork_child(other_user, test_dir)), 0); /* by the directory's mode */
	chmod(test_dir, 0755);
	snprintf(path, sizeof(path), "%s/swarm.sock", test_dir);
	chmod(path, 0777);
	assert_int_equal(wait_child(fork_child(other_user, test_dir)), 0); /* by what the kernel says of it */
}

static int raw_connect(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	const int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_int_equal(swi_sock_path(test_dir, sa.sun_path, sizeof(sa.sun_path)), 0);
	assert_int_equal(connect(s, (void *)&sa, sizeof(sa)), 0);
	return s;
}

static void test_bad_hello(void **state)
{
	struct swi_hello hello = {.magic = SWI_HELLO_MAGIC, .version = SWI_SHM_VERSION + 1};
	struct swi_welcome wel;
	int fds[SWI_FD_COUNT];
	uint32_t n;
	int s = raw_connect();

	assert_int_equal(swi_sock_send(s, &hello, sizeof(hello), NULL, 0), 0);
	assert_int_equal(swi_sock_recv(s, &wel, sizeof(wel), fds, SWI_FD_COUNT, &n), 0);
	assert_int_equal(wel.status, SWARM_EVERSION);
	assert_int_equal(n, 0);
	close(s);
	s = raw_connect();
	assert_int_equal(swi_sock_send(s, "nonsense", 8, NULL, 0), 0);
	assert_int_equal(swi_sock_recv(s, &wel, sizeof(wel), fds, SWI_FD_COUNT, &n), -ECONNRESET);
	close(s);
	s = raw_connect(); /* a role that nobody here knows */
	hello.version = SWI_SHM_VERSION;
	hello.role = 9;
	assert_int_equal(swi_sock_send(s, &hello, sizeof(hello), NULL, 0), 0);
	assert_int_equal(swi_sock_recv(s, &wel, sizeof(wel), fds, SWI_FD_COUNT, &n), 0);
	assert_int_equal(wel.status, -EINVAL);
	close(s);
	assert_int_equal(status_number(*state, "clients"), 1);
}

/* ---- hostile clients ---- */

/* The node closes the socket of a client that it cuts off. */
static int cut_off(struct swarm_store *st)
{
	struct pollfd p = {.fd = st->at.sock, .events = POLLIN | POLLRDHUP};
	const int n = poll(&p, 1, TEST_LIMIT_MS);

	swarm_store_close(st);
	return n == 1 ? 0 : 3;
}

static struct swarm_store *hostile_attach(const char *dir)
{
	struct swarm_store *st;
	char why[256];

	if (swarm_store_attach(dir, &st, why, sizeof(why)))
		_exit(2);
	return st;
}

static int hostile_ring(const char *dir)
{
	struct swarm_store *st = hostile_attach(dir);
	struct swi_lc *lc = swi_store_lc(st);

	memset(lc->req.ring->data, 0xff, SWI_RING_REQ);
	atomic_store(&lc->req.ring->tail, UINT64_MAX / 2);
	swi_attach_ring(&st->at);
	return cut_off(st);
}

/* Random bytes as messages of every type, until it is cut off. */
static int hostile_messages(const char *dir)
{
	uint64_t seed = 1;

	for (uint32_t i = 0; i < 60; i++) {
		struct swarm_store *st = hostile_attach(dir);
		struct swi_lc *lc = swi_store_lc(st);
		uint8_t body[64];

		for (uint32_t k = 0; k < 8; k++) {
			for (uint32_t j = 0; j < sizeof(body); j++)
				body[j] = (uint8_t)(swi_splitmix64(&seed) & (k & 1 ? 0xff : 0x0f));
			(void)!swi_lc_try_post(lc, (uint16_t)(i % 0x0d + 1), body,
					       (uint32_t)(swi_splitmix64(&seed) % sizeof(body)), NULL);
		}
		swarm_store_close(st);
	}
	return 0;
}

static int post_bad(const char *dir, uint16_t type, uint64_t a, uint64_t b)
{
	struct swarm_store *st = hostile_attach(dir);
	uint8_t body[16];
	struct swi_wr w = swi_wr_init(body, sizeof(body));

	swi_wr_u64(&w, a);
	if (type == SWI_L_CHUNK_DONE)
		swi_wr_u64(&w, b);
	(void)!swi_lc_try_post(swi_store_lc(st), type, body, w.len, NULL);
	return cut_off(st);
}

static int hostile_grant(const char *dir)
{
	return post_bad(dir, SWI_L_CHUNK_DONE, 0, 0); /* the first chunk is another's */
}

static int hostile_grant_far(const char *dir)
{
	return post_bad(dir, SWI_L_CHUNK_DONE, UINT64_MAX - 4095, UINT64_MAX);
}

static int hostile_held(const char *dir)
{
	return post_bad(dir, SWI_L_HELD_DONE, 4096, 0);
}

/* Headers, pins, intents and slots full of nonsense; then it dies. */
static int hostile_memory(const char *dir)
{
	struct swarm_store *st = hostile_attach(dir);
	struct swi_lc *lc = swi_store_lc(st);
	struct swarm_buf b[20];
	uint64_t seed = 7;

	for (uint32_t i = 0; i < 20; i++)
		if (swarm_store_create(st, numbered(5000 + i), 100, TEST_LIMIT_NS, &b[i]))
			return 4;
	for (uint32_t i = 0; i < 10; i++) { /* lengths that lead out of the chunk and of the arena */
		struct swi_object_head *h = (void *)((uint8_t *)b[i].data - sizeof(*h));

		h->len = i % 2 ? UINT64_MAX - 10 : swi_splitmix64(&seed) >> (i * 4);
	}
	for (uint32_t i = 0; i < 20; i++)
		(void)!swarm_store_seal(st, &b[i]);
	atomic_store(&lc->shm->pin_high, UINT32_MAX);
	for (uint32_t i = 0; i < SWI_PIN_SLOTS; i++)
		atomic_store(&lc->shm->pin[i], swi_splitmix64(&seed));
	for (uint32_t i = 0; i < SWI_INTENT_SLOTS; i++)
		atomic_store(&lc->shm->intent[i].what, swi_splitmix64(&seed) >> (i % 64));
	for (uint32_t i = 0; i < 64; i++) { /* slots that lead nowhere, in every state */
		struct swi_slot *s = &lc->index.slots[swi_splitmix64(&seed) % swi_index_slots(&lc->index)];

		if (atomic_load(&s->word) == 0) {
			atomic_store(&s->key, swi_splitmix64(&seed));
			atomic_store(&s->word, (uint64_t)(i % 4) << 62 | swi_splitmix64(&seed) >> (8 + i % 40));
		}
	}
	for (uint32_t i = 0; i < 20; i++)
		(void)swarm_store_delete(st, numbered(5000 + i));
	swarm_store_close(st); /* the node undoes what it can make sense of */
	return 0;
}

static void survive(struct swarm_store *st, int (*hostile)(const char *dir))
{
	struct swarm_object_info rows[4];
	struct swarm_view v;

	assert_int_equal(swarm_store_put(st, numbered(1), "mine", 4, TEST_LIMIT_NS), 0);
	assert_int_equal(wait_child(fork_child(hostile, test_dir)), 0);
	assert_int_equal(swarm_store_get(st, numbered(1), 0, &v), 0);
	assert_memory_equal(v.data, "mine", 4);
	swarm_view_release(st, &v);
	assert_true(swarm_store_list(st, rows, 4) >= 1);
	while (status_number(st, "clients") != 1)
		sched_yield();
	assert_int_equal(swarm_store_put(st, numbered(2), "more", 4, TEST_LIMIT_NS), 0);
	assert_int_equal(swarm_store_get(st, numbered(2), TEST_LIMIT_NS, &v), 0);
	swarm_view_release(st, &v);
}

/* A client that writes past the end of a buffer harms the next object, and no other. */
static int overrun(const char *dir)
{
	struct swarm_store *st = hostile_attach(dir);
	struct swarm_buf b[6];

	for (uint32_t i = 0; i < 6; i++) {
		if (swarm_store_create(st, numbered(100 + i), 64, TEST_LIMIT_NS, &b[i]))
			return 4;
		fill(b[i].data, 64, i);
	}
	memset(b[1].data, 0xee, 64 + 64); /* the header of number 2 */
	for (uint32_t i = 0; i < 6; i++)
		if (swarm_store_seal(st, &b[i]))
			return 5;
	raise(SIGKILL);
	return 6;
}

static void test_overrun(void **state)
{
	struct swarm_store *st = *state;
	const uint64_t used = arena_used(st);
	struct swarm_view v;

	assert_int_equal(wait_child(fork_child(overrun, test_dir)), 256 + SIGKILL);
	while (status_number(st, "clients") != 1)
		sched_yield();
	for (uint64_t i = 0; i < 200; i++) /* whatever was freed is written over */
		assert_int_equal(swarm_store_put(st, numbered(1000 + i), &i, sizeof(i), TEST_LIMIT_NS), 0);
	for (uint64_t i = 0; i < 6; i++) {
		const int rc = swarm_store_get(st, numbered(100 + i), 0, &v);

		assert_int_equal(rc, i == 2 ? -ENOENT : 0);
		if (rc)
			continue;
		assert_true(i == 1 || filled(v.data, 64, i));
		swarm_view_release(st, &v);
		assert_int_equal(swarm_store_delete(st, numbered(100 + i)), 0);
	}
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(swarm_store_delete(st, numbered(1000 + i)), 0);
	assert_true(arena_settles(st, used + swi_store_lc(st)->index.head->chunk_bytes));
}

static void test_hostile_ring(void **state)
{
	survive(*state, hostile_ring);
	assert_true(status_number(*state, "client_errors") > 0);
}

static void test_hostile_messages(void **state)
{
	survive(*state, hostile_messages);
}

static void test_hostile_grant(void **state)
{
	survive(*state, hostile_grant);
	assert_int_equal(wait_child(fork_child(hostile_grant_far, test_dir)), 0);
	assert_int_equal(wait_child(fork_child(hostile_held, test_dir)), 0);
	assert_true(status_number(*state, "client_errors") >= 3);
}

static void test_hostile_memory(void **state)
{
	survive(*state, hostile_memory);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_store, close_store)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_daemon_killed),
	    cmocka_unit_test(test_daemon_stopped),
	    cmocka_unit_test(test_local_path_is_without_the_kernel),
	    T(test_one_store_a_directory),
	    T(test_other_user),
	    T(test_bad_hello),
	    T(test_overrun),
	    T(test_hostile_ring),
	    T(test_hostile_messages),
	    T(test_hostile_grant),
	    T(test_hostile_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
