/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - requests of a process to the node core, and the pump of its response ring. See lc.h.
 *
 * Any number of threads may wait. Whoever gets the pump lock handles every response, also those
 * that others wait for; it then adds 1 to the wake word, as the node does. A waiter reads the wake word
 * first, tries to pump, looks at its call and only then sleeps on the word it read, so that a response
 * handled by another thread in between is never slept through. After unlocking, the pump looks at the
 * ring once more: what arrived before that was possibly refused to somebody else's try.
 */
#include <sched.h>

#include "store/lc.h"
#include "transport/base/env.h"

#define SPIN_NS	 (20 * NS_PER_US) /* of looking before sleeping: about the time of a round trip */
#define LOOKS	 32u		  /* between two looks at the clock, and chances for others */

int swi_calls_init(struct swi_lc *lc)
{
	pthread_mutex_init(&lc->push_lock, NULL);
	pthread_mutex_init(&lc->pump_lock, NULL);
	pthread_mutex_init(&lc->call_lock, NULL);
	pthread_mutex_init(&lc->note_lock, NULL);
	swi_list_init(&lc->sets);
	swi_list_init(&lc->subs);
	for (uint32_t i = 0; i < SWI_LC_BUCKETS; i++)
		swi_list_init(&lc->calls[i]);
	swi_ring_attach(&lc->req, (void *)((uint8_t *)lc->shm + SWI_CLIENT_REQ_OFF), SWI_RING_REQ);
	swi_ring_attach(&lc->rsp, (void *)((uint8_t *)lc->shm + SWI_CLIENT_RSP_OFF), SWI_RING_RSP);
	return 0;
}

void swi_calls_fini(struct swi_lc *lc)
{
	pthread_mutex_destroy(&lc->push_lock);
	pthread_mutex_destroy(&lc->pump_lock);
	pthread_mutex_destroy(&lc->call_lock);
	pthread_mutex_destroy(&lc->note_lock);
}

static struct swi_list *bucket(struct swi_lc *lc, uint64_t req)
{
	return &lc->calls[req >> 8 & (SWI_LC_BUCKETS - 1)];
}

/* The low byte says what was asked, so that an answer nobody waits for any more can be undone. */
static uint64_t new_req(struct swi_lc *lc, uint16_t type)
{
	return (atomic_fetch_add_explicit(&lc->next_req, 1, memory_order_relaxed) + 1) << 8 |
	       (type & 0xff);
}

static void ring_doorbell(struct swi_lc *lc)
{
	_Atomic uint32_t *sleeping = &lc->index.head->sleeping;

	if (!lc->o.ring)
		return;
	atomic_thread_fence(memory_order_seq_cst); /* partner: the host, between sleeping = 1 and its last look */
	if (atomic_load_explicit(sleeping, memory_order_relaxed) && atomic_exchange(sleeping, 0))
		lc->o.ring(lc->o.ring_ctx);
}

static int push(struct swi_lc *lc, uint16_t type, uint64_t req, const void *body, uint32_t len)
{
	pthread_mutex_lock(&lc->push_lock);
	const int rc = swi_ring_push(&lc->req, type, 0, req, body, len, NULL, 0);

	pthread_mutex_unlock(&lc->push_lock);
	return rc;
}

int swi_lc_try_post_quiet(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len)
{
	return push(lc, type, 0, body, len);
}

bool swi_lc_forget(struct swi_lc *lc, struct swi_call *call)
{
	bool waiting = false;

	pthread_mutex_lock(&lc->call_lock);
	swi_list_for_each(it, bucket(lc, call->req))
		waiting |= it == &call->link;
	if (waiting)
		swi_list_del(&call->link);
	pthread_mutex_unlock(&lc->call_lock);
	return waiting;
}

static int post_quiet(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len,
		      struct swi_call *call)
{
	uint64_t req = 0;

	if (call) {
		req = call->req = new_req(lc, type);
		call->done = false;
		call->status = 0;
		pthread_mutex_lock(&lc->call_lock);
		swi_list_push_back(bucket(lc, req), &call->link);
		pthread_mutex_unlock(&lc->call_lock);
	}
	const int rc = push(lc, type, req, body, len);

	if (rc && call)
		(void)swi_lc_forget(lc, call);
	return rc;
}

int swi_lc_try_post(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len,
		    struct swi_call *call)
{
	const int rc = post_quiet(lc, type, body, len, call);

	if (!rc)
		ring_doorbell(lc);
	return rc;
}

static int sleep_on(struct swi_lc *lc, uint32_t seen, uint64_t timeout_ns)
{
	if (!lc->o.wait)
		return -ETIMEDOUT; /* a simulated client never waits */
	return lc->o.wait(lc->o.wait_ctx, lc->shm, seen, timeout_ns);
}

int swi_lc_post(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len,
		struct swi_call *call)
{
	for (;;) {
		const uint32_t seen = atomic_load(&lc->shm->wake);
		int rc = swi_lc_try_post(lc, type, body, len, call);

		if (rc != -EAGAIN)
			return rc;
		/* The node takes requests without a word: ask again soon, and find out if it is dead. */
		if (swi_lc_pump(lc) == 0) {
			rc = sleep_on(lc, seen, 200 * NS_PER_US);
			if (rc == SWARM_ENODAEMON)
				return rc;
		}
	}
}

/* ---- responses ---- */

/* The asker gave up: what the node granted goes back. A full ring leaves it to the end of the process. */
static void undo_late(struct swi_lc *lc, uint64_t req, int status, struct swi_rd *body)
{
	uint8_t buf[16];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (status)
		return;
	if ((req & 0xff) == SWI_L_GET_MANY) {
		swi_batch_undo(lc, body);
		return;
	}
	swi_wr_u64(&w, swi_rd_u64(body));
	if (body->bad)
		return;
	if ((req & 0xff) == SWI_L_GET || (req & 0xff) == SWI_L_GET_RANGE) {
		swi_lc_try_post(lc, SWI_L_HELD_DONE, buf, w.len, NULL);
	} else if ((req & 0xff) == SWI_L_CHUNK) {
		swi_wr_u64(&w, 0);
		swi_lc_try_post(lc, SWI_L_CHUNK_DONE, buf, w.len, NULL);
	}
}

static void deliver(struct swi_lc *lc, const struct swi_msg *msg)
{
	struct swi_rd body = swi_rd_init(msg->body, msg->len);
	const int status = (int)swi_rd_u32(&body);
	struct swi_call *call = NULL;

	pthread_mutex_lock(&lc->call_lock);
	swi_list_for_each(it, bucket(lc, msg->req))
	{
		struct swi_call *c = swi_list_entry(it, struct swi_call, link);

		if (c->req == msg->req) {
			call = c;
			break;
		}
	}
	if (call)
		swi_list_del(&call->link);
	pthread_mutex_unlock(&lc->call_lock);
	if (!call) {
		undo_late(lc, msg->req, status, &body);
		return;
	}
	const bool detached = call->detached;

	call->status = status;
	if (call->on_reply)
		call->on_reply(call, status, &body);
	if (detached)
		return;
	__atomic_store_n(&call->done, true, __ATOMIC_RELEASE); /* from here on it is its owner's */
}

static void note(struct swi_lc *lc, const struct swi_msg *msg)
{
	struct swi_rd body = swi_rd_init(msg->body, msg->len);

	if (msg->type == SWI_L_SET_READY)
		swi_waitset_note(lc, &body);
	else if (msg->type == SWI_L_NOTIFY)
		swi_sub_note(lc, &body);
}

static int pump_locked(struct swi_lc *lc)
{
	struct swi_msg msg;
	int n = 0;

	while (swi_ring_peek(&lc->rsp, &msg) > 0) {
		if (msg.type == SWI_L_REPLY)
			deliver(lc, &msg);
		else if (msg.type < SWI_L_UPPER)
			note(lc, &msg);
		else if (lc->o.upper)
			lc->o.upper(lc->o.upper_ctx, &msg);
		swi_ring_pop(&lc->rsp);
		n++;
	}
	return n;
}

int swi_lc_pump(struct swi_lc *lc)
{
	_Atomic uint64_t *tail = &lc->rsp.ring->tail;
	int n = 0;

	/* Every response there was is handled: so a look costs no lock. */
	if (atomic_load_explicit(&lc->rsp.ring->head, memory_order_relaxed) ==
	    atomic_load_explicit(tail, memory_order_acquire))
		return 0;
	do {
		if (pthread_mutex_trylock(&lc->pump_lock))
			return n; /* its holder looks once more after us */
		n += pump_locked(lc);
		/* Read under the lock: it is ours until we unlock. */
		const uint64_t pos = lc->rsp.pos;

		pthread_mutex_unlock(&lc->pump_lock);
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load_explicit(tail, memory_order_acquire) == pos)
			break;
	} while (true);
	if (n) {
		atomic_fetch_add(&lc->pumped, (uint64_t)n);
		swi_lc_kick(lc);
	}
	return n;
}

void swi_lc_kick(struct swi_lc *lc)
{
	atomic_fetch_add(&lc->shm->wake, 1);
	if (atomic_load(&lc->shm->sleeping) && lc->o.wake_others)
		lc->o.wake_others(lc->o.wait_ctx, lc->shm);
	if (lc->o.help) /* one of those who wait may sleep as the node core does */
		ring_doorbell(lc);
}

static bool is_done(const struct swi_call *call)
{
	return __atomic_load_n(&call->done, __ATOMIC_ACQUIRE);
}

/* Gives up on @call, unless its answer is being delivered at this moment. */
static int give_up(struct swi_lc *lc, struct swi_call *call, int rc)
{
	if (swi_lc_forget(lc, call))
		return rc;
	while (!is_done(call))
		sched_yield();
	return 0;
}

struct pumped {
	struct swi_lc *lc;
	bool (*is)(void *arg);
	void *arg;
};

static bool pumped_is(void *arg)
{
	const struct pumped *p = arg;

	swi_lc_pump(p->lc);
	return p->is(p->arg);
}

/* Where all processors are wanted, the node may be waiting for this one. */
static bool yielded_before(uint64_t until)
{
	sched_yield();
	return swi_now(swi_env_real()) < until;
}

/* The time before it is worth to sleep. */
static void wait_awake(struct swi_lc *lc, bool (*is)(void *arg), void *arg, uint64_t timeout_ns)
{
	struct pumped p = {.lc = lc, .is = is, .arg = arg};

	if (lc->o.help) {
		if (!lc->o.help(lc->o.help_ctx, pumped_is, &p, timeout_ns))
			ring_doorbell(lc);
		return;
	}
	const uint64_t until = swi_now(swi_env_real()) + SPIN_NS;

	for (uint32_t i = 1; !is(arg) && (i % LOOKS || yielded_before(until)); i++)
		if (!swi_lc_pump(lc))
			swi_cpu_relax();
}

int swi_lc_wait_for(struct swi_lc *lc, bool (*is)(void *arg), void *arg, uint64_t timeout_ns)
{
	uint64_t deadline = 0;

	if (!timeout_ns) {
		swi_lc_pump(lc);
		return is(arg) ? 0 : -ETIMEDOUT;
	}
	if (lc->o.help && timeout_ns != UINT64_MAX)
		deadline = swi_sat_add(swi_now(swi_env_real()), timeout_ns);
	wait_awake(lc, is, arg, timeout_ns);
	while (!is(arg)) {
		const uint32_t seen = atomic_load(&lc->shm->wake);
		uint64_t left = UINT64_MAX;

		if (swi_lc_pump(lc) || is(arg))
			continue;
		if (timeout_ns != UINT64_MAX) {
			const uint64_t now = swi_now(swi_env_real());

			deadline = deadline ? deadline : swi_sat_add(now, timeout_ns);
			if (now >= deadline)
				return -ETIMEDOUT;
			left = deadline - now;
		}
		if (sleep_on(lc, seen, left) == SWARM_ENODAEMON)
			return SWARM_ENODAEMON;
	}
	return 0;
}

static bool call_done(void *arg)
{
	return is_done(arg);
}

int swi_lc_wait(struct swi_lc *lc, struct swi_call *call, uint64_t timeout_ns)
{
	const int rc = swi_lc_wait_for(lc, call_done, call, timeout_ns);

	return rc ? give_up(lc, call, rc) : 0;
}

int swi_lc_wait_any(struct swi_lc *lc, uint64_t timeout_ns)
{
	const uint64_t before = atomic_load(&lc->pumped);

	const uint64_t until = swi_now(swi_env_real()) + SPIN_NS;

	for (uint32_t i = 1; i % LOOKS || yielded_before(until); i++) {
		if (swi_lc_pump(lc) || atomic_load(&lc->pumped) != before)
			return 0;
		swi_cpu_relax();
	}
	const uint32_t seen = atomic_load(&lc->shm->wake);

	if (swi_lc_pump(lc) || atomic_load(&lc->pumped) != before)
		return 0;
	const int rc = sleep_on(lc, seen, timeout_ns);

	return swi_lc_pump(lc) || atomic_load(&lc->pumped) != before ? 0 : rc ? rc : -ETIMEDOUT;
}

int swi_lc_ask(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len, struct swi_call *call)
{
	const int rc = post_quiet(lc, type, body, len, call);

	if (!rc && !lc->o.help)
		ring_doorbell(lc);
	return rc;
}

int swi_lc_call(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len,
		uint64_t timeout_ns,
		void (*on_reply)(struct swi_call *call, int status, struct swi_rd *body), void *owner,
		int *out_status)
{
	struct swi_call call = {.on_reply = on_reply, .owner = owner};
	int rc = lc->o.help ? post_quiet(lc, type, body, len, &call) : -EAGAIN; /* we shall look ourselves */

	if (rc == -EAGAIN)
		rc = swi_lc_post(lc, type, body, len, &call);

	if (!rc)
		rc = swi_lc_wait(lc, &call, swi_sat_add(timeout_ns, SWI_LC_GRACE_NS));
	if (!rc)
		*out_status = call.status;
	return rc;
}
