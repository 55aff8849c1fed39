/* SPDX-License-Identifier: Apache-2.0 */
/*
 * req.h - questions to peers that are not answered yet. Exactly one answer for each: the peer's, or
 * SWARM_EPEERLOST when the connection or the node is lost. Owner thread only.
 */
#ifndef SWI_REQ_H
#define SWI_REQ_H

#include "transport/base/hash.h"

#include "store/peer.h"

struct swi_req {
	uint64_t num;		/* 0 = not waiting */
	struct swi_peer *peer;
	struct swi_list link;	/* peer->reqs */
	UT_hash_handle hh;
	/* @type 0: lost, @status says how. Else a message; < 0 = nonsense, the connection is closed. */
	int (*cb)(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body);
	void *owner;
};

/* Takes a number; the caller puts it into the message. More than one answer may come until cancel. */
uint64_t swi_req_begin(struct swi_snode *sn, struct swi_req *rq, struct swi_peer *peer);
void swi_req_end(struct swi_snode *sn, struct swi_req *rq); /* idempotent */
/* An answer: its body begins with the number (peeked, not consumed). -ENOENT: nobody waits for it. */
int swi_req_answer(struct swi_snode *sn, struct swi_peer *peer, uint16_t type, struct swi_rd *body);
void swi_req_peer_lost(struct swi_snode *sn, struct swi_peer *peer, int status);

#endif
