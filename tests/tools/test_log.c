/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_log.c - a daemon whose standard error is full and read by nobody starts, answers and ends as any other;
 * when somebody reads again it says how many lines are missing.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/patience.h"
#include "tests/tools/proc.h"

static struct test_cluster cl;
static pid_t daemon_pid;

/* Both ends of @kind, and not one byte more fits in. */
static void make_full(bool is_socket, int fd[2])
{
	char junk[4096];

	memset(junk, '.', sizeof(junk));
	if (is_socket)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	else
		assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_int_equal(fcntl(fd[1], F_SETFL, O_NONBLOCK), 0);
	for (size_t n = sizeof(junk); n; n /= 2)
		while (write(fd[1], junk, n) > 0)
			;
	assert_int_equal(fcntl(fd[1], F_SETFL, 0), 0); /* as a shell leaves it: a write waits */
}

/* All that is in @fd, until nothing comes for a while or, with @to_end, until its end. */
static void drain(int fd, bool to_end, char *out, size_t cap)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t len = 0;
	char buf[4096];
	ssize_t n;

	while (poll(&p, 1, to_end ? TEST_LIMIT_MS : 0) > 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != '.' && len < cap - 1)
				out[len++] = buf[i];
	out[len] = '\0';
}

/* swarmd itself, as a service manager runs it; returns when it has said that it is ready. */
static void start_daemon(int err)
{
	char path[512], line[1024];
	struct pollfd p = {.events = POLLIN};
	int out[2];

	snprintf(path, sizeof(path), "%s/swarmd", getenv("SWARM_BIN"));
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	daemon_pid = fork();
	assert_true(daemon_pid >= 0);
	if (!daemon_pid) {
		dup2(out[1], 1);
		dup2(err, 2);
		execl(path, "swarmd", "--head", "--dir", cl.node[0].dir, "--bind", "127.0.0.1:0", "--transport=ofi",
		      "--arena=16M", "--cpus=1", "--log-level=debug", NULL);
		_exit(127);
	}
	close(out[1]);
	p.fd = out[0];
	if (poll(&p, 1, TEST_LIMIT_MS) != 1)
		fail_msg("the daemon does not start");
	assert_true(read(out[0], line, sizeof(line)) > 0);
	close(out[0]);
}

static void nobody_reads(bool is_socket)
{
	static struct proc_result res;
	char text[8192];
	int fd[2], st;

	cluster_init(&cl);
	make_full(is_socket, fd);
	start_daemon(fd[1]);
	PROC_RUN(&res, "swarm", "status", "--dir", cl.node[0].dir);
	if (res.status)
		fail_msg("the daemon does not answer: %s", res.err);
	drain(fd[0], false, text, sizeof(text));
	assert_string_equal(text, "");
	kill(daemon_pid, SIGTERM);
	if (!pid_gone_within(daemon_pid, (uint64_t)TEST_LIMIT_MS))
		fail_msg("the daemon does not end");
	assert_int_equal(waitpid(daemon_pid, &st, 0), daemon_pid);
	daemon_pid = 0;
	assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	close(fd[1]);
	drain(fd[0], true, text, sizeof(text));
	close(fd[0]);
	assert_non_null(strstr(text, "lines before this one were dropped"));
	assert_non_null(strstr(text, "signal 15"));
	cluster_fini(&cl);
	cl.root[0] = '\0';
}

static void a_full_pipe(void **state)
{
	(void)state;
	nobody_reads(false);
}

static void a_full_socket(void **state)
{
	(void)state;
	nobody_reads(true);
}

/* Also after a failure: no daemon outlives its test. */
static int teardown(void **state)
{
	(void)state;
	if (daemon_pid > 0) {
		kill(daemon_pid, SIGKILL);
		(void)waitpid(daemon_pid, NULL, 0);
		daemon_pid = 0;
	}
	if (cl.root[0])
		cluster_fini(&cl);
	cl.root[0] = '\0';
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(a_full_pipe, teardown),
	    cmocka_unit_test_teardown(a_full_socket, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
