/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task.c - a task as its function sees it: arguments in, results out.
 *
 * The runner holds the arguments in local memory for the run's life; they are pinned here besides, as far as the pin
 * table is meant for it. Results are named by the task, so a second run of it finds them sealed: then what stands
 * counts, and what this run writes goes to private memory and is only compared. Worker process only.
 */
#include <stdarg.h>

#include "sched/exec.h"

/* More would crowd out the function's own gets; beyond it the runner's hold alone keeps the bytes. */
#define PINNED_ARGS_MAX 1024u
#define ROOM_NS		(30 * NS_PER_S)

uint32_t swarm_task_arg_count(const struct swarm_task *task)
{
	return task->spec.arg_count;
}

const void *swarm_task_arg(const struct swarm_task *task, uint32_t i, uint64_t *out_len)
{
	if (i >= task->spec.arg_count)
		return NULL;
	if (out_len)
		*out_len = task->args[i].len;
	return task->args[i].data;
}

struct swarm_ref swarm_task_arg_ref(const struct swarm_task *task, uint32_t i)
{
	return i < task->spec.arg_count ? task->args[i].ref : (struct swarm_ref){0};
}

uint32_t swarm_task_return_count(const struct swarm_task *task)
{
	return task->spec.return_count;
}

uint32_t swarm_task_attempt(const struct swarm_task *task)
{
	return task->attempt;
}

uint32_t swarm_task_node(const struct swarm_task *task)
{
	return swi_lc_node(task->client.lc);
}

struct swarm_client *swarm_task_client(struct swarm_task *task)
{
	return &task->client;
}

int swarm_task_fail(struct swarm_task *task, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(task->text, sizeof(task->text), fmt, ap);
	va_end(ap);
	return SWARM_ETASK;
}

/* ---- results ---- */

static struct swarm_ref ret_ref(const struct swarm_task *task, uint32_t i)
{
	return (struct swarm_ref){.id = swi_result_id(task->spec.task, i), .home = task->spec.home};
}

static int ret_stands(struct swi_task_ret *r, uint64_t len, void **out_data)
{
	r->scratch = malloc(len ? len : 1);
	if (!r->scratch)
		return -ENOMEM;
	r->state = SWI_RET_STANDS;
	r->len = len;
	*out_data = r->scratch;
	return 0;
}

int swarm_task_return_create(struct swarm_task *task, uint32_t i, uint64_t len, void **out_data)
{
	struct swi_task_ret *r;
	int rc;

	if (i >= task->spec.return_count)
		return -EINVAL;
	r = &task->rets[i];
	if (r->state != SWI_RET_NONE)
		return -EALREADY;
	rc = swarm_store_create(task->client.store, ret_ref(task, i), len, ROOM_NS, &r->buf);
	if (rc == -EEXIST)
		return ret_stands(r, len, out_data);
	if (rc)
		return rc;
	r->state = SWI_RET_MADE;
	r->len = len;
	*out_data = r->buf.data;
	return 0;
}

int swarm_task_return(struct swarm_task *task, uint32_t i, const void *data, uint64_t len)
{
	void *p;
	const int rc = swarm_task_return_create(task, i, len, &p);

	if (!rc && len)
		memcpy(p, data, len);
	return rc;
}

static void ret_drop(struct swarm_task *task, struct swi_task_ret *r)
{
	if (r->state == SWI_RET_MADE)
		swarm_store_abort(task->client.store, &r->buf);
	free(r->scratch);
	r->scratch = NULL;
	r->state = SWI_RET_NONE;
}

/* The result of the first run is what readers have: its length counts, and a difference is worth a line. */
static void ret_compare(struct swarm_task *task, uint32_t i)
{
	struct swi_task_ret *r = &task->rets[i];
	struct swarm_view v;

	if (swi_lc_try_get(task->client.lc, ret_ref(task, i), &v))
		return;
	if (r->scratch && (v.len != r->len || memcmp(v.data, r->scratch, v.len)))
		fprintf(stderr,
			"swarm: result %u of %s differs from the one its earlier run gave, which stands\n",
			i, task->spec.function);
	r->len = v.len;
	swarm_view_release(task->client.store, &v);
}

static int ret_seal(struct swarm_task *task, uint32_t i)
{
	struct swi_task_ret *r = &task->rets[i];
	void *p;
	int rc = 0;

	if (r->state == SWI_RET_NONE)
		rc = swarm_task_return_create(task, i, 0, &p);
	if (!rc && r->state == SWI_RET_MADE) {
		/* Not the public call: a result need not be durable, it can be made again. Consumes the buffer. */
		rc = swi_lc_seal(swi_store_lc(task->client.store), &r->buf);
		r->state = rc == -EEXIST ? SWI_RET_STANDS : SWI_RET_NONE;
		rc = rc == -EEXIST ? 0 : rc;
	}
	if (!rc && r->state == SWI_RET_STANDS)
		ret_compare(task, i);
	if (rc)
		snprintf(task->text, sizeof(task->text), "result %u of %s cannot be sealed: %s", i,
			 task->spec.function, swarm_strerror(rc));
	return rc;
}

int swi_task_finish(struct swarm_task *task, int status)
{
	for (uint32_t i = 0; i < task->spec.return_count && !status; i++)
		status = ret_seal(task, i);
	for (uint32_t i = 0; i < task->spec.return_count; i++)
		ret_drop(task, &task->rets[i]);
	return status;
}

/* ---- arguments ---- */

static int arg_pin(struct swarm_task *task, struct swi_task_arg *a, bool keep)
{
	int rc = swi_lc_try_get(task->client.lc, a->ref, &a->view);

	/* The runner said that it is here and held, so this is a race with a replaced copy: ask the node. */
	if (rc == -ENOENT)
		rc = swarm_store_get(task->client.store, a->ref, ROOM_NS, &a->view);
	if (rc)
		return rc;
	a->data = a->view.data;
	a->len = a->view.len;
	if (!keep) {
		swarm_view_release(task->client.store, &a->view);
		memset(&a->view, 0, sizeof(a->view));
	}
	return 0;
}

/* Inline bytes lie unaligned in the message; a function may take any of them for a struct. */
static int inline_room(struct swarm_task *task)
{
	struct swi_spec_arg sa;
	uint64_t sum = 0;
	uint32_t pos = 0;

	while (swi_spec_next_arg(&task->spec, &pos, &sa))
		if (!sa.is_ref)
			sum += swi_align_up(sa.len, alignof(max_align_t));
	task->inline_args = malloc(sum ? sum : 1);
	return task->inline_args ? 0 : -ENOMEM;
}

static int args_pin(struct swarm_task *task)
{
	const bool keep = task->spec.ref_count <= PINNED_ARGS_MAX;
	struct swi_spec_arg sa;
	uint32_t pos = 0;
	uint64_t at = 0;
	int rc = inline_room(task);

	for (uint32_t i = 0; !rc && i < task->spec.arg_count; i++) {
		struct swi_task_arg *a = &task->args[i];

		if (!swi_spec_next_arg(&task->spec, &pos, &sa))
			return -EBADMSG;
		if (sa.is_ref) {
			a->ref = sa.ref;
			rc = arg_pin(task, a, keep);
			if (rc)
				snprintf(task->text, sizeof(task->text),
					 "argument %u of %s is not in the memory of its node: %s", i,
					 task->spec.function, swarm_strerror(rc));
		} else {
			a->data = task->inline_args + at;
			a->len = sa.len;
			memcpy(task->inline_args + at, sa.data, sa.len);
			at += swi_align_up(sa.len, alignof(max_align_t));
		}
	}
	return rc;
}

int swi_task_init(struct swarm_task *task, const void *spec, uint32_t len, uint32_t attempt)
{
	int rc = swi_spec_decode(spec, len, &task->spec);

	if (rc)
		return rc;
	task->attempt = attempt;
	task->client.in_task = true;
	task->client.parent = task->spec.task;
	task->args = calloc(task->spec.arg_count + 1, sizeof(*task->args));
	task->rets = calloc(task->spec.return_count + 1, sizeof(*task->rets));
	if (!task->args || !task->rets)
		return -ENOMEM;
	return args_pin(task);
}

void swi_task_fini(struct swarm_task *task)
{
	for (uint32_t i = 0; task->args && i < task->spec.arg_count; i++)
		if (task->args[i].view.data)
			swarm_view_release(task->client.store, &task->args[i].view);
	free(task->inline_args);
	free(task->args);
	free(task->rets);
}
