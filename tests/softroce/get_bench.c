/* SPDX-License-Identifier: Apache-2.0 */
/*
 * get_bench.c - what the store adds to a READ: warm and cold gets through a node core beside READs of the same
 * connection, taking turns in one run.
 *
 *   get_bench owner TRANSPORT HOST:PORT          makes objects of every size, prints "listening ADDR", ends with the reader
 *   get_bench reader TRANSPORT ADDR SIZE COUNT   prints a line of medians, minima and ratios
 *
 * All are timed alike: from the call that begins until the callback, on a thread that polls. The raw READ brings SIZE
 * bytes; a get brings the header as well, checks it, and publishes the object. No digest is compared (the owner never made one for
 * these objects). One in a thousand gets may go another way (a slot that was passed on): it is counted, not timed.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "store/direct.h"
#include "store/host.h"
#include "store/snode_internal.h"
#include "store/store_internal.h"

#define OBJECTS 256u
static const uint64_t sizes[] = {64, 4096, 65536};

static void fail(const char *what, int err)
{
	fprintf(stderr, "get_bench: %s: %s\n", what, swarm_errname(err));
	exit(1);
}

static struct swi_host *host_open(uint32_t node, const char *transport, const char *bind)
{
	struct swi_host_opts ho = {.arena_bytes = MIB(64),
				   .objects_max = 16384,
				   .node = node,
				   .log_name = "get_bench",
				   .tp = {.backend = transport, .bind = bind}};
	struct swi_host *h;
	char why[256];
	const int rc = swi_host_create(&ho, &h, why, sizeof(why));

	if (rc == SWARM_ENOTRANSPORT) {
		printf("skipped: %s\n", why);
		exit(77);
	}
	if (rc)
		fail(why, rc);
	return h;
}

static struct swarm_ref ref_of(uint64_t size, uint64_t i)
{
	return (struct swarm_ref){.id = {{size, i + 1}}, .home = 1};
}

/* ---- owner ---- */

static int gone(void *ctx)
{
	struct swi_snode *sn = swi_host_snode(ctx);
	const struct swi_tp_counters *c = swi_tp_counters(sn->tp);

	if (c->conns_closed)
		swi_host_stop(ctx);
	return 0;
}

static int owner(const char *transport, const char *bind)
{
	struct swi_host *h = host_open(1, transport, bind);
	const struct swi_host_upper upper = {.ctx = h, .step = gone};
	struct swi_snode *sn = swi_host_snode(h);

	swi_host_set_upper(h, &upper);
	for (uint64_t k = 0; k < SWI_ARRAY_LEN(sizes); k++) {
		for (uint64_t i = 0; i < OBJECTS; i++) {
			const struct swarm_ref ref = ref_of(sizes[k], i);
			const uint64_t bytes = swi_extent_bytes(sizes[k]);
			struct swi_object_head *o;
			uint64_t offset;

			if (swi_extent_alloc(&sn->extents, bytes, bytes >= SWI_LARGE_MIN ? SWI_PAGE : SWI_GRANULE,
					     SWI_EXTENT_LOW, &offset))
				fail("no room", -ENOSPC);
			o = (void *)(sn->arena + offset);
			*o = (struct swi_object_head){.magic = SWI_OBJ_MAGIC,
						      .state = SWI_OBJ_SEALED,
						      .oid = {ref.id.w[0], ref.id.w[1]},
						      .gen = swi_snode_gen(sn),
						      .home = 1,
						      .epoch = sn->epoch,
						      .len = sizes[k]};
			memset(o + 1, (int)i, sizes[k]);
			if (swi_local_publish(sn, ref.id, o->gen, offset, bytes))
				fail("no slot", SWARM_EINDEXFULL);
		}
	}
	printf("listening %s\n", swi_tp_address(sn->tp));
	fflush(stdout);
	swi_host_run(h);
	swi_host_destroy(h);
	return 0;
}

/* ---- reader ---- */

static struct {
	struct swi_snode *sn;
	bool done;
	int status;
	uint64_t offset;
} me;

static void got(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	(void)w;
	if (status)
		fprintf(stderr, "%s\n", text);
	me.done = true;
	me.status = status;
	me.offset = offset;
}

static uint64_t now(void)
{
	return swi_now(me.sn->env);
}

/* ns of one get; the copy is dropped again, unseen by the clock. */
static uint64_t get(struct swarm_ref ref, uint64_t size)
{
	struct swi_want w = {.ref = ref, .deadline_ns = UINT64_MAX, .cb = got};
	const uint64_t begin = now();
	uint64_t end;

	me.done = false;
	swi_want(me.sn, &w);
	while (!me.done)
		swi_snode_step(me.sn);
	end = now();
	if (me.status)
		fail("get", me.status);
	const uint8_t *p = me.sn->arena + me.offset + sizeof(struct swi_object_head);

	if (p[0] != (uint8_t)(ref.id.w[1] - 1) || p[size - 1] != p[0])
		fail("wrong bytes", SWARM_ECORRUPT);
	swi_hold_drop(me.sn, me.offset);
	swi_dir_drop_local(me.sn, ref.id);
	for (const uint64_t until = now() + 50 * NS_PER_US; now() < until;)
		swi_snode_step(me.sn);
	return end - begin;
}

static void read_over(struct swi_read *rd, int status)
{
	(void)rd;
	me.done = true;
	me.status = status;
}

static uint64_t raw(struct swi_conn *conn, uint64_t size, uint64_t to)
{
	struct swi_read rd = {.cb = read_over};
	const uint64_t begin = now();
	int rc;

	me.done = false;
	rc = swi_conn_read(conn, SWI_REGION_ARENA, 4096, me.sn->arena + to, size, &rd);
	if (rc)
		fail("read", rc);
	while (!me.done)
		swi_tp_progress(me.sn->tp);
	if (me.status)
		fail("read", me.status);
	return now() - begin;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int reader(const char *transport, const char *addr, uint64_t size, uint64_t count)
{
	struct swi_host *h = host_open(2, transport, NULL);
	uint64_t *ns[3], n[3] = {0}, room;
	struct swi_peer *p;

	me.sn = swi_host_snode(h);
	for (int k = 0; k < 3; k++)
		ns[k] = calloc(count, sizeof(uint64_t));
	if (swi_peer_dial(me.sn, addr))
		fail("dial", SWARM_EPEERLOST);
	while (!(p = swi_peer_find(me.sn, 1)) || !swi_lease_stands(p))
		swi_snode_step(me.sn);
	if (swi_extent_alloc(&me.sn->extents, size, SWI_PAGE, SWI_EXTENT_LOW, &room))
		fail("no room", -ENOSPC);
	for (uint64_t i = 0; i < count + 50; i++) {
		const struct swarm_ref ref = ref_of(size, i % OBJECTS);
		const struct swi_snode_stats before = me.sn->stats;
		uint64_t t[3];

		t[0] = raw(p->chosen->conn, size, room);
		swi_locator_drop(&me.sn->locators, ref.id);
		t[2] = get(ref, size);
		t[1] = get(ref, size);
		if (i < 50) /* to warm up */
			continue;
		ns[0][n[0]++] = t[0];
		if (me.sn->stats.warm_gets > before.warm_gets)
			ns[1][n[1]++] = t[1];
		if (me.sn->stats.cold_gets > before.cold_gets)
			ns[2][n[2]++] = t[2];
	}
	for (int k = 0; k < 3; k++) {
		if (n[k] < count / 2)
			fail("gets did not go the way that they are measured for", -EIO);
		qsort(ns[k], n[k], sizeof(uint64_t), by_value);
	}
	printf("%llu B: READ p50 %.2f us min %.2f; warm get p50 %.2f min %.2f ratio %.3f; cold get p50 %.2f min %.2f "
	       "ratio %.3f; %llu of %llu other ways\n",
	       (unsigned long long)size, (double)ns[0][n[0] / 2] / 1e3, (double)ns[0][0] / 1e3,
	       (double)ns[1][n[1] / 2] / 1e3, (double)ns[1][0] / 1e3,
	       (double)ns[1][n[1] / 2] / (double)ns[0][n[0] / 2], (double)ns[2][n[2] / 2] / 1e3,
	       (double)ns[2][0] / 1e3, (double)ns[2][n[2] / 2] / (double)ns[0][n[0] / 2],
	       (unsigned long long)(2 * count - n[1] - n[2]), (unsigned long long)(2 * count));
	for (int k = 0; k < 3; k++)
		free(ns[k]);
	swi_host_destroy(h);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "owner"))
		return owner(argv[2], argv[3]);
	if (argc == 6 && !strcmp(argv[1], "reader"))
		return reader(argv[2], argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10));
	fprintf(stderr, "usage: get_bench owner TRANSPORT HOST:PORT | reader TRANSPORT ADDR SIZE COUNT\n");
	return 2;
}
