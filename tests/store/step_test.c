/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_test.c - a process killed before each step of each operation of the local path (steps: step.h).
 *
 * At each of them: with the node stopped and the dead not yet noticed, a survivor works on the same object
 * and waits for nothing; then the node runs, and every invariant of world.c must hold, before and after
 * everything is deleted. An argument runs the operations alone whose name contains it.
 */
#include "tests/store/step.h"
#include "tests/store/world.h"

#define SMALL	300u
#define LARGE	KIB(70)
#define OURS	200u /* length of the survivor's object of the same id */
#define STEPS_MAX 4000u

static const char *only = "";
static struct world w;
static struct swarm_buf buf, second; /* the victim's */
static struct swarm_view view;
static uint64_t worst_ns; /* of one thing that the survivor did */

/* Another id each time: who asks for one that was deleted is told so. */
static uint64_t run_number;

static struct swarm_ref it(void)
{
	return numbered(100000 + run_number);
}

static void must(int rc)
{
	if (rc)
		_exit(100 - rc % 100);
}

static void write_all(struct swarm_buf *b)
{
	fill(b->data, b->len, seed_of(b->ref.id, b->len));
}

static int put_filled(struct swarm_store *st, struct swarm_ref ref, uint64_t len)
{
	struct swarm_buf b;
	const int rc = swarm_store_create(st, ref, len, 10 * NS_PER_S, &b);

	if (rc)
		return rc;
	write_all(&b);
	return swarm_store_seal(st, &b);
}

/* ---- the victim's side ---- */

static void have_chunk(struct swarm_store *st)
{
	struct swarm_buf b;

	must(swarm_store_create(st, numbered(50), 10, NS_PER_S, &b));
	swarm_store_abort(st, &b);
}

static void use_chunk_up(struct swarm_store *st)
{
	struct swi_lc *lc = swi_store_lc(st);

	have_chunk(st);
	const struct swi_chunk *c = lc->lane[0].cur;

	while (c->bytes - c->pos >= swi_extent_bytes(SMALL)) {
		struct swarm_buf b;

		must(swarm_store_create(st, numbered(50), 10, NS_PER_S, &b));
		swarm_store_abort(st, &b);
	}
}

static void create_small(struct swarm_store *st)
{
	have_chunk(st);
	must(swarm_store_create(st, it(), SMALL, NS_PER_S, &buf));
	write_all(&buf);
}

static void create_large(struct swarm_store *st)
{
	must(swarm_store_create(st, it(), LARGE, NS_PER_S, &buf));
	write_all(&buf);
}

static void create_twice(struct swarm_store *st)
{
	create_small(st);
	must(swarm_store_create(st, it(), SMALL, NS_PER_S, &second));
	write_all(&second);
	must(swarm_store_seal(st, &second));
}

/* Room for several, so that the next object of another size gives the rest back. */
static void begin_large(struct swarm_store *st)
{
	struct swi_lc *lc = swi_store_lc(st);

	for (uint64_t i = 0; i < 4; i++) {
		struct swarm_buf b;

		must(swarm_store_create(st, numbered(60 + i), LARGE, NS_PER_S, &b));
		swarm_store_abort(st, &b);
	}
	if (swi_list_empty(&lc->large))
		_exit(90);
}

/* The next object takes the last of the room for several, and so asks for more ahead. */
static void nearly_dry(struct swarm_store *st)
{
	struct swi_lc *lc = swi_store_lc(st);
	const struct swi_chunk *c;

	begin_large(st);
	c = swi_list_first(&lc->large, struct swi_chunk, link);
	while (c->bytes - c->pos >= 2 * swi_extent_bytes(LARGE)) {
		struct swarm_buf b;

		must(swarm_store_create(st, numbered(70), LARGE, NS_PER_S, &b));
		swarm_store_abort(st, &b);
	}
	if (atomic_load(&lc->ahead_on))
		_exit(91);
}

/* It was asked for ahead, and the answer is not read: the next object needs it. */
static void dry(struct swarm_store *st)
{
	struct swi_lc *lc = swi_store_lc(st);
	struct swarm_buf b;

	nearly_dry(st);
	must(swarm_store_create(st, numbered(70), LARGE, NS_PER_S, &b));
	swarm_store_abort(st, &b);
	if (!atomic_load(&lc->ahead_on) || !swi_list_empty(&lc->large))
		_exit(92);
}

static void get_it(struct swarm_store *st)
{
	must(swarm_store_get(st, it(), 0, &view));
}

/* The next request does not fit before the end of the ring. */
static void fill_ring(struct swarm_store *st)
{
	struct swi_lc *lc = swi_store_lc(st);
	const uint8_t body[20] = {0xff};

	have_chunk(st);
	while (lc->req.cap - (lc->req.pos & (lc->req.cap - 1)) >= 48)
		if (swi_lc_try_post_quiet(lc, SWI_L_DELETE, body, sizeof(body)))
			(void)!swi_lc_post(lc, SWI_L_DELETE, body, sizeof(body), NULL);
}

static void op_attach(struct swarm_store *none SWI_UNUSED, const char *dir)
{
	struct swarm_store *st;
	char why[256];

	must(swarm_store_attach(dir, &st, why, sizeof(why)));
}

static void op_close(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	swarm_store_close(st);
}

static void op_create(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	must(swarm_store_create(st, it(), SMALL, NS_PER_S, &buf));
}

static void op_create_large(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	must(swarm_store_create(st, it(), 2 * LARGE, NS_PER_S, &buf));
}

static void op_put(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	uint8_t data[SMALL];

	fill(data, SMALL, seed_of(it().id, SMALL));
	must(swarm_store_put(st, it(), data, SMALL, NS_PER_S));
}

static void op_seal(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	must(swarm_store_seal(st, &buf));
}

static void op_seal_lost(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	must(swarm_store_seal(st, &buf) != -EEXIST);
}

static void op_abort(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	swarm_store_abort(st, &buf);
}

static void op_get(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	must(swarm_store_get(st, it(), 10 * NS_PER_S, &view));
	must(!filled(view.data, view.len, seed_of(it().id, view.len)));
}

static void op_get_none(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	must(swarm_store_get(st, numbered(70), NS_PER_MS, &view) != -ENOENT);
}

static void op_contains(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	must(swarm_store_contains(st, it()) != 1);
}

static void op_release(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	swarm_view_release(st, &view);
}

static void op_delete(struct swarm_store *st, const char *dir SWI_UNUSED)
{
	must(swarm_store_delete(st, it()));
}

/* ---- this side ---- */

static struct swarm_view pinned;
static pthread_t helper;
static _Atomic bool helper_stop;
static struct swi_slot *planted;

static void have_it(void)
{
	assert_int_equal(put_filled(w.st, it(), SMALL), 0);
}

static void have_it_pinned(void)
{
	have_it();
	assert_int_equal(swarm_store_get(w.st, it(), 0, &pinned), 0);
}

static void unpin(void)
{
	assert_true(filled(pinned.data, pinned.len, seed_of(it().id, pinned.len)));
	swarm_view_release(w.st, &pinned);
}

static struct swi_slot *home_slot(uint32_t n)
{
	const struct swi_index *ix = &w.st->lc->index;

	return &ix->slots[swi_index_home(ix, swi_index_key(it().id)) * SWI_SLOTS_PER_PAIR + n];
}

/* A claim whose owner is dead or stopped. */
static void plant(uint32_t n)
{
	planted = home_slot(n);
	atomic_store(&planted->key, swi_index_key(it().id));
	atomic_store(&planted->word, swi_slot_word(SWI_SLOT_CLAIMED, 77, 4096));
}

static void plant_before(void)
{
	plant(0);
}

static void plant_behind(void)
{
	plant(5);
}

static void unplant(void)
{
	uint64_t word = swi_slot_word(SWI_SLOT_CLAIMED, 77, 4096);

	atomic_compare_exchange_strong(&planted->word, &word, 0);
}

static void fill_pair(void)
{
	const struct swi_index *ix = &w.st->lc->index;
	const uint64_t home = swi_index_home(ix, swi_index_key(it().id));

	for (uint64_t i = 1000, n = 0; n < SWI_SLOTS_PER_PAIR; i++)
		if (swi_index_home(ix, swi_index_key(numbered(i).id)) == home) {
			assert_int_equal(put_filled(w.st, numbered(i), 10), 0);
			n++;
		}
}

static void *put_when_wanted(void *arg SWI_UNUSED)
{
	while (!atomic_load(&helper_stop)) {
		if (!atomic_load(&w.st->lc->index.head->waiters))
			sched_yield();
		else if (put_filled(w.st, it(), OURS) == 0)
			break;
	}
	return NULL;
}

/* NULL, or what is wrong: nothing may fail in a thread that is not the test's. */
static void *get_patiently(void *arg SWI_UNUSED)
{
	struct swarm_view v;

	const int rc = swarm_store_get(w.st, it(), 60 * NS_PER_S, &v);

	if (rc)
		return (void *)(uintptr_t)swarm_errname(rc);
	const bool good = filled(v.data, v.len, seed_of(it().id, v.len));

	swarm_view_release(w.st, &v);
	return good ? NULL : (void *)(uintptr_t)"the bytes are wrong";
}

static void start_putter(void)
{
	atomic_store(&helper_stop, false);
	assert_int_equal(pthread_create(&helper, NULL, put_when_wanted, NULL), 0);
}

static void stop_putter(void)
{
	atomic_store(&helper_stop, true);
	pthread_join(helper, NULL);
}

static void start_getter(void)
{
	assert_int_equal(pthread_create(&helper, NULL, get_patiently, NULL), 0);
	const uint64_t end = test_now() + 10 * NS_PER_S;

	while (!atomic_load(&w.st->lc->index.head->waiters))
		assert_true(test_now() < end);
}

static void stop_getter(void)
{
	const int rc = put_filled(w.st, it(), OURS);

	void *wrong;

	assert_true(rc == 0 || rc == -EEXIST);
	pthread_join(helper, &wrong);
	if (wrong)
		fail_msg("%s", (const char *)wrong);
}

static void cluster(void)
{
	atomic_store(&w.st->lc->index.head->clustered, 1);
}

static void uncluster(void)
{
	atomic_store(&w.st->lc->index.head->clustered, 0);
}

/* ---- the sweep ---- */

struct scenario {
	const char *name;
	struct step_op op;
	void (*before)(void); /* here; before the victim is made */
	void (*after)(void);  /* here; when the node runs again */
	bool deletes;	      /* the survivor deletes it, and the node does so before it sees the death */
	bool same_id;	      /* the survivor seals an object of that id */
	int there;	      /* is the object there when the operation came to its end? -1 = either */
	uint32_t steps_min;
};

#define OP(prepare_, run_) {.prepare = prepare_, .run = run_}

static const struct scenario scenarios[] = {
    {"attach", {.run = op_attach, .bare = true}, .there = 0, .steps_min = 10},
    {"close", OP(have_chunk, op_close), .there = 0, .steps_min = 8},
    {"create, the first", OP(NULL, op_create), .there = 0, .same_id = true, .steps_min = 12},
    {"create", OP(have_chunk, op_create), .there = 0, .same_id = true, .steps_min = 8},
    {"create, chunk used up", OP(use_chunk_up, op_create), .there = 0, .same_id = true, .steps_min = 15},
    {"create large", OP(NULL, op_create_large), .there = 0, .same_id = true, .steps_min = 12},
    {"create large, another begun", OP(begin_large, op_create_large), .there = 0, .steps_min = 12},
    {"create large, asks ahead", OP(nearly_dry, op_create_large), .there = 0, .steps_min = 12},
    {"create large, asked ahead", OP(dry, op_create_large), .there = 0, .steps_min = 4},
    {"create, ring at its end", OP(fill_ring, op_create_large), .there = 0, .steps_min = 12},
    {"put", OP(have_chunk, op_put), .there = 1, .same_id = true, .steps_min = 15},
    {"seal", OP(create_small, op_seal), .there = 1, .same_id = true, .steps_min = 5},
    {"seal large", OP(create_large, op_seal), .there = 1, .same_id = true, .steps_min = 5},
    {"seal, deleted at once", OP(create_small, op_seal), .deletes = true, .there = 1, .steps_min = 5},
    {"put, deleted at once", OP(have_chunk, op_put), .deletes = true, .there = 1, .steps_min = 15},
    {"seal, lost", OP(create_twice, op_seal_lost), .there = 1, .steps_min = 4},
    {"seal, pair full", OP(create_small, op_seal), .before = fill_pair, .there = 1, .same_id = true, .steps_min = 6},
    {"seal, dead claim before", OP(create_small, op_seal), .before = plant_before, .after = unplant, .there = 1, .same_id = true, .steps_min = 6},
    {"seal, dead claim behind", OP(create_small, op_seal), .before = plant_behind, .after = unplant, .there = 1, .same_id = true, .steps_min = 6},
    {"seal, wanted", OP(create_small, op_seal), .before = start_getter, .after = stop_getter, .there = 1, .steps_min = 8},
    {"seal, announced", OP(create_small, op_seal), .before = cluster, .after = uncluster, .there = 1, .same_id = true, .steps_min = 8},
    {"abort", OP(create_small, op_abort), .there = 0, .same_id = true, .steps_min = 1},
    {"get", OP(NULL, op_get), .before = have_it, .there = 1, .steps_min = 2},
    {"get, again", OP(get_it, op_get), .before = have_it, .there = 1, .steps_min = 2},
    {"get, waits for it", OP(NULL, op_get), .before = start_putter, .after = stop_putter, .there = 1, .steps_min = 8},
    {"get, none", OP(NULL, op_get_none), .there = 0, .same_id = true, .steps_min = 4},
    {"contains", OP(NULL, op_contains), .before = have_it, .there = 1, .steps_min = 0},
    {"release", OP(get_it, op_release), .before = have_it, .there = 1, .steps_min = 1},
    {"delete", OP(NULL, op_delete), .before = have_it, .there = 0, .steps_min = 6},
    {"delete, pinned", OP(NULL, op_delete), .before = have_it_pinned, .after = unpin, .there = 0, .steps_min = 6},
    {"delete, own pin", OP(get_it, op_delete), .before = have_it, .there = 0, .steps_min = 6},
    {"delete, none", OP(NULL, op_delete), .there = 0, .same_id = true, .steps_min = 4},
};

static void timed_since(uint64_t began)
{
	worst_ns = swi_max_u64(worst_ns, test_now() - began);
}

/* The node does not run, the dead one has not been noticed: nobody could help. */
static void survive(struct swarm_buf *ours)
{
	struct swarm_view v;
	uint64_t began = test_now();

	(void)swarm_store_contains(w.st, it());
	timed_since(began);
	began = test_now();
	if (swarm_store_get(w.st, it(), 0, &v) == 0) {
		timed_since(began);
		assert_true(filled(v.data, v.len, seed_of(it().id, v.len)));
		swarm_view_release(w.st, &v);
	}
	if (!ours->data)
		return;
	began = test_now();
	const int rc = swarm_store_seal(w.st, ours);

	timed_since(began);
	assert_true(rc == 0 || rc == -EEXIST);
	assert_int_equal(swarm_store_contains(w.st, it()), 1);
}

static void check(const struct scenario *s, uint32_t n, const char *when)
{
	char text[128];

	snprintf(text, sizeof(text), "%s, step %u, %s", s->name, n, when);
	world_stop(&w);
	world_settle(&w);
	world_check(&w, text);
	world_go(&w);
}

static void delete_all(void)
{
	struct swarm_object_info rows[64];
	const int64_t n = swarm_store_list(w.st, rows, 64);

	assert_true(n >= 0 && n < 64);
	for (int64_t i = 0; i < n; i++)
		assert_int_equal(swarm_store_delete(w.st, rows[i].ref), 0);
}

/* 1: killed before step @n. 0: the operation has fewer. */
static int one(const struct scenario *s, uint32_t n)
{
	struct swarm_buf ours = {0};
	pid_t pid;

	run_number++;
	if (s->same_id) {
		assert_int_equal(swarm_store_create(w.st, it(), OURS, NS_PER_S, &ours), 0);
		write_all(&ours);
	}
	if (s->before)
		s->before();
	const int rc = step_run(w.dir, &s->op, n, &pid);

	if (rc < 0) {
		print_message("skipped: processes may not be traced here\n");
		exit(77);
	}
	if (rc == 0 && s->there >= 0)
		assert_int_equal(swarm_store_contains(w.st, it()), s->there);
	world_stop(&w);
	step_kill(pid);
	survive(&ours);
	if (s->deletes) {
		assert_int_equal(swarm_store_delete(w.st, it()), 0);
		world_settle(&w);
	}
	world_go(&w);
	if (s->after)
		s->after();
	world_alone(&w);
	check(s, n, "killed");
	delete_all();
	check(s, n, "all deleted");
	return rc;
}

static void test_steps(void **state SWI_UNUSED)
{
	uint32_t total = 0, ran = 0;

	world_open(&w, MIB(16), 90);
	for (uint32_t i = 0; i < SWI_ARRAY_LEN(scenarios); i++) {
		const struct scenario *s = &scenarios[i];
		uint32_t n = 0, ended = 0, most = 0;

		if (!strstr(s->name, only))
			continue;
		/* A wait for the node may take more steps another time: only the second end is believed. */
		for (; ended < 2 && n < STEPS_MAX; n++) {
			if (one(s, n))
				most = n + 1;
			else
				ended++;
		}
		if (most < s->steps_min || n == STEPS_MAX)
			fail_msg("%s has %u steps: not credible", s->name, most);
		print_message("%-28s %4u steps\n", s->name, most);
		total += n;
		ran++;
	}
	assert_true(ran > 0);
	print_message("%u operations, %u kills, %u places that write; the survivor's slowest call %.1f us\n",
		      ran, total, step_sites()->count, (double)worst_ns / 1e3);
	world_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps)};

	if (argc > 1)
		only = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
