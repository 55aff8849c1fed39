/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill_test.c - processes killed at random points of create, seal, get, release and delete.
 *
 * After each death: the memory that was not sealed comes back, no slot stays CLAIMED or DEAD, pins
 * of the dead count for nothing, and a survivor that works all the time never waits. Argument: number of kills.
 */
#include <pthread.h>
#include <signal.h>

#include "store/snode_internal.h"
#include "tests/store/store_test.h"

#define IDS 64u /* few: the victims and the survivor meet in the same slots */

static uint32_t kills = 1000;

static void one_round(struct swarm_store *st, uint64_t *seed, struct swarm_view *held, uint32_t *n)
{
	const uint64_t r = swi_splitmix64(seed);
	const struct swarm_ref ref = numbered(r % IDS);
	struct swarm_view v;
	struct swarm_buf b;

	switch (r >> 8 & 7) {
	case 0:
	case 1:
		(void)swarm_store_delete(st, ref);
		break;
	case 2:
		if (*n < 32 && !swarm_store_get(st, ref, 0, &v))
			held[(*n)++] = v;
		break;
	case 3:
		if (*n)
			swarm_view_release(st, &held[--*n]);
		break;
	default: {
		const uint64_t len = (r >> 16 & 63) == 0 ? KIB(70) : r >> 16 & 1023;

		if (swarm_store_create(st, ref, len, TEST_LIMIT_NS, &b))
			break;
		fill(b.data, len, ref.id.w[1] + len);
		if ((r >> 32 & 15) == 0)
			swarm_store_abort(st, &b);
		else
			(void)!swarm_store_seal(st, &b);
	}
	}
}

/* Works until it is killed. Says over the pipe when it begins. */
static void victim(int tell, uint64_t seed)
{
	struct swarm_store *st;
	struct swarm_view held[32];
	uint32_t n = 0;
	char why[256];

	if (swarm_store_attach(test_dir, &st, why, sizeof(why)))
		_exit(1);
	if (write(tell, "x", 1) != 1)
		_exit(2);
	for (;;)
		one_round(st, &seed, held, &n);
}

struct survivor {
	struct swarm_store *st;
	_Atomic bool stop;
	uint64_t rounds, worst_ns, bad;
};

static void *survive(void *arg)
{
	struct survivor *s = arg;
	uint64_t seed = 99;

	while (!atomic_load(&s->stop)) {
		const struct swarm_ref ref = numbered(swi_splitmix64(&seed) % IDS);
		const uint64_t began = test_now();
		struct swarm_view v;

		if (swarm_store_get(s->st, ref, 0, &v) == 0) {
			s->bad += !filled(v.data, v.len, ref.id.w[1] + v.len);
			swarm_view_release(s->st, &v);
		} else {
			uint8_t data[200];

			fill(data, sizeof(data), ref.id.w[1] + sizeof(data));
			const int rc = swarm_store_put(s->st, ref, data, sizeof(data), TEST_LIMIT_NS);

			s->bad += rc != 0 && rc != -EEXIST;
		}
		s->worst_ns = swi_max_u64(s->worst_ns, test_now() - began);
		s->rounds++;
		if (s->rounds % 64 == 0)
			sched_yield();
	}
	return NULL;
}

static uint64_t slots_in(struct swarm_store *st, enum swi_slot_state a, enum swi_slot_state b)
{
	const struct swi_index *ix = &swi_store_lc(st)->index;
	uint64_t n = 0;

	for (uint64_t i = 0; i < swi_index_slots(ix); i++) {
		const enum swi_slot_state s = swi_slot_state(swi_index_word(ix, i));

		n += s == a || s == b;
	}
	return n;
}

static pid_t start_victim(uint64_t seed)
{
	int p[2];
	char byte;

	assert_int_equal(pipe(p), 0);
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		close(p[0]);
		victim(p[1], seed);
	}
	close(p[1]);
	assert_int_equal(read(p[0], &byte, 1), 1);
	close(p[0]);
	return pid;
}

static void wait_clients(struct swarm_store *st, uint64_t n, uint64_t *worst)
{
	const uint64_t began = test_now();

	while (status_number(st, "clients") != n)
		assert_true(test_now() - began < TEST_LIMIT_NS);
	*worst = swi_max_u64(*worst, test_now() - began);
}

static void test_kills(void **state)
{
	struct survivor s = {.st = *state};
	uint64_t seed = 4711, worst = 0;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, survive, &s), 0);
	for (uint32_t i = 0; i < kills; i++) {
		const pid_t a = start_victim(swi_splitmix64(&seed));
		const pid_t b = i % 4 == 0 ? start_victim(swi_splitmix64(&seed)) : 0;
		const uint64_t until = test_now() + swi_splitmix64(&seed) % (2 * NS_PER_MS);

		while (test_now() < until)
			sched_yield();
		kill(a, SIGKILL);
		if (b)
			kill(b, SIGKILL);
		assert_int_equal(wait_child(a), 256 + SIGKILL);
		if (b)
			assert_int_equal(wait_child(b), 256 + SIGKILL);
		wait_clients(s.st, 1, &worst);
	}
	atomic_store(&s.stop, true);
	pthread_join(t, NULL);
	print_message("%u deaths; undone after at most %.1f ms (its end and our question included); "
		      "the survivor: %llu rounds, slowest %.1f ms\n",
		      kills, (double)worst / 1e6, (unsigned long long)s.rounds,
		      (double)s.worst_ns / 1e6);
	assert_int_equal(s.bad, 0);
	assert_int_equal(slots_in(s.st, SWI_SLOT_CLAIMED, SWI_SLOT_DEAD), 0);
	assert_int_equal(status_number(s.st, "client_errors"), 0);
	assert_int_equal(status_number(s.st, "holds"), 0);
	assert_int_equal(status_number(s.st, "pins"), 0);
	for (uint64_t i = 0; i < IDS; i++)
		assert_int_equal(swarm_store_delete(s.st, numbered(i)), 0);
	/* Only the survivor's own chunk is left: nothing leaked, whatever was killed where. */
	assert_true(arena_settles(s.st, swi_store_lc(s.st)->index.head->chunk_bytes));
	assert_int_equal(slots_in(s.st, SWI_SLOT_SEALED, SWI_SLOT_DEAD), 0);
	assert_int_equal(status_number(s.st, "objects"), 0);
	assert_int_equal(swarm_store_list(s.st, NULL, 0), 0);
}

/* A process that is stopped inside a seal delays nobody who wants the same id. */
static void test_stopped_claim(void **state)
{
	struct swarm_store *st = *state;
	const struct swi_index *ix = &swi_store_lc(st)->index;
	const uint64_t key = swi_index_key(numbered(1).id);
	struct swi_slot *slot = &ix->slots[swi_index_home(ix, key) * SWI_SLOTS_PER_PAIR];
	struct swarm_view v;

	atomic_store(&slot->key, key);
	atomic_store(&slot->word, swi_slot_word(SWI_SLOT_CLAIMED, 77, 4096));
	assert_int_equal(swarm_store_put(st, numbered(1), "abc", 3, TEST_LIMIT_NS), 0);
	assert_int_equal(swarm_store_get(st, numbered(1), 0, &v), 0);
	assert_memory_equal(v.data, "abc", 3);
	swarm_view_release(st, &v);
	assert_int_equal(swi_slot_state(atomic_load(&slot->word)), SWI_SLOT_EMPTY);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_stopped_claim, open_store, close_store),
	    cmocka_unit_test_setup_teardown(test_kills, open_store, close_store),
	};

	if (argc > 1)
		kills = (uint32_t)strtoul(argv[1], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
