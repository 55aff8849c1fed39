/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_get_spilling - what a local get of a resident object costs while the store spills at full speed, beside the
 * same gets while nothing is spilled, turn by turn. Another process puts objects of 1 MiB as fast as it gets room, and
 * is stopped for the quiet half of each run.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "perf/common/bench.h"
#include "perf/common/scratch.h"

#define SET	   PERF_SET_FIRST
#define WRITER_SET (PERF_SET_FIRST + 1)
#define KEYS	   256u
#define ARENA	   MIB(256)
#define HALF_NS	   NS_PER_S
#define SETTLE_MS  50
#define SETTLE_MAX (20 * NS_PER_S)

struct gs_opts {
	struct perf_opts c;
	const char *dir;
};

struct gs {
	const struct gs_opts *o;
	struct perf_rig rig;
	uint64_t size, clock_ns;
	pid_t writer;
	int go; /* a byte: the store is there */
	_Atomic uint64_t get_cpu_ns; /* CPU time of the threads that get */
};

/* ---- the writer, a process of its own ---- */

static _Noreturn void write_for_ever(const char *run, int go)
{
	struct swarm_store *st;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(go, &byte, 1) != 1 || swarm_store_attach(run, &st, NULL, 0))
		_exit(1);
	for (uint64_t i = 0;; i++) {
		struct swarm_buf b;

		if (swarm_store_create(st, perf_ref(WRITER_SET, i, PERF_SERVER_NODE), MIB(1), 60 * NS_PER_S, &b))
			_exit(1);
		memset(b.data, (int)i, SWI_PAGE);
		if (swarm_store_seal(st, &b))
			_exit(1);
	}
}

static void start_writer(struct gs *g, const char *run)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		perf_die(&g->o->c, "pipe: %s", strerror(errno));
	fflush(NULL);
	g->writer = fork();
	if (g->writer < 0)
		perf_die(&g->o->c, "fork: %s", strerror(errno));
	if (!g->writer) {
		close(fd[1]);
		write_for_ever(run, fd[0]);
	}
	close(fd[0]);
	g->go = fd[1];
}

static uint64_t spilled(const struct gs *g)
{
	if (waitpid(g->writer, NULL, WNOHANG) == g->writer)
		perf_die(&g->o->c, "the writer has ended: is there room on the disk?");
	return perf_status(g->rig.st, "spilled_bytes");
}

/* Until nothing is written to disk any more. */
static void be_quiet(const struct gs *g)
{
	const uint64_t end = perf_now() + SETTLE_MAX;
	uint64_t before, now = spilled(g);

	(void)kill(g->writer, SIGSTOP);
	do {
		before = now;
		poll(NULL, 0, SETTLE_MS);
		now = spilled(g);
		if (perf_now() > end)
			perf_die(&g->o->c, "the store does not come to rest");
	} while (now != before);
}

/* Until the arena is full and everything new means that something is written. */
static void be_busy(const struct gs *g)
{
	const uint64_t from = spilled(g), end = perf_now() + SETTLE_MAX;

	(void)kill(g->writer, SIGCONT);
	while (spilled(g) < from + MIB(64))
		if (perf_now() > end)
			perf_die(&g->o->c, "nothing is spilled");
}

/* ---- the gets ---- */

static uint64_t cpu_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* CPU time of the store: of all in this process but the threads that get. */
static uint64_t store_cpu_ns(struct gs *g)
{
	return cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - atomic_load(&g->get_cpu_ns);
}

static void get_some(struct perf_worker *w)
{
	struct gs *g = w->load->ctx;
	const uint64_t cpu = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
	uint64_t now = perf_now(), i = w->index;

	while (perf_go(w, now)) {
		const struct swarm_ref ref = perf_ref(SET, i++ % KEYS, PERF_SERVER_NODE);
		const uint64_t t0 = perf_now();
		struct swarm_view v;
		uint64_t ns;

		w->error = swarm_store_get(g->rig.st, ref, 10 * NS_PER_S, &v);
		if (w->error)
			return;
		if (g->o->c.check_data && (v.len != g->size || !perf_filled(v.data, v.len, ref)))
			w->error = SWARM_ECORRUPT;
		swarm_view_release(g->rig.st, &v);
		now = perf_now();
		ns = perf_net(now - t0, g->clock_ns);
		perf_hist_add(w->hist, ns);
		if (w->arm)
			perf_arm_sample(w->arm, ns);
		w->ops++;
		w->bytes += g->size;
	}
	atomic_fetch_add(&g->get_cpu_ns, cpu_ns(CLOCK_THREAD_CPUTIME_ID) - cpu);
}

/* One half of a run; its p99 goes to *@out_p99. */
static uint64_t half(struct gs *g, struct perf_arm *arm, double *out_p99)
{
	struct perf_row *scratch = perf_row_new(PERF_LAT, "half", g->size);
	struct perf_arm *one = perf_row_arm(scratch, "half", arm->sample_max);
	struct perf_load l = {.o = &g->o->c, .threads = g->o->c.threads, .iters = g->o->c.iters, .ctx = g, .fn = get_some};
	uint64_t ns;

	perf_must(&g->o->c, perf_load_run(&l, PERF_LAT, one), "get");
	*out_p99 = perf_hist_percentile(&one->hist, 99);
	perf_arm_samples(arm, one);
	perf_arm_run(arm, PERF_LAT, &one->hist, one->ops, one->bytes, one->ns);
	ns = one->ns;
	perf_row_free(scratch);
	return ns;
}

static void set_spread(json_t *j, const char *key, const double *v, uint32_t n)
{
	const struct perf_spread s = perf_spread_of(v, n);
	char name[64];

	json_object_set_new(j, key, json_real(s.median));
	snprintf(name, sizeof(name), "%s_min", key);
	json_object_set_new(j, name, json_real(s.min));
	snprintf(name, sizeof(name), "%s_max", key);
	json_object_set_new(j, name, json_real(s.max));
}

static void measure(struct gs *g, struct perf_report *r)
{
	const struct perf_opts *o = &g->o->c;
	struct perf_row *row = perf_row_new(PERF_LAT, "get, while spilling", g->size);
	const uint64_t samples = o->unsorted ? (uint64_t)o->iters * o->runs : 0;
	struct perf_arm *busy = perf_row_arm(row, "swarm", samples);
	struct perf_arm *quiet = perf_row_arm(row, "the same while nothing is spilled", 0);
	double p99[PERF_RUNS_MAX], base[PERF_RUNS_MAX], ratio[PERF_RUNS_MAX], speed[PERF_RUNS_MAX];

	for (uint32_t i = 0; i < o->runs; i++) {
		be_quiet(g);
		(void)half(g, quiet, &base[i]);
		be_busy(g);
		const uint64_t before = spilled(g), cpu = store_cpu_ns(g), ns = half(g, busy, &p99[i]);
		const uint64_t bytes = spilled(g) - before;

		speed[i] = (double)bytes * 1e9 / (double)swi_max_u64(ns, 1);
		perf_arm_cpu(busy, (double)(store_cpu_ns(g) - cpu) / (double)swi_max_u64(bytes, 1));
		ratio[i] = base[i] > 0 ? p99[i] / base[i] : 0;
	}
	row->extra = json_object();
	set_spread(row->extra, "p99_ns", p99, o->runs);
	set_spread(row->extra, "baseline_p99_ns", base, o->runs);
	set_spread(row->extra, "p99_ratio", ratio, o->runs);
	set_spread(row->extra, "spill_bytes_per_s", speed, o->runs);
	perf_report_row(r, row);
	perf_report_note(r, " p99 while %.0f MB/s are spilled: %.0f ns, else %.0f ns: ratio %.3f",
			 perf_spread_of(speed, o->runs).median / 1e6, perf_spread_of(p99, o->runs).median,
			 perf_spread_of(base, o->runs).median, perf_spread_of(ratio, o->runs).median);
}

static const struct swt_opt options[] = {
	{"size", 's', SWT_STR, PERF_O(struct gs_opts, c, size_text), "SIZE", "bytes of an object (default 64)", NULL},
	{"iters", 'n', SWT_U32, PERF_O(struct gs_opts, c, iters), "N", "gets in each half of a run", NULL},
	{"duration", 'D', SWT_TIME, PERF_O(struct gs_opts, c, duration_ns), "TIME",
	 "time of each half of a run instead (default 1)", NULL},
	{"check-data", 0, SWT_FLAG, PERF_O(struct gs_opts, c, check_data), NULL,
	 "check every byte, as a part of what is timed", NULL},
	{"dir", 0, SWT_STR, offsetof(struct gs_opts, dir), "FOLDER",
	 "where to spill; everything made there goes again (default /var/tmp)", NULL},
	PERF_OPT_LOAD(struct gs_opts, c),
	PERF_OPT_ARENA(struct gs_opts, c),
	PERF_OPT_LATENCY(struct gs_opts, c),
	PERF_OPT_UNSORTED(struct gs_opts, c),
	PERF_OPT_OUTPUT(struct gs_opts, c),
	PERF_OPT_NO_NET(struct gs_opts, c, "the gets are local"),
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_get_spilling",
	.summary = "Measures local gets while the store spills, beside the same gets while it does not.",
	.opts = options,
};

static void open_store(struct gs *g, const char *run, const char *spill)
{
	const struct perf_opts *o = &g->o->c;
	const struct swarm_store_opts so = {.size = sizeof(so),
					    .flags = o->huge ? SWARM_STORE_HUGE_PAGES : 0,
					    .arena_bytes = o->arena_bytes ? o->arena_bytes : ARENA,
					    .dir = run,
					    .spill_dir = spill,
					    .node = PERF_SERVER_NODE};
	char why[256] = "";

	if (swarm_store_open(&so, &g->rig.st, why, sizeof(why)))
		perf_die(o, "%s", why);
	g->rig.o = o;
	g->rig.home = PERF_SERVER_NODE;
	perf_make(&g->rig, SET, KEYS, g->size);
	if (write(g->go, "", 1) != 1)
		perf_die(o, "the writer is gone");
}

static int settle(struct gs_opts *o)
{
	if (o->c.size_count > 1)
		return swt_error(&command, SWT_USAGE, "--size: one size at a time");
	if (!o->c.size_count)
		o->c.size[0] = 64;
	if (o->c.unsorted && !o->c.iters)
		return swt_error(&command, SWT_USAGE, "--unsorted takes --iters");
	if (!o->c.iters && !o->c.duration_ns)
		o->c.duration_ns = HALF_NS;
	return 0;
}

int main(int argc, char **argv)
{
	struct gs_opts o = {0};
	struct gs g = {.o = &o, .clock_ns = perf_clock_cost()};
	char run[PERF_SCRATCH_MAX], spill[PERF_SCRATCH_MAX];
	struct perf_report *r;
	int rc = perf_opts_parse(&command, argc, argv, &o, &o.c);

	if (!rc)
		rc = settle(&o);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	g.size = o.c.size[0];
	perf_scratch(&o.c, NULL, run);
	perf_scratch(&o.c, o.dir ? o.dir : "/var/tmp", spill);
	start_writer(&g, run); /* before this process has threads */
	open_store(&g, run, spill);
	r = perf_report_new(&o.c, "Swarm gets while the store spills");
	perf_report_set(r, "threads", json_integer(o.c.threads));
	perf_report_set(r, "runs", json_integer(o.c.runs));
	perf_report_set(r, "folder", json_string(o.dir ? o.dir : "/var/tmp"));
	measure(&g, r);
	(void)kill(g.writer, SIGKILL);
	(void)waitpid(g.writer, NULL, 0);
	perf_rig_close(&g.rig);
	return perf_report_end(r);
}
