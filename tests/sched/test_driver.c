/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_driver.c - a driver is killed in the middle of submitting: its tasks end, and nothing stays pinned, held, queued or
 * owned for it. The driver is this program once more, with --drive.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <swarm/sched.h>

#include "tests/patience.h"
#include "tests/tools/proc.h"

#define S 1000000000ull

static struct test_cluster cl;
static struct swarm_client *client;
static struct swarm_module module;

static int start(void **state)
{
	static const char *const opts[] = {"--arena=64M", "--cpus=2", NULL};

	(void)state;
	cluster_init(&cl);
	for (uint32_t i = 0; i < 3; i++)
		cluster_start(&cl, i, opts);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	cluster_fini(&cl);
	return 0;
}

static bool open_client(const char *dir)
{
	char why[256];

	return !swarm_client_open(dir, &client, why, sizeof(why)) &&
	       !swarm_module_load(client, getenv("TEST_MODULE"), &module, why, sizeof(why));
}

static struct swarm_task_opts concat(const struct swarm_arg *args, uint32_t count)
{
	return (struct swarm_task_opts){.size = sizeof(struct swarm_task_opts), .module = module,
					.function = "t_concat", .args = args, .arg_count = count};
}

/* Puts, pins, creates what it never seals, and submits a chain, until it is killed. A byte on descriptor 1 for each submission. */
static int drive_until_killed(const char *dir)
{
	struct swarm_ref put, last = {.home = 0};
	struct swarm_view v;
	struct swarm_buf open;
	char bytes[4096] = {0};

	if (!open_client(dir))
		return 1;
	for (uint64_t i = 0;; i++) {
		struct swarm_store *st = swarm_client_store(client);
		const struct swarm_arg args[] = {SWARM_ARG_REF(put = swarm_ref_new(st)), SWARM_ARG_BYTES("x", 1),
						 SWARM_ARG_REF(last)};
		const struct swarm_task_opts o = concat(args, i % 10 ? 3 : 2);

		if (swarm_store_put(st, put, bytes, sizeof(bytes), S) ||
		    (i % 50 == 0 && (swarm_store_get(st, put, 0, &v) ||
				     swarm_store_create(st, swarm_ref_new(st), sizeof(bytes), S, &open))))
			return 1;
		if (swarm_submit(client, &o, &last) || write(1, "s", 1) != 1)
			return 1;
		(void)swarm_store_delete(st, put); /* the task still needs it */
	}
}

static pid_t start_driver(int *out_fd)
{
	int fd[2];
	pid_t pid;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(fd[1], 1);
		execl("/proc/self/exe", "test_driver", "--drive", cl.node[0].dir, NULL);
		_exit(127);
	}
	close(fd[1]);
	*out_fd = fd[0];
	return pid;
}

static json_t *say_json(const char *command)
{
	struct proc_result *res = calloc(1, sizeof(*res));
	json_t *doc;

	PROC_RUN(res, "swarm", command, "--format=json", "--dir", cl.node[0].dir);
	assert_int_equal(res->status, 0);
	doc = json_loads(res->out, 0, NULL);
	assert_non_null(doc);
	free(res);
	return doc;
}

static json_int_t at(const json_t *o, const char *a, const char *b)
{
	return json_integer_value(json_object_get(json_object_get(o, a), b));
}

/* Nothing waits, runs, is pinned or held for it any more; its process owns nothing. */
static bool released(pid_t pid)
{
	json_t *status = say_json("status"), *memory = say_json("memory"), *part, *owner;
	const json_t *sum = json_object_get(status, "sum");
	bool ok = !at(sum, "tasks", "waiting") && !at(sum, "tasks", "ready") && !at(sum, "tasks", "placed") &&
		  !at(sum, "runs", "workers_busy");
	size_t i, k;

	json_array_foreach(json_object_get(memory, "nodes"), i, part) {
		ok &= !at(part, "why", "pinned_bytes") && !at(part, "why", "held_bytes") && !at(part, "why", "ahead_bytes");
		json_array_foreach(json_object_get(part, "owners"), k, owner)
			ok &= json_integer_value(json_object_get(owner, "pid")) != pid;
	}
	json_decref(status);
	json_decref(memory);
	return ok;
}

static void others_go_on(void)
{
	const struct swarm_arg args[] = {SWARM_ARG_BYTES("a", 1), SWARM_ARG_BYTES("b", 1)};
	struct swarm_task_opts o;
	struct swarm_ref ref;
	struct swarm_view v;

	assert_true(open_client(cl.node[0].dir));
	o = concat(args, 2);
	assert_int_equal(swarm_submit(client, &o, &ref), 0);
	assert_int_equal(swarm_get(client, ref, TEST_LIMIT_NS, &v), 0);
	assert_memory_equal(v.data, "ab", 2);
	swarm_release(client, &v);
	swarm_client_close(client);
}

static void driver_killed_while_it_submits(void **state)
{
	static const int after[] = {1, 60, 700};

	(void)state;
	for (uint32_t round = 0; round < 3; round++) {
		struct timespec t0, now;
		char c;
		int fd, st;
		pid_t pid = start_driver(&fd);

		for (int i = 0; i < after[round]; i++)
			if (read(fd, &c, 1) != 1)
				fail_msg("the driver gave up");
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &st, 0), pid);
		close(fd);
		assert_true(WIFSIGNALED(st));
		clock_gettime(CLOCK_MONOTONIC, &t0);
		while (!released(pid)) {
			clock_gettime(CLOCK_MONOTONIC, &now);
			if ((uint64_t)(now.tv_sec - t0.tv_sec) > TEST_LIMIT_S)
				fail_msg("what the dead driver's tasks hold is not released");
			poll(NULL, 0, 20);
		}
		others_go_on();
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(driver_killed_while_it_submits),
	};

	if (argc == 3 && !strcmp(argv[1], "--drive"))
		return drive_until_killed(argv[2]);
	return cmocka_run_group_tests(tests, start, stop);
}
