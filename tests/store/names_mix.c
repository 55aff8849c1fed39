/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_mix.c - names are put and deleted again and again, in a seeded mix: test_store_names_mix [SEEDS [FIRST]].
 *
 * Meanwhile nodes do not come to look at their clients' rings, connections are held up, walks begin, a node comes and goes, others get
 * the names. Whatever happens: when it is quiet again what was put last is there, for everybody, and what was deleted last is not.
 */
#include "store/lc.h"
#include "tests/store/names_rig.h"

#define NAMES 6u
#define STEPS 160u

struct mix {
	struct sim *s;
	uint64_t rng;
	struct {
		struct swarm_ref ref;
		uint64_t len; /* 0: it was deleted */
		uint32_t at;  /* node whose client puts and deletes it */
	} name[NAMES];
	bool cut; /* nodes 1 and 2 do not hear each other */
	struct swi_want get[4];
};

static uint64_t rnd(struct mix *m, uint64_t below)
{
	return swi_splitmix64(&m->rng) % below;
}

static void be_quiet(struct mix *m)
{
	struct sim *s = m->s;

	for (uint32_t i = 1; i <= 3; i++)
		names_busy(&s->node[i], false);
	if (m->cut)
		swi_simnet_heal(s->net, s->node[1].addr, s->node[2].addr);
	m->cut = false;
	sim_run(s, 1500 * NS_PER_MS);
}

static void check(struct mix *m)
{
	be_quiet(m);
	for (uint32_t i = 0; i < NAMES; i++) {
		const uint64_t len = m->name[i].len;

		for (uint32_t k = 1; k <= 3; k++) {
			struct sim_node *n = &m->s->node[k];
			char text[256] = "";
			const int rc = sim_get(n, m->name[i].ref, len, len ? NS_PER_S : NS_PER_MS, text, sizeof(text));

			if (len ? rc : !rc)
				fail_msg("name %u, home %u, %s at node %u, is %d at node %u: %s", i,
					 swi_home_of(n->sn, m->name[i].ref), len ? "put" : "deleted", m->name[i].at, rc, k, text);
		}
		if (!len) /* everybody knows: anybody may put it */
			m->name[i].at = 1 + (uint32_t)rnd(m, 3);
	}
}

static void put_name(struct mix *m, uint64_t i, uint64_t step)
{
	struct sim_node *n = &m->s->node[m->name[i].at];

	m->name[i].len = 100 + step;
	if (swi_chunks_room(n->lc) < KIB(1)) /* it has to be asked */
		names_busy(n, false);
	if (sim_put(n, m->name[i].ref, m->name[i].len) == -EEXIST) { /* it has got the old one just now, and will be told to drop it */
		be_quiet(m);
		assert_int_equal(sim_put(n, m->name[i].ref, m->name[i].len), 0);
	}
}

/* What is deleted while its home changes may not be everywhere: then only @puts. */
static void change_name(struct mix *m, uint64_t step, bool puts)
{
	const uint64_t i = rnd(m, NAMES);
	struct sim_node *n = &m->s->node[m->name[i].at];

	if (m->name[i].len && !puts) {
		assert_int_equal(swi_lc_delete(n->lc, m->name[i].ref), 0);
		m->name[i].len = 0;
	} else if (!m->name[i].len) {
		put_name(m, i, step);
	}
}

/* The fourth node comes, or goes: some names have another home then. A delete on its way at that moment would go with the old one. */
static void change_members(struct mix *m, uint64_t step)
{
	struct sim *s = m->s;

	be_quiet(m);
	for (uint32_t i = 0; i < NAMES; i++)
		if (!m->name[i].len && rnd(m, 2))
			put_name(m, i, step);
	sim_run(s, rnd(m, 5) * NS_PER_US);
	if (!s->node[4].alive) {
		sim_start(s, 4, MIB(4), false);
		sim_know_all(s);
		names_hang_in(s, false);
		return;
	}
	sim_kill(&s->node[4], SWI_SIM_KILL_RESET);
	for (uint32_t i = 1; i <= 3; i++) { /* not all hear of it at once */
		sim_run(s, rnd(m, 20) * NS_PER_US);
		swi_peer_remove(s->node[i].sn, 4, true, 0);
	}
}

static void disturb(struct mix *m)
{
	struct sim *s = m->s;
	struct sim_node *n = &s->node[1 + rnd(m, 3)];

	struct swi_want *w = &m->get[rnd(m, SWI_ARRAY_LEN(m->get))];

	switch (rnd(m, 6)) {
	case 0:
		names_busy(n, rnd(m, 2));
		break;
	case 3:
		if (!w->owner) /* whatever that is at this moment */
			names_get(n, m->name[rnd(m, NAMES)].ref, NS_PER_MS, w);
		break;
	case 1:
		swi_announce_node(n->sn, 1 + (uint32_t)rnd(m, 4));
		n->sn->announce.all |= rnd(m, 2);
		break;
	case 2:
		if (m->cut)
			swi_simnet_heal(s->net, s->node[1].addr, s->node[2].addr);
		else
			swi_simnet_cut(s->net, s->node[1].addr, s->node[2].addr);
		m->cut = !m->cut;
		break;
	default:
		sim_run(s, 1 + rnd(m, 40) * 500);
	}
}

static void run(uint64_t seed)
{
	struct mix m = {.s = names_nodes(seed, 3, false), .rng = seed};

	for (uint32_t i = 0; i < NAMES; i++) {
		m.name[i].ref = sim_ref(seed << 16 | i, 0);
		m.name[i].at = 1 + i % 3;
	}
	for (uint64_t step = 0, calm = 0; step < STEPS; step++) {
		if (step % 20 == 19)
			check(&m);
		if (step % 40 == 20) {
			change_members(&m, step);
			calm = step + 10;
		}
		change_name(&m, step, step < calm);
		disturb(&m);
	}
	check(&m);
	for (uint32_t i = 1; i <= 3; i++)
		assert_null(m.s->node[i].sn->untolds.by_id);
	sim_free(m.s);
}

static uint64_t first = 1, seeds = 60;

static void test_mix(void **state)
{
	(void)state;
	for (uint64_t seed = first; seed < first + seeds; seed++) {
		printf("seed %llu\n", (unsigned long long)seed);
		run(seed);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_mix)};

	if (argc > 1)
		seeds = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		first = strtoull(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
