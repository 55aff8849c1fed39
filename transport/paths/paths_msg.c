/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths_msg.c - messages of a connection that has several paths: numbered, kept until acknowledged, sent
 * again over another leg when theirs fails.
 *
 * Until the peers have agreed on it (pair()) messages pass as they are; the acceptor's are numbered
 * from then on, the connector's from the first numbered one that it gets. Numbers are u32 and may wrap: at
 * most PATHS_WINDOW are under way. Owner thread only.
 */
#include "transport/paths/paths.h"

static bool numbered(const struct swi_be_ep *ep)
{
	return ep->paired && (ep->inbound || ep->rx_numbered);
}

static int put(struct leg *l, uint8_t kind, uint32_t seq, const void *body, uint32_t len)
{
	struct swi_be_ep *ep = l->ep;
	const struct swi_paths_hdr h = {.kind = kind, .seq = seq, .ack = ep->received};
	uint8_t hdr[SWI_PATHS_HDR];
	struct swi_wr w = swi_wr_init(hdr, sizeof(hdr));
	int rc;

	swi_paths_put_hdr(&w, &h);
	rc = ep->be->ops->send(l->inner, hdr, sizeof(hdr), body, len);
	if (!rc)
		ep->owed = 0;
	else if (rc != -EAGAIN)
		swi_paths_doom(l, rc);
	return rc;
}

int swi_paths_send_on(struct leg *l, uint8_t kind, const void *body, uint32_t len)
{
	return put(l, kind, 0, body, len);
}

void swi_paths_pump_msgs(struct swi_be_ep *ep)
{
	int rc = 0;

	if (ep->down || ep->closing)
		return;
	while (!rc && ep->main && ep->sent != ep->last) {
		const struct paths_msg *m = ep->out[(ep->sent + 1) % PATHS_RING];

		rc = put(ep->main, m->kind, ep->sent + 1, m->body, m->len);
		ep->sent += !rc;
	}
	if (!rc && ep->main && ep->owed >= PATHS_ACK_AT)
		rc = put(ep->main, SWI_PATHS_ACK, 0, NULL, 0);
	for (uint32_t i = 0; i < ep->be->count; i++) {
		struct leg *l = ep->at[i];

		if (l && l->want_answer)
			l->want_answer = put(l, SWI_PATHS_ANSWER, 0, NULL, 0) != 0;
		if (l && l->want_answer)
			rc = -EAGAIN;
	}
	if (rc)
		swi_paths_busy(ep);
}

int swi_paths_queue(struct swi_be_ep *ep, uint8_t kind, const void *a, uint32_t alen, const void *b,
		    uint32_t blen)
{
	struct paths_msg *m;

	if (ep->last - ep->acked >= PATHS_WINDOW)
		return -EAGAIN;
	m = malloc(sizeof(*m) + alen + blen);
	if (!m)
		return -ENOMEM;
	m->kind = kind;
	m->len = alen + blen;
	if (alen)
		memcpy(m->body, a, alen);
	if (blen)
		memcpy(m->body + alen, b, blen);
	ep->out[++ep->last % PATHS_RING] = m;
	swi_paths_pump_msgs(ep);
	return 0;
}

int swi_paths_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b, uint32_t blen)
{
	if (!ep->up || ep->down || ep->closing)
		return SWARM_EPEERLOST;
	if (alen > SWI_BE_FRAME_MAX || blen > SWI_BE_FRAME_MAX - alen)
		return -EMSGSIZE;
	if (numbered(ep))
		return swi_paths_queue(ep, SWI_PATHS_DATA, a, alen, b, blen);
	return ep->main ? ep->be->ops->send(ep->main->inner, a, alen, b, blen) : SWARM_EPEERLOST;
}

/* 0, or the peer acknowledges what it was never sent. */
static int acknowledged(struct swi_be_ep *ep, uint32_t ack)
{
	if (ack - ep->acked > ep->last - ep->acked) /* an old one, from another leg, or nonsense */
		return ep->acked - ack <= PATHS_RING ? 0 : SWARM_EPROTO;
	while (ep->acked != ack) {
		struct paths_msg **m = &ep->out[++ep->acked % PATHS_RING];

		free(*m);
		*m = NULL;
	}
	if ((int32_t)(ep->sent - ep->acked) < 0) /* a failed leg had brought them after all */
		ep->sent = ep->acked;
	return 0;
}

/* A numbered message: the next one, or one that came already. */
static int on_numbered(struct leg *l, const struct swi_paths_hdr *h, struct swi_rd *r)
{
	struct swi_be_ep *ep = l->ep;

	ep->rx_numbered = true;
	if (h->seq != ep->received + 1) { /* sent again: it does not know that it came */
		ep->owed = PATHS_ACK_AT;
		swi_paths_busy(ep);
		return ep->received - h->seq < PATHS_RING ? 0 : SWARM_EPROTO;
	}
	ep->received++;
	ep->owed++;
	if (ep->owed >= PATHS_ACK_AT)
		swi_paths_busy(ep);
	if (h->kind == SWI_PATHS_ADDRS)
		return swi_paths_on_addrs(l, r);
	ep->be->args.events->recv(ep->be->args.ctx, ep, r->buf + r->pos, r->len - r->pos);
	return 0;
}

static int on_ours(struct leg *l, struct swi_rd *r)
{
	struct swi_be_ep *ep = l->ep;
	struct swi_paths_hdr h;
	int rc = swi_paths_get_hdr(r, &h);

	if (rc)
		return rc;
	if (h.kind == SWI_PATHS_JOIN)
		return l->state == LEG_STRANGER ? swi_paths_on_join(l, r) : SWARM_EPROTO;
	rc = ep ? acknowledged(ep, h.ack) : SWARM_EPROTO;
	if (rc)
		return rc;
	if (h.kind == SWI_PATHS_JOINED || h.kind == SWI_PATHS_KEYS)
		return swi_paths_on_keys(l, r, h.kind);
	if (l->state != LEG_UP)
		return SWARM_EPROTO;
	if (h.kind == SWI_PATHS_DATA || h.kind == SWI_PATHS_ADDRS)
		return on_numbered(l, &h, r);
	if (r->pos != r->len)
		return SWARM_EPROTO;
	l->want_answer |= h.kind == SWI_PATHS_PROBE;
	if (l->want_answer || ep->last != ep->sent || !swi_list_empty(&ep->waiting))
		swi_paths_busy(ep);
	return 0;
}

void swi_paths_recv(struct leg *l, const void *buf, uint32_t len)
{
	const uint8_t first = len ? *(const uint8_t *)buf : 0;
	struct swi_be_ep *ep = l->ep;
	struct swi_rd r = swi_rd_init(buf, len);
	int rc = 0;

	if (ep && (ep->down || ep->closing))
		return;
	if (swi_paths_is_ours(first) && (l->state == LEG_STRANGER || ep->paired)) {
		rc = on_ours(l, &r);
	} else if (l->state == LEG_STRANGER) {
		ep = swi_paths_adopt(l);
		if (!ep)
			rc = -ENOMEM;
		else if (!ep->closing)
			ep->be->args.events->recv(ep->be->args.ctx, ep, buf, len);
	} else if (ep->rx_numbered || l->state != LEG_UP) {
		rc = SWARM_EPROTO;
	} else {
		ep->be->args.events->recv(ep->be->args.ctx, ep, buf, len);
	}
	if (!rc)
		return;
	ep = l->ep;
	if (ep && l->state == LEG_UP)
		swi_paths_ep_fail(ep, rc);
	else
		swi_paths_leg_fail(l, rc);
}
