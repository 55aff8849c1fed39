/* SPDX-License-Identifier: Apache-2.0 */
/* range.c - see range.h. */
#include "store/range.h"
#include "store/proto.h"
#include "store/request.h"
#include "store/snode_internal.h"

#define ATTEMPTS_MAX 22u
#define PAUSE_NS     NS_PER_MS /* doubled with every attempt, up to ... */
#define PAUSE_MAX_NS (256 * NS_PER_MS)

struct swi_range { /* one transfer */
	struct swi_list link;
	struct swi_snode *sn;
	struct swarm_ref ref;
	uint64_t from, len, object_len;
	struct swi_list asks;
	bool here_only, from_disk, have_room, leased;
	bool busy; /* card or disk write into the extent: it stays until they are done */
	struct swi_watch watch;
	struct swi_copies copies;
	bool tried[SWI_COPIES_MAX];
	uint32_t attempts, holder;
	uint64_t holder_epoch;
	struct swi_room room;
	uint64_t offset, bytes;
	struct swi_req rq;
	struct swi_smsg_leased lease;
	struct swi_read rd;
	struct swi_spill_io io;
	struct swi_timer pause;
	int last_status;
	char last_text[SWI_SMSG_TEXT];
};

static void begin(struct swi_range *r);
static void next_holder(struct swi_range *r);

void swi_ranges_init(struct swi_snode *sn)
{
	swi_list_init(&sn->ranges.list);
}

/* ---- the end ---- */

static void give_lease_back(struct swi_range *r)
{
	struct swi_peer *p = r->leased ? swi_peer_by_epoch(r->sn, r->holder_epoch) : NULL;

	if (p)
		swi_peer_say_end(r->sn, p, r->lease.lease);
	r->leased = false;
}

static void range_free(struct swi_range *r)
{
	struct swi_snode *sn = r->sn;

	swi_watch_cancel(sn, &r->watch);
	swi_req_end(sn, &r->rq);
	swi_timer_stop(&sn->timers, &r->pause);
	give_lease_back(r);
	swi_room_cancel(sn, &r->room);
	if (r->have_room)
		swi_arena_free(sn, r->offset, r->bytes);
	swi_list_del(&r->link);
	free(r);
}

static void ask_end(struct swi_range_ask *a)
{
	swi_timer_stop(&a->range->sn->timers, &a->timer);
	swi_list_del(&a->link);
	a->range = NULL;
}

/* Answers and frees. On status 0 the caller's own hold on @hold ends. */
static void finish(struct swi_range *r, int status, const char *text, uint64_t hold, uint64_t at)
{
	struct swi_snode *sn = r->sn;
	char copy[SWI_SMSG_TEXT];
	struct swi_list asks;

	snprintf(copy, sizeof(copy), "%s", text);
	swi_list_del(&r->link); /* nobody joins any more */
	swi_list_init(&asks);
	swi_list_splice(&asks, &r->asks);
	while (!swi_list_empty(&asks)) {
		struct swi_range_ask *a = swi_list_first(&asks, struct swi_range_ask, link);

		ask_end(a);
		if (!status)
			swi_hold_add(sn, hold);
		a->cb(a, status, copy, hold, at);
	}
	range_free(r);
	if (!status)
		swi_hold_drop(sn, hold);
}

static void unwanted(struct swi_range *r)
{
	if (swi_list_empty(&r->asks) && !r->busy)
		range_free(r);
}

static void ask_due(struct swi_timer *t)
{
	struct swi_range_ask *a = swi_container_of(t, struct swi_range_ask, timer);
	struct swi_range *r = a->range;
	struct swi_snode *sn = r->sn;
	char text[SWI_SMSG_TEXT], id[SWI_OID_TEXT];
	int code = -ETIMEDOUT;

	if (r->room.active) {
		code = SWARM_EFULL;
		swi_room_explain(sn, r->bytes, text, sizeof(text));
	} else if (r->watch.priv) {
		code = swi_dir_explain(sn, r->ref, text, sizeof(text));
		code = code ? code : -ETIMEDOUT;
	} else {
		snprintf(text, sizeof(text), "bytes of object %s are on their way%s%.120s",
			 swi_oid_text(r->ref.id, id), r->last_text[0] ? "; before: " : "", r->last_text);
	}
	ask_end(a);
	unwanted(r);
	a->cb(a, code, text, 0, 0);
}

void swi_range_cancel(struct swi_snode *sn, struct swi_range_ask *a)
{
	struct swi_range *r = a->range;

	(void)sn;
	if (!r)
		return;
	ask_end(a);
	unwanted(r);
}

void swi_ranges_fini(struct swi_snode *sn)
{
	while (sn->ranges.list.next && !swi_list_empty(&sn->ranges.list)) {
		struct swi_range *r = swi_list_first(&sn->ranges.list, struct swi_range, link);

		while (!swi_list_empty(&r->asks))
			ask_end(swi_list_first(&r->asks, struct swi_range_ask, link));
		range_free(r);
	}
}

/* ---- trying again ---- */

static void pause_over(struct swi_timer *t)
{
	begin(swi_container_of(t, struct swi_range, pause));
}

static void again(struct swi_range *r)
{
	struct swi_snode *sn = r->sn;

	give_lease_back(r);
	if (r->have_room)
		swi_arena_free(sn, r->offset, r->bytes);
	r->have_room = false;
	if (++r->attempts >= ATTEMPTS_MAX || (r->here_only && r->attempts > 1)) {
		finish(r, r->last_status ? r->last_status : SWARM_ELOST, r->last_text, 0, 0);
		return;
	}
	if (swi_list_empty(&r->asks)) {
		range_free(r);
		return;
	}
	r->pause.cb = pause_over;
	swi_timer_set(&sn->timers, &r->pause,
		      sn->now_ns + swi_min_u64(PAUSE_NS << r->attempts, PAUSE_MAX_NS));
}

static void holder_failed(struct swi_range *r, int status, const char *why)
{
	char id[SWI_OID_TEXT];

	r->last_status = status;
	snprintf(r->last_text, sizeof(r->last_text), "object %s on node %u: %.150s",
		 swi_oid_text(r->ref.id, id), r->holder, why && why[0] ? why : swarm_strerror(status));
	if (status == -ENOENT || status == SWARM_ECORRUPT)
		swi_dir_have_not(r->sn, r->ref, r->holder, status);
	give_lease_back(r);
	next_holder(r);
}

/* ---- the bytes are here ---- */

static void arrived(struct swi_range *r, uint64_t at)
{
	struct swi_snode *sn = r->sn;
	struct swi_object_head *h = (void *)(sn->arena + r->offset);

	swi_head_begin(h, r->ref, r->bytes - sizeof(*h));
	h->gen = swi_snode_gen(sn);
	h->epoch = sn->epoch;
	h->flags = SWI_OBJ_F_SECONDARY;
	atomic_store_explicit(&h->state, SWI_OBJ_SEALED, memory_order_release);
	sn->ranges.reads++;
	sn->ranges.read_bytes += r->len;
	r->have_room = false;
	swi_hold_add(sn, r->offset);
	swi_retire(sn, r->offset, r->bytes); /* it goes with its last hold and pin */
	finish(r, 0, "", r->offset, at);
}

/* ---- from this node's disk ---- */

static void disk_done(struct swi_spill_io *io)
{
	struct swi_range *r = io->owner;
	struct swi_snode *sn = r->sn;
	char id[SWI_OID_TEXT];
	struct swi_local lo;
	uint64_t len;

	r->busy = false;
	swi_meter_end(sn, &sn->evict.read, io->status ? 0 : io->extent_bytes);
	if (!io->status) {
		arrived(r, (uint64_t)((uint8_t *)io->data - sn->arena));
		return;
	}
	r->last_status = io->status;
	snprintf(r->last_text, sizeof(r->last_text), "object %s on the disk of node %u (%.100s): %s; %s",
		 swi_oid_text(r->ref.id, id), sn->node, swi_spill_trouble(sn->spill),
		 swarm_strerror(io->status), swarm_strremedy(io->status));
	if (io->status == SWARM_ECORRUPT) {
		sn->stats.digest_errors++;
		swi_error(sn->log, "%s", r->last_text);
	}
	if (io->status == -EIO && r->attempts) /* once more, a moment later, and in vain: it is of no use here */
		swi_spill_forget(sn->spill, r->ref.id);
	if (swi_local_find(sn, r->ref.id, &lo) || swi_spilled_here(sn, r->ref.id, &len)) {
		again(r);
		return;
	}
	/* It is not here any more: another copy, or its task. A peer that asked looks for these itself. */
	swi_attr_left(sn, r->ref.id);
	swi_dir_have_not(sn, r->ref, sn->node, io->status);
	if (r->here_only)
		finish(r, io->status, r->last_text, 0, 0);
	else
		again(r);
}

static void disk_read(struct swi_range *r)
{
	struct swi_snode *sn = r->sn;

	r->busy = true;
	r->io.id = r->ref.id;
	r->io.from = r->from;
	r->io.len = r->len;
	r->io.extent = sn->arena + r->offset + SWI_PAGE;
	r->io.extent_bytes = r->bytes - SWI_PAGE;
	r->io.cb = disk_done;
	r->io.owner = r;
	swi_meter_begin(sn, &sn->evict.read);
	swi_spill_read_range(sn->spill, &r->io);
}

/* ---- from a peer ---- */

static void read_done(struct swi_read *rd, int status)
{
	struct swi_range *r = rd->owner;

	r->busy = false;
	give_lease_back(r);
	if (status)
		holder_failed(r, status, NULL);
	else
		arrived(r, r->offset + SWI_PAGE);
}

static void peer_read(struct swi_range *r)
{
	struct swi_peer *p = swi_peer_by_epoch(r->sn, r->holder_epoch);
	uint64_t region, at;
	int rc;

	if (!p || !p->chosen) {
		holder_failed(r, SWARM_EPEERLOST, NULL);
		return;
	}
	region = swi_conn_region_len(p->chosen->conn, r->lease.region);
	at = swi_sat_add(r->lease.offset, r->lease.digest);
	if (r->lease.len != r->len || at > region || r->len > region - at) {
		holder_failed(r, SWARM_EPROTO, "it leased what lies outside of its memory");
		return;
	}
	r->rd.cb = read_done;
	r->rd.owner = r;
	r->busy = true;
	rc = swi_conn_read(p->chosen->conn, r->lease.region, at,
			   r->sn->arena + r->offset + SWI_PAGE, r->len, &r->rd);
	if (rc) {
		r->busy = false;
		holder_failed(r, rc, NULL);
	}
}

static int on_leased(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct swi_range *r = rq->owner;
	struct swi_smsg_leased m;

	if (!type) {
		holder_failed(r, status, NULL);
		return 0;
	}
	if (type != SWI_S_LEASED || swi_smsg_get_leased(body, &m))
		return SWARM_EPROTO;
	swi_req_end(r->sn, rq);
	if (m.status) {
		holder_failed(r, m.status, m.text);
		return 0;
	}
	r->lease = m;
	r->leased = true;
	peer_read(r);
	return 0;
}

static void ask_holder(struct swi_range *r, struct swi_peer *p)
{
	struct swi_smsg_range m = {.id = r->ref.id, .from = r->from, .len = r->len};
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	r->holder = p->node;
	r->holder_epoch = p->epoch;
	r->rq.cb = on_leased;
	r->rq.owner = r;
	m.req = swi_req_begin(r->sn, &r->rq, p);
	swi_smsg_put_range(&w, &m);
	(void)swi_peer_send(r->sn, p, SWI_S_RANGE, buf, w.len);
}

/* Memory before disk. */
static void next_holder(struct swi_range *r)
{
	struct swi_snode *sn = r->sn;

	if (swi_list_empty(&r->asks)) {
		range_free(r);
		return;
	}
	for (int spilled = 0; spilled < 2; spilled++) {
		for (uint32_t i = 0; i < r->copies.count; i++) {
			struct swi_peer *p = swi_peer_find(sn, r->copies.node[i]);

			if (r->tried[i] || r->copies.spilled[i] != spilled || !p ||
			    r->copies.node[i] == sn->node)
				continue;
			r->tried[i] = true;
			ask_holder(r, p);
			return;
		}
	}
	again(r);
}

/* ---- room ---- */

static void room_given(struct swi_room *room, int status)
{
	struct swi_range *r = room->owner;

	if (status) {
		finish(r, status == -E2BIG ? SWARM_EFULL : status, "no memory for a part of an object", 0, 0);
		return;
	}
	r->offset = room->offset;
	r->have_room = true;
	if (r->from_disk)
		disk_read(r);
	else
		next_holder(r);
}

/* The object has @object_len bytes: is there such a part, and room for it? @data: bytes to be laid down. */
static void take_room(struct swi_range *r, uint64_t object_len, uint64_t data)
{
	int rc;

	if (r->from > object_len || r->len > object_len - r->from) {
		char text[128];

		snprintf(text, sizeof(text), "the object has %llu bytes: there are no bytes %llu to %llu",
			 (unsigned long long)object_len, (unsigned long long)r->from,
			 (unsigned long long)(r->from + r->len));
		finish(r, -EINVAL, text, 0, 0);
		return;
	}
	r->bytes = SWI_PAGE + swi_align_up(data, SWI_PAGE);
	r->room.bytes = r->bytes;
	r->room.paged = true;
	r->room.reserve = r->here_only;
	r->room.cb = room_given;
	r->room.owner = r;
	rc = data > r->sn->arena_bytes ? -E2BIG : swi_room_ask(r->sn, &r->room);
	if (rc != -EAGAIN)
		room_given(&r->room, rc);
}

static void located(struct swi_watch *w, int status, const char *text, const struct swi_copies *copies)
{
	struct swi_range *r = w->owner;

	if (status) {
		finish(r, status, text, 0, 0);
		return;
	}
	memset(r->tried, 0, sizeof(r->tried));
	r->copies = *copies;
	take_room(r, copies->len, r->len);
}

/* In memory: the object itself is what is held. */
static bool resident(struct swi_range *r)
{
	struct swi_snode *sn = r->sn;
	struct swi_local lo;

	if (!swi_local_find(sn, r->ref.id, &lo))
		return false;
	if (r->from > lo.len || r->len > lo.len - r->from) {
		finish(r, -EINVAL, "the object has no such bytes", 0, 0);
		return true;
	}
	swi_hold_add(sn, lo.offset);
	finish(r, 0, "", lo.offset, lo.offset + sizeof(struct swi_object_head) + r->from);
	return true;
}

static void begin(struct swi_range *r)
{
	struct swi_snode *sn = r->sn;
	uint64_t len;

	if (resident(r))
		return;
	r->from_disk = swi_spilled_here(sn, r->ref.id, &len);
	if (r->from_disk) {
		const uint64_t room = swi_spill_range_room(sn->spill, r->ref.id, r->from, r->len);

		take_room(r, len, room ? room : r->len);
	} else if (r->here_only) {
		finish(r, -ENOENT, "the object is not here any more", 0, 0);
	} else {
		r->watch = (struct swi_watch){
		    .ref = r->ref, .deadline_ns = UINT64_MAX, .cb = located, .owner = r};
		swi_watch(sn, &r->watch);
	}
}

/* The same part for the same kind of asker: one transfer does for both. */
static struct swi_range *running(struct swi_snode *sn, const struct swi_range_ask *a)
{
	swi_list_for_each(it, &sn->ranges.list)
	{
		struct swi_range *r = swi_list_entry(it, struct swi_range, link);

		if (swarm_oid_equal(r->ref.id, a->ref.id) && r->from == a->from && r->len == a->len &&
		    r->here_only == a->here_only)
			return r;
	}
	return NULL;
}

void swi_range_get(struct swi_snode *sn, struct swi_range_ask *a)
{
	struct swi_range *r = running(sn, a);
	const bool fresh = !r;

	if (fresh) {
		r = calloc(1, sizeof(*r));
		SWI_BUG_ON(!r);
		r->sn = sn;
		r->ref = a->ref;
		r->from = a->from;
		r->len = a->len;
		r->here_only = a->here_only;
		swi_list_init(&r->asks);
		swi_list_push_back(&sn->ranges.list, &r->link);
	}
	a->range = r;
	a->timer.cb = ask_due;
	swi_list_push_back(&r->asks, &a->link);
	swi_timer_set(&sn->timers, &a->timer, a->deadline_ns);
	if (fresh)
		begin(r);
}

/* ---- clients ---- */

struct client_range {
	struct swi_list link; /* cl->ranges */
	struct swi_client *cl;
	uint64_t req;
	struct swi_range_ask ask;
};

static void reply(struct client_range *c, uint64_t hold, uint64_t at)
{
	const struct swi_object_head *h = swi_object_at(c->cl->sn, hold, NULL);
	uint8_t buf[40];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (!h || swi_client_held_add(c->cl, hold)) {
		swi_hold_drop(c->cl->sn, hold);
		swi_client_reply_error(c->cl, c->req, h ? -ENOMEM : SWARM_ECORRUPT, "");
		return;
	}
	swi_wr_u32(&w, 0);
	swi_wr_u64(&w, hold);
	swi_wr_u32(&w, h->gen & 0xfffffu);
	swi_wr_u64(&w, at - hold);
	swi_client_send(c->cl, SWI_L_REPLY, c->req, buf, w.len);
}

static void answered(struct swi_range_ask *a, int status, const char *text, uint64_t hold, uint64_t at)
{
	struct client_range *c = swi_container_of(a, struct client_range, ask);

	if (status)
		swi_client_reply_error(c->cl, c->req, status, text);
	else
		reply(c, hold, at);
	swi_list_del(&c->link);
	swi_client_blocked(c->cl, -1);
	free(c);
}

int swi_range_request(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd rd = swi_rd_init(msg->body, msg->len);
	struct swi_range_ask ask = {.ref = swi_rd_ref(&rd), .cb = answered};
	struct client_range *c;

	ask.from = swi_rd_u64(&rd);
	ask.len = swi_rd_u64(&rd);
	ask.deadline_ns = swi_sat_add(cl->sn->now_ns, swi_rd_u64(&rd));
	if (!swi_rd_done(&rd) || !msg->req || !ask.len || ask.len > UINT64_MAX - ask.from)
		return -EPROTO;
	c = calloc(1, sizeof(*c));
	if (!c) {
		swi_client_reply_error(cl, msg->req, -ENOMEM, "the node is out of memory");
		return 0;
	}
	c->cl = cl;
	c->req = msg->req;
	c->ask = ask;
	swi_list_push_back(&cl->ranges, &c->link);
	swi_client_blocked(cl, 1);
	swi_range_get(cl->sn, &c->ask);
	return 0;
}

void swi_range_requests_drop(struct swi_client *cl)
{
	while (!swi_list_empty(&cl->ranges)) {
		struct client_range *c = swi_list_first(&cl->ranges, struct client_range, link);

		swi_range_cancel(cl->sn, &c->ask);
		swi_list_del(&c->link);
		swi_client_blocked(cl, -1);
		free(c);
	}
}
