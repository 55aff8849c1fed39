/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill_bench.h - what swarm_spill_bw, swarm_restore_bw and swarm_restore_lat share: options, a log on a folder, fio
 * on the same folder in the same call, medians, output.
 */
#ifndef SWARM_PERF_SPILL_BENCH_H
#define SWARM_PERF_SPILL_BENCH_H

#include "perf/common/hist.h"
#include "store/arena.h"
#include "store/shm.h"
#include "store/spill/spill.h"

#define BENCH_RUNS_MAX 32u

struct bench_opts {
	const char *program;
	uint64_t size;	/* bytes of an object on disk: header and payload */
	uint64_t count; /* objects */
	uint32_t depth, runs;
	const char *dir;
	const char *output; /* "text", "csv", "json" */
	bool small_pages;
	bool keep;	    /* of swarm_recover */
	uint64_t segment_bytes;
	bool latency; /* one object at a time; fio's figure is its median latency [ns] */
};

struct bench_result {
	double swarm[BENCH_RUNS_MAX], fio[BENCH_RUNS_MAX]; /* bytes a second */
	double cpu_seconds_per_gb[BENCH_RUNS_MAX];
	char baseline[64];
};

struct bench {
	const struct bench_opts *opts;
	struct swi_log log;
	struct swi_disk *disk;
	struct swi_spill *sp;
	struct swi_mem mem;
	char *arena, *staging;
	struct perf_hist *hist; /* of the time of each object; NULL = not kept */
	uint64_t slot_bytes;
	double open_seconds; /* that the log took to open */
	uint64_t next, over; /* objects begun and finished */
	int error;
};

struct bench_slot {
	struct swi_spill_io io;
	struct bench *b;
	uint64_t began_ns;
};

/* Fills @o; prints help or an error and exits where the command line says so. */
void bench_parse(int argc, char **argv, const char *program, const char *what, struct bench_opts *o);
int bench_open(struct bench *b, const struct bench_opts *o);
void bench_close(struct bench *b);
/* Runs @op on every object, `depth` at a time. Bytes a second; *out_cpu: CPU seconds per 10^9 bytes. */
double bench_all(struct bench *b, void (*op)(struct swi_spill *sp, struct swi_spill_io *io),
		 double *out_cpu);
/* fio with the same block size, depth and engine. Bytes a second, or < 0 where fio cannot be run. */
double bench_fio(const struct bench_opts *o, const char *rw, char *out_name, size_t name_len);
/* Prints the result; the exit status. */
int bench_report(const struct bench_opts *o, const struct bench_result *res, const char *op);

#endif
