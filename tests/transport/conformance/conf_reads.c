/* SPDX-License-Identifier: Apache-2.0 */
/* conf_reads.c - READs: every size, any alignment, thousands at once, and bounds. */
#include "conf.h"

#define SEED 77u

static void open_pair(struct node *a, struct node *b, uint64_t len)
{
	len = swi_align_up(len, SWI_PAGE);
	node_open(b, &(struct node_opts){.node = 2, .mem = len, .listen = true});
	node_open(a, &(struct node_opts){.node = 1, .mem = len});
	conf_fill(b->mem, b->len, SEED);
	conf_connect(a, b);
}

static void sizes(void)
{
	static const uint64_t list[] = {0,     1,     3,       64,      4095,    4096,    4097,
					65535, 65537, 1048576, 1048577, 1048583, 16777216};
	struct node a, b;
	uint64_t bytes = 0;

	open_pair(&a, &b, MIB(16));
	for (size_t i = 0; i < SWI_ARRAY_LEN(list); i++) {
		memset(a.mem, 0, list[i]);
		CHECK_EQ(read_sync(&a, a.conn, 0, 0, list[i]), 0);
		CHECK(conf_same(a.mem, list[i], SEED, 0));
		bytes += list[i];
	}
	const struct swi_tp_counters *n = swi_tp_counters(a.tp);

	CHECK_EQ(n->reads_done, SWI_ARRAY_LEN(list));
	CHECK_EQ(n->reads_posted, SWI_ARRAY_LEN(list));
	CHECK_EQ(n->reads_failed, 0);
	CHECK_EQ(n->read_bytes, bytes);
	node_close(&a);
	node_close(&b);
}

/* What lies before and behind the destination stays as it was. */
static void unaligned(void)
{
	struct node a, b;
	uint64_t rnd = 5;

	open_pair(&a, &b, MIB(4));
	for (int i = 0; i < 200; i++) {
		const uint64_t len = 1 + swi_splitmix64(&rnd) % (i % 20 ? 9000 : MIB(2));
		const uint64_t from = swi_splitmix64(&rnd) % (MIB(4) - len);
		const uint64_t to = 8 + swi_splitmix64(&rnd) % (MIB(4) - len - 16);

		memset(a.mem + to - 8, 0xaa, len + 16);
		CHECK_EQ(read_sync(&a, a.conn, from, to, len), 0);
		CHECK(conf_same(a.mem + to, len, SEED, from));
		for (int k = 1; k <= 8; k++)
			CHECK(a.mem[to - (uint64_t)k] == 0xaa &&
			      a.mem[to + len + (uint64_t)k - 1] == 0xaa);
	}
	node_close(&a);
	node_close(&b);
}

#define MANY 4000u

static struct read many[MANY];

static bool many_done(void *ctx SWI_UNUSED)
{
	for (uint32_t i = MANY; i-- > 0;)
		if (!many[i].calls)
			return false;
	return true;
}

/* All posted before the first progress(); sizes and places differ; each completes once. */
static void many_at_once(void)
{
	struct node a, b;

	open_pair(&a, &b, MIB(4));
	for (uint32_t i = 0; i < MANY; i++) {
		read_init(&many[i]);
		CHECK_EQ(swi_conn_read(a.conn, SWI_REGION_ARENA, i * 1000 + i % 7, a.mem + i * 1024,
				       1 + i % 1024, &many[i].rd),
			 0);
	}
	conf_wait(many_done, NULL);
	for (uint32_t i = 0; i < MANY; i++) {
		CHECK_EQ(many[i].calls, 1);
		CHECK_EQ(many[i].status, 0);
		CHECK(conf_same(a.mem + i * 1024, 1 + i % 1024, SEED, i * 1000 + i % 7));
	}
	node_close(&a);
	node_close(&b);
}

/* Both sides read from each other at the same time. */
static void both_ways(void)
{
	struct node a, b;
	const uint64_t half = MIB(8);

	open_pair(&a, &b, 2 * half);
	conf_fill(a.mem, half, SEED);
	for (uint32_t i = 0; i < 64; i++) {
		struct read *r = &many[i];

		read_init(r);
		if (i % 2)
			CHECK_EQ(swi_conn_read(a.conn, 0, i * KIB(64), a.mem + half + i * KIB(64),
					       KIB(64), &r->rd),
				 0);
		else
			CHECK_EQ(swi_conn_read(b.conn, 0, i * KIB(64), b.mem + half + i * KIB(64),
					       KIB(64), &r->rd),
				 0);
	}
	for (uint32_t i = 64; i < MANY; i++)
		many[i].calls = 1;
	conf_wait(many_done, NULL);
	for (uint32_t i = 0; i < 64; i++) {
		const uint8_t *at = (i % 2 ? a.mem : b.mem) + half + i * KIB(64);

		CHECK_EQ(many[i].status, 0);
		CHECK(conf_same(at, KIB(64), SEED, i * KIB(64)));
	}
	node_close(&a);
	node_close(&b);
}

static void bounds(void)
{
	struct node a, b;
	struct read r;

	open_pair(&a, &b, MIB(1));
	read_init(&r);
	CHECK_EQ(swi_conn_read(a.conn, 0, MIB(1), a.mem, 1, &r.rd), SWARM_EREMOTEACCESS);
	CHECK_EQ(swi_conn_read(a.conn, 0, 1, a.mem, MIB(1), &r.rd), SWARM_EREMOTEACCESS);
	CHECK_EQ(swi_conn_read(a.conn, 0, UINT64_MAX, a.mem, 2, &r.rd), SWARM_EREMOTEACCESS);
	CHECK_EQ(swi_conn_read(a.conn, 0, 2, a.mem, UINT64_MAX, &r.rd), SWARM_EREMOTEACCESS);
	CHECK_EQ(swi_conn_read(a.conn, 1, 0, a.mem, 1, &r.rd), SWARM_EREMOTEACCESS);
	CHECK_EQ(swi_conn_read(a.conn, 4, 0, a.mem, 1, &r.rd), SWARM_EREMOTEACCESS);
	CHECK_EQ(swi_conn_read(a.conn, 0, 0, &r, 1, &r.rd), -EFAULT);
	CHECK_EQ(swi_conn_read(a.conn, 0, 0, a.mem + MIB(1) - 1, 2, &r.rd), -EFAULT);
	CHECK_EQ(r.calls, 0);
	CHECK_EQ(read_sync(&a, a.conn, MIB(1), MIB(1), 0), 0);
	CHECK_EQ(read_sync(&a, a.conn, MIB(1) - 1, MIB(1) - 1, 1), 0);
	node_close(&a);
	node_close(&b);
}

/* The largest READ, for real; beyond CONF_ALIAS its memory repeats, on both sides. */
static void big(void)
{
	/* what peers map is the memfd itself */
	const bool alias = conf.big > CONF_ALIAS && strcmp(conf.backend, "shm");
	const uint64_t len =
	    alias ? swi_align_down(conf.big, CONF_ALIAS) : swi_align_up(conf.big, SWI_PAGE);
	const uint64_t distinct = alias ? CONF_ALIAS : len;
	struct node a, b;

	node_open(&b, &(struct node_opts){.mem = len, .alias = alias, .listen = true});
	node_open(&a, &(struct node_opts){.mem = len, .alias = alias});
	conf_fill(b.mem, distinct, SEED);
	memset(a.mem, 0, distinct);
	conf_connect(&a, &b);
	const uint64_t t0 = conf_now();

	CHECK_EQ(read_sync(&a, a.conn, 0, 0, len), 0);
	const uint64_t ns = conf_now() - t0 + 1;

	CHECK_EQ(swi_tp_counters(a.tp)->read_bytes, len);
	CHECK(conf_same(a.mem, distinct, SEED, 0));
	printf("   one READ of %llu bytes: %.2f GB/s\n", (unsigned long long)len,
	       (double)len / (double)ns);
	node_close(&a);
	node_close(&b);
}

void test_reads(void)
{
	sizes();
	unaligned();
	many_at_once();
	both_ways();
	bounds();
	big();
}
