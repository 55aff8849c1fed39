/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill_bench.h - what swarm_spill_bw, swarm_restore_bw, swarm_restore_lat and swarm_recover share: options, a log on
 * a folder of its own, objects that go through it, fio in the same folder in the same call. One thread.
 */
#ifndef SWARM_PERF_SPILL_BENCH_H
#define SWARM_PERF_SPILL_BENCH_H

#include "perf/common/report.h"
#include "store/arena.h"
#include "store/shm.h"
#include "store/spill/spill.h"

#define SPILL_FOLDERS_MAX 16u

struct spill_opts {
	struct perf_opts c;
	const char *dir, *under; /* ours, below what was asked for */
	bool small_pages;
	uint64_t bytes, segment_bytes; /* of swarm_recover */
	uint32_t folders;	       /* the same; 0 = 1 */
	bool crash, keep;
};

struct spill_bench {
	const struct spill_opts *o;
	uint64_t size, count; /* bytes on disk of an object (header and payload), objects in a run */
	uint32_t depth;	      /* in flight */
	struct swi_log log;
	struct swi_disk *disk[SPILL_FOLDERS_MAX];
	uint32_t disk_count;
	struct swi_spill *sp;
	struct swi_mem mem;
	char *arena, *staging;
	struct perf_hist *hist; /* of the time of each object; NULL = not kept */
	struct perf_arm *samples; /* with -U, beside hist */
	uint64_t slot_bytes;
	double open_seconds;  /* that the log took to open */
	double open_cpu_s;    /* and the CPU time of that */
	uint64_t next, over;  /* objects begun and finished */
	uint32_t *order;      /* in which they are taken; NULL = as they were written */
	struct swi_list idle; /* slots without an object */
	int error;
};

/* One run of an operation on all objects. */
struct spill_run {
	uint64_t ops, ns;
	double cpu_s; /* of this process and its threads in the kernel */
};

#define SPILL_OPT_SIZE                                                                             \
	{"size", 's', SWT_STR, PERF_O(struct spill_opts, c, size_text), "LIST",                    \
	 "bytes of an object on disk, its header among them: 4k, a list 4k,1M,64M, or all (default 1M)", NULL}, \
	{"all", 'a', SWT_FLAG, PERF_O(struct spill_opts, c, all_sizes), NULL,                      \
	 "every power of two from 4 KiB to 8 MiB", NULL}
#define SPILL_OPT_ITERS                                                                            \
	{"iters", 'n', SWT_U32, PERF_O(struct spill_opts, c, iters), "N",                          \
	 "objects in a run (default: 1 GiB of them)", NULL},                                       \
	{"no-baseline", 0, SWT_FLAG, PERF_O(struct spill_opts, c, no_baseline), NULL,              \
	 "leave fio out", NULL},                                                                   \
	PERF_OPT_NOT(struct spill_opts, c, 8, "duration", 'D', "TIME",                             \
		     "a run is a number of objects, and fio has the same amount to do")
#define SPILL_OPT_AMOUNT                                                                           \
	SPILL_OPT_ITERS,                                                                           \
	{"tx-depth", 't', SWT_U32, PERF_O(struct spill_opts, c, depth), "N",                       \
	 "objects in flight (default 16; 4 from 16 MiB on; 4096 below 64 KiB)", NULL}
#define SPILL_OPT_DIR                                                                              \
	{"dir", 0, SWT_STR, offsetof(struct spill_opts, dir), "FOLDER",                            \
	 "where to write; everything made there goes again (default .)", NULL},                    \
	{"small-pages", 0, SWT_FLAG, offsetof(struct spill_opts, small_pages), NULL,               \
	 "no huge pages (a node's arena takes them from 64 MiB on)", NULL}
#define SPILL_OPT_NOT                                                                              \
	PERF_OPT_NO_NET(struct spill_opts, c, "the log lies in a folder of this host"),            \
		PERF_OPT_NOT(struct spill_opts, c, 9, "outs", 'o', "N",                            \
			     "each object is a request of its own; -t says how many are in flight"), \
		PERF_OPT_NOT(struct spill_opts, c, 10, "threads", 0, "N", "one thread owns the log"), \
		PERF_OPT_NOT_FLAG(struct spill_opts, c, 11, "check-data",                          \
				  0, "every restore checks the digest, always")

/* As perf_opts_parse(), with what all of these programs check. */
int spill_parse(const struct swt_command *cmd, int argc, char **argv, struct spill_opts *o);
/* A log of objects of @size; @depth 0: what suits the size. What fails is said, and ends the program. */
void spill_open(struct spill_bench *b, const struct spill_opts *o, uint64_t size, uint32_t depth);
void spill_close(struct spill_bench *b);
/* From now on the objects are taken in a random order, the same in every run of the program. */
void spill_shuffle(struct spill_bench *b);
/* Runs @op on every object, `depth` at a time. */
struct spill_run spill_all(struct spill_bench *b, void (*op)(struct swi_spill *sp, struct swi_spill_io *io));
/* The run as one of @arm's, and its CPU time. */
void spill_count(const struct spill_bench *b, struct perf_arm *arm, enum perf_kind kind, const struct spill_run *r);
void spill_describe(struct perf_report *r, const struct spill_opts *o);
/* A whole program: options, @title, @row_of for each size, the report. Returns the exit status. */
int spill_main(const struct swt_command *cmd, const char *title,
	       void (*row_of)(const struct spill_opts *o, uint64_t size, struct perf_report *r), int argc, char **argv);

/* ---- fio.c ---- */
/* The arm of fio beside @row, named after how it is called. NULL with --no-baseline. */
struct perf_arm *fio_arm(struct perf_row *row, const struct spill_bench *b, const char *rw);
/* One job with the same block size, depth and engine, in the same folder: bytes a second, or its median latency. */
void fio_run(struct perf_arm *arm, enum perf_kind kind, const struct spill_bench *b, const char *rw);
/* The file that its jobs work on. */
void fio_remove(const struct spill_bench *b);

#endif
