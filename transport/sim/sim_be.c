/* SPDX-License-Identifier: Apache-2.0 */
/* sim_be.c - the simulated card: one backend of a struct swi_simnet. See sim.h for lifetimes. */
#include "transport/sim/sim.h"

static void cancel_reads(struct swi_be_ep *ep, bool tell)
{
	while (!swi_list_empty(&ep->reads)) {
		struct sim_read *r = swi_list_entry(ep->reads.next, struct sim_read, link);

		swi_list_del(&r->link);
		if (tell) { /* a new event reports it; the old one carries an empty READ to its end
			     */
			struct sim_event *ev = swi_sim_event(SIM_READ_DONE, NULL, ep, 0);

			ev->read = calloc(1, sizeof(*ev->read));
			SWI_BUG_ON(!ev->read);
			swi_list_init(&ev->read->link);
			ev->read->rd = r->rd;
			ev->status = SWARM_EPEERLOST;
			swi_list_push_back(&ep->be->inbox, &ev->link);
		}
		r->rd = NULL;
		if (r->orphan)
			free(r);
	}
}

static void sim_close(struct swi_be *be)
{
	if (!be)
		return;
	swi_list_for_each_safe (it, &be->eps) {
		struct swi_be_ep *ep = swi_list_entry(it, struct swi_be_ep, link);

		cancel_reads(ep, false);
		if (!ep->closing)
			swi_sim_fin(ep);
		swi_list_del(&ep->link);
		ep->be = NULL;
		swi_sim_ep_forget_peer(ep);
		swi_sim_ep_unref(ep);
	}
	swi_list_for_each_safe (it, &be->inbox) {
		struct sim_event *ev = swi_list_entry(it, struct sim_event, link);

		swi_list_del(it);
		if (ev->read)
			ev->read->rd = NULL;
		swi_sim_event_free(ev);
	}
	swi_list_for_each_safe (it, &be->mrs)
		free(swi_list_entry(it, struct sim_mr, link));
	swi_sim_leave(be);
	free(be);
}

static int sim_open(const struct swi_be_open_args *args, struct swi_be **out_be, char *why,
		    size_t why_len)
{
	struct swi_be *be;

	if (!args->param) {
		snprintf(why, why_len, "the simulator's transport needs a simulated network");
		return SWARM_ENOTRANSPORT;
	}
	be = calloc(1, sizeof(*be));
	if (!be)
		return -ENOMEM;
	be->net = args->param;
	be->args = *args;
	swi_list_init(&be->link);
	swi_list_init(&be->inbox);
	swi_list_init(&be->eps);
	swi_list_init(&be->mrs);
	const int rc = swi_sim_join(be->net, be, args->bind);

	if (rc) {
		snprintf(why, why_len, "cannot listen on %s: %s", args->bind, swarm_strerror(rc));
		free(be);
		return rc;
	}
	*out_be = be;
	return 0;
}

static const char *sim_address(struct swi_be *be)
{
	return be->listens ? be->name : "";
}

static const char *sim_device(struct swi_be *be SWI_UNUSED)
{
	return "virtual";
}

static uint64_t sim_max_read(struct swi_be *be)
{
	return swi_sim_opts(be->net)->max_read;
}

static uint64_t sim_max_mr(struct swi_be *be)
{
	return swi_sim_opts(be->net)->max_mr;
}

static int sim_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr)
{
	struct sim_mr *mr = calloc(1, sizeof(*mr));

	if (!mr)
		return -ENOMEM;
	SWI_BUG_ON(mem->len > sim_max_mr(be));
	mr->rkey = swi_sim_rand(be->net);
	mr->base = swi_sim_rand(be->net) >> 16 << 12;
	mr->addr = mem->addr;
	mr->len = mem->len;
	mr->remote_read = mem->remote_read;
	swi_list_push_back(&be->mrs, &mr->link);
	*out_mr = (struct swi_be_mr){
	    .addr = mem->addr, .len = mem->len, .base = mr->base, .rkey = mr->rkey, .handle = mr};
	return 0;
}

static void sim_mr_dereg(struct swi_be *be SWI_UNUSED, struct swi_be_mr *mr)
{
	struct sim_mr *m = mr->handle;

	if (m) {
		swi_list_del(&m->link);
		free(m);
	}
	memset(mr, 0, sizeof(*mr));
}

static int sim_connect(struct swi_be *be, const char *addr, void *owner, struct swi_be_ep **out_ep)
{
	if (!swi_sim_addr_ok(addr))
		return -EINVAL;
	if (be->dead)
		return SWARM_EPEERLOST;
	struct swi_be_ep *ep = swi_sim_ep_new(be);

	if (!ep)
		return -ENOMEM;
	ep->owner = owner;
	struct sim_event *ev = swi_sim_event(SIM_CONN_REQ, ep, NULL, 0);

	snprintf(ev->addr, sizeof(ev->addr), "%s", addr);
	swi_sim_transmit(be, ev, 64);
	*out_ep = ep;
	return 0;
}

static void sim_set_owner(struct swi_be_ep *ep, void *owner)
{
	ep->owner = owner;
}

static void *sim_owner(struct swi_be_ep *ep)
{
	return ep->owner;
}

static bool usable(const struct swi_be_ep *ep)
{
	return ep->up && !ep->broken && !ep->closing && !ep->be->dead && ep->peer;
}

static int sim_grant(struct swi_be_ep *ep)
{
	if (!usable(ep))
		return SWARM_EPEERLOST;
	ep->granted = true;
	return 0;
}

static void sim_revoke(struct swi_be_ep *ep)
{
	ep->granted = false;
}

static int sim_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b,
		    uint32_t blen)
{
	if ((uint64_t)alen + blen > SWI_BE_MSG_MAX)
		return -EMSGSIZE;
	if (!usable(ep))
		return SWARM_EPEERLOST;
	if (ep->sends >= SWI_BE_SEND_DEPTH) {
		ep->full = true;
		return -EAGAIN;
	}
	struct sim_event *ev = swi_sim_event(SIM_MSG, ep, ep->peer, alen + blen);

	if (alen)
		memcpy(ev->data, a, alen);
	if (blen)
		memcpy(ev->data + alen, b, blen);
	ep->sends++;
	swi_sim_transmit(ep->be, ev, alen + blen);
	return 0;
}

static int sim_read(struct swi_be_ep *ep, struct swi_be_read *rd)
{
	if (!usable(ep))
		return SWARM_EPEERLOST;
	SWI_BUG_ON(rd->len > sim_max_read(ep->be));
	SWI_BUG_ON((uint8_t *)rd->local < (uint8_t *)rd->mr->addr ||
		   (uint64_t)((uint8_t *)rd->local - (uint8_t *)rd->mr->addr) + rd->len >
		       rd->mr->len);
	struct sim_read *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	struct sim_event *ev = swi_sim_event(SIM_READ_FIRST, ep, ep->peer, 0);

	r->rd = rd;
	swi_list_push_back(&ep->reads, &r->link);
	ev->read = r;
	swi_sim_transmit(ep->be, ev, 32);
	return 0;
}

static void sim_ep_close(struct swi_be_ep *ep)
{
	if (ep->closing)
		return;
	swi_sim_fin(ep);
	cancel_reads(ep, true);
	ep->closing = true;
	swi_list_push_back(&ep->be->inbox, &swi_sim_event(SIM_CLOSED, NULL, ep, 0)->link);
}

static void closed(struct swi_be *be, struct swi_be_ep *ep)
{
	be->args.events->closed(be->args.ctx, ep);
	swi_list_del(&ep->link);
	ep->be = NULL;
	swi_sim_ep_forget_peer(ep);
	swi_sim_ep_unref(ep);
}

static void hand_out(struct swi_be *be, struct sim_event *ev)
{
	const struct swi_be_events *e = be->args.events;
	struct swi_be_ep *ep = ev->dst;

	if (ev->kind == SIM_READ_DONE) {
		struct swi_be_read *rd = ev->read->rd;

		ev->read->rd = NULL;
		e->read_done(be->args.ctx, ep, rd, ev->status);
		return;
	}
	if (ev->kind == SIM_CLOSED) {
		closed(be, ep);
		return;
	}
	if (ev->kind == SIM_MSG)
		ep->undelivered--;
	if (ep->closing)
		return;
	if (ev->kind == SIM_ACCEPTED)
		e->accepted(be->args.ctx, ep);
	else if (ev->kind == SIM_CONN_ACK)
		e->connected(be->args.ctx, ep);
	else if (ev->kind == SIM_MSG)
		e->recv(be->args.ctx, ep, ev->data, ev->len);
	else if (ev->kind == SIM_FIN)
		e->down(be->args.ctx, ep, ev->status);
}

static int sim_progress(struct swi_be *be, unsigned int budget)
{
	unsigned int n = 0;

	for (; n < budget && !be->dead && !swi_list_empty(&be->inbox); n++) {
		struct sim_event *ev = swi_list_entry(be->inbox.next, struct sim_event, link);

		swi_list_del(&ev->link);
		hand_out(be, ev);
		swi_sim_event_free(ev);
	}
	return (int)n;
}

static int sim_fd(struct swi_be *be SWI_UNUSED)
{
	return -1;
}

static bool sim_arm(struct swi_be *be)
{
	return be->dead || swi_list_empty(&be->inbox);
}

extern const struct swi_be_ops swi_sim_ops;
const struct swi_be_ops swi_sim_ops = {
    .size = sizeof(struct swi_be_ops),
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .address = sim_address,
    .device = sim_device,
    .max_read = sim_max_read,
    .max_mr = sim_max_mr,
    .mr_reg = sim_mr_reg,
    .mr_dereg = sim_mr_dereg,
    .connect = sim_connect,
    .set_owner = sim_set_owner,
    .owner = sim_owner,
    .grant = sim_grant,
    .revoke = sim_revoke,
    .send = sim_send,
    .read = sim_read,
    .ep_close = sim_ep_close,
    .progress = sim_progress,
    .fd = sim_fd,
    .arm = sim_arm,
};
