/* SPDX-License-Identifier: Apache-2.0 */
/* proc.c - see proc.h. */
#include "tests/patience.h"
#include "tests/tools/proc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void program_path(const char *name, char *path, size_t len)
{
	const char *bin = getenv("SWARM_BIN");

	assert_non_null(bin);
	snprintf(path, len, "%s/%s", bin, name);
}

/* Reads both pipes until both ends are closed. */
static void collect(struct proc_result *res, int out, int err)
{
	struct pollfd p[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
	char *buf[2] = {res->out, res->err};
	const size_t cap[2] = {sizeof(res->out) - 1, sizeof(res->err) - 1};
	size_t len[2] = {0, 0};
	char waste[4096];

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, 3 * TEST_LIMIT_MS) <= 0)
			fail_msg("a program said nothing for too long");
		for (int i = 0; i < 2; i++) {
			ssize_t n;

			if (p[i].fd < 0 || !p[i].revents)
				continue;
			if (len[i] < cap[i])
				n = read(p[i].fd, buf[i] + len[i], cap[i] - len[i]);
			else
				n = read(p[i].fd, waste, sizeof(waste));
			if (n <= 0) {
				close(p[i].fd);
				p[i].fd = -1;
			} else if (len[i] < cap[i]) {
				len[i] += (size_t)n;
			}
		}
	}
	buf[0][len[0]] = buf[1][len[1]] = 0;
}

void proc_run(struct proc_result *res, const char *const *argv)
{
	int out[2], err[2], st;
	char path[512];
	pid_t pid;

	program_path(argv[0], path, sizeof(path));
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(out[1], 1);
		dup2(err[1], 2);
		execv(path, (char *const *)argv);
		_exit(127);
	}
	close(out[1]);
	close(err[1]);
	collect(res, out[0], err[0]);
	assert_int_equal(waitpid(pid, &st, 0), pid);
	res->status = WIFEXITED(st) ? WEXITSTATUS(st) : -WTERMSIG(st);
}

/* ---- the cluster ---- */

void cluster_init(struct test_cluster *c)
{
	memset(c, 0, sizeof(*c));
	snprintf(c->root, sizeof(c->root), "/tmp/swtest-XXXXXX");
	assert_non_null(mkdtemp(c->root));
	snprintf(c->key, sizeof(c->key), "%s/n0/cluster.key", c->root);
	for (uint32_t i = 0; i < TEST_NODES_MAX; i++)
		snprintf(c->node[i].dir, sizeof(c->node[i].dir), "%s/n%u", c->root, i);
}

void cluster_start(struct test_cluster *c, uint32_t i, const char *const *extra)
{
	struct test_node *n = &c->node[i];
	struct proc_result *res = calloc(1, sizeof(*res));
	const char *argv[40] = {"swarm", "start", "--dir", n->dir, "--bind", "127.0.0.1:0",
				"--format=json", "--transport=ofi"};
	uint32_t k = 8;
	json_t *doc;

	if (i) {
		argv[k++] = "--address";
		argv[k++] = c->node[0].address;
		argv[k++] = "--key-file";
		argv[k++] = c->key;
	} else {
		argv[k++] = "--head";
	}
	while (extra && *extra)
		argv[k++] = *extra++;
	proc_run(res, argv);
	if (res->status)
		fail_msg("node %u did not start: %s", i, res->err);
	doc = json_loads(res->out, 0, NULL);
	assert_non_null(doc);
	n->pid = (int)json_integer_value(json_object_get(doc, "pid"));
	n->number = (uint32_t)json_integer_value(json_object_get(doc, "node"));
	snprintf(n->address, sizeof(n->address), "%s",
		 json_string_value(json_object_get(doc, "address")));
	n->up = true;
	json_decref(doc);
	free(res);
}

void cluster_stop(struct test_cluster *c, uint32_t i)
{
	struct proc_result *res = calloc(1, sizeof(*res));

	PROC_RUN(res, "swarm", "stop", "--dir", c->node[i].dir);
	if (res->status)
		fail_msg("node %u did not stop: %s", i, res->err);
	c->node[i].up = false;
	free(res);
}

bool pid_gone_within(int pid, uint64_t ms)
{
	const int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int rc;

	if (fd < 0)
		return errno == ESRCH;
	rc = poll(&p, 1, (int)ms);
	close(fd);
	return rc == 1;
}

void cluster_kill(struct test_cluster *c, uint32_t i)
{
	assert_int_equal(kill(c->node[i].pid, SIGKILL), 0);
	assert_true(pid_gone_within(c->node[i].pid, TEST_LIMIT_MS));
	c->node[i].up = false;
}

static bool mentions(const char *pid, const char *what)
{
	char path[300], buf[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, sizeof(buf));
	close(fd);
	return n > 0 && memmem(buf, (size_t)n, what, strlen(what));
}

uint32_t cluster_processes(const struct test_cluster *c)
{
	DIR *d = opendir("/proc");
	const struct dirent *e;
	uint32_t n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		if (e->d_name[0] >= '0' && e->d_name[0] <= '9' && atol(e->d_name) != getpid())
			n += mentions(e->d_name, c->root);
	closedir(d);
	return n;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void show_log(const struct test_node *n)
{
	char path[192], buf[4096];
	FILE *f;
	size_t got;

	snprintf(path, sizeof(path), "%s/logs/swarmd.log", n->dir);
	f = fopen(path, "re");
	if (!f)
		return;
	fprintf(stderr, "---- %s\n", path);
	while ((got = fread(buf, 1, sizeof(buf), f)) > 0)
		fwrite(buf, 1, got, stderr);
	fclose(f);
}

/* A sanitizer's complaint in any log of the node fails the test. */
static void complaints(const struct test_node *n)
{
	static const char *const mark[] = {"Sanitizer: ", "runtime error: ", "swarm: bug at"};
	char path[512], line[1024];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "%s/logs", n->dir);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		FILE *f;

		snprintf(path, sizeof(path), "%s/logs/%s", n->dir, e->d_name);
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			for (int i = 0; i < 3; i++)
				if (strstr(line, mark[i]))
					fail_msg("%s: %s", path, line);
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
}

void cluster_fini(struct test_cluster *c)
{
	uint32_t left;

	for (uint32_t i = TEST_NODES_MAX; i--;)
		if (c->node[i].up)
			cluster_stop(c, i);
	/* A worker is killed with its node, but not reaped in the same instant. */
	for (int i = 0; (left = cluster_processes(c)) && i < 500; i++)
		poll(NULL, 0, 10);
	for (uint32_t i = 0; i < TEST_NODES_MAX; i++) {
		if (getenv("SWARM_TEST_VERBOSE"))
			show_log(&c->node[i]);
		complaints(&c->node[i]);
	}
	if (!getenv("SWARM_TEST_KEEP"))
		nftw(c->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(left, 0);
}
