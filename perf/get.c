/* SPDX-License-Identifier: Apache-2.0 */
/*
 * get.c - see get.h. Local: objects are found, pinned, (for bandwidth) copied out and released. Remote: the set of
 * objects is half as large again as the arena that reads it, so what was fetched earlier has left again and every
 * get goes to the owner; what is still here by chance is passed over, not counted.
 */
#include "perf/get.h"
#include "perf/get_bench.h"

#define SET	    PERF_GET_SET
#define COLD_SET    (PERF_SET_FIRST + (1u << 20)) /* a new set for every run: never seen before */
#define BACK_SET    (PERF_SET_FIRST + 64) /* -b: the server gets these from us; a new set for every run */
#define BACK_BYTES  MIB(4) /* 16 to 4,096 objects */
#define ARENA	    MIB(512)
#define REMOTE_MIN  MIB(2) /* arena of the reading store */
#define COUNT_LOCAL 256u
#define BATCH	    64u
#define GET_NS	    PERF_GET_NS

static void get_remote(struct perf_worker *w)
{
	struct get_bench *b = w->load->ctx;
	const struct perf_opts *o = &b->o->c;
	uint64_t now = perf_now();

	while (perf_go(w, now)) {
		const struct swarm_ref ref = get_next_remote(b, w);
		struct swarm_view v;

		if (w->error)
			return;
		const uint64_t t0 = perf_now();

		w->error = swarm_store_get(b->rig.st, ref, GET_NS, &v);
		if (w->error)
			return;
		now = perf_now();
		if (v.len != b->size || (o->check_data && !perf_filled(v.data, v.len, ref)))
			w->error = SWARM_ECORRUPT;
		swarm_view_release(b->rig.st, &v);
		get_count_sample(w, now - t0, b->clock_ns);
		w->ops++;
		w->bytes += b->size;
	}
}

/* Up to outs objects with one call: the latencies are those of the calls. */
static void get_remote_many(struct perf_worker *w)
{
	struct get_bench *b = w->load->ctx;
	struct swarm_ref *refs = calloc(b->outs, sizeof(*refs));
	struct swarm_view *views = calloc(b->outs, sizeof(*views));
	uint64_t now = perf_now();

	SWI_BUG_ON(!refs || !views);
	while (perf_go(w, now)) {
		const uint32_t n = (uint32_t)swi_min_u64(b->outs, w->iters - w->ops);
		int got;

		for (uint32_t i = 0; i < n && !w->error; i++)
			refs[i] = get_next_remote(b, w);
		if (w->error)
			break;
		const uint64_t t0 = perf_now();

		got = swarm_store_get_many(b->rig.st, refs, n, GET_NS, views, NULL);
		now = perf_now();
		get_count_sample(w, now - t0, b->clock_ns);
		for (uint32_t i = 0; i < n && got == (int)n; i++)
			if (views[i].len != b->size ||
			    (b->o->c.check_data && !perf_filled(views[i].data, views[i].len, refs[i])))
				w->error = SWARM_ECORRUPT;
		if (got > 0)
			swarm_views_release(b->rig.st, views, n);
		if (got != (int)n && !w->error)
			w->error = got < 0 ? got : -ETIMEDOUT;
		w->ops += n;
		w->bytes += n * b->size;
	}
	free(refs);
	free(views);
}

static void get_local(struct perf_worker *w)
{
	struct get_bench *b = w->load->ctx;
	uint8_t *copy = b->copy[w->index];
	uint64_t now = perf_now();

	while (perf_go(w, now)) {
		const struct swarm_ref ref = get_next_ref(b, w);
		struct swarm_view v;
		const uint64_t t0 = perf_now();

		if (b->contains) {
			w->error = swarm_store_contains(b->rig.st, ref) == 1 ? 0 : -ENOENT;
		} else {
			w->error = swarm_store_get(b->rig.st, ref, 0, &v);
			if (w->error)
				return;
			if (copy)
				memcpy(copy, v.data, v.len);
			swarm_view_release(b->rig.st, &v);
		}
		now = perf_now();
		get_count_sample(w, now - t0, b->clock_ns);
		w->ops++;
		w->bytes += b->size;
	}
}

/* The same in batches of 64: near the resolution of the clock the mean of a batch is nearer the truth. */
static void get_batches(struct perf_worker *w)
{
	struct get_bench *b = w->load->ctx;

	while (perf_go(w, 0)) {
		const uint64_t t0 = perf_now();

		for (uint32_t i = 0; i < BATCH; i++) {
			const struct swarm_ref ref = get_next_ref(b, w);
			struct swarm_view v;

			if (b->contains)
				(void)swarm_store_contains(b->rig.st, ref);
			else if (swarm_store_get(b->rig.st, ref, 0, &v))
				w->error = -ENOENT;
			else
				swarm_view_release(b->rig.st, &v);
		}
		perf_hist_add(w->hist, (perf_now() - t0) * 16 / BATCH); /* in 1/16 ns: the histogram is of integers */
		w->ops++;
	}
}

static void copy_only(struct perf_worker *w)
{
	struct get_bench *b = w->load->ctx;
	struct swarm_view *v = calloc(b->count, sizeof(*v));
	uint64_t now;

	SWI_BUG_ON(!v);
	for (uint64_t i = 0; i < b->count && !w->error; i++)
		w->error = swarm_store_get(b->rig.st, perf_ref(SET, i, b->rig.home), 0, &v[i]);
	w->begin = now = perf_now();
	while (perf_go(w, now)) {
		const uint64_t i = b->at[w->index] % b->count, t0 = perf_now();

		b->at[w->index] += w->load->threads;
		memcpy(b->copy[w->index], v[i].data, b->size);
		now = perf_now();
		get_count_sample(w, now - t0, b->clock_ns);
		w->ops++;
		w->bytes += b->size;
	}
	w->busy = now - w->begin;
	for (uint64_t i = 0; i < b->count; i++)
		swarm_view_release(b->rig.st, &v[i]);
	free(v);
}

/* ---- rows ---- */

static struct perf_load load_of(struct get_bench *b, uint64_t iters, void (*fn)(struct perf_worker *w))
{
	return (struct perf_load){
		.o = &b->o->c, .threads = b->o->c.threads, .iters = iters, .ctx = b, .fn = fn};
}

static void must(struct get_bench *b, int rc)
{
	if (rc == -EEXIST)
		perf_die(&b->o->c, "every object stays in the arena of the reader: give the server more --arena");
	perf_must(&b->o->c, rc, "get");
}

static void run(struct get_bench *b, uint64_t iters, void (*fn)(struct perf_worker *w), enum perf_kind kind,
		struct perf_arm *arm)
{
	struct perf_load l = load_of(b, iters, fn);

	must(b, perf_load_run(&l, kind, arm));
}

/* So many operations, whatever -D says. */
static void run_number(struct get_bench *b, uint64_t iters, void (*fn)(struct perf_worker *w), struct perf_arm *arm)
{
	struct perf_load l = load_of(b, iters, fn);

	l.number = true;
	must(b, perf_load_run(&l, b->kind, arm));
}

static void (*remote_fn(const struct get_bench *b))(struct perf_worker *w)
{
	return b->o->c.events ? perf_get_event : b->outs > 1 ? get_remote_many : get_remote;
}

/* -b, a part of a run: @n objects each way. Each of ours goes to the server once. The slower direction ends it. */
static uint64_t both_ways(struct get_bench *b, uint64_t n, struct perf_hist *h, struct perf_arm *samples)
{
	const struct perf_opts *o = &b->o->c;
	const uint32_t us = swarm_store_node(b->rig.st);
	struct perf_load l = load_of(b, n, remote_fn(b));
	json_t *answer;

	for (uint64_t i = 0; i < n; i++) {
		const struct swarm_ref ref = perf_ref(b->back_set, i, us);
		struct swarm_buf buf;

		perf_must(o, swarm_store_create(b->rig.st, ref, b->size, GET_NS, &buf), "create");
		perf_fill(buf.data, b->size, ref);
		perf_must(o, swarm_store_seal(b->rig.st, &buf), "seal");
	}
	perf_ask_begin(&b->rig,
		       json_pack("{s:s, s:I, s:I, s:I, s:i, s:I, s:b}", "cmd", "pull", "set",
				 (json_int_t)b->back_set, "count", (json_int_t)n, "size", (json_int_t)b->size,
				 "home", (int)us, "threads", (json_int_t)o->threads, "check", (int)o->check_data));
	l.number = true;
	must(b, perf_load_part(&l, h, samples));
	answer = perf_ask_end(&b->rig);
	const uint64_t back_ns = (uint64_t)json_integer_value(json_object_get(answer, "ns"));

	json_decref(answer);
	for (uint64_t i = 0; i < n; i++)
		(void)swarm_store_delete(b->rig.st, perf_ref(b->back_set, i, us));
	b->back_set++;
	return swi_max_u64(l.ns, back_ns);
}

static void run_both_ways(struct get_bench *b, uint64_t iters, struct perf_arm *arm)
{
	const uint64_t end = b->o->c.duration_ns ? perf_now() + b->o->c.duration_ns : 0;
	static struct perf_hist h;
	uint64_t ns = 0, n = 0;

	perf_hist_init(&h);
	do {
		const uint64_t part = end ? b->back_count : swi_min_u64(b->back_count, iters - n);

		ns += both_ways(b, part, &h, arm);
		n += part;
	} while (end ? perf_now() < end : n < iters);
	perf_arm_run(arm, b->kind, &h, 2 * n, 2 * n * b->size, ns);
}

static void batched(struct get_bench *b, struct perf_row *row)
{
	struct perf_row *scratch = perf_row_new(PERF_LAT, "batches", b->size);
	struct perf_arm *arm = perf_row_arm(scratch, "batches", 0);

	run(b, swi_max_u64(perf_iters(&b->o->c, 200000) / BATCH, 16), get_batches, PERF_LAT, arm);
	row->extra = json_pack("{s:f}", "lat_ns_p50_of_means_of_64", perf_hist_percentile(&arm->hist, 50) / 16);
	perf_row_free(scratch);
}

static void local_row(struct get_bench *b, struct perf_report *r)
{
	const struct perf_opts *o = &b->o->c;
	const uint64_t iters = perf_iters(&b->o->c, b->kind == PERF_LAT ? 200000
						       : swi_max_u64(swi_min_u64(200000, GIB(1) / b->size), 8));
	struct perf_row *row = perf_row_new(b->kind, b->contains ? "contains" : "get", b->size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", perf_samples(&b->o->c, iters)), *base = NULL;
	const bool copies = !b->contains && !o->no_baseline;

	for (uint32_t t = 0; t < o->threads; t++) {
		b->at[t] = t;
		b->copy[t] = NULL;
	}
	if (copies)
		base = perf_row_arm(row, "memcpy out of the same arena", 0);
	run_number(b, swi_max_u64(o->warmup, swi_min_u64(iters, 1000)), get_local, NULL);
	for (uint32_t i = 0; i < o->runs; i++) {
		for (uint32_t t = 0; t < o->threads; t++)
			b->copy[t] = b->kind == PERF_BW || copies ? malloc(b->size) : NULL;
		if (base)
			run(b, iters, copy_only, b->kind, base);
		for (uint32_t t = 0; t < o->threads && b->kind == PERF_LAT; t++) {
			free(b->copy[t]);
			b->copy[t] = NULL;
		}
		run(b, iters, get_local, b->kind, arm);
		for (uint32_t t = 0; t < o->threads; t++)
			free(b->copy[t]);
	}
	if (b->kind == PERF_LAT && o->threads == 1 && !o->duration_ns) {
		b->copy[0] = NULL;
		batched(b, row);
	}
	perf_report_row(r, row);
}

static void check_local(struct get_bench *b)
{
	for (uint64_t i = 0; i < b->count; i++) {
		const struct swarm_ref ref = perf_ref(SET, i, b->rig.home);
		struct swarm_view v;

		perf_must(&b->o->c, swarm_store_get(b->rig.st, ref, 0, &v), "get");
		if (v.len != b->size || !perf_filled(v.data, v.len, ref))
			perf_die(&b->o->c, "object %llu has wrong bytes", (unsigned long long)i);
		swarm_view_release(b->rig.st, &v);
	}
}

static void make_set(struct get_bench *b, uint64_t set)
{
	b->set = set;
	for (uint32_t t = 0; t < b->o->c.threads; t++)
		b->at[t] = t;
	b->next = 0;
	perf_make(&b->rig, set, b->count, b->size);
}

static void local(struct get_bench *b, struct perf_report *r)
{
	const uint64_t arena = b->o->c.arena_bytes ? b->o->c.arena_bytes : ARENA;

	b->count = swi_max_u64(1, swi_min_u64(COUNT_LOCAL, arena / 2 / swi_extent_bytes(b->size)));
	make_set(b, SET);
	if (b->o->c.check_data)
		check_local(b);
	perf_others_start(&b->rig, SET, b->count, b->o->c.others);
	local_row(b, r);
	perf_others_end();
	if (b->o->c.check_data)
		check_local(b);
	perf_drop(&b->rig, SET, b->count);
}

/* First gets of objects: the owner's index has to be asked where they are. */
static void cold_row(struct get_bench *b, struct perf_report *r, struct perf_bases *bases)
{
	const struct perf_opts *o = &b->o->c;
	const uint64_t iters = swi_min_u64(perf_iters(&b->o->c, 1000), b->count);
	const uint32_t depth = o->depth ? o->depth : o->threads;
	struct perf_row *row = perf_row_new(b->kind, "get, cold", b->size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", perf_samples(&b->o->c, iters));

	perf_bases_open(bases, &b->rig, row, b->size, b->span, b->count * swi_extent_bytes(b->size));
	for (uint32_t i = 0; i < o->runs; i++) {
		make_set(b, COLD_SET + i);
		run_number(b, iters, remote_fn(b), arm); /* with -D as well: the second get of an object is warm */
		perf_bases_run(bases, row, depth, iters);
		perf_drop(&b->rig, b->set, b->count);
	}
	perf_bases_close(bases);
	perf_report_row(r, row);
}

static void warm_row(struct get_bench *b, struct perf_report *r, struct perf_bases *bases)
{
	const struct perf_opts *o = &b->o->c;
	const uint64_t dflt = b->kind == PERF_LAT ? 1000 : swi_max_u64(swi_min_u64(5000, MIB(256) / b->size), 50);
	const uint64_t iters = perf_iters(&b->o->c, dflt);
	const uint32_t depth = o->depth ? o->depth : o->threads * b->outs;
	void (*const fn)(struct perf_worker *) = remote_fn(b);
	struct perf_row *row = perf_row_new(b->kind, b->kind == PERF_LAT ? "get, warm" : "get", b->size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", perf_samples(&b->o->c, iters));

	if (b->kind == PERF_BW)
		row->extra = json_pack("{s:i}", "objects_per_call", o->events ? 1 : (int)b->outs);
	if (o->bidirectional) {
		snprintf(row->op, sizeof(row->op), "get, both ways");
		for (uint32_t i = 0; i < o->runs; i++)
			run_both_ways(b, iters, arm);
		perf_report_row(r, row);
		return;
	}
	perf_bases_open(bases, &b->rig, row, b->size, b->span, b->count * swi_extent_bytes(b->size));
	for (uint32_t i = 0; i < o->runs; i++) {
		perf_bases_run(bases, row, depth, iters);
		run(b, iters, fn, b->kind, arm);
	}
	perf_bases_close(bases);
	perf_report_row(r, row);
}

static void remote(struct get_bench *b, struct perf_report *r)
{
	const struct perf_opts *o = &b->o->c;
	const uint64_t ext = swi_extent_bytes(b->size);
	struct perf_bases bases;
	uint64_t arena;

	/* what suits a link: enough bytes in flight, but not more objects than that takes */
	b->outs = b->kind == PERF_LAT ? 1 : o->outs ? o->outs
					  : (uint32_t)swi_max_u64(4, swi_min_u64(64, MIB(2) / b->size));
	arena = swi_max_u64(REMOTE_MIN, 8 * ext * o->threads * swi_max_u64(b->outs, 2));
	if (o->bidirectional) {
		b->back_count = swi_max_u64(16, swi_min_u64(4096, BACK_BYTES / ext));
		b->back_set = BACK_SET;
		arena += b->back_count * ext * 2;
	}

	b->span = swi_align_up(arena, SWI_PAGE);
	perf_rig_open(&b->rig, b->span);
	b->count = arena * 3 / 2 / ext;
	if (b->count * ext > b->rig.server_arena / 10 * 9)
		perf_die(o, "%llu objects of %llu bytes are needed: give the server --arena=%lluM",
			 (unsigned long long)b->count, (unsigned long long)b->size,
			 (unsigned long long)(b->count * ext / 9 * 10 >> 20) + 1);
	if (b->kind == PERF_LAT)
		cold_row(b, r, &bases);
	make_set(b, SET);
	run_number(b, swi_max_u64(o->warmup, b->count), remote_fn(b), NULL);
	warm_row(b, r, &bases);
	perf_drop(&b->rig, SET, b->count);
}

#define GET_OPTIONS                                                                                \
	PERF_OPT_SIZE(struct get_opts, c), PERF_OPT_AMOUNT(struct get_opts, c),                    \
		PERF_OPT_LOAD(struct get_opts, c), PERF_OPT_DEPTH(struct get_opts, c),             \
		PERF_OPT_NET(struct get_opts, c), PERF_OPT_LOCAL(struct get_opts, c),              \
		PERF_OPT_ARENA(struct get_opts, c), PERF_OPT_LATENCY(struct get_opts, c),          \
		PERF_OPT_UNSORTED(struct get_opts, c), PERF_OPT_OUTPUT(struct get_opts, c),        \
		{"events", 'e', SWT_FLAG, PERF_O(struct get_opts, c, events), NULL,                \
		 "gets end in a queue, the thread sleeps on its descriptor", NULL}
#define OPTIONS_END {NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL}

static const struct swt_opt lat_options[] = {
	GET_OPTIONS,
	PERF_OPT_NOT(struct get_opts, c, 8, "outs", 'o', "N", "one object at a time; swarm_get_bw asks for many"),
	PERF_OPT_NOT_FLAG(struct get_opts, c, 9, "bidirectional", 'b', "one side waits while the other answers; swarm_get_bw does it"),
	{"op", 0, SWT_CHOICE, offsetof(struct get_opts, op), "OP",
	 "get, or contains: only ask (local)", "get|contains"},
	OPTIONS_END,
};

static const struct swt_opt bw_options[] = {
	GET_OPTIONS,
	PERF_OPT_OUTS(struct get_opts, c),
	{"bidirectional", 'b', SWT_FLAG, PERF_O(struct get_opts, c, bidirectional), NULL,
	 "the server gets from the client at the same time; no baseline", NULL},
	OPTIONS_END,
};

static const struct swt_command commands[] =
	PERF_LAT_AND_BW("swarm_get_lat", "swarm_get_bw", "getting objects", lat_options, bw_options);

static int refuse(const struct swt_command *cmd, const struct get_opts *o)
{
	if ((o->c.local || o->c.attach) && (o->c.outs || o->c.bidirectional || o->c.events))
		return swt_error(cmd, SWT_USAGE, "--outs, --bidirectional and --events go with HOST or --loopback");
	if (o->c.outs > SWARM_MANY_MAX)
		return swt_error(cmd, SWT_USAGE, "--outs=%u: at most %u", o->c.outs, SWARM_MANY_MAX);
	return 0;
}

int perf_get_main(int argc, char **argv, enum perf_kind kind)
{
	const struct swt_command *cmd = &commands[kind == PERF_BW];
	struct get_opts o = {0};
	struct get_bench b = {.o = &o, .kind = kind, .clock_ns = perf_clock_cost()};
	struct perf_report *r;
	int rc = perf_lat_bw_parse(cmd, argc, argv, &o, &o.c, &o.op);

	if (!rc)
		rc = refuse(cmd, &o);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	if (perf_is_server(&o.c))
		return perf_serve(&o.c, o.c.arena_bytes ? o.c.arena_bytes : ARENA, NULL, -1);
	b.contains = o.op && !strcmp(o.op, "contains");
	perf_rig_start(&b.rig, &o.c, ARENA);
	perf_rig_open(&b.rig, perf_remote(&b.rig) ? REMOTE_MIN : o.c.arena_bytes ? o.c.arena_bytes : ARENA);
	if (!perf_remote(&b.rig))
		b.rig.home = swarm_store_node(b.rig.st);
	r = perf_report_new(&o.c, kind == PERF_LAT ? "Swarm get latency" : "Swarm get bandwidth");
	perf_describe(r, &b.rig);
	for (uint32_t i = 0; i < o.c.size_count; i++) {
		b.size = o.c.size[i];
		if (perf_remote(&b.rig))
			remote(&b, r);
		else
			local(&b, r);
	}
	perf_rig_end(&b.rig);
	return perf_report_end(r);
}
