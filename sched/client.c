/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - the public API of a driver, and of a task that submits more tasks.
 *
 * Submitting encodes the task into the request ring and returns: no answer is waited for, and no system
 * call is made while the node core is awake. Errors become the results' errors. Any thread.
 */
#include "sched/client.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sched/module.h"
#include "sched/proto.h"

#define DEFAULT_RETRIES 3u
#define JOIN_WAIT_NS	(10 * NS_PER_S)
#define JOIN_POLL_NS	(5 * NS_PER_MS)

/* ---- opening ---- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* References made here carry the node's number, which a node gets from the head when it joins. */
static int wait_joined(struct swi_lc *lc, char *why, size_t why_len)
{
	const uint64_t until = now_ns() + JOIN_WAIT_NS;
	const struct timespec poll = {.tv_nsec = JOIN_POLL_NS};

	while (!swi_lc_node(lc)) {
		if (now_ns() > until) {
			snprintf(why, why_len,
				 "the daemon has not joined its cluster yet: look at its log, or try again");
			return SWARM_ENODAEMON;
		}
		nanosleep(&poll, NULL);
	}
	return 0;
}

int swarm_client_open(const char *dir, struct swarm_client **out_client, char *why, size_t why_len)
{
	struct swarm_client *c = calloc(1, sizeof(*c));
	char dummy[8];
	int rc;

	if (!why) {
		why = dummy;
		why_len = sizeof(dummy);
	}
	if (!c) {
		snprintf(why, why_len, "no memory for a client");
		return -ENOMEM;
	}
	rc = swi_store_attach(dir, SWI_ROLE_DRIVER, NULL, NULL, &c->store, why, why_len);
	if (rc)
		goto fail;
	c->lc = swi_store_lc(c->store);
	rc = wait_joined(c->lc, why, why_len);
	if (rc)
		goto fail;
	if (getrandom(&c->parent, sizeof(c->parent), 0) != (ssize_t)sizeof(c->parent)) {
		rc = -errno;
		snprintf(why, why_len, "no random numbers: %s", strerror(errno));
		goto fail;
	}
	*out_client = c;
	return 0;
fail:
	swarm_client_close(c);
	return rc;
}

void swarm_client_close(struct swarm_client *client)
{
	if (!client || client->in_task)
		return; /* a task's client is its worker's */
	swarm_store_close(client->store);
	free(client);
}

struct swarm_store *swarm_client_store(struct swarm_client *client)
{
	return client->store;
}

/* ---- modules ---- */

static int put_module(struct swarm_client *c, const char *path, const void *bytes, uint64_t len,
		      struct swarm_module *out, char *why, size_t why_len)
{
	struct swarm_ref ref = {.id = swi_module_id(bytes, len), .home = swi_lc_node(c->lc)};
	char what[128];
	int rc = swi_module_check(bytes, len, what, sizeof(what));

	if (rc) {
		snprintf(why, why_len, "%s cannot be a module: %s", path, what);
		return rc;
	}
	rc = swarm_store_put(c->store, ref, bytes, len, SWARM_FOREVER);
	if (rc && rc != -EEXIST) {
		snprintf(why, why_len, "%s cannot be put into the store: %s", path,
			 swarm_strerror(rc));
		return rc;
	}
	out->ref = ref;
	return 0;
}

int swarm_module_load(struct swarm_client *client, const char *path, struct swarm_module *out_module,
		      char *why, size_t why_len)
{
	char dummy[8];
	struct stat st = {0};
	void *p = MAP_FAILED;
	int rc = 0, fd;

	if (!why) {
		why = dummy;
		why_len = sizeof(dummy);
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (rc) {
		snprintf(why, why_len, "%s cannot be read: %s", path, strerror(-rc));
	} else if (!st.st_size) {
		rc = SWARM_EMODULE;
		snprintf(why, why_len, "%s cannot be a module: it is empty", path);
	} else {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p == MAP_FAILED) {
			rc = -errno;
			snprintf(why, why_len, "%s cannot be mapped: %s", path, strerror(errno));
		} else {
			rc = put_module(client, path, p, (uint64_t)st.st_size, out_module, why,
					why_len);
			munmap(p, (size_t)st.st_size);
		}
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

/* ---- submitting ---- */

static int resource_add(struct swi_resources *need, const struct swarm_resource *res)
{
	const size_t len = res->name ? strlen(res->name) : 0;
	uint32_t i = 0;

	if (!len || len >= sizeof(need->custom[0].name))
		return -EINVAL;
	if (!strcmp(res->name, "cpu"))
		need->cpu = res->amount;
	else if (!strcmp(res->name, "gpu"))
		need->gpu = res->amount;
	else if (!strcmp(res->name, "memory"))
		need->memory = res->amount;
	else {
		while (i < need->custom_count && strcmp(need->custom[i].name, res->name))
			i++;
		if (i == SWI_CUSTOM_MAX)
			return -EINVAL;
		if (i == need->custom_count)
			need->custom_count++;
		memcpy(need->custom[i].name, res->name, len + 1);
		need->custom[i].amount = res->amount;
	}
	return 0;
}

static int check_args(const struct swarm_task_opts *o)
{
	uint64_t bytes = 0;

	if (o->arg_count > SWARM_ARGS_MAX || (o->arg_count && !o->args))
		return -EINVAL;
	for (uint32_t i = 0; i < o->arg_count; i++) {
		if (!o->args[i].data && swi_oid_is_zero(o->args[i].ref.id))
			return -EINVAL;
		if (o->args[i].data)
			bytes = swi_sat_add(bytes, o->args[i].len);
	}
	return bytes > SWARM_INLINE_MAX ? -E2BIG : 0;
}

static int to_spec(const struct swarm_task_opts *o, struct swi_spec *s)
{
	const size_t name = o->function ? strlen(o->function) : 0;
	int rc = check_args(o);

	if (rc)
		return rc;
	if (!name || name >= sizeof(s->function) || o->return_count > SWARM_RETURNS_MAX ||
	    swi_oid_is_zero(o->module.ref.id) || (o->flags & ~SWARM_TASK_RETRY_ERRORS) ||
	    o->reserved_must_be_null || (o->resource_count && !o->resources))
		return -EINVAL;
	memcpy(s->function, o->function, name + 1);
	for (uint32_t i = 0; i < o->resource_count; i++) {
		rc = resource_add(&s->need, &o->resources[i]);
		if (rc)
			return rc;
	}
	if (!o->resource_count)
		s->need.cpu = SWARM_RESOURCE_UNIT;
	s->flags = o->flags;
	s->retries = o->retries == SWARM_NO_RETRY ? 0 : o->retries ? o->retries : DEFAULT_RETRIES;
	s->timeout_ns = o->timeout_ns;
	s->module = o->module.ref;
	s->return_count = o->return_count ? o->return_count : 1;
	s->arg_count = o->arg_count;
	return 0;
}

static int post_spec(struct swarm_client *c, const struct swi_spec *s, const struct swarm_arg *args)
{
	uint8_t small[2048];
	struct swi_wr w = swi_wr_init(small, sizeof(small));
	uint8_t *big;
	int rc;

	swi_spec_encode(&w, s, args);
	if (swi_wr_ok(&w))
		return swi_lc_post(c->lc, SWI_L_SUBMIT, small, w.len, NULL);
	big = malloc(w.len);
	if (!big)
		return -ENOMEM;
	w = swi_wr_init(big, w.len);
	swi_spec_encode(&w, s, args);
	rc = swi_lc_post(c->lc, SWI_L_SUBMIT, big, w.len, NULL);
	free(big);
	return rc;
}

int swarm_submit(struct swarm_client *client, const struct swarm_task_opts *opts,
		 struct swarm_ref *out_refs)
{
	struct swarm_task_opts o = {0};
	struct swi_spec s = {0};
	int rc;

	/* A program built against an older header gives fewer members: the rest are zero. */
	if (opts->size < offsetof(struct swarm_task_opts, reserved_must_be_null) ||
	    opts->size > sizeof(o))
		return -EINVAL;
	memcpy(&o, opts, opts->size);
	rc = to_spec(&o, &s);
	if (rc)
		return rc;
	s.parent = client->parent;
	s.home = swi_lc_node(client->lc);
	s.task = swi_task_id(s.parent,
			     atomic_fetch_add_explicit(&client->counter, 1, memory_order_relaxed));
	rc = post_spec(client, &s, o.args);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < s.return_count; i++)
		out_refs[i] = (struct swarm_ref){.id = swi_result_id(s.task, i), .home = s.home};
	return 0;
}

int swarm_cancel(struct swarm_client *client, struct swarm_ref ref, int force)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_ref(&w, ref);
	swi_wr_u8(&w, force != 0);
	return swi_lc_post(client->lc, SWI_L_CANCEL, buf, w.len, NULL);
}

/* ---- waiting ---- */

/* The first thread of a task that waits says so, and the last one that goes on. */
static void say_blocked(struct swarm_client *c, bool blocked)
{
	const uint8_t body = blocked;
	uint32_t before;

	if (!c->in_task)
		return;
	before = blocked ? atomic_fetch_add_explicit(&c->waits, 1, memory_order_relaxed)
			 : atomic_fetch_sub_explicit(&c->waits, 1, memory_order_relaxed) - 1;
	if (!before)
		(void)swi_lc_post(c->lc, SWI_L_BLOCKED, &body, 1, NULL);
}

int swarm_get(struct swarm_client *client, struct swarm_ref ref, uint64_t timeout_ns,
	      struct swarm_view *out_view)
{
	int rc = swi_lc_try_get(client->lc, ref, out_view);

	if (rc != -ENOENT)
		return rc;
	if (!timeout_ns || !client->in_task)
		return swarm_store_get(client->store, ref, timeout_ns, out_view);
	say_blocked(client, true);
	rc = swarm_store_get(client->store, ref, timeout_ns, out_view);
	say_blocked(client, false);
	return rc;
}

void swarm_release(struct swarm_client *client, struct swarm_view *view)
{
	swarm_view_release(client->store, view);
}

int swarm_wait(struct swarm_client *client, const struct swarm_ref *refs, uint32_t count,
	       uint32_t min, uint64_t timeout_ns, uint8_t *out_ready)
{
	int rc;

	if (!client->in_task || !timeout_ns)
		return swarm_store_wait(client->store, refs, count, min, timeout_ns, out_ready);
	rc = swarm_store_wait(client->store, refs, count, min, 0, out_ready);
	if (rc != -ETIMEDOUT)
		return rc;
	say_blocked(client, true);
	rc = swarm_store_wait(client->store, refs, count, min, timeout_ns, out_ready);
	say_blocked(client, false);
	return rc;
}
