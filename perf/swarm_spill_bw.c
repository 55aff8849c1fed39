/* SPDX-License-Identifier: Apache-2.0 */
/* swarm_spill_bw - how fast objects go to disk, beside fio's sequential write in the same folder. */
#include <unistd.h>

#include "spill_bench.h"

int main(int argc, char **argv)
{
	struct bench_result res = {0};
	struct bench_opts o;
	char tmp[512];

	bench_parse(argc, argv, "swarm_spill_bw", "Writes objects through the spill log.", &o);
	snprintf(tmp, sizeof(tmp), "%s/swarm-fio.tmp", o.dir);
	for (uint32_t i = 0; i < o.runs; i++) {
		struct bench b;
		int rc = bench_open(&b, &o);

		res.swarm[i] = rc ? -1 : bench_all(&b, swi_spill_write, &res.cpu_seconds_per_gb[i]);
		bench_close(&b);
		if (res.swarm[i] < 0)
			return 1;
		res.fio[i] = bench_fio(&o, "write", res.baseline, sizeof(res.baseline));
		(void)unlink(tmp);
	}
	return bench_report(&o, &res, "spill");
}
