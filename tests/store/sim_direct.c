/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_direct.c - gets without a message, in virtual time: how many READs and messages each takes, what
 * makes a locator void, and that nothing is reused under a READ.
 */
#include "store/direct.h"
#include "tests/store/sim_rig.h"

static struct sim *three(uint64_t seed, uint64_t arena, bool disk)
{
	struct sim *s = sim_new(seed);

	for (uint32_t i = 1; i <= 3; i++)
		sim_start(s, i, arena, disk);
	sim_know_all(s);
	return s;
}

static struct swi_snode_stats stats(struct sim_node *n)
{
	struct swi_snode_stats st;

	swi_snode_stats(n->sn, &st);
	return st;
}

/* Everybody talked to everybody once: connections are up and READs are allowed. */
static void meet(struct sim *s)
{
	static uint64_t next = 9000;

	for (uint32_t i = 1; i <= 3; i++) {
		const struct swarm_ref ref = sim_ref(next++, i);

		assert_int_equal(sim_put(&s->node[i], ref, 10), 0);
		for (uint32_t k = 1; k <= 3; k++)
			assert_int_equal(sim_get(&s->node[k], ref, 10, NS_PER_S, NULL, 0), 0);
	}
	sim_run(s, 20 * NS_PER_MS);
}

struct cost {
	uint64_t warm, cold, message, reads, messages, posted, sent;
};

/* A get at @n, and what it took until it was answered. */
static struct cost get_costs(struct sim_node *n, struct swarm_ref ref, uint64_t len)
{
	const struct swi_snode_stats a = stats(n);
	const struct swi_tp_counters t = *swi_tp_counters(n->sn->tp);
	const struct swi_tp_counters *u = swi_tp_counters(n->sn->tp);
	struct swi_snode_stats b;
	char text[256];
	const int rc = sim_get(n, ref, len, 5 * NS_PER_S, text, sizeof(text));

	if (rc)
		fail_msg("get: %d %s", rc, text);
	b = stats(n);
	return (struct cost){.warm = b.warm_gets - a.warm_gets,
			     .cold = b.cold_gets - a.cold_gets,
			     .message = b.message_gets - a.message_gets,
			     .reads = b.get_reads - a.get_reads,
			     .messages = b.get_messages - a.get_messages,
			     .posted = u->reads_posted - t.reads_posted,
			     .sent = u->msgs_sent - t.msgs_sent};
}

/* The local copy goes without a word to anybody; what is known of the original stays. */
static void drop_copy(struct sim_node *n, struct swarm_ref ref)
{
	sim_run(n->sim, 10 * NS_PER_MS); /* its announcement is out, and no lazy row counts below */
	swi_dir_drop_local(n->sn, ref.id);
	sim_run(n->sim, 10 * NS_PER_MS);
}

static void assert_warm(struct cost c)
{
	assert_int_equal(c.warm, 1);
	assert_int_equal(c.reads, 1);
	assert_int_equal(c.posted, 1);
	assert_int_equal(c.messages, 0);
	assert_int_equal(c.sent, 0);
}

static void assert_cold(struct cost c)
{
	assert_int_equal(c.cold, 1);
	assert_int_equal(c.reads, 2);
	assert_int_equal(c.posted, 2);
	assert_int_equal(c.messages, 0);
	assert_int_equal(c.sent, 0);
}

static void test_size_classes(void **state)
{
	(void)state;
	for (uint64_t b = 1; b <= SWI_DIRECT_MAX; b += b < 4096 ? 1 : 61) {
		const uint32_t c = swi_size_class(b);

		assert_in_range(c, 1, 127);
		assert_true(swi_class_bytes(c) >= b);
		assert_true(b <= 1024 ? swi_class_bytes(c) < b + 64
				      : swi_class_bytes(c) - b <= b / 8 + 64);
		assert_int_equal(swi_slot_class(swi_slot_sized(
				     swi_slot_word(SWI_SLOT_SEALED, 0xfffff, SWI_ARENA_MAX - 64), b)),
				 c);
	}
	assert_int_equal(swi_size_class(SWI_DIRECT_MAX + 1), 0);
	const uint64_t w = swi_slot_sized(swi_slot_word(SWI_SLOT_DEAD, 0xabcde, SWI_ARENA_MAX - 64), 100);

	assert_int_equal(swi_slot_state(w), SWI_SLOT_DEAD);
	assert_int_equal(swi_slot_gen(w), 0xabcde);
	assert_int_equal(swi_slot_offset(w), SWI_ARENA_MAX - 64);
}

static void test_warm_is_one_read_cold_two(void **state)
{
	static const uint64_t len[] = {0, 1, 64, 100, 1000, 4096, 65472, 65473, 300000, MIB(1) - 64};
	struct sim *s = three(1, MIB(16), false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];

	(void)state;
	meet(s);
	for (size_t i = 0; i < SWI_ARRAY_LEN(len); i++) {
		const struct swarm_ref ref = sim_ref(i, 1);

		assert_int_equal(sim_put(a, ref, len[i]), 0);
		assert_cold(get_costs(c, ref, len[i]));
		for (int k = 0; k < 3; k++) {
			drop_copy(c, ref);
			assert_warm(get_costs(c, ref, len[i]));
		}
		assert_true(swi_hold_find(c->sn, ref.id, &(uint64_t){0}));
	}
	assert_int_equal(stats(c).direct_misses, 0);
	assert_int_equal(stats(c).locators, SWI_ARRAY_LEN(len) + 2);
	sim_free(s);
}

static void test_what_goes_by_message(void **state)
{
	struct sim *s = three(2, MIB(32), true);
	struct sim_node *a = &s->node[1], *b = &s->node[2], *c = &s->node[3];
	const struct swarm_ref large = sim_ref(1, 1), elsewhere = sim_ref(2, 1), spilled = sim_ref(3, 1);
	struct cost k;

	(void)state;
	meet(s);
	/* Too large for one READ: its slot says so. */
	assert_int_equal(sim_put(a, large, MIB(1)), 0);
	k = get_costs(c, large, MIB(1));
	assert_int_equal(k.message, 1);
	assert_int_equal(k.reads, 2);
	assert_int_equal(stats(c).cold_misses, 1);
	/* Its home knows that node 2 has it: one question, then node 2's index and the object. */
	assert_int_equal(sim_put(b, elsewhere, 5000), 0);
	swi_dir_add_copy(a->sn, elsewhere.id, 2, 5000, true);
	k = get_costs(c, elsewhere, 5000);
	assert_int_equal(k.cold, 1);
	assert_int_equal(k.reads, 3);
	assert_int_equal(k.messages, 1);
	drop_copy(c, elsewhere);
	assert_warm(get_costs(c, elsewhere, 5000));
	/* On disk: the owner restores it. */
	assert_int_equal(sim_put(a, spilled, 70000), 0);
	assert_cold(get_costs(c, spilled, 70000));
	drop_copy(c, spilled);
	for (uint64_t i = 0; i < 60; i++)
		assert_int_equal(sim_put(a, sim_ref(100 + i, 1), MIB(1)), 0);
	sim_run(s, NS_PER_S);
	assert_false(swi_hold_find(a->sn, spilled.id, &(uint64_t){0}));
	k = get_costs(c, spilled, 70000);
	assert_int_equal(k.message, 1);
	assert_int_equal(stats(c).direct_misses, 1);
	assert_int_equal(stats(c).digest_errors, 0);
	sim_free(s);
}

static void exists(struct swi_watch *w, int status, const char *text, const struct swi_copies *copies)
{
	(void)text;
	assert_int_equal(status, 0);
	assert_int_equal(copies->count, 1);
	*(bool *)w->owner = true;
}

/* Who waits until an object exists learns where it lies: its first get is warm. */
static void test_wait_brings_the_locator(void **state)
{
	struct sim *s = three(3, MIB(16), false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	const struct swarm_ref ref = sim_ref(5, 1);
	bool told = false;
	struct swi_watch w = {
	    .ref = ref, .deadline_ns = UINT64_MAX, .cb = exists, .owner = &told};

	(void)state;
	meet(s);
	swi_watch(c->sn, &w);
	sim_run(s, NS_PER_MS);
	assert_false(told);
	assert_int_equal(sim_put(a, ref, 3000), 0);
	assert_true(sim_until(s, &told, NS_PER_S));
	sim_run(s, 10 * NS_PER_MS);
	assert_warm(get_costs(c, ref, 3000));
	sim_free(s);
}

static void test_another_life_voids_locators(void **state)
{
	struct sim *s = three(4, MIB(16), false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	const struct swarm_ref ref = sim_ref(5, 1);
	uint64_t stale;

	(void)state;
	meet(s);
	assert_int_equal(sim_put(a, ref, 3000), 0);
	assert_cold(get_costs(c, ref, 3000));
	drop_copy(c, ref);
	stale = stats(c).locators_stale;
	sim_kill(a, SWI_SIM_KILL_RESET);
	sim_run(s, NS_PER_MS);
	a = sim_start(s, 1, MIB(16), false);
	sim_know_all(s);
	meet(s);
	/* The same id at perhaps the same place, another length: what comes is the new life's. */
	assert_int_equal(sim_put(a, ref, 2000), 0);
	assert_cold(get_costs(c, ref, 2000));
	assert_true(stats(c).locators_stale > stale);
	assert_int_equal(stats(c).digest_errors, 0);
	sim_free(s);
}

static void test_quarantine(void **state)
{
	struct sim *s = three(5, MIB(16), false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	const struct swarm_ref ref = sim_ref(5, 1);
	const uint64_t len = KIB(200) - 64; /* less than a 64th of the arena: no haste */
	uint64_t before, offset;

	(void)state;
	meet(s);
	before = stats(a).arena_used;
	assert_int_equal(sim_put(a, ref, len), 0);
	assert_cold(get_costs(c, ref, len));
	drop_copy(c, ref);
	assert_true(swi_hold_find(a->sn, ref.id, &offset));
	swi_hold_drop(a->sn, offset);
	swi_delete(a->sn, ref);
	assert_int_equal(stats(a).quarantine_bytes, 0);
	sim_run(s, 10 * NS_PER_US);
	assert_true(stats(a).quarantine_bytes >= len);
	assert_true(swi_extent_is_allocated(&a->sn->extents, offset, len));
	sim_run(s, 20 * NS_PER_MS);
	assert_int_equal(stats(a).quarantine_bytes, 0);
	assert_true(stats(a).arena_used <= before + KIB(64));
	assert_true(stats(a).syncs >= 1);
	/* The locator leads to what is no object any more. */
	assert_int_equal(sim_get(c, ref, 0, NS_PER_S, NULL, 0), SWARM_EDELETED);
	assert_int_equal(stats(c).direct_misses, 1);
	sim_free(s);
}

/* A reader that answers everything but the SYNC loses its connection, not the owner its memory. */
static void test_revoked(void **state)
{
	struct sim *s = three(6, MIB(4), false);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	const struct swarm_ref ref = sim_ref(5, 1);
	struct swi_link *l;

	(void)state;
	meet(s);
	assert_int_equal(sim_put(a, ref, 100000), 0);
	l = swi_peer_find(c->sn, 1)->chosen;
	(void)swi_lease_read_begin(l); /* as if a READ never ended */
	swi_delete(a->sn, ref);
	sim_run(s, 1500 * NS_PER_MS);
	assert_int_equal(stats(a).revoked, 0);
	assert_true(stats(a).quarantine_bytes >= 100000);
	sim_run(s, 700 * NS_PER_MS);
	assert_int_equal(stats(a).revoked, 1);
	assert_int_equal(stats(a).quarantine_bytes, 0);
	sim_run(s, NS_PER_S);
	assert_int_equal(sim_put(a, sim_ref(6, 1), 3000), 0);
	assert_int_equal(sim_get(c, sim_ref(6, 1), 3000, NS_PER_S, NULL, 0), 0); /* connected again */
	sim_free(s);
}

struct late {
	struct swi_want want;
	struct sim_node *n;
	uint64_t len;
	bool done;
	int status;
};

static void late_got(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct late *g = w->owner;
	const struct swi_object_head *h;

	(void)text;
	g->done = true;
	g->status = status;
	if (status)
		return;
	h = swi_object_at(g->n->sn, offset, NULL);
	assert_int_equal(h->len, g->len);
	assert_true(sim_filled(h + 1, w->ref.id, g->len));
	swi_hold_drop(g->n->sn, offset);
}

/* The reader stops for longer than silence lasts, in the middle of a get; meanwhile everything is reused. */
static void test_stopped_reader(void **state)
{
	(void)state;
	for (uint64_t when = 0; when < 60; when++) {
		struct sim *s = three(100 + when, MIB(4), false);
		struct sim_node *a = &s->node[1], *c = &s->node[3];
		const struct swarm_ref ref = sim_ref(5, 1);
		struct late g = {.n = c, .len = MIB(1) - 64};
		uint64_t t;

		meet(s);
		assert_int_equal(sim_put(a, ref, g.len), 0);
		if (when % 2) {
			assert_cold(get_costs(c, ref, g.len));
			drop_copy(c, ref);
		}
		g.want = (struct swi_want){
		    .ref = ref, .deadline_ns = UINT64_MAX, .cb = late_got, .owner = &g};
		swi_want(c->sn, &g.want);
		sim_run(s, 1 + when / 2 * 4 * NS_PER_US);
		c->alive = false; /* stopped: the rig does not step it */
		swi_delete(a->sn, ref);
		t = swi_simnet_now(s->net);
		for (uint64_t i = 0; i < 8; i++) { /* two arenas full: the first one cannot fit beside it for ever */
			assert_int_equal(sim_put(a, sim_ref(50 + i, 1), MIB(1) - 64), 0);
			swi_delete(a->sn, sim_ref(50 + i, 1));
		}
		assert_true(swi_simnet_now(s->net) - t < 6 * NS_PER_S);
		sim_run(s, 4 * NS_PER_S);
		assert_int_equal(stats(a).quarantine_bytes, 0);
		c->alive = true;
		assert_true(sim_until(s, &g.done, 20 * NS_PER_S));
		assert_true(!g.status || g.status == SWARM_EDELETED || g.status == SWARM_EHOMELOST);
		sim_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size_classes),
		cmocka_unit_test(test_warm_is_one_read_cold_two),
		cmocka_unit_test(test_what_goes_by_message),
		cmocka_unit_test(test_wait_brings_the_locator),
		cmocka_unit_test(test_another_life_voids_locators),
		cmocka_unit_test(test_quarantine),
		cmocka_unit_test(test_revoked),
		cmocka_unit_test(test_stopped_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
