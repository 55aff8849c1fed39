/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opts.h - the options of every harness. The letters are those of perftest. A harness lists in its table the
 * groups that it honours; any other option is unknown to it, so nothing is ignored silently.
 * Const after perf_opts_parse().
 */
#ifndef SWARM_PERF_OPTS_H
#define SWARM_PERF_OPTS_H

#include <swarm/error.h>

#include "tools/opt.h"

#define PERF_PORT	  18555u /* not perftest's 18515 */
#define PERF_RUNS_MAX	  64u
#define PERF_SIZES_MAX	  40u
#define PERF_PERCENT_MAX  16u
#define PERF_SIZE_ALL_MAX MIB(8) /* -a: 2 bytes to this, as perftest */
#define PERF_THREADS_MAX  256u
#define PERF_NOT_MAX	  24u
#define PERF_NOT	  "not here: "

struct perf_opts {
	const char *program;
	int argc;
	char **argv;
	/* output */
	const char *output, *out_file, *percentiles;
	bool histogram, unsorted;
	double percent[PERF_PERCENT_MAX];
	uint32_t percent_count;
	/* amount */
	uint32_t iters, runs, warmup;
	uint64_t duration_ns;
	bool no_baseline, check_data;
	/* sizes */
	const char *size_text;
	bool all_sizes;
	uint64_t size[PERF_SIZES_MAX];
	uint32_t size_count;
	/* load */
	uint32_t threads, outs, depth;
	const char *cpus; /* "0,2": cores for the threads */
	/* where */
	const char *host; /* NULL: server, or one of the next three */
	bool loopback, local, attach;
	uint32_t others;
	const char *transport, *device, *key_file, *bind;
	uint32_t port, queue_pairs, gid_index; /* gid_index: UINT32_MAX = not given */
	char gid_address[64];		       /* that it means; bind, then */
	bool events, bidirectional;
	/* options of perftest that mean nothing to a program: see PERF_OPT_NOT */
	const char *not_text[PERF_NOT_MAX];
	bool not_flag[PERF_NOT_MAX];
	/* the store */
	uint64_t arena_bytes;
	bool huge, hugetlb;
};

#define PERF_O(T, m, f) (offsetof(T, m) + offsetof(struct perf_opts, f))

/* Every program; and those that can be run several times in a row. */
#define PERF_OPT_OUTPUT(T, m)                                                                      \
	PERF_OPT_FORMAT(T, m),                                                                     \
	{"runs", 'r', SWT_U32, PERF_O(T, m, runs), "N",                                            \
	 "runs; the median counts, minimum and maximum are shown (default 5)", NULL}
#define PERF_OPT_FORMAT(T, m)                                                                      \
	{"output", 0, SWT_CHOICE, PERF_O(T, m, output), "FORMAT",                                  \
	 "text, csv or json (default text)", "text|csv|json"},                                     \
	{"out-file", 0, SWT_STR, PERF_O(T, m, out_file), "FILE",                                   \
	 "write the JSON document to FILE as well", NULL}

/* Programs that keep latencies. */
#define PERF_OPT_LATENCY(T, m)                                                                     \
	{"percentiles", 0, SWT_STR, PERF_O(T, m, percentiles), "LIST",                             \
	 "percentiles to report (default 50,90,99,99.9,99.99)", NULL},                             \
	{"histogram", 'H', SWT_FLAG, PERF_O(T, m, histogram), NULL, "report the histogram", NULL}
#define PERF_OPT_UNSORTED(T, m)                                                                    \
	{"unsorted", 'U', SWT_FLAG, PERF_O(T, m, unsorted), NULL,                                  \
	 "report every sample in the order in which it was taken", NULL}

#define PERF_OPT_AMOUNT(T, m)                                                                      \
	{"iters", 'n', SWT_U32, PERF_O(T, m, iters), "N", "operations in a run", NULL},            \
	{"duration", 'D', SWT_TIME, PERF_O(T, m, duration_ns), "TIME",                             \
	 "time of a run instead of a number of operations: 10, 500ms", NULL},                      \
	{"warmup", 0, SWT_U32, PERF_O(T, m, warmup), "N",                                          \
	 "operations before the first run, not counted", NULL},                                    \
	{"no-baseline", 0, SWT_FLAG, PERF_O(T, m, no_baseline), NULL,                              \
	 "leave the baselines out", NULL},                                                         \
	{"check-data", 0, SWT_FLAG, PERF_O(T, m, check_data), NULL,                                \
	 "check every byte, outside of what is timed", NULL}

#define PERF_OPT_SIZE(T, m)                                                                        \
	{"size", 's', SWT_STR, PERF_O(T, m, size_text), "LIST",                                    \
	 "bytes of an object: 64, 4k, a list 64,4k,1M, or all", NULL},                             \
	{"all", 'a', SWT_FLAG, PERF_O(T, m, all_sizes), NULL,                                      \
	 "every power of two from 2 bytes to 8 MiB", NULL}

#define PERF_OPT_LOAD(T, m)                                                                        \
	{"threads", 0, SWT_U32, PERF_O(T, m, threads), "N", "threads (default 1)", NULL},          \
	{"cpu", 0, SWT_STR, PERF_O(T, m, cpus), "LIST", "cores for the threads: 0,1", NULL}
#define PERF_OPT_OUTS(T, m)                                                                        \
	{"outs", 'o', SWT_U32, PERF_O(T, m, outs), "N",                                            \
	 "objects in one call, for each thread (default: what suits the size)", NULL}
#define PERF_OPT_DEPTH(T, m)                                                                       \
	{"tx-depth", 't', SWT_U32, PERF_O(T, m, depth), "N",                                       \
	 "READs in flight of the raw baseline (default: those of the store)", NULL}

#define PERF_OPT_ARENA(T, m)                                                                       \
	{"arena", 0, SWT_SIZE, PERF_O(T, m, arena_bytes), "SIZE", "memory of each store", NULL},   \
	{"huge", 0, SWT_FLAG, PERF_O(T, m, huge), NULL, "huge pages in the arenas", NULL}, \
	{"hugetlb", 0, SWT_FLAG, PERF_O(T, m, hugetlb), NULL,                                      \
	 "huge pages that the host has reserved (vm.nr_hugepages) in the arenas", NULL}

/* Both ends on this host, without a network. */
#define PERF_OPT_LOCAL(T, m)                                                                       \
	{"local", 0, SWT_FLAG, PERF_O(T, m, local), NULL, "the store inside this process", NULL},  \
	{"attach", 0, SWT_FLAG, PERF_O(T, m, attach), NULL,                                        \
	 "the store of another process of this host, attached to", NULL},                          \
	{"others", 0, SWT_U32, PERF_O(T, m, others), "N",                                          \
	 "with --local or --attach: N more processes that do the same all the while", NULL}

#define PERF_OPT_NET(T, m)                                                                         \
	{"loopback", 'l', SWT_FLAG, PERF_O(T, m, loopback), NULL,                                  \
	 "server and client in one call, on this host", NULL},                                     \
	{"transport", 0, SWT_CHOICE, PERF_O(T, m, transport), "NAME",                              \
	 "auto, verbs, ofi or shm (default auto)", "auto|verbs|ofi|shm"},                          \
	{"device", 'd', SWT_STR, PERF_O(T, m, device), "NAME",                                     \
	 "verbs: the device; ofi: the provider (default: the best)", NULL},                        \
	{"port", 'p', SWT_U32, PERF_O(T, m, port), "PORT", "port of the server (default 18555)",   \
	 NULL},                                                                                    \
	{"bind", 0, SWT_STR, PERF_O(T, m, bind), "ADDRESS",                                        \
	 "address that the server listens on (loopback: 127.0.0.1)", NULL},                        \
	{"key-file", 0, SWT_STR, PERF_O(T, m, key_file), "FILE",                                   \
	 "cluster key, the same on both hosts", NULL},                                             \
	PERF_OPT_VERBS(T, m)
#define PERF_OPT_VERBS(T, m)                                                                       \
	{"qp", 'q', SWT_U32, PERF_O(T, m, queue_pairs), "N",                                       \
	 "verbs: queue pairs that READs to a peer are spread over (default and most 4)", NULL},    \
	{"gid-index", 'x', SWT_U32, PERF_O(T, m, gid_index), "N",                                  \
	 "verbs: bind to the address of this GID of --device", NULL}

/*
 * What users of perftest may try and this program cannot do: known to it, shown in its help, refused with the
 * reason. @slot: another one for each of a program, below PERF_NOT_MAX; 0 to 7 are of the groups here.
 */
#define PERF_OPT_NOT(T, m, slot, name, letter, arg, why)                                           \
	{name, letter, SWT_STR, PERF_O(T, m, not_text[slot]), arg, PERF_NOT why, NULL}
#define PERF_OPT_NOT_FLAG(T, m, slot, name, letter, why)                                           \
	{name, letter, SWT_FLAG, PERF_O(T, m, not_flag[slot]), NULL, PERF_NOT why, NULL}

/* Programs without a network. */
#define PERF_OPT_NO_NET(T, m, why)                                                                 \
	PERF_OPT_NOT(T, m, 0, "qp", 'q', "N", why),                                                \
		PERF_OPT_NOT(T, m, 1, "gid-index", 'x', "N", why),                                 \
		PERF_OPT_NOT(T, m, 2, "port", 'p', "PORT", why),                                   \
		PERF_OPT_NOT(T, m, 3, "transport", 0, "NAME", why),                                \
		PERF_OPT_NOT(T, m, 7, "device", 'd', "NAME", why),                                 \
		PERF_OPT_NOT_FLAG(T, m, 4, "bidirectional", 'b', why),                             \
		PERF_OPT_NOT_FLAG(T, m, 5, "events", 'e', why)

/* "program: text" on stderr, and the end with status 1. */
_Noreturn void perf_die(const struct perf_opts *o, const char *fmt, ...) SWI_PRINTF(2, 3);
static inline void perf_must(const struct perf_opts *o, int rc, const char *what)
{
	if (SWI_UNLIKELY(rc < 0))
		perf_die(o, "%s: %s", what, swarm_strerror(rc));
}

/* Fills in the defaults of what was left out and checks it. As swt_parse(). @o lies inside @out. */
int perf_opts_parse(const struct swt_command *cmd, int argc, char **argv, void *out,
		    struct perf_opts *o);
/* 64,4k,1M into at most @max numbers. 0 or -EINVAL. */
int perf_size_list(const char *s, uint64_t *out, uint32_t max, uint32_t *out_count);
/*
 * The address that GID @index of @device ("mlx5_0", "mlx5_0:2") stands for, as --bind takes it. @root: where the devices
 * are, /sys/class/infiniband. 0, -ENOENT, or -EINVAL: it is of a link only, or empty.
 */
int perf_gid_address(const char *root, const char *device, uint32_t index, char *out, size_t len);
int perf_percent_list(const char *s, double *out, uint32_t max, uint32_t *out_count);

#endif
