/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_rma.c - registered memory, and READs: copies from the peer's memory into ours.
 *
 * A READ is copied by progress(), a piece at a time and the endpoints in turn, so that neither a large
 * READ nor a busy peer holds up messages. The peer's word is looked at after the last piece (shm.h says
 * why that is enough). Memory of the peer is mapped at the first READ, which the layer above allows only
 * after the peer has proved the key.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/shm/shm.h"

#define TOLD_BYTES  KIB(4) /* a piece that is told while the first-level cache has it */
#define AHEAD_BYTES KIB(2)
#define LINE	    64u

bool swi_shm_fd_ok(int fd, uint64_t *out_len)
{
	const int seals = fcntl(fd, F_GET_SEALS); /* fails on all that is no memfd */
	struct stat st;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) || st.st_size <= 0)
		return false;
	*out_len = (uint64_t)st.st_size;
	return true;
}

/* Another descriptor of the same memfd, through which nobody maps it writable by mistake. */
static int open_ro(int fd)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	const int ro = open(path, O_RDONLY | O_CLOEXEC);

	return ro < 0 ? -errno : ro;
}

int swi_shm_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr)
{
	uint64_t file_len = 0;
	struct shm_mr *m;
	int fd = -1;

	if (!mem->addr || !mem->len || ((uintptr_t)mem->addr | mem->fd_off) % SWI_PAGE)
		return -EINVAL;
	if (mem->remote_read) {
		if (mem->fd < 0 || !swi_shm_fd_ok(mem->fd, &file_len))
			return -ENOTSUP;
		if (mem->fd_off > file_len || mem->len > file_len - mem->fd_off)
			return -EINVAL;
		if (be->mr_count == SHM_WINDOWS_MAX)
			return -E2BIG;
		fd = open_ro(mem->fd);
		if (fd < 0)
			return fd;
	}
	m = calloc(1, sizeof(*m));
	if (!m) {
		if (fd >= 0)
			close(fd);
		return -ENOMEM;
	}
	m->fd = fd;
	m->fd_off = mem->fd_off;
	m->len = mem->len;
	m->rkey = swi_rand(be->args.env) | 1;
	be->mr_count += mem->remote_read;
	swi_list_push_back(&be->mrs, &m->link);
	*out_mr = (struct swi_be_mr){
	    .addr = mem->addr, .len = mem->len, .base = 0, .rkey = m->rkey, .handle = m};
	return 0;
}

/* Who still maps it must not trust it any more. */
void swi_shm_mr_dereg(struct swi_be *be, struct swi_be_mr *mr)
{
	struct shm_mr *m = mr->handle;

	if (!m)
		return;
	if (m->fd >= 0) {
		swi_list_for_each (it, &be->eps)
			swi_shm_revoke(swi_list_entry(it, struct swi_be_ep, link));
		close(m->fd);
		be->mr_count--;
	}
	swi_list_del(&m->link);
	free(m);
	memset(mr, 0, sizeof(*mr));
}

int swi_shm_read(struct swi_be_ep *ep, struct swi_be_read *rd)
{
	const uint64_t at = (uint64_t)((uintptr_t)rd->local - (uintptr_t)rd->mr->addr);

	if (!ep->up || ep->down || ep->closing)
		return SWARM_EPEERLOST;
	if (at > rd->mr->len || rd->len > rd->mr->len - at)
		return -EINVAL;
	swi_list_push_back(&ep->reads, &rd->link);
	if (swi_list_empty(&ep->busy_link))
		swi_list_push_back(&ep->be->busy, &ep->busy_link);
	return 0;
}

static int map_words(struct swi_be_ep *ep)
{
	void *p;

	if (ep->words)
		return 0;
	p = mmap(NULL, SHM_WORDS_BYTES, PROT_READ, MAP_SHARED, ep->words_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	ep->words = p;
	ep->be->n.maps_created++;
	return 0;
}

static int map_window(struct swi_be_ep *ep, struct shm_window *w)
{
	int rc = map_words(ep);

	if (rc)
		return rc;
	void *p = mmap(NULL, w->file_len, PROT_READ, MAP_SHARED, w->fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	close(w->fd);
	ep->be->n.fds_closed++;
	ep->be->n.maps_created++;
	w->fd = -1;
	w->map = p;
	return 0;
}

/* Where in our own address space [addr, + len) of the window with @rkey lies. */
static int find(struct swi_be_ep *ep, const struct swi_be_read *rd, const uint8_t **out_from)
{
	for (uint32_t i = 0; i < ep->window_count; i++) {
		struct shm_window *w = &ep->windows[i];

		if (w->rkey != rd->rkey)
			continue;
		if (rd->remote_addr > w->len || rd->len > w->len - rd->remote_addr)
			return SWARM_EREMOTEACCESS;
		const int rc = w->map ? 0 : map_window(ep, w);

		if (!rc)
			*out_from = w->map + w->off + rd->remote_addr;
		return rc;
	}
	return SWARM_EREMOTEACCESS;
}

static bool revoked(const struct swi_be_ep *ep)
{
	/* partner: the fence in swi_shm_revoke(). Every load of the copy comes before that of the word. */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&ep->words[ep->peer_slot], memory_order_relaxed) !=
	       ep->peer_word;
}

static bool peer_closed(const struct swi_be_ep *ep)
{
	struct pollfd p = {.fd = ep->fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) == 1;
}

/* So many requests for memory as the processor has places for are under way while it looks at what came before. */
static void ask_ahead(const uint8_t *from, uint8_t *to, uint64_t n)
{
	for (uint64_t i = 0; i < n; i += LINE) {
		__builtin_prefetch(from + i, 0);
		__builtin_prefetch(to + i, 1);
	}
}

/* For pieces: the library's copy is made for few and long ones, and a short one of unknown length becomes words. */
static void copy_lines(uint8_t *restrict to, const uint8_t *restrict from, uint64_t n)
{
	uint64_t i = 0;

	for (; i + LINE <= n; i += LINE)
		memcpy(to + i, from + i, LINE);
	memcpy(to + i, from + i, n - i);
}

static void copy_and_tell(struct swi_be_read *rd, uint8_t *to, const uint8_t *from, uint64_t n)
{
	for (uint64_t at = 0, len; at < n; at += len) {
		len = swi_min_u64(n - at, TOLD_BYTES);
		copy_lines(to + at, from + at, len);
		ask_ahead(from + at + len, to + at + len, swi_min_u64(n - at - len, AHEAD_BYTES));
		rd->landed(rd, to + at, (uint32_t)len);
	}
}

/* One piece of the first READ of @ep; at most *@room bytes. */
static void copy_piece(struct swi_be_ep *ep, uint64_t *room)
{
	struct swi_be *be = ep->be;
	struct swi_be_read *rd = swi_list_first(&ep->reads, struct swi_be_read, link);
	const uint64_t n = swi_min_u64(rd->len - ep->head_done, *room);
	const uint8_t *from;
	int rc = find(ep, rd, &from);

	if (!rc && n) {
		uint8_t *to = (uint8_t *)rd->local + ep->head_done;

		if (rd->landed)
			copy_and_tell(rd, to, from + ep->head_done, n);
		else
			memcpy(to, from + ep->head_done, n);
		ep->head_done += n;
		*room -= n;
	}
	if (!rc && ep->head_done < rd->len)
		return;
	if (!rc && revoked(ep))
		rc = peer_closed(ep) ? SWARM_EPEERLOST : SWARM_EREMOTEACCESS;
	if (rc) { /* as with a card: whoever reads what it may not has no connection any more */
		swi_shm_ep_down(ep, rc);
		return;
	}
	ep->head_done = 0;
	swi_list_del(&rd->link);
	be->args.events->read_done(be->args.ctx, ep, rd, 0);
}

int swi_shm_copy(struct swi_be *be, unsigned int budget)
{
	uint64_t room = SHM_COPY_BYTES;
	unsigned int n = 0;

	for (; n < budget && room && !swi_list_empty(&be->busy); n++) {
		struct swi_be_ep *ep = swi_list_entry(be->busy.next, struct swi_be_ep, busy_link);

		swi_list_del(&ep->busy_link);
		if (ep->down || ep->closing)
			continue; /* its reads are flushed when it ends */
		copy_piece(ep, &room);
		if (!swi_list_empty(&ep->reads) && swi_list_empty(&ep->busy_link))
			swi_list_push_back(&be->busy, &ep->busy_link);
	}
	return (int)n;
}

void swi_shm_flush_reads(struct swi_be_ep *ep, int status)
{
	struct swi_be *be = ep->be;

	for (struct swi_be_read *rd;
	     (rd = swi_list_first(&ep->reads, struct swi_be_read, link));) {
		swi_list_del(&rd->link);
		be->args.events->read_done(be->args.ctx, ep, rd, status);
	}
}

void swi_shm_unmap(struct swi_be_ep *ep)
{
	struct swi_be *be = ep->be;

	for (uint32_t i = 0; i < ep->window_count; i++) {
		struct shm_window *w = &ep->windows[i];

		if (w->map) {
			munmap(w->map, w->file_len);
			be->n.maps_destroyed++;
		}
		if (w->fd >= 0) {
			close(w->fd);
			be->n.fds_closed++;
		}
	}
	if (ep->words) {
		munmap((void *)(uintptr_t)ep->words, SHM_WORDS_BYTES);
		be->n.maps_destroyed++;
	}
	if (ep->words_fd >= 0) {
		close(ep->words_fd);
		be->n.fds_closed++;
	}
	ep->window_count = 0;
	ep->words = NULL;
	ep->words_fd = -1;
}
