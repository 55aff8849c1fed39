/* SPDX-License-Identifier: Apache-2.0 */
/*
 * put.c - see put.h. Local: put beside memcpy into extents of the same arena; from 64 KiB on operation by operation, so
 * that both find the same caches. Remote (nobody writes into another node's memory): latency is half of a
 * round of put, get there, put there, get here; bandwidth counts until the other node has got every object.
 */
#include "perf/common/bench.h"
#include "perf/put.h"

#define SET	  PERF_SET_FIRST
#define ARENA	  MIB(512)
#define PAIR_FROM KIB(64)
#define PUT_NS	  (10 * NS_PER_S)
#define GET_NS	  (30 * NS_PER_S)
#define OBJECTS_MAX 16384u /* a quarter of the least index that a store has */
#define KEEP	  64u /* pings and pongs that stay until the other side has surely seen them */

enum put_op { OP_PUT, OP_CREATE, OP_DELETE, OP_COPY };

struct put_opts {
	struct perf_opts c;
	const char *op;
};

struct put_bench {
	const struct put_opts *o;
	struct perf_rig rig;
	enum perf_kind kind;
	enum put_op op;
	uint64_t size, set, arena;
	uint8_t *data;
	uint64_t serial[PERF_THREADS_MAX]; /* objects ever made by each thread */
	uint64_t clock_ns;
	struct perf_hist *pair; /* of the copies, where they alternate with puts */
	uint64_t pair_ns, pair_ops;
};

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
		swarm_store_abort(b->rig.st, &buf);
		return 0;
	}
	rc = swarm_store_seal(b->rig.st, &buf);
	if (b->op == OP_CREATE)
		count(w, sample(b, t0), b->size);
	return rc;
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

	if (op == OP_PUT && !o->no_baseline)
		base = perf_row_arm(row, "memcpy into the same arena", 0);
	run(b, swi_max_u64(o->warmup, swi_min_u64(iters, 200)), put_loop, NULL);
	for (uint32_t i = 0; i < o->runs; i++) {
		if (base && b->size >= PAIR_FROM && o->threads == 1) {
			run_pairs(b, iters, arm, base);
			continue;
		}
		if (base) {
			b->op = OP_COPY;
			run(b, iters, put_loop, base);
			b->op = op;
		}
		run(b, iters, put_loop, arm);
	}
	perf_report_row(r, row);
}

/* ---- remote ---- */

/* Half of a round: put here, get there, put there, get here. */
static void pings(struct put_bench *b, uint64_t n, struct perf_row *row, struct perf_arm *arm)
{
	static struct perf_hist h;
	const uint64_t set = b->set;
	uint64_t busy = 0;

	b->set += 2;
	perf_hist_init(&h);
	perf_ask_begin(&b->rig, json_pack("{s:s, s:I, s:I, s:I, s:I}", "cmd", "pong", "set", (json_int_t)set,
					  "count", (json_int_t)n, "size", (json_int_t)b->size, "home",
					  (json_int_t)swarm_store_node(b->rig.st)));
	for (uint64_t i = 0; i < n; i++) {
		const uint32_t us = swarm_store_node(b->rig.st);
		const uint64_t t0 = perf_now();
		struct swarm_view v;

		perf_must(&b->o->c, swarm_store_put(b->rig.st, perf_ref(set, i, us), b->data, b->size, PUT_NS),
			  "put");
		perf_must(&b->o->c,
			  swarm_store_get(b->rig.st, perf_ref(set + 1, i, PERF_SERVER_NODE), GET_NS, &v), "get");
		const uint64_t ns = (perf_now() - t0) / 2;

		if (v.len != b->size || (b->o->c.check_data && memcmp(v.data, b->data, b->size)))
			perf_die(&b->o->c, "object %llu came back with wrong bytes", (unsigned long long)i);
		swarm_view_release(b->rig.st, &v);
		perf_hist_add(&h, ns);
		if (arm)
			perf_arm_sample(arm, ns);
		busy += ns;
		if (i >= KEEP)
			(void)swarm_store_delete(b->rig.st, perf_ref(set, i - KEEP, us));
	}
	json_decref(perf_ask_end(&b->rig));
	for (uint64_t i = n > KEEP ? n - KEEP : 0; i < n; i++)
		(void)swarm_store_delete(b->rig.st, perf_ref(set, i, swarm_store_node(b->rig.st)));
	if (arm)
		perf_arm_run(arm, row->kind, &h, n, n * b->size, busy);
}

/* Puts @n objects while the server gets them; over when it has all. */
static void stream(struct put_bench *b, uint64_t n, struct perf_row *row, struct perf_arm *arm)
{
	const uint64_t set = b->set, t0 = perf_now();
	const uint32_t us = swarm_store_node(b->rig.st);

	b->set++;
	perf_ask_begin(&b->rig,
		       json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "cmd", "pull", "set",
				 (json_int_t)set, "count", (json_int_t)n, "size", (json_int_t)b->size, "home",
				 (json_int_t)us, "iters", (json_int_t)n, "threads",
				 (json_int_t)b->o->c.threads, "check", (int)b->o->c.check_data));
	for (uint64_t i = 0; i < n; i++) {
		const struct swarm_ref ref = perf_ref(set, i, us);
		struct swarm_buf buf;

		perf_must(&b->o->c, swarm_store_create(b->rig.st, ref, b->size, PUT_NS, &buf), "create");
		if (b->o->c.check_data)
			perf_fill(buf.data, b->size, ref);
		else
			memcpy(buf.data, b->data, b->size);
		perf_must(&b->o->c, swarm_store_seal(b->rig.st, &buf), "seal");
	}
	json_decref(perf_ask_end(&b->rig));
	if (arm)
		perf_arm_run(arm, row->kind, NULL, n, n * b->size, perf_now() - t0);
	for (uint64_t i = 0; i < n; i++)
		(void)swarm_store_delete(b->rig.st, perf_ref(set, i, us));
	(void)perf_arena_below(&b->rig, b->arena / 2);
}

static void remote_row(struct put_bench *b, struct perf_report *r)
{
	const struct perf_opts *o = &b->o->c;
	const bool lat = b->kind == PERF_LAT;
	const uint64_t most = swi_max_u64(1, b->arena / 3 / swi_extent_bytes(b->size));
	const uint64_t dflt = lat ? 500 : swi_max_u64(swi_min_u64(2000, MIB(128) / b->size), 16);
	const uint64_t iters = lat ? perf_iters(&b->o->c, dflt) : swi_min_u64(perf_iters(&b->o->c, dflt), most);
	struct perf_row *row = perf_row_new(b->kind, lat ? "put, half a round" : "put, got there", b->size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", lat ? perf_samples(&b->o->c, iters) : 0);
	void (*const go)(struct put_bench *, uint64_t, struct perf_row *, struct perf_arm *) =
		lat ? pings : stream;
	struct perf_bases bases;

	perf_bases_open(&bases, &b->rig, row, b->size, 0, 0);
	go(b, swi_max_u64(swi_min_u64(iters, 20), o->warmup), row, NULL);
	for (uint32_t i = 0; i < o->runs; i++) {
		perf_bases_run(&bases, row, o->depth ? o->depth : o->threads, iters);
		go(b, iters, row, arm);
	}
	perf_bases_close(&bases);
	perf_report_row(r, row);
}

static const struct swt_opt options[] = {
	PERF_OPT_SIZE(struct put_opts, c),
	PERF_OPT_AMOUNT(struct put_opts, c),
	PERF_OPT_LOAD(struct put_opts, c),
	PERF_OPT_DEPTH(struct put_opts, c),
	PERF_OPT_NET(struct put_opts, c),
	PERF_OPT_LOCAL(struct put_opts, c),
	PERF_OPT_ARENA(struct put_opts, c),
	PERF_OPT_LATENCY(struct put_opts, c),
	PERF_OPT_UNSORTED(struct put_opts, c),
	PERF_OPT_OUTPUT(struct put_opts, c),
	{"op", 0, SWT_CHOICE, offsetof(struct put_opts, op), "OP",
	 "put; create: no bytes are copied; or delete (local)", "put|create|delete"},
	PERF_OPT_NOT(struct put_opts, c, 8, "outs", 'o', "N", "a put is one object; swarm_get_bw asks for many"),
	PERF_OPT_NOT_FLAG(struct put_opts, c, 9, "bidirectional", 'b', "bytes travel by gets alone; swarm_get_bw does it"),
	PERF_OPT_NOT_FLAG(struct put_opts, c, 10, "events", 'e', "a put waits for nobody; swarm_get_lat does it"),
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command commands[] =
	PERF_LAT_AND_BW("swarm_put_lat", "swarm_put_bw", "putting objects", options, options);

static int refuse(const struct swt_command *cmd, const struct put_opts *o)
{
	if (!o->c.local && !o->c.attach && o->c.duration_ns)
		return swt_error(cmd, SWT_USAGE, "--duration goes with --local or --attach: both ends count here");
	if (!o->c.local && !o->c.attach && o->c.unsorted && cmd == &commands[PERF_BW])
		return swt_error(cmd, SWT_USAGE, "--unsorted goes with --local or --attach; swarm_put_lat keeps the time of each");
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
			remote_row(b, r);
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
