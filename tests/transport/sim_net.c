/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_net.c - the simulated network by itself: the same seed gives the same trace, READs can be
 * torn, cuts hold back and heal, hosts die in two ways, and addresses come back to life with new
 * keys.
 */
#include "check.h"

#include <xxhash.h>

#include "transport/conn.h"
#include "transport/sim/sim_net.h"

#define NODES 3u
#define MEM   MIB(1)

struct node {
	struct swi_sim_env env;
	struct swi_log log;
	struct swi_tp *tp;
	struct swi_conn *conn;
	uint8_t *mem;
	uint32_t ups, downs, msgs;
	int status;
};

struct world {
	struct swi_simnet *net;
	struct node n[NODES];
	XXH3_state_t *digest;
	uint64_t lines;
};

static void on_up(void *ctx, struct swi_conn *c, bool inbound SWI_UNUSED)
{
	struct node *n = ctx;

	n->conn = c;
	n->ups++;
}

static void on_msg(void *ctx, struct swi_conn *c, uint16_t type, const void *body, uint32_t len)
{
	struct node *n = ctx;

	if (++n->msgs < 200)
		(void)swi_conn_send(c, type, body, len);
}

static void on_down(void *ctx, struct swi_conn *c, int status)
{
	struct node *n = ctx;

	n->downs++;
	n->status = status;
	if (n->conn == c)
		n->conn = NULL;
}

static void line(void *ctx, const char *text)
{
	struct world *w = ctx;

	w->lines++;
	XXH3_64bits_update(w->digest, text, strlen(text));
}

static void start(struct world *w, uint32_t i, uint64_t epoch)
{
	struct node *n = &w->n[i];
	const struct swi_tp_handler h = {.ctx = n, .up = on_up, .msg = on_msg, .down = on_down};
	char bind[32], why[128];

	swi_sim_env_init(&n->env, w->net, i + 100 * epoch);
	swi_log_init(&n->log, "sim");
	n->log.level = SWI_LOG_NONE;
	snprintf(bind, sizeof(bind), "n%u:1", i);
	const struct swi_tp_opts o = {
	    .backend = "sim", .bind = bind, .param = w->net, .node = i + 1, .epoch = epoch};

	assert_int_equal(swi_tp_open(&o, &n->env.env, &n->log, &h, &n->tp, why, sizeof(why)), 0);
	n->mem = aligned_alloc(SWI_PAGE, MEM);
	assert_non_null(n->mem);
	memset(n->mem, (int)(i + 1), MEM);
	assert_int_equal(swi_tp_register(n->tp, 0, n->mem, MEM, -1), 0);
}

static void stop(struct node *n)
{
	swi_tp_close(n->tp);
	free(n->mem);
	memset(n, 0, sizeof(*n));
}

static void open_world(struct world *w, uint64_t seed)
{
	const struct swi_simnet_opts o = {.seed = seed,
					  .bytes_per_s = 1000000000,
					  .tail_permille = 20,
					  .tail_ns = 30 * NS_PER_US};

	memset(w, 0, sizeof(*w));
	w->digest = XXH3_createState();
	assert_non_null(w->digest);
	XXH3_64bits_reset(w->digest);
	assert_int_equal(swi_simnet_create(&o, &w->net), 0);
	swi_simnet_trace(w->net, line, w);
	for (uint32_t i = 0; i < NODES; i++)
		start(w, i, 1);
}

static void close_world(struct world *w)
{
	for (uint32_t i = 0; i < NODES; i++)
		stop(&w->n[i]);
	assert_int_equal(swi_simnet_stats(w->net)->overruns, 0);
	swi_simnet_destroy(w->net);
	XXH3_freeState(w->digest);
}

/* Runs until @until of virtual time. */
static void run(struct world *w, uint64_t until)
{
	while (swi_simnet_now(w->net) < until) {
		uint64_t t = swi_min_u64(until, swi_simnet_next_ns(w->net));
		bool busy = false;

		for (uint32_t i = 0; i < NODES; i++) {
			struct swi_tp *tp = w->n[i].tp;

			if (!tp)
				continue;
			busy = swi_tp_progress(tp) > 0 || !swi_tp_arm(tp) || busy;
			t = swi_min_u64(t, swi_tp_deadline_ns(tp));
		}
		if (!busy)
			swi_simnet_advance(w->net, swi_max_u64(t, swi_simnet_now(w->net)));
	}
}

static void run_ms(struct world *w, uint64_t ms)
{
	run(w, swi_simnet_now(w->net) + ms * NS_PER_MS);
}

static void connect_nodes(struct world *w, uint32_t a, uint32_t b)
{
	struct swi_conn *c;
	const uint32_t ups = w->n[a].ups;

	assert_int_equal(swi_tp_connect(w->n[a].tp, swi_tp_address(w->n[b].tp), NULL, &c), 0);
	run_ms(w, 2);
	assert_int_equal(w->n[a].ups, ups + 1);
	assert_ptr_equal(w->n[a].conn, c);
}

struct one_read {
	struct swi_read rd;
	int calls, status;
};

static void read_cb(struct swi_read *rd, int status)
{
	struct one_read *r = swi_container_of(rd, struct one_read, rd);

	r->calls++;
	r->status = status;
}

static uint64_t scenario(uint64_t seed, uint64_t *out_lines)
{
	struct one_read reads[8];
	struct world w;

	open_world(&w, seed);
	connect_nodes(&w, 0, 1);
	connect_nodes(&w, 2, 1);
	memset(reads, 0, sizeof(reads));
	for (int i = 0; i < 8; i++) {
		reads[i].rd.cb = read_cb;
		assert_int_equal(swi_conn_read(w.n[0].conn, 0, (uint64_t)i * 1000, w.n[0].mem,
					       50000, &reads[i].rd),
				 0);
		assert_int_equal(swi_conn_send(w.n[2].conn, 1, "ping", 4), 0);
	}
	run_ms(&w, 10);
	swi_simnet_kill(w.net, "n1:1", SWI_SIM_KILL_RESET);
	run_ms(&w, 10);
	assert_int_equal(w.n[0].downs, 1);
	assert_int_equal(w.n[2].downs, 1);
	const uint64_t digest = XXH3_64bits_digest(w.digest);

	*out_lines = w.lines;
	close_world(&w);
	return digest;
}

static void same_seed__same_trace(void **state)
{
	uint64_t lines_a, lines_b, lines_c;
	const uint64_t a = scenario(7, &lines_a), b = scenario(7, &lines_b),
		       c = scenario(8, &lines_c);

	(void)state;
	assert_true(lines_a > 200);
	assert_int_equal(lines_a, lines_b);
	assert_true(a == b);
	assert_true(a != c);
}

/* The owner changes the bytes between the two instants: a reader sees half of each. */
static void read__can_be_torn(void **state)
{
	struct one_read r = {.rd = {.cb = read_cb}};
	struct world w;
	bool torn = false;

	(void)state;
	open_world(&w, 1);
	connect_nodes(&w, 0, 1);
	memset(w.n[1].mem, 0x11, MEM);
	assert_int_equal(swi_conn_read(w.n[0].conn, 0, 0, w.n[0].mem, KIB(512), &r.rd), 0);
	const uint64_t t0 = swi_simnet_now(w.net);

	run(&w,
	    t0 + 200 * NS_PER_US); /* the first half was copied by now; all of it takes 524 us */
	assert_int_equal(r.calls, 0);
	memset(w.n[1].mem, 0x22, MEM);
	run_ms(&w, 5);
	assert_int_equal(r.calls, 1);
	assert_int_equal(r.status, 0);
	torn = w.n[0].mem[0] == 0x11 && w.n[0].mem[KIB(512) - 1] == 0x22;
	assert_true(torn);
	close_world(&w);
}

static void cut__holds_back_and_heals(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 2);
	connect_nodes(&w, 0, 1);
	swi_simnet_cut(w.net, "n1:1", "n0:1");
	for (int i = 0; i < 10; i++)
		assert_int_equal(swi_conn_send(w.n[0].conn, 1, "x", 1), 0);
	run_ms(&w, 500);
	assert_int_equal(w.n[1].msgs, 0);
	assert_int_equal(w.n[0].downs, 0);
	swi_simnet_heal(w.net, "n0:1", "n1:1");
	run_ms(&w, 50);
	assert_true(w.n[1].msgs >= 10);
	assert_int_equal(w.n[0].downs, 0);
	swi_simnet_cut(w.net, "n0:1", "n1:1");
	run_ms(&w, 3000); /* longer than the silence that is borne */
	assert_int_equal(w.n[0].downs, 1);
	assert_int_equal(w.n[0].status, SWARM_ESILENT);
	assert_int_equal(w.n[1].status, SWARM_ESILENT);
	close_world(&w);
}

static void kill__silent_or_reset(void **state)
{
	struct one_read r = {.rd = {.cb = read_cb}};
	struct swi_conn *c;
	struct world w;

	(void)state;
	open_world(&w, 3);
	connect_nodes(&w, 0, 1);
	connect_nodes(&w, 0, 2);
	connect_nodes(&w, 0, 1);
	assert_int_equal(swi_conn_read(w.n[0].conn, 0, 0, w.n[0].mem, MEM, &r.rd), 0);
	swi_simnet_kill(w.net, "n2:1", SWI_SIM_KILL_RESET);
	run_ms(&w, 1);
	assert_int_equal(w.n[0].downs, 1);
	assert_int_equal(w.n[0].status, SWARM_EPEERLOST);
	swi_simnet_kill(w.net, "n1:1", SWI_SIM_KILL_SILENT);
	run_ms(&w, 1000);
	assert_int_equal(w.n[0].downs, 1); /* nothing heard, nothing known */
	run_ms(&w, 2000);
	assert_int_equal(w.n[0].downs, 3);
	assert_int_equal(w.n[0].status, SWARM_ESILENT);
	assert_int_equal(r.calls, 1);
	/* A dead host does not even refuse; a dead process does. */
	assert_int_equal(swi_tp_connect(w.n[0].tp, "n1:1", NULL, &c), 0);
	run_ms(&w, 1000);
	assert_int_equal(w.n[0].downs, 3);
	run_ms(&w, 5000);
	assert_int_equal(w.n[0].downs, 4);
	assert_int_equal(w.n[0].status, -ETIMEDOUT);
	assert_int_equal(swi_tp_connect(w.n[0].tp, "n2:1", NULL, &c), 0);
	run_ms(&w, 1);
	assert_int_equal(w.n[0].downs, 5);
	assert_int_equal(w.n[0].status, -ECONNREFUSED);
	close_world(&w);
}

static void restart__has_new_keys(void **state)
{
	struct one_read r = {.rd = {.cb = read_cb}};
	struct world w;

	(void)state;
	open_world(&w, 4);
	connect_nodes(&w, 0, 1);
	const uint64_t old = w.n[0].conn->regions.at[0].chunks[0].rkey;

	swi_simnet_kill(w.net, "n1:1", SWI_SIM_KILL_SILENT);
	stop(&w.n[1]);
	start(&w, 1, 2);
	connect_nodes(&w, 0, 1);
	assert_int_equal(swi_conn_peer(w.n[0].conn)->epoch, 2);
	assert_true(w.n[0].conn->regions.at[0].chunks[0].rkey != old);
	w.n[0].conn->regions.at[0].chunks[0].rkey = old;
	assert_int_equal(swi_conn_read(w.n[0].conn, 0, 0, w.n[0].mem, 100, &r.rd), 0);
	run_ms(&w, 1);
	assert_int_equal(r.status, SWARM_EREMOTEACCESS);
	assert_int_equal(swi_simnet_stats(w.net)->refused_reads, 1);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(same_seed__same_trace),     cmocka_unit_test(read__can_be_torn),
	    cmocka_unit_test(cut__holds_back_and_heals), cmocka_unit_test(kill__silent_or_reset),
	    cmocka_unit_test(restart__has_new_keys),
	};

	return RUN(tests);
}
