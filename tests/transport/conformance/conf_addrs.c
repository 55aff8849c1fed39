/* SPDX-License-Identifier: Apache-2.0 */
/* conf_addrs.c - a peer that says several addresses, of which some cannot be reached. */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf.h"

#define DEAD 2u

/* @dead addresses at which nobody listens any more, then @live's (NULL: none). */
static void list_of(char *buf, size_t len, uint32_t dead, struct node *live)
{
	struct node n[DEAD];
	size_t at = 0;

	for (uint32_t i = 0; i < dead; i++)
		node_open(&n[i], &(struct node_opts){.listen = true, .node = 7 + i});
	for (uint32_t i = 0; i < dead; i++)
		at += (size_t)snprintf(buf + at, len - at, "%s%s", i ? "," : "", swi_tp_address(n[i].tp));
	if (live)
		at += (size_t)snprintf(buf + at, len - at, "%s%s", dead ? "," : "", swi_tp_address(live->tp));
	CHECK(at < len);
	for (uint32_t i = 0; i < dead; i++)
		node_close(&n[i]);
}

static bool both_up(void *ctx)
{
	struct node **ab = ctx;

	return ab[0]->ups && ab[1]->ups;
}

static bool is_down(void *ctx)
{
	return ((struct node *)ctx)->downs > 0;
}

/* Nobody hears of the addresses that failed. */
static void one_lives(uint32_t dead)
{
	struct node a, b, *ab[] = {&a, &b};
	struct swi_conn *c;
	char addr[256];

	node_open(&b, &(struct node_opts){.listen = true, .mem = KIB(64)});
	node_open(&a, &(struct node_opts){.mem = KIB(64)});
	list_of(addr, sizeof(addr), dead, &b);
	memset(b.mem, 0x42, KIB(64));
	CHECK_EQ(swi_tp_connect(a.tp, addr, NULL, &c), 0);
	conf_wait(both_up, ab);
	CHECK(a.conn == c);
	CHECK_EQ(a.ups, 1);
	CHECK_EQ(a.downs, 0);
	CHECK_EQ(read_sync(&a, a.conn, 0, 0, 4096), 0);
	CHECK(a.mem[4095] == 0x42);
	CHECK_EQ(swi_tp_counters(a.tp)->conns_opened, 1);
	node_close(&a);
	node_close(&b);
}

static void none_lives(void)
{
	struct node a;
	char addr[256];
	int status;

	node_open(&a, &(struct node_opts){.connect_ns = 4 * NS_PER_S});
	list_of(addr, sizeof(addr), DEAD, NULL);
	conf_connect_fails(&a, addr, &status);
	CHECK(status < 0);
	CHECK_EQ(a.ups, 0);
	CHECK_EQ(a.downs, 1);
	conf_idle_ms(20);
	CHECK_EQ(a.downs, 1);
	CHECK_EQ(swi_tp_counters(a.tp)->conns_closed, 1);
	node_close(&a);
}

/* The caller closes it at any moment, also between two addresses. */
static void closed_between(void)
{
	struct node a, b, *ab[] = {&a, &b};
	struct swi_conn *c;
	char addr[256];

	node_open(&b, &(struct node_opts){.listen = true});
	node_open(&a, &(struct node_opts){0});
	list_of(addr, sizeof(addr), DEAD, &b);
	for (uint32_t i = 0; i < 40; i++) {
		a.downs = a.ups = 0;
		CHECK_EQ(swi_tp_connect(a.tp, addr, NULL, &c), 0);
		for (uint32_t k = 0; k < i && !a.ups; k++)
			CHECK(swi_tp_progress(a.tp) >= 0);
		if (i % 3 == 2)
			conf_idle_ms(1);
		swi_conn_close(c, -ECANCELED);
		conf_wait(is_down, &a);
		CHECK_EQ(a.downs, 1);
		CHECK_EQ(a.down_status, -ECANCELED);
	}
	CHECK_EQ(swi_tp_counters(a.tp)->conns_opened, 40);
	CHECK_EQ(swi_tp_counters(a.tp)->conns_closed, 40);
	node_close(&a);
	/* One that stays: once it is up, the listener has been through all that ended before. */
	node_open(&a, &(struct node_opts){0});
	b.ups = 0;
	CHECK_EQ(swi_tp_connect(a.tp, swi_tp_address(b.tp), NULL, &c), 0);
	conf_wait(both_up, ab);
	node_close(&a);
	node_close(&b);
}

/* Somebody is there, but never says a word: it does not cost the time that there is for all. */
static void one_is_silent(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct node a, b, *ab[] = {&a, &b};
	struct swi_conn *c;
	char addr[256];

	CHECK(fd >= 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	CHECK_EQ(listen(fd, 8), 0);
	CHECK_EQ(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	node_open(&b, &(struct node_opts){.listen = true});
	node_open(&a, &(struct node_opts){.connect_ns = 3600 * NS_PER_S});
	snprintf(addr, sizeof(addr), "127.0.0.1:%u,%s", ntohs(in.sin_port), swi_tp_address(b.tp));
	CHECK_EQ(swi_tp_connect(a.tp, addr, NULL, &c), 0);
	conf_wait(both_up, ab);
	CHECK_EQ(a.ups, 1);
	CHECK_EQ(a.downs, 0);
	node_close(&a);
	node_close(&b);
	close(fd);
}

void test_addrs(void)
{
	one_lives(0);
	one_lives(1);
	none_lives();
	if (strcmp(conf.backend, "paths")) { /* whose own list has four places */
		one_lives(DEAD);
		closed_between();
	}
	if (!strcmp(conf.backend, "ofi") || !strcmp(conf.backend, "fault"))
		one_is_silent();
}
