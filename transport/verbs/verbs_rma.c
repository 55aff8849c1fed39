/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_rma.c - registered memory and READs.
 *
 * READs wait in a list until the caller has posted what it has to post: swi_verbs_ring(), at both ends of
 * progress(), then gives them to the card as one chain and one doorbell a lane. At most read_depth READs
 * (what both cards agreed on) are with the card on one lane, and VERBS_READ_BYTES on all. A card answers in
 * order, so a message, a ping's answer too, stands behind every READ that was posted before it on the
 * same queue pair: on a slow wire an unbounded heap of them would look like silence. 4 MiB are many
 * times what a fast wire holds. Owner thread only.
 */
#include "transport/verbs/verbs.h"

int swi_verbs_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr)
{
	/*
	 * Relaxed ordering lets the bus reorder the bytes of a READ that arrives. Safe here: nobody
	 * looks at them before its completion, which the bus orders behind them, and no two bytes of
	 * a READ mean anything to each other before. An optional flag: kernels and cards without it
	 * ignore it.
	 */
	unsigned int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_RELAXED_ORDERING;
	struct verbs_mr *m;

	if (!mem->addr || !mem->len || mem->len > be->attr.max_mr_size ||
	    ((uintptr_t)mem->addr & (SWI_PAGE - 1)))
		return -EINVAL;
	if (mem->remote_read) /* through windows alone where there are any: verbs_mw.c */
		access |= be->windows ? IBV_ACCESS_MW_BIND : IBV_ACCESS_REMOTE_READ;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->mr = ibv_reg_mr(be->pd, mem->addr, mem->len, access);
	if (!m->mr) {
		int err = swi_verbs_reg_error(errno);

		free(m);
		return err;
	}
	m->remote_read = mem->remote_read;
	be->remote_mrs += mem->remote_read;
	swi_list_push_back(&be->mrs, &m->link);
	be->counters.mrs_created++;
	*out_mr = (struct swi_be_mr){
	    .addr = mem->addr,
	    .len = mem->len,
	    .base = (uintptr_t)mem->addr,
	    .rkey = m->mr->rkey,
	    .desc = m,
	    .handle = m->mr,
	};
	return 0;
}

static void drop_windows(struct swi_be *be, const struct verbs_mr *m)
{
	for (struct verbs_lane *l = be->by_qp; l; l = l->hh.next)
		swi_verbs_windows_drop(l, m);
}

void swi_verbs_mr_dereg(struct swi_be *be, struct swi_be_mr *mr)
{
	struct verbs_mr *m;
	int err;

	if (!mr || !mr->handle)
		return;
	m = mr->desc;
	drop_windows(be, m); /* a region with a window cannot be deregistered */
	err = ibv_dereg_mr(m->mr);
	if (err)
		swi_error(be->log, "verbs: cannot deregister memory: %s", strerror(err));
	else
		be->counters.mrs_destroyed++;
	be->remote_mrs -= m->remote_read;
	swi_list_del(&m->link);
	free(m);
	mr->handle = mr->desc = NULL;
}

static void make_dirty(struct swi_be_ep *ep)
{
	if (swi_list_empty(&ep->dirty_link))
		swi_list_push_back(&ep->be->dirty, &ep->dirty_link);
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
	if (rd->len >= VERBS_LANE_MIN && !swi_list_empty(&ep->reads_waiting))
		swi_verbs_lanes_want(ep);
	swi_list_push_back(&ep->reads_waiting, &rd->link);
	make_dirty(ep);
	return 0;
}

static bool lane_takes(const struct verbs_lane *l, const struct swi_be_read *rd)
{
	return l->usable && l->reads < l->ep->read_depth &&
	       (!l->reads || l->read_bytes + rd->len <= VERBS_READ_BYTES / l->ep->lane_count);
}

/*
 * Large READs go where the fewest bytes are under way; small ones to the main lane, whose queue they
 * share with the messages.
 */
static struct verbs_lane *pick_lane(struct swi_be_ep *ep, const struct swi_be_read *rd)
{
	struct verbs_lane *best = NULL;

	for (uint32_t i = 0; i < (rd->len < VERBS_LANE_MIN ? 1 : ep->lane_count); i++) {
		struct verbs_lane *l = ep->lanes[i];

		if (lane_takes(l, rd) && (!best || l->read_bytes < best->read_bytes))
			best = l;
	}
	return best;
}

/* The work requests of one doorbell. */
struct chain {
	struct verbs_lane *lane;
	uint32_t n;
	struct ibv_send_wr wrs[VERBS_CHAIN];
	struct ibv_sge sges[VERBS_CHAIN];
	struct swi_be_read *rds[VERBS_CHAIN];
};

static void chain_add(struct chain *c, struct swi_be_read *rd)
{
	struct verbs_lane *l = c->lane;
	struct ibv_mr *mr = rd->mr->handle;
	uint32_t i = c->n++, rkey = 0;

	/* A key that the peer did not offer: let its card say so, as with any other wrong key. */
	if (!swi_verbs_lane_key(l, rd->rkey, &rkey))
		rkey = (uint32_t)rd->rkey;
	c->rds[i] = rd;
	c->sges[i] =
	    (struct ibv_sge){.addr = (uintptr_t)rd->local, .length = rd->len, .lkey = mr->lkey};
	c->wrs[i] = (struct ibv_send_wr){
	    .wr_id = swi_verbs_push(l, (struct verbs_op){.kind = OP_READ, .rd = rd}),
	    .sg_list = &c->sges[i],
	    .num_sge = rd->len ? 1 : 0,
	    .opcode = IBV_WR_RDMA_READ,
	    .send_flags = rd->len >= KIB(64) || i % VERBS_SIGNAL_READS == VERBS_SIGNAL_READS - 1
			      ? IBV_SEND_SIGNALED
			      : 0,
	    .wr.rdma = {.remote_addr = rd->remote_addr, .rkey = rkey}};
	if (i)
		c->wrs[i - 1].next = &c->wrs[i];
	l->reads++;
	l->read_bytes += rd->len;
}

/* Rings. What the card does not take is waiting again. */
static int chain_post(struct chain *c)
{
	struct verbs_lane *l = c->lane;
	struct ibv_send_wr *bad = NULL;
	uint32_t taken = c->n;
	int err;

	if (!c->n)
		return 0;
	c->wrs[c->n - 1].send_flags |= IBV_SEND_SIGNALED;
	err = ibv_post_send(l->qp, c->wrs, &bad);
	l->ep->be->counters.doorbells++;
	if (err)
		taken = bad ? (uint32_t)(bad - c->wrs) : 0;
	for (uint32_t i = c->n; i-- > taken;) {
		swi_verbs_unpush(l, 1);
		l->reads--;
		l->read_bytes -= c->rds[i]->len;
		swi_list_push_front(&l->ep->reads_waiting, &c->rds[i]->link);
	}
	c->n = 0;
	return err ? swi_verbs_errno(err) : 0;
}

static void ring_ep(struct swi_be_ep *ep)
{
	struct chain c; /* 5 KiB: what is used of it is written, nothing else */
	struct swi_be_read *rd;
	int err = 0;

	c.n = 0;
	c.lane = NULL;
	while (!err && ep->state == EP_UP) {
		rd = swi_list_first(&ep->reads_waiting, struct swi_be_read, link);
		struct verbs_lane *l = rd ? pick_lane(ep, rd) : NULL;

		if (!l)
			break;
		if (c.n && (c.lane != l || c.n == VERBS_CHAIN))
			err = chain_post(&c);
		if (err)
			break;
		c.lane = l;
		swi_list_del(&rd->link);
		chain_add(&c, rd);
	}
	if (!err && ep->state == EP_UP)
		err = chain_post(&c);
	if (err)
		swi_verbs_ep_down(ep, err);
}

void swi_verbs_ring(struct swi_be *be)
{
	struct swi_list now;

	swi_list_init(&now);
	swi_list_splice(&now, &be->dirty);
	while (!swi_list_empty(&now)) {
		struct swi_be_ep *ep = swi_list_entry(now.next, struct swi_be_ep, dirty_link);

		swi_list_del(&ep->dirty_link);
		ring_ep(ep);
	}
}

void swi_verbs_read_done(struct verbs_lane *l, struct swi_be_read *rd, int status)
{
	struct swi_be_ep *ep = l->ep;
	struct swi_be *be = ep->be;

	SWI_BUG_ON(!l->reads);
	l->reads--;
	l->read_bytes -= rd->len;
	if (!swi_list_empty(&ep->reads_waiting))
		make_dirty(ep);
	be->ev->read_done(be->ctx, ep, rd, status);
}

static void cancel_lane(struct verbs_lane *l, bool tell)
{
	struct swi_be *be = l->ep->be;

	for (; l->tail != l->head; l->tail++) {
		const struct verbs_op *op = &l->ring[l->tail % VERBS_RING];

		if (op->kind == OP_READ && tell)
			be->ev->read_done(be->ctx, l->ep, op->rd, SWARM_EPEERLOST);
	}
	l->reads = 0;
}

/* After the queue pairs are gone, and with them every access of the card: what is left has failed. */
void swi_verbs_reads_cancel(struct swi_be_ep *ep, bool tell)
{
	struct swi_be *be = ep->be;
	struct swi_be_read *rd;

	for (uint32_t i = 0; i < ep->lane_count; i++)
		cancel_lane(ep->lanes[i], tell);
	while ((rd = swi_list_first(&ep->reads_waiting, struct swi_be_read, link))) {
		swi_list_del(&rd->link);
		if (tell)
			be->ev->read_done(be->ctx, ep, rd, SWARM_EPEERLOST);
	}
}
