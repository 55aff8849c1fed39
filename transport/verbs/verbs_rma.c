/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_rma.c - registered memory and READs.
 *
 * At most read_depth READs (what both cards agreed on) and VERBS_READ_BYTES are with the card, the
 * others wait in a list. A card answers in order, so a message, a ping's answer too, stands behind
 * every READ that was posted before it: on a slow wire an unbounded heap of them would look like
 * silence. 4 MiB are many times what a fast wire holds. Every READ is signalled; its struct is
 * found by its slot. Owner thread only.
 */
#include "transport/verbs/verbs.h"

int swi_verbs_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr)
{
	void *addr = mem->addr;
	const uint64_t len = mem->len;
	unsigned int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_RELAXED_ORDERING;
	struct ibv_mr *mr;

	if (!addr || !len || len > be->attr.max_mr_size || ((uintptr_t)addr & (SWI_PAGE - 1)))
		return -EINVAL;
	/*
	 * Relaxed ordering lets the bus reorder the bytes of a READ, which nobody looks at before
	 * its completion. An optional flag: kernels and cards without it ignore it.
	 */
	if (mem->remote_read)
		access |= IBV_ACCESS_REMOTE_READ;
	mr = ibv_reg_mr(be->pd, addr, len, access);
	if (!mr)
		return swi_verbs_reg_error(errno);
	be->counters.mrs_created++;
	*out_mr = (struct swi_be_mr){
	    .addr = addr,
	    .len = len,
	    .base = (uintptr_t)addr,
	    .rkey = mr->rkey,
	    .desc = mr,
	    .handle = mr,
	};
	return 0;
}

void swi_verbs_mr_dereg(struct swi_be *be, struct swi_be_mr *mr)
{
	int err;

	if (!mr || !mr->handle)
		return;
	err = ibv_dereg_mr(mr->handle);
	if (err)
		swi_error(be->log, "verbs: cannot deregister memory: %s", strerror(err));
	else
		be->counters.mrs_destroyed++;
	mr->handle = mr->desc = NULL;
}

static int post(struct swi_be_ep *ep, struct swi_be_read *rd)
{
	uint32_t slot = (uint32_t)__builtin_ctzll(ep->read_free);
	struct ibv_mr *mr = rd->mr->handle;
	struct ibv_sge sge = {.addr = (uintptr_t)rd->local, .length = rd->len, .lkey = mr->lkey};
	struct ibv_send_wr *bad,
	    wr = {
		.wr_id = swi_verbs_wr_id(WR_READ, ep, slot),
		.sg_list = &sge,
		.num_sge = rd->len ? 1 : 0,
		.opcode = IBV_WR_RDMA_READ,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {.remote_addr = rd->remote_addr, .rkey = (uint32_t)rd->rkey},
	    };
	int err = ibv_post_send(ep->qp, &wr, &bad);

	if (err)
		return swi_verbs_errno(err);
	ep->read_free &= ~(1ull << slot);
	ep->reads[slot] = rd;
	ep->reads_posted++;
	ep->read_bytes += rd->len;
	return 0;
}

static bool card_takes(const struct swi_be_ep *ep, const struct swi_be_read *rd)
{
	return ep->reads_posted < ep->read_depth &&
	       (!ep->reads_posted || ep->read_bytes + rd->len <= VERBS_READ_BYTES);
}

int swi_verbs_read(struct swi_be_ep *ep, struct swi_be_read *rd)
{
	uint64_t at = (uint64_t)((uintptr_t)rd->local - (uintptr_t)rd->mr->addr);

	if (ep->state != EP_UP)
		return SWARM_EPEERLOST;
	if (rd->len > ep->be->max_read || at > rd->mr->len || rd->len > rd->mr->len - at)
		return -EINVAL;
	if (rd->rkey > UINT32_MAX) /* no card of ours has such a key: the peer made it up */
		return SWARM_EREMOTEACCESS;
	if (!ep->read_depth) /* the peer's card serves no reads at all */
		return SWARM_EREMOTEACCESS;
	if (swi_list_empty(&ep->reads_waiting) && card_takes(ep, rd))
		return post(ep, rd);
	swi_list_push_back(&ep->reads_waiting, &rd->link);
	return 0;
}

/* Gives waiting reads to the card while it takes them. */
static void post_waiting(struct swi_be_ep *ep)
{
	struct swi_be_read *rd;
	int err;

	while (ep->state == EP_UP) {
		rd = swi_list_first(&ep->reads_waiting, struct swi_be_read, link);
		if (!rd || !card_takes(ep, rd))
			return;
		swi_list_del(&rd->link);
		err = post(ep, rd);
		if (!err)
			continue;
		swi_list_push_front(&ep->reads_waiting, &rd->link);
		swi_verbs_ep_down(ep, err);
	}
}

void swi_verbs_read_done(struct swi_be_ep *ep, uint32_t slot, const struct ibv_wc *wc)
{
	struct swi_be *be = ep->be;
	struct swi_be_read *rd = ep->reads[slot];
	int status = swi_verbs_wc_error(wc->status);

	SWI_BUG_ON(!rd);
	ep->reads[slot] = NULL;
	ep->read_free |= 1ull << slot;
	ep->reads_posted--;
	ep->read_bytes -= rd->len;
	if (SWI_UNLIKELY(status))
		swi_verbs_ep_down(ep, status);
	else if (!swi_list_empty(&ep->reads_waiting))
		post_waiting(ep); /* before the callback: the card works while the caller does */
	be->ev->read_done(be->ctx, ep, rd, status);
}

/* After the queue pair is gone, and with it every access of the card: what is left has failed. */
void swi_verbs_reads_cancel(struct swi_be_ep *ep, bool tell)
{
	struct swi_be *be = ep->be;
	struct swi_be_read *rd;

	for (uint32_t i = 0; i < VERBS_READ_DEPTH; i++) {
		rd = ep->reads[i];
		if (!rd)
			continue;
		ep->reads[i] = NULL;
		ep->reads_posted--;
		if (tell)
			be->ev->read_done(be->ctx, ep, rd, SWARM_EPEERLOST);
	}
	while ((rd = swi_list_first(&ep->reads_waiting, struct swi_be_read, link))) {
		swi_list_del(&rd->link);
		if (tell)
			be->ev->read_done(be->ctx, ep, rd, SWARM_EPEERLOST);
	}
}
