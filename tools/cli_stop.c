/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_stop.c - `swarm stop`: asks the daemon of a run directory to leave (SIGTERM), waits for its end
 * through a pidfd, and kills it only when told to.
 */
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "store/host.h"
#include "tools/cli.h"
#include "tools/daemon.h"

struct stop_opts {
	struct swt_common c;
	bool all, force;
	uint64_t timeout_ns;
};

static const struct swt_opt options[] = {
    SWT_COMMON_OPTIONS(struct stop_opts, c),
    {"all", 0, SWT_FLAG, offsetof(struct stop_opts, all), NULL,
     "stop the whole cluster, at once (asked of the head)", NULL},
    {"timeout", 0, SWT_TIME, offsetof(struct stop_opts, timeout_ns), "TIME",
     "how long to wait for its end (default 30s)", NULL},
    {"force", 0, SWT_FLAG, offsetof(struct stop_opts, force), NULL,
     "kill it when it has not left by then", NULL},
    SWT_OPT_END,
};

static const struct swt_command command = {
    .name = "swarm stop",
    .summary = "Stop the node of a run directory; its objects move to other nodes first.",
    .opts = options,
};

static int send_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) ? -errno : 0;
}

/* 0: it ended in time. */
static int await(int pidfd, uint64_t timeout_ns)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	const uint64_t ms = timeout_ns / NS_PER_MS;
	int rc;

	do
		rc = poll(&p, 1, ms > INT_MAX ? INT_MAX : (int)ms);
	while (rc < 0 && errno == EINTR);
	return rc == 1 ? 0 : -ETIMEDOUT;
}

static int end_process(const struct stop_opts *o, const char *dir, long pid)
{
	const int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	int rc;

	if (pidfd < 0)
		return errno == ESRCH ? 0
				      : swt_error(&command, SWT_FAILED, "pid %ld: %s", pid,
						  strerror(errno));
	/* Still the holder of the lock: then the pidfd is the daemon's and nobody else's. */
	if (swt_lock_holder(dir) != pid) {
		close(pidfd);
		return 0;
	}
	rc = send_signal(pidfd, SIGTERM);
	if (rc == -ESRCH)
		rc = 0;
	else if (!rc)
		rc = await(pidfd, o->timeout_ns);
	if (rc == -ETIMEDOUT && o->force) {
		(void)send_signal(pidfd, SIGKILL);
		rc = await(pidfd, 5 * NS_PER_S);
	}
	close(pidfd);
	if (rc == -ETIMEDOUT)
		return swt_error(&command, SWT_FAILED,
				 "the daemon (pid %ld) did not leave within %.0f s: wait longer with --timeout, or use --force",
				 pid, (double)o->timeout_ns / 1e9);
	return rc ? swt_error(&command, SWT_FAILED, "pid %ld: %s", pid, strerror(-rc)) : 0;
}

/* The other nodes end by themselves; the head waits until it knows of none. */
static int stop_others(const struct stop_opts *o, const char *dir)
{
	const uint64_t until = swi_now(swi_env_real()) + o->timeout_ns;
	const struct timespec nap = {.tv_nsec = 50 * NS_PER_MS};
	char *text = NULL;
	size_t left = 2;
	int rc = swt_admin(&command, dir, "stop", "all", &text);

	free(text);
	while (!rc && left > 1) {
		struct swarm_store *s;
		json_t *doc = NULL;

		rc = swt_attach(&command, dir, &s);
		if (rc)
			break;
		rc = swt_ask(&command, s, "nodes", &doc);
		swarm_store_close(s);
		left = json_array_size(json_object_get(doc, "nodes"));
		json_decref(doc);
		if (!rc && left > 1 && swi_now(swi_env_real()) > until)
			rc = swt_error(&command, SWT_FAILED, "%zu other nodes have not left in time",
				       left - 1);
		if (!rc && left > 1)
			nanosleep(&nap, NULL);
	}
	return rc;
}

int swt_cmd_stop(int argc, char **argv)
{
	struct stop_opts o = {.timeout_ns = 30 * NS_PER_S};
	char dir[PATH_MAX];
	int first, rc;
	long pid;

	rc = swt_parse(&command, argc, argv, &o, &first);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	if (o.c.dir)
		snprintf(dir, sizeof(dir), "%s", o.c.dir);
	else if (swi_default_dir(dir, sizeof(dir)))
		return swt_error(&command, SWT_FAILED, "no run directory: use --dir");
	pid = swt_lock_holder(dir);
	if (pid <= 0)
		return swt_error(&command, SWT_FAILED,
				 "no daemon runs in %s: name its run directory with --dir", dir);
	if (o.all)
		rc = stop_others(&o, dir);
	if (!rc)
		rc = end_process(&o, dir, pid);
	if (rc)
		return rc;
	if (swt_json(&o.c))
		printf("{\"stopped\": %ld}\n", pid);
	else
		printf("Stopped the daemon (pid %ld) of %s.\n", pid, dir);
	return 0;
}
