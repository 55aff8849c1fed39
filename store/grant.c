/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grant.c - room for clients: chunks and large extents, those who wait for it, and what their death undoes.
 *
 * A client fills a grant from its start; each object's header has the grant's generation, written last.
 * So the headers form a chain, and the first place without one is the end (walk.c). Owner thread
 * of the node.
 */
#include "store/proto.h"
#include "store/snode_internal.h"

struct client_room { /* a SWI_L_CHUNK that waits */
	struct swi_list link; /* clients.rooms */
	struct swi_list own;  /* cl->rooms */
	struct swi_client *cl;
	uint64_t req, bytes, since_ns, deadline_ns, ticket;
	bool large;
};

/* ---- the table of grants ---- */

static int number_take(struct swi_clients *c, uint32_t *out)
{
	if (c->grant_free_count) {
		*out = c->grant_free[--c->grant_free_count];
		return 0;
	}
	if (c->grant_count == c->grant_cap) {
		const uint32_t cap = c->grant_cap ? c->grant_cap * 2 : 64;
		struct swi_grant **g = realloc(c->grant, cap * sizeof(*g));

		if (!g)
			return -ENOMEM;
		c->grant = g;
		uint32_t *f = realloc(c->grant_free, cap * sizeof(*f));

		if (!f)
			return -ENOMEM;
		c->grant_free = f;
		c->grant_cap = cap;
	}
	c->grant[c->grant_count] = NULL; /* also when no room is found for it */
	*out = c->grant_count++;
	return 0;
}

static void mark_pages(struct swi_snode *sn, const struct swi_grant *g, uint32_t value)
{
	for (uint64_t i = 0; i < g->bytes / SWI_PAGE; i++)
		sn->clients.page_grant[g->offset / SWI_PAGE + i] = value;
}

static struct swi_grant *grant_of(struct swi_snode *sn, uint64_t offset)
{
	const uint32_t n = offset < sn->arena_bytes ? sn->clients.page_grant[offset / SWI_PAGE] : 0;

	return n ? sn->clients.grant[n - 1] : NULL;
}

static int grant_make(struct swi_client *cl, uint64_t bytes, bool large, struct swi_grant **out)
{
	struct swi_snode *sn = cl->sn;
	struct swi_grant *g = calloc(1, sizeof(*g));
	int rc = -ENOMEM;

	if (!g)
		return rc;
	rc = number_take(&sn->clients, &g->number);
	if (rc) {
		free(g);
		return rc;
	}
	for (;;) {
		rc = swi_extent_alloc(&sn->extents, bytes, SWI_PAGE,
				      swi_extent_side(bytes, sn->arena_bytes), &g->offset);
		if (rc != -ENOSPC || large || bytes / 2 < SWI_LARGE_MIN)
			break;
		/* Where objects left one by one, no whole chunk may be free: a smaller one takes any small object too. */
		bytes = swi_align_down(bytes / 2, SWI_PAGE);
	}
	if (rc) {
		sn->clients.grant_free[sn->clients.grant_free_count++] = g->number;
		free(g);
		return rc;
	}
	g->cl = cl;
	g->bytes = bytes;
	if (cl->account)
		cl->account->used += bytes;
	g->large = large;
	g->gen = swi_snode_gen(sn);
	sn->clients.grant[g->number] = g;
	mark_pages(sn, g, g->number + 1);
	swi_list_push_back(&cl->grants, &g->link);
	*out = g;
	return 0;
}

static void grant_end(struct swi_snode *sn, struct swi_grant *g, uint64_t limit)
{
	mark_pages(sn, g, 0);
	if (g->cl->account)
		g->cl->account->used -= g->bytes;
	swi_grant_return(sn, g, limit);
	sn->clients.grant[g->number] = NULL;
	sn->clients.grant_free[sn->clients.grant_free_count++] = g->number;
	swi_list_del(&g->link);
	free(g);
}

bool swi_in_grant(struct swi_snode *sn, uint64_t offset)
{
	return grant_of(sn, offset) != NULL;
}

void swi_grant_free(struct swi_snode *sn, uint64_t offset, uint64_t bytes)
{
	uint64_t ext;

	if (!grant_of(sn, offset)) {
		swi_quota_free(sn, offset);
		swi_extent_give_back(sn, offset, offset + bytes);
		return;
	}
	struct swi_object_head *h = swi_object_at(sn, offset, &ext);

	if (h)
		atomic_store_explicit(&h->state, SWI_OBJ_REMOVED, memory_order_relaxed);
}

/* ---- asking for room ---- */

static void reply_grant(struct swi_client *cl, uint64_t req, const struct swi_grant *g)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_u32(&w, 0);
	swi_wr_u64(&w, g->offset);
	swi_wr_u64(&w, g->bytes);
	swi_wr_u32(&w, g->gen);
	swi_client_send(cl, SWI_L_REPLY, req, buf, w.len);
}

static void reply_too_big(struct swi_client *cl, uint64_t req, uint64_t bytes)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "%llu bytes can never fit: the arena has %llu; start the store with a larger one",
		 (unsigned long long)bytes, (unsigned long long)cl->sn->arena_bytes);
	swi_client_reply_error(cl, req, -E2BIG, text);
}

static void reply_quota(struct swi_client *cl, uint64_t req, uint64_t bytes)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "process %u fills %llu of its quota of %llu bytes of the arena and asks for %llu more: delete objects "
		 "that it made, or raise client_quota_bytes",
		 cl->pid, (unsigned long long)cl->account->used,
		 (unsigned long long)cl->sn->opts.client_quota, (unsigned long long)bytes);
	swi_client_reply_error(cl, req, SWARM_EQUOTA, text);
}

/* Why room did not come in time: how full it is, who is before, and what the disk does about it. */
static void reply_full(struct swi_client *cl, const struct client_room *r)
{
	struct swi_snode *sn = cl->sn;
	const struct swi_evict *e = &sn->evict;
	char text[512], disk[200];

	if (!sn->spill)
		snprintf(disk, sizeof(disk), "nothing can be written to disk (no spill folder)");
	else if (sn->now_ns < e->disk_ns || !swi_spill_has_room(sn->spill, r->bytes))
		snprintf(disk, sizeof(disk), "the spill folders are full or refuse to be written");
	else if (e->stuck)
		snprintf(disk, sizeof(disk), "what is there is pinned, held or being written and cannot leave");
	else
		snprintf(disk, sizeof(disk), "the disk takes %llu MB a second, %llu bytes are on their way: wait longer, or write less",
			 (unsigned long long)(e->write.rate / 1000000), (unsigned long long)e->spilling_bytes);
	snprintf(text, sizeof(text),
		 "no room for %llu bytes within %llu ms: %llu of %llu are used, the largest free piece has %llu, "
		 "%llu bytes are asked for in all; %s",
		 (unsigned long long)r->bytes, (unsigned long long)((sn->now_ns - r->since_ns) / NS_PER_MS),
		 (unsigned long long)sn->extents.used, (unsigned long long)sn->arena_bytes,
		 (unsigned long long)swi_extents_largest(&sn->extents),
		 (unsigned long long)swi_room_missing(sn), disk);
	swi_client_reply_error(cl, r->req, SWARM_EFULL, text);
}

static void room_free(struct swi_snode *sn, struct client_room *r)
{
	sn->clients.rooms_bytes -= r->bytes;
	r->cl->requests--;
	swi_list_del(&r->link);
	swi_list_del(&r->own);
	sn->rooms.again = sn->clients.rooms_again = true; /* the next in line may need less */
	free(r);
}

static void room_served(struct swi_snode *sn, const struct client_room *r)
{
	const uint64_t ns = sn->now_ns - r->since_ns;

	sn->clients.served++;
	sn->clients.waited_ns += ns;
	sn->clients.waited_max_ns = swi_max_u64(sn->clients.waited_max_ns, ns);
}

static int room_wait(struct swi_client *cl, uint64_t req, uint64_t bytes, bool large,
		     uint64_t timeout_ns)
{
	struct client_room *r = calloc(1, sizeof(*r));

	if (!r) {
		swi_client_reply_error(cl, req, -ENOMEM, "the node is out of memory");
		return 0;
	}
	r->cl = cl;
	r->req = req;
	r->bytes = bytes;
	r->large = large;
	r->ticket = swi_room_ticket(cl->sn);
	r->since_ns = cl->sn->now_ns;
	r->deadline_ns = swi_sat_add(cl->sn->now_ns, timeout_ns);
	cl->requests++;
	cl->sn->clients.rooms_bytes += bytes;
	swi_list_push_back(&cl->sn->clients.rooms, &r->link);
	swi_list_push_back(&cl->rooms, &r->own);
	return 0;
}

int swi_grant_request(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_snode *sn = cl->sn;
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	uint64_t bytes = swi_rd_u64(&r);
	const uint8_t large = swi_rd_u8(&r);
	const uint64_t timeout_ns = swi_rd_u64(&r);
	struct swi_grant *g;
	int rc;

	if (!swi_rd_done(&r) || !msg->req || !bytes || bytes % SWI_PAGE || large > 1)
		return -EPROTO;
	if (!large && bytes > swi_max_u64(sn->shm->chunk_bytes, SWI_LARGE_MIN))
		return -EPROTO;
	rc = swi_quota_fit(sn, cl->account, large ? bytes : SWI_LARGE_MIN, &bytes);
	if (rc) {
		reply_quota(cl, msg->req, bytes);
		return 0;
	}
	rc = -ENOSPC;
	/* Nobody overtakes those who wait. */
	if (swi_list_empty(&sn->clients.rooms) && swi_list_empty(&sn->rooms.list))
		rc = grant_make(cl, bytes, large, &g);
	if (!rc)
		reply_grant(cl, msg->req, g);
	else if (rc == -ENOSPC && bytes <= sn->arena_bytes)
		return room_wait(cl, msg->req, bytes, large, timeout_ns);
	else if (rc == -ENOMEM)
		swi_client_reply_error(cl, msg->req, rc, "the node is out of memory");
	else
		reply_too_big(cl, msg->req, bytes);
	return 0;
}

int swi_grant_done(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const uint64_t offset = swi_rd_u64(&r);
	const uint64_t used = swi_rd_u64(&r);
	struct swi_grant *g;

	if (!swi_rd_done(&r))
		return -EPROTO;
	g = grant_of(cl->sn, offset);
	if (!g || g->cl != cl || g->offset != offset || used > g->bytes)
		return -EPROTO;
	grant_end(cl->sn, g, used);
	return 0;
}

uint64_t swi_grants_ticket(struct swi_snode *sn)
{
	const struct client_room *r = swi_list_first(&sn->clients.rooms, struct client_room, link);

	return r ? r->ticket : 0;
}

uint64_t swi_grants_head(struct swi_snode *sn)
{
	const struct client_room *r = swi_list_first(&sn->clients.rooms, struct client_room, link);

	return r ? r->bytes : 0;
}

uint64_t swi_grants_piece(struct swi_snode *sn)
{
	const struct client_room *r = swi_list_first(&sn->clients.rooms, struct client_room, link);

	if (!r)
		return 0;
	return r->large ? r->bytes : swi_min_u64(r->bytes, SWI_COMPACT_CHUNK);
}

uint64_t swi_grants_least(struct swi_snode *sn)
{
	const struct client_room *r = swi_list_first(&sn->clients.rooms, struct client_room, link);

	return r && !r->large ? swi_min_u64(r->bytes, SWI_LARGE_MIN) : swi_grants_piece(sn);
}

static int serve_rooms(struct swi_snode *sn)
{
	struct swi_clients *c = &sn->clients;
	int n = 0;

	if (c->rooms_frees == sn->extents.frees && !c->rooms_again)
		return 0;
	c->rooms_frees = sn->extents.frees;
	c->rooms_again = false;
	while (!swi_list_empty(&c->rooms)) { /* oldest first */
		struct client_room *r = swi_list_first(&c->rooms, struct client_room, link);
		struct swi_grant *g;

		if (!swi_room_before_core(sn, r->ticket) || grant_make(r->cl, r->bytes, r->large, &g))
			break;
		reply_grant(r->cl, r->req, g);
		room_served(sn, r);
		room_free(sn, r);
		n++;
	}
	return n;
}

int swi_grants_step(struct swi_snode *sn)
{
	struct swi_clients *c = &sn->clients;
	int n = serve_rooms(sn);

	swi_list_for_each_safe(it, &c->rooms)
	{
		struct client_room *r = swi_list_entry(it, struct client_room, link);

		if (sn->now_ns < r->deadline_ns)
			continue;
		c->refused++;
		c->refused_late += r->deadline_ns > r->since_ns;
		reply_full(r->cl, r);
		room_free(sn, r);
		n++;
	}
	return n;
}

uint64_t swi_grants_deadline_ns(struct swi_snode *sn)
{
	uint64_t d = UINT64_MAX;

	swi_list_for_each(it, &sn->clients.rooms)
		d = swi_min_u64(d, swi_list_entry(it, struct client_room, link)->deadline_ns);
	return d;
}

/* ---- the end of a client ---- */

/* A DEAD slot that the client killed and perhaps did not report. */
static void finish_kill(struct swi_snode *sn, const struct swi_index_hit *hit)
{
	const struct swi_object_head *h = swi_object_at(sn, swi_slot_offset(hit->word), NULL);

	if (!h)
		return;
	const struct swarm_ref ref = {.id = {.w = {h->oid[0], h->oid[1]}}, .home = h->home};

	if (swi_object_deleted(sn, hit))
		swi_dir_delete_asked(sn, ref);
}

/* The object of a seal that did not come to its end: hidden, or counted and announced. */
static void undo_seal(struct swi_client *cl, const struct swi_intent *in, uint64_t what, uint64_t key)
{
	struct swi_snode *sn = cl->sn;
	const uint64_t offset = swi_intent_offset(what);
	const struct swi_grant *g = grant_of(sn, offset);
	struct swi_object_head *h = g && g->cl == cl ? swi_object_at(sn, offset, NULL) : NULL;
	const uint64_t sealed = atomic_load_explicit(&in->sealed, memory_order_relaxed);
	struct swi_index_hit hit;

	if (!h)
		return;
	if (swi_index_find_extent(&sn->index, key, SWI_SLOT_CLAIMED, g->gen, offset, &hit))
		swi_index_unclaim(&sn->index, &hit, key);
	const bool there = swi_index_leads_to(&sn->index, key, g->gen, offset);
	const bool was = swi_retiring(sn, offset) ||
			 atomic_load_explicit(&h->state, memory_order_relaxed) == SWI_OBJ_REMOVED;

	if ((there || was) && what == swi_intent_seal(offset, sealed)) /* and not counted */
		atomic_fetch_add_explicit(&sn->shm->objects, 1, memory_order_relaxed);
	if (!there && !was)
		atomic_store_explicit(&h->state, SWI_OBJ_ABORTED, memory_order_relaxed);
	if (there) /* and perhaps not announced; twice does no harm */
		swi_snode_sealed(sn, (struct swarm_oid){.w = {h->oid[0], h->oid[1]}}, offset);
}

/* What an intent names may be gone, and somebody else's object lie there by now, or be written: the index decides. */
SWI_READS_RACY static bool named(const struct swi_snode *sn, uint64_t offset, uint64_t *out_key, uint32_t *out_gen)
{
	if (offset % SWI_GRANULE || offset > sn->arena_bytes - sizeof(struct swi_object_head))
		return false;
	const struct swi_object_head *h = (const void *)(sn->arena + offset);
	const struct swarm_oid id = {.w = {__atomic_load_n(&h->oid[0], __ATOMIC_RELAXED),
					   __atomic_load_n(&h->oid[1], __ATOMIC_RELAXED)}};

	*out_key = swi_index_key(id);
	*out_gen = __atomic_load_n(&h->gen, __ATOMIC_RELAXED);
	return true;
}

static void undo_intent(struct swi_client *cl, const struct swi_intent *in)
{
	struct swi_snode *sn = cl->sn;
	const uint64_t what = atomic_load(&in->what);
	const uint64_t offset = what ? swi_intent_offset(what) : 0;
	struct swi_index_hit hit;
	uint64_t key;
	uint32_t gen;

	atomic_fetch_add_explicit(&sn->shm->objects, atomic_load(&in->sealed), memory_order_relaxed);
	if (!what || !named(sn, offset, &key, &gen))
		return;
	if (!(what & SWI_INTENT_DELETE))
		undo_seal(cl, in, what, key);
	else if (swi_index_find_extent(&sn->index, key, SWI_SLOT_DEAD, gen, offset, &hit))
		finish_kill(sn, &hit);
}

void swi_grants_undo(struct swi_client *cl)
{
	while (!swi_list_empty(&cl->rooms))
		room_free(cl->sn, swi_list_entry(cl->rooms.next, struct client_room, own));
	for (uint32_t i = 0; i < SWI_INTENT_SLOTS; i++)
		undo_intent(cl, &cl->shm->intent[i]);
	while (!swi_list_empty(&cl->grants)) {
		struct swi_grant *g = swi_list_first(&cl->grants, struct swi_grant, link);

		grant_end(cl->sn, g, g->bytes);
	}
}

void swi_grants_fini(struct swi_snode *sn)
{
	free(sn->clients.grant);
	free(sn->clients.grant_free);
	sn->clients.grant = NULL;
	sn->clients.grant_free = NULL;
}
