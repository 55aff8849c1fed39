/* SPDX-License-Identifier: Apache-2.0 */
/* direct.c - see direct.h. */
#include "store/cast.h"
#include "store/direct.h"
#include "store/fetch_impl.h"
#include "store/snode_internal.h"

static_assert(SWI_PAIR_WORDS * sizeof(uint64_t) == SWI_PAIR_BYTES, "a pad holds a pair");

#define MISSES_MAX  8u /* in a row at one peer: from then on ... */
#define TRY_ONE_OF  16u /* ... only every so many-th cold get tries */

/* ---- the end of a try ---- */

void swi_direct_drop(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;
	uint64_t(*pads)[SWI_PAIR_WORDS] = sn->shm->pads;

	if (f->pair >= pads[0] && f->pair < pads[SWI_PADS])
		sn->fetches.pads &= ~(1u << (uint32_t)((f->pair - pads[0]) / SWI_PAIR_WORDS));
	else if (f->pair)
		swi_extent_free(&sn->extents, (uint64_t)((uint8_t *)f->pair - sn->arena), SWI_PAIR_BYTES);
	f->pair = NULL;
}

/* A pad costs no look for room; so many gets at once that there is none take a piece of the arena each. */
static bool take_pair(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;
	const uint32_t pad = (uint32_t)__builtin_ffs((int)(~sn->fetches.pads & ((1u << SWI_PADS) - 1)));
	uint64_t at;

	if (pad) {
		sn->fetches.pads |= 1u << (pad - 1);
		f->pair = sn->shm->pads[pad - 1];
		return true;
	}
	if (swi_extent_alloc(&sn->extents, SWI_PAIR_BYTES, SWI_GRANULE, SWI_EXTENT_LOW, &at))
		return false;
	f->pair = (void *)(sn->arena + at);
	return true;
}

/* On by messages: to the holder that the home named, or to the home. */
static void by_message(struct swi_fetch *f)
{
	f->direct = SWI_DIRECT_NONE;
	swi_direct_drop(f);
	swi_fetch_go_on(f);
}

void swi_direct_failed(struct swi_fetch *f)
{
	f->sn->stats.direct_misses++;
	f->direct_off = true;
	swi_locator_drop(&f->sn->locators, f->id);
	by_message(f);
}

static void cold_miss(struct swi_fetch *f)
{
	struct swi_peer *p = swi_peer_by_epoch(f->sn, f->holder_epoch);

	f->sn->stats.cold_misses++;
	if (p)
		p->cold_misses++;
	by_message(f);
}

/* ---- READs ---- */

static int post(struct swi_fetch *f, uint32_t region, uint64_t offset, void *to, uint64_t len,
		void (*cb)(struct swi_read *rd, int status),
		void (*landed)(struct swi_read *rd, const void *at, uint32_t len))
{
	struct swi_snode *sn = f->sn;
	struct swi_peer *p = swi_peer_by_epoch(sn, f->holder_epoch);
	int rc;

	if (!swi_lease_stands(p))
		return SWARM_EPEERLOST;
	f->rd.cb = cb;
	f->rd.owner = f;
	f->rd.landed = landed;
	f->link = p->chosen;
	f->link_phase = swi_lease_read_begin(f->link);
	sn->fetches.in_flight++;
	rc = swi_conn_read(p->chosen->conn, region, offset, to, len, &f->rd);
	if (rc) {
		sn->fetches.in_flight--;
		swi_lease_read_end(f->link, f->link_phase);
		return rc;
	}
	sn->stats.get_reads++;
	return 0;
}

static void over(struct swi_fetch *f)
{
	f->sn->fetches.in_flight--;
	swi_lease_read_end(f->link, f->link_phase);
}

/* ---- the object ---- */

/* What a cold READ brought: the header says how long it is, if it is the one that the slot meant. */
static bool take_cold(struct swi_fetch *f, const struct swi_object_head *h)
{
	return swi_locator_complete(&f->loc, h, f->direct_bytes) && (!f->copies.count || f->loc.len == f->len);
}

static void trim_room(struct swi_fetch *f)
{
	const uint64_t bytes = swi_extent_bytes(f->loc.len);

	if (bytes < f->bytes)
		swi_extent_free(&f->sn->extents, f->offset + bytes, f->bytes - bytes);
	f->bytes = bytes;
	f->len = f->loc.len;
}

static void object_read(struct swi_read *rd, int status)
{
	struct swi_fetch *f = rd->owner;
	struct swi_snode *sn = f->sn;
	const struct swi_object_head *h = (void *)(sn->arena + f->offset);
	const bool cold = f->direct == SWI_DIRECT_COLD;

	over(f);
	if (status || !(cold ? take_cold(f, h) : swi_locator_fits(&f->loc, h))) {
		swi_direct_failed(f);
		return;
	}
	trim_room(f);
	swi_fetch_verify(f, f->loc.digest, f->loc.has_digest && !sn->opts.no_verify);
}

/* The first bytes of a cold READ are the header, which says whether there is a digest to compare with. */
static void object_lands(struct swi_read *rd, const void *at, uint32_t len)
{
	struct swi_fetch *f = rd->owner;
	const struct swi_object_head *h = (void *)(f->sn->arena + f->offset);

	if (f->direct == SWI_DIRECT_COLD && at == h && len >= sizeof(*h) && (h->flags & SWI_OBJ_F_DIGEST) &&
	    h->len <= f->direct_bytes - sizeof(*h) && !f->sn->opts.no_verify)
		swi_fetch_will_land(f, h->len);
	swi_fetch_landed(rd, at, len);
}

void swi_direct_read(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;
	struct swi_peer *p = swi_peer_by_epoch(sn, f->holder_epoch);
	const uint64_t region =
	    swi_lease_stands(p) ? swi_conn_region_len(p->chosen->conn, SWI_REGION_ARENA) : 0;
	uint64_t need = f->direct_bytes;

	if (f->loc.offset < region) /* the class of the last extent may reach beyond the end */
		need = swi_min_u64(need, region - f->loc.offset);
	f->direct_bytes = need;
	if (need < sizeof(struct swi_object_head)) {
		swi_direct_failed(f);
		return;
	}
	swi_fetch_will_land(f, f->direct == SWI_DIRECT_WARM && f->loc.has_digest && !sn->opts.no_verify ? f->loc.len : 0);
	f->phase = SWI_FETCH_READ;
	/* Who has no use for news of pieces does not ask for them: a copy in one piece is faster. */
	if (post(f, SWI_REGION_ARENA, f->loc.offset, sn->arena + f->offset, need, object_read,
		 f->to_digest || f->direct == SWI_DIRECT_COLD ? object_lands : NULL)) {
		f->phase = SWI_FETCH_LEASE;
		swi_direct_failed(f);
	}
}

/* ---- the index ---- */

static void bucket_read(struct swi_read *rd, int status)
{
	struct swi_fetch *f = rd->owner;
	struct swi_locator loc;
	uint64_t bytes;

	over(f);
	if (status) {
		swi_direct_failed(f);
		return;
	}
	if (swi_list_empty(&f->wants)) {
		swi_fetch_free(f);
		return;
	}
	if (!swi_locator_of_pair(f->pair, f->id, f->holder_epoch, &loc, &bytes)) {
		cold_miss(f);
		return;
	}
	swi_direct_drop(f);
	f->loc = loc;
	if (f->have_room) {
		f->direct_bytes = sizeof(struct swi_object_head) + f->len;
		swi_direct_read(f);
		return;
	}
	f->direct_bytes = bytes;
	f->len = f->direct_bytes - sizeof(struct swi_object_head);
	swi_fetch_room(f);
}

static bool cold_begin(struct swi_fetch *f, struct swi_peer *p)
{
	uint64_t pair;

	if (!swi_lease_stands(p) ||
	    (p->cold_misses > MISSES_MAX && p->cold_misses++ % TRY_ONE_OF) || !take_pair(f))
		return false;
	f->direct = SWI_DIRECT_COLD;
	f->holder = p->node;
	f->holder_epoch = p->epoch;
	f->phase = SWI_FETCH_BUCKET;
	pair = swi_index_key(f->id) & (p->chosen->index_pairs - 1);
	if (!post(f, SWI_REGION_INDEX, SWI_PAGE + pair * SWI_PAIR_BYTES, f->pair, SWI_PAIR_BYTES,
		  bucket_read, NULL))
		return true;
	f->direct = SWI_DIRECT_NONE;
	swi_direct_drop(f);
	return false;
}

/* ---- beginning ---- */

/* @p NULL: whoever it names. */
static bool warm_begin(struct swi_fetch *f, struct swi_peer *p)
{
	struct swi_snode *sn = f->sn;
	const struct swi_locator *loc = swi_locator_find(&sn->locators, f->id);

	if (!loc)
		return false;
	if (!swi_peer_by_epoch(sn, loc->epoch)) { /* that life is over */
		sn->stats.locators_stale++;
		swi_locator_drop(&sn->locators, f->id);
		return false;
	}
	if (p && loc->epoch != p->epoch)
		return false;
	p = swi_peer_by_epoch(sn, loc->epoch);
	if (!swi_lease_stands(p))
		return false;
	f->loc = *loc;
	f->direct = SWI_DIRECT_WARM;
	f->holder = p->node;
	f->holder_epoch = p->epoch;
	f->direct_bytes = sizeof(struct swi_object_head) + f->loc.len;
	return true;
}

bool swi_direct_begin(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;
	uint32_t home;
	int code;

	if (f->direct_off)
		return false;
	if (warm_begin(f, NULL)) {
		f->len = f->loc.len;
		swi_fetch_room(f);
		return true;
	}
	if (!f->ref.home || f->asked_home)
		return false;
	f->asked_home = true;
	home = swi_dir_home(sn, f->ref, &code);
	return home && home != sn->node && cold_begin(f, swi_peer_find(sn, home));
}

bool swi_direct_holder(struct swi_fetch *f, struct swi_peer *p)
{
	if (f->direct_off)
		return false;
	if (warm_begin(f, p)) {
		if (f->loc.len == f->len) {
			swi_direct_read(f);
			return true;
		}
		f->direct = SWI_DIRECT_NONE;
	}
	/* A large one is asked for, cold: its holder may send us on to another reader. */
	return f->bytes <= SWI_DIRECT_MAX && !swi_is_large(f->sn, f->len) && cold_begin(f, p);
}

static void learn(struct swi_snode *sn, const struct swi_locator *loc)
{
	if (loc->len <= SWI_DIRECT_MAX)
		swi_locator_put(&sn->locators, loc);
}

void swi_direct_learn(struct swi_snode *sn, struct swarm_oid id, uint64_t holder_epoch,
		      const struct swi_smsg_leased *m)
{
	const struct swi_locator loc = {.id = id,
					.epoch = holder_epoch,
					.offset = m->offset,
					.len = m->len,
					.digest = m->digest,
					.gen = m->gen,
					.has_digest = 1};

	if (m->region == SWI_REGION_ARENA && m->epoch == holder_epoch)
		learn(sn, &loc);
}

void swi_direct_learn_place(struct swi_snode *sn, struct swarm_oid id, uint64_t home_epoch,
			    const struct swi_smsg_located *m)
{
	const struct swi_locator loc = {.id = id,
					.epoch = home_epoch,
					.offset = m->offset,
					.len = m->copies.len,
					.digest = m->digest,
					.gen = m->gen,
					.has_digest = (m->place & SWI_PLACE_DIGEST) != 0};

	/* Who reads a large one for the first time asks its holder: it may be sent on to another reader. */
	if (m->place && !swi_is_large(sn, loc.len))
		learn(sn, &loc);
}
