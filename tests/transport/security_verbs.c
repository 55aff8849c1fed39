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
	assert_int_equal(rig_read(&rig, rig.mr.base, rig.rkey, 4096), 0);
	assert_true(rig_same(&rig, 4096));
	rig_disconnect(&rig);
}

/* The guest is connected: @remote_addr with @rkey must be refused, and its memory stay as it was. */
static void assert_read_refused(uint64_t remote_addr, uint64_t rkey, uint32_t len)
{
	uint32_t downs = rig.guest.down;

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

/* With the right key, but for @flip. */
static void assert_refused(uint64_t remote_addr, uint64_t flip, uint32_t len, bool grant)
{
	rig_connect(&rig, grant);
	assert_read_refused(remote_addr, rig.rkey ^ flip, len);
}

static void read__granted__brings_the_bytes(void **state SWI_UNUSED)
{
	assert_owner_well(1);
}

static void read__before_grant__is_refused(void **state SWI_UNUSED)
{
	assert_refused(rig.mr.base, 0, 64, false);
	assert_owner_well(2);
}

static void read__guessed_keys_before_grant__are_all_refused(void **state SWI_UNUSED)
{
	for (uint64_t k = 0; k < 6; k++)
		assert_refused(rig.mr.base, k * 37, 64, false);
	assert_owner_well(3);
}

static void read__wrong_key__is_refused(void **state SWI_UNUSED)
{
	static const uint64_t flips[] = {1, 0x80, 0x100, 0x10000, 0x80000000ull, 1ull << 32};

	for (size_t i = 0; i < SWI_ARRAY_LEN(flips); i++)
		assert_refused(rig.mr.base, flips[i], 64, true);
	assert_owner_well(4);
}

static void read__out_of_bounds__is_refused(void **state SWI_UNUSED)
{
	assert_refused(rig.mr.base + RIG_BYTES - 63, 0, 64, true);
	assert_refused(rig.mr.base + RIG_BYTES, 0, 1, true);
	assert_refused(rig.mr.base - 1, 0, 64, true);
	assert_refused(rig.mr.base + RIG_BYTES - KIB(256) + 1, 0, KIB(256), true); /* the largest READ */
	assert_refused(UINT64_MAX - 31, 0, 64, true);
	assert_owner_well(5);
}

static void read__deregistered__is_refused(void **state SWI_UNUSED)
{
	struct swi_be_mr old;
	uint64_t base = (uintptr_t)rig.memory, rkey;

	assert_int_equal(rig_reg(rig.owner.be, rig.memory, 65536, true, &old), 0);
	rig_connect(&rig, true);
	rkey = swi_verbs_ops.rkey(rig.owner.ep, &old);
	assert_int_equal(rig_read(&rig, base, rkey, 64), 0);
	swi_verbs_ops.mr_dereg(rig.owner.be, &old);
	assert_read_refused(base, rkey, 64);
	assert_owner_well(6);
}

static void read__local_only_region__is_refused(void **state SWI_UNUSED)
{
	struct swi_be_mr mine;

	assert_int_equal(rig_reg(rig.owner.be, rig.memory, 65536, false, &mine), 0);
	rig_connect(&rig, true);
	assert_read_refused(mine.base, mine.rkey, 64);
	swi_verbs_ops.mr_dereg(rig.owner.be, &mine);
	assert_owner_well(7);
}

static void skip_without_windows(void)
{
	if (rig.owner.be->windows)
		return;
	print_message("this device has no memory windows\n");
	skip();
}

/* The window alone is what opens: the connection is as it was, and its key worked a moment ago. */
static void read__through_a_revoked_window__is_refused(void **state SWI_UNUSED)
{
	skip_without_windows();
	rig_connect(&rig, true);
	assert_int_equal(rig_read(&rig, rig.mr.base, rig.rkey, 64), 0);
	swi_verbs_windows_drop(rig.owner.ep->lanes[0], NULL);
	assert_read_refused(rig.mr.base, rig.rkey, 64);
	assert_owner_well(20);
}

static void read__with_the_regions_own_key__is_refused(void **state SWI_UNUSED)
{
	skip_without_windows();
	rig_connect(&rig, true);
	assert_read_refused(rig.mr.base, rig.mr.rkey, 64);
	assert_owner_well(21);
}

/* A key is worth nothing to anybody but the peer that it was made for. */
static void read__with_another_peers_key__is_refused(void **state SWI_UNUSED)
{
	struct swi_be_ep *first_guest, *first_owner;
	uint64_t first_key;
	uint32_t closed;

	skip_without_windows();
	rig_connect(&rig, true);
	first_guest = rig.guest.ep;
	first_owner = rig.owner.ep;
	first_key = rig.rkey;
	rig_connect(&rig, true);
	assert_true(rig.rkey != first_key);
	assert_read_refused(rig.mr.base, first_key, 64);
	rig.guest.ep = first_guest;
	rig.owner.ep = first_owner;
	assert_int_equal(rig_read(&rig, rig.mr.base, first_key, 64), 0);
	closed = rig.guest.closed;
	rig_disconnect(&rig);
	assert_int_equal(rig.guest.closed, closed + 1);
	assert_owner_well(22);
}

/* Memory and key are right, but of another protection domain of the same device and process. */
static void read__of_another_protection_domain__is_refused(void **state SWI_UNUSED)
{
	static struct rig other;

	assert_int_equal(rig_open(&other, rig_address(0, NULL)), 0);
	rig_connect(&other, true);
	rig_connect(&rig, true);
	assert_read_refused(other.mr.base, other.rkey, 64);
	assert_int_equal(rig_read(&other, other.mr.base, other.rkey, 64), 0);
	rig_disconnect(&other);
	rig_close(&other);
	assert_owner_well(23);
}

/* What the layers above do to a peer that is silent: at once, and whatever it has in flight. */
static void revoke__with_reads_in_flight__ends_them(void **state SWI_UNUSED)
{
	static struct rig_read reads[64];
	uint32_t downs = rig.guest.down, done = rig.guest.reads_done;

	rig_fill(&rig, 0x11);
	rig_connect(&rig, true);
	for (size_t i = 0; i < SWI_ARRAY_LEN(reads); i++) {
		reads[i] = (struct rig_read){.rd = {.local = rig.local,
						    .mr = &rig.local_mr,
						    .remote_addr = rig.mr.base,
						    .rkey = rig.rkey,
						    .len = 1024}};
		assert_int_equal(swi_verbs_ops.read(rig.guest.ep, &reads[i].rd), 0);
	}
	rig_until(&rig, &rig.guest.reads_done, done + 8);
	swi_verbs_ops.revoke(rig.owner.ep);
	memset(rig.memory, 0xee, RIG_BYTES); /* reused */
	memset(rig.local, 0, RIG_BYTES);
	for (uint32_t i = 0; i < SWI_ARRAY_LEN(reads); i++) { /* one more: all may have been over */
		if (!reads[i].done)
			continue;
		reads[i].done = 0;
		if (swi_verbs_ops.read(rig.guest.ep, &reads[i].rd) == 0)
			rig_until(&rig, &reads[i].done, 1);
		assert_int_not_equal(reads[i].done && !reads[i].status, 1);
		break;
	}
	rig_until(&rig, &rig.guest.down, downs + 1);
	for (uint32_t i = 0; i < 1024; i++)
		assert_int_not_equal(rig.local[i], 0xee);
	rig_disconnect(&rig);
	assert_owner_well(24);
}

/* --- messages about lanes --- */

static void assert_own_message_refused(const void *buf, uint32_t len, bool grant)
{
	uint32_t downs = rig.owner.down;

	rig_connect(&rig, grant);
	assert_int_equal(swi_verbs_send_own(rig.guest.ep, buf, len), 0);
	rig_until(&rig, &rig.owner.down, downs + 1);
	assert_int_equal(rig.owner.down_status, SWARM_EPROTO);
	rig_disconnect(&rig);
}

static void lanes__asked_for_in_nonsense__end_that_connection_only(void **state SWI_UNUSED)
{
	static const uint8_t ask[] = {'A', 1, 17, 0, 0, 0, 5, 0, 0, 0};
	static const uint8_t far_qp[] = {'A', 1, 17, 0, 0, 1, 5, 0, 0, 0};
	static const uint8_t ok[] = {'O', 0, 0, 0, 0, 0};
	static const uint8_t many[200] = {'A', 24};

	assert_own_message_refused(ask, sizeof(ask), false); /* before it is known who asks */
	assert_own_message_refused(ask, sizeof(ask) - 1, true);
	assert_own_message_refused(far_qp, sizeof(far_qp), true);
	assert_own_message_refused(many, 194, true);
	assert_own_message_refused(ok, sizeof(ok), true); /* nobody asked */
	assert_own_message_refused("x", 1, true);
	assert_own_message_refused("A", 2, true);
	assert_owner_well(25);
}

/* Posts what the backend never posts, in the place of a send. */
static void post_raw(enum ibv_wr_opcode opcode, uint32_t len, uint64_t remote_addr)
{
	struct verbs_lane *l = rig.guest.ep->lanes[0];
	struct ibv_mr *mr = rig.local_mr.handle;
	struct ibv_sge sge = {.addr = (uintptr_t)rig.local, .length = len, .lkey = mr->lkey};
	struct ibv_send_wr *bad, wr = {
				     .wr_id = swi_verbs_push(l, (struct verbs_op){.kind = OP_LAST}),
				     .sg_list = &sge,
				     .num_sge = 1,
				     .opcode = opcode,
				     .send_flags = IBV_SEND_SIGNALED,
				 };

	if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.remote_addr = remote_addr;
		wr.wr.atomic.rkey = (uint32_t)rig.rkey;
		wr.wr.atomic.compare_add = 1;
	} else {
		wr.wr.rdma.remote_addr = remote_addr;
		wr.wr.rdma.rkey = (uint32_t)rig.rkey;
	}
	assert_int_equal(ibv_post_send(l->qp, &wr, &bad), 0);
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
	    cmocka_unit_test(read__through_a_revoked_window__is_refused),
	    cmocka_unit_test(read__with_the_regions_own_key__is_refused),
	    cmocka_unit_test(read__with_another_peers_key__is_refused),
	    cmocka_unit_test(read__of_another_protection_domain__is_refused),
	    cmocka_unit_test(revoke__with_reads_in_flight__ends_them),
	    cmocka_unit_test(lanes__asked_for_in_nonsense__end_that_connection_only),
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
