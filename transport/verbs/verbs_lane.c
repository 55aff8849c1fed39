/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_lane.c - further queue pairs between two endpoints, for READs in one direction.
 *
 * The reader asks when a large READ has to wait for another: it makes queue pairs and sends ASK. The
 * other side, if it has granted the reader anything, makes as many, binds windows on them, and once they
 * are bound answers with OK. Both messages go over the authenticated main lane, and the new queue pairs
 * take its path, so neither rdma_cm nor the network is asked again. An OK without lanes is a refusal,
 * and final. Everything in a message is the peer's word and is checked.
 *
 *	ASK	'A' u8, count u8, count x { queue pair u32, packet number u32 }
 *	OK	'O' u8, count u8, count x { queue pair u32, packet number u32 }, keys u32,
 *		keys x { key on the main lane u32, count x key u32 }
 *
 * Owner thread only.
 */
#include "transport/base/codec.h"
#include "transport/verbs/verbs.h"

#define ASK	    'A'
#define OK	    'O'
#define PSN_MASK    0xffffffu
#define MSG_MAX	    4096u
#define MORE_LANES  (VERBS_LANES_MAX - 1)
#define KEYS_MAX    VERBS_WINDOWS_MAX

struct end { /* of a lane: what the other side has to know */
	uint32_t qp, psn;
};

/* Moves the main lane's attributes to those of a further one. */
static int lane_ready(struct verbs_lane *l, uint32_t dest_qp, uint32_t rq_psn, uint32_t sq_psn)
{
	struct swi_be_ep *ep = l->ep;
	struct ibv_qp_attr init = ep->init, rtr = ep->rtr, rts = ep->rts;
	int err;

	init.qp_access_flags = ep->granted ? IBV_ACCESS_REMOTE_READ : 0;
	rtr.dest_qp_num = dest_qp;
	rtr.rq_psn = rq_psn;
	rts.sq_psn = sq_psn;
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
	uint8_t buf[2 + MORE_LANES * 8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (ep->lanes_state != LANES_NONE || !ep->be->max_lanes || !ep->send_free)
		return;
	ep->lanes_state = LANES_ASKED;
	swi_wr_u8(&w, ASK);
	swi_wr_u8(&w, (uint8_t)ep->be->max_lanes);
	for (uint32_t i = 0; i < ep->be->max_lanes; i++) {
		struct verbs_lane *l;

		if (swi_verbs_lane_create(ep, &l)) {
			drop_lanes(ep);
			return;
		}
		ep->lanes[ep->lane_count++] = l;
		l->psn = (uint32_t)swi_rand(ep->be->env) & PSN_MASK;
		swi_wr_u32(&w, l->qp_num);
		swi_wr_u32(&w, l->psn);
	}
	if (swi_verbs_send_own(ep, buf, w.len))
		drop_lanes(ep);
}

/* One lane's keys out of the table at @r, which is read again for each lane. */
static int take_keys(struct verbs_lane *l, struct swi_rd r, uint32_t count, uint32_t lanes,
		     uint32_t which)
{
	l->keys = calloc(count + 1, sizeof(*l->keys));
	if (!l->keys)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		l->keys[i].main = swi_rd_u32(&r);
		for (uint32_t k = 0; k < lanes; k++) {
			const uint32_t key = swi_rd_u32(&r);

			if (k == which)
				l->keys[i].here = key;
		}
	}
	l->key_count = count;
	qsort(l->keys, count, sizeof(*l->keys), key_order);
	return 0;
}

/* 0, or the peer talks nonsense. */
static int on_ok(struct swi_be_ep *ep, struct swi_rd *r)
{
	const uint32_t lanes = swi_rd_u8(r);
	struct end ends[MORE_LANES];
	uint32_t keys;
	int err = 0;

	if (ep->lanes_state != LANES_ASKED || (lanes && lanes != ep->lane_count - 1))
		return SWARM_EPROTO;
	for (uint32_t i = 0; i < lanes; i++) {
		ends[i].qp = swi_rd_u32(r);
		ends[i].psn = swi_rd_u32(r);
	}
	keys = swi_rd_u32(r);
	if (keys > KEYS_MAX || (uint64_t)keys * 4 * (lanes + 1) != r->len - r->pos || r->bad)
		return SWARM_EPROTO;
	for (uint32_t i = 0; i < lanes && !err; i++) {
		struct verbs_lane *l = ep->lanes[i + 1];

		if (ends[i].qp > PSN_MASK || ends[i].psn > PSN_MASK)
			return SWARM_EPROTO;
		if (keys)
			err = take_keys(l, *r, keys, lanes, i);
		if (!err)
			err = lane_ready(l, ends[i].qp, ends[i].psn, l->psn);
	}
	if (err || !lanes) {
		drop_lanes(ep);
		return 0;
	}
	for (uint32_t i = 0; i < lanes; i++)
		ep->lanes[i + 1]->usable = true;
	ep->lanes_state = LANES_UP;
	ep->be->counters.lanes_opened += lanes;
	swi_debug(ep->be->log, "verbs: %u lanes more for reads", lanes);
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
	uint8_t buf[MSG_MAX];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	const uint32_t n = yes ? ep->serve_count : 0;
	const struct verbs_lane *main_lane = ep->lanes[0];

	ep->serve_answer = false;
	swi_wr_u8(&w, OK);
	swi_wr_u8(&w, (uint8_t)n);
	for (uint32_t i = 0; i < n; i++) {
		swi_wr_u32(&w, ep->serves[i]->qp_num);
		swi_wr_u32(&w, ep->serves[i]->psn);
	}
	swi_wr_u32(&w, n ? main_lane->window_count : 0);
	for (uint32_t k = 0; n && k < main_lane->window_count; k++) {
		swi_wr_u32(&w, main_lane->windows[k].rkey);
		for (uint32_t i = 0; i < n; i++)
			swi_wr_u32(&w, ep->serves[i]->windows[k].rkey);
	}
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

static int serve_one(struct swi_be_ep *ep, struct end peer)
{
	struct verbs_lane *l;
	int err = swi_verbs_lane_create(ep, &l);

	if (err)
		return err;
	ep->serves[ep->serve_count++] = l;
	l->psn = (uint32_t)swi_rand(ep->be->env) & PSN_MASK;
	err = lane_ready(l, peer.qp, peer.psn, l->psn);
	return err ? err : swi_verbs_windows_bind(l);
}

static int on_ask(struct swi_be_ep *ep, struct swi_rd *r)
{
	const uint32_t lanes = swi_rd_u8(r);
	bool same = true;
	int err = 0;

	if (!ep->granted || ep->serve_count || ep->serve_answer || !lanes || lanes > MORE_LANES ||
	    r->len - r->pos != lanes * 8)
		return SWARM_EPROTO;
	ep->serve_answer = true;
	for (uint32_t i = 0; i < lanes && !err; i++) {
		struct end peer = {.qp = swi_rd_u32(r)};

		peer.psn = swi_rd_u32(r);
		if (peer.qp > PSN_MASK || peer.psn > PSN_MASK)
			return SWARM_EPROTO;
		err = serve_one(ep, peer);
	}
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

	if (kind == ASK)
		err = on_ask(ep, &r);
	else if (kind == OK)
		err = on_ok(ep, &r);
	if (err)
		swi_verbs_ep_down(ep, err);
}
