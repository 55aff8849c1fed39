/* SPDX-License-Identifier: Apache-2.0 */
/*
 * many.c - GET_MANY: a request of a client for many objects, with one answer for all. See request.h.
 *
 * Each object is a want of its own with the same deadline; what has come is held until the answer goes out, and from
 * then on by the client's list, which HELD_MANY empties. Owner thread of the node.
 */
#include <swarm/store.h>

#include "store/request.h"
#include "store/snode_internal.h"

struct many_item {
	struct swi_want want;
	struct swi_client_many *cm;
	uint64_t offset;
	int status;
	bool answered;
};

struct swi_client_many {
	struct swi_list link; /* cl->manys */
	struct swi_client *cl;
	uint64_t req;
	uint32_t n, left;
	struct many_item item[];
};

static void many_free(struct swi_client_many *cm)
{
	for (uint32_t i = 0; i < cm->n; i++) {
		struct many_item *it = &cm->item[i];

		if (!it->answered)
			swi_want_cancel(cm->cl->sn, &it->want);
		else if (!it->status)
			swi_hold_drop(cm->cl->sn, it->offset);
	}
	swi_list_del(&cm->link);
	cm->cl->items -= cm->n;
	swi_client_blocked(cm->cl, -1);
	free(cm);
}

static void put_row(struct swi_wr *w, int status, uint64_t offset, const struct swi_object_head *h)
{
	swi_wr_u32(w, (uint32_t)status);
	swi_wr_u64(w, status ? 0 : offset);
	swi_wr_u32(w, status ? 0 : h->gen & 0xfffffu);
	swi_wr_u64(w, status ? 0 : h->len);
}

static void many_reply(struct swi_client_many *cm)
{
	struct swi_client *cl = cm->cl;
	const uint32_t cap = 8 + cm->n * SWI_GET_MANY_ROW;
	uint8_t *buf = malloc(cap);
	struct swi_wr w = swi_wr_init(buf, cap);

	if (!buf) {
		swi_client_reply_error(cl, cm->req, -ENOMEM, "the node is out of memory");
		many_free(cm);
		return;
	}
	swi_wr_u32(&w, 0);
	swi_wr_u32(&w, cm->n);
	for (uint32_t i = 0; i < cm->n; i++) {
		struct many_item *it = &cm->item[i];
		const struct swi_object_head *h =
		    it->status ? NULL : swi_object_at(cl->sn, it->offset, NULL);
		int rc = it->status ? it->status : h ? 0 : SWARM_ECORRUPT;

		if (!rc)
			rc = swi_client_held_add(cl, it->offset);
		put_row(&w, rc, it->offset, h);
		if (!rc)
			it->status = -EALREADY; /* the hold is the client's now */
	}
	swi_client_send(cl, SWI_L_REPLY, cm->req, buf, w.len);
	free(buf);
	many_free(cm);
}

static void many_answer(struct swi_want *want, int status, const char *text SWI_UNUSED,
			uint64_t offset)
{
	struct many_item *it = swi_container_of(want, struct many_item, want);
	struct swi_client_many *cm = it->cm;

	it->answered = true;
	it->status = status;
	it->offset = offset;
	if (--cm->left == 0)
		many_reply(cm);
}

int swi_client_get_many(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const uint64_t timeout_ns = swi_rd_u64(&r);
	const uint32_t n = swi_rd_u32(&r);
	const uint64_t deadline = swi_sat_add(cl->sn->now_ns, timeout_ns);

	if (r.bad || !msg->req || !n || n > SWARM_MANY_MAX || (uint64_t)n * 20 != r.len - r.pos)
		return -EPROTO;
	struct swi_client_many *cm =
	    cl->items > SWI_CLIENT_ITEMS_MAX ? NULL : calloc(1, sizeof(*cm) + n * sizeof(cm->item[0]));

	if (!cm) {
		swi_client_reply_error(cl, msg->req, -ENOMEM, "the node is out of memory");
		return 0;
	}
	cm->cl = cl;
	cm->req = msg->req;
	cm->n = cm->left = n;
	cl->items += n;
	swi_list_push_back(&cl->manys, &cm->link);
	swi_client_blocked(cl, 1);
	for (uint32_t i = 0; i < n; i++) {
		struct many_item *it = &cm->item[i];

		it->cm = cm;
		it->want.ref = swi_rd_ref(&r);
		it->want.deadline_ns = deadline;
		it->want.cb = many_answer;
		swi_want(cl->sn, &it->want); /* answers from the step, never from here */
	}
	return 0;
}

int swi_client_held_many(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const uint32_t n = swi_rd_u32(&r);

	if (r.bad || (uint64_t)n * 8 != r.len - r.pos)
		return -EPROTO;
	for (uint32_t i = 0; i < n; i++)
		if (swi_client_held_end(cl, swi_rd_u64(&r)))
			return -EPROTO;
	return 0;
}

void swi_client_manys_drop(struct swi_client *cl)
{
	while (!swi_list_empty(&cl->manys))
		many_free(swi_list_first(&cl->manys, struct swi_client_many, link));
}
