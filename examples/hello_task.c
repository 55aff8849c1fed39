/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello_task.c - the smallest driver: two tasks, the second takes the result of the first.
 * Needs a node on this host (swarm start --head). Usage: hello_task hello_module.so [RUN_DIR]
 */
#include <stdio.h>
#include <swarm/sched.h>

static int fail(const char *what, int err)
{
	fprintf(stderr, "hello_task: %s: %s. %s\n", what, swarm_strerror(err), swarm_strremedy(err));
	return 1;
}

int main(int argc, char **argv)
{
	struct swarm_client *client;
	struct swarm_module module;
	struct swarm_ref half, whole;
	struct swarm_view view;
	char why[256] = "";
	int err;

	if (argc < 2)
		return fail("usage: hello_task MODULE.so [RUN_DIR]", SWARM_EMODULE);
	err = swarm_client_open(argc > 2 ? argv[2] : NULL, &client, why, sizeof(why));
	if (err < 0)
		return fail(why, err);
	err = swarm_module_load(client, argv[1], &module, why, sizeof(why));
	if (err < 0)
		return fail(why, err);

	/* submit returns at once; `half` may be an argument before it exists. */
	const struct swarm_arg name = SWARM_ARG_BYTES("swarm", 5);
	const struct swarm_task_opts greet = {.size = sizeof(greet), .module = module,
		.function = "greet", .args = &name, .arg_count = 1};
	err = swarm_submit(client, &greet, &half);
	const struct swarm_arg first = SWARM_ARG_REF(half);
	const struct swarm_task_opts shout = {.size = sizeof(shout), .module = module,
		.function = "shout", .args = &first, .arg_count = 1};
	if (!err)
		err = swarm_submit(client, &shout, &whole);
	if (!err)
		err = swarm_get(client, whole, SWARM_FOREVER, &view);
	if (err)
		return fail("task", err);
	printf("%.*s\n", (int)view.len, (const char *)view.data);
	swarm_release(client, &view);
	swarm_client_close(client);
	return 0;
}
