/* SPDX-License-Identifier: Apache-2.0 */
/* conf_basic.c - coming up: identities, region lengths, addresses that are taken or wrong. */
#include "conf.h"

static void identity(void)
{
	struct node a, b;

	node_open(&b, &(struct node_opts){.node = 7, .epoch = 1234, .mem = MIB(1), .listen = true});
	node_open(&a, &(struct node_opts){.node = 9, .epoch = 99, .mem = 2 * SWI_PAGE});
	struct swi_conn *c = conf_connect(&a, &b);

	CHECK_EQ(swi_conn_peer(c)->node, 7);
	CHECK_EQ(swi_conn_peer(c)->epoch, 1234);
	CHECK(!strcmp(swi_conn_peer(c)->address, swi_tp_address(b.tp)));
	CHECK_EQ(swi_conn_region_len(c, SWI_REGION_ARENA), MIB(1));
	CHECK_EQ(swi_conn_region_len(c, SWI_REGION_INDEX), 0);
	CHECK_EQ(swi_conn_region_len(c, 77), 0);
	CHECK_EQ(swi_conn_peer(b.conn)->node, 9);
	CHECK_EQ(swi_conn_peer(b.conn)->epoch, 99);
	CHECK_EQ(swi_conn_region_len(b.conn, SWI_REGION_ARENA), 2 * SWI_PAGE);
	CHECK(!strcmp(swi_tp_backend(a.tp), conf.backend));
	CHECK(swi_tp_device(a.tp)[0]);
	swi_conn_set_user(c, &a);
	CHECK(swi_conn_user(c) == &a);
	node_close(&a);
	node_close(&b);
}

/* The node number given later is what the next handshake says. */
static void late_node_number(void)
{
	struct node a, b;

	node_open(&b, &(struct node_opts){.node = 1, .listen = true});
	node_open(&a, &(struct node_opts){.node = 0});
	swi_tp_set_node(a.tp, 42);
	conf_connect(&a, &b);
	CHECK_EQ(swi_conn_peer(b.conn)->node, 42);
	node_close(&a);
	node_close(&b);
}

static void registration(void)
{
	struct node a;

	node_open(&a, &(struct node_opts){.mem = MIB(1)});
	CHECK_EQ(swi_tp_register(a.tp, SWI_REGION_ARENA, a.mem, a.len, -1), -EEXIST);
	CHECK_EQ(swi_tp_register(a.tp, SWI_REGIONS_MAX, a.mem, a.len, -1), -EINVAL);
	CHECK_EQ(swi_tp_register(a.tp, SWI_REGION_INDEX, a.mem + 1, SWI_PAGE, -1), -EINVAL);
	CHECK_EQ(swi_tp_register(a.tp, SWI_REGION_INDEX, a.mem, 100, -1), -EINVAL);
	CHECK_EQ(swi_tp_register(a.tp, SWI_REGION_INDEX, a.mem, 0, -1), -EINVAL);
	node_close(&a);
}

static int try_open(const char *backend, const char *bind, char *why, size_t why_len)
{
	const struct swi_tp_opts t = {.backend = backend, .bind = bind, .param = conf.param};
	const struct swi_tp_handler h = {0};
	struct swi_log log;
	struct swi_tp *tp = NULL;

	swi_log_init(&log, "conformance");
	const int rc = swi_tp_open(&t, conf.env, &log, &h, &tp, why, why_len);

	CHECK((rc == 0) == (tp != NULL));
	swi_tp_close(tp);
	return rc;
}

static void addresses(void)
{
	struct node b;
	struct swi_conn *c;
	char why[256] = "";

	CHECK_EQ(try_open("no-such", NULL, why, sizeof(why)), SWARM_ENOTRANSPORT);
	CHECK(strstr(why, "no-such"));
	node_open(&b, &(struct node_opts){.listen = true});
	CHECK_EQ(try_open(conf.backend, swi_tp_address(b.tp), why, sizeof(why)), SWARM_EPORTUSED);
	CHECK(why[0]);
	CHECK_EQ(swi_tp_connect(b.tp, "not an address", NULL, &c), -EINVAL);
	if (!conf.sim) {
		CHECK_EQ(try_open(conf.backend, "nonsense", why, sizeof(why)), -EINVAL);
		CHECK_EQ(try_open(conf.backend, "192.0.2.77:0", why, sizeof(why)), -EINVAL);
	}
	node_close(&b);
}

static void nobody_listens(void)
{
	struct node a, b;
	char addr[64];
	int status;

	node_open(&b, &(struct node_opts){.listen = true});
	snprintf(addr, sizeof(addr), "%s", swi_tp_address(b.tp));
	node_close(&b);
	node_open(&a, &(struct node_opts){.connect_ns = 2 * NS_PER_S});
	conf_connect_fails(&a, addr, &status);
	CHECK(status < 0);
	CHECK_EQ(a.ups, 0);
	CHECK_EQ(a.downs, 1);
	node_close(&a);
}

/* A caller may close at any moment, also before the connection is up. */
static bool down_once(void *ctx)
{
	return ((struct node *)ctx)->downs == 1;
}

static void close_at_once(void)
{
	struct node a, b;
	struct swi_conn *c;

	node_open(&b, &(struct node_opts){.listen = true});
	node_open(&a, &(struct node_opts){.mem = SWI_PAGE});
	CHECK_EQ(swi_tp_connect(a.tp, swi_tp_address(b.tp), NULL, &c), 0);
	CHECK_EQ(swi_conn_send(c, 1, "x", 1), SWARM_EPEERLOST);
	swi_conn_close(c, -ECANCELED);
	swi_conn_close(c, -EIO);
	CHECK_EQ(a.downs, 0);
	conf_wait(down_once, &a);
	CHECK_EQ(a.down_status, -ECANCELED);
	CHECK_EQ(a.ups, 0);
	conf_idle_ms(50);
	CHECK_EQ(b.ups, 0);
	CHECK_EQ(b.downs, 0);
	node_close(&a);
	node_close(&b);
}

void test_basic(void)
{
	identity();
	late_node_number();
	registration();
	addresses();
	nobody_listens();
	close_at_once();
}
