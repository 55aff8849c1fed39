/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_fault.c - what a disk can do to the log while it lives: refuse, fill up, lie; and what
 * lies in its folders already. On simulated disks.
 */
#include "spill_rig.h"

static void open_one(struct rig *r, uint64_t capacity)
{
	rig_init_sim(r, 1, capacity, 21);
	rig_open(r);
}

static void fault(struct rig *r, uint32_t disk, enum swi_sim_fault_kind kind, enum swi_dio_op op,
		  uint64_t after, uint64_t count)
{
	const struct swi_sim_fault f = {.kind = kind, .op = op, .after = after, .count = count};

	assert_int_equal(swi_disk_sim_faults(r->disks[disk], &f, 1), 0);
}

static void write_eio__once__goes_to_another_segment(void **state SWI_UNUSED)
{
	static const uint64_t lens[] = {100, KIB(200)};

	for (size_t i = 0; i < SWI_ARRAY_LEN(lens); i++) {
		struct rig r;

		open_one(&r, MIB(64));
		assert_int_equal(rig_write(&r, 1, 0, lens[i]), 0);
		fault(&r, 0, SWI_SIM_EIO, SWI_DIO_WRITE, 0, 1);
		assert_int_equal(rig_write(&r, 2, 0, lens[i]), 0);
		assert_true(swi_spill_stats(r.sp)->write_errors == 1);
		assert_int_equal(rig_restore(&r, 1, 0, lens[i]), 0);
		assert_int_equal(rig_restore(&r, 2, 0, lens[i]), 0);
		rig_fini(&r);
	}
}

static void write_eio__for_ever__is_typed_and_backs_off(void **state SWI_UNUSED)
{
	struct rig r;

	open_one(&r, MIB(64));
	fault(&r, 0, SWI_SIM_EIO, SWI_DIO_WRITE, 0, UINT64_MAX);
	assert_int_equal(rig_write(&r, 1, 0, 100), -EIO);
	assert_false(swi_spill_find(r.sp, rig_id(1, 0), NULL));
	assert_false(swi_spill_has_room(r.sp, 100));
	assert_true(swi_spill_deadline_ns(r.sp) != UINT64_MAX);
	assert_int_equal(rig_write(&r, 1, 0, 100), -EIO); /* at once: the disk is left alone */
	swi_disk_sim_faults(r.disks[0], NULL, 0);
	r.now = swi_spill_deadline_ns(r.sp);
	rig_step(&r);
	assert_true(swi_spill_has_room(r.sp, 100));
	assert_int_equal(rig_write(&r, 1, 0, 100), 0);
	assert_int_equal(rig_restore(&r, 1, 0, 100), 0);
	rig_fini(&r);
}

static void write_eio__on_one_disk__goes_to_the_other(void **state SWI_UNUSED)
{
	struct rig r;

	rig_init_sim(&r, 2, MIB(64), 22);
	rig_open(&r);
	fault(&r, 0, SWI_SIM_EIO, SWI_DIO_WRITE, 0, UINT64_MAX);
	for (uint64_t n = 0; n < 40; n++)
		assert_int_equal(rig_write(&r, n, 0, n % 2 ? KIB(100) : 500), 0);
	for (uint64_t n = 0; n < 40; n++)
		assert_int_equal(rig_restore(&r, n, 0, n % 2 ? KIB(100) : 500), 0);
	rig_fini(&r);
}

static void sync_eio__in_keep_mode__is_written_anew(void **state SWI_UNUSED)
{
	struct rig r;

	rig_init_sim(&r, 1, MIB(64), 23);
	r.opts.keep = true;
	rig_open(&r);
	fault(&r, 0, SWI_SIM_EIO, SWI_DIO_SYNC, 0, 1);
	assert_int_equal(rig_write(&r, 1, 0, 3000), 0);
	rig_crash(&r);
	rig_open_disks(&r);
	rig_open(&r);
	assert_int_equal(rig_restore(&r, 1, 0, 3000), 0);
	rig_fini(&r);
}

static void read_eio__once_is_retried__twice_drops_the_record(void **state SWI_UNUSED)
{
	static const uint64_t lens[] = {100, KIB(200)};

	for (size_t i = 0; i < SWI_ARRAY_LEN(lens); i++) {
		struct rig r;

		open_one(&r, MIB(64));
		assert_int_equal(rig_write(&r, 1, 0, lens[i]), 0);
		fault(&r, 0, SWI_SIM_EIO, SWI_DIO_READ, 0, 1);
		assert_int_equal(rig_restore(&r, 1, 0, lens[i]), 0);
		fault(&r, 0, SWI_SIM_EIO, SWI_DIO_READ, 0, 2);
		assert_int_equal(rig_restore(&r, 1, 0, lens[i]), -EIO);
		assert_false(swi_spill_find(r.sp, rig_id(1, 0), NULL));
		assert_int_equal(swi_spill_stats(r.sp)->read_errors, 1);
		assert_int_equal(swi_spill_stats(r.sp)->objects, 0);
		rig_fini(&r);
	}
}

static void flip__on_medium__is_found(void **state SWI_UNUSED)
{
	uint32_t found = 0;

	for (uint64_t seed = 1; seed < 60; seed++) {
		const uint64_t len = seed % 8 ? KIB(80) : MIB(3) + KIB(80); /* digested at once, or in portions */
		struct rig r;
		int rc;

		rig_init_sim(&r, 1, MIB(64), seed);
		rig_open(&r);
		fault(&r, 0, SWI_SIM_FLIP, SWI_DIO_WRITE, 1, 1); /* 0 is the segment's header */
		assert_int_equal(rig_write(&r, 1, 0, len), 0);
		rc = rig_restore(&r, 1, 0, len);
		/* The flip may hit the padding behind the object, or what the disk copy may differ in. */
		assert_true(rc == 0 || rc == SWARM_ECORRUPT);
		found += rc == SWARM_ECORRUPT;
		assert_int_equal(rig_restore(&r, 1, 0, len), rc ? -ENOENT : 0);
		rig_fini(&r);
	}
	assert_true(found > 50);
}

static void note(struct swi_spill_io *io)
{
	assert_int_equal(io->status, 0);
	*(bool *)io->owner = true;
}

/* The digest of a large object takes long: it is made in portions, with a turn for everything else between them. */
static void restore__of_a_large_object__takes_many_turns(void **state SWI_UNUSED)
{
	struct swi_spill_io io = {.id = rig_id(1, 0), .extent_bytes = swi_extent_bytes(MIB(8)), .cb = note};
	uint32_t turns = 0;
	bool over = false;
	struct rig r;

	open_one(&r, MIB(64));
	assert_int_equal(rig_write(&r, 1, 0, MIB(8)), 0);
	assert_int_equal(posix_memalign(&io.extent, SWI_DISK_ALIGN, io.extent_bytes), 0);
	io.owner = &over;
	swi_spill_restore(r.sp, &io);
	while (!over) {
		rig_step(&r);
		turns += !over && !swi_spill_deadline_ns(r.sp); /* it has arrived, and there is more to digest */
	}
	assert_true(turns >= 7);
	assert_true(rig_same(io.extent, 1, 0, MIB(8)));
	free(io.extent);
	rig_fini(&r);
}

static void short_transfers_and_latency__change_nothing(void **state SWI_UNUSED)
{
	struct rig r;
	const struct swi_sim_fault f[] = {
		{.kind = SWI_SIM_SHORT, .op = SWI_DIO_WRITE, .count = UINT64_MAX},
		{.kind = SWI_SIM_SHORT, .op = SWI_DIO_READ, .count = UINT64_MAX},
		{.kind = SWI_SIM_LATENCY, .op = SWI_DIO_READ, .count = 2, .arg = NS_PER_S},
	};

	open_one(&r, MIB(64));
	assert_int_equal(swi_disk_sim_faults(r.disks[0], f, SWI_ARRAY_LEN(f)), 0);
	for (uint64_t n = 0; n < 10; n++)
		assert_int_equal(rig_write(&r, n, 0, n * KIB(20)), 0);
	for (uint64_t n = 0; n < 10; n++)
		assert_int_equal(rig_restore(&r, n, 0, n * KIB(20)), 0);
	rig_fini(&r);
}

/* Seconds for one write and one sync: others go on, and nothing is acknowledged before its time. */
static void latency__of_seconds__delays_only_what_it_hits(void **state SWI_UNUSED)
{
	const struct swi_sim_fault f[] = {
		{.kind = SWI_SIM_LATENCY, .op = SWI_DIO_WRITE, .after = 1, .count = 1, .arg = 5 * NS_PER_S},
		{.kind = SWI_SIM_LATENCY, .op = SWI_DIO_SYNC, .after = 1, .count = 1, .arg = 3 * NS_PER_S},
	};
	struct rig r;
	uint64_t begin;

	rig_init_sim(&r, 1, MIB(64), 27);
	r.opts.keep = true;
	rig_open(&r);
	assert_int_equal(swi_disk_sim_faults(r.disks[0], f, SWI_ARRAY_LEN(f)), 0);
	begin = r.now;
	assert_int_equal(rig_write(&r, 1, 0, KIB(100)), 0); /* write 0 is the header's */
	assert_in_range(r.now - begin, 5 * NS_PER_S, 5 * NS_PER_S + 10 * NS_PER_MS);
	begin = r.now;
	assert_int_equal(rig_write(&r, 2, 0, 700), 0);
	assert_in_range(r.now - begin, 3 * NS_PER_S, 3 * NS_PER_S + 10 * NS_PER_MS);
	assert_int_equal(swi_spill_stats(r.sp)->write_errors, 0);
	rig_crash(&r);
	rig_open_disks(&r);
	rig_open(&r);
	assert_int_equal(rig_restore(&r, 1, 0, KIB(100)), 0);
	assert_int_equal(rig_restore(&r, 2, 0, 700), 0);
	rig_fini(&r);
}

static void full__is_typed__backs_off__and_recovers(void **state SWI_UNUSED)
{
	uint64_t n = 0, opens;
	struct rig r;
	int rc;

	open_one(&r, MIB(8));
	while ((rc = rig_write(&r, n, 0, KIB(100))) == 0)
		n++;
	assert_int_equal(rc, SWARM_EDISKFULL);
	assert_true(n >= 60); /* nothing much of 8 MiB was left unused */
	assert_false(swi_spill_has_room(r.sp, KIB(100)));
	assert_true(swi_spill_deadline_ns(r.sp) != UINT64_MAX);
	opens = swi_disk_sim_count(r.disks[0], SWI_DIO_WRITE);
	for (int i = 0; i < 100; i++)
		assert_int_equal(rig_write(&r, 1000, 0, KIB(100)), SWARM_EDISKFULL);
	assert_int_equal(swi_disk_sim_count(r.disks[0], SWI_DIO_WRITE), opens); /* not hammered */
	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(rig_restore(&r, i, 0, KIB(100)), 0); /* nothing is lost */
	for (uint64_t i = 0; i < n; i++)
		swi_spill_forget(r.sp, rig_id(i, 0));
	for (int i = 0; i < 100; i++)
		rig_step(&r);
	assert_true(swi_spill_has_room(r.sp, KIB(100)));
	assert_int_equal(rig_write(&r, 1000, 0, KIB(100)), 0);
	rig_fini(&r);
}

static void half_dead_segments__give_their_bytes_back(void **state SWI_UNUSED)
{
	for (int no_punch = 0; no_punch < 2; no_punch++) {
		const uint64_t count = 150;
		struct rig r;

		rig_init_sim(&r, 1, MIB(64), 25);
		rig_close(&r);
		r.sim.no_punch = no_punch;
		rig_open_disks(&r);
		rig_open(&r);
		for (uint64_t n = 0; n < count; n++)
			assert_int_equal(rig_write(&r, n, 0, KIB(128)), 0);
		assert_true(swi_spill_stats(r.sp)->segment_bytes >= MIB(18));
		for (uint64_t n = 0; n < count; n++)
			if (n % 5)
				swi_spill_forget(r.sp, rig_id(n, 0));
		for (int i = 0; i < 2000; i++)
			rig_step(&r);
		assert_true(swi_spill_stats(r.sp)->segment_bytes <= MIB(11));
		assert_int_equal(swi_spill_stats(r.sp)->compacted_bytes > 0, no_punch);
		for (uint64_t n = 0; n < count; n += 5)
			assert_int_equal(rig_restore(&r, n, 0, KIB(128)), 0);
		rig_fini(&r);
	}
}

static void foreign__files__are_left_alone_and_named_once(void **state SWI_UNUSED)
{
	static const char *const names[] = {"precious.txt", "swarm-0000000000000007.seg",
					    "swarm-00000000000000zz.seg", "swarm-1.seg"};
	struct rig r;
	char text[9000];

	memset(text, 'x', sizeof(text));
	for (int keep = 0; keep < 2; keep++) {
		rig_init_sim(&r, 1, MIB(64), 26);
		for (size_t i = 0; i < SWI_ARRAY_LEN(names); i++)
			assert_int_equal(swi_platter_write(r.platters[0], names[i], 0, text, 9000), 0);
		r.opts.keep = keep;
		rig_open(&r);
		assert_non_null(strstr(r.lines, "4 files are not of this log"));
		for (uint64_t n = 0; n < 30; n++)
			assert_int_equal(rig_write(&r, n, 0, KIB(200)), 0);
		rig_close(&r);
		rig_open_disks(&r);
		for (size_t i = 0; i < SWI_ARRAY_LEN(names); i++) {
			char back[9000];

			assert_int_equal(swi_platter_read(r.platters[0], names[i], 0, back, 9000), 0);
			assert_memory_equal(back, text, 9000);
		}
		rig_fini(&r);
	}
}

static void count_file(void *ctx, const char *name SWI_UNUSED)
{
	(*(uint32_t *)ctx)++;
}

static void earlier_life__is_swept_unless_kept(void **state SWI_UNUSED)
{
	uint32_t files = 0;
	struct rig r;

	open_one(&r, MIB(64));
	for (uint64_t n = 0; n < 30; n++)
		assert_int_equal(rig_write(&r, n, 0, KIB(200)), 0);
	rig_crash(&r); /* leaves its files */
	swi_platter_each(r.platters[0], count_file, &files);
	assert_true(files > 1);
	rig_open_disks(&r);
	rig_open(&r);
	files = 0;
	swi_platter_each(r.platters[0], count_file, &files);
	assert_int_equal(files, 0);
	assert_int_equal(swi_spill_stats(r.sp)->objects, 0);
	assert_int_equal(rig_write(&r, 1, 0, 100), 0);
	rig_close(&r); /* an orderly end leaves none */
	files = 0;
	swi_platter_each(r.platters[0], count_file, &files);
	assert_int_equal(files, 0);
	rig_fini(&r);
}

static void count_down(struct swi_spill_io *io)
{
	assert_int_equal(io->status, 0);
	(*(int *)io->owner)--;
}

static void restore__many_of_one_object__reads_once(void **state SWI_UNUSED)
{
	static const uint64_t lens[] = {3000, KIB(300)};
	struct rig r;

	open_one(&r, MIB(64));
	for (uint64_t n = 0; n < SWI_ARRAY_LEN(lens); n++) {
		struct swi_spill_io io[5];
		uint64_t reads;
		int left = 5;

		assert_int_equal(rig_write(&r, n, 0, lens[n]), 0);
		reads = swi_disk_sim_count(r.disks[0], SWI_DIO_READ);
		for (int i = 0; i < 5; i++) {
			io[i] = (struct swi_spill_io){.id = rig_id(n, 0),
						      .extent = rig_extent(9, 9, lens[n]),
						      .extent_bytes = swi_extent_bytes(lens[n]),
						      .cb = count_down, .owner = &left};
			swi_spill_restore(r.sp, &io[i]);
		}
		swi_spill_forget(r.sp, rig_id(n, 0)); /* those in flight still finish */
		while (left)
			rig_step(&r);
		assert_int_equal(swi_disk_sim_count(r.disks[0], SWI_DIO_READ), reads + 1);
		for (int i = 0; i < 5; i++) {
			assert_true(rig_same(io[i].extent, n, 0, lens[n]));
			free(io[i].extent);
		}
	}
	rig_fini(&r);
}

static void refused(struct swi_spill_io *io)
{
	*(int *)io->owner = io->status;
}

static void misuse__is_refused(void **state SWI_UNUSED)
{
	struct swi_spill_opts none = {0};
	struct swi_spill_io io;
	struct swi_object_head *h;
	struct rig r;
	char *p;
	int rc = 1;

	open_one(&r, MIB(64));
	p = rig_extent(1, 0, 100);
	h = (struct swi_object_head *)(void *)p;
	io = (struct swi_spill_io){.id = rig_id(2, 0), .extent = p, .extent_bytes = swi_extent_bytes(100),
				   .cb = refused, .owner = &rc};
	swi_spill_write(r.sp, &io); /* another object's id */
	rig_step(&r);
	assert_int_equal(rc, -EINVAL);
	io.id = rig_id(1, 0);
	h->flags = 0; /* no digest */
	swi_spill_write(r.sp, &io);
	rig_step(&r);
	assert_int_equal(rc, -EINVAL);
	h->flags = SWI_OBJ_F_DIGEST;
	h->len = UINT64_MAX - 3;
	swi_spill_write(r.sp, &io);
	rig_step(&r);
	assert_int_equal(rc, -EINVAL);
	free(p);
	assert_int_equal(rig_restore(&r, 99, 0, 100), -ENOENT);
	rig_close(&r);
	none.disk_count = 0; /* spilling is off */
	rig_open_disks(&r);
	r.opts = none;
	rig_open(&r);
	assert_int_equal(rig_write(&r, 1, 0, 100), SWARM_EDISKFULL);
	assert_false(swi_spill_has_room(r.sp, 1));
	rig_fini(&r);
}

static void destroy__with_work_in_flight__answers_every_request(void **state SWI_UNUSED)
{
	struct swi_spill_io io[20];
	int status[20];
	struct rig r;

	open_one(&r, MIB(64));
	assert_int_equal(rig_write(&r, 0, 0, KIB(70)), 0);
	for (uint64_t i = 0; i < 20; i++) {
		const uint64_t len = i % 2 ? KIB(70) : 700;

		status[i] = 1;
		io[i] = (struct swi_spill_io){.id = rig_id(i, i == 0 ? 0 : 1),
					      .extent = rig_extent(i, 1, i ? len : KIB(70)),
					      .extent_bytes = swi_extent_bytes(i ? len : KIB(70)),
					      .cb = refused, .owner = &status[i]};
		(i ? swi_spill_write : swi_spill_restore)(r.sp, &io[i]);
	}
	swi_spill_destroy(r.sp);
	r.sp = NULL;
	for (int i = 0; i < 20; i++) {
		assert_true(status[i] == 0 || status[i] == -ECANCELED);
		free(io[i].extent);
	}
	rig_fini(&r);
}

static void same_seed__same_run(void **state SWI_UNUSED)
{
	uint64_t end[2];

	for (int i = 0; i < 2; i++) {
		struct rig r;

		rig_init_sim(&r, 2, MIB(64), 99);
		rig_open(&r);
		for (uint64_t n = 0; n < 50; n++)
			assert_int_equal(rig_write(&r, n, 0, n * 1777), 0);
		end[i] = r.now ^ r.rng ^ swi_disk_sim_count(r.disks[1], SWI_DIO_WRITE) << 40;
		rig_fini(&r);
	}
	assert_int_equal(end[0], end[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(write_eio__once__goes_to_another_segment),
		cmocka_unit_test(write_eio__for_ever__is_typed_and_backs_off),
		cmocka_unit_test(write_eio__on_one_disk__goes_to_the_other),
		cmocka_unit_test(sync_eio__in_keep_mode__is_written_anew),
		cmocka_unit_test(read_eio__once_is_retried__twice_drops_the_record),
		cmocka_unit_test(flip__on_medium__is_found),
		cmocka_unit_test(restore__of_a_large_object__takes_many_turns),
		cmocka_unit_test(short_transfers_and_latency__change_nothing),
		cmocka_unit_test(latency__of_seconds__delays_only_what_it_hits),
		cmocka_unit_test(full__is_typed__backs_off__and_recovers),
		cmocka_unit_test(half_dead_segments__give_their_bytes_back),
		cmocka_unit_test(foreign__files__are_left_alone_and_named_once),
		cmocka_unit_test(earlier_life__is_swept_unless_kept),
		cmocka_unit_test(restore__many_of_one_object__reads_once),
		cmocka_unit_test(misuse__is_refused),
		cmocka_unit_test(destroy__with_work_in_flight__answers_every_request),
		cmocka_unit_test(same_seed__same_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
