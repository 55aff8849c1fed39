/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read_bench.c - READs through the verbs backend's table, timed as perftest times its own, so that
 * tests/softroce/compare can set one beside the other in the same boot.
 *
 *   read_bench owner ADDR                    waits for one reader and ends with it
 *   read_bench reader ADDR SIZE COUNT DEPTH  prints "p50_us p99_us min_us MiB_per_s"
 *
 * Latency is from read() to read_done() of one READ at a time when DEPTH is 1. No sample is left
 * out.
 */
#include "be_rig.h"

#define MEMORY    MIB(16)
#define MAX_DEPTH 256u

struct shot {
	struct swi_be_read rd;
	uint64_t start;
};

static struct {
	struct shot shots[MAX_DEPTH];
	uint64_t *samples; /* ns */
	uint64_t count, posted, done;
} me;

static void post(struct shot *s, uint64_t now)
{
	s->start = now;
	rig_post(&s->rd);
	me.posted++;
}

static void on_read(struct swi_be_read *rd, int status)
{
	struct shot *s = swi_container_of(rd, struct shot, rd);
	uint64_t now = swi_now(swi_env_real()); /* once a READ: the clock is slow when emulated */

	if (status)
		rig_fail("read_done", status);
	me.samples[me.done++] = now - s->start;
	if (me.posted < me.count)
		post(s, now);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void turn(void)
{
	rig_turn();
	if (rig.down)
		rig_fail("down", rig.down_status);
}

static void run_reader(const char *addr, uint32_t size, uint64_t count, uint32_t depth)
{
	uint64_t start, ns;

	me.samples = calloc(count, sizeof(*me.samples));
	me.count = count;
	if (!me.samples)
		rig_fail("samples", -ENOMEM);
	rig_open("read_bench", NULL, MEMORY, on_read);
	rig_connect(addr);
	while (!rig.offers)
		turn();
	start = swi_now(swi_env_real());
	for (uint32_t i = 0; i < depth && i < count; i++) {
		me.shots[i].rd = rig_read(0, size);
		post(&me.shots[i], swi_now(swi_env_real()));
	}
	while (me.done < count)
		turn();
	ns = swi_now(swi_env_real()) - start;
	qsort(me.samples, count, sizeof(*me.samples), compare_u64);
	printf("%.2f %.2f %.2f %.2f\n", (double)me.samples[count / 2] / 1e3,
	       (double)me.samples[count * 99 / 100] / 1e3, (double)me.samples[0] / 1e3,
	       (double)count * size / (double)MIB(1) / ((double)ns / 1e9));
}

/* Sleeps as perftest's server does: the card alone serves the reader. */
static void run_owner(const char *addr)
{
	rig_open("read_bench", addr, MEMORY, on_read);
	printf("listening on %s\n", rig.ops->address(rig.be));
	fflush(stdout);
	while (!rig.closed) {
		rig_turn();
		rig_sleep();
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "owner") == 0) {
		run_owner(argv[2]);
	} else if (argc == 6 && strcmp(argv[1], "reader") == 0) {
		long size = atol(argv[3]), count = atol(argv[4]), depth = atol(argv[5]);

		if (size < 1 || (uint64_t)size > MEMORY || count < 1 || depth < 1 ||
		    depth > MAX_DEPTH)
			rig_fail("SIZE, COUNT or DEPTH", -EINVAL);
		run_reader(argv[2], (uint32_t)size, (uint64_t)count, (uint32_t)depth);
	} else {
		fprintf(stderr, "usage: %s owner ADDR | reader ADDR SIZE COUNT DEPTH\n", argv[0]);
		return 2;
	}
	rig.ops->mr_dereg(rig.be, &rig.mr);
	rig.ops->close(rig.be);
	return 0;
}
