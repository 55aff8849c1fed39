/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths.c - connections over several paths, on the simulated network: paths are cut, heal and are reset
 * under READs and messages in both directions. Nothing is lost, doubled, out of order or wrong; the connection
 * ends only with the last path.
 */
#include "check.h"

#include "transport/conn.h"
#include "transport/fault/fault.h"
#include "transport/paths/paths_plan.h"
#include "transport/sim/sim_net.h"

#define MEM   MIB(4)
#define READS 24u

struct end {
	struct world *w;
	struct swi_tp *tp;
	struct swi_conn *conn;
	struct swi_fault_plan faults[2];
	struct swi_paths_plan plan;
	uint8_t *mem;
	uint64_t sent, got, ups, downs;
	int status;
	bool stop;
	struct one {
		struct swi_read rd;
		struct end *e;
		uint64_t from, to, len;
		bool busy;
	} reads[READS];
	uint64_t reads_ok, reads_bad;
};

struct world {
	struct swi_simnet *net;
	struct swi_sim_env env;
	struct swi_log log;
	uint64_t rng;
	struct end a, b;
};

static uint8_t byte_at(uint64_t off)
{
	return (uint8_t)(off * 2654435761u >> 7 ^ off >> 16);
}

static void on_up(void *ctx, struct swi_conn *c, bool inbound SWI_UNUSED)
{
	struct end *e = ctx;

	e->conn = c;
	e->ups++;
}

/* Messages carry their number; now and then a large one. */
static void on_msg(void *ctx, struct swi_conn *c SWI_UNUSED, uint16_t type, const void *body, uint32_t len)
{
	struct end *e = ctx;
	uint64_t n;

	assert_int_equal(type, 7);
	assert_true(len >= sizeof(n));
	memcpy(&n, body, sizeof(n));
	assert_int_equal(n, e->got);
	e->got++;
}

static void on_down(void *ctx, struct swi_conn *c SWI_UNUSED, int status)
{
	struct end *e = ctx;

	e->downs++;
	e->status = status;
	e->conn = NULL;
}

static void post(struct one *r);

static void on_read(struct swi_read *rd, int status)
{
	struct one *r = swi_container_of(rd, struct one, rd);
	struct end *e = r->e;

	assert_true(r->busy);
	r->busy = false;
	if (status) {
		e->reads_bad++;
		return;
	}
	for (uint64_t i = 0; i < r->len; i += 1 + i / 64)
		assert_int_equal(e->mem[r->to + i], byte_at(r->from + i));
	e->reads_ok++;
}

static void post(struct one *r)
{
	struct end *e = r->e;
	const uint64_t dice = swi_splitmix64(&e->w->rng), slot = MEM / 2 / READS;

	r->len = dice % 4 ? 1 + (dice >> 8) % 4096 : 1 + (dice >> 8) % slot;
	r->from = (dice >> 32) % (MEM / 2 - r->len);
	r->to = MEM / 2 + (uint64_t)(r - e->reads) * slot;
	memset(e->mem + r->to, 0xee, r->len);
	r->rd.cb = on_read;
	r->busy = true;
	if (swi_conn_read(e->conn, 0, r->from, e->mem + r->to, r->len, &r->rd))
		r->busy = false;
}

static void traffic(struct end *e)
{
	static uint8_t body[20000];
	uint64_t dice;

	if (!e->conn || e->stop)
		return;
	for (uint32_t i = 0; i < READS; i++)
		if (!e->reads[i].busy)
			post(&e->reads[i]);
	dice = swi_splitmix64(&e->w->rng);
	if (e->conn && dice % 16 == 0) {
		memcpy(body, &e->sent, sizeof(e->sent));
		if (!swi_conn_send(e->conn, 7, body, dice % 64 ? 8 : 8 + (uint32_t)(dice >> 20) % 19000))
			e->sent++;
	}
}

static void open_end(struct world *w, struct end *e, const char *bind, uint32_t paths)
{
	const struct swi_tp_handler h = {.ctx = e, .up = on_up, .msg = on_msg, .down = on_down};
	struct swi_tp_opts o = {.backend = "paths", .param = &e->plan, .bind = bind};
	char why[200];

	e->w = w;
	e->plan = (struct swi_paths_plan){.inner = swi_be_fault, .count = paths};
	for (uint32_t i = 0; i < paths; i++) {
		e->faults[i].inner = swi_be_sim;
		e->faults[i].inner_param = w->net;
		e->faults[i].seed = w->rng + i;
		e->plan.at[i].param = &e->faults[i];
	}
	if (paths < 2) {
		o.backend = "sim";
		o.param = w->net;
	}
	assert_int_equal(swi_tp_open(&o, &w->env.env, &w->log, &h, &e->tp, why, sizeof(why)), 0);
	e->mem = aligned_alloc(SWI_PAGE, MEM);
	assert_non_null(e->mem);
	for (uint64_t i = 0; i < MEM; i++)
		e->mem[i] = i < MEM / 2 ? byte_at(i) : 0xee;
	assert_int_equal(swi_tp_register(e->tp, 0, e->mem, MEM, -1), 0);
	for (uint32_t i = 0; i < READS; i++)
		e->reads[i].e = e;
}

static void open_world(struct world *w, uint64_t seed, uint32_t paths_a, uint32_t paths_b)
{
	/* Slow enough for READs to be under way when something happens. */
	const struct swi_simnet_opts net = {
	    .seed = seed, .bytes_per_s = 15000000, .max_read = KIB(64), .tail_permille = 5, .tail_ns = NS_PER_MS};

	memset(w, 0, sizeof(*w));
	w->rng = seed;
	assert_int_equal(swi_simnet_create(&net, &w->net), 0);
	swi_sim_env_init(&w->env, w->net, seed + 1);
	swi_log_init(&w->log, "paths");
	if (!getenv("SWARM_LOG"))
		w->log.level = SWI_LOG_NONE;
	open_end(w, &w->a, paths_a > 1 ? "a0:1,a1:1" : "a0:1", paths_a);
	open_end(w, &w->b, paths_b > 1 ? "b0:1,b1:1" : "b0:1", paths_b);
}

static void close_world(struct world *w)
{
	swi_tp_close(w->a.tp);
	swi_tp_close(w->b.tp);
	assert_int_equal(swi_simnet_stats(w->net)->overruns, 0);
	swi_simnet_destroy(w->net);
	free(w->a.mem);
	free(w->b.mem);
}

static void run_us(struct world *w, uint64_t us)
{
	const uint64_t until = swi_simnet_now(w->net) + us * NS_PER_US;

	while (swi_simnet_now(w->net) < until) {
		traffic(&w->a);
		traffic(&w->b);
		const int events = swi_tp_progress(w->a.tp) + swi_tp_progress(w->b.tp);
		const bool busy = events || !swi_tp_arm(w->a.tp) || !swi_tp_arm(w->b.tp);
		uint64_t t = swi_min_u64(until, swi_simnet_next_ns(w->net));

		t = swi_min_u64(t, swi_min_u64(swi_tp_deadline_ns(w->a.tp), swi_tp_deadline_ns(w->b.tp)));
		if (!busy)
			swi_simnet_advance(w->net, swi_max_u64(t, swi_simnet_now(w->net)));
	}
}

static void connect_ends(struct world *w, const char *addr)
{
	struct swi_conn *c;

	assert_int_equal(swi_tp_connect(w->a.tp, addr, NULL, &c), 0);
	for (int i = 0; i < 100 && !(w->a.conn && w->b.conn); i++)
		run_us(w, 100 * 1000);
	assert_true(w->a.conn && w->b.conn);
}

/* All that was begun ends, and well. */
static void quiet(struct world *w)
{
	w->a.stop = w->b.stop = true;
	for (int i = 0; i < 300 && (w->a.got != w->b.sent || w->b.got != w->a.sent); i++)
		run_us(w, 100 * 1000);
	run_us(w, 3 * 1000 * 1000);
	for (uint32_t i = 0; i < READS; i++)
		assert_false(w->a.reads[i].busy || w->b.reads[i].busy);
	assert_int_equal(w->a.got, w->b.sent);
	assert_int_equal(w->b.got, w->a.sent);
	w->a.stop = w->b.stop = false;
}

static void info(struct end *e, struct swi_path_info out[2])
{
	assert_int_equal(swi_tp_paths(e->tp, out, 2), 2);
}

static const char *const ends_a[] = {"a0:1", "a1:1"}, *const ends_b[] = {"b0:1", "b1:1"};

static void both_are_used(void **state SWI_UNUSED)
{
	struct swi_path_info p[2];
	struct world w;

	open_world(&w, 1, 2, 2);
	connect_ends(&w, swi_tp_address(w.b.tp));
	run_us(&w, 500 * 1000);
	info(&w.a, p);
	assert_true(p[0].legs == 1 && p[1].legs == 1 && p[1].joined == 1);
	assert_true(p[0].read_bytes > KIB(128) && p[1].read_bytes > KIB(128));
	/* alike, since the paths are */
	assert_true(p[0].read_bytes < 2 * p[1].read_bytes && p[1].read_bytes < 2 * p[0].read_bytes);
	quiet(&w);
	assert_int_equal(w.a.reads_bad + w.b.reads_bad + w.a.downs + w.b.downs, 0);
	close_world(&w);
}

/* One path is cut with READs and messages on it, is given up, heals, and is used again. */
static void one_fails(void **state SWI_UNUSED)
{
	for (uint32_t which = 0; which < 2; which++) {
		struct swi_path_info p[2], later[2];
		struct world w;

		open_world(&w, 10 + which, 2, 2);
		connect_ends(&w, swi_tp_address(w.b.tp));
		run_us(&w, 300 * 1000);
		swi_simnet_cut(w.net, ends_a[which], ends_b[which]);
		run_us(&w, 1500 * 1000); /* less than the connection's own limit of silence */
		info(&w.a, p);
		assert_true(p[which].legs == 0 && p[which].failures == 1 && p[!which].legs == 1);
		assert_true(p[which].reposted > 0);
		const uint64_t ok = w.a.reads_ok, got = w.a.got;

		run_us(&w, 1000 * 1000);
		assert_true(w.a.reads_ok > ok + 50 && w.a.got > got + 10);
		swi_simnet_heal(w.net, ends_a[which], ends_b[which]);
		run_us(&w, 9 * 1000 * 1000);
		info(&w.a, later);
		assert_true(later[which].legs == 1 && later[which].joined > p[which].joined);
		assert_true(later[which].read_bytes > p[which].read_bytes + KIB(256));
		quiet(&w);
		assert_int_equal(w.a.reads_bad + w.b.reads_bad + w.a.downs + w.b.downs, 0);
		close_world(&w);
	}
}

/* All paths gone: lost, after the time of silence. */
static void both_fail(void **state SWI_UNUSED)
{
	struct world w;

	open_world(&w, 20, 2, 2);
	connect_ends(&w, swi_tp_address(w.b.tp));
	run_us(&w, 300 * 1000);
	swi_simnet_cut(w.net, ends_a[0], ends_b[0]);
	swi_simnet_cut(w.net, ends_a[1], ends_b[1]);
	const uint64_t t0 = swi_simnet_now(w.net);

	while (!w.a.downs || !w.b.downs)
		run_us(&w, 10 * 1000);
	assert_true(swi_simnet_now(w.net) - t0 <= 2300 * NS_PER_MS);
	assert_true(w.a.status == SWARM_ESILENT && w.b.status == SWARM_ESILENT);
	for (uint32_t i = 0; i < READS; i++)
		assert_false(w.a.reads[i].busy);
	assert_true(w.a.reads_bad > 0);
	close_world(&w);
}

/* A peer with one card is served over one path, whoever connects; it takes the first address. */
static void plain_peer(void **state SWI_UNUSED)
{
	for (uint32_t who = 0; who < 2; who++) {
		struct world w;
		struct swi_path_info p[2];

		open_world(&w, 30, who ? 2 : 1, who ? 1 : 2);
		connect_ends(&w, swi_tp_address(w.b.tp));
		run_us(&w, 300 * 1000);
		info(who ? &w.a : &w.b, p);
		assert_int_equal(p[0].legs + p[1].legs, 1);
		assert_true(w.a.reads_ok > 100 && w.b.reads_ok > 100);
		quiet(&w);
		assert_int_equal(w.a.reads_bad + w.b.reads_bad + w.a.downs + w.b.downs, 0);
		close_world(&w);
	}
}

/* The first address does not answer: the second does, and the first joins when it comes back. */
static void first_address_is_dead(void **state SWI_UNUSED)
{
	struct swi_path_info p[2];
	struct world w;

	open_world(&w, 40, 2, 2);
	for (int i = 0; i < 2; i++) {
		swi_simnet_cut(w.net, ends_a[0], ends_b[i]);
		swi_simnet_cut(w.net, ends_a[i], ends_b[0]);
	}
	connect_ends(&w, swi_tp_address(w.b.tp));
	run_us(&w, 300 * 1000);
	info(&w.a, p);
	assert_true(p[0].legs == 0 && p[1].legs == 1);
	for (int i = 0; i < 2; i++) {
		swi_simnet_heal(w.net, ends_a[0], ends_b[i]);
		swi_simnet_heal(w.net, ends_a[i], ends_b[0]);
	}
	run_us(&w, 12 * 1000 * 1000);
	info(&w.a, p);
	assert_true(p[0].legs == 1 && p[1].legs == 1);
	quiet(&w);
	assert_int_equal(w.a.reads_bad + w.b.reads_bad + w.a.downs + w.b.downs, 0);
	close_world(&w);
}

/* Nobody there at all: one end, with a reason. */
static void nobody_listens(void **state SWI_UNUSED)
{
	struct swi_conn *c;
	struct world w;

	open_world(&w, 41, 2, 2);
	assert_int_equal(swi_tp_connect(w.a.tp, "c0:1,c1:1", NULL, &c), 0);
	run_us(&w, 6 * 1000 * 1000);
	assert_int_equal(w.a.downs, 1);
	assert_true(w.a.status < 0);
	assert_int_equal(swi_tp_connect(w.a.tp, "", NULL, &c), -EINVAL);
	assert_int_equal(swi_tp_connect(w.a.tp, "c0:1,", NULL, &c), -EINVAL);
	assert_int_equal(swi_tp_connect(w.a.tp, "c0:1,c1:1,c2:1,c3:1,c4:1", NULL, &c), -EINVAL);
	close_world(&w);
}

/* Endpoints reset by chance, many times, on either path and side; one path at a time is left alone. */
static void resets(void **state SWI_UNUSED)
{
	uint64_t failures = 0, reposted = 0, joined = 0, ok = 0;

	for (uint64_t seed = 100; seed < 108; seed++) {
		struct swi_path_info p[2];
		struct world w;

		open_world(&w, seed, 2, 2);
		connect_ends(&w, swi_tp_address(w.b.tp));
		for (uint32_t round = 0; round < 10; round++) {
			const uint32_t which = swi_splitmix64(&w.rng) % 2;
			struct end *e = swi_splitmix64(&w.rng) % 2 ? &w.a : &w.b;
			struct swi_fault_rule *r = &e->faults[which].rules[0];

			info(&w.a, p);
			while (!p[!which].legs) { /* it is on its way back from the last round */
				run_us(&w, 100 * 1000);
				info(&w.a, p);
			}
			*r = (struct swi_fault_rule){.kind = SWI_FAULT_CUT,
						     .ops = SWI_FAULT_SEND | SWI_FAULT_READ,
						     .nth = 1 + (uint32_t)(swi_splitmix64(&w.rng) % 40),
						     .code = SWARM_EPEERLOST};
			run_us(&w, 20 * 1000 + swi_splitmix64(&w.rng) % 700000);
			memset(r, 0, sizeof(*r));
		}
		quiet(&w);
		assert_int_equal(w.a.reads_bad + w.b.reads_bad + w.a.downs + w.b.downs, 0);
		ok += w.a.reads_ok + w.b.reads_ok;
		for (uint32_t i = 0; i < 2; i++) {
			info(&w.a, p);
			failures += p[i].failures;
			joined += p[i].joined;
			reposted += p[i].reposted;
			info(&w.b, p);
			reposted += p[i].reposted;
		}
		close_world(&w);
	}
	printf("%llu READs, %llu legs failed, %llu joined, %llu READs posted again\n", (unsigned long long)ok,
	       (unsigned long long)failures, (unsigned long long)joined, (unsigned long long)reposted);
	assert_true(failures > 30 && joined > 30 && reposted > 30);
}

/* A READ that the peer's memory does not have ends the connection, over two paths as over one. */
static void refused(void **state SWI_UNUSED)
{
	struct world w;

	open_world(&w, 50, 2, 2);
	connect_ends(&w, swi_tp_address(w.b.tp));
	run_us(&w, 300 * 1000);
	quiet(&w);
	w.a.stop = w.b.stop = true;
	w.a.conn->regions.at[0].chunks[0].rkey ^= 1;
	w.a.reads[0].rd.cb = on_read;
	w.a.reads[0].busy = true;
	assert_int_equal(swi_conn_read(w.a.conn, 0, 0, w.a.mem, 64, &w.a.reads[0].rd), 0);
	run_us(&w, 1000 * 1000);
	assert_int_equal(w.a.reads_bad, 1);
	assert_int_equal(w.a.downs, 1);
	assert_true(w.a.status == SWARM_EREMOTEACCESS || w.a.status == SWARM_EPEERLOST);
	close_world(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_are_used), cmocka_unit_test(one_fails),	       cmocka_unit_test(both_fail),
	    cmocka_unit_test(plain_peer),    cmocka_unit_test(first_address_is_dead), cmocka_unit_test(nobody_listens),
	    cmocka_unit_test(resets),	     cmocka_unit_test(refused),
	};

	if (argc > 1) /* one of them, by name */
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
