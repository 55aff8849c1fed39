/* SPDX-License-Identifier: Apache-2.0 */
/* notify.c - see notify.h; the requests of subscribers and what they are sent. Client side: subscribe.c. */
#include <swarm/store.h>

#include "store/notify.h"
#include "store/request.h"
#include "store/snode_internal.h"

#define SUBS_MAX  64u /* of one client */
#define BATCH_MAX 64u
#define ROW_BYTES 29u
#define KINDS_ALL (1u << SWARM_EVENT_SEALED | 1u << SWARM_EVENT_DELETED)

struct wanted_id {
	struct swarm_oid id;
	UT_hash_handle hh;
};

struct swi_client_sub {
	struct swi_list link;  /* cl->subs */
	struct swi_list all;   /* notify.subs */
	struct swi_list dirty; /* notify.dirty */
	struct swi_client *cl;
	uint32_t number, event, kinds, capacity;
	uint8_t filter, prefix_len, prefix[16];
	struct wanted_id *ids;
	uint32_t unacked; /* rows sent and not yet taken */
	uint64_t lost;
	uint32_t rows;
	uint8_t row[BATCH_MAX * ROW_BYTES];
};

void swi_notify_init(struct swi_snode *sn)
{
	swi_list_init(&sn->notify.subs);
	swi_list_init(&sn->notify.dirty);
}

/* ---- rows ---- */

static void flush(struct swi_client_sub *sub)
{
	uint8_t body[8 + sizeof(sub->row)];
	struct swi_wr w = swi_wr_init(body, sizeof(body));

	swi_list_del(&sub->dirty);
	if (!sub->rows)
		return;
	swi_wr_u32(&w, sub->number);
	swi_wr_u32(&w, sub->rows);
	swi_wr_raw(&w, sub->row, sub->rows * ROW_BYTES);
	sub->rows = 0;
	swi_client_send(sub->cl, SWI_L_NOTIFY, 0, body, w.len);
	swi_client_event(sub->cl, sub->event);
}

static void put_row(struct swi_client_sub *sub, uint8_t kind, struct swarm_ref ref, uint64_t len)
{
	struct swi_wr w;

	if (sub->rows == BATCH_MAX)
		flush(sub);
	w = swi_wr_init(sub->row + sub->rows++ * ROW_BYTES, ROW_BYTES);
	swi_wr_u8(&w, kind);
	swi_wr_ref(&w, ref);
	swi_wr_u64(&w, len);
	sub->unacked++;
	swi_list_del(&sub->dirty);
	swi_list_push_back(&sub->cl->sn->notify.dirty, &sub->dirty);
}

/* What was lost is said as soon as there is room for it, before anything newer. */
static void say_lost(struct swi_client_sub *sub)
{
	if (!sub->lost || sub->unacked >= sub->capacity)
		return;
	put_row(sub, SWARM_EVENT_LOST, (struct swarm_ref){0}, sub->lost);
	sub->lost = 0;
}

static void say(struct swi_client_sub *sub, uint8_t kind, struct swarm_ref ref, uint64_t len)
{
	say_lost(sub);
	if (sub->lost || sub->unacked >= sub->capacity)
		sub->lost++;
	else
		put_row(sub, kind, ref, len);
}

static bool key_begins_with(struct swarm_oid id, const uint8_t *prefix, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if ((uint8_t)(id.w[i / 8] >> (8 * (i % 8))) != prefix[i])
			return false;
	return true;
}

static bool wants(const struct swi_client_sub *sub, uint8_t kind, struct swarm_ref ref)
{
	struct wanted_id *w;

	if (!(sub->kinds & 1u << kind))
		return false;
	switch (sub->filter) {
	case SWARM_SUB_PREFIX:
		return !ref.home && key_begins_with(ref.id, sub->prefix, sub->prefix_len);
	case SWARM_SUB_REFS:
		HASH_FIND(hh, sub->ids, &ref.id, sizeof(ref.id), w);
		return w != NULL;
	default:
		return true;
	}
}

static void say_all(struct swi_snode *sn, uint8_t kind, struct swarm_ref ref, uint64_t len)
{
	swi_list_for_each(it, &sn->notify.subs)
	{
		struct swi_client_sub *sub = swi_list_entry(it, struct swi_client_sub, all);

		if (wants(sub, kind, ref))
			say(sub, kind, ref, len);
	}
}

void swi_notify_sealed(struct swi_snode *sn, const struct swi_local *lo)
{
	if (swi_list_empty(&sn->notify.subs))
		return;
	if (sn->notify.deleted_known && swarm_oid_equal(sn->notify.last_deleted, lo->ref.id))
		sn->notify.deleted_known = false; /* made anew: its next end is news again */
	say_all(sn, SWARM_EVENT_SEALED, lo->ref, lo->len);
}

void swi_notify_deleted(struct swi_snode *sn, struct swarm_ref ref, uint64_t len)
{
	if (swi_list_empty(&sn->notify.subs) ||
	    (sn->notify.deleted_known && swarm_oid_equal(sn->notify.last_deleted, ref.id)))
		return;
	sn->notify.last_deleted = ref.id;
	sn->notify.deleted_known = true;
	say_all(sn, SWARM_EVENT_DELETED, ref, len);
}

/* Seals that their makers could not announce, because their rings were full: nobody knows which. */
static void count_unsaid(struct swi_snode *sn)
{
	uint64_t n = 0;

	swi_list_for_each(it, &sn->clients.list)
	{
		struct swi_client *cl = swi_list_entry(it, struct swi_client, link);
		const uint32_t now = atomic_load_explicit(&cl->shm->unsaid, memory_order_relaxed);

		n += now - cl->unsaid_seen;
		cl->unsaid_seen = now;
	}
	if (!n)
		return;
	swi_list_for_each(it, &sn->notify.subs)
	{
		struct swi_client_sub *sub = swi_list_entry(it, struct swi_client_sub, all);

		if (!(sub->kinds & 1u << SWARM_EVENT_SEALED))
			continue;
		sub->lost += n;
		say_lost(sub);
	}
}

int swi_notify_step(struct swi_snode *sn)
{
	int n = 0;

	if (swi_list_empty(&sn->notify.subs))
		return 0;
	count_unsaid(sn);
	while (!swi_list_empty(&sn->notify.dirty)) {
		flush(swi_list_first(&sn->notify.dirty, struct swi_client_sub, dirty));
		n++;
	}
	return n;
}

/* ---- requests ---- */

static void sub_free(struct swi_client_sub *sub)
{
	struct wanted_id *w, *tmp;

	HASH_ITER(hh, sub->ids, w, tmp) {
		HASH_DELETE(hh, sub->ids, w);
		free(w);
	}
	if (sub->kinds & 1u << SWARM_EVENT_SEALED)
		atomic_fetch_sub(&sub->cl->sn->shm->subscribers, 1);
	swi_list_del(&sub->link);
	swi_list_del(&sub->all);
	swi_list_del(&sub->dirty);
	sub->cl->sub_count--;
	free(sub);
}

static struct swi_client_sub *sub_find(struct swi_client *cl, uint32_t number)
{
	swi_list_for_each(it, &cl->subs)
	{
		struct swi_client_sub *sub = swi_list_entry(it, struct swi_client_sub, link);

		if (sub->number == number)
			return sub;
	}
	return NULL;
}

static int add_ids(struct swi_client_sub *sub, struct swi_rd *r, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct swarm_ref ref = swi_rd_ref(r);
		struct wanted_id *w;

		HASH_FIND(hh, sub->ids, &ref.id, sizeof(ref.id), w);
		if (w)
			continue;
		w = calloc(1, sizeof(*w));
		if (!w)
			return -ENOMEM;
		w->id = ref.id;
		HASH_ADD(hh, sub->ids, id, sizeof(w->id), w);
	}
	return 0;
}

/* Reads the request into @sub. *out_n: refs that follow. */
static int decode(struct swi_client_sub *sub, struct swi_rd *r, uint32_t *out_n)
{
	sub->number = swi_rd_u32(r);
	sub->kinds = swi_rd_u32(r);
	sub->capacity = swi_rd_u32(r);
	sub->filter = swi_rd_u8(r);
	sub->prefix_len = swi_rd_u8(r);
	const void *prefix = swi_rd_raw(r, sizeof(sub->prefix));

	*out_n = swi_rd_u32(r);
	if (r->bad || (uint64_t)*out_n * 20 != r->len - r->pos || !sub->kinds ||
	    (sub->kinds & ~KINDS_ALL) || !sub->capacity || sub->capacity > SWARM_SUB_CAPACITY_MAX ||
	    sub->filter > SWARM_SUB_REFS || sub->prefix_len > sizeof(sub->prefix))
		return -EPROTO;
	memcpy(sub->prefix, prefix, sizeof(sub->prefix));
	return 0;
}

static int do_subscribe(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	struct swi_client_sub *sub = calloc(1, sizeof(*sub));
	uint32_t n = 0, zero = 0;
	int rc = sub ? decode(sub, &r, &n) : 0;

	if (rc || !msg->req) {
		free(sub);
		return -EPROTO;
	}
	if (!sub || cl->sub_count >= SUBS_MAX || sub_find(cl, sub->number)) {
		swi_client_reply_error(cl, msg->req, sub ? -EMFILE : -ENOMEM,
				       "this process has as many subscriptions as it may");
		free(sub);
		return 0;
	}
	sub->cl = cl;
	swi_list_init(&sub->dirty);
	swi_list_push_back(&cl->subs, &sub->link);
	swi_list_push_back(&cl->sn->notify.subs, &sub->all);
	cl->sub_count++;
	/* Who seals after our answer sees it (seq_cst). Partner: swi_lc_seal(). */
	if (sub->kinds & 1u << SWARM_EVENT_SEALED)
		atomic_fetch_add(&cl->sn->shm->subscribers, 1);
	if (add_ids(sub, &r, n)) {
		sub_free(sub);
		swi_client_reply_error(cl, msg->req, -ENOMEM, "the node is out of memory");
		return 0;
	}
	swi_client_send(cl, SWI_L_REPLY, msg->req, &zero, sizeof(zero));
	return 0;
}

static int do_ack(struct swi_client_sub *sub, uint32_t n)
{
	if (!sub)
		return 0; /* crossed its end */
	if (n > sub->unacked)
		return -EPROTO;
	sub->unacked -= n;
	say_lost(sub);
	return 0;
}

int swi_client_notify(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	struct swi_client_sub *sub;
	uint32_t arg = 0;

	if (msg->type == SWI_L_SUBSCRIBE)
		return do_subscribe(cl, msg);
	sub = sub_find(cl, swi_rd_u32(&r));
	if (msg->type != SWI_L_SUB_END)
		arg = swi_rd_u32(&r);
	if (!swi_rd_done(&r))
		return -EPROTO;
	if (msg->type == SWI_L_SUB_ACK)
		return do_ack(sub, arg);
	if (msg->type == SWI_L_SUB_EVENT && arg > SWI_EVENTS)
		return -EPROTO;
	if (sub && msg->type == SWI_L_SUB_EVENT)
		sub->event = arg;
	else if (sub)
		sub_free(sub);
	return 0;
}

void swi_client_subs_drop(struct swi_client *cl)
{
	while (!swi_list_empty(&cl->subs))
		sub_free(swi_list_first(&cl->subs, struct swi_client_sub, link));
}
