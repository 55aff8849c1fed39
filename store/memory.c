/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - where the bytes of a node are, as JSON: by what they are, by why they stay, and by whom. Every
 * byte of the arena is in exactly one row of "arena". A look at everything: for people. Owner thread.
 */
#include <jansson.h>

#include "store/memory.h"
#include "store/snode_internal.h"

struct sums {
	uint64_t primary, secondary, clean; /* clean: of the primary, on disk too */
	uint64_t objects, copies, in_grants;
};

static void set(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void add_up(struct swi_snode *sn, struct sums *s)
{
	const uint64_t slots = swi_index_slots(&sn->index);
	struct swi_local lo;
	uint64_t len;

	for (uint64_t i = 0; i < slots; i++) {
		if (!swi_local_at(sn, i, &lo))
			continue;
		if (sn->clients.page_grant[lo.offset / SWI_PAGE])
			s->in_grants += lo.bytes;
		if (lo.flags & SWI_OBJ_F_SECONDARY) {
			s->copies++;
			s->secondary += lo.bytes;
			continue;
		}
		s->objects++;
		s->primary += lo.bytes;
		if (swi_spilled_here(sn, lo.ref.id, &len))
			s->clean += lo.bytes;
	}
}

static uint64_t lent(const struct swi_client *cl)
{
	uint64_t bytes = 0;

	swi_list_for_each(it, &cl->grants)
		bytes += swi_list_entry(it, struct swi_grant, link)->bytes;
	return bytes;
}

/* Bytes of the extents at distinct places of @ps. */
static uint64_t pinned(struct swi_snode *sn, const struct swi_pinset *ps)
{
	uint64_t bytes = 0, ext;

	for (uint64_t i = 0; i < ps->count; i++)
		if ((!i || ps->granule[i] != ps->granule[i - 1]) &&
		    swi_object_at(sn, ps->granule[i] * SWI_GRANULE, &ext))
			bytes += ext;
	return bytes;
}

static json_t *owners(struct swi_snode *sn)
{
	json_t *list = json_array();

	swi_list_for_each(it, &sn->clients.list)
	{
		const struct swi_client *cl = swi_list_entry(it, struct swi_client, link);
		struct swi_pinset ps = {0};
		json_t *o = json_object();

		if (!swi_pinset_add(&ps, cl->shm))
			swi_pinset_sort(&ps);
		set(o, "client", cl->number);
		set(o, "pid", cl->pid);
		set(o, "role", cl->role);
		set(o, "pins", swi_pin_count(cl->shm));
		set(o, "pinned_bytes", pinned(sn, &ps));
		set(o, "lent_bytes", lent(cl));
		set(o, "waiting_requests", cl->requests);
		json_array_append_new(list, o);
		swi_pinset_fini(&ps);
	}
	return list;
}

static uint64_t held(struct swi_snode *sn)
{
	struct swi_hold *h, *tmp;
	uint64_t bytes = 0, ext;

	HASH_ITER (hh, sn->holds.by_offset, h, tmp) {
		if (h->count && swi_object_at(sn, h->offset, &ext))
			bytes += ext;
	}
	return bytes;
}

/* Out of the index, and not free yet: pinned, held, or in quarantine. What lies in the reserve counts there. */
static uint64_t leaving(struct swi_snode *sn)
{
	const struct swi_rooms *rs = &sn->rooms;
	struct swi_hold *h, *tmp;
	uint64_t bytes = 0;

	HASH_ITER (hh, sn->holds.by_offset, h, tmp) {
		if (h->offset < rs->reserve_at || h->offset - rs->reserve_at >= rs->reserve_bytes)
			bytes += h->bytes;
	}
	return bytes;
}

static uint64_t leased(struct swi_snode *sn)
{
	struct swi_lease *le, *tmp;
	uint64_t bytes = 0, ext;

	HASH_ITER (hh, sn->leases.by_num, le, tmp) {
		if (swi_object_at(sn, le->offset, &ext))
			bytes += ext;
	}
	return bytes;
}

static json_t *arena(struct swi_snode *sn)
{
	const uint64_t used = sn->extents.used, retired = leaving(sn);
	struct sums s = {0};
	json_t *o = json_object();
	uint64_t in_chunks = 0, known;

	add_up(sn, &s);
	swi_list_for_each(it, &sn->clients.list)
		in_chunks += lent(swi_list_entry(it, struct swi_client, link));
	in_chunks = in_chunks > s.in_grants ? in_chunks - s.in_grants : 0;
	known = s.primary + s.secondary + in_chunks + retired + sn->rooms.reserve_bytes;
	set(o, "total_bytes", sn->arena_bytes);
	set(o, "used_bytes", used);
	set(o, "free_bytes", swi_extents_free_bytes(&sn->extents));
	set(o, "largest_free_bytes", swi_extents_largest(&sn->extents));
	set(o, "free_pieces", sn->extents.free_blocks);
	set(o, "primary_bytes", s.primary);
	set(o, "primary_objects", s.objects);
	set(o, "clean_bytes", s.clean);
	set(o, "secondary_bytes", s.secondary);
	set(o, "secondary_objects", s.copies);
	set(o, "unsealed_bytes", in_chunks);
	set(o, "leaving_bytes", retired);
	set(o, "reserve_bytes", sn->rooms.reserve_bytes);
	set(o, "arriving_bytes", used > known ? used - known : 0);
	return o;
}

static json_t *reasons(struct swi_snode *sn)
{
	json_t *o = json_object();

	set(o, "pinned_bytes", swi_pins_scan(sn) ? 0 : pinned(sn, &sn->holds.pins));
	set(o, "held_bytes", held(sn));
	set(o, "leased_bytes", leased(sn));
	set(o, "being_written_bytes", sn->evict.spilling_bytes);
	set(o, "asked_for_bytes", swi_room_missing(sn));
	return o;
}

struct dead {
	uint64_t bytes;
};

static void each_segment(void *ctx, const struct swi_spill_segment *seg)
{
	((struct dead *)ctx)->bytes += seg->dead_bytes;
}

static json_t *disk(struct swi_snode *sn)
{
	const struct swi_spill_stats *st = swi_spill_stats(sn->spill);
	struct dead dead = {0};
	json_t *o = json_object();

	swi_spill_each_segment(sn->spill, each_segment, &dead);
	set(o, "objects", st->objects);
	set(o, "live_bytes", st->live_bytes);
	set(o, "dead_bytes", dead.bytes);
	set(o, "segment_bytes", st->segment_bytes);
	return o;
}

char *swi_snode_memory_json(struct swi_snode *sn)
{
	json_t *o = json_object();
	char *text;

	if (!o)
		return NULL;
	set(o, "node", sn->node);
	json_object_set_new(o, "arena", arena(sn));
	json_object_set_new(o, "why", reasons(sn));
	if (sn->spill)
		json_object_set_new(o, "disk", disk(sn));
	json_object_set_new(o, "owners", owners(sn));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

/* ---- objects ---- */

struct rows {
	struct swi_snode *sn;
	json_t *list;
	uint64_t total, max;
};

static void row(struct rows *r, const struct swi_object_head *h, const char *where, bool secondary)
{
	const struct swarm_oid oid = {{h->oid[0], h->oid[1]}};
	char id[SWI_OID_TEXT];

	if (r->total++ >= r->max)
		return;
	json_array_append_new(
	    r->list, json_pack("{s:s,s:I,s:I,s:I,s:s,s:s}", "object", swi_oid_text(oid, id), "bytes",
			       (json_int_t)h->len, "home", (json_int_t)h->home, "node",
			       (json_int_t)r->sn->node, "where", where, "copy",
			       secondary ? "secondary" : "primary"));
}

static void row_on_disk(void *ctx, const struct swi_object_head *h)
{
	struct rows *r = ctx;
	struct swi_local lo;

	if (!swi_local_find(r->sn, (struct swarm_oid){{h->oid[0], h->oid[1]}}, &lo))
		row(r, h, "disk", false);
}

char *swi_snode_objects_json(struct swi_snode *sn, uint64_t max)
{
	struct rows r = {.sn = sn, .list = json_array(), .max = max};
	const uint64_t slots = swi_index_slots(&sn->index);
	struct swi_local lo;
	json_t *doc;
	uint64_t len;
	char *text;

	for (uint64_t i = 0; i < slots; i++) {
		if (!swi_local_at(sn, i, &lo))
			continue;
		row(&r, lo.head, swi_spilled_here(sn, lo.ref.id, &len) ? "memory and disk" : "memory",
		    lo.flags & SWI_OBJ_F_SECONDARY);
	}
	if (sn->spill)
		swi_spill_each(sn->spill, row_on_disk, &r);
	doc = json_pack("{s:I,s:o}", "total", (json_int_t)r.total, "list", r.list);
	text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	return text;
}
