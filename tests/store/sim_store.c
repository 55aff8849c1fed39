/* SPDX-License-Identifier: Apache-2.0 */
/* sim_store.c - several node cores in virtual time: recovery, heirs, draining, tight memory, a seeded soak. */
#include "store/announce.h"
#include "tests/store/sim_rig.h"

static struct sim *three(uint64_t seed, uint64_t arena, bool disk)
{
	struct sim *s = sim_new(seed);

	for (uint32_t i = 1; i <= 3; i++)
		sim_start(s, i, arena, disk);
	sim_know_all(s);
	return s;
}

/* ---- the layer above, as far as these tests need one ---- */

struct maker {
	struct sim_node *n;
	uint64_t lost, never_made;
	int answer;
	struct swarm_oid last;
};

static int obj_lost(void *ctx, struct swarm_oid id, bool made, char *why, size_t why_len)
{
	struct maker *m = ctx;

	m->lost += made;
	m->never_made += !made;
	m->last = id;
	if (m->answer < 0)
		snprintf(why, why_len, "task 7 cannot run again");
	else if (made)
		swi_dir_expect(m->n->sn, id);
	return m->answer;
}

static void peer_down(void *ctx, struct swi_peer *peer, int status)
{
	(void)ctx;
	(void)peer;
	(void)status;
}

static void hang_in(struct sim_node *n, struct maker *m)
{
	const struct swi_snode_hooks h = {
	    .ctx = m, .obj_lost = m ? obj_lost : NULL, .peer_down = peer_down};

	if (m)
		m->n = n;
	swi_snode_set_hooks(n->sn, &h);
}

static void test_lost_is_rebuilt_on_demand(void **state)
{
	struct sim *s = three(1, MIB(4), false);
	struct sim_node *a = &s->node[1], *b = &s->node[2], *c = &s->node[3];
	const struct swarm_ref ref = sim_ref(5, 1);
	struct maker m = {0};
	char text[256];

	(void)state;
	hang_in(a, &m);
	hang_in(c, NULL);
	/* A task of node 1 ran on node 2. */
	swi_dir_expect(a->sn, ref.id);
	assert_int_equal(sim_get(c, ref, 0, 50 * NS_PER_MS, text, sizeof(text)), -ETIMEDOUT);
	assert_non_null(strstr(text, "being made"));
	assert_int_equal(sim_put(b, ref, 3000), 0);
	swi_dir_add_copy(a->sn, ref.id, 2, 3000, true);
	assert_int_equal(swi_dir_get(a->sn, ref.id, NULL), SWI_DIR_AVAILABLE);
	sim_run(s, NS_PER_MS);
	sim_kill(b, SWI_SIM_KILL_RESET);
	sim_run(s, 100 * NS_PER_MS);
	swi_peer_remove(a->sn, 2, true, 0);
	swi_peer_remove(c->sn, 2, true, 0);
	sim_run(s, NS_PER_S);
	assert_int_equal(m.lost, 0); /* nobody wants it yet */
	assert_int_equal(sim_get(c, ref, 3000, 200 * NS_PER_MS, text, sizeof(text)), -ETIMEDOUT);
	assert_int_equal(m.lost, 1);
	assert_true(swarm_oid_equal(m.last, ref.id));
	assert_int_equal(sim_put(a, ref, 3000), 0);
	assert_int_equal(sim_get(c, ref, 3000, NS_PER_S, NULL, 0), 0);
	assert_int_equal(m.lost, 1);
	/* One that cannot be made again says why. */
	m.answer = SWARM_ELOST;
	assert_int_equal(sim_get(c, sim_ref(6, 1), 0, NS_PER_S, text, sizeof(text)), SWARM_ELOST);
	assert_string_equal(text, "task 7 cannot run again");
	assert_int_equal(m.never_made, 1);
	sim_free(s);
}

static void test_heir_answers(void **state)
{
	struct sim *s = three(2, MIB(4), false);
	struct sim_node *a = &s->node[1], *b = &s->node[2], *c = &s->node[3];
	const struct swarm_ref ref = sim_ref(9, 1), other = sim_ref(10, 1);
	char text[256];

	(void)state;
	hang_in(b, NULL);
	hang_in(c, NULL);
	assert_int_equal(sim_put(a, ref, 70000), 0);
	assert_int_equal(sim_get(b, ref, 70000, NS_PER_S, NULL, 0), 0);
	sim_kill(a, SWI_SIM_KILL_SILENT);
	sim_run(s, 3 * NS_PER_S);
	swi_peer_remove(b->sn, 1, true, 3);
	swi_peer_remove(c->sn, 1, true, 3);
	/* The holder tells the heir what it has of the dead home's. */
	assert_int_equal(sim_get(c, ref, 70000, NS_PER_S, NULL, 0), 0);
	assert_int_equal(sim_get(b, other, 0, 100 * NS_PER_MS, text, sizeof(text)), -ENOENT);
	assert_non_null(strstr(text, "node 3"));
	sim_free(s);
}

static void answered(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	(void)text;
	(void)offset;
	*(int *)w->owner = status;
}

/* A name at home on node 3, of which node 2 had the only copy and died. */
static struct swarm_ref lose_name(struct sim *s, struct maker *m)
{
	struct sim_node *a = &s->node[1], *b = &s->node[2], *c = &s->node[3];
	struct swarm_ref ref = sim_ref(1, 0);

	hang_in(a, NULL);
	hang_in(c, m);
	for (uint64_t i = 2; swi_home_of(c->sn, ref) != 3 || swi_rendezvous(ref.id, 2) > swi_rendezvous(ref.id, 3); i++)
		ref = sim_ref(i, 0);
	assert_int_equal(sim_put(b, ref, 3000), 0);
	sim_run(s, 10 * NS_PER_MS);
	sim_kill(b, SWI_SIM_KILL_RESET);
	sim_run(s, 10 * NS_PER_MS);
	swi_peer_remove(a->sn, 2, true, 0);
	swi_peer_remove(c->sn, 2, true, 0);
	return ref;
}

/* A name was lost and put again; the news of that is held up on its way to the home, which must not say that it is lost. */
static void test_lost_name_is_put_again(void **state)
{
	struct sim *s = three(9, MIB(4), false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	struct maker m = {.answer = SWARM_ELOST};
	struct swarm_ref ref;
	struct swi_want w = {.cb = answered};
	int status = 1;

	(void)state;
	ref = lose_name(s, &m);
	assert_int_equal(sim_get(a, ref, 0, 100 * NS_PER_MS, NULL, 0), SWARM_ELOST);
	swi_simnet_cut(s->net, a->addr, c->addr);
	assert_int_equal(sim_put(a, ref, 3000), 0);
	w.ref = ref;
	w.deadline_ns = UINT64_MAX;
	w.owner = &status;
	swi_want(c->sn, &w);
	sim_run(s, 300 * NS_PER_MS);
	assert_int_equal(status, 1);
	swi_simnet_heal(s->net, a->addr, c->addr);
	sim_run(s, 100 * NS_PER_MS);
	assert_int_equal(status, 0);
	assert_int_equal(sim_get(c, ref, 3000, NS_PER_S, NULL, 0), 0);
	sim_free(s);
}

/* Who asks for a lost name again and again does not keep all nodes busy: however many gets, a few askings. */
static void test_lost_name_is_asked_for_rarely(void **state)
{
	struct sim *s = three(11, MIB(4), false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	struct maker m = {.answer = SWARM_ELOST};
	struct swarm_ref ref;
	const struct swi_tp_counters *sent = swi_tp_counters(swi_snode_tp(c->sn));
	uint64_t before, began, gets = 0;

	(void)state;
	ref = lose_name(s, &m);
	sim_run(s, 100 * NS_PER_MS);
	before = sent->msgs_sent;
	for (began = swi_simnet_now(s->net); swi_simnet_now(s->net) < began + NS_PER_S; gets++)
		assert_int_equal(sim_get(c, ref, 0, NS_PER_S, NULL, 0), SWARM_ELOST);
	print_message("%llu gets, %llu messages\n", (unsigned long long)gets, (unsigned long long)(sent->msgs_sent - before));
	assert_in_range(sent->msgs_sent - before, 1, 150);
	/* Put again in such a pause: whoever waits has it at once. */
	assert_int_equal(sim_get(c, ref, 0, NS_PER_S, NULL, 0), SWARM_ELOST);
	assert_int_equal(sim_put(a, ref, 3000), 0);
	began = swi_simnet_now(s->net);
	assert_int_equal(sim_get(c, ref, 3000, NS_PER_S, NULL, 0), 0);
	assert_true(swi_simnet_now(s->net) < began + 2 * NS_PER_MS);
	sim_free(s);
}

/*
 * A name is deleted, its home moves, it is put again, and the home comes back: what the first home remembers of the delete
 * must not take the new object away, and is not kept for ever.
 */
static void test_deleted_name_whose_home_moves(void **state)
{
	struct sim *s = sim_new(10);
	struct sim_node *a = sim_start(s, 1, MIB(4), false), *c = sim_start(s, 3, MIB(4), false), *b;
	struct swarm_ref ref = sim_ref(1, 0);
	struct swi_local lo;

	(void)state;
	sim_know_all(s);
	hang_in(a, NULL);
	hang_in(c, NULL);
	for (uint64_t i = 2; swi_home_of(c->sn, ref) != 3 || swi_rendezvous(ref.id, 2) < swi_rendezvous(ref.id, 3); i++)
		ref = sim_ref(i, 0);
	assert_int_equal(sim_put(a, ref, 3000), 0);
	sim_run(s, 10 * NS_PER_MS);
	swi_delete(a->sn, ref);
	sim_run(s, 10 * NS_PER_MS);
	assert_true(swi_dir_is_deleted(c->sn, ref.id));
	b = sim_start(s, 2, MIB(4), false);
	sim_know_all(s);
	sim_run(s, 100 * NS_PER_MS);
	assert_int_equal(swi_home_of(c->sn, ref), 2);
	assert_false(swi_dir_is_deleted(c->sn, ref.id));
	assert_int_equal(sim_put(a, ref, 3000), 0);
	assert_int_equal(sim_get(c, ref, 3000, NS_PER_S, NULL, 0), 0);
	assert_true(swi_local_find(c->sn, ref.id, &lo)); /* a copy that stays */
	sim_kill(b, SWI_SIM_KILL_RESET);
	sim_run(s, 10 * NS_PER_MS);
	swi_peer_remove(a->sn, 2, true, 0);
	swi_peer_remove(c->sn, 2, true, 0);
	sim_run(s, NS_PER_S);
	assert_true(swi_local_find(a->sn, ref.id, &lo));
	assert_int_equal(sim_get(c, ref, 3000, NS_PER_S, NULL, 0), 0);
	sim_free(s);
}

static void test_home_lost(void **state)
{
	struct sim *s = three(3, MIB(4), false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	char text[256];

	(void)state;
	sim_run(s, NS_PER_MS);
	assert_int_equal(sim_put(a, sim_ref(1, 1), 100), 0);
	assert_int_equal(sim_get(c, sim_ref(1, 1), 100, NS_PER_S, NULL, 0), 0);
	sim_kill(a, SWI_SIM_KILL_RESET);
	/* No layer above: a peer that cannot be reached for some seconds is given up. */
	assert_int_equal(sim_get(c, sim_ref(2, 1), 0, 20 * NS_PER_S, text, sizeof(text)),
			 SWARM_EHOMELOST);
	assert_non_null(strstr(text, "node 1"));
	assert_int_equal(sim_get(c, sim_ref(1, 1), 100, NS_PER_S, NULL, 0), 0); /* its copy is here */
	sim_free(s);
}

static void let_go(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	(void)text;
	if (!status)
		swi_hold_drop(w->owner, offset);
}

static void test_killed_under_a_read(void **state)
{
	int came = 0;

	(void)state;
	for (uint64_t when = 0; when < 40; when++) {
		struct sim *s = three(100 + when, MIB(16), false);
		struct sim_node *a = &s->node[1], *c = &s->node[3];
		struct swi_snode_stats st;
		const bool never = false;
		struct swi_want w = {
		    .ref = sim_ref(1, 1), .deadline_ns = UINT64_MAX, .cb = let_go, .owner = c->sn};
		int rc;

		assert_int_equal(sim_put(a, sim_ref(1, 1), MIB(6)), 0);
		sim_run(s, NS_PER_MS);
		/* Begin; somewhere in the middle (6 MiB take about 500 us) its owner dies. */
		swi_want(c->sn, &w);
		sim_until(s, &never, 10 * NS_PER_US + when * 15 * NS_PER_US);
		swi_want_cancel(c->sn, &w); /* idempotent; a READ goes on without it */
		sim_kill(a, when % 2 ? SWI_SIM_KILL_RESET : SWI_SIM_KILL_SILENT);
		rc = sim_get(c, sim_ref(1, 1), MIB(6), 20 * NS_PER_S, NULL, 0);
		assert_true(rc == 0 || rc == SWARM_EHOMELOST);
		came += !rc;
		sim_run(s, 100 * NS_PER_MS);
		swi_snode_stats(c->sn, &st);
		assert_int_equal(st.holds, 0);
		assert_int_equal(st.digest_errors, 0);
		assert_true(st.arena_used <= (rc ? KIB(300) : MIB(7)));
		sim_free(s);
	}
	assert_in_range(came, 1, 39); /* both ends of the race were seen */
}

static void test_full_says_why(void **state)
{
	struct sim *s = three(4, MIB(4), false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	char text[256];
	uint64_t offset;
	int n = 0;

	(void)state;
	assert_int_equal(sim_put(a, sim_ref(100, 1), MIB(1)), 0);
	while (sim_put(c, sim_ref((uint64_t)n + 1, 3), KIB(500)) == 0)
		n++;
	assert_true(n >= 5);
	assert_true(swi_hold_find(c->sn, sim_ref(1, 3).id, &offset));
	/* Primary copies, no disk: nothing may leave. */
	assert_int_equal(sim_get(c, sim_ref(100, 1), MIB(1), NS_PER_S, text, sizeof(text)),
			 SWARM_EFULL);
	assert_non_null(strstr(text, "no spill folder"));
	assert_non_null(strstr(text, "held"));
	swi_hold_drop(c->sn, offset);
	swi_delete(c->sn, sim_ref(1, 3));
	swi_delete(c->sn, sim_ref(2, 3));
	swi_delete(c->sn, sim_ref(3, 3));
	assert_int_equal(sim_get(c, sim_ref(100, 1), MIB(1), NS_PER_S, NULL, 0), 0);
	sim_free(s);
}

/* ---- draining ---- */

static void drained(struct swi_drain *d, int status)
{
	*(int *)d->owner = status + 1;
}

static void test_drain(void **state)
{
	struct sim *s = three(5, MIB(8), true);
	struct sim_node *a = &s->node[1], *b = &s->node[2], *c = &s->node[3];
	const uint32_t targets[] = {2, 3};
	int status = 0;
	struct swi_drain d = {.cb = drained, .owner = &status, .heir = 3};
	const uint64_t end = swi_simnet_now(s->net) + 60 * NS_PER_S;
	struct swi_snode_stats st;

	(void)state;
	hang_in(b, NULL);
	hang_in(c, NULL);
	for (uint64_t i = 0; i < 60; i++) /* twice the arena: some is on disk */
		assert_int_equal(sim_put(a, sim_ref(i, i % 3 ? 1 : 0), KIB(256) + i), 0);
	swi_snode_stats(a->sn, &st);
	assert_true(st.spilled_objects > 10);
	swi_drain_start(a->sn, &d, targets, 2);
	while (!status && swi_simnet_now(s->net) < end)
		sim_run(s, 10 * NS_PER_MS);
	assert_int_equal(status, 1);
	/* What is made after that is moved too. */
	assert_int_equal(sim_put(a, sim_ref(60, 1), 1000), 0);
	sim_run(s, NS_PER_S);
	sim_kill(a, SWI_SIM_KILL_RESET);
	sim_run(s, 10 * NS_PER_MS);
	swi_peer_remove(b->sn, 1, false, 3);
	swi_peer_remove(c->sn, 1, false, 3);
	sim_run(s, 100 * NS_PER_MS);
	for (uint64_t i = 0; i <= 60; i++) {
		const struct swarm_ref ref = sim_ref(i, i % 3 || i == 60 ? 1 : 0);
		const uint64_t len = i == 60 ? 1000 : KIB(256) + i;

		assert_int_equal(sim_get(b, ref, len, 5 * NS_PER_S, NULL, 0), 0);
		assert_int_equal(sim_get(c, ref, len, 5 * NS_PER_S, NULL, 0), 0);
	}
	sim_free(s);
}

static int drain(struct sim *s, struct sim_node *n, const uint32_t *targets, uint32_t count)
{
	const uint64_t end = swi_simnet_now(s->net) + 60 * NS_PER_S;
	static int status;
	static struct swi_drain d;

	status = 0;
	d = (struct swi_drain){.cb = drained, .owner = &status, .heir = 3};
	swi_drain_start(n->sn, &d, targets, count);
	while (!status && swi_simnet_now(s->net) < end)
		sim_run(s, 10 * NS_PER_MS);
	return status - 1;
}

static void nothing_left(const struct sim_node *n)
{
	struct swi_snode_stats st;

	swi_snode_stats(n->sn, &st);
	assert_int_equal(st.objects, 0);
	assert_int_equal(swi_dir_count(n->sn), 0);
}

/* It stays, and another drain is a whole one: it must not report what the first did not do. */
static void test_drain_after_one_that_failed(void **state)
{
	struct sim *s = three(6, MIB(4), true);
	struct sim_node *a = &s->node[1], *b = &s->node[2], *c = &s->node[3];
	const uint32_t nobody[] = {9}, targets[] = {2, 3};

	(void)state;
	hang_in(b, NULL);
	hang_in(c, NULL);
	for (uint64_t i = 0; i < 20; i++)
		assert_int_equal(sim_put(a, sim_ref(i, i % 2), 5000), 0);
	assert_int_equal(drain(s, a, nobody, 1), SWARM_ENOROOM);
	assert_int_equal(drain(s, a, targets, 2), 0);
	sim_kill(a, SWI_SIM_KILL_RESET);
	swi_peer_remove(b->sn, 1, false, 3);
	swi_peer_remove(c->sn, 1, false, 3);
	for (uint64_t i = 0; i < 20; i++)
		assert_int_equal(sim_get(b, sim_ref(i, i % 2), 5000, 5 * NS_PER_S, NULL, 0), 0);
	sim_free(s);
}

/* What is deleted while its home leaves, and after, leaves nothing with the heir. */
static void test_delete_around_a_drain(void **state)
{
	struct sim *s = three(7, MIB(4), true);
	struct sim_node *a = &s->node[1], *b = &s->node[2], *c = &s->node[3];
	const uint32_t targets[] = {2, 3};

	(void)state;
	hang_in(b, NULL);
	hang_in(c, NULL);
	for (uint64_t i = 0; i < 20; i++)
		assert_int_equal(sim_put(a, sim_ref(i, i % 2), 5000), 0);
	assert_int_equal(drain(s, a, targets, 2), 0);
	for (uint64_t i = 1; i < 20; i += 2)
		swi_delete(a->sn, sim_ref(i, 1));
	sim_run(s, 100 * NS_PER_MS);
	sim_kill(a, SWI_SIM_KILL_RESET);
	swi_peer_remove(b->sn, 1, false, 3);
	swi_peer_remove(c->sn, 1, false, 3);
	sim_run(s, 100 * NS_PER_MS);
	for (uint64_t i = 0; i < 20; i += 2)
		swi_delete(b->sn, sim_ref(i, 0));
	sim_run(s, 100 * NS_PER_MS);
	nothing_left(b);
	nothing_left(c);
	sim_free(s);
}

static void fetched(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	(void)text;
	if (!status)
		swi_hold_drop(w->owner, offset);
}

/* The home deletes what it is just getting from its only holder: it must not have it in the end. */
static void test_delete_under_a_fetch(void **state)
{
	const struct swarm_ref ref = sim_ref(1, 1);
	struct sim *s = three(8, MIB(4), true);
	struct sim_node *a = &s->node[1], *b = &s->node[2];
	struct swi_want w = {.ref = ref, .deadline_ns = UINT64_MAX, .cb = fetched, .owner = a->sn};

	(void)state;
	assert_int_equal(sim_put(b, ref, KIB(900)), 0);
	swi_dir_add_copy(a->sn, ref.id, 2, KIB(900), true);
	swi_want(a->sn, &w);
	for (int i = 0; i < 1000 && !a->sn->fetches.in_flight; i++)
		sim_run(s, 10 * NS_PER_US);
	assert_true(a->sn->fetches.in_flight);
	swi_delete(a->sn, ref);
	assert_true(a->sn->fetches.in_flight);
	sim_run(s, NS_PER_S);
	nothing_left(a);
	nothing_left(b);
	sim_free(s);
}

/* ---- soak: everything at once, twice with one seed ---- */

static uint64_t soak(uint64_t seed)
{
	struct sim *s = three(seed, MIB(4), true);
	uint64_t rng = seed, trace, len[200] = {0};
	bool there[200] = {0};
	uint32_t gets = 0;

	for (int i = 0; i < 1200; i++) {
		const uint64_t k = swi_splitmix64(&rng) % 200, op = swi_splitmix64(&rng) % 10;
		struct sim_node *n = &s->node[1 + swi_splitmix64(&rng) % 3];
		const struct swarm_ref ref = sim_ref(seed << 32 | k, (uint32_t)(k % 4));

		if (!there[k] && (!ref.home || ref.home == n->number)) {
			len[k] = swi_splitmix64(&rng) % (op ? 20000 : 400000);
			assert_int_equal(sim_put(n, ref, len[k]), 0);
			there[k] = true;
		} else if (there[k] && op == 1) {
			swi_delete(n->sn, ref);
			sim_run(s, NS_PER_MS);
			assert_int_equal(sim_get(n, ref, 0, NS_PER_S, NULL, 0), SWARM_EDELETED);
			there[k] = false;
		} else if (there[k]) {
			char text[256];
			const int rc = sim_get(n, ref, len[k], 5 * NS_PER_S, text, sizeof(text));

			if (rc)
				fail_msg("get %llu on node %u: %d %s", (unsigned long long)k,
					 n->number, rc, text);
			gets++;
		}
	}
	assert_true(gets > 300);
	sim_run(s, NS_PER_S);
	for (uint32_t i = 1; i <= 3; i++) {
		struct swi_snode_stats st;

		swi_snode_stats(s->node[i].sn, &st);
		assert_int_equal(st.holds, 0);
		assert_int_equal(st.digest_errors, 0);
		assert_int_equal(st.client_errors, 0);
		assert_int_equal(atomic_load(&s->node[i].shm->waiters), 0);
		assert_null(swi_extents_check(&s->node[i].sn->extents));
	}
	trace = s->trace;
	sim_free(s);
	return trace;
}

static void test_soak_repeats(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		const uint64_t first = soak(seed);

		assert_int_equal(first, soak(seed));
		assert_int_not_equal(first, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lost_is_rebuilt_on_demand),
	    cmocka_unit_test(test_heir_answers),
	    cmocka_unit_test(test_home_lost),
	    cmocka_unit_test(test_lost_name_is_put_again),
	    cmocka_unit_test(test_lost_name_is_asked_for_rarely),
	    cmocka_unit_test(test_deleted_name_whose_home_moves),
	    cmocka_unit_test(test_killed_under_a_read),
	    cmocka_unit_test(test_full_says_why),
	    cmocka_unit_test(test_drain),
	    cmocka_unit_test(test_drain_after_one_that_failed),
	    cmocka_unit_test(test_delete_around_a_drain),
	    cmocka_unit_test(test_delete_under_a_fetch),
	    cmocka_unit_test(test_soak_repeats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
