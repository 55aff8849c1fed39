/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_task_rate - no-op tasks: how many a second one driver gets done when it submits them all and waits for all
 * (async), how fast submitting alone is, and how long one takes from submit to result (sync).
 *
 * Starts a node of its own beside this program and ends it afterwards. Lineage is on, as always. Baseline of the
 * sync figure: one word there and back through shared memory between two processes, spinning, turn by turn.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <swarm/sched.h>

#include "perf/common/load.h"
#include "perf/common/scratch.h"

#define CHUNK 1000u

struct tr_opts {
	struct perf_opts c;
	uint32_t sync, cpus;
	const char *dir; /* a node that runs already */
};

struct rows {
	struct perf_row *async, *submit, *sync;
};

static const struct tr_opts *opts;

static void must(int rc, const char *what)
{
	perf_must(&opts->c, rc, what);
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
	char program[PATH_MAX], dir_arg[PERF_SCRATCH_MAX + 16], cpu_arg[32], line[1024];
	int fds[2];
	pid_t pid;
	ssize_t n;

	beside("swarmd", program, sizeof(program));
	snprintf(dir_arg, sizeof(dir_arg), "--dir=%s", dir);
	snprintf(cpu_arg, sizeof(cpu_arg), "--cpus=%u", cpus);
	must(pipe2(fds, O_CLOEXEC) ? -errno : 0, "pipe");
	fflush(NULL);
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
	/* Our end of it stays open: the node may have more to say. */
	if (!strstr(line, "\"ok\":true"))
		perf_die(&opts->c, "the node: %s", n > 0 ? line : "it did not start");
	return pid;
}

/* ---- the baseline ---- */

static void pingpong(struct perf_arm *arm, uint32_t rounds)
{
	static struct perf_hist h;
	struct {
		alignas(64) _Atomic uint32_t there;
		alignas(64) _Atomic uint32_t back;
	} *m = mmap(NULL, SWI_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const uint64_t begin = perf_now();
	pid_t pid;

	must(m == MAP_FAILED ? -ENOMEM : 0, "memory");
	perf_hist_init(&h);
	fflush(NULL);
	pid = fork();
	must(pid < 0 ? -errno : 0, "fork");
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint32_t i = 1; !pid && i <= rounds; i++) {
		while (atomic_load_explicit(&m->there, memory_order_acquire) != i)
			swi_cpu_relax();
		atomic_store_explicit(&m->back, i, memory_order_release);
	}
	if (!pid)
		_exit(0);
	for (uint32_t i = 1; i <= rounds; i++) {
		const uint64_t t = perf_now();

		atomic_store_explicit(&m->there, i, memory_order_release); /* with the child's load of it */
		while (atomic_load_explicit(&m->back, memory_order_acquire) != i)
			swi_cpu_relax();
		perf_hist_add(&h, perf_now() - t);
	}
	waitpid(pid, NULL, 0);
	munmap(m, SWI_PAGE);
	perf_arm_run(arm, PERF_LAT, &h, rounds, 0, perf_now() - begin);
}

/* ---- the measurements ---- */

static void delete_all(struct swarm_client *c, const struct swarm_ref *refs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		must(swarm_store_delete(swarm_client_store(c), refs[i]), "delete");
}

/* @rows NULL: to get warm, workers started and the module loaded. */
static void async(struct swarm_client *c, const struct swarm_task_opts *o, uint32_t tasks, struct rows *rows)
{
	struct swarm_ref *refs = calloc(tasks, sizeof(*refs));
	uint64_t begin, submitted;

	must(refs ? 0 : -ENOMEM, "memory");
	begin = perf_now();
	for (uint32_t i = 0; i < tasks; i++)
		must(swarm_submit(c, o, &refs[i]), "submit");
	submitted = perf_now();
	for (uint32_t i = 0; i < tasks; i += CHUNK) {
		const uint32_t n = tasks - i < CHUNK ? tasks - i : CHUNK;

		must(swarm_wait(c, refs + i, n, n, 120 * NS_PER_S, NULL), "wait");
	}
	if (rows) {
		perf_arm_run(rows->submit->arm[0], PERF_OPS, NULL, tasks, 0, submitted - begin);
		perf_arm_run(rows->async->arm[0], PERF_OPS, NULL, tasks, 0, perf_now() - begin);
	}
	delete_all(c, refs, tasks);
	free(refs);
}

static void sync_trips(struct swarm_client *c, const struct swarm_task_opts *o, uint32_t rounds, struct perf_arm *arm)
{
	static struct perf_hist h;
	const uint64_t begin = perf_now();

	perf_hist_init(&h);
	for (uint32_t i = 0; i < rounds; i++) {
		const uint64_t t = perf_now();
		struct swarm_view v;
		struct swarm_ref ref;
		uint64_t ns;

		must(swarm_submit(c, o, &ref), "submit");
		must(swarm_get(c, ref, 30 * NS_PER_S, &v), "get");
		ns = perf_now() - t;
		perf_hist_add(&h, ns);
		perf_arm_sample(arm, ns);
		swarm_release(c, &v);
		must(swarm_store_delete(swarm_client_store(c), ref), "delete");
	}
	perf_arm_run(arm, PERF_LAT, &h, rounds, 0, perf_now() - begin);
}

static void module_path(char path[PATH_MAX])
{
	beside("../lib/noop_module.so", path, PATH_MAX); /* of a build folder */
	if (access(path, R_OK))
		beside(PERF_MODULE_DIR "/noop_module.so", path, PATH_MAX);
}

static void run_all(const char *dir, struct rows *rows)
{
	const struct perf_opts *o = &opts->c;
	struct swarm_client *c;
	struct swarm_module m;
	char module[PATH_MAX], why[256];

	if (swarm_client_open(dir, &c, why, sizeof(why)))
		perf_die(o, "%s", why);
	module_path(module);
	if (swarm_module_load(c, module, &m, why, sizeof(why)))
		perf_die(o, "%s", why);
	const struct swarm_task_opts t = {.size = sizeof(t), .module = m, .function = "noop"};

	async(c, &t, CHUNK, NULL);
	for (uint32_t i = 0; i < o->runs; i++) {
		async(c, &t, o->iters, rows);
		sync_trips(c, &t, opts->sync, rows->sync->arm[0]);
		if (!o->no_baseline)
			pingpong(rows->sync->arm[1], opts->sync);
	}
	swarm_client_close(c);
}

static const struct swt_opt options[] = {
	{"tasks", 'n', SWT_U32, PERF_O(struct tr_opts, c, iters), "N", "tasks of an async run (default 100000)", NULL},
	{"sync", 0, SWT_U32, offsetof(struct tr_opts, sync), "N", "tasks of a sync run (default 10000)", NULL},
	{"cpus", 0, SWT_U32, offsetof(struct tr_opts, cpus), "N", "of the node (default: all)", NULL},
	{"dir", 0, SWT_STR, offsetof(struct tr_opts, dir), "DIR",
	 "run directory of a node that is there (default: a node of its own)", NULL},
	{"no-baseline", 0, SWT_FLAG, PERF_O(struct tr_opts, c, no_baseline), NULL, "leave the ping-pong out", NULL},
	PERF_OPT_LATENCY(struct tr_opts, c),
	PERF_OPT_UNSORTED(struct tr_opts, c),
	PERF_OPT_OUTPUT(struct tr_opts, c),
	PERF_OPT_NO_NET(struct tr_opts, c, "the tasks run on one node"),
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_task_rate",
	.summary = "Measures no-op tasks a second of one driver, and the round trip of one task.",
	.opts = options,
};

static void report(const struct tr_opts *o, struct rows *rows)
{
	struct perf_report *r = perf_report_new(&o->c, "Swarm no-op tasks");

	perf_report_set(r, "cpus", json_integer(o->cpus));
	perf_report_set(r, "runs", json_integer(o->c.runs));
	perf_report_set(r, "tasks", json_integer(o->c.iters));
	perf_report_set(r, "sync_tasks", json_integer(o->sync));
	perf_report_row(r, rows->async);
	perf_report_row(r, rows->submit);
	perf_report_row(r, rows->sync);
	if (perf_report_end(r))
		exit(1);
}

int main(int argc, char **argv)
{
	struct tr_opts o = {.c.iters = 100000, .sync = 10000, .cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN)};
	struct rows rows;
	char dir[PERF_SCRATCH_MAX];
	const int rc = perf_opts_parse(&command, argc, argv, &o, &o.c);
	pid_t pid = 0;

	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	if (!o.c.iters || !o.sync || !o.cpus)
		return swt_error(&command, SWT_USAGE, "--tasks, --sync and --cpus are at least 1");
	opts = &o;
	rows.async = perf_row_new(PERF_OPS, "task, async", 0);
	rows.submit = perf_row_new(PERF_OPS, "submit", 0);
	rows.sync = perf_row_new(PERF_LAT, "task, sync", 0);
	perf_row_arm(rows.async, "swarm", 0);
	perf_row_arm(rows.submit, "swarm", 0);
	perf_row_arm(rows.sync, "swarm", o.c.unsorted ? (uint64_t)o.sync * o.c.runs : 0);
	if (!o.c.no_baseline)
		perf_row_arm(rows.sync, "ping-pong in shared memory", 0);
	if (!o.dir) {
		perf_scratch(&o.c, NULL, dir);
		pid = start_node(dir, o.cpus);
	}
	run_all(o.dir ? o.dir : dir, &rows);
	if (pid) {
		kill(pid, SIGTERM);
		waitpid(pid, NULL, 0);
	}
	report(&o, &rows);
	return 0;
}
