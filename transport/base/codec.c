/* SPDX-License-Identifier: Apache-2.0 */
/* codec.c - see codec.h. Byte-wise little-endian stores compile to single moves on x86 and Arm. */
#include "transport/base/codec.h"

/* Inline: the lengths below are constants, and each of these becomes one move. */
static inline void put(struct swi_wr *w, const void *p, uint32_t len)
{
	if (len > UINT32_MAX - w->len) {
		w->len = UINT32_MAX;
		return;
	}
	if (len && w->len <= w->cap && len <= w->cap - w->len)
		memcpy(w->buf + w->len, p, len);
	w->len += len;
}

void swi_wr_raw(struct swi_wr *w, const void *p, uint32_t len)
{
	put(w, p, len);
}

void swi_wr_u8(struct swi_wr *w, uint8_t v)
{
	put(w, &v, 1);
}

void swi_wr_u16(struct swi_wr *w, uint16_t v)
{
	const uint8_t b[2] = {(uint8_t)v, (uint8_t)(v >> 8)};

	put(w, b, sizeof(b));
}

void swi_wr_u32(struct swi_wr *w, uint32_t v)
{
	const uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};

	put(w, b, sizeof(b));
}

void swi_wr_u64(struct swi_wr *w, uint64_t v)
{
	const uint8_t b[8] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24),
			      (uint8_t)(v >> 32), (uint8_t)(v >> 40), (uint8_t)(v >> 48), (uint8_t)(v >> 56)};

	put(w, b, sizeof(b));
}

void swi_wr_oid(struct swi_wr *w, struct swarm_oid v)
{
	swi_wr_u64(w, v.w[0]);
	swi_wr_u64(w, v.w[1]);
}

void swi_wr_ref(struct swi_wr *w, struct swarm_ref v)
{
	swi_wr_oid(w, v.id);
	swi_wr_u32(w, v.home);
}

void swi_wr_bytes(struct swi_wr *w, const void *p, uint32_t len)
{
	swi_wr_u32(w, len);
	swi_wr_raw(w, p, len);
}

void swi_wr_str(struct swi_wr *w, const char *s)
{
	swi_wr_bytes(w, s, s ? (uint32_t)strlen(s) : 0);
}

const void *swi_rd_raw(struct swi_rd *r, uint32_t len)
{
	const uint8_t *p = r->buf + r->pos;

	if (r->bad || len > r->len - r->pos) {
		r->bad = true;
		return NULL;
	}
	r->pos += len;
	return p;
}

uint8_t swi_rd_u8(struct swi_rd *r)
{
	const uint8_t *p = swi_rd_raw(r, 1);

	return p ? p[0] : 0;
}

uint16_t swi_rd_u16(struct swi_rd *r)
{
	const uint8_t *p = swi_rd_raw(r, 2);

	return p ? (uint16_t)(p[0] | p[1] << 8) : 0;
}

uint32_t swi_rd_u32(struct swi_rd *r)
{
	const uint8_t *p = swi_rd_raw(r, 4);

	return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24
		 : 0;
}

uint64_t swi_rd_u64(struct swi_rd *r)
{
	const uint64_t lo = swi_rd_u32(r);

	return lo | (uint64_t)swi_rd_u32(r) << 32;
}

struct swarm_oid swi_rd_oid(struct swi_rd *r)
{
	struct swarm_oid v;

	v.w[0] = swi_rd_u64(r);
	v.w[1] = swi_rd_u64(r);
	return v;
}

struct swarm_ref swi_rd_ref(struct swi_rd *r)
{
	struct swarm_ref v = {.id = swi_rd_oid(r)};

	v.home = swi_rd_u32(r);
	return v;
}

const void *swi_rd_bytes(struct swi_rd *r, uint32_t *out_len)
{
	const uint32_t len = swi_rd_u32(r);
	const void *p = swi_rd_raw(r, len);

	*out_len = p ? len : 0;
	return p;
}

void swi_rd_str(struct swi_rd *r, char *dst, uint32_t cap)
{
	uint32_t len;
	const char *p = swi_rd_bytes(r, &len);

	dst[0] = 0;
	if (!p)
		return;
	if (len >= cap || memchr(p, 0, len)) {
		r->bad = true;
		return;
	}
	memcpy(dst, p, len);
	dst[len] = 0;
}
