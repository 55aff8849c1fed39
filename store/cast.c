/* SPDX-License-Identifier: Apache-2.0 */
/* cast.c - see cast.h. */
#include "store/cast.h"
#include "store/pieces.h"
#include "store/snode_internal.h"

#define LINGER_NS   (2 * NS_PER_S) /* readers that come within this belong to one tree */
#define MEMBERS_MAX 4096u	   /* later ones are served directly */

struct member {
	uint64_t epoch;
	uint32_t node;
};

struct swi_cast {
	struct swarm_oid id;
	UT_hash_handle hh;
	struct swi_snode *sn;
	struct swi_timer linger;
	struct member *member; /* in the order in which they asked */
	uint32_t count, cap;
};

bool swi_is_large(const struct swi_snode *sn, uint64_t len)
{
	return len > swi_piece_bytes(sn) - sizeof(struct swi_object_head);
}

/* ---- the root ---- */

static void cast_free(struct swi_cast *c)
{
	struct swi_snode *sn = c->sn;

	swi_timer_stop(&sn->timers, &c->linger);
	HASH_DELETE(hh, sn->casts.by_id, c);
	free(c->member);
	free(c);
}

static void lingered(struct swi_timer *t)
{
	cast_free(swi_container_of(t, struct swi_cast, linger));
}

void swi_casts_fini(struct swi_snode *sn)
{
	struct swi_cast *c, *tmp;

	HASH_ITER(hh, sn->casts.by_id, c, tmp)
		cast_free(c);
}

static struct swi_cast *cast_get(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_cast *c;

	HASH_FIND(hh, sn->casts.by_id, &id, sizeof(id), c);
	if (!c) {
		c = calloc(1, sizeof(*c));
		SWI_BUG_ON(!c);
		c->sn = sn;
		c->id = id;
		c->linger.cb = lingered;
		HASH_ADD(hh, sn->casts.by_id, id, sizeof(c->id), c);
	}
	swi_timer_set(&sn->timers, &c->linger, sn->now_ns + LINGER_NS);
	return c;
}

/* Its place in the order of arrival; MEMBERS_MAX: there is none for it. */
static uint32_t cast_join(struct swi_cast *c, const struct swi_peer *p)
{
	uint32_t i = 0;

	while (i < c->count && c->member[i].epoch != p->epoch)
		i++;
	if (i < c->count || i == MEMBERS_MAX)
		return i;
	if (c->count == c->cap) {
		const uint32_t cap = c->cap ? 2 * c->cap : 8;
		struct member *v = realloc(c->member, cap * sizeof(*v));

		if (!v)
			return MEMBERS_MAX;
		c->member = v;
		c->cap = cap;
	}
	c->member[c->count] = (struct member){p->epoch, p->node};
	return c->count++;
}

bool swi_cast_send_on(struct swi_link *l, uint64_t req, struct swarm_oid id, bool whole)
{
	struct swi_snode *sn = l->sn;
	struct swi_smsg_parent m = {.req = req};
	struct swi_cast *c;
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	uint32_t i;

	if (!l->peer || l->peer->chosen != l)
		return false;
	c = cast_get(sn, id);
	i = cast_join(c, l->peer);
	if (i == MEMBERS_MAX)
		return false;
	/* Up the tree, past those that are not there any more. */
	while (i >= 2) {
		const struct swi_peer *p;

		i = (i - 2) / 2;
		p = swi_peer_by_epoch(sn, c->member[i].epoch);
		if (!p || !p->chosen)
			continue;
		if (whole) {
			swi_serve_refuse(l, req, -EBUSY, "others READ it already");
			return true;
		}
		m.epoch = c->member[i].epoch;
		m.node = c->member[i].node;
		swi_smsg_put_parent(&w, &m);
		(void)swi_peer_send(sn, l->peer, SWI_S_PARENT, buf, w.len);
		sn->stats.cast_sent_on++;
		return true;
	}
	return false;
}

/* ---- a node that is still fetching ---- */

static void follower_free(struct swi_follower *fo)
{
	swi_list_del(&fo->link);
	swi_list_del(&fo->of_link);
	free(fo);
}

static void give(struct swi_fetch *f, struct swi_follower *fo)
{
	struct swi_smsg_leased m = f->lease;

	m.req = fo->req;
	m.region = SWI_REGION_ARENA;
	m.offset = f->offset;
	m.have = swi_pieces_landed(f);
	/* Of the extent that it lies in here, which has no name yet: the reader makes a header of its own. */
	m.gen = 0;
	m.epoch = 0;
	swi_hold_add(f->sn, f->offset);
	f->followed = true;
	fo->given = true;
	swi_serve_lease(fo->l, f->offset, &m);
}

/* It will be given what it waits for, or be refused, without this reader's doing. */
static bool may_wait(const struct swi_fetch *f, uint64_t root)
{
	return f->phase == SWI_FETCH_LEASE &&
	       root == (f->root_epoch ? f->root_epoch : f->holder_epoch);
}

bool swi_follow(struct swi_link *l, const struct swi_smsg_lease *m)
{
	struct swi_snode *sn = l->sn;
	struct swi_follower *fo;
	struct swi_fetch *f;

	HASH_FIND(hh, sn->fetches.by_id, &m->id, sizeof(m->id), f);
	if (!f || (!swi_pieces_flow(f) && !may_wait(f, m->sent_by)))
		return false;
	fo = calloc(1, sizeof(*fo));
	SWI_BUG_ON(!fo);
	fo->l = l;
	fo->req = m->req;
	swi_list_push_back(&f->followers, &fo->link);
	swi_list_push_back(&l->followers, &fo->of_link);
	if (swi_pieces_flow(f)) {
		give(f, fo);
		if (swi_pieces_landed(f) == f->len)
			follower_free(fo);
	}
	return true;
}

void swi_followers_give(struct swi_fetch *f)
{
	swi_list_for_each(it, &f->followers) {
		struct swi_follower *fo = swi_list_entry(it, struct swi_follower, link);

		if (!fo->given)
			give(f, fo);
	}
}

static void say_more(struct swi_fetch *f, const struct swi_follower *fo, int status)
{
	const struct swi_smsg_more m = {
		.req = fo->req, .status = status, .have = status ? 0 : swi_pieces_landed(f)};
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_smsg_put_more(&w, &m);
	if (fo->l->peer && fo->l->peer->chosen == fo->l)
		(void)swi_peer_send(f->sn, fo->l->peer, SWI_S_MORE, buf, w.len);
}

void swi_followers_more(struct swi_fetch *f, int status)
{
	const bool last = status || swi_pieces_landed(f) == f->len;

	for (struct swi_list *it = f->followers.next, *next; it != &f->followers; it = next) {
		struct swi_follower *fo = swi_list_entry(it, struct swi_follower, link);

		next = it->next;
		if (!fo->given)
			continue;
		say_more(f, fo, status);
		if (last) /* its lease goes on by itself */
			follower_free(fo);
	}
}

void swi_followers_refuse(struct swi_fetch *f)
{
	while (!swi_list_empty(&f->followers)) {
		struct swi_follower *fo = swi_list_first(&f->followers, struct swi_follower, link);

		if (fo->given)
			say_more(f, fo, -ENOENT);
		else
			swi_serve_refuse(fo->l, fo->req, -ENOENT, "it is not coming here now");
		follower_free(fo);
	}
}

void swi_followers_link_down(struct swi_link *l)
{
	while (!swi_list_empty(&l->followers))
		follower_free(swi_list_first(&l->followers, struct swi_follower, of_link));
}
