/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c - see wire.h. */
#include "transport/wire.h"

void swi_wire_put_hdr(const struct swi_wire_hdr *h, uint8_t out[SWI_WIRE_HDR_BYTES])
{
	struct swi_wr w = swi_wr_init(out, SWI_WIRE_HDR_BYTES);

	swi_wr_u16(&w, SWI_WIRE_MAGIC);
	swi_wr_u8(&w, SWI_WIRE_VERSION);
	swi_wr_u8(&w, h->kind);
	swi_wr_u16(&w, h->type);
	swi_wr_u16(&w, h->credits);
	swi_wr_u32(&w, h->total);
	swi_wr_u8(&w, h->flags);
	swi_wr_u8(&w, 0);
	swi_wr_u16(&w, 0);
}

/* What must hold between the fields whatever the kind. */
static bool hdr_plausible(const struct swi_wire_hdr *h, uint32_t payload)
{
	const bool more = h->flags & SWI_WIRE_MORE;

	if (h->kind == 0 || h->kind >= SWI_WIRE_KIND_COUNT || h->flags & ~SWI_WIRE_MORE)
		return false;
	if (h->credits > SWI_BE_RECV_DEPTH || h->total > SWI_MSG_MAX)
		return false;
	if (h->kind != SWI_WIRE_MSG && h->type)
		return false;
	if (h->kind != SWI_WIRE_MSG && h->kind != SWI_WIRE_READY)
		return !more && payload == h->total;
	return payload <= h->total && (more ? payload && payload < h->total : true);
}

int swi_wire_get_hdr(const void *frame, uint32_t len, struct swi_wire_hdr *out_hdr)
{
	struct swi_rd r = swi_rd_init(frame, len);
	struct swi_wire_hdr h;

	if (len < SWI_WIRE_HDR_BYTES || swi_rd_u16(&r) != SWI_WIRE_MAGIC)
		return SWARM_EPROTO;
	const uint8_t version = swi_rd_u8(&r);

	h.kind = swi_rd_u8(&r);
	h.type = swi_rd_u16(&r);
	h.credits = swi_rd_u16(&r);
	h.total = swi_rd_u32(&r);
	h.flags = swi_rd_u8(&r);
	const uint8_t zero8 = swi_rd_u8(&r);
	const uint16_t zero16 = swi_rd_u16(&r);

	if (version != SWI_WIRE_VERSION && h.kind != SWI_WIRE_REJECT)
		return SWARM_EVERSION;
	if (zero8 || zero16 || !hdr_plausible(&h, len - SWI_WIRE_HDR_BYTES))
		return SWARM_EPROTO;
	*out_hdr = h;
	return 0;
}

void swi_wire_put_hello(struct swi_wr *w, const struct swi_wire_hello *m)
{
	swi_wr_raw(w, m->nonce, SWI_NONCE_BYTES);
	swi_wr_u32(w, m->id.node);
	swi_wr_u64(w, m->id.epoch);
	swi_wr_str(w, m->id.address);
	swi_wr_u8(w, m->paths);
}

int swi_wire_get_hello(const void *body, uint32_t len, struct swi_wire_hello *out_hello)
{
	struct swi_rd r = swi_rd_init(body, len);
	struct swi_wire_hello m;
	const void *nonce = swi_rd_raw(&r, SWI_NONCE_BYTES);

	memset(&m, 0, sizeof(m));
	if (nonce)
		memcpy(m.nonce, nonce, SWI_NONCE_BYTES);
	m.id.node = swi_rd_u32(&r);
	m.id.epoch = swi_rd_u64(&r);
	swi_rd_str(&r, m.id.address, sizeof(m.id.address));
	m.paths = swi_rd_u8(&r);
	if (!swi_rd_done(&r))
		return SWARM_EPROTO;
	*out_hello = m;
	return 0;
}

void swi_wire_put_reject(struct swi_wr *w, int code)
{
	swi_wr_u32(w, (uint32_t)code);
}

int swi_wire_get_reject(const void *body, uint32_t len, int *out_code)
{
	struct swi_rd r = swi_rd_init(body, len);
	const int code = (int)swi_rd_u32(&r);

	if (!swi_rd_done(&r))
		return SWARM_EPROTO;
	switch (code) {
	case SWARM_EAUTH:
	case SWARM_EVERSION:
	case SWARM_EPROTO:
	case SWARM_EDRAINING:
		*out_code = code;
		return 0;
	default: /* a newer version's word, or nonsense: the connection ends all the same */
		*out_code = SWARM_EPEERLOST;
		return 0;
	}
}

void swi_wire_put_regions(struct swi_wr *w, const struct swi_regions *t)
{
	for (uint32_t i = 0; i < SWI_REGIONS_MAX; i++) {
		const struct swi_region *g = &t->at[i];

		swi_wr_u64(w, g->len);
		swi_wr_u64(w, g->chunk_len);
		swi_wr_u32(w, g->chunk_count);
		for (uint32_t c = 0; c < g->chunk_count; c++) {
			swi_wr_u64(w, g->chunks[c].base);
			swi_wr_u64(w, g->chunks[c].rkey);
		}
	}
}

/* The count must be what the lengths say, and no chunk may wrap around the address space. */
static int get_region(struct swi_rd *r, struct swi_region *g)
{
	const uint64_t len = swi_rd_u64(r);
	const uint64_t chunk_len = swi_rd_u64(r);
	const uint32_t count = swi_rd_u32(r);

	if (r->bad || count > SWI_CHUNKS_MAX || (uint64_t)count * 16 > r->len - r->pos)
		return SWARM_EPROTO;
	if (!len)
		return count || chunk_len ? SWARM_EPROTO : 0;
	if (!chunk_len || count != (len - 1) / chunk_len + 1)
		return SWARM_EPROTO;
	g->chunks = calloc(count, sizeof(*g->chunks));
	if (!g->chunks)
		return -ENOMEM;
	g->len = len;
	g->chunk_len = chunk_len;
	g->chunk_count = count;
	for (uint32_t c = 0; c < count; c++) {
		g->chunks[c].base = swi_rd_u64(r);
		g->chunks[c].rkey = swi_rd_u64(r);
		if (g->chunks[c].base + swi_min_u64(chunk_len, len) < g->chunks[c].base)
			return SWARM_EPROTO;
	}
	return 0;
}

int swi_wire_get_regions(const void *body, uint32_t len, struct swi_regions *out_regions)
{
	struct swi_rd r = swi_rd_init(body, len);
	struct swi_regions t;
	int rc = 0;

	memset(&t, 0, sizeof(t));
	for (uint32_t i = 0; i < SWI_REGIONS_MAX && !rc; i++)
		rc = get_region(&r, &t.at[i]);
	if (!rc && !swi_rd_done(&r))
		rc = SWARM_EPROTO;
	if (rc) {
		swi_regions_fini(&t);
		return rc;
	}
	*out_regions = t;
	return 0;
}

void swi_regions_fini(struct swi_regions *t)
{
	for (uint32_t i = 0; i < SWI_REGIONS_MAX; i++)
		free(t->at[i].chunks);
	memset(t, 0, sizeof(*t));
}
