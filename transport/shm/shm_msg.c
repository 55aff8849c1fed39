/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_msg.c - datagrams: messages of the layer above, and the one that hands over descriptors.
 *
 * A GRANT (its bytes: shm_wire.h) comes with one descriptor more than it names memories: the words, then the
 * memories. It comes at most once, before the first message that tells the keys. What comes from the
 * peer is checked and not believed: only memfds that cannot shrink are taken, so no access to them
 * faults or blocks.
 */
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/shm/shm.h"

union shm_cmsg {
	struct cmsghdr align;
	uint8_t buf[CMSG_SPACE(SHM_FDS_MAX * sizeof(int))];
};

void swi_shm_watch(struct swi_be_ep *ep, bool out)
{
	struct epoll_event ev = {.events = EPOLLIN | (out ? EPOLLOUT : 0u), .data.ptr = ep};

	if (epoll_ctl(ep->be->epfd, EPOLL_CTL_MOD, ep->fd, &ev) == 0)
		ep->wants_out = out;
}

static int send_error(struct swi_be_ep *ep)
{
	if (errno == EAGAIN || errno == ENOBUFS) {
		swi_shm_watch(ep, true);
		return -EAGAIN;
	}
	return errno == EMSGSIZE ? -EMSGSIZE : SWARM_EPEERLOST; /* down() comes by its own way */
}

int swi_shm_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b, uint32_t blen)
{
	uint8_t kind = SHM_MSG;
	struct iovec iov[3] = {{&kind, 1},
			       {(void *)(uintptr_t)a, alen},
			       {(void *)(uintptr_t)b, blen}};
	const struct msghdr m = {.msg_iov = iov, .msg_iovlen = 3};

	if (alen > SWI_BE_MSG_MAX || blen > SWI_BE_MSG_MAX - alen)
		return -EMSGSIZE;
	if (!ep->up || ep->down || ep->closing)
		return SWARM_EPEERLOST;
	return sendmsg(ep->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? send_error(ep) : 0;
}

int swi_shm_grant(struct swi_be_ep *ep)
{
	struct swi_be *be = ep->be;
	struct shm_grant g = {.slot = ep->slot};
	uint8_t buf[SHM_GRANT_MAX];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	union shm_cmsg c = {0};
	int fds[SHM_FDS_MAX], n = 0;
	struct iovec iov;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf};

	if (!ep->up || ep->down || ep->closing)
		return SWARM_EPEERLOST;
	if (ep->word)
		return 0;
	ep->word = atomic_load_explicit(&be->words[ep->slot], memory_order_relaxed);
	g.word = ep->word;
	fds[n++] = be->words_ro_fd;
	swi_list_for_each (it, &be->mrs) {
		const struct shm_mr *mr = swi_list_entry(it, struct shm_mr, link);

		if (mr->fd < 0)
			continue;
		g.mem[g.count++] = (struct shm_memory){mr->rkey, mr->fd_off, mr->len};
		fds[n++] = mr->fd;
	}
	swi_shm_put_grant(&w, &g);
	SWI_BUG_ON(!swi_wr_ok(&w));
	iov = (struct iovec){buf, w.len};
	m.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
	c.align = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
				   .cmsg_type = SCM_RIGHTS,
				   .cmsg_len = CMSG_LEN((size_t)n * sizeof(int))};
	memcpy(CMSG_DATA(&c.align), fds, (size_t)n * sizeof(int));
	if (sendmsg(ep->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	swi_shm_revoke(ep);
	return SWARM_EPEERLOST; /* a socket that is full before the handshake is over serves nobody */
}

void swi_shm_revoke(struct swi_be_ep *ep)
{
	_Atomic uint64_t *word = &ep->be->words[ep->slot];

	if (!ep->word)
		return;
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	/* partner: the fence in revoked(), in the reader. The word changes before any byte is reused. */
	atomic_thread_fence(memory_order_seq_cst);
	ep->word = 0;
}

static void close_all(const int *fds, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		close(fds[i]);
}

/* 0, or SWARM_EPROTO and nothing was taken. */
static int take_grant(struct swi_be_ep *ep, const uint8_t *body, uint32_t len, const int *fds,
		      uint32_t n)
{
	struct swi_rd r = swi_rd_init(body, len);
	struct shm_grant g;
	uint64_t words_len;

	if (ep->words_fd >= 0 || !n || swi_shm_get_grant(&r, &g) || g.count != n - 1 ||
	    !swi_shm_fd_ok(fds[0], &words_len) || words_len < SHM_WORDS_BYTES)
		return SWARM_EPROTO;
	for (uint32_t i = 0; i < g.count; i++) {
		struct shm_window *w = &ep->windows[i];

		*w = (struct shm_window){.fd = fds[i + 1], .rkey = g.mem[i].rkey, .off = g.mem[i].off, .len = g.mem[i].len};
		if (!swi_shm_fd_ok(w->fd, &w->file_len) || !swi_shm_memory_fits(&g.mem[i], w->file_len))
			return SWARM_EPROTO;
	}
	ep->words_fd = fds[0];
	ep->window_count = g.count;
	ep->peer_slot = g.slot;
	ep->peer_word = g.word;
	ep->be->n.fds_received += n;
	return 0;
}

/* The descriptors that came along, into @fds; returns how many. */
static uint32_t get_fds(struct msghdr *m, int fds[SHM_FDS_MAX])
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return 0;
	const size_t n =
	    swi_min_u64((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), SHM_FDS_MAX);

	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return (uint32_t)n;
}

/* One datagram. 0, or why the peer is not heard any further. */
static int take(struct swi_be_ep *ep, struct msghdr *m, uint8_t *buf, uint32_t len)
{
	const struct swi_be_open_args *a = &ep->be->args;
	int fds[SHM_FDS_MAX];
	const uint32_t n = get_fds(m, fds);
	int rc = SWARM_EPROTO;

	if (m->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		close_all(fds, n);
		return rc;
	}
	if (buf[0] == SHM_GRANT)
		rc = take_grant(ep, buf + 1, len - 1, fds, n);
	else if (buf[0] == SHM_MSG && n == 0)
		rc = 0;
	if (rc)
		close_all(fds, n);
	else if (buf[0] == SHM_MSG)
		a->events->recv(a->ctx, ep, buf + 1, len - 1);
	return rc;
}

int swi_shm_receive(struct swi_be_ep *ep, unsigned int budget)
{
	uint8_t buf[SHM_DGRAM_MAX];
	unsigned int n = 0;
	bool reset = false;

	while (n < budget && !ep->down && !ep->closing) {
		union shm_cmsg c;
		struct iovec iov = {buf, sizeof(buf)};
		struct msghdr m = {.msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = c.buf,
				   /* not the padded size: one more would fit into the padding */
				   .msg_controllen = CMSG_LEN(SHM_FDS_MAX * sizeof(int))};
		const ssize_t len = recvmsg(ep->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int rc = 0;

		if (len < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		n++;
		if (len < 0 && errno == ECONNRESET && !reset) {
			reset = true; /* said once, before what the peer sent earlier is read */
			continue;
		}
		rc = len > 0 ? take(ep, &m, buf, (uint32_t)len) : SWARM_EPEERLOST;
		if (rc)
			swi_shm_ep_down(ep, rc);
	}
	return (int)n;
}
