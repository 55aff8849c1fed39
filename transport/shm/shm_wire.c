/* SPDX-License-Identifier: Apache-2.0 */
/* shm_wire.c - see shm_wire.h. */
#include "transport/shm/shm_wire.h"

void swi_shm_put_grant(struct swi_wr *w, const struct shm_grant *m)
{
	swi_wr_u8(w, SHM_GRANT);
	swi_wr_u32(w, m->slot);
	swi_wr_u64(w, m->word);
	swi_wr_u32(w, m->count);
	for (uint32_t i = 0; i < m->count; i++) {
		swi_wr_u64(w, m->mem[i].rkey);
		swi_wr_u64(w, m->mem[i].off);
		swi_wr_u64(w, m->mem[i].len);
	}
}

int swi_shm_get_grant(struct swi_rd *r, struct shm_grant *out)
{
	struct shm_grant m = {.slot = swi_rd_u32(r)};

	m.word = swi_rd_u64(r);
	m.count = swi_rd_u32(r);
	if (!m.word || m.slot >= SHM_EPS_MAX || m.count > SHM_WINDOWS_MAX)
		return SWARM_EPROTO;
	for (uint32_t i = 0; i < m.count; i++) {
		m.mem[i].rkey = swi_rd_u64(r);
		m.mem[i].off = swi_rd_u64(r);
		m.mem[i].len = swi_rd_u64(r);
	}
	if (!swi_rd_done(r))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}
