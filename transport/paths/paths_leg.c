/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths_leg.c - endpoints and their legs: how they come up, fail and end (paths.h).
 *
 * A leg belongs to ep->legs from its beginning until the instance says closed(); ep->at[] names only those
 * that are being made or up. An endpoint ends when its last leg has. Owner thread only.
 */
#include <sodium.h>

#include "transport/paths/paths.h"

static struct leg *leg_new(struct path *p, struct swi_be_ep *ep, struct swi_be_ep *inner,
			   enum leg_state state)
{
	struct leg *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->path = p;
	l->ep = ep;
	l->inner = inner;
	l->state = state;
	l->heard_ns = p->be->now;
	swi_list_init(&l->posted);
	swi_list_push_back(ep ? &ep->legs : &p->be->strangers, &l->link);
	p->be->next_tick = swi_min_u64(p->be->next_tick, p->be->now + PATHS_TICK_NS);
	return l;
}

void swi_paths_leg_free(struct leg *l)
{
	swi_list_del(&l->link);
	free(l->keys);
	free(l);
}

static struct swi_be_ep *ep_new(struct swi_be *be, bool inbound, void *owner)
{
	struct swi_be_ep *ep = calloc(1, sizeof(*ep));

	if (!ep)
		return NULL;
	ep->be = be;
	ep->inbound = inbound;
	ep->owner = owner;
	swi_list_init(&ep->busy_link);
	swi_list_init(&ep->legs);
	swi_list_init(&ep->waiting);
	swi_list_push_back(&be->eps, &ep->link);
	return ep;
}

void swi_paths_ep_free(struct swi_be_ep *ep)
{
	swi_list_del(&ep->link);
	swi_list_del(&ep->busy_link);
	for (uint32_t i = 0; i < PATHS_RING; i++)
		free(ep->out[i]);
	free(ep->names);
	sodium_memzero(ep->secret, sizeof(ep->secret));
	free(ep);
}

void swi_paths_busy(struct swi_be_ep *ep)
{
	if (swi_list_empty(&ep->busy_link))
		swi_list_push_back(&ep->be->busy, &ep->busy_link);
}

uint32_t swi_paths_up(const struct swi_be_ep *ep)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < ep->be->count; i++)
		n += ep->at[i] && ep->at[i]->state == LEG_UP;
	return n;
}

static struct leg *first_up(const struct swi_be_ep *ep)
{
	for (uint32_t i = 0; i < ep->be->count; i++)
		if (ep->at[i] && ep->at[i]->state == LEG_UP)
			return ep->at[i];
	return NULL;
}

/* --- connecting --- */

int swi_paths_leg_connect(struct swi_be_ep *ep, struct path *p, const char *addr, struct leg **out_leg)
{
	struct leg *l;
	int rc;

	if (!p->inner || p->broken)
		return SWARM_ENOTRANSPORT;
	l = leg_new(p, ep, NULL, LEG_CONNECTING);
	if (!l)
		return -ENOMEM;
	rc = p->be->ops->connect(p->inner, addr, l, &l->inner);
	if (rc) {
		swi_paths_leg_free(l);
		return rc;
	}
	ep->at[p->index] = l;
	*out_leg = l;
	return 0;
}

/* "a,b" becomes two addresses. */
static int split(struct swi_be_ep *ep, const char *addr)
{
	while (ep->peer_count < SWI_PATHS_MAX) {
		const size_t n = strcspn(addr, ",");

		if (!n || n >= SWI_PATHS_ADDR)
			return -EINVAL;
		snprintf(ep->peer[ep->peer_count++], SWI_PATHS_ADDR, "%.*s", (int)n, addr);
		if (!addr[n])
			return 0;
		addr += n + 1;
	}
	return -EINVAL;
}

/* The next pair of a path and an address. Like goes with like first: cards of one wire are listed alike. */
static int try_next(struct swi_be_ep *ep)
{
	struct swi_be *be = ep->be;
	const uint32_t all = be->count * ep->peer_count;
	int rc = SWARM_EPEERLOST;

	while (ep->tries < all) {
		const uint32_t t = ep->tries++, path = t % be->count;
		struct leg *l;

		rc = swi_paths_leg_connect(ep, &be->paths[path],
					   ep->peer[(path + t / be->count) % ep->peer_count], &l);
		if (rc)
			continue;
		l->deadline_ns = ep->tries < all ? be->now + PATHS_TRY_NS : UINT64_MAX;
		return 0;
	}
	return rc;
}

int swi_paths_connect(struct swi_be *be, const char *addr, void *owner, struct swi_be_ep **out_ep)
{
	struct swi_be_ep *ep = ep_new(be, false, owner);
	int rc;

	if (!ep)
		return -ENOMEM;
	be->now = swi_now(be->args.env);
	rc = split(ep, addr);
	if (!rc)
		rc = try_next(ep);
	if (rc) {
		swi_paths_ep_free(ep);
		return rc;
	}
	*out_ep = ep;
	return 0;
}

/* --- ends --- */

static void leg_end(struct leg *l)
{
	struct swi_be_ep *ep = l->ep;

	if (l->state == LEG_STRANGER)
		l->path->be->stranger_count--;
	l->state = LEG_ENDING;
	l->path->be->ops->ep_close(l->inner);
	if (ep && ep->at[l->path->index] == l)
		ep->at[l->path->index] = NULL;
	if (ep && ep->main == l)
		ep->main = NULL;
}

void swi_paths_ep_fail(struct swi_be_ep *ep, int status)
{
	if (ep->down || ep->closing)
		return;
	ep->down = true;
	ep->be->args.events->down(ep->be->args.ctx, ep, status);
}

/* The first leg did not come up: another address, another card. */
static void first_failed(struct swi_be_ep *ep, int status)
{
	if (ep->up || try_next(ep))
		swi_paths_ep_fail(ep, status);
}

void swi_paths_leg_fail(struct leg *l, int status)
{
	struct swi_be_ep *ep = l->ep;
	const bool was_up = l->state == LEG_UP;
	struct leg *other;

	if (l->state == LEG_ENDING)
		return;
	leg_end(l);
	if (!ep || ep->closing || ep->down)
		return;
	other = first_up(ep);
	if (!other) {
		first_failed(ep, status);
		return;
	}
	if (!ep->main) { /* what is not acknowledged goes again; the peer drops what it has */
		ep->main = other;
		ep->sent = ep->acked;
		ep->owed = PATHS_ACK_AT; /* what was said of it may be lost as well */
	}
	if (was_up) {
		l->path->info.failures++;
		swi_warn(ep->be->args.log, "path %s failed (%s): on over %s", l->path->info.device,
			 swarm_errname(status), other->path->info.device);
	} else {
		swi_debug(ep->be->args.log, "path %s does not come up: %s", l->path->info.device,
			  swarm_errname(status));
	}
	swi_paths_retry_later(ep, l->path->index);
	swi_paths_busy(ep);
}

void swi_paths_doom(struct leg *l, int status)
{
	if (!l->doom)
		l->doom = status;
	l->path->be->doomed = true;
}

void swi_paths_ep_close(struct swi_be_ep *ep)
{
	if (ep->closing)
		return;
	ep->closing = true;
	swi_list_for_each_safe (it, &ep->legs) {
		struct leg *l = swi_list_entry(it, struct leg, link);

		if (l->state != LEG_ENDING)
			leg_end(l);
	}
	swi_list_del(&ep->busy_link);
	swi_list_del(&ep->link);
	swi_list_push_back(&ep->be->closing, &ep->link);
}

void swi_paths_reap(struct swi_be *be)
{
	swi_list_for_each_safe (it, &be->closing) {
		struct swi_be_ep *ep = swi_list_entry(it, struct swi_be_ep, link);

		if (!swi_list_empty(&ep->legs))
			continue;
		swi_paths_cancel_reads(ep);
		be->args.events->closed(be->args.ctx, ep);
		swi_paths_ep_free(ep);
	}
}

/* --- the instances' events --- */

static void on_accepted(void *ctx, struct swi_be_ep *inner)
{
	struct path *p = ctx;
	struct swi_be *be = p->be;
	struct leg *l = NULL;

	if (be->stranger_count < PATHS_STRANGERS)
		l = leg_new(p, NULL, inner, LEG_STRANGER);
	be->ops->set_owner(inner, l);
	if (!l) {
		be->ops->ep_close(inner);
		return;
	}
	be->stranger_count++;
	l->deadline_ns = be->now + PATHS_STRANGE_NS;
}

/* A stranger that begins a connection. */
struct swi_be_ep *swi_paths_adopt(struct leg *l)
{
	struct swi_be *be = l->path->be;
	struct swi_be_ep *ep = ep_new(be, true, NULL);

	if (!ep)
		return NULL;
	swi_paths_leg_join(l, ep);
	l->state = LEG_UP;
	ep->main = l;
	ep->up = true;
	be->args.events->accepted(be->args.ctx, ep);
	return ep;
}

/* A stranger is a leg of @ep from now on. */
void swi_paths_leg_join(struct leg *l, struct swi_be_ep *ep)
{
	struct swi_be *be = ep->be;

	be->stranger_count--;
	swi_list_del(&l->link);
	swi_list_push_back(&ep->legs, &l->link);
	l->ep = ep;
	l->state = LEG_JOINING;
	l->deadline_ns = be->now + PATHS_JOIN_NS;
	ep->at[l->path->index] = l;
}

static void on_connected(void *ctx, struct swi_be_ep *inner)
{
	struct path *p = ctx;
	struct swi_be *be = p->be;
	struct leg *l = be->ops->owner(inner);
	struct swi_be_ep *ep = l->ep;

	if (l->state != LEG_CONNECTING)
		return;
	l->heard_ns = be->now;
	if (ep->up) {
		l->state = LEG_JOINING;
		swi_paths_join_send(l);
		return;
	}
	l->state = LEG_UP;
	ep->main = l;
	ep->up = true;
	be->args.events->connected(be->args.ctx, ep);
}

static void on_recv(void *ctx, struct swi_be_ep *inner, const void *buf, uint32_t len)
{
	struct path *p = ctx;
	struct leg *l = p->be->ops->owner(inner);

	if (!l || l->state == LEG_ENDING)
		return;
	l->heard_ns = p->be->now;
	l->probed_ns = l->suspect_ns = 0;
	swi_paths_recv(l, buf, len);
}

static void on_read_done(void *ctx, struct swi_be_ep *inner SWI_UNUSED, struct swi_be_read *rd, int status)
{
	swi_paths_read_done(ctx, rd, status);
}

static void on_down(void *ctx, struct swi_be_ep *inner, int status)
{
	struct path *p = ctx;
	struct leg *l = p->be->ops->owner(inner);

	if (l)
		swi_paths_leg_fail(l, status);
	else
		p->be->ops->ep_close(inner);
}

static void on_closed(void *ctx, struct swi_be_ep *inner)
{
	struct path *p = ctx;
	struct leg *l = p->be->ops->owner(inner);

	if (!l)
		return;
	SWI_BUG_ON(l->reads);
	swi_paths_leg_free(l);
}

const struct swi_be_events swi_paths_events = {
    .accepted = on_accepted,
    .connected = on_connected,
    .recv = on_recv,
    .read_done = on_read_done,
    .down = on_down,
    .closed = on_closed,
};
