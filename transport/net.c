/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c - see net.h. Whether a peer is on this host needs no guess at interfaces: the name of its
 * unix-domain socket is made of its address, so it is there to connect to or it is not.
 */
#include "transport/net.h"
#include "transport/paths/paths_plan.h"

#include <sys/epoll.h>
#include <unistd.h>

#define TRY_NS (1 * NS_PER_S) /* for one address of several, or a quarter of what there is for all */

static const struct swi_be_ops *by_name(const char *name)
{
	const struct swi_be_ops *const all[] = {swi_be_verbs, swi_be_ofi, swi_be_shm, swi_be_sim,
						swi_be_fault, swi_be_paths};

	for (size_t i = 0; i < SWI_ARRAY_LEN(all); i++)
		if (all[i] && !strcmp(all[i]->name, name))
			return all[i];
	return NULL;
}

static int open_net(struct swi_net *net, const struct swi_be_ops *ops,
		    const struct swi_tp_opts *opts, const char *bind, char *why, size_t why_len)
{
	const struct swi_be_open_args args = {
	    .env = net->tp->env,
	    .log = net->tp->log,
	    .events = &swi_conn_events,
	    .ctx = net,
	    .bind = bind,
	    .device = opts->device,
	    .queue_pairs = opts->queue_pairs,
	    .param = opts->param,
	};
	int rc;

	if (opts->queue_pairs && (!strcmp(ops->name, "ofi") || !strcmp(ops->name, "shm")) &&
	    net == &net->tp->nets[SWI_NET_MAIN]) {
		snprintf(why, why_len, "queue pairs are those of verbs; the transport is %s", ops->name);
		return -EINVAL;
	}
	rc = ops->open(&args, &net->be, why, why_len);
	if (rc)
		return rc;
	net->ops = ops;
	net->part_max = swi_min_u64(ops->max_read(net->be), SWI_READ_PART_MAX);
	return 0;
}

/*
 * One device, or several of them as one: @opts->device is a list with commas, or "all". When @ops cannot
 * list its ports, or one alone is up, that is one device.
 */
static int open_one_or_more(struct swi_net *net, const struct swi_be_ops *ops, const struct swi_tp_opts *opts,
			    char *why, size_t why_len)
{
	struct swi_paths_plan plan = {.inner = ops, .own_hosts = true};
	struct swi_tp_opts o = *opts;
	char names[SWI_PATHS_MAX][64];
	const char *s = opts->device;

	if (!s || !ops->ports || (strcmp(s, "all") && !strchr(s, ',')))
		return open_net(net, ops, opts, opts->bind, why, why_len);
	if (!strcmp(s, "all"))
		plan.count = ops->ports(opts->bind, names, SWI_PATHS_MAX);
	for (; strcmp(opts->device, "all") && *s && plan.count < SWI_PATHS_MAX; s += *s == ',') {
		const size_t n = strcspn(s, ",");

		if (!n || n > 60) {
			snprintf(why, why_len, "not a list of devices (NAME:PORT,..): %s", opts->device);
			return -EINVAL;
		}
		snprintf(names[plan.count++], 64, "%.*s%s", (int)n, s, memchr(s, ':', n) ? "" : ":1");
		s += n;
	}
	if (!strcmp(opts->device, "all") && plan.count < 2) {
		o.device = plan.count ? names[0] : NULL;
		return open_net(net, ops, &o, opts->bind, why, why_len);
	}
	if (*s) {
		snprintf(why, why_len, "more than %u devices: %s", SWI_PATHS_MAX, opts->device);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < plan.count; i++)
		plan.at[i].device = names[i];
	o.param = &plan;
	o.device = NULL;
	return open_net(net, swi_be_paths, &o, opts->bind, why, why_len);
}

/* Verbs when a device is there, else libfabric. The reason is logged once, never silent. */
static int choose(struct swi_tp *tp, const struct swi_tp_opts *opts, char *why, size_t why_len)
{
	struct swi_net *net = &tp->nets[SWI_NET_MAIN];
	char no_verbs[256] = "not built in";
	int rc = SWARM_ENOTRANSPORT;

	if (swi_be_verbs)
		rc = open_one_or_more(net, swi_be_verbs, opts, no_verbs, sizeof(no_verbs));
	if (!rc) {
		swi_info(tp->log, "transport verbs (%s): an RDMA device is there",
			 net->ops->device(net->be));
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
	rc = open_net(net, swi_be_ofi, opts, opts->bind, why, why_len);
	if (!rc)
		swi_info(tp->log, "transport ofi (%s), because verbs: %s",
			 net->ops->device(net->be), no_verbs);
	return rc;
}

static int open_named(struct swi_tp *tp, const struct swi_tp_opts *opts, char *why, size_t why_len)
{
	const struct swi_be_ops *ops = by_name(opts->backend);
	struct swi_net *net = &tp->nets[SWI_NET_MAIN];

	if (!ops) {
		snprintf(why, why_len, "there is no transport '%s' in this build", opts->backend);
		return SWARM_ENOTRANSPORT;
	}
	const int rc = open_one_or_more(net, ops, opts, why, why_len);

	if (!rc)
		swi_info(tp->log, "transport %s (%s), as asked", net->ops->name,
			 net->ops->device(net->be));
	return rc;
}

static int add_fd(struct swi_tp *tp, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};

	return epoll_ctl(tp->epfd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static void drop_local(struct swi_tp *tp, const char *why)
{
	struct swi_net *net = &tp->nets[SWI_NET_LOCAL];

	if (net->be) {
		for (uint32_t i = 0; i < SWI_REGIONS_MAX; i++) {
			struct swi_local_chunks *on = &tp->regions[i].on[SWI_NET_LOCAL];

			for (uint32_t k = 0; k < on->count; k++)
				net->ops->mr_dereg(net->be, &on->mrs[k]);
			free(on->mrs);
			memset(on, 0, sizeof(*on));
		}
		net->ops->close(net->be);
	}
	net->be = NULL;
	net->ops = NULL;
	swi_info(tp->log, "peers on this host go through %s as well: %s",
		 tp->nets[SWI_NET_MAIN].ops->name, why);
}

/* Shared memory beside the main net: what it lacks is said, and is no reason to fail. */
static void open_local(struct swi_tp *tp, const struct swi_tp_opts *opts)
{
	struct swi_net *main_net = &tp->nets[SWI_NET_MAIN], *net = &tp->nets[SWI_NET_LOCAL];
	const struct swi_tp_opts looks = {.param = tp};
	char why[256] = "";
	int rc;

	if (open_net(net, swi_be_shm, &looks,
		     opts->bind ? main_net->ops->address(main_net->be) : NULL, why, sizeof(why))) {
		drop_local(tp, why);
		return;
	}
	tp->epfd = epoll_create1(EPOLL_CLOEXEC);
	rc = tp->epfd < 0 ? -errno : add_fd(tp, main_net->ops->fd(main_net->be));
	if (!rc)
		rc = add_fd(tp, net->ops->fd(net->be));
	if (rc)
		drop_local(tp, swarm_strerror(rc));
	else
		swi_info(tp->log, "peers of this user on this host go through shared memory");
}

int swi_nets_open(struct swi_tp *tp, const struct swi_tp_opts *opts, char *why, size_t why_len)
{
	int rc;

	for (int i = 0; i < SWI_NETS; i++)
		tp->nets[i].tp = tp;
	tp->epfd = -1;
	if (opts->backend && strcmp(opts->backend, "auto"))
		return open_named(tp, opts, why, why_len);
	rc = choose(tp, opts, why, why_len);
	if (!rc)
		open_local(tp, opts);
	return rc;
}

static void chunks_fini(struct swi_net *net, struct swi_local_chunks *on)
{
	for (uint32_t i = 0; i < on->count; i++)
		net->ops->mr_dereg(net->be, &on->mrs[i]);
	free(on->mrs);
	memset(on, 0, sizeof(*on));
}

void swi_nets_close(struct swi_tp *tp)
{
	for (int i = 0; i < SWI_NETS; i++) {
		struct swi_net *net = &tp->nets[i];

		if (!net->be)
			continue;
		for (uint32_t r = 0; r < SWI_REGIONS_MAX; r++)
			chunks_fini(net, &tp->regions[r].on[i]);
		net->ops->close(net->be);
		net->be = NULL;
	}
	if (tp->epfd >= 0)
		close(tp->epfd);
	tp->epfd = -1;
}

static int register_on(struct swi_net *net, const struct swi_local_region *l, int memfd,
		       struct swi_local_chunks *on)
{
	const uint64_t max = swi_align_down(net->ops->max_mr(net->be), SWI_PAGE);
	const uint64_t chunk = swi_min_u64(l->len, max);
	const uint64_t count = (l->len - 1) / chunk + 1;

	if (count > SWI_CHUNKS_MAX)
		return -E2BIG;
	on->mrs = calloc(count, sizeof(*on->mrs));
	if (!on->mrs)
		return -ENOMEM;
	on->chunk_len = chunk;
	for (uint64_t off = 0; off < l->len; off += chunk) {
		const struct swi_be_mem mem = {.addr = l->addr + off,
					       .len = swi_min_u64(chunk, l->len - off),
					       .fd = memfd,
					       .fd_off = memfd < 0 ? 0 : off,
					       .remote_read = true};
		const int rc = net->ops->mr_reg(net->be, &mem, &on->mrs[on->count]);

		if (rc) {
			chunks_fini(net, on);
			return rc;
		}
		on->count++;
	}
	return 0;
}

int swi_nets_register(struct swi_tp *tp, struct swi_local_region *l, int memfd)
{
	struct swi_net *local = &tp->nets[SWI_NET_LOCAL];
	int rc = register_on(&tp->nets[SWI_NET_MAIN], l, memfd, &l->on[SWI_NET_MAIN]);

	if (rc || !local->ops)
		return rc;
	rc = register_on(local, l, memfd, &l->on[SWI_NET_LOCAL]);
	if (rc)
		drop_local(tp, rc == -ENOTSUP ? "the memory is not a memfd of fixed size"
					      : swarm_strerror(rc));
	return 0;
}

/* To whoever takes a list whole. */
static int connect_whole(struct swi_net *net, struct swi_conn *c)
{
	c->net = net;
	c->addr_next = (uint32_t)strlen(c->addr);
	return net->ops->connect(net->be, c->addr, c, &c->ep);
}

/* One card tries the addresses of a peer that has several one after the other. */
int swi_nets_connect_next(struct swi_conn *c)
{
	struct swi_tp *tp = c->tp;
	char one[sizeof(c->addr)];
	int rc;

	do {
		const char *at = c->addr + c->addr_next;
		const size_t n = strcspn(at, ",");

		snprintf(one, sizeof(one), "%.*s", (int)n, at);
		c->addr_next += (uint32_t)(n + (at[n] == ','));
		rc = c->net->ops->connect(c->net->be, one, c, &c->ep);
	} while (rc && c->addr[c->addr_next]);
	c->try_ns = UINT64_MAX;
	if (!rc && c->addr[c->addr_next]) {
		c->try_ns = swi_sat_add(swi_now(tp->env), swi_min_u64(TRY_NS, tp->connect_timeout_ns / 4));
		tp->next_timer = swi_min_u64(tp->next_timer, c->try_ns);
	}
	return rc;
}

int swi_nets_connect(struct swi_conn *c)
{
	struct swi_tp *tp = c->tp;
	struct swi_net *local = &tp->nets[SWI_NET_LOCAL], *main_net = &tp->nets[SWI_NET_MAIN];

	if (local->ops && connect_whole(local, c) == 0) {
		swi_info(tp->log, "%s is a process of this user on this host: shared memory instead of %s",
			 c->addr, main_net->ops->name);
		return 0;
	}
	if (main_net->ops->paths)
		return connect_whole(main_net, c);
	c->net = main_net;
	c->addr_next = 0;
	return swi_nets_connect_next(c);
}

int swi_nets_progress(struct swi_tp *tp, unsigned int budget)
{
	struct swi_net *main_net = &tp->nets[SWI_NET_MAIN], *local = &tp->nets[SWI_NET_LOCAL];
	int n = main_net->ops->progress(main_net->be, budget);

	if (n >= 0 && local->ops) {
		const int m = local->ops->progress(local->be, budget);

		n += m > 0 ? m : 0;
	}
	return n;
}

int swi_nets_fd(struct swi_tp *tp)
{
	struct swi_net *net = &tp->nets[SWI_NET_MAIN];

	return tp->epfd >= 0 ? tp->epfd : net->ops->fd(net->be);
}

uint64_t swi_nets_deadline_ns(const struct swi_tp *tp)
{
	const struct swi_net *net = &tp->nets[SWI_NET_MAIN];

	return net->ops->deadline_ns ? net->ops->deadline_ns(net->be) : UINT64_MAX;
}

bool swi_nets_arm(struct swi_tp *tp)
{
	for (int i = 0; i < SWI_NETS; i++)
		if (tp->nets[i].ops && !tp->nets[i].ops->arm(tp->nets[i].be))
			return false;
	return true;
}
