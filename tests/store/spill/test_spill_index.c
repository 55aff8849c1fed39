/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_index.c - the table from ids to records against a plain array: adding, finding and taking out at random,
 * also where it is nearly full and long rows of slots are in use.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/spill/log_impl.h"

#define IDS 3000u
#define OPS 300000u

static struct swi_spill_obj *in[IDS]; /* what the table has to hold */

static uint64_t rnd(uint64_t *s)
{
	return swi_splitmix64(s);
}

static void check(struct swi_spill *sp, uint32_t id)
{
	const uint64_t oid[2] = {id, 7};

	assert_ptr_equal(swi_log_lookup(sp, oid), in[id]);
}

static void flip(struct swi_spill *sp, uint32_t id)
{
	struct swi_spill_obj *o = in[id];

	if (o) {
		swi_log_index_del(sp, o);
		free(o);
		in[id] = NULL;
		return;
	}
	o = calloc(1, sizeof(*o));
	assert_non_null(o);
	o->head.oid[0] = id;
	o->head.oid[1] = 7;
	assert_int_equal(swi_log_index_add(sp, o), 0);
	in[id] = o;
}

static void any_order__finds_what_is_there(void **state SWI_UNUSED)
{
	struct swi_spill *sp = calloc(1, sizeof(*sp));
	uint64_t seed = 5, count = 0;

	assert_non_null(sp);
	check(sp, 1); /* empty */
	for (uint32_t i = 0; i < OPS; i++) {
		/* Times of growth and times of decline; few ids at first, so that the table is small and full. */
		const uint32_t ids = i < OPS / 3 ? 47 : IDS;
		const uint32_t id = (uint32_t)(rnd(&seed) % ids);

		if (!in[id] == (rnd(&seed) % 100 < (i / 10000 % 2 ? 20 : 80)))
			flip(sp, id);
		check(sp, (uint32_t)(rnd(&seed) % ids));
		if (i % 1000 == 0)
			for (uint32_t k = 0; k < IDS; k++)
				check(sp, k);
	}
	for (uint32_t k = 0; k < IDS; k++)
		count += in[k] != NULL;
	assert_int_equal(sp->index.count, count);
	assert_true((sp->index.mask + 1) / 4 * 3 >= count);
	swi_log_index_fini(sp);
	free(sp);
}

static void reserve__makes_room_at_once(void **state SWI_UNUSED)
{
	struct swi_spill *sp = calloc(1, sizeof(*sp));
	const struct swi_log_slot *at;

	assert_non_null(sp);
	memset(in, 0, sizeof(in));
	assert_int_equal(swi_log_index_reserve(sp, IDS), 0);
	at = sp->index.slots;
	for (uint32_t k = 0; k < IDS; k++)
		flip(sp, k);
	assert_ptr_equal(sp->index.slots, at);
	for (uint32_t k = 0; k < IDS; k++)
		check(sp, k);
	assert_int_equal(swi_log_index_reserve(sp, UINT64_MAX / 4), -ENOMEM);
	for (uint32_t k = 0; k < IDS; k++)
		check(sp, k);
	swi_log_index_fini(sp);
	free(sp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_order__finds_what_is_there),
		cmocka_unit_test(reserve__makes_room_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
