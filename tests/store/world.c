/* SPDX-License-Identifier: Apache-2.0 */
/* world.c - see world.h. The test's main thread. */
#include <dirent.h>

#include "tests/store/world.h"

/* Entries of a folder whose name holds @part; fds and shared memory are counted so. */
static uint32_t entries(const char *path, const char *part)
{
	DIR *d = opendir(path);
	uint32_t n = 0;

	if (!d)
		return 0;
	for (const struct dirent *e = readdir(d); e; e = readdir(d))
		n += e->d_name[0] != '.' && strstr(e->d_name, part) != NULL;
	closedir(d);
	return n;
}

static uint32_t client_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	uint32_t n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:memory of a client") != NULL;
	fclose(f);
	return n;
}

static uint64_t cpu_ns(clockid_t clock)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(clock, &ts), 0);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t world_cpu_ns(struct world *w)
{
	clockid_t clock;

	assert_int_equal(pthread_getcpuclockid(w->st->thread, &clock), 0);
	return cpu_ns(clock);
}

uint64_t thread_waited_ns(int tid)
{
	unsigned long long ran, waited;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/schedstat", tid); /* a thread's too, though no listing shows it */
	FILE *f = fopen(path, "re");
	const bool known = f && fscanf(f, "%llu %llu", &ran, &waited) == 2;

	if (f)
		fclose(f);
	return known ? waited : UINT64_MAX;
}

uint64_t world_waited_ns(struct world *w)
{
	return thread_waited_ns(atomic_load(&w->tid));
}

static void client_gone(void *ctx, struct swi_client *cl SWI_UNUSED)
{
	struct world *w = ctx;
	const uint64_t at = test_now();

	atomic_store(&w->gone_waited_ns, world_waited_ns(w));
	atomic_store(&w->gone_cpu_ns, pthread_equal(pthread_self(), w->st->thread)
					  ? cpu_ns(CLOCK_THREAD_CPUTIME_ID)
					  : 0);
	atomic_store(&w->gone_ns, at);
	sem_post(&w->gone);
}

void world_open(struct world *w, uint64_t arena_bytes, uint64_t objects_max)
{
	struct swarm_store_opts o = {
	    .size = sizeof(o), .arena_bytes = arena_bytes, .objects_max = objects_max, .node = 1};
	char why[256] = "";

	memset(w, 0, sizeof(*w));
	sem_init(&w->gone, 0, 0);
	snprintf(w->dir, sizeof(w->dir), "/tmp/swarm-test-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	o.dir = w->dir;
	if (swarm_store_open(&o, &w->st, why, sizeof(why)))
		fail_msg("open: %s", why);
	world_stop(w);
	swi_snode_set_hooks(w->st->host->sn, &(struct swi_snode_hooks){.ctx = w, .client_gone = client_gone});
	w->fds = entries("/proc/self/fd", "");
	w->maps = client_maps();
	world_go(w);
}

void world_close(struct world *w)
{
	swarm_store_close(w->st);
	sem_destroy(&w->gone);
	remove_dir(w->dir);
}

static void *run(void *arg)
{
	struct world *w = arg;

	atomic_store(&w->tid, (int)gettid());
	swi_host_run(w->st->host);
	return NULL;
}

void world_stop(struct world *w)
{
	assert_true(w->st->running);
	swi_host_stop(w->st->host);
	pthread_join(w->st->thread, NULL);
	w->st->running = false;
}

void world_go(struct world *w)
{
	assert_false(w->st->running);
	atomic_store(&w->st->host->stop, false);
	assert_int_equal(pthread_create(&w->st->thread, NULL, run, w), 0);
	w->st->running = true;
}

void world_alone(struct world *w)
{
	const uint64_t end = test_now() + 10 * NS_PER_S;
	char why[256] = "";

	/* Connections are accepted in order: after this one, every earlier one has been. */
	struct swarm_store *last;

	if (swarm_store_attach(w->dir, &last, why, sizeof(why)))
		fail_msg("attach: %s", why);
	swarm_store_close(last);
	while (entries("/proc/self/fd", "") != w->fds)
		if (test_now() > end)
			fail_msg("descriptors: %u, not %u", entries("/proc/self/fd", ""), w->fds);
}

void world_settle(struct world *w)
{
	struct swi_snode *sn = w->st->host->sn;
	const uint64_t end = test_now() + 10 * NS_PER_S;
	uint32_t idle = 0;

	assert_false(w->st->running);
	while (idle < 3 || !swi_list_empty(&sn->holds.retired)) {
		idle = swi_snode_step(sn) ? 0 : idle + 1;
		if (test_now() > end)
			fail_msg("the node does not settle: %llu bytes are retired",
				 (unsigned long long)sn->holds.retired_bytes);
	}
}

/* ---- the checks ---- */

struct seen { /* what the objects and grants add up to */
	const char *when;
	uint64_t objects, outside, grants;
	uint8_t *granule; /* 1: an object lies here */
	uint32_t *over;	  /* a pair: entries that passed it */
};

static void check_grants(struct swi_snode *sn, struct seen *s)
{
	swi_list_for_each(it, &sn->clients.list)
	{
		const struct swi_client *cl = swi_list_entry(it, struct swi_client, link);

		swi_list_for_each(jt, &cl->grants)
		{
			const struct swi_grant *g = swi_list_entry(jt, struct swi_grant, link);

			if (!swi_extent_is_allocated(&sn->extents, g->offset, g->bytes))
				fail_msg("%s: a grant of client %u is not allocated", s->when,
					 cl->number);
			s->grants += g->bytes;
		}
	}
}

static void check_object(struct swi_snode *sn, struct seen *s, uint64_t slot, uint64_t word)
{
	struct swi_local lo;
	struct swi_index_hit hit;
	const uint64_t pair = slot / SWI_SLOTS_PER_PAIR;

	if (!swi_local_at(sn, slot, &lo))
		fail_msg("%s: slot %llu (%llx) leads to no object", s->when,
			 (unsigned long long)slot, (unsigned long long)word);
	const uint64_t key = swi_index_key(lo.ref.id);
	const uint64_t steps = (pair - swi_index_home(&sn->index, key)) & sn->index.mask;

	if (!swi_index_find(&sn->index, key, &hit) || hit.slot != slot)
		fail_msg("%s: an object cannot be found, or twice", s->when);
	if (!swi_extent_is_allocated(&sn->extents, lo.offset, lo.bytes))
		fail_msg("%s: an object lies in free memory", s->when);
	if (!filled(lo.head + 1, lo.len, seed_of(lo.ref.id, lo.len)))
		fail_msg("%s: an object of %llu bytes has wrong bytes", s->when,
			 (unsigned long long)lo.len);
	for (uint64_t g = lo.offset / SWI_GRANULE; g < (lo.offset + lo.bytes) / SWI_GRANULE; g++)
		if (s->granule[g]++)
			fail_msg("%s: two objects overlap", s->when);
	for (uint64_t i = 0; i < steps; i++)
		s->over[(swi_index_home(&sn->index, key) + i) & sn->index.mask]++;
	s->objects++;
	if (!sn->clients.page_grant[lo.offset / SWI_PAGE])
		s->outside += lo.bytes;
}

static void check_index(struct swi_snode *sn, struct seen *s)
{
	for (uint64_t i = 0; i < swi_index_slots(&sn->index); i++) {
		const uint64_t word = swi_index_word(&sn->index, i);
		const enum swi_slot_state st = swi_slot_state(word);

		if (st == SWI_SLOT_SEALED)
			check_object(sn, s, i, word);
		else if (st != SWI_SLOT_EMPTY)
			fail_msg("%s: slot %llu stays in state %d", s->when, (unsigned long long)i, st);
	}
	/* A count may be too high (its process died), which costs a look; too low would hide an object. */
	for (uint64_t p = 0; p <= sn->index.mask; p++)
		if (atomic_load(&sn->index.overflow[p]) < swi_min_u64(s->over[p], UINT8_MAX))
			fail_msg("%s: an overflow count is too low", s->when);
}

static void check_sums(struct world *w, const struct seen *s)
{
	struct swi_snode *sn = w->st->host->sn;
	struct swi_snode_stats stats;

	swi_snode_stats(sn, &stats);
	if (sn->extents.used != s->outside + s->grants)
		fail_msg("%s: %llu bytes are used; objects outside of grants have %llu, grants %llu",
			 s->when, (unsigned long long)sn->extents.used,
			 (unsigned long long)s->outside, (unsigned long long)s->grants);
	if (stats.objects != s->objects)
		fail_msg("%s: %llu objects are counted, %llu are there", s->when,
			 (unsigned long long)stats.objects, (unsigned long long)s->objects);
	if (stats.client_errors || stats.holds || stats.pins || stats.clients != 1)
		fail_msg("%s: errors %llu, holds %llu, pins %llu, clients %llu", s->when,
			 (unsigned long long)stats.client_errors, (unsigned long long)stats.holds,
			 (unsigned long long)stats.pins, (unsigned long long)stats.clients);
	if (!swi_list_empty(&sn->clients.rooms) || sn->clients.rooms_bytes)
		fail_msg("%s: somebody who is gone waits for room", s->when);
	if (atomic_load(&sn->shm->waiters))
		fail_msg("%s: somebody who is gone waits for an object", s->when);
}

void world_check(struct world *w, const char *when)
{
	struct swi_snode *sn = w->st->host->sn;
	struct seen s = {.when = when,
			 .granule = calloc(sn->arena_bytes / SWI_GRANULE, 1),
			 .over = calloc(sn->index.mask + 1, sizeof(*s.over))};
	const char *wrong = swi_extents_check(&sn->extents);

	assert_non_null(s.granule);
	assert_non_null(s.over);
	if (wrong)
		fail_msg("%s: extents: %s", when, wrong);
	check_grants(sn, &s);
	check_index(sn, &s);
	check_sums(w, &s);
	if (entries("/proc/self/fd", "") != w->fds || client_maps() != w->maps)
		fail_msg("%s: of the dead %d descriptors and %d mappings are left", when,
			 (int)(entries("/proc/self/fd", "") - w->fds), (int)(client_maps() - w->maps));
	/* The store names no shared memory at all: a name of ours there would outlive us. */
	if (entries("/dev/shm", w->dir + sizeof("/tmp/swarm-test-") - 1))
		fail_msg("%s: a file is left in /dev/shm", when);
	free(s.granule);
	free(s.over);
}
