/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replicate.c - SWI_L_REPLICATE: so many nodes are to have an object, and to keep it (keep.h).
 *
 * The node that is asked asks others: first those that have a copy, in the order of the home, then those that have none,
 * by their weight for this id: so two who ask at once ask the same nodes, and asking again copies nothing. As many
 * are asked at once as copies are missing; for one that refuses or dies the next is asked. Nobody writes into
 * another node's memory: who is asked READs. Owner thread of the node.
 */
#include <swarm/store.h>

#include "store/keep.h"
#include "store/request.h"
#include "store/snode_internal.h"

#define TRIES_MAX 3u /* of one node; a lost connection is no refusal */

enum spot_state { SPOT_IDLE, SPOT_ASKED, SPOT_KEPT, SPOT_REFUSED };

struct spot { /* a node */
	struct swi_replicate *rp;
	uint32_t node;
	uint32_t tries;
	enum spot_state state;
	uint64_t rank, weight; /* the lower, the sooner; of those with the same rank the heavier */
	struct swi_req rq;
};

struct swi_replicate {
	struct swi_list link; /* cl->replicates */
	struct swi_client *cl;
	uint64_t req;
	struct swarm_ref ref;
	uint32_t copies;
	uint64_t deadline_ns;
	struct swi_watch watch; /* who has it? */
	struct swi_req home;	/* .. and who else, where it is here as well */
	struct swi_copies known;
	struct swi_timer due;
	struct swi_keep keep; /* a copy here */
	struct spot *spot;
	uint32_t count;
	int status; /* the first refusal */
	char text[SWI_SMSG_TEXT + 32];
};

static void replicate_free(struct swi_replicate *rp)
{
	struct swi_snode *sn = rp->cl->sn;

	swi_watch_cancel(sn, &rp->watch);
	swi_req_end(sn, &rp->home);
	swi_timer_stop(&sn->timers, &rp->due);
	swi_keep_cancel(&rp->keep);
	for (uint32_t i = 0; i < rp->count; i++)
		swi_req_end(sn, &rp->spot[i].rq);
	swi_list_del(&rp->link);
	swi_client_blocked(rp->cl, -1);
	free(rp->spot);
	free(rp);
}

static void end(struct swi_replicate *rp, int status, const char *text)
{
	const uint32_t zero = 0;

	if (status)
		swi_client_reply_error(rp->cl, rp->req, status, text);
	else
		swi_client_send(rp->cl, SWI_L_REPLY, rp->req, &zero, sizeof(zero));
	replicate_free(rp);
}

static uint32_t in_state(const struct swi_replicate *rp, enum spot_state state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < rp->count; i++)
		n += rp->spot[i].state == state;
	return n;
}

static void due(struct swi_timer *t)
{
	struct swi_replicate *rp = swi_container_of(t, struct swi_replicate, due);
	char text[SWI_SMSG_TEXT];

	snprintf(text, sizeof(text), "%u of %u copies are there; they stay, call again for the others",
		 in_state(rp, SPOT_KEPT), rp->copies);
	end(rp, -ETIMEDOUT, text);
}

/* ---- asking ---- */

static void go_on(struct swi_replicate *rp);

static bool is_over(int status)
{
	return status == SWARM_EDELETED || status == SWARM_ELOST;
}

static void refused(struct spot *s, int status, const char *text)
{
	struct swi_replicate *rp = s->rp;

	s->state = SPOT_REFUSED;
	if (rp->status && !is_over(status))
		return;
	rp->status = status;
	snprintf(rp->text, sizeof(rp->text), "node %u: %s", s->node, text);
}

static void failed(struct spot *s, int status, const char *text)
{
	const bool again = status == -EAGAIN || status == SWARM_EPEERLOST;

	s->tries++;
	if (again && s->tries < TRIES_MAX)
		s->state = SPOT_IDLE;
	else
		refused(s, status, text);
}

static int on_kept(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct spot *s = rq->owner;
	struct swi_replicate *rp = s->rp;
	struct swi_smsg_done done = {.status = status};

	if (type && (type != SWI_S_KEPT || swi_smsg_get_done(body, &done)))
		return SWARM_EPROTO;
	swi_req_end(rp->cl->sn, rq);
	if (type && !done.status)
		s->state = SPOT_KEPT;
	else if (type)
		failed(s, done.status, done.text[0] ? done.text : swarm_strerror(done.status));
	else
		failed(s, SWARM_EPEERLOST, swarm_strerror(status));
	go_on(rp);
	return 0;
}

static void kept_here(struct swi_keep *k, int status, const char *text)
{
	struct swi_replicate *rp = k->owner;

	for (uint32_t i = 0; i < rp->count; i++) {
		struct spot *s = &rp->spot[i];

		if (s->node != rp->cl->sn->node)
			continue;
		if (status)
			failed(s, status, text);
		else
			s->state = SPOT_KEPT;
	}
	go_on(rp);
}

static void ask_peer(struct spot *s, struct swi_peer *p)
{
	struct swi_replicate *rp = s->rp;
	struct swi_snode *sn = rp->cl->sn;
	struct swi_smsg_keep m = {.ref = rp->ref, .timeout_ns = UINT64_MAX};
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (rp->deadline_ns != UINT64_MAX)
		m.timeout_ns = rp->deadline_ns - swi_min_u64(sn->now_ns, rp->deadline_ns);
	s->rq.cb = on_kept;
	s->rq.owner = s;
	m.req = swi_req_begin(sn, &s->rq, p);
	swi_smsg_put_keep(&w, &m);
	(void)swi_peer_send(sn, p, SWI_S_KEEP, buf, w.len);
}

static void ask(struct spot *s)
{
	struct swi_replicate *rp = s->rp;
	struct swi_snode *sn = rp->cl->sn;
	struct swi_peer *p = swi_peer_find(sn, s->node);

	s->state = SPOT_ASKED;
	if (p) {
		ask_peer(s, p);
	} else if (s->node != sn->node) {
		refused(s, SWARM_ENODELOST, swarm_strerror(SWARM_ENODELOST));
	} else {
		rp->keep.cb = kept_here;
		rp->keep.owner = rp;
		if (swi_keep_begin(sn, &rp->keep, rp->ref, rp->deadline_ns))
			s->state = SPOT_KEPT;
	}
}

/* Those that were not tried yet come before those that failed. */
static struct spot *next_spot(struct swi_replicate *rp)
{
	struct spot *best = NULL;

	for (uint32_t i = 0; i < rp->count; i++) {
		struct spot *s = &rp->spot[i];

		if (s->state == SPOT_IDLE && (!best || s->tries < best->tries))
			best = s;
	}
	return best;
}

/* Who kept it and died since does not count. */
static void drop_dead(struct swi_replicate *rp)
{
	struct swi_snode *sn = rp->cl->sn;

	for (uint32_t i = 0; i < rp->count; i++) {
		struct spot *s = &rp->spot[i];

		if (s->state == SPOT_KEPT && s->node != sn->node && !swi_peer_find(sn, s->node))
			refused(s, SWARM_ENODELOST, swarm_strerror(SWARM_ENODELOST));
	}
}

static void go_on(struct swi_replicate *rp)
{
	struct spot *s;

	drop_dead(rp);
	if (is_over(rp->status)) {
		end(rp, rp->status, rp->text);
		return;
	}
	while (in_state(rp, SPOT_KEPT) + in_state(rp, SPOT_ASKED) < rp->copies && (s = next_spot(rp)))
		ask(s);
	if (in_state(rp, SPOT_KEPT) >= rp->copies)
		end(rp, 0, "");
	else if (!in_state(rp, SPOT_ASKED))
		end(rp, rp->status, rp->text);
}

/* ---- who is asked ---- */

/* Its place among those that have a copy; behind them who has none, and last who has no room, as far as is known. */
static uint64_t rank_of(struct swi_snode *sn, const struct swi_copies *copies, uint32_t node)
{
	uint64_t room = UINT64_MAX;

	for (uint32_t i = 0; i < copies->count; i++) {
		if (copies->node[i] == node)
			return i;
	}
	if (node == sn->node)
		room = sn->arena_bytes - sn->extents.used;
	else if (sn->hooks.peer_free)
		room = sn->hooks.peer_free(sn->hooks.ctx, node);
	return SWI_COPIES_MAX + (room < swi_extent_bytes(copies->len));
}

static void spot_add(struct swi_replicate *rp, uint32_t node)
{
	rp->spot[rp->count++] = (struct spot){.rp = rp,
					      .node = node,
					      .rank = rank_of(rp->cl->sn, &rp->known, node),
					      .weight = swi_rendezvous(rp->ref.id, node)};
}

static int by_rank(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return (x->weight < y->weight) - (x->weight > y->weight);
}

static bool list_spots(struct swi_replicate *rp)
{
	struct swi_snode *sn = rp->cl->sn;

	rp->spot = calloc(sn->peers.count + 1, sizeof(*rp->spot));
	if (!rp->spot)
		return false;
	spot_add(rp, sn->node);
	swi_list_for_each(it, &sn->peers.list) {
		const struct swi_peer *p = swi_list_entry(it, struct swi_peer, link);

		if (p->node)
			spot_add(rp, p->node);
	}
	qsort(rp->spot, rp->count, sizeof(*rp->spot), by_rank);
	return true;
}

static void choose(struct swi_replicate *rp)
{
	char few[SWI_SMSG_TEXT];

	if (!list_spots(rp)) {
		end(rp, -ENOMEM, "the node is out of memory");
		return;
	}
	if (rp->count < rp->copies) {
		snprintf(few, sizeof(few), "%u copies on %u nodes: %s", rp->copies, rp->count,
			 swarm_strremedy(SWARM_EFEWNODES));
		end(rp, SWARM_EFEWNODES, few);
		return;
	}
	go_on(rp);
}

/* ---- who has it ---- */

static void unwatch(struct swi_replicate *rp)
{
	const struct swi_smsg_move m = {.req = rp->home.num, .ref = rp->ref};
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_smsg_put_move(&w, &m);
	(void)swi_peer_send(rp->cl->sn, rp->home.peer, SWI_S_UNWATCH, buf, w.len);
}

static int on_located(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct swi_replicate *rp = rq->owner;
	struct swi_smsg_located m = {.state = SWI_DIR_UNKNOWN};

	(void)status;
	if (type && (type != SWI_S_LOCATED || swi_smsg_get_located(body, &m)))
		return SWARM_EPROTO;
	if (type && (m.state == SWI_DIR_UNKNOWN || m.state == SWI_DIR_PENDING))
		unwatch(rp); /* it has not heard of our copy yet */
	swi_req_end(rp->cl->sn, rq);
	if (m.state == SWI_DIR_FAILED && is_over(m.status)) {
		end(rp, m.status, m.text);
		return 0;
	}
	if (m.state == SWI_DIR_AVAILABLE && m.copies.count)
		rp->known.count = 0;
	for (uint32_t i = 0; m.state == SWI_DIR_AVAILABLE && i < m.copies.count; i++)
		rp->known.node[rp->known.count++] = m.copies.node[i];
	choose(rp);
	return 0;
}

/* A node that has a copy looks no further: its home knows of the others. */
static bool ask_home(struct swi_replicate *rp)
{
	struct swi_snode *sn = rp->cl->sn;
	struct swi_smsg_locate m = {.ref = rp->ref};
	int code;
	const uint32_t home = swi_dir_home(sn, rp->ref, &code);
	struct swi_peer *p = home && home != sn->node ? swi_peer_find(sn, home) : NULL;
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (!p || rp->known.count != 1)
		return false;
	rp->home.cb = on_located;
	rp->home.owner = rp;
	m.req = swi_req_begin(sn, &rp->home, p);
	swi_smsg_put_locate(&w, &m);
	(void)swi_peer_send(sn, p, SWI_S_LOCATE, buf, w.len);
	return true;
}

static void located(struct swi_watch *w, int status, const char *text, const struct swi_copies *copies)
{
	struct swi_replicate *rp = swi_container_of(w, struct swi_replicate, watch);

	if (status) {
		end(rp, status, text);
		return;
	}
	rp->known = *copies;
	swi_timer_set(&rp->cl->sn->timers, &rp->due, rp->deadline_ns);
	if (!ask_home(rp))
		choose(rp);
}

/* ---- requests ---- */

int swi_client_replicate(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_snode *sn = cl->sn;
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const struct swarm_ref ref = swi_rd_ref(&r);
	const uint32_t copies = swi_rd_u32(&r);
	const uint64_t timeout_ns = swi_rd_u64(&r);
	struct swi_replicate *rp;

	if (!swi_rd_done(&r) || !msg->req || !copies || copies > SWARM_COPIES_MAX)
		return -EPROTO;
	rp = calloc(1, sizeof(*rp));
	if (!rp) {
		swi_client_reply_error(cl, msg->req, -ENOMEM, "the node is out of memory");
		return 0;
	}
	rp->cl = cl;
	rp->req = msg->req;
	rp->ref = ref;
	rp->copies = copies;
	rp->deadline_ns = swi_sat_add(sn->now_ns, timeout_ns);
	rp->due.cb = due;
	rp->watch = (struct swi_watch){.ref = ref, .deadline_ns = rp->deadline_ns, .cb = located};
	swi_list_push_back(&cl->replicates, &rp->link);
	swi_client_blocked(cl, 1);
	swi_watch(sn, &rp->watch);
	return 0;
}

void swi_client_replicates_drop(struct swi_client *cl)
{
	while (!swi_list_empty(&cl->replicates))
		replicate_free(swi_list_first(&cl->replicates, struct swi_replicate, link));
}
