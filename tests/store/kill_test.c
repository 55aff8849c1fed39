/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill_test.c - processes killed at random points of create, seal, get, release and delete.
 *
 * After each death every invariant of world.c is checked, and what passed is written down in two parts: from the kill
 * to the end of the process, which is the kernel's (it has to run once more, and its mappings are taken down before
 * its descriptors are closed), and from there to the end of the node's work. Two arms: beside a survivor that never
 * stops, three threads want two processors and the killed process waits for a slice to die in; alone, it does not.
 * For a processor the dying and the node's thread also wait where other programs run: the kernel counts that, and
 * what is asserted always is the rest. With SWARM_TEST_QUIET set nothing else runs here, and the arm without a
 * survivor is asserted by the clock. The survivor works on the same few objects all the while; its slowest call is
 * reported. Arguments: number of kills, seed. step_test.c does the same at every point in turn.
 */
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>

#include "tests/store/world.h"

#define IDS	     64u /* few: the victims and the survivor meet in the same slots */
#define UNDONE_NS    (10 * NS_PER_MS)
#define KILLED_MAX   2u

struct death { /* of one round; ns */
	uint64_t kernel, ours, whole;
	/* UINT64_MAX: not known, as another thread than the node's did it, or this kernel does not count. */
	uint64_t cpu;	   /* of the node's thread meanwhile */
	uint64_t ours_net; /* without the waits of the node's thread for a processor */
	uint64_t net;	   /* and to the end of the process without the waits of the killed */
};

struct waits { /* for a processor: of the killed meanwhile, the longest; of the node's thread so far; ns */
	uint64_t killed, node, node_cpu;
};

static uint64_t first_seed = 4711;
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
		fill(b.data, len, seed_of(ref.id, len));
		if ((r >> 32 & 15) == 0)
			swarm_store_abort(st, &b);
		else
			(void)!swarm_store_seal(st, &b);
	}
	}
}

/* Works until it is killed. Says over the pipe when it begins. */
static void victim(const char *dir, int tell, uint64_t seed)
{
	struct swarm_store *st;
	struct swarm_view held[32];
	uint32_t n = 0;
	char why[256];

	if (swarm_store_attach(dir, &st, why, sizeof(why)))
		_exit(1);
	if (write(tell, "x", 1) != 1)
		_exit(2);
	for (;;)
		one_round(st, &seed, held, &n);
}

/* ---- the survivor ---- */

struct survivor {
	struct swarm_store *st;
	pthread_mutex_t lock; /* held during a round: whoever takes it has stopped the survivor */
	_Atomic bool stop;
	_Atomic uint64_t bad; /* looked at after each death, without the lock */
	uint64_t *took_ns, rounds, max;
};

static void survivor_round(struct survivor *s, struct swarm_ref ref)
{
	const uint64_t began = test_now();
	struct swarm_view v;

	if (swarm_store_get(s->st, ref, 0, &v) == 0) {
		const uint64_t got = test_now();

		s->bad += !filled(v.data, v.len, seed_of(ref.id, v.len));
		swarm_view_release(s->st, &v);
		s->took_ns[s->rounds++ % s->max] = got - began;
		return;
	}
	uint8_t data[200];

	fill(data, sizeof(data), seed_of(ref.id, sizeof(data)));
	const uint64_t filled_at = test_now();
	const int rc = swarm_store_put(s->st, ref, data, sizeof(data), NS_PER_S);

	s->bad += rc != 0 && rc != -EEXIST;
	s->took_ns[s->rounds++ % s->max] = test_now() - filled_at;
}

static void *survive(void *arg)
{
	struct survivor *s = arg;
	uint64_t seed = 99;

	while (!atomic_load(&s->stop)) {
		pthread_mutex_lock(&s->lock);
		survivor_round(s, numbered(swi_splitmix64(&seed) % IDS));
		pthread_mutex_unlock(&s->lock);
		if (s->rounds % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/* ---- killing ---- */

static pid_t start_victim(const char *dir, uint64_t seed)
{
	int p[2];
	char byte;

	assert_int_equal(pipe(p), 0);
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		close(p[0]);
		victim(dir, p[1], seed);
	}
	close(p[1]);
	assert_int_equal(read(p[0], &byte, 1), 1);
	close(p[0]);
	return pid;
}

/* So that it is noted when it happens, and not when the processor has time for us: if we may. */
static void urgent(bool yes)
{
	const struct sched_param p = {.sched_priority = yes ? 1 : 0};

	(void)!sched_setscheduler(0, yes ? SCHED_FIFO | SCHED_RESET_ON_FORK : SCHED_OTHER, &p);
}

static uint64_t since(uint64_t end, uint64_t began)
{
	return end == UINT64_MAX || began == UINT64_MAX ? UINT64_MAX : end - swi_min_u64(began, end);
}

/* Kills, and waits for the ends. */
static void kill_and_watch(struct world *world, const pid_t *pid, uint32_t n, struct death *d, struct waits *w)
{
	struct pollfd ended[KILLED_MAX];
	uint64_t before[KILLED_MAX];

	for (uint32_t i = 0; i < n; i++) {
		ended[i] = (struct pollfd){.fd = (int)syscall(SYS_pidfd_open, pid[i], 0), .events = POLLIN};
		assert_true(ended[i].fd >= 0);
		before[i] = thread_waited_ns(pid[i]);
	}
	urgent(true);
	d->whole = test_now(); /* of which the end is not known yet */
	for (uint32_t i = 0; i < n; i++)
		kill(pid[i], SIGKILL);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(poll(&ended[i], 1, 10000), 1);
	d->kernel = test_now() - d->whole;
	w->node_cpu = world_cpu_ns(world);
	w->node = world_waited_ns(world);
	urgent(false);
	w->killed = 0;
	for (uint32_t i = 0; i < n; i++) {
		w->killed = swi_max_u64(w->killed, since(thread_waited_ns(pid[i]), before[i]));
		close(ended[i].fd);
	}
}

/* What a death took, once the node is done with it. */
static void account(struct world *w, const struct waits *at, struct death *d)
{
	const uint64_t gone = atomic_load(&w->gone_ns), cpu = atomic_load(&w->gone_cpu_ns);
	const uint64_t waited = cpu ? atomic_load(&w->gone_waited_ns) : UINT64_MAX;
	const uint64_t late = since(waited, at->node);

	d->ours = gone - swi_min_u64(gone, d->whole + d->kernel); /* the sockets end before the process does */
	d->whole = gone - d->whole;
	d->cpu = cpu ? since(cpu, at->node_cpu) : UINT64_MAX;
	d->ours_net = late == UINT64_MAX ? late : d->ours - swi_min_u64(d->ours, late);
	d->net = late == UINT64_MAX || at->killed == UINT64_MAX
		     ? UINT64_MAX
		     : d->kernel - swi_min_u64(d->kernel, at->killed) + d->ours_net;
}

/* Kills after a random time, and waits until the node is done with them all. */
static void kill_some(struct world *w, uint64_t *seed, uint32_t n, struct death *d)
{
	struct timespec end, nap = {0};
	pid_t pid[KILLED_MAX];
	struct waits at;

	for (uint32_t i = 0; i < n; i++)
		pid[i] = start_victim(w->dir, swi_splitmix64(seed));
	nap.tv_nsec = (long)(swi_splitmix64(seed) % (2 * NS_PER_MS));
	nanosleep(&nap, NULL); /* the moment is random; it takes no processor from anybody */
	while (!sem_trywait(&w->gone)) /* attachments that ended before */
		;
	kill_and_watch(w, pid, n, d, &at);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 10;
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(sem_timedwait(&w->gone, &end), 0);
	account(w, &at, d);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(wait_child(pid[i]), 256 + SIGKILL);
}

static void check_world(struct world *w, struct survivor *s, uint32_t i)
{
	char when[64];

	snprintf(when, sizeof(when), "after kill %u, seed %llu", i, (unsigned long long)first_seed);
	world_alone(w);
	if (s)
		pthread_mutex_lock(&s->lock);
	world_stop(w);
	world_settle(w);
	world_check(w, when);
	world_go(w);
	if (s)
		pthread_mutex_unlock(&s->lock);
	assert_true(!s || !s->bad);
}

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report(const char *what, uint64_t *v, uint64_t n, double unit, const char *name)
{
	qsort(v, n, sizeof(*v), by_value);
	print_message("%s: %llu, p50 %.2f, p99 %.2f, p99.9 %.2f, slowest %.2f %s\n", what,
		      (unsigned long long)n, (double)v[n / 2] / unit, (double)v[n - 1 - n / 100] / unit,
		      (double)v[n - 1 - n / 1000] / unit, (double)v[n - 1] / unit, name);
}

static void nothing_is_left(struct world *w)
{
	for (uint64_t i = 0; i < IDS; i++)
		assert_int_equal(swarm_store_delete(w->st, numbered(i)), 0);
	/* Only a survivor's own chunk is left: nothing leaked, whatever was killed where. */
	assert_true(arena_settles(w->st, swi_store_lc(w->st)->index.head->chunk_bytes));
	assert_int_equal(status_number(w->st, "objects"), 0);
	assert_int_equal(swarm_store_list(w->st, NULL, 0), 0);
}

/* One part of all the deaths; UINT64_MAX was not measured. Of how many of the measured it was more than @most. */
static uint32_t report_deaths(const char *what, const struct death *d, uint32_t rounds, size_t part, uint64_t most)
{
	uint64_t *v = calloc(rounds, sizeof(*v));
	uint32_t n = 0, over = 0;

	assert_non_null(v);
	for (uint32_t i = 0; i < rounds; i++) {
		const uint64_t ns = *(const uint64_t *)((const uint8_t *)&d[i] + part);

		if (ns == UINT64_MAX)
			continue;
		v[n++] = ns;
		over += ns > most;
	}
	if (n)
		report(what, v, n, 1e6, "ms");
	free(v);
	return over;
}

static void judge_deaths(const struct death *d, uint32_t rounds, uint32_t deaths, bool alone)
{
	const uint64_t limit = UNDONE_NS * TEST_PATIENCE;

	print_message("%u deaths %s, seed %llu, %u rounds\n", deaths,
		      alone ? "beside a survivor at rest" : "beside a survivor that never stops",
		      (unsigned long long)first_seed, rounds);
	const uint32_t late = report_deaths("from the kill to all undone", d, rounds,
					    offsetof(struct death, whole), UNDONE_NS);

	report_deaths("of these to the end of the process", d, rounds, offsetof(struct death, kernel), 0);
	report_deaths("of these from there", d, rounds, offsetof(struct death, ours), 0);
	const uint32_t net = report_deaths("the whole without waits for a processor", d, rounds,
					   offsetof(struct death, net), limit);
	const uint32_t ours = report_deaths("from the end of the process, without them", d, rounds,
					    offsetof(struct death, ours_net), limit);
	const uint32_t cpu = report_deaths("for which the node's thread ran", d, rounds,
					   offsetof(struct death, cpu), limit);

	print_message("more than 10 ms: %u of %u rounds; without waits for a processor: %u\n", late, rounds, net);
	assert_int_equal(cpu, 0);
	/* Our host may take a processor away, or a lock be held by somebody who has none: nobody counts that. */
	assert_true(ours <= 1 + rounds / 100);
	assert_true(net <= 1 + rounds / 50);
	if (alone && getenv("SWARM_TEST_QUIET"))
		assert_true(late <= rounds / 100);
}

static void kill_all(struct world *w, struct survivor *s, uint32_t deaths)
{
	struct death *d = calloc(deaths, sizeof(*d));
	uint64_t seed = first_seed + !s;
	uint32_t rounds = 0;

	assert_non_null(d);
	for (uint32_t i = 0; i < deaths; rounds++) {
		const uint32_t n = rounds % 4 == 0 && i + 2 <= deaths ? 2 : 1;

		kill_some(w, &seed, n, &d[rounds]);
		i += n;
		check_world(w, s, i);
	}
	judge_deaths(d, rounds, deaths, !s);
	free(d);
}

static void test_kills(void **state SWI_UNUSED)
{
	struct survivor s = {.max = 4000000, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct world w;
	pthread_t t;

	world_open(&w, MIB(32), 20000);
	s.st = w.st;
	s.took_ns = calloc(s.max, sizeof(*s.took_ns));
	assert_non_null(s.took_ns);
	assert_int_equal(pthread_create(&t, NULL, survive, &s), 0);
	kill_all(&w, &s, kills);
	atomic_store(&s.stop, true);
	pthread_join(t, NULL);
	report("calls of the survivor", s.took_ns, swi_min_u64(s.rounds, s.max), 1e3, "us");
	nothing_is_left(&w);
	world_close(&w);
	free(s.took_ns);
}

static void test_kills_alone(void **state SWI_UNUSED)
{
	struct world w;

	world_open(&w, MIB(32), 20000);
	kill_all(&w, NULL, (kills + 2) / 3);
	for (uint64_t i = 0; i < IDS; i++) { /* as a survivor would have: so that each is there */
		const int rc = swarm_store_put(w.st, numbered(i), "x", 1, TEST_LIMIT_NS);

		assert_true(rc == 0 || rc == -EEXIST);
	}
	nothing_is_left(&w);
	world_close(&w);
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
	    cmocka_unit_test(test_kills),
	    cmocka_unit_test(test_kills_alone),
	};

	if (argc > 1)
		kills = (uint32_t)swi_max_u64(strtoul(argv[1], NULL, 10), 1);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
