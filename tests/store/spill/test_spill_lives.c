/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_lives.c - a kept log through several power failures, against a model of what was promised:
 *
 *   acknowledged and not forgotten     there, and right
 *   forgotten, and a barrier said so   missing, for ever
 *   missing once after a failure       missing, for ever
 *   anything else                      there and right, or missing
 *
 * Unsynced writes are lost, cut, or lost in any of their sectors; files made or removed may be gone, or back.
 * test_spill_lives [SEEDS [FIRST]]
 */
#include "spill_rig.h"

#define THINGS	 24u
#define VERSIONS 40u
#define LIVES	 4u
#define BARRIERS 8u

static uint64_t seeds = 30, first_seed = 1;

struct version {
	struct swi_spill_io io;
	bool begun, over, acked, forgotten, missing;
	bool doubt; /* a barrier said that it may come back */
	uint64_t forgotten_at;
};

struct barrier {
	struct swi_spill_io io;
	struct world *w;
	uint64_t upto;
	bool busy;
};

struct world {
	struct rig r;
	uint64_t seed, dice;
	struct version v[THINGS][VERSIONS];
	uint32_t last[THINGS];
	uint64_t forgets, sure; /* what was forgotten up to this one is gone for certain */
	struct barrier barrier[BARRIERS];
	uint64_t acked, gone, undone;
};

static uint64_t len_of(uint64_t n)
{
	static const uint64_t lens[] = {0, 100, 3000, 9000, KIB(64), KIB(100), KIB(180), KIB(700)};

	return lens[n % SWI_ARRAY_LEN(lens)] + n * 7;
}

static void written(struct swi_spill_io *io)
{
	struct version *v = swi_container_of(io, struct version, io);

	v->over = true;
	v->acked = io->status == 0;
	free(io->extent);
	io->extent = NULL;
}

static void sure(struct swi_spill_io *io)
{
	struct barrier *b = swi_container_of(io, struct barrier, io);

	b->busy = false;
	for (uint32_t n = 0; io->status && n < THINGS; n++) {
		for (uint32_t k = 1; k <= b->w->last[n]; k++) {
			struct version *v = &b->w->v[n][k];

			if (v->forgotten && v->forgotten_at > b->w->sure && v->forgotten_at <= b->upto)
				v->doubt = true;
		}
	}
	if (!io->status)
		b->w->sure = swi_max_u64(b->w->sure, b->upto);
}

static void ask_barrier(struct world *w)
{
	for (uint32_t i = 0; i < BARRIERS; i++) {
		struct barrier *b = &w->barrier[i];

		if (b->busy)
			continue;
		*b = (struct barrier){
			.w = w, .upto = w->forgets, .busy = true, .io = {.cb = sure}};
		swi_spill_barrier(w->r.sp, &b->io);
		return;
	}
}

static void forget(struct world *w, uint64_t n)
{
	struct version *v = &w->v[n][w->last[n]];

	swi_spill_forget(w->r.sp, rig_id(n, w->last[n]));
	v->forgotten = true;
	v->doubt = false;
	v->forgotten_at = ++w->forgets;
}

static void write_next(struct world *w, uint64_t n)
{
	struct version *v;

	if (w->last[n] + 1 == VERSIONS)
		return;
	v = &w->v[n][++w->last[n]];
	v->begun = true;
	v->io = (struct swi_spill_io){.id = rig_id(n, w->last[n]),
				      .extent = rig_extent(n, w->last[n], len_of(n)),
				      .extent_bytes = swi_extent_bytes(len_of(n)),
				      .cb = written};
	swi_spill_write(w->r.sp, &v->io);
}

static void one_op(struct world *w)
{
	const uint64_t n = swi_splitmix64(&w->dice) % THINGS, kind = swi_splitmix64(&w->dice) % 16;
	struct version *v = &w->v[n][w->last[n]];

	if (kind == 0)
		ask_barrier(w);
	else if (!v->begun || v->forgotten || v->missing || (v->over && !v->acked))
		write_next(w, n);
	else if (v->over ? kind % 2 : kind == 1) /* also one that is being written */
		forget(w, n);
}

/* Until an arbitrary moment. */
static void live(struct world *w)
{
	const uint64_t steps = swi_splitmix64(&w->dice) % 250;

	for (uint64_t i = 0; i < steps; i++) {
		one_op(w);
		if (swi_splitmix64(&w->dice) % 4)
			rig_step(&w->r);
	}
}

static void check_one(struct world *w, uint64_t n, uint32_t version)
{
	struct version *v = &w->v[n][version];
	const int rc = rig_restore(&w->r, n, version, len_of(n));
	const bool gone = v->missing || (v->forgotten && !v->doubt && v->forgotten_at <= w->sure);
	const bool kept = v->acked && !v->forgotten && !v->missing;

	w->acked += kept;
	w->gone += gone;
	/* Nor is anything found that is a hole: the mark is there before the hole. */
	if ((rc && rc != -ENOENT) || (kept && rc) || (gone && !rc))
		fail_msg("seed %llu: object %llu version %u, %s: %d", (unsigned long long)w->seed,
			 (unsigned long long)n, version,
			 kept ? "acknowledged" : v->missing ? "missed before" : gone ? "gone for certain" : "uncertain", rc);
	w->undone += v->forgotten && !rc;
	/* What was found is durable now; a forgotten one that is back is like one that was never forgotten. */
	v->over = true;
	v->acked = rc == 0;
	v->missing = rc != 0;
	v->forgotten = false;
	if (!rc && version != w->last[n]) {
		swi_spill_forget(w->r.sp, rig_id(n, version));
		v->forgotten = true;
		v->doubt = false;
		v->forgotten_at = ++w->forgets;
	}
}

static void fail_and_check(struct world *w)
{
	rig_crash(&w->r);
	rig_open_disks(&w->r);
	rig_open(&w->r);
	for (uint32_t n = 0; n < THINGS; n++)
		for (uint32_t k = 1; k <= w->last[n]; k++)
			check_one(w, n, k);
}

static void lives__of_a_kept_log__keep_every_promise(void **state SWI_UNUSED)
{
	uint64_t acked = 0, gone = 0, undone = 0;

	for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
		struct world *w = calloc(1, sizeof(*w));

		assert_non_null(w);
		w->seed = seed;
		w->dice = seed * 0x9e3779b97f4a7c15ull;
		rig_init_sim(&w->r, 1 + (uint32_t)(seed % 2), MIB(512), seed);
		w->r.sim.no_punch = seed % 3 == 0; /* then what lives is copied */
		rig_close(&w->r);
		rig_open_disks(&w->r);
		w->r.opts.keep = true;
		w->r.opts.segment_bytes = MIB(1);
		rig_open(&w->r);
		for (uint32_t i = 0; i < LIVES; i++) {
			live(w);
			fail_and_check(w);
		}
		acked += w->acked;
		gone += w->gone;
		undone += w->undone;
		rig_fini(&w->r);
		free(w);
	}
	print_message("%llu seeds: %llu acknowledged, %llu gone for certain, %llu forgotten ones were back\n",
		      (unsigned long long)seeds, (unsigned long long)acked, (unsigned long long)gone,
		      (unsigned long long)undone);
	assert_true(acked > 10 * seeds && gone > 50 * seeds); /* else this proves nothing */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lives__of_a_kept_log__keep_every_promise),
	};

	if (argc > 1)
		seeds = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
