/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.c - the front door: choice of the backend, registration, progress, counters.
 *
 * One struct swi_tp is one node's end of the network; it belongs to one thread.
 */
#include <sodium.h>

#include "transport/conn.h"

#define BUDGET 256u /* events of one progress() */

static const struct swi_be_ops *by_name(const char *name)
{
	const struct swi_be_ops *const all[] = {swi_be_verbs, swi_be_ofi, swi_be_sim, swi_be_fault};

	for (size_t i = 0; i < SWI_ARRAY_LEN(all); i++)
		if (all[i] && !strcmp(all[i]->name, name))
			return all[i];
	return NULL;
}

static int open_backend(struct swi_tp *tp, const struct swi_be_ops *ops,
			const struct swi_tp_opts *opts, char *why, size_t why_len)
{
	const struct swi_be_open_args args = {
	    .env = tp->env,
	    .log = tp->log,
	    .events = &swi_conn_events,
	    .ctx = tp,
	    .bind = opts->bind,
	    .device = opts->device,
	    .param = opts->param,
	};
	const int rc = ops->open(&args, &tp->be, why, why_len);

	if (!rc)
		tp->ops = ops;
	return rc;
}

/* Verbs when a device is there, else libfabric. The reason is logged once, never silent. */
static int choose(struct swi_tp *tp, const struct swi_tp_opts *opts, char *why, size_t why_len)
{
	char no_verbs[256] = "not built in";
	int rc = SWARM_ENOTRANSPORT;

	if (swi_be_verbs)
		rc = open_backend(tp, swi_be_verbs, opts, no_verbs, sizeof(no_verbs));
	if (!rc) {
		swi_info(tp->log, "transport verbs (%s): an RDMA device is there",
			 tp->ops->device(tp->be));
		return 0;
	}
	if (rc != SWARM_ENOTRANSPORT) { /* a device, but a wrong address or a taken port */
		snprintf(why, why_len, "%s", no_verbs);
		return rc;
	}
	if (!swi_be_ofi) {
		snprintf(why, why_len, "no transport: verbs: %s; libfabric: not built in",
			 no_verbs);
		return SWARM_ENOTRANSPORT;
	}
	rc = open_backend(tp, swi_be_ofi, opts, why, why_len);
	if (!rc)
		swi_info(tp->log, "transport ofi (%s), because verbs: %s", tp->ops->device(tp->be),
			 no_verbs);
	return rc;
}

static int open_named(struct swi_tp *tp, const struct swi_tp_opts *opts, char *why, size_t why_len)
{
	const struct swi_be_ops *ops = by_name(opts->backend);

	if (!ops) {
		snprintf(why, why_len, "there is no transport '%s' in this build", opts->backend);
		return SWARM_ENOTRANSPORT;
	}
	const int rc = open_backend(tp, ops, opts, why, why_len);

	if (!rc)
		swi_info(tp->log, "transport %s (%s), as asked", ops->name, ops->device(tp->be));
	return rc;
}

int swi_tp_open(const struct swi_tp_opts *opts, struct swi_env *env, const struct swi_log *log,
		const struct swi_tp_handler *handler, struct swi_tp **out_tp, char *why,
		size_t why_len)
{
	struct swi_tp *tp = calloc(1, sizeof(*tp));
	const char *name = opts->backend;
	int rc;

	if (why_len)
		why[0] = 0;
	if (!tp) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	tp->env = env;
	tp->log = log;
	tp->handler = *handler;
	memcpy(tp->key, opts->key, sizeof(tp->key));
	tp->node = opts->node;
	tp->epoch = opts->epoch;
	tp->connect_timeout_ns = opts->connect_timeout_ns ? opts->connect_timeout_ns : 5 * NS_PER_S;
	tp->silence_timeout_ns = opts->silence_timeout_ns ? opts->silence_timeout_ns : 2 * NS_PER_S;
	tp->next_timer = UINT64_MAX;
	tp->now = swi_now(env);
	swi_list_init(&tp->conns);
	swi_list_init(&tp->work);
	swi_list_init(&tp->blocked);
	if (!name || !strcmp(name, "auto"))
		rc = choose(tp, opts, why, why_len);
	else
		rc = open_named(tp, opts, why, why_len);
	if (rc) {
		if (why_len && !why[0])
			snprintf(why, why_len, "%s", swarm_strerror(rc));
		swi_tp_close(tp);
		return rc;
	}
	tp->part_max = swi_min_u64(tp->ops->max_read(tp->be), SWI_READ_PART_MAX);
	*out_tp = tp;
	return 0;
}

static void region_fini(struct swi_tp *tp, struct swi_local_region *l)
{
	for (uint32_t i = 0; i < l->chunk_count; i++)
		tp->ops->mr_dereg(tp->be, &l->mrs[i]);
	free(l->mrs);
	memset(l, 0, sizeof(*l));
}

void swi_tp_close(struct swi_tp *tp)
{
	if (!tp)
		return;
	SWI_BUG_ON(tp->in_progress);
	if (tp->be) {
		for (uint32_t i = 0; i < SWI_REGIONS_MAX; i++)
			region_fini(tp, &tp->regions[i]);
		tp->ops->close(tp->be);
	}
	swi_list_for_each_safe (it, &tp->conns)
		swi_conn_free(swi_list_entry(it, struct swi_conn, link));
	swi_tp_parts_fini(tp);
	sodium_memzero(tp->key, sizeof(tp->key));
	free(tp);
}

int swi_tp_register(struct swi_tp *tp, uint32_t region, void *addr, uint64_t len)
{
	const uint64_t max = swi_align_down(tp->ops->max_mr(tp->be), SWI_PAGE);
	struct swi_local_region *l;

	if (region >= SWI_REGIONS_MAX || !len || ((uintptr_t)addr | len) % SWI_PAGE)
		return -EINVAL;
	l = &tp->regions[region];
	if (l->len)
		return -EEXIST;
	const uint64_t chunk = swi_min_u64(len, max);
	const uint64_t count = (len - 1) / chunk + 1;

	if (count > SWI_CHUNKS_MAX)
		return -E2BIG;
	l->mrs = calloc(count, sizeof(*l->mrs));
	if (!l->mrs)
		return -ENOMEM;
	for (uint64_t off = 0; off < len; off += chunk) {
		const int rc =
		    tp->ops->mr_reg(tp->be, (uint8_t *)addr + off, swi_min_u64(chunk, len - off),
				    true, &l->mrs[l->chunk_count]);

		if (rc) {
			region_fini(tp, l);
			return rc;
		}
		l->chunk_count++;
	}
	l->addr = addr;
	l->len = len;
	l->chunk_len = chunk;
	return 0;
}

void swi_tp_set_node(struct swi_tp *tp, uint32_t node)
{
	tp->node = node;
}

const char *swi_tp_address(const struct swi_tp *tp)
{
	return tp->ops->address(tp->be);
}

const char *swi_tp_backend(const struct swi_tp *tp)
{
	return tp->ops->name;
}

const char *swi_tp_device(const struct swi_tp *tp)
{
	return tp->ops->device(tp->be);
}

const struct swi_tp_counters *swi_tp_counters(const struct swi_tp *tp)
{
	return &tp->n;
}

int swi_tp_connect(struct swi_tp *tp, const char *addr, void *user, struct swi_conn **out_conn)
{
	struct swi_conn *c;
	int rc = swi_conn_create(tp, false, &c);

	if (rc)
		return rc;
	c->user = user;
	snprintf(c->addr, sizeof(c->addr), "%s", addr);
	rc = tp->ops->connect(tp->be, addr, c, &c->ep);
	if (rc) {
		swi_conn_free(c);
		return rc;
	}
	*out_conn = c;
	return 0;
}

/* Connections that @l held when this began; what a callback adds waits for the next call. */
static int run_list(struct swi_list *l)
{
	struct swi_list todo;
	int n = 0;

	swi_list_init(&todo);
	swi_list_splice(&todo, l);
	while (!swi_list_empty(&todo)) {
		swi_conn_work(swi_list_entry(todo.next, struct swi_conn, work_link));
		n++;
	}
	return n;
}

int swi_tp_progress(struct swi_tp *tp)
{
	SWI_BUG_ON(tp->in_progress);
	tp->in_progress = true;
	tp->now = swi_now(tp->env);
	const int n = tp->ops->progress(tp->be, BUDGET);

	swi_conn_timers(tp);
	if (!swi_list_empty(&tp->blocked))
		(void)run_list(&tp->blocked); /* a retry is not an event: the caller may sleep */
	const int worked = swi_list_empty(&tp->work) ? 0 : run_list(&tp->work);

	tp->in_progress = false;
	return n < 0 ? n : n + worked;
}

int swi_tp_fd(struct swi_tp *tp)
{
	return tp->ops->fd(tp->be);
}

bool swi_tp_arm(struct swi_tp *tp)
{
	return swi_list_empty(&tp->work) && tp->ops->arm(tp->be);
}

uint64_t swi_tp_deadline_ns(const struct swi_tp *tp)
{
	return swi_list_empty(&tp->work) ? tp->next_timer : 0;
}
