/* SPDX-License-Identifier: Apache-2.0 */
/* timer.c - see timer.h. */
#include "store/timer.h"

void swi_timers_fini(struct swi_timers *ts)
{
	free(ts->heap);
	ts->heap = NULL;
	ts->count = ts->cap = 0;
}

static bool before(const struct swi_timer *a, const struct swi_timer *b)
{
	return a->deadline_ns != b->deadline_ns ? a->deadline_ns < b->deadline_ns : a->seq < b->seq;
}

static void place(struct swi_timers *ts, struct swi_timer *t, uint32_t i)
{
	ts->heap[i] = t;
	t->pos = i + 1;
}

static void sift_up(struct swi_timers *ts, uint32_t i)
{
	struct swi_timer *t = ts->heap[i];

	while (i && before(t, ts->heap[(i - 1) / 2])) {
		place(ts, ts->heap[(i - 1) / 2], i);
		i = (i - 1) / 2;
	}
	place(ts, t, i);
}

static void sift_down(struct swi_timers *ts, uint32_t i)
{
	struct swi_timer *t = ts->heap[i];

	for (;;) {
		uint32_t c = 2 * i + 1;

		if (c >= ts->count)
			break;
		if (c + 1 < ts->count && before(ts->heap[c + 1], ts->heap[c]))
			c++;
		if (!before(ts->heap[c], t))
			break;
		place(ts, ts->heap[c], i);
		i = c;
	}
	place(ts, t, i);
}

void swi_timer_stop(struct swi_timers *ts, struct swi_timer *t)
{
	uint32_t i;

	if (!t->pos)
		return;
	i = t->pos - 1;
	t->pos = 0;
	ts->count--;
	if (i == ts->count)
		return;
	place(ts, ts->heap[ts->count], i);
	sift_up(ts, i);
	sift_down(ts, i);
}

void swi_timer_set(struct swi_timers *ts, struct swi_timer *t, uint64_t deadline_ns)
{
	swi_timer_stop(ts, t);
	if (deadline_ns == UINT64_MAX)
		return;
	if (ts->count == ts->cap) {
		const uint32_t cap = ts->cap ? ts->cap * 2 : 64;
		struct swi_timer **heap = realloc(ts->heap, cap * sizeof(*heap));

		SWI_BUG_ON(!heap);
		ts->heap = heap;
		ts->cap = cap;
	}
	t->deadline_ns = deadline_ns;
	t->seq = ++ts->seq;
	place(ts, t, ts->count++);
	sift_up(ts, ts->count - 1);
}

int swi_timers_run(struct swi_timers *ts, uint64_t now_ns)
{
	/* What a callback sets for a time that is already past waits for the next run: no endless loop. */
	const uint64_t last = ts->seq;
	int n = 0;

	while (ts->count && ts->heap[0]->deadline_ns <= now_ns && ts->heap[0]->seq <= last) {
		struct swi_timer *t = ts->heap[0];

		swi_timer_stop(ts, t);
		t->cb(t);
		n++;
	}
	return n;
}

uint64_t swi_timers_next(const struct swi_timers *ts)
{
	return ts->count ? ts->heap[0]->deadline_ns : UINT64_MAX;
}
