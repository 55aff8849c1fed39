/* SPDX-License-Identifier: Apache-2.0 */
/*
 * put.c - see put.h. Local: put beside memcpy into extents of the same arena, as many in turn; from 64 KiB on, where one
 * thread makes one object in a call, operation by operation, so that both find the same caches. Remote: put_remote.c.
 */
#include "perf/put.h"
#include "perf/put_bench.h"

#define SET	  PERF_PUT_SET
#define ARENA	  MIB(512)
#define PAIR_FROM KIB(64)
#define PUT_NS	  PERF_PUT_NS
#define OBJECTS_MAX 16384u /* a quarter of the least index that a store has */

static struct swarm_ref ref_of(const struct put_bench *b, uint32_t thread, uint64_t serial)
{
	return perf_ref(b->set + thread, serial, b->rig.home);
}

static uint64_t sample(const struct put_bench *b, uint64_t t0)
{
	return perf_net(perf_now() - t0, b->clock_ns);
}

static void count(struct perf_worker *w, uint64_t ns, uint64_t size)
{
	perf_hist_add(w->hist, ns);
	if (w->arm)
		perf_arm_sample(w->arm, ns);
	w->busy += ns;
	w->ops++;
	w->bytes += size;
}

/* Room for so many objects of a thread before they have to go: half of the arena, a quarter of the index for all threads. */
static uint64_t room_of(const struct put_bench *b)
{
	const uint64_t fit = swi_min_u64(b->arena / 2 / swi_extent_bytes(b->size), OBJECTS_MAX);

	return swi_max_u64(1, fit / b->o->c.threads);
}

static void check(struct put_bench *b, struct perf_worker *w, struct swarm_ref ref)
{
	struct swarm_view v;

	if (!b->o->c.check_data || w->error)
		return;
	w->error = swarm_store_get(b->rig.st, ref, 0, &v);
	if (w->error)
		return;
	if (v.len != b->size || memcmp(v.data, b->data, b->size))
		w->error = SWARM_ECORRUPT;
	swarm_view_release(b->rig.st, &v);
}

/* Everything that this thread made from @from on goes; not timed. */
static void drop_from(struct put_bench *b, struct perf_worker *w, uint64_t from)
{
	for (uint64_t i = from; i < b->serial[w->index]; i++)
		(void)swarm_store_delete(b->rig.st, ref_of(b, w->index, i));
	if (!perf_arena_below(&b->rig, b->arena / 4 * 3) || !perf_objects_below(&b->rig, OBJECTS_MAX))
		w->error = SWARM_EFULL;
}

static int put_once(struct put_bench *b, struct perf_worker *w, struct swarm_ref ref)
{
	struct swarm_buf buf;
	uint64_t t0 = perf_now();
	int rc;

	if (b->op == OP_PUT) {
		rc = swarm_store_put(b->rig.st, ref, b->data, b->size, PUT_NS);
		if (!rc)
			count(w, sample(b, t0), b->size);
		return rc;
	}
	rc = swarm_store_create(b->rig.st, ref, b->size, PUT_NS, &buf);
	if (rc)
		return rc;
	if (b->op == OP_COPY) {
		t0 = perf_now();
		memcpy(buf.data, b->data, b->size);
		count(w, sample(b, t0), b->size);
	}
	rc = swarm_store_seal(b->rig.st, &buf); /* a copy too: it stays as long as a put, and the next one goes elsewhere */
	if (b->op == OP_CREATE)
		count(w, sample(b, t0), b->size);
	return rc;
}

/* @n objects of this thread with one call; one sample. */
static void put_many(struct put_bench *b, struct perf_worker *w, uint32_t n)
{
	struct swarm_put *rows = calloc(n, sizeof(*rows));

	SWI_BUG_ON(!rows);
	for (uint32_t i = 0; i < n; i++)
		rows[i] = (struct swarm_put){ref_of(b, w->index, b->serial[w->index]++), b->data, b->size};
	const uint64_t t0 = perf_now();
	const int rc = swarm_store_put_many(b->rig.st, rows, n, PUT_NS, NULL);

	count(w, sample(b, t0), b->size * n);
	w->ops += n - 1; /* count() has counted one */
	w->error = rc == (int)n ? 0 : rc < 0 ? rc : SWARM_EFULL;
	for (uint32_t i = 0; i < n; i++)
		check(b, w, rows[i].ref);
	free(rows);
}

static void put_many_loop(struct perf_worker *w)
{
	struct put_bench *b = w->load->ctx;
	const uint64_t room = room_of(b);

	while (perf_go(w, perf_now())) {
		const uint64_t from = b->serial[w->index];

		while (b->serial[w->index] - from < room && perf_go(w, perf_now()))
			put_many(b, w, (uint32_t)swi_min_u64(swi_min_u64(b->outs, w->iters - w->ops),
							     room - (b->serial[w->index] - from)));
		drop_from(b, w, from);
	}
}

static void delete_all(struct put_bench *b, struct perf_worker *w, uint64_t from)
{
	for (uint64_t i = from; i < b->serial[w->index] && w->ops < w->iters; i++) {
		const uint64_t t0 = perf_now();

		w->error = swarm_store_delete(b->rig.st, ref_of(b, w->index, i));
		count(w, sample(b, t0), b->size);
	}
}

static void put_loop(struct perf_worker *w)
{
	struct put_bench *b = w->load->ctx;
	const uint64_t room = room_of(b);

	while (perf_go(w, perf_now())) {
		const uint64_t from = b->serial[w->index];

		for (uint64_t i = 0; i < room; i++) {
			const struct swarm_ref ref = ref_of(b, w->index, b->serial[w->index]++);

			if (b->op == OP_DELETE ? w->ops + i >= w->iters : !perf_go(w, perf_now()))
				break;
			w->error = put_once(b, w, ref);
			if (b->op == OP_PUT)
				check(b, w, ref);
			if (w->error)
				return;
		}
		if (b->op == OP_DELETE)
			delete_all(b, w, from);
		drop_from(b, w, from);
	}
}

/* One put, one copy: the same caches and the same moment for both. One thread. */
static void pair_loop(struct perf_worker *w)
{
	struct put_bench *b = w->load->ctx;

	while (perf_go(w, perf_now())) {
		const struct swarm_ref ref = ref_of(b, 0, b->serial[0]++);
		struct swarm_buf buf;

		w->error = put_once(b, w, ref);
		check(b, w, ref);
		if (w->error)
			return;
		(void)swarm_store_delete(b->rig.st, ref);
		w->error = swarm_store_create(b->rig.st, ref_of(b, 0, b->serial[0]++), b->size, PUT_NS, &buf);
		if (w->error)
			return;
		const uint64_t t0 = perf_now();

		memcpy(buf.data, b->data, b->size);
		const uint64_t ns = sample(b, t0);

		perf_hist_add(b->pair, ns);
		b->pair_ns += ns;
		b->pair_ops++;
		swarm_store_abort(b->rig.st, &buf);
	}
}

static void run(struct put_bench *b, uint64_t iters, void (*fn)(struct perf_worker *w), struct perf_arm *arm)
{
	struct perf_load l = {
		.o = &b->o->c, .threads = b->o->c.threads, .iters = iters, .ctx = b, .fn = fn};
	const int rc = perf_load_run(&l, b->kind, arm);

	if (rc == SWARM_EFULL)
		perf_die(&b->o->c, "the arena is too small for objects of %llu bytes: give --arena",
			 (unsigned long long)b->size);
	perf_must(&b->o->c, rc, "put");
}

static void run_pairs(struct put_bench *b, uint64_t iters, struct perf_arm *arm, struct perf_arm *base)
{
	b->pair = calloc(1, sizeof(*b->pair));
	SWI_BUG_ON(!b->pair);
	perf_hist_init(b->pair);
	b->pair_ns = b->pair_ops = 0;
	run(b, iters, pair_loop, arm);
	if (base)
		perf_arm_run(base, b->kind, b->pair, b->pair_ops, b->pair_ops * b->size, b->pair_ns);
	free(b->pair);
}

static void local_row(struct put_bench *b, struct perf_report *r)
{
	static const char *const name[] = {"put", "create, seal", "delete"};
	const struct perf_opts *o = &b->o->c;
	const uint64_t dflt = swi_max_u64(swi_min_u64(200000, GIB(1) / b->size), 8);
	const uint64_t iters = perf_iters(&b->o->c, dflt);
	struct perf_row *row = perf_row_new(b->kind, name[b->op], b->size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", perf_samples(&b->o->c, iters)), *base = NULL;
	const enum put_op op = b->op;
	void (*const fn)(struct perf_worker *) = b->outs > 1 ? put_many_loop : put_loop;

	if (b->kind == PERF_BW)
		row->extra = json_pack("{s:i}", "objects_per_call", (int)b->outs);
	if (op == OP_PUT && !o->no_baseline)
		base = perf_row_arm(row, "memcpy into the same arena", 0);
	run(b, swi_max_u64(o->warmup, swi_min_u64(iters, 200)), fn, NULL);
	for (uint32_t i = 0; i < o->runs; i++) {
		if (base && b->size >= PAIR_FROM && o->threads == 1 && b->outs == 1) {
			run_pairs(b, iters, arm, base);
			continue;
		}
		if (base) {
			b->op = OP_COPY;
			run(b, iters, put_loop, base);
			b->op = op;
		}
		run(b, iters, fn, arm);
	}
	perf_report_row(r, row);
}

#define PUT_OPTIONS                                                                                \
	PERF_OPT_SIZE(struct put_opts, c), PERF_OPT_AMOUNT(struct put_opts, c),                    \
		PERF_OPT_LOAD(struct put_opts, c), PERF_OPT_DEPTH(struct put_opts, c),             \
		PERF_OPT_NET(struct put_opts, c), PERF_OPT_LOCAL(struct put_opts, c),              \
		PERF_OPT_ARENA(struct put_opts, c), PERF_OPT_LATENCY(struct put_opts, c),          \
		PERF_OPT_UNSORTED(struct put_opts, c), PERF_OPT_OUTPUT(struct put_opts, c),        \
		{"events", 'e', SWT_FLAG, PERF_O(struct put_opts, c, events), NULL,                \
		 "who gets sleeps on the descriptor of a queue", NULL},                            \
		{"op", 0, SWT_CHOICE, offsetof(struct put_opts, op), "OP",                         \
		 "put; create: no bytes are copied; or delete (local)", "put|create|delete"}
#define OPTIONS_END {NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL}

static const struct swt_opt lat_options[] = {
	PUT_OPTIONS,
	PERF_OPT_NOT(struct put_opts, c, 8, "outs", 'o', "N", "one object at a time; swarm_put_bw puts many"),
	PERF_OPT_NOT_FLAG(struct put_opts, c, 9, "bidirectional", 'b', "one side waits while the other answers; swarm_put_bw does it"),
	OPTIONS_END,
};

static const struct swt_opt bw_options[] = {
	PUT_OPTIONS,
	{"outs", 'o', SWT_U32, PERF_O(struct put_opts, c, outs), "N", "objects in one call, for each thread (default 1)", NULL},
	{"bidirectional", 'b', SWT_FLAG, PERF_O(struct put_opts, c, bidirectional), NULL,
	 "the server puts at the same time and the client gets; no baseline", NULL},
	OPTIONS_END,
};

static const struct swt_command commands[] =
	PERF_LAT_AND_BW("swarm_put_lat", "swarm_put_bw", "putting objects", lat_options, bw_options);

static int refuse(const struct swt_command *cmd, const struct put_opts *o)
{
	const bool put = !o->op || !strcmp(o->op, "put");

	if ((o->c.local || o->c.attach) && (o->c.bidirectional || o->c.events))
		return swt_error(cmd, SWT_USAGE, "--bidirectional and --events go with HOST or --loopback");
	if (o->c.outs > SWARM_MANY_MAX)
		return swt_error(cmd, SWT_USAGE, "--outs=%u: at most %u", o->c.outs, SWARM_MANY_MAX);
	if (o->c.outs > 1 && !put)
		return swt_error(cmd, SWT_USAGE, "--outs goes with --op=put");
	if (o->op && !strcmp(o->op, "delete") && o->c.duration_ns)
		return swt_error(cmd, SWT_USAGE, "--op=delete takes --iters");
	return 0;
}

static void all_sizes(struct put_bench *b, struct perf_report *r)
{
	const struct perf_opts *o = &b->o->c;

	b->set = SET;
	for (uint32_t i = 0; i < o->size_count; i++) {
		b->size = o->size[i];
		b->data = malloc(b->size);
		SWI_BUG_ON(!b->data);
		perf_fill(b->data, b->size, perf_ref(SET, i, 0));
		if (perf_remote(&b->rig))
			perf_put_remote(b, r);
		else
			local_row(b, r);
		free(b->data);
	}
}

int perf_put_main(int argc, char **argv, enum perf_kind kind)
{
	const struct swt_command *cmd = &commands[kind == PERF_BW];
	struct put_opts o = {0};
	struct put_bench b = {.o = &o, .kind = kind, .clock_ns = perf_clock_cost()};
	struct perf_report *r;
	int rc = perf_lat_bw_parse(cmd, argc, argv, &o, &o.c, &o.op);

	if (!rc)
		rc = refuse(cmd, &o);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	b.arena = o.c.arena_bytes ? o.c.arena_bytes : ARENA;
	b.outs = o.c.outs ? o.c.outs : 1;
	if (perf_is_server(&o.c))
		return perf_serve(&o.c, b.arena, NULL, -1);
	if (o.op)
		b.op = !strcmp(o.op, "put") ? OP_PUT : !strcmp(o.op, "create") ? OP_CREATE : OP_DELETE;
	perf_rig_start(&b.rig, &o.c, b.arena);
	perf_rig_open(&b.rig, b.arena);
	if (!perf_remote(&b.rig)) {
		b.rig.home = swarm_store_node(b.rig.st);
		b.set = PERF_SET_FIRST - 1;
		b.size = 64;
		if (o.c.others) {
			perf_make(&b.rig, b.set, 256, b.size);
			perf_others_start(&b.rig, b.set, 256, o.c.others);
		}
	}
	r = perf_report_new(&o.c, kind == PERF_LAT ? "Swarm put latency" : "Swarm put bandwidth");
	perf_describe(r, &b.rig);
	all_sizes(&b, r);
	perf_others_end();
	perf_rig_end(&b.rig);
	return perf_report_end(r);
}
