/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.c - joining a node from another process: the socket, the four descriptors, waiting for the node.
 *
 * The socket stays open for the life of the attachment: its end tells either side of the other's end.
 */
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "store/store_internal.h"

#define LOOK_NS	   (20 * NS_PER_MS) /* a waiter finds out so soon that the daemon died */
#define WELCOME_S  10		    /* for the daemon to answer */

void swi_attachment_fini(struct swi_attachment *at)
{
	swi_mem_fini(&at->client);
	swi_mem_fini(&at->index);
	swi_mem_fini(&at->arena);
	if (at->doorbell >= 0)
		close(at->doorbell);
	if (at->sock >= 0)
		close(at->sock);
	at->doorbell = at->sock = -1;
}

static int fail(char *why, size_t why_len, int rc, const char *dir, const char *what)
{
	snprintf(why, why_len, "the store in %s %s", dir, what);
	return rc;
}

static int dial(const char *dir, int *out_sock, char *why, size_t why_len)
{
	const struct timeval limit = {.tv_sec = WELCOME_S};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct ucred who = {0};
	socklen_t len = sizeof(who);

	if (swi_sock_path(dir, sa.sun_path, sizeof(sa.sun_path)))
		return fail(why, why_len, -ENAMETOOLONG, dir, "has a name too long for a socket");
	const int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return -errno;
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(sock, (void *)&sa, sizeof(sa))) {
		const int err = errno;

		close(sock);
		if (err == EACCES || err == EPERM)
			return fail(why, why_len, -EACCES, dir, "belongs to another user");
		return fail(why, why_len, SWARM_ENODAEMON, dir,
			    "does not run: start a daemon, or name the right directory");
	}
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &len) || who.uid != geteuid()) {
		close(sock);
		return fail(why, why_len, -EACCES, dir, "is served by another user");
	}
	*out_sock = sock;
	return 0;
}

/* Says hello; on success the descriptors are in fds. */
static int ask(int sock, uint32_t role, int fds[SWI_FD_COUNT], const char *dir, char *why,
	       size_t why_len)
{
	const struct swi_hello hello = {
	    .magic = SWI_HELLO_MAGIC, .version = SWI_SHM_VERSION, .role = role};
	struct swi_welcome wel = {0};
	uint32_t n = 0;
	int rc = swi_sock_send(sock, &hello, sizeof(hello), NULL, 0);
	const int got = swi_sock_recv(sock, &wel, sizeof(wel), fds, SWI_FD_COUNT, &n);

	if (got) /* a refusal may come before our hello was taken: the answer counts */
		return fail(why, why_len, SWARM_ENODAEMON, dir, "ended before it answered");
	wel.text[sizeof(wel.text) - 1] = '\0';
	if (wel.magic != SWI_HELLO_MAGIC)
		rc = fail(why, why_len, SWARM_EVERSION, dir, "is not a store");
	else if (wel.status)
		rc = fail(why, why_len, wel.status, dir, wel.text[0] ? wel.text : "refuses");
	else if (rc || n != SWI_FD_COUNT)
		rc = fail(why, why_len, SWARM_EVERSION, dir, "answered nonsense");
	if (rc)
		while (n)
			close(fds[--n]);
	return rc;
}

int swi_attach_dial(const char *dir, uint32_t role, struct swi_attachment *out, char *why,
		    size_t why_len)
{
	struct swi_attachment at = {
	    .arena.fd = -1, .index.fd = -1, .client.fd = -1, .doorbell = -1, .sock = -1};
	int fds[SWI_FD_COUNT];
	int rc = dial(dir, &at.sock, why, why_len);

	if (!rc)
		rc = ask(at.sock, role, fds, dir, why, why_len);
	if (rc) {
		swi_attachment_fini(&at);
		return rc;
	}
	at.doorbell = fds[SWI_FD_DOORBELL];
	rc = swi_mem_map(fds[SWI_FD_INDEX], SWI_PAGE, &at.index);
	if (rc)
		close(fds[SWI_FD_INDEX]);
	const int rc2 = swi_mem_map(fds[SWI_FD_ARENA], SWI_PAGE, &at.arena);

	if (rc2)
		close(fds[SWI_FD_ARENA]);
	const int rc3 = swi_mem_map(fds[SWI_FD_CLIENT], SWI_CLIENT_BYTES, &at.client);

	if (rc3)
		close(fds[SWI_FD_CLIENT]);
	rc = rc ? rc : rc2 ? rc2 : rc3;
	if (!rc && ((struct swi_shm_head *)at.index.addr)->arena_bytes > at.arena.bytes)
		rc = -EPROTO;
	if (rc) {
		swi_attachment_fini(&at);
		return fail(why, why_len, rc, dir, "gave memory that cannot be mapped");
	}
	*out = at;
	return 0;
}

/* ---- what a local client needs of its surroundings ---- */

void swi_attach_ring(void *ctx)
{
	const struct swi_attachment *at = ctx;
	const uint64_t one = 1;

	(void)!write(at->doorbell, &one, sizeof(one));
}

static bool node_is_gone(const struct swi_attachment *at)
{
	struct pollfd p = {.fd = at->sock, .events = POLLIN | POLLRDHUP};

	return at->sock >= 0 && poll(&p, 1, 0) > 0; /* it says nothing after the welcome but its end */
}

int swi_attach_wait(void *ctx, struct swi_client_shm *shm, uint32_t seen, uint64_t timeout_ns)
{
	const struct swi_attachment *at = ctx;

	while (timeout_ns) {
		const uint64_t slice = swi_min_u64(timeout_ns, LOOK_NS);

		if (swi_futex_wait(shm, seen, slice) == 0)
			return 0;
		if (node_is_gone(at))
			return SWARM_ENODAEMON;
		if (timeout_ns != UINT64_MAX)
			timeout_ns -= slice;
	}
	return -ETIMEDOUT;
}

int swi_attach_event(void *ctx, uint32_t number, int fd)
{
	const struct swi_attachment *at = ctx;
	const struct swi_hello say = {.magic = SWI_HELLO_MAGIC,
				      .version = SWI_SHM_VERSION,
				      .role = number,
				      .kind = SWI_HELLO_EVENT};
	const int rc = swi_sock_send(at->sock, &say, sizeof(say), &fd, fd >= 0 ? 1 : 0);

	return rc ? SWARM_ENODAEMON : 0;
}

bool swi_attach_gone(void *ctx)
{
	return node_is_gone(ctx);
}

void swi_attach_wake_others(void *ctx SWI_UNUSED, struct swi_client_shm *shm)
{
	swi_futex_wake(shm);
}
