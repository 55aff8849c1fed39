/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_churn - puts, gets and deletes mixed, at a given live set and distribution of sizes: operations a
 * second, the latency of each kind, and how much of the arena holds live bytes. With --full the live set grows
 * until a put is refused, and stays there: the utilisation at each refusal is what fragmentation leaves.
 */
#include <math.h>
#include <unistd.h>

#include "perf/common/bench.h"
#include "perf/common/sizes.h"

#define ARENA	MIB(512)
#define LIVE	4096u
#define ITERS	1000000u
#define SETTLE	  1000u
#define SETTLE_NS (20 * NS_PER_MS)

enum { OP_PUT, OP_GET, OP_DELETE, OPS };

struct churn_opts {
	struct perf_opts c;
	const char *sizes, *trace;
	uint64_t live_bytes, token_bytes;
	uint32_t live, gets;
	bool full;
};

struct churn_live {
	uint64_t serial, len;
};

struct churn_thread {
	struct churn_live *live;
	uint64_t count, bytes, serial, rng;
	uint64_t refused, samples;
	double util_sum, util_min;
	struct perf_hist hist[OPS];
};

struct churn {
	const struct churn_opts *o;
	struct perf_rig rig;
	struct perf_sizes sizes;
	struct churn_thread *t;
	uint64_t target, arena, clock_ns, largest;
	uint8_t *data;
};

static struct swarm_ref ref_of(const struct churn *c, uint32_t thread, uint64_t serial)
{
	return perf_ref(PERF_SET_FIRST + thread, serial, c->rig.home);
}

static void took(struct churn *c, struct perf_worker *w, int op, uint64_t t0)
{
	const uint64_t ns = perf_net(perf_now() - t0, c->clock_ns);

	perf_hist_add(&c->t[w->index].hist[op], ns);
	perf_hist_add(w->hist, ns);
	if (w->arm)
		perf_arm_sample(w->arm, ns);
	w->ops++;
}

static void delete_one(struct churn *c, struct perf_worker *w, uint64_t i)
{
	struct churn_thread *t = &c->t[w->index];
	const uint64_t t0 = perf_now();

	w->error = swarm_store_delete(c->rig.st, ref_of(c, w->index, t->live[i].serial));
	took(c, w, OP_DELETE, t0);
	t->bytes -= t->live[i].len;
	t->live[i] = t->live[--t->count];
}

static uint64_t live_bytes(const struct churn *c)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < c->o->c.threads; i++)
		n += c->t[i].bytes;
	return n;
}

/*
 * No room: with --full that is what we are here for. One goes, so that the next may fit. Deletes are asynchronous, so
 * at every SETTLE-th refusal they are waited for, and only a second refusal is a sample of the utilisation.
 */
static void refused(struct churn *c, struct perf_worker *w, struct swarm_ref ref, uint64_t len)
{
	struct churn_thread *t = &c->t[w->index];
	struct swarm_buf buf;
	double util;

	if (!t->count) {
		w->error = SWARM_EFULL;
		return;
	}
	if (t->refused++ % SETTLE == 0) {
		if (swarm_store_create(c->rig.st, ref, len, SETTLE_NS, &buf) == 0) {
			swarm_store_abort(c->rig.st, &buf);
		} else {
			util = (double)live_bytes(c) / (double)c->arena;
			t->util_sum += util;
			if (!t->samples++ || util < t->util_min)
				t->util_min = util;
		}
	}
	delete_one(c, w, swi_splitmix64(&t->rng) % t->count);
}

static void put_one(struct churn *c, struct perf_worker *w)
{
	struct churn_thread *t = &c->t[w->index];
	const uint64_t len = perf_sizes_next(&c->sizes, &t->rng);
	const struct swarm_ref ref = ref_of(c, w->index, t->serial++);
	const uint64_t t0 = perf_now();
	struct swarm_buf buf;
	int rc = swarm_store_create(c->rig.st, ref, len, c->o->full ? 0 : 10 * NS_PER_S, &buf);

	if (c->o->full && (rc == SWARM_EFULL || rc == -ETIMEDOUT)) {
		refused(c, w, ref, len);
		return;
	}
	if (rc) {
		w->error = rc;
		return;
	}
	if (c->o->c.check_data)
		perf_fill(buf.data, len, ref);
	else
		memcpy(buf.data, c->data, len);
	w->error = swarm_store_seal(c->rig.st, &buf);
	took(c, w, OP_PUT, t0);
	w->bytes += len;
	t->bytes += len;
	t->live[t->count++] = (struct churn_live){t->serial - 1, len};
}

static void get_one(struct churn *c, struct perf_worker *w)
{
	struct churn_thread *t = &c->t[w->index];
	const struct churn_live *l = &t->live[swi_splitmix64(&t->rng) % t->count];
	const struct swarm_ref ref = ref_of(c, w->index, l->serial);
	const uint64_t t0 = perf_now();
	struct swarm_view v;

	w->error = swarm_store_get(c->rig.st, ref, 0, &v);
	if (w->error)
		return;
	const bool good = v.len == l->len && (!c->o->c.check_data || perf_filled(v.data, v.len, ref));

	swarm_view_release(c->rig.st, &v);
	took(c, w, OP_GET, t0);
	if (!good)
		w->error = SWARM_ECORRUPT;
}

static void churn(struct perf_worker *w)
{
	struct churn *c = w->load->ctx;
	struct churn_thread *t = &c->t[w->index];

	while (perf_go(w, c->o->c.duration_ns ? perf_now() : 0)) {
		const uint64_t dice = swi_splitmix64(&t->rng);

		if (t->count && dice % 100 < c->o->gets)
			get_one(c, w);
		else if (c->o->full ? t->count + 1 < c->target : t->count < c->target / 2 ||
				       (t->count < c->target && dice >> 63))
			put_one(c, w);
		else
			delete_one(c, w, (dice >> 8) % t->count);
	}
}

/* Up to its number of live objects, not measured. */
static void fill(struct perf_worker *w)
{
	struct churn *c = w->load->ctx;
	struct churn_thread *t = &c->t[w->index];

	while (!w->error && (c->o->full ? !t->refused : t->count < c->target / 4 * 3))
		put_one(c, w);
}

static void forget(struct churn *c)
{
	for (uint32_t i = 0; i < c->o->c.threads; i++) {
		struct churn_thread *t = &c->t[i];

		t->refused = t->samples = 0;
		t->util_sum = t->util_min = 0;
		for (int op = 0; op < OPS; op++)
			perf_hist_init(&t->hist[op]);
	}
}

static json_t *more(struct churn *c)
{
	uint64_t refused = 0, objects = 0, samples = 0;
	double sum = 0, least = 1;

	for (uint32_t i = 0; i < c->o->c.threads; i++) {
		const struct churn_thread *t = &c->t[i];

		refused += t->refused;
		objects += t->count;
		sum += t->util_sum;
		samples += t->samples;
		if (t->samples)
			least = fmin(least, t->util_min);
	}
	json_t *j = json_pack("{s:I, s:I, s:I, s:I}", "live_objects", (json_int_t)objects, "live_bytes",
			      (json_int_t)live_bytes(c), "arena_bytes", (json_int_t)c->arena, "puts_refused",
			      (json_int_t)refused);

	if (samples) {
		json_object_set_new(j, "utilisation_samples", json_integer((json_int_t)samples));
		json_object_set_new(j, "utilisation_mean", json_real(sum / (double)samples));
		json_object_set_new(j, "utilisation_min", json_real(least));
	}
	return j;
}

static void row_of(struct churn *c, struct perf_report *r, int op)
{
	static const char *const name[] = {"put", "get", "delete"};
	struct perf_row *row = perf_row_new(PERF_LAT, name[op], 0);
	struct perf_arm *arm = perf_row_arm(row, "swarm", 0);
	static struct perf_hist h;

	perf_hist_init(&h);
	for (uint32_t i = 0; i < c->o->c.threads; i++)
		perf_hist_merge(&h, &c->t[i].hist[op]);
	if (h.count)
		perf_arm_run(arm, PERF_LAT, &h, h.count, 0, (uint64_t)h.sum);
	perf_report_row(r, row);
}

static void measure(struct churn *c, struct perf_report *r)
{
	const struct perf_opts *o = &c->o->c;
	struct perf_load l = {.o = o, .threads = o->threads, .ctx = c, .fn = fill,
			      .iters = UINT64_MAX / 2};
	struct perf_row *row = perf_row_new(PERF_OPS, "mixed", 0);
	struct perf_arm *arm = perf_row_arm(row, "swarm", perf_samples(o, perf_iters(o, ITERS)));

	l.number = true;
	perf_must(o, perf_load_run(&l, PERF_OPS, NULL), "filling the store");
	l.number = false;
	forget(c);
	l.fn = churn;
	l.iters = perf_iters(o, ITERS);
	for (uint32_t i = 0; i < o->runs; i++)
		perf_must(o, perf_load_run(&l, PERF_OPS, arm), "mixed operations");
	row->extra = more(c);
	if (c->t[0].refused)
		perf_report_note(r, " live bytes / arena when a put is refused: mean %.4f, least %.4f", json_real_value(json_object_get(row->extra, "utilisation_mean")),
				 json_real_value(json_object_get(row->extra, "utilisation_min")));
	perf_report_row(r, row);
	for (int op = 0; op < OPS; op++)
		row_of(c, r, op);
}

static const struct swt_opt options[] = {
	{"sizes", 's', SWT_STR, offsetof(struct churn_opts, sizes), "SPEC",
	 "64,4k,1M: each as likely; lognormal:4k:1.5 (median, sigma) (default lognormal:4k:1.5)", NULL},
	{"all", 'a', SWT_FLAG, PERF_O(struct churn_opts, c, all_sizes), NULL,
	 "every power of two from 2 bytes to 8 MiB, each as likely", NULL},
	{"trace", 0, SWT_STR, offsetof(struct churn_opts, trace), "FILE",
	 "sizes of the requests of a trace, input_length x --token-bytes", NULL},
	{"token-bytes", 0, SWT_SIZE, offsetof(struct churn_opts, token_bytes), "SIZE",
	 "bytes for a token of the trace (default 16)", NULL},
	{"live", 0, SWT_U32, offsetof(struct churn_opts, live), "N", "live objects (default 4096, or what half of the arena takes)", NULL},
	{"gets", 0, SWT_U32, offsetof(struct churn_opts, gets), "PERCENT",
	 "share of gets; the rest are puts and deletes (default 70)", NULL},
	{"full", 0, SWT_FLAG, offsetof(struct churn_opts, full), NULL,
	 "keep the arena full: the live set is what fits, gets default to 0", NULL},
	PERF_OPT_AMOUNT(struct churn_opts, c),
	PERF_OPT_LOAD(struct churn_opts, c),
	PERF_OPT_LOCAL(struct churn_opts, c),
	PERF_OPT_ARENA(struct churn_opts, c),
	PERF_OPT_LATENCY(struct churn_opts, c),
	PERF_OPT_UNSORTED(struct churn_opts, c),
	PERF_OPT_OUTPUT(struct churn_opts, c),
	PERF_OPT_NO_NET(struct churn_opts, c, "the store is of this host"),
	PERF_OPT_NOT(struct churn_opts, c, 8, "outs", 'o', "N", "one operation a call"),
	PERF_OPT_NOT(struct churn_opts, c, 9, "tx-depth", 't', "N", "nothing is READ from another node"),
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_churn",
	.summary = "Measures puts, gets and deletes mixed at a given live set (default --local).",
	.opts = options,
};

static int settle(struct churn *c, struct churn_opts *o)
{
	char why[256] = "";

	if (o->gets != UINT32_MAX && o->gets > 99)
		return swt_error(&command, SWT_USAGE, "--gets=%u: expected 0 to 99", o->gets);
	if (o->gets == UINT32_MAX)
		o->gets = o->full ? 0 : 70;
	if ((o->sizes != NULL) + (o->trace != NULL) + o->c.all_sizes > 1)
		return swt_error(&command, SWT_USAGE, "give one of --sizes, --all and --trace");
	if (o->trace) {
		if (perf_sizes_trace(&c->sizes, o->trace, o->token_bytes ? o->token_bytes : 16, why, sizeof(why)))
			return swt_error(&command, 1, "%s", why);
	} else if (o->c.all_sizes) {
		perf_sizes_list(&c->sizes, o->c.size, o->c.size_count);
	} else if (perf_sizes_parse(&c->sizes, o->sizes ? o->sizes : "lognormal:4k:1.5")) {
		return swt_error(&command, SWT_USAGE,
				 "--sizes=%s: expected sizes such as 64,4k,1M or lognormal:MEDIAN:SIGMA", o->sizes);
	}
	c->arena = o->c.arena_bytes ? o->c.arena_bytes : ARENA;
	c->largest = swi_min_u64(perf_sizes_max(&c->sizes), c->arena / 16);
	c->sizes.cap = c->largest;
	if (!o->live)
		o->live = (uint32_t)swi_max_u64(4, swi_min_u64(LIVE, c->arena / 2 / swi_extent_bytes(perf_sizes_mean(&c->sizes))));
	return 0;
}

int main(int argc, char **argv)
{
	struct churn_opts o = {.gets = UINT32_MAX};
	struct churn c = {.o = &o, .clock_ns = perf_clock_cost()};
	struct perf_report *r;
	int rc = perf_opts_parse(&command, argc, argv, &o, &o.c);

	if (!rc)
		rc = settle(&c, &o);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	o.c.local = !o.c.attach;
	perf_rig_start(&c.rig, &o.c, c.arena);
	perf_rig_open(&c.rig, c.arena);
	c.rig.home = swarm_store_node(c.rig.st);
	c.target = swi_max_u64(4, o.full ? c.arena / SWI_GRANULE : o.live) / o.c.threads;
	c.t = calloc(o.c.threads, sizeof(*c.t));
	c.data = calloc(1, c.largest + 1);
	SWI_BUG_ON(!c.t || !c.data);
	for (uint32_t i = 0; i < o.c.threads; i++) {
		c.t[i].rng = i + 1;
		c.t[i].live = calloc(c.target + 1, sizeof(*c.t[i].live));
		SWI_BUG_ON(!c.t[i].live);
	}
	if (o.c.others) {
		perf_make(&c.rig, PERF_SET_FIRST - 1, 256, 64);
		perf_others_start(&c.rig, PERF_SET_FIRST - 1, 256, o.c.others);
	}
	forget(&c);
	r = perf_report_new(&o.c, "Swarm churn");
	perf_describe(r, &c.rig);
	perf_report_set(r, "sizes", json_string(o.trace ? o.trace : o.c.all_sizes ? "all" : o.sizes ? o.sizes : "lognormal:4k:1.5"));
	perf_report_set(r, "gets_percent", json_integer(o.gets));
	measure(&c, r);
	perf_others_end();
	perf_rig_end(&c.rig);
	for (uint32_t i = 0; i < o.c.threads; i++)
		free(c.t[i].live);
	free(c.t);
	free(c.data);
	perf_sizes_fini(&c.sizes);
	return perf_report_end(r);
}
