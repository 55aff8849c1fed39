/* SPDX-License-Identifier: Apache-2.0 */
/*
 * two_hosts.c - a host that vanishes. On host 2, `test_two_hosts owner ADDR` lets itself be read.
 * On host 1, `test_two_hosts reader ADDR OUT` reads without pause, asks for host 2 to be killed,
 * and must be told: one down(), one read_done() for every READ, closed(), nothing left behind.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/verbs/verbs.h"

#define MEMORY   MIB(4)
#define PIECE    65536u
#define WINDOW   96u /* more than the card takes: some wait in the backend when the host dies */
#define BEFORE   300u
#define LIMIT_NS (90 * NS_PER_S)

struct offer {
	uint64_t base, rkey;
};

struct piece {
	struct swi_be_read rd;
	uint64_t posted, done;
};

static struct {
	struct swi_be *be;
	struct swi_be_ep *ep;
	struct swi_be_mr mr;
	struct offer offer;
	struct piece pieces[WINDOW];
	uint64_t good, failed;
	uint32_t up, down, closed, offers;
	int down_status;
} me;

static const struct swi_be_ops *const ops = &swi_verbs_ops;

static void fail(const char *what, int err)
{
	fprintf(stderr, "two_hosts: %s: %s\n", what, swarm_errname(err));
	exit(1);
}

static void check(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "two_hosts: not so: %s\n", what);
		exit(1);
	}
}

static void on_accepted(void *ctx SWI_UNUSED, struct swi_be_ep *ep)
{
	struct offer offer = {.base = me.mr.base};
	int err = ops->grant(ep);

	offer.rkey = ops->rkey(ep, &me.mr);

	if (!err)
		err = ops->send(ep, &offer, sizeof(offer), NULL, 0);
	if (err)
		fail("offer", err);
}

static void on_connected(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED)
{
	me.up++;
}

static void on_recv(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED, const void *buf,
		    uint32_t len)
{
	check(len == sizeof(me.offer), "an offer has its length");
	memcpy(&me.offer, buf, len);
	me.offers++;
}

static void post_piece(struct piece *p)
{
	int err = ops->read(me.ep, &p->rd);

	if (err)
		fail("read", err);
	p->posted++;
}

static void on_read_done(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED,
			 struct swi_be_read *rd, int status)
{
	struct piece *p = swi_container_of(rd, struct piece, rd);

	p->done++;
	check(p->done == p->posted, "a read ends once");
	if (status) {
		check(me.down == 1, "down() comes before the first failed read");
		me.failed++;
		return;
	}
	me.good++;
	if (!me.down)
		post_piece(p);
}

static void on_down(void *ctx SWI_UNUSED, struct swi_be_ep *ep, int status)
{
	me.down++;
	me.down_status = status;
	ops->ep_close(ep);
}

static void on_closed(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED)
{
	me.closed++;
}

static const struct swi_be_events events = {
    .accepted = on_accepted,
    .connected = on_connected,
    .recv = on_recv,
    .read_done = on_read_done,
    .down = on_down,
    .closed = on_closed,
};

static void open_backend(const char *bind)
{
	static struct swi_log log;
	struct swi_be_open_args args = {
	    .env = swi_env_real(), .log = &log, .events = &events, .bind = bind};
	char why[200] = "";
	void *p = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	swi_log_init(&log, "two_hosts");
	check(p != MAP_FAILED, "there is memory");
	err = ops->open(&args, &me.be, why, sizeof(why));
	if (err)
		fail(why, err);
	err = ops->mr_reg(
	    me.be,
	    &(struct swi_be_mem){.addr = p, .len = MEMORY, .fd = -1, .remote_read = bind != NULL},
	    &me.mr);
	if (err)
		fail("mr_reg", err);
}

/* One turn; sleeps until something comes. */
static void turn(uint64_t end)
{
	struct pollfd pfd = {.fd = ops->fd(me.be), .events = POLLIN};
	int n = ops->progress(me.be, 64);

	if (n < 0)
		fail("progress", n);
	check(swi_now(swi_env_real()) < end, "it ends in time");
	if (n == 0 && ops->arm(me.be))
		(void)poll(&pfd, 1, 1000);
}

static _Noreturn void run_owner(const char *addr)
{
	open_backend(addr);
	memset(me.mr.addr, 0x42, MEMORY);
	for (uint64_t end = swi_now(swi_env_real()) + LIMIT_NS;;)
		turn(end); /* until this host is killed; its end in time is a failure */
}

/* The other host may still be booting: try until it answers. */
static void connect_to(const char *addr, uint64_t end)
{
	while (!me.offers) {
		uint32_t closed = me.closed;
		int err = ops->connect(me.be, addr, NULL, &me.ep);

		if (err)
			fail("connect", err);
		while (!me.offers && me.closed == closed)
			turn(end);
		me.down = me.offers ? me.down : 0;
	}
}

static void ask_for_the_kill(const char *out)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/kill-2", out);
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	check(fd >= 0, "the kill can be asked for");
	close(fd);
}

static int run_reader(const char *addr, const char *out)
{
	uint64_t end = swi_now(swi_env_real()) + LIMIT_NS, asked;
	const struct swi_verbs_counters *counters;
	uint32_t closed;

	open_backend(NULL);
	connect_to(addr, end);
	closed = me.closed;
	for (uint32_t i = 0; i < WINDOW; i++) {
		uint64_t at = (uint64_t)i * PIECE % MEMORY;

		me.pieces[i].rd = (struct swi_be_read){.local = (uint8_t *)me.mr.addr + at,
						       .mr = &me.mr,
						       .remote_addr = me.offer.base + at,
						       .rkey = me.offer.rkey,
						       .len = PIECE};
		post_piece(&me.pieces[i]);
	}
	while (me.good < BEFORE && !me.down)
		turn(end);
	check(!me.down, "the connection lives until the kill");
	ask_for_the_kill(out);
	asked = swi_now(swi_env_real());
	while (me.closed == closed)
		turn(end);
	check(me.down == 1 && me.down_status == SWARM_EPEERLOST, "down() once: peer lost");
	for (uint32_t i = 0; i < WINDOW; i++)
		check(me.pieces[i].done == me.pieces[i].posted, "every read ended");
	check(me.failed > 0 && me.failed <= WINDOW, "those in flight failed");
	check(((uint8_t *)me.mr.addr)[WINDOW * PIECE % MEMORY] == 0x42,
	      "what came is what was sent");
	ops->mr_dereg(me.be, &me.mr);
	counters = swi_verbs_counters(me.be);
	check(counters->qps_created == counters->qps_destroyed &&
		  counters->mws_created == counters->mws_destroyed &&
		  counters->mrs_created == counters->mrs_destroyed + 1, /* the receive buffers */
	      "nothing is left");
	printf("two_hosts: %lu reads before, %lu failed, told %lu ms after asking for the kill\n",
	       me.good, me.failed, (unsigned long)((swi_now(swi_env_real()) - asked) / NS_PER_MS));
	ops->close(me.be);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "owner") == 0)
		run_owner(argv[2]);
	if (argc == 4 && strcmp(argv[1], "reader") == 0)
		return run_reader(argv[2], argv[3]);
	fprintf(stderr, "usage: %s owner ADDR | reader ADDR OUT\n", argv[0]);
	return 2;
}
