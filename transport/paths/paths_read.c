/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths_read.c - READs: each goes whole over the leg with the fewest bytes under way; what a failed leg
 * gives back goes over another one.
 *
 * So much is with a leg at a time and no more (PATHS_READS, PATHS_READ_BYTES); the rest waits here, so a
 * slow path takes the smaller share, and a failed one holds up little. Owner thread only.
 */
#include "transport/paths/paths.h"

static struct paths_read *read_get(struct swi_be *be)
{
	struct paths_read *r = be->free_reads;

	if (r)
		be->free_reads = r->next_free;
	else
		r = malloc(sizeof(*r));
	return r;
}

static void read_put(struct swi_be *be, struct paths_read *r)
{
	r->next_free = be->free_reads;
	be->free_reads = r;
}

static struct leg *pick(const struct swi_be_ep *ep, uint32_t len)
{
	struct leg *best = NULL;

	for (uint32_t i = 0; i < ep->be->count; i++) {
		struct leg *l = ep->at[i];

		if (!l || l->state != LEG_UP || l->doom || l->reads >= PATHS_READS ||
		    (l->reads && l->read_bytes + len > PATHS_READ_BYTES))
			continue;
		if (!best || l->read_bytes < best->read_bytes)
			best = l;
	}
	return best;
}

static int key_order(const void *a, const void *b)
{
	const struct swi_paths_key *x = a, *y = b;

	return (x->name > y->name) - (x->name < y->name);
}

/* A name that the peer did not offer here: let its card say so, as with any other wrong key. */
static void translate(const struct leg *l, struct swi_be_read *rd)
{
	const struct swi_paths_key want = {.name = rd->rkey}, *k;

	if (!l->keys)
		return;
	k = bsearch(&want, l->keys, l->key_count, sizeof(want), key_order);
	if (!k)
		return;
	rd->remote_addr = rd->remote_addr - k->name_base + k->base;
	rd->rkey = k->rkey;
}

static int post(struct leg *l, struct paths_read *r)
{
	const struct swi_be_read *u = r->user;
	const struct paths_mr *m = u->mr->handle;
	int rc;

	r->leg = l;
	r->inner = (struct swi_be_read){.local = u->local,
					.mr = &m->at[l->path->index],
					.remote_addr = u->remote_addr,
					.rkey = u->rkey,
					.len = u->len};
	translate(l, &r->inner);
	rc = l->path->be->ops->read(l->inner, &r->inner);
	if (rc)
		return rc;
	swi_list_del(&r->link);
	swi_list_push_back(&l->posted, &r->link);
	l->reads++;
	l->read_bytes += u->len;
	l->path->info.reads++;
	return 0;
}

int swi_paths_read(struct swi_be_ep *ep, struct swi_be_read *rd)
{
	struct swi_be *be = ep->be;
	struct paths_read *r;
	struct leg *l;
	int rc = -EAGAIN;

	if (!ep->up || ep->down || ep->closing)
		return SWARM_EPEERLOST;
	r = read_get(be);
	if (!r)
		return -ENOMEM;
	*r = (struct paths_read){.user = rd, .ep = ep};
	swi_list_init(&r->link);
	l = swi_list_empty(&ep->waiting) ? pick(ep, rd->len) : NULL;
	if (l)
		rc = post(l, r);
	if (rc == SWARM_EPEERLOST) { /* it has failed and we shall be told */
		swi_paths_doom(l, rc);
		rc = -EAGAIN;
	}
	if (rc == -EAGAIN) {
		swi_list_push_back(&ep->waiting, &r->link);
		swi_paths_busy(ep);
		rc = 0;
	}
	if (rc)
		read_put(be, r);
	return rc;
}

static void over(struct paths_read *r, int status)
{
	struct swi_be_ep *ep = r->ep;
	struct swi_be *be = ep->be;
	struct swi_be_read *user = r->user;

	read_put(be, r);
	be->args.events->read_done(be->args.ctx, ep, user, status);
}

void swi_paths_pump_reads(struct swi_be_ep *ep)
{
	while (!ep->down && !ep->closing && !swi_list_empty(&ep->waiting)) {
		struct paths_read *r = swi_list_first(&ep->waiting, struct paths_read, link);
		struct leg *l = pick(ep, r->user->len);
		const int rc = l ? post(l, r) : -EAGAIN;

		if (rc == SWARM_EPEERLOST) {
			swi_paths_doom(l, rc);
			continue;
		}
		if (rc == -EAGAIN) {
			if (l) /* else a READ that ends makes it go on */
				swi_paths_busy(ep);
			return;
		}
		if (rc) {
			swi_list_del(&r->link);
			over(r, rc);
		}
	}
}

void swi_paths_read_done(struct path *p, struct swi_be_read *inner, int status)
{
	struct paths_read *r = swi_container_of(inner, struct paths_read, inner);
	struct swi_be_ep *ep = r->ep;
	struct leg *l = r->leg;

	SWI_BUG_ON(!l->reads);
	swi_list_del(&r->link);
	l->reads--;
	l->read_bytes -= r->user->len;
	if (!status) {
		l->heard_ns = p->be->now;
		l->probed_ns = l->suspect_ns = 0;
		p->info.read_bytes += r->user->len;
	}
	if (!swi_list_empty(&ep->waiting) && !ep->closing)
		swi_paths_busy(ep);
	if (status == SWARM_EREMOTEACCESS)
		swi_paths_doom(l, status); /* no card goes on after that */
	/* A leg that has failed gives back what it had. Who refuses it twice, over two paths, means it. */
	if (status && (l->doom || l->state == LEG_ENDING) && !ep->closing && !ep->down &&
	    !(status == SWARM_EREMOTEACCESS && r->refused)) {
		r->refused = status == SWARM_EREMOTEACCESS;
		p->info.reposted++;
		swi_list_push_front(&ep->waiting, &r->link);
		swi_paths_busy(ep);
		return;
	}
	over(r, status);
}

void swi_paths_cancel_reads(struct swi_be_ep *ep)
{
	while (!swi_list_empty(&ep->waiting)) {
		struct paths_read *r = swi_list_first(&ep->waiting, struct paths_read, link);

		swi_list_del(&r->link);
		over(r, SWARM_EPEERLOST);
	}
}

void swi_paths_drop_reads(struct swi_be *be, struct swi_list *reads)
{
	while (!swi_list_empty(reads)) {
		struct paths_read *r = swi_list_first(reads, struct paths_read, link);

		swi_list_del(&r->link);
		read_put(be, r);
	}
}
