/* SPDX-License-Identifier: Apache-2.0 */
/* sync.c - see sync.h. */
#include "transport/base/xxh.h"

#include "store/proto.h"
#include "store/snode_internal.h"
#include "store/sync.h"

#define INLINE_MAX KIB(4) /* payloads up to here are digested at once */

struct sync_item {
	struct client_sync *cs;
	struct swarm_oid id;
	uint64_t offset; /* held while active */
	bool active;	 /* its digest is being made, or it is being written */
	struct swi_digest digest;
	struct swi_spill_io io;
};

struct client_sync {
	struct swi_list link; /* cl->syncs, or sn->syncs when nobody waits any more */
	struct swi_snode *sn;
	struct swi_client *cl; /* NULL: answered already, or gone */
	uint64_t req;
	struct swi_timer timer;
	uint32_t n, left;
	int status;
	struct swarm_oid failed; /* whose status it is */
	bool deletes_failed;
	struct swi_spill_io barrier; /* for what was deleted before */
	struct sync_item item[];
};

static void sync_reply(struct client_sync *cs, int status, const char *text)
{
	struct swi_client *cl = cs->cl;
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_timer_stop(&cs->sn->timers, &cs->timer);
	if (!cl)
		return;
	if (status) {
		swi_client_reply_error(cl, cs->req, status, text);
	} else {
		swi_wr_u32(&w, 0);
		swi_client_send(cl, SWI_L_REPLY, cs->req, buf, w.len);
	}
	cl->requests--;
	cs->cl = NULL;
	swi_list_del(&cs->link);
	swi_list_push_back(&cs->sn->syncs, &cs->link);
}

static void sync_over(struct client_sync *cs)
{
	char text[160], id[SWI_OID_TEXT];

	if (cs->left)
		return;
	if (cs->deletes_failed)
		snprintf(text, sizeof(text), "what was deleted before may be back after a crash: %s",
			 swarm_strerror(cs->status));
	else
		snprintf(text, sizeof(text), "object %s is not durable: %s",
			 swi_oid_text(cs->failed, id), swarm_strerror(cs->status));
	sync_reply(cs, cs->status, text);
	swi_list_del(&cs->link);
	free(cs);
}

static void item_status(struct sync_item *it, int status)
{
	struct client_sync *cs = it->cs;

	if (status && !cs->status) {
		cs->status = status == -ECANCELED ? SWARM_EDELETED : status;
		cs->failed = it->id;
	}
	cs->left--;
}

static void item_over(struct sync_item *it, int status)
{
	it->active = false;
	swi_hold_drop(it->cs->sn, it->offset);
	item_status(it, status);
	sync_over(it->cs);
}

static void written(struct swi_spill_io *io)
{
	item_over(io->owner, io->status);
}

static void write_out(struct sync_item *it)
{
	struct swi_snode *sn = it->cs->sn;
	uint64_t bytes = 0;

	(void)swi_object_at(sn, it->offset, &bytes);
	it->io = (struct swi_spill_io){.id = it->id, .extent = sn->arena + it->offset,
				       .extent_bytes = bytes, .cb = written, .owner = it};
	swi_spill_write(sn->spill, &it->io);
}

static void digested(struct swi_digest *d, uint64_t digest)
{
	struct sync_item *it = d->owner;
	struct swi_local lo;

	if (!swi_local_find(it->cs->sn, it->id, &lo) || lo.offset != it->offset) {
		item_over(it, SWARM_EDELETED);
		return;
	}
	swi_local_set_digest(&lo, digest);
	write_out(it);
}

/* A kept log has acknowledged what it can find: then nothing is to be done. */
static void item_begin(struct sync_item *it)
{
	struct swi_snode *sn = it->cs->sn;
	struct swi_local lo;

	if (swi_spill_find(sn->spill, it->id, NULL)) {
		item_status(it, 0);
		return;
	}
	if (!swi_local_find(sn, it->id, &lo)) {
		item_status(it, -ENOENT);
		return;
	}
	it->active = true;
	it->offset = lo.offset;
	it->digest.cb = digested;
	it->digest.owner = it;
	swi_hold_add(sn, lo.offset);
	if (!(lo.flags & SWI_OBJ_F_DIGEST) && lo.len <= INLINE_MAX) {
		swi_local_set_digest(&lo, XXH3_64bits(lo.head + 1, lo.len));
		lo.flags |= SWI_OBJ_F_DIGEST;
	}
	if (lo.flags & SWI_OBJ_F_DIGEST)
		write_out(it);
	else
		swi_digest_begin(sn, &it->digest, lo.head + 1, lo.len);
}

static void deletes_over(struct swi_spill_io *io)
{
	struct client_sync *cs = io->owner;

	if (io->status && !cs->status) {
		cs->status = io->status;
		cs->deletes_failed = true;
	}
	cs->left--;
	sync_over(cs);
}

static void sync_due(struct swi_timer *t)
{
	struct client_sync *cs = swi_container_of(t, struct client_sync, timer);

	sync_reply(cs, -ETIMEDOUT, "the disk has not answered in time; the objects go on being written");
}

static struct client_sync *sync_make(struct swi_client *cl, uint64_t req, uint32_t n)
{
	struct client_sync *cs = calloc(1, sizeof(*cs) + (uint64_t)n * sizeof(cs->item[0]));

	if (!cs)
		return NULL;
	cs->sn = cl->sn;
	cs->cl = cl;
	cs->req = req;
	cs->n = n;
	cs->left = n + 1; /* and the deletes */
	cs->timer.cb = sync_due;
	swi_list_push_back(&cl->syncs, &cs->link);
	cl->requests++;
	return cs;
}

int swi_sync_request(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	struct swi_snode *sn = cl->sn;
	const uint32_t n = swi_rd_u32(&r);
	const uint64_t timeout_ns = swi_rd_u64(&r);
	struct client_sync *cs;

	if (r.bad || !msg->req || (uint64_t)n * 20 != r.len - r.pos)
		return -EPROTO;
	if (!sn->spill || !sn->opts.spill_keep) {
		swi_client_reply_error(cl, msg->req, -EOPNOTSUPP, "this store keeps nothing on disk beyond its life");
		return 0;
	}
	cs = sync_make(cl, msg->req, n);
	if (!cs) {
		swi_client_reply_error(cl, msg->req, -ENOMEM, "the node is out of memory");
		return 0;
	}
	swi_timer_set(&sn->timers, &cs->timer, swi_sat_add(sn->now_ns, timeout_ns));
	for (uint32_t i = 0; i < n; i++) {
		cs->item[i].cs = cs;
		cs->item[i].id = swi_rd_ref(&r).id;
		item_begin(&cs->item[i]);
	}
	cs->barrier.cb = deletes_over;
	cs->barrier.owner = cs;
	swi_spill_barrier(sn->spill, &cs->barrier);
	return 0;
}

void swi_syncs_drop(struct swi_client *cl)
{
	swi_list_for_each_safe(it, &cl->syncs) {
		struct client_sync *cs = swi_list_entry(it, struct client_sync, link);

		swi_timer_stop(&cs->sn->timers, &cs->timer);
		cs->cl = NULL;
		cl->requests--;
		swi_list_del(&cs->link);
		swi_list_push_back(&cs->sn->syncs, &cs->link);
	}
}

/* No write is in flight any more: what is left waits for a digest that nobody will make. */
void swi_syncs_fini(struct swi_snode *sn)
{
	while (!swi_list_empty(&sn->syncs)) {
		struct client_sync *cs = swi_list_first(&sn->syncs, struct client_sync, link);

		for (uint32_t i = 0; i < cs->n; i++) {
			if (!cs->item[i].active)
				continue;
			swi_digest_cancel(&cs->item[i].digest);
			swi_hold_drop(sn, cs->item[i].offset);
		}
		swi_list_del(&cs->link);
		free(cs);
	}
}
