/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.c - see daemon.h. The main thread runs everything: the host's loop, the node core on it, and the
 * descriptors of workers, provided nodes and signals. It ends when it is told to (a signal, `swarm stop`),
 * when the head lets it go, and for no other reason.
 */
#include "tools/daemon.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sched/node.h"
#include "sched/worker_proc.h"
#include "store/host.h"
#include "tools/provider_local.h"

#define JOIN_NS	 (15 * NS_PER_S)
#define LEAVE_NS (20 * NS_PER_S)

struct daemon {
	const struct swt_daemon_opts *o;
	struct swi_resources total;
	struct swi_host *host;
	struct swi_node *node;
	struct swi_worker_proc *workers;
	struct swt_provider *provider;
	int lock_fd, signal_fd, events_fd, ready_fd;
	bool ready, leaving;
	uint64_t give_up_ns; /* joining or leaving takes no longer */
	int status;	     /* why it ended; 0 = in good order */
	char text[512];
};

/* ---- saying what happened ---- */

static void ready_write(struct daemon *d, json_t *doc)
{
	char *text = json_dumps(doc, JSON_COMPACT);

	json_decref(doc);
	if (text && d->ready_fd >= 0) {
		if (dprintf(d->ready_fd, "%s\n", text) < 0)
			swi_warn(swi_snode_log(swi_host_snode(d->host)), "nobody waits for our start");
		if (d->ready_fd > 2)
			close(d->ready_fd);
		d->ready_fd = -1;
	}
	free(text);
}

static int fail(struct daemon *d, int code)
{
	char line[sizeof(d->text) + 16];
	const int n = snprintf(line, sizeof(line), "swarmd: %s\n", d->text);

	(void)swi_log_say(STDERR_FILENO, line, (size_t)n);
	ready_write(d, json_pack("{s:b, s:s, s:s, s:i}", "ok", 0, "error", d->text, "code",
				 swarm_errname(code), "errno", code));
	return SWT_FAILED;
}

static void say_ready(struct daemon *d)
{
	struct swi_snode *sn = swi_host_snode(d->host);
	struct swi_tp *tp = swi_snode_tp(sn);

	d->ready = true;
	d->give_up_ns = UINT64_MAX;
	ready_write(d, json_pack("{s:b, s:i, s:s, s:s, s:i, s:s, s:s, s:s, s:b}", "ok", 1, "node",
				 (int)swi_snode_number(sn), "address", swi_tp_address(tp), "dir",
				 d->o->dir, "pid", (int)getpid(), "key_file", d->o->key_file,
				 "transport", swi_tp_backend(tp), "device", swi_tp_device(tp), "head",
				 d->o->head));
}

static void on_ended(void *ctx, int status, const char *text)
{
	struct daemon *d = ctx;

	d->status = status;
	snprintf(d->text, sizeof(d->text), "%s",
		 text && *text ? text : swarm_strerror(status));
	swi_host_stop(d->host);
}

static void on_event(void *ctx, const char *json)
{
	struct daemon *d = ctx;

	swi_info(swi_snode_log(swi_host_snode(d->host)), "%s", json);
	if (d->events_fd >= 0 && dprintf(d->events_fd, "%s\n", json) < 0) {
		swi_warn(swi_snode_log(swi_host_snode(d->host)), "events cannot be written: %s",
			 strerror(errno));
		close(d->events_fd);
		d->events_fd = -1;
	}
}

/* ---- the loop's callbacks ---- */

static void on_worker_died(void *ctx, uint32_t worker, int wait_status)
{
	struct daemon *d = ctx;

	if (d->node)
		swi_runner_worker_died(swi_node_runner(d->node), worker, wait_status);
}

static void begin_leave(struct daemon *d)
{
	if (d->leaving || d->o->head || !d->ready) {
		/* The head keeps only soft state, and a second signal means now. */
		swi_host_stop(d->host);
		return;
	}
	d->leaving = true;
	d->give_up_ns = swi_now(swi_env_real()) + LEAVE_NS;
	swi_node_leave(d->node);
}

static void on_signal(void *ctx, uint32_t events)
{
	struct daemon *d = ctx;
	struct signalfd_siginfo si;

	(void)events;
	if (read(d->signal_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	swi_info(swi_snode_log(swi_host_snode(d->host)), "signal %u: leaving", si.ssi_signo);
	begin_leave(d);
}

static void gave_up(struct daemon *d)
{
	if (d->leaving) {
		swi_warn(swi_snode_log(swi_host_snode(d->host)),
			 "draining took longer than %llu s: leaving as it is",
			 (unsigned long long)(LEAVE_NS / NS_PER_S));
	} else {
		d->status = -ETIMEDOUT;
		snprintf(d->text, sizeof(d->text),
			 "no answer from a head at %s within %llu s: check --address and that the head is up",
			 d->o->address, (unsigned long long)(JOIN_NS / NS_PER_S));
	}
	swi_host_stop(d->host);
}

static int upper_step(void *ctx)
{
	struct daemon *d = ctx;
	const int n = swi_node_step(d->node);

	if (!d->ready && swi_node_joined(d->node))
		say_ready(d);
	swt_provider_step(d->provider);
	if (d->give_up_ns != UINT64_MAX && swi_now(swi_env_real()) >= d->give_up_ns) {
		d->give_up_ns = UINT64_MAX;
		gave_up(d);
	}
	return n;
}

static uint64_t upper_deadline(void *ctx)
{
	struct daemon *d = ctx;
	const uint64_t a = swi_node_deadline_ns(d->node);
	const uint64_t b = swt_provider_deadline_ns(d->provider);

	return swi_min_u64(d->give_up_ns, swi_min_u64(a, b));
}

static int upper_admit(void *ctx, uint32_t role, uint32_t pid)
{
	const struct daemon *d = ctx;

	if (role > SWI_ROLE_TOOL)
		return -EINVAL;
	if (role == SWI_ROLE_WORKER && !swi_worker_proc_owns(d->workers, pid))
		return -EACCES;
	return 0;
}

/* ---- making ---- */

static int make_dir(struct daemon *d)
{
	char path[PATH_MAX + 32];
	long pid = 0;
	int rc;

	if (mkdir(d->o->dir, 0700) && errno != EEXIST) {
		rc = -errno;
		snprintf(d->text, sizeof(d->text), "the run directory %s cannot be made: %s", d->o->dir,
			 strerror(-rc));
		return rc;
	}
	rc = swt_lock_take(d->o->dir, &d->lock_fd, &pid);
	if (rc == -EBUSY) {
		snprintf(d->text, sizeof(d->text),
			 "a daemon (pid %ld) runs in %s already: stop it with swarm stop --dir %s, or use another --dir",
			 pid, d->o->dir, d->o->dir);
		return rc;
	}
	if (rc) {
		snprintf(d->text, sizeof(d->text), "the run directory %s cannot be used: %s", d->o->dir,
			 strerror(-rc));
		return rc;
	}
	snprintf(path, sizeof(path), "%s/logs", d->o->dir);
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), "%s/logs/events.jsonl", d->o->dir);
	d->events_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return 0;
}

static int make_host(struct daemon *d)
{
	const struct swt_daemon_opts *o = d->o;
	struct swi_host_opts ho = {
	    .dir = o->dir,
	    .arena_bytes = o->arena,
	    .objects_max = o->objects_max,
	    .huge_pages = o->huge_pages,
	    .small_pages = o->small_pages,
	    .hugetlb = o->hugetlb,
	    .numa = o->numa_node != UINT32_MAX,
	    .lock = o->lock,
	    .numa_node = o->numa_node,
	    .client_quota = o->client_quota,
	    .pin_bytes_max = o->pin_max,
	    .spill_dirs = o->spill_dirs.v,
	    .spill_dir_count = o->spill_dirs.n,
	    .spill_bytes = o->spill_bytes,
	    .spill_reserve = o->spill_reserve,
	    .spill_depth = o->spill_depth,
	    .spill_keep = o->spill_keep,
	    .durable = o->durable,
	    .tp = {.backend = o->transport, .device = o->device, .bind = o->bind},
	    .log_name = o->head ? "head" : "node",
	};
	int rc = o->head ? swi_key_make(o->key_file, ho.tp.key, d->text, sizeof(d->text))
			 : swi_key_read(o->key_file, ho.tp.key, d->text, sizeof(d->text));

	if (!rc)
		rc = swi_host_create(&ho, &d->host, d->text, sizeof(d->text));
	explicit_bzero(&ho.tp.key, sizeof(ho.tp.key));
	if (rc == SWARM_ENOTRANSPORT) {
		char why[sizeof(d->text)];

		snprintf(why, sizeof(why), "%s", d->text);
		snprintf(d->text, sizeof(d->text), "--transport=%.16s cannot be used: %.400s", o->transport, why);
	}
	return rc;
}

static int make_workers(struct daemon *d)
{
	char logs[PATH_MAX];
	const struct swi_worker_proc_opts wo = {
	    .host = d->host, .log_dir = logs, .died = on_worker_died, .ctx = d};

	if ((size_t)snprintf(logs, sizeof(logs), "%s/logs", d->o->dir) >= sizeof(logs))
		return -ENAMETOOLONG;
	return swi_worker_proc_create(&wo, &d->workers, d->text, sizeof(d->text));
}

static int make_provider(struct daemon *d)
{
	struct swi_snode *sn = swi_host_snode(d->host);
	const struct swt_provider_opts po = {
	    .host = d->host,
	    .log = swi_snode_log(sn),
	    .daemon = d->o,
	    .head_address = swi_tp_address(swi_snode_tp(sn)),
	};

	if (!d->o->head || !d->o->max_nodes)
		return 0;
	return swt_provider_create(&po, &d->provider, d->text, sizeof(d->text));
}

static int make_node(struct daemon *d)
{
	const struct swt_daemon_opts *o = d->o;
	const struct swi_host_upper upper = {.ctx = d,
					     .step = upper_step,
					     .deadline_ns = upper_deadline,
					     .admit = upper_admit};
	const struct swi_node_opts no = {
	    .sn = swi_host_snode(d->host),
	    .head = o->head,
	    .head_address = o->address,
	    .total = d->total,
	    .workers = swi_worker_proc_ops(d->workers),
	    .workers_max = o->workers_max,
	    .scale = {.min_nodes = o->min_nodes,
		      .max_nodes = o->max_nodes,
		      .idle_timeout_ns = o->idle_timeout_ns,
		      .shape = d->total},
	    .provider = d->provider ? swt_provider_ops(d->provider) : (struct swi_provider_ops){0},
	    .provided = o->provided,
	    .no_prefetch = o->no_prefetch,
	    .ended = on_ended,
	    .event = on_event,
	    .ctx = d,
	};
	const int rc = swi_node_create(&no, &d->node, d->text, sizeof(d->text));

	if (!rc)
		swi_host_set_upper(d->host, &upper);
	return rc;
}

static int make_signals(struct daemon *d)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	/* A library that the transports pull in catches it and calls exit(): a crash must look like one. */
	sigaction(SIGSEGV, &(const struct sigaction){.sa_handler = SIG_DFL}, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->signal_fd < 0)
		return -errno;
	return swi_host_add_fd(d->host, d->signal_fd, EPOLLIN, on_signal, d);
}

static int make(struct daemon *d)
{
	int rc = swt_daemon_resources(d->o, &d->total, d->text, sizeof(d->text)) ? -EINVAL : 0;

	if (!rc)
		rc = make_dir(d);
	if (!rc)
		rc = make_host(d);
	if (!rc)
		rc = make_workers(d);
	if (!rc)
		rc = make_provider(d);
	if (!rc)
		rc = make_node(d);
	if (!rc)
		rc = make_signals(d);
	if (rc && !d->text[0])
		snprintf(d->text, sizeof(d->text), "%s", swarm_strerror(rc));
	return rc;
}

static void unmake(struct daemon *d)
{
	/* Nodes that we started first: they still want to say good-bye. */
	swt_provider_destroy(d->provider);
	swi_node_destroy(d->node);
	d->node = NULL;
	swi_worker_proc_destroy(d->workers);
	swi_host_destroy(d->host);
	if (d->signal_fd >= 0)
		close(d->signal_fd);
	if (d->events_fd >= 0)
		close(d->events_fd);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
}

int swt_daemon_run(const struct swt_daemon_opts *o)
{
	struct daemon d = {.o = o, .lock_fd = -1, .signal_fd = -1, .events_fd = -1};
	int rc;

	d.ready_fd = o->ready_fd == UINT32_MAX ? 1 : (int)o->ready_fd;
	setenv("SWARM_LOG", o->log_level, 1);
	rc = make(&d);
	if (!rc) {
		d.give_up_ns = swi_now(swi_env_real()) + JOIN_NS;
		rc = swi_host_run(d.host);
		if (!rc)
			rc = d.status;
		if (rc && !d.text[0])
			snprintf(d.text, sizeof(d.text), "%s", swarm_strerror(rc));
	}
	rc = rc ? fail(&d, rc) : 0;
	unmake(&d);
	return rc;
}
