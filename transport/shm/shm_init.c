/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_init.c - opening, closing, progress, and the backend's table.
 *
 * Looking at the sockets is a system call, so while they are quiet that is done once in a while only,
 * and always after arm(), since the caller may have slept.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/shm/shm.h"

#define EVENTS	  32
#define HOT	  256u /* calls after an event that look at the sockets at once */
#define COLD_STEP 16u  /* and later one in so many */

static int open_words(struct swi_be *be)
{
	char path[40];
	void *p;

	be->words_fd = memfd_create("swarm-words", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (be->words_fd < 0 || ftruncate(be->words_fd, SHM_WORDS_BYTES) ||
	    fcntl(be->words_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", be->words_fd);
	be->words_ro_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (be->words_ro_fd < 0)
		return -errno;
	p = mmap(NULL, SHM_WORDS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, be->words_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	be->words = p;
	for (uint32_t i = 0; i < SHM_EPS_MAX; i++)
		atomic_init(&be->words[i], 1); /* 0 stands for "not granted" */
	return 0;
}

static void shm_close(struct swi_be *be)
{
	if (!be)
		return;
	struct swi_list *const lists[] = {&be->todo, &be->eps};

	for (size_t i = 0; i < SWI_ARRAY_LEN(lists); i++)
		swi_list_for_each_safe (it, lists[i])
			swi_shm_ep_free(swi_list_entry(it, struct swi_be_ep, link));
	swi_list_for_each_safe (it, &be->mrs) {
		struct shm_mr *m = swi_list_entry(it, struct shm_mr, link);

		if (m->fd >= 0)
			close(m->fd);
		free(m);
	}
	if (be->words)
		munmap((void *)be->words, SHM_WORDS_BYTES);
	const int fds[] = {be->words_fd, be->words_ro_fd, be->listen_fd, be->epfd};

	for (size_t i = 0; i < SWI_ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(be);
}

static int shm_open_be(const struct swi_be_open_args *args, struct swi_be **out_be, char *why,
		       size_t why_len)
{
	struct swi_be *be = calloc(1, sizeof(*be));
	int rc;

	if (!be)
		return -ENOMEM;
	be->args = *args;
	be->listen_fd = be->words_fd = be->words_ro_fd = -1;
	swi_list_init(&be->eps);
	swi_list_init(&be->todo);
	swi_list_init(&be->busy);
	swi_list_init(&be->mrs);
	be->epfd = epoll_create1(EPOLL_CLOEXEC);
	rc = be->epfd < 0 ? -errno : open_words(be);
	if (rc)
		snprintf(why, why_len, "shared memory between processes cannot be had: %s",
			 swarm_strerror(rc));
	else if (args->bind)
		rc = swi_shm_listen(be, args->bind, why, why_len);
	if (rc) {
		shm_close(be);
		return rc;
	}
	*out_be = be;
	return 0;
}

static int look(struct swi_be *be, unsigned int budget)
{
	struct epoll_event ev[EVENTS];
	const int count = epoll_wait(be->epfd, ev, EVENTS, 0);
	int n = 0;

	be->waited = 0;
	be->look = false;
	for (int i = 0; i < count; i++) {
		struct swi_be_ep *ep = ev[i].data.ptr;

		if (!ep) {
			swi_shm_accept(be);
			n++;
			continue;
		}
		if (ep->closing || ep->down || !ep->up)
			continue;
		if (ev[i].events & EPOLLOUT && ep->wants_out) {
			swi_shm_watch(ep, false);
			n++;
		}
		n += swi_shm_receive(ep, budget);
	}
	be->hot = n ? HOT : be->hot ? be->hot - 1 : 0;
	return n;
}

static int shm_progress(struct swi_be *be, unsigned int budget)
{
	int n = 0;

	if (be->look || be->hot || ++be->waited >= COLD_STEP)
		n = look(be, budget);
	if (!swi_list_empty(&be->busy))
		n += swi_shm_copy(be, budget);
	if (!swi_list_empty(&be->todo))
		n += swi_shm_todo(be);
	return n;
}

static bool shm_arm(struct swi_be *be)
{
	be->look = true;
	return swi_list_empty(&be->busy) && swi_list_empty(&be->todo);
}

static const char *shm_address(struct swi_be *be)
{
	return be->address;
}

static const char *shm_device(struct swi_be *be SWI_UNUSED)
{
	return "memory";
}

static uint64_t shm_max_read(struct swi_be *be SWI_UNUSED)
{
	return MIB(64);
}

static uint64_t shm_max_mr(struct swi_be *be SWI_UNUSED)
{
	return GIB(1024) * 1024;
}

static void shm_set_owner(struct swi_be_ep *ep, void *owner)
{
	ep->owner = owner;
}

static void *shm_owner(struct swi_be_ep *ep)
{
	return ep->owner;
}

static int shm_fd(struct swi_be *be)
{
	return be->epfd;
}

const struct shm_counters *swi_shm_counters(const struct swi_be *be)
{
	return &be->n;
}

extern const struct swi_be_ops swi_shm_ops;
const struct swi_be_ops swi_shm_ops = {
    .size = sizeof(struct swi_be_ops),
    .name = "shm",
    .open = shm_open_be,
    .close = shm_close,
    .address = shm_address,
    .device = shm_device,
    .max_read = shm_max_read,
    .max_mr = shm_max_mr,
    .mr_reg = swi_shm_mr_reg,
    .mr_dereg = swi_shm_mr_dereg,
    .connect = swi_shm_connect,
    .set_owner = shm_set_owner,
    .owner = shm_owner,
    .grant = swi_shm_grant,
    .revoke = swi_shm_revoke,
    .send = swi_shm_send,
    .read = swi_shm_read,
    .ep_close = swi_shm_ep_close,
    .progress = shm_progress,
    .fd = shm_fd,
    .arm = shm_arm,
};
