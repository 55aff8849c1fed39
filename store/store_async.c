/* SPDX-License-Identifier: Apache-2.0 */
/* store_async.c - the public faces of wait sets, completion queues and subscriptions. Any thread. */
#include "store/store_internal.h"

int swarm_waitset_create(struct swarm_store *store, struct swarm_waitset **out_ws)
{
	return swi_waitset_create(store->lc, out_ws);
}

int64_t swarm_waitset_add(struct swarm_waitset *ws, const struct swarm_ref *refs,
			  const uint64_t *tokens, uint32_t count)
{
	return swi_waitset_add(ws, refs, tokens, count);
}

int swarm_waitset_remove(struct swarm_waitset *ws, struct swarm_ref ref)
{
	return swi_waitset_remove(ws, ref);
}

int swarm_waitset_wait_any(struct swarm_waitset *ws, uint64_t timeout_ns,
			   struct swarm_ready *out_rows, uint32_t max)
{
	return swi_waitset_wait_any(ws, timeout_ns, out_rows, max);
}

int swarm_waitset_wait_all(struct swarm_waitset *ws, uint64_t timeout_ns)
{
	return swi_waitset_wait_all(ws, timeout_ns);
}

int swarm_waitset_fd(struct swarm_waitset *ws)
{
	return swi_waitset_fd(ws);
}

void swarm_waitset_destroy(struct swarm_waitset *ws)
{
	swi_waitset_destroy(ws);
}

int swarm_cq_create(struct swarm_store *store, uint32_t depth, struct swarm_cq **out_cq)
{
	return swi_cq_create(store->lc, depth, out_cq);
}

int swarm_cq_get(struct swarm_cq *cq, struct swarm_ref ref, uint64_t timeout_ns, uint64_t user,
		 uint64_t *out_id)
{
	return swi_cq_get(cq, ref, timeout_ns, user, out_id);
}

int swarm_cq_cancel(struct swarm_cq *cq, uint64_t id)
{
	return swi_cq_cancel(cq, id);
}

int swarm_cq_poll(struct swarm_cq *cq, struct swarm_completion *out_rows, uint32_t max)
{
	return swi_cq_poll(cq, out_rows, max);
}

int swarm_cq_wait(struct swarm_cq *cq, uint64_t timeout_ns, struct swarm_completion *out_rows,
		  uint32_t max)
{
	return swi_cq_wait(cq, timeout_ns, out_rows, max);
}

int swarm_cq_fd(struct swarm_cq *cq)
{
	return swi_cq_fd(cq);
}

void swarm_cq_destroy(struct swarm_cq *cq)
{
	swi_cq_destroy(cq);
}

int swarm_store_subscribe(struct swarm_store *store, const struct swarm_sub_opts *opts,
			  struct swarm_sub **out_sub)
{
	struct swarm_sub_opts o = {0};

	if (opts && (opts->size < 2 * sizeof(uint32_t) || opts->size > sizeof(o)))
		return -EINVAL;
	if (opts)
		memcpy(&o, opts, opts->size);
	return swi_sub_create(store->lc, &o, out_sub);
}

int swarm_sub_next(struct swarm_sub *sub, uint64_t timeout_ns, struct swarm_event *out_rows,
		   uint32_t max)
{
	return swi_sub_next(sub, timeout_ns, out_rows, max);
}

int swarm_sub_fd(struct swarm_sub *sub)
{
	return swi_sub_fd(sub);
}

void swarm_sub_close(struct swarm_sub *sub)
{
	swi_sub_destroy(sub);
}
