/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths_init.c - the backend's table: opening every path, memory on all of them, progress, time. See paths.h.
 */
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/paths/paths.h"

/* --- opening --- */

/* Where path @i listens, from the list @bind. False: too long. */
static bool bind_of(const struct swi_be_open_args *args, uint32_t i, char *out, size_t len)
{
	const struct swi_paths_plan *plan = args->param;
	const char *at = args->bind;
	size_t n = strcspn(at, ",");
	int written;

	for (uint32_t k = 0; k < i && at[n]; k++) {
		at += n + 1;
		n = strcspn(at, ",");
		if (k + 1 == i)
			return (size_t)snprintf(out, len, "%.*s", (int)n, at) < len;
	}
	at = args->bind;
	n = strcspn(at, ",");
	if (!i)
		return (size_t)snprintf(out, len, "%.*s", (int)n, at) < len;
	const char *colon = memrchr(at, ':', n);
	const size_t host = colon ? (size_t)(colon - at) : n;

	if (plan->own_hosts)
		written = snprintf(out, len, "0.0.0.0%.*s", (int)(n - host), at + host);
	else
		written = snprintf(out, len, "%.*s:0", (int)host, at);
	return (size_t)written < len;
}

static int open_path(struct swi_be *be, uint32_t i, char *why, size_t why_len)
{
	const struct swi_paths_plan *plan = be->args.param;
	struct path *p = &be->paths[i];
	struct swi_be_open_args args = be->args;
	char bind[SWI_PATHS_ADDR * 2] = "";
	int rc;

	p->be = be;
	p->index = i;
	args.events = &swi_paths_events;
	args.ctx = p;
	args.device = plan->at[i].device;
	args.param = plan->at[i].param;
	if (args.bind && !bind_of(&be->args, i, bind, sizeof(bind))) {
		snprintf(why, why_len, "too long for an address: %s", be->args.bind);
		return -EINVAL;
	}
	args.bind = args.bind ? bind : NULL;
	rc = be->ops->open(&args, &p->inner, why, why_len);
	if (rc) {
		p->inner = NULL;
		p->broken = true;
	}
	snprintf(p->info.device, sizeof(p->info.device), "%s",
		 rc ? plan->at[i].device ? plan->at[i].device : "?" : be->ops->device(p->inner));
	return rc;
}

static void append(char *list, size_t len, const char *item)
{
	const size_t n = strlen(list);

	if (n + strlen(item) + 2 <= len)
		snprintf(list + n, len - n, "%s%s", n ? "," : "", item);
}

static int open_fds(struct swi_be *be)
{
	bool all = true;

	for (uint32_t i = 0; i < be->count; i++)
		all = all && (be->paths[i].broken || be->ops->fd(be->paths[i].inner) >= 0);
	be->epfd = all ? epoll_create1(EPOLL_CLOEXEC) : -1;
	for (uint32_t i = 0; i < be->count && all; i++) {
		struct epoll_event ev = {.events = EPOLLIN};

		if (!be->paths[i].broken &&
		    epoll_ctl(be->epfd, EPOLL_CTL_ADD, be->ops->fd(be->paths[i].inner), &ev))
			return -errno;
	}
	return 0;
}

static void paths_close(struct swi_be *be)
{
	if (!be)
		return;
	for (uint32_t i = 0; i < be->count; i++)
		if (be->paths[i].inner)
			be->ops->close(be->paths[i].inner);
	struct swi_list *const lists[] = {&be->eps, &be->closing};

	for (size_t i = 0; i < SWI_ARRAY_LEN(lists); i++)
		swi_list_for_each_safe (it, lists[i]) {
			struct swi_be_ep *ep = swi_list_entry(it, struct swi_be_ep, link);

			swi_paths_drop_reads(be, &ep->waiting);
			swi_list_for_each_safe (leg, &ep->legs) {
				swi_paths_drop_reads(be, &swi_list_entry(leg, struct leg, link)->posted);
				swi_paths_leg_free(swi_list_entry(leg, struct leg, link));
			}
			swi_paths_ep_free(ep);
		}
	swi_list_for_each_safe (it, &be->strangers)
		swi_paths_leg_free(swi_list_entry(it, struct leg, link));
	swi_list_for_each_safe (it, &be->mrs)
		free(swi_list_entry(it, struct paths_mr, link));
	while (be->free_reads) {
		struct paths_read *r = be->free_reads;

		be->free_reads = r->next_free;
		free(r);
	}
	if (be->epfd >= 0)
		close(be->epfd);
	free(be);
}

/* All that can be; one has to. */
static int open_all(struct swi_be *be, char *why, size_t why_len)
{
	uint32_t open = 0;
	int rc = 0, first = 0;

	for (uint32_t i = 0; i < be->count; i++) {
		struct path *p = &be->paths[i];
		char text[200] = "";

		rc = open_path(be, i, text, sizeof(text));
		if (rc && !first) {
			first = rc;
			snprintf(why, why_len, "%s", text[0] ? text : swarm_strerror(rc));
		}
		if (rc && rc != SWARM_ENOTRANSPORT) /* a wrong address or a taken port is a mistake */
			return rc;
		if (rc) {
			swi_warn(be->args.log, "path %s is left out: %s", p->info.device,
				 text[0] ? text : swarm_strerror(rc));
			continue;
		}
		open++;
		append(be->device, sizeof(be->device), p->info.device);
		if (be->args.bind)
			append(be->address, SWI_PATHS_ADDR, be->ops->address(p->inner));
	}
	return open ? open_fds(be) : first;
}

static int paths_open(const struct swi_be_open_args *args, struct swi_be **out_be, char *why, size_t why_len)
{
	const struct swi_paths_plan *plan = args->param;
	struct swi_be *be;
	int rc;

	if (!plan || !plan->inner || !plan->count || plan->count > SWI_PATHS_MAX) {
		snprintf(why, why_len, "several paths need a plan of 1 to %u", SWI_PATHS_MAX);
		return SWARM_ENOTRANSPORT;
	}
	be = calloc(1, sizeof(*be));
	if (!be)
		return -ENOMEM;
	be->args = *args;
	be->ops = plan->inner;
	be->count = plan->count;
	be->epfd = -1;
	be->now = swi_now(args->env);
	be->next_tick = UINT64_MAX;
	swi_list_init(&be->eps);
	swi_list_init(&be->closing);
	swi_list_init(&be->busy);
	swi_list_init(&be->strangers);
	swi_list_init(&be->mrs);
	rc = open_all(be, why, why_len);
	be->args.param = NULL; /* the plan is the caller's, and only for the opening */
	if (rc) {
		paths_close(be);
		return rc;
	}
	*out_be = be;
	return 0;
}

static const char *paths_address(struct swi_be *be)
{
	return be->address;
}

static const char *paths_device(struct swi_be *be)
{
	return be->device;
}

static uint64_t least(struct swi_be *be, uint64_t (*of)(struct swi_be *be))
{
	uint64_t v = UINT64_MAX;

	for (uint32_t i = 0; i < be->count; i++)
		if (be->paths[i].inner)
			v = swi_min_u64(v, of(be->paths[i].inner));
	return v;
}

static uint64_t paths_max_read(struct swi_be *be)
{
	return least(be, be->ops->max_read);
}

static uint64_t paths_max_mr(struct swi_be *be)
{
	return least(be, be->ops->max_mr);
}

/* --- memory --- */

static void mr_end(struct swi_be *be, struct paths_mr *m)
{
	for (uint32_t i = 0; i < be->count; i++)
		if (be->paths[i].inner && m->at[i].len)
			be->ops->mr_dereg(be->paths[i].inner, &m->at[i]);
	swi_list_del(&m->link);
	free(m);
}

static int paths_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr)
{
	struct paths_mr *m = calloc(1, sizeof(*m));
	const struct swi_be_mr *first = NULL;

	if (!m)
		return -ENOMEM;
	m->remote_read = mem->remote_read;
	swi_list_push_back(&be->mrs, &m->link);
	for (uint32_t i = 0; i < be->count; i++) {
		int rc;

		if (!be->paths[i].inner)
			continue;
		rc = be->ops->mr_reg(be->paths[i].inner, mem, &m->at[i]);
		if (rc) {
			mr_end(be, m);
			return rc;
		}
		first = first ? first : &m->at[i];
	}
	*out_mr = (struct swi_be_mr){.addr = mem->addr,
				     .len = mem->len,
				     .base = first->base,
				     .rkey = first->rkey,
				     .handle = m};
	return 0;
}

static void paths_mr_dereg(struct swi_be *be, struct swi_be_mr *mr)
{
	struct paths_mr *m = mr->handle;

	if (!m)
		return;
	swi_list_for_each (it, &be->eps) {
		struct swi_be_ep *ep = swi_list_entry(it, struct swi_be_ep, link);

		for (uint32_t i = 0; i < ep->name_count; i++)
			if (ep->names[i].mr == m)
				ep->names[i].mr = NULL;
	}
	mr_end(be, m);
	memset(mr, 0, sizeof(*mr));
}

/* --- endpoints --- */

static void paths_set_owner(struct swi_be_ep *ep, void *owner)
{
	ep->owner = owner;
}

static void *paths_owner(struct swi_be_ep *ep)
{
	return ep->owner;
}

static void paths_revoke(struct swi_be_ep *ep)
{
	swi_list_for_each (it, &ep->legs)
		ep->be->ops->revoke(swi_list_entry(it, struct leg, link)->inner);
}

static uint32_t paths_info(struct swi_be *be, struct swi_path_info *out, uint32_t max)
{
	for (uint32_t i = 0; i < be->count && i < max; i++) {
		out[i] = be->paths[i].info;
		out[i].legs = 0;
		swi_list_for_each (it, &be->eps) {
			const struct leg *l = swi_list_entry(it, struct swi_be_ep, link)->at[i];

			out[i].legs += l && l->state == LEG_UP;
		}
	}
	return be->count;
}

/* --- time --- */

/* Silence is found in two looks, with progress() in between: it may be this process that slept. */
static void look_at(struct leg *l)
{
	struct swi_be_ep *ep = l->ep;
	const uint64_t now = ep->be->now, quiet = now > l->heard_ns ? now - l->heard_ns : 0;
	const bool waits = l->reads || (l == ep->main && ep->last != ep->acked);

	if (!l->probed_ns && quiet >= (waits ? PATHS_PROBE_NS : PATHS_IDLE_NS)) {
		l->probed_ns = now;
		(void)swi_paths_send_on(l, SWI_PATHS_PROBE, NULL, 0);
	}
	if (!l->probed_ns || now - l->probed_ns < PATHS_SILENT_NS)
		return;
	if (!l->suspect_ns)
		l->suspect_ns = now;
	else if (now - l->suspect_ns >= PATHS_TICK_NS / 2)
		swi_paths_leg_fail(l, SWARM_ESILENT);
}

static void look_after(struct swi_be_ep *ep)
{
	for (uint32_t i = 0; i < ep->be->count; i++) {
		struct leg *l = ep->at[i];

		if (!l || ep->down || ep->closing)
			continue;
		if (l->state == LEG_UP && ep->paired && swi_paths_up(ep) > 1)
			look_at(l);
		else if (l->state != LEG_UP && ep->be->now >= l->deadline_ns)
			swi_paths_leg_fail(l, -ETIMEDOUT);
	}
	swi_paths_retry_due(ep);
}

static void tick(struct swi_be *be)
{
	swi_list_for_each_safe (it, &be->strangers) {
		struct leg *l = swi_list_entry(it, struct leg, link);

		if (l->state == LEG_STRANGER && be->now >= l->deadline_ns)
			swi_paths_leg_fail(l, -ETIMEDOUT);
	}
	swi_list_for_each_safe (it, &be->eps) /* down() may move the one that is looked after */
		look_after(swi_list_entry(it, struct swi_be_ep, link));
	be->next_tick = swi_list_empty(&be->eps) && swi_list_empty(&be->strangers)
			    ? UINT64_MAX
			    : be->now + PATHS_TICK_NS;
}

static uint64_t paths_deadline_ns(struct swi_be *be)
{
	return be->next_tick;
}

/* --- progress --- */

static void end_doomed(struct swi_be *be, bool all_of_path)
{
	be->doomed = false;
	swi_list_for_each_safe (it, &be->eps) {
		struct swi_be_ep *ep = swi_list_entry(it, struct swi_be_ep, link);

		for (uint32_t i = 0; i < be->count; i++) {
			struct leg *l = ep->at[i];

			if (l && (l->doom || (all_of_path && l->path->broken)))
				swi_paths_leg_fail(l, l->doom ? l->doom : -ENODEV);
		}
	}
}

static void pump(struct swi_be *be)
{
	struct swi_list now;

	swi_list_init(&now);
	swi_list_splice(&now, &be->busy);
	while (!swi_list_empty(&now)) {
		struct swi_be_ep *ep = swi_list_entry(now.next, struct swi_be_ep, busy_link);

		swi_list_del(&ep->busy_link);
		swi_paths_pump_msgs(ep);
		swi_paths_pump_reads(ep);
	}
}

/* A device that is gone takes its path along, and the backend only with the last. */
static int progress_paths(struct swi_be *be, unsigned int budget)
{
	uint32_t alive = 0;
	bool lost = false;
	int n = 0, rc = 0;

	for (uint32_t i = 0; i < be->count; i++) {
		struct path *p = &be->paths[i];

		if (!p->inner || p->broken)
			continue;
		rc = be->ops->progress(p->inner, budget);
		if (rc < 0) {
			swi_error(be->args.log, "path %s is gone: %s", p->info.device, swarm_strerror(rc));
			p->broken = lost = true;
			if (be->epfd >= 0)
				(void)epoll_ctl(be->epfd, EPOLL_CTL_DEL, be->ops->fd(p->inner), NULL);
			continue;
		}
		alive++;
		n += rc;
	}
	if (lost)
		end_doomed(be, true);
	return alive ? n : rc;
}

static int paths_progress(struct swi_be *be, unsigned int budget)
{
	int n;

	be->now = swi_now(be->args.env);
	n = progress_paths(be, budget);
	if (n < 0)
		return n;
	if (be->doomed)
		end_doomed(be, false);
	if (be->now >= be->next_tick)
		tick(be);
	if (!swi_list_empty(&be->busy))
		pump(be);
	if (!swi_list_empty(&be->closing))
		swi_paths_reap(be);
	return n;
}

static int paths_fd(struct swi_be *be)
{
	return be->epfd;
}

static bool paths_arm(struct swi_be *be)
{
	if (be->doomed)
		return false;
	swi_list_for_each (it, &be->closing)
		if (swi_list_empty(&swi_list_entry(it, struct swi_be_ep, link)->legs))
			return false;
	for (uint32_t i = 0; i < be->count; i++)
		if (be->paths[i].inner && !be->paths[i].broken && !be->ops->arm(be->paths[i].inner))
			return false;
	return true;
}

static uint32_t paths_count(struct swi_be *be)
{
	return be->count;
}

extern const struct swi_be_ops swi_paths_ops;
const struct swi_be_ops swi_paths_ops = {
    .size = sizeof(struct swi_be_ops),
    .name = "paths",
    .open = paths_open,
    .close = paths_close,
    .address = paths_address,
    .device = paths_device,
    .max_read = paths_max_read,
    .max_mr = paths_max_mr,
    .mr_reg = paths_mr_reg,
    .mr_dereg = paths_mr_dereg,
    .connect = swi_paths_connect,
    .set_owner = paths_set_owner,
    .owner = paths_owner,
    .grant = swi_paths_grant,
    .rkey = swi_paths_rkey,
    .revoke = paths_revoke,
    .send = swi_paths_send,
    .read = swi_paths_read,
    .ep_close = swi_paths_ep_close,
    .progress = paths_progress,
    .fd = paths_fd,
    .arm = paths_arm,
    .paths = paths_count,
    .pair = swi_paths_pair,
    .base = swi_paths_base,
    .info = paths_info,
    .deadline_ns = paths_deadline_ns,
};
