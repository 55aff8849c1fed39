/* SPDX-License-Identifier: Apache-2.0 */
/* keep.c - see keep.h. */
#include "store/keep.h"
#include "store/snode_internal.h"

#define ROOM_NS	  NS_PER_S
#define KEEPS_MAX 4096u /* of all peers together; more are told to ask another node */

struct keeping { /* for a peer */
	struct swi_list link;
	uint64_t epoch, req;
	struct swi_keep keep;
};

/* Secondary copies never go to disk by themselves: what is there stays. */
static bool stays(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_local lo;
	uint64_t len;

	if (swi_local_find(sn, id, &lo) && !(lo.flags & SWI_OBJ_F_SECONDARY))
		return true;
	return swi_spilled_here(sn, id, &len);
}

static int make_stay(struct swi_snode *sn, struct swarm_ref ref)
{
	struct swi_local lo;
	int rc;

	if (stays(sn, ref.id))
		return 0;
	if (!swi_local_find(sn, ref.id, &lo)) /* deleted on its way, or the index is full */
		return swi_dir_is_deleted(sn, ref.id) ? SWARM_EDELETED : -EAGAIN;
	rc = swi_attr_keep(sn, lo.ref);
	if (rc)
		return rc;
	swi_local_set_flags(&lo, 0, SWI_OBJ_F_SECONDARY);
	swi_dir_have(sn, lo.ref, lo.len, SWI_COPY_PRIMARY | SWI_COPY_AGAIN);
	return 0;
}

static void came(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct swi_keep *k = w->owner;
	struct swi_snode *sn = k->sn;

	swi_timer_stop(&sn->timers, &k->room);
	if (!status) {
		status = make_stay(sn, w->ref);
		text = status ? swarm_strerror(status) : "";
		swi_hold_drop(sn, offset);
	}
	k->cb(k, status, text);
}

static void room_due(struct swi_timer *t)
{
	struct swi_keep *k = swi_container_of(t, struct swi_keep, room);
	struct swi_snode *sn = k->sn;
	char text[SWI_SMSG_TEXT];
	struct swi_fetch *f;

	HASH_FIND(hh, sn->fetches.by_id, &k->want.ref.id, sizeof(k->want.ref.id), f);
	if (!f || f->phase != SWI_FETCH_ROOM) {
		swi_timer_set(&sn->timers, t, sn->now_ns + ROOM_NS);
		return;
	}
	swi_room_explain(sn, f->bytes, text, sizeof(text));
	swi_want_cancel(sn, &k->want);
	k->cb(k, SWARM_EFULL, text);
}

bool swi_keep_begin(struct swi_snode *sn, struct swi_keep *k, struct swarm_ref ref, uint64_t deadline_ns)
{
	if (stays(sn, ref.id))
		return true;
	k->sn = sn;
	k->room.cb = room_due;
	k->want = (struct swi_want){.ref = ref, .deadline_ns = deadline_ns, .cb = came, .owner = k};
	swi_timer_set(&sn->timers, &k->room, sn->now_ns + ROOM_NS);
	swi_want(sn, &k->want);
	return false;
}

void swi_keep_cancel(struct swi_keep *k)
{
	if (!k->sn)
		return;
	swi_timer_stop(&k->sn->timers, &k->room);
	swi_want_cancel(k->sn, &k->want);
}

/* ---- for peers ---- */

void swi_keeps_init(struct swi_snode *sn)
{
	swi_list_init(&sn->keeps.list);
}

static void keeping_free(struct swi_snode *sn, struct keeping *g)
{
	swi_keep_cancel(&g->keep);
	swi_list_del(&g->link);
	sn->keeps.count--;
	free(g);
}

void swi_keeps_fini(struct swi_snode *sn)
{
	while (!swi_list_empty(&sn->keeps.list))
		keeping_free(sn, swi_list_first(&sn->keeps.list, struct keeping, link));
}

static void answer(struct swi_snode *sn, struct swi_peer *p, uint64_t req, int status, const char *text)
{
	struct swi_smsg_done done = {.req = req, .status = status};
	uint8_t buf[SWI_SMSG_BODY_MAX];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	snprintf(done.text, sizeof(done.text), "%s", text);
	swi_smsg_put_done(&w, &done);
	(void)swi_peer_send(sn, p, SWI_S_KEPT, buf, w.len);
}

static void kept(struct swi_keep *k, int status, const char *text)
{
	struct keeping *g = k->owner;
	struct swi_snode *sn = k->sn;
	struct swi_peer *p = swi_peer_by_epoch(sn, g->epoch);

	if (p) /* else nobody wants to know; the copy stays all the same */
		answer(sn, p, g->req, status, text);
	keeping_free(sn, g);
}

static int may_keep(const struct swi_snode *sn)
{
	if (sn->draining.d)
		return SWARM_EDRAINING;
	return sn->keeps.count < KEEPS_MAX ? 0 : -EBUSY;
}

int swi_keep_on_keep(struct swi_link *l, struct swi_rd *body)
{
	struct swi_snode *sn = l->sn;
	struct swi_smsg_keep m;
	struct keeping *g;
	int rc;

	if (swi_smsg_get_keep(body, &m))
		return SWARM_EPROTO;
	rc = may_keep(sn);
	g = rc ? NULL : calloc(1, sizeof(*g));
	if (!g) {
		rc = rc ? rc : -ENOMEM;
		answer(sn, l->peer, m.req, rc, swarm_strerror(rc));
		return 0;
	}
	g->epoch = l->peer->epoch;
	g->req = m.req;
	g->keep.cb = kept;
	g->keep.owner = g;
	if (swi_keep_begin(sn, &g->keep, m.ref, swi_sat_add(sn->now_ns, m.timeout_ns))) {
		answer(sn, l->peer, m.req, 0, "");
		free(g);
		return 0;
	}
	swi_list_push_back(&sn->keeps.list, &g->link);
	sn->keeps.count++;
	return 0;
}
