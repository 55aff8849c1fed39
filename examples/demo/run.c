/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - tasks submitted, watched and fetched, and the kill on the way. A task whose results were
 * there and are lost counts as not done until they are there again: that is how long a recovery takes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "demo.h"

#define TICK_NS	 (20 * NS_PER_MS) /* what is consumed is deleted at the next: until then it takes room */
#define FULL_TURNS 60u	 /* of a second each: so long a get waits for room in a full arena */
#define STUCK_NS (120 * NS_PER_S) /* nothing done for so long: the demo has failed */

int run_submit(struct demo *d, const char *function, const struct swarm_arg *args, uint32_t arg_count,
	       uint32_t return_count, struct swarm_ref *out_refs)
{
	const struct swarm_task_opts t = {
		.size = sizeof(t),
		.module = d->module,
		.function = function,
		.args = args,
		.arg_count = arg_count,
		.return_count = return_count,
	};
	const int err = swarm_submit(d->client, &t, out_refs);

	return err < 0 ? demo_fail("submit %s: %s", function, swarm_strerror(err)) : 0;
}

int run_get_all(struct demo *d, const struct swarm_ref *refs, uint32_t count, struct swarm_view *out_views)
{
	struct swarm_store *store = swarm_client_store(d->client);
	int status[RUN_GET_MAX], n;
	char text[512];

	for (unsigned int full = 0;;) {
		bool waits = false;

		/* All at once: what was lost with one node is then made again together. */
		n = swarm_store_get_many(store, refs, count, NS_PER_S, out_views, status);
		if (n == (int)count)
			return 0;
		if (n < 0)
			return demo_fail("results cannot be had: %s", swarm_strerror(n));
		swarm_views_release(store, out_views, count);
		if (demo_interrupted)
			return -1;
		for (uint32_t i = 0; i < count; i++) {
			if (!status[i] || status[i] == -ETIMEDOUT)
				continue;
			/* No room within that second: a busy disk lets go of something later. */
			if (status[i] == SWARM_EFULL && full < FULL_TURNS) {
				waits = true;
				continue;
			}
			(void)swarm_store_explain(store, refs[i], text, sizeof(text));
			return demo_fail("a result cannot be had: %s: %s", swarm_strerror(status[i]), text);
		}
		full += waits;
	}
}

void run_delete(struct demo *d, const struct swarm_ref *refs, uint64_t count)
{
	struct swarm_store *store = swarm_client_store(d->client);

	for (uint64_t i = 0; i < count; i++)
		(void)swarm_store_delete(store, refs[i]); /* an error here shows at the next get */
}

/* Asks which tasks of a stage are done; hands the new ones to each(). */
static int look(struct demo *d, struct watch *w, uint64_t timeout_ns, void *ctx)
{
	const int n = swarm_wait(d->client, w->refs, w->count, w->count, timeout_ns, w->ready);

	if (n < 0 && n != -ETIMEDOUT)
		return demo_fail("wait for %s: %s", w->name, swarm_strerror(n));
	w->done = 0;
	for (uint32_t i = 0; i < w->count; i++) {
		/* Consumed results may have been deleted by each(): done is done. */
		if (w->each && w->seen[i] && !w->ready[i])
			w->ready[i] = w->seen[i];
		w->done += w->ready[i];
		if (w->ready[i] && !w->seen[i]) {
			w->seen[i] = 1;
			if (w->each)
				w->each(ctx, i);
		}
	}
	return 0;
}

struct kill_watch { /* the kill and what followed */
	uint64_t at_ns;	  /* 0 = not yet */
	uint64_t tried_ns; /* nobody held anything then */
	uint32_t before;  /* tasks done when it happened */
	bool recovered;
};

/* 1: done; 0: there is no victim yet. */
static int try_kill(struct demo *d, struct demo_report *r, struct kill_watch *k)
{
	int rc;

	if (demo_now_ns() - k->tried_ns < 100 * NS_PER_MS)
		return 0;
	progress_break();
	if (!k->tried_ns)
		d->rng = d->rng * 6364136223846793005ull + 1442695040888963407ull;
	rc = cluster_kill(d->cluster, d->opts.kill, d->rng >> 33, r->victim, sizeof(r->victim));
	k->tried_ns = demo_now_ns();
	if (rc <= 0)
		r->victim[0] = '\0';
	return rc;
}

static int maybe_kill(struct demo *d, struct demo_report *r, struct kill_watch *k, uint32_t done,
		      uint32_t total)
{
	if (d->opts.kill == KILL_NONE || k->recovered)
		return 0;
	if (!k->at_ns) {
		int rc;

		if ((uint64_t)done * 100 < total * d->opts.kill_at)
			return 0;
		rc = try_kill(d, r, k);
		if (rc <= 0)
			return rc;
		k->at_ns = demo_now_ns();
		k->before = done;
		progress_print("%s: killed %s with SIGKILL when %u of %u tasks were done", r->name,
			       r->victim, done, total);
		return 0;
	}
	if (done < k->before || demo_now_ns() - k->at_ns < 200 * NS_PER_MS)
		return 0;
	k->recovered = true;
	r->recovery_s = (double)(demo_now_ns() - k->at_ns) / 1e9;
	return 0;
}

int run_watch(struct demo *d, struct demo_report *r, struct watch *w, uint32_t count, void *ctx)
{
	struct stage stage[PROGRESS_STAGES];
	struct kill_watch k = {0};
	struct progress p;
	uint64_t asked_ns = 0, moved_ns = demo_now_ns();
	uint32_t moved = 0;
	int nodes = 0;

	progress_begin(&p, r->name);
	for (;;) {
		uint32_t done = 0, total = 0;

		for (uint32_t i = 0; i < count; i++) {
			/* Only the last stage is waited for; a look at the others costs no time. */
			if (look(d, &w[i], i + 1 == count ? TICK_NS : 0, ctx) < 0)
				return -1;
			stage[i] = (struct stage){w[i].name, w[i].done, w[i].count};
			done += w[i].done;
			total += w[i].count;
		}
		if (demo_interrupted)
			return -1;
		if (demo_now_ns() - asked_ns > NS_PER_S) {
			nodes = cluster_size(d->cluster);
			asked_ns = demo_now_ns();
			if (nodes > 0 && (!r->nodes_min || (uint64_t)nodes < r->nodes_min))
				r->nodes_min = (uint64_t)nodes;
			if (nodes > 0 && (uint64_t)nodes > r->nodes_max)
				r->nodes_max = (uint64_t)nodes;
		}
		if (maybe_kill(d, r, &k, done, total) < 0)
			return -1;
		if (done != moved)
			moved_ns = demo_now_ns();
		moved = done;
		if (demo_now_ns() - moved_ns > STUCK_NS)
			return demo_fail("%s: no task ended for %llu s (%u of %u done)", r->name,
					 STUCK_NS / NS_PER_S, done, total);
		progress_show(&p, stage, count, nodes);
		if (w[count - 1].done == w[count - 1].count)
			break;
	}
	if (k.at_ns && !k.recovered)
		r->recovery_s = (double)(demo_now_ns() - k.at_ns) / 1e9;
	progress_break();
	if (d->opts.kill != KILL_NONE && !k.at_ns)
		progress_print("%s: nobody was killed: from %llu %% of the tasks on no node but the head held a result",
			       r->name, (unsigned long long)d->opts.kill_at);
	return 0;
}
