/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.h - for tests that drive real programs: run one and keep what it said; start and stop the nodes
 * of a cluster in a folder of its own. Processes are ended by pid, and each is waited for.
 */
#ifndef TEST_PROC_H
#define TEST_PROC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proc_result {
	int status; /* exit status, or -signal */
	char out[262144], err[4096];
};

/* Programs are looked for in $SWARM_BIN. argv ends with NULL; argv[0] is the program's name. */
void proc_run(struct proc_result *res, const char *const *argv);
#define PROC_RUN(res, ...) proc_run((res), (const char *const[]){__VA_ARGS__, NULL})

#define TEST_NODES_MAX 8u
struct test_node {
	char dir[128];
	char address[64];
	int pid;
	uint32_t number;
	bool up;
};
struct test_cluster {
	char root[64];
	char key[160];
	struct test_node node[TEST_NODES_MAX]; /* 0 is the head */
};

void cluster_init(struct test_cluster *c); /* makes the folder */
/* @extra: more options, NULL at the end (may be NULL). Fails the test when the node does not come up. */
void cluster_start(struct test_cluster *c, uint32_t i, const char *const *extra);
void cluster_stop(struct test_cluster *c, uint32_t i);	/* swarm stop, must succeed */
void cluster_kill(struct test_cluster *c, uint32_t i);	/* SIGKILL, and waits for its end */
/* Stops what runs, checks that nothing is left (processes, sockets), removes the folder. */
void cluster_fini(struct test_cluster *c);
/* Everything that still mentions the folder in its command line: number of processes. */
uint32_t cluster_processes(const struct test_cluster *c);
bool pid_gone_within(int pid, uint64_t ms);

#endif
