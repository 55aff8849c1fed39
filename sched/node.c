/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.c - the whole node core (node.h): the store's hooks, the runner's answers, the step. What happens where:
 * hooks only take in and mark; swi_node_step() acts, room by room, until nothing is left. Owner thread: the core's.
 */
#include "sched/node.h"

#include "sched/core.h"

const char *swi_oid_str(struct swarm_oid id, char buf[33])
{
	snprintf(buf, 33, "%016llx%016llx", (unsigned long long)id.w[0], (unsigned long long)id.w[1]);
	return buf;
}

int swi_node_send(struct swi_node *n, uint32_t to, uint16_t type, const struct swi_wr *w)
{
	struct swi_peer *p = swi_peer_find(n->sn, to);

	SWI_BUG_ON(!swi_wr_ok(w));
	return p ? swi_peer_send(n->sn, p, type, w->buf, w->len) : SWARM_EPEERLOST;
}

/* ---- clients ---- */

static void client_up(void *ctx, struct swi_client *cl)
{
	struct swi_node *n = ctx;

	if (swi_client_role(cl) == SWI_ROLE_DRIVER)
		n->drivers++;
	if (swi_client_role(cl) == SWI_ROLE_WORKER)
		swi_client_no_quota(cl); /* results are their submitter's: a task must not fail for what ran here before it */
}

static void client_gone(void *ctx, struct swi_client *cl)
{
	struct swi_node *n = ctx;

	if (swi_client_role(cl) == SWI_ROLE_DRIVER)
		n->drivers--;
	if (swi_client_role(cl) == SWI_ROLE_WORKER)
		swi_runner_client_gone(n->runner, cl);
	swi_status_client_gone(n, cl);
}

static int on_submit(struct swi_node *n, const struct swi_msg *msg)
{
	const int rc = swi_graph_submit(n, msg->body, msg->len);

	if (rc == -ENOMEM)
		swi_error(n->log, "no memory for one more task: it is lost");
	return rc == -ENOMEM ? 0 : rc;
}

static int on_cancel(struct swi_node *n, const struct swi_msg *msg)
{
	struct swi_rd rd = swi_rd_init(msg->body, msg->len);
	const struct swarm_ref ref = swi_rd_ref(&rd);
	const bool force = swi_rd_u8(&rd);

	if (!swi_rd_done(&rd))
		return -EBADMSG;
	if (swi_graph_maker(n, ref.id, NULL) || !ref.home || ref.home == n->number)
		swi_graph_cancel(n, ref.id, force);
	else
		swi_dispatch_cancel_at(n, ref.home, ref.id, force);
	return 0;
}

static void admin_reply(struct swi_client *cl, uint64_t req, const char *text)
{
	uint8_t buf[256];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_u32(&w, 0);
	swi_wr_str(&w, text);
	swi_client_send(cl, SWI_L_REPLY, req, buf, w.len);
}

static void admin_drain(struct swi_node *n, struct swi_client *cl, uint64_t req, const char *arg)
{
	char *end;
	const unsigned long node = strtoul(arg, &end, 10);
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	int rc;

	if (!arg[0] || *end || !swi_view_find(n, (uint32_t)node) || node > UINT32_MAX) {
		swi_client_reply_error(cl, req, -ENOENT, "there is no such node; see: swarm list nodes");
		return;
	}
	if (n->o.head) {
		rc = swi_member_drain(n, (uint32_t)node);
	} else {
		swi_wr_u32(&w, (uint32_t)node);
		rc = node == 1 ? -EINVAL : swi_node_send(n, 1, SWI_P_DRAIN, &w);
	}
	if (rc < 0)
		swi_client_reply_error(cl, req, rc,
				       rc == -EINVAL ? "the head cannot be drained" : "the head cannot be reached");
	else
		admin_reply(cl, req, "draining");
}

/* The other nodes end at once, without moving what nobody will read; the head ends by itself, or by a signal. */
static void admin_stop_all(struct swi_node *n, struct swi_client *cl, uint64_t req)
{
	const struct swi_wr none = {0};

	if (!n->o.head) {
		swi_client_reply_error(cl, req, -EINVAL,
				       "only the head can stop the others: name its run directory");
		return;
	}
	for (uint32_t i = 0; i < n->cview.view.count; i++)
		if (n->cview.member[i]->node != n->number)
			(void)swi_node_send(n, n->cview.member[i]->node, SWI_P_STOP, &none);
	admin_reply(cl, req, "stopping");
}

static int on_stop(struct swi_node *n, uint32_t from)
{
	if (from != 1)
		return -EPERM;
	if (n->o.ended)
		n->o.ended(n->o.ctx, 0, "the cluster was stopped");
	return 0;
}

static int on_admin(struct swi_node *n, struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_rd rd = swi_rd_init(msg->body, msg->len);
	char cmd[32], arg[64];

	swi_rd_str(&rd, cmd, sizeof(cmd));
	swi_rd_str(&rd, arg, sizeof(arg));
	if (!swi_rd_done(&rd))
		return -EBADMSG;
	if (!strcmp(cmd, "drain")) {
		admin_drain(n, cl, msg->req, arg);
	} else if (!strcmp(cmd, "gather")) {
		swi_status_gather(n, cl, msg->req, arg);
	} else if (!strcmp(cmd, "stop") && !strcmp(arg, "all")) {
		admin_stop_all(n, cl, msg->req);
	} else if (!strcmp(cmd, "stop")) {
		admin_reply(cl, msg->req, "stopping");
		swi_member_leave(n);
	} else {
		swi_client_reply_error(cl, msg->req, -EINVAL, "there is no such command");
	}
	return 0;
}

static int client_msg(void *ctx, struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_node *n = ctx;

	switch (msg->type) {
	case SWI_L_SUBMIT:
		return on_submit(n, msg);
	case SWI_L_CANCEL:
		return on_cancel(n, msg);
	case SWI_L_READY:
	case SWI_L_DONE:
	case SWI_L_BLOCKED:
		return swi_client_role(cl) == SWI_ROLE_WORKER ? swi_runner_client_msg(n->runner, cl, msg)
							      : -EPERM;
	case SWI_L_ADMIN:
		return on_admin(n, cl, msg);
	default:
		return -EBADMSG;
	}
}

static void client_blocked(void *ctx, struct swi_client *cl, bool blocked)
{
	struct swi_node *n = ctx;

	if (swi_client_role(cl) == SWI_ROLE_WORKER)
		swi_runner_client_blocked(n->runner, cl, blocked);
}

/* ---- peers ---- */

static void peer_up(void *ctx, struct swi_peer *peer)
{
	swi_member_peer_up(ctx, peer);
}

static void peer_down(void *ctx, struct swi_peer *peer, int status)
{
	swi_member_peer_down(ctx, peer, status);
}

static int on_lineage(struct swi_node *n, struct swi_rd *rd)
{
	const uint32_t attempt = swi_rd_u32(rd);
	struct swi_spec s;
	uint32_t len;
	const void *bytes = swi_rd_bytes(rd, &len);

	if (!swi_rd_done(rd) || swi_spec_decode(bytes, len, &s))
		return -EBADMSG;
	(void)swi_graph_adopt(n, &s, attempt); /* without memory it is as if evicted */
	return 0;
}

static int peer_msg(void *ctx, struct swi_peer *peer, uint16_t type, struct swi_rd *body)
{
	struct swi_node *n = ctx;
	const uint32_t from = swi_peer_node(peer);

	if (!from && type != SWI_P_JOIN)
		return -EBADMSG;
	switch (type) {
	case SWI_P_TASK:
		return swi_dispatch_on_task(n, from, body);
	case SWI_P_TASK_DONE:
		return swi_dispatch_on_done(n, from, body);
	case SWI_P_TASK_CANCEL:
		return swi_dispatch_on_cancel(n, from, body);
	case SWI_P_TASK_REFUSED:
		return swi_dispatch_on_refused(n, from, body);
	case SWI_P_LINEAGE:
		return on_lineage(n, body);
	case SWI_P_PREFETCH:
		return swi_prefetch_on_ask(n, from, body);
	case SWI_P_STOP:
		return on_stop(n, from);
	case SWI_P_STATUS:
		return swi_status_on_ask(n, from, body);
	case SWI_P_STATUS_REPLY:
		return swi_status_on_reply(n, from, body);
	default:
		return swi_member_msg(n, peer, type, body);
	}
}

/* ---- objects ---- */

static int obj_lost(void *ctx, struct swarm_oid id, bool made, char *why, size_t why_len)
{
	return swi_rebuild_lost(ctx, id, made, why, why_len);
}

static uint64_t peer_free(void *ctx, uint32_t node)
{
	const struct swi_member *m = swi_view_find(ctx, node);

	if (!m || !m->report.arena_bytes)
		return UINT64_MAX;
	return m->report.arena_bytes - swi_min_u64(m->report.arena_used, m->report.arena_bytes);
}

static bool obj_keep(void *ctx, struct swarm_oid id)
{
	return swi_graph_delete(ctx, id);
}

static uint64_t obj_remake_ns(void *ctx, struct swarm_oid id, bool drop)
{
	return swi_rebuild_remake_ns(ctx, id, drop);
}

static void need_room(void *ctx)
{
	struct swi_node *n = ctx;

	swi_runner_need_room(n->runner);
}

static char *status(void *ctx, const char *what)
{
	return swi_status_json(ctx, what);
}

/* ---- life ---- */

static void runner_changed(void *ctx)
{
	struct swi_node *n = ctx;

	n->member.check = true;
	swi_dispatch_kick(n);
}

static int runner_create(struct swi_node *n)
{
	const struct swi_runner_opts ro = {
	    .sn = n->sn,
	    .total = n->o.total,
	    .workers = n->o.workers,
	    .workers_max = n->o.workers_max,
	    .done = swi_dispatch_run_done,
	    .changed = runner_changed,
	    .ctx = n,
	};

	return swi_runner_create(&ro, &n->runner);
}

static void hooks_set(struct swi_node *n)
{
	const struct swi_snode_hooks hooks = {
	    .ctx = n,
	    .client_up = client_up,
	    .client_gone = client_gone,
	    .client_msg = client_msg,
	    .client_blocked = client_blocked,
	    .peer_up = peer_up,
	    .peer_down = peer_down,
	    .peer_msg = peer_msg,
	    .obj_lost = obj_lost,
	    .obj_keep = obj_keep,
	    .peer_free = peer_free,
	    .obj_remake_ns = obj_remake_ns,
	    .need_room = need_room,
	    .status = status,
	};

	swi_snode_set_hooks(n->sn, &hooks);
}

static int opts_check(const struct swi_node_opts *o, char *why, size_t why_len)
{
	if (!o->head && (!o->head_address || !swi_snode_tp(o->sn))) {
		snprintf(why, why_len, "a node that is not the head needs the head's address and a transport");
		return -EINVAL;
	}
	if (!o->workers.spawn || !o->workers.kill) {
		snprintf(why, why_len, "no way to start workers was given");
		return -EINVAL;
	}
	return 0;
}

int swi_node_create(const struct swi_node_opts *opts, struct swi_node **out, char *why, size_t why_len)
{
	char unused[128];
	struct swi_node *n;
	int rc = opts_check(opts, why ? why : unused, why ? why_len : sizeof(unused));

	if (rc)
		return rc;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->o = *opts;
	n->sn = opts->sn;
	n->env = swi_snode_env(n->sn);
	n->log = swi_snode_log(n->sn);
	n->epoch = swi_snode_epoch(n->sn);
	swi_graph_init(n);
	swi_lineage_init(n, opts->lineage_bytes);
	swi_rebuild_init(n);
	swi_dispatch_init(n);
	swi_prefetch_init(n);
	swi_view_init(n);
	swi_status_init(n);
	rc = runner_create(n);
	if (rc) {
		swi_node_destroy(n);
		return rc;
	}
	hooks_set(n);
	swi_member_init(n);
	*out = n;
	return 0;
}

void swi_node_destroy(struct swi_node *n)
{
	const struct swi_snode_hooks none = {0};

	if (!n)
		return;
	swi_snode_set_hooks(n->sn, &none);
	swi_runner_destroy(n->runner);
	swi_graph_fini(n);
	swi_prefetch_fini(n);
	swi_dispatch_fini(n);
	swi_view_fini(n);
	swi_rebuild_fini(n);
	swi_lineage_fini(n);
	swi_status_fini(n);
	swi_member_fini(n);
	swi_events_fini(n);
	free(n);
}

int swi_node_step(struct swi_node *n)
{
	int handled = swi_member_step(n);

	if (n->member.ended)
		return handled;
	handled += swi_runner_step(n->runner);
	handled += swi_graph_step(n);
	handled += swi_dispatch_step(n);
	handled += swi_scaler_step(n);
	handled += swi_status_step(n);
	return handled;
}

uint64_t swi_node_deadline_ns(struct swi_node *n)
{
	uint64_t at = swi_member_deadline_ns(n);

	if (!swi_list_empty(&n->graph.restart) || n->dispatch.dirty ||
	    (n->member.leaving && n->member.check))
		return 0;
	at = swi_min_u64(at, swi_runner_deadline_ns(n->runner));
	at = swi_min_u64(at, swi_dispatch_deadline_ns(n));
	at = swi_min_u64(at, swi_scaler_deadline_ns(n));
	return swi_min_u64(at, swi_status_deadline_ns(n));
}

struct swi_runner *swi_node_runner(struct swi_node *n)
{
	return n->runner;
}

bool swi_node_joined(struct swi_node *n)
{
	return n->member.join == SWI_JOIN_IN;
}

void swi_node_leave(struct swi_node *n)
{
	swi_member_leave(n);
}
