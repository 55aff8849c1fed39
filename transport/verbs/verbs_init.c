/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_init.c - opens a device: from the address to listen on, from its name, or the first with
 * a port that is up; and the backend's table. Owner thread only.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <dirent.h>
#include <netdb.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "transport/base/addr.h"
#include "transport/verbs/verbs.h"

struct reason {
	char *text;
	size_t len;
};

static int SWI_PRINTF(3, 4) fail(struct reason *why, int code, const char *fmt, ...)
{
	va_list ap;

	if (why->text && why->len) {
		va_start(ap, fmt);
		vsnprintf(why->text, why->len, fmt, ap);
		va_end(ap);
	}
	return code;
}

static bool any_device(void)
{
	DIR *dir = opendir("/sys/class/infiniband");
	struct dirent *entry;
	bool found = false;

	if (!dir)
		return false;
	while ((entry = readdir(dir)))
		found |= entry->d_name[0] != '.';
	closedir(dir);
	return found;
}

static const char *dev_name(struct ibv_context *dev)
{
	return ibv_get_device_name(dev->device);
}

/* rdma_cm's own contexts, or its ids could not use our protection domain. */
static int find_device(struct swi_be *be, const char *name, struct reason *why)
{
	struct ibv_context **devs, *named = NULL;
	int n;

	devs = rdma_get_devices(&n);
	if (!devs)
		return fail(why, SWARM_ENOTRANSPORT, "rdma_cm lists no device: %s",
			    strerror(errno));
	for (int i = 0; i < n && !be->dev; i++) {
		if (name && strcmp(name, dev_name(devs[i])) != 0)
			continue;
		named = devs[i];
		if (swi_verbs_port_active(devs[i], be->asked_port))
			be->dev = devs[i];
	}
	rdma_free_devices(devs);
	if (be->dev)
		return 0;
	if (name && !named)
		return fail(why, SWARM_ENOTRANSPORT, "there is no RDMA device %s", name);
	return fail(why, SWARM_ENOTRANSPORT, "no port of RDMA device %s is up",
		    named ? dev_name(named) : "(any)");
}

static int bind_error(const char *addr, int err, struct reason *why)
{
	switch (err) {
	case EADDRINUSE:
		return fail(why, SWARM_EPORTUSED, "the port of %s is in use", addr);
	case EADDRNOTAVAIL:
		return fail(why, -EINVAL, "%s is no address of this host", addr);
	case ENODEV:
		return fail(why, SWARM_ENOTRANSPORT, "no RDMA device has the address of %s", addr);
	default:
		return fail(why, swi_verbs_errno(err), "cannot listen on %s: %s", addr,
			    strerror(err));
	}
}

static int start_listening(struct swi_be *be, const char *addr, struct reason *why)
{
	struct sockaddr_storage sa;

	if (swi_addr_parse(addr, true, &sa) != 0)
		return fail(why, -EINVAL, "not an address (HOST:PORT): %s", addr);
	if (be->source.ss_family && swi_addr_is_any(&sa)) { /* a port was named: its own address */
		const uint16_t port = swi_addr_port(&sa);

		sa = be->source;
		swi_addr_set_port(&sa, port);
	}
	if (rdma_create_id(be->ec, &be->listen_id, NULL, RDMA_PS_TCP) != 0)
		return fail(why, swi_verbs_errno(errno), "rdma_create_id: %s", strerror(errno));
	if (rdma_bind_addr(be->listen_id, (struct sockaddr *)&sa) != 0 ||
	    rdma_listen(be->listen_id, 128) != 0)
		return bind_error(addr, errno, why);
	if (swi_addr_is_any(&sa))
		return 0;
	if (be->dev && (be->dev != be->listen_id->verbs || be->asked_port != be->listen_id->port_num))
		return fail(why, SWARM_ENOTRANSPORT, "%s does not belong to RDMA device %s", addr, be->name);
	be->dev = be->listen_id->verbs;
	memcpy(&be->source, &sa, sizeof(sa));
	swi_addr_set_port(&be->source, 0);
	return 0;
}

/* The device's own IPv4 address: what to tell peers when we listen on every address. */
static bool device_ipv4(struct swi_be *be, struct in_addr *out_addr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct ibv_port_attr port;
	union ibv_gid gid;

	if (ibv_query_port(be->dev, be->port, &port) != 0)
		return false;
	for (int i = 0; i < port.gid_tbl_len; i++) {
		if (ibv_query_gid(be->dev, be->port, i, &gid) == 0 &&
		    memcmp(gid.raw, mapped, sizeof(mapped)) == 0) {
			memcpy(out_addr, gid.raw + 12, 4);
			return true;
		}
	}
	return false;
}

static void write_address(struct swi_be *be)
{
	struct sockaddr_storage sa;
	unsigned int port = ntohs(rdma_get_src_port(be->listen_id));

	memcpy(&sa, rdma_get_local_addr(be->listen_id), sizeof(sa));
	if (sa.ss_family == AF_INET && swi_addr_is_any(&sa))
		(void)device_ipv4(be, &((struct sockaddr_in *)&sa)->sin_addr);
	swi_addr_set_port(&sa, (uint16_t)port);
	swi_addr_print(&sa, be->address, sizeof(be->address));
}

static int set_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* One descriptor for all that can wake us. */
static int open_wakeups(struct swi_be *be, struct reason *why)
{
	int fds[3];

	be->epfd = epoll_create1(EPOLL_CLOEXEC);
	be->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	fds[0] = be->ec->fd;
	fds[1] = be->cc->fd;
	fds[2] = be->timerfd;
	for (unsigned int i = 0; i < 3; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.fd = fds[i]};

		if (be->epfd < 0 || fds[i] < 0 || set_nonblock(fds[i]) != 0 ||
		    epoll_ctl(be->epfd, EPOLL_CTL_ADD, fds[i], &ev) != 0)
			return fail(why, swi_verbs_errno(errno), "epoll: %s", strerror(errno));
	}
	return 0;
}

static int open_device(struct swi_be *be, struct reason *why)
{
	struct ibv_port_attr port;
	int err = ibv_query_device(be->dev, &be->attr);

	if (err)
		return fail(why, swi_verbs_errno(err), "ibv_query_device: %s", strerror(err));
	be->port = swi_verbs_port_active(be->dev, be->asked_port);
	if (!be->port || ibv_query_port(be->dev, be->port, &port) != 0)
		return fail(why, SWARM_ENOTRANSPORT, "no port of RDMA device %s is up",
			    dev_name(be->dev));
	be->max_read = swi_min_u64(port.max_msg_sz, VERBS_MAX_READ);
	be->pd = ibv_alloc_pd(be->dev);
	if (!be->pd)
		return fail(why, swi_verbs_errno(errno), "ibv_alloc_pd: %s", strerror(errno));
	be->cc = ibv_create_comp_channel(be->dev);
	if (!be->cc)
		return fail(why, swi_verbs_errno(errno), "ibv_create_comp_channel: %s",
			    strerror(errno));
	be->cq = ibv_create_cq(
	    be->dev, (int)swi_min_u64(VERBS_CQ_FIRST, (uint64_t)be->attr.max_cqe), be, be->cc, 0);
	if (!be->cq)
		return fail(why, swi_verbs_reg_error(errno), "ibv_create_cq: %s", strerror(errno));
	if (!be->attr.max_srq)
		return fail(why, SWARM_ENOTRANSPORT, "%s has no shared receive queues",
			    dev_name(be->dev));
	be->cqe_used = VERBS_SRQ_DEPTH;
	be->windows = be->attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B && be->attr.max_mw;
	err = swi_verbs_srq_create(be);
	if (err)
		return fail(why, err, "the shared receive queue cannot be made: %s",
			    swarm_strerror(err));
	return open_wakeups(be, why);
}

static void verbs_close(struct swi_be *be)
{
	if (!be)
		return;
	while (!swi_list_empty(&be->open) || !swi_list_empty(&be->flushing)) {
		struct swi_list *l = swi_list_empty(&be->open) ? &be->flushing : &be->open;
		struct swi_be_ep *ep = swi_list_first(l, struct swi_be_ep, link);

		if (ep->id)
			(void)rdma_disconnect(ep->id);
		swi_verbs_ep_end(ep, false);
		free(ep);
	}
	if (be->listen_id)
		rdma_destroy_id(be->listen_id);
	swi_verbs_srq_destroy(be);
	if (be->cq && ibv_destroy_cq(be->cq) != 0)
		swi_error(be->log, "verbs: the completion queue is still in use");
	if (be->cc)
		ibv_destroy_comp_channel(be->cc);
	if (be->pd && ibv_dealloc_pd(be->pd) != 0)
		swi_error(be->log, "verbs: memory is still registered");
	if (be->timerfd >= 0)
		close(be->timerfd);
	if (be->epfd >= 0)
		close(be->epfd);
	if (be->ec)
		rdma_destroy_event_channel(be->ec);
	free(be);
}

/* A port was named: what leaves, and what is listened on, has its address. */
static int take_port(struct swi_be *be, const char *name, struct reason *why)
{
	int err = find_device(be, name, why);

	if (err)
		return err;
	if (!swi_verbs_port_addr(be->ec, be->dev, be->asked_port, &be->source))
		return fail(why, SWARM_ENOTRANSPORT, "port %u of RDMA device %s has no address", be->asked_port,
			    name);
	snprintf(be->name, sizeof(be->name), "%s:%u", name, be->asked_port);
	return 0;
}

static int try_open(struct swi_be *be, const struct swi_be_open_args *args, struct reason *why)
{
	char named[64] = "";
	const char *name = args->device ? named : NULL;
	int err;

	if (!any_device())
		return fail(why, SWARM_ENOTRANSPORT,
			    "no RDMA device: /sys/class/infiniband is empty");
	be->ec = rdma_create_event_channel();
	if (!be->ec)
		return fail(why, SWARM_ENOTRANSPORT, "rdma_cm is not usable (module rdma_ucm?): %s",
			    strerror(errno));
	if (name && swi_verbs_port_parse(args->device, named, sizeof(named), &be->asked_port))
		return fail(why, -EINVAL, "not a device (NAME or NAME:PORT): %s", args->device);
	err = be->asked_port ? take_port(be, name, why) : 0;
	if (!err && args->bind)
		err = start_listening(be, args->bind, why);
	if (err)
		return err;
	if (be->dev && name && strcmp(name, dev_name(be->dev)) != 0)
		return fail(why, SWARM_ENOTRANSPORT, "%s belongs to RDMA device %s, not to %s",
			    args->bind, dev_name(be->dev), name);
	err = be->dev ? 0 : find_device(be, name, why);
	if (!err)
		err = open_device(be, why);
	if (!err && be->listen_id)
		write_address(be);
	return err;
}

static int verbs_open(const struct swi_be_open_args *args, struct swi_be **out_be, char *why,
		      size_t why_len)
{
	struct reason reason = {why, why_len};
	struct swi_be *be = calloc(1, sizeof(*be));
	int err;

	if (!be)
		return fail(&reason, -ENOMEM, "out of memory");
	be->env = args->env;
	be->log = args->log;
	be->ev = args->events;
	be->ctx = args->ctx;
	be->max_lanes = (uint32_t)swi_min_u64(args->queue_pairs ? args->queue_pairs : VERBS_LANES_MAX, VERBS_LANES_MAX) - 1;
	be->epfd = be->timerfd = -1;
	swi_list_init(&be->open);
	swi_list_init(&be->flushing);
	swi_list_init(&be->dirty);
	swi_list_init(&be->mrs);
	err = try_open(be, args, &reason);
	if (err) {
		verbs_close(be);
		return err;
	}
	*out_be = be;
	return 0;
}

static const char *verbs_address(struct swi_be *be)
{
	return be->address;
}

static const char *verbs_device(struct swi_be *be)
{
	return be->name[0] ? be->name : dev_name(be->dev);
}

static uint64_t verbs_max_read(struct swi_be *be)
{
	return be->max_read;
}

static uint64_t verbs_max_mr(struct swi_be *be)
{
	return swi_align_down(be->attr.max_mr_size, SWI_PAGE);
}

static void verbs_set_owner(struct swi_be_ep *ep, void *owner)
{
	ep->owner = owner;
}

static void *verbs_owner(struct swi_be_ep *ep)
{
	return ep->owner;
}

const struct swi_verbs_counters *swi_verbs_counters(const struct swi_be *be)
{
	return &be->counters;
}

const struct swi_be_ops swi_verbs_ops = {
    .size = sizeof(struct swi_be_ops),
    .name = "verbs",
    .open = verbs_open,
    .close = verbs_close,
    .address = verbs_address,
    .device = verbs_device,
    .max_read = verbs_max_read,
    .max_mr = verbs_max_mr,
    .mr_reg = swi_verbs_mr_reg,
    .mr_dereg = swi_verbs_mr_dereg,
    .connect = swi_verbs_connect,
    .set_owner = verbs_set_owner,
    .owner = verbs_owner,
    .grant = swi_verbs_grant,
    .revoke = swi_verbs_revoke,
    .rkey = swi_verbs_rkey,
    .send = swi_verbs_send,
    .read = swi_verbs_read,
    .ep_close = swi_verbs_ep_close,
    .progress = swi_verbs_progress,
    .fd = swi_verbs_fd,
    .arm = swi_verbs_arm,
    .ports = swi_verbs_ports,
};
