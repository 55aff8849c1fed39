/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - every fault that the decorator knows, at every n-th operation in turn, over the
 * simulated network: whatever fails, each READ completes once, down() comes once and last, and the
 * next connection works.
 */
#include "check.h"

#include "transport/conn.h"
#include "transport/fault/fault.h"
#include "transport/sim/sim_net.h"

#define READS 20u
#define MEM   KIB(64)

struct world {
	struct swi_simnet *net;
	struct swi_sim_env env;
	struct swi_log log;
	struct swi_fault_plan plan;
	struct swi_tp *a, *b; /* a is the faulty one */
	struct swi_conn *conn;
	uint8_t *mem_a, *mem_b;
	uint32_t ups, downs, echoes, done, failed;
	uint32_t order[READS];
	struct one {
		struct swi_read rd;
		struct world *w;
		int calls, status;
	} reads[READS];
	int status;
};

static void up(void *ctx, struct swi_conn *c, bool inbound SWI_UNUSED)
{
	struct world *w = ctx;

	w->conn = c;
	w->ups++;
}

static void msg(void *ctx, struct swi_conn *c SWI_UNUSED, uint16_t type SWI_UNUSED,
		const void *body SWI_UNUSED, uint32_t len SWI_UNUSED)
{
	((struct world *)ctx)->echoes++;
}

static void down(void *ctx, struct swi_conn *c SWI_UNUSED, int status)
{
	struct world *w = ctx;

	w->downs++;
	w->status = status;
	w->conn = NULL;
	for (uint32_t i = 0; i < READS; i++) /* last */
		assert_true(!w->reads[i].w || w->reads[i].calls == 1);
}

static void echo(void *ctx SWI_UNUSED, struct swi_conn *c, uint16_t type, const void *body,
		 uint32_t len)
{
	(void)swi_conn_send(c, type, body, len);
}

static void read_cb(struct swi_read *rd, int status)
{
	struct one *r = swi_container_of(rd, struct one, rd);

	assert_int_equal(++r->calls, 1);
	r->status = status;
	r->w->order[r->w->done++] = (uint32_t)(r - r->w->reads);
	r->w->failed += status != 0;
}

static void open_world(struct world *w, const struct swi_fault_rule *rule)
{
	const struct swi_simnet_opts net = {.seed = 5};
	const struct swi_tp_handler ha = {.ctx = w, .up = up, .msg = msg, .down = down};
	const struct swi_tp_handler hb = {.ctx = w, .msg = echo};
	char why[128];

	memset(w, 0, sizeof(*w));
	assert_int_equal(swi_simnet_create(&net, &w->net), 0);
	swi_sim_env_init(&w->env, w->net, 1);
	swi_log_init(&w->log, "fault");
	w->log.level = SWI_LOG_NONE;
	w->plan = (struct swi_fault_plan){
	    .inner = swi_be_sim, .inner_param = w->net, .seed = 9, .rules = {*rule}};
	struct swi_tp_opts o = {.backend = "fault", .param = &w->plan};

	assert_int_equal(swi_tp_open(&o, &w->env.env, &w->log, &ha, &w->a, why, sizeof(why)), 0);
	o = (struct swi_tp_opts){.backend = "sim", .bind = "b:1", .param = w->net};
	assert_int_equal(swi_tp_open(&o, &w->env.env, &w->log, &hb, &w->b, why, sizeof(why)), 0);
	w->mem_a = aligned_alloc(SWI_PAGE, MEM);
	w->mem_b = aligned_alloc(SWI_PAGE, MEM);
	assert_true(w->mem_a && w->mem_b);
	memset(w->mem_b, 0x42, MEM);
	assert_int_equal(swi_tp_register(w->a, 0, w->mem_a, MEM, -1), 0);
	assert_int_equal(swi_tp_register(w->b, 0, w->mem_b, MEM, -1), 0);
}

static void close_world(struct world *w)
{
	swi_tp_close(w->a);
	swi_tp_close(w->b);
	swi_simnet_destroy(w->net);
	free(w->mem_a);
	free(w->mem_b);
}

static void run_ms(struct world *w, uint64_t ms)
{
	const uint64_t until = swi_simnet_now(w->net) + ms * NS_PER_MS;

	while (swi_simnet_now(w->net) < until) {
		const int events = swi_tp_progress(w->a) + swi_tp_progress(w->b);
		const bool busy = events || !swi_tp_arm(w->a) || !swi_tp_arm(w->b);
		uint64_t t = swi_min_u64(until, swi_simnet_next_ns(w->net));

		t = swi_min_u64(t, swi_min_u64(swi_tp_deadline_ns(w->a), swi_tp_deadline_ns(w->b)));
		if (!busy)
			swi_simnet_advance(w->net, swi_max_u64(t, swi_simnet_now(w->net)));
	}
}

/* Connect, 20 READs, 20 messages there and back. Returns how often the rule fired. */
static uint32_t scenario(struct world *w)
{
	struct swi_conn *c;

	assert_int_equal(swi_tp_connect(w->a, "b:1", NULL, &c), 0);
	run_ms(w, 10);
	for (uint32_t i = 0; i < READS && w->conn; i++) {
		struct one *r = &w->reads[i];

		r->rd.cb = read_cb;
		r->w = w;
		if (swi_conn_read(w->conn, 0, i * 64, w->mem_a + i * 64, 64, &r->rd))
			r->w = NULL; /* refused here and now: no callback */
		if (w->conn)
			(void)swi_conn_send(w->conn, 1, "hello", 5);
	}
	run_ms(w, 20);
	for (uint32_t i = 0; i < READS; i++) {
		assert_int_equal(w->reads[i].calls, w->reads[i].w != NULL);
		if (w->reads[i].w && !w->reads[i].status)
			assert_memory_equal(w->mem_a + i * 64, w->mem_b, 64);
	}
	assert_true(w->downs <= 1);
	return w->plan.rules[0].fired;
}

/* After it all, the same two nodes connect again and everything works. */
static void works_again(struct world *w)
{
	memset(w->plan.rules, 0, sizeof(w->plan.rules));
	memset(w->reads, 0, sizeof(w->reads));
	if (w->conn)
		swi_conn_close(w->conn, -ECANCELED);
	run_ms(w, 10);
	w->ups = w->downs = w->done = w->failed = w->echoes = 0;
	scenario(w);
	assert_int_equal(w->ups, 1);
	assert_int_equal(w->done, READS);
	assert_int_equal(w->failed, 0);
	assert_int_equal(w->echoes, READS);
}

/* n = 1, 2, ... until the rule does not fire any more. Returns how many it was. */
static uint32_t sweep(struct swi_fault_rule rule)
{
	for (rule.nth = 1;; rule.nth++) {
		struct world w;

		open_world(&w, &rule);
		const uint32_t fired = scenario(&w);

		if (fired)
			works_again(&w);
		else
			assert_int_equal(w.done + w.echoes, 2 * READS);
		close_world(&w);
		if (!fired)
			return rule.nth - 1;
		assert_true(rule.nth < 1000);
	}
}

static void fail_nth__send_and_read(void **state)
{
	static const int codes[] = {-EAGAIN, -ENOMEM, SWARM_EPEERLOST, -EIO};

	(void)state;
	for (size_t i = 0; i < SWI_ARRAY_LEN(codes); i++) {
		assert_true(sweep((struct swi_fault_rule){.kind = SWI_FAULT_FAIL,
							  .ops = SWI_FAULT_SEND,
							  .code = codes[i]}) >= READS);
		assert_true(sweep((struct swi_fault_rule){.kind = SWI_FAULT_FAIL,
							  .ops = SWI_FAULT_READ,
							  .code = codes[i]}) >= READS);
	}
}

static void cut_nth__send_and_read(void **state)
{
	(void)state;
	assert_true(sweep((struct swi_fault_rule){.kind = SWI_FAULT_CUT, .ops = SWI_FAULT_SEND}) >=
		    READS);
	assert_true(sweep((struct swi_fault_rule){.kind = SWI_FAULT_CUT, .ops = SWI_FAULT_READ}) >=
		    READS);
}

static void fail_done_nth__only_that_read(void **state)
{
	const struct swi_fault_rule rule = {.kind = SWI_FAULT_FAIL_DONE,
					    .ops = SWI_FAULT_READ,
					    .nth = 5,
					    .code = SWARM_EREMOTEACCESS};
	struct world w;

	(void)state;
	open_world(&w, &rule);
	assert_int_equal(scenario(&w), 1);
	assert_int_equal(w.failed, 1);
	assert_int_equal(w.done, READS);
	assert_int_equal(w.downs, 0);
	works_again(&w);
	close_world(&w);
}

static void delay_and_reorder__change_nothing_else(void **state)
{
	static const struct swi_fault_rule rules[] = {
	    {.kind = SWI_FAULT_DELAY, .ops = SWI_FAULT_READ, .permille = 500, .delay = 7},
	    {.kind = SWI_FAULT_REORDER, .ops = SWI_FAULT_READ, .permille = 1000},
	    {.kind = SWI_FAULT_FAIL,
	     .ops = SWI_FAULT_SEND | SWI_FAULT_READ,
	     .permille = 600,
	     .code = -EAGAIN},
	};

	(void)state;
	for (size_t i = 0; i < SWI_ARRAY_LEN(rules); i++) {
		bool in_order = true;
		struct world w;

		open_world(&w, &rules[i]);
		assert_true(scenario(&w) > 5);
		assert_int_equal(w.done, READS);
		assert_int_equal(w.failed, 0);
		assert_int_equal(w.echoes, READS);
		assert_int_equal(w.downs, 0);
		for (uint32_t k = 1; k < READS; k++)
			in_order = in_order && w.order[k] > w.order[k - 1];
		assert_int_equal(in_order, rules[i].kind == SWI_FAULT_FAIL);
		close_world(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fail_nth__send_and_read),
	    cmocka_unit_test(cut_nth__send_and_read),
	    cmocka_unit_test(fail_done_nth__only_that_read),
	    cmocka_unit_test(delay_and_reorder__change_nothing_else),
	};

	return RUN(tests);
}
