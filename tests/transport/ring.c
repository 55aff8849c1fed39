/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.c - the rings in shared memory: order and wrapping, a full ring, both ends in two threads,
 * and a producer or consumer that writes nonsense.
 */
#include "check.h"

#include <pthread.h>

#include "transport/base/env.h"
#include "transport/base/ring.h"

#define CAP 4096u

struct rig {
	struct swi_ring *ring;
	struct swi_ring_end p, c;
};

static void setup(struct rig *r)
{
	r->ring = aligned_alloc(SWI_CACHE_LINE, swi_align_up(swi_ring_bytes(CAP), SWI_CACHE_LINE));
	assert_non_null(r->ring);
	memset(r->ring, 0, swi_ring_bytes(CAP));
	swi_ring_init(r->ring);
	swi_ring_attach(&r->p, r->ring, CAP);
	swi_ring_attach(&r->c, r->ring, CAP);
}

static void fill(uint8_t *body, uint32_t len, uint32_t n)
{
	for (uint32_t i = 0; i < len; i++)
		body[i] = (uint8_t)(n + i);
}

static void messages__come_in_order_over_many_wraps(void **state)
{
	struct rig r;
	uint64_t sizes_p = 1, sizes_c = 1;
	uint32_t put = 0, got = 0;
	uint8_t body[CAP], want[CAP];
	struct swi_msg m;

	(void)state;
	setup(&r);
	assert_false(swi_ring_ready(&r.c));
	while (got < 20000) {
		uint64_t before = sizes_p;
		const uint32_t len =
		    (uint32_t)(swi_splitmix64(&sizes_p) % (swi_ring_body_max(CAP) + 1));

		fill(body, len, put);
		const int rc = swi_ring_push(&r.p, (uint16_t)put, 3, put, body, len / 2,
					     body + len / 2, len - len / 2);

		if (!rc) {
			put++;
			continue;
		}
		assert_int_equal(rc, -EAGAIN);
		sizes_p = before;
		assert_true(swi_ring_ready(&r.c));
		while (swi_ring_peek(&r.c, &m) == 1) {
			const uint32_t n =
			    (uint32_t)(swi_splitmix64(&sizes_c) % (swi_ring_body_max(CAP) + 1));

			assert_int_equal(m.len, n);
			assert_int_equal(m.req, got);
			assert_int_equal(m.type, (uint16_t)got);
			assert_int_equal(m.flags, 3);
			fill(want, n, got);
			assert_memory_equal(m.body, want, n);
			swi_ring_pop(&r.c);
			got++;
		}
	}
	assert_int_equal(swi_ring_push(&r.p, 1, 0, 0, body, swi_ring_body_max(CAP) + 1, NULL, 0),
			 -EMSGSIZE);
	free(r.ring);
}

/* The consumer's view of a ring that anybody may have scribbled on: an answer, never a wild access.
 */
static void hostile_producer__is_an_error(void **state)
{
	static const uint64_t tails[] = {1, 8, 15, CAP + 8, UINT64_MAX, 1ull << 63};
	struct rig r;
	struct swi_msg m;

	(void)state;
	for (size_t i = 0; i < SWI_ARRAY_LEN(tails); i++) {
		setup(&r);
		memset(r.ring->data, 0xff, CAP);
		atomic_store(&r.ring->tail, tails[i]);
		assert_int_equal(swi_ring_peek(&r.c, &m), -EPROTO);
		assert_int_equal(swi_ring_peek(&r.c, &m), -EPROTO);
		free(r.ring);
	}
	/* Asked first whether there is something: the nonsense must not be believed afterwards. */
	setup(&r);
	assert_int_equal(swi_ring_push(&r.p, 7, 0, 0, "stale", 5, NULL, 0), 0);
	assert_int_equal(swi_ring_peek(&r.c, &m), 1);
	swi_ring_pop(&r.c);
	memset(r.ring->data, 0, CAP); /* reads as messages without end */
	atomic_store(&r.ring->tail, UINT64_MAX / 2);
	assert_true(swi_ring_ready(&r.c));
	assert_int_equal(swi_ring_peek(&r.c, &m), -EPROTO);
	assert_int_equal(swi_ring_peek(&r.c, &m), -EPROTO);
	free(r.ring);
	setup(&r);
	uint64_t rnd = 99;

	for (int round = 0; round < 200000; round++) {
		for (int k = 0; k < 4; k++) {
			const uint64_t v = swi_splitmix64(&rnd) % (round % 2 ? 64 : UINT64_MAX);

			memcpy(r.ring->data + swi_splitmix64(&rnd) % (CAP / 8) * 8, &v, 8);
		}
		atomic_store(&r.ring->tail, r.c.pos + swi_splitmix64(&rnd) % (CAP + 64));
		for (int k = 0; k < 3 && swi_ring_peek(&r.c, &m) == 1; k++) {
			const uint8_t *b = m.body;

			assert_true(b >= r.ring->data && b + m.len <= r.ring->data + CAP);
			swi_ring_pop(&r.c);
		}
	}
	free(r.ring);
}

static void hostile_consumer__looks_like_a_full_ring(void **state)
{
	struct rig r;
	uint8_t body[64] = {0};

	(void)state;
	setup(&r);
	int rc;
	uint32_t n = 0;

	while (!(rc = swi_ring_push(&r.p, 1, 0, 0, body, sizeof(body), NULL, 0)))
		n++;
	assert_int_equal(rc, -EAGAIN);
	assert_true(n >= CAP / 80 - 1);
	atomic_store(&r.ring->head, UINT64_MAX);
	assert_int_equal(swi_ring_push(&r.p, 1, 0, 0, body, sizeof(body), NULL, 0), -EAGAIN);
	atomic_store(&r.ring->head, r.p.pos + 8);
	assert_int_equal(swi_ring_push(&r.p, 1, 0, 0, body, sizeof(body), NULL, 0), -EAGAIN);
	atomic_store(&r.ring->head, r.p.pos);
	assert_int_equal(swi_ring_push(&r.p, 1, 0, 0, body, sizeof(body), NULL, 0), 0);
	free(r.ring);
}

#define THREADED 200000u

static void *produce(void *arg)
{
	struct rig *r = arg;

	for (uint64_t i = 0; i < THREADED; i++)
		while (swi_ring_push(&r->p, 1, 0, i, &i, sizeof(i), NULL, 0) == -EAGAIN)
			swi_cpu_relax();
	return NULL;
}

static void two_threads__lose_nothing(void **state)
{
	struct rig r;
	pthread_t t;
	uint64_t bad = 0;

	(void)state;
	setup(&r);
	assert_int_equal(pthread_create(&t, NULL, produce, &r), 0);
	for (uint64_t i = 0; i < THREADED;) {
		struct swi_msg m;
		uint64_t v;

		if (swi_ring_peek(&r.c, &m) != 1) {
			swi_cpu_relax();
			continue;
		}
		memcpy(&v, m.body, sizeof(v));
		bad += v != i || m.req != i || m.len != sizeof(v);
		swi_ring_pop(&r.c);
		i++;
	}
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(bad, 0);
	free(r.ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(messages__come_in_order_over_many_wraps),
	    cmocka_unit_test(hostile_producer__is_an_error),
	    cmocka_unit_test(hostile_consumer__looks_like_a_full_ring),
	    cmocka_unit_test(two_threads__lose_nothing),
	};

	return RUN(tests);
}
