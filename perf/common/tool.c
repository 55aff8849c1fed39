/* SPDX-License-Identifier: Apache-2.0 */
/* tool.c - see tool.h. The argument lists are made here from numbers; nothing of a request becomes a command. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdarg.h>

#include "perf/common/serve.h"
#include "perf/common/tool.h"

#define TOOL_ARGS 24
#define TOOL_PORT 18556u
#define TRIES	  40u

extern char **environ;

static const char *const known[] = {"ib_read_lat", "ib_read_bw", "fi_rma_bw"};

struct command {
	char text[TOOL_ARGS][64];
	char *argv[TOOL_ARGS + 1];
	int n;
};

static void add(struct command *c, const char *fmt, ...) SWI_PRINTF(2, 3);
static void add(struct command *c, const char *fmt, ...)
{
	va_list ap;

	SWI_BUG_ON(c->n == TOOL_ARGS);
	va_start(ap, fmt);
	vsnprintf(c->text[c->n], sizeof(c->text[0]), fmt, ap);
	va_end(ap);
	c->argv[c->n] = c->text[c->n];
	c->argv[++c->n] = NULL;
}

static const char *name_of(const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "name"));

	for (size_t i = 0; name && i < SWI_ARRAY_LEN(known); i++)
		if (!strcmp(name, known[i]))
			return known[i];
	return NULL;
}

static unsigned long long num(const json_t *request, const char *key)
{
	const json_int_t v = json_integer_value(json_object_get(request, key));

	return v > 0 ? (unsigned long long)v : 0;
}

/* Both sides take the same list; the client's ends with the host. */
static void build(struct command *c, const json_t *request)
{
	const char *name = name_of(request), *device = json_string_value(json_object_get(request, "device"));
	const bool fi = !strcmp(name, "fi_rma_bw");

	c->n = 0;
	add(c, "%s", name);
	if (fi) {
		add(c, "-p"), add(c, "tcp");
		add(c, "-e"), add(c, "msg");
		add(c, "-o"), add(c, "read");
		add(c, "-S"), add(c, "%llu", num(request, "size"));
		add(c, "-I"), add(c, "%llu", num(request, "iters"));
		add(c, "-W"), add(c, "%llu", num(request, "depth"));
		add(c, "-B"), add(c, "%llu", num(request, "port"));
		return;
	}
	add(c, "-F");
	add(c, "-s"), add(c, "%llu", num(request, "size"));
	add(c, "-n"), add(c, "%llu", num(request, "iters"));
	add(c, "-p"), add(c, "%llu", num(request, "port"));
	if (!strcmp(name, "ib_read_bw"))
		add(c, "-t"), add(c, "%llu", num(request, "depth"));
	if (!strcmp(name, "ib_read_bw") && num(request, "queue_pairs"))
		add(c, "-q"), add(c, "%llu", num(request, "queue_pairs"));
	if (device && device[0] && device[0] != '-')
		add(c, "-d"), add(c, "%s", device);
}

/* Its output comes through *out_fd when that is not NULL. */
static int start(struct command *c, pid_t *pid, int *out_fd)
{
	posix_spawn_file_actions_t fa;
	int p[2], rc;

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	if (out_fd)
		posix_spawn_file_actions_adddup2(&fa, p[1], 1);
	else
		posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	rc = posix_spawnp(pid, c->argv[0], &fa, NULL, c->argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(p[1]);
	if (out_fd && !rc)
		*out_fd = p[0];
	else
		close(p[0]);
	return -rc;
}

json_t *perf_tool_serve(const json_t *request)
{
	static pid_t last;
	struct command c;

	if (last) { /* one at a time: an old one that nobody reached is in the way */
		if (waitpid(last, NULL, WNOHANG) == 0) {
			kill(last, SIGKILL);
			waitpid(last, NULL, 0);
		}
		last = 0;
	}
	if (json_is_true(json_object_get(request, "stop")))
		return json_object();
	if (!name_of(request) || !num(request, "port") || num(request, "port") > 65535)
		return json_pack("{s:s}", "error", "no such baseline");
	build(&c, request);
	if (start(&c, &last, NULL)) {
		last = 0;
		return json_pack("{s:b}", "started", 0);
	}
	return json_pack("{s:b}", "started", 1);
}

static bool installed(const char *name)
{
	const char *path = getenv("PATH");
	char file[512];

	while (path && *path) {
		const size_t n = strcspn(path, ":");

		snprintf(file, sizeof(file), "%.*s/%s", (int)n, path, name);
		if (!access(file, X_OK))
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

const char *perf_tool_for(const struct perf_rig *rig, enum perf_kind kind, const char **out_why)
{
	const bool verbs = !strncmp(rig->backend, "verbs", 5);
	const char *name = verbs ? (kind == PERF_LAT ? "ib_read_lat" : "ib_read_bw") : "fi_rma_bw";

	*out_why = NULL;
	if (!verbs && (kind == PERF_LAT || strncmp(rig->backend, "ofi", 3)))
		return NULL;
	if (installed(name))
		return name;
	*out_why = name;
	return NULL;
}

/* The figure in the last line of numbers: bytes, iterations, figures. */
static bool read_figure(FILE *f, const char *name, double *out)
{
	const bool fi = !strcmp(name, "fi_rma_bw");
	const int column = fi || !strcmp(name, "ib_read_lat") ? 5 : 4;
	char line[512];
	bool found = false;

	while (fgets(line, sizeof(line), f)) {
		char *at = line, *word = NULL;

		at += strspn(at, " ");
		if (*at < '0' || *at > '9')
			continue;
		for (int i = 0; i < column; i++) {
			word = at + strspn(at, " \t");
			at = word + strcspn(word, " \t\n");
		}
		if (*word < '0' || *word > '9')
			continue;
		*out = strtod(word, NULL);
		found = *out > 0;
	}
	if (!strcmp(name, "ib_read_lat"))
		*out *= 1e3; /* usec */
	else
		*out *= fi ? 1e6 : 0x1p20; /* perftest's MB are MiB */
	return found;
}

static int run_client(const json_t *request, const char *host, double *out)
{
	struct command c;
	int fd, status = -1, rc;
	bool found;
	pid_t pid;
	FILE *f;

	build(&c, request);
	add(&c, "%s", host);
	rc = start(&c, &pid, &fd);
	if (rc)
		return rc;
	f = fdopen(fd, "r");
	SWI_BUG_ON(!f);
	found = read_figure(f, name_of(request), out);
	fclose(f);
	waitpid(pid, &status, 0);
	return found && status == 0 ? 0 : -EAGAIN;
}

int perf_tool_run(struct perf_rig *rig, const char *name, uint64_t size, uint32_t depth, uint64_t iters,
		  double *out_value)
{
	const char *colon = strrchr(rig->server, ':');
	char host[128];
	json_t *request = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:s}", "cmd", "tool", "name", name,
				    "size", (json_int_t)size, "iters", (json_int_t)iters, "depth",
				    (json_int_t)depth, "queue_pairs", (json_int_t)rig->o->queue_pairs, "port", TOOL_PORT, "device",
				    rig->o->device && strncmp(rig->backend, "ofi", 3) ? rig->o->device : "");
	int rc = -EAGAIN;

	snprintf(host, sizeof(host), "%.*s", (int)(colon ? colon - rig->server : 0), rig->server);
	json_t *answer = perf_ask(rig, json_incref(request));
	const bool started = json_is_true(json_object_get(answer, "started"));

	json_decref(answer);
	/* Its server listens a moment after it was started; only trying tells. */
	for (uint32_t i = 0; started && rc == -EAGAIN && i < TRIES; i++) {
		rc = run_client(request, host, out_value);
		if (rc == -EAGAIN)
			poll(NULL, 0, 100);
	}
	json_decref(request);
	json_decref(perf_ask(rig, json_pack("{s:s, s:b}", "cmd", "tool", "stop", 1)));
	return rc;
}
