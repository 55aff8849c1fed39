/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_restore_lat - the time of one restore, digest verified, nothing else going on; beside fio's random reads of
 * the same block size, one at a time, in the same folder.
 */
#include "perf/spill_bench.h"

static const struct swt_opt options[] = {
	SPILL_OPT_SIZE,
	SPILL_OPT_ITERS,
	SPILL_OPT_DIR,
	PERF_OPT_LATENCY(struct spill_opts, c),
	PERF_OPT_UNSORTED(struct spill_opts, c),
	PERF_OPT_OUTPUT(struct spill_opts, c),
	PERF_OPT_NOT(struct spill_opts, c, 12, "tx-depth", 't', "N", "one object at a time; swarm_restore_bw has more in flight"),
	SPILL_OPT_NOT,
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_restore_lat",
	.summary = "Measures the latency of restoring spilled objects, beside fio.",
	.opts = options,
};

static void row_of(const struct spill_opts *o, uint64_t size, struct perf_report *r)
{
	struct perf_row *row = perf_row_new(PERF_LAT, "restore", size);
	struct perf_arm *arm, *fio;
	static struct perf_hist h;
	struct spill_bench b;

	spill_open(&b, o, size, 1);
	arm = perf_row_arm(row, "swarm", o->c.unsorted ? b.count * o->c.runs : 0);
	fio = fio_arm(row, &b, "randread");
	(void)spill_all(&b, swi_spill_write);
	fio_run(NULL, PERF_LAT, &b, "write"); /* the file that it reads */
	spill_shuffle(&b);
	b.hist = &h;
	b.samples = arm;
	for (uint32_t i = 0; i < o->c.runs; i++) {
		struct spill_run run;

		perf_hist_init(&h);
		run = spill_all(&b, swi_spill_restore);
		spill_count(&b, arm, PERF_LAT, &run);
		fio_run(fio, PERF_LAT, &b, "randread");
	}
	fio_remove(&b);
	spill_close(&b);
	perf_report_row(r, row);
}

int main(int argc, char **argv)
{
	return spill_main(&command, "Swarm restore latency", row_of, argc, argv);
}
