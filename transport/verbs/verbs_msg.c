/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_msg.c - messages: receives that stay posted, sends through registered slots.
 *
 * One slab per endpoint, registered once: SWI_BE_RECV_DEPTH receive slots and SWI_BE_SEND_DEPTH
 * send slots. A receive is posted again as soon as its message was handed over; what fits goes
 * inline into the work request and its slot is only counted. A sender that is ahead of our
 * receives is held back by its card (RNR retry without end), not failed. Owner thread only.
 */
#include <sys/mman.h>

#include "transport/verbs/verbs.h"

#define SLAB_BYTES ((size_t)(SWI_BE_RECV_DEPTH + SWI_BE_SEND_DEPTH) * SWI_BE_MSG_MAX)

static uint8_t *recv_slot(struct swi_be_ep *ep, uint32_t slot)
{
	return ep->slab + (size_t)slot * SWI_BE_MSG_MAX;
}

static uint8_t *send_slot(struct swi_be_ep *ep, uint32_t slot)
{
	return ep->slab + (size_t)(SWI_BE_RECV_DEPTH + slot) * SWI_BE_MSG_MAX;
}

int swi_verbs_slab_create(struct swi_be_ep *ep)
{
	/* Pages of its own: a fork() of the process then takes nothing else with it. */
	void *p =
	    mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return swi_verbs_errno(errno);
	ep->slab_mr = ibv_reg_mr(ep->be->pd, p, SLAB_BYTES, IBV_ACCESS_LOCAL_WRITE);
	if (!ep->slab_mr) {
		int err = swi_verbs_reg_error(errno);

		munmap(p, SLAB_BYTES);
		return err;
	}
	ep->be->counters.mrs_created++;
	ep->slab = p;
	ep->send_free = UINT64_MAX >> (64 - SWI_BE_SEND_DEPTH);
	return 0;
}

void swi_verbs_slab_destroy(struct swi_be_ep *ep)
{
	int err;

	if (!ep->slab)
		return;
	err = ibv_dereg_mr(ep->slab_mr);
	if (err) /* the card may still use it: leak the memory rather than corrupt it */
		swi_error(ep->be->log, "verbs: cannot deregister a slab: %s", strerror(err));
	else
		munmap(ep->slab, SLAB_BYTES);
	ep->be->counters.mrs_destroyed += !err;
	ep->slab = NULL;
	ep->slab_mr = NULL;
}

int swi_verbs_post_recv(struct swi_be_ep *ep, uint32_t slot)
{
	struct ibv_sge sge = {
	    .addr = (uintptr_t)recv_slot(ep, slot),
	    .length = SWI_BE_MSG_MAX,
	    .lkey = ep->slab_mr->lkey,
	};
	struct ibv_recv_wr *bad, wr = {
				     .wr_id = swi_verbs_wr_id(WR_RECV, ep, slot),
				     .sg_list = &sge,
				     .num_sge = 1,
				 };
	int err = ibv_post_recv(ep->qp, &wr, &bad);

	return err ? swi_verbs_errno(err) : 0;
}

/* Fills @sge with the message; returns how many pieces, and whether they go inline. */
static int gather(struct swi_be_ep *ep, uint32_t slot, const void *a, uint32_t alen, const void *b,
		  uint32_t blen, struct ibv_sge sge[2], unsigned int *out_flags)
{
	uint8_t *to = send_slot(ep, slot);
	int n = 0;

	if (alen + blen <= ep->inline_max) {
		if (alen)
			sge[n++] = (struct ibv_sge){.addr = (uintptr_t)a, .length = alen};
		if (blen)
			sge[n++] = (struct ibv_sge){.addr = (uintptr_t)b, .length = blen};
		*out_flags = IBV_SEND_SIGNALED | IBV_SEND_INLINE;
		return n;
	}
	if (alen)
		memcpy(to, a, alen);
	if (blen)
		memcpy(to + alen, b, blen);
	sge[0] = (struct ibv_sge){
	    .addr = (uintptr_t)to, .length = alen + blen, .lkey = ep->slab_mr->lkey};
	*out_flags = IBV_SEND_SIGNALED;
	return 1;
}

int swi_verbs_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b, uint32_t blen)
{
	struct ibv_sge sge[2];
	struct ibv_send_wr *bad, wr = {.sg_list = sge, .opcode = IBV_WR_SEND};
	uint32_t slot;
	int err;

	if (ep->state != EP_UP)
		return SWARM_EPEERLOST;
	if (alen > SWI_BE_MSG_MAX || blen > SWI_BE_MSG_MAX - alen)
		return -EMSGSIZE;
	if (!ep->send_free)
		return -EAGAIN;
	slot = (uint32_t)__builtin_ctzll(ep->send_free);
	wr.wr_id = swi_verbs_wr_id(WR_SEND, ep, slot);
	wr.num_sge = gather(ep, slot, a, alen, b, blen, sge, &wr.send_flags);
	err = ibv_post_send(ep->qp, &wr, &bad);
	if (err) {
		swi_debug(ep->be->log, "verbs: a send was refused: %s", strerror(err));
		return SWARM_EPEERLOST;
	}
	ep->send_free &= ~(1ull << slot);
	return 0;
}

void swi_verbs_recv_done(struct swi_be_ep *ep, uint32_t slot, const struct ibv_wc *wc)
{
	struct swi_be *be = ep->be;
	int err;

	if (wc->status != IBV_WC_SUCCESS) {
		swi_verbs_ep_down(ep, swi_verbs_wc_error(wc->status));
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
	if (ep->state == EP_UP)
		be->ev->recv(be->ctx, ep, recv_slot(ep, slot), wc->byte_len);
	if (ep->state != EP_UP)
		return;
	err = swi_verbs_post_recv(ep, slot);
	if (err)
		swi_verbs_ep_down(ep, err);
}

void swi_verbs_send_done(struct swi_be_ep *ep, uint32_t slot, const struct ibv_wc *wc)
{
	ep->send_free |= 1ull << slot;
	if (wc->status != IBV_WC_SUCCESS)
		swi_verbs_ep_down(ep, swi_verbs_wc_error(wc->status));
}
