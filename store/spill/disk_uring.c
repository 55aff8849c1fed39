/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_uring.c - the real disk: O_DIRECT through io_uring, fixed files, fixed buffers.
 *
 * submit() only queues; progress() hands everything queued to the kernel in one call and reaps.
 * A transfer goes in parts of at most what the device takes as one request: the kernel would cut it
 * in a large and a tiny one. At most `depth` parts are in the kernel, so the completion ring cannot
 * overflow. A part that came back short is sent again for its rest. A transfer is over when all its
 * parts are; after an error no more are sent.
 * Where io_uring is not to be had, progress() runs the transfers itself with pread and pwrite.
 * A hole is punched by a worker of the kernel, as a file system that discards blocks takes up to a
 * second for one; the ring never does that in the submitting thread.
 *
 * The ring is SINGLE_ISSUER and belongs to a thread. A log is opened by one thread and then
 * run by another: the ring is made anew, idle, at the first call from the new owner.
 * Owner thread only.
 */
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "store/spill/disk_folder.h"

#define DEPTH_DEFAULT 64u
#define DEPTH_MAX     4096u
#define FIXED_FILES   1024u
#define FIXED_BUFS    1024u
#define BUF_CHUNK     GIB(1) /* the most that the kernel registers as one buffer */

struct swi_file {
	struct swi_list link;
	struct uring_disk *u;
	int fd, slot; /* slot: of the fixed file table, -1 = none */
	bool dir_dirty; /* made by us and its folder entry is not synced yet */
	uint64_t bytes;
};

struct part {
	struct swi_list link; /* idle, or to be sent again */
	struct swi_dio *dio;
	uint32_t off, len; /* in the transfer */
	uint32_t done;
};

struct uring_disk {
	struct swi_disk disk;
	struct swi_folder folder;
	const struct swi_log *log;
	uint32_t depth, inflight;
	uint32_t part_max;     /* bytes of one request of the device */
	struct part *parts;    /* depth of them */
	struct swi_list idle, again; /* parts */
	struct swi_list queue; /* transfers with bytes that no part covers yet */
	struct swi_list files;
	bool use_ring, ring_up, fixed_files, fixed_bufs, defer, said_unregistered;
	bool rang; /* completions were taken since event_fd was last emptied */
	const void *owner; /* the thread that the ring belongs to */
	struct io_uring ring;
	int event_fd; /* readable when progress() has something; a deferred ring's own fd is not */
	struct swi_file *slots[FIXED_FILES];
	struct iovec bufs[FIXED_BUFS];
	uint32_t buf_count;
};

static struct uring_disk *uring_of(struct swi_disk *d)
{
	return swi_container_of(d, struct uring_disk, disk);
}

/* The address of a thread-local byte names the calling thread without a system call. */
static const void *this_thread(void)
{
	static _Thread_local char self;

	return &self;
}

/* ---- the ring ---- */
static void ring_down(struct uring_disk *u)
{
	if (u->ring_up)
		io_uring_queue_exit(&u->ring);
	u->ring_up = false;
}

static int ring_setup(struct uring_disk *u)
{
	static const unsigned int tries[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int rc = -ENOSYS;

	for (size_t i = 0; i < SWI_ARRAY_LEN(tries); i++) {
		struct io_uring_params p = {.flags = tries[i]};

		rc = io_uring_queue_init_params(u->depth, &u->ring, &p);
		if (rc != -EINVAL) {
			u->defer = tries[i] != 0;
			break;
		}
	}
	if (rc)
		return rc;
	u->ring_up = true;
	return 0;
}

/* A system call filter may allow the setup and then refuse to run it: find out now. */
static int ring_probe(struct uring_disk *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	struct io_uring_cqe *cqe;
	int rc;

	io_uring_prep_nop(sqe);
	rc = io_uring_submit_and_wait(&u->ring, 1);
	if (rc < 0)
		return rc;
	rc = io_uring_wait_cqe(&u->ring, &cqe);
	if (rc)
		return rc;
	io_uring_cqe_seen(&u->ring, cqe);
	return 0;
}

static void ring_register_buf(struct uring_disk *u, uint32_t i)
{
	int rc = -EOPNOTSUPP;

	if (u->fixed_bufs)
		rc = io_uring_register_buffers_update_tag(&u->ring, i, &u->bufs[i], NULL, 1);
	if (rc >= 0)
		return;
	u->bufs[i].iov_len = 0;
	if (!u->said_unregistered)
		swi_warn(u->log, "spill folder %s: the arena is not registered with io_uring (%s), "
				 "transfers pin their pages one by one",
			 u->folder.path, strerror(-rc));
	u->said_unregistered = true;
}

static int ring_start(struct uring_disk *u)
{
	int rc = ring_setup(u);

	if (!rc)
		rc = ring_probe(u);
	if (rc) {
		ring_down(u);
		return rc;
	}
	u->owner = this_thread();
	u->fixed_files = !io_uring_register_files_sparse(&u->ring, FIXED_FILES);
	u->fixed_bufs = !io_uring_register_buffers_sparse(&u->ring, FIXED_BUFS);
	rc = io_uring_register_eventfd(&u->ring, u->event_fd);
	if (rc) {
		ring_down(u);
		return rc;
	}
	for (uint32_t i = 0; i < FIXED_FILES && u->fixed_files; i++)
		if (u->slots[i])
			(void)io_uring_register_files_update(&u->ring, i, &u->slots[i]->fd, 1);
	for (uint32_t i = 0; i < u->buf_count; i++)
		if (u->bufs[i].iov_len)
			ring_register_buf(u, i);
	return 0;
}

static void say_how(const struct uring_disk *u)
{
	const unsigned int f = u->ring.flags;

	swi_info(u->log, "spill folder %s: io_uring, depth %u, requests of %u KiB%s%s%s%s", u->folder.path,
		 u->depth, u->part_max >> 10, f & IORING_SETUP_SINGLE_ISSUER ? ", single issuer" : "",
		 f & IORING_SETUP_DEFER_TASKRUN ? ", deferred task work" : "",
		 u->fixed_files ? ", fixed files" : "", u->fixed_bufs ? ", fixed buffers" : "");
}

static void fall_back(struct uring_disk *u, int rc)
{
	swi_warn(u->log, "spill folder %s: io_uring is not available (%s), using pread and pwrite",
		 u->folder.path, strerror(-rc));
	u->use_ring = false;
}

/* Before every use: is this still the thread that the ring was made for? */
static void ring_own(struct uring_disk *u)
{
	int rc;

	if (SWI_LIKELY(!u->use_ring || u->owner == this_thread()))
		return;
	SWI_BUG_ON(u->inflight);
	ring_down(u);
	rc = ring_start(u);
	if (rc)
		fall_back(u, rc);
}

/* ---- control calls ---- */
static void slot_take(struct swi_file *f)
{
	struct uring_disk *u = f->u;

	f->slot = -1;
	for (int i = 0; i < (int)FIXED_FILES && u->use_ring && u->fixed_files; i++) {
		if (u->slots[i])
			continue;
		if (io_uring_register_files_update(&u->ring, (unsigned int)i, &f->fd, 1) != 1)
			return;
		u->slots[i] = f;
		f->slot = i;
		return;
	}
}

static int uring_open(struct swi_disk *d, const char *name, bool create, uint64_t bytes,
		      struct swi_file **out_file)
{
	struct uring_disk *u = uring_of(d);
	struct swi_file *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return -ENOMEM;
	rc = swi_folder_open(&u->folder, name, create, bytes, &f->fd, &f->bytes);
	if (rc) {
		free(f);
		return rc;
	}
	ring_own(u);
	f->u = u;
	f->dir_dirty = create;
	slot_take(f);
	swi_list_push_back(&u->files, &f->link);
	*out_file = f;
	return 0;
}

static uint64_t uring_file_bytes(struct swi_file *f)
{
	return f->bytes;
}

static uint64_t uring_held_bytes(struct swi_file *f)
{
	return swi_folder_held(f->fd, f->bytes);
}

static void uring_close(struct swi_file *f)
{
	const int none = -1;

	if (f->slot >= 0) {
		ring_own(f->u);
		if (f->u->use_ring)
			(void)io_uring_register_files_update(&f->u->ring, (unsigned int)f->slot,
							     &none, 1);
		f->u->slots[f->slot] = NULL;
	}
	swi_list_del(&f->link);
	close(f->fd);
	free(f);
}

static int uring_unlink(struct swi_disk *d, const char *name)
{
	return swi_folder_unlink(&uring_of(d)->folder, name);
}

static int uring_list(struct swi_disk *d, void (*each)(void *ctx, const char *name), void *ctx)
{
	return swi_folder_list(&uring_of(d)->folder, each, ctx);
}

static int uring_space(struct swi_disk *d, uint64_t *out_free, uint64_t *out_total)
{
	return swi_folder_space(&uring_of(d)->folder, out_free, out_total);
}

static int uring_register_memory(struct swi_disk *d, void *addr, uint64_t len)
{
	struct uring_disk *u = uring_of(d);

	ring_own(u);
	if (!u->use_ring)
		return -EOPNOTSUPP;
	for (uint64_t off = 0; off < len; off += BUF_CHUNK) {
		const uint32_t i = u->buf_count;

		if (i == FIXED_BUFS)
			return -ENOSPC;
		u->bufs[i].iov_base = (char *)addr + off;
		u->bufs[i].iov_len = swi_min_u64(len - off, BUF_CHUNK);
		ring_register_buf(u, i);
		if (!u->bufs[i].iov_len)
			return -ENOMEM;
		u->buf_count++;
	}
	return 0;
}

/* ---- transfers ---- */
static int buf_index(const struct uring_disk *u, const char *p, uint64_t len)
{
	for (uint32_t i = 0; i < u->buf_count; i++) {
		const char *base = u->bufs[i].iov_base;

		if (p >= base && (uint64_t)(p - base) <= u->bufs[i].iov_len &&
		    len <= u->bufs[i].iov_len - (uint64_t)(p - base))
			return (int)i;
	}
	return -1;
}

static bool is_transfer(const struct swi_dio *dio)
{
	return dio->op == SWI_DIO_READ || dio->op == SWI_DIO_WRITE;
}

static void prep(struct uring_disk *u, struct io_uring_sqe *sqe, const struct part *pt)
{
	const struct swi_dio *dio = pt->dio;
	const struct swi_file *f = dio->file;
	const bool fixed = f->slot >= 0;
	const int fd = fixed ? f->slot : f->fd;
	const uint32_t at = pt->off + pt->done, len = pt->len - pt->done;
	char *p = (char *)dio->buf + at;
	const int buf = is_transfer(dio) ? buf_index(u, p, len) : -1;

	if (dio->op == SWI_DIO_SYNC && f->dir_dirty) {
		io_uring_prep_fsync(sqe, u->folder.fd, 0);
		return; /* a plain descriptor */
	}
	if (dio->op == SWI_DIO_SYNC)
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	else if (dio->op == SWI_DIO_PUNCH)
		io_uring_prep_fallocate(sqe, fd, SWI_FOLDER_PUNCH, (off_t)dio->off, (off_t)dio->len);
	else if (dio->op == SWI_DIO_READ && buf >= 0)
		io_uring_prep_read_fixed(sqe, fd, p, len, dio->off + at, buf);
	else if (dio->op == SWI_DIO_READ)
		io_uring_prep_read(sqe, fd, p, len, dio->off + at);
	else if (buf >= 0)
		io_uring_prep_write_fixed(sqe, fd, p, len, dio->off + at, buf);
	else
		io_uring_prep_write(sqe, fd, p, len, dio->off + at);
	if (fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
}

/* Takes in the result of one call to the kernel. True: the part is over, dio->status holds an error if any. */
static bool absorb(struct part *pt, int res)
{
	struct swi_dio *dio = pt->dio;
	uint32_t done;

	if (res == -EAGAIN || res == -EINTR)
		return dio->status < 0;
	if (res == -EINVAL && dio->op == SWI_DIO_PUNCH) /* a kernel whose ring does not know it */
		res = swi_folder_punch(dio->file->fd, dio->off, dio->len);
	if (res < 0) {
		dio->status = res == -EDQUOT ? -ENOSPC : res;
		return true;
	}
	if (dio->op == SWI_DIO_PUNCH)
		return true;
	if (dio->op == SWI_DIO_SYNC) {
		const bool again = dio->file->dir_dirty;

		dio->file->dir_dirty = false;
		return !again;
	}
	done = (uint32_t)swi_align_down((uint64_t)pt->done + (uint32_t)res, SWI_DISK_ALIGN);
	if (done >= pt->len)
		return true;
	if (done == pt->done) { /* nothing more comes: the file ends here */
		dio->status = -EIO;
		return true;
	}
	pt->done = done;
	return dio->status < 0;
}

/* The next part of the first transfer of the queue: equal ones, and none larger than a request. */
static void cut(struct uring_disk *u, struct part *pt)
{
	struct swi_dio *dio = swi_list_first(&u->queue, struct swi_dio, link);
	const uint32_t left = dio->len - dio->sent;
	const uint32_t count = is_transfer(dio) ? (left + u->part_max - 1) / u->part_max : 1;

	pt->dio = dio;
	pt->off = dio->sent;
	pt->len = count > 1 ? (uint32_t)swi_align_up(left / count, SWI_DISK_ALIGN) : left;
	pt->done = 0;
	dio->sent += pt->len;
	dio->parts++;
	if (dio->sent == dio->len)
		swi_list_del(&dio->link);
}

/* The part is over. True: and so is its transfer. */
static bool part_over(struct uring_disk *u, struct part *pt)
{
	struct swi_dio *dio = pt->dio;

	swi_list_push_front(&u->idle, &pt->link);
	dio->parts--;
	if (dio->status < 0 && dio->sent < dio->len) {
		dio->sent = dio->len;
		swi_list_del(&dio->link);
	}
	if (dio->parts)
		return false;
	return dio->sent == dio->len;
}

static int uring_submit(struct swi_disk *d, struct swi_dio *dio)
{
	struct uring_disk *u = uring_of(d);
	const uint64_t one = 1;

	if (!swi_dio_valid(dio))
		return -EINVAL;
	dio->status = 0;
	dio->sent = dio->parts = 0;
	if (dio->op == SWI_DIO_SYNC)
		dio->len = 1; /* one part */
	swi_list_push_back(&u->queue, &dio->link);
	if (!u->use_ring)
		(void)!write(u->event_fd, &one, sizeof(one));
	return 0;
}

static int run_plain(const struct uring_disk *u, const struct part *pt)
{
	const struct swi_dio *dio = pt->dio;
	const uint32_t len = pt->len - pt->done;
	char *p = (char *)dio->buf + pt->off + pt->done;
	const off_t off = (off_t)(dio->off + pt->off + pt->done);
	ssize_t n;

	if (dio->op == SWI_DIO_SYNC)
		n = dio->file->dir_dirty ? fsync(u->folder.fd) : fdatasync(dio->file->fd);
	else if (dio->op == SWI_DIO_PUNCH)
		return swi_folder_punch(dio->file->fd, dio->off, dio->len);
	else if (dio->op == SWI_DIO_READ)
		n = pread(dio->file->fd, p, len, off);
	else
		n = pwrite(dio->file->fd, p, len, off);
	return n < 0 ? -errno : (int)n;
}

static int plain_progress(struct uring_disk *u)
{
	struct swi_list now;
	uint64_t ticks;
	int n = 0;

	(void)!read(u->event_fd, &ticks, sizeof(ticks));
	swi_list_init(&now);
	swi_list_splice(&now, &u->queue); /* what the callbacks add waits for the next turn */
	while (!swi_list_empty(&now)) {
		struct swi_dio *dio = swi_list_first(&now, struct swi_dio, link);
		struct part whole = {.dio = dio, .len = dio->len};

		swi_list_del(&dio->link);
		while (!absorb(&whole, run_plain(u, &whole)))
			;
		n++;
		dio->cb(dio);
	}
	return n;
}

static uint32_t fill(struct uring_disk *u)
{
	uint32_t n = 0;

	while ((!swi_list_empty(&u->again) || !swi_list_empty(&u->queue)) && u->inflight < u->depth) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
		struct part *pt = swi_list_first(&u->again, struct part, link);

		if (!sqe)
			break;
		if (pt) {
			swi_list_del(&pt->link);
		} else {
			pt = swi_list_first(&u->idle, struct part, link);
			swi_list_del(&pt->link);
			cut(u, pt);
		}
		prep(u, sqe, pt);
		io_uring_sqe_set_data(sqe, pt);
		u->inflight++;
		n++;
	}
	return n;
}

static int reap(struct uring_disk *u)
{
	struct io_uring_cqe *cqe;
	int n = 0;

	while (!io_uring_peek_cqe(&u->ring, &cqe)) {
		struct part *pt = io_uring_cqe_get_data(cqe);
		struct swi_dio *dio = pt->dio;
		const int res = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		u->rang = true;
		u->inflight--;
		if (!absorb(pt, res)) {
			swi_list_push_back(&u->again, &pt->link);
		} else if (part_over(u, pt)) {
			n++;
			dio->cb(dio);
		}
	}
	return n;
}

static bool waiting(const struct uring_disk *u)
{
	return !swi_list_empty(&u->again) || !swi_list_empty(&u->queue);
}

static bool deferred_work(const struct uring_disk *u)
{
	return u->defer && (IO_URING_READ_ONCE(*u->ring.sq.kflags) & IORING_SQ_TASKRUN);
}

static int uring_progress(struct swi_disk *d)
{
	struct uring_disk *u = uring_of(d);
	uint64_t ticks;
	int n = 0;

	ring_own(u);
	if (!u->use_ring)
		return plain_progress(u);
	do {
		/* Before the look at the completions: what comes later rings anew. */
		if (u->rang || deferred_work(u) || io_uring_cq_ready(&u->ring))
			(void)!read(u->event_fd, &ticks, sizeof(ticks));
		u->rang = false;
		fill(u);
		if (io_uring_sq_ready(&u->ring))
			(void)io_uring_submit_and_get_events(&u->ring);
		else if (deferred_work(u))
			(void)io_uring_get_events(&u->ring);
		n += reap(u);
	} while (waiting(u) && u->inflight < u->depth);
	return n;
}

static int uring_wait(struct swi_disk *d)
{
	struct uring_disk *u = uring_of(d);
	int n = 0;

	ring_own(u);
	if (!u->use_ring)
		return plain_progress(u);
	while (!n && (u->inflight || waiting(u))) {
		fill(u);
		(void)io_uring_submit_and_wait(&u->ring, 1);
		n = reap(u);
	}
	return n;
}

static int uring_fd(struct swi_disk *d)
{
	return uring_of(d)->event_fd;
}

static const char *uring_path(struct swi_disk *d)
{
	return uring_of(d)->folder.path;
}

static void uring_destroy(struct swi_disk *d)
{
	struct uring_disk *u;

	if (!d)
		return;
	u = uring_of(d);
	while (u->inflight || waiting(u))
		uring_wait(d);
	SWI_BUG_ON(!swi_list_empty(&u->files));
	ring_down(u);
	if (u->event_fd >= 0)
		close(u->event_fd);
	swi_folder_fini(&u->folder);
	free(u->parts);
	free(u);
}

static const struct swi_disk_ops uring_ops = {
	.size = sizeof(struct swi_disk_ops),
	.name = "uring",
	.open = uring_open,
	.file_bytes = uring_file_bytes,
	.held_bytes = uring_held_bytes,
	.close = uring_close,
	.unlink = uring_unlink,
	.list = uring_list,
	.space = uring_space,
	.register_memory = uring_register_memory,
	.submit = uring_submit,
	.progress = uring_progress,
	.wait = uring_wait,
	.fd = uring_fd,
	.path = uring_path,
	.destroy = uring_destroy,
};

static int parts_init(struct uring_disk *u, char *why, size_t why_len)
{
	u->part_max = (uint32_t)swi_folder_request_max(&u->folder);
	u->parts = calloc(u->depth, sizeof(*u->parts));
	if (!u->parts) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < u->depth; i++)
		swi_list_push_back(&u->idle, &u->parts[i].link);
	return 0;
}

int swi_disk_uring_create(const struct swi_disk_uring_opts *opts, const struct swi_log *log,
			  struct swi_disk **out_disk, char *why, size_t why_len)
{
	struct uring_disk *u = calloc(1, sizeof(*u));
	int rc;

	if (!u) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	u->disk.ops = &uring_ops;
	u->log = log;
	u->depth = (uint32_t)swi_min_u64(opts->depth ? opts->depth : DEPTH_DEFAULT, DEPTH_MAX);
	swi_list_init(&u->queue);
	swi_list_init(&u->files);
	swi_list_init(&u->idle);
	swi_list_init(&u->again);
	u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = swi_folder_init(&u->folder, opts->path, log, why, why_len);
	if (!rc && u->event_fd < 0) {
		rc = -errno;
		snprintf(why, why_len, "cannot make an eventfd: %s", strerror(errno));
	}
	if (!rc)
		rc = parts_init(u, why, why_len);
	if (rc) {
		uring_destroy(&u->disk);
		return rc;
	}
	u->use_ring = true;
	rc = ring_start(u);
	if (rc)
		fall_back(u, rc);
	else
		say_how(u);
	*out_disk = &u->disk;
	return 0;
}
