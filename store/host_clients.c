/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_clients.c - who attaches to this host, and how its end is noticed. Loop thread.
 *
 * A process may attach if the kernel says that it runs as the same user. Its end is the end of its
 * socket, or of the process itself (pidfd): a child that it forked may hold the socket open for longer.
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "store/host_internal.h"

#define HELLO_NS (5 * NS_PER_S) /* a connection that says nothing for so long is closed */

static int make_dir(struct swi_host *h, char *why, size_t why_len)
{
	struct stat st;

	if (mkdir(h->dir, 0700) && errno != EEXIST) {
		const int rc = -errno;

		snprintf(why, why_len, "the run directory %s cannot be made: %s", h->dir,
			 swarm_strerror(rc));
		return rc;
	}
	if (lstat(h->dir, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid()) {
		snprintf(why, why_len, "%s is not a directory of this user: name another one", h->dir);
		return -EACCES;
	}
	if ((st.st_mode & 077) && chmod(h->dir, 0700))
		return -errno;
	return 0;
}

/* One host a directory, for as long as it lives: the lock dies with its process. */
static int take_lock(struct swi_host *h, char *why, size_t why_len)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/swarm.lock", h->dir);
	h->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (h->lock < 0)
		return -errno;
	if (flock(h->lock, LOCK_EX | LOCK_NB)) {
		snprintf(why, why_len, "another store runs in %s: stop it, or name another directory",
			 h->dir);
		return -EBUSY;
	}
	return 0;
}

/* ---- one client ---- */

static void client_free(struct swi_host_client *hc)
{
	if (hc->cl)
		swi_client_gone(hc->h->sn, hc->cl);
	if (hc->sock >= 0) {
		swi_host_del_fd(hc->h, hc->sock);
		close(hc->sock);
	}
	if (hc->pidfd >= 0) {
		swi_host_del_fd(hc->h, hc->pidfd);
		close(hc->pidfd);
	}
	for (uint32_t i = 0; i < SWI_EVENTS; i++)
		if (hc->event[i] >= 0)
			close(hc->event[i]);
	swi_mem_fini(&hc->mem);
	swi_list_del(&hc->link);
	free(hc);
}

static void write_event(struct swi_doorbell *db, struct swi_client_shm *shm, uint32_t number)
{
	const struct swi_host_client *hc = swi_container_of(db, struct swi_host_client, db);
	const int fd = hc->event[number - 1];
	const uint64_t one = 1;

	/* Not there yet: the word stays armed, and set_event() writes. */
	if (fd >= 0 && atomic_exchange(&shm->armed[number - 1], 0))
		(void)!write(fd, &one, sizeof(one));
}

/* An eventfd and nothing else: what the node writes to must never make it wait. */
static bool is_eventfd(int fd)
{
	char link[64], name[64] = "";

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	const ssize_t n = readlink(link, name, sizeof(name) - 1);

	return n > 0 && !strncmp(name, "anon_inode:[eventfd", 19) &&
	       !fcntl(fd, F_SETFL, O_NONBLOCK);
}

/* What a client says after its hello. -EPROTO: nonsense. Takes @fd over. */
static int set_event(struct swi_host_client *hc, const struct swi_hello *hello, int fd)
{
	const uint64_t one = 1;
	int *slot = hello->role && hello->role <= SWI_EVENTS ? &hc->event[hello->role - 1] : NULL;

	if (!slot || hello->magic != SWI_HELLO_MAGIC || hello->kind != SWI_HELLO_EVENT ||
	    (fd >= 0 && !is_eventfd(fd))) {
		if (fd >= 0)
			close(fd);
		return -EPROTO;
	}
	if (*slot >= 0)
		close(*slot);
	*slot = fd;
	if (fd >= 0) /* what came before we knew it */
		(void)!write(fd, &one, sizeof(one));
	return 0;
}

static struct swi_host_client *client_make(struct swi_host *h, int sock, uint32_t pid)
{
	struct swi_host_client *hc = calloc(1, sizeof(*hc));

	if (!hc)
		return NULL;
	hc->h = h;
	hc->sock = sock;
	hc->pidfd = -1;
	hc->pid = pid;
	hc->mem.fd = -1;
	hc->db = (struct swi_doorbell){.ring = swi_host_ring, .event = write_event};
	for (uint32_t i = 0; i < SWI_EVENTS; i++)
		hc->event[i] = -1;
	hc->deadline_ns = swi_now(h->env) + HELLO_NS;
	swi_list_push_back(&h->clients, &hc->link);
	return hc;
}

static int client_admit(struct swi_host_client *hc, uint32_t role, char *why, size_t why_len)
{
	struct swi_host *h = hc->h;
	int rc = 0;

	if (h->upper.admit)
		rc = h->upper.admit(h->upper.ctx, role, hc->pid);
	else if (role)
		rc = -EINVAL; /* roles are the layer above's, and there is none */
	if (rc) {
		snprintf(why, why_len, "this node does not admit a process in role %u: %s", role,
			 swarm_strerror(rc));
		return rc;
	}
	rc = swi_mem_create("memory of a client", SWI_CLIENT_BYTES, false, &hc->mem, why, why_len);
	if (rc)
		return rc;
	return swi_client_attach(h->sn, hc->mem.addr, &hc->db, hc->pid, role, &hc->cl);
}

static int client_hello(struct swi_host_client *hc, const struct swi_hello *hello)
{
	struct swi_host *h = hc->h;
	struct swi_welcome wel = {.magic = SWI_HELLO_MAGIC, .version = SWI_SHM_VERSION};

	if (hello->magic != SWI_HELLO_MAGIC || hello->version != SWI_SHM_VERSION) {
		wel.status = SWARM_EVERSION;
		snprintf(wel.text, sizeof(wel.text),
			 "the store in %.100s speaks version %u, this program %u: use one release",
			 h->dir, SWI_SHM_VERSION, hello->version);
	} else {
		wel.status = client_admit(hc, hello->role, wel.text, sizeof(wel.text));
	}
	if (wel.status) {
		swi_sock_send(hc->sock, &wel, sizeof(wel), NULL, 0);
		return wel.status;
	}
	const int fds[SWI_FD_COUNT] = {[SWI_FD_ARENA] = h->arena.fd,
				       [SWI_FD_INDEX] = h->index.fd,
				       [SWI_FD_CLIENT] = hc->mem.fd,
				       [SWI_FD_DOORBELL] = h->bell};

	return swi_sock_send(hc->sock, &wel, sizeof(wel), fds, SWI_FD_COUNT);
}

static void on_socket(void *ctx, uint32_t events SWI_UNUSED)
{
	struct swi_host_client *hc = ctx;
	struct swi_hello hello;
	uint32_t n = 0;
	int fd = -1;

	if (hc->cl) { /* an eventfd; else the end, or nonsense */
		const int rc = swi_sock_recv(hc->sock, &hello, sizeof(hello), &fd, 1, &n);

		if (rc == -EAGAIN || (!rc && !set_event(hc, &hello, n ? fd : -1)))
			return;
	} else {
		const int rc = swi_sock_recv(hc->sock, &hello, sizeof(hello), NULL, 0, &n);

		if (rc == -EAGAIN || (!rc && !client_hello(hc, &hello)))
			return;
	}
	client_free(hc);
}

static void on_exit_of(void *ctx, uint32_t events SWI_UNUSED)
{
	client_free(ctx);
}

static void on_connect(void *ctx, uint32_t events SWI_UNUSED)
{
	struct swi_host *h = ctx;
	struct ucred who;
	socklen_t len = sizeof(who);
	const int sock = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (sock < 0)
		return;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &len) || who.uid != geteuid()) {
		struct swi_welcome wel = {.magic = SWI_HELLO_MAGIC,
					  .version = SWI_SHM_VERSION,
					  .status = -EACCES,
					  .text = "this store belongs to another user"};

		swi_warn(&h->log, "process %d of user %u may not attach", who.pid, who.uid);
		swi_sock_send(sock, &wel, sizeof(wel), NULL, 0);
		close(sock);
		return;
	}
	struct swi_host_client *hc = client_make(h, sock, (uint32_t)who.pid);

	if (!hc || swi_host_add_fd(h, sock, EPOLLIN | EPOLLRDHUP, on_socket, hc)) {
		if (hc)
			client_free(hc);
		else
			close(sock);
		return;
	}
	hc->pidfd = (int)syscall(SYS_pidfd_open, who.pid, 0);
	if (hc->pidfd >= 0)
		(void)!swi_host_add_fd(h, hc->pidfd, EPOLLIN, on_exit_of, hc);
}

int swi_host_listen(struct swi_host *h, char *why, size_t why_len)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int rc = make_dir(h, why, why_len);

	if (!rc)
		rc = take_lock(h, why, why_len);
	if (rc)
		return rc;
	if (swi_sock_path(h->dir, sa.sun_path, sizeof(sa.sun_path))) {
		snprintf(why, why_len, "the run directory %s has a name too long for a socket", h->dir);
		return -ENAMETOOLONG;
	}
	unlink(sa.sun_path); /* of a host that was killed: the lock is ours */
	h->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->listener < 0 || bind(h->listener, (void *)&sa, sizeof(sa)) ||
	    listen(h->listener, 128)) {
		rc = -errno;
		snprintf(why, why_len, "the socket %s cannot be made: %s", sa.sun_path,
			 swarm_strerror(rc));
		return rc;
	}
	return swi_host_add_fd(h, h->listener, EPOLLIN, on_connect, h);
}

void swi_host_clients_fini(struct swi_host *h)
{
	char path[4200];

	while (!swi_list_empty(&h->clients))
		client_free(swi_list_first(&h->clients, struct swi_host_client, link));
	if (h->listener >= 0) {
		swi_host_del_fd(h, h->listener);
		close(h->listener);
		if (!swi_sock_path(h->dir, path, sizeof(path)))
			unlink(path);
	}
	if (h->lock >= 0)
		close(h->lock);
}

int swi_host_clients_step(struct swi_host *h, uint64_t now_ns)
{
	int n = 0;

	swi_list_for_each_safe(it, &h->clients)
	{
		struct swi_host_client *hc = swi_list_entry(it, struct swi_host_client, link);

		if (hc->cl ? !swi_client_condemned(hc->cl) : now_ns < hc->deadline_ns)
			continue;
		client_free(hc);
		n++;
	}
	return n;
}

uint64_t swi_host_clients_deadline_ns(struct swi_host *h)
{
	uint64_t d = UINT64_MAX;

	swi_list_for_each(it, &h->clients)
	{
		struct swi_host_client *hc = swi_list_entry(it, struct swi_host_client, link);

		if (!hc->cl)
			d = swi_min_u64(d, hc->deadline_ns);
	}
	return d;
}

int swi_host_attach_local(struct swi_host *h, uint32_t role, struct swi_attachment *out, char *why,
			  size_t why_len)
{
	struct swi_attachment at = {
	    .arena.fd = -1, .index.fd = -1, .client.fd = -1, .doorbell = -1, .sock = -1};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	struct swi_host_client *hc = client_make(h, pair[0], (uint32_t)getpid());
	int rc = hc ? client_admit(hc, role, why, why_len) : -ENOMEM;

	if (!hc)
		close(pair[0]);
	at.sock = pair[1];
	if (!rc && fcntl(pair[0], F_SETFL, O_NONBLOCK))
		rc = -errno;
	if (!rc)
		rc = swi_host_add_fd(h, pair[0], EPOLLIN | EPOLLRDHUP, on_socket, hc);

	if (!rc)
		rc = swi_mem_share(&h->arena, &at.arena);
	if (!rc)
		rc = swi_mem_share(&h->index, &at.index);
	if (!rc)
		rc = swi_mem_share(&hc->mem, &at.client);
	if (!rc) {
		at.doorbell = fcntl(h->bell, F_DUPFD_CLOEXEC, 3);
		rc = at.doorbell < 0 ? -errno : 0;
	}
	if (rc) {
		swi_attachment_fini(&at);
		if (hc)
			client_free(hc);
		return rc;
	}
	*out = at;
	return 0;
}
