/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read_bench.c - READs through the verbs backend's table, timed as perftest times its own, so that
 * tests/softroce/compare can set one beside the other in the same boot.
 *
 *   read_bench owner ADDR                    waits for one reader and ends with it
 *   read_bench reader ADDR SIZE COUNT DEPTH  prints "p50_us p99_us min_us MiB_per_s"
 *
 * Latency is from read() to read_done() of one READ at a time when DEPTH is 1. No sample is left
 * out.
 */
#include <poll.h>
#include <sys/mman.h>

#include "transport/verbs/verbs.h"

#define MEMORY    MIB(16)
#define MAX_DEPTH 256u

struct offer {
	uint64_t base, rkey;
};

struct shot {
	struct swi_be_read rd;
	uint64_t start;
};

static const struct swi_be_ops *const ops = &swi_verbs_ops;
static struct {
	struct swi_be *be;
	struct swi_be_ep *ep;
	struct swi_be_mr mr;
	struct offer offer;
	struct shot shots[MAX_DEPTH];
	uint64_t *samples; /* ns */
	uint64_t count, posted, done;
	bool offered, closed;
} me;

static void fail(const char *what, int err)
{
	fprintf(stderr, "read_bench: %s: %s\n", what, swarm_errname(err));
	exit(1);
}

static void post(struct shot *s, uint64_t now)
{
	int err;

	s->start = now;
	err = ops->read(me.ep, &s->rd);
	if (err)
		fail("read", err);
	me.posted++;
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
}

static void on_recv(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED, const void *buf,
		    uint32_t len)
{
	if (len != sizeof(me.offer))
		fail("offer", -EPROTO);
	memcpy(&me.offer, buf, len);
	me.offered = true;
}

static void on_read_done(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED,
			 struct swi_be_read *rd, int status)
{
	struct shot *s = swi_container_of(rd, struct shot, rd);
	uint64_t now = swi_now(swi_env_real()); /* once a READ: the clock is slow when emulated */

	if (status)
		fail("read_done", status);
	me.samples[me.done++] = now - s->start;
	if (me.posted < me.count)
		post(s, now);
}

static void on_down(void *ctx SWI_UNUSED, struct swi_be_ep *ep, int status)
{
	if (me.samples)
		fail("down", status);
	ops->ep_close(ep);
}

static void on_closed(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED)
{
	me.closed = true;
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
	void *p = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int err;

	swi_log_init(&log, "read_bench");
	err = p == MAP_FAILED ? -ENOMEM : ops->open(&args, &me.be, why, sizeof(why));
	if (err)
		fail(why, err);
	err = ops->mr_reg(
	    me.be,
	    &(struct swi_be_mem){.addr = p, .len = MEMORY, .fd = -1, .remote_read = bind != NULL},
	    &me.mr);
	if (err)
		fail("mr_reg", err);
}

static void turn(void)
{
	int n = ops->progress(me.be, 64);

	if (n < 0)
		fail("progress", n);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void run_reader(const char *addr, uint32_t size, uint64_t count, uint32_t depth)
{
	uint64_t start, ns;
	int err;

	me.samples = calloc(count, sizeof(*me.samples));
	me.count = count;
	open_backend(NULL);
	err = ops->connect(me.be, addr, NULL, &me.ep);
	if (err || !me.samples)
		fail("connect", err);
	while (!me.offered)
		turn();
	start = swi_now(swi_env_real());
	for (uint32_t i = 0; i < depth && i < count; i++) {
		me.shots[i].rd = (struct swi_be_read){.local = me.mr.addr,
						      .mr = &me.mr,
						      .remote_addr = me.offer.base,
						      .rkey = me.offer.rkey,
						      .len = size};
		post(&me.shots[i], swi_now(swi_env_real()));
	}
	while (me.done < count)
		turn();
	ns = swi_now(swi_env_real()) - start;
	qsort(me.samples, count, sizeof(*me.samples), compare_u64);
	printf("%.2f %.2f %.2f %.2f\n", (double)me.samples[count / 2] / 1e3,
	       (double)me.samples[count * 99 / 100] / 1e3, (double)me.samples[0] / 1e3,
	       (double)count * size / (double)MIB(1) / ((double)ns / 1e9));
}

/* Sleeps as perftest's server does: the card alone serves the reader. */
static void run_owner(const char *addr)
{
	open_backend(addr);
	printf("listening on %s\n", ops->address(me.be));
	fflush(stdout);
	while (!me.closed) {
		turn();
		if (ops->arm(me.be))
			(void)poll(&(struct pollfd){.fd = ops->fd(me.be), .events = POLLIN}, 1,
				   1000);
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "owner") == 0) {
		run_owner(argv[2]);
	} else if (argc == 6 && strcmp(argv[1], "reader") == 0) {
		long size = atol(argv[3]), count = atol(argv[4]), depth = atol(argv[5]);

		if (size < 1 || (uint64_t)size > MEMORY || count < 1 || depth < 1 ||
		    depth > MAX_DEPTH)
			fail("SIZE, COUNT or DEPTH", -EINVAL);
		run_reader(argv[2], (uint32_t)size, (uint64_t)count, (uint32_t)depth);
	} else {
		fprintf(stderr, "usage: %s owner ADDR | reader ADDR SIZE COUNT DEPTH\n", argv[0]);
		return 2;
	}
	ops->mr_dereg(me.be, &me.mr);
	ops->close(me.be);
	return 0;
}
