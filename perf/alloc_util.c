/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc_util.c - swarm_alloc_util: how full the arena's allocator gets. Objects of a mix of sizes are put for ever;
 * when there is no room, objects are evicted until there is: the oldest, of which one in four was used again and
 * stays (--evict=random: any). What counts is the share of the arena that payload has, as the mean over all puts
 * after the arena was full for the first time, and the least.
 *
 * It places as the store does: small objects are carved from a chunk, freed singly once it is used up; large
 * ones are extents of their own, on the side that the store would take. Only the allocator's records exist: no
 * memory is touched, so that an arena may be larger than this machine.
 */
#include <getopt.h>
#include <math.h>

#include "store/extent.h"
#include "store/shm.h"
#include "transport/base/env.h"

#define BLOCK_TOKENS 512u
#define NONE	     UINT64_MAX

struct object {
	uint64_t offset, len;
	uint64_t chunk; /* number of the chunk it was carved from while that is open, else NONE */
};

struct sim {
	struct swi_extents x;
	uint64_t arena, seed;
	struct object *live; /* a queue by age: [first, first + n) modulo cap, a power of two */
	uint64_t first, n, cap;
	bool random;
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

static void die(const char *what)
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
	FILE *f = fopen(path, "re");
	static char line[1 << 20];
	uint64_t cap = 0;

	if (!f)
		die("the trace cannot be read");
	while (fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, "\"input_length\":");
		uint64_t tokens = at ? strtoull(at + 15, NULL, 10) : 0;

		for (; tokens; tokens -= swi_min_u64(tokens, BLOCK_TOKENS)) {
			if (m->count == cap) {
				cap = cap ? cap * 2 : 4096;
				m->sizes = realloc(m->sizes, cap * sizeof(*m->sizes));
				if (!m->sizes)
					die("out of memory");
			}
			m->sizes[m->count++] = swi_min_u64(tokens, BLOCK_TOKENS) * m->token_bytes;
		}
	}
	fclose(f);
	if (!m->count)
		die("the trace has no requests");
}

/* ---- the store's way of placing ---- */

static void free_range(struct sim *s, uint64_t from, uint64_t to)
{
	if (to > from && swi_extent_free(&s->x, from, to - from))
		die("a range was refused");
}

static struct object *at(struct sim *s, uint64_t i)
{
	return &s->live[(s->first + i) & (s->cap - 1)];
}

static void push(struct sim *s, struct object o)
{
	if (s->n == s->cap) {
		const uint64_t cap = s->cap ? s->cap * 2 : 4096;
		struct object *live = malloc(cap * sizeof(*live));

		if (!live)
			die("out of memory");
		for (uint64_t i = 0; i < s->n; i++)
			live[i] = *at(s, i);
		free(s->live);
		s->live = live;
		s->cap = cap;
		s->first = 0;
	}
	*at(s, s->n++) = o;
}

static struct object take_victim(struct sim *s)
{
	struct object *oldest = at(s, 0), o = *oldest;

	if (s->random) {
		struct object *any = at(s, swi_splitmix64(&s->seed) % s->n);

		o = *any;
		*any = *oldest;
	}
	s->first++;
	s->n--;
	return o;
}

static bool evict_one(struct sim *s)
{
	for (uint64_t tries = 2 * s->n + 64; s->n && tries; tries--) {
		const struct object o = take_victim(s);
		const bool in_use = !s->random && swi_splitmix64(&s->seed) % 4 == 0;

		/* Of what lies in the open chunk nothing would be won. */
		if (in_use || (s->chunk_end && o.chunk == s->chunk_number)) {
			push(s, o);
			continue;
		}
		free_range(s, o.offset, o.offset + swi_extent_bytes(o.len));
		s->payload -= o.len;
		s->evicted++;
		return true;
	}
	return false;
}

static uint64_t room(struct sim *s, uint64_t bytes)
{
	uint64_t offset;

	while (swi_extent_alloc(&s->x, bytes, SWI_PAGE, swi_extent_side(bytes, s->arena), &offset))
		if (!evict_one(s))
			die("an empty arena has no room");
	return offset;
}

/* A chunk, or what there is of it before anything is evicted (grant.c). */
static uint64_t chunk_room(struct sim *s, uint64_t least, uint64_t *bytes)
{
	uint64_t offset;

	for (;;) {
		for (uint64_t b = *bytes; b >= least; b = swi_align_down(b / 2, SWI_PAGE))
			if (!swi_extent_alloc(&s->x, b, SWI_PAGE, SWI_EXTENT_LOW, &offset)) {
				*bytes = b;
				return offset;
			}
		if (!evict_one(s))
			die("an empty arena has no room");
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
	struct object o = {.len = len};

	o.offset = small ? carve(s, ext) : room(s, ext);
	o.chunk = small ? s->chunk_number : NONE;
	push(s, o);
	s->payload += len;
	s->puts++;
	if (!s->evicted)
		return;
	const double share = (double)s->payload / (double)s->arena;

	s->sum += share;
	s->samples++;
	s->least = share < s->least ? share : s->least;
}

/* ---- ---- */

static double run(const struct mix *m, uint64_t arena, uint64_t ops, uint64_t seed, bool random, bool json)
{
	struct sim s = {.arena = swi_align_up(arena, SWI_PAGE), .seed = seed, .least = 1, .random = random};

	if (swi_extents_init(&s.x, s.arena))
		die("no such arena");
	while (s.puts < ops)
		put(&s, draw(&s, m));
	const char *wrong = swi_extents_check(&s.x);

	if (wrong)
		die(wrong);
	const double mean = s.samples ? s.sum / (double)s.samples : 0;

	printf(json ? "{\"name\": \"%s\", \"arena_bytes\": %llu, \"ops\": %llu, \"live_objects\": %llu, "
		      "\"utilisation.mean\": %.4f, \"utilisation.min\": %.4f, \"free_pieces\": %llu, "
		      "\"largest_free_bytes\": %llu}\n"
		    : "%s: arena %llu, %llu puts, %llu objects live, utilisation %.4f (least %.4f), "
		      "%llu free pieces, the largest %llu\n",
	       m->name, (unsigned long long)s.arena, (unsigned long long)s.puts,
	       (unsigned long long)s.n, mean, s.least, (unsigned long long)s.x.free_blocks,
	       (unsigned long long)swi_extents_largest(&s.x));
	swi_extents_fini(&s.x);
	free(s.live);
	return mean;
}

static const char help[] =
    "usage: swarm_alloc_util [OPTION..]\n"
    "How full the arena's allocator gets with objects of mixed sizes, evicted for ever.\n"
    "  -n N                  puts (default 10000000)\n"
    "  -a, --arena-mib N     arena (default 8192); no memory of that size is needed\n"
    "  -m, --mix NAME        lognormal, blocks (as a trace of prompts cut into blocks), or both (default)\n"
    "  --trace FILE          the blocks of a Mooncake trace instead of generated ones\n"
    "  --token-bytes N       bytes that a token takes in a block of 512 (default 2048)\n"
    "  --median N, --sigma X of the log-normal mix (default 32768, 1.5)\n"
    "  --evict NAME          oldest (default; one in four stays) or random\n"
    "  --seed N              (default 1)\n"
    "  --min X               fail when a mean is below X\n"
    "  --output=text|json\n";

int main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"arena-mib", required_argument, NULL, 'a'}, {"mix", required_argument, NULL, 'm'},
	    {"trace", required_argument, NULL, 't'},	 {"token-bytes", required_argument, NULL, 'k'},
	    {"median", required_argument, NULL, 'd'},	 {"sigma", required_argument, NULL, 's'},
	    {"seed", required_argument, NULL, 'e'},	 {"min", required_argument, NULL, 'x'},
	    {"output", required_argument, NULL, 'o'},	 {"help", no_argument, NULL, 'h'},
	    {"evict", required_argument, NULL, 'v'},
	    {NULL, 0, NULL, 0}};
	struct mix logn = {.name = "lognormal", .median = 32768, .sigma = 1.5};
	struct mix blocks = {.name = "blocks", .token_bytes = 2048};
	uint64_t ops = 10000000, arena = MIB(8192), seed = 1;
	const char *which = "both", *trace = NULL;
	double least = 0, mean = 1;
	bool json = false, random = false;
	int c;

	while ((c = getopt_long(argc, argv, "n:a:m:h", longs, NULL)) != -1) {
		if (c == 'n')
			ops = strtoull(optarg, NULL, 10);
		else if (c == 'a')
			arena = MIB(strtoull(optarg, NULL, 10));
		else if (c == 'm')
			which = optarg;
		else if (c == 't')
			trace = optarg;
		else if (c == 'k')
			blocks.token_bytes = strtoull(optarg, NULL, 10);
		else if (c == 'd')
			logn.median = strtod(optarg, NULL);
		else if (c == 's')
			logn.sigma = strtod(optarg, NULL);
		else if (c == 'e')
			seed = strtoull(optarg, NULL, 10);
		else if (c == 'x')
			least = strtod(optarg, NULL);
		else if (c == 'v')
			random = !strcmp(optarg, "random");
		else if (c == 'o')
			json = !strcmp(optarg, "json");
		else
			return fputs(help, c == 'h' ? stdout : stderr), c == 'h' ? 0 : 2;
	}
	if (trace)
		read_trace(&blocks, trace);
	if (strcmp(which, "blocks"))
		mean = fmin(mean, run(&logn, arena, ops, seed, random, json));
	if (strcmp(which, "lognormal"))
		mean = fmin(mean, run(&blocks, arena, ops, seed, random, json));
	free(blocks.sizes);
	return mean < least;
}
