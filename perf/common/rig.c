/* SPDX-License-Identifier: Apache-2.0 */
/* rig.c - see rig.h. One thread. */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <swarm/version.h>

#include "perf/common/rig.h"
#include "perf/common/scratch.h"
#include "perf/common/serve.h"
#include "store/host.h"

#define CHILDREN_MAX 64u

/* What has to go at the end; only of the process that made it. The folder goes by itself (scratch.h), whatever ends us. */
static struct {
	pid_t owner;
	char dir[128]; /* a socket lies in it, and its name may not be longer either */
	pid_t child[CHILDREN_MAX];
	int keep_fd[CHILDREN_MAX]; /* its end tells the child to end */
	uint32_t children;
} made;

static void at_end(void)
{
	if (made.owner != getpid())
		return;
	while (made.children) {
		made.children--;
		close(made.keep_fd[made.children]);
		kill(made.child[made.children], SIGKILL);
		waitpid(made.child[made.children], NULL, 0);
	}
}

static void on_signal(int sig)
{
	if (made.owner == getpid())
		for (uint32_t i = 0; i < made.children; i++)
			kill(made.child[i], SIGKILL);
	_exit(128 + sig);
}

static void own(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	if (made.owner)
		return;
	made.owner = getpid();
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	atexit(at_end);
}

const char *perf_dir(const struct perf_opts *o)
{
	char dir[PERF_SCRATCH_MAX];

	if (made.dir[0])
		return made.dir;
	perf_scratch(o, NULL, dir);
	if (strlen(dir) >= sizeof(made.dir))
		perf_die(o, "%s: the name is too long; set TMPDIR to a shorter one", dir);
	memcpy(made.dir, dir, strlen(dir) + 1);
	own(); /* after it: what works in the folder ends before the folder does */
	return made.dir;
}

/*
 * A child that runs @fn and ends, at the latest with this process. What @fn writes into @out_fd (one line) is
 * returned. Before any thread of this process.
 */
static void start_child(const struct perf_opts *o, void (*fn)(void *ctx, int out_fd), void *ctx, char *line,
			size_t line_len)
{
	int out[2], keep[2];
	size_t n = 0;
	pid_t pid;

	own();
	if (made.children == CHILDREN_MAX || pipe2(out, O_CLOEXEC) || pipe2(keep, O_CLOEXEC))
		perf_die(o, "no more child processes can be had");
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		perf_die(o, "fork: %s", strerror(errno));
	if (!pid) {
		close(out[0]);
		close(keep[1]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn(ctx, out[1]);
		_exit(0);
	}
	close(out[1]);
	close(keep[0]);
	made.child[made.children] = pid;
	made.keep_fd[made.children++] = keep[1];
	while (n + 1 < line_len && read(out[0], &line[n], 1) == 1 && line[n] != '\n')
		n++;
	line[n] = '\0';
	close(out[0]);
}

struct swarm_store *perf_open(const struct perf_opts *o, uint64_t arena, uint64_t objects,
			      const char *run, const char *bind, const char *key, uint32_t node)
{
	const struct swarm_store_opts so = {
		.size = sizeof(so),
		.flags = (o->huge ? SWARM_STORE_HUGE_PAGES : 0) | (o->hugetlb ? SWARM_STORE_HUGETLB : 0),
		.arena_bytes = arena,
		.objects_max = objects,
		.dir = run,
		.bind = bind,
		.transport = o->transport,
		.device = o->device,
		.key_file = key,
		.queue_pairs = bind ? o->queue_pairs : 0,
		.node = node,
	};
	struct swarm_store *st;
	char why[256] = "";

	if (swarm_store_open(&so, &st, why, sizeof(why)))
		perf_die(o, "%s", why);
	return st;
}

uint64_t perf_status(struct swarm_store *st, const char *path)
{
	char *text, key[64];
	json_t *doc, *at;
	uint64_t v;

	if (swarm_store_status(st, &text))
		return 0;
	at = doc = json_loads(text, 0, NULL);
	while (at && *path) {
		const size_t n = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)n, path);
		at = json_object_get(at, key);
		path += n + (path[n] == '.');
	}
	v = (uint64_t)json_integer_value(at);
	json_decref(doc);
	free(text);
	return v;
}

/* ---- modes ---- */

struct host_child {
	const struct perf_opts *o;
	const char *run;
	uint64_t arena;
};

/* The other process of --attach: has the store and does nothing else. */
static void run_host(void *ctx, int out_fd)
{
	const struct host_child *h = ctx;
	struct swarm_store *st = perf_open(h->o, h->arena, 0, h->run, NULL, NULL, PERF_SERVER_NODE);

	if (write(out_fd, "ready\n", 6) == 6)
		pause();
	swarm_store_close(st);
}

static void run_path(const struct perf_opts *o, char path[PERF_PATH_MAX])
{
	snprintf(path, PERF_PATH_MAX, "%s/run", perf_dir(o));
}

struct server_child {
	const struct perf_opts *o;
	const char *key;
	uint64_t arena;
};

static void run_server(void *ctx, int out_fd)
{
	const struct server_child *s = ctx;

	perf_serve(s->o, s->arena, s->key, out_fd);
}

void perf_rig_key(struct perf_rig *rig)
{
	uint8_t key[SWI_CLUSTER_KEY_BYTES];
	char why[256] = "";

	snprintf(rig->key, sizeof(rig->key), "%s/key", perf_dir(rig->o));
	if (swi_key_make(rig->key, key, why, sizeof(why)))
		perf_die(rig->o, "%s", why);
}

void perf_rig_start(struct perf_rig *rig, const struct perf_opts *o, uint64_t arena)
{
	char line[PERF_PATH_MAX], run[PERF_PATH_MAX];

	*rig = (struct perf_rig){.o = o, .home = PERF_SERVER_NODE, .next_node = PERF_SERVER_NODE + 1};
	if (o->attach) {
		struct host_child h = {.o = o, .run = run, .arena = o->arena_bytes ? o->arena_bytes : arena};

		run_path(o, run);
		start_child(o, run_host, &h, line, sizeof(line));
		if (strcmp(line, "ready"))
			exit(1); /* it has said why */
	} else if (o->loopback) {
		struct server_child s = {.o = o, .key = rig->key,
					 .arena = o->arena_bytes ? o->arena_bytes : arena};

		perf_rig_key(rig);
		start_child(o, run_server, &s, rig->server, sizeof(rig->server));
		if (!rig->server[0])
			exit(1);
	} else if (o->host) {
		perf_key_path(o, rig->key, sizeof(rig->key));
		snprintf(rig->server, sizeof(rig->server), strchr(o->host, ':') ? "[%s]:%u" : "%s:%u",
			 o->host, o->port);
	}
}

static void join_server(struct perf_rig *rig)
{
	const struct perf_opts *o = rig->o;
	const int rc = swarm_store_peer(rig->st, rig->server, 10 * NS_PER_S);
	json_t *hello;

	if (rc)
		perf_die(o, "no server at %s: %s", rig->server,
			 rc == -ETIMEDOUT || rc == SWARM_EPEERLOST || rc == -ECONNREFUSED
				 ? "nobody answers; start the same program there without a host"
				 : swarm_strerror(rc));
	hello = perf_ask(rig, json_pack("{s:s, s:i, s:s}", "cmd", "hello", "node", (int)rig->next_node - 1,
				      "version", swarm_version()));
	rig->server_arena = (uint64_t)json_integer_value(json_object_get(hello, "arena_bytes"));
	snprintf(rig->backend, sizeof(rig->backend), "%s",
		 json_string_value(json_object_get(hello, "backend")));
	json_decref(hello);
	if ((o->queue_pairs || o->gid_index != UINT32_MAX) && strncmp(rig->backend, "verbs", 5) != 0)
		perf_die(o, "--qp and --gid-index are of verbs; here the bytes go over %s: give --transport=verbs", rig->backend);
}

void perf_rig_open(struct perf_rig *rig, uint64_t arena)
{
	const struct perf_opts *o = rig->o;
	char path[PERF_PATH_MAX], why[256] = "", bind[128];

	perf_rig_close(rig);
	run_path(o, path);
	if (o->attach) {
		if (swarm_store_attach(path, &rig->st, why, sizeof(why)))
			perf_die(o, "%s", why);
		return;
	}
	if (!perf_remote(rig)) {
		rig->st = perf_open(o, arena, 0, o->others ? path : NULL, NULL, NULL, PERF_SERVER_NODE);
		return;
	}
	snprintf(bind, sizeof(bind), "%s:0", o->bind ? o->bind : o->loopback ? "127.0.0.1" : "0.0.0.0");
	rig->st = perf_open(o, arena, 0, NULL, bind, rig->key, rig->next_node++);
	join_server(rig);
}

void perf_rig_close(struct perf_rig *rig)
{
	swarm_store_close(rig->st);
	rig->st = NULL;
}

void perf_rig_end(struct perf_rig *rig)
{
	if (rig->st && perf_remote(rig))
		json_decref(perf_ask(rig, json_pack("{s:s}", "cmd", "end")));
	perf_rig_close(rig);
}
