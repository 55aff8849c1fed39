/* SPDX-License-Identifier: Apache-2.0 */
/*
 * two_hosts.c - a host that vanishes. On host 2, `test_two_hosts owner ADDR` lets itself be read.
 * On host 1, `test_two_hosts reader ADDR OUT` reads without pause, asks for host 2 to be killed,
 * and must be told: one down(), one read_done() for every READ, closed(), nothing left behind.
 */
#include <fcntl.h>
#include <unistd.h>

#include "be_rig.h"

#define MEMORY   MIB(4)
#define PIECE    65536u
#define WINDOW   96u /* more than the card takes: some wait in the backend when the host dies */
#define BEFORE   300u
#define LIMIT_NS (90 * NS_PER_S)

struct piece {
	struct swi_be_read rd;
	uint64_t posted, done;
};

static struct {
	struct piece pieces[WINDOW];
	uint64_t good, failed;
} me;

static void check(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "two_hosts: not so: %s\n", what);
		exit(1);
	}
}

static void post_piece(struct piece *p)
{
	rig_post(&p->rd);
	p->posted++;
}

static void on_read(struct swi_be_read *rd, int status)
{
	struct piece *p = swi_container_of(rd, struct piece, rd);

	p->done++;
	check(p->done == p->posted, "a read ends once");
	if (status) {
		check(rig.down == 1, "down() comes before the first failed read");
		me.failed++;
		return;
	}
	me.good++;
	if (!rig.down)
		post_piece(p);
}

/* One turn; sleeps until something comes. */
static void turn(uint64_t end)
{
	const int n = rig_turn();

	check(swi_now(swi_env_real()) < end, "it ends in time");
	if (!n)
		rig_sleep();
}

static _Noreturn void run_owner(const char *addr)
{
	rig_open("two_hosts", addr, MEMORY, on_read);
	memset(rig.mr.addr, 0x42, MEMORY);
	for (uint64_t end = swi_now(swi_env_real()) + LIMIT_NS;;)
		turn(end); /* until this host is killed; its end in time is a failure */
}

/* The other host may still be booting: try until it answers. */
static void connect_to(const char *addr, uint64_t end)
{
	while (!rig.offers) {
		const uint32_t closed = rig.closed;

		rig_connect(addr);
		while (!rig.offers && rig.closed == closed)
			turn(end);
		rig.down = rig.offers ? rig.down : 0;
	}
}

static void ask_for_the_kill(const char *out)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/kill-2", out);
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	check(fd >= 0, "the kill can be asked for");
	close(fd);
}

static int run_reader(const char *addr, const char *out)
{
	uint64_t end = swi_now(swi_env_real()) + LIMIT_NS, asked;
	const struct swi_verbs_counters *counters;
	uint32_t closed;

	rig_open("two_hosts", NULL, MEMORY, on_read);
	connect_to(addr, end);
	closed = rig.closed;
	for (uint32_t i = 0; i < WINDOW; i++) {
		me.pieces[i].rd = rig_read((uint64_t)i * PIECE % MEMORY, PIECE);
		post_piece(&me.pieces[i]);
	}
	while (me.good < BEFORE && !rig.down)
		turn(end);
	check(!rig.down, "the connection lives until the kill");
	ask_for_the_kill(out);
	asked = swi_now(swi_env_real());
	while (rig.closed == closed)
		turn(end);
	check(rig.down == 1 && rig.down_status == SWARM_EPEERLOST, "down() once: peer lost");
	for (uint32_t i = 0; i < WINDOW; i++)
		check(me.pieces[i].done == me.pieces[i].posted, "every read ended");
	check(me.failed > 0 && me.failed <= WINDOW, "those in flight failed");
	check(((uint8_t *)rig.mr.addr)[WINDOW * PIECE % MEMORY] == 0x42,
	      "what came is what was sent");
	rig.ops->mr_dereg(rig.be, &rig.mr);
	counters = swi_verbs_counters(rig.be);
	check(counters->qps_created == counters->qps_destroyed &&
		  counters->mws_created == counters->mws_destroyed &&
		  counters->mrs_created == counters->mrs_destroyed + 1, /* the receive buffers */
	      "nothing is left");
	printf("two_hosts: %lu reads before, %lu failed, told %lu ms after asking for the kill\n",
	       me.good, me.failed, (unsigned long)((swi_now(swi_env_real()) - asked) / NS_PER_MS));
	rig.ops->close(rig.be);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "owner") == 0)
		run_owner(argv[2]);
	if (argc == 4 && strcmp(argv[1], "reader") == 0)
		return run_reader(argv[2], argv[3]);
	fprintf(stderr, "usage: %s owner ADDR | reader ADDR OUT\n", argv[0]);
	return 2;
}
