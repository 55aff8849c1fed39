/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sort.c - sorts records (100 bytes, 10-byte keys) that do not fit into the cluster's memory.
 *
 *   generate  makes a range of records, in several objects (so do sort's results come)
 *   split     cuts it into key ranges, one object each
 *   sort      sorts one key range out of all the pieces
 *   validate  looks at one sorted range: order, ends, count, checksum
 *
 * What has been consumed is deleted at once; what is lost and still needed is made again, if need be from
 * the records on. The answer is right when the ranges are in order inside and among each other, and
 * count and checksum are those of the records as generated here, by one thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"
#include "records.h"

#define PART_BYTES (16ull << 20) /* at most; and an eighth of an arena, so that a task's arguments and results fit easily */
#define PARTS_MAX  256u
/* Records travel in objects of 2 MB: room in one piece for such is found even in an arena that is nearly full. */
#define RUNS 8u

struct sorting {
	struct demo *d;
	uint64_t seed, records;
	uint32_t parts;
	struct swarm_ref *generated; /* [part][run] */
	struct swarm_ref *piece;     /* [from part][to range] */
	struct swarm_ref *sorted;    /* [range][run] */
	struct swarm_ref *check;     /* [range] */
};

static int sorting_init(struct sorting *s, struct demo *d)
{
	const uint64_t eighth = d->opts.arena_bytes / 8, part = eighth < PART_BYTES ? eighth : PART_BYTES;

	memset(s, 0, sizeof(*s));
	s->d = d;
	s->seed = d->opts.seed;
	s->records = d->opts.sort_bytes / RECORD_BYTES;
	s->parts = (uint32_t)((s->records * RECORD_BYTES + part - 1) / part);
	if (s->parts < 4)
		s->parts = 4;
	if (s->parts > PARTS_MAX)
		s->parts = PARTS_MAX;
	s->generated = calloc((size_t)s->parts * RUNS, sizeof(*s->generated));
	s->piece = calloc((size_t)s->parts * s->parts, sizeof(*s->piece));
	s->sorted = calloc((size_t)s->parts * RUNS, sizeof(*s->sorted));
	s->check = calloc(s->parts, sizeof(*s->check));
	return s->generated && s->piece && s->sorted && s->check ? 0 : demo_fail("no memory for the sort");
}

static void sorting_fini(struct sorting *s)
{
	if (s->check)
		run_delete(s->d, s->check, s->parts);
	free(s->generated);
	free(s->piece);
	free(s->sorted);
	free(s->check);
}

static int submit_all(struct sorting *s)
{
	struct swarm_arg arg[PARTS_MAX];
	int err = 0;

	for (uint32_t i = 0; i < s->parts && !err; i++) {
		const uint64_t first = s->records * i / s->parts;
		const struct record_range range = {s->seed, first, s->records * (i + 1) / s->parts - first};

		arg[0] = SWARM_ARG_BYTES(&range, sizeof(range));
		err = run_submit(s->d, "generate", arg, 1, RUNS, &s->generated[i * RUNS]);
		for (uint32_t r = 0; r < RUNS; r++)
			arg[r] = SWARM_ARG_REF(s->generated[i * RUNS + r]);
		if (!err)
			err = run_submit(s->d, "split", arg, RUNS, s->parts, &s->piece[(size_t)i * s->parts]);
	}
	for (uint32_t to = 0; to < s->parts && !err; to++) {
		for (uint32_t from = 0; from < s->parts; from++)
			arg[from] = SWARM_ARG_REF(s->piece[(size_t)from * s->parts + to]);
		err = run_submit(s->d, "sort", arg, s->parts, RUNS, &s->sorted[to * RUNS]);
		for (uint32_t r = 0; r < RUNS; r++)
			arg[r] = SWARM_ARG_REF(s->sorted[to * RUNS + r]);
		if (!err)
			err = run_submit(s->d, "validate", arg, RUNS, 1, &s->check[to]);
	}
	return err;
}

/* ---- what is consumed is deleted ---- */

static void split_done(void *ctx, uint32_t i)
{
	struct sorting *s = ctx;

	run_delete(s->d, &s->generated[i * RUNS], RUNS);
}

static void sort_done(void *ctx, uint32_t to)
{
	struct sorting *s = ctx;

	for (uint32_t from = 0; from < s->parts; from++)
		run_delete(s->d, &s->piece[(size_t)from * s->parts + to], 1);
}

static void validate_done(void *ctx, uint32_t to)
{
	struct sorting *s = ctx;

	run_delete(s->d, &s->sorted[to * RUNS], RUNS);
}

static void nothing(void *ctx, uint32_t i)
{
	(void)ctx;
	(void)i;
}

static int watch_tasks(struct sorting *s, struct demo_report *r)
{
	struct swarm_ref *first = calloc(3ull * s->parts, sizeof(*first)); /* one result stands for a task */
	struct swarm_ref *made = first, *split = first + s->parts, *sorted = split + s->parts;
	uint8_t *flags = calloc(8ull * s->parts, 1);
	int err = -1;

	if (!first || !flags) {
		demo_fail("no memory for the sort");
		goto out;
	}
	for (uint32_t i = 0; i < s->parts; i++) {
		made[i] = s->generated[i * RUNS];
		split[i] = s->piece[(size_t)i * s->parts];
		sorted[i] = s->sorted[i * RUNS];
	}
	struct watch w[] = {
		{.name = "generate", .refs = made, .each = nothing},
		{.name = "split", .refs = split, .each = split_done},
		{.name = "sort", .refs = sorted, .each = sort_done},
		{.name = "validate", .refs = s->check, .each = validate_done},
	};

	for (uint32_t i = 0; i < 4; i++) {
		w[i].count = s->parts;
		w[i].ready = flags + 2ull * i * s->parts;
		w[i].seen = w[i].ready + s->parts;
	}
	err = run_watch(s->d, r, w, 4, s);
out:
	free(first);
	free(flags);
	return err;
}

/* ---- the check ---- */

static int get_checks(struct sorting *s, struct record_check *out)
{
	struct swarm_view view[PARTS_MAX];

	if (run_get_all(s->d, s->check, s->parts, view) < 0)
		return -1;
	for (uint32_t i = 0; i < s->parts; i++)
		if (view[i].len == sizeof(*out))
			memcpy(&out[i], view[i].data, sizeof(*out));
	swarm_views_release(swarm_client_store(s->d->client), view, s->parts);
	return 0;
}

static uint64_t plain_checksum(const struct sorting *s)
{
	uint8_t rec[RECORD_BYTES];
	uint64_t sum = 0;

	for (uint64_t i = 0; i < s->records; i++) {
		record_make(s->seed, i, rec);
		sum += record_sum(rec);
	}
	return sum;
}

static int check_all(struct sorting *s, struct demo_report *r, const struct record_check *check)
{
	uint8_t last[KEY_BYTES] = {0};
	uint64_t sum = 0, plain;

	for (uint32_t i = 0; i < s->parts; i++) {
		const struct record_check c = check[i];

		if (!c.ordered)
			return demo_fail("range %u is not in order", i);
		if (c.count && memcmp(last, c.first, KEY_BYTES) > 0)
			return demo_fail("range %u begins before the end of the one before it", i);
		if (c.count)
			memcpy(last, c.last, KEY_BYTES);
		r->items += c.count;
		sum += c.checksum;
	}
	if (r->items != s->records)
		return demo_fail("%llu records came out, %llu went in", (unsigned long long)r->items,
				 (unsigned long long)s->records);
	plain = plain_checksum(s);
	if (sum != plain)
		return demo_fail("checksum %016llx came out, %016llx went in", (unsigned long long)sum,
				 (unsigned long long)plain);
	progress_print("sort: %llu records in order, none lost, checksum %016llx as generated",
		       (unsigned long long)r->items, (unsigned long long)sum);
	r->exact = true;
	return 0;
}

int sort_run(struct demo *d, struct demo_report *r)
{
	struct record_check check[PARTS_MAX] = {{0}};
	struct sorting s;
	const uint64_t start = demo_now_ns();
	int err = sorting_init(&s, d);

	if (!err)
		err = submit_all(&s);
	if (!err) {
		progress_print("sort: %llu records, %.1f MB, %u ranges", (unsigned long long)s.records,
			       (double)(s.records * RECORD_BYTES) / 1e6, s.parts);
		err = watch_tasks(&s, r);
	}
	if (!err)
		err = get_checks(&s, check);
	r->seconds = (double)(demo_now_ns() - start) / 1e9;
	r->bytes = s.records * RECORD_BYTES;
	if (!err)
		err = check_all(&s, r, check);
	sorting_fini(&s);
	return err;
}
