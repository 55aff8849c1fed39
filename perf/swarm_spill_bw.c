/* SPDX-License-Identifier: Apache-2.0 */
/* swarm_spill_bw - how fast objects go to disk, beside fio's sequential write in the same folder. */
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
	.name = "swarm_spill_bw",
	.summary = "Measures the bandwidth of spilling objects to disk, beside fio.",
	.opts = options,
};

/* Each run begins with an empty log, and fio with no file. */
static void row_of(const struct spill_opts *o, uint64_t size, struct perf_report *r)
{
	struct perf_row *row = perf_row_new(PERF_BW, "spill", size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", 0), *fio = NULL;
	static struct perf_hist h;

	for (uint32_t i = 0; i < o->c.runs; i++) {
		struct spill_bench b;
		struct spill_run run;

		spill_open(&b, o, size, 0);
		perf_hist_init(&h);
		b.hist = o->c.histogram || o->c.percentiles ? &h : NULL;
		if (!i)
			fio = fio_arm(row, &b, "write");
		run = spill_all(&b, swi_spill_write);
		spill_count(&b, arm, PERF_BW, &run);
		swi_spill_destroy(b.sp); /* its files make room for fio's */
		b.sp = NULL;
		fio_run(fio, PERF_BW, &b, "write");
		fio_remove(&b);
		spill_close(&b);
	}
	perf_report_row(r, row);
}

int main(int argc, char **argv)
{
	return spill_main(&command, "Swarm spill bandwidth", row_of, argc, argv);
}
