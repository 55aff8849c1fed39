/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core.c - the scheduler's half of one node core without a network: the map of ids, the table of states
 * against its drawing, the graph with a million queued tasks, lineage within its budget, errors in words, messages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sched/core.h"
#include "sched/tmsg.h"
#include "store/index.h"

#define ARENA MIB(4)
#define CPU   SWARM_RESOURCE_UNIT

struct rig {
	struct swi_env env;
	uint64_t now, rng;
	struct swi_log log;
	void *arena;
	struct swi_shm_head *shm;
	struct swi_snode *sn;
	struct swi_node *n;
};

static uint64_t rig_now(struct swi_env *env)
{
	return swi_container_of(env, struct rig, env)->now;
}

static uint64_t rig_rand(struct swi_env *env)
{
	return swi_splitmix64(&swi_container_of(env, struct rig, env)->rng);
}

/* Workers that never come up: what is queued stays queued. */
static int no_spawn(void *ctx, uint32_t worker)
{
	(void)ctx;
	(void)worker;
	return 0;
}

static void no_kill(void *ctx, uint32_t worker)
{
	(void)ctx;
	(void)worker;
}

static void rig_make(struct rig *r, uint64_t lineage)
{
	struct swi_snode_opts so = {.env = &r->env, .log = &r->log, .arena_bytes = ARENA, .epoch = 7};
	struct swi_node_opts no = {.head = true, .total = {.cpu = 2 * CPU}, .lineage_bytes = lineage,
				   .workers = {.spawn = no_spawn, .kill = no_kill}};
	char why[128] = "";

	memset(r, 0, sizeof(*r));
	r->env = (struct swi_env){rig_now, rig_rand};
	r->now = NS_PER_S;
	swi_log_init(&r->log, "test");
	r->log.level = SWI_LOG_NONE;
	r->arena = aligned_alloc(SWI_PAGE, ARENA);
	r->shm = aligned_alloc(SWI_PAGE, swi_index_bytes(1024));
	assert_true(r->arena && r->shm);
	memset(r->arena, 0, ARENA);
	memset(r->shm, 0, swi_index_bytes(1024));
	swi_index_format(r->shm, ARENA, 1024, 7);
	so.arena = r->arena;
	so.shm = r->shm;
	assert_int_equal(swi_snode_create(&so, &r->sn, why, sizeof(why)), 0);
	no.sn = r->sn;
	assert_int_equal(swi_node_create(&no, &r->n, why, sizeof(why)), 0);
}

static void rig_end(struct rig *r)
{
	swi_node_destroy(r->n);
	swi_snode_destroy(r->sn);
	free(r->arena);
	free(r->shm);
}

static void rig_settle(struct rig *r)
{
	for (int i = 0; i < 1000 && swi_snode_step(r->sn) + swi_node_step(r->n) > 0; i++)
		;
}

static struct swarm_oid submit(struct rig *r, uint64_t i, struct swi_resources need,
			       const struct swarm_ref *arg)
{
	struct swi_spec s = {.home = 1, .retries = 3, .module = {.id = {{1, 1}}}, .return_count = 1,
			     .need = need, .arg_count = arg ? 1 : 0};
	struct swarm_arg a = {0};
	uint8_t buf[256];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (arg)
		a.ref = *arg;
	s.parent = (struct swarm_oid){{42, 42}};
	s.task = swi_task_id(s.parent, i);
	memcpy(s.function, "noop", 5);
	swi_spec_encode(&w, &s, &a);
	assert_int_equal(swi_graph_submit(r->n, buf, w.len), 0);
	return s.task;
}

/* As if the run of @t had ended with @status; the real one, which waits for a worker, is given up. */
static void end_with(struct rig *r, struct swi_task *t, int status)
{
	const uint64_t len = 8;

	assert_int_equal(t->state, SWI_TASK_PLACED);
	swi_runner_cancel(r->n->runner, t->id, true);
	swi_graph_ended(r->n, t, status, "said so", &len, status ? 0 : 1);
}

static void finish(struct rig *r, struct swi_task *t)
{
	end_with(r, t, 0);
}

static void idmap_like_a_reference(void **state)
{
	struct swi_idmap m = {0};
	static uint32_t ref[4096];
	uint64_t rng = 3, count = 0;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		const uint64_t x = swi_splitmix64(&rng);
		const uint32_t k = (uint32_t)(x % 4096);
		/* Few distinct words: long probes and wraps. */
		const struct swarm_oid id = {{k % 7, k + 1}};

		if (x >> 32 & 1) {
			count += !ref[k];
			ref[k] = (uint32_t)i + 1;
			assert_int_equal(swi_idmap_set(&m, id, &m, ref[k]), 0);
		} else {
			count -= ref[k] != 0;
			ref[k] = 0;
			swi_idmap_del(&m, id);
		}
		assert_int_equal(m.count, count);
		if (i % 5000)
			continue;
		for (uint32_t q = 0; q < 4096; q++) {
			const struct swi_idslot *s = swi_idmap_get(&m, (struct swarm_oid){{q % 7, q + 1}});

			assert_int_equal(s ? s->aux : 0, ref[q]);
		}
	}
	swi_idmap_fini(&m);
}

static void states_are_as_drawn(void **state)
{
	static const char *const edges[] = {
#define LINE(from, ev, to, why) #from " -> " #to " [label=\"" #ev "\"]",
	    SWI_TASK_EDGES(LINE)
#undef LINE
	};
	FILE *f = fopen(SWARM_SOURCE_DIR "/sched/task_states.dot", "r");
	char line[256];
	uint32_t drawn = 0;

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		bool found = !strstr(line, "->");

		if (found)
			continue;
		drawn++;
		for (uint32_t i = 0; i < SWI_ARRAY_LEN(edges); i++)
			found |= strstr(line, edges[i]) != NULL;
		if (!found)
			fail_msg("drawn, but not in the table: %s", line);
	}
	fclose(f);
	assert_int_equal(drawn, SWI_ARRAY_LEN(edges));
}

static void a_million_queued_tasks(void **state)
{
	const uint32_t count = 1000000;
	struct swi_env *real = swi_env_real();
	const struct swi_resources one = {.cpu = CPU};
	struct rig r;
	uint64_t t0, first, last;

	(void)state;
	rig_make(&r, GIB(2));
	t0 = swi_now(real);
	for (uint32_t i = 0; i < count / 10; i++)
		submit(&r, i, one, NULL);
	first = swi_now(real) - t0;
	for (uint32_t i = count / 10; i < count / 10 * 9; i++)
		submit(&r, i, one, NULL);
	t0 = swi_now(real);
	for (uint32_t i = count / 10 * 9; i < count; i++)
		submit(&r, i, one, NULL);
	last = swi_now(real) - t0;
	rig_settle(&r);
	assert_int_equal(swi_graph_open(r.n), count);
	/* Late binding: the node has what it can run and a few more. */
	assert_in_range(r.n->graph.count[SWI_TASK_PLACED], 2, 8);
	print_message("1,000,000 queued: %llu ns a submit in the first tenth, %llu in the last; %llu bytes a task\n",
		      (unsigned long long)(first / (count / 10)), (unsigned long long)(last / (count / 10)),
		      (unsigned long long)(r.n->lineage.bytes / count));
	assert_true(last < 20 * first);
	rig_end(&r);
}

static void lineage_keeps_to_its_budget(void **state)
{
	const struct swi_resources one = {.cpu = CPU};
	struct rig r;
	char why[256];
	struct swarm_oid first;

	(void)state;
	rig_make(&r, KIB(32));
	first = submit(&r, 0, one, NULL);
	for (uint32_t i = 0; i < 500; i++) {
		const struct swarm_oid id = i ? submit(&r, i, one, NULL) : first;

		rig_settle(&r);
		finish(&r, swi_graph_find(r.n, id));
		rig_settle(&r);
		assert_in_range(r.n->lineage.bytes, 1, KIB(33));
	}
	assert_null(swi_graph_find(r.n, first));
	assert_true(r.n->lineage.evicted > 300);
	assert_int_equal(swi_rebuild_lost(r.n, swi_result_id(first, 0), true, why, sizeof(why)), SWARM_ELOST);
	assert_non_null(strstr(why, "lineage evicted"));
	rig_end(&r);
}

static void records_live_as_long_as_dependents(void **state)
{
	const struct swi_resources one = {.cpu = CPU};
	struct rig r;
	struct swarm_oid a, b;
	struct swarm_ref ref;

	(void)state;
	rig_make(&r, 0);
	a = submit(&r, 1, one, NULL);
	ref = (struct swarm_ref){.id = swi_result_id(a, 0), .home = 1};
	b = submit(&r, 2, one, &ref);
	rig_settle(&r);
	assert_int_equal(swi_graph_find(r.n, b)->state, SWI_TASK_WAITING);
	finish(&r, swi_graph_find(r.n, a));
	assert_true(swi_graph_delete(r.n, ref.id)); /* later: b still needs it */
	assert_int_equal(swi_graph_find(r.n, a)->live, 0);
	assert_int_equal(swi_graph_find(r.n, a)->dependents, 1);
	assert_int_equal(r.n->lineage.loose_bytes, 0);
	swi_graph_cancel(r.n, swi_result_id(b, 0), false);
	assert_int_equal(swi_graph_find(r.n, b)->state, SWI_TASK_FAILED);
	rig_end(&r);
}

static void what_never_fits_fails_in_words(void **state)
{
	struct rig r;
	struct swarm_oid id;
	char *json;

	(void)state;
	rig_make(&r, 0);
	id = submit(&r, 1, (struct swi_resources){.cpu = CPU, .gpu = CPU}, NULL);
	submit(&r, 2, (struct swi_resources){.cpu = CPU}, NULL);
	rig_settle(&r);
	assert_int_equal(swi_graph_find(r.n, id)->state, SWI_TASK_READY);
	assert_int_equal(r.n->graph.count[SWI_TASK_PLACED], 1); /* the other shape is not held up */
	r.now += NS_PER_S;
	rig_settle(&r);
	assert_int_equal(swi_graph_find(r.n, id)->state, SWI_TASK_FAILED);
	assert_int_equal(swi_dir_get(r.sn, swi_result_id(id, 0), NULL), SWI_DIR_FAILED);
	json = swi_status_json(r.n, "status");
	assert_non_null(json);
	assert_non_null(strstr(json, "\"failed\":1"));
	free(json);
	rig_end(&r);
}

static void crashes_use_up_the_retries(void **state)
{
	const struct swi_resources one = {.cpu = CPU};
	struct rig r;
	struct swi_task *t;

	(void)state;
	rig_make(&r, 0);
	t = swi_graph_find(r.n, submit(&r, 1, one, NULL));
	for (uint32_t i = 0; i < 3; i++) {
		rig_settle(&r);
		assert_int_equal(t->attempt, i);
		end_with(&r, t, SWARM_ECRASH);
		assert_int_equal(t->state, SWI_TASK_WAITING);
	}
	rig_settle(&r);
	/* A node that goes away does not count. */
	end_with(&r, t, SWARM_EDRAINING);
	rig_settle(&r);
	assert_int_equal(t->state, SWI_TASK_PLACED);
	end_with(&r, t, SWARM_ECRASH);
	assert_int_equal(t->state, SWI_TASK_FAILED);
	rig_end(&r);
}

static void a_known_task_is_not_run_twice(void **state)
{
	const struct swi_resources one = {.cpu = CPU};
	struct rig r;

	(void)state;
	rig_make(&r, 0);
	submit(&r, 1, one, NULL);
	submit(&r, 1, one, NULL);
	rig_settle(&r);
	assert_int_equal(swi_graph_open(r.n), 1);
	assert_int_equal(r.n->st.duplicates, 1);
	rig_end(&r);
}

static void reports_survive_and_damage_does_not(void **state)
{
	const struct swi_report a = {.stamp = 9, .total = {.cpu = CPU}, .queued = 3, .heard = 4, .draining = true};
	uint8_t buf[256];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	struct swi_report b;
	struct swi_rd rd;

	(void)state;
	swi_report_encode(&w, &a);
	rd = swi_rd_init(buf, w.len);
	swi_report_decode(&rd, &b);
	assert_true(swi_rd_done(&rd));
	assert_true(b.stamp == 9 && b.total.cpu == CPU && b.queued == 3 && b.heard == 4 && b.draining && !b.idle);
	for (uint32_t i = 0; i < w.len; i++) {
		rd = swi_rd_init(buf, i);
		swi_report_decode(&rd, &b);
		assert_false(swi_rd_done(&rd) && i > 0);
		assert_true(rd.bad);
	}
}

static void steps(struct rig *r, uint64_t ns)
{
	for (const uint64_t end = r->now + ns; r->now < end; r->now += 50 * NS_PER_MS)
		swi_node_step(r->n);
}

static void head_slept__nobody_is_dead(void **state)
{
	const struct swi_resources total = {.cpu = CPU};
	struct rig r;

	(void)state;
	rig_make(&r, 0);
	steps(&r, NS_PER_S / 10);
	assert_non_null(swi_view_add(r.n, 2, 1, "10.0.0.2:1", &total));
	assert_non_null(swi_view_add(r.n, 3, 1, "10.0.0.3:1", &total));
	steps(&r, NS_PER_S);
	r.now += 10 * NS_PER_S; /* this process stood still */
	swi_node_step(r.n);
	assert_int_equal(r.n->member.died, 0);
	steps(&r, NS_PER_S / 2);
	assert_int_equal(r.n->member.died, 0); /* 1.5 s of silence while it ran */
	steps(&r, NS_PER_S);
	assert_int_equal(r.n->member.died, 2);
	rig_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(idmap_like_a_reference),
	    cmocka_unit_test(states_are_as_drawn),
	    cmocka_unit_test(a_million_queued_tasks),
	    cmocka_unit_test(lineage_keeps_to_its_budget),
	    cmocka_unit_test(records_live_as_long_as_dependents),
	    cmocka_unit_test(what_never_fits_fails_in_words),
	    cmocka_unit_test(crashes_use_up_the_retries),
	    cmocka_unit_test(a_known_task_is_not_run_twice),
	    cmocka_unit_test(reports_survive_and_damage_does_not),
	    cmocka_unit_test(head_slept__nobody_is_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
