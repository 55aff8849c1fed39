/* SPDX-License-Identifier: Apache-2.0 */
/* untold.c - see untold.h. */
#include "store/untold.h"
#include "store/snode_internal.h"

struct swi_telling {
	struct swi_req rq;
	struct swi_list link; /* untolds.tellings */
	struct swi_list rows; /* struct swi_untold */
	struct swi_snode *sn;
	uint32_t node;
};

static struct swi_untold *find(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_untold *u;

	HASH_FIND(hh, sn->untolds.by_id, &id, sizeof(id), u);
	return u;
}

bool swi_untold(struct swi_snode *sn, struct swarm_oid id)
{
	return sn->untolds.by_id && find(sn, id);
}

bool swi_untold_on_way(struct swi_snode *sn, struct swarm_oid id, uint32_t node)
{
	const struct swi_untold *u = find(sn, id);

	return u && u->in && u->in->node == node;
}

static void untold_free(struct swi_snode *sn, struct swi_untold *u)
{
	swi_list_del(&u->link);
	HASH_DELETE(hh, sn->untolds.by_id, u);
	swi_pool_put(&sn->untolds.spare, u);
}

void swi_untold_forget(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_untold *u = sn->untolds.by_id ? find(sn, id) : NULL;

	if (u)
		untold_free(sn, u);
}

static void tell_again(struct swi_untold *u)
{
	swi_list_del(&u->link);
	u->in = NULL;
}

/* Those that are still in it are known, or are to be told again. */
static void telling_end(struct swi_telling *t, bool known)
{
	struct swi_snode *sn = t->sn;

	swi_req_end(sn, &t->rq);
	while (!swi_list_empty(&t->rows)) {
		struct swi_untold *u = swi_list_first(&t->rows, struct swi_untold, link);

		if (known)
			untold_free(sn, u);
		else
			tell_again(u);
	}
	swi_list_del(&t->link);
	free(t);
}

static int refused(struct swi_telling *t, struct swi_rd *body)
{
	struct swi_smsg_told m;

	if (swi_smsg_get_told(body, &m))
		return SWARM_EPROTO;
	while (m.refused--) {
		struct swi_untold *u = find(t->sn, swi_rd_oid(body));

		if (u && u->in == t)
			tell_again(u);
	}
	return 0;
}

static int on_told(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct swi_telling *t = rq->owner;

	(void)status;
	if (type && (type != SWI_S_TOLD || refused(t, body)))
		return SWARM_EPROTO;
	telling_end(t, type != 0);
	return 0;
}

static struct swi_telling *telling_new(struct swi_snode *sn, uint32_t node)
{
	struct swi_telling *t = calloc(1, sizeof(*t));

	SWI_BUG_ON(!t);
	t->sn = sn;
	t->node = node;
	t->rq.cb = on_told;
	t->rq.owner = t;
	swi_list_init(&t->rows);
	swi_list_push_back(&sn->untolds.tellings, &t->link);
	return t;
}

void swi_untold_say(struct swi_snode *sn, struct swi_peer *p, struct swarm_oid id)
{
	struct swi_untold *u = find(sn, id);

	if (!p->telling)
		p->telling = telling_new(sn, p->node);
	if (u) { /* what was told before is not what counts */
		swi_list_del(&u->link);
	} else {
		u = swi_pool_get(&sn->untolds.spare, sizeof(*u), sizeof(*u));
		SWI_BUG_ON(!u);
		u->id = id;
		HASH_ADD(hh, sn->untolds.by_id, id, sizeof(u->id), u);
	}
	u->in = p->telling;
	swi_list_push_back(&p->telling->rows, &u->link);
}

uint64_t swi_untold_ask(struct swi_snode *sn, struct swi_peer *p)
{
	struct swi_telling *t = p->telling;

	p->telling = NULL;
	return t ? swi_req_begin(sn, &t->rq, p) : 0;
}

void swi_untold_unsent(struct swi_snode *sn, uint64_t num)
{
	struct swi_req *rq;

	HASH_FIND(hh, sn->reqs, &num, sizeof(num), rq);
	if (rq)
		telling_end(rq->owner, false);
}

void swi_untold_peer_gone(struct swi_peer *p)
{
	if (p->telling)
		telling_end(p->telling, false);
	p->telling = NULL;
}

void swi_untolds_init(struct swi_snode *sn)
{
	swi_list_init(&sn->untolds.tellings);
}

void swi_untolds_fini(struct swi_snode *sn)
{
	while (!swi_list_empty(&sn->untolds.tellings))
		telling_end(swi_list_first(&sn->untolds.tellings, struct swi_telling, link), false);
	while (sn->untolds.by_id)
		untold_free(sn, sn->untolds.by_id);
	swi_pool_fini(&sn->untolds.spare);
}
