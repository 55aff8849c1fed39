/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_recover - how long a kept spill log takes to open: segments written by an earlier process are known from
 * their footers; with --crash that process ends without closing, so the last one is scanned.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/spill_bench.h"

static const struct swt_opt options[] = {
	{"bytes", 0, SWT_SIZE, offsetof(struct spill_opts, bytes), "SIZE",
	 "bytes of objects in the log (default 10G)", NULL},
	SPILL_OPT_SIZE,
	{"segment", 0, SWT_SIZE, offsetof(struct spill_opts, segment_bytes), "SIZE",
	 "bytes of a segment (default 64M)", NULL},
	{"crash", 0, SWT_FLAG, offsetof(struct spill_opts, crash), NULL,
	 "the writer is killed: the last segment has no footer (one run: opening writes it)", NULL},
	SPILL_OPT_DIR,
	{"folders", 0, SWT_U32, offsetof(struct spill_opts, folders), "N",
	 "folders that the log lies in, all of them made there (default 1)", NULL},
	PERF_OPT_OUTPUT(struct spill_opts, c),
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_recover",
	.summary = "Measures how long a kept spill log takes to open.",
	.opts = options,
};

/* In a process of its own, so that it can die. */
static void write_log(const struct spill_opts *o, uint64_t size)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		perf_die(&o->c, "fork: %s", strerror(errno));
	if (!pid) {
		struct spill_bench b;

		spill_open(&b, o, size, 0);
		(void)spill_all(&b, swi_spill_write);
		if (o->crash)
			(void)kill(getpid(), SIGKILL);
		spill_close(&b);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || (o->crash ? !WIFSIGNALED(status) : status != 0))
		perf_die(&o->c, "the writer failed");
}

/* What one size leaves must not be found by the next. */
static void sweep(const struct spill_opts *o, uint64_t size)
{
	struct spill_opts all = *o;
	struct spill_bench b;

	all.keep = false;
	spill_open(&b, &all, size, 1);
	spill_close(&b);
}

static void add_segment(void *ctx, const struct swi_spill_segment *s)
{
	const struct spill_bench *b = ((void **)ctx)[0];
	uint64_t *bytes = ((void **)ctx)[1];

	for (uint32_t i = 0; i < b->disk_count; i++)
		if (!strcmp(b->disk[i]->ops->path(b->disk[i]), s->folder))
			bytes[i] += s->live_bytes;
}

static uint64_t fullest_folder(struct spill_bench *b)
{
	uint64_t bytes[SPILL_FOLDERS_MAX] = {0}, most = 0;
	void *ctx[2] = {b, bytes};

	swi_spill_each_segment(b->sp, add_segment, ctx);
	for (uint32_t i = 0; i < b->disk_count; i++)
		most = swi_max_u64(most, bytes[i]);
	return most;
}

static void row_of(struct spill_opts *o, uint64_t size, struct perf_report *r)
{
	struct perf_row *row = perf_row_new(PERF_LAT, o->crash ? "open, writer killed" : "open", size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", 0);
	uint64_t objects = 0, log_bytes = 0, fullest = 0;

	o->c.iters = (uint32_t)swi_max_u64(o->bytes / size, 1);
	write_log(o, size);
	for (uint32_t i = 0; i < o->c.runs; i++) {
		struct spill_bench b;

		spill_open(&b, o, size, 1);
		objects = swi_spill_stats(b.sp)->objects;
		if (objects != o->c.iters)
			perf_die(&o->c, "%llu of %u objects were found", (unsigned long long)objects, o->c.iters);
		log_bytes = objects * size;
		perf_arm_value(arm, b.open_seconds * 1e9);
		perf_arm_cpu(arm, b.open_cpu_s / ((double)log_bytes * 1e-9));
		fullest = fullest_folder(&b);
		arm->ops++;
		arm->bytes += log_bytes;
		arm->ns += (uint64_t)(b.open_seconds * 1e9);
		spill_close(&b);
	}
	sweep(o, size);
	row->extra = json_pack("{s:I, s:I, s:I, s:I, s:b}", "objects", (json_int_t)objects, "log_bytes",
			       (json_int_t)log_bytes, "folders", (json_int_t)o->folders,
			       "fullest_folder_bytes", (json_int_t)fullest, "writer_killed", (int)o->crash);
	perf_report_row(r, row);
	perf_report_note(r, "            %llu objects, %llu bytes", (unsigned long long)objects,
			 (unsigned long long)log_bytes);
}

int main(int argc, char **argv)
{
	struct spill_opts o = {.bytes = GIB(10), .segment_bytes = MIB(64), .keep = true, .folders = 1};
	struct perf_report *r;
	const int rc = spill_parse(&command, argc, argv, &o);

	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	if (!o.folders || o.folders > SPILL_FOLDERS_MAX)
		return swt_error(&command, SWT_USAGE, "--folders: 1 to %u", SPILL_FOLDERS_MAX);
	if (o.crash)
		o.c.runs = 1; /* the first opening writes the missing footer */
	r = perf_report_new(&o.c, "Swarm recovery of a spill log");
	spill_describe(r, &o);
	for (uint32_t i = 0; i < o.c.size_count; i++)
		row_of(&o, o.c.size[i], r);
	return perf_report_end(r);
}
