/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - see spawn.h.
 *
 * The daemon maps a large arena, so it never forks in the copying sense: vfork() shares its memory
 * until exec, and the child does nothing but system calls in between.
 */
#include "sched/spawn.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SWARM_LIBEXEC_DIR
#define SWARM_LIBEXEC_DIR "/usr/libexec/swarm"
#endif
#define PASS_FD 3

/* ---- finding programs ---- */

static int beside(const char *name, char *path, size_t path_len)
{
	char self[PATH_MAX];
	const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return -ENOENT;
	self[n] = 0;
	slash = strrchr(self, '/');
	if (!slash)
		return -ENOENT;
	*slash = 0;
	if ((size_t)snprintf(path, path_len, "%s/%s", self, name) >= path_len)
		return -ENAMETOOLONG;
	return access(path, X_OK) ? -errno : 0;
}

int swi_program_find(const char *name, char *path, size_t path_len, char *why, size_t why_len)
{
	char a[PATH_MAX + 64] = "", b[PATH_MAX];

	if (!beside(name, a, sizeof(a))) {
		snprintf(path, path_len, "%s", a);
		return 0;
	}
	snprintf(b, sizeof(b), "%s/%s", SWARM_LIBEXEC_DIR, name);
	if (!access(b, X_OK)) {
		snprintf(path, path_len, "%s", b);
		return 0;
	}
	snprintf(why, why_len, "program %s is not found, neither as %s nor as %s", name, a, b);
	return -ENOENT;
}

/* ---- between vfork and exec: system calls only ---- */

struct child {
	const struct swi_spawn *s;
	int log_fd, null_fd;
	pid_t parent;
	int error; /* written by the child into our memory: vfork shares it */
};

static int pass(int fd)
{
	if (fd < 0)
		return 0;
	if (fd == PASS_FD) /* dup2() would leave it close-on-exec */
		return fcntl(fd, F_SETFD, 0);
	return dup2(fd, PASS_FD) < 0 ? -1 : 0;
}

static void child(struct child *c)
{
	sigset_t none;

	sigemptyset(&none);
	/* Its own group: an interrupt typed at the daemon's terminal is not for its children. */
	if (prctl(PR_SET_PDEATHSIG, c->s->death_signal) || setpgid(0, 0) ||
	    dup2(c->null_fd, 0) < 0 || dup2(c->log_fd, 1) < 0 || dup2(c->log_fd, 2) < 0 ||
	    pass(c->s->pass_fd) || sigprocmask(SIG_SETMASK, &none, NULL)) {
		c->error = errno;
		_exit(127);
	}
	if (getppid() != c->parent) /* died before PDEATHSIG was set */
		_exit(127);
	execv(c->s->program, c->s->argv);
	c->error = errno;
	_exit(127);
}

static int start(struct child *c, pid_t *out_pid)
{
	sigset_t all, old;
	pid_t pid;

	/* No handler of ours may run in the child while it shares our memory. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	/* Not fork(): the daemon's arena would be copied page table by page table. child() does what is allowed. */
	pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
	if (!pid)
		child(c); /* NOLINT(clang-analyzer-unix.Vfork) */
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		return -errno;
	if (c->error) {
		(void)waitpid(pid, NULL, 0);
		return -c->error;
	}
	*out_pid = pid;
	return 0;
}

int swi_spawn(const struct swi_spawn *s, pid_t *out_pid, int *out_pidfd)
{
	struct child c = {.s = s, .parent = getpid(), .log_fd = -1};
	int rc = 0, pidfd;
	pid_t pid = -1;

	c.null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (c.null_fd >= 0)
		c.log_fd = open(s->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (c.log_fd < 0)
		rc = -errno;
	if (!rc)
		rc = start(&c, &pid);
	if (c.null_fd >= 0)
		close(c.null_fd);
	if (c.log_fd >= 0)
		close(c.log_fd);
	if (rc)
		return rc;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		rc = -errno;
		kill(pid, SIGKILL); /* our unreaped child: the number is its own */
		(void)waitpid(pid, NULL, 0);
		return rc;
	}
	*out_pid = pid;
	*out_pidfd = pidfd;
	return 0;
}

void swi_spawn_signal(int pidfd, int sig)
{
	(void)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}
