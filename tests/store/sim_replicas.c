/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_replicas.c - copies on request, in virtual time: holders that die, targets that die or have no room, links that are cut or
 * lost, deletes, and several who ask at once.
 */
#include <swarm/store.h>

#include "tests/store/sim_rig.h"

#define LEN   KIB(40)
#define NODES 5u

struct call {
	struct swi_call call;
	bool done;
	int status;
	char text[512];
};

static void on_reply(struct swi_call *call, int status, struct swi_rd *body)
{
	struct call *c = call->owner;

	c->done = true;
	c->status = status;
	if (status)
		swi_rd_str(body, c->text, sizeof(c->text));
}

static void begin(struct sim_node *n, struct call *c, struct swarm_ref ref, uint32_t copies, uint64_t timeout_ns)
{
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	*c = (struct call){.call = {.on_reply = on_reply, .owner = c}};
	swi_wr_ref(&w, ref);
	swi_wr_u32(&w, copies);
	swi_wr_u64(&w, timeout_ns);
	assert_int_equal(swi_lc_try_post(n->lc, SWI_L_REPLICATE, buf, w.len, &c->call), 0);
}

/* Made there, and its home knows: the layer above says so where the home is another node. */
static void make(struct sim_node *n, struct swarm_ref ref, uint64_t len)
{
	assert_int_equal(sim_put(n, ref, len), 0);
	if (ref.home && ref.home != n->number)
		swi_dir_have(n->sn, ref, len, SWI_COPY_PRIMARY);
	sim_run(n->sim, NS_PER_MS);
}

static int replicate(struct sim_node *n, struct swarm_ref ref, uint32_t copies, uint64_t timeout_ns)
{
	struct call c;

	begin(n, &c, ref, copies, timeout_ns);
	assert_true(sim_until(n->sim, &c.done, timeout_ns + NS_PER_S));
	return c.status;
}

static struct sim *cluster(uint64_t seed, uint32_t nodes, uint64_t arena, bool disk)
{
	struct sim *s = sim_new(seed);

	for (uint32_t i = 1; i <= nodes; i++)
		sim_start(s, i, arena, disk);
	sim_know_all(s);
	sim_run(s, 10 * NS_PER_MS);
	return s;
}

/* Does this node have a copy that it may not drop? */
static bool keeps(struct sim_node *n, struct swarm_ref ref)
{
	struct swi_local lo;
	uint64_t len;

	if (!n->alive)
		return false;
	if (swi_local_find(n->sn, ref.id, &lo) && !(lo.flags & SWI_OBJ_F_SECONDARY))
		return true;
	return swi_spilled_here(n->sn, ref.id, &len);
}

static uint32_t keepers(struct sim *s, struct swarm_ref ref)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i < SIM_NODES; i++)
		n += keeps(&s->node[i], ref);
	return n;
}

static uint64_t fetches(struct sim *s)
{
	uint64_t n = 0;

	for (uint32_t i = 1; i < SIM_NODES; i++)
		n += s->node[i].alive ? s->node[i].sn->stats.fetches : 0;
	return n;
}

static void all_get(struct sim *s, struct swarm_ref ref, uint64_t len)
{
	for (uint32_t i = 1; i < SIM_NODES; i++)
		if (s->node[i].alive)
			assert_int_equal(sim_get(&s->node[i], ref, len, 20 * NS_PER_S, NULL, 0), 0);
}

static void no_holds(struct sim *s)
{
	sim_run(s, 100 * NS_PER_MS); /* news of the end of READs travels */
	for (uint32_t i = 1; i < SIM_NODES; i++)
		if (s->node[i].alive)
			assert_int_equal(s->node[i].sn->holds.count, 0);
}

/* Of @ref those who keep it, in order of number. */
static struct sim_node *keeper(struct sim *s, struct swarm_ref ref, uint32_t which)
{
	for (uint32_t i = 1; i < SIM_NODES; i++)
		if (keeps(&s->node[i], ref) && !which--)
			return &s->node[i];
	return NULL;
}

/* Whoever asks (the maker, the home, a third one), named or not: three have it, two of them die, everybody reads. */
static void test_two_die(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 30; round++) {
		struct sim *s = cluster(round + 1, NODES, MIB(8), round & 1);
		const uint32_t maker = 1 + round % NODES, asker = 1 + (round / 2 + round) % NODES;
		/* A name; home where it was made; home elsewhere. */
		const uint32_t home = round % 3 == 0 ? 0 : round % 3 == 1 ? maker : 1 + maker % NODES;
		const struct swarm_ref ref = sim_ref(100 + round, home);

		make(&s->node[maker], ref, LEN);
		assert_int_equal(replicate(&s->node[asker], ref, 3, NS_PER_S), 0);
		sim_run(s, 10 * NS_PER_MS);
		assert_int_equal(keepers(s, ref), 3);
		assert_int_equal(fetches(s), 2);
		assert_true(keeps(&s->node[maker], ref));
		/* The maker and, every second time, the last instead of the next. */
		sim_kill(&s->node[maker], round % 4 < 2 ? SWI_SIM_KILL_RESET : SWI_SIM_KILL_SILENT);
		sim_kill(keeper(s, ref, round & 1), SWI_SIM_KILL_RESET);
		assert_int_equal(keepers(s, ref), 1);
		all_get(s, ref, LEN);
		no_holds(s);
		/* As many as there are again. */
		assert_int_equal(replicate(&s->node[keeper(s, ref, 0)->number], ref, 3, 10 * NS_PER_S), 0);
		assert_int_equal(keepers(s, ref), 3);
		sim_free(s);
	}
}

static void test_again_copies_nothing(void **state)
{
	struct sim *s = cluster(3, NODES, MIB(8), false);
	const struct swarm_ref ref = sim_ref(1, 2);
	struct sim_node *a = &s->node[1];
	struct call c[8];

	(void)state;
	make(a, ref, LEN);
	/* At once, by all of them, twice by some. */
	for (uint32_t i = 0; i < SWI_ARRAY_LEN(c); i++)
		begin(&s->node[1 + i % NODES], &c[i], ref, 3, NS_PER_S);
	for (uint32_t i = 0; i < SWI_ARRAY_LEN(c); i++) {
		assert_true(sim_until(s, &c[i].done, 2 * NS_PER_S));
		assert_int_equal(c[i].status, 0);
	}
	assert_int_equal(keepers(s, ref), 3);
	assert_int_equal(fetches(s), 2);
	/* One after the other, without a pause for news to travel. */
	for (uint32_t i = 1; i <= NODES; i++)
		assert_int_equal(replicate(&s->node[i], ref, 1 + i % 3, NS_PER_S), 0);
	assert_int_equal(fetches(s), 2);
	assert_int_equal(keepers(s, ref), 3);
	/* More of them. */
	assert_int_equal(replicate(a, ref, NODES, NS_PER_S), 0);
	assert_int_equal(keepers(s, ref), NODES);
	assert_int_equal(fetches(s), 4);
	no_holds(s);
	sim_free(s);
}

/* Wherever the home is, and whatever it has itself. */
static void test_again_anywhere(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 40; round++) {
		struct sim *s = cluster(round + 1, NODES, MIB(8), false);
		const struct swarm_ref ref = sim_ref(100 + round, round & 1 ? 0 : 1 + round / 2 % NODES);

		make(&s->node[1 + round % NODES], ref, LEN);
		for (uint32_t i = 1; i <= NODES; i++)
			assert_int_equal(replicate(&s->node[i], ref, 3, NS_PER_S), 0);
		assert_int_equal(fetches(s), 2);
		assert_int_equal(keepers(s, ref), 3);
		sim_free(s);
	}
}

/* Copies that readers left behind are kept first. */
static void test_readers_copies_stay(void **state)
{
	struct sim *s = cluster(4, NODES, MIB(8), false);
	const struct swarm_ref ref = sim_ref(1, 1);

	(void)state;
	make(&s->node[1], ref, LEN);
	assert_int_equal(sim_get(&s->node[4], ref, LEN, NS_PER_S, NULL, 0), 0);
	assert_int_equal(sim_get(&s->node[2], ref, LEN, NS_PER_S, NULL, 0), 0);
	sim_run(s, 10 * NS_PER_MS);
	assert_int_equal(keepers(s, ref), 1);
	assert_int_equal(replicate(&s->node[5], ref, 3, NS_PER_S), 0);
	assert_true(keeps(&s->node[2], ref) && keeps(&s->node[4], ref));
	assert_int_equal(fetches(s), 2);
	sim_free(s);
}

static void test_too_few(void **state)
{
	struct sim *s = cluster(5, 2, MIB(8), false);
	const struct swarm_ref ref = sim_ref(1, 1);
	struct call c;

	(void)state;
	make(&s->node[1], ref, LEN);
	begin(&s->node[2], &c, ref, 3, NS_PER_S);
	assert_true(sim_until(s, &c.done, NS_PER_S));
	assert_int_equal(c.status, SWARM_EFEWNODES);
	assert_non_null(strstr(c.text, "3 copies on 2 nodes"));
	assert_non_null(strstr(c.text, "fewer copies"));
	assert_int_equal(fetches(s), 0);
	all_get(s, ref, LEN);
	assert_int_equal(replicate(&s->node[2], ref, 2, NS_PER_S), 0);
	assert_int_equal(keepers(s, ref), 2);
	/* Alone one has one copy. */
	sim_kill(&s->node[1], SWI_SIM_KILL_RESET);
	sim_run(s, 10 * NS_PER_S);
	assert_int_equal(replicate(&s->node[2], ref, 1, NS_PER_S), 0);
	assert_int_equal(replicate(&s->node[2], ref, 2, NS_PER_S), SWARM_EFEWNODES);
	assert_int_equal(sim_get(&s->node[2], ref, LEN, NS_PER_S, NULL, 0), 0);
	sim_free(s);
}

static void test_codes(void **state)
{
	struct sim *s = cluster(6, 3, MIB(8), false);
	const struct swarm_ref ref = sim_ref(1, 1);

	(void)state;
	assert_int_equal(replicate(&s->node[2], ref, 2, 50 * NS_PER_MS), -ENOENT); /* nobody has made it */
	make(&s->node[1], ref, LEN);
	assert_int_equal(replicate(&s->node[2], ref, 2, NS_PER_S), 0);
	swi_delete(s->node[3].sn, ref);
	sim_run(s, 10 * NS_PER_MS);
	assert_int_equal(keepers(s, ref), 0);
	assert_int_equal(s->node[2].sn->attrs.replicas, 0);
	assert_int_equal(s->node[2].sn->attrs.soft, 0);
	assert_int_equal(replicate(&s->node[2], ref, 2, NS_PER_S), SWARM_EDELETED);
	assert_int_equal(replicate(&s->node[1], ref, 2, NS_PER_S), SWARM_EDELETED);
	/* It comes while somebody asks. */
	struct call c;

	begin(&s->node[3], &c, sim_ref(2, 2), 2, NS_PER_S);
	sim_run(s, 10 * NS_PER_MS);
	make(&s->node[1], sim_ref(2, 2), LEN);
	assert_true(sim_until(s, &c.done, 2 * NS_PER_S));
	assert_int_equal(c.status, 0);
	assert_int_equal(keepers(s, sim_ref(2, 2)), 2);
	no_holds(s);
	sim_free(s);
}

/* The home is dead: who deletes tells everybody. */
static void test_delete_without_home(void **state)
{
	struct sim *s = cluster(7, NODES, MIB(8), true);
	const struct swarm_ref ref = sim_ref(1, 1);

	(void)state;
	make(&s->node[1], ref, LEN);
	assert_int_equal(replicate(&s->node[1], ref, 4, NS_PER_S), 0);
	sim_kill(&s->node[1], SWI_SIM_KILL_RESET);
	sim_run(s, 5 * NS_PER_S);
	all_get(s, ref, LEN);
	swi_delete(s->node[5].sn, ref);
	sim_run(s, 100 * NS_PER_MS);
	assert_int_equal(keepers(s, ref), 0);
	for (uint32_t i = 2; i <= NODES; i++)
		assert_int_equal(sim_get(&s->node[i], ref, LEN, NS_PER_S, NULL, 0), SWARM_EHOMELOST);
	sim_free(s);
}

/* Somebody who is asked dies at any moment of a transfer of 300 us or so: another one takes his place. */
static void test_target_dies(void **state)
{
	uint32_t early = 0;

	(void)state;
	for (uint64_t when = 0; when < 40; when++) {
		struct sim *s = cluster(20 + when, NODES, MIB(16), when & 1);
		const struct swarm_ref ref = sim_ref(1 + when, when % 3 ? 1 : 0);
		const bool never = false;
		struct sim_node *t;
		struct call c;

		make(&s->node[1], ref, MIB(3));
		begin(&s->node[1], &c, ref, 3, 20 * NS_PER_S);
		sim_until(s, &never, when * 20 * NS_PER_US);
		t = NULL; /* the first that was asked, or else any */
		for (uint32_t i = 2; i <= NODES; i++)
			if (!t || !swi_list_empty(&s->node[i].sn->keeps.list) || keeps(&s->node[i], ref))
				t = &s->node[i];
		early += !c.done;
		const bool was_kept = c.done;

		sim_kill(t, when % 4 < 2 ? SWI_SIM_KILL_RESET : SWI_SIM_KILL_SILENT);
		assert_true(sim_until(s, &c.done, 30 * NS_PER_S));
		assert_int_equal(c.status, 0);
		sim_run(s, 20 * NS_PER_S);
		if (!was_kept)
			assert_true(keepers(s, ref) >= 2); /* it may have died after it had answered */
		/* Who died without a word is missed only when somebody has asked it: about 10 s. */
		assert_int_equal(replicate(&s->node[1], ref, 3, 30 * NS_PER_S), 0);
		assert_int_equal(keepers(s, ref), 3);
		all_get(s, ref, MIB(3));
		no_holds(s);
		sim_free(s);
	}
	assert_in_range(early, 5, 39);
}

/* Fills its memory with what cannot leave. */
static void fill(struct sim_node *n)
{
	for (uint64_t i = 0; sim_put(n, sim_ref(1000 * n->number + i, n->number), KIB(200)) == 0; i++)
		;
}

static void test_no_memory(void **state)
{
	struct sim *s = cluster(8, 4, MIB(4), false);
	const struct swarm_ref ref = sim_ref(1, 1);
	struct call c;

	(void)state;
	make(&s->node[1], ref, MIB(1));
	fill(&s->node[2]);
	fill(&s->node[3]);
	/* The one that has room is found; a third has none. */
	assert_int_equal(replicate(&s->node[1], ref, 2, 20 * NS_PER_S), 0);
	assert_true(keeps(&s->node[4], ref));
	begin(&s->node[1], &c, ref, 3, 20 * NS_PER_S);
	assert_true(sim_until(s, &c.done, 20 * NS_PER_S));
	assert_int_equal(c.status, SWARM_EFULL);
	assert_non_null(strstr(c.text, "node "));
	assert_int_equal(keepers(s, ref), 2);
	/* Patience that ends before theirs. */
	assert_int_equal(replicate(&s->node[1], ref, 3, 100 * NS_PER_MS), -ETIMEDOUT);
	assert_int_equal(keepers(s, ref), 2);
	no_holds(s);
	sim_free(s);
}

/* Copies on request outlive the pressure that drops other copies: on disk where there is one, else in memory. */
static void test_pressure(void **state)
{
	(void)state;
	for (int disk = 0; disk < 2; disk++) {
		struct sim *s = cluster(9, 3, MIB(4), disk);
		struct sim_node *b = &s->node[2];
		const struct swarm_ref ref = sim_ref(1, 1), other = sim_ref(2, 1);
		struct swi_local lo;

		make(&s->node[1], ref, KIB(300));
		make(&s->node[1], other, KIB(300));
		assert_int_equal(replicate(b, ref, 3, NS_PER_S), 0);
		assert_int_equal(sim_get(b, other, KIB(300), NS_PER_S, NULL, 0), 0);
		assert_int_equal(b->sn->attrs.soft, 1);
		for (uint64_t i = 0; i < (disk ? 60 : 17); i++)
			assert_int_equal(sim_put(b, sim_ref(100 + i, 2), KIB(200)), 0);
		sim_run(s, 100 * NS_PER_MS);
		assert_false(swi_local_find(b->sn, other.id, &lo));
		assert_true(keeps(b, ref));
		sim_kill(&s->node[1], SWI_SIM_KILL_RESET);
		sim_kill(&s->node[3], SWI_SIM_KILL_RESET);
		assert_int_equal(sim_get(b, ref, KIB(300), 20 * NS_PER_S, NULL, 0), 0);
		sim_free(s);
	}
}

/* Connections that break under questions and answers; a link that is cut for a while. */
static void test_lost_messages(void **state)
{
	(void)state;
	for (uint64_t when = 0; when < 40; when++) {
		struct sim *s = cluster(60 + when, NODES, MIB(8), false);
		const struct swarm_ref ref = sim_ref(1 + when, (uint32_t)(1 + when % NODES));
		struct sim_node *a = &s->node[1];
		const bool never = false;
		struct call c;

		make(a, ref, LEN);
		begin(a, &c, ref, 4, 20 * NS_PER_S);
		for (uint32_t k = 0; k < 3; k++) {
			sim_until(s, &never, (1 + when % 10) * 2 * NS_PER_US);
			for (uint32_t i = 2; i <= NODES; i++) {
				struct swi_peer *p = swi_peer_find(a->sn, i);

				if (p && p->chosen && (when + i) % 2)
					swi_conn_close(p->chosen->conn, SWARM_EPEERLOST);
			}
		}
		if (when % 3 == 0)
			swi_simnet_cut(s->net, a->addr, s->node[2 + when % 4].addr);
		sim_until(s, &c.done, 500 * NS_PER_MS);
		if (when % 3 == 0)
			swi_simnet_heal(s->net, a->addr, s->node[2 + when % 4].addr);
		assert_true(sim_until(s, &c.done, 20 * NS_PER_S));
		assert_int_equal(c.status, 0);
		sim_run(s, NS_PER_S);
		assert_true(keepers(s, ref) >= 4);
		all_get(s, ref, LEN);
		no_holds(s);
		sim_free(s);
	}
}

/* Who asked is gone: nothing is left behind but the copies. */
static void test_asker_dies(void **state)
{
	(void)state;
	for (uint64_t when = 0; when < 20; when++) {
		struct sim *s = cluster(90 + when, NODES, MIB(16), false);
		const struct swarm_ref ref = sim_ref(1, 1);
		const bool never = false;
		struct call c;

		make(&s->node[1], ref, MIB(3));
		begin(&s->node[2], &c, ref, 4, 5 * NS_PER_S);
		sim_until(s, &never, when * 15 * NS_PER_US);
		sim_kill(&s->node[2], when & 1 ? SWI_SIM_KILL_RESET : SWI_SIM_KILL_SILENT);
		sim_run(s, 10 * NS_PER_S);
		for (uint32_t i = 1; i <= NODES; i++)
			if (s->node[i].alive)
				assert_int_equal(s->node[i].sn->keeps.count, 0);
		no_holds(s);
		all_get(s, ref, MIB(3));
		sim_free(s);
	}
}

/* A node that leaves takes no copies, and passes its own on. */
static void drained(struct swi_drain *d, int status)
{
	assert_int_equal(status, 0);
	*(bool *)d->owner = true;
}

static void test_drain(void **state)
{
	struct sim *s = cluster(11, 3, MIB(8), false);
	const struct swarm_ref ref = sim_ref(1, 1);
	bool done = false;
	struct swi_drain d = {.cb = drained, .owner = &done};

	(void)state;
	make(&s->node[1], ref, LEN);
	assert_int_equal(replicate(&s->node[2], ref, 2, NS_PER_S), 0);
	for (uint32_t i = 2; i <= 3; i++)
		if (keeps(&s->node[i], ref))
			d.heir = i;
	struct sim_node *leaves = &s->node[d.heir], *stays = &s->node[5 - d.heir];

	d.heir = stays->number;
	swi_drain_start(leaves->sn, &d, &stays->number, 1);
	assert_true(sim_until(s, &done, 5 * NS_PER_S));
	assert_true(keeps(stays, ref) && !keeps(leaves, ref));
	assert_int_equal(replicate(&s->node[1], ref, 3, NS_PER_S), SWARM_EDRAINING);
	assert_int_equal(replicate(&s->node[1], ref, 2, NS_PER_S), 0);
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_two_die),	    cmocka_unit_test(test_again_copies_nothing),
	    cmocka_unit_test(test_again_anywhere),	    cmocka_unit_test(test_readers_copies_stay), cmocka_unit_test(test_too_few),
	    cmocka_unit_test(test_codes),	    cmocka_unit_test(test_delete_without_home),
	    cmocka_unit_test(test_target_dies),	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_pressure),	    cmocka_unit_test(test_lost_messages),
	    cmocka_unit_test(test_asker_dies),	    cmocka_unit_test(test_drain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
