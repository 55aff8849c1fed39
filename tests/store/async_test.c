/* SPDX-License-Identifier: Apache-2.0 */
/* async_test.c - wait sets and completion queues over a real host: order, ends, cancels, descriptors, the node's death. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>

#include <liburing.h>

#include "tests/store/api_rig.h"

#define MANY 100000u

static void put(struct swarm_store *st, struct swarm_ref ref)
{
	assert_int_equal(swarm_store_put(st, ref, &ref.id, sizeof(ref.id), NS_PER_S), 0);
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* ---- wait sets ---- */

static void test_any_and_all(void **state)
{
	struct api *a = *state;
	struct swarm_ref ref[4] = {numbered(0), numbered(1), numbered(2), numbered(3)};
	const uint64_t token[4] = {100, 101, 102, 103};
	struct swarm_waitset *ws;
	struct swarm_ready row[4];

	assert_int_equal(swarm_waitset_create(a->st, &ws), 0);
	assert_int_equal(swarm_waitset_wait_any(ws, 0, row, 4), -ENOENT);
	assert_int_equal(swarm_waitset_wait_any(ws, 0, row, 0), -EINVAL);
	assert_int_equal(swarm_waitset_wait_all(ws, 0), 0);
	put(a->other, ref[2]);
	assert_int_equal(swarm_waitset_add(ws, ref, token, 3), 3);
	assert_int_equal(swarm_waitset_add(ws, &ref[1], token, 1), -EEXIST);
	assert_int_equal(swarm_waitset_add(ws, &ref[3], &token[3], 1), 1);
	assert_int_equal(swarm_waitset_wait_any(ws, NS_PER_S, row, 4), 1);
	assert_int_equal(row[0].token, 102);
	assert_int_equal(row[0].status, 0);
	assert_true(swarm_oid_equal(row[0].ref.id, ref[2].id));
	assert_int_equal(swarm_waitset_wait_any(ws, NS_PER_MS, row, 4), -ETIMEDOUT);
	assert_int_equal(swarm_waitset_wait_all(ws, NS_PER_MS), -ETIMEDOUT);
	put(a->other, ref[3]);
	put(a->other, ref[0]);
	assert_int_equal(swarm_waitset_wait_all(ws, NS_PER_MS), -ETIMEDOUT);
	assert_int_equal(swarm_waitset_remove(ws, ref[1]), 0);
	assert_int_equal(swarm_waitset_remove(ws, ref[1]), -ENOENT);
	assert_int_equal(swarm_waitset_wait_all(ws, 10 * NS_PER_S), 0);
	assert_int_equal(swarm_waitset_wait_any(ws, 0, row, 4), 2);
	/* The node may have noticed both seals in one look: their order is not promised. */
	assert_int_equal(row[0].token + row[1].token, 203);
	assert_true(row[0].token == 100 || row[0].token == 103);
	assert_int_equal(swarm_waitset_wait_any(ws, SWARM_FOREVER, row, 4), -ENOENT);
	/* Again: what left may come back. */
	assert_int_equal(swarm_waitset_add(ws, ref, token, 2), 2);
	put(a->st, ref[1]);
	assert_int_equal(swarm_waitset_wait_all(ws, 10 * NS_PER_S), 0);
	swarm_waitset_destroy(ws);
	swarm_waitset_destroy(NULL);
}

static void test_deleted_is_an_end(void **state)
{
	struct api *a = *state;
	struct swarm_ref ref = swarm_ref_new(a->st);
	struct swarm_waitset *ws;
	struct swarm_ready row;

	put(a->st, ref);
	assert_int_equal(swarm_store_delete(a->st, ref), 0);
	assert_int_equal(swarm_waitset_create(a->st, &ws), 0);
	assert_int_equal(swarm_waitset_add(ws, &ref, NULL, 1), 1);
	assert_int_equal(swarm_waitset_wait_any(ws, 10 * NS_PER_S, &row, 1), 1);
	assert_int_equal(row.status, SWARM_EDELETED);
	swarm_waitset_destroy(ws);
}

struct putter {
	struct swarm_store *st;
	uint64_t first, count, step;
	int rc;
};

static void *put_some(void *arg)
{
	struct putter *p = arg;

	for (uint64_t i = 0; i < p->count && !p->rc; i++)
		p->rc = swarm_store_put(p->st, numbered(p->first + i * p->step), "x", 1, NS_PER_S);
	return NULL;
}

/*
 * 100,000 items, of which every 50th comes one by one: what crosses the ring is counted, and it is a row for each
 * that came, not one for each that is waited for.
 */
static void test_not_rescanned(void **state)
{
	struct api *a = *state;
	struct swi_lc *lc = swi_store_lc(a->st);
	struct swarm_ref *ref = calloc(MANY, sizeof(*ref));
	struct putter p = {.st = a->other, .first = 0, .count = MANY / 50, .step = 50};
	struct swarm_waitset *ws;
	struct swarm_ready row[64];
	uint32_t came = 0, waits = 0;
	pthread_t t;

	for (uint32_t i = 0; i < MANY; i++)
		ref[i] = numbered(i);
	assert_int_equal(swarm_waitset_create(a->st, &ws), 0);
	assert_int_equal(swarm_waitset_add(ws, ref, NULL, MANY), MANY);
	assert_int_equal(swarm_waitset_wait_any(ws, 0, row, 64), -ETIMEDOUT);
	const uint64_t asked = lc->req.pos, answers = atomic_load(&lc->pumped);

	assert_int_equal(pthread_create(&t, NULL, put_some, &p), 0);
	while (came < MANY / 50) {
		const int n = swarm_waitset_wait_any(ws, 20 * NS_PER_S, row, 64);

		assert_true(n > 0);
		for (int i = 0; i < n; i++)
			assert_int_equal((row[i].ref.id.w[1] - 1) % 50, 0);
		came += (uint32_t)n;
		waits++;
	}
	pthread_join(t, NULL);
	assert_int_equal(p.rc, 0);
	if (a->st != a->other) /* nothing was asked again while we waited */
		assert_int_equal(lc->req.pos, asked);
	assert_true(atomic_load(&lc->pumped) - answers <= MANY / 50);
	assert_true(waits <= MANY / 50);
	swarm_waitset_destroy(ws);
	free(ref);
}

static void test_set_of_a_dead_client(void **state)
{
	struct api *a = *state;
	struct swi_shm_head *head = swi_store_lc(a->st)->index.head;
	struct swarm_ref ref[3] = {numbered(1), numbered(2), numbered(3)};
	const uint64_t end = test_now() + 10 * NS_PER_S;
	const pid_t pid = fork();

	if (!pid) {
		struct swarm_store *st;
		struct swarm_waitset *ws;

		if (swarm_store_attach(test_dir, &st, NULL, 0) || swarm_waitset_create(st, &ws) ||
		    swarm_waitset_add(ws, ref, NULL, 3) != 3)
			_exit(1);
		while (atomic_load(&swi_store_lc(st)->index.head->waiters) < 3)
			sched_yield();
		_exit(0);
	}
	assert_int_equal(wait_child(pid), 0);
	while (atomic_load(&head->waiters))
		assert_true(test_now() < end);
}

static void test_set_fd(void **state)
{
	struct api *a = *state;
	struct swarm_ref ref[3] = {numbered(1), numbered(2), numbered(3)};
	struct swarm_waitset *ws;
	struct swarm_ready row[3];
	int fd;

	assert_int_equal(swarm_waitset_create(a->st, &ws), 0);
	assert_int_equal(swarm_waitset_add(ws, ref, NULL, 3), 3);
	fd = swarm_waitset_fd(ws);
	assert_true(fd >= 0);
	assert_int_equal(swarm_waitset_fd(ws), fd);
	while (readable(fd, 0))
		assert_int_equal(swarm_waitset_wait_any(ws, 0, row, 3), -ETIMEDOUT);
	for (uint32_t i = 0; i < 3; i++) {
		int n = 0;

		put(a->other, ref[i]);
		while (n < 1) {
			assert_true(readable(fd, 10000));
			n = swarm_waitset_wait_any(ws, 0, row, 3);
			assert_true(n == 1 || n == -ETIMEDOUT);
		}
		assert_true(swarm_oid_equal(row[0].ref.id, ref[i].id));
	}
	assert_int_equal(swarm_waitset_wait_any(ws, 0, row, 3), -ENOENT);
	assert_false(readable(fd, 0));
	swarm_waitset_destroy(ws);
}

/* ---- completion queues ---- */

static void check(struct api *a, struct swarm_completion *c)
{
	struct swarm_ref ref = c->ref;

	assert_int_equal(c->status, 0);
	assert_int_equal(c->view.len, sizeof(ref.id));
	assert_memory_equal(c->view.data, &ref.id, sizeof(ref.id));
	swarm_view_release(a->st, &c->view);
}

static void test_cq_hits_and_misses(void **state)
{
	struct api *a = *state;
	struct swarm_cq *cq;
	struct swarm_completion c[8];
	uint64_t id;

	assert_int_equal(swarm_cq_create(a->st, 0, &cq), -EINVAL);
	assert_int_equal(swarm_cq_create(a->st, 20000, &cq), -EINVAL);
	assert_int_equal(swarm_cq_create(a->st, 3, &cq), 0);
	assert_int_equal(swarm_cq_poll(cq, c, 8), 0);
	assert_int_equal(swarm_cq_poll(cq, c, 0), -EINVAL);
	put(a->st, numbered(1));
	assert_int_equal(swarm_cq_get(cq, numbered(1), 0, 11, &id), 0);
	assert_int_equal(swarm_cq_cancel(cq, id), -EALREADY);
	assert_int_equal(swarm_cq_get(cq, numbered(2), 0, 12, NULL), 0); /* local only: ends at once */
	assert_int_equal(swarm_cq_get(cq, numbered(3), 20 * NS_PER_S, 13, NULL), 0);
	assert_int_equal(swarm_cq_get(cq, numbered(1), 0, 14, NULL), -EAGAIN); /* three are under way */
	assert_int_equal(swarm_cq_poll(cq, c, 8), 2);
	assert_int_equal(c[0].user, 11);
	check(a, &c[0]);
	assert_int_equal(c[1].user, 12);
	assert_int_equal(c[1].status, -ENOENT);
	assert_null(c[1].view.data);
	assert_int_equal(swarm_cq_cancel(cq, id), -ENOENT);
	assert_int_equal(swarm_cq_wait(cq, NS_PER_MS, c, 8), -ETIMEDOUT);
	put(a->other, numbered(3));
	assert_int_equal(swarm_cq_wait(cq, 10 * NS_PER_S, c, 8), 1);
	assert_int_equal(c[0].user, 13);
	check(a, &c[0]);
	/* A deadline is an end too. */
	assert_int_equal(swarm_cq_get(cq, numbered(9), NS_PER_MS, 15, NULL), 0);
	assert_int_equal(swarm_cq_wait(cq, 10 * NS_PER_S, c, 8), 1);
	assert_int_equal(c[0].status, -ENOENT);
	swarm_cq_destroy(cq);
	swarm_cq_destroy(NULL);
	assert_int_equal(status_number(a->st, "pins"), 0);
	assert_int_equal(status_number(a->st, "holds"), 0);
}

static void test_cq_cancel(void **state)
{
	struct api *a = *state;
	struct swi_shm_head *head = swi_store_lc(a->st)->index.head;
	const uint64_t end = test_now() + 10 * NS_PER_S;
	struct swarm_cq *cq;
	struct swarm_completion c;
	uint64_t id[100];
	uint32_t cancelled = 0;

	assert_int_equal(swarm_cq_create(a->st, 100, &cq), 0);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(swarm_cq_get(cq, numbered(i), SWARM_FOREVER, i, &id[i]), 0);
	/* Half of them are made while all are given up: each has one end and no more. */
	struct putter p = {.st = a->other, .first = 0, .count = 50, .step = 2};
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, put_some, &p), 0);
	for (uint32_t i = 0; i < 100; i++) {
		const int rc = swarm_cq_cancel(cq, id[i]);

		assert_true(rc == 0 || rc == -EALREADY);
		cancelled += !rc;
		assert_int_equal(swarm_cq_cancel(cq, id[i]), rc ? -EALREADY : -ENOENT);
	}
	pthread_join(t, NULL);
	for (uint32_t i = cancelled; i < 100; i++) {
		assert_int_equal(swarm_cq_wait(cq, 10 * NS_PER_S, &c, 1), 1);
		assert_int_equal(c.user % 2, 0);
		check(a, &c);
	}
	assert_int_equal(swarm_cq_wait(cq, NS_PER_MS, &c, 1), -ETIMEDOUT);
	swarm_cq_destroy(cq);
	while (atomic_load(&head->waiters) || status_number(a->st, "holds"))
		assert_true(test_now() < end);
	assert_int_equal(status_number(a->st, "pins"), 0);
}

static void test_cq_destroyed_in_flight(void **state)
{
	struct api *a = *state;
	const uint64_t end = test_now() + 10 * NS_PER_S;

	for (uint32_t round = 0; round < 20; round++) {
		struct putter p = {.st = a->other, .first = round * 100, .count = 40, .step = 1};
		struct swarm_cq *cq;
		pthread_t t;

		assert_int_equal(swarm_cq_create(a->st, 64, &cq), 0);
		for (uint32_t i = 0; i < 50; i++)
			assert_int_equal(
			    swarm_cq_get(cq, numbered(round * 100 + i), SWARM_FOREVER, i, NULL), 0);
		assert_int_equal(pthread_create(&t, NULL, put_some, &p), 0);
		swarm_cq_destroy(cq);
		pthread_join(t, NULL);
	}
	while (status_number(a->st, "holds") || status_number(a->st, "pins"))
		assert_true(test_now() < end);
}

/* Many in flight, taken by a poll loop that never calls into the store unless the descriptor says so. */
static void test_cq_epoll(void **state)
{
	struct api *a = *state;
	struct putter p = {.st = a->other, .first = 0, .count = 3000, .step = 1};
	struct swarm_completion c[32];
	struct epoll_event ev = {.events = EPOLLIN};
	const int ep = epoll_create1(0);
	bool seen[3000] = {0};
	uint32_t came = 0;
	struct swarm_cq *cq;
	pthread_t t;

	assert_int_equal(swarm_cq_create(a->st, 3000, &cq), 0);
	assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, swarm_cq_fd(cq), &ev), 0);
	for (uint32_t i = 0; i < 3000; i++)
		assert_int_equal(swarm_cq_get(cq, numbered(i), 60 * NS_PER_S, i, NULL), 0);
	assert_int_equal(pthread_create(&t, NULL, put_some, &p), 0);
	while (came < 3000) {
		assert_int_equal(epoll_wait(ep, &ev, 1, 20000), 1);
		const int n = swarm_cq_poll(cq, c, 32);

		for (int i = 0; i < n; i++) {
			assert_false(seen[c[i].user]);
			seen[c[i].user] = true;
			assert_int_equal(c[i].status, 0);
			swarm_view_release(a->st, &c[i].view);
		}
		came += (uint32_t)n;
	}
	pthread_join(t, NULL);
	assert_int_equal(swarm_cq_poll(cq, c, 32), 0);
	assert_int_equal(epoll_wait(ep, &ev, 1, 0), 0); /* quiet again */
	close(ep);
	swarm_cq_destroy(cq);
}

static void test_cq_io_uring(void **state)
{
	struct api *a = *state;
	struct swarm_completion c;
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	struct swarm_cq *cq;

	if (io_uring_queue_init(4, &ring, 0))
		skip();
	assert_int_equal(swarm_cq_create(a->st, 8, &cq), 0);
	for (uint32_t i = 0; i < 8; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
		int n = 0;

		assert_int_equal(swarm_cq_get(cq, numbered(i), 20 * NS_PER_S, i, NULL), 0);
		while (!n) {
			io_uring_prep_poll_add(sqe, swarm_cq_fd(cq), POLLIN);
			assert_int_equal(io_uring_submit(&ring), 1);
			if (!swarm_store_contains(a->st, numbered(i)))
				put(a->other, numbered(i));
			assert_int_equal(io_uring_wait_cqe(&ring, &cqe), 0);
			assert_true(cqe->res & POLLIN);
			io_uring_cqe_seen(&ring, cqe);
			n = swarm_cq_poll(cq, &c, 1);
			sqe = n ? NULL : io_uring_get_sqe(&ring);
		}
		assert_int_equal(c.user, i);
		check(a, &c);
	}
	io_uring_queue_exit(&ring);
	swarm_cq_destroy(cq);
}

/* Descriptors are few, and come back. */
static void test_cq_numbers(void **state)
{
	struct api *a = *state;
	struct swarm_cq *cq[SWI_EVENTS + 1];

	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < SWI_EVENTS; i++)
			assert_int_equal(swarm_cq_create(a->st, 1, &cq[i]), 0);
		assert_int_equal(swarm_cq_create(a->st, 1, &cq[SWI_EVENTS]), -EMFILE);
		for (uint32_t i = 0; i < SWI_EVENTS; i++)
			swarm_cq_destroy(cq[i]);
	}
}

static int daemon_child(const char *dir)
{
	struct swarm_store_opts o = {.size = sizeof(o), .arena_bytes = MIB(8), .dir = dir};
	struct swarm_store *st;

	if (swarm_store_open(&o, &st, NULL, 0))
		return 1;
	for (;;)
		pause();
}

static void test_node_dies(void **state)
{
	char dir[] = "/tmp/swarm-test-XXXXXX";
	struct swarm_store *st = NULL;
	struct swarm_completion c[4];
	struct swarm_waitset *ws;
	struct swarm_ready row;
	struct swarm_cq *cq;
	struct swarm_ref ref = numbered(1);
	const uint64_t end = test_now() + 20 * NS_PER_S;

	(void)state;
	assert_non_null(mkdtemp(dir));
	const pid_t pid = fork_child(daemon_child, dir);

	while (swarm_store_attach(dir, &st, NULL, 0))
		assert_true(test_now() < end);
	assert_int_equal(swarm_cq_create(st, 4, &cq), 0);
	assert_int_equal(swarm_waitset_create(st, &ws), 0);
	assert_int_equal(swarm_waitset_add(ws, &ref, NULL, 1), 1);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(swarm_cq_get(cq, numbered(i), SWARM_FOREVER, i, NULL), 0);
	kill(pid, SIGKILL);
	assert_int_equal(wait_child(pid), 256 + SIGKILL);
	assert_int_equal(swarm_waitset_wait_any(ws, SWARM_FOREVER, &row, 1), SWARM_ENODAEMON);
	assert_int_equal(swarm_cq_poll(cq, c, 4), 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(c[i].status, SWARM_ENODAEMON);
	swarm_waitset_destroy(ws);
	swarm_cq_destroy(cq);
	swarm_store_close(st);
	remove_dir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_node_dies), /* it forks: first, while there is no other thread */
	    API_TEST(test_any_and_all),
	    API_TEST(test_deleted_is_an_end),
	    API_TEST(test_not_rescanned),
	    API_TEST(test_set_of_a_dead_client),
	    API_TEST(test_set_fd),
	    API_TEST(test_cq_hits_and_misses),
	    API_TEST(test_cq_cancel),
	    API_TEST(test_cq_destroyed_in_flight),
	    API_TEST(test_cq_epoll),
	    API_TEST(test_cq_io_uring),
	    API_TEST(test_cq_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
