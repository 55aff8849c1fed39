/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_worker.c - the program in which tasks run. Started by the node daemon, never by hand.
 */
#include "sched/exec.h"
#include "tools/opt.h"

struct worker_opts {
	const char *dir;
	uint32_t worker;
};

static const struct swt_opt options[] = {
    {"dir", 'd', SWT_STR, offsetof(struct worker_opts, dir), "DIR", "run directory of the daemon", NULL},
    {"worker", 'w', SWT_U32, offsetof(struct worker_opts, worker), "N", "number given by the daemon",
     NULL},
    {NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
    .name = "swarm-worker",
    .summary = "Run tasks for the node daemon at DIR. The daemon starts this program by itself.",
    .opts = options,
};

int main(int argc, char **argv)
{
	struct worker_opts o = {.worker = UINT32_MAX};
	int first;
	const int rc = swt_parse(&command, argc, argv, &o, &first);

	if (rc == SWT_HELP_GIVEN)
		return 0;
	if (rc)
		return rc;
	if (!o.dir || o.worker == UINT32_MAX)
		return swt_error(&command, SWT_USAGE,
				 "--dir and --worker are needed; swarmd starts this program by itself");
	return swi_worker_main(o.dir, o.worker);
}
