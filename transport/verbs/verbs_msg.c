/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_msg.c - messages: receives that all endpoints share, sends through registered slots.
 *
 * A receive buffer is posted again, with others, as soon as its message was handed over. A sender that
 * is ahead of our receives is held back by its card (RNR retry without end), not failed. What fits goes
 * inline into the work request and its slot is only counted. One send in some asks for a completion.
 * A message with immediate data is one between the two backends (verbs_lane.c). Owner thread only.
 */
#include <sys/mman.h>

#include "transport/verbs/verbs.h"

#define SLAB_BYTES ((size_t)SWI_BE_SEND_DEPTH * SWI_BE_MSG_MAX)

static uint8_t *send_slot(struct swi_be_ep *ep, uint32_t slot)
{
	return ep->slab + (size_t)slot * SWI_BE_MSG_MAX;
}

/* Pages of its own: a fork() of the process then takes nothing else with it. */
static int slab(struct swi_be *be, size_t bytes, uint8_t **out_slab, struct ibv_mr **out_mr)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return swi_verbs_errno(errno);
	*out_mr = ibv_reg_mr(be->pd, p, bytes, IBV_ACCESS_LOCAL_WRITE);
	if (!*out_mr) {
		int err = swi_verbs_reg_error(errno);

		munmap(p, bytes);
		return err;
	}
	be->counters.mrs_created++;
	*out_slab = p;
	return 0;
}

static void slab_end(struct swi_be *be, size_t bytes, uint8_t *p, struct ibv_mr *mr)
{
	int err = ibv_dereg_mr(mr);

	if (err) /* the card may still use it: leak the memory rather than corrupt it */
		swi_error(be->log, "verbs: cannot deregister a slab: %s", strerror(err));
	else
		munmap(p, bytes);
	be->counters.mrs_destroyed += !err;
}

int swi_verbs_slab_create(struct swi_be_ep *ep)
{
	int err = slab(ep->be, SLAB_BYTES, &ep->slab, &ep->slab_mr);

	if (!err)
		ep->send_free = UINT64_MAX >> (64 - SWI_BE_SEND_DEPTH);
	return err;
}

void swi_verbs_slab_destroy(struct swi_be_ep *ep)
{
	if (ep->slab)
		slab_end(ep->be, SLAB_BYTES, ep->slab, ep->slab_mr);
	ep->slab = NULL;
	ep->slab_mr = NULL;
}

int swi_verbs_srq_create(struct swi_be *be)
{
	struct ibv_srq_init_attr init = {
	    .attr = {.max_wr = (uint32_t)swi_min_u64(VERBS_SRQ_DEPTH, (uint64_t)be->attr.max_srq_wr),
		     .max_sge = 1}};
	int err;

	be->srq_depth = init.attr.max_wr;
	be->srq = ibv_create_srq(be->pd, &init);
	if (!be->srq)
		return swi_verbs_reg_error(errno);
	err = slab(be, (size_t)be->srq_depth * SWI_BE_MSG_MAX, &be->recv_slab, &be->recv_mr);
	if (err)
		return err;
	for (uint32_t i = 0; i < be->srq_depth; i++)
		be->unposted[be->unposted_count++] = (uint16_t)i;
	swi_verbs_repost(be);
	return be->unposted_count ? -EIO : 0;
}

/* After the queue pairs. */
void swi_verbs_srq_destroy(struct swi_be *be)
{
	if (be->srq && ibv_destroy_srq(be->srq) != 0)
		swi_error(be->log, "verbs: the shared receive queue is still in use");
	if (be->recv_slab)
		slab_end(be, (size_t)be->srq_depth * SWI_BE_MSG_MAX, be->recv_slab, be->recv_mr);
}

/* Posts what was received into again, by one call for some. */
void swi_verbs_repost(struct swi_be *be)
{
	struct ibv_recv_wr wrs[VERBS_POLL_BATCH], *bad;
	struct ibv_sge sges[VERBS_POLL_BATCH];

	while (be->unposted_count) {
		uint32_t n = (uint32_t)swi_min_u64(be->unposted_count, VERBS_POLL_BATCH);

		for (uint32_t i = 0; i < n; i++) {
			uint32_t b = be->unposted[be->unposted_count - 1 - i];

			sges[i] = (struct ibv_sge){
			    .addr = (uintptr_t)(be->recv_slab + (size_t)b * SWI_BE_MSG_MAX),
			    .length = SWI_BE_MSG_MAX,
			    .lkey = be->recv_mr->lkey};
			wrs[i] = (struct ibv_recv_wr){.wr_id = WR_RECV | b,
						      .next = i + 1 < n ? &wrs[i + 1] : NULL,
						      .sg_list = &sges[i],
						      .num_sge = 1};
		}
		if (ibv_post_srq_recv(be->srq, wrs, &bad) != 0)
			return; /* tried again with the next message */
		be->unposted_count -= n;
	}
}

/* Fills @sge with the message; returns how many pieces, and whether they go inline. */
static int gather(struct swi_be_ep *ep, uint32_t slot, const void *a, uint32_t alen, const void *b,
		  uint32_t blen, struct ibv_sge sge[2], unsigned int *out_flags)
{
	uint8_t *to = send_slot(ep, slot);
	int n = 0;

	*out_flags = 0;
	if (alen + blen <= ep->lanes[0]->inline_max) {
		if (alen)
			sge[n++] = (struct ibv_sge){.addr = (uintptr_t)a, .length = alen};
		if (blen)
			sge[n++] = (struct ibv_sge){.addr = (uintptr_t)b, .length = blen};
		*out_flags = IBV_SEND_INLINE;
		return n;
	}
	if (alen)
		memcpy(to, a, alen);
	if (blen)
		memcpy(to + alen, b, blen);
	sge[0] = (struct ibv_sge){
	    .addr = (uintptr_t)to, .length = alen + blen, .lkey = ep->slab_mr->lkey};
	return 1;
}

static int send_it(struct swi_be_ep *ep, enum ibv_wr_opcode opcode, const void *a, uint32_t alen,
		   const void *b, uint32_t blen)
{
	struct verbs_lane *l = ep->lanes[0];
	struct ibv_sge sge[2];
	struct ibv_send_wr *bad, wr = {.sg_list = sge, .opcode = opcode};
	uint32_t slot;
	int err;

	if (ep->state != EP_UP)
		return SWARM_EPEERLOST;
	if (alen > SWI_BE_MSG_MAX || blen > SWI_BE_MSG_MAX - alen)
		return -EMSGSIZE;
	if (!ep->send_free)
		return -EAGAIN;
	slot = (uint32_t)__builtin_ctzll(ep->send_free);
	wr.num_sge = gather(ep, slot, a, alen, b, blen, sge, &wr.send_flags);
	if (++l->quiet_sends >= VERBS_SIGNAL_SENDS) {
		wr.send_flags |= IBV_SEND_SIGNALED;
		l->quiet_sends = 0;
	}
	wr.wr_id = swi_verbs_push(l, (struct verbs_op){.kind = OP_SEND, .slot = slot});
	err = ibv_post_send(l->qp, &wr, &bad);
	if (err) {
		swi_verbs_unpush(l, 1);
		swi_debug(ep->be->log, "verbs: a send was refused: %s", strerror(err));
		return SWARM_EPEERLOST;
	}
	ep->send_free &= ~(1ull << slot);
	return 0;
}

int swi_verbs_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b, uint32_t blen)
{
	return send_it(ep, IBV_WR_SEND, a, alen, b, blen);
}

int swi_verbs_send_own(struct swi_be_ep *ep, const void *buf, uint32_t len)
{
	return send_it(ep, IBV_WR_SEND_WITH_IMM, buf, len, NULL, 0);
}

static void deliver(struct swi_be *be, struct verbs_lane *l, const uint8_t *buf,
		    const struct ibv_wc *wc)
{
	struct swi_be_ep *ep = l->ep;

	if (wc->status != IBV_WC_SUCCESS) {
		swi_verbs_ep_down(ep, swi_verbs_wc_error(wc->status));
		return;
	}
	if (l != ep->lanes[0]) { /* nobody sends on a lane that is for reads */
		swi_verbs_ep_down(ep, SWARM_EPROTO);
		return;
	}
	if (ep->state == EP_ACCEPTING || ep->state == EP_CONNECTING) {
		/*
		 * The first message overtook the last step of the handshake. rdma_notify() is made
		 * for this, but a close right after it leaves the kernel (6.1) with a reply that it
		 * repeats for a minute, and us in rdma_destroy_id() for as long.
		 */
		swi_verbs_ep_up(ep);
	}
	if (ep->state != EP_UP)
		return;
	if (wc->wc_flags & IBV_WC_WITH_IMM)
		swi_verbs_lanes_recv(ep, buf, wc->byte_len);
	else
		be->ev->recv(be->ctx, ep, buf, wc->byte_len);
}

void swi_verbs_recv_done(struct swi_be *be, uint32_t buffer, const struct ibv_wc *wc)
{
	struct verbs_lane *l;

	if (SWI_UNLIKELY(buffer >= be->srq_depth))
		return;
	HASH_FIND(hh, be->by_qp, &wc->qp_num, sizeof(wc->qp_num), l);
	if (SWI_LIKELY(l != NULL)) /* else of a queue pair that is gone */
		deliver(be, l, be->recv_slab + (size_t)buffer * SWI_BE_MSG_MAX, wc);
	be->unposted[be->unposted_count++] = (uint16_t)buffer;
}
