/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.c - the loop of a worker process: wait for a task, find its function, call it, report.
 *
 * A worker runs one task at a time, on its main thread. Messages are pumped by whichever thread waits, so the queue of tasks
 * has a lock. Whatever the function does to its process (crash, exit, corrupt its memory) ends this process
 * and nothing else: the node sees the death and reports it.
 */
#include "sched/exec.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "sched/proto.h"

#define WAIT_NS (1 * NS_PER_S)

struct job {
	struct swi_list link;
	uint32_t len;
	uint8_t body[];
};

struct worker {
	struct swarm_store *store;
	struct swi_lc *lc;
	struct swi_modules *modules;
	pthread_mutex_t lock;
	struct swi_list jobs; /* under lock */
	bool stop;	      /* under lock */
	bool broken;	      /* under lock: no memory for a message */
};

static void on_message(void *ctx, const struct swi_msg *msg)
{
	struct worker *w = ctx;
	struct job *j = NULL;

	if (msg->type == SWI_L_EXEC) {
		j = malloc(sizeof(*j) + msg->len);
		if (j) {
			j->len = msg->len;
			memcpy(j->body, msg->body, msg->len);
		}
	}
	pthread_mutex_lock(&w->lock);
	if (j)
		swi_list_push_back(&w->jobs, &j->link);
	else if (msg->type == SWI_L_STOP)
		w->stop = true;
	else if (msg->type == SWI_L_EXEC)
		w->broken = true;
	pthread_mutex_unlock(&w->lock);
}

/* The next task; NULL: none yet, or (*out_end) it is time to leave. */
static struct job *next_job(struct worker *w, bool *out_end)
{
	struct job *j;

	pthread_mutex_lock(&w->lock);
	j = swi_list_first(&w->jobs, struct job, link);
	if (j)
		swi_list_del(&j->link);
	*out_end = !j && (w->stop || w->broken);
	pthread_mutex_unlock(&w->lock);
	return j;
}

static int report(struct worker *w, const struct swarm_task *task, int status)
{
	const uint32_t n = status ? 0 : task->spec.return_count;
	const uint32_t cap = 64 + SWI_TASK_TEXT_MAX + 8 * n;
	uint8_t *buf = malloc(cap);
	struct swi_wr wr = swi_wr_init(buf, cap);
	int rc;

	if (!buf)
		return -ENOMEM;
	swi_wr_oid(&wr, task->spec.task);
	swi_wr_u32(&wr, task->attempt);
	swi_wr_u32(&wr, (uint32_t)status);
	swi_wr_str(&wr, status ? task->text : "");
	swi_wr_u32(&wr, n);
	for (uint32_t i = 0; i < n; i++)
		swi_wr_u64(&wr, task->rets[i].len);
	rc = swi_lc_post(w->lc, SWI_L_DONE, buf, wr.len, NULL);
	free(buf);
	return rc;
}

/* What the function returned, as a status of the contract. */
static int judge(struct swarm_task *task, int ret)
{
	if (!ret)
		return 0;
	if (!task->text[0])
		snprintf(task->text, sizeof(task->text), "%s returned %d (%s)", task->spec.function,
			 ret, swarm_errname(ret));
	/* No room is the node's trouble, not the function's. */
	return ret == SWARM_EFULL ? SWARM_EFULL : SWARM_ETASK;
}

static int call(struct worker *w, struct swarm_task *task)
{
	swarm_task_fn fn;
	int rc = swi_module_function(w->modules, w->store, task->spec.module, task->spec.function,
				     &fn, task->text, sizeof(task->text));

	if (rc == SWARM_ENOFUNC)
		return rc;
	if (rc)
		return SWARM_EMODULE;
	return swi_task_finish(task, judge(task, fn(task)));
}

static int run(struct worker *w, const struct job *j)
{
	struct swarm_task task = {.client = {.store = w->store, .lc = w->lc}};
	struct swi_rd rd = swi_rd_init(j->body, j->len);
	const uint32_t attempt = swi_rd_u32(&rd);
	int rc;

	if (rd.bad)
		return -EPROTO;
	rc = swi_task_init(&task, j->body + 4, j->len - 4, attempt);
	if (rc == -EBADMSG) {
		swi_task_fini(&task);
		return rc;
	}
	rc = rc ? SWARM_EDEPENDENCY : call(w, &task);
	fflush(NULL);
	rc = report(w, &task, rc);
	swi_task_fini(&task);
	return rc;
}

static int loop(struct worker *w)
{
	for (;;) {
		bool end;
		struct job *j = next_job(w, &end);
		int rc;

		if (end)
			return 0;
		if (j) {
			rc = run(w, j);
			free(j);
		} else {
			rc = swi_lc_wait_any(w->lc, WAIT_NS);
		}
		if (rc < 0 && rc != -ETIMEDOUT)
			return rc;
	}
}

static int say_ready(struct worker *w, uint32_t number)
{
	uint8_t buf[4];
	struct swi_wr wr = swi_wr_init(buf, sizeof(buf));

	swi_wr_u32(&wr, number);
	return swi_lc_post(w->lc, SWI_L_READY, buf, wr.len, NULL);
}

/* Under memory pressure the kernel should take a worker, whose task can run again, and not the daemon. */
static void volunteer(void)
{
	const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "500", 3) != 3)
		fprintf(stderr, "swarm-worker: cannot set oom_score_adj: %s\n", strerror(errno));
	close(fd);
}

/* A library that the transports pull in catches these to print a backtrace and exit(1): then nobody learns the signal. */
static void die_by_signals(void)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTERM, SIGINT};
	const struct sigaction dfl = {.sa_handler = SIG_DFL};

	for (uint32_t i = 0; i < SWI_ARRAY_LEN(fatal); i++)
		sigaction(fatal[i], &dfl, NULL);
}

int swi_worker_main(const char *dir, uint32_t number)
{
	struct worker w = {.lock = PTHREAD_MUTEX_INITIALIZER};
	char why[256];
	int rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	die_by_signals();
	volunteer();
	swi_list_init(&w.jobs);
	rc = swi_modules_create(&w.modules);
	if (!rc)
		rc = swi_store_attach(dir, SWI_ROLE_WORKER, on_message, &w, &w.store, why,
				      sizeof(why));
	if (rc) {
		fprintf(stderr, "swarm-worker: cannot attach to %s: %s\n", dir,
			rc == -ENOMEM ? "no memory" : why);
		return 1;
	}
	w.lc = swi_store_lc(w.store);
	rc = say_ready(&w, number);
	if (!rc)
		rc = loop(&w);
	if (rc)
		fprintf(stderr, "swarm-worker %u leaves: %s\n", number, swarm_strerror(rc));
	swarm_store_close(w.store);
	swi_modules_destroy(w.modules);
	return rc ? 1 : 0;
}
