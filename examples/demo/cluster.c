/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.c - a cluster on this machine, driven as a person would: through the `swarm` program and the
 * JSON that it prints. The head keeps at least four nodes and starts up to six; every node has its own
 * run directory, arena and spill folder below one temporary folder, which is gone in the end.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"

#define IDLE	   "--idle-timeout=2s"
#define START_NS   (30 * NS_PER_S)

struct cluster {
	char dir[PATH_MAX];	 /* the temporary folder */
	char head[PATH_MAX + 8]; /* run directory of the head */
	char program[PATH_MAX];	 /* swarm */
	json_int_t events_seen;
};

const char *cluster_head_dir(const struct cluster *c)
{
	return c->head;
}

int demo_beside(const char *name, char *buf, size_t len)
{
	char self[PATH_MAX];
	const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return demo_fail("no /proc/self/exe: %s", strerror(errno));
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	if ((size_t)snprintf(buf, len, "%s/%s", self, name) >= len)
		return demo_fail("the path of %s is too long", name);
	return access(buf, R_OK) ? demo_fail("%s is missing: build it first", buf) : 0;
}

/* ---- the swarm program ---- */

/* Runs it; *out (may be NULL) gets what it printed, to be freed. 0 when it exited with 0. */
static int swarm(struct cluster *c, const char *const *args, char **out)
{
	const char *argv[24] = {c->program};
	size_t n = 0, cap = 0;
	char *text = NULL;
	int fds[2], status;
	pid_t pid;

	for (uint32_t i = 0; args[i] && i < 22; i++)
		argv[i + 1] = args[i];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return demo_fail("pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		if (!out)
			dup2(fds[1], STDERR_FILENO);
		execv(c->program, (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(fds[1]);
	for (;;) {
		ssize_t got;

		if (cap - n < 4096) {
			char *more = realloc(text, cap += 65536);

			if (!more)
				break;
			text = more;
		}
		got = read(fds[0], text + n, cap - n - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	close(fds[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (text)
		text[n] = '\0';
	if (pid < 0 || !text || !WIFEXITED(status) || WEXITSTATUS(status)) {
		free(text);
		return -1;
	}
	if (out)
		*out = text;
	else
		free(text);
	return 0;
}

/* A JSON document from `swarm ARGS --dir=.. --format=json`; NULL when the node does not answer. */
static json_t *ask(struct cluster *c, const char *command, const char *what, const char *dir)
{
	char dir_arg[PATH_MAX + 16], *text = NULL;
	const char *args[] = {command, dir_arg, "--format=json", what, NULL};
	json_t *doc;

	snprintf(dir_arg, sizeof(dir_arg), "--dir=%s", dir);
	if (swarm(c, args, &text) < 0)
		return NULL;
	doc = json_loads(text, 0, NULL);
	free(text);
	return doc;
}

static uint64_t number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? (uint64_t)json_number_value(v) : 0;
}

/* ---- processes ---- */

/* The ids of processes whose command line holds @text; at most @max. */
static uint32_t processes(const char *program, const char *text, pid_t *out, uint32_t max)
{
	DIR *proc = opendir("/proc");
	uint32_t n = 0;

	for (struct dirent *e; proc && (e = readdir(proc)) != NULL && n < max;) {
		char path[300], line[4096];
		const pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		ssize_t len;
		int fd;

		if (pid <= 1 || pid == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
		if (fd >= 0)
			close(fd);
		if (len <= 0)
			continue;
		line[len] = '\0';
		for (ssize_t i = 0; i < len - 1; i++)
			if (!line[i])
				line[i] = ' ';
		if (strstr(line, program) && strstr(line, text))
			out[n++] = pid;
	}
	if (proc)
		closedir(proc);
	return n;
}

/* ---- start and stop ---- */

static int start_head(struct cluster *c, const struct demo_opts *o)
{
	char dir[PATH_MAX + 16], spill[PATH_MAX + 32], min[32], max[32], arena[32], *text = NULL;
	const char *args[] = {"start",	"--head", dir,	      "--bind=127.0.0.1:0",   "--transport=ofi",
			      "--device=tcp", arena, spill, "--cpus=1", min,
			      max,	IDLE, "--format=json", NULL};

	snprintf(dir, sizeof(dir), "--dir=%s", c->head);
	snprintf(spill, sizeof(spill), "--spill-dir=%s/spill", c->dir);
	snprintf(min, sizeof(min), "--min-nodes=%d", (int)o->nodes);
	snprintf(max, sizeof(max), "--max-nodes=%d", (int)(o->nodes + o->nodes / 2));
	snprintf(arena, sizeof(arena), "--arena=%llu", (unsigned long long)o->arena_bytes);
	if (swarm(c, args, &text) < 0)
		return demo_fail("swarm start --head failed; see above and %s/logs", c->head);
	free(text);
	return 0;
}

int cluster_start(const struct demo_opts *opts, struct cluster **out)
{
	struct cluster *c = calloc(1, sizeof(*c));

	if (!c)
		return demo_fail("no memory");
	*out = c; /* cluster_stop() cleans up whatever there is */
	if (demo_beside("swarm", c->program, sizeof(c->program)) < 0)
		return -1;
	snprintf(c->dir, sizeof(c->dir) - 32, "%s/swarm-demo.XXXXXX", opts->dir);
	if (!mkdtemp(c->dir)) {
		const int err = errno;

		c->dir[0] = '\0';
		return demo_fail("cannot make a folder in %s: %s; choose another with --dir", opts->dir,
				 strerror(err));
	}
	snprintf(c->head, sizeof(c->head), "%s/head", c->dir);
	progress_print("demo: a head and %d nodes, up to %d; arenas of %llu MiB; everything lies in %s",
		       (int)opts->nodes - 1, (int)(opts->nodes + opts->nodes / 2),
		       (unsigned long long)(opts->arena_bytes >> 20), c->dir);
	if (start_head(c, opts) < 0)
		return -1;
	if (!cluster_wait_size(c, (int)opts->nodes, START_NS))
		return demo_fail("the cluster has %d nodes instead of %d; see the logs in %s", cluster_size(c),
				 (int)opts->nodes, c->dir);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)remove(path); /* what cannot be removed is seen when the folder itself stays */
	return 0;
}

void cluster_stop(struct cluster *c)
{
	char dir[PATH_MAX + 16];
	const char *const args[] = {"stop", "--all", "--force", "--timeout=8s", dir, NULL};
	pid_t pid[256];

	if (!c)
		return;
	if (c->dir[0]) {
		progress_print("demo: stopping the nodes");
		snprintf(dir, sizeof(dir), "--dir=%s", c->head);
		(void)swarm(c, args, NULL); /* whatever is left is ended below */
		for (uint32_t round = 0; round < 50; round++) {
			const uint32_t n = processes("swarm", c->dir, pid, 256);

			if (!n)
				break;
			for (uint32_t i = 0; round >= 20 && i < n; i++)
				kill(pid[i], SIGKILL);
			(void)poll(NULL, 0, 100);
		}
		nftw(c->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
		if (!access(c->dir, F_OK))
			demo_fail("%s could not be removed", c->dir);
	}
	free(c);
}

/* ---- what the cluster says of itself ---- */

int cluster_size(struct cluster *c)
{
	json_t *doc = ask(c, "list", "nodes", c->head), *node;
	int n = 0;
	size_t i;

	if (!doc)
		return -1;
	json_array_foreach(json_object_get(doc, "nodes"), i, node) {
		const char *state = json_string_value(json_object_get(node, "state"));

		n += state && strcmp(state, "dead") != 0;
	}
	json_decref(doc);
	return n;
}

bool cluster_wait_size(struct cluster *c, int size, uint64_t limit_ns)
{
	const uint64_t until = demo_now_ns() + limit_ns;

	while (cluster_size(c) != size) {
		if (demo_interrupted || demo_now_ns() > until)
			return false;
		(void)poll(NULL, 0, 100);
	}
	return true;
}

/* The head keeps what a node said last when it dies, so the sums only grow. */
int cluster_sums(struct cluster *c, struct cluster_sums *out)
{
	json_t *doc = ask(c, "status", NULL, c->head);
	const json_t *sum = json_object_get(doc, "sum"), *runs = json_object_get(sum, "runs");
	const json_t *store = json_object_get(sum, "store"), *rec = json_object_get(sum, "recovery");

	if (!json_is_object(runs) || !json_is_object(store)) {
		json_decref(doc);
		return demo_fail("the head does not tell its status");
	}
	*out = (struct cluster_sums){
		.tasks = number(runs, "done"),
		.local_bytes = number(runs, "args_local_bytes"),
		.remote_bytes = number(runs, "args_fetched_bytes"),
		.spilled_bytes = number(store, "spilled_bytes"),
		.restored_bytes = number(store, "restore_bytes"),
		.lost = number(rec, "objects_lost"),
		.recovered = number(rec, "objects_recovered"),
	};
	json_decref(doc);
	return 0;
}

struct tally { /* how often each function ran again */
	char function[SWARM_NAME_MAX];
	uint64_t runs;
};
#define TALLY_MAX 16u

static void tally(struct tally *t, const char *function)
{
	for (uint32_t i = 0; function && i < TALLY_MAX; i++) {
		if (t[i].runs && strcmp(t[i].function, function) != 0)
			continue;
		snprintf(t[i].function, sizeof(t[i].function), "%s", function);
		t[i].runs++;
		return;
	}
}

/* What the dead node had, and nobody else. */
static void print_losses(const json_t *e)
{
	const json_t *l;
	size_t i;

	json_array_foreach(json_object_get(e, "lost"), i, l) {
		const char *function = json_string_value(json_object_get(l, "function"));
		const char *first = json_string_value(json_object_get(l, "first"));

		if (function && first)
			progress_print("  lost with node %llu: %llu results of %s (%s%s)",
				       (unsigned long long)number(e, "lost_node"),
				       (unsigned long long)number(l, "objects"), function, first,
				       number(l, "objects") > 1 ? ", .." : "");
	}
}

static void count_event(const json_t *e, struct cluster_events *out, struct tally *again)
{
	const char *kind = json_string_value(json_object_get(e, "event"));

	if (!kind)
		return;
	if (!strcmp(kind, "rerun")) {
		out->rerun++;
		tally(again, json_string_value(json_object_get(e, "function")));
	} else if (!strcmp(kind, "recovered")) {
		const double s = (double)number(e, "ns") / 1e9;

		if (s > out->recovery_s)
			out->recovery_s = s;
		print_losses(e);
	} else if (!strcmp(kind, "died")) {
		out->died++;
		progress_print("  node %llu died: %s", (unsigned long long)number(e, "who"),
			       json_string_value(json_object_get(e, "why")));
	} else if (!strcmp(kind, "scale_up")) {
		out->started += number(e, "nodes");
	} else if (!strcmp(kind, "drained")) {
		out->drained++;
	} else if (!strcmp(kind, "object_lost")) {
		progress_print("  lost for good: %s", json_string_value(json_object_get(e, "why")));
	}
}

static void print_events(const struct cluster_events *e, const struct tally *again)
{
	if (e->rerun) {
		progress_break();
		fputs("  what was lost was made again by running tasks:", stderr);
		for (uint32_t i = 0; i < TALLY_MAX && again[i].runs; i++)
			fprintf(stderr, "%s %llu %s", i ? "," : "", (unsigned long long)again[i].runs,
				again[i].function);
		fputc('\n', stderr);
	}
	if (e->started || e->drained)
		progress_print("  the head started %llu nodes and let %llu idle ones go",
			       (unsigned long long)e->started, (unsigned long long)e->drained);
}

int cluster_events(struct cluster *c, struct cluster_events *out)
{
	char dir[PATH_MAX + 16], *text = NULL, *save = NULL;
	const char *const args[] = {"events", dir, "--format=json", NULL};
	struct tally again[TALLY_MAX] = {{.runs = 0}};

	memset(out, 0, sizeof(*out));
	out->recovery_s = -1;
	snprintf(dir, sizeof(dir), "--dir=%s", c->head);
	if (swarm(c, args, &text) < 0)
		return demo_fail("the head does not tell its events");
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		json_t *e = json_loads(line, 0, NULL);

		if (e && json_integer_value(json_object_get(e, "seq")) >= c->events_seen) {
			c->events_seen = json_integer_value(json_object_get(e, "seq")) + 1;
			count_event(e, out, again);
		}
		json_decref(e);
	}
	free(text);
	print_events(out, again);
	return 0;
}

/* ---- the kill ---- */

/* The pids of the nodes that the head started; the head itself is not among them. */
static uint32_t other_nodes(struct cluster *c, pid_t *out, uint32_t max)
{
	char text[PATH_MAX + 32];

	snprintf(text, sizeof(text), "--dir=%s/nodes/", c->head);
	return processes("swarmd", text, out, max);
}

/* The run directory that a node was started with. */
static bool node_dir(pid_t pid, char *dir, size_t len)
{
	char path[64], line[8192];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (fd >= 0)
		close(fd);
	line[n > 0 ? n : 0] = '\0';
	for (const char *arg = line; n > 0 && arg < line + n; arg += strlen(arg) + 1)
		if (!strncmp(arg, "--dir=", 6))
			return (size_t)snprintf(dir, len, "%s", arg + 6) < len;
	return false;
}

struct holding {
	pid_t pid;
	uint64_t node, bytes; /* of objects whose first copy it has, in memory or on disk */
};

static bool holding_of(struct cluster *c, pid_t pid, struct holding *out)
{
	char dir[PATH_MAX];
	json_t *doc = node_dir(pid, dir, sizeof(dir)) ? ask(c, "memory", NULL, dir) : NULL, *part;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(doc, "nodes"), i, part) {
		const json_t *arena = json_object_get(part, "arena"), *disk = json_object_get(part, "disk");

		if (number(part, "node") != number(doc, "asked"))
			continue;
		found = true;
		*out = (struct holding){
			.pid = pid,
			.node = number(part, "node"),
			/* What is clean lies on the disk as well. */
			.bytes = number(arena, "primary_bytes") - number(arena, "clean_bytes") +
				 number(disk, "live_bytes"),
		};
	}
	json_decref(doc);
	return found;
}

/* Of the nodes that the head started the one that holds most: what a newcomer sees is a loss. false: none holds anything. */
static bool fullest(struct cluster *c, const pid_t *pid, uint32_t n, uint64_t rnd, struct holding *out)
{
	struct holding h;

	out->bytes = 0;
	for (uint32_t i = 0; i < n; i++) /* among equals @rnd decides */
		if (holding_of(c, pid[(rnd + i) % n], &h) && h.bytes > out->bytes)
			*out = h;
	return out->bytes > 0;
}

int cluster_kill(struct cluster *c, enum demo_kill how, uint64_t rnd, char *what, size_t what_len)
{
	const char *kind = how == KILL_WORKER ? "worker" : "node";
	struct cluster_sums sums;
	struct holding most;
	pid_t pid[64], victim;
	uint32_t n;

	(void)cluster_sums(c, &sums); /* so that the head knows the victim's counters */
	n = how == KILL_WORKER ? processes("swarm-worker", c->dir, pid, 64) : other_nodes(c, pid, 64);
	if (!n)
		return demo_fail("there is nothing to kill");
	victim = pid[rnd % n];
	snprintf(what, what_len, "a %s (pid %d)", kind, (int)victim);
	if (how == KILL_NODE) {
		if (!fullest(c, pid, n, rnd, &most))
			return 0;
		victim = most.pid;
		snprintf(what, what_len, "node %llu (pid %d), which held %.1f MB of results,",
			 (unsigned long long)most.node, (int)victim, (double)most.bytes / 1e6);
	}
	if (kill(victim, SIGKILL) < 0)
		return demo_fail("cannot kill %s: %s", what, strerror(errno));
	return 1;
}
