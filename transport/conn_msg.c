/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_msg.c - frames, credits and fragments of a connection.
 *
 * Credits: a side starts with SWI_BE_RECV_DEPTH, pays one for every frame whatever its kind, and
 * gets them back in the header of any frame of the other side. Invariant, for each direction: the
 * sender's credits + frames on their way + frames received and owed + credits on their way back
 * = 64. So a frame never finds the receiver without a posted buffer. No deadlock: the last credit
 * is kept for a CREDIT frame, which is sent only when it gives back at least SWI_CREDIT_BATCH. A
 * side that spent its last credit has therefore just given the other at least that many, and every
 * frame of the other carries back all that it owes.
 */
#include "transport/conn.h"

/* One frame, header included. 0, -EAGAIN, or the endpoint is gone. */
static int tx_frame(struct swi_conn *c, struct swi_wire_hdr *h, const void *body, uint32_t len)
{
	uint8_t hdr[SWI_WIRE_HDR_BYTES];

	h->credits = (uint16_t)c->owed;
	swi_wire_put_hdr(h, hdr);
	const int rc = c->net->ops->send(c->ep, hdr, sizeof(hdr), body, len);

	if (rc)
		return rc;
	c->credits--;
	c->owed = 0;
	return 0;
}

static int tx_empty(struct swi_conn *c, enum swi_wire_kind kind)
{
	struct swi_wire_hdr h = {.kind = (uint8_t)kind};

	return tx_frame(c, &h, NULL, 0);
}

/* One fragment of @len bytes from @off on. */
static int tx_part(struct swi_conn *c, uint8_t kind, uint16_t type, const uint8_t *body,
		   uint32_t off, uint32_t len)
{
	const uint32_t n = (uint32_t)swi_min_u64(len - off, SWI_WIRE_PAYLOAD_MAX);
	struct swi_wire_hdr h = {.kind = kind, .type = type, .total = len};

	if (off + n < len)
		h.flags |= SWI_WIRE_MORE;
	const int rc = tx_frame(c, &h, n ? body + off : NULL, n);

	return rc ? rc : (int)n;
}

/* PONG, PING and CREDIT go before data: they are small and the other side waits for them. */
static int flush_control(struct swi_conn *c)
{
	int rc = 0;

	if (c->want_pong && c->credits > 1) {
		rc = tx_empty(c, SWI_WIRE_PONG);
		c->want_pong = rc != 0;
	}
	if (!rc && c->want_ping && c->credits > 1) {
		rc = tx_empty(c, SWI_WIRE_PING);
		c->want_ping = rc != 0;
	}
	/* Data that can go now takes the credits along. */
	const bool data_goes = !swi_list_empty(&c->out) && c->credits > 1;

	if (!rc && c->owed >= SWI_CREDIT_BATCH && c->credits >= 1 && !data_goes)
		rc = tx_empty(c, SWI_WIRE_CREDIT);
	return rc;
}

int swi_conn_flush(struct swi_conn *c)
{
	int rc = 0;

	if (c->state == SWI_CONN_CONNECTING)
		return 0;
	for (;;) {
		rc = flush_control(c);
		struct swi_out_msg *m = swi_list_first(&c->out, struct swi_out_msg, link);

		if (rc || !m || c->credits <= 1)
			break;
		rc = tx_part(c, m->kind, m->type, m->body, m->sent, m->len);
		if (rc < 0)
			break;
		m->sent += (uint32_t)rc;
		if (m->sent < m->len)
			continue;
		c->out_bytes -= m->len;
		swi_list_del(&m->link);
		free(m);
	}
	return rc < 0 ? rc : 0;
}

static int enqueue(struct swi_conn *c, uint8_t kind, uint16_t type, const void *body, uint32_t len)
{
	if (c->out_bytes + len > SWI_SEND_QUEUE_MAX)
		return -ENOBUFS;
	struct swi_out_msg *m = malloc(sizeof(*m) + len);

	if (!m)
		return -ENOMEM;
	*m = (struct swi_out_msg){.type = type, .kind = kind, .len = len};
	if (len)
		memcpy(m->body, body, len);
	swi_list_push_back(&c->out, &m->link);
	c->out_bytes += len;
	if (c->credits > 1)
		swi_conn_kick(c);
	return 0;
}

int swi_conn_queue(struct swi_conn *c, uint8_t kind, uint16_t type, const void *body, uint32_t len)
{
	if (swi_list_empty(&c->out) && len <= SWI_WIRE_PAYLOAD_MAX && c->credits > 1) {
		const int rc = tx_part(c, kind, type, body, 0, len);

		if (rc != -EAGAIN)
			return rc < 0 ? rc : 0;
	}
	return enqueue(c, kind, type, body, len);
}

int swi_conn_send(struct swi_conn *c, uint16_t type, const void *body, uint32_t len)
{
	if (c->state != SWI_CONN_UP)
		return SWARM_EPEERLOST;
	if (len > SWI_MSG_MAX)
		return -EMSGSIZE;
	const int rc = swi_conn_queue(c, SWI_WIRE_MSG, type, body, len);

	if (rc)
		return rc;
	c->tp->n.msgs_sent++;
	c->tp->n.msg_bytes_sent += len;
	return 0;
}

int swi_conn_send_reject(struct swi_conn *c, int status)
{
	uint8_t body[4];
	struct swi_wr w = swi_wr_init(body, sizeof(body));
	struct swi_wire_hdr h = {.kind = SWI_WIRE_REJECT, .total = sizeof(body)};

	swi_wire_put_reject(&w, status);
	return c->credits ? tx_frame(c, &h, body, w.len) : SWARM_EPEERLOST;
}

/* --- receiving --- */

/* A whole body. 0, or why the peer is refused. */
static int deliver(struct swi_conn *c, uint8_t kind, uint16_t type, const void *body, uint32_t len)
{
	struct swi_tp *tp = c->tp;

	if (kind != SWI_WIRE_MSG)
		return swi_conn_handshake(c, kind, body, len);
	tp->n.msgs_received++;
	tp->n.msg_bytes_received += len;
	if (tp->handler.msg)
		tp->handler.msg(tp->handler.ctx, c, type, body, len);
	return 0;
}

/* The first fragment of a body of several. */
static int begin_body(struct swi_conn *c, const struct swi_wire_hdr *h)
{
	c->in.buf = malloc(h->total); /* at most SWI_MSG_MAX, one a connection */
	if (!c->in.buf)
		return -ENOMEM;
	c->in.total = h->total;
	c->in.have = 0;
	c->in.type = h->type;
	c->in.kind = h->kind;
	return 0;
}

static int rx_body(struct swi_conn *c, const struct swi_wire_hdr *h, const void *p, uint32_t len)
{
	const bool more = h->flags & SWI_WIRE_MORE;

	if (!c->in.buf) {
		if (!more)
			return len == h->total ? deliver(c, h->kind, h->type, p, len)
					       : SWARM_EPROTO;
		const int rc = begin_body(c, h);

		if (rc)
			return rc;
	} else if (h->kind != c->in.kind || h->type != c->in.type || h->total != c->in.total) {
		return SWARM_EPROTO;
	}
	if (len > c->in.total - c->in.have || more == (c->in.have + len == c->in.total))
		return SWARM_EPROTO;
	if (len)
		memcpy(c->in.buf + c->in.have, p, len);
	c->in.have += len;
	if (more)
		return 0;
	uint8_t *buf = c->in.buf;

	c->in.buf = NULL; /* the handler may close, and then nothing of c->in may be its */
	const int rc = deliver(c, h->kind, h->type, buf, h->total);

	free(buf);
	return rc;
}

static int rx_reject(struct swi_conn *c, const void *body, uint32_t len)
{
	int code;
	const int rc = swi_wire_get_reject(body, len, &code);

	if (rc)
		return rc;
	if (code == SWARM_EAUTH)
		c->tp->n.auth_failures++;
	swi_conn_lost(c, code);
	return 0;
}

static int rx_frame(struct swi_conn *c, const struct swi_wire_hdr *h, const void *p, uint32_t len)
{
	const enum swi_conn_event ev = swi_conn_kind_event(h->kind);

	switch (h->kind) {
	case SWI_WIRE_REJECT:
		return rx_reject(c, p, len);
	case SWI_WIRE_PING:
		c->want_pong = true;
		swi_conn_kick(c);
		return 0;
	case SWI_WIRE_PONG:
	case SWI_WIRE_CREDIT:
		return 0;
	case SWI_WIRE_MSG:
		return c->state == SWI_CONN_UP ? rx_body(c, h, p, len) : SWARM_EPROTO;
	default:
		if (swi_conn_next(c->state, ev) == SWI_CONN_NONE)
			return SWARM_EPROTO;
		return rx_body(c, h, p, len);
	}
}

void swi_conn_recv(struct swi_conn *c, const void *frame, uint32_t len)
{
	const uint8_t *p = (const uint8_t *)frame + SWI_WIRE_HDR_BYTES;
	struct swi_wire_hdr h;
	int rc = swi_wire_get_hdr(frame, len, &h);

	if (c->state == SWI_CONN_LINGER) {
		if (!rc && h.kind == SWI_WIRE_REJECT)
			swi_conn_lost(c, c->status);
		return;
	}
	if (rc == SWARM_EVERSION && c->state == SWI_CONN_UP)
		rc = SWARM_EPROTO; /* the version was settled by the handshake */
	if (!rc && (c->credits + h.credits > SWI_BE_RECV_DEPTH || c->owed >= SWI_BE_RECV_DEPTH))
		rc = SWARM_EPROTO; /* gives back what we never paid, or sends what it cannot pay */
	if (!rc) {
		c->credits += h.credits;
		c->owed++;
		if (c->owed >= SWI_CREDIT_BATCH || (h.credits && !swi_list_empty(&c->out)))
			swi_conn_kick(c);
		rc = rx_frame(c, &h, p, len - SWI_WIRE_HDR_BYTES);
	}
	if (rc)
		swi_conn_refuse(c, rc);
}

void swi_conn_msg_fini(struct swi_conn *c)
{
	swi_list_for_each_safe (it, &c->out) {
		swi_list_del(it);
		free(swi_list_entry(it, struct swi_out_msg, link));
	}
	free(c->in.buf);
	c->in.buf = NULL;
}
