/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ofi_msg.c - messages. What fits is injected (the provider copies, no completion follows); the
 * rest goes out of a pooled buffer that comes back with its completion.
 */
#include "transport/ofi/ofi.h"

static int post_recv(struct swi_be_ep *ep, struct ofi_recv *r)
{
	r->op = (struct ofi_op){.kind = OFI_RECV, .ep = ep};
	return (int)fi_recv(ep->fid, r->buf, sizeof(r->buf), NULL, 0, &r->op);
}

int swi_ofi_post_recvs(struct swi_be_ep *ep)
{
	ep->recvs = malloc(OFI_RECVS * sizeof(*ep->recvs));
	if (!ep->recvs)
		return -FI_ENOMEM;
	for (uint32_t i = 0; i < OFI_RECVS; i++) {
		const int rc = post_recv(ep, &ep->recvs[i]);

		if (rc)
			return rc;
	}
	return 0;
}

/* Given back also when nobody wants what comes: who has none posted reads no further, and never tells that its socket has ended. */
static void give_back(struct swi_be_ep *ep, struct ofi_recv *r)
{
	const int rc = ep->fid && !ep->ended ? post_recv(ep, r) : 0;

	if (rc && !ep->closing && !ep->down)
		swi_ofi_ep_down(ep, swi_ofi_err(rc));
}

void swi_ofi_on_recv(struct ofi_recv *r, uint32_t len)
{
	struct swi_be_ep *ep = r->op.ep;

	if (!ep->closing && !ep->down && !ep->up)
		swi_ofi_ep_up(ep);
	if (!ep->closing && !ep->down)
		ep->be->args.events->recv(ep->be->args.ctx, ep, r->buf, len);
	give_back(ep, r);
}

void swi_ofi_on_send(struct ofi_send *s)
{
	struct swi_be_ep *ep = s->op.ep;

	ep->sends--;
	s->next = ep->be->free_sends;
	ep->be->free_sends = s;
}

static struct ofi_send *get_send(struct swi_be *be)
{
	struct ofi_send *s = be->free_sends;

	if (!s)
		return malloc(sizeof(*s));
	be->free_sends = s->next;
	return s;
}

int swi_ofi_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b, uint32_t blen)
{
	const size_t len = (size_t)alen + blen;
	uint8_t small[256];
	ssize_t rc;

	if (len > SWI_BE_MSG_MAX)
		return -EMSGSIZE;
	if (ep->down || ep->closing || !ep->up)
		return SWARM_EPEERLOST;
	const bool inject = len <= ep->be->inject_max && len <= sizeof(small);

	if (ep->sends >= SWI_BE_SEND_DEPTH)
		return -EAGAIN;
	struct ofi_send *s = inject ? NULL : get_send(ep->be);
	uint8_t *to = inject ? small : s ? s->buf : NULL;

	if (!to)
		return -ENOMEM;
	if (alen)
		memcpy(to, a, alen);
	if (blen)
		memcpy(to + alen, b, blen);
	if (inject) {
		rc = fi_inject(ep->fid, to, len, 0);
		return swi_ofi_err(rc);
	}
	s->op = (struct ofi_op){.kind = OFI_SEND, .ep = ep};
	rc = fi_send(ep->fid, to, len, NULL, 0, &s->op);
	if (rc) {
		s->next = ep->be->free_sends;
		ep->be->free_sends = s;
		return swi_ofi_err(rc);
	}
	ep->sends++;
	return 0;
}
