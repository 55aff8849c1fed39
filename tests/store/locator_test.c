/* SPDX-License-Identifier: Apache-2.0 */
/* locator_test.c - places of objects on other nodes: what an index and a header must say before they are believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/index.h"
#include "store/locator.h"

#define EPOCH 5u
#define GEN   0x300003u /* more bits than a slot has */
#define LEN   1000u

static const struct swarm_oid id = {{7, 8}};
static uint64_t pair[SWI_PAIR_WORDS];
static struct swi_object_head head;

static int setup(void **state SWI_UNUSED)
{
	memset(pair, 0, sizeof(pair));
	pair[6] = swi_slot_sized(swi_slot_word(SWI_SLOT_SEALED, GEN, MIB(3)), swi_extent_bytes(LEN));
	pair[7] = swi_index_key(id);
	head = (struct swi_object_head){.magic = SWI_OBJ_MAGIC, .state = SWI_OBJ_SEALED, .oid = {7, 8}, .gen = GEN,
					.epoch = EPOCH, .len = LEN, .digest = 9, .flags = SWI_OBJ_F_DIGEST};
	return 0;
}

static void slot__of_the_object__leads_to_it(void **state SWI_UNUSED)
{
	struct swi_locator loc;
	uint64_t bytes;

	assert_true(swi_locator_of_pair(pair, id, EPOCH, &loc, &bytes));
	assert_int_equal(loc.offset, MIB(3));
	assert_int_equal(loc.epoch, EPOCH);
	assert_true(bytes >= swi_extent_bytes(LEN) && bytes <= SWI_DIRECT_MAX);
	assert_true(swi_locator_complete(&loc, &head, bytes));
	assert_int_equal(loc.len, LEN);
	assert_int_equal(loc.gen, GEN);
	assert_int_equal(loc.digest, 9);
	assert_true(loc.has_digest);
}

static void slot__of_something_else__leads_nowhere(void **state SWI_UNUSED)
{
	const uint64_t word = pair[6];
	struct swi_locator loc;
	uint64_t bytes;

	pair[7]++;
	assert_false(swi_locator_of_pair(pair, id, EPOCH, &loc, &bytes));
	pair[7]--;
	for (enum swi_slot_state st = SWI_SLOT_EMPTY; st <= SWI_SLOT_DEAD; st++) {
		pair[6] = (word & ~SWI_SLOT_STATE) | (uint64_t)st << 62;
		assert_int_equal(swi_locator_of_pair(pair, id, EPOCH, &loc, &bytes), st == SWI_SLOT_SEALED);
	}
	for (uint64_t c = 0; c < 128; c++) { /* too large for one READ, and what a peer makes up */
		pair[6] = (word & ~(0x7full << 55)) | c << 55;
		assert_int_equal(swi_locator_of_pair(pair, id, EPOCH, &loc, &bytes),
				 c && c <= swi_size_class(SWI_DIRECT_MAX));
	}
}

static bool completes(uint64_t bytes)
{
	struct swi_locator loc;
	uint64_t enough;

	assert_true(swi_locator_of_pair(pair, id, EPOCH, &loc, &enough));
	return swi_locator_complete(&loc, &head, bytes ? bytes : enough);
}

static void header__of_another_object_or_life_or_end__is_not_believed(void **state)
{
	assert_true(completes(sizeof(head) + LEN));
	assert_false(completes(sizeof(head) + LEN - 1)); /* it ends behind what was READ */
	assert_false(completes(sizeof(head) - 1));
	head.magic++;
	assert_false(completes(0));
	setup(state);
	head.oid[1]++;
	assert_false(completes(0));
	setup(state);
	head.epoch++;
	assert_false(completes(0));
	setup(state);
	head.gen++;
	assert_false(completes(0));
	setup(state);
	head.len = UINT64_MAX;
	assert_false(completes(0));
	setup(state);
	head.crc = 1;
	assert_false(completes(0));
	setup(state);
	atomic_store(&head.state, 0);
	assert_false(completes(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(slot__of_the_object__leads_to_it, setup),
	    cmocka_unit_test_setup(slot__of_something_else__leads_nowhere, setup),
	    cmocka_unit_test_setup(header__of_another_object_or_life_or_end__is_not_believed, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
