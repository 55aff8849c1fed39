/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c - the end of a transfer whose bytes are here: header and digest are checked, then everybody may see it.
 *
 * See fetch.h. Until publish() the header names another extent, so a READ by an old locator is not deceived.
 * Owner thread of the node.
 */
#include "transport/base/xxh.h"

#include "store/direct.h"
#include "store/evict.h"
#include "store/fetch_impl.h"
#include "store/snode_internal.h"

#define CHECK_AT_ONCE KIB(64) /* longer payloads are digested in portions */
#define LANDING_MIN   KIB(16) /* shorter ones are in the cache when all of it has landed */

/*
 * Deleted while its bytes were on their way: a DROP finds what is in the index, and this is not yet. Where another node is the
 * home, it answers the news of this copy with one more DROP; there is nobody who would tell the home itself.
 */
static bool deleted_meanwhile(struct swi_fetch *f)
{
	uint64_t len;
	int code;

	if (f->deleted)
		return true;
	if (f->restoring)
		return !swi_spilled_here(f->sn, f->id, &len);
	return swi_dir_is_deleted(f->sn, f->id) && swi_dir_home(f->sn, f->ref, &code) == f->sn->node;
}

static void publish(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;
	struct swi_object_head *h = (void *)(sn->arena + f->offset);
	const bool passing = f->room.reserved || deleted_meanwhile(f) ||
			     (f->restoring && swi_fetch_for_peers_only(f) && swi_evict_tight(sn) &&
			      !swi_list_empty(&f->wants));
	struct swi_local there;
	uint64_t offset = f->offset;
	int rc = -EEXIST;

	/*
	 * Until here the header names another extent (another epoch, or a record's crc): a READ by an old
	 * locator that led to this place is not deceived by what is still landing.
	 */
	h->gen = swi_snode_gen(sn);
	h->epoch = sn->epoch;
	h->crc = 0;
	atomic_store_explicit(&h->touch, (uint16_t)atomic_load(&sn->shm->tick),
			      memory_order_relaxed);
	atomic_store_explicit(&h->state, SWI_OBJ_SEALED, memory_order_release);
	if (!f->restoring)
		h->flags = (h->flags & SWI_OBJ_F_NAMED) | SWI_OBJ_F_SECONDARY |
			   (f->checked ? SWI_OBJ_F_DIGEST : 0);
	swi_hold_add(sn, offset);
	if (!passing)
		rc = swi_local_publish(sn, f->id, h->gen, offset, f->bytes);
	if (rc == -EEXIST && !passing && swi_local_find(sn, f->id, &there)) {
		swi_hold_drop(sn, offset); /* sealed here meanwhile: theirs stands */
		swi_hold_add(sn, there.offset);
		swi_fetch_done(f, there.offset);
		return;
	}
	f->have_room = false;
	if (rc) /* a reader's passing copy, or the index is full: it goes with its last hold */
		swi_retire(sn, offset, f->bytes);
	else if (!f->restoring)
		swi_dir_have(sn, f->ref, f->len, 0);
	else
		swi_dir_have(sn, f->ref, f->len, SWI_COPY_PRIMARY | SWI_COPY_AGAIN);
	swi_fetch_done(f, offset);
}

static bool header_fits(const struct swi_fetch *f)
{
	const struct swi_object_head *h = (void *)(f->sn->arena + f->offset);

	return h->magic == SWI_OBJ_MAGIC && h->oid[0] == f->id.w[0] && h->oid[1] == f->id.w[1] &&
	       h->gen == f->lease.gen && h->epoch == f->lease.epoch && h->len == f->lease.len &&
	       atomic_load_explicit(&h->state, memory_order_relaxed) == SWI_OBJ_SEALED;
}

/* The object is whole. Where it lies is remembered, and how it came is counted. */
static void arrived(struct swi_fetch *f)
{
	struct swi_snode *sn = f->sn;

	sn->stats.fetches++;
	sn->stats.fetch_bytes += f->len;
	sn->stats.warm_gets += f->direct == SWI_DIRECT_WARM;
	sn->stats.cold_gets += f->direct == SWI_DIRECT_COLD;
	sn->stats.message_gets += f->direct == SWI_DIRECT_NONE;
	if (f->direct == SWI_DIRECT_NONE && f->lease.lease && !f->from_part)
		swi_direct_learn(sn, f->id, f->holder_epoch, &f->lease);
	else if (f->direct == SWI_DIRECT_COLD) /* a warm get was led by the one that is there */
		swi_locator_put(&sn->locators, &f->loc);
	if (f->direct == SWI_DIRECT_COLD) {
		struct swi_peer *p = swi_peer_by_epoch(sn, f->holder_epoch);

		if (p)
			p->cold_misses = 0;
	}
	publish(f);
}

static void check_digest(struct swi_fetch *f, uint64_t digest)
{
	struct swi_snode *sn = f->sn;

	if (digest == f->lease.digest) {
		f->checked = true;
		atomic_store_explicit(
		    &((struct swi_object_head *)(void *)(sn->arena + f->offset))->digest, digest,
		    memory_order_relaxed);
		arrived(f);
	} else if (f->direct) { /* perhaps it was just being written beside its flag: the owner knows */
		swi_direct_failed(f);
	} else {
		swi_fetch_holder_failed(f, SWARM_ECORRUPT, "the bytes do not match their digest");
	}
}

static void verified(struct swi_digest *d, uint64_t digest)
{
	check_digest(d->owner, digest);
}

static uint8_t *payload_of(const struct swi_fetch *f)
{
	return f->sn->arena + f->offset + sizeof(struct swi_object_head);
}

void swi_fetch_will_land(struct swi_fetch *f, uint64_t len)
{
	swi_digest_cancel(&f->digest);
	f->to_digest = len >= LANDING_MIN ? len : 0;
}

void swi_fetch_landed_to(struct swi_fetch *f, uint64_t end)
{
	if (!f->to_digest)
		return;
	if (!f->digest.state)
		swi_digest_open(&f->digest, payload_of(f), f->to_digest);
	swi_digest_to(&f->digest, end);
}

void swi_fetch_landed(struct swi_read *rd, const void *at, uint32_t len)
{
	struct swi_fetch *f = rd->owner;
	const uint8_t *payload = payload_of(f), *from = at;
	const uint8_t *next = payload + (f->digest.state ? f->digest.pos : 0);

	if (from <= next && from + len > next) /* else what comes before it is still missing */
		swi_fetch_landed_to(f, (uint64_t)(from + len - payload));
}

void swi_fetch_verify(struct swi_fetch *f, uint64_t digest, bool check)
{
	struct swi_digest *d = &f->digest;

	f->phase = SWI_FETCH_VERIFY;
	f->lease.digest = digest;
	d->cb = verified;
	d->owner = f;
	if (d->state && d->len != f->len)
		swi_digest_cancel(d);
	if (!check)
		arrived(f);
	else if (d->state && d->len - d->pos <= CHECK_AT_ONCE)
		check_digest(f, swi_digest_finish(d));
	else if (d->state)
		swi_digest_go_on(f->sn, d);
	else if (f->len <= CHECK_AT_ONCE)
		check_digest(f, XXH3_64bits(payload_of(f), f->len));
	else
		swi_digest_begin(f->sn, d, payload_of(f), f->len);
}

void swi_fetch_read_over(struct swi_fetch *f, int status)
{
	swi_fetch_lease_back(f);
	swi_req_end(f->sn, &f->rq);
	if (status) {
		swi_fetch_holder_failed(f, status, NULL);
		return;
	}
	if (!f->from_part && !header_fits(f)) {
		swi_fetch_holder_failed(f, SWARM_ECORRUPT, "its header is not what was leased");
		return;
	}
	/* What is READ out of another fetch has no header that could be checked: its digest is, always. */
	swi_fetch_verify(f, f->lease.digest, f->from_part || !f->sn->opts.no_verify);
}

/* ---- from disk ---- */

void swi_fetch_restored(struct swi_spill_io *io)
{
	struct swi_fetch *f = io->owner;
	struct swi_snode *sn = f->sn;
	char id[SWI_OID_TEXT];
	struct swi_local lo;
	uint64_t len;

	sn->fetches.in_flight--;
	swi_meter_end(sn, &sn->evict.read, io->status ? 0 : f->bytes);
	if (!io->status) {
		sn->stats.restores++;
		sn->stats.restore_bytes += f->len;
		publish(f);
		return;
	}
	f->last_status = io->status;
	snprintf(f->last_text, sizeof(f->last_text), "object %s on the disk of node %u (%.100s): %s; %s",
		 swi_oid_text(f->id, id), sn->node, swi_spill_trouble(sn->spill),
		 swarm_strerror(io->status), swarm_strremedy(io->status));
	if (io->status == SWARM_ECORRUPT) {
		sn->stats.digest_errors++;
		swi_error(sn->log, "%s", f->last_text);
	}
	/* The log drops what it cannot read; what moved meanwhile it still has, and reads at its new place. */
	if (!swi_local_find(sn, f->id, &lo) && !swi_spilled_here(sn, f->id, &len)) {
		swi_attr_left(sn, f->id);
		swi_dir_have_not(sn, f->ref, sn->node, io->status);
		if (swi_fetch_for_peers_only(f)) { /* they look for another copy themselves */
			swi_fetch_fail(f, io->status, f->last_text);
			return;
		}
	}
	swi_fetch_again(f);
}
