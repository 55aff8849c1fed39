/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - see fault.h. Every endpoint of the inner backend has one of ours as its owner; READs
 * pass through unwrapped, and completions that are held back wait in be->held. Invariant: what is
 * held of an endpoint is reported before its closed().
 */
#include "transport/fault/fault.h"

struct swi_be {
	struct swi_be_open_args args;
	const struct swi_be_ops *inner;
	struct swi_be *be;
	struct swi_fault_plan *plan;
	uint64_t rng;
	struct swi_list eps;
	struct swi_list held;
	bool again; /* an -EAGAIN of ours: nothing but the next progress() ends it */
	bool cuts;  /* some endpoint waits for its down() */
};

struct swi_be_ep {
	struct swi_be *be;
	struct swi_be_ep *ep; /* the inner one */
	struct swi_list link;
	void *owner;
	int cut;   /* down() with this in the next progress() */
	bool down; /* down() was reported or ep_close() was called */
};

struct held {
	struct swi_list link;
	struct swi_be_ep *ep;
	struct swi_be_read *rd;
	int status;
	uint32_t calls; /* of progress() to wait */
};

/* The rule that fires at this operation, among those of @kinds (a mask of kinds), or NULL. */
static struct swi_fault_rule *fires(struct swi_be *be, uint32_t op, uint32_t kinds)
{
	for (uint32_t i = 0; i < SWI_FAULT_RULES_MAX; i++) {
		struct swi_fault_rule *r = &be->plan->rules[i];

		if (r->kind == SWI_FAULT_NONE || !(1u << r->kind & kinds) || !(r->ops & op))
			continue;
		r->seen++;
		if (r->max && r->fired >= r->max)
			continue;
		if (r->nth ? r->seen != r->nth : swi_splitmix64(&be->rng) % 1000 >= r->permille)
			continue;
		r->fired++;
		return r;
	}
	return NULL;
}

static struct swi_be_ep *ep_new(struct swi_be *be, struct swi_be_ep *inner, void *owner)
{
	struct swi_be_ep *ep = calloc(1, sizeof(*ep));

	if (!ep)
		return NULL;
	ep->be = be;
	ep->ep = inner;
	ep->owner = owner;
	swi_list_push_back(&be->eps, &ep->link);
	return ep;
}

static void ep_free(struct swi_be_ep *ep)
{
	swi_list_del(&ep->link);
	free(ep);
}

/* --- the inner backend's events --- */

static void on_accepted(void *ctx, struct swi_be_ep *inner)
{
	struct swi_be *be = ctx;
	struct swi_be_ep *ep = ep_new(be, inner, NULL);

	be->inner->set_owner(inner, ep);
	if (ep)
		be->args.events->accepted(be->args.ctx, ep);
	else
		be->inner->ep_close(inner);
}

static void on_connected(void *ctx, struct swi_be_ep *inner)
{
	struct swi_be *be = ctx;

	be->args.events->connected(be->args.ctx, be->inner->owner(inner));
}

static void on_recv(void *ctx, struct swi_be_ep *inner, const void *buf, uint32_t len)
{
	struct swi_be *be = ctx;
	struct swi_be_ep *ep = be->inner->owner(inner);

	if (!ep->cut)
		be->args.events->recv(be->args.ctx, ep, buf, len);
}

static void report(struct held *h)
{
	const struct held copy = *h;
	struct swi_be *be = h->ep->be;

	swi_list_del(&h->link);
	free(h);
	be->args.events->read_done(be->args.ctx, copy.ep, copy.rd, copy.status);
}

static void on_read_done(void *ctx, struct swi_be_ep *inner, struct swi_be_read *rd, int status)
{
	struct swi_be *be = ctx;
	struct swi_be_ep *ep = be->inner->owner(inner);
	struct swi_fault_rule *r = NULL;
	struct held *h = NULL;

	if (!status)
		r = fires(be, SWI_FAULT_READ,
			  1u << SWI_FAULT_FAIL_DONE | 1u << SWI_FAULT_DELAY |
			      1u << SWI_FAULT_REORDER);
	if (r && r->kind == SWI_FAULT_FAIL_DONE)
		status = r->code;
	else if (r)
		h = malloc(sizeof(*h));
	if (!h) {
		be->args.events->read_done(be->args.ctx, ep, rd, status);
		return;
	}
	*h = (struct held){.ep = ep, .rd = rd, .status = status, .calls = r->delay};
	struct swi_list *at = &be->held;

	if (r->kind == SWI_FAULT_REORDER && swi_splitmix64(&be->rng) & 1)
		at = be->held.next; /* before what came before it */
	swi_list_insert(at, &h->link);
}

static void on_down(void *ctx, struct swi_be_ep *inner, int status)
{
	struct swi_be *be = ctx;
	struct swi_be_ep *ep = be->inner->owner(inner);

	if (ep->down)
		return;
	ep->down = true;
	be->args.events->down(be->args.ctx, ep, status);
}

static void on_closed(void *ctx, struct swi_be_ep *inner)
{
	struct swi_be *be = ctx;
	struct swi_be_ep *ep = be->inner->owner(inner);

	if (!ep)
		return;
	swi_list_for_each_safe (it, &be->held) {
		struct held *h = swi_list_entry(it, struct held, link);

		if (h->ep == ep)
			report(h);
	}
	be->args.events->closed(be->args.ctx, ep);
	ep_free(ep);
}

static const struct swi_be_events inner_events = {
    .accepted = on_accepted,
    .connected = on_connected,
    .recv = on_recv,
    .read_done = on_read_done,
    .down = on_down,
    .closed = on_closed,
};

/* --- the table --- */

static void fault_close(struct swi_be *be)
{
	if (!be)
		return;
	be->inner->close(be->be);
	swi_list_for_each_safe (it, &be->held)
		free(swi_list_entry(it, struct held, link));
	swi_list_for_each_safe (it, &be->eps)
		free(swi_list_entry(it, struct swi_be_ep, link));
	free(be);
}

static int fault_open(const struct swi_be_open_args *args, struct swi_be **out_be, char *why,
		      size_t why_len)
{
	struct swi_fault_plan *plan = args->param;
	struct swi_be *be;

	if (!plan || !plan->inner) {
		snprintf(why, why_len,
			 "the faulty transport needs a plan and a transport to decorate");
		return SWARM_ENOTRANSPORT;
	}
	be = calloc(1, sizeof(*be));
	if (!be)
		return -ENOMEM;
	be->args = *args;
	be->plan = plan;
	be->inner = plan->inner;
	be->rng = plan->seed;
	swi_list_init(&be->eps);
	swi_list_init(&be->held);
	struct swi_be_open_args inner = *args;

	inner.events = &inner_events;
	inner.ctx = be;
	inner.param = plan->inner_param;
	const int rc = be->inner->open(&inner, &be->be, why, why_len);

	if (rc) {
		free(be);
		return rc;
	}
	*out_be = be;
	return 0;
}

static const char *fault_address(struct swi_be *be)
{
	return be->inner->address(be->be);
}

static const char *fault_device(struct swi_be *be)
{
	return be->inner->device(be->be);
}

static uint64_t fault_max_read(struct swi_be *be)
{
	return be->inner->max_read(be->be);
}

static uint64_t fault_max_mr(struct swi_be *be)
{
	return be->inner->max_mr(be->be);
}

static int fault_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr)
{
	return be->inner->mr_reg(be->be, mem, out_mr);
}

static void fault_mr_dereg(struct swi_be *be, struct swi_be_mr *mr)
{
	be->inner->mr_dereg(be->be, mr);
}

static int fault_connect(struct swi_be *be, const char *addr, void *owner,
			 struct swi_be_ep **out_ep)
{
	struct swi_be_ep *ep = ep_new(be, NULL, owner);
	int rc;

	if (!ep)
		return -ENOMEM;
	rc = be->inner->connect(be->be, addr, ep, &ep->ep);
	if (rc) {
		ep_free(ep);
		return rc;
	}
	*out_ep = ep;
	return 0;
}

static void fault_set_owner(struct swi_be_ep *ep, void *owner)
{
	ep->owner = owner;
}

static void *fault_owner(struct swi_be_ep *ep)
{
	return ep->owner;
}

static int fault_grant(struct swi_be_ep *ep)
{
	return ep->cut ? SWARM_EPEERLOST : ep->be->inner->grant(ep->ep);
}

static uint64_t fault_rkey(struct swi_be_ep *ep, const struct swi_be_mr *mr)
{
	const struct swi_be_ops *inner = ep->be->inner;

	return inner->rkey ? inner->rkey(ep->ep, mr) : mr->rkey;
}

static void fault_revoke(struct swi_be_ep *ep)
{
	ep->be->inner->revoke(ep->ep);
}

/* What the plan does to an operation before it happens. 0: nothing. */
static int before_op(struct swi_be_ep *ep, uint32_t op)
{
	struct swi_be *be = ep->be;

	if (ep->cut || ep->down)
		return SWARM_EPEERLOST;
	struct swi_fault_rule *r = fires(be, op, 1u << SWI_FAULT_FAIL | 1u << SWI_FAULT_CUT);

	if (!r)
		return 0;
	if (r->kind == SWI_FAULT_FAIL) {
		be->again = be->again || r->code == -EAGAIN;
		return r->code;
	}
	ep->cut = r->code ? r->code : SWARM_EPEERLOST;
	be->cuts = true;
	return SWARM_EPEERLOST;
}

static int fault_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b,
		      uint32_t blen)
{
	const int rc = before_op(ep, SWI_FAULT_SEND);

	return rc ? rc : ep->be->inner->send(ep->ep, a, alen, b, blen);
}

static int fault_read(struct swi_be_ep *ep, struct swi_be_read *rd)
{
	const int rc = before_op(ep, SWI_FAULT_READ);

	return rc ? rc : ep->be->inner->read(ep->ep, rd);
}

static void fault_ep_close(struct swi_be_ep *ep)
{
	ep->down = true;
	ep->be->inner->ep_close(ep->ep);
}

static int fault_progress(struct swi_be *be, unsigned int budget)
{
	int n = 0;

	be->again = false;
	if (be->cuts) {
		be->cuts = false;
		swi_list_for_each_safe (it, &be->eps) {
			struct swi_be_ep *ep = swi_list_entry(it, struct swi_be_ep, link);

			if (!ep->cut || ep->down)
				continue;
			ep->down = true;
			be->args.events->down(be->args.ctx, ep, ep->cut);
			n++;
		}
	}
	struct swi_list due;

	swi_list_init(&due);
	swi_list_splice(&due, &be->held);
	while (!swi_list_empty(&due)) {
		struct held *h = swi_list_entry(due.next, struct held, link);

		swi_list_del(&h->link);
		if (h->calls) {
			h->calls--;
			swi_list_push_back(&be->held, &h->link);
			continue;
		}
		report(h);
		n++;
	}
	const int rc = be->inner->progress(be->be, budget);

	return rc < 0 ? rc : rc + n;
}

static int fault_fd(struct swi_be *be)
{
	return be->inner->fd(be->be);
}

static bool fault_arm(struct swi_be *be)
{
	return !be->again && !be->cuts && swi_list_empty(&be->held) && be->inner->arm(be->be);
}

extern const struct swi_be_ops swi_fault_ops;
const struct swi_be_ops swi_fault_ops = {
    .size = sizeof(struct swi_be_ops),
    .name = "fault",
    .open = fault_open,
    .close = fault_close,
    .address = fault_address,
    .device = fault_device,
    .max_read = fault_max_read,
    .max_mr = fault_max_mr,
    .mr_reg = fault_mr_reg,
    .mr_dereg = fault_mr_dereg,
    .connect = fault_connect,
    .set_owner = fault_set_owner,
    .owner = fault_owner,
    .grant = fault_grant,
    .revoke = fault_revoke,
    .rkey = fault_rkey,
    .send = fault_send,
    .read = fault_read,
    .ep_close = fault_ep_close,
    .progress = fault_progress,
    .fd = fault_fd,
    .arm = fault_arm,
};
