/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec.h - bounds-checked little-endian writing and reading of message bodies.
 *
 * Both cursors carry a sticky error: a chain of calls is checked once at its end. A reader never
 * reads past its end, whatever the bytes say; a writer past its end only counts (w->len is then
 * what would have been needed). Used for peers, for client rings and for what lies on disk.
 */
#ifndef SWI_CODEC_H
#define SWI_CODEC_H

#include "transport/base/base.h"

struct swi_wr {
	uint8_t *buf;
	uint32_t cap;
	uint32_t len; /* bytes written or needed */
};

struct swi_rd {
	const uint8_t *buf;
	uint32_t len;
	uint32_t pos;
	bool bad; /* read past the end, or a length that does not fit */
};

static inline struct swi_wr swi_wr_init(void *buf, uint32_t cap)
{
	return (struct swi_wr){.buf = buf, .cap = cap};
}

static inline bool swi_wr_ok(const struct swi_wr *w)
{
	return w->len <= w->cap;
}

static inline struct swi_rd swi_rd_init(const void *buf, uint32_t len)
{
	return (struct swi_rd){.buf = buf, .len = len};
}

/* True when everything was read, nothing is left over and nothing was bad. */
static inline bool swi_rd_done(const struct swi_rd *r)
{
	return !r->bad && r->pos == r->len;
}

void swi_wr_u8(struct swi_wr *w, uint8_t v);
void swi_wr_u16(struct swi_wr *w, uint16_t v);
void swi_wr_u32(struct swi_wr *w, uint32_t v);
void swi_wr_u64(struct swi_wr *w, uint64_t v);
void swi_wr_oid(struct swi_wr *w, struct swarm_oid v);
void swi_wr_ref(struct swi_wr *w, struct swarm_ref v);
void swi_wr_raw(struct swi_wr *w, const void *p, uint32_t len);
void swi_wr_bytes(struct swi_wr *w, const void *p, uint32_t len); /* u32 length, then the bytes */
void swi_wr_str(struct swi_wr *w, const char *s);		  /* as bytes, without the NUL; NULL = "" */

uint8_t swi_rd_u8(struct swi_rd *r);
uint16_t swi_rd_u16(struct swi_rd *r);
uint32_t swi_rd_u32(struct swi_rd *r);
uint64_t swi_rd_u64(struct swi_rd *r);
struct swarm_oid swi_rd_oid(struct swi_rd *r);
struct swarm_ref swi_rd_ref(struct swi_rd *r);
const void *swi_rd_raw(struct swi_rd *r, uint32_t len); /* view into the buffer; NULL when bad */
const void *swi_rd_bytes(struct swi_rd *r, uint32_t *out_len); /* view; NULL and 0 when bad */
/* Copies at most cap - 1 bytes and a NUL; a longer string or an embedded NUL is bad. */
void swi_rd_str(struct swi_rd *r, char *dst, uint32_t cap);

#endif
