/* SPDX-License-Identifier: Apache-2.0 */
/*
 * security_verbs.c - what a hostile peer with a queue pair of its own can reach: nothing that was
 * not registered for it, nothing at all before grant(), and never anything by writing. Each
 * attempt must end in a remote access error, change no byte, and leave the owner serving others.
 */
#include <poll.h>

#include "tests/transport/verbs_rig.h"
#include "transport/base/addr.h"

static struct rig rig;

/* The owner is well: a second, decent guest connects and reads. */
static void assert_owner_well(uint8_t seed)
{
	rig_disconnect(&rig);
	rig_fill(&rig, seed);
	memset(rig.local, 0, RIG_BYTES);
	rig_connect(&rig, true);
	assert_int_equal(rig_read(&rig, rig.mr.base, rig.mr.rkey, 4096), 0);
	assert_true(rig_same(&rig, 4096));
	rig_disconnect(&rig);
}

/* @remote_addr with @rkey must be refused, and the guest's memory stay as it was. */
static void assert_refused(uint64_t remote_addr, uint64_t rkey, uint32_t len, bool grant)
{
	uint32_t downs = rig.guest.down;

	rig_connect(&rig, grant);
	memset(rig.local, 0xa5, RIG_BYTES);
	assert_int_equal(rig_read(&rig, remote_addr, rkey, len), SWARM_EREMOTEACCESS);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(rig.local[i], 0xa5);
	if (rkey <= UINT32_MAX) {
		assert_int_equal(rig.guest.down, downs + 1);
		assert_int_equal(rig.guest.down_status, SWARM_EREMOTEACCESS);
	}
	rig_disconnect(&rig);
}

static void read__granted__brings_the_bytes(void **state SWI_UNUSED)
{
	assert_owner_well(1);
}

static void read__before_grant__is_refused(void **state SWI_UNUSED)
{
	assert_refused(rig.mr.base, rig.mr.rkey, 64, false); /* with the right key, even */
	assert_owner_well(2);
}

static void read__guessed_keys_before_grant__are_all_refused(void **state SWI_UNUSED)
{
	for (uint64_t k = 0; k < 6; k++)
		assert_refused(rig.mr.base, (rig.mr.rkey & ~0xffull) | k * 37, 64, false);
	assert_owner_well(3);
}

static void read__wrong_key__is_refused(void **state SWI_UNUSED)
{
	static const uint64_t flips[] = {1, 0x80, 0x100, 0x10000, 0x80000000ull};

	for (size_t i = 0; i < SWI_ARRAY_LEN(flips); i++)
		assert_refused(rig.mr.base, rig.mr.rkey ^ flips[i], 64, true);
	assert_refused(rig.mr.base, rig.mr.rkey | 1ull << 32, 64, true);
	assert_owner_well(4);
}

static void read__out_of_bounds__is_refused(void **state SWI_UNUSED)
{
	assert_refused(rig.mr.base + RIG_BYTES - 63, rig.mr.rkey, 64, true);
	assert_refused(rig.mr.base + RIG_BYTES, rig.mr.rkey, 1, true);
	assert_refused(rig.mr.base - 1, rig.mr.rkey, 64, true);
	assert_refused(rig.mr.base + 4096, rig.mr.rkey, (uint32_t)RIG_BYTES - 4095, true);
	assert_refused(UINT64_MAX - 31, rig.mr.rkey, 64, true);
	assert_owner_well(5);
}

static void read__deregistered__is_refused(void **state SWI_UNUSED)
{
	struct swi_be_mr old;
	uint64_t base = (uintptr_t)rig.memory, rkey;

	assert_int_equal(rig_reg(rig.owner.be, rig.memory, 65536, true, &old), 0);
	rkey = old.rkey;
	rig_connect(&rig, true);
	assert_int_equal(rig_read(&rig, base, rkey, 64), 0);
	swi_verbs_ops.mr_dereg(rig.owner.be, &old);
	assert_int_equal(rig_read(&rig, base, rkey, 64), SWARM_EREMOTEACCESS);
	assert_owner_well(6);
}

static void read__local_only_region__is_refused(void **state SWI_UNUSED)
{
	struct swi_be_mr mine;

	assert_int_equal(rig_reg(rig.owner.be, rig.memory, 65536, false, &mine), 0);
	assert_refused(mine.base, mine.rkey, 64, true);
	swi_verbs_ops.mr_dereg(rig.owner.be, &mine);
	assert_owner_well(7);
}

/* Posts what the backend never posts, in the place of a send. */
static void post_raw(enum ibv_wr_opcode opcode, uint32_t len, uint64_t remote_addr)
{
	struct swi_be_ep *ep = rig.guest.ep;
	struct ibv_mr *mr = rig.local_mr.handle;
	struct ibv_sge sge = {.addr = (uintptr_t)rig.local, .length = len, .lkey = mr->lkey};
	struct ibv_send_wr *bad, wr = {
				     .wr_id = swi_verbs_wr_id(WR_SEND, ep, 0),
				     .sg_list = &sge,
				     .num_sge = 1,
				     .opcode = opcode,
				     .send_flags = IBV_SEND_SIGNALED,
				 };

	if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.remote_addr = remote_addr;
		wr.wr.atomic.rkey = (uint32_t)rig.mr.rkey;
		wr.wr.atomic.compare_add = 1;
	} else {
		wr.wr.rdma.remote_addr = remote_addr;
		wr.wr.rdma.rkey = (uint32_t)rig.mr.rkey;
	}
	ep->send_free &= ~1ull;
	assert_int_equal(ibv_post_send(ep->qp, &wr, &bad), 0);
}

static void assert_write_refused(enum ibv_wr_opcode opcode, uint32_t len, bool grant)
{
	uint32_t downs = rig.guest.down;

	rig_fill(&rig, 9);
	memcpy(rig.local, rig.memory, RIG_BYTES);
	rig_connect(&rig, grant);
	rig.local[0] ^= 0xff;
	post_raw(opcode, len, rig.mr.base);
	rig_until(&rig, &rig.guest.down, downs + 1);
	assert_int_equal(rig.guest.down_status, SWARM_EREMOTEACCESS);
	rig.local[0] ^= 0xff;
	if (opcode == IBV_WR_RDMA_WRITE)
		assert_true(rig_same(&rig, RIG_BYTES)); /* an atomic brings an old value, if any */
	else
		assert_int_equal(rig.memory[0], 9);
	rig_disconnect(&rig);
}

static void write__by_a_peer__is_refused(void **state SWI_UNUSED)
{
	assert_write_refused(IBV_WR_RDMA_WRITE, 64, true);
	assert_write_refused(IBV_WR_RDMA_WRITE, 65536, true);
	assert_write_refused(IBV_WR_RDMA_WRITE, 64, false);
	assert_write_refused(IBV_WR_ATOMIC_FETCH_AND_ADD, 8, true);
	assert_owner_well(10);
}

static void send__larger_than_a_receive__ends_that_connection_only(void **state SWI_UNUSED)
{
	uint32_t recvs = rig.owner.recvs, owner_downs = rig.owner.down;

	rig_connect(&rig, false);
	post_raw(IBV_WR_SEND, SWI_BE_MSG_MAX + 1, 0);
	rig_until(&rig, &rig.owner.down, owner_downs + 1);
	assert_int_equal(rig.owner.recvs, recvs);
	assert_owner_well(11);
}

/* The next event of a stranger's own channel; meanwhile the owner does its work. */
static enum rdma_cm_event_type next_event(struct rdma_event_channel *ec, int *out_status)
{
	struct pollfd pfd = {.fd = ec->fd, .events = POLLIN};
	enum rdma_cm_event_type type;
	struct rdma_cm_event *event;

	while (poll(&pfd, 1, 1) == 0) {
		(void)swi_verbs_ops.arm(rig.owner.be);
		assert_true(swi_verbs_ops.progress(rig.owner.be, 64) >= 0);
	}
	assert_int_equal(rdma_get_cm_event(ec, &event), 0);
	type = event->event;
	*out_status = event->status;
	rdma_ack_cm_event(event);
	return type;
}

/* Some other program's connection request, without our hello. */
static void connect__without_hello__is_refused(void **state SWI_UNUSED)
{
	static const char wrong[8] = {'N', 'V', 'M', 'e'};
	const struct swi_verbs_counters *counters = swi_verbs_counters(rig.owner.be);
	uint64_t refused = counters->conns_refused;
	uint32_t accepted = rig.owner.up;
	struct rdma_event_channel *ec = rdma_create_event_channel();
	struct rdma_conn_param param = {
	    .private_data = wrong, .private_data_len = sizeof(wrong), .qp_num = 77};
	struct sockaddr_storage to;
	struct rdma_cm_id *id;
	int status;

	assert_non_null(ec);
	assert_int_equal(swi_addr_parse(swi_verbs_ops.address(rig.owner.be), false, &to), 0);
	assert_int_equal(rdma_create_id(ec, &id, NULL, RDMA_PS_TCP), 0);
	assert_int_equal(rdma_resolve_addr(id, NULL, (struct sockaddr *)&to, 2000), 0);
	assert_int_equal(next_event(ec, &status), RDMA_CM_EVENT_ADDR_RESOLVED);
	assert_int_equal(rdma_resolve_route(id, 2000), 0);
	assert_int_equal(next_event(ec, &status), RDMA_CM_EVENT_ROUTE_RESOLVED);
	assert_int_equal(rdma_connect(id, &param), 0);
	assert_int_equal(next_event(ec, &status), RDMA_CM_EVENT_REJECTED);
	assert_int_equal(swi_verbs_cm_error(RDMA_CM_EVENT_REJECTED, status, false), SWARM_EPROTO);
	rdma_destroy_id(id);
	rdma_destroy_event_channel(ec);
	assert_int_equal(rig.owner.up, accepted);
	assert_int_equal(counters->conns_refused, refused + 1);
	assert_owner_well(12);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(read__granted__brings_the_bytes),
	    cmocka_unit_test(read__before_grant__is_refused),
	    cmocka_unit_test(read__guessed_keys_before_grant__are_all_refused),
	    cmocka_unit_test(read__wrong_key__is_refused),
	    cmocka_unit_test(read__out_of_bounds__is_refused),
	    cmocka_unit_test(read__deregistered__is_refused),
	    cmocka_unit_test(read__local_only_region__is_refused),
	    cmocka_unit_test(write__by_a_peer__is_refused),
	    cmocka_unit_test(send__larger_than_a_receive__ends_that_connection_only),
	    cmocka_unit_test(connect__without_hello__is_refused),
	};
	int err = rig_open(&rig, rig_address(argc, argv));

	if (!err)
		err = cmocka_run_group_tests(tests, NULL, NULL);
	rig_close(&rig);
	return err;
}
