/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_model.c - random writes, restores and forgets, many at a time, against a model.
 *
 * The model knows which objects are spilled; the bytes follow from the id. So many operations on
 * each kind of disk as the argument says.
 */
#include <unistd.h>

#include "spill_rig.h"

#define OBJECTS 400u
#define FLIGHTS 48u

static uint64_t operations = 2000;

struct flight {
	struct swi_spill_io io;
	uint32_t n; /* object */
	bool busy, write;
};

struct model {
	struct rig *r;
	uint64_t rng;
	bool spilled[OBJECTS], busy[OBJECTS];
	uint64_t version[OBJECTS];
	struct flight flights[FLIGHTS];
	uint32_t in_flight;
	uint64_t ops, full;
};

/* Half tiny, a quarter around the limit between small and large, a quarter large. */
static uint64_t len_of(uint32_t n, uint64_t version)
{
	uint64_t s = n * 77 + version;
	const uint64_t v = swi_splitmix64(&s);

	switch (v % 4) {
	case 0:
	case 1:
		return (v >> 8) % 6000;
	case 2:
		return KIB(60) + (v >> 8) % KIB(8);
	default:
		return KIB(64) + (v >> 8) % KIB(400);
	}
}

static void over(struct swi_spill_io *io)
{
	struct flight *f = swi_container_of(io, struct flight, io);
	struct model *m = io->owner;
	const uint32_t n = f->n;

	if (f->write && io->status == SWARM_EDISKFULL)
		m->full++;
	else
		assert_int_equal(io->status, 0);
	if (f->write)
		m->spilled[n] = io->status == 0;
	else
		assert_true(rig_same(io->extent, n, m->version[n], len_of(n, m->version[n])));
	free(io->extent);
	f->busy = m->busy[n] = false;
	m->in_flight--;
}

static struct flight *take(struct model *m)
{
	for (uint32_t i = 0; i < FLIGHTS; i++)
		if (!m->flights[i].busy)
			return &m->flights[i];
	return NULL;
}

static void begin(struct model *m, uint32_t n, bool write)
{
	const uint64_t len = len_of(n, m->version[n]);
	struct flight *f = take(m);

	f->n = n;
	f->write = write;
	f->busy = m->busy[n] = true;
	m->in_flight++;
	f->io = (struct swi_spill_io){
		.id = rig_id(n, m->version[n]),
		.extent = write ? rig_extent(n, m->version[n], len) : rig_extent(0, 0, len),
		.extent_bytes = swi_extent_bytes(len),
		.cb = over,
		.owner = m,
	};
	(write ? swi_spill_write : swi_spill_restore)(m->r->sp, &f->io);
}

static void one_op(struct model *m)
{
	const uint32_t n = (uint32_t)(swi_splitmix64(&m->rng) % OBJECTS);

	if (m->busy[n])
		return;
	assert_int_equal(swi_spill_find(m->r->sp, rig_id(n, m->version[n]), NULL), m->spilled[n]);
	m->ops++;
	if (!m->spilled[n]) {
		begin(m, n, true);
	} else if (swi_splitmix64(&m->rng) % 5 < 2) {
		swi_spill_forget(m->r->sp, rig_id(n, m->version[n]));
		m->spilled[n] = false;
		m->version[n]++;
	} else {
		begin(m, n, false);
	}
}

static void count_each(void *ctx, const struct swi_object_head *head)
{
	const struct model *m = ((void **)ctx)[0];
	uint32_t *count = ((void **)ctx)[1];

	assert_true(head->oid[0] < OBJECTS && m->spilled[head->oid[0]]);
	assert_true(m->version[head->oid[0]] == head->oid[1]);
	(*count)++;
}

static void check_all(struct model *m)
{
	uint64_t live = 0;
	uint32_t count = 0, seen = 0;
	void *ctx[2] = {m, &seen};

	while (m->in_flight)
		rig_step(m->r);
	for (uint32_t n = 0; n < OBJECTS; n++) {
		if (!m->spilled[n])
			continue;
		count++;
		live += swi_extent_bytes(len_of(n, m->version[n]));
		assert_int_equal(rig_restore(m->r, n, m->version[n], len_of(n, m->version[n])), 0);
	}
	swi_spill_each(m->r->sp, count_each, ctx);
	assert_int_equal(seen, count);
	assert_int_equal(swi_spill_stats(m->r->sp)->objects, count);
	assert_int_equal(swi_spill_stats(m->r->sp)->live_bytes, live);
	assert_int_equal(swi_spill_stats(m->r->sp)->corrupt_records, 0);
}

static void play(struct rig *r, uint64_t ops, uint64_t seed)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->r = r;
	m->rng = seed;
	rig_open(r);
	while (m->ops < ops) {
		while (m->in_flight < FLIGHTS && m->ops < ops && swi_splitmix64(&m->rng) % 8)
			one_op(m);
		rig_step(r);
	}
	check_all(m);
	if (r->opts.keep) { /* an orderly stop and start keeps all of it */
		rig_close(r);
		rig_open_disks(r);
		rig_open(r);
		check_all(m);
	}
	free(m);
}

static void sim__one_disk(void **state SWI_UNUSED)
{
	struct rig r;

	rig_init_sim(&r, 1, GIB(1), 11);
	play(&r, operations, 1);
	rig_fini(&r);
}

static void sim__three_disks_keep_and_reopen(void **state SWI_UNUSED)
{
	struct rig r;

	rig_init_sim(&r, 3, GIB(1), 12);
	r.opts.keep = true;
	play(&r, operations, 2);
	rig_fini(&r);
}

static void sim__without_holes_copies_instead(void **state SWI_UNUSED)
{
	struct rig r;

	rig_init_sim(&r, 1, GIB(1), 13);
	rig_close(&r);
	r.sim.no_punch = true;
	rig_open_disks(&r);
	r.opts.keep = true;
	play(&r, operations, 3);
	rig_fini(&r);
}

static void sim__quota_of_a_few_segments(void **state SWI_UNUSED)
{
	struct rig r;

	rig_init_sim(&r, 2, GIB(1), 14);
	r.opts.quota_bytes = MIB(32);
	play(&r, operations, 4);
	assert_true(swi_spill_stats(r.sp)->segment_bytes <= MIB(32));
	rig_fini(&r);
}

static void real__tmpfs(void **state SWI_UNUSED)
{
	struct rig r;

	rig_init_real(&r, 1, "/dev/shm");
	play(&r, operations, 5);
	rig_fini(&r);
}

static void real__disk_keep_and_reopen(void **state SWI_UNUSED)
{
	struct rig r;

	rig_init_real(&r, 2, ".");
	r.opts.keep = true;
	play(&r, operations / 4, 6);
	rig_fini(&r);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sim__one_disk),
		cmocka_unit_test(sim__three_disks_keep_and_reopen),
		cmocka_unit_test(sim__without_holes_copies_instead),
		cmocka_unit_test(sim__quota_of_a_few_segments),
		cmocka_unit_test(real__tmpfs),
		cmocka_unit_test(real__disk_keep_and_reopen),
	};

	if (argc > 1)
		operations = strtoull(argv[1], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
