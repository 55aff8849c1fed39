/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member.c - see member.h. This file: the head's list and everybody's copy of it. What a node does to get in,
 * stay in and leave is in join.c. News can be lost with a connection, so the head repeats all of it
 * (JOINED) whenever a connection to a member comes up again.
 */
#include "sched/member.h"

#include "sched/core.h"
#include "sched/tmsg.h"
#include "store/peer.h"

#define HEAD		1u
#define RECONNECT_NS	(200 * NS_PER_MS)
#define LOAD_DEFAULT	(50 * NS_PER_MS)
#define SILENCE_DEFAULT (2 * NS_PER_S)
#define VIEW_ROWS_MAX	2048u

static uint64_t load_period(const struct swi_node *n)
{
	return n->o.load_period_ns ? n->o.load_period_ns : LOAD_DEFAULT;
}

static uint64_t silence(const struct swi_node *n)
{
	return n->o.silence_ns ? n->o.silence_ns : SILENCE_DEFAULT;
}

void swi_member_fini(struct swi_node *n)
{
	while (n->member.gone.next && !swi_list_empty(&n->member.gone)) {
		struct swi_gone_member *g = swi_list_first(&n->member.gone, struct swi_gone_member, link);

		swi_list_del(&g->link);
		free(g);
	}
}

static struct swi_tmsg_member member_msg(const struct swi_node *n, const struct swi_member *m)
{
	struct swi_tmsg_member t = {.node = m->node, .epoch = m->epoch, .provided = m->provided,
				    .total = m->report.total};

	(void)n;
	snprintf(t.address, sizeof(t.address), "%s", m->address);
	return t;
}

static void tell_all(struct swi_node *n, uint16_t type, const struct swi_wr *w, uint32_t except)
{
	for (uint32_t i = 0; i < n->cview.view.count; i++) {
		const uint32_t to = n->cview.member[i]->node;

		if (to != n->number && to != except)
			(void)swi_node_send(n, to, type, w);
	}
}

/* ---- the whole list, to one node ---- */

struct joined_ctx {
	const struct swi_node *n;
	uint32_t to;
};

static void joined_body(struct swi_wr *w, const void *ctx)
{
	const struct joined_ctx *j = ctx;
	const struct swi_node *n = j->n;
	uint32_t gone = 0;

	swi_wr_u32(w, j->to);
	swi_wr_u32(w, n->cview.view.count);
	for (uint32_t i = 0; i < n->cview.view.count; i++) {
		const struct swi_tmsg_member m = member_msg(n, n->cview.member[i]);

		swi_tmsg_member_encode(w, &m);
	}
	swi_list_for_each(it, &n->member.gone)
		gone++;
	swi_wr_u32(w, gone);
	swi_list_for_each(it, &n->member.gone) {
		const struct swi_gone_member *g = swi_list_entry(it, struct swi_gone_member, link);

		swi_wr_u32(w, g->node);
		swi_wr_u64(w, g->epoch);
		swi_wr_u8(w, g->killed);
		swi_wr_u32(w, g->heir);
	}
}

static void send_joined(struct swi_node *n, uint32_t to)
{
	const struct joined_ctx j = {n, to};
	struct swi_wr w = swi_tmsg_build(joined_body, &j);

	(void)swi_node_send(n, to, SWI_P_JOINED, &w);
	free(w.buf);
	swi_view_find(n, to)->told_stamp = 0; /* and every row with the next view */
	for (uint32_t i = 0; i < n->cview.view.count; i++)
		n->cview.member[i]->told_stamp = 0;
}

static void learn(struct swi_node *n, const struct swi_tmsg_member *t)
{
	struct swi_member *m;

	if (!t->node)
		return;
	m = swi_view_add(n, t->node, t->epoch, t->address, &t->total);
	m->provided = t->provided;
	if (t->node != n->number)
		(void)swi_peer_add(n->sn, t->node, t->epoch, t->address);
}

static void become(struct swi_node *n, uint32_t number)
{
	n->number = number;
	swi_snode_set_number(n->sn, number);
	n->member.join = SWI_JOIN_IN;
	n->member.head_lost_ns = 0;
	snprintf(n->log->name, sizeof(n->log->name), "node %u", number);
	swi_info(n->log, "joined the cluster");
}

static void member_gone(struct swi_node *n, uint32_t node, bool killed, uint32_t heir);

/* Also of one that went before we came: references name it, and its heir answers for them. */
static void gone_before(struct swi_node *n, uint32_t node, uint64_t epoch, bool killed, uint32_t heir)
{
	if (swi_view_find(n, node)) {
		member_gone(n, node, killed, heir);
		return;
	}
	if (!epoch || node == n->number || swi_peer_was_removed(n->sn, node))
		return;
	if (swi_peer_add(n->sn, node, epoch, ""))
		swi_peer_remove(n->sn, node, killed, heir);
}

static int on_joined(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	const uint32_t number = swi_rd_u32(rd);
	uint32_t count = swi_rd_u32(rd);

	if (rd->bad || !number || (n->number && number != n->number) || from != HEAD)
		return -EBADMSG;
	if (!n->number)
		become(n, number);
	while (count-- && !rd->bad) {
		struct swi_tmsg_member t;

		swi_tmsg_member_decode(rd, &t);
		if (!rd->bad)
			learn(n, &t);
	}
	count = swi_rd_u32(rd);
	while (count-- && !rd->bad) {
		const uint32_t node = swi_rd_u32(rd);
		const uint64_t epoch = swi_rd_u64(rd);
		const bool killed = swi_rd_u8(rd);
		const uint32_t heir = swi_rd_u32(rd);

		if (!rd->bad)
			gone_before(n, node, epoch, killed, heir);
	}
	return swi_rd_done(rd) ? 0 : -EBADMSG;
}

/* ---- who comes ---- */

static int on_join(struct swi_node *n, struct swi_peer *peer, struct swi_rd *rd)
{
	const uint64_t epoch = swi_rd_u64(rd);
	struct swi_tmsg_member t = {.epoch = epoch};
	uint8_t buf[512];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	struct swi_member *m;

	swi_rd_str(rd, t.address, sizeof(t.address));
	t.provided = swi_rd_u8(rd);
	swi_resources_decode(rd, &t.total);
	if (!swi_rd_done(rd) || !n->o.head || epoch != swi_peer_epoch(peer))
		return -EBADMSG;
	t.node = swi_peer_node(peer);
	if (t.node && swi_view_find(n, t.node)) { /* asked twice */
		send_joined(n, t.node);
		return 0;
	}
	if (t.node)
		return -EBADMSG; /* a number that we did not give, or took back */
	t.node = n->member.next_number++;
	learn(n, &t);
	m = swi_view_find(n, t.node);
	m->heard_ns = swi_node_now(n);
	n->member.joined++;
	swi_scaler_joined(n, t.provided);
	send_joined(n, t.node);
	swi_tmsg_member_encode(&w, &t);
	tell_all(n, SWI_P_MEMBER_UP, &w, t.node);
	{
		char res[160];

		swi_event(n, "joined",
			  json_pack("{s:i,s:s,s:s}", "who", (int)t.node, "address", t.address, "resources",
				    swi_resources_str(&t.total, res, sizeof(res))));
	}
	return 0;
}

static int on_member_up(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	struct swi_tmsg_member t;

	swi_tmsg_member_decode(rd, &t);
	if (!swi_rd_done(rd) || from != HEAD)
		return -EBADMSG;
	learn(n, &t);
	return 0;
}

/* ---- who goes ---- */

/* @node is dead (@killed) or left: everything that hangs on it is settled here. */
static void member_gone(struct swi_node *n, uint32_t node, bool killed, uint32_t heir)
{
	struct swi_member *m = swi_view_find(n, node);
	uint64_t died_ns;

	if (!m)
		return;
	if (node == n->number) {
		swi_member_end(n, killed ? SWARM_ENODELOST : 0,
			       killed ? "the head declared this node dead" : "drained");
		return;
	}
	died_ns = m->lost_ns ? m->lost_ns : swi_node_now(n);
	swi_status_keep(n, node, killed ? "dead" : "drained");
	if (killed)
		swi_rebuild_begin(n, node, died_ns);
	swi_peer_remove(n->sn, node, killed, heir);
	swi_dispatch_node_lost(n, node, killed);
	if (killed)
		swi_runner_drop_home(n->runner, node);
	swi_view_remove(n, node);
	if (killed)
		n->member.died++;
	else
		n->member.drained++;
}

void swi_member_declare(struct swi_node *n, uint32_t node, bool killed, const char *why)
{
	struct swi_member *m = swi_view_find(n, node);
	struct swi_gone_member *g = calloc(1, sizeof(*g));
	const uint64_t epoch = m ? m->epoch : 0;
	const bool provided = m && m->provided;
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	SWI_BUG_ON(!g);
	*g = (struct swi_gone_member){.node = node, .heir = killed ? 0 : n->number, .epoch = epoch,
				      .killed = killed};
	swi_list_push_back(&n->member.gone, &g->link);
	swi_wr_u32(&w, node);
	swi_wr_u64(&w, epoch);
	swi_wr_u8(&w, killed);
	swi_wr_u32(&w, g->heir);
	tell_all(n, SWI_P_MEMBER_DOWN, &w, 0); /* itself too: if it lives it must end */
	if (killed)
		swi_warn(n->log, "node %u is declared dead: %s", node, why);
	swi_event(n, killed ? "died" : "drained", json_pack("{s:i,s:s}", "who", (int)node, "why", why));
	member_gone(n, node, killed, g->heir);
	if (!killed && provided && n->o.provider.removed)
		n->o.provider.removed(n->o.provider.ctx, node, epoch);
}

static int on_member_down(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	const uint32_t node = swi_rd_u32(rd);
	bool killed;
	uint32_t heir;

	(void)swi_rd_u64(rd);
	killed = swi_rd_u8(rd);
	heir = swi_rd_u32(rd);
	if (!swi_rd_done(rd) || from != HEAD)
		return -EBADMSG;
	if (swi_view_find(n, node)) {
		swi_event(n, killed ? "died" : "drained", json_pack("{s:i}", "who", (int)node));
		member_gone(n, node, killed, heir);
	}
	return 0;
}

static bool is_dead(const struct swi_node *n, const struct swi_member *m, uint64_t now, const char **why)
{
	if (m->node == n->number)
		return false;
	*why = "its connection closed";
	if (m->lost_ns && now - m->lost_ns >= RECONNECT_NS)
		return true;
	*why = "it is silent";
	return now - m->heard_ns >= silence(n);
}

/*
 * The silence of others is counted only while this node runs: one that stood still for seconds (a busy
 * machine, a stopped process) would hold everybody for dead when it wakes.
 */
static void not_while_asleep(struct swi_node *n, uint64_t now)
{
	const uint64_t usual = swi_sat_add(n->member.checked_ns, 2 * load_period(n));
	const uint64_t slept = n->member.checked_ns && now > usual ? now - usual : 0;

	n->member.checked_ns = now;
	for (uint32_t i = 0; slept && i < n->cview.view.count; i++) {
		struct swi_member *m = n->cview.member[i];

		m->heard_ns = swi_min_u64(m->heard_ns + slept, now);
		if (m->lost_ns)
			m->lost_ns = swi_min_u64(m->lost_ns + slept, now);
	}
}

static int check_dead(struct swi_node *n)
{
	const uint64_t now = swi_node_now(n);
	int handled = 0;

	not_while_asleep(n, now);

	for (uint32_t i = 0; i < n->cview.view.count;) {
		const struct swi_member *m = n->cview.member[i];
		const char *why;

		if (!is_dead(n, m, now, &why)) {
			i++;
			continue;
		}
		swi_member_declare(n, m->node, true, why);
		handled++;
	}
	return handled;
}

/* ---- load and view ---- */

struct load_ctx {
	struct swi_report report;
	struct swi_scale_demand demand;
};

static void load_body(struct swi_wr *w, const void *ctx)
{
	const struct load_ctx *l = ctx;

	swi_report_encode(w, &l->report);
	swi_demand_encode(w, &l->demand);
}

static void send_load(struct swi_node *n, uint32_t to)
{
	struct load_ctx l;
	struct swi_wr w;

	swi_view_make_report(n, to, &l.report);
	swi_scaler_demand(n, &l.demand);
	w = swi_tmsg_build(load_body, &l);
	(void)swi_node_send(n, to, SWI_P_LOAD, &w);
	free(w.buf);
}

static int on_load(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	struct swi_member *m = swi_view_find(n, from);
	struct load_ctx l;

	swi_report_decode(rd, &l.report);
	swi_demand_decode(rd, &l.demand);
	if (!swi_rd_done(rd))
		return -EBADMSG;
	if (!m)
		return 0;
	m->heard_ns = swi_node_now(n);
	m->demand = l.demand;
	if (!l.report.idle)
		m->idle_since_ns = 0;
	else if (!m->idle_since_ns)
		m->idle_since_ns = m->heard_ns;
	swi_view_report(n, from, &l.report, true);
	return 0;
}

/* To every home that has tasks here, and to the head as a sign of life. */
static void send_loads(struct swi_node *n)
{
	if (!n->o.head)
		send_load(n, HEAD);
	for (uint32_t i = 0; i < n->cview.view.count; i++) {
		const uint32_t to = n->cview.member[i]->node;

		if (to != n->number && to != HEAD && n->cview.member[i]->got)
			send_load(n, to);
		else if (to == HEAD && n->o.head)
			n->cview.member[i]->heard_ns = swi_node_now(n);
	}
}

struct view_ctx {
	struct swi_node *n;
	uint32_t rows;
};

static bool row_is_news(const struct swi_node *n, const struct swi_member *m)
{
	return m->node == n->number || m->report.stamp > m->told_stamp;
}

static void view_body(struct swi_wr *w, const void *ctx)
{
	const struct view_ctx *v = ctx;
	struct swi_node *n = v->n;
	uint32_t rows = 0;

	swi_wr_u8(w, n->cview.can_grow);
	swi_resources_encode(w, &n->cview.grow_shape);
	swi_wr_u32(w, v->rows);
	for (uint32_t i = 0; i < n->cview.view.count && rows < v->rows; i++) {
		const struct swi_member *m = n->cview.member[i];

		if (!row_is_news(n, m))
			continue;
		swi_wr_u32(w, m->node);
		swi_report_encode(w, &m->report);
		rows++;
	}
}

static void send_view(struct swi_node *n)
{
	struct view_ctx v = {.n = n};
	struct swi_member *self = swi_view_find(n, n->number);
	struct swi_wr w;

	n->cview.can_grow = swi_scaler_can_grow(n);
	n->cview.grow_shape = n->o.scale.shape;
	if (n->cview.view.count < 2)
		return;
	swi_view_make_report(n, 0, &self->report);
	for (uint32_t i = 0; i < n->cview.view.count; i++)
		v.rows += row_is_news(n, n->cview.member[i]);
	v.rows = (uint32_t)swi_min_u64(v.rows, VIEW_ROWS_MAX);
	w = swi_tmsg_build(view_body, &v);
	tell_all(n, SWI_P_VIEW, &w, 0);
	free(w.buf);
	for (uint32_t i = 0, rows = 0; i < n->cview.view.count && rows < v.rows; i++) {
		struct swi_member *m = n->cview.member[i];

		if (row_is_news(n, m)) {
			m->told_stamp = m->report.stamp;
			rows++;
		}
	}
}

static int on_view(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	struct swi_resources shape;
	const bool grow = swi_rd_u8(rd);
	uint32_t rows;

	swi_resources_decode(rd, &shape);
	rows = swi_rd_u32(rd);
	if (rd->bad || from != HEAD)
		return -EBADMSG;
	if (grow != n->cview.can_grow)
		swi_dispatch_kick(n);
	n->cview.can_grow = grow;
	n->cview.grow_shape = shape;
	while (rows-- && !rd->bad) {
		const uint32_t node = swi_rd_u32(rd);
		struct swi_report r;

		swi_report_decode(rd, &r);
		if (!rd->bad && node != n->number)
			swi_view_report(n, node, &r, false);
	}
	return swi_rd_done(rd) ? 0 : -EBADMSG;
}

/* ---- entry points ---- */

int swi_member_msg(struct swi_node *n, struct swi_peer *peer, uint16_t type, struct swi_rd *rd)
{
	const uint32_t from = swi_peer_node(peer);
	struct swi_member *m = swi_view_find(n, from);

	if (m)
		m->heard_ns = swi_node_now(n);
	switch (type) {
	case SWI_P_JOIN:
		return on_join(n, peer, rd);
	case SWI_P_JOINED:
		return on_joined(n, from, rd);
	case SWI_P_MEMBER_UP:
		return on_member_up(n, from, rd);
	case SWI_P_MEMBER_DOWN:
		return on_member_down(n, from, rd);
	case SWI_P_LOAD:
		return on_load(n, from, rd);
	case SWI_P_VIEW:
		return on_view(n, from, rd);
	case SWI_P_DRAIN:
		return swi_join_on_drain(n, from, rd);
	case SWI_P_DRAINED:
		return swi_join_on_drained(n, from, rd);
	default:
		return -EBADMSG;
	}
}

void swi_member_peer_up(struct swi_node *n, struct swi_peer *peer)
{
	const uint32_t node = swi_peer_node(peer);
	struct swi_member *m = swi_view_find(n, node);

	if (m && m->lost_ns) {
		m->lost_ns = 0;
		m->heard_ns = swi_node_now(n);
		if (n->o.head)
			send_joined(n, node);
		swi_dispatch_resend(n, node);
	}
	if (!n->o.head && node == HEAD)
		swi_join_head_up(n, peer);
}

void swi_member_peer_down(struct swi_node *n, struct swi_peer *peer, int status)
{
	const uint32_t node = swi_peer_node(peer);
	struct swi_member *m = node ? swi_view_find(n, node) : NULL;

	if (m && !m->lost_ns)
		m->lost_ns = swi_node_now(n);
	if (!n->o.head && (node == HEAD || !n->number))
		swi_join_head_down(n, peer, status);
}

int swi_member_step(struct swi_node *n)
{
	struct swi_membership *b = &n->member;
	const uint64_t now = swi_node_now(n);
	int handled = 0;

	if (b->ended)
		return 0;
	handled += swi_join_step(n);
	if (b->join != SWI_JOIN_IN)
		return handled;
	if (now >= b->next_load_ns) {
		b->next_load_ns = now + load_period(n);
		send_loads(n);
		if (n->o.head)
			send_view(n);
	}
	if (n->o.head)
		handled += check_dead(n);
	return handled;
}

uint64_t swi_member_deadline_ns(const struct swi_node *n)
{
	uint64_t at = swi_join_deadline_ns(n);

	if (n->member.ended)
		return UINT64_MAX;
	if (n->member.join == SWI_JOIN_IN && (n->cview.view.count > 1 || n->o.scale.max_nodes))
		at = swi_min_u64(at, n->member.next_load_ns);
	for (uint32_t i = 0; n->o.head && i < n->cview.view.count; i++) {
		const struct swi_member *m = n->cview.member[i];

		if (m->lost_ns)
			at = swi_min_u64(at, m->lost_ns + RECONNECT_NS);
	}
	return at;
}
