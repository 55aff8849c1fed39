/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.c - the conformance suite of the backends.
 *
 *	test_conformance BACKEND [BIND-ADDRESS [BYTES-OF-THE-LARGEST-READ [rounds N]]]
 *
 * The same tests for every backend; CONF_ONLY=NAME runs one part. Exit 0: all passed; 1: one failed;
 * 77: the backend has no device here, and the last line says why.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf.h"
#include "tests/patience.h"

struct conf conf;

static struct node *nodes[16];
static uint32_t node_count;

_Noreturn void conf_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "FAILED %s (%s) at %s:%d: %s\n", conf.test, conf.backend, file, line, what);
	exit(1);
}

_Noreturn void conf_fail_eq(const char *file, int line, const char *what, long long a, long long b)
{
	fprintf(stderr, "FAILED %s (%s) at %s:%d: %s: %lld (%s) and %lld (%s)\n", conf.test,
		conf.backend, file, line, what, a, swarm_errname((int)a), b, swarm_errname((int)b));
	exit(1);
}

static void on_up(void *ctx, struct swi_conn *c, bool inbound)
{
	struct node *n = ctx;

	n->conn = c;
	n->ups++;
	if (n->conn_count < SWI_ARRAY_LEN(n->conns))
		n->conns[n->conn_count++] = c;
	if (n->on_up)
		n->on_up(n, c, inbound);
}

static void on_msg(void *ctx, struct swi_conn *c, uint16_t type, const void *body, uint32_t len)
{
	struct node *n = ctx;

	n->msgs++;
	if (n->on_msg)
		n->on_msg(n, c, type, body, len);
}

static void on_down(void *ctx, struct swi_conn *c, int status)
{
	struct node *n = ctx;

	n->downs++;
	n->down_status = status;
	if (n->conn == c)
		n->conn = NULL;
	for (uint32_t i = 0; i < n->conn_count; i++)
		if (n->conns[i] == c)
			n->conns[i] = n->conns[--n->conn_count];
	if (n->on_down)
		n->on_down(n, c, status);
}

/* @len bytes of address space over one small memory, or over one of its own. */
static uint8_t *map(uint64_t len, bool alias, int *out_memfd)
{
	const int fd = memfd_create("conformance", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t *p;

	CHECK(fd >= 0 && !ftruncate(fd, (off_t)(alias ? CONF_ALIAS : len)));
	CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	*out_memfd = fd;
	if (!alias) {
		p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CHECK(p != MAP_FAILED);
		return p;
	}
	CHECK(len % CONF_ALIAS == 0);
	p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	for (uint64_t off = 0; off < len; off += CONF_ALIAS)
		CHECK(mmap(p + off, CONF_ALIAS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			   0) != MAP_FAILED);
	return p;
}

void node_open(struct node *n, const struct node_opts *o)
{
	const struct swi_tp_handler h = {.ctx = n, .up = on_up, .msg = on_msg, .down = on_down};
	struct swi_tp_opts t = {
	    .backend = conf.backend,
	    .bind = o->listen ? (o->bind ? o->bind : conf.bind) : NULL,
	    .param = conf.param,
	    .node = o->node,
	    .epoch = o->epoch,
	    .connect_timeout_ns = o->connect_ns,
	    .silence_timeout_ns = o->silence_ns,
	};
	char why[256];

	memset(n, 0, sizeof(*n));
	memset(t.key, o->key, sizeof(t.key));
	swi_log_init(&n->log, "conformance");
	if (!getenv("SWARM_LOG"))
		n->log.level = SWI_LOG_NONE; /* hostile peers are the daily bread here */
	const int rc = swi_tp_open(&t, conf.env, &n->log, &h, &n->tp, why, sizeof(why));

	if (rc == SWARM_ENOTRANSPORT) {
		printf("skipped: %s: %s\n", conf.backend, why);
		exit(77);
	}
	if (rc)
		conf_fail(__FILE__, __LINE__, why);
	if (o->mem) {
		n->len = o->mem;
		n->mem = map(n->len, o->alias, &n->memfd);
		CHECK_EQ(swi_tp_register(n->tp, SWI_REGION_ARENA, n->mem, n->len, n->memfd), 0);
	}
	CHECK(node_count < SWI_ARRAY_LEN(nodes));
	nodes[node_count++] = n;
}

void node_close(struct node *n)
{
	for (uint32_t i = 0; i < node_count; i++)
		if (nodes[i] == n)
			nodes[i] = nodes[--node_count];
	swi_tp_close(n->tp);
	if (n->mem) {
		munmap(n->mem, n->len);
		close(n->memfd);
	}
	memset(n, 0, sizeof(*n));
}

uint64_t conf_now(void)
{
	return swi_now(conf.env);
}

/* Sleeps as a daemon would: until a descriptor is readable or a time limit of the transport ends.
 */
static void sleep_on_fds(uint64_t until)
{
	struct pollfd p[SWI_ARRAY_LEN(nodes)];
	uint64_t deadline = until;
	const uint64_t now = conf_now();

	for (uint32_t i = 0; i < node_count; i++) {
		if (!swi_tp_arm(nodes[i]->tp))
			return;
		p[i] = (struct pollfd){.fd = swi_tp_fd(nodes[i]->tp), .events = POLLIN};
		if (p[i].fd < 0)
			return;
		deadline = swi_min_u64(deadline, swi_tp_deadline_ns(nodes[i]->tp));
	}
	if (deadline > now)
		(void)poll(p, node_count, (int)((deadline - now) / NS_PER_MS + 1));
}

bool conf_wait_ms(bool (*done)(void *ctx), void *ctx, uint64_t limit_ms)
{
	const uint64_t until = conf_now() + limit_ms * NS_PER_MS;

	while (!done || !done(ctx)) {
		int n = conf_raw_progress();

		if (conf_now() >= until)
			return false;
		for (uint32_t i = 0; i < node_count; i++) {
			const int rc = swi_tp_progress(nodes[i]->tp);

			CHECK(rc >= 0);
			n += rc;
		}
		if (n)
			continue;
		if (conf.sim)
			conf_sim_step(nodes, node_count, until);
		else if (!conf_raw_open())
			sleep_on_fds(until);
	}
	return true;
}

void conf_wait(bool (*done)(void *ctx), void *ctx)
{
	if (!conf_wait_ms(done, ctx, 3 * TEST_LIMIT_MS))
		conf_fail(__FILE__, __LINE__, "nothing came of it within the time");
}

void conf_idle_ms(uint64_t ms)
{
	(void)conf_wait_ms(NULL, NULL, ms);
}

struct pair {
	struct node *a, *b;
	uint32_t ups_a, ups_b;
};

static bool both_up(void *ctx)
{
	const struct pair *p = ctx;

	return p->a->ups > p->ups_a && p->b->ups > p->ups_b;
}

struct swi_conn *conf_connect(struct node *a, struct node *b)
{
	struct pair p = {.a = a, .b = b, .ups_a = a->ups, .ups_b = b->ups};
	struct swi_conn *c;

	CHECK_EQ(swi_tp_connect(a->tp, swi_tp_address(b->tp), NULL, &c), 0);
	conf_wait(both_up, &p);
	return c;
}

static bool is_down(void *ctx)
{
	return ((struct node *)ctx)->downs > 0;
}

void conf_connect_fails(struct node *a, const char *addr, int *out_status)
{
	struct swi_conn *c;

	a->downs = 0;
	CHECK_EQ(swi_tp_connect(a->tp, addr, NULL, &c), 0);
	conf_wait(is_down, a);
	*out_status = a->down_status;
}

void conf_fill(uint8_t *p, uint64_t len, uint64_t seed)
{
	for (uint64_t i = 0; i + 8 <= len; i += 8) {
		const uint64_t v = (seed + i) * 0x9e3779b97f4a7c15ull;

		memcpy(p + i, &v, 8);
	}
}

bool conf_same(const uint8_t *p, uint64_t len, uint64_t seed, uint64_t at)
{
	uint64_t i = 0;

	for (; i < len && (at + i) % 8; i++) {
		const uint64_t v = (seed + swi_align_down(at + i, 8)) * 0x9e3779b97f4a7c15ull;

		if (p[i] != (uint8_t)(v >> 8 * ((at + i) % 8)))
			return false;
	}
	for (; i + 8 <= len; i += 8) {
		const uint64_t v = (seed + at + i) * 0x9e3779b97f4a7c15ull;

		if (memcmp(p + i, &v, 8))
			return false;
	}
	for (; i < len; i++) {
		const uint64_t v = (seed + swi_align_down(at + i, 8)) * 0x9e3779b97f4a7c15ull;

		if (p[i] != (uint8_t)(v >> 8 * ((at + i) % 8)))
			return false;
	}
	return true;
}

static void read_cb(struct swi_read *rd, int status)
{
	struct read *r = swi_container_of(rd, struct read, rd);

	r->status = status;
	r->calls++;
}

void read_init(struct read *r)
{
	memset(r, 0, sizeof(*r));
	r->rd.cb = read_cb;
}

static bool read_over(void *ctx)
{
	return ((struct read *)ctx)->calls > 0;
}

int read_sync(struct node *a, struct swi_conn *c, uint64_t remote, uint64_t local, uint64_t len)
{
	struct read r;

	read_init(&r);
	const int rc = swi_conn_read(c, SWI_REGION_ARENA, remote, a->mem + local, len, &r.rd);

	if (rc)
		return rc;
	CHECK_EQ(r.calls, 0); /* never from inside the call */
	conf_wait(read_over, &r);
	CHECK_EQ(r.calls, 1);
	return r.status;
}

uint32_t conf_fd_count(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint32_t n = 0;

	CHECK(d != NULL);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void run(const char *name, void (*test)(void))
{
	const uint64_t t0 = swi_now(swi_env_real());
	const char *only = getenv("CONF_ONLY");

	if (only && strcmp(only, name) != 0)
		return;
	conf.test = name;
	test();
	CHECK_EQ(node_count, 0);
	printf("ok %s %s (%llu ms)\n", conf.backend, name,
	       (unsigned long long)((swi_now(swi_env_real()) - t0) / NS_PER_MS));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s verbs|ofi|shm|sim|fault|paths [HOST:PORT [BYTES]]\n", argv[0]);
		return 2;
	}
	conf.backend = argv[1];
	conf.bind = argc > 2 ? argv[2] : "127.0.0.1:0";
	conf.big = argc > 3 ? strtoull(argv[3], NULL, 0) : MIB(16);
	conf.env = swi_env_real();
	conf_setup();
	if (argc > 4 && !strcmp(argv[4], "serve"))
		conf_serve();
	if (argc > 5 && !strcmp(argv[4], "rounds")) {
		conf.test = "rounds";
		conf_rounds((uint32_t)strtoul(argv[5], NULL, 0));
		conf_teardown();
		return 0;
	}
	run("basic", test_basic);
	run("reads", test_reads);
	run("messages", test_msgs);
	run("hostile", test_hostile);
	run("ends", test_ends);
	run("addrs", test_addrs);
	if (conf.two_processes)
		run("crash", test_crash);

	conf_teardown();
	return 0;
}
