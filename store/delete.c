/* SPDX-License-Identifier: Apache-2.0 */
/* delete.c - see delete.h. */
#include "store/delete.h"
#include "store/snode_internal.h"

/* ---- what is remembered ---- */

static struct swi_deleted *find(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_deleted *d;

	HASH_FIND(hh, sn->dir.deleted, &id, sizeof(id), d);
	return d;
}

bool swi_dir_is_deleted(struct swi_snode *sn, struct swarm_oid id)
{
	const struct swi_deleted *d = find(sn, id);

	return d && !d->again;
}

static void deleted_free(struct swi_snode *sn, struct swi_deleted *d)
{
	HASH_DELETE(hh, sn->dir.deleted, d);
	free(d->node);
	free(d);
}

void swi_deleted_clear(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_deleted *d = find(sn, id);

	if (d)
		deleted_free(sn, d);
}

void swi_deleted_add(struct swi_snode *sn, struct swarm_ref ref)
{
	struct swi_deleted *d = calloc(1, sizeof(*d));

	swi_deleted_clear(sn, ref.id);
	if (!d)
		return;
	d->id = ref.id;
	d->named = !ref.home;
	HASH_ADD(hh, sn->dir.deleted, id, sizeof(d->id), d);
	if (HASH_COUNT(sn->dir.deleted) > SWI_DELETED_MAX)
		deleted_free(sn, sn->dir.deleted); /* the hash is in order of insertion */
}

static bool knows(const struct swi_deleted *d, uint32_t node)
{
	for (uint32_t i = 0; i < d->count; i++)
		if (d->node[i] == node)
			return true;
	return false;
}

void swi_deleted_again(struct swi_snode *sn, struct swarm_oid id, uint32_t node)
{
	struct swi_deleted *d = find(sn, id);

	if (!d)
		return;
	d->again = true;
	if (node == sn->node || knows(d, node))
		return;
	if (d->count == d->cap) {
		const uint32_t cap = d->cap ? d->cap * 2 : 4;
		uint32_t *more = realloc(d->node, cap * sizeof(*more));

		SWI_BUG_ON(!more);
		d->node = more;
		d->cap = cap;
	}
	d->node[d->count++] = node;
}

bool swi_deleted_means(struct swi_snode *sn, struct swarm_oid id, uint32_t node)
{
	const struct swi_deleted *d = find(sn, id);

	return d && !(d->again && knows(d, node));
}

void swi_deleted_moved(struct swi_snode *sn)
{
	struct swi_deleted *d, *next;

	HASH_ITER(hh, sn->dir.deleted, d, next)
		if (d->named && swi_home_of(sn, (struct swarm_ref){.id = d->id}) != sn->node)
			deleted_free(sn, d);
}

void swi_deleted_fini(struct swi_snode *sn)
{
	while (sn->dir.deleted)
		deleted_free(sn, sn->dir.deleted);
}

/* ---- deleting ---- */

void swi_deleted_drop(struct swi_snode *sn, struct swi_peer *p, struct swarm_ref ref)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_ref(&w, ref);
	(void)swi_peer_send(sn, p, SWI_S_DROP, buf, w.len);
}

void swi_deleted_forget(struct swi_snode *sn, struct swarm_oid id)
{
	swi_attr_forget(sn, id);
	swi_untold_forget(sn, id);
	swi_drain_deleted(sn, id);
}

/* @lo: what is in memory, NULL = nothing was. It is looked for once: what a client puts meanwhile stays. */
static void drop_found(struct swi_snode *sn, struct swarm_oid id, const struct swi_local *lo)
{
	struct swi_object_head head;

	if (lo)
		swi_object_deleted(sn, &lo->hit);
	else if (sn->spill && swi_spill_find(sn->spill, id, &head))
		swi_notify_deleted(sn, (struct swarm_ref){.id = id, .home = head.home}, head.len);
	if (sn->spill)
		swi_spill_forget(sn->spill, id);
	swi_evict_forget(sn, id);
	swi_deleted_forget(sn, id);
}

void swi_dir_drop_local(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_local lo;

	drop_found(sn, id, swi_local_find(sn, id, &lo) ? &lo : NULL);
}

/* A name may be another object's next: what is on its way here does not stay, and where it lay is forgotten. */
static void drop_all(struct swi_snode *sn, struct swarm_ref ref, const struct swi_local *lo)
{
	drop_found(sn, ref.id, lo);
	if (ref.home)
		return;
	swi_fetch_deleted(sn, ref.id);
	swi_locator_drop(&sn->locators, ref.id);
}

/* @lo stays: what is gone is what was here before it. */
static void drop_before(struct swi_snode *sn, const struct swi_local *lo)
{
	const struct swarm_oid id = lo->ref.id;
	struct swi_object_head old;

	swi_evict_forget(sn, id); /* if it is @lo that is being written, that was for nothing */
	if (!sn->spill || !swi_spill_find(sn->spill, id, &old))
		return;
	if (lo->flags & SWI_OBJ_F_DIGEST && old.len == lo->len &&
	    atomic_load_explicit(&old.digest, memory_order_relaxed) == lo->digest)
		return; /* it is @lo that was written */
	swi_notify_deleted(sn, lo->ref, old.len);
	swi_spill_forget(sn->spill, id);
}

/*
 * A client that deletes hides what is in memory before it says so, unless the home decides when it goes. So when we read that it
 * did, what we find in a client's room was put since.
 */
static bool put_since(struct swi_snode *sn, const struct swi_local *lo)
{
	return swi_dir_is_new(sn, lo) ||
	       (!atomic_load_explicit(&sn->shm->keeps, memory_order_relaxed) && swi_in_grant(sn, lo->offset));
}

static void drop_here(struct swi_snode *sn, struct swarm_ref ref, bool asked)
{
	struct swi_local lo;
	const bool found = swi_local_find(sn, ref.id, &lo);

	if (!found || !asked || !put_since(sn, &lo)) {
		drop_all(sn, ref, found ? &lo : NULL);
		return;
	}
	drop_before(sn, &lo);
	swi_attr_forget(sn, ref.id); /* nothing was asked for the new one yet */
}

static void delete_here(struct swi_snode *sn, struct swarm_ref ref, bool asked)
{
	struct swi_peer *heir;
	struct swi_rec *rec;
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (sn->hooks.obj_keep && sn->hooks.obj_keep(sn->hooks.ctx, ref.id))
		return;
	rec = swi_rec_get(sn, ref);
	for (uint32_t i = 0; i < rec->count; i++) {
		struct swi_peer *p = swi_peer_find(sn, rec->copies[i].node);

		if (p)
			swi_deleted_drop(sn, p, ref);
	}
	rec->count = 0;
	rec->lost = false;
	rec->state = SWI_DIR_UNKNOWN;
	swi_rec_set_text(rec, NULL);
	drop_here(sn, ref, asked);
	swi_deleted_add(sn, ref);
	swi_rec_touch(sn, rec);
	/* The heir may have the record already. A name has no heir: its next home is told of copies, of which there are none now. */
	heir = ref.home ? swi_peer_find(sn, sn->draining.heir) : NULL;
	swi_wr_ref(&w, ref);
	if (heir)
		(void)swi_peer_send(sn, heir, SWI_S_DELETE, buf, w.len);
}

static void drop_everywhere(struct swi_snode *sn, struct swarm_ref ref)
{
	swi_list_for_each(it, &sn->peers.list) {
		struct swi_peer *p = swi_list_entry(it, struct swi_peer, link);

		if (p->node)
			swi_deleted_drop(sn, p, ref);
	}
}

static void delete_ref(struct swi_snode *sn, struct swarm_ref ref, bool asked)
{
	int code;
	const uint32_t home = swi_dir_home(sn, ref, &code);
	struct swi_peer *p = home ? swi_peer_find(sn, home) : NULL;
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (home == sn->node) {
		delete_here(sn, ref, asked);
		return;
	}
	if (!p) { /* no home, no record: everybody forgets what he has */
		drop_here(sn, ref, asked);
		if (code == SWARM_EHOMELOST)
			drop_everywhere(sn, ref);
		return;
	}
	swi_wr_ref(&w, ref); /* the home sends a DROP to every copy, ours too */
	(void)swi_peer_send(sn, p, SWI_S_DELETE, buf, w.len);
}

void swi_delete(struct swi_snode *sn, struct swarm_ref ref)
{
	delete_ref(sn, ref, false);
}

void swi_dir_delete_asked(struct swi_snode *sn, struct swarm_ref ref)
{
	delete_ref(sn, ref, true);
}

int swi_dir_on_delete(struct swi_link *l, struct swi_rd *body)
{
	struct swarm_ref ref;

	if (swi_smsg_get_ref(body, &ref))
		return SWARM_EPROTO;
	/* As its home, whatever our view of the members says: two views must not pass it on for ever. */
	delete_here(l->sn, ref, false);
	return 0;
}

/* What the home does not know yet is not what it wants gone. */
static void drop_asked_by_home(struct swi_snode *sn, struct swarm_ref ref)
{
	const bool untold = swi_untold(sn, ref.id);
	struct swi_local lo;
	const bool found = swi_local_find(sn, ref.id, &lo);

	if (found && (untold || swi_dir_is_new(sn, &lo)))
		drop_before(sn, &lo);
	else if (!untold) /* else it is on disk alone, and so is nothing older */
		drop_all(sn, ref, found ? &lo : NULL);
}

int swi_dir_on_drop(struct swi_link *l, struct swi_rd *body)
{
	struct swarm_ref ref;

	if (swi_smsg_get_ref(body, &ref))
		return SWARM_EPROTO;
	drop_asked_by_home(l->sn, ref);
	return 0;
}
