/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_punch.c - holes are punched beside everything else: who reads and writes does not wait for
 * one, its bytes count when it is there, what is read is not made a hole, and whatever ends meanwhile
 * (the segment, the log, the power) waits for it or does without. On simulated disks.
 */
#include "spill_rig.h"

#define COUNT 150u

static void count_punched(void *ctx, const struct swi_spill_segment *s)
{
	*(uint64_t *)ctx += s->punched_bytes;
}

static uint64_t punched(struct rig *r)
{
	uint64_t n = 0;

	swi_spill_each_segment(r->sp, count_punched, &n);
	return n;
}

static uint64_t punches(struct rig *r)
{
	return swi_disk_sim_count(r->disks[0], SWI_DIO_PUNCH);
}

static void fault(struct rig *r, enum swi_sim_fault_kind kind, enum swi_dio_op op, uint64_t count)
{
	const struct swi_sim_fault f = {.kind = kind, .op = op, .count = count, .arg = NS_PER_S};

	assert_int_equal(swi_disk_sim_faults(r->disks[0], &f, 1), 0);
}

static void write_all(struct rig *r, uint64_t seed, bool keep)
{
	rig_init_sim(r, 1, MIB(64), seed);
	r->opts.keep = keep;
	rig_open(r);
	for (uint64_t n = 0; n < COUNT; n++)
		assert_int_equal(rig_write(r, n, 0, KIB(128)), 0);
}

/* One of five stays. */
static void forget_most(struct rig *r)
{
	for (uint64_t n = 0; n < COUNT; n++)
		if (n % 5)
			swi_spill_forget(r->sp, rig_id(n, 0));
}

static void until_punching(struct rig *r)
{
	for (int i = 0; i < 20000 && !punches(r); i++) {
		(void)swi_spill_progress(r->sp);
		r->now += punches(r) ? 0 : 20 * NS_PER_US; /* not to its end */
	}
	assert_int_equal(punches(r), 1);
}

static void check_rest(struct rig *r)
{
	for (uint64_t n = 0; n < COUNT; n += 5)
		assert_int_equal(rig_restore(r, n, 0, KIB(128)), 0);
	assert_int_equal(swi_spill_stats(r->sp)->corrupt_records, 0);
}

static void hole__takes_a_second__nobody_waits_and_nothing_counts(void **state SWI_UNUSED)
{
	uint64_t held, since;
	struct rig r;

	write_all(&r, 31, false);
	fault(&r, SWI_SIM_LATENCY, SWI_DIO_PUNCH, UINT64_MAX);
	forget_most(&r);
	until_punching(&r);
	held = swi_spill_stats(r.sp)->segment_bytes;
	since = r.now;
	check_rest(&r);
	for (uint64_t n = COUNT; n < COUNT + 5; n++)
		assert_int_equal(rig_write(&r, n, 0, 900), 0);
	assert_true(r.now - since < NS_PER_S / 2);
	assert_int_equal(punches(&r), 1);
	assert_int_equal(punched(&r), 0);
	assert_int_equal(swi_spill_stats(r.sp)->segment_bytes, held);
	assert_true(swi_spill_deadline_ns(r.sp) != 0); /* it sleeps meanwhile */
	for (int i = 0; i < 4000; i++)
		rig_step(&r);
	assert_true(punched(&r) > MIB(8));
	assert_int_equal(swi_spill_stats(r.sp)->segment_bytes, held - punched(&r));
	assert_int_equal(swi_spill_stats(r.sp)->compacted_bytes, 0);
	check_rest(&r);
	rig_fini(&r);
}

static void set_flag(struct swi_spill_io *io)
{
	*(bool *)io->owner = true;
}

/* What is being read dies, and all around it is made a hole: the read has its bytes all the same. */
static void read__of_what_dies__is_not_made_a_hole(void **state SWI_UNUSED)
{
	for (int range = 0; range < 2; range++) {
		bool over = false;
		struct rig r;

		write_all(&r, 32, false);
		void *extent = rig_extent(0, 0, KIB(128));
		struct swi_spill_io io = {.id = rig_id(1, 0), .extent = extent, .extent_bytes = swi_extent_bytes(KIB(128)),
					  .cb = set_flag, .owner = &over, .from = KIB(60), .len = KIB(20)};

		fault(&r, SWI_SIM_LATENCY, SWI_DIO_READ, 1);
		(range ? swi_spill_read_range : swi_spill_restore)(r.sp, &io);
		forget_most(&r);
		for (int i = 0; i < 4000 && !over; i++)
			rig_step(&r);
		assert_true(over);
		assert_int_equal(io.status, 0);
		if (!range) {
			assert_true(rig_same(extent, 1, 0, KIB(128)));
		} else {
			void *want = rig_extent(1, 0, KIB(128));

			assert_memory_equal(io.data, (char *)want + sizeof(struct swi_object_head) + KIB(60), KIB(20));
			free(want);
		}
		for (int i = 0; i < 4000; i++)
			rig_step(&r);
		assert_true(punched(&r) > MIB(8)); /* of its segment too */
		check_rest(&r);
		free(extent);
		rig_fini(&r);
	}
}

static void eio__once__copies_that_segment_and_punches_the_others(void **state SWI_UNUSED)
{
	struct rig r;

	write_all(&r, 33, false);
	fault(&r, SWI_SIM_EIO, SWI_DIO_PUNCH, 1);
	forget_most(&r);
	for (int i = 0; i < 4000; i++)
		rig_step(&r);
	assert_non_null(strstr(r.lines, "a hole cannot be punched"));
	assert_int_equal(swi_spill_stats(r.sp)->write_errors, 1);
	assert_in_range(swi_spill_stats(r.sp)->compacted_bytes, 1, MIB(2));
	assert_true(punched(&r) > MIB(6));
	check_rest(&r);
	rig_fini(&r);
}

static void count_file(void *ctx, const char *name SWI_UNUSED)
{
	(*(uint32_t *)ctx)++;
}

static uint32_t files(struct rig *r)
{
	uint32_t n = 0;

	swi_platter_each(r->platters[0], count_file, &n);
	return n;
}

static void segment__dies_while_it_is_punched__goes_afterwards(void **state SWI_UNUSED)
{
	for (int keep = 0; keep < 2; keep++) {
		uint64_t since;
		struct rig r;

		write_all(&r, 34, keep);
		fault(&r, SWI_SIM_LATENCY, SWI_DIO_PUNCH, 1);
		forget_most(&r);
		until_punching(&r);
		since = r.now;
		for (uint64_t n = 0; n < COUNT; n += 5)
			swi_spill_forget(r.sp, rig_id(n, 0));
		while (r.now < since + NS_PER_S / 2) { /* all the others go */
			(void)swi_spill_progress(r.sp);
			r.now += 100 * NS_PER_US;
		}
		assert_int_equal(punches(&r), 1);
		assert_true(files(&r) >= 1);
		for (int i = 0; i < 4000; i++)
			rig_step(&r);
		assert_true(files(&r) <= 4); /* the open one, and two free ones or the last marks */
		assert_int_equal(swi_spill_stats(r.sp)->objects, 0);
		assert_int_equal(rig_write(&r, 1000, 0, KIB(128)), 0);
		assert_int_equal(rig_restore(&r, 1000, 0, KIB(128)), 0);
		rig_fini(&r);
	}
}

static void close__while_a_hole_is_punched__waits_for_it(void **state SWI_UNUSED)
{
	for (int keep = 0; keep < 2; keep++) {
		struct rig r;

		write_all(&r, 35, keep);
		fault(&r, SWI_SIM_LATENCY, SWI_DIO_PUNCH, UINT64_MAX);
		forget_most(&r);
		until_punching(&r);
		rig_close(&r);
		assert_true(keep ? files(&r) > 4 : !files(&r));
		rig_open_disks(&r);
		rig_open(&r);
		if (keep)
			check_rest(&r);
		rig_fini(&r);
	}
}

/* The hole may be there wholly, in part or not at all: what lives has all its bytes. */
static void power__fails_while_a_hole_is_punched__what_lives_is_there(void **state SWI_UNUSED)
{
	for (uint64_t seed = 100; seed < 160; seed++) {
		struct rig r;

		write_all(&r, seed, true);
		forget_most(&r);
		until_punching(&r);
		for (uint64_t i = 0; i < seed % 20; i++)
			rig_step(&r);
		rig_crash(&r);
		rig_open_disks(&r);
		rig_open(&r);
		check_rest(&r);
		/* Marks are there before holes: none of the dead is found and then cannot be read. */
		for (uint64_t n = 0; n < COUNT; n++) {
			const int rc = n % 5 ? rig_restore(&r, n, 0, KIB(128)) : 0;

			assert_true(!rc || rc == -ENOENT);
		}
		assert_int_equal(swi_spill_stats(r.sp)->corrupt_records, 0);
		rig_fini(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hole__takes_a_second__nobody_waits_and_nothing_counts),
		cmocka_unit_test(read__of_what_dies__is_not_made_a_hole),
		cmocka_unit_test(eio__once__copies_that_segment_and_punches_the_others),
		cmocka_unit_test(segment__dies_while_it_is_punched__goes_afterwards),
		cmocka_unit_test(close__while_a_hole_is_punched__waits_for_it),
		cmocka_unit_test(power__fails_while_a_hole_is_punched__what_lives_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
