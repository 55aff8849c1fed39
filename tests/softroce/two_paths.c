/* SPDX-License-Identifier: Apache-2.0 */
/*
 * two_paths.c - two hosts, two cards each, joined by two wires. `test_two_paths owner ADDR CUT MEND` on host 2 lets
 * itself be read and echoes messages. `test_two_paths reader ADDR CUT` on host 1 reads and sends without pause while
 * the owner's first wire swallows everything (CUT; the messages were on it) and is mended, and then a link of its
 * own goes down. Every READ brings the right bytes, every echo comes once and in order, the connection never
 * ends; both cards' own counters show the traffic. In the end host 2 vanishes (somebody else asks for that): each
 * connection, the one over both paths and one over a single card, is given up after the time of silence.
 */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/transport.h"

#define MEMORY	 MIB(4)
#define PIECE	 KIB(64)
#define WINDOW	 8u
#define SHARE	 MIB(2) /* of each path, before it counts as used */
#define LIMIT_NS (120 * NS_PER_S)
#define VANISHED_MAX_NS (2200 * NS_PER_MS)

enum { MSG_ECHO = 1, MSG_WIRE }; /* MSG_WIRE: 1 = mend it, 0 = cut it */

struct piece {
	struct swi_read rd;
	struct side *side;
	uint64_t at, posted_ns;
};

struct side { /* one transport of this process */
	struct swi_tp *tp;
	struct swi_conn *conn;
	uint8_t *mem;
	struct piece pieces[WINDOW];
	uint64_t reads, sent, echoed, next;
	uint64_t last_ns, gap_ns; /* of READs that ended */
	uint64_t slowest_ns;	  /* READ */
	uint64_t down_ns;
	int status;
};

static struct side both, single;
static struct swi_log logger;
static const char *cut_command, *mend_command;
static uint8_t *expected;

static uint64_t now(void)
{
	return swi_now(swi_env_real());
}

static void check(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "two_paths: not so: %s\n", what);
		exit(1);
	}
}

/* Not fork(): a copy of this process would take pages from under the card. */
static void set_wire(bool mend)
{
	extern char **environ;
	char *argv[] = {"sh", "-c", (char *)(mend ? mend_command : cut_command), NULL};
	pid_t pid;

	check(!posix_spawnp(&pid, "sh", NULL, NULL, argv, environ), "a command can be started");
}

static void on_up(void *ctx, struct swi_conn *c, bool inbound SWI_UNUSED)
{
	((struct side *)ctx)->conn = c;
}

static void on_msg(void *ctx, struct swi_conn *c, uint16_t type, const void *body, uint32_t len)
{
	struct side *s = ctx;
	uint64_t n;

	check(len == sizeof(n), "a message has its length");
	memcpy(&n, body, sizeof(n));
	if (expected) { /* the reader */
		check(type == MSG_ECHO && n == s->echoed, "echoes come once and in order");
		s->echoed++;
	} else if (type == MSG_WIRE) {
		set_wire(n);
	} else {
		check(!swi_conn_send(c, MSG_ECHO, &n, sizeof(n)), "an echo can be sent");
	}
}

static void on_down(void *ctx, struct swi_conn *c SWI_UNUSED, int status)
{
	struct side *s = ctx;

	if (!expected) /* the owner has several, of which some end */
		return;
	s->conn = NULL;
	s->down_ns = now();
	s->status = status;
}

static void open_side(struct side *s, const char *device, const char *bind)
{
	const struct swi_tp_handler h = {.ctx = s, .up = on_up, .msg = on_msg, .down = on_down};
	struct swi_tp_opts o = {.backend = "verbs", .device = device, .bind = bind, .node = bind ? 2 : 1};
	char why[256];

	swi_log_init(&logger, "two_paths");
	if (!getenv("SWARM_LOG"))
		logger.level = SWI_LOG_INFO;
	s->mem = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(s->mem != MAP_FAILED, "there is memory");
	const int rc = swi_tp_open(&o, swi_env_real(), &logger, &h, &s->tp, why, sizeof(why));

	if (rc)
		fprintf(stderr, "two_paths: %s\n", why);
	check(!rc, "the transport opens");
	check(!swi_tp_register(s->tp, 0, s->mem, MEMORY, -1), "memory is registered");
}

static void fill(uint8_t *p)
{
	for (uint64_t i = 0; i < MEMORY; i++)
		p[i] = (uint8_t)(i * 2654435761u >> 11);
}

static void post(struct piece *p);

static void on_read(struct swi_read *rd, int status)
{
	struct piece *p = swi_container_of(rd, struct piece, rd);
	struct side *s = p->side;
	const uint64_t t = now();

	if (status) { /* only at the very end */
		check(swi_conn_peer(rd->conn)->node == 2, "a peer is who it is");
		return;
	}
	check(!memcmp(s->mem + (uint64_t)(p - s->pieces) * PIECE, expected + p->at, PIECE),
	      "the bytes are those of the owner");
	s->reads++;
	s->slowest_ns = swi_max_u64(s->slowest_ns, t - p->posted_ns);
	if (s->last_ns)
		s->gap_ns = swi_max_u64(s->gap_ns, t - s->last_ns);
	s->last_ns = t;
	post(p);
}

static void post(struct piece *p)
{
	struct side *s = p->side;

	if (!s->conn)
		return;
	p->at = s->next++ * 12288 % (MEMORY - PIECE);
	p->rd.cb = on_read;
	p->posted_ns = now();
	(void)swi_conn_read(s->conn, 0, p->at, s->mem + (uint64_t)(p - s->pieces) * PIECE, PIECE, &p->rd);
}

static void turn(struct side *s, bool sleep)
{
	struct pollfd pfd = {.fd = swi_tp_fd(s->tp), .events = POLLIN};
	const int n = swi_tp_progress(s->tp);

	check(n >= 0, "the transport works");
	if (s->conn && expected && s->sent == s->echoed &&
	    !swi_conn_send(s->conn, MSG_ECHO, &s->sent, sizeof(s->sent)))
		s->sent++;
	if (!n && sleep && swi_tp_arm(s->tp))
		(void)poll(&pfd, 1, 5);
}

static void run_ms(uint64_t ms)
{
	const uint64_t until = now() + ms * NS_PER_MS;

	while (now() < until) {
		turn(&both, true);
		if (single.tp)
			turn(&single, false);
	}
}

/* Until both paths are up (or one is not). */
static void wait_legs(uint32_t path, uint32_t want, const char *what)
{
	const uint64_t until = now() + LIMIT_NS;
	struct swi_path_info p[2];

	do {
		run_ms(20);
		check(now() < until && both.conn, what);
		check(swi_tp_paths(both.tp, p, 2) == 2, "there are two paths");
	} while (p[path].legs != want);
}

static uint64_t counter(const char *device)
{
	char path[200], text[40] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/hw_counters/rcvd_pkts", device);
	fd = open(path, O_RDONLY);
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	if (fd >= 0)
		close(fd);
	return strtoull(text, NULL, 10);
}

static void both_are_used(void)
{
	const char *const cards[] = {"rxe0", "rxe1"};
	uint64_t packets[2];
	struct swi_path_info p[2], q[2];
	const uint64_t until = now() + LIMIT_NS;

	for (int i = 0; i < 2; i++)
		packets[i] = counter(cards[i]);
	(void)swi_tp_paths(both.tp, p, 2);
	do {
		run_ms(500);
		check(now() < until, "both paths are used");
		(void)swi_tp_paths(both.tp, q, 2);
	} while (q[0].read_bytes - p[0].read_bytes < SHARE || q[1].read_bytes - p[1].read_bytes < SHARE);
	for (int i = 0; i < 2; i++) {
		packets[i] = counter(cards[i]) - packets[i];
		q[i].read_bytes -= p[i].read_bytes;
		printf("two_paths: %s: %llu KiB read, %llu packets in by the card's own count\n", q[i].device,
		       (unsigned long long)q[i].read_bytes / 1024, (unsigned long long)packets[i]);
	}
	for (int i = 0; i < 2; i++)
		check(packets[i] > q[i].read_bytes / 4096 / 2, "the card counted it as well");
}

static void say_gap(const char *what)
{
	struct swi_path_info p[2];

	(void)swi_tp_paths(both.tp, p, 2);
	printf("two_paths: %s: longest pause between READs %llu ms, slowest READ %llu ms, %llu READs so far, posted again %llu + %llu\n", what,
	       (unsigned long long)(both.gap_ns / NS_PER_MS), (unsigned long long)(both.slowest_ns / NS_PER_MS), (unsigned long long)both.reads,
	       (unsigned long long)p[0].reposted, (unsigned long long)p[1].reposted);
	check(both.conn != NULL, "the connection lives");
	check(both.gap_ns < 2000 * NS_PER_MS, "it went on in time");
	both.gap_ns = both.last_ns = both.slowest_ns = 0;
}

static void remote_wire(uint64_t mend)
{
	check(!swi_conn_send(both.conn, MSG_WIRE, &mend, sizeof(mend)), "the other host can be asked");
}

static void connect_side(struct side *s, const char *addr)
{
	const uint64_t until = now() + LIMIT_NS;
	struct swi_conn *c;

	while (!s->conn) { /* the other host may still be booting */
		s->status = 0;
		check(!swi_tp_connect(s->tp, addr, NULL, &c), "one can connect");
		while (!s->conn && !s->status)
			turn(s, true);
		check(now() < until, "somebody answers");
	}
	for (uint32_t i = 0; i < WINDOW; i++) {
		s->pieces[i].side = s;
		post(&s->pieces[i]);
	}
}

static void vanished(const struct side *s, const char *what)
{
	printf("two_paths: %s: told %llu ms after the last sign of life (%s)\n", what,
	       (unsigned long long)((s->down_ns - s->last_ns) / NS_PER_MS), swarm_errname(s->status));
	check(s->down_ns - s->last_ns <= VANISHED_MAX_NS, "a vanished host is noticed in time");
}

static int run_reader(const char *addr)
{
	const uint64_t until = now() + 2 * LIMIT_NS;

	expected = malloc(MEMORY);
	check(expected != NULL, "there is memory");
	fill(expected);
	open_side(&both, "rxe0:1,rxe1:1", NULL);
	connect_side(&both, addr);
	wait_legs(1, 1, "the second path comes up");
	both_are_used();
	say_gap("undisturbed");
	remote_wire(0);
	wait_legs(0, 0, "the first wire is dead and its path given up");
	run_ms(1000);
	say_gap("the first wire cut at the other host");
	remote_wire(1);
	wait_legs(0, 1, "the path comes back");
	both_are_used();
	say_gap("mended, and used again");
	set_wire(false);
	wait_legs(1, 0, "our second link is down and its path given up");
	run_ms(1000);
	say_gap("our second link down");
	open_side(&single, "rxe0", NULL);
	connect_side(&single, addr);
	run_ms(500);
	printf("two_paths: ready\n");
	fflush(stdout);
	single.last_ns = both.last_ns = 0;
	while ((both.conn || single.conn) && now() < until)
		run_ms(10);
	check(!both.conn && !single.conn, "both are told that the host has vanished");
	vanished(&single, "host vanished, one card");
	vanished(&both, "host vanished, two cards");
	swi_tp_close(single.tp);
	swi_tp_close(both.tp);
	return 0;
}

static _Noreturn void run_owner(const char *addr)
{
	open_side(&both, "rxe0:1,rxe1:1", addr);
	fill(both.mem);
	for (;;)
		turn(&both, true); /* until this host is killed */
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	cut_command = argc > 3 ? argv[3] : "";
	mend_command = argc > 4 ? argv[4] : "";
	if (argc == 5 && !strcmp(argv[1], "owner"))
		run_owner(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "reader"))
		return run_reader(argv[2]);
	fprintf(stderr, "usage: %s owner ADDR CUT MEND | reader ADDR CUT\n", argv[0]);
	return 2;
}
