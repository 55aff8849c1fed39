/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - who runs the core of a host, and who sleeps.
 *
 * The core belongs to whoever holds h->core: the host's thread, or, where that is allowed, a thread of the program
 * that waits for an answer. Such a caller steps the core itself, so that its request and its answer wake nobody.
 *
 * Sleeping: who runs the core announces it (head->sleeping = 1), fences, looks into every request ring and at the
 * network once more, and only then waits on epoll; a client pushes, fences, reads sleeping, and writes the
 * eventfd if it is set. So one of the two always sees the other. One thread at a time waits on epoll: the host's,
 * which gives up the core meanwhile, or a caller, which keeps it. Only the host's frees what its events may name.
 *
 * Helping: h->callers counts the threads that want the core. The host's thread gives it up after the step in which
 * it sees one, and stands aside. Who leaves the core wakes it, or, if it waits on epoll, sees to it that it waits
 * neither too long nor for what was taken from it. One exception: a caller that came back within TIGHT, or within half of
 * what its last call took (a batch: it looks at many objects in between), is expected back again and leaves without a word. For that the host's thread looks by itself from time to time: every LINGER, and
 * up to ASIDE when that goes on; so long may nobody run the core after the last of a row of calls.
 */
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "store/host_internal.h"
#include "store/snode_internal.h"

#define IDLE_SPINS 8u	/* steps without an event before one sleeps */
#define YIELD_NS   (5 * NS_PER_US) /* without an event, from which on others may run first */
#define SLICE_NS   NS_PER_MS /* so long another one ran meanwhile: there are more of them than processors, for the next ... */
#define CROWDED_NS (100 * NS_PER_MS) /* and nobody waits awake */
#define BUSY_POLL  (200 * NS_PER_US) /* so often a busy loop looks at the descriptors: who died, who knocks */
#define EVENTS	   64
#define SPIN_MIN   SWI_HOST_SPIN_NS /* and at least so long; twice that after each short sleep, up to ... */
#define SPIN_MAX   (2 * NS_PER_MS) /* this, for who serves READs over sockets sees no event of it */
#define SHORT_NS   (200 * NS_PER_US) /* a sleep: waking up takes a good part of it */
#define TRY_NS	   (20 * NS_PER_US) /* of a caller while another one runs the core, before it sleeps */
#define TIGHT_NS   (30 * NS_PER_US)
#define LINGER_NS  (100 * NS_PER_US)
#define ASIDE_NS   NS_PER_MS

/* ---- whose it is ---- */

static bool core_take(struct swi_host *h)
{
	return !atomic_load_explicit(&h->core, memory_order_relaxed) && !atomic_exchange(&h->core, 1);
}

static void core_give(struct swi_host *h)
{
	atomic_store(&h->core, 0);
}

/* Do callers run it, or is one expected to? */
static bool others_run(const struct swi_host *h)
{
	return atomic_load(&h->callers) || swi_now(h->env) - atomic_load(&h->kept_ns) < LINGER_NS;
}

/* The host's thread: stands aside until the core is its own, the longer the longer the callers have it. */
static void take_back(struct swi_host *h)
{
	for (uint64_t ns = LINGER_NS; others_run(h) || !core_take(h); ns = swi_min_u64(2 * ns, ASIDE_NS)) {
		const struct timespec ts = {
		    .tv_nsec = (long)(atomic_load(&h->lead_sleeps) ? NS_PER_S - 1 : ns)};

		atomic_store(&h->aside, 1); /* partner: leave(), which gives the core up and then reads it */
		if (atomic_load(&h->core) || others_run(h))
			syscall(SYS_futex, &h->aside, FUTEX_WAIT_PRIVATE, 1, &ts, NULL, 0);
		atomic_store(&h->aside, 0);
	}
}

static void ring(struct swi_host *h)
{
	const uint64_t one = 1;

	(void)!write(h->bell, &one, sizeof(one));
}

/* ---- what its owner does ---- */

static int step(struct swi_host *h)
{
	int n = swi_snode_step(h->sn);

	if (h->upper.step)
		n += h->upper.step(h->upper.ctx);
	return n + swi_host_clients_step(h, h->sn->now_ns);
}

static uint64_t deadline(struct swi_host *h)
{
	uint64_t d = swi_snode_deadline_ns(h->sn);

	if (h->upper.deadline_ns)
		d = swi_min_u64(d, h->upper.deadline_ns(h->upper.ctx));
	return swi_min_u64(d, swi_host_clients_deadline_ns(h));
}

static int wait_fds(struct swi_host *h, struct epoll_event ev[EVENTS], uint64_t timeout_ns)
{
	const struct timespec ts = {.tv_sec = (time_t)swi_min_u64(timeout_ns / NS_PER_S, 3600),
				    .tv_nsec = (long)(timeout_ns % NS_PER_S)};

	return epoll_pwait2(h->epoll, ev, EVENTS, &ts, NULL);
}

static void handle(const struct epoll_event *ev, int n)
{
	for (int i = 0; i < n; i++) {
		struct swi_watched *w = ev[i].data.ptr;

		if (!w->gone)
			w->cb(w->ctx, ev[i].events);
	}
}

/* A step, and a look at the descriptors where that is due. */
static int work(struct swi_host *h)
{
	const int n = step(h);
	struct epoll_event ev[EVENTS];

	if (h->sn->now_ns - h->polled_ns >= BUSY_POLL) {
		h->polled_ns = h->sn->now_ns;
		handle(ev, wait_fds(h, ev, 0));
	}
	return n;
}

/* Until when to sleep; 0: there is something to do. Else who sleeps takes head->sleeping back afterwards. */
static uint64_t say_asleep(struct swi_host *h)
{
	struct swi_tp *tp = swi_snode_tp(h->sn);
	const uint64_t now = swi_now(h->env), until = deadline(h);

	if (until <= now)
		return 0;
	atomic_store(&h->head->sleeping, 1);
	atomic_thread_fence(memory_order_seq_cst); /* partner: ring_doorbell() in call.c */
	if (!swi_clients_ready(h->sn) && !atomic_load(&h->stop) && (!tp || swi_tp_arm(tp)))
		return until;
	atomic_store(&h->head->sleeping, 0);
	return 0;
}

/* @slept_ns: what the last sleep took. Where events come often, the next one is waited for awake. */
static void learn(struct swi_host *h, uint64_t slept_ns)
{
	h->spin_ns = slept_ns < SHORT_NS ? swi_min_u64(2 * h->spin_ns, SPIN_MAX) : SPIN_MIN;
}

static uint64_t quiet_ns(const struct swi_host *h, uint64_t event_ns)
{
	return h->sn->now_ns - event_ns;
}

static bool is_idle(const struct swi_host *h, uint32_t steps, uint64_t event_ns)
{
	return steps >= IDLE_SPINS &&
	       (quiet_ns(h, event_ns) >= h->spin_ns || h->sn->now_ns < h->crowded_ns);
}

static bool may_yield(const struct swi_host *h, uint64_t event_ns)
{
	return h->sn->now_ns - swi_max_u64(event_ns, h->yielded_ns) >= YIELD_NS;
}

/*
 * Where all processors are wanted, who waits awake keeps one from those that could bring the event, until its slice
 * ends; who yields does not, and where nobody wants it that costs little. But where somebody keeps it for a slice of his
 * own, who sleeps gets it back sooner when the event is there than who yields.
 */
static uint64_t yield(struct swi_env *env)
{
	const uint64_t before = swi_now(env);

	sched_yield();
	return swi_now(env) - before;
}

/* With the core again. @took: what yield() says. */
static void yielded(struct swi_host *h, uint64_t took)
{
	h->yielded_ns = swi_now(h->env);
	if (took >= SLICE_NS)
		h->crowded_ns = h->yielded_ns + CROWDED_NS;
}

/* ---- the host's thread ---- */

static void sleep_until_needed(struct swi_host *h)
{
	const uint64_t until = say_asleep(h), now = until ? swi_now(h->env) : 0;
	struct epoll_event ev[EVENTS];
	int n;

	if (until <= now || atomic_load(&h->callers)) {
		atomic_store(&h->head->sleeping, 0);
		return;
	}
	h->wake_ns = until;
	h->rang = false;
	atomic_store(&h->in_epoll, true);
	core_give(h);
	n = wait_fds(h, ev, until - now);
	atomic_store(&h->in_epoll, false);
	atomic_store(&h->head->sleeping, 0);
	const uint64_t slept = swi_now(h->env) - now;

	take_back(h);
	learn(h, slept);
	handle(ev, n);
}

/* From taking the core to giving it up. */
static void run(struct swi_host *h)
{
	uint64_t event_ns = h->sn->now_ns;
	uint32_t idle = 0;

	while (!atomic_load(&h->stop) && !atomic_load(&h->callers)) {
		if (work(h)) {
			idle = 0;
			event_ns = h->sn->now_ns;
		} else if (is_idle(h, ++idle, event_ns)) {
			sleep_until_needed(h);
			idle = 0;
			event_ns = h->sn->now_ns;
		} else if (may_yield(h, event_ns)) {
			core_give(h); /* a caller may be who runs next */
			const uint64_t took = yield(h->env);

			take_back(h);
			yielded(h, took);
		}
		swi_host_bury(&h->dead);
	}
	core_give(h);
}

int swi_host_run(struct swi_host *h)
{
	while (!atomic_load(&h->stop)) {
		take_back(h); /* a caller, too, sees the stop after its step */
		run(h);
	}
	take_back(h);
	if (swi_snode_spill(h->sn)) /* destroy() may be another thread's */
		swi_spill_quiesce(swi_snode_spill(h->sn));
	core_give(h);
	return 0;
}

/* ---- callers ---- */

bool swi_host_may_help(const struct swi_host *h)
{
	return !h->disk_count && !h->upper.step;
}

/* It may be another thread that takes the answer out of the ring: it rings, if it does not come before our last look. */
static void leader_sleeps(struct swi_host *h, bool (*done)(void *arg), void *arg, uint64_t until_ns)
{
	const uint64_t until = swi_min_u64(say_asleep(h), until_ns), now = until ? swi_now(h->env) : 0;
	struct epoll_event ev[EVENTS];

	atomic_store(&h->lead_sleeps, true);
	if (until > now && !done(arg)) {
		handle(ev, wait_fds(h, ev, until - now));
		learn(h, swi_now(h->env) - now);
	}
	atomic_store(&h->head->sleeping, 0);
}

/* With the core, until @until_ns. */
static bool lead(struct swi_host *h, bool (*done)(void *arg), void *arg, uint64_t until_ns)
{
	const struct swi_snode *sn = h->sn;
	uint64_t event_ns = 0;
	uint32_t idle = 0;

	while (!done(arg)) {
		if (atomic_load_explicit(&h->stop, memory_order_relaxed))
			return false;
		if (work(h) || !event_ns) {
			idle = 0;
			event_ns = sn->now_ns;
		} else if (is_idle(h, ++idle, event_ns)) {
			if (!atomic_load(&h->in_epoll))
				leader_sleeps(h, done, arg, until_ns);
			else if (atomic_exchange(&h->head->sleeping, 0))
				ring(h); /* one of us waits there, and that had better be who is waited for */
			idle = 0;
		} else if (may_yield(h, event_ns) && atomic_load_explicit(&h->callers, memory_order_relaxed) == 1) {
			yielded(h, yield(h->env));
		}
		if (sn->now_ns >= until_ns)
			return done(arg);
	}
	return true;
}

/* Is the host's thread to be waked from epoll, where it waits for less than it should? */
static bool waits_wrongly(struct swi_host *h)
{
	struct swi_tp *tp = swi_snode_tp(h->sn);

	return atomic_load(&h->in_epoll) &&
	       (h->rang || deadline(h) < h->wake_ns || (tp && !swi_tp_arm(tp)));
}

/* Gives the core back, which we wanted at @since_ns. @back: we shall soon be here again. */
static void leave(struct swi_host *h, bool back, uint64_t since_ns)
{
	const bool slept = atomic_exchange(&h->lead_sleeps, false), others = h->sn->fetches.count;
	const uint64_t now = swi_now(h->env); /* the last step may have taken long */
	bool must_ring = false;

	if (back && !others)
		atomic_store_explicit(&h->kept_ns, now, memory_order_relaxed);
	else
		must_ring = waits_wrongly(h);
	atomic_store_explicit(&h->led_ns, now - since_ns, memory_order_relaxed);
	atomic_store_explicit(&h->left_ns, now, memory_order_relaxed);
	core_give(h);
	if (must_ring)
		ring(h);
	if ((!back || others || slept) && atomic_load(&h->aside) && atomic_exchange(&h->aside, 0))
		syscall(SYS_futex, &h->aside, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Did the caller come back soon after the last one left? */
static bool is_back(const struct swi_host *h, uint64_t now)
{
	const uint64_t half = atomic_load_explicit(&h->led_ns, memory_order_relaxed) / 2;

	return now - atomic_load_explicit(&h->left_ns, memory_order_relaxed) <
	       swi_max_u64(TIGHT_NS, swi_min_u64(half, LINGER_NS));
}

bool swi_host_help(struct swi_host *h, bool (*done)(void *arg), void *arg, uint64_t timeout_ns)
{
	const uint64_t now = swi_now(h->env);
	const bool tight = is_back(h, now);
	bool over = false, led = false;

	if (atomic_load_explicit(&h->stop, memory_order_relaxed))
		return false;
	atomic_fetch_add(&h->callers, 1);
	if (tight && atomic_load(&h->in_epoll) && atomic_exchange(&h->head->sleeping, 0))
		ring(h); /* it had better stand aside than be woken by each of our answers */
	while (!led && !(over = done(arg))) {
		led = core_take(h);
		if (!led && swi_now(h->env) - now >= TRY_NS)
			break;
		if (!led)
			swi_cpu_relax();
	}
	if (led)
		over = lead(h, done, arg, swi_sat_add(now, timeout_ns));
	if (led && !tight) /* what the answer's step left to the next one is not seen by waits_wrongly() */
		(void)step(h);
	atomic_fetch_sub(&h->callers, 1);
	if (led)
		leave(h, tight && over, now);
	return over;
}
