/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.c - who runs in a directory: a record lock on <dir>/swarmd.lock, which the kernel drops with its
 * process and which names that process. So there is no stale pid file, and nobody signals a stranger.
 */
#include "tools/daemon.h"

#include <fcntl.h>
#include <unistd.h>

static int lock_path(const char *dir, char *path, size_t len)
{
	return (size_t)snprintf(path, len, "%s/swarmd.lock", dir) < len ? 0 : -ENAMETOOLONG;
}

static long holder_of(int fd)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_GETLK, &l))
		return -errno;
	return l.l_type == F_UNLCK ? 0 : l.l_pid;
}

int swt_lock_take(const char *dir, int *out_fd, long *out_pid)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[PATH_MAX];
	int fd, rc = lock_path(dir, path, sizeof(path));

	if (rc)
		return rc;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (!fcntl(fd, F_SETLK, &l)) {
		*out_fd = fd;
		return 0;
	}
	rc = errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
	*out_pid = holder_of(fd);
	close(fd);
	return rc;
}

long swt_lock_holder(const char *dir)
{
	char path[PATH_MAX];
	long pid;
	int fd, rc = lock_path(dir, path, sizeof(path));

	if (rc)
		return rc;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	pid = holder_of(fd);
	close(fd);
	return pid;
}
