/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_start.c - `swarm start`: checks the options, starts swarmd in the background, waits until the node
 * is up, and says what to do next.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "sched/spawn.h"
#include "tools/cli.h"
#include "tools/daemon_opts.h"

struct start_opts {
	struct swt_daemon_opts d;
	bool foreground;
	const char *format;
};

static const struct swt_opt options[] = {
    SWT_DAEMON_OPTIONS(struct start_opts, d),
    {"foreground", 0, SWT_FLAG, offsetof(struct start_opts, foreground), NULL,
     "stay in the foreground and log to standard error", NULL},
    {"format", 'f', SWT_CHOICE, offsetof(struct start_opts, format), "FORMAT",
     "table or json (default table)", "table|json"},
    SWT_OPT_END,
};

static const struct swt_command command = {
    .name = "swarm start",
    .summary = "Start a node: the head of a new cluster, or one more node of a cluster.",
    .opts = options,
    .more = "Example:\n  swarm start --head\n  swarm start --address 10.0.0.1:6480 --key-file cluster.key",
};

static void daemon_argv(const struct start_opts *o, struct swt_argv *a)
{
	const struct swt_daemon_opts *d = &o->d;

	swt_argv_add(a, "swarmd");
	if (d->head)
		swt_argv_add(a, "--head");
	else
		swt_argv_add(a, "--address=%s", d->address);
	swt_argv_add(a, "--dir=%s", d->dir);
	swt_argv_add(a, "--bind=%s", d->bind);
	swt_argv_add(a, "--key-file=%s", d->key_file);
	swt_daemon_to_argv(d, a);
	for (uint32_t i = 0; i < d->spill_dirs.n; i++)
		swt_argv_add(a, "--spill-dir=%s", d->spill_dirs.v[i]);
	if (d->min_nodes)
		swt_argv_add(a, "--min-nodes=%u", d->min_nodes);
	if (d->max_nodes)
		swt_argv_add(a, "--max-nodes=%u", d->max_nodes);
	swt_argv_add(a, "--idle-timeout=%llums",
		     (unsigned long long)(d->idle_timeout_ns / NS_PER_MS));
	if (!o->foreground)
		swt_argv_add(a, "--daemonize");
}

static void say(const json_t *doc)
{
	const char *address = json_string_value(json_object_get(doc, "address"));
	const char *dir = json_string_value(json_object_get(doc, "dir"));
	const char *key = json_string_value(json_object_get(doc, "key_file"));
	const bool head = json_is_true(json_object_get(doc, "head"));

	printf("%s is up: node %lld at %s (%s, %s), pid %lld, run directory %s\n",
	       head ? "The head" : "The node",
	       (long long)json_integer_value(json_object_get(doc, "node")), address,
	       json_string_value(json_object_get(doc, "transport")),
	       json_string_value(json_object_get(doc, "device")),
	       (long long)json_integer_value(json_object_get(doc, "pid")), dir);
	if (head)
		printf("\nAdd a node (copy the key to its host first; same host: add --dir):\n"
		       "  swarm start --address %s --key-file %s\n",
		       address, key);
	printf("\nConnect a driver on this host:\n"
	       "  SWARM_DIR=%s ./driver        (swarm_client_open(NULL, ...))\n"
	       "\nLook at it, and stop it:\n"
	       "  swarm status --dir %s\n"
	       "  swarm stop --dir %s\n",
	       dir, dir, dir);
}

static int judge(const struct start_opts *o, const char *text, size_t len)
{
	json_t *doc = json_loadb(text, len, JSON_DISABLE_EOF_CHECK, NULL);
	int rc = 0;

	if (!doc)
		return swt_error(&command, SWT_FAILED,
				 "the daemon ended before the node was up; see %s/logs/swarmd.log", o->d.dir);
	if (!json_is_true(json_object_get(doc, "ok")))
		rc = swt_error(&command, SWT_FAILED, "%s",
			       json_string_value(json_object_get(doc, "error")));
	else if (o->format && !strcmp(o->format, "json"))
		swt_print_json(doc, stdout);
	else
		say(doc);
	json_decref(doc);
	return rc;
}

/* Runs the program, which leaves once the node is up, and reads the line that it prints. */
static int launch(const struct start_opts *o, const char *program, char *const *argv)
{
	char buf[4096];
	size_t n = 0;
	ssize_t got;
	int fds[2];
	pid_t pid;

	if (pipe(fds))
		return swt_error(&command, SWT_FAILED, "no pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return swt_error(&command, SWT_FAILED, "cannot fork: %s", strerror(errno));
	if (!pid) {
		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		execv(program, argv);
		_exit(127);
	}
	close(fds[1]);
	while (n < sizeof(buf) && (got = read(fds[0], buf + n, sizeof(buf) - n)) != 0) {
		if (got < 0 && errno != EINTR)
			break;
		n += got > 0 ? (size_t)got : 0;
	}
	close(fds[0]);
	(void)waitpid(pid, NULL, 0);
	return judge(o, buf, n);
}

int swt_cmd_start(int argc, char **argv)
{
	static struct start_opts o;
	static struct swt_daemon_strings strings;
	char program[PATH_MAX], why[512];
	struct swt_argv a = {.n = 0};
	int first, rc;

	swt_daemon_defaults(&o.d);
	rc = swt_parse(&command, argc, argv, &o, &first);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	rc = swt_daemon_complete(&o.d, &strings, why, sizeof(why));
	if (rc)
		return swt_error(&command, rc, "%s", why);
	if (swi_program_find("swarmd", program, sizeof(program), why, sizeof(why)))
		return swt_error(&command, SWT_FAILED, "%s", why);
	daemon_argv(&o, &a);
	if (o.foreground) {
		execv(program, a.v);
		rc = swt_error(&command, SWT_FAILED, "%s cannot be run: %s", program,
			       strerror(errno));
	} else {
		rc = launch(&o, program, a.v);
	}
	swt_argv_free(&a);
	return rc;
}
