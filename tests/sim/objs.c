/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objs.c - the objects that the guests share, and the model: what must be true of each (guest.h).
 *
 * The bytes of an object follow from its id, also when it is made a second time. An object is sure while the life of the
 * node that made it goes on and nobody has begun to delete it: then whoever asks with patience gets it. What is not sure
 * may be had or not, but never with wrong bytes.
 */
#include "tests/sim/guest.h"

void sim_objs_make(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_NAMED; i++) {
		s->obj[i].ref = (struct swarm_ref){.id = {{sim_rand(s), 0x6e616d6500000000ull + i}}};
		s->obj[i].used = true;
	}
}

uint32_t sim_obj_new(struct sim *s, uint32_t home)
{
	for (uint32_t i = SIM_NAMED; i < SIM_OBJS; i++) {
		if (s->obj[i].used)
			continue;
		s->obj[i].ref = (struct swarm_ref){.id = {{sim_rand(s), 0x6775657300000000ull + i}}, .home = home};
		s->obj[i].used = true;
		return i;
	}
	return SIM_OBJS;
}

static uint64_t digest_of(const struct sim_obj *o)
{
	return sim_mix(o->ref.id.w[0], o->ref.id.w[1]);
}

uint64_t sim_obj_len(const struct sim *s, uint32_t obj)
{
	const uint64_t d = digest_of(&s->obj[obj]);

	/* Worlds with a quota have a few objects that use it up. */
	if (sim_quota(s) && d % 3 == 0)
		return KIB(200) + d / 3 % KIB(500);
	return sim_result_len(d, 0);
}

void sim_obj_fill(const struct sim *s, uint32_t obj, uint8_t *out)
{
	sim_result_fill(digest_of(&s->obj[obj]), 0, out, sim_obj_len(s, obj));
}

bool sim_obj_right(const struct sim *s, uint32_t obj, uint64_t from, const void *data, uint64_t len)
{
	const uint64_t whole = sim_obj_len(s, obj);
	uint8_t *want = malloc(whole + 1);
	bool right;

	SWI_BUG_ON(!want);
	sim_obj_fill(s, obj, want);
	right = from <= whole && len <= whole - from && !memcmp(want + from, data, len);
	free(want);
	return right;
}

static bool lives(const struct sim *s, uint32_t node, uint32_t life)
{
	const struct sim_node *n = &s->node[node];

	return n->up && !n->ended && n->life == life;
}

bool sim_obj_sure(const struct sim *s, uint32_t obj)
{
	const struct sim_obj *o = &s->obj[obj];

	return o->made && !o->doomed && lives(s, o->node, o->life) && !s->node[o->node].drained;
}

void sim_obj_made(struct sim *s, uint32_t obj, const struct sim_node *n)
{
	struct sim_obj *o = &s->obj[obj];

	if (o->made && lives(s, o->node, o->life))
		return; /* a name: the first still stands */
	o->made = true;
	o->node = n->index;
	o->life = n->life;
}

/* Its end in time is coming, and nobody else need delete it. */
static bool expires(const struct sim *s, const struct sim_obj *o)
{
	return o->ttl && lives(s, o->ttl_node, o->ttl_life);
}

bool sim_obj_next_left(struct sim *s, uint32_t *pos, struct swarm_ref *out)
{
	while (*pos < SIM_OBJS) {
		struct sim_obj *o = &s->obj[(*pos)++];

		if (!o->used || (expires(s, o) && !s->node[o->ttl_node].drained))
			continue;
		o->doomed = true;
		*out = o->ref;
		return true;
	}
	return false;
}

/* The node with this number was killed or declared dead: nobody answers for what had its home there. */
static bool home_lost(const struct sim *s, uint32_t home)
{
	for (uint32_t i = 0; home && i < s->lost_homes; i++)
		if (s->lost_home[i] == home)
			return true;
	return false;
}

bool sim_obj_may_stay(const struct sim *s, struct swarm_oid id)
{
	for (uint32_t i = 0; i < SIM_OBJS; i++) {
		const struct sim_obj *o = &s->obj[i];

		if (!o->used || !swarm_oid_equal(o->ref.id, id))
			continue;
		return home_lost(s, o->ref.home) || (o->ttl && !lives(s, o->ttl_node, o->ttl_life));
	}
	return false;
}
