/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_folder.c - opens, preallocates, lists and removes the files of one spill folder.
 *
 * The folder is locked (flock) as long as it is open: two processes that sweep each other's
 * segments would lose both their objects. Everything goes through the folder's descriptor, so a
 * folder that vanishes or is mounted over gives an error and never a file somewhere else.
 * Owner thread only; these calls may block.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "store/spill/disk_folder.h"

#define REQUEST_MAX MIB(4)
#define REQUEST_MIN KIB(64)

int swi_folder_init(struct swi_folder *fo, const char *path, const struct swi_log *log, char *why,
		    size_t why_len)
{
	int rc;

	*fo = (struct swi_folder){.fd = -1, .log = log};
	if (mkdir(path, 0700) && errno != EEXIST) {
		rc = -errno;
		snprintf(why, why_len, "cannot make the spill folder %s: %s", path, strerror(-rc));
		return rc;
	}
	fo->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fo->fd < 0) {
		rc = -errno;
		snprintf(why, why_len, "cannot open the spill folder %s: %s", path, strerror(-rc));
		return rc;
	}
	if (flock(fo->fd, LOCK_EX | LOCK_NB)) {
		rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
		snprintf(why, why_len, "the spill folder %s is used by another process", path);
		goto fail;
	}
	rc = faccessat(fo->fd, ".", W_OK | X_OK, AT_EACCESS) ? -errno : 0;
	if (rc) {
		snprintf(why, why_len, "cannot write into the spill folder %s: %s", path,
			 strerror(-rc));
		goto fail;
	}
	fo->path = strdup(path);
	if (fo->path)
		return 0;
	rc = -ENOMEM;
	snprintf(why, why_len, "out of memory");
fail:
	swi_folder_fini(fo);
	return rc;
}

void swi_folder_fini(struct swi_folder *fo)
{
	if (fo->fd >= 0)
		close(fo->fd);
	free(fo->path);
	*fo = (struct swi_folder){.fd = -1};
}

/* O_DIRECT where the file system has it. */
static int open_direct(struct swi_folder *fo, const char *name, int flags)
{
	int fd = openat(fo->fd, name, flags | O_DIRECT, 0600);

	if (fd >= 0 || errno != EINVAL)
		return fd < 0 ? -errno : fd;
	/* Some file systems make the file before they refuse the flag. */
	fd = openat(fo->fd, name, flags & ~O_EXCL, 0600);
	if (fd < 0)
		return -errno;
	if (!fo->said_buffered)
		swi_warn(fo->log, "spill folder %s: its file system refuses O_DIRECT, writing through "
				  "the page cache", fo->path);
	fo->said_buffered = true;
	return fd;
}

static int preallocate(struct swi_folder *fo, int fd, uint64_t bytes)
{
	int rc;

	do
		rc = fallocate(fd, 0, 0, (off_t)bytes) ? -errno : 0;
	while (rc == -EINTR);
	if (rc != -EOPNOTSUPP && rc != -ENOSYS)
		return rc;
	if (!fo->said_no_prealloc)
		swi_warn(fo->log, "spill folder %s: its file system cannot preallocate, a full disk "
				  "shows only when written to", fo->path);
	fo->said_no_prealloc = true;
	return ftruncate(fd, (off_t)bytes) ? -errno : 0;
}

int swi_folder_open(struct swi_folder *fo, const char *name, bool create, uint64_t bytes,
		    int *out_fd, uint64_t *out_bytes)
{
	const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT | O_EXCL : 0);
	struct stat st;
	int fd, rc;

	fd = open_direct(fo, name, flags);
	if (fd < 0)
		return fd;
	rc = bytes ? preallocate(fo, fd, bytes) : 0;
	if (!rc && fstat(fd, &st))
		rc = -errno;
	if (!rc && !S_ISREG(st.st_mode))
		rc = -EINVAL;
	if (rc) {
		close(fd);
		if (create)
			(void)unlinkat(fo->fd, name, 0);
		return rc == -EDQUOT ? -ENOSPC : rc;
	}
	*out_fd = fd;
	*out_bytes = (uint64_t)st.st_size;
	return 0;
}

int swi_folder_unlink(struct swi_folder *fo, const char *name)
{
	return unlinkat(fo->fd, name, 0) ? -errno : 0;
}

int swi_folder_punch(int fd, uint64_t off, uint64_t len)
{
	int rc;

	do
		rc = fallocate(fd, SWI_FOLDER_PUNCH, (off_t)off,
			       (off_t)len)
			 ? -errno
			 : 0;
	while (rc == -EINTR);
	return rc == -ENOSYS ? -EOPNOTSUPP : rc;
}

uint64_t swi_folder_held(int fd, uint64_t bytes)
{
	struct stat st;

	/* What the file system adds for its own tables is not counted. */
	return fstat(fd, &st) ? bytes : swi_min_u64((uint64_t)st.st_blocks * 512, bytes);
}

/* One number of the block device's queue; 0: not to be had (no block device, no sysfs). */
static uint64_t queue_number(dev_t dev, const char *what)
{
	static const char *const at[] = {"queue", "../queue"}; /* a whole disk, or a partition of it */
	unsigned long long v = 0;

	for (size_t i = 0; i < SWI_ARRAY_LEN(at) && !v; i++) {
		char path[128];
		FILE *f;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", major(dev), minor(dev), at[i],
			 what);
		f = fopen(path, "re");
		if (f && fscanf(f, "%llu", &v) != 1)
			v = 0;
		if (f)
			fclose(f);
	}
	return v;
}

uint64_t swi_folder_request_max(const struct swi_folder *fo)
{
	uint64_t max = REQUEST_MAX, segments, kib;
	struct stat st;

	if (fstat(fo->fd, &st))
		return max;
	segments = swi_min_u64(queue_number(st.st_dev, "max_segments"), REQUEST_MAX);
	kib = swi_min_u64(queue_number(st.st_dev, "max_sectors_kb"), REQUEST_MAX);
	if (segments)
		max = swi_min_u64(max, segments * SWI_PAGE);
	if (kib)
		max = swi_min_u64(max, kib << 10);
	return swi_max_u64(swi_align_down(max, SWI_DISK_ALIGN), REQUEST_MIN);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
	char **v;
	size_t count, cap;
};

static int names_add(struct names *n, const char *name)
{
	char **grown = n->v;

	if (n->count == n->cap) {
		const size_t cap = n->cap ? n->cap * 2 : 64;

		grown = realloc(n->v, cap * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		n->v = grown;
		n->cap = cap;
	}
	grown[n->count] = strdup(name);
	if (!grown[n->count])
		return -ENOMEM;
	n->count++;
	return 0;
}

static int names_read(struct names *n, DIR *dir)
{
	const struct dirent *e;
	int rc = 0;

	errno = 0;
	while (!rc && (e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			rc = names_add(n, e->d_name);
		errno = 0;
	}
	return rc ? rc : -errno;
}

int swi_folder_list(struct swi_folder *fo, void (*each)(void *ctx, const char *name), void *ctx)
{
	const int fd = openat(fo->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct names n = {0};
	DIR *dir;
	int rc;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		rc = -errno;
		close(fd);
		return rc;
	}
	rc = names_read(&n, dir);
	closedir(dir);
	if (!rc && n.count)
		qsort(n.v, n.count, sizeof(*n.v), by_name);
	for (size_t i = 0; i < n.count; i++) {
		if (!rc)
			each(ctx, n.v[i]);
		free(n.v[i]);
	}
	free(n.v);
	return rc;
}

int swi_folder_space(struct swi_folder *fo, uint64_t *out_free, uint64_t *out_total)
{
	struct statvfs st;

	if (fstatvfs(fo->fd, &st))
		return -errno;
	/* f_bavail, not f_bfree: what root keeps for itself is not ours, even where we are root. */
	*out_free = (uint64_t)st.f_bavail * st.f_frsize;
	*out_total = (uint64_t)st.f_blocks * st.f_frsize;
	return 0;
}
