/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_crash.c - a peer in a process of its own, killed or stopped in the middle of READs.
 * The peer is this same program, run with "serve" behind its other arguments; it prints its
 * address.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf.h"

#define SERVED MIB(8)

/* The peer: serves READs until it is killed or its standard output has no reader. */
void conf_serve(void)
{
	struct node b;

	node_open(&b, &(struct node_opts){.node = 2, .mem = SERVED, .listen = true});
	conf_fill(b.mem, b.len, 1);
	printf("%s\n", swi_tp_address(b.tp));
	fflush(stdout);
	conf_idle_ms(120000);
	exit(0);
}

static pid_t start_peer(char *addr, size_t len)
{
	int p[2];

	CHECK_EQ(pipe(p), 0);
	const pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		dup2(p[1], 1);
		close(p[0]);
		close(p[1]);
		execl("/proc/self/exe", "test_conformance", conf.backend, conf.bind, "0", "serve",
		      (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	FILE *f = fdopen(p[0], "r");

	CHECK(f && fgets(addr, (int)len, f));
	addr[strcspn(addr, "\n")] = 0;
	fclose(f);
	return pid;
}

static void end_peer(pid_t pid)
{
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

struct stream { /* READs without end, until told */
	struct node *a;
	bool enough;
	struct read reads[16];
	uint32_t posted, over;
	uint64_t heard_ns; /* the last sign of life that was seen here */
};

static void stream_cb(struct swi_read *rd, int status)
{
	struct stream *s = rd->owner;

	s->over++;
	if (!status)
		s->heard_ns = conf_now();
	if (!status && s->a->conn && !s->enough &&
	    !swi_conn_read(s->a->conn, 0, 0, s->a->mem, KIB(256), rd))
		s->posted++;
}

static bool up(void *ctx)
{
	return ((struct node *)ctx)->ups > 0;
}

static bool many_over(void *ctx)
{
	return ((struct stream *)ctx)->over >= 200;
}

static bool down(void *ctx)
{
	return ((struct node *)ctx)->downs > 0;
}

/* From the signal to the news of it; @out_quiet_ns: from the last sign of life to that. */
static uint64_t lose_peer(int sig, uint64_t silence_ns, int want, uint64_t *out_quiet_ns)
{
	static struct stream s;
	struct swi_conn *c;
	struct node a;
	char addr[64];
	const pid_t pid = start_peer(addr, sizeof(addr));

	memset(&s, 0, sizeof(s));
	node_open(&a, &(struct node_opts){.mem = KIB(256), .silence_ns = silence_ns});
	CHECK_EQ(swi_tp_connect(a.tp, addr, NULL, &c), 0);
	conf_wait(up, &a);
	s.a = &a;
	for (int i = 0; i < 16; i++) {
		read_init(&s.reads[i]);
		s.reads[i].rd.cb = stream_cb;
		s.reads[i].rd.owner = &s;
		CHECK_EQ(swi_conn_read(c, 0, 0, a.mem, KIB(256), &s.reads[i].rd), 0);
		s.posted++;
	}
	conf_wait(many_over, &s);
	CHECK(conf_same(a.mem, KIB(256), 1, 0));
	const uint64_t t0 = conf_now();

	kill(pid, sig);
	s.enough =
	    sig == SIGSTOP; /* a card serves READs for a process that is stopped: no silence */
	conf_wait(down, &a);
	const uint64_t ns = conf_now() - t0;

	*out_quiet_ns = conf_now() - s.heard_ns;
	CHECK_EQ(s.over, s.posted);
	CHECK_EQ(a.downs, 1);
	/*
	 * A kernel that cleans up after a process may end its memory windows before its queue pairs: a
	 * READ in between is refused before the connection is seen to end.
	 */
	if (sig != SIGKILL || !conf.cards ||
	    a.down_status != SWARM_EREMOTEACCESS)
		CHECK_EQ(a.down_status, want);
	CHECK_EQ(swi_tp_counters(a.tp)->reads_posted, swi_tp_counters(a.tp)->reads_done);
	node_close(&a);
	end_peer(pid);
	return ns;
}

void test_crash(void)
{
	uint64_t quiet;
	const uint64_t killed = lose_peer(SIGKILL, 0, SWARM_EPEERLOST, &quiet);

	printf("   killed peer noticed after %.1f ms\n", (double)killed / NS_PER_MS);
	CHECK(killed < 1000 * TEST_PATIENCE * NS_PER_MS);
	const uint64_t stopped = lose_peer(SIGSTOP, 500 * NS_PER_MS, SWARM_ESILENT, &quiet);

	printf("   stopped peer noticed after %.1f ms (limit 500)\n", (double)stopped / NS_PER_MS);
	CHECK(quiet >= 400 * NS_PER_MS && stopped < 2000 * TEST_PATIENCE * NS_PER_MS);
}
