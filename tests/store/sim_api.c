/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_api.c - what clients ask of a node, over several node cores in virtual time: wait sets, queued gets, ends in time,
 * copies; while nodes die. The same seed gives the same run, to the byte of the trace.
 */
#include "store/store_internal.h"
#include "tests/store/sim_rig.h"

static struct sim *nodes(uint64_t seed, uint32_t n)
{
	struct sim *s = sim_new(seed);

	for (uint32_t i = 1; i <= n; i++)
		sim_start(s, i, MIB(8), false);
	sim_know_all(s);
	return s;
}

/* ---- one request, its status ---- */

struct asked {
	struct swi_call call;
	bool done;
};

static void answered(struct swi_call *call, int status, struct swi_rd *body SWI_UNUSED)
{
	struct asked *a = call->owner;

	call->status = status;
	a->done = true;
}

static int ask(struct sim_node *n, uint16_t type, const struct swi_wr *w)
{
	struct asked a = {.call = {.on_reply = answered}};

	a.call.owner = &a;
	assert_int_equal(swi_lc_try_post(n->lc, type, w->buf, w->len, &a.call), 0);
	assert_true(sim_until(n->sim, &a.done, 60 * NS_PER_S));
	return a.call.status;
}

static int expire(struct sim_node *n, struct swarm_ref ref, uint64_t ttl_ns)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_ref(&w, ref);
	swi_wr_u64(&w, ttl_ns);
	return ask(n, SWI_L_EXPIRE, &w);
}

static int replicate(struct sim_node *n, struct swarm_ref ref, uint32_t copies, uint64_t timeout_ns)
{
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_ref(&w, ref);
	swi_wr_u32(&w, copies);
	swi_wr_u64(&w, timeout_ns);
	return ask(n, SWI_L_REPLICATE, &w);
}

/* ---- ends in time ---- */

static void test_ttl(void **state)
{
	struct sim *s = nodes(1, 3);
	struct sim_node *a = &s->node[1], *b = &s->node[2];
	const struct swarm_ref mine = sim_ref(1, 1), theirs = sim_ref(2, 2);
	struct swarm_view v;

	(void)state;
	assert_int_equal(sim_put(a, mine, 5000), 0);
	assert_int_equal(sim_put(b, theirs, 6000), 0);
	assert_int_equal(sim_get(b, mine, 5000, NS_PER_S, NULL, 0), 0);
	assert_int_equal(sim_get(a, theirs, 6000, NS_PER_S, NULL, 0), 0);
	assert_int_equal(expire(&s->node[3], mine, NS_PER_S), -ENOENT);
	const uint64_t begin = swi_simnet_now(s->net);

	assert_int_equal(expire(a, mine, 10 * NS_PER_S), 0);
	assert_int_equal(expire(a, theirs, 10 * NS_PER_S), 0); /* its home is another node */
	assert_int_equal(swi_lc_try_get(a->lc, mine, &v), 0);
	sim_run(s, begin + 10 * NS_PER_S - NS_PER_MS - swi_simnet_now(s->net));
	assert_true(swi_lc_contains(a->lc, theirs) && swi_lc_contains(b->lc, theirs));
	sim_run(s, 50 * NS_PER_MS);
	assert_false(swi_lc_contains(a->lc, theirs) || swi_lc_contains(b->lc, theirs));
	assert_true(swi_lc_contains(a->lc, mine) && swi_lc_contains(b->lc, mine)); /* it is being read */
	sim_run(s, 60 * NS_PER_S);
	assert_true(sim_filled(v.data, mine.id, v.len));
	swi_lc_release(a->lc, &v);
	sim_run(s, 50 * NS_PER_MS);
	assert_false(swi_lc_contains(a->lc, mine) || swi_lc_contains(b->lc, mine));
	assert_int_equal(sim_get(b, mine, 0, NS_PER_S, NULL, 0), SWARM_EDELETED);
	sim_free(s);
}

/* ---- copies ---- */

static void test_copies(void **state)
{
	struct sim *s = nodes(2, 4);
	struct sim_node *a = &s->node[1];
	uint32_t holder = 0;

	(void)state;
	for (uint64_t i = 1; i <= 20; i++) {
		assert_int_equal(sim_put(a, sim_ref(i, 1), 10000 + i), 0);
		assert_int_equal(replicate(a, sim_ref(i, 1), 2, 10 * NS_PER_S), 0);
		assert_int_equal(swi_replica_copies(a->sn, sim_ref(i, 1).id), 2);
	}
	assert_int_equal(replicate(a, sim_ref(1, 1), 5, 10 * NS_PER_S), SWARM_ENOROOM);
	assert_int_equal(replicate(a, sim_ref(2, 1), 2, 0), 0); /* they exist */
	for (uint32_t k = 2; k <= 4; k++)
		if (swi_lc_contains(s->node[k].lc, sim_ref(3, 1)))
			holder = k;
	assert_true(holder != 0);
	/* A holder dies: its copies are made anew elsewhere. */
	sim_kill(&s->node[holder], SWI_SIM_KILL_RESET);
	sim_run(s, 20 * NS_PER_S);
	for (uint64_t i = 2; i <= 20; i++)
		assert_int_equal(swi_replica_copies(a->sn, sim_ref(i, 1).id), 2);
	/* Then the owner and home of all: who is left finds every one, and says so at once of what never was. */
	sim_kill(a, SWI_SIM_KILL_SILENT);
	for (uint32_t k = 2; k <= 4; k++) {
		if (k == holder)
			continue;
		for (uint64_t i = 1; i <= 20; i++)
			assert_int_equal(
			    sim_get(&s->node[k], sim_ref(i, 1), 10000 + i, 60 * NS_PER_S, NULL, 0), 0);
		assert_int_equal(sim_get(&s->node[k], sim_ref(99, 1), 0, 60 * NS_PER_S, NULL, 0),
				 SWARM_EHOMELOST);
	}
	sim_free(s);
}

/* ---- wait sets and queued gets, while the owner of half of it dies ---- */

#define N 40u

static uint64_t run_waiters(uint64_t seed)
{
	struct sim *s = nodes(seed, 3);
	struct sim_node *a = &s->node[1], *c = &s->node[3];
	struct swarm_completion row[N];
	struct swarm_ready ready[N];
	uint32_t ends = 0, came = 0, sets = 0, seen[N] = {0};
	struct swarm_waitset *ws;
	struct swarm_cq *cq;
	uint64_t trace;

	assert_int_equal(swi_waitset_create(c->lc, &ws), 0);
	assert_int_equal(swi_cq_create(c->lc, N, &cq), 0);
	for (uint64_t i = 0; i < N; i++) {
		const struct swarm_ref ref = sim_ref(i + 1, i % 2 ? 1 : 2);

		assert_int_equal(swi_waitset_add(ws, &ref, &i, 1), 1);
		assert_int_equal(swi_cq_get(cq, ref, 20 * NS_PER_S, i, NULL), 0);
	}
	sim_run(s, NS_PER_MS * (seed % 7));
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(sim_put(i % 2 ? a : &s->node[2], sim_ref(i + 1, i % 2 ? 1 : 2),
					 50000 + i), 0);
	sim_run(s, (seed * 37 % 400) * NS_PER_US);
	sim_kill(a, seed % 2 ? SWI_SIM_KILL_RESET : SWI_SIM_KILL_SILENT);
	sim_run(s, 40 * NS_PER_S); /* every deadline is over */
	for (int n; (n = swi_cq_poll(cq, row, N)) > 0; ends += (uint32_t)n)
		for (int i = 0; i < n; i++) {
			assert_int_equal(seen[row[i].user]++, 0); /* each once */
			assert_true(row[i].status <= 0);
			if (row[i].status) {
				assert_true(row[i].user % 2); /* the dead node's */
				continue;
			}
			assert_true(sim_filled(row[i].view.data, row[i].ref.id, row[i].view.len));
			swi_lc_release(c->lc, &row[i].view);
			came++;
		}
	assert_int_equal(ends, N);
	assert_true(came >= N / 2);
	for (int n; (n = swi_waitset_wait_any(ws, 0, ready, N)) > 0; sets += (uint32_t)n)
		for (int i = 0; i < n; i++)
			assert_true(ready[i].status == 0 || ready[i].token % 2);
	assert_true(sets >= N / 2);
	swi_waitset_destroy(ws);
	swi_cq_destroy(cq);
	sim_run(s, NS_PER_S);
	assert_int_equal(c->sn->holds.count, 0);
	trace = s->trace ^ swi_simnet_now(s->net) ^ (uint64_t)came << 32;
	sim_free(s);
	return trace;
}

static void test_waiters(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++)
		assert_true(run_waiters(seed) == run_waiters(seed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ttl),
	    cmocka_unit_test(test_copies),
	    cmocka_unit_test(test_waiters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
