/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vacancy_test.c - where the arena is emptiest (store/vacancy.h) against a look at every run, while granules come and go,
 * regions are barred and rounds begin; and how little of it all is looked at again (store/bits.h beside it, against a plain map).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/bits.h"
#include "store/vacancy.h"
#include "transport/base/env.h"

struct plain {
	struct swi_vacancy v;
	uint64_t granules, seed;
	uint32_t *free; /* by region */
	bool *barred;
	uint64_t found, none;
};

static uint64_t draw(struct plain *p, uint64_t below)
{
	return swi_splitmix64(&p->seed) % below;
}

static uint64_t emptiest(const struct plain *p, uint64_t run, uint64_t above)
{
	uint64_t at = UINT64_MAX;

	for (uint64_t i = 0; i + run <= p->v.count; i++) {
		uint64_t sum = 0;
		bool barred = false;

		for (uint64_t k = i; k < i + run; k++) {
			sum += p->free[k];
			barred |= p->barred[k];
		}
		if (barred || sum <= above)
			continue;
		above = sum;
		at = i;
	}
	return at;
}

/* Some granules of one region, often a border's, change hands; whole runs of them seldom. */
static void change(struct plain *p)
{
	const uint64_t per = p->v.granules, region = draw(p, p->v.count);
	const uint64_t last = swi_min_u64(per, p->granules - region * per);
	const bool free = p->free[region] < last && (!p->free[region] || draw(p, 2));
	const uint64_t n = 1 + draw(p, free ? last - p->free[region] : p->free[region]);

	/* The counts know nothing of which granules: those at the region's begin will do. */
	swi_vacancy_count(&p->v, region * per, n, free);
	p->free[region] += free ? (uint32_t)n : -(uint32_t)n;
}

static void compare(struct plain *p)
{
	static const uint64_t runs[] = {1, 1, 1, 2, 2, 3, 17, 63, 64, 65, 200};
	const uint64_t run = runs[draw(p, SWI_ARRAY_LEN(runs))];
	const uint64_t above = draw(p, 4) ? 0 : draw(p, 2 * run * p->v.granules);
	const uint64_t want = emptiest(p, run, above);

	assert_int_equal(swi_vacancy_emptiest(&p->v, run, above), want);
	p->found += want != UINT64_MAX;
	p->none += want == UINT64_MAX;
	if (want != UINT64_MAX && draw(p, 2)) { /* as compact.c does with what it cannot clear */
		const uint64_t r = want + draw(p, run);

		swi_vacancy_bar(&p->v, r * p->v.granules + draw(p, p->v.granules));
		p->barred[r] = true;
	}
}

static void against_plain(uint64_t granules, uint32_t ops)
{
	struct plain p = {.granules = granules, .seed = granules};

	assert_int_equal(swi_vacancy_init(&p.v, granules), 0);
	assert_true(p.v.count <= SWI_VACANCY_REGIONS);
	p.free = calloc(p.v.count, sizeof(*p.free));
	p.barred = calloc(p.v.count, sizeof(*p.barred));
	assert_true(p.free && p.barred);
	for (uint32_t op = 0; op < ops; op++) {
		const uint64_t what = draw(&p, 64);

		if (what == 0) {
			swi_vacancy_next_round(&p.v);
			memset(p.barred, 0, p.v.count * sizeof(*p.barred));
		} else if (what < 40) {
			change(&p);
		} else {
			compare(&p);
		}
	}
	swi_vacancy_bar(&p.v, p.v.count * p.v.granules); /* behind the end: nothing */
	for (uint64_t r = 0; r < p.v.count; r++)
		assert_int_equal(p.v.free[r], p.free[r]);
	print_message("%llu regions: %llu runs found, %llu times none\n", (unsigned long long)p.v.count,
		      (unsigned long long)p.found, (unsigned long long)p.none);
	assert_true(p.found > (p.v.count > 1 ? ops / 8 : 0)); /* most runs are longer than one region */
	assert_true(p.none > 0);
	swi_vacancy_fini(&p.v);
	free(p.free);
	free(p.barred);
}

static void test_against_plain(void **state SWI_UNUSED)
{
	against_plain(GIB(8) / SWI_GRANULE, 4000); /* 8,192 regions would be too many by one: 4,096 of 2 MiB */
	against_plain(MIB(16) / SWI_GRANULE, 200000);
	against_plain(MIB(16) / SWI_GRANULE + 64, 200000); /* the last region is a page */
	against_plain(KIB(64) / SWI_GRANULE, 2000);
}

/* Nothing that was not touched is looked at again: an untold change of a count is not seen, a told one beside it is. */
static void test_looks_at_little(void **state SWI_UNUSED)
{
	struct swi_vacancy v;

	assert_int_equal(swi_vacancy_init(&v, GIB(1) / SWI_GRANULE), 0);
	swi_vacancy_count(&v, 0, GIB(1) / SWI_GRANULE, true);
	for (uint64_t run = 1; run <= 2; run++) {
		assert_int_equal(swi_vacancy_emptiest(&v, run, 0), 0);
		v.free[1000]++; /* behind its back */
		swi_vacancy_count(&v, 0, 64, false);
		assert_int_equal(swi_vacancy_emptiest(&v, run, 0), 1);
		swi_vacancy_count(&v, 1001 * v.granules, 64, false);
		assert_int_equal(swi_vacancy_emptiest(&v, run, 0), run == 1 ? 1000 : 999);
		swi_vacancy_count(&v, 0, 64, true);
		swi_vacancy_count(&v, 1001 * v.granules, 64, true);
		v.free[1000]--;
		swi_vacancy_bar(&v, 1000 * v.granules);
		swi_vacancy_next_round(&v);
	}
	swi_vacancy_fini(&v);
}

static void test_bits(void **state SWI_UNUSED)
{
	static const uint64_t counts[] = {1, 63, 64, 65, 4096, 4097, 300000};
	uint64_t seed = 5;

	for (uint64_t c = 0; c < SWI_ARRAY_LEN(counts); c++) {
		const uint64_t n = counts[c];
		bool *map = calloc(n, sizeof(*map));
		struct swi_bits b;

		assert_non_null(map);
		assert_int_equal(swi_bits_init(&b, n), 0);
		assert_true(swi_bits_next(&b, 0) == SWI_BITS_NONE && swi_bits_prev(&b, n - 1) == SWI_BITS_NONE);
		assert_true(swi_bits_next(&b, n) == SWI_BITS_NONE);
		for (uint32_t op = 0; op < 3000; op++) {
			const uint64_t bit = swi_splitmix64(&seed) % n, at = swi_splitmix64(&seed) % n;
			uint64_t next = at, prev = at;

			map[bit] = !map[bit];
			if (map[bit])
				swi_bits_set(&b, bit);
			else
				swi_bits_clear(&b, bit);
			while (next < n && !map[next])
				next++;
			while (prev != UINT64_MAX && !map[prev])
				prev--;
			assert_int_equal(swi_bits_next(&b, at), next < n ? next : SWI_BITS_NONE);
			assert_int_equal(swi_bits_prev(&b, at), prev);
		}
		swi_bits_fini(&b);
		free(map);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_against_plain),
	    cmocka_unit_test(test_looks_at_little),
	    cmocka_unit_test(test_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
