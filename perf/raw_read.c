/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_read.c - what a READ costs through the transport's front door, between two processes of this
 * host: latency of one at a time, and bandwidth with many in flight. The baseline of the store's
 * figures; not installed. Both processes spin, as fi_rma_bw and ib_read_bw do; -e makes both sleep
 * on descriptors.
 */
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/transport.h"

#define DEPTH_MAX 256u
#define READS_MAX 20000u /* of one row */
#define LAT_MAX   5000u

struct side {
	struct swi_tp *tp;
	struct swi_log log;
	uint8_t *mem;
	struct swi_conn *conn;
	bool down;
};

struct run {
	struct side *s;
	uint64_t size, left, done, window;
	struct swi_read reads[DEPTH_MAX];
};

static const char *backend = "auto";
static const char *bind_addr = "127.0.0.1:0";
static bool events;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "raw_read: %s\n", what);
	exit(1);
}

static void on_up(void *ctx, struct swi_conn *c, bool inbound SWI_UNUSED)
{
	((struct side *)ctx)->conn = c;
}

static void on_down(void *ctx, struct swi_conn *c SWI_UNUSED, int status SWI_UNUSED)
{
	((struct side *)ctx)->down = true;
}

static void open_side(struct side *s, bool listens, uint64_t len)
{
	const struct swi_tp_handler h = {.ctx = s, .up = on_up, .down = on_down};
	const struct swi_tp_opts o = {.backend = backend, .bind = listens ? bind_addr : NULL};
	char why[256];

	swi_log_init(&s->log, "raw_read");
	if (swi_tp_open(&o, swi_env_real(), &s->log, &h, &s->tp, why, sizeof(why)))
		die(why);
	const int fd = memfd_create("raw_read", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)len) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		die("out of memory");
	s->mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (s->mem == MAP_FAILED)
		die("out of memory");
	memset(s->mem, listens ? 0x5a : 0, len);
	if (swi_tp_register(s->tp, SWI_REGION_ARENA, s->mem, len, fd))
		die("cannot register the memory");
}

static void step(struct side *s)
{
	if (swi_tp_progress(s->tp) || !events || !swi_tp_arm(s->tp))
		return;
	struct pollfd p = {.fd = swi_tp_fd(s->tp), .events = POLLIN};

	if (p.fd >= 0)
		(void)poll(&p, 1, 500);
}

static void serve(int fd, uint64_t len)
{
	struct side s = {0};

	open_side(&s, true, len);
	const char *addr = swi_tp_address(s.tp);

	if (write(fd, addr, strlen(addr) + 1) < 0)
		die("the other process is gone");
	while (!s.down)
		step(&s);
	swi_tp_close(s.tp);
	exit(0);
}

static void read_cb(struct swi_read *rd, int status)
{
	struct run *r = rd->owner;
	const uint64_t slot = (uint64_t)(rd - r->reads);

	if (status)
		die(swarm_strerror(status));
	r->done++;
	if (!r->left)
		return;
	r->left--;
	if (swi_conn_read(r->s->conn, 0, slot * r->size % r->window,
			  r->s->mem + slot * r->size % r->window, r->size, rd))
		die("a READ was refused");
}

/* @n READs of @size with @depth in flight; the nanoseconds that they took. */
static uint64_t run(struct side *s, uint64_t size, uint32_t depth, uint64_t n, uint64_t window)
{
	static struct run r;
	const uint64_t t0 = swi_now(swi_env_real());

	memset(&r, 0, sizeof(r));
	r.s = s;
	r.size = size;
	r.window = window;
	r.left = n - swi_min_u64(n, depth);
	for (uint64_t i = 0; i < depth && i < n; i++) {
		r.reads[i] = (struct swi_read){.cb = read_cb, .owner = &r};
		if (swi_conn_read(s->conn, 0, i * size % window, s->mem + i * size % window, size,
				  &r.reads[i]))
			die("a READ was refused");
	}
	while (r.done < n)
		step(s);
	return swi_now(swi_env_real()) - t0;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void measure(struct side *s, uint64_t size, uint32_t depth, uint64_t budget, uint64_t window)
{
	static uint64_t lat[LAT_MAX];
	const uint64_t n = swi_max_u64(200, swi_min_u64(READS_MAX, budget / (size + 4096)));
	const uint64_t lat_n = swi_min_u64(n, LAT_MAX);

	(void)run(s, size, depth, n / 10 + 1, window);
	for (uint64_t i = 0; i < lat_n; i++)
		lat[i] = run(s, size, 1, 1, window);
	qsort(lat, lat_n, sizeof(lat[0]), by_value);
	const uint64_t ns = run(s, size, depth, n, window);

	printf("%10llu %8llu %10.2f %10.2f %12.1f\n", (unsigned long long)size,
	       (unsigned long long)n, (double)lat[lat_n / 2] / 1000,
	       (double)lat[lat_n * 99 / 100] / 1000, (double)(size * n) * 1000 / (double)ns);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const uint64_t sizes[] = {64, 4096, 16384, 65536, 262144, 1048576, 4194304};
	const uint64_t window = MIB(64);
	uint64_t size = 0, budget = MIB(512);
	uint32_t depth = 16;
	struct side s = {0};
	struct swi_conn *c;
	char addr[64] = "";
	int p[2];

	for (int o; (o = getopt(argc, argv, "t:b:s:o:n:e")) != -1;) {
		if (o == 't')
			backend = optarg;
		else if (o == 'b')
			bind_addr = optarg;
		else if (o == 's')
			size = strtoull(optarg, NULL, 0);
		else if (o == 'o')
			depth = (uint32_t)swi_min_u64(DEPTH_MAX, strtoul(optarg, NULL, 0));
		else if (o == 'n')
			budget = strtoull(optarg, NULL, 0);
		else if (o == 'e')
			events = true;
		else
			die("usage: raw_read [-t TRANSPORT] [-b HOST:PORT] [-s BYTES] [-o "
			    "IN-FLIGHT] [-n BYTES-A-ROW] [-e]");
	}
	if (!depth || size > MIB(4) || pipe(p))
		die("bad options");
	const pid_t pid = fork();

	if (!pid)
		serve(p[1], window + MIB(4));
	if (read(p[0], addr, sizeof(addr) - 1) <= 0)
		die("the other process is gone");
	open_side(&s, false, window + MIB(4));
	if (swi_tp_connect(s.tp, addr, NULL, &c))
		die("cannot connect");
	while (!s.conn && !s.down)
		step(&s);
	if (s.down)
		die("cannot connect");
	printf("# transport %s (%s), %u in flight, %s\n", swi_tp_backend(s.tp), swi_tp_device(s.tp),
	       depth, events ? "sleeping" : "spinning");
	printf("# %8s %8s %10s %10s %12s\n", "bytes", "reads", "p50 [us]", "p99 [us]", "MB/s");
	for (size_t i = 0; i < SWI_ARRAY_LEN(sizes); i++)
		if (!size || size == sizes[i])
			measure(&s, sizes[i], depth, budget, window);
	if (s.mem[0] != 0x5a)
		die("wrong bytes");
	swi_tp_close(s.tp);
	(void)waitpid(pid, NULL, 0);
	return 0;
}
