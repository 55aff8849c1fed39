/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_broadcast - N nodes get one object at the same moment: how long until all have it, bytes a second over all, and
 * how many copies the source sent. Each reader is a store in a process of its own; all know one another.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/common/bench.h"

#define READERS_MAX 32u
#define ARENA	    MIB(512)
#define GET_NS	    (120 * NS_PER_S)
#define FIRST_NODE  100u

struct bc_opts {
	struct perf_opts c;
	uint32_t readers;
};

struct bc_reader {
	pid_t pid;
	int fd;
	char address[128];
};

struct bc {
	const struct bc_opts *o;
	struct perf_rig rig;
	struct bc_reader reader[READERS_MAX];
	uint32_t n;
	uint64_t set, size;
};

struct order { /* from the parent to a reader, over their socket */
	char peer[128]; /* join this one; "" = get */
	uint64_t set, size;
	uint32_t home;
	bool check;
};

struct answer {
	uint64_t begin, end; /* [ns], the clock that all processes of the host share */
	uint64_t from_source; /* bytes that READs brought from the source */
	int64_t status;
};

/* ---- a reader ---- */

/* The source cannot count: nothing of it runs when its memory is READ. */
static uint64_t read_from(struct swarm_store *st, uint32_t node)
{
	uint64_t bytes = 0;
	json_t *doc, *peer;
	char *text;
	size_t i;

	if (swarm_store_status(st, &text))
		return 0;
	doc = json_loads(text, 0, NULL);
	json_array_foreach (json_object_get(doc, "peers"), i, peer)
		if (json_integer_value(json_object_get(peer, "node")) == (json_int_t)node)
			bytes += (uint64_t)json_integer_value(json_object_get(peer, "read_bytes"));
	json_decref(doc);
	free(text);
	return bytes;
}

static struct answer obey(struct swarm_store *st, const struct order *o)
{
	const uint64_t before = o->peer[0] ? 0 : read_from(st, o->home);
	struct answer a = {.begin = perf_now()};
	const struct swarm_ref ref = perf_ref(o->set, 0, o->home);
	struct swarm_view v;

	if (o->peer[0]) {
		a.status = swarm_store_peer(st, o->peer, 20 * NS_PER_S);
		return a;
	}
	a.status = swarm_store_get(st, ref, GET_NS, &v);
	a.end = perf_now();
	if (a.status)
		return a;
	if (v.len != o->size || (o->check && !perf_filled(v.data, v.len, ref)))
		a.status = SWARM_ECORRUPT;
	swarm_view_release(st, &v);
	a.from_source = read_from(st, o->home) - before;
	return a;
}

static _Noreturn void reader(const struct bc *b, uint32_t i, int fd, uint64_t arena)
{
	const struct perf_opts *o = &b->o->c;
	struct swarm_store *st;
	char bind[128], address[128] = "";
	struct order order;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("SWARM_LOG", "error", 0);
	snprintf(bind, sizeof(bind), "%s:0", o->bind ? o->bind : o->loopback ? "127.0.0.1" : "0.0.0.0");
	st = perf_open(o, arena, 0, NULL, bind, b->rig.key, FIRST_NODE + i);
	snprintf(address, sizeof(address), "%s", swarm_store_address(st));
	if (write(fd, address, sizeof(address)) != sizeof(address))
		_exit(1);
	while (read(fd, &order, sizeof(order)) == sizeof(order)) {
		const struct answer a = obey(st, &order);

		if (write(fd, &a, sizeof(a)) != sizeof(a))
			break;
	}
	swarm_store_close(st);
	_exit(0);
}

/* ---- the parent ---- */

static void start_reader(struct bc *b, uint32_t i, uint64_t arena)
{
	struct bc_reader *rd = &b->reader[i];
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd))
		perf_die(&b->o->c, "no more sockets can be had");
	fflush(NULL);
	rd->pid = fork();
	if (rd->pid < 0)
		perf_die(&b->o->c, "fork: %s", strerror(errno));
	if (!rd->pid) {
		for (uint32_t k = 0; k < i; k++)
			close(b->reader[k].fd);
		close(fd[0]);
		reader(b, i, fd[1], arena);
	}
	close(fd[1]);
	rd->fd = fd[0];
	b->n = i + 1;
	if (read(rd->fd, rd->address, sizeof(rd->address)) != sizeof(rd->address))
		perf_die(&b->o->c, "reader %u did not start", i + 1);
}

static void tell(struct bc *b, uint32_t i, const struct order *o)
{
	if (write(b->reader[i].fd, o, sizeof(*o)) != sizeof(*o))
		perf_die(&b->o->c, "reader %u is gone", i + 1);
}

static struct answer hear(struct bc *b, uint32_t i)
{
	struct answer a;

	if (read(b->reader[i].fd, &a, sizeof(a)) != sizeof(a))
		perf_die(&b->o->c, "reader %u is gone", i + 1);
	if (a.status)
		perf_die(&b->o->c, "reader %u: %s", i + 1, swarm_strerror((int)a.status));
	return a;
}

static void join_one(struct bc *b, uint32_t i, const char *address)
{
	struct order o = {.set = 0};

	snprintf(o.peer, sizeof(o.peer), "%s", address);
	tell(b, i, &o);
	(void)hear(b, i);
}

static void start_readers(struct bc *b, uint32_t n, uint64_t arena)
{
	for (uint32_t i = 0; i < n; i++)
		start_reader(b, i, arena);
}

/* All know all, this process too: who answers for a named object follows from who is known. */
static void join_readers(struct bc *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		perf_must(&b->o->c, swarm_store_peer(b->rig.st, b->reader[i].address, 20 * NS_PER_S), "joining");
		join_one(b, i, b->rig.server);
		for (uint32_t k = 0; k < i; k++)
			join_one(b, i, b->reader[k].address);
	}
}

static void end_readers(struct bc *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		close(b->reader[i].fd);
		kill(b->reader[i].pid, SIGKILL);
		waitpid(b->reader[i].pid, NULL, 0);
	}
	b->n = 0;
}

/* One broadcast: all readers begin together; over when the last has the object. Returns copies sent by the source. */
static double once(struct bc *b, struct perf_hist *h, struct perf_arm *arm, uint64_t *out_ns)
{
	const struct order o = {.set = b->set++, .size = b->size, .home = PERF_SERVER_NODE,
				.check = b->o->c.check_data};
	uint64_t sent = 0, begin = UINT64_MAX, end = 0;

	perf_make(&b->rig, o.set, 1, b->size);
	for (uint32_t i = 0; i < b->n; i++)
		tell(b, i, &o);
	for (uint32_t i = 0; i < b->n; i++) {
		const struct answer a = hear(b, i);

		begin = swi_min_u64(begin, a.begin);
		end = swi_max_u64(end, a.end);
		sent += a.from_source;
		if (h)
			perf_hist_add(h, a.end - a.begin);
		if (arm)
			perf_arm_sample(arm, a.end - a.begin);
	}
	perf_drop(&b->rig, o.set, 1);
	*out_ns = end - begin;
	return (double)sent / (double)b->size;
}

/* As many broadcasts as were asked for, one after the other. Returns the mean of the copies that the source sent. */
static double one_run(struct bc *b, struct perf_arm *arm, struct perf_hist *h)
{
	const struct perf_opts *o = &b->o->c;
	const uint64_t end = o->duration_ns ? perf_now() + o->duration_ns : 0;
	uint64_t all = 0, n = 0, ns;
	double copies = 0;

	do {
		copies += once(b, h, arm, &ns);
		all += ns;
		n++;
	} while (end ? perf_now() < end : n < o->iters);
	perf_arm_run(arm, PERF_BW, h, n * b->n, n * b->n * b->size, all);
	return copies / (double)n;
}

static void row_of(struct bc *b, struct perf_report *r)
{
	static struct perf_hist h;
	const struct perf_opts *o = &b->o->c;
	struct perf_row *row = perf_row_new(PERF_BW, "broadcast", b->size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", perf_samples(o, (uint64_t)o->iters * b->n));
	struct perf_bases bases;
	double copies[PERF_RUNS_MAX];
	struct perf_spread s;
	uint64_t ns;

	perf_bases_open(&bases, &b->rig, row, b->size, 0, 0);
	for (uint32_t i = 0; i < swi_max_u64(o->warmup, 1); i++)
		(void)once(b, NULL, NULL, &ns);
	for (uint32_t i = 0; i < o->runs; i++) {
		perf_hist_init(&h);
		copies[i] = one_run(b, arm, &h);
		perf_bases_run(&bases, row, o->depth ? o->depth : 1,
			       swi_max_u64(1, swi_min_u64(64, MIB(64) / b->size)));
	}
	perf_bases_close(&bases);
	s = perf_spread_of(copies, o->runs);
	row->extra = json_pack("{s:i, s:f, s:f, s:f}", "readers", (int)b->n, "source_copies", s.median,
			       "source_copies_min", s.min, "source_copies_max", s.max);
	perf_report_row(r, row);
	perf_report_note(r, "            %u readers, the source sent %.2f copies (%.2f .. %.2f)", b->n, s.median,
			 s.min, s.max);
}

static const struct swt_opt options[] = {
	{"readers", 'N', SWT_U32, offsetof(struct bc_opts, readers), "N", "nodes that get it (default 4)", NULL},
	PERF_OPT_SIZE(struct bc_opts, c),
	PERF_OPT_AMOUNT(struct bc_opts, c),
	PERF_OPT_DEPTH(struct bc_opts, c),
	PERF_OPT_NET(struct bc_opts, c),
	PERF_OPT_ARENA(struct bc_opts, c),
	PERF_OPT_LATENCY(struct bc_opts, c),
	PERF_OPT_UNSORTED(struct bc_opts, c),
	PERF_OPT_OUTPUT(struct bc_opts, c),
	PERF_OPT_NOT(struct bc_opts, c, 8, "outs", 'o', "N", "one object at a time is what all get"),
	PERF_OPT_NOT(struct bc_opts, c, 9, "threads", 0, "N", "each reader is a process; --readers says how many"),
	PERF_OPT_NOT_FLAG(struct bc_opts, c, 10, "bidirectional", 'b', "the bytes go from one to many"),
	PERF_OPT_NOT_FLAG(struct bc_opts, c, 11, "events", 'e', "each reader waits for its one object"),
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_broadcast",
	.summary = "Measures one object that many nodes get at once. Without HOST: the source.",
	.args = "[HOST]",
	.args_max = 1,
	.opts = options,
};

int main(int argc, char **argv)
{
	static const uint64_t few[] = {MIB(1), MIB(16)};
	struct bc_opts o = {.readers = 4};
	struct bc b = {.o = &o, .set = PERF_SET_FIRST};
	uint64_t largest = 0, arena;
	struct perf_report *r;
	int rc = perf_opts_parse(&command, argc, argv, &o, &o.c);

	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	if (o.readers < 1 || o.readers > READERS_MAX)
		return swt_error(&command, SWT_USAGE, "--readers=%u: expected 1 to %u", o.readers, READERS_MAX);
	if (!o.c.iters)
		o.c.iters = 1;
	if (!o.c.size_count) {
		memcpy(o.c.size, few, sizeof(few));
		o.c.size_count = SWI_ARRAY_LEN(few);
	}
	for (uint32_t i = 0; i < o.c.size_count; i++)
		largest = swi_max_u64(largest, o.c.size[i]);
	arena = swi_align_up(swi_max_u64(MIB(16), 3 * swi_extent_bytes(largest)), SWI_PAGE);
	if (!o.c.host && !o.c.loopback)
		return perf_serve(&o.c, o.c.arena_bytes ? o.c.arena_bytes : ARENA, NULL, -1);
	perf_rig_start(&b.rig, &o.c, swi_max_u64(arena, MIB(64)));
	start_readers(&b, o.readers, arena); /* before this process has threads */
	perf_rig_open(&b.rig, MIB(8));
	join_readers(&b);
	r = perf_report_new(&o.c, "Swarm broadcast");
	perf_describe(r, &b.rig);
	perf_report_set(r, "readers", json_integer(b.n));
	for (uint32_t i = 0; i < o.c.size_count; i++) {
		b.size = o.c.size[i];
		row_of(&b, r);
	}
	end_readers(&b);
	perf_rig_end(&b.rig);
	return perf_report_end(r);
}
