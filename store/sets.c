/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sets.c - wait sets of clients, node side: a watch for each item from its add on; those that came go to the client
 * once, in batches, at the end of the step, and leave the set. See request.h; client side: waitset.c.
 *
 * Sets and items are named by the client: numbers and ids of its choice, bounded in count. Owner thread.
 */
#include "store/request.h"
#include "store/snode_internal.h"

#define SETS_MAX  1024u /* of one client */
#define BATCH_MAX 512u	/* rows of one message */
#define ROW_BYTES 20u

struct set_item {
	struct swarm_oid id;
	UT_hash_handle hh;
	struct swi_client_set *set;
	struct swi_watch watch;
};

struct swi_client_set {
	struct swi_list link;  /* cl->sets */
	struct swi_list dirty; /* sn->clients.dirty_sets when rows wait */
	struct swi_client *cl;
	uint32_t number, event;
	struct set_item *items;
	uint32_t rows;
	uint8_t row[BATCH_MAX * ROW_BYTES];
};

static void flush(struct swi_client_set *set)
{
	uint8_t head[8];
	uint8_t body[sizeof(head) + sizeof(set->row)];
	struct swi_wr w = swi_wr_init(head, sizeof(head));

	swi_list_del(&set->dirty);
	if (!set->rows)
		return;
	swi_wr_u32(&w, set->number);
	swi_wr_u32(&w, set->rows);
	memcpy(body, head, sizeof(head));
	memcpy(body + sizeof(head), set->row, set->rows * ROW_BYTES);
	swi_client_send(set->cl, SWI_L_SET_READY, 0, body,
			(uint32_t)sizeof(head) + set->rows * ROW_BYTES);
	set->rows = 0;
	swi_client_event(set->cl, set->event);
}

int swi_client_sets_step(struct swi_snode *sn)
{
	int n = 0;

	while (!swi_list_empty(&sn->clients.dirty_sets)) {
		flush(swi_list_first(&sn->clients.dirty_sets, struct swi_client_set, dirty));
		n++;
	}
	return n;
}

static void add_row(struct swi_client_set *set, struct swarm_oid id, int status)
{
	struct swi_wr w;

	if (set->rows == BATCH_MAX)
		flush(set);
	w = swi_wr_init(set->row + set->rows++ * ROW_BYTES, ROW_BYTES);
	swi_wr_oid(&w, id);
	swi_wr_u32(&w, (uint32_t)status);
	swi_list_del(&set->dirty);
	swi_list_push_back(&set->cl->sn->clients.dirty_sets, &set->dirty);
}

static void item_free(struct set_item *it)
{
	struct swi_client_set *set = it->set;

	swi_watch_cancel(set->cl->sn, &it->watch);
	HASH_DELETE(hh, set->items, it);
	set->cl->items--;
	free(it);
}

static void came(struct swi_watch *w, int status, const char *text SWI_UNUSED,
		 const struct swi_copies *copies SWI_UNUSED)
{
	struct set_item *it = swi_container_of(w, struct set_item, watch);
	struct swi_client_set *set = it->set;
	const struct swarm_oid id = it->id;

	item_free(it);
	add_row(set, id, status);
}

static void set_free(struct swi_client_set *set)
{
	struct set_item *it, *tmp;

	HASH_ITER(hh, set->items, it, tmp)
		item_free(it);
	swi_list_del(&set->link);
	swi_list_del(&set->dirty);
	set->cl->set_count--;
	free(set);
}

static struct swi_client_set *set_find(struct swi_client *cl, uint32_t number)
{
	swi_list_for_each(it, &cl->sets)
	{
		struct swi_client_set *set = swi_list_entry(it, struct swi_client_set, link);

		if (set->number == number)
			return set;
	}
	return NULL;
}

static struct swi_client_set *set_get(struct swi_client *cl, uint32_t number)
{
	struct swi_client_set *set = set_find(cl, number);

	if (set)
		return set;
	set = cl->set_count < SETS_MAX ? calloc(1, sizeof(*set)) : NULL;
	if (!set)
		return NULL;
	set->cl = cl;
	set->number = number;
	swi_list_init(&set->dirty);
	swi_list_push_front(&cl->sets, &set->link); /* the newest is used most */
	cl->set_count++;
	return set;
}

static void item_add(struct swi_client_set *set, struct swarm_ref ref)
{
	struct swi_client *cl = set->cl;
	struct set_item *it;

	HASH_FIND(hh, set->items, &ref.id, sizeof(ref.id), it);
	if (it)
		return;
	it = cl->items < SWI_CLIENT_ITEMS_MAX ? calloc(1, sizeof(*it)) : NULL;
	if (!it) {
		add_row(set, ref.id, -ENOMEM);
		return;
	}
	it->id = ref.id;
	it->set = set;
	it->watch.ref = ref;
	it->watch.deadline_ns = UINT64_MAX;
	it->watch.cb = came;
	cl->items++;
	HASH_ADD(hh, set->items, id, sizeof(it->id), it);
	swi_watch(cl->sn, &it->watch);
}

static int do_add(struct swi_client *cl, struct swi_rd *r)
{
	struct swi_client_set *set = set_get(cl, swi_rd_u32(r));
	const uint32_t n = swi_rd_u32(r);

	if (r->bad || (uint64_t)n * 20 != r->len - r->pos || !set)
		return -EPROTO; /* a library that runs into SETS_MAX was told so before */
	for (uint32_t i = 0; i < n; i++)
		item_add(set, swi_rd_ref(r));
	return 0;
}

static int do_del(struct swi_client *cl, struct swi_rd *r)
{
	struct swi_client_set *set = set_find(cl, swi_rd_u32(r));
	const uint32_t n = swi_rd_u32(r);

	if (r->bad || (uint64_t)n * 16 != r->len - r->pos)
		return -EPROTO;
	for (uint32_t i = 0; set && i < n; i++) {
		const struct swarm_oid id = swi_rd_oid(r);
		struct set_item *it;

		HASH_FIND(hh, set->items, &id, sizeof(id), it);
		if (it)
			item_free(it);
	}
	return 0;
}

int swi_client_set(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	struct swi_client_set *set;
	uint32_t number;

	if (msg->type == SWI_L_SET_ADD)
		return do_add(cl, &r);
	if (msg->type == SWI_L_SET_DEL)
		return do_del(cl, &r);
	number = swi_rd_u32(&r);
	if (msg->type == SWI_L_SET_EVENT) {
		const uint32_t event = swi_rd_u32(&r);

		if (!swi_rd_done(&r) || event > SWI_EVENTS)
			return -EPROTO;
		set = set_get(cl, number);
		if (!set)
			return -EPROTO;
		set->event = event;
		return 0;
	}
	if (!swi_rd_done(&r))
		return -EPROTO;
	set = set_find(cl, number);
	if (set)
		set_free(set);
	return 0;
}

void swi_client_sets_drop(struct swi_client *cl)
{
	while (!swi_list_empty(&cl->sets))
		set_free(swi_list_first(&cl->sets, struct swi_client_set, link));
}
