/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta_mem.c - swarm_meta_mem: what an object costs besides its payload, with N small objects in one store: its
 * share of the index, its header and what rounding adds in the arena, and the growth of this process's own memory
 * (the node core runs in it). Usage: swarm_meta_mem [-n N] [--max BYTES] [--output=text|json]
 */
#include <getopt.h>
#include <unistd.h>

#include <swarm/store.h>

#include "store/index.h"
#include "transport/base/base.h"

#define LEN 64u /* payload: a multiple of the granule, so that rounding is what the store adds */

static void must(int rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "swarm_meta_mem: %s: %s\n", what, swarm_strerror(rc));
	exit(1);
}

/* A line of /proc/self/status or of the store's own, in bytes. */
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

static uint64_t arena_used(struct swarm_store *st)
{
	char *json;

	must(swarm_store_status(st, &json), "status");
	const char *at = strstr(json, "\"arena_used\":");
	const uint64_t v = at ? strtoull(at + 13, NULL, 10) : 0;

	free(json);
	return v;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"max", required_argument, NULL, 'm'},
					      {"output", required_argument, NULL, 'o'},
					      {NULL, 0, NULL, 0}};
	struct swarm_store_opts o = {.size = sizeof(o), .node = 1};
	char why[256] = "";
	const uint8_t data[LEN] = {0};
	struct swarm_store *st;
	uint64_t n = 1000000;
	double max = 0;
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "n:", longs, NULL)) != -1) {
		if (c == 'n')
			n = swi_max_u64(strtoull(optarg, NULL, 10), 1);
		else if (c == 'm')
			max = strtod(optarg, NULL);
		else if (c == 'o')
			json = !strcmp(optarg, "json");
		else
			return 2;
	}
	o.objects_max = n;
	o.arena_bytes = n * 192 + MIB(16);
	if (swarm_store_open(&o, &st, why, sizeof(why))) {
		fprintf(stderr, "swarm_meta_mem: %s\n", why);
		return 1;
	}
	const uint64_t heap = rss_anon(), used = arena_used(st);

	for (uint64_t i = 0; i < n; i++) {
		const struct swarm_ref ref = {.id = {.w = {0x6d656d, i + 1}}, .home = 1};

		must(swarm_store_put(st, ref, data, LEN, NS_PER_S), "put");
	}
	const double index = (double)swi_index_bytes(n) / (double)n;
	const double arena = (double)(arena_used(st) - used) / (double)n - LEN;
	const uint64_t after = rss_anon();
	const double grown = after > heap ? (double)(after - heap) / (double)n : 0;
	const double all = index + arena + grown;

	printf(json ? "{\"name\": \"metadata\", \"objects\": %llu, \"bytes_per_object\": %.1f, \"index\": %.1f, "
		      "\"arena\": %.1f, \"heap\": %.1f}\n"
		    : "%llu objects: %.1f bytes each besides the payload (index %.1f, header and rounding "
		      "%.1f, memory of the node %.1f)\n",
	       (unsigned long long)n, all, index, arena, grown);
	swarm_store_close(st);
	return max > 0 && all > max;
}
