/* SPDX-License-Identifier: Apache-2.0 */
/* sock.c - see hello.h: messages with descriptors, and the futex that wakes a client. No state. */
#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "store/hello.h"

int swi_sock_path(const char *dir, char *buf, size_t len)
{
	const int n = snprintf(buf, len, "%s/%s", dir, SWI_SOCKET_NAME);

	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

int swi_sock_send(int sock, const void *data, size_t len, const int *fds, uint32_t count)
{
	alignas(struct cmsghdr) char control[CMSG_SPACE(SWI_FD_COUNT * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (count) {
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);

		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, count * sizeof(int));
	}
	do
		n = sendmsg(sock, &mh, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (size_t)n == len ? 0 : -EPROTO;
}

static void close_all(const int *fds, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		close(fds[i]);
}

int swi_sock_recv(int sock, void *data, size_t len, int *fds, uint32_t max, uint32_t *out_count)
{
	alignas(struct cmsghdr) char control[CMSG_SPACE(2 * SWI_FD_COUNT * sizeof(int))];
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control)};
	uint32_t got = 0;
	ssize_t n;

	do
		n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(&mh); cm; cm = CMSG_NXTHDR(&mh, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		const uint32_t k = (uint32_t)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		for (uint32_t i = 0; i < k; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(fd));
			if (got < max)
				fds[got++] = fd;
			else
				close(fd);
		}
	}
	if ((size_t)n != len || (mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		close_all(fds, got);
		return n == 0 ? -ECONNRESET : -EPROTO;
	}
	*out_count = got;
	return 0;
}

void swi_futex_wake(struct swi_client_shm *shm)
{
	syscall(SYS_futex, &shm->wake, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

int swi_futex_wait(struct swi_client_shm *shm, uint32_t seen, uint64_t timeout_ns)
{
	const struct timespec ts = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
				    .tv_nsec = (long)(timeout_ns % NS_PER_S)};
	int rc = 0;

	/* Partner: the waker adds 1 to wake, then reads sleeping (both seq_cst). */
	atomic_fetch_add(&shm->sleeping, 1);
	if (atomic_load(&shm->wake) == seen &&
	    syscall(SYS_futex, &shm->wake, FUTEX_WAIT, seen, &ts, NULL, 0) && errno == ETIMEDOUT)
		rc = -ETIMEDOUT;
	atomic_fetch_sub(&shm->sleeping, 1);
	return rc;
}
