/* SPDX-License-Identifier: Apache-2.0 */
/* idmap.c - see idmap.h. */
#include "sched/idmap.h"

static uint64_t home_slot(const struct swi_idmap *m, struct swarm_oid id)
{
	uint64_t h = (id.w[0] ^ id.w[1] * 0xff51afd7ed558ccdull) * 0x9e3779b97f4a7c15ull;

	return (h ^ h >> 32) & (m->cap - 1);
}

void swi_idmap_fini(struct swi_idmap *m)
{
	free(m->slot);
	*m = (struct swi_idmap){0};
}

static struct swi_idslot *find(const struct swi_idmap *m, struct swarm_oid id)
{
	uint64_t i = home_slot(m, id);

	while (!swi_oid_is_zero(m->slot[i].id) && !swarm_oid_equal(m->slot[i].id, id))
		i = (i + 1) & (m->cap - 1);
	return &m->slot[i];
}

static int grow(struct swi_idmap *m)
{
	struct swi_idmap big = {.cap = m->cap ? m->cap * 2 : 64, .count = m->count};

	big.slot = calloc(big.cap, sizeof(*big.slot));
	if (!big.slot)
		return -ENOMEM;
	for (uint64_t i = 0; i < m->cap; i++)
		if (!swi_oid_is_zero(m->slot[i].id))
			*find(&big, m->slot[i].id) = m->slot[i];
	free(m->slot);
	*m = big;
	return 0;
}

int swi_idmap_set(struct swi_idmap *m, struct swarm_oid id, void *val, uint32_t aux)
{
	struct swi_idslot *s;

	SWI_BUG_ON(swi_oid_is_zero(id));
	if ((m->count + 1) * 4 > m->cap * 3) {
		const int rc = grow(m);

		if (rc)
			return rc;
	}
	s = find(m, id);
	if (swi_oid_is_zero(s->id))
		m->count++;
	*s = (struct swi_idslot){id, val, aux};
	return 0;
}

const struct swi_idslot *swi_idmap_get(const struct swi_idmap *m, struct swarm_oid id)
{
	const struct swi_idslot *s;

	if (!m->cap || swi_oid_is_zero(id))
		return NULL;
	s = find(m, id);
	return swi_oid_is_zero(s->id) ? NULL : s;
}

void swi_idmap_del(struct swi_idmap *m, struct swarm_oid id)
{
	struct swi_idslot *s;
	uint64_t hole, i;

	if (!swi_idmap_get(m, id))
		return;
	s = find(m, id);
	m->count--;
	hole = (uint64_t)(s - m->slot);
	/* Whoever was pushed past the hole moves back into it. */
	for (i = (hole + 1) & (m->cap - 1); !swi_oid_is_zero(m->slot[i].id);
	     i = (i + 1) & (m->cap - 1)) {
		const uint64_t want = home_slot(m, m->slot[i].id);

		if (((i - want) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
			m->slot[hole] = m->slot[i];
			hole = i;
		}
	}
	m->slot[hole] = (struct swi_idslot){0};
}
