/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_conn.c - endpoints: sockets that are made, let in and ended.
 *
 * Invariant: an endpoint is freed by swi_shm_todo() (or close()) only, at the end of progress(), so no
 * list or event of this progress() can name it any more.
 */
#include <netinet/in.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport/shm/shm.h"

#define ACCEPTS	   16 /* of one progress() */
#define PORT_FIRST 32768u
#define PORT_COUNT 28232u
#define PORT_TRIES 256

/* The abstract name of @addr: it lives and dies with its listener, and is seen in this network namespace only. */
static socklen_t name_of(const char *addr, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	const int n = snprintf(out->sun_path + 1, sizeof(out->sun_path) - 1, "swarm/%u/%s",
			       (unsigned int)geteuid(), addr);

	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int new_socket(void)
{
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

static bool same_user(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.uid == geteuid();
}

static int SWI_PRINTF(4, 5) fail(char *why, size_t why_len, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, why_len, fmt, ap);
	va_end(ap);
	return code;
}

/* Whether the address is one of this host: the kernel knows. */
static bool is_of_this_host(const struct sockaddr_storage *sa)
{
	struct sockaddr_storage any_port = *sa;
	const int fd = socket(sa->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	swi_addr_set_port(&any_port, 0);
	const bool ok =
	    fd >= 0 && bind(fd, (struct sockaddr *)&any_port, swi_addr_len(&any_port)) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Binds to the name of @sa; with port 0, to the first free one of some. */
static int bind_name(struct swi_be *be, struct sockaddr_storage *sa)
{
	const bool any_port = swi_addr_port(sa) == 0;
	struct sockaddr_un un;

	for (int i = 0; i < (any_port ? PORT_TRIES : 1); i++) {
		if (any_port)
			swi_addr_set_port(sa, (uint16_t)(PORT_FIRST + swi_rand(be->args.env) %
									  PORT_COUNT));
		swi_addr_print(sa, be->address, sizeof(be->address));
		const socklen_t len = name_of(be->address, &un);

		if (bind(be->listen_fd, (struct sockaddr *)&un, len) == 0)
			return 0;
		if (errno != EADDRINUSE)
			return -errno;
	}
	return SWARM_EPORTUSED;
}

int swi_shm_listen(struct swi_be *be, const char *addr, char *why, size_t why_len)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct sockaddr_storage sa;
	int rc;

	if (swi_addr_parse(addr, true, &sa))
		return fail(why, why_len, -EINVAL, "not an address (HOST:PORT): %s", addr);
	if (!is_of_this_host(&sa))
		return fail(why, why_len, -EINVAL, "%s is no address of this host", addr);
	if (swi_addr_is_any(&sa)) { /* peers are on this host anyway, and need a name */
		const uint16_t port = swi_addr_port(&sa);

		(void)swi_addr_parse(sa.ss_family == AF_INET ? "127.0.0.1:0" : "[::1]:0", true, &sa);
		swi_addr_set_port(&sa, port);
	}
	be->listen_fd = new_socket();
	rc = be->listen_fd < 0 ? be->listen_fd : bind_name(be, &sa);
	if (!rc && listen(be->listen_fd, SOMAXCONN))
		rc = -errno;
	if (!rc && epoll_ctl(be->epfd, EPOLL_CTL_ADD, be->listen_fd, &ev))
		rc = -errno;
	if (rc == SWARM_EPORTUSED)
		return fail(why, why_len, rc, "the port of %s is in use", addr);
	return rc ? fail(why, why_len, rc, "cannot listen on %s: %s", addr, swarm_strerror(rc)) : 0;
}

/* Takes @fd over, also when it fails. */
static int ep_new(struct swi_be *be, int fd, bool inbound, struct swi_be_ep **out_ep)
{
	struct swi_be_ep *ep = calloc(1, sizeof(*ep));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = ep};
	uint32_t n = 0, slot = be->slot_hint;

	while (n < SHM_EPS_MAX && be->slot_used[slot % SHM_EPS_MAX]) {
		n++;
		slot++;
	}
	if (!ep || n == SHM_EPS_MAX || epoll_ctl(be->epfd, EPOLL_CTL_ADD, fd, &ev)) {
		free(ep);
		close(fd);
		return ep ? -EMFILE : -ENOMEM;
	}
	be->slot_hint = (slot + 1) % SHM_EPS_MAX;
	ep->be = be;
	ep->fd = fd;
	ep->inbound = inbound;
	ep->slot = slot % SHM_EPS_MAX;
	ep->words_fd = -1;
	be->slot_used[ep->slot] = true;
	swi_list_init(&ep->link);
	swi_list_init(&ep->busy_link);
	swi_list_init(&ep->reads);
	*out_ep = ep;
	return 0;
}

int swi_shm_connect(struct swi_be *be, const char *addr, void *owner, struct swi_be_ep **out_ep)
{
	struct sockaddr_storage sa;
	struct sockaddr_un un;
	char text[80];
	int rc, fd;

	if (swi_addr_parse(addr, false, &sa))
		return -EINVAL;
	fd = new_socket();
	if (fd < 0)
		return fd;
	swi_addr_print(&sa, text, sizeof(text));
	rc = connect(fd, (struct sockaddr *)&un, name_of(text, &un)) ? -errno : 0;
	if (!rc && !same_user(fd))
		rc = -EACCES;
	if (rc && be->args.param) {
		close(fd);
		return rc;
	}
	const int doom = rc;

	rc = ep_new(be, fd, false, out_ep);
	if (rc)
		return rc;
	(*out_ep)->owner = owner;
	(*out_ep)->doom = doom;
	/* connected() or down() comes from progress() */
	swi_list_push_back(&be->todo, &(*out_ep)->link);
	return 0;
}

void swi_shm_accept(struct swi_be *be)
{
	for (int i = 0; i < ACCEPTS; i++) {
		const int fd = accept4(be->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct swi_be_ep *ep;

		if (fd < 0)
			return;
		if (!same_user(fd)) {
			swi_warn(be->args.log, "shm: a process of another user was refused");
			close(fd);
			continue;
		}
		if (ep_new(be, fd, true, &ep)) {
			swi_warn(be->args.log, "shm: an inbound connection cannot be accepted");
			continue;
		}
		ep->up = true;
		swi_list_push_back(&be->eps, &ep->link);
		be->args.events->accepted(be->args.ctx, ep);
	}
}

void swi_shm_ep_down(struct swi_be_ep *ep, int status)
{
	if (ep->down || ep->closing)
		return;
	ep->down = true;
	ep->fail = status;
	(void)epoll_ctl(ep->be->epfd, EPOLL_CTL_DEL, ep->fd, NULL); /* or its end would be told for ever */
	ep->be->args.events->down(ep->be->args.ctx, ep, status);
}

/* shutdown(): a child of ours that has not yet called exec() may hold the socket as well. */
static void end_socket(struct swi_be_ep *ep)
{
	if (ep->fd < 0)
		return;
	(void)shutdown(ep->fd, SHUT_RDWR);
	close(ep->fd);
	ep->fd = -1;
}

void swi_shm_ep_close(struct swi_be_ep *ep)
{
	if (ep->closing)
		return;
	ep->closing = true;
	end_socket(ep); /* first: a reader that finds its right gone sees why (peer_closed() in shm_rma.c) */
	swi_shm_revoke(ep);
	swi_list_del(&ep->link);
	swi_list_push_back(&ep->be->todo, &ep->link);
}

void swi_shm_ep_free(struct swi_be_ep *ep)
{
	swi_shm_revoke(ep);
	end_socket(ep);
	swi_shm_unmap(ep);
	ep->be->slot_used[ep->slot] = false;
	swi_list_del(&ep->link);
	swi_list_del(&ep->busy_link);
	free(ep);
}

int swi_shm_todo(struct swi_be *be)
{
	struct swi_list now;
	int n = 0;

	swi_list_init(&now);
	swi_list_splice(&now, &be->todo);
	for (; !swi_list_empty(&now); n++) {
		struct swi_be_ep *ep = swi_list_entry(now.next, struct swi_be_ep, link);

		swi_list_del(&ep->link);
		if (!ep->closing) {
			swi_list_push_back(&be->eps, &ep->link);
			ep->up = !ep->doom;
			if (ep->up)
				be->args.events->connected(be->args.ctx, ep);
			else
				swi_shm_ep_down(ep, ep->doom);
			continue;
		}
		swi_shm_flush_reads(ep, ep->fail ? ep->fail : SWARM_EPEERLOST);
		be->args.events->closed(be->args.ctx, ep);
		swi_shm_ep_free(ep);
	}
	return n;
}
