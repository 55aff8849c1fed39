/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.c - the front door: opening, registration, progress, counters.
 *
 * One struct swi_tp is one node's end of the network; it belongs to one thread.
 */
#include <sodium.h>

#include "transport/net.h"

#define BUDGET 256u /* events of one progress() */

int swi_tp_open(const struct swi_tp_opts *opts, struct swi_env *env, const struct swi_log *log,
		const struct swi_tp_handler *handler, struct swi_tp **out_tp, char *why,
		size_t why_len)
{
	struct swi_tp *tp = calloc(1, sizeof(*tp));
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
	rc = swi_nets_open(tp, opts, why, why_len);
	if (rc) {
		if (why_len && !why[0])
			snprintf(why, why_len, "%s", swarm_strerror(rc));
		swi_tp_close(tp);
		return rc;
	}
	*out_tp = tp;
	return 0;
}

void swi_tp_close(struct swi_tp *tp)
{
	if (!tp)
		return;
	SWI_BUG_ON(tp->in_progress);
	swi_nets_close(tp);
	swi_list_for_each_safe (it, &tp->conns)
		swi_conn_free(swi_list_entry(it, struct swi_conn, link));
	swi_tp_parts_fini(tp);
	sodium_memzero(tp->key, sizeof(tp->key));
	free(tp);
}

int swi_tp_register(struct swi_tp *tp, uint32_t region, void *addr, uint64_t len, int memfd)
{
	struct swi_local_region *l;

	if (region >= SWI_REGIONS_MAX || !len || ((uintptr_t)addr | len) % SWI_PAGE)
		return -EINVAL;
	l = &tp->regions[region];
	if (l->len)
		return -EEXIST;
	l->addr = addr;
	l->len = len;
	const int rc = swi_nets_register(tp, l, memfd);

	if (rc)
		memset(l, 0, sizeof(*l));
	return rc;
}

void swi_tp_set_node(struct swi_tp *tp, uint32_t node)
{
	tp->node = node;
}

const char *swi_tp_address(const struct swi_tp *tp)
{
	return tp->nets[SWI_NET_MAIN].ops->address(tp->nets[SWI_NET_MAIN].be);
}

const char *swi_tp_backend(const struct swi_tp *tp)
{
	return tp->nets[SWI_NET_MAIN].ops->name;
}

const char *swi_tp_device(const struct swi_tp *tp)
{
	return tp->nets[SWI_NET_MAIN].ops->device(tp->nets[SWI_NET_MAIN].be);
}

uint32_t swi_tp_paths(const struct swi_tp *tp, struct swi_path_info *out_rows, uint32_t max)
{
	const struct swi_net *net = &tp->nets[SWI_NET_MAIN];

	return net->ops->info ? net->ops->info(net->be, out_rows, max) : 0;
}

const struct swi_tp_counters *swi_tp_counters(const struct swi_tp *tp)
{
	return &tp->n;
}

int swi_tp_connect(struct swi_tp *tp, const char *addr, void *user, struct swi_conn **out_conn)
{
	struct swi_conn *c;
	int rc = swi_conn_create(&tp->nets[SWI_NET_MAIN], false, &c);

	if (rc)
		return rc;
	c->user = user;
	snprintf(c->addr, sizeof(c->addr), "%s", addr);
	rc = swi_nets_connect(c);
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
	const int n = swi_nets_progress(tp, BUDGET);

	swi_conn_timers(tp);
	if (!swi_list_empty(&tp->blocked))
		(void)run_list(&tp->blocked); /* a retry is not an event: the caller may sleep */
	const int worked = swi_list_empty(&tp->work) ? 0 : run_list(&tp->work);

	tp->in_progress = false;
	return n < 0 ? n : n + worked;
}

int swi_tp_fd(struct swi_tp *tp)
{
	return swi_nets_fd(tp);
}

bool swi_tp_arm(struct swi_tp *tp)
{
	return swi_list_empty(&tp->work) && swi_nets_arm(tp);
}

uint64_t swi_tp_deadline_ns(const struct swi_tp *tp)
{
	return swi_list_empty(&tp->work) ? swi_min_u64(tp->next_timer, swi_nets_deadline_ns(tp)) : 0;
}
