/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm.c - shared memory between processes of one host: that it is chosen where it should and only there,
 * that a revoked reader never believes what it copied, and that whatever another process sends or hands
 * over in the place of a peer is refused without leaving a descriptor or a mapping behind.
 */
#include "tests/transport/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/conn.h"
#include "transport/shm/shm.h"

#define MEM MIB(8)

struct side {
	struct swi_tp *tp;
	struct swi_log log;
	uint8_t *mem;
	int memfd;
	struct swi_conn *conn;
	uint32_t ups, downs;
	int status;
};

static uint8_t *memory(int *out_fd)
{
	const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0 && !ftruncate(fd, MEM) &&
		    !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	uint8_t *p = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	*out_fd = fd;
	return p;
}

static uint32_t count_in(const char *dir)
{
	DIR *d = opendir(dir);
	uint32_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void on_up(void *ctx, struct swi_conn *c, bool inbound SWI_UNUSED)
{
	((struct side *)ctx)->conn = c;
	((struct side *)ctx)->ups++;
}

static void on_down(void *ctx, struct swi_conn *c SWI_UNUSED, int status)
{
	((struct side *)ctx)->conn = NULL;
	((struct side *)ctx)->downs++;
	((struct side *)ctx)->status = status;
}

static void open_side(struct side *s, const char *backend, bool listens, bool memfd)
{
	const struct swi_tp_handler h = {.ctx = s, .up = on_up, .down = on_down};
	const struct swi_tp_opts o = {.backend = backend,
				      .bind = listens ? "127.0.0.1:0" : NULL};
	char why[256];

	memset(s, 0, sizeof(*s));
	swi_log_init(&s->log, "shm");
	s->log.level = SWI_LOG_NONE;
	assert_int_equal(
	    swi_tp_open(&o, swi_env_real(), &s->log, &h, &s->tp, why, sizeof(why)), 0);
	s->mem = memory(&s->memfd);
	assert_int_equal(swi_tp_register(s->tp, 0, s->mem, MEM, memfd ? s->memfd : -1), 0);
}

static void close_side(struct side *s)
{
	swi_tp_close(s->tp);
	munmap(s->mem, MEM);
	close(s->memfd);
}

static void until(struct side *a, struct side *b, const uint32_t *value, uint32_t want)
{
	const uint64_t end = swi_now(swi_env_real()) + 20 * NS_PER_S;

	while (*value < want) {
		assert_true(swi_tp_progress(a->tp) >= 0);
		assert_true(!b || swi_tp_progress(b->tp) >= 0);
		assert_true(swi_now(swi_env_real()) < end);
	}
}

static void join(struct side *a, struct side *b)
{
	struct swi_conn *c;

	assert_int_equal(swi_tp_connect(a->tp, swi_tp_address(b->tp), NULL, &c), 0);
	until(a, b, &a->ups, 1);
	until(a, b, &b->ups, 1);
}

struct shot {
	struct swi_read rd;
	uint32_t done;
	int status;
};

static void shot_cb(struct swi_read *rd, int status)
{
	struct shot *s = swi_container_of(rd, struct shot, rd);

	s->done++;
	s->status = status;
}

static int read_all(struct side *a, struct side *b)
{
	struct shot s = {.rd.cb = shot_cb};

	assert_int_equal(swi_conn_read(a->conn, 0, 0, a->mem, MEM, &s.rd), 0);
	until(a, b, &s.done, 1);
	return s.status;
}

struct told_shot {
	struct shot shot; /* first: its callback knows no other */
	const uint8_t *next;
	uint32_t pieces;
};

/* In order, without a gap, before the end, and the bytes are there. */
static void told(struct swi_read *rd, const void *at, uint32_t len)
{
	struct told_shot *t = swi_container_of(rd, struct told_shot, shot.rd);

	assert_ptr_equal(at, t->next);
	assert_int_equal(t->shot.done, 0);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(t->next[i], 0x5a);
	t->next += len;
	t->pieces++;
}

static void a_read__that_wants_to_know__is_told_of_every_byte_as_it_lands(void **state SWI_UNUSED)
{
	static const struct {
		uint64_t at, len;
	} read[] = {{0, 1}, {64, 4096}, {4095, 4097}, {128, MIB(1) + 64}, {0, MEM}};
	struct side a, b;

	open_side(&b, "shm", true, true);
	open_side(&a, "shm", false, true);
	join(&a, &b);
	memset(b.mem, 0x5a, MEM);
	for (size_t i = 0; i < SWI_ARRAY_LEN(read); i++) {
		struct told_shot t = {.shot.rd = {.cb = shot_cb, .landed = told}, .next = a.mem + read[i].at};

		memset(a.mem, 0, MEM);
		assert_int_equal(swi_conn_read(a.conn, 0, read[i].at, a.mem + read[i].at, read[i].len, &t.shot.rd), 0);
		until(&a, &b, &t.shot.done, 1);
		assert_int_equal(t.shot.status, 0);
		assert_ptr_equal(t.next, a.mem + read[i].at + read[i].len);
		assert_true(t.pieces >= (read[i].len + 4095) / 4096);
		assert_true(!read[i].at || !a.mem[read[i].at - 1]);
		assert_true(read[i].at + read[i].len == MEM || !a.mem[read[i].at + read[i].len]);
	}
	close_side(&a);
	close_side(&b);
}

/* Nothing said: whatever the network is, two processes of one host do not go through it. */
static void auto__on_one_host__is_shared_memory(void **state SWI_UNUSED)
{
	struct side a, b;

	open_side(&b, NULL, true, true);
	open_side(&a, "auto", false, true);
	assert_string_not_equal(swi_tp_backend(b.tp), "shm");
	memset(b.mem, 0x42, MEM);
	join(&a, &b);
	assert_string_equal(swi_conn_backend(a.conn), "shm");
	assert_string_equal(swi_conn_backend(b.conn), "shm");
	assert_int_equal(read_all(&a, &b), 0);
	assert_memory_equal(a.mem, b.mem, MEM);
	close_side(&a);
	close_side(&b);
}

/* Forced, or with memory that cannot be mapped by others, it is the network. */
static void auto__where_it_does_not_suit__is_the_network(void **state SWI_UNUSED)
{
	for (int i = 0; i < 3; i++) {
		struct side a, b;

		open_side(&b, NULL, true, i != 0);
		open_side(&a, i == 2 ? swi_tp_backend(b.tp) : NULL, false, i != 1);
		memset(b.mem, 0x43 + i, MEM);
		join(&a, &b);
		assert_string_equal(swi_conn_backend(a.conn), swi_tp_backend(b.tp));
		assert_int_equal(read_all(&a, &b), 0);
		assert_memory_equal(a.mem, b.mem, MEM);
		close_side(&a);
		close_side(&b);
	}
}

static void register__without_a_memfd__is_refused_when_forced(void **state SWI_UNUSED)
{
	struct side a;
	uint8_t *p = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	open_side(&a, "shm", false, true);
	assert_int_equal(swi_tp_register(a.tp, 1, p, MEM, -1), -ENOTSUP);
	assert_int_equal(swi_tp_register(a.tp, 1, p, 2 * MEM, a.memfd), -EINVAL);
	const int shrinks = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(shrinks, MEM), 0);
	assert_int_equal(swi_tp_register(a.tp, 1, p, MEM, shrinks), -ENOTSUP);
	close(shrinks);
	munmap(p, MEM);
	close_side(&a);
}

/* A listener of another user: it is not asked, and where it holds our name it is not believed. */
static void listener__of_another_user__is_not_believed(void **state SWI_UNUSED)
{
	struct side a, b;
	int go[2], pipe_ok = pipe(go);
	char byte;

	if (geteuid() != 0) {
		print_message("not root: cannot become another user\n");
		skip();
	}
	assert_int_equal(pipe_ok, 0);
	open_side(&b, "ofi", true, true); /* a network listener without a socket of its own */
	const pid_t pid = fork();

	if (pid == 0) {
		struct sockaddr_un un = {.sun_family = AF_UNIX};
		const int n = snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "swarm/0/%s",
				       swi_tp_address(b.tp));
		const int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

		if (setuid(65534) ||
		    bind(fd, (struct sockaddr *)&un,
			 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) ||
		    listen(fd, 8) || write(go[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(go[0], &byte, 1), 1);
	open_side(&a, NULL, false, true);
	join(&a, &b);
	assert_string_equal(swi_conn_backend(a.conn), "ofi");
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(go[0]);
	close(go[1]);
	close_side(&a);
	close_side(&b);
}

/*
 * The owner takes the right back while the reader is anywhere in its copy, and reuses the memory at once.
 * Whatever the reader got, it is told that it is nothing.
 */
static void revoke__in_the_middle_of_a_copy__fails_the_read(void **state SWI_UNUSED)
{
	for (int steps = 0; steps <= 8; steps++) {
		struct side a, b;
		struct shot s = {.rd.cb = shot_cb};

		open_side(&b, "shm", true, true);
		open_side(&a, "shm", false, true);
		memset(b.mem, 0x11, MEM);
		join(&a, &b);
		assert_int_equal(swi_conn_read(a.conn, 0, 0, a.mem, MEM, &s.rd), 0);
		for (int i = 0; i < steps; i++)
			assert_true(swi_tp_progress(a.tp) >= 0);
		const bool over = s.done;

		assert_true(!over || s.status == 0);
		swi_conn_revoke(b.conn, SWARM_ESILENT);
		memset(b.mem, 0x22, MEM); /* as the owner does who reuses it */
		until(&a, NULL, &s.done, 1);
		assert_true(over || s.status == SWARM_EREMOTEACCESS || s.status == SWARM_EPEERLOST);
		for (uint64_t i = 0; s.status == 0 && i < MEM; i++)
			assert_int_equal(a.mem[i], 0x11);
		until(&a, &b, &a.downs, 1);
		until(&a, &b, &b.downs, 1);
		assert_int_equal(b.status, SWARM_ESILENT);
		close_side(&a);
		close_side(&b);
	}
}

/* --- a stranger with a socket --- */

static struct {
	struct swi_be *be;
	struct swi_log log;
	uint32_t accepted, downs, closed, recvs;
	int status;
} host;

static void h_accepted(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED)
{
	host.accepted++;
}

static void h_recv(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED,
		   const void *buf SWI_UNUSED, uint32_t len SWI_UNUSED)
{
	host.recvs++;
}

static void h_down(void *ctx SWI_UNUSED, struct swi_be_ep *ep, int status)
{
	host.downs++;
	host.status = status;
	swi_shm_ep_close(ep);
}

static void h_closed(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED)
{
	host.closed++;
}

static const struct swi_be_events h_events = {
    .accepted = h_accepted, .recv = h_recv, .down = h_down, .closed = h_closed};

static int stranger(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const int n = snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "swarm/%u/%s", geteuid(),
			       swi_be_shm->address(host.be));
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_int_equal(
	    connect(fd, (struct sockaddr *)&un,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)),
	    0);
	return fd;
}

static void say(int fd, const void *buf, size_t len, const int *fds, size_t n)
{
	struct iovec iov = {(void *)(uintptr_t)buf, len};
	union {
		struct cmsghdr align;
		uint8_t buf[CMSG_SPACE(64 * sizeof(int))];
	} c = {0};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n) {
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c.align = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
					   .cmsg_type = SCM_RIGHTS,
					   .cmsg_len = CMSG_LEN(n * sizeof(int))};
		memcpy(CMSG_DATA(&c.align), fds, n * sizeof(int));
	}
	assert_int_equal(sendmsg(fd, &m, 0), len);
}

struct offer {
	uint32_t slot, count;
	uint64_t word, off, len;
	int words, mem;
	uint32_t fds; /* how many descriptors go along */
	uint32_t cut; /* bytes that are missing at the end */
};

static size_t put_offer(const struct offer *o, uint8_t *buf)
{
	struct swi_wr w = swi_wr_init(buf, 512);

	swi_wr_u8(&w, SHM_GRANT);
	swi_wr_u32(&w, o->slot);
	swi_wr_u64(&w, o->word);
	swi_wr_u32(&w, o->count);
	for (uint32_t i = 0; i < o->count && i < 17; i++) {
		swi_wr_u64(&w, 1);
		swi_wr_u64(&w, o->off);
		swi_wr_u64(&w, o->len);
	}
	return w.len - o->cut;
}

static void assert_refused(const struct offer *o, bool twice)
{
	const uint32_t downs = host.downs, closed = host.closed;
	uint8_t buf[512];
	int fds[20];
	const int fd = stranger();

	fds[0] = o->words;
	for (uint32_t i = 1; i < SWI_ARRAY_LEN(fds); i++)
		fds[i] = o->mem;
	const size_t len = put_offer(o, buf);

	say(fd, buf, len, fds, o->fds);
	if (twice)
		say(fd, buf, len, fds, o->fds);
	for (int i = 0; i < 100000 && host.closed == closed; i++)
		assert_true(swi_be_shm->progress(host.be, 16) >= 0);
	assert_int_equal(host.downs, downs + 1);
	assert_int_equal(host.status, SWARM_EPROTO);
	close(fd);
}

static void grant__of_nonsense__is_refused_and_leaves_nothing(void **state SWI_UNUSED)
{
	const struct swi_be_open_args args = {.env = swi_env_real(),
					      .log = &host.log,
					      .events = &h_events,
					      .bind = "127.0.0.1:0"};
	int good, pipes[2], soft = memfd_create("soft", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t *p = memory(&good);
	char why[200];

	assert_int_equal(pipe(pipes) | ftruncate(soft, MEM), 0);
	host.log.level = SWI_LOG_NONE;
	assert_int_equal(swi_be_shm->open(&args, &host.be, why, sizeof(why)), 0);
	const uint32_t files = count_in("/proc/self/fd");
	const struct offer right = {.count = 1, .word = 1, .len = MEM, .words = good, .mem = good,
				    .fds = 2};
	struct offer bad[12];

	for (size_t i = 0; i < SWI_ARRAY_LEN(bad); i++)
		bad[i] = right;
	bad[0].mem = pipes[0];		 /* no memory */
	bad[1].mem = soft;		 /* could be cut short under the reader */
	bad[2].words = soft;
	bad[3].fds = 1;			 /* fewer descriptors than memories */
	bad[4].fds = 5;			 /* more */
	bad[5].slot = SHM_EPS_MAX;	 /* no such word */
	bad[6].word = 0;
	bad[7].len = MEM + 1;		 /* beyond the end */
	bad[8].off = UINT64_MAX;	 /* and around it */
	bad[9].count = 17, bad[9].fds = 18; /* more than may be */
	bad[10].cut = 3;		 /* not whole */
	bad[11].count = UINT32_MAX;
	for (size_t i = 0; i < SWI_ARRAY_LEN(bad); i++)
		assert_refused(&bad[i], false);
	assert_refused(&right, true); /* and a right one comes once */
	const struct shm_counters *n = swi_shm_counters(host.be);

	assert_int_equal(n->fds_received, n->fds_closed);
	assert_int_equal(n->maps_created, 0); /* nothing is mapped before the key is proved */
	assert_int_equal(count_in("/proc/self/fd"), files);
	assert_int_equal(host.recvs, 0);
	assert_int_equal(host.accepted, SWI_ARRAY_LEN(bad) + 1);
	swi_be_shm->close(host.be);
	close(pipes[0]);
	close(pipes[1]);
	close(soft);
	munmap(p, MEM);
	close(good);
}

static void datagram__of_nonsense__ends_that_connection(void **state SWI_UNUSED)
{
	const struct swi_be_open_args args = {.env = swi_env_real(),
					      .log = &host.log,
					      .events = &h_events,
					      .bind = "127.0.0.1:0"};
	static uint8_t big[SHM_DGRAM_MAX + 1];
	const size_t lens[] = {1, 1, 100, sizeof(big)};
	const uint8_t kinds[] = {0, 3, 255, SHM_MSG};
	char why[200];

	memset(&host, 0, sizeof(host));
	host.log.level = SWI_LOG_NONE;
	assert_int_equal(swi_be_shm->open(&args, &host.be, why, sizeof(why)), 0);
	const uint32_t files = count_in("/proc/self/fd");

	for (uint32_t i = 0; i <= SWI_ARRAY_LEN(lens); i++) {
		const int fd = stranger();

		if (i < SWI_ARRAY_LEN(lens)) {
			big[0] = kinds[i];
			say(fd, big, lens[i], NULL, 0);
		} else { /* a descriptor where none belongs */
			big[0] = SHM_MSG;
			say(fd, big, 10, &fd, 1);
		}
		for (int k = 0; k < 100000 && host.closed == i; k++)
			assert_true(swi_be_shm->progress(host.be, 16) >= 0);
		assert_int_equal(host.closed, i + 1);
		assert_int_equal(host.status, SWARM_EPROTO);
		close(fd);
	}
	assert_int_equal(host.recvs, 0);
	assert_int_equal(count_in("/proc/self/fd"), files);
	swi_be_shm->close(host.be);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_read__that_wants_to_know__is_told_of_every_byte_as_it_lands),
	    cmocka_unit_test(auto__on_one_host__is_shared_memory),
	    cmocka_unit_test(auto__where_it_does_not_suit__is_the_network),
	    cmocka_unit_test(register__without_a_memfd__is_refused_when_forced),
	    cmocka_unit_test(listener__of_another_user__is_not_believed),
	    cmocka_unit_test(revoke__in_the_middle_of_a_copy__fails_the_read),
	    cmocka_unit_test(grant__of_nonsense__is_refused_and_leaves_nothing),
	    cmocka_unit_test(datagram__of_nonsense__ends_that_connection),
	};

	return RUN(tests);
}
