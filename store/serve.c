/* SPDX-License-Identifier: Apache-2.0 */
/* serve.c - see serve.h. */
#include "store/cast.h"
#include "store/snode_internal.h"

#define RESTORE_NS (60 * NS_PER_S) /* a spilled object is restored for a reader within this, or refused */

struct serve { /* asked for, not given yet: it is being restored, or its digest is being computed */
	struct swi_list link; /* swi_link.serves */
	struct swi_link *l;
	uint64_t req;
	struct swarm_oid id;
	struct swi_want want;
	struct swi_range_ask part; /* of a RANGE */
	struct swi_digest digest;
	uint64_t offset; /* held while the digest is computed */
	bool held;
};

static void answer(struct swi_link *l, const struct swi_smsg_leased *m)
{
	uint8_t buf[SWI_SMSG_BODY_MAX];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_smsg_put_leased(&w, m);
	if (l->peer && l->peer->chosen == l)
		(void)swi_peer_send(l->sn, l->peer, SWI_S_LEASED, buf, w.len);
}

void swi_serve_refuse(struct swi_link *l, uint64_t req, int status, const char *text)
{
	struct swi_smsg_leased m = {.req = req, .status = status};

	snprintf(m.text, sizeof(m.text), "%s", text);
	answer(l, &m);
}

/* The caller's hold on the extent becomes the lease's. */
static uint64_t lease_new(struct swi_link *l, uint64_t offset)
{
	struct swi_snode *sn = l->sn;
	struct swi_lease *le = calloc(1, sizeof(*le));

	SWI_BUG_ON(!le);
	le->num = ++sn->leases.seq;
	le->owner = l;
	le->offset = offset;
	HASH_ADD(hh, sn->leases.by_num, num, sizeof(le->num), le);
	swi_list_push_back(&l->leases, &le->link);
	return le->num;
}

void swi_serve_lease(struct swi_link *l, uint64_t offset, struct swi_smsg_leased *m)
{
	m->lease = lease_new(l, offset);
	l->sn->stats.served_reads++;
	l->sn->stats.served_bytes += m->len;
	answer(l, m);
}

static void give(struct swi_link *l, uint64_t req, uint64_t offset)
{
	struct swi_snode *sn = l->sn;
	const struct swi_object_head *h = swi_object_at(sn, offset, NULL);
	struct swi_smsg_leased m = {.req = req, .region = SWI_REGION_ARENA, .offset = offset};

	if (!h) {
		swi_hold_drop(sn, offset);
		swi_serve_refuse(l, req, SWARM_ECORRUPT, "the header of the object is damaged");
		return;
	}
	m.gen = h->gen;
	m.epoch = h->epoch;
	m.len = m.have = h->len;
	m.digest = atomic_load_explicit(&h->digest, memory_order_relaxed);
	swi_serve_lease(l, offset, &m);
}

/* Lease 0: it is on disk and is to be asked for part by part (RANGE). */
static void give_in_parts(struct swi_link *l, uint64_t req, struct swarm_oid id)
{
	struct swi_smsg_leased m = {.req = req, .region = SWI_REGION_ARENA};
	struct swi_object_head head;

	if (!swi_spill_find(l->sn->spill, id, &head)) {
		swi_serve_refuse(l, req, -ENOENT, "the object is not here any more");
		return;
	}
	m.gen = head.gen;
	m.epoch = head.epoch;
	m.len = m.have = head.len;
	m.digest = atomic_load_explicit(&head.digest, memory_order_relaxed);
	answer(l, &m);
}

static void serve_free(struct serve *s)
{
	swi_want_cancel(s->l->sn, &s->want);
	swi_range_cancel(s->l->sn, &s->part);
	swi_digest_cancel(&s->digest);
	if (s->held)
		swi_hold_drop(s->l->sn, s->offset);
	swi_list_del(&s->link);
	free(s);
}

static struct serve *serve_new(struct swi_link *l, uint64_t req, struct swarm_oid id)
{
	struct serve *s = calloc(1, sizeof(*s));

	SWI_BUG_ON(!s);
	s->l = l;
	s->req = req;
	s->id = id;
	swi_list_push_back(&l->serves, &s->link);
	return s;
}

static void digest_done(struct swi_digest *d, uint64_t digest)
{
	struct serve *s = d->owner;
	struct swi_object_head *h = swi_object_at(s->l->sn, s->offset, NULL);

	if (h) {
		atomic_store_explicit(&h->digest, digest, memory_order_relaxed);
		__atomic_fetch_or(&h->flags, SWI_OBJ_F_DIGEST, __ATOMIC_RELAXED);
	}
	s->held = false;
	give(s->l, s->req, s->offset);
	serve_free(s);
}

/* The extent is held for this request: lease it, with its digest. */
static void lease_held(struct swi_link *l, uint64_t req, uint64_t offset, struct serve *s)
{
	const struct swi_object_head *h = swi_object_at(l->sn, offset, NULL);

	if (!h || (__atomic_load_n(&h->flags, __ATOMIC_RELAXED) & SWI_OBJ_F_DIGEST)) {
		if (s)
			serve_free(s);
		give(l, req, offset);
		return;
	}
	if (!s)
		s = serve_new(l, req, (struct swarm_oid){{h->oid[0], h->oid[1]}});
	s->offset = offset;
	s->held = true;
	s->digest.cb = digest_done;
	s->digest.owner = s;
	swi_digest_begin(l->sn, &s->digest, h + 1, h->len);
}

static void restored(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct serve *s = swi_container_of(w, struct serve, want);

	if (status) {
		swi_serve_refuse(s->l, s->req, status, text);
		serve_free(s);
		return;
	}
	lease_held(s->l, s->req, offset, s);
}

bool swi_serve_memory(struct swi_link *l, uint64_t req, struct swarm_oid id)
{
	struct swi_local lo;

	/* Who wants a large one asks for a lease when it has room: it may be sent on to another reader. */
	if (!swi_local_find(l->sn, id, &lo) || swi_is_large(l->sn, lo.len))
		return false;
	swi_hold_add(l->sn, lo.offset);
	lease_held(l, req, lo.offset, NULL);
	return true;
}

/* Its home is who hears of it when it cannot be read: the header knows, who asks names the id alone. */
static struct swarm_ref ref_of(struct swi_snode *sn, struct swarm_oid id)
{
	struct swarm_ref ref = {.id = id, .home = sn->node};
	struct swi_object_head head;
	struct swi_local lo;

	if (swi_local_find(sn, id, &lo))
		ref.home = lo.ref.home;
	else if (sn->spill && swi_spill_find(sn->spill, id, &head))
		ref.home = head.home;
	return ref;
}

static void serve_spilled(struct swi_link *l, const struct swi_smsg_lease *m)
{
	struct serve *s = serve_new(l, m->req, m->id);

	s->want.ref = ref_of(l->sn, m->id);
	s->want.deadline_ns = l->sn->now_ns + RESTORE_NS;
	s->want.cb = restored;
	swi_want_for_peer(l->sn, &s->want);
}

int swi_serve_on_lease(struct swi_link *l, struct swi_rd *body)
{
	struct swi_snode *sn = l->sn;
	struct swi_smsg_lease m;
	struct swi_local lo;
	bool in_memory;
	uint64_t len;

	if (swi_smsg_get_lease(body, &m))
		return SWARM_EPROTO;
	in_memory = swi_local_find(sn, m.id, &lo);
	if (!in_memory && (m.flags & SWI_LEASE_WHOLE)) {
		swi_serve_refuse(l, m.req, -EAGAIN, "the object is not in memory");
		return 0;
	}
	if (!in_memory && !swi_spilled_here(sn, m.id, &len)) {
		if (!swi_follow(l, &m))
			swi_serve_refuse(l, m.req, -ENOENT, "the object is not here any more");
		return 0;
	}
	if (!in_memory && swi_rooms_in_parts(sn, swi_extent_bytes(len))) {
		give_in_parts(l, m.req, m.id);
		return 0;
	}
	if (!(m.flags & SWI_LEASE_FROM_YOU) && swi_is_large(sn, in_memory ? lo.len : len) &&
	    swi_cast_send_on(l, m.req, m.id, m.flags & SWI_LEASE_WHOLE))
		return 0;
	if (in_memory) {
		swi_hold_add(sn, lo.offset);
		lease_held(l, m.req, lo.offset, NULL);
	} else {
		serve_spilled(l, &m);
	}
	return 0;
}

/* ---- a part ---- */

static void part_here(struct swi_range_ask *a, int status, const char *text, uint64_t hold, uint64_t at)
{
	struct serve *s = swi_container_of(a, struct serve, part);
	struct swi_smsg_leased m = {.req = s->req,
				    .region = SWI_REGION_ARENA,
				    .offset = hold,
				    .len = a->len,
				    .digest = at - hold};

	if (status) {
		swi_serve_refuse(s->l, s->req, status, text);
	} else {
		m.lease = lease_new(s->l, hold);
		s->l->sn->stats.served_reads++;
		s->l->sn->stats.served_bytes += a->len;
		answer(s->l, &m);
	}
	serve_free(s);
}

int swi_serve_on_range(struct swi_link *l, struct swi_rd *body)
{
	struct swi_snode *sn = l->sn;
	struct swi_smsg_range m;
	struct serve *s;

	if (swi_smsg_get_range(body, &m))
		return SWARM_EPROTO;
	s = serve_new(l, m.req, m.id);
	s->part = (struct swi_range_ask){.ref = ref_of(sn, m.id),
					 .from = m.from,
					 .len = m.len,
					 .deadline_ns = sn->now_ns + RESTORE_NS,
					 .here_only = true,
					 .cb = part_here};
	swi_range_get(sn, &s->part);
	return 0;
}

int swi_serve_unclaimed(struct swi_link *l, struct swi_rd *body)
{
	struct swi_smsg_leased m;

	if (swi_smsg_get_leased(body, &m))
		return SWARM_EPROTO;
	if (!m.status && m.lease)
		swi_peer_say_end(l->sn, l->peer, m.lease);
	return 0;
}

static void lease_end(struct swi_snode *sn, struct swi_lease *le)
{
	HASH_DELETE(hh, sn->leases.by_num, le);
	swi_list_del(&le->link);
	swi_hold_drop(sn, le->offset);
	free(le);
}

int swi_serve_on_ends(struct swi_link *l, struct swi_rd *body)
{
	struct swi_snode *sn = l->sn;
	struct swi_lease *le;
	uint32_t n;

	if (swi_smsg_get_count(body, 8, &n))
		return SWARM_EPROTO;
	while (n--) {
		const uint64_t num = swi_rd_u64(body);

		HASH_FIND(hh, sn->leases.by_num, &num, sizeof(num), le);
		if (le && le->owner == l) /* else: of an earlier connection, ended with it */
			lease_end(sn, le);
	}
	return swi_rd_done(body) ? 0 : SWARM_EPROTO;
}

void swi_serve_link_down(struct swi_link *l)
{
	swi_followers_link_down(l);
	while (!swi_list_empty(&l->serves))
		serve_free(swi_list_first(&l->serves, struct serve, link));
	while (!swi_list_empty(&l->leases))
		lease_end(l->sn, swi_list_first(&l->leases, struct swi_lease, link));
}
