/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_lane.c - further queue pairs between two endpoints, for READs in one direction.
 *
 * The reader asks when a large READ has to wait for another: it makes queue pairs and sends ASK. The
 * other side, if it has granted the reader anything, makes as many, binds windows on them, and once they
 * are bound answers with OK. Both messages go over the authenticated main lane, and the new queue pairs
 * take its path, so neither rdma_cm nor the network is asked again. An OK without lanes is a refusal,
 * and final. Their bytes: verbs_wire.h. Everything in a message is the peer's word and is checked.
 *
 * Owner thread only.
 */
#include "transport/verbs/verbs.h"

/* Moves the main lane's attributes to those of a further one. */
static int lane_ready(struct verbs_lane *l, struct verbs_end peer)
{
	struct swi_be_ep *ep = l->ep;
	struct ibv_qp_attr init = ep->init, rtr = ep->rtr, rts = ep->rts;
	int err;

	init.qp_access_flags = ep->granted ? IBV_ACCESS_REMOTE_READ : 0;
	rtr.dest_qp_num = peer.qp;
	rtr.rq_psn = peer.psn;
	rts.sq_psn = l->psn;
	err = ibv_modify_qp(l->qp, &init, ep->init_mask);
	if (!err)
		err = ibv_modify_qp(l->qp, &rtr, ep->rtr_mask);
	if (!err)
		err = ibv_modify_qp(l->qp, &rts, ep->rts_mask);
	return err ? swi_verbs_errno(err) : 0;
}

static int key_order(const void *a, const void *b)
{
	const struct verbs_key *x = a, *y = b;

	return (x->main > y->main) - (x->main < y->main);
}

bool swi_verbs_lane_key(const struct verbs_lane *l, uint64_t rkey, uint32_t *out_rkey)
{
	const struct verbs_key want = {.main = (uint32_t)rkey}, *k;

	if (!l->keys) {
		*out_rkey = (uint32_t)rkey;
		return true;
	}
	k = bsearch(&want, l->keys, l->key_count, sizeof(want), key_order);
	if (k)
		*out_rkey = k->here;
	return k != NULL;
}

/* --- the reader --- */

/* Nothing was ever posted on them. */
static void drop_lanes(struct swi_be_ep *ep)
{
	while (ep->lane_count > 1)
		swi_verbs_lane_destroy(ep->lanes[--ep->lane_count]);
	ep->lanes_state = LANES_NEVER;
}

void swi_verbs_lanes_want(struct swi_be_ep *ep)
{
	struct verbs_ask m = {.count = ep->be->max_lanes};
	uint8_t buf[2 + VERBS_MORE_LANES * 8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (ep->lanes_state != LANES_NONE || !ep->be->max_lanes || !ep->send_free)
		return;
	ep->lanes_state = LANES_ASKED;
	for (uint32_t i = 0; i < m.count; i++) {
		struct verbs_lane *l;

		if (swi_verbs_lane_create(ep, &l)) {
			drop_lanes(ep);
			return;
		}
		ep->lanes[ep->lane_count++] = l;
		l->psn = (uint32_t)swi_rand(ep->be->env) & VERBS_NUMBER_MAX;
		m.end[i] = (struct verbs_end){l->qp_num, l->psn};
	}
	swi_verbs_put_ask(&w, &m);
	SWI_BUG_ON(!swi_wr_ok(&w));
	if (swi_verbs_send_own(ep, buf, w.len))
		drop_lanes(ep);
}

/* What the peer's memories are called on lane @which of those that it made. */
static int take_names(struct verbs_lane *l, const struct verbs_ok *m, uint32_t which)
{
	if (!m->name_count)
		return 0;
	l->keys = calloc(m->name_count, sizeof(*l->keys));
	if (!l->keys)
		return -ENOMEM;
	for (uint32_t k = 0; k < m->name_count; k++)
		l->keys[k] = (struct verbs_key){m->name[k].main, m->name[k].here[which]};
	l->key_count = m->name_count;
	qsort(l->keys, l->key_count, sizeof(*l->keys), key_order);
	return 0;
}

/* 0, or the peer talks nonsense. */
static int on_ok(struct swi_be_ep *ep, struct swi_rd *r)
{
	struct verbs_ok m;
	int err = swi_verbs_get_ok(r, &m);

	if (err || ep->lanes_state != LANES_ASKED || (m.count && m.count != ep->lane_count - 1))
		return SWARM_EPROTO;
	for (uint32_t i = 0; i < m.count && !err; i++) {
		err = take_names(ep->lanes[i + 1], &m, i);
		if (!err)
			err = lane_ready(ep->lanes[i + 1], m.end[i]);
	}
	if (err || !m.count) {
		drop_lanes(ep);
		return 0;
	}
	for (uint32_t i = 0; i < m.count; i++)
		ep->lanes[i + 1]->usable = true;
	ep->lanes_state = LANES_UP;
	ep->be->counters.lanes_opened += m.count;
	swi_debug(ep->be->log, "verbs: %u lanes more for reads", m.count);
	return 0;
}

/* --- the one that is read --- */

static void drop_serves(struct swi_be_ep *ep)
{
	for (uint32_t i = 0; i < ep->serve_count; i++) /* ended with the endpoint: binds may be on it */
		swi_verbs_lane_stop(ep->serves[i]);
}

static void answer(struct swi_be_ep *ep, bool yes)
{
	uint8_t buf[VERBS_OWN_MAX];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	struct verbs_ok m = {.count = yes ? ep->serve_count : 0};
	const struct verbs_lane *main_lane = ep->lanes[0];

	ep->serve_answer = false;
	for (uint32_t i = 0; i < m.count; i++)
		m.end[i] = (struct verbs_end){ep->serves[i]->qp_num, ep->serves[i]->psn};
	m.name_count = m.count ? main_lane->window_count : 0;
	SWI_BUG_ON(m.name_count > VERBS_WINDOWS_MAX);
	for (uint32_t k = 0; k < m.name_count; k++) {
		m.name[k].main = main_lane->windows[k].rkey;
		for (uint32_t i = 0; i < m.count; i++)
			m.name[k].here[i] = ep->serves[i]->windows[k].rkey;
	}
	swi_verbs_put_ok(&w, &m);
	SWI_BUG_ON(!swi_wr_ok(&w));
	if (swi_verbs_send_own(ep, buf, w.len))
		swi_verbs_ep_down(ep, SWARM_EPEERLOST); /* the peer has asked for more than it reads */
}

/* A bind of a served lane is over: the last of a lane asks for a completion. */
void swi_verbs_lanes_bound(struct swi_be_ep *ep)
{
	for (uint32_t i = 0; i < ep->serve_count; i++)
		if (!swi_verbs_lane_flushed(ep->serves[i]))
			return;
	if (ep->serve_answer && ep->state == EP_UP)
		answer(ep, true);
}

static int serve_one(struct swi_be_ep *ep, struct verbs_end peer)
{
	struct verbs_lane *l;
	int err = swi_verbs_lane_create(ep, &l);

	if (err)
		return err;
	ep->serves[ep->serve_count++] = l;
	l->psn = (uint32_t)swi_rand(ep->be->env) & VERBS_NUMBER_MAX;
	err = lane_ready(l, peer);
	return err ? err : swi_verbs_windows_bind(l);
}

static int on_ask(struct swi_be_ep *ep, struct swi_rd *r)
{
	struct verbs_ask m;
	bool same = true;
	int err = swi_verbs_get_ask(r, &m);

	if (err || !ep->granted || ep->serve_count || ep->serve_answer)
		return SWARM_EPROTO;
	ep->serve_answer = true;
	for (uint32_t i = 0; i < m.count && !err; i++)
		err = serve_one(ep, m.end[i]);
	/* The tables are told side by side: they have to name the same memories in the same order. */
	for (uint32_t i = 0; i < ep->serve_count && !err; i++) {
		same &= ep->serves[i]->window_count == ep->lanes[0]->window_count;
		for (uint32_t k = 0; same && k < ep->lanes[0]->window_count; k++)
			same &= ep->serves[i]->windows[k].mr == ep->lanes[0]->windows[k].mr;
	}
	if (err || !same) {
		swi_debug(ep->be->log, "verbs: no further lanes: %s", swarm_strerror(err));
		drop_serves(ep);
		answer(ep, false);
	} else {
		swi_verbs_lanes_bound(ep);
	}
	return 0;
}

void swi_verbs_lanes_recv(struct swi_be_ep *ep, const void *buf, uint32_t len)
{
	struct swi_rd r = swi_rd_init(buf, len);
	const uint8_t kind = swi_rd_u8(&r);
	int err = SWARM_EPROTO;

	if (kind == VERBS_ASK)
		err = on_ask(ep, &r);
	else if (kind == VERBS_OK)
		err = on_ok(ep, &r);
	if (err)
		swi_verbs_ep_down(ep, err);
}
