/* SPDX-License-Identifier: Apache-2.0 */
/*
 * put_remote.c - puts between two nodes. Nobody writes into another node's memory: latency is half of a round of put,
 * get there, put there, get here; bandwidth counts until the other node has got every object. A run goes in parts, as
 * many objects as the arenas take; making room between two parts is not timed. The server's side: serve_cmd.c.
 */
#include "perf/put_bench.h"

#define GET_NS	   (30 * NS_PER_S)
#define KEEP	   64u /* pings that stay until the other side has surely seen them */
#define PINGS_PART 4096u

struct part {
	struct put_bench *b;
	uint64_t n;
	uint64_t set; /* of the pings of thread i: set + 2 i, of their answers one more; of a stream and, with -b, of what comes back */
};

static struct perf_load load_of(struct put_bench *b, struct part *p, uint32_t threads, void (*fn)(struct perf_worker *w))
{
	return (struct perf_load){.o = &b->o->c, .threads = threads, .iters = p->n, .number = true, .ctx = p, .fn = fn};
}

static json_t *ask_of(const struct put_bench *b, const struct part *p, const char *cmd)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b}", "cmd", cmd, "set", (json_int_t)p->set, "count",
			 (json_int_t)p->n, "size", (json_int_t)b->size, "home", (json_int_t)swarm_store_node(b->rig.st),
			 "threads", (json_int_t)b->o->c.threads, "check", (int)b->o->c.check_data, "events",
			 (int)b->o->c.events, "both", (int)b->o->c.bidirectional);
}

/* ---- latency ---- */

static void ping(struct perf_worker *w)
{
	struct part *p = w->load->ctx;
	struct put_bench *b = p->b;
	const uint64_t set = p->set + 2 * w->index;
	const uint32_t us = swarm_store_node(b->rig.st);
	struct perf_getter g;

	w->error = perf_getter_init(&g, b->rig.st, b->o->c.events);
	for (uint64_t i = 0; i < w->iters && !w->error; i++) {
		const uint64_t t0 = perf_now();
		struct swarm_view v;

		w->error = swarm_store_put(b->rig.st, perf_ref(set, i, us), b->data, b->size, PERF_PUT_NS);
		if (!w->error)
			w->error = perf_getter_get(&g, perf_ref(set + 1, i, PERF_SERVER_NODE), GET_NS, &v);
		if (w->error)
			break;
		const uint64_t ns = (perf_now() - t0) / 2;

		if (v.len != b->size || (b->o->c.check_data && memcmp(v.data, b->data, b->size) != 0))
			w->error = SWARM_ECORRUPT;
		swarm_view_release(b->rig.st, &v);
		perf_hist_add(w->hist, ns);
		if (w->arm)
			perf_arm_sample(w->arm, ns);
		w->busy += ns;
		w->ops++;
		w->bytes += b->size;
		if (i >= KEEP)
			(void)swarm_store_delete(b->rig.st, perf_ref(set, i - KEEP, us));
	}
	perf_getter_fini(&g);
}

static uint64_t pings(struct put_bench *b, uint64_t n, struct perf_hist *h, struct perf_arm *samples)
{
	const uint32_t threads = b->o->c.threads;
	struct part p = {.b = b, .n = n, .set = b->set};
	struct perf_load l = load_of(b, &p, threads, ping);

	b->set += 2 * threads;
	perf_ask_begin(&b->rig, ask_of(b, &p, "pong"));
	perf_must(&b->o->c, perf_load_part(&l, h, samples), "put and get");
	json_decref(perf_ask_end(&b->rig));
	for (uint32_t t = 0; t < threads; t++) {
		const uint64_t of = n / threads + (t < n % threads); /* as perf_load_part() shares them */

		for (uint64_t i = of > KEEP ? of - KEEP : 0; i < of; i++)
			(void)swarm_store_delete(b->rig.st, perf_ref(p.set + 2 * t, i, swarm_store_node(b->rig.st)));
		if (of)
			perf_drop(&b->rig, p.set + 2 * t + 1, of);
	}
	return l.ns;
}

/* ---- bandwidth ---- */

/* Thread i makes the objects i, i + threads ..; with -b as many threads more get what the server makes. */
static void stream_some(struct perf_worker *w)
{
	const struct part *p = w->load->ctx;
	struct put_bench *b = p->b;
	const struct perf_opts *o = &b->o->c;

	if (w->index >= o->threads) {
		const struct perf_pull pull = {.st = b->rig.st, .set = p->set + 1, .count = p->n, .size = b->size,
					       .home = PERF_SERVER_NODE, .at = w->index - o->threads,
					       .step = o->threads, .check = o->check_data, .events = o->events};

		perf_pull(w, &pull);
		return;
	}
	const struct perf_make make = {.st = b->rig.st, .set = p->set, .count = p->n, .size = b->size,
				       .home = swarm_store_node(b->rig.st), .at = w->index, .step = o->threads,
				       .outs = b->outs, .data = b->data, .check = o->check_data};

	perf_make_some(w, &make);
}

static uint64_t stream(struct put_bench *b, uint64_t n, struct perf_hist *h, struct perf_arm *samples)
{
	const struct perf_opts *o = &b->o->c;
	const uint32_t us = swarm_store_node(b->rig.st);
	struct part p = {.b = b, .n = n, .set = b->set};
	struct perf_load l = load_of(b, &p, o->threads * (o->bidirectional ? 2 : 1), stream_some);
	const uint64_t t0 = perf_now();

	b->set += 2;
	perf_ask_begin(&b->rig, ask_of(b, &p, "pull"));
	perf_must(o, perf_load_part(&l, h, samples), "put");
	json_decref(perf_ask_end(&b->rig));
	const uint64_t ns = perf_now() - t0;

	for (uint64_t i = 0; i < n; i++)
		(void)swarm_store_delete(b->rig.st, perf_ref(p.set, i, us));
	if (o->bidirectional)
		perf_drop(&b->rig, p.set + 1, n);
	(void)perf_arena_below(&b->rig, b->arena / 2);
	return ns;
}

/* ---- the row ---- */

static void run(struct put_bench *b, uint64_t iters, uint64_t most, struct perf_row *row, struct perf_arm *arm)
{
	const struct perf_opts *o = &b->o->c;
	const uint64_t end = o->duration_ns && arm ? perf_now() + o->duration_ns : 0;
	const uint32_t ways = o->bidirectional ? 2 : 1;
	static struct perf_hist h;
	uint64_t ns = 0, n = 0;

	perf_hist_init(&h);
	do {
		const uint64_t part = end ? most : swi_min_u64(most, iters - n);

		ns += (row->kind == PERF_LAT ? pings : stream)(b, part, &h, arm);
		n += part;
	} while (end ? perf_now() < end : n < iters);
	if (arm)
		perf_arm_run(arm, row->kind, &h, ways * n, ways * n * b->size, ns);
}

void perf_put_remote(struct put_bench *b, struct perf_report *r)
{
	const struct perf_opts *o = &b->o->c;
	const bool lat = b->kind == PERF_LAT;
	const uint64_t room = swi_min_u64(b->arena, b->rig.server_arena) / (o->bidirectional ? 6 : 3);
	const uint64_t dflt = lat ? 500 : swi_max_u64(swi_min_u64(2000, MIB(128) / b->size), 16);
	const uint64_t iters = perf_iters(o, dflt);
	const uint64_t most = swi_max_u64(1, swi_min_u64(swi_min_u64(lat ? PINGS_PART : UINT64_MAX, room / swi_extent_bytes(b->size)),
							 o->duration_ns ? iters : UINT64_MAX));
	struct perf_row *row = perf_row_new(b->kind, lat ? "put, half a round" : o->bidirectional ? "put, both ways" : "put, got there",
					    b->size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", perf_samples(o, iters));
	struct perf_bases bases = {0};

	if (!lat)
		row->extra = json_pack("{s:i}", "objects_per_call", (int)b->outs);
	if (!o->bidirectional)
		perf_bases_open(&bases, &b->rig, row, b->size, 0, 0);
	run(b, swi_max_u64(swi_min_u64(iters, 20), o->warmup), most, row, NULL);
	for (uint32_t i = 0; i < o->runs; i++) {
		perf_bases_run(&bases, row, o->depth ? o->depth : o->threads, iters);
		run(b, iters, most, row, arm);
	}
	perf_bases_close(&bases);
	perf_report_row(r, row);
}
