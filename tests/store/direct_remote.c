/* SPDX-License-Identifier: Apache-2.0 */
/*
 * direct_remote.c - gets by READ alone over a real transport: how many READs and messages they take, bytes that do
 * not match their digest, and a reader that is stopped while its owner reuses everything.
 * test_store_direct [TRANSPORT [HOST:PORT]].
 */
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>

#include "store/shm.h"
#include "tests/store/remote_rig.h"
#include "transport/base/xxh.h"

#define OBJECTS	 400u
#define PIPE_SMALL 4096
#define LEN	 50000u
#define PIPE_FD	 3

static struct swarm_ref ref_of(uint64_t set, uint64_t i)
{
	return (struct swarm_ref){.id = {{set, i + 1}}, .home = 1};
}

/* READs that the transport posted and messages that it sent. */
static void net(struct swarm_store *st, uint64_t *out_reads, uint64_t *out_msgs)
{
	char *text;
	json_t *o, *t;

	assert_int_equal(swarm_store_status(st, &text), 0);
	o = json_loads(text, 0, NULL);
	t = json_object_get(o, "transport");
	assert_true(json_is_integer(json_object_get(t, "reads_posted")) && json_is_integer(json_object_get(t, "msgs_sent")));
	*out_reads = (uint64_t)json_integer_value(json_object_get(t, "reads_posted"));
	*out_msgs = (uint64_t)json_integer_value(json_object_get(t, "msgs_sent"));
	json_decref(o);
	free(text);
}

struct cost {
	uint64_t fetches, warm, cold, message, reads, messages, posted, sent;
};

static struct cost count(struct swarm_store *st)
{
	struct cost c = {.fetches = rig_stat(st, "fetches"),
			 .warm = rig_stat(st, "warm_gets"),
			 .cold = rig_stat(st, "cold_gets"),
			 .message = rig_stat(st, "message_gets"),
			 .reads = rig_stat(st, "get_reads"),
			 .messages = rig_stat(st, "get_messages")};

	net(st, &c.posted, &c.sent);
	return c;
}

static struct cost minus(struct cost a, struct cost b)
{
	return (struct cost){a.fetches - b.fetches, a.warm - b.warm,	     a.cold - b.cold,
			     a.message - b.message, a.reads - b.reads,	     a.messages - b.messages,
			     a.posted - b.posted,   a.sent - b.sent};
}

static struct cost round_of_gets(struct swarm_store *st)
{
	const struct cost before = count(st);

	for (uint64_t i = 0; i < OBJECTS; i++)
		assert_int_equal(rig_get(st, ref_of(1, i), LEN, 10 * NS_PER_S), 0);
	return minus(count(st), before);
}

/* The reader's arena has room for a third of the objects: a round of gets finds (nearly) nothing there. */
static void test_counts(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(64), NULL), *b = rig_open(2, MIB(8), NULL);
	struct cost c;

	(void)state;
	rig_join(a, b);
	rig_put(b, (struct swarm_ref){.id = {{7, 7}}, .home = 2}, 100);
	assert_int_equal(rig_get(a, (struct swarm_ref){.id = {{7, 7}}, .home = 2}, 100, 10 * NS_PER_S), 0);
	for (uint64_t i = 0; i < OBJECTS; i++)
		rig_put(a, ref_of(1, i), LEN);
	c = round_of_gets(b);
	assert_int_equal(c.fetches, OBJECTS);
	assert_true(c.cold >= OBJECTS - 2); /* one pair of slots in a thousand may have passed one on */
	if (c.message == 0) {
		assert_int_equal(c.cold, OBJECTS);
		assert_int_equal(c.reads, 2 * OBJECTS);
		assert_int_equal(c.posted, 2 * OBJECTS);
		assert_int_equal(c.messages, 0);
	}
	for (int i = 0; i < 3; i++) {
		c = round_of_gets(b);
		assert_true(c.fetches >= OBJECTS / 2);
		assert_int_equal(c.warm, c.fetches);
		assert_int_equal(c.reads, c.fetches);
		assert_int_equal(c.posted, c.fetches);
		assert_int_equal(c.messages, 0);
		/* What is sent tells the home of copies that came and went, many in one message; and answers pings. */
		print_message("%u gets: %u fetched, %u READs, %u messages for them, %u batches of rows\n",
			      OBJECTS, (unsigned int)c.fetches, (unsigned int)c.reads,
			      (unsigned int)c.messages, (unsigned int)c.sent);
	}
	assert_int_equal(rig_stat(b, "direct_misses"), 0);
	assert_int_equal(rig_stat(b, "digest_errors"), 0);
	swarm_store_close(a);
	swarm_store_close(b);
}

/* ---- bytes that do not match their digest ---- */

#define SIZES 7u
static const uint64_t size_of[SIZES] = {100, 20000, 65536, 300001, MIB(1) - 64, MIB(1), MIB(3) + 77};

/* The payload in its owner's own memory, with the digest that a lease, a spill or another reader would have made. */
static uint8_t *with_digest(struct swarm_store *a, struct swarm_ref ref)
{
	struct swi_object_head *h;
	struct swarm_view v;

	assert_int_equal(swarm_store_get(a, ref, 0, &v), 0);
	h = (struct swi_object_head *)(uintptr_t)v.data - 1;
	atomic_store(&h->digest, XXH3_64bits(v.data, v.len));
	__atomic_or_fetch(&h->flags, SWI_OBJ_F_DIGEST, __ATOMIC_RELAXED); /* the node may be looking */
	swarm_view_release(a, &v);
	return (uint8_t *)(h + 1);
}

/* Round 0: all is well. 1: the first byte is wrong, 2: one in the middle, 3: the last. */
static struct swarm_ref spoiled(struct swarm_store *a, uint64_t round, uint64_t i)
{
	const struct swarm_ref ref = ref_of(10 + round, i);
	const uint64_t at[] = {0, 0, size_of[i] / 2, size_of[i] - 1};
	uint8_t *bytes;

	rig_put(a, ref, size_of[i]);
	bytes = with_digest(a, ref);
	bytes[at[round]] ^= round ? 0x10 : 0;
	return ref;
}

/* It is tried again and again, as another copy may turn up; never is a wrong byte given out. */
static void get_refused(struct swarm_store *b, struct swarm_ref ref, uint64_t len)
{
	const uint64_t before = rig_stat(b, "digest_errors"), end = test_now() + TEST_LIMIT_NS;

	do { /* on a busy machine a get may end before it has read anything */
		assert_int_not_equal(rig_get(b, ref, len, 100 * NS_PER_MS), 0);
	} while (rig_stat(b, "digest_errors") == before && test_now() < end);
	assert_true(rig_stat(b, "digest_errors") > before);
}

static void test_wrong_bytes(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(64), NULL), *b = rig_open(2, MIB(8), NULL);
	uint32_t gone = 0;

	(void)state;
	rig_join(a, b);
	for (uint64_t i = 0; i < SIZES; i++)
		assert_int_equal(rig_get(b, spoiled(a, 0, i), size_of[i], 10 * NS_PER_S), 0);
	assert_int_equal(rig_stat(b, "digest_errors"), 0);
	for (uint64_t round = 1; round < 4; round++)
		for (uint64_t i = 0; i < SIZES; i++)
			get_refused(b, spoiled(a, round, i), size_of[i]);
	/* Warm: what was right when it was got before, and has left since. */
	for (uint64_t i = 0; i < 2 * OBJECTS / 3; i++) {
		rig_put(a, ref_of(5, i), LEN);
		assert_int_equal(rig_get(b, ref_of(5, i), LEN, 10 * NS_PER_S), 0);
	}
	for (uint64_t i = 0; i < SIZES; i++) {
		const struct swarm_ref ref = ref_of(10, i);
		const struct cost before = count(b);

		if (swarm_store_contains(b, ref))
			continue;
		assert_int_equal(rig_get(b, ref, size_of[i], 10 * NS_PER_S), 0);
		assert_int_equal(minus(count(b), before).warm, size_of[i] <= MIB(1));
	}
	for (uint64_t i = 0; i < 2 * OBJECTS / 3; i++)
		(void)rig_get(b, ref_of(5, i), LEN, 10 * NS_PER_S);
	for (uint64_t i = 0; i < SIZES; i++) {
		if (swarm_store_contains(b, ref_of(10, i)))
			continue;
		with_digest(a, ref_of(10, i))[size_of[i] - 1] ^= 1; /* the digest is that of before */
		get_refused(b, ref_of(10, i), size_of[i]);
		gone++;
	}
	assert_true(gone >= SIZES - 2);
	swarm_store_close(a);
	swarm_store_close(b);
}

/* ---- a reader that is stopped ---- */

/* A process of its own: gets all the time, checks every byte, tells how many it got. */
static int reader(const char *address)
{
	struct swarm_store *b;
	uint64_t got = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	b = rig_open(2, MIB(8), NULL);
	if (swarm_store_peer(b, address, 10 * NS_PER_S))
		return 2;
	for (uint64_t i = 0;; i++) {
		struct swarm_view v;
		const struct swarm_ref ref = ref_of(2, i % OBJECTS);

		if (swarm_store_get(b, ref, 20 * NS_PER_MS, &v))
			continue; /* deleted, or the connection is being made again */
		if (v.len != LEN || !filled(v.data, LEN, ref.id.w[0] ^ ref.id.w[1]))
			return 3;
		swarm_view_release(b, &v);
		if (++got % 16 == 0 && write(PIPE_FD, &got, sizeof(got)) != sizeof(got))
			return 0;
	}
}

static pid_t reader_start(int fd, const char *address)
{
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	if (dup2(fd, PIPE_FD) == PIPE_FD)
		execl("/proc/self/exe", "test_store_direct", rig.transport ? rig.transport : "ofi",
		      rig.bind ? rig.bind : "127.0.0.1:0", "--reader", rig.key, address, (char *)NULL);
	_exit(127);
}

/* What it reads is there, and it has begun; it tells over @fd[0], whose pipe is small. */
static pid_t reader_begin(struct swarm_store *a, int fd[2])
{
	pid_t pid;

	for (uint64_t i = 0; i < OBJECTS; i++)
		rig_put(a, ref_of(2, i), LEN);
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(fcntl(fd[1], F_SETPIPE_SZ, PIPE_SMALL), PIPE_SMALL);
	pid = reader_start(fd[1], swarm_store_address(a));
	close(fd[1]);
	return pid;
}

static uint64_t wait_gets(int fd, uint64_t more)
{
	uint64_t got = 0, first = 0;

	do {
		assert_int_equal(read(fd, &got, sizeof(got)), sizeof(got));
		first = first ? first : got;
	} while (got < first + more);
	return got;
}

static void test_stopped_reader(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(32), NULL);
	uint64_t begin, stopped, worst = 0;
	int fd[2], status;
	pid_t pid;

	(void)state;
	pid = reader_begin(a, fd);
	for (int round = 0; round < 2; round++) {
		wait_gets(fd[0], 1000);
		stopped = test_now();
		assert_int_equal(kill(pid, SIGSTOP), 0);
		/* Everything is given back and written again: after the reader was cut off, not before. */
		for (uint64_t i = 0; i < OBJECTS; i++)
			assert_int_equal(swarm_store_delete(a, ref_of(2, i)), 0);
		for (uint64_t i = 0; i < 2 * OBJECTS; i++) {
			begin = test_now();
			rig_put(a, ref_of(3, i), LEN); /* waits for room up to 10 s */
			worst = swi_max_u64(worst, test_now() - begin);
			if (i >= 300)
				assert_int_equal(swarm_store_delete(a, ref_of(3, i - 300)), 0);
		}
		assert_true(test_now() - stopped > NS_PER_S); /* a slow machine waits for a part of it in the deletes */
		assert_true(worst < 5 * TEST_PATIENCE * NS_PER_S);
		for (uint64_t i = 500; i < 2 * OBJECTS; i++)
			assert_int_equal(swarm_store_delete(a, ref_of(3, i)), 0);
		for (uint64_t i = 0; i < OBJECTS; i++)
			rig_put(a, ref_of(2, i), LEN);
		assert_int_equal(kill(pid, SIGCONT), 0);
		wait_gets(fd[0], 1000);
		assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it saw no wrong byte */
	}
	print_message("longest wait for room beside a stopped reader: %u ms\n",
		      (unsigned int)(worst / NS_PER_MS));
	assert_int_equal(kill(pid, SIGKILL), 0);
	wait_child(pid);
	close(fd[0]);
	swarm_store_close(a);
}

static void wait_peers(struct swarm_store *st, uint64_t n)
{
	const uint64_t end = test_now() + TEST_LIMIT_NS;

	while (rig_peers(st) != n) {
		assert_true(test_now() < end);
		poll(NULL, 0, 1);
	}
}

/* Stopped until the owner has given it up, it comes back under its old name, without being told to. */
static void test_reader_returns(void **state)
{
	struct swarm_store *a = rig_open(1, MIB(32), NULL);
	int fd[2], status;
	pid_t pid;

	(void)state;
	pid = reader_begin(a, fd);
	wait_gets(fd[0], 100);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	wait_peers(a, 0);
	for (uint64_t i = 0; i < OBJECTS; i++) { /* it must come for them again */
		assert_int_equal(swarm_store_delete(a, ref_of(2, i)), 0);
		rig_put(a, ref_of(2, i), LEN);
	}
	assert_int_equal(kill(pid, SIGCONT), 0);
	wait_peers(a, 1);
	/* What it wrote before it was stopped is in the pipe: more than that holds. */
	wait_gets(fd[0], PIPE_SMALL / sizeof(uint64_t) * 16 + 1000);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	wait_child(pid);
	close(fd[0]);
	swarm_store_close(a);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_counts),
	    cmocka_unit_test(test_wrong_bytes),
	    cmocka_unit_test(test_stopped_reader),
	    cmocka_unit_test(test_reader_returns),
	};

	if (argc > 1)
		rig.transport = argv[1];
	if (argc > 2)
		rig.bind = argv[2];
	if (argc > 5 && !strcmp(argv[3], "--reader")) {
		snprintf(rig.key, sizeof(rig.key), "%s", argv[4]);
		return reader(argv[5]);
	}
	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
