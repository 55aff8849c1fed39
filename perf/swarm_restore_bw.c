/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_restore_bw - how fast spilled objects come back, digests verified, beside fio's reads of the same block size
 * in the same folder (small ones at random: each restore is a read of its own).
 */
#include "perf/spill_bench.h"

static const struct swt_opt options[] = {
	SPILL_OPT_SIZE,
	SPILL_OPT_AMOUNT,
	SPILL_OPT_DIR,
	PERF_OPT_LATENCY(struct spill_opts, c),
	PERF_OPT_OUTPUT(struct spill_opts, c),
	SPILL_OPT_NOT,
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_restore_bw",
	.summary = "Measures the bandwidth of restoring spilled objects, beside fio.",
	.opts = options,
};

static void row_of(const struct spill_opts *o, uint64_t size, struct perf_report *r)
{
	const char *rw = size < SWI_LARGE_MIN ? "randread" : "read";
	struct perf_row *row = perf_row_new(PERF_BW, "restore", size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", 0), *fio;
	static struct perf_hist h;
	struct spill_bench b;

	spill_open(&b, o, size, 0);
	fio = fio_arm(row, &b, rw);
	(void)spill_all(&b, swi_spill_write);
	fio_run(NULL, PERF_BW, &b, "write"); /* the file that it reads */
	if (size < SWI_LARGE_MIN)
		spill_shuffle(&b);
	for (uint32_t i = 0; i < o->c.runs; i++) {
		struct spill_run run;

		perf_hist_init(&h);
		b.hist = o->c.histogram || o->c.percentiles ? &h : NULL;
		run = spill_all(&b, swi_spill_restore);
		spill_count(&b, arm, PERF_BW, &run);
		fio_run(fio, PERF_BW, &b, rw);
	}
	fio_remove(&b);
	spill_close(&b);
	perf_report_row(r, row);
}

int main(int argc, char **argv)
{
	return spill_main(&command, "Swarm restore bandwidth", row_of, argc, argv);
}
