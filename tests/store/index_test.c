/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_test.c - the shared index and the pins alone: bounds, overflow, full; races of many processes for one key;
 * readers against a remover that reuses extents. tests/model/ holds the same protocols as models.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/index.h"
#include "store/pin.h"
#include "transport/base/env.h"

static struct swi_index make_index(uint64_t objects)
{
	const uint64_t bytes = swi_index_bytes(objects);
	struct swi_index ix;
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(mem != MAP_FAILED);
	swi_index_format(mem, MIB(64), objects, 1);
	assert_int_equal(swi_index_open(&ix, mem, bytes), 0);
	return ix;
}

static void drop_index(struct swi_index *ix)
{
	munmap(ix->head, ix->head->index_bytes);
}

static void test_open_checks(void **state SWI_UNUSED)
{
	struct swi_index ix = make_index(100), other;
	const uint64_t bytes = ix.head->index_bytes;

	assert_int_equal(swi_index_open(&other, ix.head, bytes - 4096), -EPROTO);
	ix.head->pair_count *= 2;
	assert_int_equal(swi_index_open(&other, ix.head, bytes), -EPROTO);
	ix.head->pair_count = 3;
	assert_int_equal(swi_index_open(&other, ix.head, bytes), -EPROTO);
	ix.head->version++;
	assert_int_equal(swi_index_open(&other, ix.head, bytes), SWARM_EVERSION);
	ix.head->magic++;
	assert_int_equal(swi_index_open(&other, ix.head, bytes), -EPROTO);
	munmap(ix.head, bytes);
}

static uint64_t overflow_sum(const struct swi_index *ix)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i <= ix->mask; i++)
		n += ix->overflow[i];
	return n;
}

static void test_fill_and_empty(void **state SWI_UNUSED)
{
	struct swi_index ix = make_index(600);
	const uint64_t slots = swi_index_slots(&ix);
	uint64_t *keys = calloc(slots, sizeof(*keys)), n = 0, seed = 3, key;
	struct swi_index_hit hit;
	int rc;

	do {
		key = swi_splitmix64(&seed) | 1ull << 63;
		rc = swi_index_insert(&ix, key, 5, n * 64, 64, NULL);
		if (!rc)
			keys[n++] = key;
	} while (!rc);
	assert_int_equal(rc, SWARM_EINDEXFULL);
	print_message("full at %.0f %%\n", 100.0 * (double)n / (double)slots);
	assert_true(n * 100 >= slots * 80);
	assert_false(swi_index_find(&ix, key, &hit));
	for (uint64_t i = 0; i < n; i++) {
		assert_true(swi_index_find(&ix, keys[i], &hit));
		assert_int_equal(swi_slot_offset(hit.word), i * 64);
		assert_int_equal(swi_index_insert(&ix, keys[i], 6, 0, 64, NULL), -EEXIST);
		assert_true(swi_index_leads_to(&ix, keys[i], 5, i * 64));
		assert_false(swi_index_leads_to(&ix, keys[i], 5, i * 64 + 64));
	}
	for (uint64_t i = 0; i < n; i++) {
		assert_true(swi_index_find(&ix, keys[i], &hit));
		if (i & 1) { /* by way of DEAD */
			assert_true(swi_index_kill(&ix, &hit));
			assert_false(swi_index_kill(&ix, &hit));
			assert_true(swi_index_find_dead(&ix, keys[i], &hit));
		}
		assert_true(swi_index_remove(&ix, &hit));
		assert_false(swi_index_remove(&ix, &hit));
		assert_false(swi_index_find(&ix, keys[i], &hit));
	}
	assert_int_equal(overflow_sum(&ix), 0);
	assert_int_equal(atomic_load(&ix.head->objects) + n, 0);
	drop_index(&ix);
	free(keys);
}

/* ---- many processes, one key at a time: exactly one wins ---- */

#define PROCS  4u
#define ROUNDS 30000u

struct race {
	_Atomic uint32_t ready[ROUNDS + 1]; /* processes that finished round i - 1 */
	_Atomic uint8_t wins[ROUNDS];
	_Atomic uint32_t bad;
};

static void racer(struct swi_index *ix, struct race *r, uint32_t me)
{
	for (uint32_t i = 0; i < ROUNDS; i++) {
		/* Few homes: pairs run full, claims lie in different pairs, slots are reused. */
		const uint64_t key = ((uint64_t)i + 1) << 20 | (i % 3);
		const int rc = swi_index_insert(ix, key, i, (uint64_t)(i * PROCS + me) * 64, 64, NULL);
		struct swi_index_hit hit;

		if (rc == 0)
			atomic_fetch_add(&r->wins[i], 1);
		else if (rc != -EEXIST)
			atomic_fetch_add(&r->bad, 1);
		if (!swi_index_find(ix, key, &hit))
			atomic_fetch_add(&r->bad, 1);
		if (atomic_fetch_add(&r->ready[i], 1) + 1 == PROCS) { /* the last one cleans up */
			uint32_t found = 0;

			while (swi_index_find(ix, key, &hit) && found++ < 3)
				swi_index_remove(ix, &hit);
			if (found != 1)
				atomic_fetch_add(&r->bad, 1);
			atomic_store(&r->ready[i], PROCS + 1);
		}
		while (atomic_load(&r->ready[i]) != PROCS + 1)
			sched_yield();
	}
}

static void test_races(void **state SWI_UNUSED)
{
	struct swi_index ix = make_index(90);
	struct race *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			      -1, 0);
	uint64_t seed = 1;
	pid_t pid[PROCS];

	/* Home pairs 0..2 nearly full, so that the race spills into the pairs behind. */
	for (uint32_t i = 0; i < 30; i++)
		(void)swi_index_insert(&ix, (swi_splitmix64(&seed) & ~0xffull) | i % 3, 1, 64, 64, NULL);
	for (uint32_t i = 0; i < PROCS; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0) {
			racer(&ix, r, i);
			_exit(0);
		}
	}
	for (uint32_t i = 0; i < PROCS; i++) {
		int st;

		assert_int_equal(waitpid(pid[i], &st, 0), pid[i]);
		assert_int_equal(st, 0);
	}
	for (uint32_t i = 0; i < ROUNDS; i++)
		assert_int_equal(r->wins[i], 1);
	assert_int_equal(r->bad, 0);
	assert_int_equal(atomic_load(&ix.head->objects) + ROUNDS, 0); /* removed */
	munmap(r, sizeof(*r));
	drop_index(&ix);
}

/* ---- a reader never sees bytes of another object under its pin ---- */

struct hazard {
	struct swi_index ix;
	struct swi_client_shm *shm;
	_Atomic uint64_t owner[16]; /* "extent" i holds this key now; 0 = being reused */
	_Atomic bool stop;
	_Atomic uint64_t hits, wrong;
};

static void *hazard_reader(void *arg)
{
	struct hazard *h = arg;
	uint64_t seed = (uint64_t)(uintptr_t)&seed;

	while (!atomic_load_explicit(&h->stop, memory_order_relaxed)) {
		const uint64_t key = swi_splitmix64(&seed) % 8 + 1;
		struct swi_index_hit hit;
		uint32_t pin;

		if (!swi_index_find(&h->ix, key, &hit))
			continue;
		const uint64_t offset = swi_slot_offset(hit.word);

		if (swi_pin_set(h->shm, offset, &pin))
			continue;
		if (swi_index_still(&h->ix, &hit)) {
			for (int i = 0; i < 4; i++)
				if (atomic_load(&h->owner[offset / 64]) != key)
					atomic_fetch_add(&h->wrong, 1);
			atomic_fetch_add(&h->hits, 1);
		}
		swi_pin_clear(h->shm, pin);
	}
	return NULL;
}

static void reuse(struct hazard *h, struct swi_pinset *ps, uint64_t key, uint64_t e, uint32_t gen)
{
	struct swi_index_hit hit;

	atomic_store(&h->owner[e], key);
	assert_int_equal(swi_index_insert(&h->ix, key, gen, e * 64, 64, NULL), 0);
	assert_true(swi_index_find(&h->ix, key, &hit));
	assert_true(swi_index_remove(&h->ix, &hit));
	do {
		swi_pinset_clear(ps);
		atomic_thread_fence(memory_order_seq_cst);
		assert_int_equal(swi_pinset_add(ps, h->shm), 0);
		swi_pinset_sort(ps);
	} while (swi_pinset_has(ps, e * 64));
	atomic_store(&h->owner[e], 0);
}

static void test_hazards(void **state SWI_UNUSED)
{
	struct hazard h = {.ix = make_index(90)};
	struct swi_pinset ps = {0};
	pthread_t t[2];
	uint64_t seed = 5;

	h.shm = aligned_alloc(64, swi_align_up(sizeof(*h.shm), 64));
	memset(h.shm, 0, sizeof(*h.shm));
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hazard_reader, &h), 0);
	for (uint32_t i = 0; i < 300000 || !atomic_load(&h.hits); i++) {
		const uint64_t r = swi_splitmix64(&seed);

		reuse(&h, &ps, r % 8 + 1, r >> 8 & 15, i);
	}
	atomic_store(&h.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	print_message("%llu hits\n", (unsigned long long)h.hits);
	assert_int_equal(h.wrong, 0);
	assert_int_equal(swi_pin_count(h.shm), 0);
	swi_pinset_fini(&ps);
	free(h.shm);
	drop_index(&h.ix);
}

static void test_pins_run_out(void **state SWI_UNUSED)
{
	struct swi_client_shm *shm = aligned_alloc(64, swi_align_up(sizeof(*shm), 64));
	struct swi_pinset ps = {0};
	uint32_t pin, first = 0;

	memset(shm, 0, sizeof(*shm));
	for (uint32_t i = 0; i < SWI_PIN_SLOTS; i++) {
		assert_int_equal(swi_pin_set(shm, i * 64ull, &pin), 0);
		if (!i)
			first = pin;
	}
	assert_int_equal(swi_pin_set(shm, 0, &pin), -EMFILE);
	atomic_store(&shm->pin_high, UINT32_MAX); /* nonsense is cut to the table */
	assert_int_equal(swi_pinset_add(&ps, shm), 0);
	swi_pinset_sort(&ps);
	assert_int_equal(ps.count, SWI_PIN_SLOTS);
	assert_true(swi_pinset_has(&ps, 64 * 4095));
	assert_false(swi_pinset_has(&ps, 64 * 4096));
	swi_pin_clear(shm, first);
	assert_int_equal(swi_pin_set(shm, 64, &pin), 0);
	assert_int_equal(pin, first);
	swi_pinset_fini(&ps);
	free(shm);
}

/* What every scan of the node goes over does not grow with the number of pins that there have been. */
static void test_pins_stay_few(void **state SWI_UNUSED)
{
	struct swi_client_shm *shm = aligned_alloc(64, swi_align_up(sizeof(*shm), 64));
	uint32_t pin[64], high = 0, kept;

	memset(shm, 0, sizeof(*shm));
	assert_int_equal(swi_pin_set(shm, 0, &kept), 0);
	for (uint32_t round = 0; round < 1000; round++) {
		for (uint32_t i = 0; i < 64; i++)
			assert_int_equal(swi_pin_set(shm, (i + 1) * 64ull, &pin[i]), 0);
		for (uint32_t i = 0; i < 64; i++) /* in order, backwards, or every second one first */
			swi_pin_clear(shm, pin[round % 3 == 0 ? i : round % 3 == 1 ? 63 - i : i * 2 % 64 + i / 32]);
		if (!round)
			high = atomic_load(&shm->pin_high);
		assert_int_equal(swi_pin_count(shm), 1);
	}
	assert_int_equal(atomic_load(&shm->pin_high), high);
	swi_pin_clear(shm, kept);
	free(shm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_open_checks), cmocka_unit_test(test_fill_and_empty),
	    cmocka_unit_test(test_races),	cmocka_unit_test(test_hazards),
	    cmocka_unit_test(test_pins_run_out), cmocka_unit_test(test_pins_stay_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
