/* SPDX-License-Identifier: Apache-2.0 */
/* kv.c - see kv.h. Request i runs on node i modulo their number; each node has one thread. */
#include <time.h>

#include "perf/kv.h"

#define NONE   UINT32_MAX
#define WAIT_NS (60 * NS_PER_S)

enum kv_state { ABSENT, MAKING, HERE };

static struct swarm_ref ref_of(const struct kv *kv, uint32_t number, const struct kv_block *b)
{
	return perf_ref(PERF_SET_FIRST + b->serial, number, kv->node[b->owner].number);
}

/* ---- LRU; under the lock ---- */

static void lru_remove(struct kv *kv, uint32_t i)
{
	struct kv_block *b = &kv->block[i];
	struct kv_node *n = &kv->node[b->owner];

	*(b->prev == NONE ? &n->newest : &kv->block[b->prev].next) = b->next;
	*(b->next == NONE ? &n->oldest : &kv->block[b->next].prev) = b->prev;
}

static void lru_push(struct kv *kv, uint32_t i)
{
	struct kv_block *b = &kv->block[i];
	struct kv_node *n = &kv->node[b->owner];

	b->prev = NONE;
	b->next = n->newest;
	*(n->newest == NONE ? &n->oldest : &kv->block[n->newest].prev) = i;
	n->newest = i;
}

/* The oldest block of @at goes, with @if_over only when the node has more than it should; false: none went. */
static bool evict_one(struct kv *kv, uint32_t at, bool if_over, struct kv_counts *c)
{
	struct kv_node *n = &kv->node[at];
	struct swarm_ref ref;
	uint32_t i;

	pthread_mutex_lock(&kv->lock);
	i = n->oldest;
	if (i == NONE || (if_over && n->live <= n->capacity)) {
		pthread_mutex_unlock(&kv->lock);
		return false;
	}
	lru_remove(kv, i);
	ref = ref_of(kv, i, &kv->block[i]);
	kv->block[i].state = ABSENT;
	n->live -= swi_extent_bytes(kv->block_bytes);
	pthread_mutex_unlock(&kv->lock);
	(void)swarm_store_delete(n->st, ref);
	c->evicted++;
	return true;
}

/* ---- one block ---- */

static int make(struct kv *kv, uint32_t at, uint32_t number, struct swarm_ref ref, struct kv_counts *c)
{
	struct kv_node *n = &kv->node[at];
	const uint64_t t0 = perf_now();
	struct swarm_buf buf;
	int rc;

	while (evict_one(kv, at, true, c))
		;
	do {
		rc = swarm_store_create(n->st, ref, kv->block_bytes, NS_PER_S, &buf);
	} while ((rc == SWARM_EFULL || rc == -ETIMEDOUT) && evict_one(kv, at, false, c));
	if (!rc) {
		perf_fill(buf.data, buf.len, ref);
		rc = swarm_store_seal(n->st, &buf);
	}
	perf_hist_add(&c->hist[KV_MISS], perf_now() - t0);
	c->n[KV_MISS]++;
	c->bytes[KV_MISS] += kv->block_bytes;
	pthread_mutex_lock(&kv->lock);
	kv->block[number].state = rc ? ABSENT : HERE;
	if (rc)
		n->live -= swi_extent_bytes(kv->block_bytes);
	else
		lru_push(kv, number);
	pthread_mutex_unlock(&kv->lock);
	return rc;
}

static int hit(struct kv *kv, uint32_t at, struct swarm_ref ref, bool ours, struct kv_counts *c)
{
	struct swarm_store *st = kv->node[at].st;
	const enum kv_outcome how = swarm_store_contains(st, ref) ? KV_MEMORY : ours ? KV_SPILLED : KV_REMOTE;
	uint64_t t0 = perf_now(), ns;
	struct swarm_view v;
	int rc = swarm_store_get(st, ref, WAIT_NS, &v);

	if (rc)
		return rc;
	ns = perf_net(perf_now() - t0, kv->clock_ns);
	if (v.len != kv->block_bytes || !perf_filled(v.data, v.len, ref))
		c->wrong++;
	swarm_view_release(st, &v);
	perf_hist_add(&c->hist[how], ns);
	c->n[how]++;
	c->bytes[how] += kv->block_bytes;
	return 0;
}

static int touch(struct kv *kv, uint32_t at, uint32_t number, struct kv_counts *c)
{
	struct kv_block *b = &kv->block[number];

	for (;;) {
		struct swarm_ref ref;
		bool ours;
		int rc;

		pthread_mutex_lock(&kv->lock);
		if (b->state == ABSENT) {
			b->state = MAKING;
			b->owner = (uint8_t)at;
			b->serial++;
			kv->node[at].live += swi_extent_bytes(kv->block_bytes);
			ref = ref_of(kv, number, b);
			pthread_mutex_unlock(&kv->lock);
			return make(kv, at, number, ref, c);
		}
		if (b->state == HERE) {
			lru_remove(kv, number);
			lru_push(kv, number);
		}
		ours = b->owner == at;
		ref = ref_of(kv, number, b);
		pthread_mutex_unlock(&kv->lock);
		rc = hit(kv, at, ref, ours, c);
		if (rc != -ENOENT && rc != SWARM_EDELETED && rc != SWARM_ELOST)
			return rc;
		/* Evicted by its owner between our look and our get: it has to be made again. */
		pthread_mutex_lock(&kv->lock);
		const bool same = b->state == HERE && swarm_oid_equal(ref_of(kv, number, b).id, ref.id);

		if (same) { /* it should be there and is not */
			lru_remove(kv, number);
			b->state = ABSENT;
			kv->node[b->owner].live -= swi_extent_bytes(kv->block_bytes);
			c->lost++;
		}
		pthread_mutex_unlock(&kv->lock);
	}
}

/* ---- the trace ---- */

static void sleep_until(uint64_t ns)
{
	const struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* A request counts from when it was due, so that a late start is part of its time. */
static uint64_t start_of(const struct kv *kv, const struct perf_request *r)
{
	uint64_t due;

	if (kv->speed <= 0)
		return perf_now();
	due = kv->begin + (uint64_t)((double)(r->at_ms - kv->trace->request[0].at_ms) * 1e6 / kv->speed);
	if (perf_now() < due)
		sleep_until(due);
	return due;
}

static void node_thread(struct perf_worker *w)
{
	struct kv *kv = w->load->ctx;
	struct kv_counts *c = &kv->counts[w->index];

	for (uint64_t i = w->index; i < kv->trace->requests && !w->error; i += kv->nodes) {
		const struct perf_request *r = &kv->trace->request[i];
		const uint64_t t0 = start_of(kv, r);

		for (uint32_t k = 0; k < r->blocks && !w->error; k++, w->ops++)
			w->error = touch(kv, w->index, kv->trace->block[r->first + k], c);
		perf_hist_add(&c->request, perf_now() - t0);
	}
}

void kv_add(struct kv_counts *into, const struct kv_counts *from)
{
	for (int i = 0; i < KV_OUTCOMES; i++) {
		into->n[i] += from->n[i];
		into->bytes[i] += from->bytes[i];
		perf_hist_merge(&into->hist[i], &from->hist[i]);
	}
	into->evicted += from->evicted;
	into->lost += from->lost;
	into->wrong += from->wrong;
	perf_hist_merge(&into->request, &from->request);
}

int kv_run(struct kv *kv, uint64_t *out_ns)
{
	struct perf_load l = {.o = kv->o, .threads = kv->nodes, .iters = UINT64_MAX / 2, .ctx = kv, .fn = node_thread};
	int rc;

	for (uint32_t i = 0; i < kv->nodes; i++)
		kv->node[i].newest = kv->node[i].oldest = NONE;
	kv->block = calloc(kv->trace->distinct, sizeof(*kv->block));
	SWI_BUG_ON(!kv->block);
	pthread_mutex_init(&kv->lock, NULL);
	kv->clock_ns = perf_clock_cost();
	kv->begin = perf_now();
	rc = perf_load_run(&l, PERF_OPS, NULL);
	*out_ns = l.ns;
	pthread_mutex_destroy(&kv->lock);
	free(kv->block);
	return rc;
}
