/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths_wire.h - every byte that the paths of a connection put on a wire: docs/WIRE.md 1.9. Decoders
 * take bytes of a stranger, accept exactly one encoding and answer SWARM_EPROTO for the rest. No state.
 */
#ifndef SWI_PATHS_WIRE_H
#define SWI_PATHS_WIRE_H

#include "transport/base/codec.h"
#include "transport/paths/paths_plan.h"

#define SWI_PATHS_HDR	   12u
#define SWI_PATHS_ADDR	   64u
#define SWI_PATHS_SECRET   32u
#define SWI_PATHS_MAC	   32u
#define SWI_PATHS_KEYS_MAX 200u /* so that a table fits into one message */

/* The first byte of a frame of conn.c is none of these. */
enum swi_paths_kind {
	SWI_PATHS_DATA = 0xe1, /* numbered: a frame of the layer above */
	SWI_PATHS_ADDRS,       /* numbered; acceptor: where its paths listen */
	SWI_PATHS_ACK,	       /* nothing but the header */
	SWI_PATHS_PROBE,       /* are you there, on this path? */
	SWI_PATHS_ANSWER,
	SWI_PATHS_JOIN,	  /* connector, first on a further path: proof that it belongs to a connection */
	SWI_PATHS_JOINED, /* acceptor: proof, and its keys on this path */
	SWI_PATHS_KEYS,	  /* connector: the same */
	SWI_PATHS_END
};

struct swi_paths_hdr {
	uint8_t kind;
	uint32_t seq; /* 0: not numbered */
	uint32_t ack; /* all up to here were received */
};

struct swi_paths_addrs {
	uint64_t id;  /* of the connection, among those of the acceptor */
	uint8_t here; /* which of them this connection began on */
	uint8_t count;
	char addr[SWI_PATHS_MAX][SWI_PATHS_ADDR];
};

struct swi_paths_join {
	uint64_t id;
	uint64_t attempt; /* grows, so that a proof is of use once */
	uint8_t mac[SWI_PATHS_MAC];
};

struct swi_paths_key {
	uint64_t name, name_base; /* as in the region table */
	uint64_t rkey, base;	  /* the same memory through this path */
};

struct swi_paths_keys { /* JOINED and KEYS; the proof covers all before it */
	uint64_t attempt;
	uint32_t count;
	struct swi_paths_key *keys; /* owned by the caller: free() */
	uint8_t mac[SWI_PATHS_MAC];
};

static inline bool swi_paths_is_ours(uint8_t first)
{
	return first >= SWI_PATHS_DATA && first < SWI_PATHS_END;
}

void swi_paths_put_hdr(struct swi_wr *w, const struct swi_paths_hdr *h);
int swi_paths_get_hdr(struct swi_rd *r, struct swi_paths_hdr *out_hdr);
void swi_paths_put_addrs(struct swi_wr *w, const struct swi_paths_addrs *m);
int swi_paths_get_addrs(struct swi_rd *r, struct swi_paths_addrs *out_addrs);
void swi_paths_put_join(struct swi_wr *w, const struct swi_paths_join *m);
int swi_paths_get_join(struct swi_rd *r, struct swi_paths_join *out_join);
/* Without the proof, which follows. */
void swi_paths_put_keys(struct swi_wr *w, const struct swi_paths_keys *m);
/* SWARM_EPROTO, -ENOMEM. */
int swi_paths_get_keys(struct swi_rd *r, struct swi_paths_keys *out_keys);

/* Proof for a message of @kind on connection @id: HMAC-SHA256 over kind, id, attempt and @body. */
void swi_paths_mac(const uint8_t secret[SWI_PATHS_SECRET], uint8_t kind, uint64_t id, uint64_t attempt,
		   const void *body, uint32_t len, uint8_t out_mac[SWI_PATHS_MAC]);
bool swi_paths_mac_ok(const uint8_t a[SWI_PATHS_MAC], const uint8_t b[SWI_PATHS_MAC]);

#endif
