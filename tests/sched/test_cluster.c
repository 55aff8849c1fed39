/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cluster.c - tasks on a real cluster: a head and two nodes as processes of this host, a driver (this
 * program), and tasks that succeed, fail, crash, hang, nest, and lose their node.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <swarm/sched.h>

#include "tests/patience.h"
#include "tests/tools/proc.h"

#define S 1000000000ull
#define GET_NS TEST_LIMIT_NS

static struct test_cluster cl;
static struct swarm_client *client;
static struct swarm_module module;

static int start(void **state)
{
	static const char *const head[] = {"--arena=64M", "--cpus=2", NULL};
	static const char *const node[] = {"--arena=64M", "--cpus=2", "--resource=disk=1", NULL};
	char why[256];

	(void)state;
	cluster_init(&cl);
	cluster_start(&cl, 0, head);
	cluster_start(&cl, 1, node);
	cluster_start(&cl, 2, node);
	if (swarm_client_open(cl.node[0].dir, &client, why, sizeof(why)))
		fail_msg("%s", why);
	if (swarm_module_load(client, getenv("TEST_MODULE"), &module, why, sizeof(why)))
		fail_msg("%s", why);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	swarm_client_close(client);
	cluster_fini(&cl);
	return 0;
}

static struct swarm_task_opts task(const char *function)
{
	return (struct swarm_task_opts){
	    .size = sizeof(struct swarm_task_opts), .module = module, .function = function};
}

static struct swarm_ref submit(const struct swarm_task_opts *o)
{
	struct swarm_ref ref = {.home = 0};

	assert_int_equal(swarm_submit(client, o, &ref), 0);
	return ref;
}

static void must_get(struct swarm_ref ref, struct swarm_view *v)
{
	char text[512];
	const int rc = swarm_get(client, ref, GET_NS, v);

	if (!rc)
		return;
	swarm_store_explain(swarm_client_store(client), ref, text, sizeof(text));
	fail_msg("get: %s (%s)", swarm_strerror(rc), text);
}

static uint64_t get_u64(struct swarm_ref ref)
{
	struct swarm_view v;
	uint64_t x;

	must_get(ref, &v);
	assert_int_equal(v.len, sizeof(x));
	memcpy(&x, v.data, sizeof(x));
	swarm_release(client, &v);
	return x;
}

/* The task fails with @code, and its text holds every one of the words. */
static void must_fail(struct swarm_ref ref, int code, const char *const *words)
{
	struct swarm_view v;
	char text[1024];
	const int rc = swarm_get(client, ref, GET_NS, &v);

	if (rc != code)
		fail_msg("expected %s, got %s", swarm_errname(code), swarm_errname(rc));
	assert_int_equal(
	    swarm_store_explain(swarm_client_store(client), ref, text, sizeof(text)), code);
	for (; *words; words++)
		if (!strstr(text, *words))
			fail_msg("\"%s\" is missing in: %s", *words, text);
}
#define MUST_FAIL(ref, code, ...) must_fail((ref), (code), (const char *const[]){__VA_ARGS__, NULL})

static struct swarm_ref submit_u64(const char *function, const uint64_t *arg)
{
	const struct swarm_arg a = SWARM_ARG_BYTES(arg, sizeof(*arg));
	struct swarm_task_opts o = task(function);

	o.args = &a;
	o.arg_count = 1;
	return submit(&o);
}

/* ---- what goes well ---- */

static void inline_and_ref_args(void **state)
{
	struct swarm_ref put = swarm_ref_new(swarm_client_store(client));
	const struct swarm_arg args[] = {SWARM_ARG_BYTES("one ", 4), SWARM_ARG_REF(put),
					 SWARM_ARG_BYTES("", 0), SWARM_ARG_BYTES("three", 5)};
	struct swarm_task_opts o = task("t_concat");
	struct swarm_view v;

	(void)state;
	assert_int_equal(swarm_store_put(swarm_client_store(client), put, "two ", 4, S), 0);
	o.args = args;
	o.arg_count = 4;
	must_get(submit(&o), &v);
	assert_int_equal(v.len, 13);
	assert_memory_equal(v.data, "one two three", 13);
	swarm_release(client, &v);
}

static void refs_of_args(void **state)
{
	const struct swarm_ref put = swarm_ref_new(swarm_client_store(client));
	const struct swarm_arg args[] = {SWARM_ARG_BYTES("x", 1), SWARM_ARG_REF(put)};
	const struct swarm_ref want[3] = {[1] = put};
	struct swarm_task_opts o = task("t_refs");
	struct swarm_view v;

	(void)state;
	assert_int_equal(swarm_store_put(swarm_client_store(client), put, "y", 1, S), 0);
	o.args = args;
	o.arg_count = 2;
	must_get(submit(&o), &v);
	assert_int_equal(v.len, sizeof(want));
	assert_memory_equal(v.data, want, sizeof(want));
	swarm_release(client, &v);
}

static void several_returns(void **state)
{
	const uint64_t base = 40;
	const struct swarm_arg a = SWARM_ARG_BYTES(&base, sizeof(base));
	struct swarm_task_opts o = task("t_many");
	struct swarm_ref refs[5];
	struct swarm_view v;

	(void)state;
	o.args = &a;
	o.arg_count = 1;
	o.return_count = 5;
	assert_int_equal(swarm_submit(client, &o, refs), 0);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(get_u64(refs[i]), base + i);
	must_get(refs[4], &v);
	assert_int_equal(v.len, 0);
	swarm_release(client, &v);
}

static uint64_t link_of(uint64_t x)
{
	return 3 * x + 1;
}

static void chain_and_tree(void **state)
{
	const uint64_t seed = 5;
	struct swarm_ref prev = submit_u64("t_link", &seed), leaf[8];
	struct swarm_task_opts o = task("t_link");
	struct swarm_arg args[8];
	uint64_t want = link_of(seed), sum = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		const struct swarm_arg a = SWARM_ARG_REF(prev);

		o.args = &a;
		o.arg_count = 1;
		prev = submit(&o);
		want = link_of(want);
	}
	assert_int_equal(get_u64(prev), want);
	for (uint64_t i = 0; i < 8; i++) {
		leaf[i] = submit_u64("t_link", &i);
		args[i] = (struct swarm_arg)SWARM_ARG_REF(leaf[i]);
		sum += link_of(i);
	}
	o.args = args;
	o.arg_count = 8;
	assert_int_equal(get_u64(submit(&o)), link_of(sum));
}

static void resources_choose_the_node(void **state)
{
	const struct swarm_resource disk[] = {{"cpu", SWARM_RESOURCE_UNIT},
					      {"disk", SWARM_RESOURCE_UNIT}};
	const struct swarm_resource never[] = {{"unicorn", SWARM_RESOURCE_UNIT}};
	struct swarm_task_opts o = task("t_node");
	struct swarm_view v;
	uint32_t node;

	(void)state;
	o.resources = disk;
	o.resource_count = 2;
	for (int i = 0; i < 4; i++) {
		must_get(submit(&o), &v);
		memcpy(&node, v.data, sizeof(node));
		swarm_release(client, &v);
		assert_true(node == cl.node[1].number || node == cl.node[2].number);
	}
	o.resources = never;
	o.resource_count = 1;
	MUST_FAIL(submit(&o), SWARM_ENOROOM, "unicorn");
}

static void nested_tasks(void **state)
{
	struct {
		struct swarm_module module;
		uint64_t n;
	} a = {module, 6};
	const struct swarm_arg arg = SWARM_ARG_BYTES(&a, sizeof(a));
	struct swarm_task_opts o = task("t_nested");
	struct swarm_ref refs[8];
	uint64_t want = 0;

	(void)state;
	o.args = &arg;
	o.arg_count = 1;
	for (uint64_t i = 0; i < a.n; i++)
		want += link_of(i);
	/* More parents than cpus: they wait inside, so their children must find cpus and workers. */
	for (int i = 0; i < 8; i++)
		refs[i] = submit(&o);
	for (int i = 0; i < 8; i++)
		assert_int_equal(get_u64(refs[i]), want);
}

static void wait_for_some(void **state)
{
	const uint64_t quick = 1, slow = 3000;
	struct swarm_ref refs[3];
	uint8_t ready[3];
	int n;

	(void)state;
	refs[0] = submit_u64("t_sleep", &slow);
	refs[1] = submit_u64("t_sleep", &quick);
	refs[2] = submit_u64("t_sleep", &quick);
	n = swarm_wait(client, refs, 3, 2, TEST_LIMIT_NS, ready);
	assert_true(n >= 2);
	assert_true(ready[1] && ready[2]);
	assert_int_equal(swarm_wait(client, refs, 3, 3, TEST_LIMIT_NS, ready), 3);
}

static void big_results_travel(void **state)
{
	const uint64_t len = 5u << 20;
	struct swarm_ref refs[4], sum;
	struct swarm_task_opts o = task("t_bytes");
	struct swarm_arg args[4];
	struct swarm_view v, part;

	(void)state;
	for (uint64_t i = 0; i < 4; i++) {
		const struct swarm_arg a[] = {SWARM_ARG_BYTES(&len, sizeof(len)),
					      SWARM_ARG_BYTES(&i, sizeof(i))};

		o.args = a;
		o.arg_count = 2;
		refs[i] = submit(&o);
		args[i] = (struct swarm_arg)SWARM_ARG_REF(refs[i]);
	}
	o = task("t_concat");
	o.args = args;
	o.arg_count = 4;
	sum = submit(&o);
	must_get(sum, &v);
	assert_int_equal(v.len, 4 * len);
	for (uint64_t i = 0; i < 4; i++) {
		must_get(refs[i], &part);
		assert_memory_equal(part.data, (const char *)v.data + i * len, len);
		swarm_release(client, &part);
	}
	swarm_release(client, &v);
	swarm_store_delete(swarm_client_store(client), sum);
	for (int i = 0; i < 4; i++)
		swarm_store_delete(swarm_client_store(client), refs[i]);
}

static void many_small(void **state)
{
	enum { N = 2000 };
	static struct swarm_ref refs[N];

	(void)state;
	for (uint64_t i = 0; i < N; i++)
		refs[i] = submit_u64("t_link", &i);
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(get_u64(refs[i]), link_of(i));
}

/* ---- what goes wrong ---- */

static void errors_are_told(void **state)
{
	struct swarm_task_opts o = task("t_fail");
	struct swarm_ref failed = submit(&o);
	const struct swarm_arg a = SWARM_ARG_REF(failed);

	(void)state;
	MUST_FAIL(failed, SWARM_ETASK, "no luck with 7");
	o = task("t_errno");
	MUST_FAIL(submit(&o), SWARM_ETASK, "t_errno", "ENOENT");
	o = task("t_link");
	o.args = &a;
	o.arg_count = 1;
	MUST_FAIL(submit(&o), SWARM_EDEPENDENCY, "no luck with 7");
	o = task("t_there_is_no_such");
	MUST_FAIL(submit(&o), SWARM_ENOFUNC, "t_there_is_no_such");
}

static void crashes_are_tried_again(void **state)
{
	struct swarm_task_opts o = task("t_crash_twice");
	struct swarm_view v;
	uint32_t attempt;

	(void)state;
	must_get(submit(&o), &v);
	memcpy(&attempt, v.data, sizeof(attempt));
	swarm_release(client, &v);
	assert_int_equal(attempt, 2);
	o = task("t_crash");
	o.retries = SWARM_NO_RETRY;
	MUST_FAIL(submit(&o), SWARM_ECRASH, "pid ", "signal 11", "t_crash");
	o = task("t_exit");
	o.retries = SWARM_NO_RETRY;
	MUST_FAIL(submit(&o), SWARM_ECRASH, "exit status 3", "t_exit");
}

static void endless_task_is_ended(void **state)
{
	struct swarm_task_opts o = task("t_forever");

	(void)state;
	o.timeout_ns = S / 2;
	o.retries = SWARM_NO_RETRY;
	MUST_FAIL(submit(&o), SWARM_ETASKTIME, "t_forever", "0.500 s");
}

static void cancel_queued_and_running(void **state)
{
	const struct swarm_resource all[] = {{"cpu", 2 * SWARM_RESOURCE_UNIT}};
	struct swarm_task_opts o = task("t_forever");
	struct swarm_ref running[3], queued;
	const uint64_t x = 1;

	(void)state;
	o.resources = all;
	o.resource_count = 1;
	for (int i = 0; i < 3; i++)
		running[i] = submit(&o);
	/* Every cpu is taken or about to be: this one waits. */
	queued = submit(&o);
	assert_int_equal(swarm_cancel(client, queued, 0), 0);
	MUST_FAIL(queued, SWARM_ECANCELED, "cancelled");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(swarm_cancel(client, running[i], 1), 0);
		MUST_FAIL(running[i], SWARM_ECANCELED, "cancelled");
	}
	/* And the cpus are free again. */
	assert_int_equal(get_u64(submit_u64("t_link", &x)), link_of(x));
}

static void modules_that_cannot_be(void **state)
{
	struct swarm_module m = {.ref = swarm_ref_new(swarm_client_store(client))};
	struct swarm_task_opts o = task("t_noop");
	char why[256];

	(void)state;
	assert_int_equal(swarm_module_load(client, "/nonexistent/x.so", &m, why, sizeof(why)),
			 -ENOENT);
	assert_non_null(strstr(why, "/nonexistent/x.so"));
	assert_int_equal(swarm_module_load(client, "/etc/passwd", &m, why, sizeof(why)),
			 SWARM_EMODULE);
	assert_non_null(strstr(why, "not an ELF"));
	/* Bytes that claim to be a module: their digest is not their name. */
	assert_int_equal(
	    swarm_store_put(swarm_client_store(client), m.ref, "rubbish", 7, S), 0);
	o.module = m;
	o.retries = SWARM_NO_RETRY;
	MUST_FAIL(submit(&o), SWARM_EMODULE, "digest");
}

static void bad_submits_are_refused(void **state)
{
	static const char big[SWARM_INLINE_MAX + 1];
	const struct swarm_arg a = SWARM_ARG_BYTES(big, sizeof(big));
	const struct swarm_arg none = {NULL, 0, {{{0, 0}}, 0, 0}};
	struct swarm_task_opts o = task("t_noop");
	struct swarm_ref ref;

	(void)state;
	o.args = &a;
	o.arg_count = 1;
	assert_int_equal(swarm_submit(client, &o, &ref), -E2BIG);
	o.args = &none;
	assert_int_equal(swarm_submit(client, &o, &ref), -EINVAL);
	o = task("");
	assert_int_equal(swarm_submit(client, &o, &ref), -EINVAL);
	o = task("t_noop");
	o.return_count = SWARM_RETURNS_MAX + 1;
	assert_int_equal(swarm_submit(client, &o, &ref), -EINVAL);
	o = task("t_noop");
	o.size = 3;
	assert_int_equal(swarm_submit(client, &o, &ref), -EINVAL);
}

/* ---- what gets killed ---- */

static void nap_ms(long ms)
{
	const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* pid of some worker of the cluster that has one, 0 = none. */
static int some_worker(uint32_t which)
{
	struct proc_result *res = calloc(1, sizeof(*res));
	json_t *doc, *rows;
	int pid = 0;
	size_t n;

	PROC_RUN(res, "swarm", "list", "workers", "--format=json", "--dir", cl.node[0].dir);
	doc = json_loads(res->out, 0, NULL);
	rows = json_is_array(doc) ? doc : json_object_get(doc, "workers");
	n = json_array_size(rows);
	if (n)
		pid = (int)json_integer_value(
		    json_object_get(json_array_get(rows, which % n), "pid"));
	json_decref(doc);
	free(res);
	return pid;
}

static void workers_killed_at_random(void **state)
{
	enum { N = 60 };
	struct swarm_ref refs[N];
	const uint64_t ms = 20;
	uint32_t seed = 12345;

	(void)state;
	for (int i = 0; i < N; i++) {
		struct swarm_task_opts o = task("t_sleep");
		const struct swarm_arg a = SWARM_ARG_BYTES(&ms, sizeof(ms));

		o.args = &a;
		o.arg_count = 1;
		o.retries = 50;
		refs[i] = submit(&o);
	}
	for (int i = 0; i < 8; i++) {
		const int pid = some_worker(seed >> 16);

		seed = seed * 1103515245u + 12345u;
		if (pid > 1)
			(void)kill(pid, SIGKILL);
		nap_ms((long)(seed >> 16) % 30);
	}
	for (int i = 0; i < N; i++)
		assert_true(get_u64(refs[i]) > 0);
}

/* The events name what was lost with the node, and how much of it. */
static void losses_are_told(const char *function)
{
	static struct proc_result res;
	char *save = NULL;
	bool told = false;

	PROC_RUN(&res, "swarm", "events", "--format=json", "--dir", cl.node[0].dir);
	assert_int_equal(res.status, 0);
	for (char *line = strtok_r(res.out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		json_t *e = json_loads(line, 0, NULL), *l;
		size_t i;

		assert_non_null(e);
		json_array_foreach(json_object_get(e, "lost"), i, l) {
			assert_true(json_integer_value(json_object_get(l, "objects")) > 0);
			assert_int_equal(strlen(json_string_value(json_object_get(l, "first"))), 32);
			told |= !strcmp(json_string_value(json_object_get(l, "function")), function);
		}
		json_decref(e);
	}
	assert_true(told);
}

static void node_killed_lineage_recovers(void **state)
{
	enum { N = 12 };
	const struct swarm_resource disk[] = {{"cpu", SWARM_RESOURCE_UNIT}, {"disk", 1000}};
	const uint64_t len = 300000;
	struct swarm_ref refs[N], sums[N];
	struct swarm_task_opts o;
	struct swarm_view v, again;
	char *copy[N];
	uint8_t ready[N];

	(void)state;
	for (uint64_t i = 0; i < N; i++) {
		const struct swarm_arg a[] = {SWARM_ARG_BYTES(&len, sizeof(len)),
					      SWARM_ARG_BYTES(&i, sizeof(i))};

		o = task("t_bytes");
		o.args = a;
		o.arg_count = 2;
		o.resources = disk; /* on node 1 or 2, not here */
		o.resource_count = 2;
		refs[i] = submit(&o);
	}
	assert_int_equal(swarm_wait(client, refs, N, N, GET_NS, ready), N);
	/* Half of them are read here before, so that what comes back can be compared. */
	for (int i = 0; i < N; i += 2) {
		must_get(refs[i], &v);
		copy[i] = malloc(len);
		memcpy(copy[i], v.data, len);
		swarm_release(client, &v);
	}
	cluster_kill(&cl, 1);
	for (uint64_t i = 0; i < N; i++) {
		const struct swarm_arg a[] = {SWARM_ARG_REF(refs[i]), SWARM_ARG_BYTES("x", 1)};

		o = task("t_concat");
		o.args = a;
		o.arg_count = 2;
		sums[i] = submit(&o);
	}
	for (int i = 0; i < N; i++) {
		must_get(sums[i], &v);
		must_get(refs[i], &again);
		assert_int_equal(v.len, len + 1);
		assert_memory_equal(v.data, again.data, len);
		if (!(i % 2)) {
			assert_memory_equal(copy[i], again.data, len);
			free(copy[i]);
		}
		swarm_release(client, &again);
		swarm_release(client, &v);
	}
	losses_are_told("t_bytes");
}

static void node_leaves_in_good_order(void **state)
{
	static const char *const node[] = {"--arena=64M", "--cpus=2", "--resource=disk=1", NULL};
	const struct swarm_resource disk[] = {{"cpu", SWARM_RESOURCE_UNIT}, {"disk", 1000}};
	struct swarm_ref refs[6];
	uint8_t ready[6];

	(void)state;
	cluster_start(&cl, 3, node);
	for (uint64_t i = 0; i < 6; i++) {
		const struct swarm_arg a = SWARM_ARG_BYTES(&i, sizeof(i));
		struct swarm_task_opts o = task("t_link");

		o.args = &a;
		o.arg_count = 1;
		o.resources = disk;
		o.resource_count = 2;
		refs[i] = submit(&o);
	}
	assert_int_equal(swarm_wait(client, refs, 6, 6, GET_NS, ready), 6);
	cluster_stop(&cl, 3);
	for (uint64_t i = 0; i < 6; i++)
		assert_int_equal(get_u64(refs[i]), link_of(i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(inline_and_ref_args),
	    cmocka_unit_test(refs_of_args),
	    cmocka_unit_test(several_returns),
	    cmocka_unit_test(chain_and_tree),
	    cmocka_unit_test(resources_choose_the_node),
	    cmocka_unit_test(nested_tasks),
	    cmocka_unit_test(wait_for_some),
	    cmocka_unit_test(big_results_travel),
	    cmocka_unit_test(many_small),
	    cmocka_unit_test(errors_are_told),
	    cmocka_unit_test(crashes_are_tried_again),
	    cmocka_unit_test(endless_task_is_ended),
	    cmocka_unit_test(cancel_queued_and_running),
	    cmocka_unit_test(modules_that_cannot_be),
	    cmocka_unit_test(bad_submits_are_refused),
	    cmocka_unit_test(workers_killed_at_random),
	    cmocka_unit_test(node_killed_lineage_recovers),
	    cmocka_unit_test(node_leaves_in_good_order),
	};

	if (getenv("TEST_FILTER"))
		cmocka_set_test_filter(getenv("TEST_FILTER"));
	return cmocka_run_group_tests(tests, start, stop);
}
