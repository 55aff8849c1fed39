/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_wire.h - every byte that the two backends of a connection tell each other: who they are, in the private
 * data of both directions, and what they say about further queue pairs (docs/WIRE.md 1.7). Decoders take
 * bytes of a peer, accept exactly one encoding and answer SWARM_EPROTO for the rest. No state, and nothing of libibverbs.
 */
#ifndef SWI_VERBS_WIRE_H
#define SWI_VERBS_WIRE_H

#include "transport/base/codec.h"
#include "transport/ops.h"

#define VERBS_HELLO_BYTES 8u
#define VERBS_LANES_MAX   SWI_QUEUE_PAIRS_MAX
#define VERBS_MORE_LANES  (VERBS_LANES_MAX - 1)
#define VERBS_WINDOWS_MAX 128u /* memory windows of one peer on one lane */
#define VERBS_OWN_MAX	  4096u /* bytes of an ASK or OK */
#define VERBS_NUMBER_MAX  0xffffffu

/* The first byte of a message between the two backends. */
enum verbs_own { VERBS_ASK = 'A', VERBS_OK = 'O' };

struct verbs_end { /* of a lane: what the other side has to know; at most VERBS_NUMBER_MAX */
	uint32_t qp, psn;
};

struct verbs_ask {
	uint32_t count;
	struct verbs_end end[VERBS_MORE_LANES];
};

struct verbs_name { /* of a memory: as the region table calls it, and on each further lane */
	uint32_t main, here[VERBS_MORE_LANES];
};

struct verbs_ok {
	uint32_t count; /* of lanes; 0 refuses, and there are no names then */
	struct verbs_end end[VERBS_MORE_LANES];
	uint32_t name_count;
	struct verbs_name name[VERBS_WINDOWS_MAX];
};

extern const uint8_t swi_verbs_hello[VERBS_HELLO_BYTES];
/* What is longer is padding: rdma_cm says how much room there is, not what was sent. */
bool swi_verbs_is_hello(const void *data, uint32_t len);

/* The kind comes first in what is written, and was read by the caller in what is decoded. */
void swi_verbs_put_ask(struct swi_wr *w, const struct verbs_ask *m);
int swi_verbs_get_ask(struct swi_rd *r, struct verbs_ask *out);
void swi_verbs_put_ok(struct swi_wr *w, const struct verbs_ok *m);
int swi_verbs_get_ok(struct swi_rd *r, struct verbs_ok *out);

#endif
