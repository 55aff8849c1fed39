/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - leases: what peers READ of this arena, and until when it stays.
 *
 * A lease is a hold on an extent that belongs to a connection. It ends by the reader's word
 * (LEASE_END) or with the connection, whose queue pair is closed before its down() comes: no clock
 * is trusted, and no byte is reused under a READ. Owner thread only.
 */
#ifndef SWI_SERVE_H
#define SWI_SERVE_H

#include "transport/base/hash.h"

#include "store/peer.h"

struct swi_lease {
	uint64_t num;
	struct swi_list link; /* swi_link.leases */
	struct swi_link *owner;
	uint64_t offset;
	UT_hash_handle hh;
};

struct swi_leases {
	struct swi_lease *by_num;
	uint64_t seq;
};

int swi_serve_on_lease(struct swi_link *l, struct swi_rd *body);
int swi_serve_on_range(struct swi_link *l, struct swi_rd *body);
int swi_serve_on_ends(struct swi_link *l, struct swi_rd *body);
/* A lease came that nobody waits for any more: it is given back. */
int swi_serve_unclaimed(struct swi_link *l, struct swi_rd *body);
/* A LOCATE that would like a lease: true when the object lies in memory and a LEASED will answer. */
bool swi_serve_memory(struct swi_link *l, uint64_t req, struct swarm_oid id);
/* For who serves out of a fetch (cast.c): a hold on @offset becomes a lease, and @m, with its number, is sent; or not. */
void swi_serve_lease(struct swi_link *l, uint64_t offset, struct swi_smsg_leased *m);
void swi_serve_refuse(struct swi_link *l, uint64_t req, int status, const char *text);
/* The connection is gone for good. */
void swi_serve_link_down(struct swi_link *l);

#endif
