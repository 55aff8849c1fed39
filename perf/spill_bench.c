/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill_bench.c - see spill_bench.h. Every object has its own id; the payloads are the slots' own, so that making
 * data is not part of what is measured.
 */
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "perf/common/load.h"
#include "perf/common/scratch.h"
#include "perf/spill_bench.h"
#include "transport/base/xxh.h"

#define STAGING	  MIB(16)
#define TOTAL	  GIB(1)
#define SIZE_MIN  KIB(4) /* of -a */
#define DEPTH_MAX 65536u

static bool size_ok(uint64_t size)
{
	return size >= SWI_GRANULE && size % (size < SWI_LARGE_MIN ? SWI_GRANULE : SWI_PAGE) == 0;
}

int spill_parse(const struct swt_command *cmd, int argc, char **argv, struct spill_opts *o)
{
	static char scratch[PERF_SCRATCH_MAX];
	int rc = perf_opts_parse(cmd, argc, argv, o, &o->c);
	uint32_t n = 0;

	if (rc)
		return rc;
	if (o->c.depth > DEPTH_MAX)
		return swt_error(cmd, SWT_USAGE, "--tx-depth=%u: at most %u", o->c.depth, DEPTH_MAX);
	if (!o->c.size_count)
		o->c.size[o->c.size_count++] = MIB(1);
	for (uint32_t i = 0; i < o->c.size_count; i++) {
		if (o->c.all_sizes && o->c.size[i] < SIZE_MIN)
			continue;
		if (!size_ok(o->c.size[i]))
			return swt_error(cmd, SWT_USAGE,
					 "--size=%llu: an object on disk takes a multiple of %u bytes, from %u KiB on of %u",
					 (unsigned long long)o->c.size[i], SWI_GRANULE,
					 (unsigned)(SWI_LARGE_MIN >> 10), (unsigned)SWI_PAGE);
		o->c.size[n++] = o->c.size[i];
	}
	o->c.size_count = n;
	o->under = o->dir ? o->dir : ".";
	perf_scratch(&o->c, o->under, scratch);
	o->dir = scratch;
	return 0;
}

void spill_describe(struct perf_report *r, const struct spill_opts *o)
{
	perf_report_set(r, "runs", json_integer(o->c.runs));
	perf_report_set(r, "huge_pages", json_boolean(!o->small_pages));
	perf_report_set(r, "folder", json_string(o->under));
}

static void fill_slot(struct spill_bench *b, char *p)
{
	struct swi_object_head *h = (struct swi_object_head *)(void *)p;
	const uint64_t len = b->size - sizeof(*h);
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

/* As the arena of a node: its own huge pages are there for what is not a multiple of them, too. */
static void open_memory(struct spill_bench *b)
{
	const uint64_t bytes = b->slot_bytes * b->depth + STAGING;
	char why[256] = "";

	if (swi_mem_create("arena", swi_align_up(bytes, MIB(32)), !b->o->small_pages, &b->mem, why, sizeof(why)))
		perf_die(&b->o->c, "%s", why);
	b->arena = b->mem.addr;
	b->staging = b->arena + b->slot_bytes * b->depth;
	for (uint32_t i = 0; i < b->depth; i++)
		fill_slot(b, b->arena + i * b->slot_bytes);
}

/* One folder is the one that was asked for; several lie in it. */
static void open_disks(struct spill_bench *b)
{
	const uint32_t count = b->o->folders ? b->o->folders : 1;
	char path[PERF_SCRATCH_MAX + 16], why[256] = "";

	for (uint32_t i = 0; i < count; i++) {
		const struct swi_disk_uring_opts dopts = {.path = path, .depth = 64};

		snprintf(path, sizeof(path), count > 1 ? "%s/%u" : "%s", b->o->dir, i);
		if (swi_disk_uring_create(&dopts, &b->log, &b->disk[i], why, sizeof(why)))
			perf_die(&b->o->c, "%s", why);
		b->disk_count++;
		(void)b->disk[i]->ops->register_memory(b->disk[i], b->arena, b->slot_bytes * b->depth);
	}
}

void spill_open(struct spill_bench *b, const struct spill_opts *o, uint64_t size, uint32_t depth)
{
	struct swi_spill_opts sopts = {.boot_epoch = 1, .staging_bytes = STAGING, .keep = o->keep,
				       .segment_bytes = o->segment_bytes};
	char why[256] = "";

	*b = (struct spill_bench){.o = o, .size = size, .mem.fd = -1};
	b->count = o->c.iters ? o->c.iters : swi_max_u64(TOTAL / size, 1);
	b->depth = depth	    ? depth
		   : o->c.depth	    ? o->c.depth
		   : size < SWI_LARGE_MIN ? 4096
		   : size >= MIB(16)	  ? 4
					  : 16;
	b->slot_bytes = swi_align_up(size, SWI_PAGE);
	swi_log_init(&b->log, o->c.program);
	open_memory(b);
	open_disks(b);
	sopts.disks = b->disk;
	sopts.disk_count = b->disk_count;
	sopts.staging = b->staging;
	b->open_cpu_s = -seconds(CLOCK_PROCESS_CPUTIME_ID);
	b->open_seconds = -seconds(CLOCK_MONOTONIC);
	if (swi_spill_create(&sopts, swi_env_real(), &b->log, &b->sp, why, sizeof(why)))
		perf_die(&o->c, "%s", why);
	b->open_seconds += seconds(CLOCK_MONOTONIC);
	b->open_cpu_s += seconds(CLOCK_PROCESS_CPUTIME_ID);
}

void spill_close(struct spill_bench *b)
{
	swi_spill_destroy(b->sp);
	for (uint32_t i = 0; i < b->disk_count; i++)
		b->disk[i]->ops->destroy(b->disk[i]);
	swi_mem_fini(&b->mem);
	free(b->order);
	memset(b, 0, sizeof(*b));
}

void spill_shuffle(struct spill_bench *b)
{
	uint64_t seed = 1;

	SWI_BUG_ON(b->count > UINT32_MAX);
	b->order = calloc(b->count, sizeof(*b->order));
	SWI_BUG_ON(!b->order);
	for (uint64_t i = 0; i < b->count; i++) {
		const uint64_t k = swi_splitmix64(&seed) % (i + 1);

		b->order[i] = b->order[k];
		b->order[k] = (uint32_t)i;
	}
}

struct slot {
	struct swi_list link; /* b->idle */
	struct swi_spill_io io;
	char *extent;
	struct spill_bench *b;
	uint64_t began_ns;
};

static void slot_next(struct slot *s)
{
	struct swi_object_head *h = (struct swi_object_head *)(void *)s->extent;
	struct spill_bench *b = s->b;

	h->oid[0] = 1 + (b->order ? b->order[b->next] : b->next);
	b->next++;
	s->io.id = (struct swarm_oid){{h->oid[0], 0}};
	s->io.extent = s->extent;
	s->io.extent_bytes = b->size;
	s->began_ns = b->hist ? perf_now() : 0;
}

/* A finished slot is only marked; the loop begins its next object, outside the callback. */
static void slot_over(struct swi_spill_io *io)
{
	struct slot *s = io->owner;
	struct spill_bench *b = s->b;

	b->over++;
	if (b->hist) {
		const uint64_t ns = perf_now() - s->began_ns;

		perf_hist_add(b->hist, ns);
		if (b->samples)
			perf_arm_sample(b->samples, ns);
	}
	if (io->status && !b->error)
		b->error = io->status;
	swi_list_push_back(&b->idle, &s->link);
}

static void begin_more(struct spill_bench *b, void (*op)(struct swi_spill *sp, struct swi_spill_io *io))
{
	while (b->next < b->count && !swi_list_empty(&b->idle)) {
		struct slot *s = swi_list_first(&b->idle, struct slot, link);

		swi_list_del(&s->link);
		slot_next(s);
		op(b->sp, &s->io);
	}
}

struct spill_run spill_all(struct spill_bench *b, void (*op)(struct swi_spill *sp, struct swi_spill_io *io))
{
	struct slot *slots = calloc(b->depth, sizeof(*slots));
	struct pollfd p[SPILL_FOLDERS_MAX];
	struct spill_run r = {.ops = b->count};

	SWI_BUG_ON(!slots);
	for (uint32_t i = 0; i < b->disk_count; i++)
		p[i] = (struct pollfd){.fd = b->disk[i]->ops->fd(b->disk[i]), .events = POLLIN};
	swi_list_init(&b->idle);
	for (uint32_t i = 0; i < b->depth; i++) {
		slots[i].b = b;
		slots[i].extent = b->arena + i * b->slot_bytes;
		swi_list_push_back(&b->idle, &slots[i].link);
		slots[i].io.cb = slot_over;
		slots[i].io.owner = &slots[i];
	}
	b->next = b->over = 0;
	r.cpu_s = -seconds(CLOCK_PROCESS_CPUTIME_ID);
	const uint64_t begin = perf_now();

	while (b->over < b->count && !b->error) {
		begin_more(b, op);
		if (!swi_spill_progress(b->sp) && swi_spill_deadline_ns(b->sp))
			(void)poll(p, b->disk_count, 1000);
	}
	r.ns = perf_now() - begin;
	r.cpu_s += seconds(CLOCK_PROCESS_CPUTIME_ID);
	if (b->error) {
		const int rc = b->error;

		spill_close(b); /* the slots are the log's until it has answered */
		free(slots);
		fprintf(stderr, "the log: %s\n", swarm_strerror(rc));
		exit(1);
	}
	free(slots);
	return r;
}

void spill_count(const struct spill_bench *b, struct perf_arm *arm, enum perf_kind kind, const struct spill_run *r)
{
	const uint64_t bytes = r->ops * b->size;

	perf_arm_run(arm, kind, b->hist && b->hist->count ? b->hist : NULL, r->ops, bytes, r->ns);
	perf_arm_cpu(arm, r->cpu_s / ((double)bytes * 1e-9));
}

int spill_main(const struct swt_command *cmd, const char *title,
	       void (*row_of)(const struct spill_opts *o, uint64_t size, struct perf_report *r), int argc, char **argv)
{
	struct spill_opts o = {0};
	struct perf_report *r;
	const int rc = spill_parse(cmd, argc, argv, &o);

	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	r = perf_report_new(&o.c, title);
	spill_describe(r, &o);
	for (uint32_t i = 0; i < o.c.size_count; i++)
		row_of(&o, o.c.size[i], r);
	return perf_report_end(r);
}
