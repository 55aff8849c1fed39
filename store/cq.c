/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cq.c - gets that do not wait, and the queue in which they end. Client side; see swarm_cq_create().
 *
 * A slot is free, in flight (its call is the pump's) or ready (in cq->ready, with its pin if all went well).
 * It changes under cq->lock; forget() tells who has an in-flight one: the pump's answer or a cancel, never
 * both. Order of locks: cq->lock, then call.c's. What the pump does with a slot ends with its unlock.
 */
#include <sched.h>

#include "store/store_internal.h"

#define DEPTH_MAX   16384u
#define FLIGHT_MAX 32768u /* of one process: the node takes twice as many */

enum slot_state { SLOT_FREE, SLOT_FLIGHT, SLOT_READY };

struct slot {
	struct swi_call call;
	struct swi_list link; /* cq->free or cq->ready */
	struct swarm_cq *cq;
	enum slot_state state;
	uint32_t gen;
	struct swarm_ref ref;
	uint64_t user;
	int status;
	struct swarm_view view;
};

struct swarm_cq {
	struct swi_lc *lc;
	struct swi_event event;
	pthread_mutex_t lock;
	struct swi_list free, ready;
	uint32_t depth, in_flight;
	struct slot slot[];
};

int swi_cq_create(struct swi_lc *lc, uint32_t depth, struct swarm_cq **out)
{
	struct swarm_cq *cq;
	int rc;

	if (!depth || depth > DEPTH_MAX)
		return -EINVAL;
	cq = calloc(1, sizeof(*cq) + depth * sizeof(cq->slot[0]));
	if (!cq)
		return -ENOMEM;
	cq->lc = lc;
	cq->depth = depth;
	cq->event.fd = -1;
	swi_list_init(&cq->free);
	swi_list_init(&cq->ready);
	pthread_mutex_init(&cq->lock, NULL);
	for (uint32_t i = 0; i < depth; i++) {
		cq->slot[i].cq = cq;
		swi_list_push_back(&cq->free, &cq->slot[i].link);
	}
	rc = swi_event_open(lc, &cq->event);
	if (rc && rc != -ENOSYS) { /* a simulation polls */
		pthread_mutex_destroy(&cq->lock);
		free(cq);
		return rc;
	}
	*out = cq;
	return 0;
}

int swi_cq_fd(struct swarm_cq *cq)
{
	return cq->event.number ? cq->event.fd : -ENOSYS;
}

/* ---- slots; with the lock ---- */

static struct slot *slot_take(struct swarm_cq *cq)
{
	struct slot *s = swi_list_first(&cq->free, struct slot, link);

	if (!s || atomic_load_explicit(&cq->lc->in_flight, memory_order_relaxed) >= FLIGHT_MAX)
		return NULL;
	swi_list_del(&s->link);
	s->state = SLOT_FLIGHT;
	s->gen++;
	atomic_fetch_add_explicit(&cq->lc->in_flight, 1, memory_order_relaxed);
	cq->in_flight++;
	return s;
}

static void flight_ends(struct swarm_cq *cq)
{
	cq->in_flight--;
	atomic_fetch_sub_explicit(&cq->lc->in_flight, 1, memory_order_relaxed);
}

static void slot_free(struct swarm_cq *cq, struct slot *s)
{
	if (s->state == SLOT_FLIGHT)
		flight_ends(cq);
	s->state = SLOT_FREE;
	swi_list_del(&s->link);
	swi_list_push_back(&cq->free, &s->link);
}

static void slot_ready(struct swarm_cq *cq, struct slot *s, int status)
{
	flight_ends(cq);
	s->state = SLOT_READY;
	s->status = status;
	swi_list_push_back(&cq->ready, &s->link);
	swi_event_raise(&cq->event);
}

/* ---- getting ---- */

static void came(struct swi_call *call, int status, struct swi_rd *body)
{
	struct slot *s = swi_container_of(call, struct slot, call);
	struct swarm_cq *cq = s->cq;
	const uint64_t offset = status ? 0 : swi_rd_u64(body);
	const uint32_t gen20 = status ? 0 : swi_rd_u32(body);

	if (!status && body->bad)
		status = -EPROTO;
	if (!status)
		status = swi_lc_accept(cq->lc, s->ref, offset, gen20, &s->view);
	pthread_mutex_lock(&cq->lock);
	slot_ready(cq, s, status);
	pthread_mutex_unlock(&cq->lock);
}

static int ask(struct swarm_cq *cq, struct slot *s, uint64_t timeout_ns)
{
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_ref(&w, s->ref);
	swi_wr_u64(&w, timeout_ns);
	swi_wr_u32(&w, cq->event.number);
	s->call = (struct swi_call){.on_reply = came, .detached = true};
	return swi_lc_try_post(cq->lc, SWI_L_GET, buf, w.len, &s->call);
}

int swi_cq_get(struct swarm_cq *cq, struct swarm_ref ref, uint64_t timeout_ns, uint64_t user,
	       uint64_t *out_id)
{
	struct swarm_view view = {0};
	struct slot *s;
	uint64_t id;
	int rc;

	pthread_mutex_lock(&cq->lock);
	s = slot_take(cq);
	pthread_mutex_unlock(&cq->lock);
	if (!s)
		return -EAGAIN;
	id = (uint64_t)s->gen << 32 | (uint32_t)(s - cq->slot + 1);
	s->user = user;
	s->ref = ref;
	s->view = view;
	rc = swi_lc_try_get(cq->lc, ref, &s->view);
	if (rc == -ENOENT && timeout_ns) {
		rc = ask(cq, s, timeout_ns);
		if (!rc)
			goto out; /* from here on @s may be anybody's */
		if (rc == -EAGAIN) {
			pthread_mutex_lock(&cq->lock);
			slot_free(cq, s);
			pthread_mutex_unlock(&cq->lock);
			return rc;
		}
	}
	pthread_mutex_lock(&cq->lock);
	slot_ready(cq, s, rc);
	pthread_mutex_unlock(&cq->lock);
out:
	if (out_id)
		*out_id = id;
	return 0;
}

/* ---- the end of a get ---- */

static void tell_cancelled(struct swarm_cq *cq, uint64_t req)
{
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_u64(&w, req);
	/* Not told, the node finds out at the get's deadline; what it then sends is undone (call.c). */
	(void)swi_lc_try_post_quiet(cq->lc, SWI_L_GET_CANCEL, buf, w.len);
}

int swi_cq_cancel(struct swarm_cq *cq, uint64_t id)
{
	const uint32_t i = (uint32_t)id - 1;
	struct slot *s = i < cq->depth ? &cq->slot[i] : NULL;
	uint64_t req = 0;
	int rc = -ENOENT;

	if (!s)
		return rc;
	pthread_mutex_lock(&cq->lock);
	if (s->gen == id >> 32 && s->state != SLOT_FREE) {
		rc = -EALREADY;
		if (s->state == SLOT_FLIGHT && swi_lc_forget(cq->lc, &s->call)) {
			req = s->call.req;
			slot_free(cq, s);
			rc = 0;
		}
	}
	pthread_mutex_unlock(&cq->lock);
	if (!rc)
		tell_cancelled(cq, req);
	return rc;
}

/* The node is gone: no answer will come. */
static void fail_all(struct swarm_cq *cq)
{
	pthread_mutex_lock(&cq->lock);
	for (uint32_t i = 0; i < cq->depth; i++) {
		struct slot *s = &cq->slot[i];

		if (s->state == SLOT_FLIGHT && swi_lc_forget(cq->lc, &s->call))
			slot_ready(cq, s, SWARM_ENODAEMON);
	}
	pthread_mutex_unlock(&cq->lock);
}

static uint32_t take(struct swarm_cq *cq, struct swarm_completion *out, uint32_t max,
		     bool *out_empty, bool *out_idle)
{
	uint32_t n = 0;

	pthread_mutex_lock(&cq->lock);
	for (; n < max && !swi_list_empty(&cq->ready); n++) {
		struct slot *s = swi_list_first(&cq->ready, struct slot, link);

		out[n] = (struct swarm_completion){
		    .user = s->user, .ref = s->ref, .status = s->status, .view = s->view};
		slot_free(cq, s);
	}
	*out_empty = swi_list_empty(&cq->ready);
	*out_idle = !cq->in_flight;
	pthread_mutex_unlock(&cq->lock);
	return n;
}

int swi_cq_poll(struct swarm_cq *cq, struct swarm_completion *out, uint32_t max)
{
	struct swi_lc *lc = cq->lc;
	bool empty, idle;
	uint32_t n;

	if (!max)
		return -EINVAL;
	swi_lc_pump(lc);
	n = take(cq, out, max, &empty, &idle);
	if (!empty)
		return (int)n;
	swi_event_settle(&cq->event, !n);
	if (!n && !idle && lc->o.gone && lc->o.gone(lc->o.wait_ctx))
		fail_all(cq);
	if (!n)
		n = take(cq, out, max, &empty, &idle);
	pthread_mutex_lock(&cq->lock);
	if (!swi_list_empty(&cq->ready))
		swi_event_raise(&cq->event);
	pthread_mutex_unlock(&cq->lock);
	return (int)n;
}

struct waiting {
	struct swarm_cq *cq;
};

static bool is_ready(void *arg)
{
	struct swarm_cq *cq = ((struct waiting *)arg)->cq;
	bool ready;

	pthread_mutex_lock(&cq->lock);
	ready = !swi_list_empty(&cq->ready);
	pthread_mutex_unlock(&cq->lock);
	return ready;
}

int swi_cq_wait(struct swarm_cq *cq, uint64_t timeout_ns, struct swarm_completion *out, uint32_t max)
{
	struct waiting w = {.cq = cq};
	const int rc = swi_lc_wait_for(cq->lc, is_ready, &w, timeout_ns);
	const int n = rc == -ETIMEDOUT ? 0 : swi_cq_poll(cq, out, max);

	return n ? n : rc ? rc : -ETIMEDOUT; /* another thread took what came */
}

/* Gives the slot up; true: that is too late and its end is not here yet. */
static bool slot_in_flight(struct swarm_cq *cq, struct slot *s)
{
	uint64_t req = 0;
	bool still;

	pthread_mutex_lock(&cq->lock);
	if (s->state == SLOT_FLIGHT && swi_lc_forget(cq->lc, &s->call)) {
		req = s->call.req;
		slot_free(cq, s);
	}
	still = s->state == SLOT_FLIGHT;
	pthread_mutex_unlock(&cq->lock);
	if (req)
		tell_cancelled(cq, req);
	return still;
}

void swi_cq_destroy(struct swarm_cq *cq)
{
	if (!cq)
		return;
	for (uint32_t i = 0; i < cq->depth; i++)
		while (slot_in_flight(cq, &cq->slot[i])) /* its answer is being handled by another thread's pump */
			sched_yield();
	for (uint32_t i = 0; i < cq->depth; i++)
		if (cq->slot[i].state == SLOT_READY && !cq->slot[i].status)
			swi_lc_release(cq->lc, &cq->slot[i].view);
	swi_event_close(&cq->event);
	pthread_mutex_destroy(&cq->lock);
	free(cq);
}
