/* SPDX-License-Identifier: Apache-2.0 */
/* get_event.c - gets that end in a queue, waited for on its descriptor: what -e measures. One queue a thread. */
#include "perf/get_bench.h"

#define ROWS 64

struct slot { /* of a get in flight: its number is the completion's */
	uint64_t begin;
};

static void post(struct perf_worker *w, struct swarm_cq *cq, struct slot *slots, uint64_t i)
{
	struct get_bench *b = w->load->ctx;
	const struct swarm_ref ref = get_next_remote(b, w);

	if (w->error)
		return;
	slots[i].begin = perf_now();
	w->error = swarm_cq_get(cq, ref, PERF_GET_NS, i, NULL);
}

static void ended(struct perf_worker *w, struct slot *slots, struct swarm_completion *c)
{
	struct get_bench *b = w->load->ctx;
	const uint64_t now = perf_now();

	if (c->status) {
		w->error = c->status;
		return;
	}
	if (c->view.len != b->size ||
	    (b->o->c.check_data && !perf_filled(c->view.data, c->view.len, c->ref)))
		w->error = SWARM_ECORRUPT;
	swarm_view_release(b->rig.st, &c->view);
	get_count_sample(w, now - slots[c->user].begin, b->clock_ns);
	w->ops++;
	w->bytes += b->size;
}

void perf_get_event(struct perf_worker *w)
{
	struct get_bench *b = w->load->ctx;
	struct slot *slots = calloc(b->outs, sizeof(*slots));
	struct swarm_completion rows[ROWS];
	struct swarm_cq *cq = NULL;
	uint64_t flying = 0;

	SWI_BUG_ON(!slots);
	w->error = swarm_cq_create(b->rig.st, b->outs, &cq);
	for (uint64_t i = 0; i < b->outs && i < w->iters && !w->error; i++, flying++)
		post(w, cq, slots, i);
	while (flying && !w->error) {
		const int n = perf_cq_take(cq, rows, ROWS);

		if (n < 0)
			w->error = n;
		for (int i = 0; i < n; i++) {
			flying--;
			ended(w, slots, &rows[i]);
			if (perf_go(w, perf_now()) && w->ops + flying < w->iters) {
				post(w, cq, slots, rows[i].user);
				flying += !w->error;
			}
		}
	}
	if (cq)
		swarm_cq_destroy(cq);
	free(slots);
}
