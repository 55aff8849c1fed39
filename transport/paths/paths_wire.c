/* SPDX-License-Identifier: Apache-2.0 */
/* paths_wire.c - see paths_wire.h. */
#include <sodium.h>

#include "transport/paths/paths_wire.h"

static_assert(SWI_PATHS_MAC == crypto_auth_hmacsha256_BYTES, "a proof is one HMAC");
static_assert(SWI_PATHS_HDR + 12 + SWI_PATHS_KEYS_MAX * 32 + SWI_PATHS_MAC <= SWI_BE_MSG_MAX,
	      "the largest table fits into a message");
static_assert(SWI_PATHS_HDR <= SWI_BE_OWN_HDR, "a frame of the layer above fits behind the header");

void swi_paths_put_hdr(struct swi_wr *w, const struct swi_paths_hdr *h)
{
	swi_wr_u8(w, h->kind);
	swi_wr_u8(w, 0);
	swi_wr_u16(w, 0);
	swi_wr_u32(w, h->seq);
	swi_wr_u32(w, h->ack);
}

int swi_paths_get_hdr(struct swi_rd *r, struct swi_paths_hdr *out_hdr)
{
	struct swi_paths_hdr h = {.kind = swi_rd_u8(r)};
	const uint8_t zero8 = swi_rd_u8(r);
	const uint16_t zero16 = swi_rd_u16(r);

	h.seq = swi_rd_u32(r);
	h.ack = swi_rd_u32(r);
	if (r->bad || zero8 || zero16 || !swi_paths_is_ours(h.kind))
		return SWARM_EPROTO;
	if (h.seq && h.kind != SWI_PATHS_DATA && h.kind != SWI_PATHS_ADDRS)
		return SWARM_EPROTO;
	*out_hdr = h;
	return 0;
}

void swi_paths_put_addrs(struct swi_wr *w, const struct swi_paths_addrs *m)
{
	swi_wr_u64(w, m->id);
	swi_wr_u8(w, m->here);
	swi_wr_u8(w, m->count);
	for (uint32_t i = 0; i < m->count; i++)
		swi_wr_str(w, m->addr[i]);
}

int swi_paths_get_addrs(struct swi_rd *r, struct swi_paths_addrs *out_addrs)
{
	struct swi_paths_addrs m = {.id = swi_rd_u64(r)};

	m.here = swi_rd_u8(r);
	m.count = swi_rd_u8(r);
	if (r->bad || m.count > SWI_PATHS_MAX || m.here >= m.count)
		return SWARM_EPROTO;
	for (uint32_t i = 0; i < m.count; i++)
		swi_rd_str(r, m.addr[i], sizeof(m.addr[i]));
	if (!swi_rd_done(r))
		return SWARM_EPROTO;
	*out_addrs = m;
	return 0;
}

void swi_paths_put_join(struct swi_wr *w, const struct swi_paths_join *m)
{
	swi_wr_u64(w, m->id);
	swi_wr_u64(w, m->attempt);
	swi_wr_raw(w, m->mac, sizeof(m->mac));
}

int swi_paths_get_join(struct swi_rd *r, struct swi_paths_join *out_join)
{
	struct swi_paths_join m = {.id = swi_rd_u64(r)};

	m.attempt = swi_rd_u64(r);
	const void *mac = swi_rd_raw(r, sizeof(m.mac));

	if (!swi_rd_done(r))
		return SWARM_EPROTO;
	memcpy(m.mac, mac, sizeof(m.mac));
	*out_join = m;
	return 0;
}

void swi_paths_put_keys(struct swi_wr *w, const struct swi_paths_keys *m)
{
	swi_wr_u64(w, m->attempt);
	swi_wr_u32(w, m->count);
	for (uint32_t i = 0; i < m->count; i++) {
		swi_wr_u64(w, m->keys[i].name);
		swi_wr_u64(w, m->keys[i].name_base);
		swi_wr_u64(w, m->keys[i].rkey);
		swi_wr_u64(w, m->keys[i].base);
	}
}

int swi_paths_get_keys(struct swi_rd *r, struct swi_paths_keys *out_keys)
{
	struct swi_paths_keys m = {.attempt = swi_rd_u64(r)};

	m.count = swi_rd_u32(r);
	if (r->bad || m.count > SWI_PATHS_KEYS_MAX ||
	    r->len - r->pos != m.count * sizeof(*m.keys) + sizeof(m.mac))
		return SWARM_EPROTO;
	m.keys = calloc(m.count + 1u, sizeof(*m.keys));
	if (!m.keys)
		return -ENOMEM;
	for (uint32_t i = 0; i < m.count; i++) {
		m.keys[i].name = swi_rd_u64(r);
		m.keys[i].name_base = swi_rd_u64(r);
		m.keys[i].rkey = swi_rd_u64(r);
		m.keys[i].base = swi_rd_u64(r);
	}
	memcpy(m.mac, swi_rd_raw(r, sizeof(m.mac)), sizeof(m.mac));
	*out_keys = m;
	return 0;
}

void swi_paths_mac(const uint8_t secret[SWI_PATHS_SECRET], uint8_t kind, uint64_t id, uint64_t attempt,
		   const void *body, uint32_t len, uint8_t out_mac[SWI_PATHS_MAC])
{
	uint8_t head[17];
	struct swi_wr w = swi_wr_init(head, sizeof(head));
	crypto_auth_hmacsha256_state st;

	swi_wr_u8(&w, kind);
	swi_wr_u64(&w, id);
	swi_wr_u64(&w, attempt);
	crypto_auth_hmacsha256_init(&st, secret, SWI_PATHS_SECRET);
	crypto_auth_hmacsha256_update(&st, head, w.len);
	if (len)
		crypto_auth_hmacsha256_update(&st, body, len);
	crypto_auth_hmacsha256_final(&st, out_mac);
	sodium_memzero(&st, sizeof(st));
}

bool swi_paths_mac_ok(const uint8_t a[SWI_PATHS_MAC], const uint8_t b[SWI_PATHS_MAC])
{
	return sodium_memcmp(a, b, SWI_PATHS_MAC) == 0;
}
