/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths_join.c - further legs of a connection, and the keys that they bring.
 *
 * The peers have proved the cluster key over the first leg; pair() gives both a secret that only they can
 * know. The acceptor tells where its paths listen (ADDRS). The connector connects to them and says on each
 * leg to which connection it belongs, with a proof that is good once (the attempt's number grows). The
 * acceptor opens its card for the leg only then, and answers with a proof and its keys; the connector
 * the same. So no key leaves, and no card serves, before the other side has proved itself on this very leg.
 *
 *	connector                          acceptor
 *	   JOIN {id, attempt, proof}  ->   grant
 *	grant                         <-   JOINED {keys, proof}
 *	   KEYS {keys, proof}         ->
 *
 * Owner thread only.
 */
#include "transport/paths/paths.h"

void swi_paths_pair(struct swi_be_ep *ep, const uint8_t secret[SWI_PATHS_SECRET])
{
	ep->paired = true;
	memcpy(ep->secret, secret, sizeof(ep->secret));
}

/* --- our memory, as the peer calls it --- */

static int take_names(struct swi_be_ep *ep)
{
	struct swi_be *be = ep->be;
	const struct leg *l = ep->main;
	uint32_t n = 0;

	swi_list_for_each (it, &be->mrs)
		n += swi_list_entry(it, struct paths_mr, link)->remote_read;
	ep->names = calloc(n + 1u, sizeof(*ep->names));
	if (!ep->names)
		return -ENOMEM;
	swi_list_for_each (it, &be->mrs) {
		struct paths_mr *m = swi_list_entry(it, struct paths_mr, link);
		const struct swi_be_mr *here = &m->at[l->path->index];

		if (!m->remote_read)
			continue;
		ep->names[ep->name_count++] = (struct paths_name){
		    .mr = m,
		    .base = here->base,
		    .rkey = be->ops->rkey ? be->ops->rkey(l->inner, here) : here->rkey};
	}
	return 0;
}

static void tell_addrs(struct swi_be_ep *ep)
{
	struct swi_be *be = ep->be;
	struct swi_paths_addrs m = {.id = ep->id, .here = (uint8_t)ep->main->path->index, .count = (uint8_t)be->count};
	uint8_t buf[16 + SWI_PATHS_MAX * (SWI_PATHS_ADDR + 4)];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	for (uint32_t i = 0; i < be->count; i++) {
		struct path *p = &be->paths[i];
		const char *at = p->inner ? be->ops->address(p->inner) : "";

		snprintf(m.addr[i], sizeof(m.addr[i]), "%s", strlen(at) < sizeof(m.addr[i]) ? at : "");
	}
	swi_paths_put_addrs(&w, &m);
	SWI_BUG_ON(!swi_wr_ok(&w));
	if (swi_paths_queue(ep, SWI_PATHS_ADDRS, buf, w.len, NULL, 0))
		swi_debug(be->args.log, "no memory to tell a peer of further paths");
}

int swi_paths_grant(struct swi_be_ep *ep)
{
	struct swi_be *be = ep->be;
	int rc;

	if (ep->granted)
		return 0;
	if (!ep->main || ep->down || ep->closing)
		return SWARM_EPEERLOST;
	rc = be->ops->grant(ep->main->inner);
	if (!rc)
		rc = take_names(ep);
	if (rc)
		return rc;
	ep->granted = true;
	if (ep->paired && ep->inbound) {
		ep->id = swi_rand(be->args.env);
		tell_addrs(ep);
	}
	return 0;
}

static const struct paths_name *name_of(const struct swi_be_ep *ep, const struct swi_be_mr *mr)
{
	static const struct paths_name none;

	for (uint32_t i = 0; i < ep->name_count; i++)
		if (ep->names[i].mr == mr->handle)
			return &ep->names[i];
	return &none;
}

uint64_t swi_paths_rkey(struct swi_be_ep *ep, const struct swi_be_mr *mr)
{
	return name_of(ep, mr)->rkey;
}

uint64_t swi_paths_base(struct swi_be_ep *ep, const struct swi_be_mr *mr)
{
	return name_of(ep, mr)->base;
}

/* --- keys --- */

static int send_keys(struct leg *l, uint8_t kind)
{
	struct swi_be_ep *ep = l->ep;
	const struct swi_be_ops *ops = ep->be->ops;
	struct swi_paths_key table[SWI_PATHS_KEYS_MAX];
	struct swi_paths_keys m = {.attempt = l->attempt, .keys = table};
	uint8_t buf[SWI_BE_MSG_MAX - SWI_PATHS_HDR], mac[SWI_PATHS_MAC];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	for (uint32_t i = 0; i < ep->name_count; i++) {
		const struct paths_name *n = &ep->names[i];

		if (!n->mr)
			continue;
		if (m.count == SWI_PATHS_KEYS_MAX)
			return -E2BIG;
		const struct swi_be_mr *here = &n->mr->at[l->path->index];

		table[m.count++] =
		    (struct swi_paths_key){.name = n->rkey,
					   .name_base = n->base,
					   .rkey = ops->rkey ? ops->rkey(l->inner, here) : here->rkey,
					   .base = here->base};
	}
	swi_paths_put_keys(&w, &m);
	swi_paths_mac(ep->secret, kind, ep->id, l->attempt, buf, w.len, mac);
	swi_wr_raw(&w, mac, sizeof(mac));
	SWI_BUG_ON(!swi_wr_ok(&w));
	return swi_paths_send_on(l, kind, buf, w.len);
}

static int by_name(const void *a, const void *b)
{
	const struct swi_paths_key *x = a, *y = b;

	return (x->name > y->name) - (x->name < y->name);
}

static void leg_up(struct leg *l, struct swi_paths_keys *m)
{
	struct swi_be_ep *ep = l->ep;

	qsort(m->keys, m->count, sizeof(*m->keys), by_name);
	l->keys = m->keys;
	l->key_count = m->count;
	l->state = LEG_UP;
	l->path->info.joined++;
	ep->retry[l->path->index] = (struct paths_retry){.turn = ep->retry[l->path->index].turn};
	swi_info(ep->be->args.log, "path %s is up as well", l->path->info.device);
	swi_paths_busy(ep);
}

int swi_paths_on_keys(struct leg *l, struct swi_rd *r, uint8_t kind)
{
	struct swi_be_ep *ep = l->ep;
	const uint8_t *body = r->buf + r->pos;
	const uint32_t len = r->len - r->pos;
	const bool mine = kind == SWI_PATHS_JOINED ? !ep->inbound : ep->inbound;
	uint8_t want[SWI_PATHS_MAC];
	struct swi_paths_keys m;
	int rc;

	if (l->state != LEG_JOINING || !mine)
		return SWARM_EPROTO;
	rc = swi_paths_get_keys(r, &m);
	if (rc)
		return rc;
	swi_paths_mac(ep->secret, kind, ep->id, l->attempt, body, len - SWI_PATHS_MAC, want);
	if (m.attempt != l->attempt || !swi_paths_mac_ok(want, m.mac))
		rc = SWARM_EAUTH;
	if (!rc && !ep->inbound) {
		rc = ep->be->ops->grant(l->inner);
		if (!rc)
			rc = send_keys(l, SWI_PATHS_KEYS);
	}
	if (rc) {
		free(m.keys);
		return rc;
	}
	leg_up(l, &m);
	return 0;
}

/* --- the acceptor --- */

static struct swi_be_ep *by_id(struct swi_be *be, uint64_t id)
{
	swi_list_for_each (it, &be->eps) {
		struct swi_be_ep *ep = swi_list_entry(it, struct swi_be_ep, link);

		if (ep->inbound && ep->paired && ep->granted && !ep->down && ep->id == id)
			return ep;
	}
	return NULL;
}

int swi_paths_on_join(struct leg *l, struct swi_rd *r)
{
	uint8_t want[SWI_PATHS_MAC];
	struct swi_paths_join m;
	struct swi_be_ep *ep;
	struct leg *old;
	int rc = swi_paths_get_join(r, &m);

	if (rc)
		return rc;
	ep = by_id(l->path->be, m.id);
	if (!ep)
		return SWARM_EAUTH;
	swi_paths_mac(ep->secret, SWI_PATHS_JOIN, m.id, m.attempt, NULL, 0, want);
	if (!swi_paths_mac_ok(want, m.mac) || m.attempt <= ep->attempt)
		return SWARM_EAUTH;
	ep->attempt = m.attempt;
	old = ep->at[l->path->index];
	if (old && swi_paths_up(ep) == (old->state == LEG_UP))
		return SWARM_EPEERLOST; /* the only one that we have: its end is the connection's */
	if (old) /* the peer saw it fail before we did */
		swi_paths_leg_fail(old, SWARM_EPEERLOST);
	l->attempt = m.attempt;
	swi_paths_leg_join(l, ep);
	rc = ep->be->ops->grant(l->inner);
	return rc ? rc : send_keys(l, SWI_PATHS_JOINED);
}

/* --- the connector --- */

static bool remote_taken(const struct swi_be_ep *ep, uint32_t remote)
{
	for (uint32_t i = 0; i < ep->be->count; i++)
		if (ep->at[i] && ep->at[i]->remote == remote)
			return true;
	return false;
}

/* The peer's paths in turn, beginning with the one of the same place in its list. */
static void try_join(struct swi_be_ep *ep, uint32_t path)
{
	const struct paths_retry *t = &ep->retry[path];
	struct leg *l = NULL;

	for (uint32_t k = 0; k < ep->peer_count && !l; k++) {
		const uint32_t remote = (path + t->turn + k) % ep->peer_count;

		if (!ep->peer[remote][0] || remote_taken(ep, remote))
			continue;
		const int rc = swi_paths_leg_connect(ep, &ep->be->paths[path], ep->peer[remote], &l);

		if (rc) {
			swi_debug(ep->be->args.log, "path %s: cannot connect to %s: %s",
				  ep->be->paths[path].info.device, ep->peer[remote], swarm_errname(rc));
			l = NULL;
		} else {
			l->remote = remote;
		}
		break;
	}
	if (l)
		l->deadline_ns = ep->be->now + PATHS_JOIN_NS;
	else
		swi_paths_retry_later(ep, path);
}

void swi_paths_retry_later(struct swi_be_ep *ep, uint32_t path)
{
	struct paths_retry *t = &ep->retry[path];

	t->pause_ns = t->pause_ns ? swi_min_u64(2 * t->pause_ns, PATHS_RETRY_MAX) : PATHS_RETRY_MIN;
	t->at_ns = ep->be->now + t->pause_ns;
	t->turn++;
}

void swi_paths_retry_due(struct swi_be_ep *ep)
{
	if (ep->inbound || !ep->paired || !ep->granted || !ep->id || ep->down)
		return;
	for (uint32_t i = 0; i < ep->be->count; i++)
		if (!ep->at[i] && ep->be->paths[i].inner && !ep->be->paths[i].broken &&
		    ep->be->now >= ep->retry[i].at_ns)
			try_join(ep, i);
}

int swi_paths_on_addrs(struct leg *l, struct swi_rd *r)
{
	struct swi_be_ep *ep = l->ep;
	struct swi_rd body = swi_rd_init(r->buf + r->pos, r->len - r->pos);
	struct swi_paths_addrs m;
	int rc = swi_paths_get_addrs(&body, &m);

	if (rc || ep->inbound || ep->id || !m.id)
		return SWARM_EPROTO;
	ep->id = m.id;
	l->remote = m.here;
	ep->peer_count = m.count;
	memcpy(ep->peer, m.addr, sizeof(ep->peer));
	return 0;
}

void swi_paths_join_send(struct leg *l)
{
	struct swi_be_ep *ep = l->ep;
	struct swi_paths_join m = {.id = ep->id, .attempt = ++ep->attempt};
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	l->attempt = m.attempt;
	swi_paths_mac(ep->secret, SWI_PATHS_JOIN, m.id, m.attempt, NULL, 0, m.mac);
	swi_paths_put_join(&w, &m);
	(void)swi_paths_send_on(l, SWI_PATHS_JOIN, buf, w.len); /* else it is doomed, or its time ends */
}
