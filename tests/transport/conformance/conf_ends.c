/* SPDX-License-Identifier: Apache-2.0 */
/* conf_ends.c - how connections end: closed with work in flight, again and again, or by silence. */
#include "conf.h"

#define IN_FLIGHT 64u

struct flight {
	struct read reads[IN_FLIGHT];
	uint32_t over;
	bool down_too_early;
	struct swi_conn *close; /* when three are over */
};

static void flight_cb(struct swi_read *rd, int status)
{
	struct read *r = swi_container_of(rd, struct read, rd);
	struct flight *f = rd->owner;

	r->status = status;
	CHECK_EQ(++r->calls, 1);
	/* Here, and not after progress(): one call of it may see all of them end. */
	if (++f->over == 3 && f->close)
		swi_conn_close(f->close, -ECANCELED);
}

static void flight_down(struct node *n, struct swi_conn *c SWI_UNUSED, int status SWI_UNUSED)
{
	struct flight *f = n->ctx;

	f->down_too_early = f->over != IN_FLIGHT;
}

static void take_off(struct node *a, struct flight *f, uint64_t each)
{
	memset(f, 0, sizeof(*f));
	a->ctx = f;
	a->on_down = flight_down;
	for (uint32_t i = 0; i < IN_FLIGHT; i++) {
		read_init(&f->reads[i]);
		f->reads[i].rd.cb = flight_cb;
		f->reads[i].rd.owner = f;
		CHECK_EQ(swi_conn_read(a->conn, 0, 0, a->mem + i * each, each, &f->reads[i].rd), 0);
	}
}

static bool some_over(void *ctx)
{
	return ((struct flight *)((struct node *)ctx)->ctx)->over >= 3;
}

static bool node_down(void *ctx)
{
	return ((struct node *)ctx)->downs > 0;
}

/* Closed by the reader, or by the one that is read from. Nothing is written after down(). */
static void close_in_flight(bool by_reader, bool after_some)
{
	static struct flight f;
	struct node a, b;
	const uint64_t each = KIB(256);
	uint32_t failed = 0;

	node_open(&b, &(struct node_opts){.mem = each, .listen = true});
	node_open(&a, &(struct node_opts){.mem = each * IN_FLIGHT});
	memset(b.mem, 0x11, each);
	conf_connect(&a, &b);
	take_off(&a, &f, each);
	if (after_some)
		f.close = by_reader ? a.conn : b.conn;
	else
		swi_conn_close(by_reader ? a.conn : b.conn, -ECANCELED);
	conf_wait(node_down, &a);
	CHECK_EQ(f.over, IN_FLIGHT);
	CHECK(!f.down_too_early);
	CHECK_EQ(a.downs, 1);
	CHECK_EQ(a.down_status, by_reader ? -ECANCELED : SWARM_EPEERLOST);
	for (uint32_t i = 0; i < IN_FLIGHT; i++) {
		failed += f.reads[i].status != 0;
		for (uint64_t k = 0; !f.reads[i].status && k < each; k += 4096)
			CHECK(a.mem[i * each + k] == 0x11);
	}
	CHECK(failed > 0);
	CHECK_EQ(swi_tp_counters(a.tp)->reads_failed, failed);
	memset(a.mem, 0x77, a.len);
	conf_idle_ms(30);
	for (uint64_t k = 0; k < a.len; k += 64)
		CHECK(a.mem[k] == 0x77);
	node_close(&a);
	node_close(&b);
}

/* More messages wait than a backend takes at once, and nobody wants them any more: the end is seen behind them. */
static void close_before_unread_messages(void)
{
	static struct flight f;
	struct node a, b;

	node_open(&b, &(struct node_opts){.mem = KIB(256), .listen = true});
	node_open(&a, &(struct node_opts){.mem = KIB(256) * IN_FLIGHT});
	conf_connect(&a, &b);
	for (int i = 0; i < 60; i++)
		CHECK_EQ(swi_conn_send(b.conn, 1, "0123456789", 10), 0);
	for (int i = 0; i < 100; i++)
		CHECK(swi_tp_progress(b.tp) >= 0);
	take_off(&a, &f, KIB(256));
	swi_conn_close(a.conn, -ECANCELED);
	conf_wait(node_down, &a);
	CHECK_EQ(f.over, IN_FLIGHT);
	CHECK_EQ(a.msgs, 0);
	node_close(&a);
	node_close(&b);
}

/* The whole node goes, READs and messages in flight: no callback, no write into memory that is
 * gone. */
static void node_closes_in_flight(void)
{
	static struct flight f;
	struct node a, b;

	node_open(&b, &(struct node_opts){.mem = KIB(256), .listen = true});
	node_open(&a, &(struct node_opts){.mem = KIB(256) * IN_FLIGHT});
	conf_connect(&a, &b);
	take_off(&a, &f, KIB(256));
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(swi_conn_send(a.conn, 1, "0123456789", 10), 0);
	conf_wait(some_over, &a);
	const uint32_t over = f.over;

	node_close(&a);
	CHECK_EQ(f.over, over);
	conf_wait(node_down, &b);
	node_close(&b);
}

static bool both_down(void *ctx)
{
	struct node **ab = ctx;

	return ab[0]->downs == ab[0]->ups && ab[1]->downs == ab[1]->ups;
}

static void reconnect(void)
{
	struct node a, b;
	struct node *ab[] = {&a, &b};
	uint32_t fds = 0;

	node_open(&b, &(struct node_opts){.mem = MIB(1), .listen = true});
	node_open(&a, &(struct node_opts){.mem = MIB(1)});
	for (uint32_t i = 0; i < 200; i++) {
		conf_connect(&a, &b);
		CHECK_EQ(read_sync(&a, a.conn, 0, 0, 4096), 0);
		swi_conn_close(i % 2 ? a.conn : b.conn, -ECANCELED);
		conf_wait(both_down, ab);
		if (i == 10)
			fds = conf_fd_count();
	}
	conf_idle_ms(20);
	CHECK(conf_fd_count() <= fds + 2);
	CHECK_EQ(a.ups, 200);
	CHECK_EQ(b.ups, 200);
	CHECK_EQ(swi_tp_counters(b.tp)->conns_opened, 200);
	CHECK_EQ(swi_tp_counters(b.tp)->conns_closed, 200);
	node_close(&a);
	node_close(&b);
}

/* Idle is not dead: pings keep both sides content far beyond the limit. */
static void idle_stays_up(void)
{
	struct node a, b;

	node_open(&b, &(struct node_opts){.listen = true, .silence_ns = 200 * TEST_PATIENCE * NS_PER_MS});
	node_open(&a, &(struct node_opts){.silence_ns = 200 * TEST_PATIENCE * NS_PER_MS});
	conf_connect(&a, &b);
	conf_idle_ms(1000 * TEST_PATIENCE);
	CHECK_EQ(a.downs + b.downs, 0);
	node_close(&a);
	node_close(&b);
}

void test_ends(void)
{
	close_in_flight(true, false);
	close_in_flight(true, true);
	close_in_flight(false, true);
	close_before_unread_messages();
	node_closes_in_flight();
	reconnect();
	idle_stays_up();
}
