/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarmd.c - the node daemon. `swarm start` is the comfortable way to start it; this program stays in the
 * foreground unless told otherwise, as service managers want it.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/daemon.h"

struct swarmd_opts {
	struct swt_daemon_opts d;
	bool daemonize;
};

static const struct swt_opt options[] = {
    SWT_DAEMON_OPTIONS(struct swarmd_opts, d),
    {"daemonize", 0, SWT_FLAG, offsetof(struct swarmd_opts, daemonize), NULL,
     "go into the background once the node is up; log to DIR/logs/swarmd.log", NULL},
    {NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
    .name = "swarmd",
    .summary = "Run a node of a Swarm cluster: its object store and its tasks.",
    .opts = options,
    .more = "When the node is up, one line of JSON says so on standard output (or on the starter's pipe).\n"
	    "SIGTERM and SIGINT make it leave in good order; a second one, at once.",
};

/* The parent waits for the child's line and passes it on. */
static int wait_ready(int fd)
{
	char buf[2048];
	size_t n = 0;
	ssize_t got;

	while (n < sizeof(buf) - 1 && (got = read(fd, buf + n, sizeof(buf) - 1 - n)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			break;
		n += (size_t)got;
	}
	buf[n] = 0;
	fputs(buf, stdout);
	return strstr(buf, "\"ok\":true") ? 0 : SWT_FAILED;
}

static int to_log(const char *dir)
{
	char path[PATH_MAX + 32];
	int fd, null;

	(void)mkdir(dir, 0700); /* what is wrong with it is said by the daemon itself */
	snprintf(path, sizeof(path), "%s/logs", dir);
	(void)mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/logs/swarmd.log", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(fd >= 0 ? fd : null, 1) < 0 ||
	    dup2(fd >= 0 ? fd : null, 2) < 0)
		return -errno;
	return 0;
}

static int daemonize(struct swt_daemon_opts *o)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return swt_error(&command, SWT_FAILED, "no pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return swt_error(&command, SWT_FAILED, "cannot fork: %s", strerror(errno));
	if (pid) {
		close(fds[1]);
		return wait_ready(fds[0]);
	}
	close(fds[0]);
	o->ready_fd = (uint32_t)fds[1];
	setsid();
	if (to_log(o->dir))
		_exit(SWT_FAILED);
	exit(swt_daemon_run(o));
}

int main(int argc, char **argv)
{
	static struct swarmd_opts o;
	static struct swt_daemon_strings strings;
	char why[512];
	int first, rc;

	swt_daemon_defaults(&o.d);
	rc = swt_parse(&command, argc, argv, &o, &first);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	rc = swt_daemon_complete(&o.d, &strings, why, sizeof(why));
	if (rc)
		return swt_error(&command, rc, "%s", why);
	return o.daemonize ? daemonize(&o.d) : swt_daemon_run(&o.d);
}
