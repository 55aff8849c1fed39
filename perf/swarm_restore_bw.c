/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_restore_bw - how fast spilled objects come back, digests verified, beside fio's reads of the
 * same block size in the same folder (small ones at random: each restore is a read of its own).
 */
#include <unistd.h>

#include "spill_bench.h"

int main(int argc, char **argv)
{
	struct bench_result res = {0};
	struct bench_opts o;
	char tmp[512];
	struct bench b;
	double cpu;
	int rc;

	bench_parse(argc, argv, "swarm_restore_bw", "Reads objects back from the spill log.", &o);
	snprintf(tmp, sizeof(tmp), "%s/swarm-fio.tmp", o.dir);
	rc = bench_open(&b, &o);
	if (!rc && bench_all(&b, swi_spill_write, &cpu) < 0)
		rc = -EIO;
	if (!rc)
		(void)bench_fio(&o, "write", res.baseline, sizeof(res.baseline)); /* its file */
	for (uint32_t i = 0; !rc && i < o.runs; i++) {
		res.swarm[i] = bench_all(&b, swi_spill_restore, &res.cpu_seconds_per_gb[i]);
		if (res.swarm[i] < 0)
			rc = -EIO;
		else
			res.fio[i] = bench_fio(&o, o.size < SWI_LARGE_MIN ? "randread" : "read",
					       res.baseline, sizeof(res.baseline));
	}
	bench_close(&b);
	(void)unlink(tmp);
	return rc ? 1 : bench_report(&o, &res, "restore");
}
