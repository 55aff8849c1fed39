/* SPDX-License-Identifier: Apache-2.0 */
/* conf_msgs.c - messages: sizes, order, floods in both directions, and work from inside callbacks.
 */
#include "conf.h"

#define ECHO 0x100u

static void echo(struct node *n SWI_UNUSED, struct swi_conn *c, uint16_t type, const uint8_t *body,
		 uint32_t len)
{
	CHECK_EQ(swi_conn_send(c, (uint16_t)(type | ECHO), body, len), 0);
}

struct want {
	const uint8_t *body;
	uint32_t len;
	uint16_t type;
	bool seen;
};

static void check_echo(struct node *n, struct swi_conn *c SWI_UNUSED, uint16_t type,
		       const uint8_t *body, uint32_t len)
{
	struct want *w = n->ctx;

	CHECK_EQ(type, w->type | ECHO);
	CHECK_EQ(len, w->len);
	CHECK(!len || !memcmp(body, w->body, len));
	w->seen = true;
}

static bool seen(void *ctx)
{
	return ((struct want *)ctx)->seen;
}

static void sizes(void)
{
	static const uint32_t list[] = {0,    1,    100,   111,   112,   113,    8175,
					8176, 8177, 16352, 16353, 65536, 100000, SWI_MSG_MAX};
	uint8_t *buf = malloc(SWI_MSG_MAX + 1);
	struct node a, b;

	CHECK(buf != NULL);
	conf_fill(buf, SWI_MSG_MAX, 3);
	node_open(&b, &(struct node_opts){.listen = true});
	node_open(&a, &(struct node_opts){0});
	struct swi_conn *c = conf_connect(&a, &b);

	a.on_msg = check_echo;
	b.on_msg = echo;
	for (uint32_t i = 0; i < SWI_ARRAY_LEN(list); i++) {
		struct want w = {.body = buf, .len = list[i], .type = (uint16_t)i};

		a.ctx = &w;
		CHECK_EQ(swi_conn_send(c, w.type, buf, list[i]), 0);
		conf_wait(seen, &w);
	}
	CHECK_EQ(swi_conn_send(c, 1, buf, SWI_MSG_MAX + 1), -EMSGSIZE);
	CHECK_EQ(swi_tp_counters(a.tp)->msgs_sent, SWI_ARRAY_LEN(list));
	CHECK_EQ(swi_tp_counters(b.tp)->msgs_received, SWI_ARRAY_LEN(list));
	CHECK_EQ(swi_tp_counters(a.tp)->msg_bytes_sent, swi_tp_counters(a.tp)->msg_bytes_received);
	node_close(&a);
	node_close(&b);
	free(buf);
}

/* A flood: numbered messages of changing size, checked for order and content. */
struct flood {
	uint32_t sent, received, total;
	uint64_t size_seed, check_seed;
	uint8_t buf[20000];
};

static uint32_t flood_size(uint64_t *seed, uint32_t i)
{
	return 4 + (uint32_t)(swi_splitmix64(seed) % (i % 50 ? 300 : 19000));
}

static void flood_msg(struct node *n, struct swi_conn *c SWI_UNUSED, uint16_t type SWI_UNUSED,
		      const uint8_t *body, uint32_t len)
{
	struct flood *f = n->ctx;
	uint32_t i;

	CHECK_EQ(len, flood_size(&f->check_seed, f->received));
	memcpy(&i, body, 4);
	CHECK_EQ(i, f->received);
	CHECK(body[len - 1] == (len == 4 ? body[3] : (uint8_t)(i * 7)));
	f->received++;
}

static bool floods_over(void *ctx)
{
	struct node **ab = ctx;
	bool over = true;

	for (int k = 0; k < 2; k++) {
		struct flood *f = ab[k]->ctx;

		/* Far more than there are credits, every time. */
		for (int burst = 0; burst < 500 && f->sent < f->total; burst++) {
			const uint32_t len = flood_size(&f->size_seed, f->sent);

			memset(f->buf, (uint8_t)(f->sent * 7), len);
			memcpy(f->buf, &f->sent, 4);
			CHECK_EQ(swi_conn_send(ab[k]->conn, 5, f->buf, len), 0);
			f->sent++;
		}
		over = over && f->received == f->total;
	}
	return over;
}

static void flood_both_ways(void)
{
	static struct flood fa, fb;
	struct node a, b;
	struct node *ab[] = {&a, &b};

	memset(&fa, 0, sizeof(fa));
	memset(&fb, 0, sizeof(fb));
	fa.total = fb.total = 20000;
	node_open(&b, &(struct node_opts){.listen = true});
	node_open(&a, &(struct node_opts){0});
	conf_connect(&a, &b);
	a.on_msg = b.on_msg = flood_msg;
	a.ctx = &fa;
	b.ctx = &fb;
	conf_wait(floods_over, ab);
	CHECK_EQ(a.downs + b.downs, 0);
	CHECK_EQ(fa.received, fa.total);
	CHECK_EQ(fb.received, fb.total);
	node_close(&a);
	node_close(&b);
}

/* The queue is bounded in bytes; what was accepted arrives. */
static bool all_arrived(void *ctx)
{
	struct node **ab = ctx;

	return swi_tp_counters(ab[1]->tp)->msgs_received == swi_tp_counters(ab[0]->tp)->msgs_sent;
}

static void queue_is_bounded(void)
{
	uint8_t *buf = calloc(1, SWI_MSG_MAX);
	struct node a, b;
	struct node *ab[] = {&a, &b};
	int rc = 0;
	uint32_t taken = 0;

	CHECK(buf != NULL);
	node_open(&b, &(struct node_opts){.listen = true});
	node_open(&a, &(struct node_opts){0});
	conf_connect(&a, &b);
	while (!(rc = swi_conn_send(a.conn, 1, buf, SWI_MSG_MAX)))
		CHECK(++taken < 100);
	CHECK_EQ(rc, -ENOBUFS);
	CHECK_EQ(taken, 64);
	conf_wait(all_arrived, ab);
	CHECK_EQ(b.msgs, taken);
	CHECK_EQ(swi_conn_send(a.conn, 1, buf, SWI_MSG_MAX), 0);
	conf_wait(all_arrived, ab);
	node_close(&a);
	node_close(&b);
	free(buf);
}

/* READs and messages share a connection without disturbing each other. */
struct mixed {
	struct node *a, *b;
	struct read reads[64];
	uint32_t reads_over, msgs;
};

static void mixed_read_cb(struct swi_read *rd, int status)
{
	struct read *r = swi_container_of(rd, struct read, rd);
	struct mixed *m = rd->owner;

	CHECK_EQ(status, 0);
	r->calls++;
	if (++m->reads_over < 1000) /* from inside a callback */
		CHECK_EQ(swi_conn_read(m->a->conn, 0, 0, m->a->mem, KIB(64), rd), 0);
}

static void mixed_msg(struct node *n, struct swi_conn *c, uint16_t type, const uint8_t *body,
		      uint32_t len)
{
	struct mixed *m = n->ctx;

	if (++m->msgs < 4000)
		CHECK_EQ(swi_conn_send(c, type, body, len), 0);
}

static bool mixed_over(void *ctx)
{
	struct mixed *m = ctx;

	return m->reads_over >= 1000 + 63 && m->msgs >= 4000;
}

static void reads_and_messages(void)
{
	static struct mixed m;
	struct node a, b;

	memset(&m, 0, sizeof(m));
	node_open(&b, &(struct node_opts){.mem = MIB(1), .listen = true});
	node_open(&a, &(struct node_opts){.mem = MIB(1)});
	conf_connect(&a, &b);
	m.a = &a;
	m.b = &b;
	a.ctx = b.ctx = &m;
	a.on_msg = b.on_msg = mixed_msg;
	for (int i = 0; i < 64; i++) {
		read_init(&m.reads[i]);
		m.reads[i].rd.cb = mixed_read_cb;
		m.reads[i].rd.owner = &m;
		CHECK_EQ(swi_conn_read(a.conn, 0, 0, a.mem, KIB(64), &m.reads[i].rd), 0);
	}
	CHECK_EQ(swi_conn_send(a.conn, 1, "ball", 4), 0);
	conf_wait(mixed_over, &m);
	CHECK(!a.downs && !b.downs);
	node_close(&a);
	node_close(&b);
}

/* up() sends and connects on; msg() closes the connection that it came from. */
static void chain_up(struct node *n, struct swi_conn *c, bool inbound)
{
	struct swi_conn *next;

	if (inbound)
		return;
	CHECK_EQ(swi_conn_send(c, 1, "from up()", 9), 0);
	if (n->ups < 5)
		CHECK_EQ(swi_tp_connect(n->tp, swi_conn_peer(c)->address, NULL, &next), 0);
}

static void close_from_msg(struct node *n SWI_UNUSED, struct swi_conn *c, uint16_t type SWI_UNUSED,
			   const uint8_t *body, uint32_t len)
{
	CHECK(len == 9 && !memcmp(body, "from up()", 9));
	swi_conn_close(c, -ECANCELED);
	CHECK_EQ(swi_conn_send(c, 1, "no", 2), SWARM_EPEERLOST);
}

static bool five_down(void *ctx)
{
	struct node **ab = ctx;

	return ab[0]->downs == 5 && ab[1]->downs == 5;
}

static void from_callbacks(void)
{
	struct node a, b;
	struct node *ab[] = {&a, &b};
	struct swi_conn *c;

	node_open(&b, &(struct node_opts){.listen = true});
	node_open(&a, &(struct node_opts){0});
	a.on_up = chain_up;
	b.on_msg = close_from_msg;
	CHECK_EQ(swi_tp_connect(a.tp, swi_tp_address(b.tp), NULL, &c), 0);
	conf_wait(five_down, ab);
	CHECK_EQ(b.down_status, -ECANCELED);
	CHECK_EQ(a.down_status, SWARM_EPEERLOST);
	CHECK_EQ(b.msgs, 5);
	node_close(&a);
	node_close(&b);
}

void test_msgs(void)
{
	sizes();
	flood_both_ways();
	queue_is_bounded();
	reads_and_messages();
	from_callbacks();
}
