/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cast.h - many readers of one large object at once: a binary tree, through which the bytes flow piece by piece.
 *
 * Who has the object whole (the root) gives it to the first two that ask; later ones it sends to one of those before
 * them (PARENT), two to each: so it sends two copies, whatever the number of readers. A node that is still fetching
 * gives what it has and tells when there is more (MORE). A reader whose parent cannot serve (any more) comes
 * back to the root and is then given the object itself. Nobody waits for a node that waits for room. No cycle: who has
 * not begun to READ lets only those wait that the same root sent, and they asked that root later; who gives up
 * refuses all of them first. Owner thread of the node.
 */
#ifndef SWI_CAST_H
#define SWI_CAST_H

#include "transport/base/hash.h"

#include "store/fetch.h"
#include "store/serve.h"

struct swi_cast;

struct swi_casts {
	struct swi_cast *by_id;
};

/* Is this an object that travels in pieces? */
bool swi_is_large(const struct swi_snode *sn, uint64_t len);

/* ---- the root ---- */
/* True: the reader was sent to another reader, or, if it asked for the @whole, refused. False: it gets the object from here. */
bool swi_cast_send_on(struct swi_link *l, uint64_t req, struct swarm_oid id, bool whole);
void swi_casts_fini(struct swi_snode *sn);

/* ---- a node that is still fetching ---- */
struct swi_follower { /* a reader that is served out of an unfinished fetch */
	struct swi_list link;	 /* swi_fetch.followers, until it was told that all is there */
	struct swi_list of_link; /* swi_link.followers */
	struct swi_link *l;
	uint64_t req;
	bool given; /* LEASED was sent; else it waits until the first READ is posted */
};

/* A LEASE for what is being fetched here: true when it will be answered. */
bool swi_follow(struct swi_link *l, const struct swi_smsg_lease *m);
/* The fetch has a lease and room: who waits gets a part of it. */
void swi_followers_give(struct swi_fetch *f);
/* More of it has landed, or, with a negative @status, it will not come. */
void swi_followers_more(struct swi_fetch *f, int status);
/* Nobody is served out of this fetch now. */
void swi_followers_refuse(struct swi_fetch *f);
void swi_followers_link_down(struct swi_link *l);

#endif
