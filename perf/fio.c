/* SPDX-License-Identifier: Apache-2.0 */
/* fio.c - fio as the baseline of the spill log: the same folder, block size, depth, O_DIRECT and io_uring. */
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/spill_bench.h"

#define LAT_OPS	    4000u  /* one at a time, so many reads say enough */
#define SMALL_BLOCK MIB(1) /* fio's block where our objects are gathered */
#define SMALL_DEPTH 16u
#define SMALL_READS 64u

extern char **environ;

struct job {
	uint64_t block;
	uint32_t depth;
};

/* Gathered writes are set against big blocks, single small reads against small blocks. */
static struct job job_of(const struct spill_bench *b, const char *rw)
{
	const bool random = !strcmp(rw, "randread"), one = b->depth == 1;

	if (b->size >= SWI_LARGE_MIN)
		return (struct job){b->size, b->depth};
	return (struct job){random ? swi_align_up(b->size, SWI_PAGE) : SMALL_BLOCK,
			    one ? 1 : random ? SMALL_READS : SMALL_DEPTH};
}

struct perf_arm *fio_arm(struct perf_row *row, const struct spill_bench *b, const char *rw)
{
	const struct job j = job_of(b, rw);
	struct perf_arm *arm;
	char name[64];

	if (b->o->c.no_baseline)
		return NULL;
	snprintf(name, sizeof(name), "fio %s bs=%lluk iodepth=%u io_uring direct", rw,
		 (unsigned long long)(j.block >> 10), j.depth);
	arm = perf_row_arm(row, name, 0);
	arm->why = "not installed";
	return arm;
}

static double figure(const json_t *job, const char *side, enum perf_kind kind)
{
	const json_t *o = json_object_get(job, side);

	if (kind != PERF_LAT)
		return json_number_value(json_object_get(o, "bw_bytes"));
	o = json_object_get(json_object_get(o, "clat_ns"), "percentile");
	return json_number_value(json_object_get(o, "50.000000"));
}

/* fio says percent of the job's run time. */
static double cpu_s_per_gb(const json_t *job, const char *side)
{
	const double share = (json_number_value(json_object_get(job, "usr_cpu")) +
			      json_number_value(json_object_get(job, "sys_cpu"))) / 100;
	const double s = json_number_value(json_object_get(job, "job_runtime")) / 1e3;
	const double gb = json_number_value(json_object_get(json_object_get(job, side), "io_bytes")) / 1e9;

	return gb > 0 ? share * s / gb : -1;
}

static void take(struct perf_arm *arm, enum perf_kind kind, const char *path, const char *side)
{
	json_t *doc = json_load_file(path, JSON_DISABLE_EOF_CHECK, NULL);
	const json_t *job = json_array_get(json_object_get(doc, "jobs"), 0);
	const double v = job ? figure(job, side, kind) : 0;

	if (v > 0) {
		perf_arm_value(arm, v);
		perf_arm_cpu(arm, kind == PERF_LAT ? -1 : cpu_s_per_gb(job, side));
	} else {
		arm->why = "it reported nothing";
	}
	json_decref(doc);
}

static void run_job(struct perf_arm *arm, enum perf_kind kind, const struct spill_bench *b, const char *rw)
{
	const struct job j = job_of(b, rw);
	const uint64_t total = swi_align_up(b->size * b->count, SMALL_BLOCK);
	const bool few = b->depth == 1 && !strcmp(rw, "randread");
	char file[600], mode[64], block[64], size[64], depth[64], report[600], number[64];
	char *const argv[] = {"fio", "--name=swarm", file, mode, block, size, depth, "--direct=1",
			      "--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1",
			      "--output-format=json", report, few ? number : NULL, NULL};
	int status = -1;
	pid_t pid;

	snprintf(file, sizeof(file), "--filename=%s/swarm-fio.tmp", b->o->dir);
	snprintf(mode, sizeof(mode), "--rw=%s", rw);
	snprintf(block, sizeof(block), "--bs=%llu", (unsigned long long)j.block);
	snprintf(size, sizeof(size), "--size=%llu", (unsigned long long)swi_max_u64(total, j.block));
	snprintf(depth, sizeof(depth), "--iodepth=%u", j.depth);
	snprintf(report, sizeof(report), "--output=%s/swarm-fio.json", b->o->dir);
	snprintf(number, sizeof(number), "--number_ios=%llu",
		 (unsigned long long)swi_min_u64(b->count, LAT_OPS));
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
		return;
	if (waitpid(pid, &status, 0) != pid || status)
		status = -1;
	if (arm && !status)
		take(arm, kind, report + strlen("--output="), strstr(rw, "read") ? "read" : "write");
	else if (arm)
		arm->why = "it failed";
	(void)unlink(report + strlen("--output="));
}

void fio_run(struct perf_arm *arm, enum perf_kind kind, const struct spill_bench *b, const char *rw)
{
	if (!b->o->c.no_baseline)
		run_job(arm, kind, b, rw);
}

void fio_remove(const struct spill_bench *b)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/swarm-fio.tmp", b->o->dir);
	(void)unlink(path);
}
