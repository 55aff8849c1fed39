/* SPDX-License-Identifier: Apache-2.0 */
/* hold.c - see hold.h. A record exists while its extent is held or retired. */
#include "store/snode_internal.h"

#define USED_NS	 (2 * NS_PER_S) /* for its owner to notice and delete it */
#define GOING_NS (100 * NS_PER_MS) /* the same, while somebody waits for room */
#define LAST	 64u /* consumed objects whose ends are remembered */
#define RETRY_NS (2 * NS_PER_MS) /* a pin is released without a word: look again */

static struct swi_hold *record(struct swi_snode *sn, uint64_t offset)
{
	struct swi_hold *h;

	HASH_FIND(hh, sn->holds.by_offset, &offset, sizeof(offset), h);
	return h;
}

static struct swi_hold *record_make(struct swi_snode *sn, uint64_t offset)
{
	struct swi_hold *h = record(sn, offset);

	if (h)
		return h;
	h = swi_pool_get(&sn->holds.spare, sizeof(*h), sizeof(*h));
	SWI_BUG_ON(!h);
	h->offset = offset;
	swi_list_init(&h->link);
	swi_list_init(&h->used);
	HASH_ADD(hh, sn->holds.by_offset, offset, sizeof(h->offset), h);
	return h;
}

static void record_free(struct swi_snode *sn, struct swi_hold *h)
{
	swi_list_del(&h->link);
	swi_list_del(&h->used);
	HASH_DELETE(hh, sn->holds.by_offset, h);
	swi_pool_put(&sn->holds.spare, h);
}

void swi_holds_init(struct swi_snode *sn)
{
	swi_list_init(&sn->holds.retired);
	swi_list_init(&sn->holds.used);
	/* Nothing lies there. A table that is never empty is not made anew for each get. */
	(void)record_make(sn, UINT64_MAX);
}

void swi_holds_fini(struct swi_snode *sn)
{
	struct swi_hold *h, *tmp;

	HASH_ITER (hh, sn->holds.by_offset, h, tmp) {
		HASH_DELETE(hh, sn->holds.by_offset, h);
		free(h);
	}
	swi_pool_fini(&sn->holds.spare);
	swi_pinset_fini(&sn->holds.pins);
}

void swi_hold_add(struct swi_snode *sn, uint64_t offset)
{
	record_make(sn, offset)->count++;
	sn->holds.count++;
}

void swi_hold_drop(struct swi_snode *sn, uint64_t offset)
{
	struct swi_hold *h = record(sn, offset);

	SWI_BUG_ON(!h || !h->count);
	sn->holds.count--;
	if (--h->count == 0 && !h->bytes && !h->used_ns)
		record_free(sn, h);
}

static void drop_marked(struct swi_snode *sn, uint64_t offset, bool soon)
{
	struct swi_hold *h = record(sn, offset);
	uint64_t bytes;

	/* Small ones are not worth a record. */
	if (h && swi_object_at(sn, offset, &bytes) && bytes >= SWI_LARGE_MIN) {
		h->used_ns = sn->now_ns + USED_NS;
		h->soon = soon;
		swi_list_del(&h->used);
		swi_list_push_back(&sn->holds.used, &h->used);
	}
	swi_hold_drop(sn, offset);
}

void swi_hold_drop_used(struct swi_snode *sn, uint64_t offset)
{
	drop_marked(sn, offset, false);
}

void swi_hold_drop_soon(struct swi_snode *sn, uint64_t offset)
{
	drop_marked(sn, offset, true);
}

static void remember(struct swi_snode *sn, const struct swi_hold *h, bool deleted)
{
	struct swi_holds *hs = &sn->holds;

	if (h->soon)
		return;
	if (deleted)
		hs->used_deleted++;
	else
		hs->used_stayed++;
	if (hs->used_deleted + hs->used_stayed < LAST)
		return;
	hs->used_deleted /= 2;
	hs->used_stayed /= 2;
}

static void forget_used(struct swi_snode *sn)
{
	while (!swi_list_empty(&sn->holds.used)) {
		struct swi_hold *h = swi_list_first(&sn->holds.used, struct swi_hold, used);

		if (sn->now_ns < h->used_ns)
			return;
		remember(sn, h, false);
		h->used_ns = 0;
		swi_list_del(&h->used);
		if (!h->count && !h->bytes)
			record_free(sn, h);
	}
}

void swi_used_forget(struct swi_snode *sn, uint64_t offset)
{
	struct swi_hold *h = record(sn, offset);

	if (!h || !h->used_ns)
		return;
	h->used_ns = 0;
	swi_list_del(&h->used);
	if (!h->count && !h->bytes)
		record_free(sn, h);
}

bool swi_is_used(const struct swi_snode *sn, uint64_t offset)
{
	struct swi_hold *h;

	HASH_FIND(hh, sn->holds.by_offset, &offset, sizeof(offset), h);
	return h && h->used_ns > sn->now_ns;
}

bool swi_is_going(const struct swi_snode *sn, uint64_t offset, bool waited)
{
	const struct swi_holds *hs = &sn->holds;
	struct swi_hold *h;

	HASH_FIND(hh, hs->by_offset, &offset, sizeof(offset), h);
	if (!h || h->used_ns <= sn->now_ns)
		return false;
	if (h->soon)
		return !waited;
	return hs->used_deleted >= hs->used_stayed && h->used_ns > sn->now_ns + (waited ? USED_NS - GOING_NS : 0);
}

bool swi_hold_find(struct swi_snode *sn, struct swarm_oid id, uint64_t *out_offset)
{
	struct swi_index_hit hit;

	if (!swi_object_find(sn, id, &hit, out_offset))
		return false;
	swi_hold_add(sn, *out_offset);
	return true;
}

void swi_retire(struct swi_snode *sn, uint64_t offset, uint64_t bytes)
{
	struct swi_hold *h = record_make(sn, offset);

	if (h->bytes) { /* two slots led to one extent: a client wrote the second */
		sn->clients.errors++;
		return;
	}
	if (h->used_ns > sn->now_ns)
		remember(sn, h, true);
	h->bytes = bytes;
	sn->holds.retired_bytes += bytes;
	swi_list_push_back(&sn->holds.retired, &h->link);
}

bool swi_is_held(const struct swi_snode *sn, uint64_t offset)
{
	struct swi_hold *h;

	HASH_FIND(hh, sn->holds.by_offset, &offset, sizeof(offset), h);
	return h && h->count;
}

bool swi_retiring(const struct swi_snode *sn, uint64_t offset)
{
	struct swi_hold *h;

	HASH_FIND(hh, sn->holds.by_offset, &offset, sizeof(offset), h);
	return h && h->bytes;
}

int swi_pins_scan(struct swi_snode *sn)
{
	swi_pinset_clear(&sn->holds.pins);
	atomic_thread_fence(memory_order_seq_cst); /* partner: swi_pin_set(), then swi_index_still() */
	swi_list_for_each(it, &sn->clients.list)
	{
		struct swi_client *cl = swi_list_entry(it, struct swi_client, link);
		const int rc = swi_pinset_add(&sn->holds.pins, cl->shm);

		if (rc)
			return rc;
	}
	swi_pinset_sort(&sn->holds.pins);
	return 0;
}

void swi_hold_free(struct swi_snode *sn, struct swi_hold *h)
{
	const uint64_t offset = h->offset, bytes = h->bytes;

	record_free(sn, h);
	swi_grant_free(sn, offset, bytes);
}

int swi_holds_step(struct swi_snode *sn)
{
	int freed = 0;

	forget_used(sn);
	if (swi_list_empty(&sn->holds.retired) || swi_pins_scan(sn))
		return 0;
	swi_list_for_each_safe(it, &sn->holds.retired)
	{
		struct swi_hold *h = swi_list_entry(it, struct swi_hold, link);

		if (h->count || swi_pinset_has(&sn->holds.pins, h->offset))
			continue;
		sn->holds.retired_bytes -= h->bytes;
		if (swi_quarantine_pass(sn, h))
			swi_hold_free(sn, h);
		freed++;
	}
	return freed;
}

uint64_t swi_holds_deadline_ns(const struct swi_snode *sn)
{
	return swi_list_empty(&sn->holds.retired) ? UINT64_MAX : swi_sat_add(sn->now_ns, RETRY_NS);
}
