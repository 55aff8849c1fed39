/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker_proc.c - see worker_proc.h.
 *
 * The daemon maps a large arena, so it never forks in the copying sense: vfork() shares its memory
 * until exec, and the child does nothing but system calls in between. A pid is signalled only while its pidfd is
 * ours, so never after it was reaped and given to somebody else. Owner thread: the host's.
 */
#include "sched/worker_proc.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/base/hash.h"

#ifndef SWARM_LIBEXEC_DIR
#define SWARM_LIBEXEC_DIR "/usr/libexec/swarm"
#endif
#define PROGRAM "swarm-worker"

struct proc {
	UT_hash_handle hh;
	struct swi_worker_proc *wp;
	uint32_t worker;
	pid_t pid;
	int pidfd;
};

struct swi_worker_proc {
	struct swi_worker_proc_opts o;
	struct proc *procs; /* by worker number */
	char program[PATH_MAX];
	char log_dir[PATH_MAX];
};

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

/* ---- the child, between vfork and exec: system calls only ---- */

struct child_args {
	const char *program;
	char *const *argv;
	int log_fd, null_fd;
	pid_t parent;
	int error; /* written by the child into our memory: vfork shares it */
};

static void child(struct child_args *a)
{
	sigset_t none;

	sigemptyset(&none);
	/* Its own group: an interrupt typed at the daemon's terminal is not for its workers. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || setpgid(0, 0) || dup2(a->null_fd, 0) < 0 ||
	    dup2(a->log_fd, 1) < 0 || dup2(a->log_fd, 2) < 0 ||
	    sigprocmask(SIG_SETMASK, &none, NULL)) {
		a->error = errno;
		_exit(127);
	}
	if (getppid() != a->parent) /* died before PDEATHSIG was set */
		_exit(127);
	execv(a->program, a->argv);
	a->error = errno;
	_exit(127);
}

static int start(struct child_args *a, pid_t *out_pid)
{
	sigset_t all, old;
	pid_t pid;

	/* No handler of ours may run in the child while it shares our memory. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid = vfork();
	if (!pid)
		child(a);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		return -errno;
	if (a->error) {
		(void)waitpid(pid, NULL, 0);
		return -a->error;
	}
	*out_pid = pid;
	return 0;
}

/* ---- the ops ---- */

static void proc_free(struct proc *p)
{
	HASH_DEL(p->wp->procs, p);
	if (p->pidfd >= 0) {
		swi_host_del_fd(p->wp->o.host, p->pidfd);
		close(p->pidfd);
	}
	free(p);
}

static void on_pidfd(void *ctx, uint32_t events)
{
	struct proc *p = ctx;
	struct swi_worker_proc *wp = p->wp;
	const uint32_t worker = p->worker;
	int status;

	(void)events;
	if (waitpid(p->pid, &status, WNOHANG) != p->pid)
		return;
	proc_free(p);
	wp->o.died(wp->o.ctx, worker, status);
}

static int open_log(const struct swi_worker_proc *wp, uint32_t worker)
{
	char path[PATH_MAX + 32];
	int fd;

	snprintf(path, sizeof(path), "%s/worker-%u.log", wp->log_dir, worker);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

static int spawn_process(struct swi_worker_proc *wp, struct proc *p)
{
	char number[16];
	char *const argv[] = {(char *)PROGRAM, (char *)"--dir", (char *)swi_host_dir(wp->o.host),
			      (char *)"--worker", number, NULL};
	struct child_args a = {
	    .program = wp->program, .argv = argv, .log_fd = -1, .parent = getpid()};
	int rc;

	snprintf(number, sizeof(number), "%u", p->worker);
	a.null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	a.log_fd = open_log(wp, p->worker);
	rc = a.null_fd < 0 ? -errno : a.log_fd < 0 ? a.log_fd : start(&a, &p->pid);
	if (a.null_fd >= 0)
		close(a.null_fd);
	if (a.log_fd >= 0)
		close(a.log_fd);
	return rc;
}

static int watch(struct proc *p)
{
	int rc;

	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pidfd < 0)
		return -errno;
	rc = swi_host_add_fd(p->wp->o.host, p->pidfd, EPOLLIN, on_pidfd, p);
	if (rc) {
		close(p->pidfd);
		p->pidfd = -1;
	}
	return rc;
}

static int op_spawn(void *ctx, uint32_t worker)
{
	struct swi_worker_proc *wp = ctx;
	struct proc *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return -ENOMEM;
	p->wp = wp;
	p->worker = worker;
	p->pidfd = -1;
	rc = spawn_process(wp, p);
	if (rc) {
		free(p);
		return rc;
	}
	rc = watch(p);
	if (rc) {
		kill(p->pid, SIGKILL); /* our unreaped child: the pid is still its own */
		(void)waitpid(p->pid, NULL, 0);
		free(p);
		return rc;
	}
	HASH_ADD(hh, wp->procs, worker, sizeof(p->worker), p);
	return 0;
}

static void op_kill(void *ctx, uint32_t worker)
{
	struct swi_worker_proc *wp = ctx;
	struct proc *p;

	HASH_FIND(hh, wp->procs, &worker, sizeof(worker), p);
	if (p)
		(void)syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
}

struct swi_worker_ops swi_worker_proc_ops(struct swi_worker_proc *wp)
{
	return (struct swi_worker_ops){.ctx = wp, .spawn = op_spawn, .kill = op_kill};
}

bool swi_worker_proc_owns(const struct swi_worker_proc *wp, uint32_t pid)
{
	const struct proc *p, *next;

	HASH_ITER(hh, wp->procs, p, next)
		if ((uint32_t)p->pid == pid)
			return true;
	return false;
}

/* ---- life ---- */

static int find_program(struct swi_worker_proc *wp, char *why, size_t why_len)
{
	const char *given = wp->o.program ? wp->o.program : getenv("SWARM_WORKER");

	if (!given || !*given)
		return swi_program_find(PROGRAM, wp->program, sizeof(wp->program), why, why_len);
	if (access(given, X_OK)) {
		const int rc = -errno;

		snprintf(why, why_len, "worker program %s cannot be run: %s", given, strerror(-rc));
		return rc;
	}
	snprintf(wp->program, sizeof(wp->program), "%s", given);
	return 0;
}

int swi_worker_proc_create(const struct swi_worker_proc_opts *opts, struct swi_worker_proc **out,
			   char *why, size_t why_len)
{
	struct swi_worker_proc *wp = calloc(1, sizeof(*wp));
	int rc;

	if (!wp) {
		snprintf(why, why_len, "no memory");
		return -ENOMEM;
	}
	wp->o = *opts;
	snprintf(wp->log_dir, sizeof(wp->log_dir), "%s", opts->log_dir);
	rc = find_program(wp, why, why_len);
	if (!rc && mkdir(wp->log_dir, 0700) && errno != EEXIST) {
		rc = -errno;
		snprintf(why, why_len, "the log folder %s cannot be made: %s", wp->log_dir,
			 strerror(-rc));
	}
	if (rc) {
		free(wp);
		return rc;
	}
	*out = wp;
	return 0;
}

void swi_worker_proc_destroy(struct swi_worker_proc *wp)
{
	struct proc *p, *next;

	if (!wp)
		return;
	HASH_ITER(hh, wp->procs, p, next)
		op_kill(wp, p->worker);
	HASH_ITER(hh, wp->procs, p, next) {
		(void)waitpid(p->pid, NULL, 0);
		proc_free(p);
	}
	free(wp);
}
