/* SPDX-License-Identifier: Apache-2.0 */
/* names_rig.c - see names_rig.h. */
#include "tests/store/names_rig.h"

static void peer_down(void *ctx, struct swi_peer *peer, int status)
{
	(void)ctx;
	(void)peer;
	(void)status;
}

static bool keep_none(void *ctx, struct swarm_oid id)
{
	(void)ctx;
	(void)id;
	return false;
}

void names_hang_in(struct sim *s, bool keeps)
{
	const struct swi_snode_hooks h = {.peer_down = peer_down, .obj_keep = keeps ? keep_none : NULL};

	for (uint32_t i = 0; i < SIM_NODES; i++)
		if (s->node[i].alive)
			swi_snode_set_hooks(s->node[i].sn, &h);
}

struct sim *names_nodes(uint64_t seed, uint32_t count, bool disk)
{
	struct sim *s = sim_new(seed);

	for (uint32_t i = 1; i <= count; i++)
		sim_start(s, i, MIB(4), disk);
	sim_know_all(s);
	names_hang_in(s, false);
	sim_run(s, 50 * NS_PER_MS);
	return s;
}

struct swarm_ref names_at(struct sim *s, uint32_t home)
{
	struct swarm_ref ref = sim_ref(1, 0);

	for (uint64_t i = 2; swi_home_of(s->node[home].sn, ref) != home; i++)
		ref = sim_ref(i, 0);
	return ref;
}

void names_busy(struct sim_node *n, bool on)
{
	n->cl->out_bytes = on ? MIB(5) : 0;
}

void names_everybody_has(struct sim *s, struct swarm_ref ref, uint64_t len)
{
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		char text[256] = "";

		if (!s->node[i].alive)
			continue;
		const int rc = sim_get(&s->node[i], ref, len, NS_PER_S, text, sizeof(text));

		if (rc)
			fail_msg("node %u: %d %s", i, rc, text);
	}
}

void names_nobody_has(struct sim *s, struct swarm_ref ref)
{
	for (uint32_t i = 0; i < SIM_NODES; i++)
		if (s->node[i].alive)
			assert_int_equal(sim_get(&s->node[i], ref, 0, NS_PER_S, NULL, 0), SWARM_EDELETED);
}

void names_deleted_once(struct sim_node *n, struct swarm_ref ref)
{
	assert_int_equal(sim_put(n, ref, NAMES_LEN_OLD), 0);
	sim_run(n->sim, 20 * NS_PER_MS);
	assert_int_equal(swi_lc_delete(n->lc, ref), 0);
	sim_run(n->sim, 20 * NS_PER_MS);
	names_nobody_has(n->sim, ref);
}

void names_drained(struct swi_drain *d, int status)
{
	*(int *)d->owner = status + 1;
}

static void got_either(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	(void)text;
	if (!status)
		swi_hold_drop(w->owner, offset);
	w->owner = NULL;
}

void names_get(struct sim_node *n, struct swarm_ref ref, uint64_t timeout_ns, struct swi_want *w)
{
	*w = (struct swi_want){.ref = ref, .deadline_ns = swi_simnet_now(n->sim->net) + timeout_ns,
			       .cb = got_either, .owner = n->sn};
	swi_want(n->sn, w);
}
