/* SPDX-License-Identifier: Apache-2.0 */
/* verbs_rig.c - see verbs_rig.h. */
#include <sys/mman.h>

#include "tests/patience.h"
#include "tests/transport/verbs_rig.h"


static struct swi_log rig_log;

static struct rig_side *side(void *ctx)
{
	return ctx;
}

static void on_up(void *ctx, struct swi_be_ep *ep)
{
	side(ctx)->ep = ep;
	side(ctx)->up++;
}

static void on_recv(void *ctx, struct swi_be_ep *ep SWI_UNUSED, const void *buf SWI_UNUSED, uint32_t len)
{
	side(ctx)->recvs++;
	side(ctx)->recv_len = len;
}

static void on_read_done(void *ctx, struct swi_be_ep *ep SWI_UNUSED, struct swi_be_read *rd,
			 int status)
{
	struct rig_read *rr = swi_container_of(rd, struct rig_read, rd);

	rr->done++;
	rr->status = status;
	side(ctx)->reads_done++;
}

static void on_down(void *ctx, struct swi_be_ep *ep, int status)
{
	side(ctx)->down++;
	side(ctx)->down_status = status;
	if (side(ctx)->close_on_down)
		swi_verbs_ops.ep_close(ep);
}

static void on_closed(void *ctx, struct swi_be_ep *ep)
{
	side(ctx)->closed++;
	if (side(ctx)->ep == ep)
		side(ctx)->ep = NULL;
}

static const struct swi_be_events events = {
    .accepted = on_up,
    .connected = on_up,
    .recv = on_recv,
    .read_done = on_read_done,
    .down = on_down,
    .closed = on_closed,
};

static int side_open(struct rig_side *s, const char *bind)
{
	struct swi_be_open_args args = {
	    .env = swi_env_real(), .log = &rig_log, .events = &events, .ctx = s, .bind = bind};
	char why[200] = "";
	int err = swi_verbs_ops.open(&args, &s->be, why, sizeof(why));

	if (err)
		printf("refused: %s (%s)\n", why, swarm_errname(err));
	return err == SWARM_ENOTRANSPORT ? RIG_SKIP : err;
}

static uint8_t *pages(void)
{
	void *p = mmap(NULL, RIG_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int rig_reg(struct swi_be *be, void *p, uint64_t len, bool remote_read, struct swi_be_mr *out_mr)
{
	const struct swi_be_mem mem = {
	    .addr = p, .len = len, .fd = -1, .remote_read = remote_read};

	return swi_verbs_ops.mr_reg(be, &mem, out_mr);
}

int rig_open(struct rig *rig, const char *addr)
{
	int err;

	memset(rig, 0, sizeof(*rig));
	swi_log_init(&rig_log, "rig");
	if (rig_log.level == SWI_LOG_WARN)
		rig_log.level = SWI_LOG_ERROR; /* refusals are what these tests provoke */
	err = side_open(&rig->owner, addr);
	if (!err)
		err = side_open(&rig->guest, NULL);
	if (err)
		return err;
	rig->memory = pages();
	rig->local = pages();
	if (!rig->memory || !rig->local)
		return -ENOMEM;
	err = rig_reg(rig->owner.be, rig->memory, RIG_BYTES, true, &rig->mr);
	if (!err)
		err = rig_reg(rig->guest.be, rig->local, RIG_BYTES, false, &rig->local_mr);
	return err;
}

void rig_close(struct rig *rig)
{
	if (rig->owner.be)
		swi_verbs_ops.mr_dereg(rig->owner.be, &rig->mr);
	if (rig->guest.be)
		swi_verbs_ops.mr_dereg(rig->guest.be, &rig->local_mr);
	swi_verbs_ops.close(rig->guest.be);
	swi_verbs_ops.close(rig->owner.be);
	if (rig->memory)
		munmap(rig->memory, RIG_BYTES);
	if (rig->local)
		munmap(rig->local, RIG_BYTES);
}

void rig_until(struct rig *rig, const uint32_t *value, uint32_t want)
{
	uint64_t end = swi_now(swi_env_real()) + TEST_LIMIT_NS;

	while (*value < want) {
		assert_true(swi_verbs_ops.progress(rig->owner.be, 64) >= 0);
		assert_true(swi_verbs_ops.progress(rig->guest.be, 64) >= 0);
		assert_true(swi_now(swi_env_real()) < end);
	}
}

void rig_grant(struct rig *rig)
{
	assert_int_equal(swi_verbs_ops.grant(rig->owner.ep), 0);
	rig->rkey = swi_verbs_ops.rkey(rig->owner.ep, &rig->mr);
	/* A message on the same queue pair would wait for the windows; the guest is told otherwise here. */
	for (uint64_t end = swi_now(swi_env_real()) + TEST_LIMIT_NS;
	     !swi_verbs_lane_flushed(rig->owner.ep->lanes[0]);) {
		assert_true(swi_verbs_ops.progress(rig->owner.be, 64) >= 0);
		assert_true(swi_now(swi_env_real()) < end);
	}
}

void rig_connect(struct rig *rig, bool grant)
{
	uint32_t up = rig->guest.up, accepted = rig->owner.up;
	struct swi_be_ep *ep = NULL;

	assert_int_equal(
	    swi_verbs_ops.connect(rig->guest.be, swi_verbs_ops.address(rig->owner.be), rig, &ep),
	    0);
	rig_until(rig, &rig->guest.up, up + 1);
	rig_until(rig, &rig->owner.up, accepted + 1);
	assert_ptr_equal(rig->guest.ep, ep);
	rig->rkey = rig->mr.rkey;
	if (grant)
		rig_grant(rig);
}

void rig_disconnect(struct rig *rig)
{
	uint32_t guest = rig->guest.closed, owner = rig->owner.closed;

	if (rig->guest.ep) {
		swi_verbs_ops.ep_close(rig->guest.ep);
		rig_until(rig, &rig->guest.closed, guest + 1);
	}
	if (rig->owner.ep) {
		swi_verbs_ops.ep_close(rig->owner.ep);
		rig_until(rig, &rig->owner.closed, owner + 1);
	}
}

int rig_read(struct rig *rig, uint64_t remote_addr, uint64_t rkey, uint32_t len)
{
	struct rig_read rr = {
	    .rd = {.local = rig->local,
		   .mr = &rig->local_mr,
		   .remote_addr = remote_addr,
		   .rkey = rkey,
		   .len = len},
	};
	int err = swi_verbs_ops.read(rig->guest.ep, &rr.rd);

	if (err)
		return err;
	rig_until(rig, &rr.done, 1);
	assert_int_equal(rr.done, 1);
	return rr.status;
}

void rig_fill(struct rig *rig, uint8_t seed)
{
	for (size_t i = 0; i < RIG_BYTES; i++)
		rig->memory[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

bool rig_same(const struct rig *rig, size_t len)
{
	return memcmp(rig->memory, rig->local, len) == 0;
}

const char *rig_address(int argc, char **argv)
{
	static char addr[128];
	const char *host = getenv("SOFTROCE_ADDR");

	if (argc > 1)
		return argv[1];
	snprintf(addr, sizeof(addr), "%s:0", host ? host : "0.0.0.0");
	return addr;
}
