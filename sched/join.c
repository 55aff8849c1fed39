/* SPDX-License-Identifier: Apache-2.0 */
/*
 * join.c - a node's own way: dial the head, ask for a number, keep to the head, and leave in good order (finish
 * what is here, move the primary copies away, hand lineage to the heir, say so). Owner thread: the core's.
 */
#include "sched/core.h"
#include "sched/tmsg.h"

#define HEAD	      1u
#define JOIN_LIMIT_NS (10 * NS_PER_S)
#define BACKOFF_FIRST (50 * NS_PER_MS)
#define BACKOFF_MAX   NS_PER_S

void swi_member_init(struct swi_node *n)
{
	struct swi_membership *b = &n->member;

	swi_list_init(&b->gone);
	b->began_ns = swi_node_now(n);
	b->backoff_ns = BACKOFF_FIRST;
	b->next_number = HEAD + 1;
	if (!n->o.head)
		return;
	b->join = SWI_JOIN_IN;
	n->number = HEAD;
	swi_snode_set_number(n->sn, HEAD);
	swi_view_add(n, HEAD, n->epoch, swi_snode_tp(n->sn) ? swi_tp_address(swi_snode_tp(n->sn)) : "",
		     &n->o.total);
	n->cview.can_grow = swi_scaler_can_grow(n);
	n->cview.grow_shape = n->o.scale.shape;
}

void swi_member_end(struct swi_node *n, int status, const char *text)
{
	if (n->member.ended)
		return;
	n->member.ended = true;
	n->member.join = SWI_JOIN_OUT;
	swi_info(n->log, "this node ends: %s", text);
	if (n->o.ended)
		n->o.ended(n->o.ctx, status, text);
}

/* ---- getting in ---- */

static void ask(struct swi_node *n, struct swi_peer *head)
{
	uint8_t buf[512];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_u64(&w, n->epoch);
	swi_wr_str(&w, swi_tp_address(swi_snode_tp(n->sn)));
	swi_wr_u8(&w, n->o.provided);
	swi_resources_encode(&w, &n->o.total);
	n->member.join = SWI_JOIN_ASKED;
	(void)swi_peer_send(n->sn, head, SWI_P_JOIN, buf, w.len);
}

void swi_join_head_up(struct swi_node *n, struct swi_peer *head)
{
	n->member.head_lost_ns = 0;
	if (n->member.join != SWI_JOIN_IN)
		ask(n, head);
}

static void redial_later(struct swi_node *n)
{
	struct swi_membership *b = &n->member;

	b->join = SWI_JOIN_DIALING;
	b->next_dial_ns = swi_node_now(n) + b->backoff_ns;
	b->backoff_ns = swi_min_u64(2 * b->backoff_ns, BACKOFF_MAX);
}

void swi_join_head_down(struct swi_node *n, struct swi_peer *peer, int status)
{
	struct swi_membership *b = &n->member;
	char text[160];

	(void)peer;
	if (b->join == SWI_JOIN_IN) {
		if (!b->head_lost_ns)
			b->head_lost_ns = swi_node_now(n);
		return;
	}
	if (status == SWARM_EAUTH || status == SWARM_EVERSION) {
		snprintf(text, sizeof(text), "the head at %s refuses this node: %s", n->o.head_address,
			 swarm_strerror(status));
		swi_member_end(n, status, text);
		return;
	}
	redial_later(n);
}

static int join_step(struct swi_node *n)
{
	struct swi_membership *b = &n->member;
	const uint64_t now = swi_node_now(n);
	char text[160];

	if (now - b->began_ns >= JOIN_LIMIT_NS) {
		snprintf(text, sizeof(text), "no head answers at %s", n->o.head_address);
		swi_member_end(n, -ETIMEDOUT, text);
		return 1;
	}
	if (b->join != SWI_JOIN_DIALING || now < b->next_dial_ns)
		return 0;
	b->next_dial_ns = UINT64_MAX; /* until the connection is up or down */
	if (swi_peer_dial(n->sn, n->o.head_address) < 0)
		redial_later(n);
	return 1;
}

/* ---- leaving ---- */

static void drain_done(struct swi_drain *d, int status)
{
	struct swi_node *n = d->owner;

	n->member.drain_running = false;
	n->member.check = true;
	if (status >= 0) {
		n->member.drain_done = true;
		return;
	}
	n->member.drain.owner = NULL; /* asked once more, it tries once more: it must not say that it has drained */
	swi_warn(n->log, "cannot be drained, stays: %s", swarm_strerror(status));
	swi_event(n, "drain_failed", json_pack("{s:s}", "why", swarm_strerror(status)));
	n->member.leaving = false;
	n->dispatch.closed = false;
}

static void hand_lineage(struct swi_node *n)
{
	swi_list_for_each(it, &n->lineage.done) {
		const struct swi_task *t = swi_list_entry(it, struct swi_task, link);
		struct swi_wr w;

		if (t->state != SWI_TASK_DONE)
			continue;
		w = swi_wr_init(malloc(8 + t->spec_len), 8 + t->spec_len);
		if (!w.buf)
			return;
		swi_wr_u32(&w, t->attempt);
		swi_wr_bytes(&w, t->spec, t->spec_len);
		if (swi_node_send(n, HEAD, SWI_P_LINEAGE, &w) < 0)
			it = n->lineage.done.prev; /* what is handed over is handed over */
		free(w.buf);
	}
}

static void say_drained(struct swi_node *n)
{
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_u32(&w, n->number);
	(void)swi_node_send(n, HEAD, SWI_P_DRAINED, &w);
}

static void drain_begin(struct swi_node *n)
{
	struct swi_membership *b = &n->member;
	uint32_t *targets = calloc(n->cview.view.count + 1, sizeof(*targets));
	uint32_t count = 0;

	if (!targets)
		return;
	for (uint32_t i = 0; i < n->cview.view.count; i++)
		if (n->cview.member[i]->node != n->number && !n->cview.view.node[i].draining)
			targets[count++] = n->cview.member[i]->node;
	hand_lineage(n);
	b->drain_running = true;
	b->drain = (struct swi_drain){.cb = drain_done, .owner = n, .heir = HEAD};
	swi_drain_start(n->sn, &b->drain, targets, count);
	free(targets);
}

static int drain_step(struct swi_node *n)
{
	struct swi_membership *b = &n->member;

	b->check = false;
	if (b->drain_done) {
		b->drain_done = false;
		say_drained(n);
		return 1;
	}
	if (b->drain.owner || swi_graph_open(n) || !swi_runner_idle(n->runner))
		return 0;
	drain_begin(n);
	return 1;
}

static void begin_to_leave(struct swi_node *n)
{
	if (n->member.leaving)
		return;
	n->member.leaving = true;
	n->member.check = true;
	n->dispatch.closed = true;
	swi_view_self(n);
	swi_event(n, "draining", NULL);
}

int swi_join_on_drain(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	const uint32_t node = swi_rd_u32(rd);

	if (!swi_rd_done(rd) || (!n->o.head && (from != HEAD || node != n->number)))
		return -EBADMSG;
	if (n->o.head) { /* a member passes on what its user asked for */
		(void)swi_member_drain(n, node);
		return 0;
	}
	if (n->member.drain.owner && !n->member.drain_running)
		say_drained(n); /* said before, but lost */
	begin_to_leave(n);
	return 0;
}

int swi_join_on_drained(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	const uint32_t node = swi_rd_u32(rd);

	if (!swi_rd_done(rd) || !n->o.head || node != from)
		return -EBADMSG;
	if (swi_view_find(n, node))
		swi_member_declare(n, node, false, "drained");
	return 0;
}

int swi_member_drain(struct swi_node *n, uint32_t node)
{
	struct swi_member *m = swi_view_find(n, node);
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (!n->o.head || node == n->number)
		return -EINVAL;
	if (!m)
		return -ENOENT;
	m->drain_asked = true;
	swi_view_refresh(n, node);
	swi_wr_u32(&w, node);
	(void)swi_node_send(n, node, SWI_P_DRAIN, &w);
	swi_event(n, "drain", json_pack("{s:i}", "who", (int)node));
	return 0;
}

void swi_member_leave(struct swi_node *n)
{
	if (n->o.head || n->member.join != SWI_JOIN_IN || n->cview.view.count < 2)
		swi_member_end(n, 0, "told to stop");
	else
		begin_to_leave(n);
}

/* ---- entry points ---- */

int swi_join_step(struct swi_node *n)
{
	struct swi_membership *b = &n->member;
	int handled = 0;

	if (b->join == SWI_JOIN_DIALING || b->join == SWI_JOIN_ASKED)
		return join_step(n);
	if (b->head_lost_ns && swi_node_now(n) - b->head_lost_ns >= JOIN_LIMIT_NS) {
		swi_member_end(n, SWARM_ENODELOST, "the head vanished");
		return 1;
	}
	if (b->leaving)
		handled += drain_step(n);
	return handled;
}

uint64_t swi_join_deadline_ns(const struct swi_node *n)
{
	const struct swi_membership *b = &n->member;

	if (b->join == SWI_JOIN_DIALING || b->join == SWI_JOIN_ASKED)
		return swi_min_u64(b->began_ns + JOIN_LIMIT_NS,
				   b->join == SWI_JOIN_DIALING ? b->next_dial_ns : UINT64_MAX);
	return b->head_lost_ns ? b->head_lost_ns + JOIN_LIMIT_NS : UINT64_MAX;
}
