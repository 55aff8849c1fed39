/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_runner.c - the runner on a real host with real worker processes; this program stands in for the homes
 * of the tasks. The host has a thread of its own; what the test wants of the runner is done there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sched/proto.h"
#include "sched/worker_proc.h"
#include "store/host.h"
#include "tests/patience.h"
#include "tests/tools/proc.h"

#define RUNS_MAX 512u
#define ARENA	 MIB(16)

struct outcome {
	struct swarm_oid task;
	uint32_t attempt;
	int status;
	char text[512];
	uint64_t len0;
};

enum op { OP_NONE, OP_SUBMIT, OP_CANCEL, OP_LOAD, OP_DROP_HOME };

static struct fix {
	char root[64];
	struct swi_host *host;
	struct swi_runner *runner;
	struct swi_worker_proc *wp;
	struct swarm_client *client;
	struct swarm_module module;
	pthread_t thread;
	int event_fd;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* under lock: one command at a time, and what was told */
	enum op op;
	const struct swi_spec *spec;
	struct swarm_oid task;
	uint32_t number;
	bool force;
	int rc;
	struct swi_view_node load;
	struct outcome out[RUNS_MAX];
	uint32_t out_count;
	uint64_t counter;
} fx;

/* ---- on the host's thread ---- */

static void on_done(void *ctx, const struct swi_run_result *res)
{
	struct outcome *o;

	(void)ctx;
	pthread_mutex_lock(&fx.lock);
	SWI_BUG_ON(fx.out_count >= RUNS_MAX);
	o = &fx.out[fx.out_count++];
	o->task = res->task;
	o->attempt = res->attempt;
	o->status = res->status;
	o->len0 = res->status ? 0 : res->return_len[0];
	snprintf(o->text, sizeof(o->text), "%s", res->text);
	pthread_cond_broadcast(&fx.cond);
	pthread_mutex_unlock(&fx.lock);
}

static void do_op(void)
{
	pthread_mutex_lock(&fx.lock);
	if (fx.op == OP_SUBMIT)
		fx.rc = swi_runner_submit(fx.runner, fx.spec, fx.number);
	else if (fx.op == OP_CANCEL)
		swi_runner_cancel(fx.runner, fx.task, fx.force);
	else if (fx.op == OP_DROP_HOME)
		swi_runner_drop_home(fx.runner, fx.number);
	else if (fx.op == OP_LOAD)
		swi_runner_load(fx.runner, &fx.load);
	if (fx.op != OP_NONE) {
		fx.op = OP_NONE;
		pthread_cond_broadcast(&fx.cond);
	}
	pthread_mutex_unlock(&fx.lock);
}

static void on_event_fd(void *ctx, uint32_t events)
{
	uint64_t n;

	(void)ctx;
	(void)events;
	(void)!read(fx.event_fd, &n, sizeof(n));
	do_op();
}

static int step(void *ctx)
{
	(void)ctx;
	return swi_runner_step(fx.runner);
}

static uint64_t deadline(void *ctx)
{
	(void)ctx;
	return swi_runner_deadline_ns(fx.runner);
}

static void on_client_gone(void *ctx, struct swi_client *c)
{
	(void)ctx;
	if (swi_client_role(c) == SWI_ROLE_WORKER)
		swi_runner_client_gone(fx.runner, c);
}

static int on_client_msg(void *ctx, struct swi_client *c, const struct swi_msg *msg)
{
	(void)ctx;
	return swi_client_role(c) == SWI_ROLE_WORKER ? swi_runner_client_msg(fx.runner, c, msg) : 0;
}

static void on_blocked(void *ctx, struct swi_client *c, bool blocked)
{
	(void)ctx;
	if (swi_client_role(c) == SWI_ROLE_WORKER)
		swi_runner_client_blocked(fx.runner, c, blocked);
}

static void on_died(void *ctx, uint32_t worker, int status)
{
	(void)ctx;
	swi_runner_worker_died(fx.runner, worker, status);
}

static int admit(void *ctx, uint32_t role, uint32_t pid)
{
	(void)ctx;
	return role == SWI_ROLE_WORKER && !swi_worker_proc_owns(fx.wp, pid) ? -EACCES : 0;
}

static void *host_thread(void *arg)
{
	(void)arg;
	SWI_BUG_ON(swi_host_run(fx.host));
	/* The workers are this thread's children. */
	swi_runner_destroy(fx.runner);
	swi_worker_proc_destroy(fx.wp);
	return NULL;
}

/* ---- on the test's thread ---- */

static void op(enum op what)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&fx.lock);
	fx.op = what;
	pthread_mutex_unlock(&fx.lock);
	assert_int_equal(write(fx.event_fd, &one, sizeof(one)), sizeof(one));
	pthread_mutex_lock(&fx.lock);
	while (fx.op != OP_NONE)
		pthread_cond_wait(&fx.cond, &fx.lock);
	pthread_mutex_unlock(&fx.lock);
}

static void make_runner(void)
{
	const struct swi_worker_proc_opts wo = {
	    .host = fx.host, .log_dir = fx.root, .died = on_died};
	struct swi_runner_opts ro = {.sn = swi_host_snode(fx.host),
				     .total = {.cpu = 2 * SWARM_RESOURCE_UNIT, .memory = GIB(1)},
				     .done = on_done};
	const struct swi_snode_hooks hooks = {.client_gone = on_client_gone,
					      .client_msg = on_client_msg,
					      .client_blocked = on_blocked};
	const struct swi_host_upper upper = {.step = step, .deadline_ns = deadline, .admit = admit};
	char why[256];

	if (swi_worker_proc_create(&wo, &fx.wp, why, sizeof(why)))
		fail_msg("%s", why);
	ro.workers = swi_worker_proc_ops(fx.wp);
	assert_int_equal(swi_runner_create(&ro, &fx.runner), 0);
	swi_snode_set_hooks(swi_host_snode(fx.host), &hooks);
	swi_host_set_upper(fx.host, &upper);
}

static int setup(void **state)
{
	const struct swi_host_opts ho = {
	    .dir = fx.root, .arena_bytes = ARENA, .node = 7, .log_name = "runner"};
	char why[256];

	(void)state;
	snprintf(fx.root, sizeof(fx.root), "/tmp/swrun-XXXXXX");
	assert_non_null(mkdtemp(fx.root));
	pthread_mutex_init(&fx.lock, NULL);
	pthread_cond_init(&fx.cond, NULL);
	if (swi_host_create(&ho, &fx.host, why, sizeof(why)))
		fail_msg("%s", why);
	make_runner();
	fx.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(swi_host_add_fd(fx.host, fx.event_fd, EPOLLIN, on_event_fd, NULL), 0);
	assert_int_equal(pthread_create(&fx.thread, NULL, host_thread, NULL), 0);
	if (swarm_client_open(fx.root, &fx.client, why, sizeof(why)))
		fail_msg("%s", why);
	if (swarm_module_load(fx.client, getenv("TEST_MODULE"), &fx.module, why, sizeof(why)))
		fail_msg("%s", why);
	return 0;
}

static int teardown(void **state)
{
	struct test_cluster t;

	(void)state;
	swarm_client_close(fx.client);
	swi_host_stop(fx.host);
	pthread_join(fx.thread, NULL);
	swi_host_destroy(fx.host);
	close(fx.event_fd);
	/* No worker is left, and no file but their logs. */
	memset(&t, 0, sizeof(t));
	snprintf(t.root, sizeof(t.root), "%s", fx.root);
	cluster_fini(&t);
	return 0;
}

struct request {
	uint8_t buf[4096];
	struct swi_spec spec;
};

static struct swarm_oid encode(struct request *r, const char *function, const struct swarm_arg *args,
			       uint32_t n, uint64_t timeout_ns, uint64_t cpu)
{
	struct swi_spec s = {.home = 7, .timeout_ns = timeout_ns, .module = fx.module.ref,
			     .return_count = 1, .arg_count = n};
	struct swi_wr w = swi_wr_init(r->buf, sizeof(r->buf));

	s.task = swi_task_id((struct swarm_oid){{1, 1}}, fx.counter++);
	s.need.cpu = cpu;
	snprintf(s.function, sizeof(s.function), "%s", function);
	swi_spec_encode(&w, &s, args);
	assert_int_equal(swi_spec_decode(r->buf, w.len, &r->spec), 0);
	return s.task;
}

static int submit(const struct request *r, uint32_t attempt)
{
	fx.spec = &r->spec;
	fx.number = attempt;
	op(OP_SUBMIT);
	return fx.rc;
}

static struct outcome await(struct swarm_oid task, uint32_t attempt)
{
	struct timespec until;
	struct outcome found = {.attempt = UINT32_MAX};

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 30;
	pthread_mutex_lock(&fx.lock);
	while (found.attempt == UINT32_MAX) {
		for (uint32_t i = 0; i < fx.out_count; i++)
			if (swarm_oid_equal(fx.out[i].task, task) && fx.out[i].attempt == attempt)
				found = fx.out[i];
		if (found.attempt == UINT32_MAX &&
		    pthread_cond_timedwait(&fx.cond, &fx.lock, &until))
			break;
	}
	pthread_mutex_unlock(&fx.lock);
	if (found.attempt == UINT32_MAX)
		fail_msg("no end of the run was told");
	return found;
}

static uint32_t count_outcomes(struct swarm_oid task)
{
	uint32_t n = 0;

	pthread_mutex_lock(&fx.lock);
	for (uint32_t i = 0; i < fx.out_count; i++)
		n += swarm_oid_equal(fx.out[i].task, task) ? 1 : 0;
	pthread_mutex_unlock(&fx.lock);
	return n;
}

static void must_be_free(void)
{
	op(OP_LOAD);
	assert_int_equal(fx.load.free.cpu, fx.load.total.cpu);
	assert_int_equal(fx.load.running, 0);
	assert_int_equal(fx.load.queued, 0);
}

static void runs_and_seals(void **state)
{
	const struct swarm_arg args[] = {SWARM_ARG_BYTES("ab", 2), SWARM_ARG_BYTES("cde", 3)};
	struct request r;
	struct swarm_oid id = encode(&r, "t_concat", args, 2, 0, SWARM_RESOURCE_UNIT);
	struct swarm_ref ref = {.id = swi_result_id(id, 0), .home = 7};
	struct swarm_view v;
	struct outcome o;

	(void)state;
	assert_int_equal(submit(&r, 0), 0);
	o = await(id, 0);
	assert_string_equal(o.text, "");
	assert_int_equal(o.status, 0);
	assert_int_equal(o.len0, 5);
	assert_int_equal(swarm_store_get(swarm_client_store(fx.client), ref, 0, &v), 0);
	assert_memory_equal(v.data, "abcde", 5);
	swarm_view_release(swarm_client_store(fx.client), &v);
	must_be_free();
}

static void second_run_of_a_task_is_harmless(void **state)
{
	const struct swarm_arg a = SWARM_ARG_BYTES("same", 4);
	struct request r;
	struct swarm_oid id = encode(&r, "t_concat", &a, 1, 0, SWARM_RESOURCE_UNIT);

	(void)state;
	assert_int_equal(submit(&r, 0), 0);
	assert_int_equal(submit(&r, 1), 0);
	assert_int_equal(await(id, 0).status, 0);
	assert_int_equal(await(id, 1).status, 0);
	assert_int_equal(submit(&r, 2), 0);
	assert_int_equal(await(id, 2).status, 0);
	assert_int_equal(await(id, 2).len0, 4);
	assert_int_equal(count_outcomes(id), 3);
}

static void same_attempt_twice_is_refused(void **state)
{
	const uint64_t ms = 100;
	const struct swarm_arg a = SWARM_ARG_BYTES(&ms, sizeof(ms));
	struct request r;
	struct swarm_oid id = encode(&r, "t_sleep", &a, 1, 0, SWARM_RESOURCE_UNIT);

	(void)state;
	assert_int_equal(submit(&r, 0), 0);
	assert_int_equal(submit(&r, 0), -EEXIST);
	assert_int_equal(await(id, 0).status, 0);
	assert_int_equal(count_outcomes(id), 1);
}

static void crash_names_the_signal(void **state)
{
	struct request r;
	struct swarm_oid id = encode(&r, "t_crash", NULL, 0, 0, SWARM_RESOURCE_UNIT);
	struct outcome o;

	(void)state;
	assert_int_equal(submit(&r, 4), 0);
	o = await(id, 4);
	assert_int_equal(o.status, SWARM_ECRASH);
	if (!strstr(o.text, "signal 11"))
		fail_msg("no signal in: %s", o.text);
	assert_non_null(strstr(o.text, "t_crash"));
	assert_non_null(strstr(o.text, "attempt 4"));
	must_be_free();
}

static void time_limit_kills(void **state)
{
	struct request r;
	struct swarm_oid id =
	    encode(&r, "t_forever", NULL, 0, 300 * NS_PER_MS, SWARM_RESOURCE_UNIT);
	struct outcome o;

	(void)state;
	assert_int_equal(submit(&r, 0), 0);
	o = await(id, 0);
	assert_int_equal(o.status, SWARM_ETASKTIME);
	assert_non_null(strstr(o.text, "0.300 s"));
	must_be_free();
}

static void cancel_before_and_while(void **state)
{
	struct request r[4];
	struct swarm_oid id[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		id[i] = encode(&r[i], "t_forever", NULL, 0, 0, SWARM_RESOURCE_UNIT);
		assert_int_equal(submit(&r[i], 0), 0);
	}
	fx.task = id[3];
	fx.force = false;
	op(OP_CANCEL);
	assert_int_equal(await(id[3], 0).status, SWARM_ECANCELED);
	for (int i = 0; i < 3; i++) {
		fx.task = id[i];
		fx.force = true;
		op(OP_CANCEL);
		assert_int_equal(await(id[i], 0).status, SWARM_ECANCELED);
	}
	must_be_free();
}

static void dead_home_is_forgotten(void **state)
{
	struct request r[3];
	struct swarm_oid id[3], last;

	(void)state;
	for (int i = 0; i < 3; i++) {
		id[i] = encode(&r[i], "t_forever", NULL, 0, 0, SWARM_RESOURCE_UNIT);
		assert_int_equal(submit(&r[i], 0), 0);
	}
	fx.number = 7;
	op(OP_DROP_HOME);
	/* The cpus come back: another run gets through. */
	last = encode(&r[0], "t_noop", NULL, 0, 0, 2 * SWARM_RESOURCE_UNIT);
	assert_int_equal(submit(&r[0], 0), 0);
	assert_int_equal(await(last, 0).status, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(count_outcomes(id[i]), 0);
	must_be_free();
}

static void what_never_fits(void **state)
{
	struct request r;
	struct swarm_oid id = encode(&r, "t_noop", NULL, 0, 0, 3 * SWARM_RESOURCE_UNIT);
	struct outcome o;

	(void)state;
	assert_int_equal(submit(&r, 0), 0);
	o = await(id, 0);
	assert_int_equal(o.status, SWARM_ENOROOM);
	assert_non_null(strstr(o.text, "cpu=3"));
	assert_non_null(strstr(o.text, "cpu=2"));
}

static void missing_function(void **state)
{
	struct request r;
	struct swarm_oid id = encode(&r, "t_nope", NULL, 0, 0, SWARM_RESOURCE_UNIT);
	struct outcome o;

	(void)state;
	assert_int_equal(submit(&r, 0), 0);
	o = await(id, 0);
	assert_int_equal(o.status, SWARM_ENOFUNC);
	assert_non_null(strstr(o.text, "t_nope"));
}

/* Arguments of 6 MiB in an arena of 16: at most one run may be ahead, yet all get through. */
static void arguments_in_turns(void **state)
{
	struct swarm_store *s = swarm_client_store(fx.client);
	struct swarm_ref ref = swarm_ref_new(s);
	const struct swarm_arg a = SWARM_ARG_REF(ref);
	struct request r[6];
	struct swarm_oid id[6];
	char *big = calloc(1, MIB(6));

	(void)state;
	assert_int_equal(swarm_store_put(s, ref, big, MIB(6), TEST_LIMIT_NS), 0);
	for (int i = 0; i < 6; i++) {
		id[i] = encode(&r[i], "t_noop", &a, 1, 0, SWARM_RESOURCE_UNIT);
		assert_int_equal(submit(&r[i], 0), 0);
	}
	for (int i = 0; i < 6; i++)
		assert_int_equal(await(id[i], 0).status, 0);
	assert_int_equal(swarm_store_delete(s, ref), 0);
	free(big);
	must_be_free();
}

/* Each time a worker is killed that is idle, or already has the next task: that one fails as a crash, once. */
static void worker_killed_between(void **state)
{
	const uint64_t ms = 0;
	const struct swarm_arg a = SWARM_ARG_BYTES(&ms, sizeof(ms));
	struct request r;

	(void)state;
	for (int i = 0; i < 10; i++) {
		struct swarm_oid id = encode(&r, "t_sleep", &a, 1, 0, SWARM_RESOURCE_UNIT);
		struct swarm_view v;
		uint32_t attempt = 0;
		int pid;

		assert_int_equal(submit(&r, 0), 0);
		while (await(id, attempt).status == SWARM_ECRASH && attempt < 3)
			assert_int_equal(submit(&r, ++attempt), 0);
		assert_int_equal(await(id, attempt).status, 0);
		assert_int_equal(swarm_store_get(swarm_client_store(fx.client),
						 (struct swarm_ref){.id = swi_result_id(id, 0), .home = 7}, 0,
						 &v),
				 0);
		pid = (int)*(const uint64_t *)v.data;
		swarm_view_release(swarm_client_store(fx.client), &v);
		assert_int_equal(kill(pid, SIGKILL), 0);
	}
	must_be_free();
}

static bool is_over(struct swarm_oid task)
{
	return count_outcomes(task) > 0;
}

/* Short runs are sent to workers ahead. One that turns out long must not keep those behind it. */
static void long_run_gives_back_what_is_behind(void **state)
{
	enum { SHORT = 100, AFTER = 60 };
	const uint64_t ms = 3000;
	const struct swarm_arg a = SWARM_ARG_BYTES(&ms, sizeof(ms));
	static struct request r[SHORT + 1 + AFTER];
	struct swarm_oid id[SHORT + 1 + AFTER];

	(void)state;
	for (int i = 0; i < SHORT + 1 + AFTER; i++) {
		id[i] = i == SHORT ? encode(&r[i], "t_sleep", &a, 1, 0, SWARM_RESOURCE_UNIT)
				   : encode(&r[i], "t_noop", NULL, 0, 0, SWARM_RESOURCE_UNIT);
		assert_int_equal(submit(&r[i], 0), 0);
	}
	for (int i = 0; i < SHORT + 1 + AFTER; i++)
		if (i != SHORT)
			assert_int_equal(await(id[i], 0).status, 0);
	assert_false(is_over(id[SHORT]));
	assert_int_equal(await(id[SHORT], 0).status, 0);
	must_be_free();
}

/* Of the runs that a dead worker had, the one that ran fails and those behind it go elsewhere. */
static void killed_worker_loses_one_run(void **state)
{
	enum { N = 150 };
	static struct request r[N];
	struct swarm_oid id[N];
	uint32_t crashed = 0;

	(void)state;
	for (int i = 0; i < N; i++) {
		id[i] = encode(&r[i], i == N / 2 ? "t_crash" : "t_noop", NULL, 0, 0,
			       SWARM_RESOURCE_UNIT);
		assert_int_equal(submit(&r[i], 0), 0);
	}
	for (int i = 0; i < N; i++) {
		const struct outcome o = await(id[i], 0);

		assert_true(o.status == 0 || o.status == SWARM_ECRASH);
		crashed += o.status != 0;
		assert_int_equal(count_outcomes(id[i]), 1);
	}
	assert_int_equal(crashed, 1);
	assert_int_equal(await(id[N / 2], 0).status, SWARM_ECRASH);
	must_be_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(runs_and_seals),
	    cmocka_unit_test(second_run_of_a_task_is_harmless),
	    cmocka_unit_test(same_attempt_twice_is_refused),
	    cmocka_unit_test(crash_names_the_signal),
	    cmocka_unit_test(time_limit_kills),
	    cmocka_unit_test(cancel_before_and_while),
	    cmocka_unit_test(dead_home_is_forgotten),
	    cmocka_unit_test(what_never_fits),
	    cmocka_unit_test(missing_function),
	    cmocka_unit_test(arguments_in_turns),
	    cmocka_unit_test(long_run_gives_back_what_is_behind),
	    cmocka_unit_test(killed_worker_loses_one_run),
	    cmocka_unit_test(worker_killed_between), /* last: it leaves a dying worker behind */
	};

	if (getenv("TEST_FILTER"))
		cmocka_set_test_filter(getenv("TEST_FILTER"));
	return cmocka_run_group_tests(tests, setup, teardown);
}
