/* SPDX-License-Identifier: Apache-2.0 */
/* fetch.c - see fetch.h. head->waiters counts wants and watches, so that clients announce seals. */
#include "store/snode_internal.h"

void swi_fetches_init(struct swi_snode *sn)
{
	swi_list_init(&sn->fetches.wants);
	swi_list_init(&sn->fetches.watches);
}

static void waiters_add(struct swi_snode *sn)
{
	/* Raised before we look (swi_fetches_step()); a client seals first and reads it after. */
	atomic_fetch_add(&sn->shm->waiters, 1);
	sn->fetches.look = true;
}

void swi_want(struct swi_snode *sn, struct swi_want *w)
{
	swi_list_push_back(&sn->fetches.wants, &w->link);
	w->priv = sn;
	waiters_add(sn);
}

void swi_want_cancel(struct swi_snode *sn, struct swi_want *w)
{
	if (!w->priv)
		return;
	w->priv = NULL;
	swi_list_del(&w->link);
	atomic_fetch_sub(&sn->shm->waiters, 1);
}

void swi_watch(struct swi_snode *sn, struct swi_watch *w)
{
	swi_list_push_back(&sn->fetches.watches, &w->link);
	w->priv = sn;
	waiters_add(sn);
}

void swi_watch_cancel(struct swi_snode *sn, struct swi_watch *w)
{
	if (!w->priv)
		return;
	w->priv = NULL;
	swi_list_del(&w->link);
	atomic_fetch_sub(&sn->shm->waiters, 1);
}

void swi_fetch_sealed(struct swi_snode *sn, struct swarm_ref ref SWI_UNUSED, uint64_t len SWI_UNUSED)
{
	sn->fetches.look = true;
}

static bool try_want(struct swi_snode *sn, struct swi_want *w)
{
	uint64_t offset;

	if (swi_hold_find(sn, w->ref.id, &offset)) {
		sn->stats.local_hits++;
		swi_want_cancel(sn, w);
		w->cb(w, 0, "", offset);
		return true;
	}
	if (sn->now_ns < w->deadline_ns)
		return false;
	swi_want_cancel(sn, w);
	w->cb(w, -ENOENT, "no node has the object", 0);
	return true;
}

static bool try_watch(struct swi_snode *sn, struct swi_watch *w)
{
	struct swi_index_hit hit;
	uint64_t offset;

	if (swi_object_find(sn, w->ref.id, &hit, &offset)) {
		const struct swi_object_head *h = swi_object_at(sn, offset, NULL);
		const struct swi_copies copies = {
		    .len = h ? h->len : 0, .count = 1, .node = {sn->node}};

		swi_watch_cancel(sn, w);
		w->cb(w, 0, "", &copies);
		return true;
	}
	if (sn->now_ns < w->deadline_ns)
		return false;
	swi_watch_cancel(sn, w);
	w->cb(w, -ENOENT, "no node has the object", NULL);
	return true;
}

int swi_fetches_step(struct swi_snode *sn)
{
	struct swi_list wants, watches;
	int n = 0;

	if (!sn->fetches.look && sn->now_ns < swi_fetches_deadline_ns(sn))
		return 0;
	sn->fetches.look = false;
	atomic_thread_fence(memory_order_seq_cst); /* partner: seal, then waiters, in object.c */
	swi_list_init(&wants);
	swi_list_init(&watches);
	swi_list_splice(&wants, &sn->fetches.wants);
	swi_list_splice(&watches, &sn->fetches.watches);
	while (!swi_list_empty(&wants)) { /* a callback may cancel any other */
		struct swi_want *w = swi_list_first(&wants, struct swi_want, link);

		swi_list_del(&w->link);
		swi_list_push_back(&sn->fetches.wants, &w->link);
		n += try_want(sn, w);
	}
	while (!swi_list_empty(&watches)) {
		struct swi_watch *w = swi_list_first(&watches, struct swi_watch, link);

		swi_list_del(&w->link);
		swi_list_push_back(&sn->fetches.watches, &w->link);
		n += try_watch(sn, w);
	}
	return n;
}

uint64_t swi_fetches_deadline_ns(const struct swi_snode *sn)
{
	uint64_t d = UINT64_MAX;

	swi_list_for_each(it, &sn->fetches.wants)
		d = swi_min_u64(d, swi_list_entry(it, struct swi_want, link)->deadline_ns);
	swi_list_for_each(it, &sn->fetches.watches)
		d = swi_min_u64(d, swi_list_entry(it, struct swi_watch, link)->deadline_ns);
	return d;
}
