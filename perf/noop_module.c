/* SPDX-License-Identifier: Apache-2.0 */
/* noop_module.c - the task that swarm_task_rate.c counts. */
#include <swarm/sched.h>

SWARM_TASK(noop)
{
	(void)task;
	return 0;
}
