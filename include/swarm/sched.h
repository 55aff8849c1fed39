/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm/sched.h - tasks: C functions that run where their data is, on any node of the cluster.
 *
 * A driver opens a client, loads a module (a shared object), and submits tasks that name a function
 * of it. Results are objects; a reference to one may be an argument of the next task before it exists.
 * What is lost with a node is made again by running its tasks again, so a task's function must give the
 * same bytes for the same arguments and must not change anything but its results.
 */
#ifndef SWARM_SCHED_H
#define SWARM_SCHED_H

#include <swarm/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct swarm_client; /* a driver's or a running task's connection to its node */
struct swarm_task;   /* a running task, inside its function */

#define SWARM_ARGS_MAX	  4096u	  /* arguments of one task */
#define SWARM_RETURNS_MAX 4096u	  /* results of one task */
#define SWARM_INLINE_MAX  (32u << 10) /* bytes of all inline arguments of one task */
#define SWARM_NAME_MAX	  64u	  /* bytes of a function's or resource's name, NUL included */

/** A loaded module: the digest of its bytes names the object that carries it. A plain value. */
struct swarm_module {
	struct swarm_ref ref;
};

/** One argument: bytes copied at submit, or a reference whose object the task will see. */
struct swarm_arg {
	const void *data;     /* NULL: a reference */
	uint64_t len;	      /* bytes of data */
	struct swarm_ref ref; /* when data is NULL */
};
#define SWARM_ARG_REF(r)       ((struct swarm_arg){NULL, 0, (r)})
#define SWARM_ARG_BYTES(p, n)  ((struct swarm_arg){(p), (n), {{{0, 0}}, 0, 0}})

/** A resource need: "cpu", "gpu" and names of your own in units of 1/10,000; "memory" in bytes. */
struct swarm_resource {
	const char *name;
	uint64_t amount;
};

/** What to run. Set size = sizeof(struct swarm_task_opts); zero means the default. */
struct swarm_task_opts {
	uint32_t size;
	uint32_t flags; /* SWARM_TASK_* */
	struct swarm_module module;
	const char *function;
	const struct swarm_arg *args;
	uint32_t arg_count;
	uint32_t return_count; /* 0 counts as 1 */
	const struct swarm_resource *resources; /* default: one cpu */
	uint32_t resource_count;
	uint32_t retries;	 /* more attempts after a crash of the worker (and, with RETRY_ERRORS, after an error); default 3; SWARM_NO_RETRY = none. Lost nodes do not count. */
	uint64_t timeout_ns;	 /* longest run time of one attempt; 0 = no limit */
	const struct swarm_resource *reserved_must_be_null;
};
#define SWARM_TASK_RETRY_ERRORS 0x1u /* also try again when the function reports an error */
#define SWARM_NO_RETRY		UINT32_MAX

/**
 * swarm_client_open - connect a driver to the node daemon of this host.
 *
 * @dir: the daemon's run directory; NULL = $SWARM_DIR, else the default of this user.
 * Return: 0, SWARM_ENODAEMON, -EACCES, SWARM_EVERSION, -ENOMEM; @why (may be NULL) gets one sentence.
 */
SWARM_API SWARM_MUST_CHECK int swarm_client_open(const char *dir, struct swarm_client **out_client,
						 char *why, size_t why_len);
/** swarm_client_close - disconnect; NULL is fine. Tasks that were submitted go on; their results stay until deleted. */
SWARM_API void swarm_client_close(struct swarm_client *client);
/** swarm_client_store - the store of this client: put, get, wait, delete. Borrowed; lives as long as the client. */
SWARM_API struct swarm_store *swarm_client_store(struct swarm_client *client);

/**
 * swarm_module_load - put the bytes of a shared object into the store, named by their digest.
 *
 * Loading the same file twice is harmless. Return: 0, -ENOENT and other errno of reading the file,
 * SWARM_EMODULE (not an ELF shared object), errors of swarm_store_put().
 */
SWARM_API SWARM_MUST_CHECK int swarm_module_load(struct swarm_client *client, const char *path,
						 struct swarm_module *out_module, char *why,
						 size_t why_len);

/**
 * swarm_submit - hand a task to the scheduler; returns before it runs.
 *
 * What:     writes return_count references into @out_refs; they can be waited for, got, and be arguments.
 * Errors:   what goes wrong later is the result's error (swarm_store_get(), swarm_store_explain()).
 * Threads:  any. Cost: one message to the node core in shared memory; O(1) whatever is queued.
 * Return:   0, -EINVAL (counts, names), -E2BIG (inline arguments), SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_submit(struct swarm_client *client,
					    const struct swarm_task_opts *opts,
					    struct swarm_ref *out_refs);

/** swarm_get - swarm_store_get() on the client's store. */
SWARM_API SWARM_MUST_CHECK int swarm_get(struct swarm_client *client, struct swarm_ref ref,
					 uint64_t timeout_ns, struct swarm_view *out_view);
/** swarm_release - swarm_view_release() on the client's store. */
SWARM_API void swarm_release(struct swarm_client *client, struct swarm_view *view);
/** swarm_wait - swarm_store_wait() on the client's store. */
SWARM_API SWARM_MUST_CHECK int swarm_wait(struct swarm_client *client, const struct swarm_ref *refs,
					  uint32_t count, uint32_t min, uint64_t timeout_ns,
					  uint8_t *out_ready);
/**
 * swarm_cancel - do not run the task that makes @ref; @force: also kill it when it runs already.
 *
 * Asynchronous. Results become SWARM_ECANCELED unless they exist already. Return: 0, SWARM_ENODAEMON.
 */
SWARM_API int swarm_cancel(struct swarm_client *client, struct swarm_ref ref, int force);

/* ---- inside a task ---- */

/** Define a task's function: SWARM_TASK(count_words) { ... return 0; } Return 0, or swarm_task_fail(). */
#ifdef __cplusplus
#define SWARM_TASK(name) extern "C" SWARM_API int name(struct swarm_task *task)
#else
#define SWARM_TASK(name) SWARM_API int name(struct swarm_task *task); SWARM_API int name(struct swarm_task *task)
#endif
typedef int (*swarm_task_fn)(struct swarm_task *task);

/** swarm_task_arg_count - number of arguments. */
SWARM_API uint32_t swarm_task_arg_count(const struct swarm_task *task);
/** swarm_task_arg - bytes of argument @i, aligned for any type, valid until the function returns; @out_len may be NULL. NULL when there is no such argument. */
SWARM_API const void *swarm_task_arg(const struct swarm_task *task, uint32_t i, uint64_t *out_len);
/** swarm_task_arg_ref - the reference of argument @i (id 0 for inline bytes). */
SWARM_API struct swarm_ref swarm_task_arg_ref(const struct swarm_task *task, uint32_t i);
/** swarm_task_return_count - number of results to give. Results not given are empty objects. */
SWARM_API uint32_t swarm_task_return_count(const struct swarm_task *task);
/** swarm_task_return - give result @i by copying @len bytes. Once for each result. */
SWARM_API SWARM_MUST_CHECK int swarm_task_return(struct swarm_task *task, uint32_t i,
						 const void *data, uint64_t len);
/** swarm_task_return_create - room for result @i, to be written in place; sealed when the function returns 0. */
SWARM_API SWARM_MUST_CHECK int swarm_task_return_create(struct swarm_task *task, uint32_t i,
							uint64_t len, void **out_data);
/** swarm_task_fail - report an error in words (printf format); returns SWARM_ETASK, to be returned. */
SWARM_API int swarm_task_fail(struct swarm_task *task, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/** swarm_task_client - a client for nested submits, gets and waits. Borrowed until the function returns. */
SWARM_API struct swarm_client *swarm_task_client(struct swarm_task *task);
/** swarm_task_attempt - 0 for the first run, more for a re-run. */
SWARM_API uint32_t swarm_task_attempt(const struct swarm_task *task);
/** swarm_task_node - the number of the node it runs on. */
SWARM_API uint32_t swarm_task_node(const struct swarm_task *task);

#ifdef __cplusplus
}
#endif
#endif
