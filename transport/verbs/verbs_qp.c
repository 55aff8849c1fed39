/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_qp.c - a lane's queue pair and its ring: what the card has, and what a completion stands for.
 * Owner thread only.
 */
#include "transport/verbs/verbs.h"

static int take_slot(struct swi_be *be, struct verbs_lane *l)
{
	for (uint32_t n = 0; n < VERBS_MAX_LANES; n++) {
		uint32_t i = (be->lane_hint + n) % VERBS_MAX_LANES;
		struct lane_slot *slot = &be->lanes[i];

		if (slot->lane)
			continue;
		slot->lane = l;
		slot->gen = (slot->gen + 1) & WR_GEN_MASK;
		l->index = (uint16_t)i;
		l->gen = slot->gen;
		be->lane_hint = i + 1;
		return 0;
	}
	return -EMFILE;
}

static int create_qp(struct swi_be *be, struct verbs_lane *l)
{
	struct ibv_qp_init_attr init = {
	    .send_cq = be->cq,
	    .recv_cq = be->cq,
	    .srq = be->srq,
	    .cap = {.max_send_wr = VERBS_SQ_DEPTH,
		    .max_send_sge = 2,
		    .max_inline_data = VERBS_INLINE_MAX},
	    .qp_type = IBV_QPT_RC,
	};

	l->qp = ibv_create_qp(be->pd, &init);
	if (!l->qp) {
		init.cap.max_inline_data = 0;
		l->qp = ibv_create_qp(be->pd, &init);
	}
	if (!l->qp)
		return swi_verbs_reg_error(errno);
	be->counters.qps_created++;
	l->inline_max = (uint32_t)swi_min_u64(init.cap.max_inline_data, VERBS_INLINE_MAX);
	l->qp_num = l->qp->qp_num;
	HASH_ADD(hh, be->by_qp, qp_num, sizeof(l->qp_num), l);
	return 0;
}

int swi_verbs_lane_create(struct swi_be_ep *ep, struct verbs_lane **out_lane)
{
	struct swi_be *be = ep->be;
	int err = swi_verbs_cq_reserve(be, VERBS_SQ_DEPTH);
	struct verbs_lane *l;

	if (err)
		return err;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->ep = ep;
	err = take_slot(be, l);
	if (err) {
		free(l);
		return err;
	}
	be->cqe_used += VERBS_SQ_DEPTH;
	err = create_qp(be, l);
	if (err) {
		swi_verbs_lane_destroy(l);
		return err;
	}
	*out_lane = l;
	return 0;
}

void swi_verbs_lane_unmake(struct verbs_lane *l)
{
	struct swi_be *be = l->ep->be;
	int err;

	swi_verbs_windows_drop(l, NULL);
	if (!l->qp)
		return;
	err = ibv_destroy_qp(l->qp);
	if (err)
		swi_error(be->log, "verbs: cannot destroy a queue pair: %s", strerror(err));
	else
		be->counters.qps_destroyed++;
	HASH_DELETE(hh, be->by_qp, l);
	l->qp = NULL;
	l->usable = false;
}

void swi_verbs_lane_destroy(struct verbs_lane *l)
{
	struct swi_be *be = l->ep->be;

	swi_verbs_lane_unmake(l);
	be->lanes[l->index].lane = NULL;
	be->cqe_stale += VERBS_SQ_DEPTH;
	free(l->windows);
	free(l->keys);
	free(l);
}

bool swi_verbs_lane_flushed(const struct verbs_lane *l)
{
	return l->head == l->tail;
}

uint64_t swi_verbs_push(struct verbs_lane *l, struct verbs_op op)
{
	const uint32_t place = l->head++ % VERBS_RING;

	SWI_BUG_ON(l->head - l->tail > VERBS_SQ_DEPTH);
	l->ring[place] = op;
	return (uint64_t)l->gen << 32 | (uint64_t)l->index << 16 | place;
}

void swi_verbs_unpush(struct verbs_lane *l, uint32_t n)
{
	l->head -= n;
}

/*
 * What is in the ring without having asked for a completion would never be seen to end, so a last work
 * request follows that asks for one; in error nothing is carried out any more.
 */
void swi_verbs_lane_stop(struct verbs_lane *l)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	struct ibv_send_wr *bad, wr = {.opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED};

	l->usable = false;
	if (!l->qp || ibv_modify_qp(l->qp, &attr, IBV_QP_STATE) != 0) {
		swi_debug(l->ep->be->log, "verbs: a queue pair would not go into error");
		return;
	}
	if (l->head == l->tail ||
	    l->ring[(l->head - 1) % VERBS_RING].kind == OP_LAST)
		return;
	wr.wr_id = swi_verbs_push(l, (struct verbs_op){.kind = OP_LAST});
	if (ibv_post_send(l->qp, &wr, &bad))
		swi_verbs_unpush(l, 1);
}

static void end_op(struct verbs_lane *l, struct verbs_op op, int status)
{
	struct swi_be_ep *ep = l->ep;

	switch (op.kind) {
	case OP_SEND:
		ep->send_free |= 1ull << op.slot;
		break;
	case OP_READ:
		swi_verbs_read_done(l, op.rd, status);
		break;
	case OP_BIND:
		if (!status && l != ep->lanes[0])
			swi_verbs_lanes_bound(ep);
		break;
	case OP_LAST:
		break;
	}
}

void swi_verbs_sq_done(struct verbs_lane *l, uint32_t place, const struct ibv_wc *wc)
{
	const int status = swi_verbs_wc_error(wc->status);
	bool last = false;

	if (SWI_UNLIKELY(((place - l->tail) & (VERBS_RING - 1)) >= l->head - l->tail))
		return;
	if (SWI_UNLIKELY(status))
		swi_verbs_ep_down(l->ep, status); /* before any of its reads is seen to fail */
	while (!last) {
		const struct verbs_op op = l->ring[l->tail % VERBS_RING];

		last = l->tail % VERBS_RING == place;
		l->tail++;
		end_op(l, op, last ? status : 0);
	}
}
