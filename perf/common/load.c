/* SPDX-License-Identifier: Apache-2.0 */
/* load.c - see load.h. */
#include <pthread.h>
#include <sched.h>

#include "perf/common/load.h"

struct gate { /* nobody begins before all are there */
	pthread_barrier_t barrier;
};

struct started {
	struct perf_worker w;
	struct gate *gate;
	pthread_t thread;
};

uint64_t perf_clock_cost(void)
{
	uint64_t least = UINT64_MAX;

	for (uint32_t i = 0; i < 2000; i++) {
		const uint64_t t = perf_now();

		least = swi_min_u64(least, perf_now() - t);
	}
	return least;
}

/* The @index-th core of "0,2"; the list is used in turn. */
static void pin(const char *list, uint32_t index)
{
	uint64_t core[64];
	uint32_t n = 0;
	cpu_set_t set;

	for (const char *s = list; s && n < SWI_ARRAY_LEN(core); s = strchr(s, ',')) {
		s += *s == ',';
		core[n++] = strtoul(s, NULL, 10);
	}
	if (!n)
		return;
	CPU_ZERO(&set);
	CPU_SET(core[index % n], &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		fprintf(stderr, "--cpu: core %llu cannot be had\n", (unsigned long long)core[index % n]);
}

static void *work(void *arg)
{
	struct started *s = arg;
	const struct perf_opts *o = s->w.load->o;

	pin(o->cpus, s->w.index);
	pthread_barrier_wait(&s->gate->barrier);
	s->w.begin = perf_now();
	s->w.deadline = o->duration_ns ? s->w.begin + o->duration_ns : UINT64_MAX;
	s->w.load->fn(&s->w);
	s->w.end = perf_now();
	return NULL;
}

static void collect(struct perf_load *l, struct started *s)
{
	uint64_t begin = UINT64_MAX, end = 0, busy = 0;

	l->ops = l->bytes = 0;
	for (uint32_t i = 0; i < l->threads; i++) {
		const struct perf_worker *w = &s[i].w;

		perf_hist_merge(l->hist, w->hist);
		free(w->hist);
		l->ops += w->ops;
		l->bytes += w->bytes;
		begin = swi_min_u64(begin, w->begin);
		end = swi_max_u64(end, w->end);
		busy = swi_max_u64(busy, w->busy);
		if (w->error && !l->error)
			l->error = w->error;
	}
	l->ns = busy ? busy : end - begin;
}

int perf_load_run(struct perf_load *l, enum perf_kind kind, struct perf_arm *arm)
{
	struct started *s = calloc(l->threads, sizeof(*s));
	struct gate gate;

	l->hist = calloc(1, sizeof(*l->hist));
	SWI_BUG_ON(!s || !l->hist || pthread_barrier_init(&gate.barrier, NULL, l->threads));
	perf_hist_init(l->hist);
	l->error = 0;
	for (uint32_t i = 0; i < l->threads; i++) {
		struct perf_worker *w = &s[i].w;

		*w = (struct perf_worker){.load = l, .index = i};
		w->iters = l->o->duration_ns ? UINT64_MAX : l->iters / l->threads + (i < l->iters % l->threads);
		w->arm = l->threads == 1 ? arm : NULL;
		w->hist = calloc(1, sizeof(*w->hist));
		SWI_BUG_ON(!w->hist);
		perf_hist_init(w->hist);
		s[i].gate = &gate;
		if (i && pthread_create(&s[i].thread, NULL, work, &s[i])) {
			fprintf(stderr, "%s: %u threads cannot be had\n", l->o->program, l->threads);
			exit(1);
		}
	}
	work(&s[0]);
	for (uint32_t i = 1; i < l->threads; i++)
		pthread_join(s[i].thread, NULL);
	collect(l, s);
	if (arm && !l->error)
		perf_arm_run(arm, kind, l->hist->count ? l->hist : NULL, l->ops, l->bytes, l->ns);
	pthread_barrier_destroy(&gate.barrier);
	free(l->hist);
	l->hist = NULL;
	free(s);
	return l->error;
}
