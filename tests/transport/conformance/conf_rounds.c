/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_rounds.c - connect, read, close, again and again, with restarts of the peer in between: what a
 * process has of descriptors, mappings and, over verbs, of the kernel's own count of the device's objects is
 * the same in the end as early on.
 *
 *	test_conformance BACKEND BIND BYTES rounds N
 */
#include <fcntl.h>
#include <unistd.h>

#include "conf.h"

#define RESTART 50u /* the peer is another one after so many */
#define EARLY	100u /* by then every pool has its size */

struct counts {
	uint32_t fds, maps;
	char device[512]; /* the kernel's line about it */
};

static uint32_t map_count(void)
{
	char buf[65536];
	uint32_t n = 0;
	const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	for (ssize_t len; (len = read(fd, buf, sizeof(buf))) > 0;)
		for (ssize_t i = 0; i < len; i++)
			n += buf[i] == '\n';
	close(fd);
	return n;
}

static void count(struct counts *c)
{
	memset(c, 0, sizeof(*c));
	c->fds = conf_fd_count();
	c->maps = map_count();
	if (strcmp(conf.backend, "verbs"))
		return;
	FILE *f = popen("rdma resource show 2>/dev/null", "r"); /* of the whole machine: nobody else uses it */

	if (f && !fgets(c->device, sizeof(c->device), f))
		c->device[0] = 0;
	if (f)
		pclose(f);
	c->device[strcspn(c->device, "\n")] = 0;
}

static bool both_down(void *ctx)
{
	struct node **ab = ctx;

	return ab[0]->downs == ab[0]->ups && ab[1]->downs == ab[1]->ups;
}

static void restart(struct node *b, uint64_t epoch)
{
	char addr[64];

	snprintf(addr, sizeof(addr), "%s", swi_tp_address(b->tp));
	node_close(b);
	node_open(b, &(struct node_opts){
			 .mem = MIB(1), .epoch = epoch, .listen = true, .bind = addr});
	conf_fill(b->mem, b->len, epoch);
}

void conf_rounds(uint32_t rounds)
{
	struct counts early = {0}, late;
	struct node a, b;
	struct node *ab[] = {&a, &b};
	const uint64_t t0 = conf_now();

	node_open(&b, &(struct node_opts){.mem = MIB(1), .epoch = 1, .listen = true});
	node_open(&a, &(struct node_opts){.mem = MIB(1)});
	conf_fill(b.mem, b.len, 1);
	for (uint32_t i = 1; i <= rounds; i++) {
		conf_connect(&a, &b);
		CHECK_EQ(read_sync(&a, a.conn, 0, 0, 4096), 0);
		CHECK(conf_same(a.mem, 4096, swi_conn_peer(a.conn)->epoch, 0));
		swi_conn_close(i % 2 ? a.conn : b.conn, -ECANCELED);
		conf_wait(both_down, ab);
		if (i % RESTART == 0) {
			restart(&b, i);
			a.ups = a.downs = 0;
		}
		if (i == EARLY)
			count(&early);
	}
	count(&late);
	printf("%s: %u rounds, %u restarts in %.1f s\n early: %u descriptors, %u mappings %s\n"
	       " late:  %u descriptors, %u mappings %s\n",
	       conf.backend, rounds, rounds / RESTART, (double)(conf_now() - t0) / NS_PER_S,
	       early.fds, early.maps, early.device, late.fds, late.maps, late.device);
	if (rounds > EARLY) {
		CHECK_EQ(late.fds, early.fds);
		CHECK(late.maps <= early.maps + 8); /* malloc may map and unmap what it keeps */
		CHECK(!strcmp(late.device, early.device));
	}
	node_close(&a);
	node_close(&b);
}
