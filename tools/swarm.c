/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm.c - the command line: finds the command and hands over. Each command is a file of its own.
 */
#include <swarm/version.h>

#include "tools/cli.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
    {"start", swt_cmd_start, "start a node: --head begins a cluster, --address joins one"},
    {"stop", swt_cmd_stop, "stop the node of a run directory, or the whole cluster"},
    {"status", swt_cmd_status, "how the cluster is: nodes, tasks, memory"},
    {"list", swt_cmd_list, "list nodes, tasks, objects or workers"},
    {"memory", swt_cmd_memory, "where the bytes of each node are, why they stay, who holds them"},
    {"info", swt_cmd_info, "version, transports and devices, limits of this host"},
    {"drain", swt_cmd_drain, "let a node finish and leave, its objects moved first"},
    {"events", swt_cmd_events, "what happened in the cluster; --follow for what will"},
};

static void usage(FILE *f)
{
	fputs("Usage: swarm COMMAND [OPTION]...\nAn object store and task scheduler over RDMA.\n\n", f);
	for (size_t i = 0; i < SWI_ARRAY_LEN(commands); i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].help);
	fputs("\nEach command has --help. Exit status: 0 done, 1 failed, 2 used wrongly.\n", f);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return SWT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("swarm %s\n", swarm_version());
		return 0;
	}
	for (size_t i = 0; i < SWI_ARRAY_LEN(commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "swarm: there is no command %s; see swarm --help\n", argv[1]);
	return SWT_USAGE;
}
