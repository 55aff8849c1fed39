/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_progress.c - the only place where anything happens: reaps completions and connection
 * events, ends endpoints whose flush is over, and says when it is safe to sleep.
 *
 * Polling the completion queue touches memory only. Looking at a descriptor is a system call, so
 * that is done after arm() (the caller may have slept) and else once in a while. Owner thread only.
 */
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "transport/verbs/verbs.h"

/* Polls until the connection channel is looked at all the same; a busy one counts twice. */
#define QUIET_LIMIT 2048u

static void handle_wc(struct swi_be *be, const struct ibv_wc *wc)
{
	uint32_t index = (uint32_t)(wc->wr_id >> 16) & 0xffff, place = (uint32_t)wc->wr_id & 0xffff;
	uint32_t gen = (uint32_t)(wc->wr_id >> 32) & WR_GEN_MASK;
	struct verbs_lane *l;

	be->counters.cqes++;
	if (SWI_UNLIKELY(wc->status != IBV_WC_SUCCESS && wc->status != IBV_WC_WR_FLUSH_ERR))
		swi_debug(be->log, "verbs: %s (vendor code %u)", ibv_wc_status_str(wc->status),
			  wc->vendor_err);
	if (wc->wr_id & WR_RECV) {
		swi_verbs_recv_done(be, place, wc);
		return;
	}
	l = index < VERBS_MAX_LANES ? be->lanes[index].lane : NULL;
	if (SWI_LIKELY(l && l->gen == gen && place < VERBS_RING)) /* else of a lane that is gone */
		swi_verbs_sq_done(l, place, wc);
}

/* What arm() took from the queue comes first. */
static int poll_once(struct swi_be *be, struct ibv_wc *wc, unsigned int max)
{
	int n = be->stashed;

	if (SWI_UNLIKELY(n)) {
		memcpy(wc, be->stash, (size_t)n * sizeof(*wc));
		be->stashed = 0;
		return n;
	}
	n = ibv_poll_cq(be->cq, (int)max, wc);
	if (n == 0 && be->cqe_stale) { /* empty: nothing of the destroyed queue pairs is left */
		be->cqe_used -= be->cqe_stale;
		be->cqe_stale = 0;
	}
	return n;
}

static int poll_cq(struct swi_be *be, unsigned int budget)
{
	struct ibv_wc wc[VERBS_POLL_BATCH];
	unsigned int done = 0;
	int n;

	while (done < budget) {
		unsigned int max = (unsigned int)swi_min_u64(budget - done, VERBS_POLL_BATCH);

		n = poll_once(be, wc, max);
		if (n < 0)
			return -EIO;
		for (int i = 0; i < n; i++)
			handle_wc(be, &wc[i]);
		done += (unsigned int)n;
		if ((unsigned int)n < max)
			break;
	}
	return (int)done;
}

static int cm_events(struct swi_be *be)
{
	struct rdma_cm_event *event, copy;
	uint8_t private_data[256];
	int n = 0;

	be->quiet = 0;
	while (n < VERBS_POLL_BATCH && rdma_get_cm_event(be->ec, &event) == 0) {
		copy = *event;
		memset(private_data, 0, sizeof(private_data));
		if (copy.param.conn.private_data && copy.event != RDMA_CM_EVENT_ADDR_RESOLVED)
			memcpy(private_data, copy.param.conn.private_data,
			       copy.param.conn.private_data_len);
		copy.param.conn.private_data = private_data;
		/* Before it is handled: an id with an event that is not acknowledged cannot be
		 * destroyed. */
		rdma_ack_cm_event(event);
		swi_verbs_cm_event(be, &copy);
		n++;
	}
	return n;
}

/* After a sleep: what woke us must not wake us again. */
static void clear_wakeups(struct swi_be *be)
{
	struct ibv_cq *cq;
	void *cq_ctx;
	uint64_t expired;

	be->look = false;
	if (be->armed && ibv_get_cq_event(be->cc, &cq, &cq_ctx) == 0) {
		ibv_ack_cq_events(cq, 1);
		be->armed = false;
	}
	(void)!read(be->timerfd, &expired, sizeof(expired));
}

static int reap(struct swi_be *be)
{
	uint64_t now = swi_now(be->env);
	int n = 0;

	swi_list_for_each_safe (it, &be->flushing) {
		struct swi_be_ep *ep = swi_list_entry(it, struct swi_be_ep, link);
		bool known = !ep->inbound || ep->announced;

		if (!swi_verbs_ep_flushed(ep)) {
			if (now < ep->flush_deadline_ns)
				continue;
			be->counters.flush_timeouts++;
			swi_warn(be->log, "verbs: the card did not flush a queue pair in time");
		}
		swi_verbs_ep_end(ep, known);
		if (known)
			be->ev->closed(be->ctx, ep);
		free(ep);
		n++;
	}
	return n;
}

int swi_verbs_progress(struct swi_be *be, unsigned int budget)
{
	bool look = be->look;
	int n;

	if (SWI_UNLIKELY(look))
		clear_wakeups(be);
	if (!swi_list_empty(&be->dirty)) /* what the caller posted since */
		swi_verbs_ring(be);
	n = poll_cq(be, budget);
	if (SWI_UNLIKELY(n < 0))
		return n;
	if (be->unposted_count)
		swi_verbs_repost(be);
	be->quiet += n ? 2 : 1;
	if (SWI_UNLIKELY(look || be->quiet >= QUIET_LIMIT))
		n += cm_events(be);
	if (SWI_UNLIKELY(!swi_list_empty(&be->flushing)))
		n += reap(be);
	if (!swi_list_empty(&be->dirty)) { /* and what its callbacks posted */
		int m;

		swi_verbs_ring(be);
		/* A device that is software has carried it out by now: the second READ of a get is not left for another round. */
		m = poll_cq(be, budget);
		if (SWI_UNLIKELY(m < 0))
			return m;
		n += m;
	}
	return be->broken ? -ENODEV : n;
}

int swi_verbs_fd(struct swi_be *be)
{
	return be->epfd;
}

/*
 * Connection events and the timer keep their descriptors readable, so only the completion queue
 * needs care: ask for an event, then look once more, since what came before the request makes none.
 */
bool swi_verbs_arm(struct swi_be *be)
{
	be->look = true;
	if (!swi_list_empty(&be->dirty))
		swi_verbs_ring(be);
	if (be->stashed || be->broken)
		return false;
	if (!be->armed) {
		if (ibv_req_notify_cq(be->cq, 0) != 0)
			return false;
		be->armed = true;
	}
	be->stashed = ibv_poll_cq(be->cq, VERBS_POLL_BATCH, be->stash);
	if (be->stashed) {
		be->broken |= be->stashed < 0;
		be->stashed = be->stashed < 0 ? 0 : be->stashed;
		return false;
	}
	swi_list_for_each (it, &be->flushing) {
		if (swi_verbs_ep_flushed(swi_list_entry(it, struct swi_be_ep, link)))
			return false;
	}
	if (!swi_list_empty(&be->flushing)) { /* oldest first */
		struct swi_be_ep *ep = swi_list_first(&be->flushing, struct swi_be_ep, link);
		uint64_t now = swi_now(be->env), at = ep->flush_deadline_ns;
		uint64_t in = at > now ? at - now : 1;
		struct itimerspec when = {.it_value = {.tv_sec = (time_t)(in / NS_PER_S),
						       .tv_nsec = (long)(in % NS_PER_S)}};

		if (timerfd_settime(be->timerfd, 0, &when, NULL) != 0)
			return false;
	}
	return true;
}

/* Room in the completion queue for so many more: it must never overflow. */
int swi_verbs_cq_reserve(struct swi_be *be, uint32_t cqes)
{
	uint64_t need = (uint64_t)be->cqe_used + cqes;
	uint64_t max = (uint64_t)be->attr.max_cqe;

	if (need <= (uint64_t)be->cq->cqe)
		return 0;
	if (need > max)
		return -ENOMEM;
	if (ibv_resize_cq(be->cq, (int)swi_min_u64(need * 2, max)) != 0)
		return -ENOMEM;
	return 0;
}
