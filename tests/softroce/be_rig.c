/* SPDX-License-Identifier: Apache-2.0 */
/* be_rig.c - see be_rig.h. */
#include "be_rig.h"

#include <poll.h>
#include <sys/mman.h>

struct be_rig rig = {.ops = &swi_verbs_ops};
static struct swi_log logger;
static void (*on_read)(struct swi_be_read *rd, int status);

_Noreturn void rig_fail(const char *what, int err)
{
	fprintf(stderr, "%s: %s: %s\n", logger.name, what, swarm_errname(err));
	exit(1);
}

static void on_accepted(void *ctx SWI_UNUSED, struct swi_be_ep *ep)
{
	int err = rig.ops->grant(ep);

	rig.offer.base = rig.mr.base;
	rig.offer.rkey = rig.ops->rkey(ep, &rig.mr);
	if (!err)
		err = rig.ops->send(ep, &rig.offer, sizeof(rig.offer), NULL, 0);
	if (err)
		rig_fail("offer", err);
}

static void on_connected(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED)
{
}

static void on_recv(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED, const void *buf,
		    uint32_t len)
{
	if (len != sizeof(rig.offer))
		rig_fail("offer", -EPROTO);
	memcpy(&rig.offer, buf, len);
	rig.offers++;
}

static void on_read_done(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED,
			 struct swi_be_read *rd, int status)
{
	on_read(rd, status);
}

static void on_down(void *ctx SWI_UNUSED, struct swi_be_ep *ep, int status)
{
	rig.down++;
	rig.down_status = status;
	rig.ops->ep_close(ep);
}

static void on_closed(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED)
{
	rig.closed++;
}

void rig_open(const char *name, const char *bind, uint64_t bytes, void (*read_done)(struct swi_be_read *rd, int status))
{
	static const struct swi_be_events events = {
	    .accepted = on_accepted,
	    .connected = on_connected,
	    .recv = on_recv,
	    .read_done = on_read_done,
	    .down = on_down,
	    .closed = on_closed,
	};
	struct swi_be_open_args args = {
	    .env = swi_env_real(), .log = &logger, .events = &events, .bind = bind};
	struct swi_be_mem mem = {.len = bytes, .fd = -1, .remote_read = bind != NULL};
	char why[200] = "";
	int err;

	swi_log_init(&logger, name);
	on_read = read_done;
	mem.addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	err = mem.addr == MAP_FAILED ? -ENOMEM : rig.ops->open(&args, &rig.be, why, sizeof(why));
	if (err)
		rig_fail(why, err);
	err = rig.ops->mr_reg(rig.be, &mem, &rig.mr);
	if (err)
		rig_fail("mr_reg", err);
}

void rig_connect(const char *addr)
{
	const int err = rig.ops->connect(rig.be, addr, NULL, &rig.ep);

	if (err)
		rig_fail("connect", err);
}

int rig_turn(void)
{
	const int n = rig.ops->progress(rig.be, 64);

	if (n < 0)
		rig_fail("progress", n);
	return n;
}

void rig_sleep(void)
{
	struct pollfd pfd = {.fd = rig.ops->fd(rig.be), .events = POLLIN};

	if (rig.ops->arm(rig.be))
		(void)poll(&pfd, 1, 1000);
}

struct swi_be_read rig_read(uint64_t at, uint32_t len)
{
	return (struct swi_be_read){.local = (uint8_t *)rig.mr.addr + at,
				    .mr = &rig.mr,
				    .remote_addr = rig.offer.base + at,
				    .rkey = rig.offer.rkey,
				    .len = len};
}

void rig_post(struct swi_be_read *rd)
{
	const int err = rig.ops->read(rig.ep, rd);

	if (err)
		rig_fail("read", err);
}
