/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c - see host.h: the memory of a node and its descriptors, made and unmade by one thread. Who runs it: loop.c.
 */
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/host_internal.h"
#include "store/index.h"
#include "store/snode_internal.h"

#define HUGE_FROM  MIB(64) /* arenas of this size and more take huge pages by default */

int swi_default_dir(char *buf, size_t len)
{
	const char *dir = getenv("SWARM_DIR");
	const char *run = getenv("XDG_RUNTIME_DIR");
	int n;

	if (dir && dir[0])
		n = snprintf(buf, len, "%s", dir);
	else if (run && run[0])
		n = snprintf(buf, len, "%s/swarm", run);
	else
		n = snprintf(buf, len, "/tmp/swarm-%u", (unsigned)geteuid());
	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

/* ---- descriptors ---- */

static struct swi_watched *watched_find(struct swi_host *h, int fd)
{
	swi_list_for_each(it, &h->watched)
	{
		struct swi_watched *w = swi_list_entry(it, struct swi_watched, link);

		if (w->fd == fd)
			return w;
	}
	return NULL;
}

int swi_host_add_fd(struct swi_host *h, int fd, uint32_t epoll_events,
		    void (*cb)(void *ctx, uint32_t events), void *ctx)
{
	struct swi_watched *w = calloc(1, sizeof(*w));
	struct epoll_event ev = {.events = epoll_events, .data.ptr = w};

	if (!w)
		return -ENOMEM;
	if (epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &ev)) {
		free(w);
		return -errno;
	}
	w->fd = fd;
	w->cb = cb;
	w->ctx = ctx;
	swi_list_push_back(&h->watched, &w->link);
	return 0;
}

void swi_host_del_fd(struct swi_host *h, int fd)
{
	struct swi_watched *w = watched_find(h, fd);

	if (!w)
		return;
	epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd, NULL);
	w->gone = true; /* this round's events may still name it */
	swi_list_del(&w->link);
	swi_list_push_back(&h->dead, &w->link);
}

void swi_host_bury(struct swi_list *l)
{
	while (!swi_list_empty(l)) {
		struct swi_watched *w = swi_list_first(l, struct swi_watched, link);

		swi_list_del(&w->link);
		free(w);
	}
}

/* The doorbell is edge-triggered and never read: its one use is to end the wait of the host's thread. */
static void on_bell(void *ctx, uint32_t events SWI_UNUSED)
{
	((struct swi_host *)ctx)->rang = true;
}

static void on_core(void *ctx SWI_UNUSED, uint32_t events SWI_UNUSED)
{
	/* ends the wait as well; the step finds out what it was */
}

/* ---- life ---- */

void swi_host_ring(struct swi_doorbell *db SWI_UNUSED, struct swi_client_shm *shm)
{
	atomic_fetch_add(&shm->wake, 1); /* partner: swi_futex_wait() */
	if (atomic_load(&shm->sleeping))
		swi_futex_wake(shm);
}

static int make_memory(struct swi_host *h, const struct swi_host_opts *o, uint64_t epoch, char *why,
		       size_t why_len)
{
	const uint64_t arena = swi_align_up(o->arena_bytes ? o->arena_bytes : MIB(256), SWI_PAGE);
	const uint64_t objects =
	    o->objects_max ? o->objects_max : swi_max_u64(arena / KIB(4), 65536);
	/*
	 * Huge pages unless told otherwise: all of the arena is filled anyhow, and with them a disk takes
	 * 1 MiB and more as one request, and few translations serve the cpu and the card. A small arena
	 * starts quicker without.
	 */
	const bool huge = o->huge_pages || (!o->small_pages && arena >= HUGE_FROM);
	const struct swi_mem_opts mo = {.transparent = huge,
					.hugetlb = o->hugetlb,
					.numa = o->numa,
					.lock = o->lock,
					.numa_node = o->numa_node};
	int rc = swi_mem_create_opts("arena", arena, &mo, &h->arena, why, why_len);

	if (!rc)
		rc = swi_mem_create("index", swi_index_bytes(objects), false, &h->index, why, why_len);
	if (rc)
		return rc;
	h->head = h->index.addr;
	swi_index_format(h->head, h->arena.bytes, objects, epoch);
	return 0;
}

static int make_disks(struct swi_host *h, const struct swi_host_opts *o, char *why, size_t why_len)
{
	if (!o->spill_dir_count)
		return 0;
	h->disks = calloc(o->spill_dir_count, sizeof(struct swi_disk *));
	if (!h->disks)
		return -ENOMEM;
	for (uint32_t i = 0; i < o->spill_dir_count; i++) {
		const struct swi_disk_uring_opts uo = {.path = o->spill_dirs[i], .depth = o->spill_depth};
		const int rc = swi_disk_uring_create(&uo, &h->log, &h->disks[i], why, why_len);

		if (rc)
			return rc;
		h->disk_count++;
	}
	return 0;
}

static int make_core(struct swi_host *h, const struct swi_host_opts *o, uint64_t epoch, char *why,
		     size_t why_len)
{
	struct swi_snode_opts so = {
	    .env = h->env,
	    .log = &h->log,
	    .arena = h->arena.addr,
	    .arena_bytes = h->arena.bytes,
	    .arena_fd = h->arena.fd,
	    .index_fd = h->index.fd,
	    .shm = h->head,
	    .tp = o->tp,
	    .disks = h->disks,
	    .disk_count = h->disk_count,
	    .spill_bytes = o->spill_bytes,
	    .spill_reserve = o->spill_reserve,
	    .segment_bytes = o->segment_bytes,
	    .spill_keep = o->spill_keep,
	    .durable = o->durable && o->spill_keep,
	    .client_quota = o->client_quota,
	    .pin_bytes_max = o->pin_bytes_max,
	    .node = o->node,
	    .no_verify = o->no_verify,
	    .epoch = epoch,
	};

	return swi_snode_create(&so, &h->sn, why, why_len);
}

/* What the core waits for ends the sleep; the step looks for itself which it was. */
static int watch_core(struct swi_host *h)
{
	struct swi_tp *tp = swi_snode_tp(h->sn);
	int fd = tp ? swi_tp_fd(tp) : -1;
	int rc = fd >= 0 ? swi_host_add_fd(h, fd, EPOLLIN, on_core, h) : 0;

	for (uint32_t i = 0; i < h->disk_count && !rc; i++) {
		fd = h->disks[i]->ops->fd(h->disks[i]);
		if (fd >= 0)
			rc = swi_host_add_fd(h, fd, EPOLLIN, on_core, h);
	}
	return rc;
}

static int make_loop(struct swi_host *h)
{
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	h->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->epoll < 0 || h->bell < 0)
		return -errno;
	return swi_host_add_fd(h, h->bell, EPOLLIN | EPOLLET, on_bell, h);
}

int swi_host_create(const struct swi_host_opts *opts, struct swi_host **out, char *why, size_t why_len)
{
	struct swi_host *h = calloc(1, sizeof(*h));
	uint64_t epoch;
	int rc = 0;

	if (!h)
		return -ENOMEM;
	if (why_len)
		why[0] = '\0';
	h->env = swi_env_real();
	h->spin_ns = SWI_HOST_SPIN_NS;
	h->epoll = h->bell = h->listener = h->lock = h->arena.fd = h->index.fd = -1;
	swi_list_init(&h->watched);
	swi_list_init(&h->dead);
	swi_list_init(&h->clients);
	swi_log_init(&h->log, opts->log_name ? opts->log_name : "store");
	do
		epoch = swi_rand(h->env);
	while (!epoch);
	if (opts->dir && snprintf(h->dir, sizeof(h->dir), "%s", opts->dir) >= (int)sizeof(h->dir) - 64)
		rc = -ENAMETOOLONG;
	if (!rc)
		rc = make_loop(h);
	if (!rc && h->dir[0]) /* first: a second store in one directory fails before it takes memory */
		rc = swi_host_listen(h, why, why_len);
	if (!rc)
		rc = make_memory(h, opts, epoch, why, why_len);
	if (!rc)
		rc = make_disks(h, opts, why, why_len);
	if (!rc)
		rc = make_core(h, opts, epoch, why, why_len);
	if (!rc)
		rc = watch_core(h);
	if (rc) {
		if (why_len && !why[0])
			snprintf(why, why_len, "the store cannot start: %s", swarm_strerror(rc));
		swi_host_destroy(h);
		return rc;
	}
	*out = h;
	return 0;
}

void swi_host_destroy(struct swi_host *h)
{
	if (!h)
		return;
	swi_host_clients_fini(h);
	swi_snode_destroy(h->sn);
	for (uint32_t i = 0; i < h->disk_count; i++)
		h->disks[i]->ops->destroy(h->disks[i]);
	free(h->disks);
	swi_host_bury(&h->watched);
	swi_host_bury(&h->dead);
	if (h->bell >= 0)
		close(h->bell);
	if (h->epoll >= 0)
		close(h->epoll);
	swi_mem_fini(&h->index);
	swi_mem_fini(&h->arena);
	free(h);
}

struct swi_snode *swi_host_snode(struct swi_host *h)
{
	return h->sn;
}

const char *swi_host_dir(struct swi_host *h)
{
	return h->dir;
}

void swi_host_set_upper(struct swi_host *h, const struct swi_host_upper *upper)
{
	h->upper = *upper;
}

void swi_host_stop(struct swi_host *h)
{
	const uint64_t one = 1;

	atomic_store(&h->stop, true);
	(void)!write(h->bell, &one, sizeof(one));
}
