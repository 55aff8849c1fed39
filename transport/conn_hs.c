/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_hs.c - the handshake: HELLO, CHALLENGE, RESPONSE, READY, READY.
 *
 * Invariant: region keys leave this process only in READY, and READY is sent only after the other
 * side's proof was verified; the same moment opens the card for its READs (grant). The acceptor
 * proves itself last, so a stranger that connects learns nothing but a nonce and who we say we are.
 */
#include <sodium.h>

#include "transport/conn.h"

static void fill_hello(struct swi_conn *c, struct swi_wire_hello *m)
{
	struct swi_tp *tp = c->tp;

	memset(m, 0, sizeof(*m));
	swi_auth_nonce(tp->env, m->nonce);
	m->id.node = tp->node;
	m->id.epoch = tp->epoch;
	snprintf(m->id.address, sizeof(m->id.address), "%s", swi_tp_address(tp));
	m->paths = c->net->ops->paths ? (uint8_t)c->net->ops->paths(c->net->be) : 1;
}

static int send_hello(struct swi_conn *c, uint8_t kind, struct swi_wire_hello *m)
{
	uint8_t buf[256];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	fill_hello(c, m);
	swi_wire_put_hello(&w, m);
	SWI_BUG_ON(!swi_wr_ok(&w));
	return swi_conn_queue(c, kind, 0, buf, w.len);
}

void swi_conn_hello(struct swi_conn *c)
{
	const int rc = send_hello(c, SWI_WIRE_HELLO, &c->auth.hello);

	if (rc)
		swi_conn_lost(c, rc);
}

/* Both have several cards: the backend may use them all, and has what proves a further path. */
static void pair(struct swi_conn *c)
{
	uint8_t secret[SWI_MAC_BYTES];

	if (!c->net->ops->pair || c->auth.hello.paths < 2 || c->auth.challenge.paths < 2)
		return;
	swi_auth_proof(c->tp->key, SWI_AUTH_PATHS, &c->auth, NULL, 0, secret);
	c->net->ops->pair(c->ep, secret);
	sodium_memzero(secret, sizeof(secret));
}

/* Our own regions, as the peer gets them. -ENOMEM. */
static int own_regions(struct swi_conn *c, struct swi_regions *out_regions)
{
	struct swi_tp *tp = c->tp;

	memset(out_regions, 0, sizeof(*out_regions));
	for (uint32_t i = 0; i < SWI_REGIONS_MAX; i++) {
		const struct swi_local_region *l = &tp->regions[i];
		const struct swi_local_chunks *on = &l->on[c->net - tp->nets];
		struct swi_region *g = &out_regions->at[i];

		if (!l->len)
			continue;
		g->chunks = calloc(on->count, sizeof(*g->chunks));
		if (!g->chunks) {
			swi_regions_fini(out_regions);
			return -ENOMEM;
		}
		g->len = l->len;
		g->chunk_len = on->chunk_len;
		g->chunk_count = on->count;
		for (uint32_t k = 0; k < on->count; k++)
			g->chunks[k] =
			    (struct swi_chunk){.base = c->net->ops->base
							   ? c->net->ops->base(c->ep, &on->mrs[k])
							   : on->mrs[k].base,
					       .rkey = c->net->ops->rkey
							   ? c->net->ops->rkey(c->ep, &on->mrs[k])
							   : on->mrs[k].rkey};
	}
	return 0;
}

static int send_ready(struct swi_conn *c, enum swi_auth_role role)
{
	struct swi_regions t;
	struct swi_wr w = swi_wr_init(NULL, 0);
	int rc = own_regions(c, &t);

	if (rc)
		return rc;
	swi_wire_put_regions(&w, &t); /* only counts */
	const uint32_t len = w.len;
	uint8_t *body = malloc(SWI_MAC_BYTES + len);

	if (body) {
		w = swi_wr_init(body + SWI_MAC_BYTES, len);
		swi_wire_put_regions(&w, &t);
		swi_auth_proof(c->tp->key, role, &c->auth, body + SWI_MAC_BYTES, len, body);
		rc = swi_conn_queue(c, SWI_WIRE_READY, 0, body, SWI_MAC_BYTES + len);
	} else {
		rc = -ENOMEM;
	}
	free(body);
	swi_regions_fini(&t);
	return rc;
}

static int rx_hello(struct swi_conn *c, const void *body, uint32_t len)
{
	const int rc = swi_wire_get_hello(body, len, &c->auth.hello);

	return rc ? rc : send_hello(c, SWI_WIRE_CHALLENGE, &c->auth.challenge);
}

static int rx_challenge(struct swi_conn *c, const void *body, uint32_t len)
{
	uint8_t mac[SWI_MAC_BYTES];
	const int rc = swi_wire_get_hello(body, len, &c->auth.challenge);

	if (rc)
		return rc;
	swi_auth_proof(c->tp->key, SWI_AUTH_CONNECTOR, &c->auth, NULL, 0, mac);
	pair(c);
	return swi_conn_queue(c, SWI_WIRE_RESPONSE, 0, mac, sizeof(mac));
}

static int rx_response(struct swi_conn *c, const void *body, uint32_t len)
{
	if (len != SWI_MAC_BYTES)
		return SWARM_EPROTO;
	if (swi_auth_verify(c->tp->key, SWI_AUTH_CONNECTOR, &c->auth, NULL, 0, body))
		return SWARM_EAUTH;
	c->peer = c->auth.hello.id;
	pair(c);
	const int rc = c->net->ops->grant(c->ep);

	return rc ? rc : send_ready(c, SWI_AUTH_READY_ACCEPTOR);
}

static int rx_ready(struct swi_conn *c, const void *body, uint32_t len)
{
	const enum swi_auth_role theirs =
	    c->inbound ? SWI_AUTH_READY_CONNECTOR : SWI_AUTH_READY_ACCEPTOR;
	const uint8_t *table = (const uint8_t *)body + SWI_MAC_BYTES;

	if (len < SWI_MAC_BYTES)
		return SWARM_EPROTO;
	len -= SWI_MAC_BYTES;
	if (swi_auth_verify(c->tp->key, theirs, &c->auth, table, len, body))
		return SWARM_EAUTH;
	int rc = swi_wire_get_regions(table, len, &c->regions);

	if (rc || c->inbound)
		return rc;
	c->peer = c->auth.challenge.id;
	rc = c->net->ops->grant(c->ep);
	return rc ? rc : send_ready(c, SWI_AUTH_READY_CONNECTOR);
}

enum swi_conn_event swi_conn_kind_event(uint8_t kind)
{
	switch (kind) {
	case SWI_WIRE_HELLO:
		return SWI_EV_RX_HELLO;
	case SWI_WIRE_CHALLENGE:
		return SWI_EV_RX_CHALLENGE;
	case SWI_WIRE_RESPONSE:
		return SWI_EV_RX_RESPONSE;
	case SWI_WIRE_READY:
		return SWI_EV_RX_READY;
	default:
		return SWI_EV_COUNT;
	}
}

/* The work of an edge is done before the state moves, so that a failure leaves the old state to
 * refuse from. */
int swi_conn_handshake(struct swi_conn *c, uint8_t kind, const void *body, uint32_t len)
{
	struct swi_tp *tp = c->tp;
	int rc;

	if (kind == SWI_WIRE_HELLO)
		rc = rx_hello(c, body, len);
	else if (kind == SWI_WIRE_CHALLENGE)
		rc = rx_challenge(c, body, len);
	else if (kind == SWI_WIRE_RESPONSE)
		rc = rx_response(c, body, len);
	else
		rc = rx_ready(c, body, len);
	if (rc)
		return rc;
	SWI_BUG_ON(!swi_conn_move(c, swi_conn_kind_event(kind)));
	if (c->state != SWI_CONN_UP)
		return 0;
	if (c->inbound) {
		c->shown = true;
		tp->half_open--;
	}
	tp->next_timer =
	    swi_min_u64(tp->next_timer, swi_sat_add(tp->now, tp->silence_timeout_ns / 2));
	swi_info(tp->log, "connection %s %s (node %u) is up, over %s", c->inbound ? "from" : "to",
		 c->peer.address[0] ? c->peer.address : c->addr, c->peer.node,
		 swi_conn_backend(c));
	if (tp->handler.up)
		tp->handler.up(tp->handler.ctx, c, c->inbound);
	return 0;
}
