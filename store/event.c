/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event.c - descriptors that tell a poll loop that a queue of this process is not empty. See lc.h.
 *
 * One word in the client's memory for each: armed. Who makes a queue non-empty - the node, which pushed an answer
 * that nobody may be pumping for, or a thread here that pumped it - swaps the 1 for 0 and, if it was 1,
 * writes the eventfd. Who finds the queue empty reads the eventfd, arms again, and looks once more. So
 * there is at most one write for each time the queue was emptied, and none is missed.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "store/lc.h"

static _Atomic uint32_t *armed(const struct swi_event *ev)
{
	return &ev->lc->shm->armed[ev->number - 1];
}

static int take_number(struct swi_lc *lc, uint32_t *out)
{
	int rc = -EMFILE;

	pthread_mutex_lock(&lc->note_lock);
	for (uint32_t i = 0; i < SWI_EVENTS && rc; i++) {
		if (lc->events & 1ull << i)
			continue;
		lc->events |= 1ull << i;
		*out = i + 1;
		rc = 0;
	}
	pthread_mutex_unlock(&lc->note_lock);
	return rc;
}

static void free_number(struct swi_lc *lc, uint32_t number)
{
	pthread_mutex_lock(&lc->note_lock);
	lc->events &= ~(1ull << (number - 1));
	pthread_mutex_unlock(&lc->note_lock);
}

int swi_event_open(struct swi_lc *lc, struct swi_event *ev)
{
	struct swi_event e = {.lc = lc, .fd = -1};
	int rc = lc->o.event ? take_number(lc, &e.number) : -ENOSYS;

	if (rc)
		return rc;
	e.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = e.fd < 0 ? -errno : 0;
	atomic_store(armed(&e), 1);
	if (!rc)
		rc = lc->o.event(lc->o.wait_ctx, e.number, e.fd);
	if (rc) {
		if (e.fd >= 0)
			close(e.fd);
		free_number(lc, e.number);
		return rc;
	}
	*ev = e;
	return 0;
}

void swi_event_close(struct swi_event *ev)
{
	if (!ev->number)
		return;
	(void)ev->lc->o.event(ev->lc->o.wait_ctx, ev->number, -1);
	free_number(ev->lc, ev->number);
	close(ev->fd);
	*ev = (struct swi_event)SWI_EVENT_NONE;
}

void swi_event_raise(struct swi_event *ev)
{
	const uint64_t one = 1;

	if (ev->number && atomic_exchange(armed(ev), 0))
		(void)!write(ev->fd, &one, sizeof(one));
}

void swi_event_settle(struct swi_event *ev, bool nothing)
{
	uint64_t count;

	if (!ev->number || (!nothing && atomic_load(armed(ev))))
		return;
	(void)!read(ev->fd, &count, sizeof(count));
	atomic_store(armed(ev), 1);
	atomic_thread_fence(memory_order_seq_cst); /* partner: swi_client_event(), after its push */
	swi_lc_pump(ev->lc);
}
