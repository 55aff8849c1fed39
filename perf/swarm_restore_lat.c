/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_restore_lat - the time of one restore, digest verified, nothing else going on; beside fio's random
 * reads of the same block size, one at a time, in the same folder.
 */
#include <jansson.h>
#include <unistd.h>

#include "spill_bench.h"

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *v, uint32_t n)
{
	double s[BENCH_RUNS_MAX];

	memcpy(s, v, n * sizeof(*s));
	qsort(s, n, sizeof(*s), by_value);
	return s[n / 2];
}

static void report(const struct bench_opts *o, const struct bench_result *res, const struct perf_hist *h)
{
	const double p50 = median(res->swarm, o->runs), base = median(res->fio, o->runs);
	json_t *root = json_pack("{s:i, s:s, s:s, s:I, s:I, s:i, s:{s:f, s:f, s:f, s:f, s:I}}", "schema", 1,
				 "program", o->program, "op", "restore", "size_bytes",
				 (json_int_t)o->size, "objects", (json_int_t)o->count, "runs",
				 (int)o->runs, "lat_ns", "p50", p50, "p90", perf_hist_percentile(h, 90),
				 "p99", perf_hist_percentile(h, 99), "p99_9",
				 perf_hist_percentile(h, 99.9), "max", (json_int_t)h->max);

	if (base > 0) {
		json_object_set_new(root, "baseline",
				    json_pack("{s:s, s:f}", "name", res->baseline, "value", base));
		json_object_set_new(root, "ratio", json_real(p50 / base));
	}
	if (!strcmp(o->output, "json")) {
		json_dumpf(root, stdout, JSON_INDENT(1));
		printf("\n");
	} else if (!strcmp(o->output, "csv")) {
		printf("op,size_bytes,objects,runs,p50_ns,p99_ns,baseline_p50_ns,ratio\n"
		       "restore,%llu,%llu,%u,%.0f,%.0f,%.0f,%.3f\n",
		       (unsigned long long)o->size, (unsigned long long)o->count, o->runs, p50,
		       perf_hist_percentile(h, 99), base, base > 0 ? p50 / base : 0);
	} else {
		printf("restore  %10llu bytes, one at a time, runs %u\n"
		       "  swarm  p50 %.1f us  p90 %.1f  p99 %.1f  p99.9 %.1f\n",
		       (unsigned long long)o->size, o->runs, p50 / 1e3, perf_hist_percentile(h, 90) / 1e3,
		       perf_hist_percentile(h, 99) / 1e3, perf_hist_percentile(h, 99.9) / 1e3);
		if (base > 0)
			printf("  fio    p50 %.1f us  %s\n  ratio  %.3f\n", base / 1e3, res->baseline,
			       p50 / base);
		else
			printf("  fio    not available\n");
	}
	json_decref(root);
}

int main(int argc, char **argv)
{
	struct bench_result res = {0};
	struct perf_hist *all = calloc(1, sizeof(*all)), *one = calloc(1, sizeof(*one));
	struct bench_opts o;
	char tmp[512];
	struct bench b;
	double cpu;
	int rc;

	SWI_BUG_ON(!all || !one);
	bench_parse(argc, argv, "swarm_restore_lat", "Reads objects back one at a time.", &o);
	o.depth = 1;
	o.latency = true;
	snprintf(tmp, sizeof(tmp), "%s/swarm-fio.tmp", o.dir);
	perf_hist_init(all);
	rc = bench_open(&b, &o);
	if (!rc && bench_all(&b, swi_spill_write, &cpu) < 0)
		rc = -EIO;
	if (!rc)
		(void)bench_fio(&o, "write", res.baseline, sizeof(res.baseline)); /* its file */
	for (uint32_t i = 0; !rc && i < o.runs; i++) {
		perf_hist_init(one);
		b.hist = one;
		if (bench_all(&b, swi_spill_restore, &cpu) < 0)
			rc = -EIO;
		else
			res.fio[i] = bench_fio(&o, "randread", res.baseline, sizeof(res.baseline));
		res.swarm[i] = perf_hist_percentile(one, 50);
		perf_hist_merge(all, one);
	}
	bench_close(&b);
	(void)unlink(tmp);
	if (!rc)
		report(&o, &res, all);
	free(all);
	free(one);
	return rc ? 1 : 0;
}
