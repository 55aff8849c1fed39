/* SPDX-License-Identifier: Apache-2.0 */
/* sim_cast.c - large objects in virtual time: many readers at once (copies sent by the source, the flow through the tree, deaths in it), and many holders. */
#include "tests/store/sim_rig.h"

#define READERS 11u
#define PIECE	KIB(64)
#define LEN	(20 * PIECE + 12345)
#define ARENA	MIB(4)

struct casting;
struct reader {
	struct swi_want want;
	struct casting *c;
	struct sim_node *n;
	bool done;
	int status;
};

struct casting {
	struct sim *s;
	struct sim_node *root;
	struct swarm_ref ref;
	uint64_t len;
	uint32_t left; /* readers that are not done */
	bool all_done;
	struct reader r[READERS];
};

static void is_done(struct reader *r)
{
	if (r->done)
		return;
	r->done = true;
	r->c->all_done = !--r->c->left;
}

static void got(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct reader *r = w->owner;
	const struct swi_object_head *h;

	(void)text;
	is_done(r);
	r->status = status;
	if (status)
		return;
	h = swi_object_at(r->n->sn, offset, NULL);
	assert_non_null(h);
	assert_int_equal(h->len, r->c->len);
	assert_true(sim_filled(h + 1, w->ref.id, r->c->len));
	swi_hold_drop(r->n->sn, offset);
}

/* The root has an object of @len bytes in an arena of @arena, as the readers have, but reader 0 one of @first_arena. */
static void start_len(struct casting *c, uint64_t seed, uint32_t readers, uint64_t piece, uint64_t len,
		      uint64_t arena, uint64_t first_arena)
{
	memset(c, 0, sizeof(*c));
	c->s = sim_new(seed);
	c->s->piece_bytes = piece;
	c->len = len;
	c->root = sim_start(c->s, 1, arena, false);
	for (uint32_t i = 0; i < readers; i++) {
		c->r[i].c = c;
		c->r[i].n = sim_start(c->s, i + 2, i ? arena : first_arena, false);
	}
	sim_know_all(c->s);
	sim_run(c->s, 10 * NS_PER_MS);
	c->ref = sim_ref(77 + seed, 1);
	assert_int_equal(sim_put(c->root, c->ref, c->len), 0);
}

/* Of @times times LEN; reader 0 has @times times @first_arena. */
static void start(struct casting *c, uint64_t seed, uint32_t readers, uint64_t first_arena, uint64_t times)
{
	start_len(c, seed, readers, PIECE, times * LEN, times * ARENA, times * first_arena);
}

static void ask_all(struct casting *c, uint32_t readers)
{
	c->left = readers;
	for (uint32_t i = 0; i < readers; i++) {
		struct reader *r = &c->r[i];

		r->want = (struct swi_want){
		    .ref = c->ref, .deadline_ns = UINT64_MAX, .cb = got, .owner = r};
		swi_want(r->n->sn, &r->want);
	}
}

static void begin(struct casting *c, uint64_t seed, uint32_t readers, uint64_t times)
{
	start(c, seed, readers, ARENA, times);
	ask_all(c, readers);
}

static struct swi_snode_stats stats(struct sim_node *n)
{
	struct swi_snode_stats st;

	swi_snode_stats(n->sn, &st);
	return st;
}

/* Virtual time until everybody has it; -1 after 20 s. */
static int64_t finish(struct casting *c)
{
	const uint64_t began = swi_simnet_now(c->s->net);

	if (!sim_until(c->s, &c->all_done, 20 * NS_PER_S))
		return -1;
	return (int64_t)(swi_simnet_now(c->s->net) - began);
}

/* Everything that the transfer took goes back. */
static void nothing_is_left(struct casting *c)
{
	sim_run(c->s, 3 * NS_PER_S);
	for (uint32_t i = 1; i < SIM_NODES; i++) {
		struct sim_node *n = &c->s->node[i];

		if (!n->alive)
			continue;
		assert_int_equal(n->sn->fetches.count, 0);
		assert_int_equal(HASH_COUNT(n->sn->leases.by_num), 0);
		assert_null(n->sn->casts.by_id);
		assert_int_equal(n->sn->holds.retired_bytes, 0);
		assert_int_equal(stats(n).digest_errors, 0);
	}
}

static void test_source_sends_two(void **state)
{
	struct casting c;
	int64_t one, all;

	(void)state;
	begin(&c, 1, 1, 8);
	one = finish(&c);
	assert_true(one > 0);
	sim_free(c.s);
	begin(&c, 2, READERS, 8);
	all = finish(&c);
	assert_true(all > 0);
	for (uint32_t i = 0; i < READERS; i++)
		assert_int_equal(c.r[i].status, 0);
	assert_int_equal(stats(c.root).served_reads, 2);
	assert_int_equal(stats(c.root).served_bytes, 2 * c.len);
	assert_int_equal(stats(c.root).cast_sent_on, READERS - 2);
	for (uint32_t i = 0; i < READERS; i++)
		assert_true(stats(c.r[i].n).served_reads <= 2);
	/*
	 * Each link carries two copies, and three levels follow each other piece by piece: about twice the time of
	 * one reader and a few pieces. Level after level would take six times as long, the source alone eleven times.
	 */
	print_message("one reader %.3f ms, %u readers %.3f ms\n", (double)one / 1e6, READERS, (double)all / 1e6);
	assert_true(all < 3 * one);
	nothing_is_left(&c);
	sim_free(c.s);
}

/* Of the size that most people take, 1 MiB, which is one piece without its header: large, too. */
static void test_one_mib(void **state)
{
	struct casting c;

	(void)state;
	start_len(&c, 3, READERS, 0, MIB(1), ARENA, ARENA);
	ask_all(&c, READERS);
	assert_true(finish(&c) > 0);
	for (uint32_t i = 0; i < READERS; i++)
		assert_int_equal(c.r[i].status, 0);
	assert_int_equal(stats(c.root).served_bytes, 2 * c.len);
	nothing_is_left(&c);
	sim_free(c.s);
}

/* A reader dies in the middle, with and without a word, at any place of the tree: the others lose nothing. */
static void test_reader_dies(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 60; seed++) {
		struct casting c;
		const uint32_t victim = seed % READERS;

		begin(&c, 100 + seed, READERS, 1);
		sim_run(c.s, (seed / 2 + 1) * 12 * NS_PER_US);
		is_done(&c.r[victim]);
		sim_kill(c.r[victim].n, seed % 2 ? SWI_SIM_KILL_SILENT : SWI_SIM_KILL_RESET);
		if (finish(&c) < 0)
			fail_msg("seed %u: a reader waits for ever", seed);
		for (uint32_t i = 0; i < READERS; i++)
			if (i != victim && c.r[i].status)
				fail_msg("seed %u: reader %u got %s", seed, i, swarm_strerror(c.r[i].status));
		nothing_is_left(&c);
		sim_free(c.s);
	}
}

/* The first reader has no room for a while: nobody waits for it. */
static void test_parent_without_room(void **state)
{
	struct casting c;
	uint32_t waiting = 0;

	(void)state;
	start(&c, 8, 5, MIB(2), 1);
	/* A primary, and no disk: it cannot leave. */
	assert_int_equal(sim_put(c.r[0].n, sim_ref(6, 2), MIB(1)), 0);
	ask_all(&c, 5);
	sim_run(c.s, NS_PER_S);
	for (uint32_t i = 0; i < 5; i++)
		waiting += !c.r[i].done;
	assert_int_equal(waiting, 1);
	assert_false(c.r[0].done);
	swi_delete(c.r[0].n->sn, sim_ref(6, 2));
	assert_true(finish(&c) >= 0);
	assert_int_equal(c.r[0].status, 0);
	nothing_is_left(&c);
	sim_free(c.s);
}

/* Who wants nothing any more still serves those behind it. */
static void test_reader_gives_up(void **state)
{
	struct casting c;

	(void)state;
	begin(&c, 9, READERS, 1);
	sim_run(c.s, 60 * NS_PER_US);
	assert_false(c.r[0].done);
	swi_want_cancel(c.r[0].n->sn, &c.r[0].want);
	is_done(&c.r[0]);
	assert_true(finish(&c) > 0);
	for (uint32_t i = 1; i < READERS; i++)
		assert_int_equal(c.r[i].status, 0);
	nothing_is_left(&c);
	sim_free(c.s);
}

/* ---- one reader, several who have it ---- */

#define HOLDERS 3u /* beside the root */

static void ask_one(struct casting *c, uint32_t i)
{
	c->left = 1;
	c->all_done = false;
	c->r[i].want = (struct swi_want){.ref = c->ref, .deadline_ns = UINT64_MAX, .cb = got, .owner = &c->r[i]};
	swi_want(c->r[i].n->sn, &c->r[i].want);
}

/* HOLDERS readers have it as well; the last reader, who asks next, does not. Virtual time that the first of them took. */
static int64_t spread(struct casting *c, uint64_t seed, uint64_t times)
{
	int64_t first = 0;

	start(c, seed, HOLDERS + 1, ARENA, times);
	for (uint32_t i = 0; i < HOLDERS; i++) {
		ask_one(c, i);
		const int64_t took = finish(c);

		assert_true(took > 0);
		assert_int_equal(c->r[i].status, 0);
		first = i ? first : took;
		sim_run(c->s, 3 * NS_PER_S); /* the next one is not of the same tree */
	}
	return first;
}

static void test_several_holders(void **state)
{
	struct casting c;
	uint64_t before[HOLDERS + 1], gave = 0;

	(void)state;
	const int64_t one = spread(&c, 11, 8);

	for (uint32_t i = 0; i <= HOLDERS; i++)
		before[i] = stats(i ? c.r[i - 1].n : c.root).served_reads;
	ask_one(&c, HOLDERS);
	const int64_t all = finish(&c);

	assert_int_equal(c.r[HOLDERS].status, 0);
	for (uint32_t i = 0; i <= HOLDERS; i++)
		gave += stats(i ? c.r[i - 1].n : c.root).served_reads - before[i];
	assert_int_equal(gave, HOLDERS + 1);
	print_message("from one %.3f ms, from %u %.3f ms\n", (double)one / 1e6, HOLDERS + 1, (double)all / 1e6);
	assert_true(all < one * 2 / 3);
	nothing_is_left(&c);
	sim_free(c.s);
}

static void test_holder_dies(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 24; seed++) {
		struct casting c;

		(void)spread(&c, 200 + seed, 1);
		ask_one(&c, HOLDERS);
		sim_run(c.s, (seed / 2 + 1) * 8 * NS_PER_US);
		sim_kill(c.r[seed % HOLDERS].n, seed % 4 > 1 ? SWI_SIM_KILL_SILENT : SWI_SIM_KILL_RESET);
		if (finish(&c) < 0)
			fail_msg("seed %u: the reader waits for ever", seed);
		if (c.r[HOLDERS].status)
			fail_msg("seed %u: %s", seed, swarm_strerror(c.r[HOLDERS].status));
		nothing_is_left(&c);
		sim_free(c.s);
	}
}

/* One of them has a wrong byte: it is found, whoever's it is, and the object comes all the same. */
static void test_holder_has_wrong_bytes(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 8; seed++) {
		struct casting c;
		struct sim_node *bad;
		struct swi_local lo;

		(void)spread(&c, 300 + seed, 8);
		bad = seed % (HOLDERS + 1) ? c.r[seed % (HOLDERS + 1) - 1].n : c.root;
		assert_true(swi_local_find(bad->sn, c.ref.id, &lo));
		for (uint64_t at = 0; at < c.len; at += PIECE)
			((uint8_t *)bad->arena)[lo.offset + 200 + at] ^= 1;
		ask_one(&c, HOLDERS);
		assert_true(finish(&c) > 0);
		assert_int_equal(c.r[HOLDERS].status, 0);
		assert_int_equal(c.r[HOLDERS].n->sn->fetches.count, 0);
		assert_true(stats(c.r[HOLDERS].n).digest_errors > 0);
		sim_free(c.s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_source_sends_two),
	    cmocka_unit_test(test_one_mib),
	    cmocka_unit_test(test_reader_dies),
	    cmocka_unit_test(test_parent_without_room),
	    cmocka_unit_test(test_reader_gives_up),
	    cmocka_unit_test(test_several_holders),
	    cmocka_unit_test(test_holder_dies),
	    cmocka_unit_test(test_holder_has_wrong_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
