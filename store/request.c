/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c - what each message of a client asks for (proto.h): the switch, and the short ones. See request.h.
 *
 * Elsewhere: room (grant.c), many objects at once (many.c), wait sets (sets.c), subscriptions (notify.c),
 * pins and ends in time (attr.c), copies on other nodes (replicate.c). Owner thread of the node.
 */
#include <swarm/store.h>

#include "store/request.h"
#include "store/snode_internal.h"
#include "store/sync.h"

struct client_get {
	struct swi_list link;
	struct swi_client *cl;
	uint64_t req;
	uint32_t event;
	struct swi_want want;
};

struct wait_item {
	struct swi_watch watch;
	struct client_wait *cw;
	uint8_t ready;
};

struct client_wait { /* WAIT, and EXPLAIN with its one item */
	struct swi_list link;
	struct swi_client *cl;
	uint64_t req;
	bool explain;
	uint32_t n, min, ready;
	struct wait_item item[];
};

void swi_client_blocked(struct swi_client *cl, int delta)
{
	struct swi_snode *sn = cl->sn;
	const bool before = cl->blocked != 0;

	cl->blocked = (uint32_t)((int)cl->blocked + delta);
	cl->requests = (uint32_t)((int)cl->requests + delta);
	if (before != (cl->blocked != 0) && sn->hooks.client_blocked && !cl->gone)
		sn->hooks.client_blocked(sn->hooks.ctx, cl, cl->blocked != 0);
}

/* ---- GET ---- */

int swi_client_held_add(struct swi_client *cl, uint64_t offset)
{
	struct swi_client_held *held = swi_pool_get(&cl->sn->clients.spare_held, sizeof(*held), 0);

	if (!held)
		return -ENOMEM;
	held->offset = offset;
	swi_list_push_back(&cl->held, &held->link);
	return 0;
}

static bool reply_object(struct client_get *g, uint64_t offset)
{
	const struct swi_object_head *h = swi_object_at(g->cl->sn, offset, NULL);
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (!h || swi_client_held_add(g->cl, offset))
		return false;
	swi_wr_u32(&w, 0);
	swi_wr_u64(&w, offset);
	swi_wr_u32(&w, h->gen & 0xfffffu);
	swi_wr_u64(&w, h->len);
	swi_client_send(g->cl, SWI_L_REPLY, g->req, buf, w.len);
	return true;
}

static void get_answer(struct swi_want *want, int status, const char *text, uint64_t offset)
{
	struct client_get *g = swi_container_of(want, struct client_get, want);

	swi_list_del(&g->link);
	if (status) {
		swi_client_reply_error(g->cl, g->req, status, text);
	} else if (!reply_object(g, offset)) {
		swi_hold_drop(g->cl->sn, offset);
		swi_client_reply_error(g->cl, g->req, SWARM_ECORRUPT, "the object's header is damaged");
	}
	swi_client_event(g->cl, g->event);
	swi_client_blocked(g->cl, -1);
	free(g);
}

static int do_get_cancel(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const uint64_t req = swi_rd_u64(&r);

	if (!swi_rd_done(&r))
		return -EPROTO;
	swi_list_for_each(it, &cl->gets)
	{
		struct client_get *g = swi_list_entry(it, struct client_get, link);

		if (g->req != req)
			continue;
		swi_want_cancel(cl->sn, &g->want);
		swi_list_del(&g->link);
		swi_client_blocked(cl, -1);
		free(g);
		return 0;
	}
	return 0; /* its answer crossed this */
}

static int do_get(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const struct swarm_ref ref = swi_rd_ref(&r);
	const uint64_t timeout_ns = swi_rd_u64(&r);
	const uint32_t event = r.pos < r.len ? swi_rd_u32(&r) : 0;

	if (!swi_rd_done(&r) || !msg->req || event > SWI_EVENTS)
		return -EPROTO;
	struct client_get *g = calloc(1, sizeof(*g));

	if (!g) {
		swi_client_reply_error(cl, msg->req, -ENOMEM, "the node is out of memory");
		return 0;
	}
	g->cl = cl;
	g->req = msg->req;
	g->event = event;
	g->want.ref = ref;
	g->want.deadline_ns = swi_sat_add(cl->sn->now_ns, timeout_ns);
	g->want.cb = get_answer;
	swi_list_push_back(&cl->gets, &g->link);
	swi_client_blocked(cl, 1);
	swi_want(cl->sn, &g->want);
	return 0;
}

int swi_client_held_end(struct swi_client *cl, uint64_t offset)
{
	swi_list_for_each(it, &cl->held)
	{
		struct swi_client_held *h = swi_list_entry(it, struct swi_client_held, link);

		if (h->offset != offset)
			continue;
		swi_hold_drop(cl->sn, offset);
		swi_list_del(&h->link);
		swi_pool_put(&cl->sn->clients.spare_held, h);
		return 0;
	}
	return -EPROTO;
}

static int do_held_done(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const uint64_t offset = swi_rd_u64(&r);

	return swi_rd_done(&r) ? swi_client_held_end(cl, offset) : -EPROTO;
}

/* ---- WAIT and EXPLAIN ---- */

static void wait_free(struct client_wait *cw)
{
	for (uint32_t i = 0; i < cw->n; i++)
		swi_watch_cancel(cw->cl->sn, &cw->item[i].watch);
	swi_list_del(&cw->link);
	swi_client_blocked(cw->cl, -1);
	free(cw);
}

static void wait_reply(struct client_wait *cw, int status)
{
	const uint32_t cap = 64 + cw->n;
	uint8_t *buf = malloc(cap);
	struct swi_wr w = swi_wr_init(buf, cap);

	if (!buf) {
		swi_client_reply_error(cw->cl, cw->req, -ENOMEM, "the node is out of memory");
	} else {
		swi_wr_u32(&w, (uint32_t)status);
		if (status < 0)
			swi_wr_str(&w, "not in time");
		swi_wr_u32(&w, cw->ready);
		for (uint32_t i = 0; i < cw->n; i++)
			swi_wr_u8(&w, cw->item[i].ready);
		swi_client_send(cw->cl, SWI_L_REPLY, cw->req, buf, w.len);
	}
	free(buf);
	wait_free(cw);
}

static void explain_reply(struct client_wait *cw, int status, const char *text,
			  const struct swi_copies *copies)
{
	uint8_t buf[1024];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	char line[512];

	if (status < 0) {
		swi_client_reply_error(cw->cl, cw->req, status, text);
	} else {
		int n = snprintf(line, sizeof(line), "%llu bytes; copies:",
				 (unsigned long long)copies->len);

		for (uint32_t i = 0; i < copies->count && i < SWI_COPIES_MAX; i++)
			n += snprintf(line + n, sizeof(line) - (size_t)n, " node %u%s%s",
				      copies->node[i], copies->spilled[i] ? " (on disk)" : "",
				      i + 1 < copies->count ? "," : "");
		swi_wr_u32(&w, 0);
		swi_wr_str(&w, line);
		swi_client_send(cw->cl, SWI_L_REPLY, cw->req, buf, w.len);
	}
	wait_free(cw);
}

static void watch_answer(struct swi_watch *watch, int status, const char *text,
			 const struct swi_copies *copies)
{
	struct wait_item *item = swi_container_of(watch, struct wait_item, watch);
	struct client_wait *cw = item->cw;

	if (cw->explain) {
		explain_reply(cw, status, text, copies);
	} else if (status == -ENOENT || status == -ETIMEDOUT) {
		wait_reply(cw, -ETIMEDOUT); /* all have the same deadline */
	} else {
		item->ready = 1;
		if (++cw->ready >= cw->min)
			wait_reply(cw, 0);
	}
}

static struct client_wait *wait_make(struct swi_client *cl, uint64_t req, uint32_t n)
{
	struct client_wait *cw = calloc(1, sizeof(*cw) + n * sizeof(cw->item[0]));

	if (!cw) {
		swi_client_reply_error(cl, req, -ENOMEM, "the node is out of memory");
		return NULL;
	}
	cw->cl = cl;
	cw->req = req;
	cw->n = n;
	for (uint32_t i = 0; i < n; i++) {
		cw->item[i].cw = cw;
		cw->item[i].watch.cb = watch_answer;
		swi_list_init(&cw->item[i].watch.link);
	}
	swi_list_push_back(&cl->waits, &cw->link);
	swi_client_blocked(cl, 1);
	return cw;
}

static int do_wait(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const uint32_t n = swi_rd_u32(&r);
	const uint32_t min = swi_rd_u32(&r);
	const uint64_t timeout_ns = swi_rd_u64(&r);
	const uint64_t deadline = swi_sat_add(cl->sn->now_ns, timeout_ns);

	if (r.bad || !msg->req || min > n || (uint64_t)n * 20 != r.len - r.pos)
		return -EPROTO;
	struct client_wait *cw = wait_make(cl, msg->req, n);

	if (!cw)
		return 0;
	cw->min = min;
	for (uint32_t i = 0; i < n; i++) {
		cw->item[i].watch.ref = swi_rd_ref(&r);
		cw->item[i].watch.deadline_ns = deadline;
		swi_watch(cl->sn, &cw->item[i].watch); /* answers from the step, never from here */
	}
	if (!min)
		wait_reply(cw, 0);
	return 0;
}

#define EXPLAIN_NS (2 * NS_PER_S) /* for the object's home to answer */

static int do_explain(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const struct swarm_ref ref = swi_rd_ref(&r);

	if (!swi_rd_done(&r) || !msg->req)
		return -EPROTO;
	struct client_wait *cw = wait_make(cl, msg->req, 1);

	if (!cw)
		return 0;
	cw->explain = true;
	cw->item[0].watch.ref = ref;
	cw->item[0].watch.deadline_ns = swi_sat_add(cl->sn->now_ns, EXPLAIN_NS);
	swi_watch(cl->sn, &cw->item[0].watch);
	return 0;
}

/* ---- LIST ---- */

#define LIST_MAX 2048u /* rows of one answer */
#define ROW_BYTES (20u + 8u + 4u)

struct list_walk {
	struct swi_snode *sn;
	struct swi_wr *w;
	uint32_t n, max;
	uint64_t skip, only_spilled; /* objects on disk alone: to pass over, and in all */
};

static void list_row(struct list_walk *lw, const struct swi_object_head *h, uint32_t flags)
{
	const struct swarm_ref ref = {.id = {.w = {h->oid[0], h->oid[1]}}, .home = h->home};

	swi_wr_ref(lw->w, ref);
	swi_wr_u64(lw->w, h->len);
	swi_wr_u32(lw->w, flags);
	lw->n++;
}

static bool spilled(struct swi_snode *sn, const struct swi_object_head *h)
{
	return sn->spill && swi_spill_find(sn->spill,
					   (struct swarm_oid){.w = {h->oid[0], h->oid[1]}}, NULL);
}

static uint32_t pin_flags(struct swi_snode *sn, const struct swi_object_head *h)
{
	static const uint32_t flag[] = {
	    [SWARM_PIN_SOFT] = SWARM_OBJECT_PIN_SOFT, [SWARM_PIN_HARD] = SWARM_OBJECT_PIN_HARD};

	return flag[swi_attr_pin(sn, (struct swarm_oid){.w = {h->oid[0], h->oid[1]}})];
}

static void list_spilled_row(void *ctx, const struct swi_object_head *h)
{
	struct list_walk *lw = ctx;
	struct swi_local lo;

	if (swi_local_find(lw->sn, (struct swarm_oid){.w = {h->oid[0], h->oid[1]}}, &lo))
		return; /* among those in memory */
	lw->only_spilled++;
	if (lw->skip)
		lw->skip--;
	else if (lw->n < lw->max)
		list_row(lw, h, SWARM_OBJECT_SPILLED | pin_flags(lw->sn, h));
}

static uint64_t list_memory(struct list_walk *lw, uint64_t cursor)
{
	struct swi_snode *sn = lw->sn;
	const uint64_t slots = swi_index_slots(&sn->index);

	for (; cursor < slots && lw->n < lw->max; cursor++) {
		const uint64_t w = swi_index_word(&sn->index, cursor);
		const struct swi_object_head *h;

		if (swi_slot_state(w) != SWI_SLOT_SEALED)
			continue;
		h = swi_object_at(sn, swi_slot_offset(w), NULL);
		if (!h || (h->gen & 0xfffffu) != swi_slot_gen(w))
			continue;
		uint32_t flags = SWARM_OBJECT_IN_MEMORY;

		if (h->flags & SWI_OBJ_F_SECONDARY)
			flags |= SWARM_OBJECT_SECONDARY;
		if (spilled(sn, h))
			flags |= SWARM_OBJECT_SPILLED;
		flags |= pin_flags(sn, h);
		list_row(lw, h, flags);
	}
	return cursor;
}

static int do_list(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_snode *sn = cl->sn;
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const uint64_t cursor = swi_rd_u64(&r);
	const uint32_t max = swi_rd_u32(&r);
	const uint64_t slots = swi_index_slots(&sn->index);
	uint8_t *rows = malloc(LIST_MAX * ROW_BYTES);
	uint8_t head[32];

	if (!swi_rd_done(&r) || !msg->req || !rows) {
		free(rows);
		return -EPROTO;
	}
	struct swi_wr w = swi_wr_init(rows, LIST_MAX * ROW_BYTES), hw = swi_wr_init(head, sizeof(head));
	struct list_walk lw = {.sn = sn, .w = &w, .max = max < LIST_MAX ? max : LIST_MAX};
	uint64_t next = list_memory(&lw, cursor); /* those behind the last slot are on disk */

	const uint32_t in_memory = lw.n;

	lw.skip = next > slots ? next - slots : 0;
	if (sn->spill)
		swi_spill_each(sn->spill, list_spilled_row, &lw);
	if (next >= slots)
		next += lw.n - in_memory;
	if (next >= slots + lw.only_spilled)
		next = 0;
	swi_wr_u32(&hw, 0);
	swi_wr_u64(&hw, next);
	swi_wr_u64(&hw, swi_clients_objects(sn) + lw.only_spilled);
	swi_wr_u32(&hw, lw.n);
	uint8_t *all = malloc(hw.len + w.len);

	if (all) {
		memcpy(all, head, hw.len);
		memcpy(all + hw.len, rows, w.len);
		swi_client_send(cl, SWI_L_REPLY, msg->req, all, hw.len + w.len);
	} else {
		swi_client_reply_error(cl, msg->req, -ENOMEM, "the node is out of memory");
	}
	free(all);
	free(rows);
	return 0;
}

/* ---- STATUS ---- */

#define STATUS_PIECE (32u << 10)

static char *status_text(struct swi_snode *sn, const char *what)
{
	if (!what[0] || !strcmp(what, "store"))
		return swi_snode_status_json(sn);
	if (!strcmp(what, "segments"))
		return swi_snode_segments_json(sn);
	return sn->hooks.status ? sn->hooks.status(sn->hooks.ctx, what) : NULL;
}

static int do_status(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	char what[64];

	swi_rd_str(&r, what, sizeof(what));
	const uint64_t offset = swi_rd_u64(&r);

	if (!swi_rd_done(&r) || !msg->req)
		return -EPROTO;
	if (offset == 0) {
		free(cl->status_text);
		cl->status_text = status_text(cl->sn, what);
	}
	if (!cl->status_text) {
		swi_client_reply_error(cl, msg->req, -ENOENT, "this node has no such status");
		return 0;
	}
	const uint64_t total = strlen(cl->status_text);
	const uint64_t from = swi_min_u64(offset, total);
	const uint32_t n = (uint32_t)swi_min_u64(total - from, STATUS_PIECE);
	uint8_t *buf = malloc(16 + STATUS_PIECE);
	struct swi_wr w = swi_wr_init(buf, 16 + STATUS_PIECE);

	if (!buf)
		return 0;
	swi_wr_u32(&w, 0);
	swi_wr_u64(&w, total);
	swi_wr_bytes(&w, cl->status_text + from, n);
	swi_client_send(cl, SWI_L_REPLY, msg->req, buf, w.len);
	free(buf);
	return 0;
}

/* ---- the short ones ---- */

static int do_sealed(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const struct swarm_ref ref = swi_rd_ref(&r);
	const uint64_t offset = swi_rd_u64(&r);

	if (!swi_rd_done(&r))
		return -EPROTO;
	swi_snode_sealed(cl->sn, ref.id, offset);
	return 0;
}

static int do_delete(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_snode *sn = cl->sn;
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const struct swarm_ref ref = swi_rd_ref(&r);
	struct swi_index_hit hit;

	if (!swi_rd_done(&r))
		return -EPROTO;
	while (swi_index_find_dead(&sn->index, swi_index_key(ref.id), &hit))
		swi_object_deleted(sn, &hit);
	swi_dir_delete_asked(sn, ref);
	return 0;
}

/* ---- PEER ---- */

struct client_dial {
	struct swi_list link;
	struct swi_client *cl;
	uint64_t req;
	struct swi_dial dial;
	struct swi_timer timer;
	char address[64];
};

static void dial_free(struct client_dial *d)
{
	swi_dial_cancel(&d->dial);
	swi_timer_stop(&d->cl->sn->timers, &d->timer);
	swi_list_del(&d->link);
	d->cl->requests--;
	free(d);
}

static void dial_failed(struct client_dial *d, int status)
{
	char text[256];

	snprintf(text, sizeof(text), "no store answers at %s: %s; %s", d->address,
		 swarm_strerror(status), swarm_strremedy(status));
	swi_client_reply_error(d->cl, d->req, status, text);
	dial_free(d);
}

static void dial_answer(struct swi_dial *dial, int status, uint32_t node)
{
	struct client_dial *d = swi_container_of(dial, struct client_dial, dial);
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (status) {
		dial_failed(d, status);
		return;
	}
	swi_wr_u32(&w, 0);
	swi_wr_u32(&w, node);
	swi_client_send(d->cl, SWI_L_REPLY, d->req, buf, w.len);
	dial_free(d);
}

static void dial_due(struct swi_timer *t)
{
	dial_failed(swi_container_of(t, struct client_dial, timer), -ETIMEDOUT);
}

static int do_peer(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	struct swi_snode *sn = cl->sn;
	struct client_dial *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	d->cl = cl;
	d->req = msg->req;
	swi_rd_str(&r, d->address, sizeof(d->address));
	const uint64_t timeout_ns = swi_rd_u64(&r);

	if (!swi_rd_done(&r) || !msg->req) {
		free(d);
		return -EPROTO;
	}
	d->dial.cb = dial_answer;
	d->timer.cb = dial_due;
	cl->requests++;
	swi_list_push_back(&cl->dials, &d->link);
	rc = swi_peer_dial_tell(sn, d->address, &d->dial);
	if (rc == SWARM_ENOTRANSPORT) {
		swi_client_reply_error(cl, msg->req, rc,
				       "this store serves no peers: open it with an address to bind");
		dial_free(d);
	} else if (rc) {
		dial_failed(d, rc);
	} else {
		swi_timer_set(&sn->timers, &d->timer, swi_sat_add(sn->now_ns, timeout_ns));
	}
	return 0;
}

int swi_client_request(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_snode *sn = cl->sn;

	switch (msg->type) {
	case SWI_L_CHUNK:
		return swi_grant_request(cl, msg);
	case SWI_L_CHUNK_DONE:
		return swi_grant_done(cl, msg);
	case SWI_L_SEALED:
		return do_sealed(cl, msg);
	case SWI_L_GET:
		return do_get(cl, msg);
	case SWI_L_HELD_DONE:
		return do_held_done(cl, msg);
	case SWI_L_GET_MANY:
		return swi_client_get_many(cl, msg);
	case SWI_L_HELD_MANY:
		return swi_client_held_many(cl, msg);
	case SWI_L_WAIT:
		return do_wait(cl, msg);
	case SWI_L_DELETE:
		return do_delete(cl, msg);
	case SWI_L_LIST:
		return do_list(cl, msg);
	case SWI_L_STATUS:
		return do_status(cl, msg);
	case SWI_L_PEER:
		return do_peer(cl, msg);
	case SWI_L_EXPLAIN:
		return do_explain(cl, msg);
	case SWI_L_PIN:
	case SWI_L_EXPIRE:
		return swi_client_attr(cl, msg);
	case SWI_L_REPLICATE:
		return swi_client_replicate(cl, msg);
	case SWI_L_GET_CANCEL:
		return do_get_cancel(cl, msg);
	case SWI_L_SET_ADD:
	case SWI_L_SET_DEL:
	case SWI_L_SET_EVENT:
	case SWI_L_SET_END:
		return swi_client_set(cl, msg);
	case SWI_L_SUBSCRIBE:
	case SWI_L_SUB_EVENT:
	case SWI_L_SUB_ACK:
	case SWI_L_SUB_END:
		return swi_client_notify(cl, msg);
	case SWI_L_GET_RANGE:
		return swi_range_request(cl, msg);
	case SWI_L_SYNC:
		return swi_sync_request(cl, msg);
	default:
		if (msg->type >= SWI_L_UPPER && sn->hooks.client_msg)
			return sn->hooks.client_msg(sn->hooks.ctx, cl, msg);
		return -EPROTO;
	}
}

void swi_client_requests_drop(struct swi_client *cl)
{
	while (!swi_list_empty(&cl->gets)) {
		struct client_get *g = swi_list_first(&cl->gets, struct client_get, link);

		swi_want_cancel(cl->sn, &g->want);
		swi_list_del(&g->link);
		swi_client_blocked(cl, -1);
		free(g);
	}
	swi_client_manys_drop(cl);
	swi_client_sets_drop(cl);
	swi_client_attrs_drop(cl);
	swi_client_replicates_drop(cl);
	swi_client_subs_drop(cl);
	while (!swi_list_empty(&cl->waits))
		wait_free(swi_list_first(&cl->waits, struct client_wait, link));
	swi_range_requests_drop(cl);
	swi_syncs_drop(cl);
	while (!swi_list_empty(&cl->dials))
		dial_free(swi_list_first(&cl->dials, struct client_dial, link));
}
