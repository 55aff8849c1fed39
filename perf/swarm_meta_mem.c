/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_meta_mem - what an object costs besides its payload, with N small objects in one store: its share of the
 * index, its header and what rounding adds in the arena, and the growth of this process's own memory (the node core
 * runs in it).
 */
#include <unistd.h>

#include "perf/common/load.h"
#include "perf/common/rig.h"
#include "store/index.h"

#define LEN 64u /* payload: a multiple of the granule, so that rounding is what the store adds */

struct mm_opts {
	struct perf_opts c;
	uint32_t max;
};

static const struct swt_opt options[] = {
	{"objects", 'n', SWT_U32, PERF_O(struct mm_opts, c, iters), "N", "objects (default 1000000)", NULL},
	{"max", 0, SWT_U32, offsetof(struct mm_opts, max), "BYTES", "fail when an object costs more", NULL},
	PERF_OPT_FORMAT(struct mm_opts, c),
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_meta_mem",
	.summary = "Measures the memory that an object takes besides its payload.",
	.opts = options,
};

/* A line of /proc/self/status, in bytes. */
static uint64_t rss_anon(void)
{
	char line[256];
	uint64_t kib = 0;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "RssAnon:", 8))
			kib = strtoull(line + 8, NULL, 10);
	if (f)
		fclose(f);
	return kib * 1024;
}

static uint64_t put_all(const struct mm_opts *o, struct swarm_store *st, uint64_t n)
{
	const uint8_t data[LEN] = {0};
	const uint64_t begin = perf_now();

	for (uint64_t i = 0; i < n; i++) {
		const struct swarm_ref ref = {.id = {.w = {0x6d656d, i + 1}}, .home = 1};

		perf_must(&o->c, swarm_store_put(st, ref, data, LEN, NS_PER_S), "put");
	}
	return perf_now() - begin;
}

static double measure(const struct mm_opts *o, struct perf_report *r, uint64_t n)
{
	struct perf_row *row = perf_row_new(PERF_OPS, "put", LEN);
	struct perf_arm *arm = perf_row_arm(row, "swarm", 0);
	struct swarm_store *st = perf_open(&o->c, n * 192 + MIB(16), n, NULL, NULL, NULL, 1);
	const uint64_t heap = rss_anon(), used = perf_status(st, "arena_used"), ns = put_all(o, st, n);
	const double index = (double)swi_index_bytes(n) / (double)n;
	const double arena = (double)(perf_status(st, "arena_used") - used) / (double)n - LEN;
	const uint64_t after = rss_anon();
	const double grown = after > heap ? (double)(after - heap) / (double)n : 0;
	const double all = index + arena + grown;

	perf_arm_run(arm, PERF_OPS, NULL, n, n * LEN, ns);
	row->extra = json_pack("{s:f, s:f, s:f, s:f}", "metadata_bytes_per_object", all, "index_bytes_per_object",
			       index, "arena_bytes_per_object", arena, "heap_bytes_per_object", grown);
	perf_report_row(r, row);
	perf_report_note(r, " %llu objects: %.1f bytes each besides the payload (index %.1f, header and rounding %.1f, "
			    "memory of the node %.1f)", (unsigned long long)n, all, index, arena, grown);
	swarm_store_close(st);
	return all;
}

int main(int argc, char **argv)
{
	struct mm_opts o = {0};
	struct perf_report *r;
	int rc = perf_opts_parse(&command, argc, argv, &o, &o.c);
	bool over;

	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	r = perf_report_new(&o.c, "Swarm metadata");
	over = measure(&o, r, o.c.iters ? o.c.iters : 1000000) > (o.max ? o.max : 1e9);
	rc = perf_report_end(r);
	if (over)
		fprintf(stderr, "swarm_meta_mem: an object costs more than %u bytes\n", o.max);
	return rc || over;
}
