/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_alloc_util - how full the arena's allocator gets. Objects of a mix of sizes are put for ever;
 * when there is no room, objects are evicted until there is: the oldest, of which one in four was used again and
 * stays (--evict=random: any). What counts is the share of the arena that payload has, as the mean over all puts
 * after the arena was full for the first time, and the least.
 *
 * It places as the store does: small objects are carved from a chunk, freed singly once it is used up; large
 * ones are extents of their own, on the side that the store would take; and where enough is free, but in pieces, objects
 * make way (compact.h; --no-compact: nobody does). Only the allocator's records exist: no
 * memory is touched, so that an arena may be larger than this machine.
 */
#include <math.h>

#include "perf/common/load.h"
#include "perf/common/sizes.h"
#include "perf/trace.h"
#include "store/compact.h"
#include "store/shm.h"

#define BLOCK_TOKENS 512u
#define NONE	     UINT64_MAX

struct object {
	uint64_t offset, len;
	uint64_t chunk; /* number of the chunk it was carved from; NONE: none, or it has moved */
};

struct sim {
	struct swi_extents x;
	uint64_t arena, seed;
	struct swi_compact compact;
	struct object *obj; /* by number */
	uint32_t obj_cap, obj_free_count, *obj_free;
	uint32_t *by_granule; /* number + 1 of the object that begins there */
	uint32_t *live; /* numbers, a queue by age: [first, first + n) modulo cap, a power of two */
	uint64_t first, n, cap;
	bool random, no_compact;
	uint64_t compact_at; /* no window was found: not before so many bytes were evicted */
	uint64_t evicted_bytes, put_bytes;
	uint64_t chunk_at, chunk_pos, chunk_end, chunk_number; /* the open one; chunk_end 0 = none */
	uint64_t payload;
	uint64_t evicted, puts;
	double sum, least;
	uint64_t samples;
};

struct mix { /* where sizes come from */
	const char *name;
	double median, sigma; /* log-normal */
	uint64_t token_bytes; /* blocks of a trace */
	uint64_t *sizes, count;
};

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "swarm_alloc_util: %s\n", what);
	exit(1);
}

static double uniform(struct sim *s)
{
	return ((double)(swi_splitmix64(&s->seed) >> 11) + 0.5) / 9007199254740992.0;
}

/* ---- sizes ---- */

static uint64_t lognormal(struct sim *s, const struct mix *m)
{
	const double z = sqrt(-2 * log(uniform(s))) * cos(6.283185307179586 * uniform(s));
	const double v = m->median * exp(m->sigma * z);

	return v < 1 ? 1 : v > (double)MIB(64) ? MIB(64) : (uint64_t)v;
}

/* As prompts are cut into blocks: all but the last are full. The prompts' lengths are those of the trace's bulk. */
static uint64_t generated_block(struct sim *s, const struct mix *m)
{
	const double tokens = 6000 * exp(1.1 * (uniform(s) + uniform(s) + uniform(s) + uniform(s) - 2));
	const uint64_t blocks = (uint64_t)tokens / BLOCK_TOKENS + 1;
	const uint64_t last = swi_splitmix64(&s->seed) % BLOCK_TOKENS + 1;

	return (swi_splitmix64(&s->seed) % blocks ? BLOCK_TOKENS : last) * m->token_bytes;
}

static uint64_t draw(struct sim *s, const struct mix *m)
{
	if (m->count)
		return m->sizes[s->puts % m->count];
	return m->token_bytes ? generated_block(s, m) : lognormal(s, m);
}

/* Every block of every request of a trace file, in order. */
static void read_trace(struct mix *m, const char *path)
{
	struct perf_trace t = {0};
	char why[512] = "";

	if (perf_trace_file(&t, path, why, sizeof(why)))
		die(why);
	for (uint64_t i = 0; i < t.requests; i++)
		m->count += (t.request[i].input_tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
	m->sizes = calloc(swi_max_u64(m->count, 1), sizeof(*m->sizes));
	if (!m->sizes || !m->count)
		die(m->count ? "out of memory" : "the trace has no prompts");
	for (uint64_t i = 0, n = 0; i < t.requests; i++)
		for (uint64_t left = t.request[i].input_tokens; left;) {
			const uint64_t tokens = swi_min_u64(left, BLOCK_TOKENS);

			m->sizes[n++] = tokens * m->token_bytes;
			left -= tokens;
		}
	perf_trace_fini(&t);
}

/* ---- the store's way of placing ---- */

static void free_range(struct sim *s, uint64_t from, uint64_t to)
{
	if (to > from && swi_compact_free(&s->compact, from, to - from))
		die("a range was refused");
}

static uint32_t *at(struct sim *s, uint64_t i)
{
	return &s->live[(s->first + i) & (s->cap - 1)];
}

static void *grown(void *p, uint64_t bytes)
{
	p = realloc(p, bytes);
	if (!p)
		die("out of memory");
	return p;
}

static uint32_t number_take(struct sim *s)
{
	if (!s->obj_free_count) {
		const uint32_t cap = s->obj_cap ? s->obj_cap * 2 : 4096;

		s->obj = grown(s->obj, cap * sizeof(*s->obj));
		s->obj_free = grown(s->obj_free, cap * sizeof(*s->obj_free));
		while (s->obj_free_count < cap - s->obj_cap) {
			s->obj_free[s->obj_free_count] = cap - 1 - s->obj_free_count;
			s->obj_free_count++;
		}
		s->obj_cap = cap;
	}
	return s->obj_free[--s->obj_free_count];
}

static void push(struct sim *s, uint32_t number)
{
	if (s->n == s->cap) {
		const uint64_t cap = s->cap ? s->cap * 2 : 4096;
		uint32_t *live = grown(NULL, cap * sizeof(*live));

		for (uint64_t i = 0; i < s->n; i++)
			live[i] = *at(s, i);
		free(s->live);
		s->live = live;
		s->cap = cap;
		s->first = 0;
	}
	*at(s, s->n++) = number;
}

static uint32_t take_victim(struct sim *s)
{
	uint32_t *oldest = at(s, 0), number = *oldest;

	if (s->random) {
		uint32_t *any = at(s, swi_splitmix64(&s->seed) % s->n);

		number = *any;
		*any = *oldest;
	}
	s->first++;
	s->n--;
	return number;
}

static void free_object(struct sim *s, uint64_t offset, uint64_t len)
{
	s->by_granule[offset / SWI_GRANULE] = 0;
	free_range(s, offset, offset + swi_extent_bytes(len));
}

static bool in_open_chunk(const struct sim *s, const struct object *o)
{
	return s->chunk_end && o->chunk == s->chunk_number;
}

static bool evict_one(struct sim *s)
{
	for (uint64_t tries = 2 * s->n + 64; s->n && tries; tries--) {
		const uint32_t number = take_victim(s);
		const struct object *o = &s->obj[number];
		const bool in_use = !s->random && swi_splitmix64(&s->seed) % 4 == 0;

		/* Of what lies in the open chunk nothing would be won. */
		if (in_use || in_open_chunk(s, o)) {
			push(s, number);
			continue;
		}
		s->payload -= o->len;
		s->evicted++;
		s->evicted_bytes += swi_extent_bytes(o->len);
		free_object(s, o->offset, o->len);
		s->obj_free[s->obj_free_count++] = number;
		return true;
	}
	return false;
}

/* ---- who makes way ---- */

static uint64_t object_at(void *ctx, uint64_t offset)
{
	struct sim *s = ctx;
	const uint32_t n = s->by_granule[offset / SWI_GRANULE];

	return n && !in_open_chunk(s, &s->obj[n - 1]) ? swi_extent_bytes(s->obj[n - 1].len) : 0;
}

static bool object_move(void *ctx, uint64_t from, uint64_t bytes SWI_UNUSED, uint64_t to)
{
	struct sim *s = ctx;
	const uint32_t n = s->by_granule[from / SWI_GRANULE];
	struct object *o = &s->obj[n - 1];

	o->offset = to;
	o->chunk = NONE;
	free_object(s, from, o->len);
	s->by_granule[to / SWI_GRANULE] = n;
	return true;
}

static const struct swi_compact_ops compact_ops = {.at = object_at, .move = object_move};

/* As the node does (relocate.c): enough is free, so a window is cleared; else, or where none can be, something leaves. */
static void make_room(struct sim *s, uint64_t bytes, uint64_t least)
{
	if (!s->no_compact && s->evicted_bytes >= s->compact_at &&
	    swi_extents_free_bytes(&s->x) >= bytes + bytes / 8) {
		swi_compact_again(&s->compact);
		if (!swi_compact_begin(&s->compact, bytes, least)) {
			(void)swi_compact_run(&s->compact, UINT64_MAX);
			if (!swi_compact_active(&s->compact))
				return;
			swi_compact_end(&s->compact);
		}
		s->compact_at = s->evicted_bytes + bytes / 4;
	}
	if (!evict_one(s))
		die("an empty arena has no room");
}

static uint64_t room(struct sim *s, uint64_t bytes)
{
	uint64_t offset;

	while (swi_extent_alloc(&s->x, bytes, SWI_PAGE, swi_extent_side(bytes, s->arena), &offset))
		make_room(s, bytes, bytes);
	return offset;
}

/* A chunk, or what there is of it before anybody makes way (grant.c). */
static uint64_t chunk_room(struct sim *s, uint64_t least, uint64_t *bytes)
{
	uint64_t offset;

	for (;;) {
		for (uint64_t b = *bytes; b >= least; b = swi_align_down(b / 2, SWI_PAGE))
			if (!swi_extent_alloc(&s->x, b, SWI_PAGE, SWI_EXTENT_LOW, &offset)) {
				*bytes = b;
				return offset;
			}
		make_room(s, swi_min_u64(*bytes, SWI_COMPACT_CHUNK), least);
	}
}

static uint64_t carve(struct sim *s, uint64_t ext)
{
	uint64_t chunk = swi_align_up(swi_max_u64(swi_min_u64(MIB(1), s->arena / 256), KIB(64)), SWI_PAGE);

	if (s->chunk_end - s->chunk_pos < ext) {
		free_range(s, s->chunk_pos, s->chunk_end);
		s->chunk_end = s->chunk_pos = 0; /* its objects may go while there is no other */
		s->chunk_at = chunk_room(s, swi_min_u64(SWI_LARGE_MIN, chunk), &chunk);
		s->chunk_pos = s->chunk_at;
		s->chunk_end = s->chunk_at + chunk;
		s->chunk_number++;
	}
	s->chunk_pos += ext;
	return s->chunk_pos - ext;
}

static void put(struct sim *s, uint64_t len)
{
	const uint64_t ext = swi_extent_bytes(len);
	const bool small = ext < SWI_LARGE_MIN;
	const uint64_t offset = small ? carve(s, ext) : room(s, ext);
	const uint32_t number = number_take(s);

	s->obj[number] = (struct object){.offset = offset, .len = len, .chunk = small ? s->chunk_number : NONE};
	s->by_granule[offset / SWI_GRANULE] = number + 1;
	push(s, number);
	s->payload += len;
	s->put_bytes += ext;
	s->puts++;
	if (!s->evicted)
		return;
	const double share = (double)s->payload / (double)s->arena;

	s->sum += share;
	s->samples++;
	s->least = share < s->least ? share : s->least;
}

/* ---- ---- */

struct au_opts {
	struct perf_opts c;
	const char *mix, *trace, *evict, *lognormal, *min;
	uint64_t token_bytes;
	uint32_t seed;
	bool no_compact;
};

static void init(struct sim *s)
{
	if (swi_extents_init(&s->x, s->arena))
		die("no such arena");
	swi_compact_init(&s->compact, &s->x, &compact_ops, s);
	s->by_granule = calloc(s->arena / SWI_GRANULE, sizeof(*s->by_granule));
	if (!s->by_granule)
		die("out of memory");
}

static void fini(struct sim *s)
{
	swi_compact_fini(&s->compact);
	swi_extents_fini(&s->x);
	free(s->by_granule);
	free(s->obj);
	free(s->obj_free);
	free(s->live);
}

static double run(const struct au_opts *o, const struct mix *m, uint64_t arena, struct perf_report *r)
{
	struct sim s = {.arena = swi_align_up(arena, SWI_PAGE), .seed = o->seed, .least = 1,
			.random = o->evict && !strcmp(o->evict, "random"), .no_compact = o->no_compact};
	const uint64_t puts = o->c.iters, begin = perf_now();
	struct perf_row *row = perf_row_new(PERF_OPS, m->name, 0);

	init(&s);
	while (s.puts < puts)
		put(&s, draw(&s, m));
	perf_arm_run(perf_row_arm(row, "swarm", 0), PERF_OPS, NULL, s.puts, 0, perf_now() - begin);
	const char *wrong = swi_extents_check(&s.x);

	if (wrong)
		die(wrong);
	const double mean = s.samples ? s.sum / (double)s.samples : 0;
	const double moved = (double)s.compact.moved_bytes / (double)swi_max_u64(s.put_bytes, 1);

	row->extra = json_pack("{s:I, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:f}", "arena_bytes", (json_int_t)s.arena,
			       "live_objects", (json_int_t)s.n, "evicted_objects", (json_int_t)s.evicted,
			       "utilisation_mean", mean, "utilisation_min", s.samples ? s.least : 0,
			       "utilisation_samples", (json_int_t)s.samples, "free_pieces",
			       (json_int_t)s.x.free_blocks, "largest_free_bytes",
			       (json_int_t)swi_extents_largest(&s.x), "moved_bytes_per_put_byte", moved);
	perf_report_row(r, row);
	perf_report_note(r, " %s: %llu objects live, utilisation %.4f (least %.4f), %llu free pieces, the largest %llu bytes; %.3f bytes moved for a byte put",
			 m->name, (unsigned long long)s.n, mean, s.samples ? s.least : 0,
			 (unsigned long long)s.x.free_blocks, (unsigned long long)swi_extents_largest(&s.x), moved);
	fini(&s);
	return mean;
}

static const struct swt_opt options[] = {
	{"iters", 'n', SWT_U32, PERF_O(struct au_opts, c, iters), "N", "puts (default 10000000)", NULL},
	{"arena", 0, SWT_SIZE, PERF_O(struct au_opts, c, arena_bytes), "SIZE",
	 "arena (default 8G); no memory of that size is needed", NULL},
	{"mix", 'm', SWT_CHOICE, offsetof(struct au_opts, mix), "NAME",
	 "lognormal, blocks (as a trace of prompts cut into blocks), or both (default)", "lognormal|blocks|both"},
	{"lognormal", 0, SWT_STR, offsetof(struct au_opts, lognormal), "MEDIAN:SIGMA",
	 "sizes of that mix, cut at 64 MiB (default 32k:1.5)", NULL},
	{"trace", 0, SWT_STR, offsetof(struct au_opts, trace), "FILE",
	 "the blocks of a Mooncake trace instead of generated ones", NULL},
	{"token-bytes", 0, SWT_SIZE, offsetof(struct au_opts, token_bytes), "SIZE",
	 "bytes that a token takes in a block of 512 (default 2048)", NULL},
	{"evict", 0, SWT_CHOICE, offsetof(struct au_opts, evict), "NAME",
	 "oldest: one in four was used again and stays (default); or random", "oldest|random"},
	{"no-compact", 0, SWT_FLAG, offsetof(struct au_opts, no_compact), NULL,
	 "no object makes way for another", NULL},
	{"seed", 0, SWT_U32, offsetof(struct au_opts, seed), "N", "of the random numbers (default 1)", NULL},
	{"min", 0, SWT_STR, offsetof(struct au_opts, min), "X", "fail when a mean is below X", NULL},
	PERF_OPT_FORMAT(struct au_opts, c),
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_alloc_util",
	.summary = "Measures how full the arena's allocator gets with objects of mixed sizes, evicted for ever.",
	.opts = options,
};

/* "32k:1.5" */
static int lognormal_of(const struct au_opts *o, struct mix *m)
{
	struct perf_sizes s = {0};
	char spec[64];

	snprintf(spec, sizeof(spec), "lognormal:%s", o->lognormal);
	if (perf_sizes_parse(&s, spec) || s.list)
		return swt_error(&command, SWT_USAGE, "--lognormal=%s: expected a median and a sigma such as 32k:1.5",
				 o->lognormal);
	m->median = exp(s.mu);
	m->sigma = s.sigma;
	perf_sizes_fini(&s);
	return 0;
}

int main(int argc, char **argv)
{
	struct au_opts o = {.c.iters = 10000000, .c.arena_bytes = GIB(8), .seed = 1, .token_bytes = 2048,
			    .lognormal = "32k:1.5"};
	struct mix logn = {.name = "lognormal"}, blocks = {.name = "blocks"};
	struct perf_report *r;
	double mean = 1, least;
	int rc = perf_opts_parse(&command, argc, argv, &o, &o.c);

	if (!rc)
		rc = lognormal_of(&o, &logn);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	least = o.min ? strtod(o.min, NULL) : 0;
	blocks.token_bytes = o.token_bytes;
	if (o.trace)
		read_trace(&blocks, o.trace);
	r = perf_report_new(&o.c, "Swarm allocator");
	perf_report_set(r, "lognormal", json_string(o.lognormal));
	perf_report_set(r, "blocks_of", json_string(o.trace ? o.trace : "generated"));
	perf_report_set(r, "evict", json_string(o.evict ? o.evict : "oldest"));
	perf_report_set(r, "seed", json_integer(o.seed));
	if (!o.mix || strcmp(o.mix, "blocks"))
		mean = fmin(mean, run(&o, &logn, o.c.arena_bytes, r));
	if (!o.mix || strcmp(o.mix, "lognormal"))
		mean = fmin(mean, run(&o, &blocks, o.c.arena_bytes, r));
	free(blocks.sizes);
	rc = perf_report_end(r);
	if (mean < least)
		fprintf(stderr, "swarm_alloc_util: a mean of %.4f is below %s\n", mean, o.min);
	return rc || mean < least;
}
