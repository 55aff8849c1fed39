/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_rate.c - no-op tasks: how many a second one driver gets done when it submits them all and waits for all
 * (async), how fast submitting alone is, and how long one takes from submit to result (sync).
 *
 * Starts a node of its own beside this program and ends it afterwards. Lineage is on, as always. Anchor of the
 * sync figure: one word there and back through shared memory between two processes, spinning, in the same run.
 */
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include <swarm/sched.h>
#include <swarm/version.h>

#include "transport/base/base.h"
#include "transport/base/env.h"

#define CHUNK 1000u

struct opts {
	uint32_t tasks, sync, runs, cpus;
	bool json;
	const char *dir; /* a node that runs already */
};

struct figures { /* of one run */
	double submit_ns, tasks_per_s, sync_p50_us, sync_p99_us, pingpong_p50_us;
};

static uint64_t now(void)
{
	return swi_now(swi_env_real());
}

static void must(int rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "swarm_task_rate: %s: %s\n", what, swarm_strerror(rc));
	exit(1);
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(double *v, uint32_t n, double q)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[(uint32_t)(q * (n - 1))];
}

/* ---- a node of our own ---- */

static void beside(const char *name, char *path, size_t len)
{
	ssize_t n = readlink("/proc/self/exe", path, len - 1);
	char *slash;

	must(n <= 0 ? -errno : 0, "/proc/self/exe");
	path[n] = 0;
	slash = strrchr(path, '/');
	snprintf(slash + 1, len - (size_t)(slash + 1 - path), "%s", name);
}

static pid_t start_node(const char *dir, uint32_t cpus)
{
	char program[PATH_MAX], dir_arg[256], cpu_arg[32], line[1024];
	int fds[2];
	pid_t pid;
	ssize_t n;

	beside("swarmd", program, sizeof(program));
	snprintf(dir_arg, sizeof(dir_arg), "--dir=%s", dir);
	snprintf(cpu_arg, sizeof(cpu_arg), "--cpus=%u", cpus);
	must(pipe(fds) ? -errno : 0, "pipe");
	pid = fork();
	must(pid < 0 ? -errno : 0, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(fds[1], 1);
		execl(program, "swarmd", "--head", "--bind=127.0.0.1:0", "--arena=512M",
		      "--log-level=warn", dir_arg, cpu_arg, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	n = read(fds[0], line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = 0;
	must(strstr(line, "\"ok\":true") ? 0 : -ECHILD, n > 0 ? line : "no node");
	return pid;
}

/* ---- the anchor ---- */

static double pingpong(uint32_t rounds)
{
	struct {
		alignas(64) _Atomic uint32_t there;
		alignas(64) _Atomic uint32_t back;
	} *m = mmap(NULL, SWI_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double *us = calloc(rounds, sizeof(*us)), p50;
	pid_t pid;

	must(m == MAP_FAILED || !us ? -ENOMEM : 0, "memory");
	pid = fork();
	must(pid < 0 ? -errno : 0, "fork");
	for (uint32_t i = 1; !pid && i <= rounds; i++) {
		while (atomic_load_explicit(&m->there, memory_order_acquire) != i)
			swi_cpu_relax();
		atomic_store_explicit(&m->back, i, memory_order_release);
	}
	if (!pid)
		_exit(0);
	for (uint32_t i = 1; i <= rounds; i++) {
		const uint64_t t = now();

		atomic_store_explicit(&m->there, i, memory_order_release);
		while (atomic_load_explicit(&m->back, memory_order_acquire) != i)
			swi_cpu_relax();
		us[i - 1] = (double)(now() - t) / 1e3;
	}
	waitpid(pid, NULL, 0);
	p50 = quantile(us, rounds, 0.5);
	free(us);
	munmap(m, SWI_PAGE);
	return p50;
}

/* ---- the measurements ---- */

static void delete_all(struct swarm_client *c, const struct swarm_ref *refs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		must(swarm_store_delete(swarm_client_store(c), refs[i]), "delete");
}

static void async(struct swarm_client *c, const struct swarm_task_opts *o, uint32_t tasks,
		  struct figures *f)
{
	struct swarm_ref *refs = calloc(tasks, sizeof(*refs));
	uint64_t t, submitted;

	must(refs ? 0 : -ENOMEM, "memory");
	t = now();
	for (uint32_t i = 0; i < tasks; i++)
		must(swarm_submit(c, o, &refs[i]), "submit");
	submitted = now();
	for (uint32_t i = 0; i < tasks; i += CHUNK) {
		const uint32_t n = tasks - i < CHUNK ? tasks - i : CHUNK;

		must(swarm_wait(c, refs + i, n, n, 120 * NS_PER_S, NULL), "wait");
	}
	f->submit_ns = (double)(submitted - t) / tasks;
	f->tasks_per_s = tasks * 1e9 / (double)(now() - t);
	delete_all(c, refs, tasks);
	free(refs);
}

static void sync_trips(struct swarm_client *c, const struct swarm_task_opts *o, uint32_t rounds,
		       struct figures *f)
{
	double *us = calloc(rounds, sizeof(*us));

	must(us ? 0 : -ENOMEM, "memory");
	for (uint32_t i = 0; i < rounds; i++) {
		const uint64_t t = now();
		struct swarm_view v;
		struct swarm_ref ref;

		must(swarm_submit(c, o, &ref), "submit");
		must(swarm_get(c, ref, 30 * NS_PER_S, &v), "get");
		us[i] = (double)(now() - t) / 1e3;
		swarm_release(c, &v);
		must(swarm_store_delete(swarm_client_store(c), ref), "delete");
	}
	f->sync_p50_us = quantile(us, rounds, 0.5);
	f->sync_p99_us = quantile(us, rounds, 0.99);
	free(us);
}

static struct figures measure(const struct opts *o, struct swarm_client *c, struct swarm_module m)
{
	const struct swarm_task_opts t = {.size = sizeof(t), .module = m, .function = "noop"};
	struct figures f = {0};

	async(c, &t, CHUNK, &f); /* warm: workers started, module loaded */
	async(c, &t, o->tasks, &f);
	sync_trips(c, &t, o->sync, &f);
	f.pingpong_p50_us = pingpong(o->sync);
	return f;
}

static double median_of(const struct figures *f, uint32_t n, size_t off)
{
	double v[64];

	for (uint32_t i = 0; i < n; i++)
		v[i] = *(const double *)((const char *)&f[i] + off);
	return quantile(v, n, 0.5);
}

static void report(const struct opts *o, const struct figures *f)
{
	const struct {
		const char *key;
		size_t off;
	} row[] = {
	    {"tasks_per_s", offsetof(struct figures, tasks_per_s)},
	    {"submit_ns", offsetof(struct figures, submit_ns)},
	    {"sync_p50_us", offsetof(struct figures, sync_p50_us)},
	    {"sync_p99_us", offsetof(struct figures, sync_p99_us)},
	    {"pingpong_p50_us", offsetof(struct figures, pingpong_p50_us)},
	};
	json_t *doc = json_pack("{s:i, s:s, s:s, s:i, s:i, s:i, s:i}", "schema", 1, "program",
				"swarm_task_rate", "version", swarm_version(), "tasks",
				(int)o->tasks, "sync_rounds", (int)o->sync, "cpus", (int)o->cpus, "runs",
				(int)o->runs);

	for (size_t i = 0; i < SWI_ARRAY_LEN(row); i++) {
		const double v = median_of(f, o->runs, row[i].off);
		json_t *all = json_array();

		for (uint32_t k = 0; k < o->runs; k++)
			json_array_append_new(
			    all, json_real(*(const double *)((const char *)&f[k] + row[i].off)));
		json_object_set_new(doc, row[i].key, json_pack("{s:f, s:o}", "median", v, "all", all));
		if (!o->json)
			printf("%-18s %14.2f\n", row[i].key, v);
	}
	if (o->json) {
		json_dumpf(doc, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(doc);
}

static void run_all(const struct opts *o, const char *dir, struct figures *f)
{
	struct swarm_client *c;
	struct swarm_module m;
	char module[PATH_MAX], why[256];
	int rc = swarm_client_open(dir, &c, why, sizeof(why));

	must(rc, rc < 0 ? why : "");
	beside("../lib/noop_module.so", module, sizeof(module));
	rc = swarm_module_load(c, module, &m, why, sizeof(why));
	must(rc, rc < 0 ? why : "");
	for (uint32_t i = 0; i < o->runs; i++)
		f[i] = measure(o, c, m);
	swarm_client_close(c);
}

static void usage(void)
{
	puts("Usage: swarm_task_rate [--tasks=N] [--sync=N] [--runs=N] [--cpus=N] [--dir=DIR] [--output=json|text]\n"
	     "No-op tasks a second of one driver, and the round trip of one task.");
}

static int parse(int argc, char **argv, struct opts *o)
{
	static const struct option longs[] = {
	    {"tasks", 1, NULL, 't'}, {"sync", 1, NULL, 's'},   {"runs", 1, NULL, 'r'},
	    {"cpus", 1, NULL, 'c'},  {"dir", 1, NULL, 'd'},    {"output", 1, NULL, 'o'},
	    {"help", 0, NULL, 'h'},  {NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		const uint32_t n = optarg ? (uint32_t)strtoul(optarg, NULL, 10) : 0;

		switch (c) {
		case 't':
			o->tasks = n;
			break;
		case 's':
			o->sync = n;
			break;
		case 'r':
			o->runs = n;
			break;
		case 'c':
			o->cpus = n;
			break;
		case 'd':
			o->dir = optarg;
			break;
		case 'o':
			o->json = !strcmp(optarg, "json");
			break;
		case 'h':
			usage();
			exit(0);
		default:
			return 2;
		}
	}
	return o->tasks && o->sync && o->runs && o->runs <= 64 && o->cpus ? 0 : 2;
}

int main(int argc, char **argv)
{
	struct opts o = {.tasks = 100000, .sync = 10000, .runs = 3,
			 .cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN)};
	char root[] = "/tmp/swrate-XXXXXX", command[PATH_MAX];
	struct figures f[64];
	pid_t pid = 0;

	if (parse(argc, argv, &o)) {
		fprintf(stderr, "swarm_task_rate: wrong options; see --help\n");
		return 2;
	}
	if (!o.dir) {
		must(mkdtemp(root) ? 0 : -errno, "a folder for the node");
		pid = start_node(root, o.cpus);
	}
	run_all(&o, o.dir ? o.dir : root, f);
	report(&o, f);
	if (pid) {
		kill(pid, SIGTERM);
		waitpid(pid, NULL, 0);
		pid = fork();
		if (!pid) {
			snprintf(command, sizeof(command), "%s", root);
			execlp("rm", "rm", "-r", command, (char *)NULL);
			_exit(127);
		}
		waitpid(pid, NULL, 0);
	}
	return 0;
}
