/* SPDX-License-Identifier: Apache-2.0 */
/* bench.c - see bench.h. */
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/common/bench.h"

#define RAW_WINDOW MIB(16)
#define OTHERS_MAX 16u

static struct {
	pid_t pid[OTHERS_MAX];
	uint32_t n;
} others;

int perf_lat_bw_parse(const struct swt_command *cmd, int argc, char **argv, void *out, struct perf_opts *o,
		      const char *const *op)
{
	static const uint64_t few[] = {64, KIB(4), KIB(64), MIB(1)};
	const int rc = perf_opts_parse(cmd, argc, argv, out, o);
	const bool here = o->local || o->attach;

	if (rc)
		return rc;
	if (!here && (*op || o->others))
		return swt_error(cmd, SWT_USAGE, "--op and --others go with --local or --attach");
	if (here && o->depth)
		return swt_error(cmd, SWT_USAGE, "--tx-depth goes with HOST or --loopback");
	if (!o->size_count) {
		memcpy(o->size, few, sizeof(few));
		o->size_count = SWI_ARRAY_LEN(few);
	}
	return 0;
}

void perf_make(struct perf_rig *rig, uint64_t set, uint64_t count, uint64_t size)
{
	if (perf_remote(rig)) {
		json_decref(perf_ask(rig, json_pack("{s:s, s:I, s:I, s:I}", "cmd", "make", "set",
						    (json_int_t)set, "count", (json_int_t)count, "size",
						    (json_int_t)size)));
		return;
	}
	for (uint64_t i = 0; i < count; i++) {
		const struct swarm_ref ref = perf_ref(set, i, rig->home);
		struct swarm_buf b;

		perf_must(rig->o, swarm_store_create(rig->st, ref, size, 10 * NS_PER_S, &b), "create");
		perf_fill(b.data, size, ref);
		perf_must(rig->o, swarm_store_seal(rig->st, &b), "seal");
	}
}

static bool below(struct perf_rig *rig, const char *key, uint64_t limit)
{
	const uint64_t end = perf_now() + 10 * NS_PER_S;

	while (perf_status(rig->st, key) > limit) {
		if (perf_now() > end)
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}

bool perf_arena_below(struct perf_rig *rig, uint64_t bytes)
{
	return below(rig, "arena_used", bytes);
}

bool perf_objects_below(struct perf_rig *rig, uint64_t objects)
{
	return below(rig, "objects", objects);
}

void perf_drop(struct perf_rig *rig, uint64_t set, uint64_t count)
{
	if (perf_remote(rig)) {
		json_decref(perf_ask(rig, json_pack("{s:s, s:I, s:I}", "cmd", "drop", "set",
						    (json_int_t)set, "count", (json_int_t)count)));
		return;
	}
	for (uint64_t i = 0; i < count; i++)
		perf_must(rig->o, swarm_store_delete(rig->st, perf_ref(set, i, rig->home)), "delete");
}

void perf_describe(struct perf_report *r, const struct perf_rig *rig)
{
	const struct perf_opts *o = rig->o;
	const char *mode = o->loopback ? "loopback" : o->attach ? "attach" : o->host ? "remote" : "local";

	perf_report_set(r, "mode", json_string(mode));
	if (o->host)
		perf_report_set(r, "server", json_string(rig->server));
	if (perf_remote(rig))
		perf_report_set(r, "transport", json_string(rig->backend));
	perf_report_set(r, "threads", json_integer(o->threads));
	if (o->others)
		perf_report_set(r, "other_processes", json_integer(o->others));
	perf_report_set(r, "runs", json_integer(o->runs));
	perf_report_set(r, "check_data", json_boolean(o->check_data));
	perf_report_set(r, "huge_pages", json_boolean(o->huge || o->hugetlb));
}

/* ---- remote baselines ---- */

static void open_raw(struct perf_bases *b, struct perf_arm *arm, uint64_t size, uint64_t span, uint64_t source)
{
	static char why[256];
	const uint64_t len = swi_max_u64(span ? span : RAW_WINDOW, 2 * size);
	const uint64_t from = swi_max_u64(span ? source : RAW_WINDOW, len);
	json_t *at = perf_ask(b->rig, json_pack("{s:s, s:I}", "cmd", "raw", "size", (json_int_t)from));

	b->raw = perf_raw_connect(b->rig->o, json_string_value(json_object_get(at, "address")), b->rig->key,
				  len, why, sizeof(why));
	json_decref(at);
	if (!b->raw)
		arm->why = why;
}

void perf_bases_open(struct perf_bases *b, struct perf_rig *rig, struct perf_row *row, uint64_t size, uint64_t span,
		     uint64_t source)
{
	const char *missing;

	*b = (struct perf_bases){.rig = rig};
	if (rig->o->no_baseline)
		return;
	b->raw_arm = row->arm_count;
	open_raw(b, perf_row_arm(row, "raw READ, no store", 0), size, span, source);
	b->tool = perf_tool_for(rig, row->kind, &missing);
	if (!b->tool && !missing)
		return;
	b->tool_arm = row->arm_count;
	perf_row_arm(row, b->tool ? b->tool : missing, 0)->why = b->tool	     ? "it failed"
		: strcmp(missing, "fi_rma_bw") ? "not installed"
					       : "not installed (of fabtests, which Debian has no package of)";
}

void perf_bases_run(struct perf_bases *b, struct perf_row *row, uint32_t depth, uint64_t iters)
{
	static struct perf_hist h;
	struct perf_hist *keep = row->kind == PERF_LAT ? &h : NULL; /* bandwidth is counted without a look at the clock */
	uint64_t ns;
	double v;

	perf_hist_init(&h);
	if (b->raw && perf_raw_run(b->raw, row->size_bytes, depth, iters, keep, &ns) == 0)
		perf_arm_run(row->arm[b->raw_arm], row->kind, keep, iters, iters * row->size_bytes, ns);
	if (b->tool && !perf_tool_run(b->rig, b->tool, row->size_bytes, depth, swi_max_u64(iters, 5), &v))
		perf_arm_value(row->arm[b->tool_arm], v);
}

void perf_bases_close(struct perf_bases *b)
{
	perf_raw_close(b->raw);
	b->raw = NULL;
}

/* ---- other processes ---- */

static _Noreturn void other(const char *dir, uint64_t set, uint64_t count, uint32_t home, uint64_t at)
{
	struct swarm_store *st;
	struct swarm_view v;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (swarm_store_attach(dir, &st, NULL, 0))
		_exit(1);
	for (;; at++) {
		const int rc = swarm_store_get(st, perf_ref(set, at % count, home), NS_PER_S, &v);

		if (rc == SWARM_ENODAEMON || rc == -EPIPE)
			_exit(0);
		if (!rc)
			swarm_view_release(st, &v);
	}
}

void perf_others_start(struct perf_rig *rig, uint64_t set, uint64_t count, uint32_t n)
{
	char dir[PERF_PATH_MAX];

	if (n > OTHERS_MAX)
		perf_die(rig->o, "--others=%u: at most %u", n, OTHERS_MAX);
	snprintf(dir, sizeof(dir), "%s/run", perf_dir(rig->o));
	for (; others.n < n; others.n++) {
		fflush(NULL);
		others.pid[others.n] = fork();
		if (!others.pid[others.n])
			other(dir, set, count, rig->home, others.n * count / n);
	}
}

void perf_others_end(void)
{
	while (others.n) {
		kill(others.pid[--others.n], SIGKILL);
		waitpid(others.pid[others.n], NULL, 0);
	}
}
