/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - every byte that the transport itself puts on a wire: frames, the handshake, regions.
 *
 * A frame is one message of a backend (at most SWI_BE_FRAME_MAX bytes): a header of 16 bytes, then a
 * payload. All numbers are little-endian. Decoders take bytes of a stranger: they never read past
 * the end, accept exactly one encoding, and answer SWARM_EPROTO (or SWARM_EVERSION) for the rest.
 * The byte tables are in docs/WIRE.md. No state; any thread.
 */
#ifndef SWI_WIRE_H
#define SWI_WIRE_H

#include "transport/base/codec.h"
#include "transport/transport.h"

#define SWI_WIRE_MAGIC       0x4d53u /* "SM" */
#define SWI_WIRE_VERSION     1u
#define SWI_WIRE_HDR_BYTES   16u
#define SWI_WIRE_PAYLOAD_MAX (SWI_BE_FRAME_MAX - SWI_WIRE_HDR_BYTES)
#define SWI_WIRE_MORE        0x01u /* flag: another fragment of this body follows */
#define SWI_NONCE_BYTES      32u
#define SWI_MAC_BYTES        32u
#define SWI_CHUNKS_MAX       4096u /* chunks of one region */

enum swi_wire_kind {
	SWI_WIRE_MSG = 1,   /* a message of a layer above; type is theirs */
	SWI_WIRE_HELLO,     /* connector: who I am, and a nonce */
	SWI_WIRE_CHALLENGE, /* acceptor: the same */
	SWI_WIRE_RESPONSE,  /* connector: proof of the key */
	SWI_WIRE_READY,     /* both: proof of the key over the region table, and the table */
	SWI_WIRE_REJECT,    /* the sender gives up; the code says why */
	SWI_WIRE_PING,
	SWI_WIRE_PONG,
	SWI_WIRE_CREDIT, /* nothing but credits */
	SWI_WIRE_KIND_COUNT
};

struct swi_wire_hdr {
	uint8_t kind;
	uint8_t flags;
	uint16_t type;    /* SWI_WIRE_MSG only */
	uint16_t credits; /* receives given back to the other side */
	uint32_t total;   /* bytes of the whole body, the same in each of its fragments */
};

struct swi_wire_hello { /* HELLO and CHALLENGE */
	uint8_t nonce[SWI_NONCE_BYTES];
	struct swi_peer_id id;
	uint8_t paths; /* cards or ports that it has; 0 and 1 are the same */
};

struct swi_chunk {
	uint64_t base; /* what the offset within the chunk is added to */
	uint64_t rkey;
};

/* One registered region: chunks of chunk_len bytes, the last one may be shorter. */
struct swi_region {
	uint64_t len; /* 0 = the region is not there */
	uint64_t chunk_len;
	uint32_t chunk_count;
	struct swi_chunk *chunks; /* owned; swi_regions_fini() */
};

struct swi_regions {
	struct swi_region at[SWI_REGIONS_MAX];
};

void swi_wire_put_hdr(const struct swi_wire_hdr *h, uint8_t out[SWI_WIRE_HDR_BYTES]);
/*
 * Checks and decodes the header of a frame of @len bytes. SWARM_EPROTO: not a frame of ours.
 * SWARM_EVERSION: of another version (a REJECT is understood in every version).
 */
int swi_wire_get_hdr(const void *frame, uint32_t len, struct swi_wire_hdr *out_hdr);

void swi_wire_put_hello(struct swi_wr *w, const struct swi_wire_hello *m);
int swi_wire_get_hello(const void *body, uint32_t len, struct swi_wire_hello *out_hello);

void swi_wire_put_reject(struct swi_wr *w, int code);
/* The code as sent when it is a known error of a connection, else SWARM_EPEERLOST. */
int swi_wire_get_reject(const void *body, uint32_t len, int *out_code);

void swi_wire_put_regions(struct swi_wr *w, const struct swi_regions *t);
/* *out_regions is owned by the caller: swi_regions_fini(). -ENOMEM, SWARM_EPROTO. */
int swi_wire_get_regions(const void *body, uint32_t len, struct swi_regions *out_regions);
void swi_regions_fini(struct swi_regions *t);

#endif
