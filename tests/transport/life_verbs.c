/* SPDX-License-Identifier: Apache-2.0 */
/*
 * life_verbs.c - what the verbs backend does with the card's resources: they return to where they
 * were after every round, each read completes exactly once however its endpoint ends, and memory
 * is left alone once closed() was said.
 */
#include <dirent.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/transport/verbs_rig.h"

#define READS 200u /* more than the card takes at once */

static struct rig rig;
static struct rig_read reads[READS];

static uint32_t open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void post_reads(uint32_t len)
{
	memset(reads, 0, sizeof(reads));
	for (uint32_t i = 0; i < READS; i++) {
		reads[i].rd = (struct swi_be_read){
		    .local = rig.local + (size_t)(i % 16) * len,
		    .mr = &rig.local_mr,
		    .remote_addr = rig.mr.base + (uint64_t)(i % 16) * len,
		    .rkey = rig.rkey,
		    .len = len,
		};
		assert_int_equal(swi_verbs_ops.read(rig.guest.ep, &reads[i].rd), 0);
	}
}

static void assert_each_done_once(void)
{
	for (uint32_t i = 0; i < READS; i++)
		assert_int_equal(reads[i].done, 1);
}

static void assert_flat(const struct rig_side *s, uint64_t mrs)
{
	const struct swi_verbs_counters *c = swi_verbs_counters(s->be);

	assert_int_equal(c->qps_created, c->qps_destroyed);
	assert_int_equal(c->mrs_created, c->mrs_destroyed + mrs + 1); /* the receive buffers */
	assert_int_equal(c->mws_created, c->mws_destroyed);
	assert_int_equal(c->flush_timeouts, 0);
}

static void rounds__of_connect_read_close__leave_nothing(void **state SWI_UNUSED)
{
	uint32_t files;

	rig_connect(&rig, true);
	rig_disconnect(&rig);
	files = open_files();
	for (uint32_t i = 0; i < 100; i++) {
		rig_fill(&rig, (uint8_t)i);
		rig_connect(&rig, true);
		assert_int_equal(rig_read(&rig, rig.mr.base, rig.rkey, 8192), 0);
		assert_true(rig_same(&rig, 8192));
		rig_disconnect(&rig);
	}
	assert_int_equal(open_files(), files);
	assert_flat(&rig.owner, 1);
	assert_flat(&rig.guest, 1);
}

static void reads__more_than_the_card_takes__all_arrive(void **state SWI_UNUSED)
{
	uint32_t done = rig.guest.reads_done;

	rig_fill(&rig, 5);
	memset(rig.local, 0, RIG_BYTES);
	rig_connect(&rig, true);
	post_reads(65536);
	assert_int_equal(rig.guest.ep->lanes[0]->reads, 0); /* the doorbell rings in progress() */
	swi_verbs_ops.progress(rig.guest.be, 1);
	assert_true(rig.guest.ep->lanes[0]->reads <= rig.guest.ep->read_depth);
	rig_until(&rig, &rig.guest.reads_done, done + READS);
	assert_each_done_once();
	for (uint32_t i = 0; i < READS; i++)
		assert_int_equal(reads[i].status, 0);
	assert_true(rig_same(&rig, RIG_BYTES));
	rig_disconnect(&rig);
}

/* READs that are posted together ring once for some, and few of them ask for a completion. */
static void reads__posted_together__ring_one_doorbell(void **state SWI_UNUSED)
{
	const struct swi_verbs_counters *c = swi_verbs_counters(rig.guest.be);
	uint32_t done = rig.guest.reads_done, posted = 0;
	uint64_t doorbells, cqes;

	rig_fill(&rig, 7);
	memset(rig.local, 0, RIG_BYTES);
	rig_connect(&rig, true);
	doorbells = c->doorbells;
	cqes = c->cqes;
	memset(reads, 0, sizeof(reads));
	for (; posted < VERBS_CHAIN; posted++) {
		reads[posted].rd = (struct swi_be_read){.local = rig.local + posted * 4096,
							.mr = &rig.local_mr,
							.remote_addr = rig.mr.base + posted * 4096,
							.rkey = rig.rkey,
							.len = 4096};
		assert_int_equal(swi_verbs_ops.read(rig.guest.ep, &reads[posted].rd), 0);
	}
	rig_until(&rig, &rig.guest.reads_done, done + posted);
	for (uint32_t i = 0; i < posted; i++)
		assert_int_equal(reads[i].done, 1);
	assert_true(rig_same(&rig, posted * 4096));
	/* one, unless the cards agreed on fewer reads at a time */
	assert_true(c->doorbells - doorbells <=
		    1 + posted / swi_min_u64(rig.guest.ep->read_depth, VERBS_SIGNAL_READS));
	if (rig.guest.ep->read_depth >= posted)
		assert_int_equal(c->doorbells - doorbells, 1);
	assert_true(c->cqes - cqes <= posted / 4);
	rig_disconnect(&rig);
}

/* Three rounds of 8 MiB: over @pairs queue pairs, once they are there. */
static void stripe(uint32_t pairs)
{
	const struct swi_verbs_counters *c = swi_verbs_counters(rig.guest.be);
	uint64_t opened = c->lanes_opened, on_others = 0, fit;

	rig_connect(&rig, true);
	/* on one lane at a time: of all lanes' bytes, or what the cards agreed on */
	fit = swi_min_u64(VERBS_READ_BYTES / VERBS_LANES_MAX / KIB(128), rig.guest.ep->read_depth);
	rig_fill(&rig, 8);
	for (int round = 0; round < 3; round++) {
		uint32_t done = rig.guest.reads_done;

		memset(rig.local, 0, RIG_BYTES);
		memset(reads, 0, sizeof(reads));
		for (uint32_t i = 0; i < 64; i++) {
			uint64_t at = (uint64_t)(i % 8) * KIB(128);

			reads[i].rd = (struct swi_be_read){.local = rig.local + at,
							   .mr = &rig.local_mr,
							   .remote_addr = rig.mr.base + at,
							   .rkey = rig.rkey,
							   .len = KIB(128)};
			assert_int_equal(swi_verbs_ops.read(rig.guest.ep, &reads[i].rd), 0);
		}
		swi_verbs_ops.progress(rig.guest.be, 1);
		for (uint32_t i = 1; i < rig.guest.ep->lane_count; i++)
			on_others += rig.guest.ep->lanes[i]->reads;
		rig_until(&rig, &rig.guest.reads_done, done + 64);
		for (uint32_t i = 0; i < 64; i++)
			assert_true(reads[i].done == 1 && reads[i].status == 0);
		assert_true(rig_same(&rig, RIG_BYTES));
	}
	assert_int_equal(c->lanes_opened, opened + pairs - 1);
	/* Seen once a round: at least every second place, in the two rounds after they were there. */
	assert_true(on_others >= (pairs - 1) * fit);
	rig_disconnect(&rig);
	assert_flat(&rig.guest, 1);
	assert_flat(&rig.owner, 1);
}

/* Large READs that wait for each other get queue pairs of their own; small ones do not. */
static void lanes__large_reads__are_striped(void **state SWI_UNUSED)
{
	stripe(VERBS_LANES_MAX);
}

static void lanes__fewer_asked_for__are_fewer(void **state SWI_UNUSED)
{
	static const struct swi_be_events none;
	struct swi_log log = {.level = SWI_LOG_NONE};
	struct swi_be_open_args args = {.env = swi_env_real(), .log = &log, .events = &none};
	char why[200] = "";

	for (args.queue_pairs = 1; args.queue_pairs <= 2; args.queue_pairs++) {
		struct swi_be *be = NULL;

		assert_int_equal(swi_verbs_ops.open(&args, &be, why, sizeof(why)), 0);
		rig.guest.be->max_lanes = be->max_lanes;
		swi_verbs_ops.close(be);
		stripe(args.queue_pairs);
	}
	rig.guest.be->max_lanes = VERBS_LANES_MAX - 1;
}

/* The caller closes with everything in flight: the memory is its own again after closed(). */
static void close__with_reads_in_flight__flushes_each_once(void **state SWI_UNUSED)
{
	uint32_t done = rig.guest.reads_done, closed = rig.guest.closed, owner = rig.owner.closed;

	rig_fill(&rig, 6);
	rig_connect(&rig, true);
	rig.owner.close_on_down = true;
	post_reads(65536);
	swi_verbs_ops.ep_close(rig.guest.ep);
	assert_int_equal(rig.guest.reads_done, done); /* from progress() only */
	rig_until(&rig, &rig.guest.closed, closed + 1);
	assert_each_done_once();
	assert_int_equal(rig.guest.reads_done, done + READS);
	memset(rig.local, 0x5a, RIG_BYTES);
	rig_until(&rig, &rig.owner.closed, owner + 1);
	for (size_t i = 0; i < RIG_BYTES; i++)
		assert_int_equal(rig.local[i], 0x5a);
	rig.owner.close_on_down = false;
	assert_flat(&rig.guest, 1);
}

/* The owner goes away under the reads. */
static void down__with_reads_in_flight__comes_once_and_each_read_ends(void **state SWI_UNUSED)
{
	uint32_t done = rig.guest.reads_done, downs = rig.guest.down, closed = rig.guest.closed;

	rig_connect(&rig, true);
	post_reads(65536);
	swi_verbs_ops.ep_close(rig.owner.ep);
	rig_until(&rig, &rig.guest.down, downs + 1);
	assert_int_equal(swi_verbs_ops.send(rig.guest.ep, "x", 1, NULL, 0), SWARM_EPEERLOST);
	assert_int_equal(swi_verbs_ops.read(rig.guest.ep, &reads[0].rd), SWARM_EPEERLOST);
	assert_int_equal(swi_verbs_ops.grant(rig.guest.ep), SWARM_EPEERLOST);
	swi_verbs_ops.ep_close(rig.guest.ep);
	rig_until(&rig, &rig.guest.closed, closed + 1);
	assert_int_equal(rig.guest.down, downs + 1);
	assert_int_equal(rig.guest.reads_done, done + READS);
	assert_each_done_once();
	rig_disconnect(&rig);
}

/* Nobody is told anything, but the card is done with the memory before close() returns. */
static void backend_close__with_reads_in_flight__is_silent(void **state SWI_UNUSED)
{
	struct rig other;

	assert_int_equal(rig_open(&other, swi_verbs_ops.address(rig.owner.be)), SWARM_EPORTUSED);
	rig_close(&other);
	assert_int_equal(rig_open(&other, rig_address(0, NULL)), 0);
	rig_connect(&other, true);
	for (uint32_t i = 0; i < READS; i++) {
		reads[i].done = 0;
		reads[i].rd.local = other.local;
		reads[i].rd.mr = &other.local_mr;
		reads[i].rd.remote_addr = other.mr.base;
		reads[i].rd.rkey = other.rkey;
		assert_int_equal(swi_verbs_ops.read(other.guest.ep, &reads[i].rd), 0);
	}
	swi_verbs_ops.mr_dereg(other.guest.be, &other.local_mr);
	swi_verbs_ops.close(other.guest.be);
	other.guest.be = NULL;
	for (uint32_t i = 0; i < READS; i++)
		assert_int_equal(reads[i].done, 0);
	rig_close(&other);
}

static void connect__to_nobody__goes_down(void **state SWI_UNUSED)
{
	const char *addr = swi_verbs_ops.address(rig.owner.be);
	uint32_t downs = rig.guest.down, closed = rig.guest.closed;
	struct swi_be_ep *ep;
	char nobody[100];

	snprintf(nobody, sizeof(nobody), "%.*s:1", (int)(strrchr(addr, ':') - addr), addr);
	assert_int_equal(swi_verbs_ops.connect(rig.guest.be, nobody, NULL, &ep), 0);
	rig_until(&rig, &rig.guest.down, downs + 1);
	assert_int_equal(rig.guest.down_status, -ECONNREFUSED);
	swi_verbs_ops.ep_close(ep);
	rig_until(&rig, &rig.guest.closed, closed + 1);
	assert_int_equal(swi_verbs_ops.connect(rig.guest.be, "nonsense", NULL, &ep), -EINVAL);
	assert_int_equal(swi_verbs_ops.connect(rig.guest.be, "1.2.3.4:70000", NULL, &ep), -EINVAL);
}

/* Closed on the way up: closed() all the same, whatever was reached. */
static void close__while_connecting__ends_clean(void **state SWI_UNUSED)
{
	rig.owner.close_on_down = true;
	for (int steps = 0; steps < 40; steps += 3) {
		uint32_t closed = rig.guest.closed, up = rig.guest.up, owner = rig.owner.closed;
		struct swi_be_ep *ep;

		assert_int_equal(swi_verbs_ops.connect(
				     rig.guest.be, swi_verbs_ops.address(rig.owner.be), NULL, &ep),
				 0);
		for (int i = 0; i < steps; i++) {
			(void)swi_verbs_ops.arm(rig.guest.be); /* looks at every descriptor */
			(void)swi_verbs_ops.arm(rig.owner.be);
			swi_verbs_ops.progress(rig.guest.be, 1);
			swi_verbs_ops.progress(rig.owner.be, 1);
		}
		up = rig.guest.up - up;
		swi_verbs_ops.ep_close(ep);
		rig_until(&rig, &rig.guest.closed, closed + 1);
		if (up) /* the owner may learn of it only now */
			rig_until(&rig, &rig.owner.closed, owner + 1);
	}
	rig.owner.close_on_down = false;
	rig_connect(&rig, true); /* and the owner still takes connections */
	rig_disconnect(&rig);
}

/* Both sides sleep on their descriptor until something comes. */
static void wait_by_fd(const uint32_t *value, uint32_t want)
{
	struct pollfd fds[2] = {
	    {.fd = swi_verbs_ops.fd(rig.owner.be), .events = POLLIN},
	    {.fd = swi_verbs_ops.fd(rig.guest.be), .events = POLLIN},
	};

	while (*value < want) {
		swi_verbs_ops.progress(rig.owner.be, 64);
		swi_verbs_ops.progress(rig.guest.be, 64);
		if (*value < want && swi_verbs_ops.arm(rig.owner.be) &&
		    swi_verbs_ops.arm(rig.guest.be))
			assert_true(poll(fds, 2, 20000) > 0);
	}
}

static void sleep__until_readable__misses_nothing(void **state SWI_UNUSED)
{
	uint32_t up = rig.guest.up, accepted = rig.owner.up, closed = rig.guest.closed;
	struct rig_read rr = {.rd = {.local = rig.local,
				     .mr = &rig.local_mr,
				     .remote_addr = rig.mr.base,
				     .rkey = rig.rkey,
				     .len = 100000}};
	struct swi_be_ep *ep;

	assert_int_equal(
	    swi_verbs_ops.connect(rig.guest.be, swi_verbs_ops.address(rig.owner.be), NULL, &ep), 0);
	wait_by_fd(&rig.guest.up, up + 1);
	wait_by_fd(&rig.owner.up, accepted + 1);
	rig_grant(&rig);
	rr.rd.rkey = rig.rkey;
	for (uint32_t i = 0; i < 300; i++) {
		uint32_t recvs = rig.owner.recvs;

		rr.done = 0;
		assert_int_equal(swi_verbs_ops.read(ep, &rr.rd), 0);
		wait_by_fd(&rr.done, 1);
		assert_int_equal(rr.status, 0);
		assert_int_equal(swi_verbs_ops.send(ep, "hello", 5, &i, sizeof(i)), 0);
		wait_by_fd(&rig.owner.recvs, recvs + 1);
		assert_int_equal(rig.owner.recv_len, 9);
	}
	swi_verbs_ops.ep_close(ep);
	wait_by_fd(&rig.guest.closed, closed + 1);
	rig_disconnect(&rig);
}

/*
 * In a process of its own, before any device is open: rdma_cm refuses a process whose credentials
 * changed after it opened its file. Returns mr_reg()'s code.
 */
static int register_without_memlock(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
	struct rlimit low = {65536, 65536};
	struct swi_log log = {.level = SWI_LOG_NONE};
	static const struct swi_be_events none;
	struct swi_be_open_args args = {.env = swi_env_real(), .log = &log, .events = &none};
	struct swi_be *be;
	struct swi_be_mr mr;
	char why[200];
	void *p = mmap(NULL, RIG_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (p == MAP_FAILED || setrlimit(RLIMIT_MEMLOCK, &low) != 0 ||
	    syscall(SYS_capget, &head, caps) != 0)
		return -errno;
	caps[0].effective &= ~(1u << CAP_IPC_LOCK);
	if (syscall(SYS_capset, &head, caps) != 0)
		return -errno;
	err = swi_verbs_ops.open(&args, &be, why, sizeof(why));
	if (err)
		return err;
	err = rig_reg(be, p, RIG_BYTES, true, &mr);
	swi_verbs_ops.close(be);
	return err;
}

static int memlock_result;

static void ask_memlock(void)
{
	int fds[2], status, code;
	pid_t pid;

	if (pipe(fds) != 0 || (pid = fork()) < 0) {
		memlock_result = -errno;
		return;
	}
	if (pid == 0) {
		code = register_without_memlock();
		_exit(write(fds[1], &code, sizeof(code)) != sizeof(code));
	}
	close(fds[1]);
	if (read(fds[0], &memlock_result, sizeof(memlock_result)) != sizeof(memlock_result))
		memlock_result = -EIO;
	close(fds[0]);
	waitpid(pid, &status, 0);
}

static void mr_reg__over_the_memlock_limit__says_so(void **state SWI_UNUSED)
{
	struct swi_be_mr mr;

	assert_int_equal(memlock_result, SWARM_EMEMLOCK);
	assert_int_equal(rig_reg(rig.owner.be, rig.memory + 8, 4096, true, &mr),
			 -EINVAL);
}

static void open__what_is_not_there__says_why(void **state SWI_UNUSED)
{
	struct swi_log log = {.level = SWI_LOG_NONE};
	static const struct swi_be_events none;
	struct swi_be_open_args args = {.env = swi_env_real(), .log = &log, .events = &none};
	struct swi_be *be = NULL;
	char why[200] = "";

	args.device = "no_such_card";
	assert_int_equal(swi_verbs_ops.open(&args, &be, why, sizeof(why)), SWARM_ENOTRANSPORT);
	assert_non_null(strstr(why, "no_such_card"));
	args.device = NULL;
	args.bind = "192.0.2.1:0";
	assert_int_equal(swi_verbs_ops.open(&args, &be, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "192.0.2.1"));
	args.bind = "0.0.0.0:0"; /* any address: peers are told a real one */
	assert_int_equal(swi_verbs_ops.open(&args, &be, why, sizeof(why)), 0);
	assert_null(strstr(swi_verbs_ops.address(be), "0.0.0.0"));
	assert_string_equal(swi_verbs_ops.device(be), swi_verbs_ops.device(rig.owner.be));
	swi_verbs_ops.close(be);
	swi_verbs_ops.close(NULL);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rounds__of_connect_read_close__leave_nothing),
	    cmocka_unit_test(reads__more_than_the_card_takes__all_arrive),
	    cmocka_unit_test(reads__posted_together__ring_one_doorbell),
	    cmocka_unit_test(lanes__large_reads__are_striped),
	    cmocka_unit_test(lanes__fewer_asked_for__are_fewer),
	    cmocka_unit_test(close__with_reads_in_flight__flushes_each_once),
	    cmocka_unit_test(down__with_reads_in_flight__comes_once_and_each_read_ends),
	    cmocka_unit_test(backend_close__with_reads_in_flight__is_silent),
	    cmocka_unit_test(connect__to_nobody__goes_down),
	    cmocka_unit_test(close__while_connecting__ends_clean),
	    cmocka_unit_test(sleep__until_readable__misses_nothing),
	    cmocka_unit_test(mr_reg__over_the_memlock_limit__says_so),
	    cmocka_unit_test(open__what_is_not_there__says_why),
	};
	int err;

	ask_memlock();
	err = rig_open(&rig, rig_address(argc, argv));

	if (!err)
		err = cmocka_run_group_tests(tests, NULL, NULL);
	rig_close(&rig);
	return err;
}
