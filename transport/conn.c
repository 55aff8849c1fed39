/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - the life of a connection: its states, its time limits, its end.
 *
 * Invariant: down() is called once, from swi_conn_work(), after the backend's closed(): by then
 * every READ has been completed. The table of states is in conn_fsm.h; see conn.h for who owns
 * what.
 */
#include "transport/net.h"

int swi_conn_create(struct swi_net *net, bool inbound, struct swi_conn **out_conn)
{
	struct swi_tp *tp = net->tp;
	struct swi_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->tp = tp;
	c->net = net;
	c->inbound = inbound;
	c->shown = !inbound;
	c->state = inbound ? SWI_CONN_AWAIT_HELLO : SWI_CONN_CONNECTING;
	c->credits = SWI_BE_RECV_DEPTH;
	c->limit_ns = swi_sat_add(swi_now(tp->env), tp->connect_timeout_ns);
	c->try_ns = UINT64_MAX;
	swi_list_init(&c->work_link);
	swi_list_init(&c->out);
	swi_list_init(&c->jobs);
	swi_list_push_back(&tp->conns, &c->link);
	tp->next_timer = swi_min_u64(tp->next_timer, c->limit_ns);
	tp->n.conns_opened++;
	if (inbound)
		tp->half_open++;
	*out_conn = c;
	return 0;
}

void swi_conn_free(struct swi_conn *c)
{
	if (c->inbound && !c->shown)
		c->tp->half_open--;
	c->tp->n.conns_closed++;
	swi_list_del(&c->link);
	swi_list_del(&c->work_link);
	swi_conn_msg_fini(c);
	swi_conn_read_fini(c);
	swi_regions_fini(&c->regions);
	free(c);
}

static const char *peer_name(const struct swi_conn *c)
{
	if (c->peer.address[0])
		return c->peer.address;
	return c->addr[0] ? c->addr : "an inbound peer";
}

bool swi_conn_move(struct swi_conn *c, enum swi_conn_event ev)
{
	const enum swi_conn_state to = swi_conn_next(c->state, ev);

	if (to == SWI_CONN_NONE)
		return false;
	swi_debug(c->tp->log, "conn %s: %s --%s--> %s", peer_name(c), swi_conn_state_name(c->state),
		  swi_conn_event_name(ev), swi_conn_state_name(to));
	c->state = to;
	return true;
}

void swi_conn_kick(struct swi_conn *c)
{
	swi_list_del(&c->work_link); /* it may be on tp->blocked */
	swi_list_push_back(&c->tp->work, &c->work_link);
}

void swi_conn_lost(struct swi_conn *c, int status)
{
	const bool had_reason = c->state == SWI_CONN_LINGER;

	if (!swi_conn_move(c, SWI_EV_LOST))
		return;
	if (!had_reason)
		c->status = status;
	swi_info(c->tp->log, "connection to %s (node %u) ended: %s, %s", peer_name(c), c->peer.node,
		 swarm_errname(c->status), swarm_strerror(c->status));
	if (!c->ep) /* between two addresses */
		SWI_BUG_ON(!swi_conn_move(c, SWI_EV_CLOSED));
	else if (!c->redial) /* else it is closed already */
		c->net->ops->ep_close(c->ep);
	swi_conn_kick(c);
}

/* The peer cannot be reached at this address; true: it has another one, which is tried when this endpoint is gone. */
static bool try_another(struct swi_conn *c, int status)
{
	if (c->state != SWI_CONN_CONNECTING || !c->addr[c->addr_next])
		return false;
	if (!c->redial) {
		swi_info(c->tp->log, "an address of %s cannot be reached (%s): the next is tried", peer_name(c),
			 swarm_errname(status));
		c->redial = true;
		c->try_ns = UINT64_MAX;
		c->net->ops->ep_close(c->ep);
	}
	return true;
}

void swi_conn_refuse(struct swi_conn *c, int status)
{
	struct swi_tp *tp = c->tp;

	if (swi_conn_next(c->state, SWI_EV_REFUSE) == SWI_CONN_NONE)
		return;
	if (status == SWARM_EAUTH) {
		tp->n.auth_failures++;
		swi_warn(tp->log, "%s did not prove the cluster key: refused", peer_name(c));
	} else if (status == SWARM_EPROTO) {
		tp->n.proto_errors++;
		swi_warn(tp->log, "%s sent what makes no sense in state %s: closed", peer_name(c),
			 swi_conn_state_name(c->state));
	}
	const int rc = swi_conn_send_reject(c, status);

	if (rc && rc != -EAGAIN) {
		swi_conn_lost(c, status);
		return;
	}
	c->want_reject = rc != 0;
	if (rc)
		swi_conn_kick(c);
	c->status = status;
	c->limit_ns = swi_sat_add(swi_now(tp->env), SWI_LINGER_NS);
	tp->next_timer = swi_min_u64(tp->next_timer, c->limit_ns);
	(void)swi_conn_move(c, SWI_EV_REFUSE);
}

void swi_conn_work(struct swi_conn *c)
{
	struct swi_tp *tp = c->tp;

	swi_list_del(&c->work_link);
	if (c->state == SWI_CONN_CONNECTING && c->redial && !c->ep) {
		c->redial = false;
		const int failed = swi_nets_connect_next(c);

		if (failed)
			swi_conn_lost(c, failed);
		return;
	}
	const bool reads_ok = swi_conn_pump_reads(c);

	if (c->state == SWI_CONN_DOWN) {
		if (c->shown && tp->handler.down)
			tp->handler.down(tp->handler.ctx, c, c->status);
		swi_conn_free(c);
		return;
	}
	int rc = 0;

	if (swi_conn_alive(c))
		rc = swi_conn_flush(c);
	else if (c->state == SWI_CONN_LINGER && c->want_reject)
		rc = swi_conn_send_reject(c, c->status);
	c->want_reject = c->want_reject && rc;
	if (rc && rc != -EAGAIN)
		swi_conn_lost(c, rc);
	else if ((!reads_ok || rc) && swi_list_empty(&c->work_link))
		swi_list_push_back(&tp->blocked, &c->work_link);
}

/*
 * Silence is found in two looks that lie silence/8 apart, with progress() in between: when it was
 * this process that slept, what the peer sent meanwhile is read first.
 */
static uint64_t silence_timer(struct swi_conn *c, uint64_t now)
{
	const uint64_t limit = c->tp->silence_timeout_ns;
	const uint64_t quiet = now > c->heard_ns ? now - c->heard_ns : 0;

	if (quiet < limit / 2)
		return swi_sat_add(c->heard_ns, limit / 2);
	if (!c->pinged) {
		c->pinged = true;
		c->want_ping = true;
		swi_conn_kick(c);
	}
	if (quiet < limit - limit / 8)
		return swi_sat_add(c->heard_ns, limit - limit / 8);
	if (!c->suspect_ns)
		c->suspect_ns = now;
	if (now - c->suspect_ns < limit / 8)
		return swi_sat_add(c->suspect_ns, limit / 8);
	swi_conn_lost(c, SWARM_ESILENT);
	return UINT64_MAX;
}

static uint64_t conn_timer(struct swi_conn *c, uint64_t now)
{
	if (c->state == SWI_CONN_UP)
		return silence_timer(c, now);
	if (c->state > SWI_CONN_LINGER)
		return UINT64_MAX;
	if (now >= c->try_ns)
		(void)try_another(c, -ETIMEDOUT);
	if (now < c->limit_ns)
		return swi_min_u64(c->limit_ns, c->try_ns);
	swi_conn_lost(c, -ETIMEDOUT);
	return UINT64_MAX;
}

void swi_conn_timers(struct swi_tp *tp)
{
	uint64_t next = UINT64_MAX;

	if (tp->now < tp->next_timer)
		return;
	swi_list_for_each (it, &tp->conns)
		next = swi_min_u64(next,
				   conn_timer(swi_list_entry(it, struct swi_conn, link), tp->now));
	tp->next_timer = next;
}

/* --- the backend's events --- */

static void be_accepted(void *ctx, struct swi_be_ep *ep)
{
	struct swi_net *net = ctx;
	struct swi_conn *c;

	if (net->tp->half_open >= SWI_HALF_OPEN_MAX || swi_conn_create(net, true, &c)) {
		swi_warn(net->tp->log,
			 "inbound connection refused: too many that have not proved the key");
		net->ops->set_owner(ep, NULL);
		net->ops->ep_close(ep);
		return;
	}
	c->ep = ep;
	net->ops->set_owner(ep, c);
}

static void be_connected(void *ctx, struct swi_be_ep *ep)
{
	struct swi_net *net = ctx;
	struct swi_conn *c = net->ops->owner(ep);

	if (c && !c->redial && swi_conn_move(c, SWI_EV_CONNECTED))
		swi_conn_hello(c);
}

static void be_recv(void *ctx, struct swi_be_ep *ep, const void *buf, uint32_t len)
{
	struct swi_net *net = ctx;
	struct swi_conn *c = net->ops->owner(ep);

	if (!c || c->state > SWI_CONN_LINGER)
		return;
	c->heard_ns = net->tp->now;
	c->suspect_ns = 0;
	c->pinged = false;
	swi_conn_recv(c, buf, len);
}

static void be_read_done(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED,
			 struct swi_be_read *rd, int status)
{
	struct swi_read_part *p = swi_container_of(rd, struct swi_read_part, be);
	struct swi_conn *c = p->conn;

	if (!status) {
		c->heard_ns = c->tp->now;
		c->suspect_ns = 0;
		c->pinged = false;
	}
	swi_conn_read_done(c, p, status);
}

static void be_down(void *ctx, struct swi_be_ep *ep, int status)
{
	struct swi_net *net = ctx;
	struct swi_conn *c = net->ops->owner(ep);

	if (!c)
		net->ops->ep_close(ep);
	else if (!try_another(c, status))
		swi_conn_lost(c, status);
}

static void be_closed(void *ctx, struct swi_be_ep *ep)
{
	struct swi_net *net = ctx;
	struct swi_conn *c = net->ops->owner(ep);

	if (!c)
		return;
	SWI_BUG_ON(c->parts);
	c->ep = NULL;
	SWI_BUG_ON(c->state != SWI_CONN_CONNECTING && !swi_conn_move(c, SWI_EV_CLOSED)); /* else: the next address */
	swi_conn_kick(c);
}

const struct swi_be_events swi_conn_events = {
    .accepted = be_accepted,
    .connected = be_connected,
    .recv = be_recv,
    .read_done = be_read_done,
    .down = be_down,
    .closed = be_closed,
};

/* --- small parts of the front door --- */

const struct swi_peer_id *swi_conn_peer(const struct swi_conn *c)
{
	return &c->peer;
}

void *swi_conn_user(const struct swi_conn *c)
{
	return c->user;
}

void swi_conn_set_user(struct swi_conn *c, void *user)
{
	c->user = user;
}

void swi_conn_close(struct swi_conn *c, int status)
{
	swi_conn_lost(c, status);
}

void swi_conn_revoke(struct swi_conn *c, int status)
{
	if (c->ep)
		c->net->ops->revoke(c->ep);
	swi_conn_lost(c, status);
}

const char *swi_conn_backend(const struct swi_conn *c)
{
	return c->net->ops->name;
}

uint64_t swi_conn_read_bytes(const struct swi_conn *c)
{
	return c->read_bytes;
}

uint64_t swi_conn_region_len(const struct swi_conn *c, uint32_t region)
{
	return region < SWI_REGIONS_MAX ? c->regions.at[region].len : 0;
}
