/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_mw.c - memory windows of type 2: each peer has keys of its own, which open our memory through
 * its own queue pair and no other, and which end when its right ends.
 *
 * Where the device has them, regions are registered without the right to be read from afar, so nothing
 * but a window opens them. A bind is a work request of the queue pair that it is for; what is sent on
 * the same queue pair afterwards leaves after it was done. Owner thread only.
 */
#include "transport/verbs/verbs.h"

/* Where the device has no windows: the region's own key, and the queue pair's state guards it. */
uint64_t swi_verbs_rkey(struct swi_be_ep *ep, const struct swi_be_mr *mr)
{
	const struct verbs_lane *l = ep->lanes[0];

	if (!ep->be->windows)
		return mr->rkey;
	for (uint32_t i = 0; l && i < l->window_count; i++)
		if (l->windows[i].mr == mr->desc)
			return l->windows[i].rkey;
	return 0; /* registered later than granted, or revoked: no key opens it */
}

static int bind_one(struct verbs_lane *l, const struct verbs_mr *mr, bool last)
{
	struct swi_be *be = l->ep->be;
	struct verbs_window *w = &l->windows[l->window_count];
	struct ibv_send_wr *bad, wr = {.opcode = IBV_WR_BIND_MW,
				       .send_flags = last ? IBV_SEND_SIGNALED : 0};
	int err;

	w->mw = ibv_alloc_mw(be->pd, IBV_MW_TYPE_2);
	if (!w->mw)
		return -ENOMEM;
	be->counters.mws_created++;
	w->mr = mr;
	/* The low byte is ours to choose, and must be a new one: at random, one more thing to guess. */
	w->rkey = (w->mw->rkey & ~0xffu) |
		  (uint8_t)(w->mw->rkey + 1 + (uint32_t)(swi_rand(be->env) % 255));
	l->window_count++;
	wr.bind_mw.mw = w->mw;
	wr.bind_mw.rkey = w->rkey;
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info){.mr = mr->mr,
							 .addr = (uintptr_t)mr->mr->addr,
							 .length = mr->mr->length,
							 .mw_access_flags = IBV_ACCESS_REMOTE_READ};
	wr.wr_id = swi_verbs_push(l, (struct verbs_op){.kind = OP_BIND});
	err = ibv_post_send(l->qp, &wr, &bad);
	if (!err)
		return 0;
	swi_verbs_unpush(l, 1);
	swi_debug(be->log, "verbs: a window was refused: %s", strerror(err));
	return SWARM_EPEERLOST;
}

int swi_verbs_windows_bind(struct verbs_lane *l)
{
	struct swi_be *be = l->ep->be;
	uint32_t left = be->remote_mrs;
	int err = 0;

	if (!be->windows || !left)
		return 0;
	if (left > VERBS_WINDOWS_MAX) {
		swi_error(be->log, "verbs: %u pieces of memory, and a peer can have %u windows",
			  left, VERBS_WINDOWS_MAX);
		return -E2BIG;
	}
	l->windows = calloc(left, sizeof(*l->windows));
	if (!l->windows)
		return -ENOMEM;
	swi_list_for_each (it, &be->mrs) {
		const struct verbs_mr *mr = swi_list_entry(it, struct verbs_mr, link);

		if (mr->remote_read && !err)
			err = bind_one(l, mr, --left == 0);
	}
	return err;
}

void swi_verbs_windows_drop(struct verbs_lane *l, const struct verbs_mr *only)
{
	struct swi_be *be = l->ep->be;

	for (uint32_t i = 0; i < l->window_count; i++) {
		struct verbs_window *w = &l->windows[i];
		int err;

		if (!w->mw || (only && w->mr != only))
			continue;
		err = ibv_dealloc_mw(w->mw); /* synchronous: from here on the key opens nothing */
		if (err)
			swi_error(be->log, "verbs: cannot end a window: %s", strerror(err));
		else
			be->counters.mws_destroyed++;
		w->mw = NULL;
		w->rkey = 0;
		w->mr = NULL;
	}
}
