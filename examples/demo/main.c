/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the demo: a cluster on this machine counts words, then sorts more than its memory holds. In
 * each program a node is killed half way; the answers must be exact all the same. Exit status 0 only then.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "demo.h"

#define SHRINK_NS (30 * NS_PER_S)

volatile sig_atomic_t demo_interrupted;

uint64_t demo_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

int demo_fail(const char *fmt, ...)
{
	va_list ap;

	progress_break();
	fputs("demo: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return -1;
}

static void on_signal(int sig)
{
	demo_interrupted = sig;
}

static void usage(FILE *f)
{
	fputs("usage: swarm_demo [--size=1G] [--kill=none|node|any-node|worker] [--seed=N] [--dir=DIR]\n"
	      "                  [--kill-at=PERCENT] [--text=DIR[:DIR]] [--only=words|sort]\n"
	      "                  [--nodes=N] [--arena=SIZE] [--json]\n"
	      "  --size  bytes to sort (K, M, G are powers of 1,000)\n"
	      "  --kill  what is killed in each program: the node that holds the most results (default),\n"
	      "          any node, or any worker\n"
	      "  --kill-at  when so many of its tasks are done (default: 50)\n"
	      "  --seed  of the records and of the choice of who is killed\n"
	      "  --dir   where the temporary folder goes (default: $TMPDIR, else /var/tmp)\n"
	      "  --text  whose files' words are counted (default: /usr/include:/usr/share/doc)\n"
	      "  --only  one of the two programs\n"
	      "  --nodes  how many nodes there are at least (default: 4); up to half as many more may be started\n"
	      "  --arena  memory for objects of each node (default: 192 MiB)\n"
	      "  --json  the closing table as JSON on standard output\n",
	      f);
}

static int parse_size(const char *s, uint64_t *out)
{
	char *end;
	uint64_t v, unit = 1;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (*end == 'K' || *end == 'k')
		unit = 1000;
	else if (*end == 'M' || *end == 'm')
		unit = 1000000;
	else if (*end == 'G' || *end == 'g')
		unit = 1000000000;
	if (end == s || errno || (unit > 1 ? end[1] : *end) || v > UINT64_MAX / unit / 2)
		return -1;
	*out = v * unit;
	return 0;
}

static int parse_kill(const char *s, enum demo_kill *out)
{
	static const char *const name[] = {"none", "node", "worker", "any-node"};

	for (int i = 0; i < 4; i++)
		if (!strcmp(s, name[i])) {
			*out = (enum demo_kill)i;
			return 0;
		}
	return -1;
}

/* 0: go on; 1: help was asked for; -1: wrong. */
static int parse(int argc, char **argv, struct demo_opts *o)
{
	static const struct option options[] = {
		{"size", required_argument, NULL, 's'}, {"kill", required_argument, NULL, 'k'},
		{"seed", required_argument, NULL, 'r'}, {"dir", required_argument, NULL, 'd'},
		{"kill-at", required_argument, NULL, 'a'}, {"text", required_argument, NULL, 't'},
		{"only", required_argument, NULL, 'o'}, {"nodes", required_argument, NULL, 'n'},
		{"arena", required_argument, NULL, 'm'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int err = 0, ch;

	while (!err && (ch = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (ch) {
		case 's':
			err = parse_size(optarg, &o->sort_bytes);
			if (!err && o->sort_bytes < 100000)
				err = -1;
			break;
		case 'k':
			err = parse_kill(optarg, &o->kill);
			break;
		case 'a':
			err = parse_size(optarg, &o->kill_at);
			if (!err && o->kill_at > 100)
				err = -1;
			break;
		case 'r':
			err = parse_size(optarg, &o->seed);
			break;
		case 'd':
			o->dir = optarg;
			break;
		case 't':
			o->text = optarg;
			break;
		case 'o':
			o->only = optarg;
			err = strcmp(optarg, "words") && strcmp(optarg, "sort") ? -1 : 0;
			break;
		case 'n':
			err = parse_size(optarg, &o->nodes);
			if (!err && (o->nodes < 1 || o->nodes > 32))
				err = -1;
			break;
		case 'm':
			err = parse_size(optarg, &o->arena_bytes);
			break;
		case 'j':
			o->json = true;
			break;
		case 'h':
			usage(stdout);
			return 1;
		default:
			err = -1;
		}
	}
	if (err || optind < argc)
		usage(stderr);
	return err || optind < argc ? -1 : 0;
}

/* ---- the programs, and what is said of them ---- */

static int run_program(struct demo *d, struct demo_report *r,
		       int (*run)(struct demo *d, struct demo_report *r))
{
	struct cluster_sums before, after;
	struct cluster_events e;
	int err = cluster_sums(d->cluster, &before);

	r->recovery_s = -1;
	if (!err)
		err = run(d, r);
	if (err)
		return err;
	if (cluster_sums(d->cluster, &after) < 0 || cluster_events(d->cluster, &e) < 0)
		return -1;
	r->tasks = after.tasks - before.tasks;
	r->local_bytes = after.local_bytes - before.local_bytes;
	r->remote_bytes = after.remote_bytes - before.remote_bytes;
	r->spilled_bytes = after.spilled_bytes - before.spilled_bytes;
	r->restored_bytes = after.restored_bytes - before.restored_bytes;
	r->lost = after.lost - before.lost;
	r->recovered = after.recovered - before.recovered;
	r->rerun = e.rerun;
	if (e.recovery_s >= 0)
		r->recovery_s = e.recovery_s;
	return 0;
}

static void row(const char *name, int digits, double a, double b)
{
	char cell[2][32];

	snprintf(cell[0], sizeof(cell[0]), "%.*f", digits, a);
	snprintf(cell[1], sizeof(cell[1]), "%.*f", digits, b);
	fprintf(stderr, "  %-32s %14s %14s\n", name, a < 0 ? "-" : cell[0], b < 0 ? "-" : cell[1]);
}

static void print_table(const struct demo_report *w, const struct demo_report *s)
{
	fprintf(stderr, "\n  %-32s %14s %14s\n", "", w->name, s->name);
	fprintf(stderr, "  %-32s %14s %14s\n", "exact", w->exact ? "yes" : "NO", s->exact ? "yes" : "NO");
	row("seconds", 2, w->seconds, s->seconds);
	row("input [MB]", 0, (double)w->bytes / 1e6, (double)s->bytes / 1e6);
	row("words, records", 0, (double)w->items, (double)s->items);
	row("nodes, least", 0, (double)w->nodes_min, (double)s->nodes_min);
	row("nodes, most", 0, (double)w->nodes_max, (double)s->nodes_max);
	row("tasks run", 0, (double)w->tasks, (double)s->tasks);
	row("tasks run again after the loss", 0, (double)w->rerun, (double)s->rerun);
	row("objects lost with the node", 0, (double)w->lost, (double)s->lost);
	row("objects made again", 0, (double)w->recovered, (double)s->recovered);
	row("recovery [s]", 2, w->recovery_s, s->recovery_s);
	row("arguments read locally [MB]", 0, (double)w->local_bytes / 1e6, (double)s->local_bytes / 1e6);
	row("arguments read remotely [MB]", 0, (double)w->remote_bytes / 1e6,
	    (double)s->remote_bytes / 1e6);
	row("spilled [MB]", 0, (double)w->spilled_bytes / 1e6, (double)s->spilled_bytes / 1e6);
	row("restored [MB]", 0, (double)w->restored_bytes / 1e6, (double)s->restored_bytes / 1e6);
	fputc('\n', stderr);
}

static json_t *report_json(const struct demo_report *r)
{
	return json_pack("{s:s,s:b,s:f,s:I,s:I,s:s,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "name", r->name,
			 "exact", r->exact ? 1 : 0, "seconds", r->seconds, "items", (json_int_t)r->items,
			 "input_bytes", (json_int_t)r->bytes, "killed", r->victim, "recovery_s", r->recovery_s,
			 "objects_lost", (json_int_t)r->lost, "objects_recovered",
			 (json_int_t)r->recovered, "tasks_rerun", (json_int_t)r->rerun, "tasks",
			 (json_int_t)r->tasks, "local_bytes", (json_int_t)r->local_bytes, "remote_bytes",
			 (json_int_t)r->remote_bytes, "spilled_bytes", (json_int_t)r->spilled_bytes,
			 "restored_bytes", (json_int_t)r->restored_bytes, "nodes_min",
			 (json_int_t)r->nodes_min, "nodes_max", (json_int_t)r->nodes_max);
}

static void print_json(const struct demo_report *w, const struct demo_report *s, double seconds)
{
	json_t *doc = json_pack("{s:b,s:f,s:[o,o]}", "exact", w->exact && s->exact ? 1 : 0, "seconds", seconds,
				"programs", report_json(w), report_json(s));

	json_dumpf(doc, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(doc);
}

static bool wanted(const struct demo *d, const char *program)
{
	return !d->opts.only || !strcmp(d->opts.only, program);
}

static int run_all(struct demo *d, struct demo_report *words, struct demo_report *sorted)
{
	const int nodes = (int)d->opts.nodes;
	char path[PATH_MAX], why[512] = "";
	int err = cluster_start(&d->opts, &d->cluster);

	if (!err && swarm_client_open(cluster_head_dir(d->cluster), &d->client, why, sizeof(why)) < 0)
		err = demo_fail("cannot open a client: %s", why);
	if (!err)
		err = demo_beside("demo_tasks.so", path, sizeof(path));
	if (!err && swarm_module_load(d->client, path, &d->module, why, sizeof(why)) < 0)
		err = demo_fail("cannot load %s: %s", path, why);
	if (!err && wanted(d, "words"))
		err = run_program(d, words, wordcount_run);
	if (!err && wanted(d, "words") && !cluster_wait_size(d->cluster, nodes, SHRINK_NS))
		err = demo_fail("after the word count the cluster has %d nodes, not %d", cluster_size(d->cluster),
				nodes);
	if (!err && wanted(d, "sort"))
		err = run_program(d, sorted, sort_run);
	if (!err && !cluster_wait_size(d->cluster, nodes, SHRINK_NS))
		err = demo_fail("idle, the cluster has %d nodes, not %d", cluster_size(d->cluster), nodes);
	if (!err)
		progress_print("demo: idle again, the cluster went back to %d nodes", nodes);
	return err;
}

int main(int argc, char **argv)
{
	struct demo_report words = {.name = "wordcount", .recovery_s = -1};
	struct demo_report sorted = {.name = "sort", .recovery_s = -1};
	struct sigaction sa = {.sa_handler = on_signal};
	const char *tmp = getenv("TMPDIR");
	struct demo d = {.opts = {.sort_bytes = 1000000000,
				  .kill = KILL_NODE,
				  .kill_at = 50,
				  .seed = 1,
				  .nodes = 4,
				  .arena_bytes = 192ull << 20,
				  .dir = tmp && *tmp ? tmp : "/var/tmp",
				  .text = "/usr/include:/usr/share/doc"}};
	uint64_t start;
	int err = parse(argc, argv, &d.opts);

	if (err)
		return err < 0 ? 2 : 0;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	sa.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &sa, NULL);
	d.rng = d.opts.seed;
	start = demo_now_ns();
	err = run_all(&d, &words, &sorted);
	swarm_client_close(d.client);
	if (!err)
		print_table(&words, &sorted);
	cluster_stop(d.cluster);
	if (demo_interrupted)
		progress_print("demo: interrupted; everything is cleaned up");
	if (d.opts.json)
		print_json(&words, &sorted, (double)(demo_now_ns() - start) / 1e9);
	if (err || (wanted(&d, "words") && !words.exact) || (wanted(&d, "sort") && !sorted.exact))
		return 1;
	progress_print("demo: %s exact; %.1f s in all", d.opts.only ? "the answer is" : "both answers are", (double)(demo_now_ns() - start) / 1e9);
	return 0;
}
