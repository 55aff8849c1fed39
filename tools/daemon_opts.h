/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_opts.h - what a node daemon can be told: one table for `swarmd` and `swarm start`, its checks, and the same
 * as an argument vector again (for `swarm start` and the local provider, which start swarmd).
 */
#ifndef SWT_DAEMON_OPTS_H
#define SWT_DAEMON_OPTS_H

#include <limits.h>

#include "sched/spec.h"
#include "tools/opt.h"

#define SWT_DEFAULT_PORT 6480u
#define SWT_UNSET	 UINT64_MAX

struct swt_daemon_opts {
	bool head, huge_pages, small_pages, hugetlb, lock, provided, spill_keep, durable, no_prefetch;
	const char *address, *dir, *bind, *key_file, *transport, *device, *log_level;
	uint32_t port, min_nodes, max_nodes, workers_max, spill_depth;
	uint32_t numa_node; /* UINT32_MAX = any */
	uint64_t client_quota, pin_max;
	uint32_t ready_fd; /* UINT32_MAX = none */
	uint64_t arena, objects_max, spill_bytes, spill_reserve, cpus, gpus, memory, idle_timeout_ns;
	struct swt_list spill_dirs, resources;
};

#define SWT_OFF(T, m, f) (offsetof(T, m) + offsetof(struct swt_daemon_opts, f))
/* Rows of an option table for struct @T, whose member @m is a struct swt_daemon_opts. */
#define SWT_DAEMON_OPTIONS(T, m)                                                                   \
	{"head", 0, SWT_FLAG, SWT_OFF(T, m, head), NULL, "begin a cluster: this node is its head", NULL}, \
	{"address", 'a', SWT_STR, SWT_OFF(T, m, address), "HOST:PORT", "join the cluster whose head listens there", NULL}, \
	{"dir", 'd', SWT_STR, SWT_OFF(T, m, dir), "DIR", "run directory (default $SWARM_DIR, else one per user)", NULL}, \
	{"port", 'p', SWT_U32, SWT_OFF(T, m, port), "PORT", "port to listen on; 0 = any (default: head 6480, others any)", NULL}, \
	{"bind", 'b', SWT_STR, SWT_OFF(T, m, bind), "HOST[:PORT]", "address to listen on (default: this host's first address)", NULL}, \
	{"key-file", 'k', SWT_STR, SWT_OFF(T, m, key_file), "FILE", "cluster key; the head makes one in DIR/cluster.key", NULL}, \
	{"arena", 0, SWT_SIZE, SWT_OFF(T, m, arena), "SIZE", "memory for objects, e.g. 192M (default: 30% of what is free, at most 4G)", NULL}, \
	{"objects-max", 0, SWT_SIZE, SWT_OFF(T, m, objects_max), "N", "slots of the object index (default: by the arena)", NULL}, \
	{"spill-dir", 0, SWT_LIST, SWT_OFF(T, m, spill_dirs), "DIR", "folder for objects that do not fit; may be repeated", NULL}, \
	{"spill-bytes", 0, SWT_SIZE, SWT_OFF(T, m, spill_bytes), "SIZE", "limit of the spill folders (default: the disk's, less a reserve)", NULL}, \
	{"spill-reserve", 0, SWT_SIZE, SWT_OFF(T, m, spill_reserve), "SIZE", "left free on each spill disk (default: 2% of it, 64M to 1G)", NULL}, \
	{"spill-depth", 0, SWT_U32, SWT_OFF(T, m, spill_depth), "N", "transfers in flight to each spill folder, at most 4096 (default 64)", NULL}, \
	{"spill-keep", 0, SWT_FLAG, SWT_OFF(T, m, spill_keep), NULL, "find again what an earlier daemon spilled there", NULL}, \
	{"durable", 0, SWT_FLAG, SWT_OFF(T, m, durable), NULL, "as --spill-keep, and puts return when the object is safe on disk", NULL}, \
	{"no-prefetch", 0, SWT_FLAG, SWT_OFF(T, m, no_prefetch), NULL, "leave arguments on disk until their task is placed", NULL}, \
	{"cpus", 0, SWT_AMOUNT, SWT_OFF(T, m, cpus), "N", "cpus for tasks (default: those of this host)", NULL}, \
	{"memory", 0, SWT_SIZE, SWT_OFF(T, m, memory), "SIZE", "memory for tasks (default: 70% of this host's, less the arena)", NULL}, \
	{"gpus", 0, SWT_AMOUNT, SWT_OFF(T, m, gpus), "N", "gpus for tasks (default: those found in /dev)", NULL}, \
	{"resource", 'r', SWT_LIST, SWT_OFF(T, m, resources), "NAME=AMOUNT", "a resource of your own; may be repeated, four at most", NULL}, \
	{"transport", 't', SWT_CHOICE, SWT_OFF(T, m, transport), "NAME", "auto, verbs, ofi or shm (default auto)", "auto|verbs|ofi|shm"}, \
	{"device", 0, SWT_STR, SWT_OFF(T, m, device), "NAME", "network device, several as A:1,B:1 or all (verbs), or provider (ofi)", NULL}, \
	{"min-nodes", 0, SWT_U32, SWT_OFF(T, m, min_nodes), "N", "head: keep at least so many nodes, starting them here", NULL}, \
	{"max-nodes", 0, SWT_U32, SWT_OFF(T, m, max_nodes), "N", "head: start nodes here when tasks wait, up to N (0 = never)", NULL}, \
	{"idle-timeout", 0, SWT_TIME, SWT_OFF(T, m, idle_timeout_ns), "TIME", "head: remove a node that was idle for so long (default 60s)", NULL}, \
	{"workers-max", 0, SWT_U32, SWT_OFF(T, m, workers_max), "N", "worker processes at once (default: 2 x cpus + 2)", NULL}, \
	{"huge-pages", 0, SWT_FLAG, SWT_OFF(T, m, huge_pages), NULL, "huge pages in the arena where there are any (default from 64M on)", NULL}, \
	{"small-pages", 0, SWT_FLAG, SWT_OFF(T, m, small_pages), NULL, "no huge pages in the arena", NULL}, \
	{"hugetlb", 0, SWT_FLAG, SWT_OFF(T, m, hugetlb), NULL, "put the arena into huge pages that the host has reserved (vm.nr_hugepages)", NULL}, \
	{"numa-node", 0, SWT_U32, SWT_OFF(T, m, numa_node), "N", "take the arena's memory from this NUMA node alone", NULL}, \
	{"lock", 0, SWT_FLAG, SWT_OFF(T, m, lock), NULL, "lock the arena in memory (RLIMIT_MEMLOCK)", NULL}, \
	{"client-quota", 0, SWT_SIZE, SWT_OFF(T, m, client_quota), "SIZE", "of the arena that one client process may fill; workers may fill all (default: no quota)", NULL}, \
	{"pin-max", 0, SWT_SIZE, SWT_OFF(T, m, pin_max), "SIZE", "of objects pinned hard at once (default: half of the arena)", NULL}, \
	{"log-level", 0, SWT_CHOICE, SWT_OFF(T, m, log_level), "LEVEL", "debug, info, warn or error (default info)", "debug|info|warn|error"}, \
	{"ready-fd", 0, SWT_U32, SWT_OFF(T, m, ready_fd), "FD", NULL, NULL},                       \
	{"provided", 0, SWT_FLAG, SWT_OFF(T, m, provided), NULL, NULL, NULL}

void swt_daemon_defaults(struct swt_daemon_opts *o);
/* Fills what was left open and checks. 0, or SWT_USAGE / SWT_FAILED with *@why. @buf keeps made-up strings. */
struct swt_daemon_strings {
	char dir[PATH_MAX], bind[300], key_file[PATH_MAX];
};
int swt_daemon_complete(struct swt_daemon_opts *o, struct swt_daemon_strings *buf, char *why,
			size_t why_len);
/* What tasks may use. SWT_USAGE with @why for a malformed --resource. */
int swt_daemon_resources(const struct swt_daemon_opts *o, struct swi_resources *out, char *why,
			 size_t why_len);

/* An argument vector; entries are owned. */
struct swt_argv {
	char *v[160];
	uint32_t n;
};
void swt_argv_add(struct swt_argv *a, const char *fmt, ...) SWI_PRINTF(2, 3);
/* "--arena=..", "--cpus=.." and so on: everything but head, address, dir, bind, key, spill folders and the hidden ones. */
void swt_daemon_to_argv(const struct swt_daemon_opts *o, struct swt_argv *a);
void swt_argv_free(struct swt_argv *a);

#endif
