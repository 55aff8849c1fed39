/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.h - a single-producer single-consumer ring of variable-length messages in shared memory.
 *
 * The two ends may be different processes that do not trust each other: each end keeps its own
 * position in private memory and treats the other's published position, and every length that it
 * finds in the ring, as foreign input. A corrupt ring yields -EPROTO, never a wild access.
 * Layout: struct swi_ring, then cap bytes (a power of two). A message is {u32 len, u16 type,
 * u16 flags, u64 req} and len bytes of body, 8-byte aligned, never wrapping (a pad message fills the end).
 */
#ifndef SWI_RING_H
#define SWI_RING_H

#include "transport/base/base.h"

struct swi_ring { /* shared */
	alignas(SWI_CACHE_LINE) _Atomic uint64_t tail; /* bytes ever produced; producer writes */
	alignas(SWI_CACHE_LINE) _Atomic uint64_t head; /* bytes ever consumed; consumer writes */
	alignas(SWI_CACHE_LINE) uint8_t data[];
};

struct swi_msg {
	uint16_t type;
	uint16_t flags;
	uint32_t len;	  /* bytes of body */
	uint64_t req;	  /* request number of the sender, echoed in the answer; 0 = none */
	const void *body; /* borrowed until swi_ring_pop() */
};

struct swi_ring_end { /* private to one end */
	struct swi_ring *ring;
	uint64_t cap;	 /* bytes of data, a power of two */
	uint64_t pos;	 /* own position */
	uint64_t cached; /* the other end's position when last looked at */
	uint64_t peeked; /* consumer: bytes of the message that peek returned */
};

/* Bytes of shared memory for a ring of @cap data bytes. */
static inline size_t swi_ring_bytes(uint64_t cap)
{
	return sizeof(struct swi_ring) + cap;
}

/* Largest body that a ring of @cap bytes accepts: a quarter of it, so that a pad never blocks. */
static inline uint32_t swi_ring_body_max(uint64_t cap)
{
	return (uint32_t)(cap / 4);
}

void swi_ring_init(struct swi_ring *ring); /* zeroes the positions; before either end attaches */
void swi_ring_attach(struct swi_ring_end *end, struct swi_ring *ring, uint64_t cap);

/* Producer. 0, -EAGAIN (full), -EMSGSIZE. Body in one or two pieces (either may be NULL/0). Visible at once. */
int swi_ring_push(struct swi_ring_end *end, uint16_t type, uint16_t flags, uint64_t req,
		  const void *a, uint32_t alen, const void *b, uint32_t blen);
/* Consumer. 1: *out_msg is the next message; 0: empty; -EPROTO: the producer wrote nonsense. */
int swi_ring_peek(struct swi_ring_end *end, struct swi_msg *out_msg);
void swi_ring_pop(struct swi_ring_end *end);
/* Consumer: true when a peek would find something (used after announcing sleep). */
bool swi_ring_ready(struct swi_ring_end *end);

#endif
