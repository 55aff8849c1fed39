/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider_local.c - see provider_local.h.
 *
 * A started daemon says on a pipe which node number it got, so that a removed node can be matched with its
 * process. Its death is heard through a pidfd; it is signalled through that pidfd and never by a number that
 * might be somebody else's by then.
 */
#include "tools/provider_local.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sched/spawn.h"

#define REMOVE_NS (10 * NS_PER_S)
#define END_NS	  (5 * NS_PER_S)
#define READY_FD  3

struct child {
	struct swi_list link;
	struct swt_provider *p;
	uint32_t index; /* <dir>/nodes/index */
	uint32_t node;	/* number, once it said so */
	pid_t pid;
	int pidfd, ready_fd;
	uint64_t kill_at_ns; /* 0 = not asked to leave */
	uint32_t line_len;
	char line[1024];
};

struct swt_provider {
	struct swt_provider_opts o;
	struct swi_list children;
	uint32_t next_index;
	char program[PATH_MAX];
};

static void ready_close(struct child *c)
{
	if (c->ready_fd < 0)
		return;
	swi_host_del_fd(c->p->o.host, c->ready_fd);
	close(c->ready_fd);
	c->ready_fd = -1;
}

static void child_free(struct child *c)
{
	ready_close(c);
	if (c->pidfd >= 0) {
		swi_host_del_fd(c->p->o.host, c->pidfd);
		close(c->pidfd);
	}
	swi_list_del(&c->link);
	free(c);
}

/* ---- what is heard ---- */

static void ready_line(struct child *c)
{
	json_t *doc = json_loadb(c->line, c->line_len, 0, NULL);
	const char *error = json_string_value(json_object_get(doc, "error"));

	c->node = (uint32_t)json_integer_value(json_object_get(doc, "node"));
	if (error)
		swi_warn(c->p->o.log, "the node started in nodes/%u failed: %s", c->index, error);
	else
		swi_info(c->p->o.log, "the node started in nodes/%u is node %u (pid %d)", c->index,
			 c->node, (int)c->pid);
	json_decref(doc);
}

static void on_ready(void *ctx, uint32_t events)
{
	struct child *c = ctx;
	const ssize_t n = read(c->ready_fd, c->line + c->line_len, sizeof(c->line) - c->line_len);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		c->line_len += (uint32_t)n;
		if (!memchr(c->line, '\n', c->line_len) && c->line_len < sizeof(c->line))
			return;
		ready_line(c);
	}
	ready_close(c);
}

static void on_exit_of(void *ctx, uint32_t events)
{
	struct child *c = ctx;
	int st;

	(void)events;
	if (waitpid(c->pid, &st, WNOHANG) != c->pid)
		return;
	if (WIFSIGNALED(st))
		swi_warn(c->p->o.log, "node %u in nodes/%u (pid %d) was killed by signal %d", c->node,
			 c->index, (int)c->pid, WTERMSIG(st));
	else
		swi_info(c->p->o.log, "node %u in nodes/%u (pid %d) left with exit status %d", c->node,
			 c->index, (int)c->pid, WEXITSTATUS(st));
	child_free(c);
}

/* ---- starting ---- */

static void child_argv(const struct child *c, const char *dir, struct swt_argv *a)
{
	const struct swt_daemon_opts *o = c->p->o.daemon;
	const char *colon = strrchr(o->bind, ':');

	swt_argv_add(a, "swarmd");
	swt_argv_add(a, "--address=%s", c->p->o.head_address);
	swt_argv_add(a, "--dir=%s", dir);
	swt_argv_add(a, "--bind=%.*s:0", (int)(colon - o->bind), o->bind);
	swt_argv_add(a, "--key-file=%s", o->key_file);
	swt_argv_add(a, "--provided");
	swt_argv_add(a, "--ready-fd=%d", READY_FD);
	swt_daemon_to_argv(o, a);
	for (uint32_t i = 0; i < o->spill_dirs.n; i++)
		swt_argv_add(a, "--spill-dir=%s/node-%u", o->spill_dirs.v[i], c->index);
}

static int make_dirs(const struct swt_provider *p, const char *dir)
{
	char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/nodes", p->o.daemon->dir);
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	if (mkdir(dir, 0700) && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), "%s/logs", dir);
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

static int child_exec(struct child *c, int ready_write)
{
	struct swt_provider *p = c->p;
	char dir[PATH_MAX], log[PATH_MAX + 32];
	struct swt_argv argv = {.n = 0};
	/* Our nodes go with us: a head that is killed leaves nobody behind. */
	struct swi_spawn s = {.program = p->program, .argv = argv.v, .log_path = log,
			      .pass_fd = ready_write, .death_signal = SIGTERM};
	int rc;

	if ((size_t)snprintf(dir, sizeof(dir), "%s/nodes/%u", p->o.daemon->dir, c->index) >=
	    sizeof(dir))
		return -ENAMETOOLONG;
	snprintf(log, sizeof(log), "%s/logs/swarmd.log", dir);
	rc = make_dirs(p, dir);
	if (rc)
		return rc;
	child_argv(c, dir, &argv);
	rc = swi_spawn(&s, &c->pid, &c->pidfd);
	swt_argv_free(&argv);
	return rc;
}

static int child_watch(struct child *c)
{
	int rc = swi_host_add_fd(c->p->o.host, c->pidfd, EPOLLIN, on_exit_of, c);

	if (!rc)
		rc = swi_host_add_fd(c->p->o.host, c->ready_fd, EPOLLIN, on_ready, c);
	if (rc) {
		swi_spawn_signal(c->pidfd, SIGKILL);
		(void)waitpid(c->pid, NULL, 0);
	}
	return rc;
}

static int child_start(struct swt_provider *p)
{
	struct child *c = calloc(1, sizeof(*c));
	int fds[2] = {-1, -1}, rc;

	if (!c)
		return -ENOMEM;
	c->p = p;
	c->index = p->next_index++;
	c->pidfd = -1;
	swi_list_init(&c->link);
	rc = pipe2(fds, O_CLOEXEC | O_NONBLOCK) ? -errno : 0;
	c->ready_fd = fds[0];
	if (!rc)
		rc = child_exec(c, fds[1]);
	if (fds[1] >= 0)
		close(fds[1]);
	if (!rc)
		rc = child_watch(c);
	if (rc) {
		child_free(c);
		return rc;
	}
	swi_list_push_back(&p->children, &c->link);
	return 0;
}

static int op_start(void *ctx, uint32_t count)
{
	struct swt_provider *p = ctx;
	int rc = 0;

	for (uint32_t i = 0; i < count && !rc; i++)
		rc = child_start(p);
	if (rc)
		swi_warn(p->o.log, "a further node cannot be started here: %s", swarm_strerror(rc));
	return rc;
}

static void op_removed(void *ctx, uint32_t node, uint64_t epoch)
{
	struct swt_provider *p = ctx;

	(void)epoch;
	swi_list_for_each(it, &p->children)
	{
		struct child *c = swi_list_entry(it, struct child, link);

		if (c->node != node || c->kill_at_ns)
			continue;
		c->kill_at_ns = swi_now(swi_env_real()) + REMOVE_NS;
		swi_spawn_signal(c->pidfd, SIGTERM);
	}
}

struct swi_provider_ops swt_provider_ops(struct swt_provider *p)
{
	return (struct swi_provider_ops){.ctx = p, .start = op_start, .removed = op_removed};
}

void swt_provider_step(struct swt_provider *p)
{
	const uint64_t now = p && !swi_list_empty(&p->children) ? swi_now(swi_env_real()) : 0;

	if (!now)
		return;
	swi_list_for_each(it, &p->children)
	{
		struct child *c = swi_list_entry(it, struct child, link);

		if (!c->kill_at_ns || now < c->kill_at_ns)
			continue;
		swi_spawn_signal(c->pidfd, SIGKILL);
		c->kill_at_ns = UINT64_MAX;
	}
}

uint64_t swt_provider_deadline_ns(const struct swt_provider *p)
{
	uint64_t d = UINT64_MAX;

	if (!p)
		return d;
	swi_list_for_each(it, &p->children)
	{
		const struct child *c = swi_list_entry(it, struct child, link);

		if (c->kill_at_ns)
			d = swi_min_u64(d, c->kill_at_ns);
	}
	return d;
}

int swt_provider_create(const struct swt_provider_opts *opts, struct swt_provider **out, char *why,
			size_t why_len)
{
	struct swt_provider *p = calloc(1, sizeof(*p));
	int rc;

	if (!p) {
		snprintf(why, why_len, "no memory");
		return -ENOMEM;
	}
	p->o = *opts;
	p->next_index = 1;
	swi_list_init(&p->children);
	rc = swi_program_find("swarmd", p->program, sizeof(p->program), why, why_len);
	if (rc) {
		free(p);
		return rc;
	}
	*out = p;
	return 0;
}

/* Waits for a child until @until; true when it is gone. */
static bool child_wait(const struct child *c, uint64_t until)
{
	for (;;) {
		const pid_t got = waitpid(c->pid, NULL, WNOHANG);
		const struct timespec nap = {.tv_nsec = 5 * NS_PER_MS};

		if (got == c->pid || (got < 0 && errno == ECHILD))
			return true;
		if (swi_now(swi_env_real()) >= until)
			return false;
		nanosleep(&nap, NULL);
	}
}

void swt_provider_destroy(struct swt_provider *p)
{
	const uint64_t until = swi_now(swi_env_real()) + END_NS;

	if (!p)
		return;
	swi_list_for_each(it, &p->children)
		swi_spawn_signal(swi_list_entry(it, struct child, link)->pidfd, SIGTERM);
	while (!swi_list_empty(&p->children)) {
		struct child *c = swi_list_first(&p->children, struct child, link);

		if (!child_wait(c, until)) {
			swi_spawn_signal(c->pidfd, SIGKILL);
			(void)waitpid(c->pid, NULL, 0);
		}
		child_free(c);
	}
	free(p);
}
