/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill_bench.c - see spill_bench.h. One thread; every object has its own id, the payloads are the
 * slots' own, so that making data is not part of what is measured.
 */
#include <getopt.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include "transport/base/xxh.h"

#include "spill_bench.h"

#define STAGING	    MIB(16)
#define TOTAL	    GIB(1)
#define LAT_OPS	    4000u
#define SMALL_BLOCK MIB(1) /* fio's block where objects are gathered */

static uint64_t parse_bytes(const char *s)
{
	char *end;
	uint64_t v = strtoull(s, &end, 10);

	switch (*end) {
	case 'k':
	case 'K':
		return v << 10;
	case 'm':
	case 'M':
		return v << 20;
	case 'g':
	case 'G':
		return v << 30;
	default:
		return *end ? 0 : v;
	}
}

static void usage(const char *program, const char *what)
{
	printf("Usage: %s [options]\n%s\n\n"
	       "  -s, --size=BYTES   bytes of one object on disk, k/m/g (1m)\n"
	       "  -n, --iters=N      objects in a run (1 GiB worth of them)\n"
	       "  -t, --tx-depth=N   objects in flight (16; 4 from 16m on; 4096 below 64k)\n"
	       "  -r, --runs=N       runs, of which the median counts (5)\n"
	       "      --dir=FOLDER   where to write (.)\n"
	       "      --small-pages  no huge pages (a node's arena takes them from 64 MiB on)\n"
	       "      --output=text|csv|json\n",
	       program, what);
}

static void parse_one(struct bench_opts *o, int c, const char *what)
{
	if (c == 's')
		o->size = parse_bytes(optarg);
	else if (c == 'n')
		o->count = parse_bytes(optarg);
	else if (c == 't')
		o->depth = (uint32_t)parse_bytes(optarg);
	else if (c == 'r')
		o->runs = (uint32_t)parse_bytes(optarg);
	else if (c == 'd')
		o->dir = optarg;
	else if (c == 'o')
		o->output = optarg;
	else if (c == 'H')
		o->small_pages = true;
	else {
		usage(o->program, what);
		exit(c == 'h' ? 0 : 2);
	}
}

void bench_parse(int argc, char **argv, const char *program, const char *what, struct bench_opts *o)
{
	static const struct option longs[] = {
		{"size", 1, NULL, 's'}, {"iters", 1, NULL, 'n'}, {"tx-depth", 1, NULL, 't'},
		{"runs", 1, NULL, 'r'}, {"dir", 1, NULL, 'd'},	 {"output", 1, NULL, 'o'},
		{"small-pages", 0, NULL, 'H'}, {"help", 0, NULL, 'h'}, {NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct bench_opts){
		.program = program, .size = MIB(1), .runs = 5, .dir = ".", .output = "text"};
	while ((c = getopt_long(argc, argv, "s:n:t:r:h", longs, NULL)) != -1)
		parse_one(o, c, what);
	if (!o->count && o->size)
		o->count = swi_max_u64(TOTAL / o->size, 1);
	if (!o->depth)
		o->depth = o->size < SWI_LARGE_MIN ? 4096 : o->size >= MIB(16) ? 4 : 16;
	if (o->size < SWI_GRANULE || o->size % (o->size < SWI_LARGE_MIN ? SWI_GRANULE : SWI_PAGE) ||
	    !o->count || !o->depth || !o->runs || o->runs > BENCH_RUNS_MAX ||
	    (strcmp(o->output, "text") && strcmp(o->output, "csv") && strcmp(o->output, "json"))) {
		fprintf(stderr, "%s: bad size, count, depth, runs or output; see --help\n", program);
		exit(2);
	}
}

static void fill_slot(struct bench *b, char *p)
{
	struct swi_object_head *h = (struct swi_object_head *)(void *)p;
	const uint64_t len = b->opts->size - sizeof(*h);
	uint64_t s = (uint64_t)(p - b->arena) + 1;

	memset(h, 0, sizeof(*h));
	for (uint64_t i = 0; i + 8 <= len; i += 8) {
		const uint64_t v = swi_splitmix64(&s);

		memcpy(p + sizeof(*h) + i, &v, 8);
	}
	h->magic = SWI_OBJ_MAGIC;
	atomic_init(&h->state, SWI_OBJ_SEALED);
	h->len = len;
	h->flags = SWI_OBJ_F_DIGEST;
	atomic_init(&h->digest, XXH3_64bits(p + sizeof(*h), len));
}

static double seconds(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

int bench_open(struct bench *b, const struct bench_opts *o)
{
	const struct swi_disk_uring_opts dopts = {.path = o->dir, .depth = 64};
	struct swi_spill_opts sopts = {.disk_count = 1, .boot_epoch = 1, .staging_bytes = STAGING,
				       .keep = o->keep, .segment_bytes = o->segment_bytes};
	uint64_t bytes;
	char why[256] = "";
	int rc;

	memset(b, 0, sizeof(*b));
	b->mem.fd = -1;
	b->opts = o;
	swi_log_init(&b->log, o->program);
	b->slot_bytes = swi_align_up(o->size, SWI_PAGE);
	bytes = b->slot_bytes * o->depth + STAGING;
	/* As the arena of a node: its own huge pages are there for what is not a multiple of them, too. */
	rc = swi_mem_create("arena", swi_align_up(bytes, MIB(32)), !o->small_pages, &b->mem, why,
			    sizeof(why));
	if (rc) {
		fprintf(stderr, "%s: %s\n", o->program, why);
		return rc;
	}
	b->arena = b->mem.addr;
	b->staging = b->arena + b->slot_bytes * o->depth;
	for (uint32_t i = 0; i < o->depth; i++)
		fill_slot(b, b->arena + i * b->slot_bytes);
	rc = swi_disk_uring_create(&dopts, &b->log, &b->disk, why, sizeof(why));
	if (!rc) {
		(void)b->disk->ops->register_memory(b->disk, b->arena, b->slot_bytes * o->depth);
		sopts.disks = &b->disk;
		sopts.staging = b->staging;
		b->open_seconds = -seconds(CLOCK_MONOTONIC);
		rc = swi_spill_create(&sopts, swi_env_real(), &b->log, &b->sp, why, sizeof(why));
		b->open_seconds += seconds(CLOCK_MONOTONIC);
	}
	if (rc)
		fprintf(stderr, "%s: %s\n", o->program, why);
	return rc;
}

void bench_close(struct bench *b)
{
	swi_spill_destroy(b->sp);
	if (b->disk)
		b->disk->ops->destroy(b->disk);
	swi_mem_fini(&b->mem);
	memset(b, 0, sizeof(*b));
}

static bool slot_next(struct bench_slot *s, char *extent)
{
	struct swi_object_head *h = (struct swi_object_head *)(void *)extent;
	struct bench *b = s->b;

	if (b->next == b->opts->count)
		return false;
	h->oid[0] = ++b->next;
	s->io.id = (struct swarm_oid){{h->oid[0], 0}};
	s->io.extent = extent;
	s->io.extent_bytes = b->opts->size;
	s->began_ns = b->hist ? swi_now(swi_env_real()) : 0;
	return true;
}

/* A finished slot is only marked; the loop begins its next object, outside the callback. */
static void slot_over(struct swi_spill_io *io)
{
	struct bench_slot *s = io->owner;

	s->b->over++;
	if (s->b->hist)
		perf_hist_add(s->b->hist, swi_now(swi_env_real()) - s->began_ns);
	if (io->status && !s->b->error)
		s->b->error = io->status;
	io->extent = NULL;
}

static void begin_more(struct bench *b, struct bench_slot *slots,
		       void (*op)(struct swi_spill *sp, struct swi_spill_io *io))
{
	for (uint32_t i = 0; i < b->opts->depth; i++)
		if (!slots[i].io.extent && slot_next(&slots[i], b->arena + i * b->slot_bytes))
			op(b->sp, &slots[i].io);
}

double bench_all(struct bench *b, void (*op)(struct swi_spill *sp, struct swi_spill_io *io),
		 double *out_cpu)
{
	struct bench_slot *slots = calloc(b->opts->depth, sizeof(*slots));
	struct pollfd p = {.fd = b->disk->ops->fd(b->disk), .events = POLLIN};
	const double bytes = (double)b->opts->size * (double)b->opts->count;
	double wall, cpu;

	if (!slots)
		return -1;
	for (uint32_t i = 0; i < b->opts->depth; i++) {
		slots[i].b = b;
		slots[i].io.cb = slot_over;
		slots[i].io.owner = &slots[i];
	}
	b->next = b->over = 0;
	wall = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	while (b->over < b->opts->count && !b->error) {
		begin_more(b, slots, op);
		if (!swi_spill_progress(b->sp) && swi_spill_deadline_ns(b->sp))
			(void)poll(&p, 1, 1000);
	}
	wall = seconds(CLOCK_MONOTONIC) - wall;
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	if (b->error) {
		fprintf(stderr, "%s: %s\n", b->opts->program, swarm_strerror(b->error));
		swi_spill_destroy(b->sp); /* the slots are the log's until it has answered */
		b->sp = NULL;
	}
	free(slots);
	*out_cpu = cpu / (bytes * 1e-9);
	return b->error ? -1 : bytes / wall;
}

extern char **environ;

static double fio_figure(const json_t *job, const char *side, bool latency)
{
	const json_t *o = json_object_get(job, side);

	if (!latency)
		return json_number_value(json_object_get(o, "bw_bytes"));
	o = json_object_get(json_object_get(o, "clat_ns"), "percentile");
	return json_number_value(json_object_get(o, "50.000000"));
}

/* Bytes a second of one job, or its median latency, from the report in @path, which is removed. */
static double run_fio(char *const *argv, const char *path, const char *side, bool latency)
{
	json_t *root = NULL, *job;
	double v = -1;
	int status = -1;
	pid_t pid;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
		return -1;
	if (waitpid(pid, &status, 0) == pid && status == 0)
		root = json_load_file(path, JSON_DISABLE_EOF_CHECK, NULL);
	(void)unlink(path);
	job = json_array_get(json_object_get(root, "jobs"), 0);
	if (job)
		v = fio_figure(job, side, latency);
	json_decref(root);
	return v > 0 ? v : -1;
}

double bench_fio(const struct bench_opts *o, const char *rw, char *out_name, size_t name_len)
{
	const bool small = o->size < SWI_LARGE_MIN, random = !strcmp(rw, "randread");
	/* One at a time, a fixed number of reads says enough. */
	const uint64_t reads = o->latency && random ? swi_min_u64(o->count, LAT_OPS) : o->count;
	/* Gathered writes are set against big blocks, single small reads against small blocks. */
	const uint64_t bs = !small ? o->size : random ? swi_align_up(o->size, SWI_PAGE) : SMALL_BLOCK;
	const uint64_t total = swi_align_up(o->size * o->count, SMALL_BLOCK);
	const uint32_t depth = !small || o->latency ? o->depth : random ? 64 : 16;
	char file[600], block[64], size[64], iodepth[64], mode[64], out[600], number[64];
	char *const argv[] = {"fio", "--name=swarm", file, mode, block, size, iodepth, "--direct=1",
			      "--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1",
			      "--output-format=json", out, number, NULL};

	snprintf(out_name, name_len, "fio %s bs=%lluk iodepth=%u io_uring direct", rw,
		 (unsigned long long)(bs >> 10), depth);
	snprintf(file, sizeof(file), "--filename=%s/swarm-fio.tmp", o->dir);
	snprintf(mode, sizeof(mode), "--rw=%s", rw);
	snprintf(block, sizeof(block), "--bs=%llu", (unsigned long long)bs);
	snprintf(size, sizeof(size), "--size=%llu", (unsigned long long)total);
	snprintf(number, sizeof(number), "--number_ios=%llu", (unsigned long long)reads);
	if (!o->latency)
		snprintf(number, sizeof(number), "--invalidate=1"); /* fio's default: all of it */
	snprintf(iodepth, sizeof(iodepth), "--iodepth=%u", depth);
	snprintf(out, sizeof(out), "--output=%s/swarm-fio.json", o->dir);
	return run_fio(argv, out + strlen("--output="), strstr(rw, "read") ? "read" : "write",
		       o->latency);
}

/* ---- output ---- */
static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread {
	double min, median, max;
};

static struct spread spread_of(const double *v, uint32_t n)
{
	double s[BENCH_RUNS_MAX];

	memcpy(s, v, n * sizeof(*s));
	qsort(s, n, sizeof(*s), by_value);
	return (struct spread){s[0], n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2, s[n - 1]};
}

static void print_json(const struct bench_opts *o, const struct bench_result *res, const char *op)
{
	const struct spread bw = spread_of(res->swarm, o->runs), base = spread_of(res->fio, o->runs);
	const struct spread cpu = spread_of(res->cpu_seconds_per_gb, o->runs);
	json_t *root = json_pack(
		"{s:i, s:s, s:s, s:b, s:I, s:I, s:i, s:i, s:f, s:f, s:f, s:f}", "schema", 1, "program",
		o->program, "op", op, "huge_pages", (int)!o->small_pages, "size_bytes", (json_int_t)o->size, "objects",
		(json_int_t)o->count, "depth", (int)o->depth, "runs", (int)o->runs, "bw_bytes_per_s",
		bw.median, "bw_bytes_per_s.min", bw.min, "bw_bytes_per_s.max", bw.max,
		"cpu_seconds_per_gb", cpu.median);

	if (base.median > 0) {
		json_object_set_new(root, "baseline",
				    json_pack("{s:s, s:f, s:f, s:f}", "name", res->baseline, "value",
					      base.median, "min", base.min, "max", base.max));
		json_object_set_new(root, "ratio", json_real(bw.median / base.median));
	}
	json_dumpf(root, stdout, JSON_INDENT(1));
	printf("\n");
	json_decref(root);
}

int bench_report(const struct bench_opts *o, const struct bench_result *res, const char *op)
{
	const struct spread bw = spread_of(res->swarm, o->runs), base = spread_of(res->fio, o->runs);
	const struct spread cpu = spread_of(res->cpu_seconds_per_gb, o->runs);
	const double ratio = base.median > 0 ? bw.median / base.median : 0;

	if (bw.min <= 0)
		return 1;
	if (!strcmp(o->output, "json")) {
		print_json(o, res, op);
	} else if (!strcmp(o->output, "csv")) {
		printf("op,size_bytes,objects,depth,runs,bw_bytes_per_s,baseline_bytes_per_s,ratio,"
		       "cpu_seconds_per_gb\n%s,%llu,%llu,%u,%u,%.0f,%.0f,%.3f,%.3f\n",
		       op, (unsigned long long)o->size, (unsigned long long)o->count, o->depth,
		       o->runs, bw.median, base.median, ratio, cpu.median);
	} else {
		printf("%-8s %10llu bytes x %-8llu depth %-4u runs %u\n", op,
		       (unsigned long long)o->size, (unsigned long long)o->count, o->depth, o->runs);
		printf("  swarm  %7.1f MB/s (%.1f .. %.1f), %.3f CPU s/GB\n", bw.median / 1e6,
		       bw.min / 1e6, bw.max / 1e6, cpu.median);
		if (ratio > 0)
			printf("  fio    %7.1f MB/s (%.1f .. %.1f)  %s\n  ratio  %.3f\n",
			       base.median / 1e6, base.min / 1e6, base.max / 1e6, res->baseline, ratio);
		else
			printf("  fio    not available\n");
	}
	return 0;
}
