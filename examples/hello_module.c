/* SPDX-License-Identifier: Apache-2.0 */
/* hello_module.c - the tasks of hello_task.c: a shared object that nodes load by its digest. */
#include <ctype.h>
#include <stdio.h>
#include <swarm/sched.h>

SWARM_TASK(greet)
{
	char text[64];
	uint64_t len;
	const char *name = swarm_task_arg(task, 0, &len);
	const int n = snprintf(text, sizeof(text), "hello, %.*s", (int)len, name);

	return swarm_task_return(task, 0, text, (uint64_t)n);
}

SWARM_TASK(shout)
{
	uint64_t len;
	const char *in = swarm_task_arg(task, 0, &len);
	void *data;
	const int err = swarm_task_return_create(task, 0, len, &data);

	for (uint64_t i = 0; i < len && !err; i++)
		((char *)data)[i] = (char)toupper((unsigned char)in[i]);
	return err;
}
