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
	struct perf_row *row; /* the samples; NULL = nobody wants them */
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
	s->w.deadline = o->duration_ns && !s->w.load->number ? s->w.begin + o->duration_ns : UINT64_MAX;
	s->w.load->fn(&s->w);
	s->w.end = perf_now();
	return NULL;
}

static void collect(struct perf_load *l, struct started *s, struct perf_hist *hist, struct perf_arm *samples)
{
	uint64_t begin = UINT64_MAX, end = 0, busy = 0;

	l->ops = l->bytes = 0;
	for (uint32_t i = 0; i < l->threads; i++) {
		const struct perf_worker *w = &s[i].w;

		perf_hist_merge(hist, w->hist);
		free(w->hist);
		if (samples)
			perf_arm_samples(samples, w->arm);
		perf_row_free(s[i].row);
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

static void ready(struct perf_load *l, struct started *s, uint32_t i, struct gate *gate, const struct perf_arm *samples)
{
	struct perf_worker *w = &s->w;

	*w = (struct perf_worker){.load = l, .index = i};
	w->iters = l->o->duration_ns && !l->number ? UINT64_MAX : l->iters / l->threads + (i < l->iters % l->threads);
	w->hist = calloc(1, sizeof(*w->hist));
	SWI_BUG_ON(!w->hist);
	perf_hist_init(w->hist);
	if (samples) {
		s->row = perf_row_new(PERF_LAT, "", 0);
		w->arm = perf_row_arm(s->row, "", samples->sample_max);
	}
	s->gate = gate;
}

int perf_load_part(struct perf_load *l, struct perf_hist *hist, struct perf_arm *samples)
{
	struct started *s = calloc(l->threads, sizeof(*s));
	struct gate gate;

	SWI_BUG_ON(!s || pthread_barrier_init(&gate.barrier, NULL, l->threads));
	if (samples && !samples->sample_max)
		samples = NULL;
	l->error = 0;
	for (uint32_t i = 0; i < l->threads; i++)
		ready(l, &s[i], i, &gate, samples);
	for (uint32_t i = 1; i < l->threads; i++) {
		if (!pthread_create(&s[i].thread, NULL, work, &s[i]))
			continue;
		fprintf(stderr, "%s: %u threads cannot be had\n", l->o->program, l->threads);
		exit(1);
	}
	work(&s[0]);
	for (uint32_t i = 1; i < l->threads; i++)
		pthread_join(s[i].thread, NULL);
	collect(l, s, hist, samples);
	pthread_barrier_destroy(&gate.barrier);
	free(s);
	return l->error;
}

int perf_load_run(struct perf_load *l, enum perf_kind kind, struct perf_arm *arm)
{
	struct perf_hist *h = calloc(1, sizeof(*h));
	int rc;

	SWI_BUG_ON(!h);
	perf_hist_init(h);
	rc = perf_load_part(l, h, arm);
	if (arm && !rc)
		perf_arm_run(arm, kind, h->count ? h : NULL, l->ops, l->bytes, l->ns);
	free(h);
	return rc;
}
