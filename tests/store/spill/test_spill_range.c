/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_range.c - parts of spilled objects: right bytes, their blocks and no more, damaged ones
 * found, faults, misuse.
 */
#include "spill_rig.h"

static const uint64_t lens[] = {1, 200, 5000, KIB(64) - 64, KIB(300), MIB(3) + 17};

struct part {
	struct swi_spill_io io;
	bool over;
};

static void over(struct swi_spill_io *io)
{
	swi_container_of(io, struct part, io)->over = true;
}

/* Reads and compares; a status, or -EBADMSG where the bytes are wrong. */
static int read_part(struct rig *r, uint64_t n, uint64_t len, uint64_t from, uint64_t count)
{
	const uint64_t room = swi_spill_range_room(r->sp, rig_id(n, 0), from, count);
	struct part p = {.io = {.id = rig_id(n, 0), .from = from, .len = count, .cb = over}};
	const char *whole = rig_extent(n, 0, len);
	int turns = 0, rc;

	p.io.extent_bytes = swi_max_u64(room, SWI_DISK_ALIGN);
	assert_int_equal(posix_memalign(&p.io.extent, SWI_DISK_ALIGN, p.io.extent_bytes), 0);
	swi_spill_read_range(r->sp, &p.io);
	assert_false(p.over);
	while (!p.over) {
		assert_true(turns++ < 1000);
		rig_step(r);
	}
	rc = p.io.status;
	if (!rc && memcmp(p.io.data, whole + sizeof(struct swi_object_head) + from, count))
		rc = -EBADMSG;
	free(p.io.extent);
	free((void *)(uintptr_t)whole);
	return rc;
}

static void write_all(struct rig *r)
{
	for (uint64_t n = 0; n < SWI_ARRAY_LEN(lens); n++)
		assert_int_equal(rig_write(r, n, 0, lens[n]), 0);
}

static void range__anywhere__is_right(void **state SWI_UNUSED)
{
	uint64_t dice = 5;
	struct rig r;

	rig_init_sim(&r, 2, MIB(64), 3);
	rig_open(&r);
	write_all(&r);
	for (int i = 0; i < 3000; i++) {
		const uint64_t n = swi_splitmix64(&dice) % SWI_ARRAY_LEN(lens);
		const uint64_t from = swi_splitmix64(&dice) % lens[n];
		const uint64_t count = 1 + swi_splitmix64(&dice) % (lens[n] - from);
		const uint64_t room = swi_spill_range_room(r.sp, rig_id(n, 0), from, count);

		/* Of a large one the blocks of these bytes; a small one whole, wherever it begins. */
		if (swi_extent_bytes(lens[n]) >= SWI_LARGE_MIN)
			assert_true(room >= count && room < count + 2 * SWI_DISK_ALIGN);
		else
			assert_true(room < swi_extent_bytes(lens[n]) + 2 * SWI_DISK_ALIGN);
		assert_int_equal(read_part(&r, n, lens[n], from, count), 0);
	}
	rig_fini(&r);
}

static void range__of_a_large_object__lands_in_place(void **state SWI_UNUSED)
{
	const uint64_t len = MIB(1), n = 7, from = 2 * SWI_DISK_ALIGN - sizeof(struct swi_object_head);
	char *extent = rig_extent(0, 0, len), *want = rig_extent(n, 0, len);
	struct part p = {.io = {.id = rig_id(n, 0), .extent = extent + 2 * SWI_DISK_ALIGN,
				.extent_bytes = KIB(64), .from = from, .len = KIB(64), .cb = over}};
	struct rig r;

	rig_init_sim(&r, 1, MIB(64), 3);
	rig_open(&r);
	assert_int_equal(rig_write(&r, n, 0, len), 0);
	swi_spill_read_range(r.sp, &p.io);
	swi_spill_forget(r.sp, p.io.id); /* one in flight still finishes */
	while (!p.over)
		rig_step(&r);
	assert_int_equal(p.io.status, 0);
	assert_ptr_equal(p.io.data, p.io.extent);
	assert_memory_equal(p.io.extent, want + 2 * SWI_DISK_ALIGN, KIB(64));
	assert_int_equal(read_part(&r, n, len, 0, 1), -ENOENT);
	free(extent);
	free(want);
	rig_fini(&r);
}

static void range__on_a_real_disk__is_right(void **state SWI_UNUSED)
{
	struct rig r;

	rig_init_real(&r, 1, ".");
	rig_open(&r);
	write_all(&r);
	for (uint64_t n = 0; n < SWI_ARRAY_LEN(lens); n++) {
		assert_int_equal(read_part(&r, n, lens[n], 0, lens[n]), 0);
		assert_int_equal(read_part(&r, n, lens[n], lens[n] / 2, lens[n] - lens[n] / 2), 0);
	}
	rig_fini(&r);
}

#define LARGE 4u /* lens[LARGE]: 76 blocks */
#define HEAD  sizeof(struct swi_object_head)

/* Byte @at of the payload is turned on the disk: a part with it is refused, and then the object is gone. */
static void damaged_part(struct rig *r, uint64_t n, uint64_t at)
{
	const uint64_t len = lens[n], block = (HEAD + at) / SWI_DISK_ALIGN;
	const uint64_t before = block * SWI_DISK_ALIGN, after = before + SWI_DISK_ALIGN - HEAD;
	const uint64_t bad = swi_spill_stats(r->sp)->corrupt_records;

	rig_flip(r, n, 0, (HEAD + at) * 8 + at % 8);
	if (n == LARGE && block)
		assert_int_equal(read_part(r, n, len, 0, before - HEAD), 0);
	if (n == LARGE && after < len)
		assert_int_equal(read_part(r, n, len, after, len - after), 0);
	assert_int_equal(read_part(r, n, len, at, 1), SWARM_ECORRUPT);
	assert_int_equal(swi_spill_stats(r->sp)->corrupt_records, bad + 1);
	assert_int_equal(read_part(r, n, len, at, 1), -ENOENT);
	assert_non_null(strstr(swi_spill_trouble(r->sp), ".seg"));
}

static void reopen(struct rig *r, bool crash)
{
	crash ? rig_crash(r) : rig_close(r);
	rig_open_disks(r);
	rig_open(r);
}

/* Sums as they were made when writing, as the footer has them, and as a scan makes them anew. */
static void range__of_damaged_blocks__is_refused(void **state SWI_UNUSED)
{
	static const uint64_t places[] = {0, 1, 4031, 4032, 4033, 8127, 8128, 70000, KIB(300) - 1};

	for (int how = 0; how < 3; how++) {
		for (size_t i = 0; i < SWI_ARRAY_LEN(places); i++) {
			const uint64_t n = 1 + i % 2; /* small */
			struct rig r;

			rig_init_sim(&r, 1, MIB(64), 5 + i);
			r.opts.keep = true;
			rig_open(&r);
			write_all(&r);
			if (how)
				reopen(&r, how == 2);
			damaged_part(&r, n, places[i] % lens[n]);
			damaged_part(&r, LARGE, places[i]);
			rig_fini(&r);
		}
	}
}

/* One bit of what is read is turned: once is read again; always is refused. Never a wrong byte. */
static void range__bits_flipped_on_the_way__are_found(void **state SWI_UNUSED)
{
	const struct swi_sim_fault once = {SWI_SIM_FLIP, SWI_DIO_READ, 0, 1, 0};
	const struct swi_sim_fault ever = {SWI_SIM_FLIP, SWI_DIO_READ, 0, UINT64_MAX, 0};
	uint64_t dice = 77, found = 0;
	struct rig r;

	rig_init_sim(&r, 1, GIB(1), 6);
	rig_open(&r);
	for (int i = 0; i < 600; i++) {
		const uint64_t n = swi_splitmix64(&dice) % SWI_ARRAY_LEN(lens);
		const uint64_t from = swi_splitmix64(&dice) % lens[n];
		const uint64_t count = 1 + swi_splitmix64(&dice) % (lens[n] - from);
		int rc;

		if (!swi_spill_find(r.sp, rig_id(n, 0), NULL))
			assert_int_equal(rig_write(&r, n, 0, lens[n]), 0);
		assert_int_equal(swi_disk_sim_faults(r.disks[0], i % 2 ? &once : &ever, 1), 0);
		rc = read_part(&r, n, lens[n], from, count); /* compares every byte */
		/* Bits around the object, or the header of a large one, are not the range's. */
		assert_true(rc == 0 || (rc == SWARM_ECORRUPT && i % 2 == 0));
		found += rc != 0;
		assert_int_equal(swi_disk_sim_faults(r.disks[0], NULL, 0), 0);
	}
	print_message("%llu of 300 were refused\n", (unsigned long long)found);
	assert_true(found > 120);
	rig_fini(&r);
}

static void range__faults_and_misuse__are_typed(void **state SWI_UNUSED)
{
	const struct swi_sim_fault once = {SWI_SIM_EIO, SWI_DIO_READ, 0, 1, 0};
	const struct swi_sim_fault ever = {SWI_SIM_EIO, SWI_DIO_READ, 0, UINT64_MAX, 0};
	const struct swi_sim_fault shortened = {SWI_SIM_SHORT, SWI_DIO_READ, 0, UINT64_MAX, 0};
	struct rig r;

	rig_init_sim(&r, 1, MIB(64), 4);
	rig_open(&r);
	write_all(&r);
	assert_int_equal(swi_disk_sim_faults(r.disks[0], &once, 1), 0);
	assert_int_equal(read_part(&r, 4, lens[4], 1000, 70000), 0);
	assert_int_equal(swi_disk_sim_faults(r.disks[0], &shortened, 1), 0);
	assert_int_equal(read_part(&r, 4, lens[4], 1000, 70000), 0);
	assert_int_equal(swi_disk_sim_faults(r.disks[0], &ever, 1), 0);
	assert_int_equal(read_part(&r, 4, lens[4], 1000, 70000), -EIO);
	assert_int_equal(swi_disk_sim_faults(r.disks[0], NULL, 0), 0);
	assert_int_equal(read_part(&r, 4, lens[4], 0, lens[4] + 1), -EINVAL);
	assert_int_equal(read_part(&r, 4, lens[4], lens[4], 1), -EINVAL);
	assert_int_equal(read_part(&r, 4, lens[4], UINT64_MAX, 2), -EINVAL);
	assert_int_equal(read_part(&r, 4, lens[4], 5, 0), -EINVAL);
	assert_int_equal(swi_spill_range_room(r.sp, rig_id(99, 0), 0, 1), 0);
	assert_int_equal(read_part(&r, 99, 1, 0, 1), -ENOENT);
	assert_int_equal(rig_restore(&r, 4, 0, lens[4]), 0); /* and it is still spilled */
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(range__anywhere__is_right),
		cmocka_unit_test(range__of_a_large_object__lands_in_place),
		cmocka_unit_test(range__on_a_real_disk__is_right),
		cmocka_unit_test(range__of_damaged_blocks__is_refused),
		cmocka_unit_test(range__bits_flipped_on_the_way__are_found),
		cmocka_unit_test(range__faults_and_misuse__are_typed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
