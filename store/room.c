/* SPDX-License-Identifier: Apache-2.0 */
/* room.c - see room.h. */
#include "store/snode_internal.h"

#define RESERVE_PART 32u /* of the arena */
#define RESERVE_MAX  MIB(64)
#define PARTS_MIN    MIB(2) /* of reserve: some parts at once fit (parts.c) */
#define RESERVE_MIN  KIB(128)

void swi_rooms_init(struct swi_snode *sn)
{
	swi_list_init(&sn->rooms.list);
	swi_list_init(&sn->rooms.peers);
}

int swi_rooms_reserve(struct swi_snode *sn)
{
	struct swi_rooms *rs = &sn->rooms;
	const uint64_t bytes =
	    swi_align_down(swi_min_u64(sn->arena_bytes / RESERVE_PART, RESERVE_MAX), SWI_PAGE);
	int rc;

	if (!sn->tp || !sn->spill || bytes < RESERVE_MIN)
		return 0;
	rc = swi_extents_init(&rs->reserve, bytes);
	if (!rc)
		rc = swi_extent_alloc(&sn->extents, bytes, SWI_PAGE, SWI_EXTENT_LOW, &rs->reserve_at);
	if (!rc)
		rs->reserve_bytes = bytes;
	return rc;
}

bool swi_rooms_in_parts(struct swi_snode *sn, uint64_t bytes)
{
	return sn->rooms.reserve_bytes >= PARTS_MIN && bytes > sn->rooms.reserve_bytes &&
	       !swi_evict_plenty(sn, bytes);
}

void swi_rooms_fini(struct swi_snode *sn)
{
	swi_extents_fini(&sn->rooms.reserve);
}

int swi_arena_free(struct swi_snode *sn, uint64_t offset, uint64_t bytes)
{
	struct swi_rooms *rs = &sn->rooms;

	if (offset < rs->reserve_at || offset - rs->reserve_at >= rs->reserve_bytes)
		return swi_compact_free(&sn->relocate.c, offset, bytes);
	return swi_extent_free(&rs->reserve, offset - rs->reserve_at, bytes);
}

static int take_any(struct swi_snode *sn, struct swi_room *r)
{
	return swi_extent_alloc(&sn->extents, r->bytes,
				r->paged || r->bytes >= SWI_LARGE_MIN ? SWI_PAGE : SWI_GRANULE,
				swi_extent_side(r->bytes, sn->arena_bytes), &r->offset);
}

/* While there is plenty, like any copy, which others then find too; else out of the reserve. */
static int take_reserve(struct swi_snode *sn, struct swi_room *r)
{
	struct swi_rooms *rs = &sn->rooms;
	int rc;

	if (swi_list_empty(&rs->list) && swi_list_empty(&sn->clients.rooms) &&
	    swi_evict_plenty(sn, r->bytes) && !take_any(sn, r))
		return 0;
	rc = swi_extent_alloc(&rs->reserve, r->bytes,
			      r->paged || r->bytes >= SWI_LARGE_MIN ? SWI_PAGE : SWI_GRANULE, SWI_EXTENT_LOW,
			      &r->offset);
	if (rc)
		return rc == -E2BIG ? -ENOSPC : rc;
	r->offset += rs->reserve_at;
	r->reserved = true;
	return 0;
}

static int take(struct swi_snode *sn, struct swi_room *r)
{
	const uint64_t reserve = sn->hooks.obj_lost ? sn->arena_bytes / 16 : 0;

	if (!r->recovery && r->bytes <= sn->arena_bytes - reserve &&
	    sn->extents.used + r->bytes > sn->arena_bytes - reserve)
		return -ENOSPC;
	return take_any(sn, r);
}

/* In the other line: it waits for the reserve alone. */
static bool reserve_only(const struct swi_snode *sn, const struct swi_room *r)
{
	return r->reserve && r->bytes <= sn->rooms.reserve_bytes;
}

int swi_room_ask(struct swi_snode *sn, struct swi_room *r)
{
	int rc = -ENOSPC;

	r->reserved = false;
	if (reserve_only(sn, r)) {
		rc = swi_list_empty(&sn->rooms.peers) ? take_reserve(sn, r) : -ENOSPC;
		if (rc != -ENOSPC)
			return rc;
		r->active = true;
		swi_list_push_back(&sn->rooms.peers, &r->link);
		return -EAGAIN;
	}
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
	swi_list_del(&r->link);
	if (reserve_only(sn, r))
		return;
	sn->rooms.bytes -= r->bytes;
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

/* The same of one of the core's, before every client. */
static bool before_clients(struct swi_snode *sn, uint64_t ticket)
{
	const uint64_t first = swi_grants_ticket(sn);

	return !first || ticket < first || sn->evict.stuck;
}

static int serve_peers(struct swi_snode *sn)
{
	struct swi_rooms *rs = &sn->rooms;
	int n = 0;

	if (swi_list_empty(&rs->peers) || rs->reserve_frees == rs->reserve.frees)
		return 0;
	rs->reserve_frees = rs->reserve.frees;
	while (!swi_list_empty(&rs->peers)) {
		struct swi_room *r = swi_list_first(&rs->peers, struct swi_room, link);
		const int rc = take_reserve(sn, r);

		if (rc == -ENOSPC)
			break;
		swi_room_cancel(sn, r);
		r->cb(r, rc);
		n++;
	}
	return n;
}

int swi_rooms_step(struct swi_snode *sn)
{
	int n = serve_peers(sn);

	if (sn->rooms.frees == sn->extents.frees && !sn->rooms.again)
		return n;
	sn->rooms.frees = sn->extents.frees;
	sn->rooms.again = false;
	while (!swi_list_empty(&sn->rooms.list)) {
		struct swi_room *r = swi_list_first(&sn->rooms.list, struct swi_room, link);
		int rc;

		if (!r->recovery && !before_clients(sn, r->ticket))
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

/* The first in line, if he is the core's; else NULL. */
static const struct swi_room *first_of_core(struct swi_snode *sn)
{
	const struct swi_room *r = swi_list_first(&sn->rooms.list, struct swi_room, link);
	const uint64_t first = swi_grants_ticket(sn);

	return r && first && first < r->ticket ? NULL : r;
}

uint64_t swi_room_head(struct swi_snode *sn)
{
	const struct swi_room *r = first_of_core(sn);

	return r ? r->bytes : swi_grants_head(sn);
}

uint64_t swi_room_piece(struct swi_snode *sn)
{
	const struct swi_room *r = first_of_core(sn);

	return r ? r->bytes : swi_grants_piece(sn);
}

uint64_t swi_room_least(struct swi_snode *sn)
{
	const struct swi_room *r = first_of_core(sn);

	return r ? r->bytes : swi_grants_least(sn);
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
