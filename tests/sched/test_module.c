/* SPDX-License-Identifier: Apache-2.0 */
/* test_module.c - the tasks of the integration tests: one for each way a task can go. */
#include <swarm/sched.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

SWARM_TASK(t_noop)
{
	(void)task;
	return 0;
}

/* All arguments, one behind the other. */
SWARM_TASK(t_concat)
{
	uint64_t sum = 0, at = 0, len;
	void *out;
	int rc;

	for (uint32_t i = 0; i < swarm_task_arg_count(task); i++) {
		swarm_task_arg(task, i, &len);
		sum += len;
	}
	rc = swarm_task_return_create(task, 0, sum, &out);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < swarm_task_arg_count(task); i++) {
		const void *p = swarm_task_arg(task, i, &len);

		memcpy((char *)out + at, p, len);
		at += len;
	}
	return 0;
}

/* The references of its arguments and of one more than it has. */
SWARM_TASK(t_refs)
{
	struct swarm_ref refs[4];
	const uint32_t n = swarm_task_arg_count(task);

	if (n >= 4)
		return swarm_task_fail(task, "too many arguments");
	for (uint32_t i = 0; i <= n; i++)
		refs[i] = swarm_task_arg_ref(task, i);
	return swarm_task_return(task, 0, refs, (n + 1) * sizeof(refs[0]));
}

/* Result i is the number i + argument. The last one is left out: it becomes an empty object. */
SWARM_TASK(t_many)
{
	const uint64_t *base = swarm_task_arg(task, 0, NULL);

	for (uint32_t i = 0; i + 1 < swarm_task_return_count(task); i++) {
		const uint64_t v = *base + i;
		const int rc = swarm_task_return(task, i, &v, sizeof(v));

		if (rc)
			return rc;
	}
	return 0;
}

/* One link of a chain: f(x) = 3x + 1, of every argument's first word, summed. */
SWARM_TASK(t_link)
{
	uint64_t v = 0, len;

	for (uint32_t i = 0; i < swarm_task_arg_count(task); i++) {
		const uint64_t *x = swarm_task_arg(task, i, &len);

		if (len < sizeof(*x))
			return swarm_task_fail(task, "argument %u has %llu bytes", i,
					       (unsigned long long)len);
		v += *x;
	}
	v = 3 * v + 1;
	return swarm_task_return(task, 0, &v, sizeof(v));
}

/* As t_link, and takes 5 ms. */
SWARM_TASK(t_link_slowly)
{
	const struct timespec ts = {.tv_nsec = 5000000};
	uint64_t v = 0;

	nanosleep(&ts, NULL);
	for (uint32_t i = 0; i < swarm_task_arg_count(task); i++)
		v += *(const uint64_t *)swarm_task_arg(task, i, NULL);
	v = 3 * v + 1;
	return swarm_task_return(task, 0, &v, sizeof(v));
}

SWARM_TASK(t_fail)
{
	return swarm_task_fail(task, "no luck with %d", 7);
}

SWARM_TASK(t_errno)
{
	(void)task;
	return -2;
}

static void crash(void)
{
	volatile int *volatile nowhere = (volatile int *)64;

	*nowhere = 1;
}

/* Crashes on its first two attempts. */
SWARM_TASK(t_crash_twice)
{
	const uint32_t attempt = swarm_task_attempt(task);

	if (attempt < 2)
		crash();
	return swarm_task_return(task, 0, &attempt, sizeof(attempt));
}

SWARM_TASK(t_crash)
{
	(void)task;
	crash();
	return 0;
}

SWARM_TASK(t_exit)
{
	(void)task;
	exit(3);
}

SWARM_TASK(t_forever)
{
	(void)task;
	for (;;)
		pause();
}

/* Sleeps argument 0 milliseconds, then gives its pid. */
SWARM_TASK(t_sleep)
{
	const uint64_t *ms = swarm_task_arg(task, 0, NULL);
	const struct timespec ts = {.tv_sec = (time_t)(*ms / 1000),
				    .tv_nsec = (long)(*ms % 1000) * 1000000};
	const uint64_t pid = (uint64_t)getpid();

	nanosleep(&ts, NULL);
	return swarm_task_return(task, 0, &pid, sizeof(pid));
}

SWARM_TASK(t_node)
{
	const uint32_t node = swarm_task_node(task);

	return swarm_task_return(task, 0, &node, sizeof(node));
}

/* argument 0: length, argument 1: seed. Bytes that depend on both. */
SWARM_TASK(t_bytes)
{
	const uint64_t *len = swarm_task_arg(task, 0, NULL);
	const uint64_t *seed = swarm_task_arg(task, 1, NULL);
	uint64_t x = *seed;
	uint8_t *out;
	int rc = swarm_task_return_create(task, 0, *len, (void **)&out);

	if (rc)
		return rc;
	for (uint64_t i = 0; i < *len; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		out[i] = (uint8_t)(x >> 56);
	}
	return 0;
}

/* argument 0: {module, n}. Submits n links, and sums what they give. */
struct nested {
	struct swarm_module module;
	uint64_t n;
};

SWARM_TASK(t_nested)
{
	const struct nested *a = swarm_task_arg(task, 0, NULL);
	struct swarm_client *c = swarm_task_client(task);
	uint64_t sum = 0;

	for (uint64_t i = 0; i < a->n; i++) {
		const struct swarm_arg arg = SWARM_ARG_BYTES(&i, sizeof(i));
		const struct swarm_task_opts o = {.size = sizeof(o),
						  .module = a->module,
						  .function = "t_link",
						  .args = &arg,
						  .arg_count = 1};
		struct swarm_view v;
		struct swarm_ref ref;
		int rc = swarm_submit(c, &o, &ref);

		if (!rc)
			rc = swarm_get(c, ref, 20000000000ull, &v);
		if (rc)
			return swarm_task_fail(task, "child %llu: %s", (unsigned long long)i,
					       swarm_strerror(rc));
		sum += *(const uint64_t *)v.data;
		swarm_release(c, &v);
	}
	return swarm_task_return(task, 0, &sum, sizeof(sum));
}
