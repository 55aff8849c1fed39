/* SPDX-License-Identifier: Apache-2.0 */
/* req.c - see req.h. */
#include "store/req.h"
#include "store/snode_internal.h"

uint64_t swi_req_begin(struct swi_snode *sn, struct swi_req *rq, struct swi_peer *peer)
{
	SWI_BUG_ON(rq->num);
	rq->num = ++sn->req_seq;
	rq->peer = peer;
	swi_list_push_back(&peer->reqs, &rq->link);
	HASH_ADD(hh, sn->reqs, num, sizeof(rq->num), rq);
	return rq->num;
}

void swi_req_end(struct swi_snode *sn, struct swi_req *rq)
{
	if (!rq->num)
		return;
	HASH_DELETE(hh, sn->reqs, rq);
	swi_list_del(&rq->link);
	rq->num = 0;
	rq->peer = NULL;
}

int swi_req_answer(struct swi_snode *sn, struct swi_peer *peer, uint16_t type, struct swi_rd *body)
{
	struct swi_rd peek = *body;
	const uint64_t num = swi_rd_u64(&peek);
	struct swi_req *rq;

	if (peek.bad)
		return SWARM_EPROTO;
	HASH_FIND(hh, sn->reqs, &num, sizeof(num), rq);
	if (!rq)
		return -ENOENT;
	if (rq->peer != peer)
		return SWARM_EPROTO;
	return rq->cb(rq, 0, type, body);
}

void swi_req_peer_lost(struct swi_snode *sn, struct swi_peer *peer, int status)
{
	struct swi_list lost;

	/* What a callback asks anew is not lost with the old ones. */
	swi_list_init(&lost);
	swi_list_splice(&lost, &peer->reqs);
	while (!swi_list_empty(&lost)) {
		struct swi_req *rq = swi_list_first(&lost, struct swi_req, link);

		swi_req_end(sn, rq);
		(void)rq->cb(rq, status, 0, NULL);
	}
}
