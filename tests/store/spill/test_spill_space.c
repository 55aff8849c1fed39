/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_space.c - where the bytes of a log are: the account of each segment, quotas across restarts,
 * the reserve, and how several folders share what is written.
 */
#include "spill_rig.h"

struct account {
	uint64_t segments, bytes, live, dead, punched, objects;
	bool odd; /* a row that cannot be true */
};

static void add_row(void *ctx, const struct swi_spill_segment *s)
{
	struct account *a = ctx;

	a->segments++;
	a->bytes += s->bytes;
	a->live += s->live_bytes;
	a->dead += s->dead_bytes;
	a->punched += s->punched_bytes;
	a->objects += s->objects;
	if (s->live_bytes + s->dead_bytes + s->punched_bytes > s->bytes || !s->folder || !s->state)
		a->odd = true;
}

static struct account account_of(struct rig *r)
{
	const struct swi_spill_stats *st = swi_spill_stats(r->sp);
	struct account a = {0};

	swi_spill_each_segment(r->sp, add_row, &a);
	assert_false(a.odd);
	assert_int_equal(a.segments, st->segment_count);
	assert_int_equal(a.live, st->live_bytes);
	assert_int_equal(a.objects, st->objects);
	assert_int_equal(a.bytes - a.punched, st->segment_bytes);
	return a;
}

static void turns(struct rig *r, int n)
{
	while (n--)
		rig_step(r);
}

static void account__adds_up_at_any_time(void **state SWI_UNUSED)
{
	struct account a;
	struct rig r;

	rig_init_sim(&r, 2, MIB(128), 11);
	rig_open(&r);
	for (uint64_t n = 0; n < 100; n++) {
		assert_int_equal(rig_write(&r, n, 0, n % 2 ? KIB(128) : 900), 0);
		a = account_of(&r);
	}
	assert_int_equal(a.objects, 100);
	for (uint64_t n = 1; n < 100; n += 4) {
		swi_spill_forget(r.sp, rig_id(n, 0));
		a = account_of(&r);
	}
	assert_true(a.dead >= 25 * KIB(128) - MIB(1) || a.punched);
	turns(&r, 500);
	a = account_of(&r);
	assert_int_equal(a.objects, 75);
	rig_fini(&r);
}

/* Three of four objects die and their places become holes. */
static void make_holes(struct rig *r, uint64_t count)
{
	for (uint64_t n = 0; n < count; n++)
		assert_int_equal(rig_write(r, n, 0, KIB(128)), 0);
	for (uint64_t n = 0; n < count; n++)
		if (n % 4)
			swi_spill_forget(r->sp, rig_id(n, 0));
	turns(r, 2000);
}

static void quota__after_a_restart__does_not_count_holes(void **state SWI_UNUSED)
{
	static const char *const parents[] = {NULL, "."}; /* simulated, and a real folder */

	for (size_t i = 0; i < SWI_ARRAY_LEN(parents); i++) {
		uint64_t before, after;
		struct rig r;

		if (parents[i])
			rig_init_real(&r, 1, parents[i]);
		else
			rig_init_sim(&r, 1, MIB(256), 12);
		r.opts.keep = true;
		r.opts.quota_bytes = MIB(40);
		rig_open(&r);
		make_holes(&r, 200);
		before = account_of(&r).bytes - account_of(&r).punched;
		rig_close(&r);
		rig_open_disks(&r);
		rig_open(&r);
		after = account_of(&r).bytes - account_of(&r).punched;
		assert_in_range(after, before / 2, before + MIB(1));
		assert_true(after < MIB(24)); /* of 26 MiB written and more, a quarter is alive */
		for (uint64_t n = 0; n < 200; n += 4)
			assert_int_equal(rig_restore(&r, n, 0, KIB(128)), 0);
		for (uint64_t n = 300; n < 400; n++) /* so there is room for 12 MiB more */
			assert_int_equal(rig_write(&r, n, 0, KIB(128)), 0);
		rig_fini(&r);
	}
}

static void reserve__is_absolute_beside_the_percentage(void **state SWI_UNUSED)
{
	static const struct {
		uint64_t capacity, reserve, least, most; /* what may be left free at the end */
	} cases[] = {
		{MIB(256), 0, MIB(64), MIB(67)},	/* 2 % would be 5 MiB: at least 64 */
		{MIB(256), MIB(200), MIB(200), MIB(203)}, /* as asked for */
		{MIB(64), 1, 0, MIB(3)},
	};

	for (size_t i = 0; i < SWI_ARRAY_LEN(cases); i++) {
		uint64_t n = 0, left, total;
		struct rig r;
		int rc = 0;

		rig_init_sim(&r, 1, cases[i].capacity, 13);
		r.opts.reserve_bytes = cases[i].reserve;
		rig_open(&r);
		while (!rc && n < 5000)
			rc = rig_write(&r, n++, 0, KIB(200));
		assert_int_equal(rc, SWARM_EDISKFULL);
		assert_int_equal(r.disks[0]->ops->space(r.disks[0], &left, &total), 0);
		assert_in_range(left, cases[i].least, cases[i].most);
		rig_fini(&r);
	}
}

#define FLIGHT 32u

static void again(struct swi_spill_io *io)
{
	assert_int_equal(io->status, 0);
	free(io->extent);
	io->extent = NULL;
}

/* Keeps FLIGHT writes going until @count objects are written. */
static void pour(struct rig *r, uint64_t count)
{
	struct swi_spill_io io[FLIGHT] = {0};
	uint64_t n = 0, busy;

	do {
		busy = 0;
		for (uint32_t i = 0; i < FLIGHT; i++) {
			if (!io[i].extent && n < count) {
				io[i] = (struct swi_spill_io){
					.id = rig_id(n, 0), .extent = rig_extent(n, 0, KIB(252)),
					.extent_bytes = swi_extent_bytes(KIB(252)), .cb = again};
				swi_spill_write(r->sp, &io[i]);
				n++;
			}
			busy += io[i].extent != NULL;
		}
		rig_step(r);
	} while (busy);
}

static uint64_t bytes_written(struct rig *r, uint32_t disk)
{
	return swi_disk_sim_count(r->disks[disk], SWI_DIO_WRITE);
}

static void folders__slow_and_fast__share_by_speed(void **state SWI_UNUSED)
{
	struct rig r;
	uint64_t fast, slow;

	rig_init_sim(&r, 2, GIB(1), 14);
	rig_close(&r);
	r.sim.bytes_per_second = GIB(2);
	rig_open_disks(&r);
	r.disks[1]->ops->destroy(r.disks[1]);
	r.sim.bytes_per_second = MIB(512);
	assert_int_equal(swi_disk_sim_create(&r.sim, r.platters[1], &r.env, &r.disks[1]), 0);
	r.sim.bytes_per_second = GIB(2);
	rig_open(&r);
	pour(&r, 1200);
	fast = bytes_written(&r, 0);
	slow = bytes_written(&r, 1);
	print_message("the fast disk got %llu writes, the one of a quarter its speed %llu\n",
		      (unsigned long long)fast, (unsigned long long)slow);
	assert_in_range(fast * 10 / slow, 25, 60);
	rig_fini(&r);
}

static void folders__much_and_little_free__share_by_room(void **state SWI_UNUSED)
{
	struct rig r;
	uint64_t much, little;

	rig_init_sim(&r, 2, GIB(2), 15);
	swi_platter_set_capacity(r.platters[1], MIB(512));
	rig_open(&r);
	pour(&r, 1200);
	much = bytes_written(&r, 0);
	little = bytes_written(&r, 1);
	print_message("2 GiB free got %llu writes, 512 MiB free %llu\n", (unsigned long long)much,
		      (unsigned long long)little);
	assert_in_range(much * 10 / little, 25, 80);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(account__adds_up_at_any_time),
		cmocka_unit_test(quota__after_a_restart__does_not_count_holes),
		cmocka_unit_test(reserve__is_absolute_beside_the_percentage),
		cmocka_unit_test(folders__slow_and_fast__share_by_speed),
		cmocka_unit_test(folders__much_and_little_free__share_by_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
