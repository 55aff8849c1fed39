/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.c - the loop of a worker process: wait for a task, find its function, call it, report.
 *
 * A worker runs one task at a time, on its main thread. The node sends tasks ahead while they are short; when one takes
 * longer than PATIENCE_NS, a second thread gives back what waits behind it. Messages are pumped by whichever
 * thread waits, so the queue of tasks has a lock (jobs); another (report) keeps what is said in order and is always taken first. Whatever the function does to its process (crash, exit, corrupt its memory) ends this process
 * and nothing else: the node sees the death and reports it.
 */
#include "sched/exec.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "sched/proto.h"
#include "transport/base/leak.h"

#define WAIT_NS	    (1 * NS_PER_S)
#define PATIENCE_NS (1 * NS_PER_MS)

struct job {
	struct swi_list link;
	uint32_t len;
	uint8_t body[];
};

struct worker {
	struct swarm_store *store;
	struct swi_lc *lc;
	struct swi_modules *modules;
	pthread_mutex_t report;
	pthread_mutex_t lock;
	/* under lock */
	struct swi_list jobs;
	pthread_cond_t begun;
	bool watching; /* the second thread waits for begun */
	bool running;  /* a task runs */
	uint64_t seq;  /* tasks begun so far */
	bool stop;
	bool broken; /* no memory for a message */
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
	w->running = j != NULL;
	if (j) {
		swi_list_del(&j->link);
		w->seq++;
		if (w->watching)
			pthread_cond_signal(&w->begun);
	}
	*out_end = !j && (w->stop || w->broken);
	pthread_mutex_unlock(&w->lock);
	return j;
}

/* A task that ends is no longer what others wait behind, before anybody hears of its end. */
static int say_done(struct worker *w, const void *body, uint32_t len)
{
	int rc;

	pthread_mutex_lock(&w->report);
	rc = swi_lc_post(w->lc, SWI_L_DONE, body, len, NULL);
	pthread_mutex_lock(&w->lock);
	w->running = false;
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_unlock(&w->report);
	return rc;
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
	rc = say_done(w, buf, wr.len);
	free(buf);
	return rc;
}

/* ---- the second thread ---- */

static void give_back(struct worker *w, const struct job *j)
{
	struct swi_rd rd = swi_rd_init(j->body, j->len);
	const uint32_t attempt = swi_rd_u32(&rd);
	struct swi_spec spec;
	uint8_t buf[64];
	struct swi_wr wr = swi_wr_init(buf, sizeof(buf));

	if (swi_spec_decode(j->body + 4, j->len - 4, &spec))
		return;
	swi_wr_oid(&wr, spec.task);
	swi_wr_u32(&wr, attempt);
	swi_wr_u32(&wr, (uint32_t)-EAGAIN);
	swi_wr_str(&wr, "");
	swi_wr_u32(&wr, 0);
	(void)swi_lc_post(w->lc, SWI_L_DONE, buf, wr.len, NULL); /* without the daemon nobody misses it */
}

static void give_back_all(struct worker *w, uint64_t seq)
{
	struct swi_list back;

	swi_list_init(&back);
	swi_lc_pump(w->lc); /* the main thread does not look into the ring now */
	pthread_mutex_lock(&w->report);
	pthread_mutex_lock(&w->lock);
	if (w->running && w->seq == seq)
		swi_list_splice(&back, &w->jobs);
	pthread_mutex_unlock(&w->lock);
	while (!swi_list_empty(&back)) {
		struct job *j = swi_list_first(&back, struct job, link);

		swi_list_del(&j->link);
		give_back(w, j);
		free(j);
	}
	pthread_mutex_unlock(&w->report);
}

static void *watch(void *arg)
{
	const struct timespec patience = {.tv_nsec = PATIENCE_NS};
	struct worker *w = arg;

	for (;;) {
		uint64_t seq;

		pthread_mutex_lock(&w->lock);
		w->watching = true;
		while (!w->running)
			pthread_cond_wait(&w->begun, &w->lock);
		w->watching = false;
		seq = w->seq;
		pthread_mutex_unlock(&w->lock);
		nanosleep(&patience, NULL);
		give_back_all(w, seq);
	}
	return NULL;
}

static int start_watch(struct worker *w)
{
	sigset_t all, old;
	pthread_t t;
	int rc;

	/* Signals are the task's business, on the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&t, NULL, watch, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!rc)
		pthread_detach(t);
	return -rc;
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
	/* Static: the second thread uses it until the process is gone. */
	static struct worker w = {.lock = PTHREAD_MUTEX_INITIALIZER,
				  .report = PTHREAD_MUTEX_INITIALIZER,
				  .begun = PTHREAD_COND_INITIALIZER};
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
	rc = start_watch(&w);
	if (!rc)
		rc = say_ready(&w, number);
	if (!rc)
		rc = loop(&w);
	if (rc)
		fprintf(stderr, "swarm-worker %u leaves: %s\n", number, swarm_strerror(rc));
	/* The second thread and threads that tasks left behind still use all of this: the kernel cleans up. */
	fflush(NULL);
	swi_leak_check();
	_exit(rc ? 1 : 0);
}
