/* SPDX-License-Identifier: Apache-2.0 */
/* room.c - see room.h. */
#include "store/snode_internal.h"

void swi_rooms_init(struct swi_snode *sn)
{
	swi_list_init(&sn->rooms.list);
}

static int take(struct swi_snode *sn, struct swi_room *r)
{
	const uint64_t reserve = sn->hooks.obj_lost ? sn->arena_bytes / 16 : 0;
	const bool large = r->bytes >= SWI_LARGE_MIN;

	if (!r->recovery && r->bytes <= sn->arena_bytes - reserve &&
	    sn->extents.used + r->bytes > sn->arena_bytes - reserve)
		return -ENOSPC;
	return swi_extent_alloc(&sn->extents, r->bytes, large ? SWI_PAGE : SWI_GRANULE,
				swi_extent_side(r->bytes, sn->arena_bytes), &r->offset);
}

int swi_room_ask(struct swi_snode *sn, struct swi_room *r)
{
	int rc = -ENOSPC;

	if ((swi_list_empty(&sn->rooms.list) && swi_list_empty(&sn->clients.rooms)) || r->recovery)
		rc = take(sn, r); /* nobody overtakes those who wait */
	if (rc != -ENOSPC)
		return rc;
	if (r->bytes > sn->arena_bytes)
		return -E2BIG;
	r->active = true;
	r->ticket = swi_room_ticket(sn);
	sn->rooms.bytes += r->bytes;
	if (r->recovery)
		swi_list_push_front(&sn->rooms.list, &r->link);
	else
		swi_list_push_back(&sn->rooms.list, &r->link);
	return -EAGAIN;
}

void swi_room_cancel(struct swi_snode *sn, struct swi_room *r)
{
	if (!r->active)
		return;
	r->active = false;
	sn->rooms.bytes -= r->bytes;
	swi_list_del(&r->link);
	sn->rooms.again = sn->clients.rooms_again = true; /* the next in line may need less */
}

/* ---- the line ---- */

uint64_t swi_room_ticket(struct swi_snode *sn)
{
	return ++sn->rooms.ticket;
}

bool swi_room_before_core(struct swi_snode *sn, uint64_t ticket)
{
	const struct swi_room *r = swi_list_first(&sn->rooms.list, struct swi_room, link);

	return !r || ticket < r->ticket || sn->evict.stuck;
}

bool swi_room_before_clients(struct swi_snode *sn, uint64_t ticket)
{
	const uint64_t first = swi_grants_ticket(sn);

	return !first || ticket < first || sn->evict.stuck;
}

int swi_rooms_step(struct swi_snode *sn)
{
	int n = 0;

	if (sn->rooms.frees == sn->extents.frees && !sn->rooms.again)
		return 0;
	sn->rooms.frees = sn->extents.frees;
	sn->rooms.again = false;
	while (!swi_list_empty(&sn->rooms.list)) {
		struct swi_room *r = swi_list_first(&sn->rooms.list, struct swi_room, link);
		int rc;

		if (!r->recovery && !swi_room_before_clients(sn, r->ticket))
			break;
		rc = take(sn, r);

		if (rc == -ENOSPC)
			break;
		swi_room_cancel(sn, r);
		r->cb(r, rc);
		n++;
	}
	return n;
}

uint64_t swi_room_missing(struct swi_snode *sn)
{
	return sn->rooms.bytes + sn->clients.rooms_bytes;
}

uint64_t swi_room_head(struct swi_snode *sn)
{
	const struct swi_room *r = swi_list_first(&sn->rooms.list, struct swi_room, link);
	const uint64_t first = swi_grants_ticket(sn);

	if (!r || (first && first < r->ticket))
		return swi_grants_head(sn);
	return r->bytes;
}

void swi_room_explain(struct swi_snode *sn, uint64_t bytes, char *text, size_t len)
{
	struct swi_hold *h, *tmp;
	uint64_t held = 0, pinned = 0, granted = 0, ext;

	HASH_ITER(hh, sn->holds.by_offset, h, tmp) {
		if (h->count && swi_object_at(sn, h->offset, &ext))
			held += ext;
	}
	if (!swi_pins_scan(sn)) {
		for (uint64_t i = 0; i < sn->holds.pins.count; i++) {
			const uint64_t offset = sn->holds.pins.granule[i] * SWI_GRANULE;

			if ((!i || sn->holds.pins.granule[i] != sn->holds.pins.granule[i - 1]) &&
			    swi_object_at(sn, offset, &ext))
				pinned += ext;
		}
	}
	swi_list_for_each(ic, &sn->clients.list) {
		struct swi_client *cl = swi_list_entry(ic, struct swi_client, link);

		swi_list_for_each(ig, &cl->grants)
			granted += swi_list_entry(ig, struct swi_grant, link)->bytes;
	}
	snprintf(text, len,
		 "no room for %llu bytes: of the arena's %llu, %llu are used; %llu pinned by readers, "
		 "%llu held by transfers and leases, %llu lent to writers%s",
		 (unsigned long long)bytes, (unsigned long long)sn->arena_bytes,
		 (unsigned long long)sn->extents.used, (unsigned long long)pinned,
		 (unsigned long long)held, (unsigned long long)granted,
		 sn->spill ? "" : "; nothing can be written to disk (no spill folder)");
}
