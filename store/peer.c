/* SPDX-License-Identifier: Apache-2.0 */
/* peer.c - see peer.h. */
#include "store/peer.h"
#include "store/req.h"
#include "store/serve.h"
#include "store/snode_internal.h"

#define QUEUE_MAX     MIB(64)
#define BACKOFF_FIRST (10 * NS_PER_MS)
#define BACKOFF_MAX   (500 * NS_PER_MS)
/* Without a layer above: dead, when lost for so long; */
#define LOST_MAX      (3 * NS_PER_S)
#define REFUSED_MAX   (100 * NS_PER_MS) /* its host says all the while that nobody listens there: who lives does */

struct queued {
	struct swi_list link;
	uint16_t type;
	uint32_t len;
	uint8_t body[];
};

static void peer_retry(struct swi_timer *t);
static void peer_lost(struct swi_peer *p, int status);

void swi_peers_init(struct swi_snode *sn)
{
	swi_list_init(&sn->peers.list);
	swi_list_init(&sn->peers.dirty);
	swi_list_init(&sn->peers.orphans);
}

static struct swi_peer *peer_new(struct swi_snode *sn, uint32_t node, uint64_t epoch,
				 const char *address)
{
	struct swi_peer *p = calloc(1, sizeof(*p));

	SWI_BUG_ON(!p);
	p->sn = sn;
	p->node = node;
	p->epoch = epoch;
	snprintf(p->address, sizeof(p->address), "%s", address);
	swi_list_init(&p->links);
	swi_list_init(&p->queue);
	swi_list_init(&p->dials);
	swi_list_init(&p->reqs);
	swi_list_init(&p->dirty);
	p->retry.cb = peer_retry;
	p->tell.cb = swi_dir_tell_again;
	p->backoff_ns = BACKOFF_FIRST;
	swi_list_push_back(&sn->peers.list, &p->link);
	sn->peers.count++;
	return p;
}

static void queue_drop(struct swi_peer *p)
{
	while (!swi_list_empty(&p->queue)) {
		struct queued *q = swi_list_first(&p->queue, struct queued, link);

		swi_list_del(&q->link);
		free(q);
	}
	p->queue_bytes = 0;
}

/* Nobody may hold on to @p after this but the layer above, which was told. */
static void peer_free(struct swi_peer *p)
{
	struct swi_snode *sn = p->sn;

	swi_list_for_each_safe(it, &p->links) {
		struct swi_link *l = swi_list_entry(it, struct swi_link, link);

		swi_list_del(&l->link);
		l->peer = NULL;
		swi_list_push_back(&sn->peers.orphans, &l->link);
	}
	swi_timer_stop(&sn->timers, &p->retry);
	swi_timer_stop(&sn->timers, &p->tell);
	swi_untold_peer_gone(p);
	queue_drop(p);
	swi_list_del(&p->dirty);
	swi_list_del(&p->link);
	sn->peers.count--;
	free(p->copies.buf);
	free(p->ends.buf);
	free(p);
}

void swi_peers_cut(struct swi_snode *sn)
{
	swi_list_for_each(it, &sn->peers.list) {
		struct swi_peer *p = swi_list_entry(it, struct swi_peer, link);

		p->chosen = p->dialing = NULL;
		p->address[0] = 0;
	}
}

void swi_peers_fini(struct swi_snode *sn)
{
	struct swi_gone *g, *tmp;

	while (!swi_list_empty(&sn->peers.list)) {
		struct swi_peer *p = swi_list_first(&sn->peers.list, struct swi_peer, link);

		while (!swi_list_empty(&p->dials))
			swi_list_del(p->dials.next);
		while (!swi_list_empty(&p->reqs))
			swi_req_end(sn, swi_list_first(&p->reqs, struct swi_req, link));
		peer_free(p);
	}
	while (!swi_list_empty(&sn->peers.orphans)) {
		struct swi_link *l = swi_list_first(&sn->peers.orphans, struct swi_link, link);

		swi_serve_link_down(l);
		swi_lease_link_down(l);
		swi_list_del(&l->link);
		free(l);
	}
	HASH_ITER(hh, sn->peers.gone, g, tmp) {
		HASH_DELETE(hh, sn->peers.gone, g);
		free(g);
	}
}

/* ---- look-ups ---- */

struct swi_peer *swi_peer_by_epoch(struct swi_snode *sn, uint64_t epoch)
{
	swi_list_for_each(it, &sn->peers.list) {
		struct swi_peer *p = swi_list_entry(it, struct swi_peer, link);

		if (p->epoch == epoch && epoch)
			return p;
	}
	return NULL;
}

struct swi_peer *swi_peer_find(struct swi_snode *sn, uint32_t node)
{
	swi_list_for_each(it, &sn->peers.list) {
		struct swi_peer *p = swi_list_entry(it, struct swi_peer, link);

		if (p->node == node && node)
			return p;
	}
	return NULL;
}

uint32_t swi_peer_node(const struct swi_peer *peer)
{
	return peer->node;
}

uint64_t swi_peer_epoch(const struct swi_peer *peer)
{
	return peer->epoch;
}

bool swi_peer_is_up(const struct swi_peer *peer)
{
	return peer->chosen != NULL;
}

bool swi_peer_was_removed(struct swi_snode *sn, uint32_t node)
{
	struct swi_gone *g, *tmp;

	if (swi_peer_find(sn, node))
		return false;
	HASH_ITER(hh, sn->peers.gone, g, tmp) {
		if (g->node == node)
			return true;
	}
	return false;
}

static uint32_t heir_once(struct swi_snode *sn, uint32_t node)
{
	struct swi_gone *g, *tmp;
	uint32_t heir = 0;

	HASH_ITER(hh, sn->peers.gone, g, tmp) { /* the latest life counts */
		if (g->node == node)
			heir = g->heir;
	}
	return heir;
}

uint32_t swi_peer_heir_of(struct swi_snode *sn, uint32_t node)
{
	for (int i = 0; i < 64 && node; i++) {
		if (node == sn->node || swi_peer_find(sn, node))
			return node;
		node = heir_once(sn, node);
	}
	return 0;
}

/* ---- sending ---- */

static int link_dial(struct swi_peer *p)
{
	struct swi_snode *sn = p->sn;
	struct swi_link *l;
	int rc;

	if (p->dialing || p->chosen || !p->address[0] || !sn->tp)
		return 0;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->sn = sn;
	l->peer = p;
	swi_list_init(&l->leases);
	swi_list_init(&l->serves);
	swi_list_init(&l->followers);
	swi_list_init(&l->link);
	swi_list_init(&l->standing);
	rc = swi_tp_connect(sn->tp, p->address, l, &l->conn);
	if (rc) {
		free(l);
		return rc;
	}
	p->dialing = l;
	swi_list_push_back(&p->links, &l->link);
	return 0;
}

static void retry_later(struct swi_peer *p)
{
	struct swi_snode *sn = p->sn;
	const uint64_t now = swi_now(sn->env);

	if (!p->lost_ns)
		p->lost_ns = now;
	/* Spread, so that two nodes that lost each other do not dial in step for ever. */
	swi_timer_set(&sn->timers, &p->retry,
		      now + p->backoff_ns / 2 + swi_rand(sn->env) % p->backoff_ns);
	p->backoff_ns = swi_min_u64(p->backoff_ns * 2, BACKOFF_MAX);
}

static void dials_tell(struct swi_list *dials, int status, uint32_t node)
{
	struct swi_list told;

	swi_list_init(&told);
	swi_list_splice(&told, dials);
	while (!swi_list_empty(&told)) {
		struct swi_dial *d = swi_list_first(&told, struct swi_dial, link);

		swi_list_del(&d->link);
		d->cb(d, status, node);
	}
}

static void dial_now(struct swi_peer *p)
{
	if (link_dial(p) < 0)
		retry_later(p);
}

static void peer_retry(struct swi_timer *t)
{
	struct swi_peer *p = swi_container_of(t, struct swi_peer, retry);
	struct swi_snode *sn = p->sn;

	if (p->chosen) {
		dials_tell(&p->dials, 0, p->node);
		return;
	}
	if (!sn->hooks.peer_down && p->lost_ns && swi_now(sn->env) - p->lost_ns >= (p->refused ? REFUSED_MAX : LOST_MAX)) {
		swi_warn(sn->log, "node %u at %s cannot be reached any more: removed", p->node,
			 p->address[0] ? p->address : "(no address)");
		p->may_return = true;
		peer_lost(p, SWARM_ENODELOST);
		return;
	}
	dial_now(p);
	if (!p->dialing && !p->retry.pos)
		retry_later(p);
}

static int queue_push(struct swi_peer *p, uint16_t type, const void *body, uint32_t len)
{
	struct queued *q;

	if (p->queue_bytes + len > QUEUE_MAX)
		return -ENOBUFS;
	q = malloc(sizeof(*q) + len);
	if (!q)
		return -ENOMEM;
	q->type = type;
	q->len = len;
	if (len)
		memcpy(q->body, body, len);
	swi_list_push_back(&p->queue, &q->link);
	p->queue_bytes += len + sizeof(*q);
	return 0;
}

int swi_peer_send(struct swi_snode *sn, struct swi_peer *p, uint16_t type, const void *body,
		  uint32_t len)
{
	int rc;

	if (len > SWI_MSG_MAX)
		return -EMSGSIZE;
	if (p->copies_count && type != SWI_S_COPIES)
		swi_batch_copies(p);
	if (p->chosen && swi_list_empty(&p->queue)) {
		rc = swi_conn_send(p->chosen->conn, type, body, len);
		if (rc != -ENOBUFS && rc != SWARM_EPEERLOST)
			return rc;
	}
	rc = queue_push(p, type, body, len);
	if (rc == -ENOBUFS && p->chosen) {
		/* 128 MiB are waiting: it does not read. Better no connection than no end. */
		swi_warn(sn->log, "node %u takes no messages: connection closed", p->node);
		swi_conn_close(p->chosen->conn, -ENOBUFS);
	}
	if (!rc && !p->chosen && !p->retry.pos && swi_list_empty(&p->links))
		dial_now(p);
	return rc;
}

static int queue_flush(struct swi_peer *p)
{
	int n = 0;

	while (p->chosen && !swi_list_empty(&p->queue)) {
		struct queued *q = swi_list_first(&p->queue, struct queued, link);

		if (swi_conn_send(p->chosen->conn, q->type, q->body, q->len) < 0)
			break;
		p->queue_bytes -= q->len + sizeof(*q);
		swi_list_del(&q->link);
		free(q);
		n++;
	}
	return n;
}

int swi_peers_step(struct swi_snode *sn)
{
	int n = 0;

	swi_list_for_each(it, &sn->peers.list)
		n += queue_flush(swi_list_entry(it, struct swi_peer, link));
	return n;
}

/* ---- knowing ---- */

/* The end of @p: every module lets go of it, then it is freed. */
static void peer_bury(struct swi_peer *p, uint32_t heir, int status)
{
	struct swi_snode *sn = p->sn;
	const uint32_t node = p->node;
	struct swi_gone *g;

	p->removed = true;
	if (p->epoch) {
		HASH_FIND(hh, sn->peers.gone, &p->epoch, sizeof(p->epoch), g);
		if (!g) {
			g = calloc(1, sizeof(*g));
			SWI_BUG_ON(!g);
			g->epoch = p->epoch;
			HASH_ADD(hh, sn->peers.gone, epoch, sizeof(g->epoch), g);
		}
		g->node = node;
		g->heir = heir;
		g->may_return = p->may_return;
	}
	swi_list_for_each(it, &p->links)
		swi_conn_close(swi_list_entry(it, struct swi_link, link)->conn, status);
	p->chosen = p->dialing = NULL;
	swi_list_del(&p->link); /* not found any more, also not by what the callbacks below ask */
	swi_dir_peer_link_lost(sn, p);
	swi_req_peer_lost(sn, p, status);
	dials_tell(&p->dials, status, 0);
	swi_list_init(&p->link);
	peer_free(p);
	if (node)
		swi_dir_peer_removed(sn, node);
}

void swi_peer_remove(struct swi_snode *sn, uint32_t node, bool killed, uint32_t heir)
{
	struct swi_peer *p = swi_peer_find(sn, node);

	if (!p)
		return;
	swi_info(sn->log, "node %u %s; heir: node %u", node, killed ? "is dead" : "left", heir);
	peer_bury(p, heir, SWARM_ENODELOST);
}

/* Nobody above decides: a connection that ended for good, or a new life under the same number. */
static void peer_lost(struct swi_peer *p, int status)
{
	struct swi_snode *sn = p->sn;

	if (sn->hooks.peer_down)
		sn->hooks.peer_down(sn->hooks.ctx, p, status);
	peer_bury(p, 0, status);
}

struct swi_peer *swi_peer_add(struct swi_snode *sn, uint32_t node, uint64_t epoch,
			      const char *address)
{
	struct swi_peer *p = swi_peer_by_epoch(sn, epoch), *old = swi_peer_find(sn, node);

	if (epoch == sn->epoch || (node && node == sn->node))
		return NULL;
	if (old && old != p && old->epoch && epoch && old->epoch != epoch)
		peer_bury(old, 0, SWARM_ENODELOST);
	else if (old && !p)
		p = old;
	if (!p)
		p = peer_new(sn, node, epoch, address ? address : "");
	if (epoch)
		p->epoch = epoch;
	if (address && address[0])
		snprintf(p->address, sizeof(p->address), "%s", address);
	if (node && (p->node != node || !p->was_up || old != p)) {
		p->node = node;
		swi_dir_peer_added(sn, node);
	}
	return p;
}

int swi_peer_dial_tell(struct swi_snode *sn, const char *address, struct swi_dial *d)
{
	struct swi_peer *p = NULL;
	int rc;

	if (!sn->tp)
		return SWARM_ENOTRANSPORT;
	swi_list_for_each(it, &sn->peers.list) {
		struct swi_peer *q = swi_list_entry(it, struct swi_peer, link);

		if (!strcmp(q->address, address))
			p = q;
	}
	if (!p)
		p = peer_new(sn, 0, 0, address);
	rc = link_dial(p);
	if (rc) {
		if (!p->epoch && !p->node && swi_list_empty(&p->dials))
			peer_free(p);
		return rc;
	}
	if (d) {
		swi_list_push_back(&p->dials, &d->link);
		if (p->chosen) /* there already: told by the next step */
			swi_timer_set(&sn->timers, &p->retry, swi_now(sn->env));
	}
	return 0;
}

int swi_peer_dial(struct swi_snode *sn, const char *address)
{
	return swi_peer_dial_tell(sn, address, NULL);
}

void swi_dial_cancel(struct swi_dial *d)
{
	if (d->link.next)
		swi_list_del(&d->link);
}

/* ---- connections ---- */

static void link_free(struct swi_link *l)
{
	swi_serve_link_down(l);
	swi_lease_link_down(l);
	swi_list_del(&l->link);
	free(l);
}

/* Closes a connection on which nonsense came. */
static void link_nonsense(struct swi_link *l, uint16_t type)
{
	swi_warn(l->sn->log, "node %u sent nonsense (message 0x%x): connection closed",
		 l->peer ? l->peer->node : 0, type);
	swi_conn_close(l->conn, SWARM_EPROTO);
}

static void link_choose(struct swi_link *l)
{
	struct swi_peer *p = l->peer;
	struct swi_snode *sn = p->sn;

	p->chosen = l;
	swi_lease_stand(l);
	if (p->dialing == l)
		p->dialing = NULL;
	p->lost_ns = 0;
	p->backoff_ns = BACKOFF_FIRST;
	swi_timer_stop(&sn->timers, &p->retry);
	if (p->was_up && p->node)
		swi_dir_peer_again(sn, p->node); /* batches may have been lost with the old one */
	p->was_up = true;
	queue_flush(p);
	swi_info(sn->log, "node %u at %s is connected", p->node, p->address);
	dials_tell(&p->dials, 0, p->node);
	if (sn->hooks.peer_up)
		sn->hooks.peer_up(sn->hooks.ctx, p);
}

/* The identity of the other side is proven: to which peer does the connection belong? */
static struct swi_peer *link_identify(struct swi_link *l, const struct swi_peer_id *id)
{
	struct swi_snode *sn = l->sn;
	struct swi_peer *anon = l->peer, *p = swi_peer_by_epoch(sn, id->epoch), *old;

	if (!p && anon && !anon->epoch) { /* dialled by address: now it has a name */
		old = id->node ? swi_peer_find(sn, id->node) : NULL;
		if (!old || old == anon) {
			anon->epoch = id->epoch;
			p = anon;
		}
	}
	if (!p) {
		old = id->node ? swi_peer_find(sn, id->node) : NULL;
		if (old && !old->epoch) {
			old->epoch = id->epoch;
			p = old;
		} else {
			if (old && old != anon)
				peer_lost(old, SWARM_ENODELOST);
			p = peer_new(sn, 0, id->epoch, id->address);
		}
	}
	if (!p->address[0])
		snprintf(p->address, sizeof(p->address), "%s", id->address);
	if (!p->node && id->node)
		p->node = id->node;
	if (anon != p) {
		swi_list_del(&l->link);
		l->peer = p;
		swi_list_push_back(&p->links, &l->link);
		if (anon && anon->dialing == l)
			anon->dialing = NULL;
		if (anon)
			swi_list_splice(&p->dials, &anon->dials);
	}
	if (anon && anon != p && anon->epoch)
		peer_lost(anon, SWARM_ENODELOST); /* another life lives at its address */
	else if (anon && anon != p)
		peer_free(anon);
	return p;
}

/* Is that life over? One that only could not be reached is taken back; it tells anew what it has. */
static bool is_over(struct swi_snode *sn, uint64_t epoch)
{
	struct swi_gone *g;

	HASH_FIND(hh, sn->peers.gone, &epoch, sizeof(epoch), g);
	if (!g || !g->may_return)
		return g;
	HASH_DELETE(hh, sn->peers.gone, g);
	free(g);
	return false;
}

static void tp_up(void *ctx, struct swi_conn *conn, bool inbound)
{
	struct swi_snode *sn = ctx;
	const struct swi_peer_id *id = swi_conn_peer(conn);
	struct swi_link *l = inbound ? NULL : swi_conn_user(conn);
	struct swi_peer *p;
	bool known, over;

	if (!l) {
		l = calloc(1, sizeof(*l));
		SWI_BUG_ON(!l);
		l->sn = sn;
		l->conn = conn;
		l->inbound = true;
		swi_list_init(&l->leases);
		swi_list_init(&l->serves);
		swi_list_init(&l->followers);
		swi_list_init(&l->link);
		swi_list_init(&l->standing);
		swi_list_push_back(&sn->peers.orphans, &l->link);
		swi_conn_set_user(conn, l);
	}
	over = is_over(sn, id->epoch);
	if (over || !id->epoch || id->epoch == sn->epoch) {
		swi_conn_close(conn, over ? SWARM_ENODELOST : -EINVAL);
		return;
	}
	known = swi_peer_find(sn, id->node) != NULL && swi_peer_by_epoch(sn, id->epoch);
	p = link_identify(l, id);
	l->up = true;
	if (p->node && !known)
		swi_dir_peer_added(sn, p->node);
	if (sn->epoch > p->epoch)
		return; /* it chooses */
	if (p->chosen) {
		if (p->dialing == l)
			p->dialing = NULL;
		swi_conn_close(conn, 0);
		return;
	}
	if (swi_conn_send(conn, SWI_S_USE, NULL, 0) == 0)
		link_choose(l);
}

static void chosen_lost(struct swi_peer *p, int status)
{
	struct swi_snode *sn = p->sn;

	p->chosen = NULL;
	p->lost_ns = swi_now(sn->env);
	swi_info(sn->log, "node %u at %s: connection lost: %s", p->node, p->address,
		 swarm_strerror(status));
	swi_dir_peer_link_lost(sn, p);
	swi_req_peer_lost(sn, p, status < 0 ? status : SWARM_EPEERLOST);
	if (sn->hooks.peer_down)
		sn->hooks.peer_down(sn->hooks.ctx, p, status);
}

static void tp_down(void *ctx, struct swi_conn *conn, int status)
{
	struct swi_snode *sn = ctx;
	struct swi_link *l = swi_conn_user(conn);
	struct swi_peer *p;
	uint64_t epoch;

	if (!l)
		return;
	p = l->peer;
	epoch = p ? p->epoch : 0;
	if (p && p->dialing == l)
		p->dialing = NULL;
	if (p && p->chosen == l) {
		chosen_lost(p, status);
		p = epoch ? swi_peer_by_epoch(sn, epoch) : NULL; /* the hook may have removed it */
	}
	link_free(l);
	if (!p || p->chosen || p->dialing)
		return;
	if (!p->epoch && !p->node) { /* dialled by address, and nobody is there */
		peer_lost(p, status < 0 ? status : SWARM_EPEERLOST);
		return;
	}
	p->refused = status == -ECONNREFUSED;
	if (status == SWARM_EAUTH || status == SWARM_EVERSION)
		dials_tell(&p->dials, status, 0);
	if (!p->retry.pos && swi_list_empty(&p->links))
		retry_later(p);
}

static int msg_use(struct swi_link *l)
{
	struct swi_peer *p = l->peer;

	if (l->sn->epoch < p->epoch || p->chosen == l)
		return SWARM_EPROTO;
	if (p->chosen) { /* it lost the old one before we did */
		struct swi_link *old = p->chosen;

		chosen_lost(p, SWARM_EPEERLOST);
		swi_conn_close(old->conn, SWARM_EPEERLOST);
		if (l->peer != p)
			return 0;
	}
	link_choose(l);
	return 0;
}

static void tp_msg(void *ctx, struct swi_conn *conn, uint16_t type, const void *body, uint32_t len)
{
	struct swi_snode *sn = ctx;
	struct swi_link *l = swi_conn_user(conn);
	struct swi_rd rd = swi_rd_init(body, len);
	int rc;

	if (!l || !l->peer)
		return; /* of a life that is over */
	if (type == SWI_S_USE)
		rc = len ? SWARM_EPROTO : msg_use(l);
	else if (l->peer->chosen != l)
		rc = l->peer->chosen ? 0 : SWARM_EPROTO; /* late words of a connection given up */
	else if (type >= SWI_P_UPPER)
		rc = sn->hooks.peer_msg ? sn->hooks.peer_msg(sn->hooks.ctx, l->peer, type, &rd) : 0;
	else
		rc = swi_snode_peer_msg(sn, l, type, &rd);
	if (rc < 0)
		link_nonsense(l, type);
}

const struct swi_tp_handler swi_peers_handler = {.up = tp_up, .msg = tp_msg, .down = tp_down};
