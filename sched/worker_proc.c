/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker_proc.c - see worker_proc.h.
 *
 * A process is signalled through its pidfd only, so never after it was reaped and its number given to somebody
 * else. Owner thread: the host's.
 */
#include "sched/worker_proc.h"

#include <limits.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/base/hash.h"

#include "sched/spawn.h"

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

/* ---- the ops ---- */

static void proc_free(struct proc *p)
{
	HASH_DEL(p->wp->procs, p);
	swi_host_del_fd(p->wp->o.host, p->pidfd);
	close(p->pidfd);
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

static int spawn_process(struct swi_worker_proc *wp, struct proc *p)
{
	char number[16], log[PATH_MAX + 32];
	char *const argv[] = {(char *)PROGRAM, (char *)"--dir", (char *)swi_host_dir(wp->o.host),
			      (char *)"--worker", number, NULL};
	const struct swi_spawn s = {.program = wp->program,
				    .argv = argv,
				    .log_path = log,
				    .pass_fd = -1,
				    .death_signal = SIGKILL};

	snprintf(number, sizeof(number), "%u", p->worker);
	snprintf(log, sizeof(log), "%s/worker-%u.log", wp->log_dir, p->worker);
	return swi_spawn(&s, &p->pid, &p->pidfd);
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
	if (!rc) {
		rc = swi_host_add_fd(wp->o.host, p->pidfd, EPOLLIN, on_pidfd, p);
		if (!rc) {
			HASH_ADD(hh, wp->procs, worker, sizeof(p->worker), p);
			return 0;
		}
		swi_spawn_signal(p->pidfd, SIGKILL);
		(void)waitpid(p->pid, NULL, 0);
		close(p->pidfd);
	}
	free(p);
	return rc;
}

static void op_kill(void *ctx, uint32_t worker)
{
	struct swi_worker_proc *wp = ctx;
	struct proc *p;

	HASH_FIND(hh, wp->procs, &worker, sizeof(worker), p);
	if (p)
		swi_spawn_signal(p->pidfd, SIGKILL);
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
