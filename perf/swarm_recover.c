/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_recover - how long a kept spill log takes to open: segments written by an earlier process are
 * known from their footers; with --crash that process ends without closing, so the last one is scanned.
 */
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spill_bench.h"
#include "tools/opt.h"

struct opts {
	uint64_t bytes, size, segment;
	const char *dir, *output;
	bool crash, keep_files;
	uint32_t runs;
};

static const struct swt_opt options[] = {
	{"bytes", 'b', SWT_SIZE, offsetof(struct opts, bytes), "SIZE", "bytes of objects in the log (default 10G)", NULL},
	{"size", 's', SWT_SIZE, offsetof(struct opts, size), "SIZE", "bytes of one object on disk (default 1M)", NULL},
	{"segment", 0, SWT_SIZE, offsetof(struct opts, segment), "SIZE", "bytes of a segment (default 64M)", NULL},
	{"dir", 'd', SWT_STR, offsetof(struct opts, dir), "DIR", "where the log is made, and removed (default .)", NULL},
	{"crash", 0, SWT_FLAG, offsetof(struct opts, crash), NULL, "the writer is killed: the last segment has no footer", NULL},
	{"runs", 'r', SWT_U32, offsetof(struct opts, runs), "N", "times to open it (default 5)", NULL},
	{"output", 0, SWT_CHOICE, offsetof(struct opts, output), "FORMAT", "text or json (default text)", "text|json"},
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_recover",
	.summary = "Times the opening of a kept spill log.",
	.opts = options,
};

static struct bench_opts bench_opts_of(const struct opts *o)
{
	return (struct bench_opts){
		.program = "swarm_recover", .size = o->size,
		.count = swi_max_u64(o->bytes / o->size, 1),
		.depth = o->size < SWI_LARGE_MIN ? 4096 : o->size >= MIB(16) ? 4 : 16,
		.dir = o->dir, .keep = true, .segment_bytes = o->segment};
}

/* In a process of its own, so that it can die. */
static int write_log(const struct opts *o)
{
	const struct bench_opts bo = bench_opts_of(o);
	int status = -1;
	struct bench b;
	double cpu;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		if (bench_open(&b, &bo) || bench_all(&b, swi_spill_write, &cpu) < 0)
			_exit(1);
		if (o->crash)
			(void)kill(getpid(), SIGKILL);
		bench_close(&b);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		return -ECHILD;
	if (o->crash ? !WIFSIGNALED(status) : status != 0)
		return -EIO;
	return 0;
}

static int open_once(const struct opts *o, double *out_seconds, uint64_t *out_objects)
{
	const struct bench_opts bo = bench_opts_of(o);
	struct bench b;
	int rc = bench_open(&b, &bo);

	if (!rc) {
		*out_seconds = b.open_seconds;
		*out_objects = swi_spill_stats(b.sp)->objects;
	}
	bench_close(&b);
	return rc;
}

/* An earlier life is swept where nothing is kept. */
static void sweep(const struct opts *o)
{
	struct bench_opts bo = bench_opts_of(o);
	struct bench b;

	bo.keep = false;
	(void)bench_open(&b, &bo);
	bench_close(&b);
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(const struct opts *o, double *v, uint32_t n, uint64_t objects)
{
	qsort(v, n, sizeof(*v), by_value);
	if (!strcmp(o->output, "json")) {
		json_t *root = json_pack("{s:i, s:s, s:I, s:I, s:I, s:b, s:i, s:f, s:f, s:f}", "schema", 1,
					 "program", "swarm_recover", "bytes", (json_int_t)o->bytes,
					 "size_bytes", (json_int_t)o->size, "objects", (json_int_t)objects,
					 "crash", (int)o->crash, "runs", (int)n, "open_ns", v[n / 2] * 1e9,
					 "open_ns.min", v[0] * 1e9, "open_ns.max", v[n - 1] * 1e9);

		json_dumpf(root, stdout, JSON_INDENT(1));
		printf("\n");
		json_decref(root);
		return;
	}
	printf("recover  %llu bytes in %llu objects of %llu%s: %.3f s (%.3f .. %.3f)\n",
	       (unsigned long long)o->bytes, (unsigned long long)objects, (unsigned long long)o->size,
	       o->crash ? ", the writer was killed" : "", v[n / 2], v[0], v[n - 1]);
}

int main(int argc, char **argv)
{
	struct opts o = {.bytes = GIB(10), .size = MIB(1), .segment = MIB(64), .dir = ".", .runs = 5};
	double seconds[BENCH_RUNS_MAX];
	uint64_t objects = 0;
	int first, rc = swt_parse(&command, argc, argv, &o, &first);
	uint32_t n = 0;

	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	if (!o.output)
		o.output = "text";
	if (o.runs < 1 || o.runs > BENCH_RUNS_MAX || o.size < SWI_GRANULE || o.bytes < o.size ||
	    o.size % (o.size < SWI_LARGE_MIN ? SWI_GRANULE : SWI_PAGE))
		return swt_error(&command, SWT_USAGE, "bad --runs, --size or --bytes");
	if (o.crash)
		o.runs = 1; /* the first opening writes the missing footer */
	rc = write_log(&o);
	while (!rc && n < o.runs)
		rc = open_once(&o, &seconds[n++], &objects);
	sweep(&o);
	if (rc)
		return swt_error(&command, SWT_FAILED, "%s", swarm_strerror(rc));
	report(&o, seconds, n, objects);
	return objects == bench_opts_of(&o).count ? 0 : swt_error(&command, SWT_FAILED, "objects are missing");
}
