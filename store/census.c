/* SPDX-License-Identifier: Apache-2.0 */
/* census.c - see census.h. */
#include "store/census.h"
#include "store/snode_internal.h"

#define PAUSE_NS (10 * NS_PER_MS)

struct question {
	struct swi_census *c;
	uint32_t node;
	struct swi_req rq;
};

struct swi_census {
	struct swi_snode *sn;
	struct swi_rec *rec;
	struct swi_timer pause; /* runs until it may be asked */
	uint32_t count, open;
	struct question q[];
};

static int on_answer(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body);

static bool ask(struct question *q)
{
	struct swi_snode *sn = q->c->sn;
	struct swi_smsg_lease m = {.id = q->c->rec->id, .flags = SWI_LEASE_FROM_YOU};
	struct swi_peer *p = swi_peer_find(sn, q->node);
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (!p)
		return false;
	q->rq.cb = on_answer;
	q->rq.owner = q;
	m.req = swi_req_begin(sn, &q->rq, p);
	swi_smsg_put_lease(&w, &m);
	(void)swi_peer_send(sn, p, SWI_S_LEASE, buf, w.len);
	return true;
}

static int on_answer(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct question *q = rq->owner;
	struct swi_census *c = q->c;
	struct swi_peer *p = rq->peer;
	struct swi_smsg_leased m;

	(void)status;
	if (type && (type != SWI_S_LEASED || swi_smsg_get_leased(body, &m)))
		return SWARM_EPROTO;
	swi_req_end(c->sn, rq);
	if (type && !m.status) {
		swi_peer_say_end(c->sn, p, m.lease);
		/* Of a home that died nobody was there whom it could have told. */
		swi_dir_copy_at(c->sn, (struct swarm_ref){.id = c->rec->id, .home = c->rec->home}, p->node, m.len,
				false);
	}
	if (!type && ask(q))
		return 0; /* the connection was lost, the node is not */
	if (!--c->open)
		swi_rec_touch(c->sn, c->rec);
	return 0;
}

static void ask_all(struct swi_snode *sn, struct swi_census *c)
{
	c->rec->census_ns = sn->now_ns;
	swi_list_for_each(it, &sn->peers.list) {
		const struct swi_peer *p = swi_list_entry(it, struct swi_peer, link);

		if (p->node)
			c->q[c->count++] = (struct question){.c = c, .node = p->node};
	}
	for (uint32_t i = 0; i < c->count; i++)
		c->open += ask(&c->q[i]);
}

/* Begins anew, with the members of now. */
static void pause_over(struct swi_timer *pause)
{
	struct swi_census *c = swi_container_of(pause, struct swi_census, pause);
	struct swi_snode *sn = c->sn;
	struct swi_rec *rec = c->rec;

	swi_census_end(sn, rec);
	swi_rec_touch(sn, rec);
}

static void begin(struct swi_snode *sn, struct swi_rec *rec)
{
	struct swi_census *c = calloc(1, sizeof(*c) + sn->peers.count * sizeof(c->q[0]));
	const uint64_t at = rec->census_ns ? rec->census_ns + PAUSE_NS : 0;

	SWI_BUG_ON(!c);
	c->sn = sn;
	c->rec = rec;
	c->pause.cb = pause_over;
	rec->census = c;
	if (sn->now_ns < at)
		swi_timer_set(&sn->timers, &c->pause, at);
	else
		ask_all(sn, c);
}

bool swi_census_over(struct swi_snode *sn, struct swi_rec *rec)
{
	if (!rec->census)
		begin(sn, rec);
	return !rec->census->open && !rec->census->pause.pos;
}

void swi_census_end(struct swi_snode *sn, struct swi_rec *rec)
{
	struct swi_census *c = rec->census;

	if (!c)
		return;
	swi_timer_stop(&sn->timers, &c->pause);
	for (uint32_t i = 0; i < c->count; i++)
		swi_req_end(sn, &c->q[i].rq);
	free(c);
	rec->census = NULL;
}
