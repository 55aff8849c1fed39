/* SPDX-License-Identifier: Apache-2.0 */
/* verbs_wire.c - see verbs_wire.h. */
#include "transport/verbs/verbs_wire.h"

static_assert(2 + VERBS_MORE_LANES * 8 + 4 + VERBS_WINDOWS_MAX * 4 * VERBS_LANES_MAX <= VERBS_OWN_MAX,
	      "the largest OK fits into a message");

const uint8_t swi_verbs_hello[VERBS_HELLO_BYTES] = {'S', 'W', 'R', 'M', 1}; /* version; zero */

bool swi_verbs_is_hello(const void *data, uint32_t len)
{
	return data && len >= VERBS_HELLO_BYTES && !memcmp(data, swi_verbs_hello, VERBS_HELLO_BYTES);
}

static void put_ends(struct swi_wr *w, const struct verbs_end *end, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		swi_wr_u32(w, end[i].qp);
		swi_wr_u32(w, end[i].psn);
	}
}

static void get_ends(struct swi_rd *r, struct verbs_end *end, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		end[i].qp = swi_rd_u32(r);
		end[i].psn = swi_rd_u32(r);
		if (end[i].qp > VERBS_NUMBER_MAX || end[i].psn > VERBS_NUMBER_MAX)
			r->bad = true;
	}
}

void swi_verbs_put_ask(struct swi_wr *w, const struct verbs_ask *m)
{
	swi_wr_u8(w, VERBS_ASK);
	swi_wr_u8(w, (uint8_t)m->count);
	put_ends(w, m->end, m->count);
}

int swi_verbs_get_ask(struct swi_rd *r, struct verbs_ask *out)
{
	struct verbs_ask m = {.count = swi_rd_u8(r)};

	if (!m.count || m.count > VERBS_MORE_LANES)
		return SWARM_EPROTO;
	get_ends(r, m.end, m.count);
	if (!swi_rd_done(r))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_verbs_put_ok(struct swi_wr *w, const struct verbs_ok *m)
{
	swi_wr_u8(w, VERBS_OK);
	swi_wr_u8(w, (uint8_t)m->count);
	put_ends(w, m->end, m->count);
	swi_wr_u32(w, m->name_count);
	for (uint32_t k = 0; k < m->name_count; k++) {
		swi_wr_u32(w, m->name[k].main);
		for (uint32_t i = 0; i < m->count; i++)
			swi_wr_u32(w, m->name[k].here[i]);
	}
}

int swi_verbs_get_ok(struct swi_rd *r, struct verbs_ok *out)
{
	struct verbs_ok m = {.count = swi_rd_u8(r)};

	if (m.count > VERBS_MORE_LANES)
		return SWARM_EPROTO;
	get_ends(r, m.end, m.count);
	m.name_count = swi_rd_u32(r);
	if (r->bad || m.name_count > (m.count ? VERBS_WINDOWS_MAX : 0))
		return SWARM_EPROTO;
	for (uint32_t k = 0; k < m.name_count; k++) {
		m.name[k].main = swi_rd_u32(r);
		for (uint32_t i = 0; i < m.count; i++)
			m.name[k].here[i] = swi_rd_u32(r);
	}
	if (!swi_rd_done(r))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}
