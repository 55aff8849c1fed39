/* SPDX-License-Identifier: Apache-2.0 */
/* stripe.c - see stripe.h. Who is not connected yet is connected for it. */
#include "store/stripe.h"
#include "store/pieces.h"
#include "store/snode_internal.h"

/* Is this the same object, and all of it where its holder may be READ? */
static bool fits(const struct swi_stripe *st, const struct swi_peer *p, const struct swi_smsg_leased *m)
{
	const struct swi_fetch *f = st->f;
	const uint64_t need = sizeof(struct swi_object_head) + f->len;
	const uint64_t region = p && p->chosen ? swi_conn_region_len(p->chosen->conn, m->region) : 0;

	return m->len == f->len && m->have == m->len && m->digest == f->lease.digest &&
	       m->offset <= region && need <= region - m->offset;
}

static int on_leased(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct swi_stripe *st = rq->owner;
	struct swi_fetch *f = st->f;
	struct swi_smsg_leased m;

	swi_req_end(f->sn, rq);
	(void)status;
	if (!type) /* the connection is lost: what is in flight on it fails by itself */
		return 0;
	if (type != SWI_S_LEASED || swi_smsg_get_leased(body, &m))
		return SWARM_EPROTO;
	if (m.status || !m.lease)
		return 0;
	st->lease = m.lease;
	st->region = m.region;
	st->offset = m.offset;
	st->usable = fits(st, swi_peer_by_epoch(f->sn, st->epoch), &m);
	if (st->usable)
		swi_pieces_go_on(f);
	return 0;
}

static void ask(struct swi_fetch *f, struct swi_peer *p)
{
	struct swi_stripe *st = &f->pieces->stripe[f->pieces->stripes++];
	struct swi_smsg_lease m = {.id = f->id, .flags = SWI_LEASE_WHOLE};
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	*st = (struct swi_stripe){.f = f, .epoch = p->epoch, .rq = {.cb = on_leased, .owner = st}};
	m.req = swi_req_begin(f->sn, &st->rq, p);
	swi_smsg_put_lease(&w, &m);
	f->sn->stats.get_messages++;
	(void)swi_peer_send(f->sn, p, SWI_S_LEASE, buf, w.len);
}

void swi_stripes_ask(struct swi_fetch *f)
{
	for (uint32_t i = 0; i < f->copies.count && f->pieces->stripes < SWI_STRIPES_MAX; i++) {
		const uint32_t node = f->copies.node[i];
		struct swi_peer *p = swi_peer_find(f->sn, node);

		if (node != f->holder && !f->tried[i] && !f->copies.spilled[i] && p)
			ask(f, p);
	}
}

void swi_stripes_end(struct swi_fetch *f)
{
	if (!f->pieces)
		return;
	for (uint32_t i = 0; i < f->pieces->stripes; i++) {
		struct swi_stripe *st = &f->pieces->stripe[i];
		struct swi_peer *p = st->lease ? swi_peer_by_epoch(f->sn, st->epoch) : NULL;

		swi_req_end(f->sn, &st->rq);
		if (p)
			swi_peer_say_end(f->sn, p, st->lease);
	}
	f->pieces->stripes = 0;
}
