/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_get_spilling.c - what a local get of a resident object costs while the store spills at full speed, beside the
 * same gets in the same run before the writer began. Usage: swarm_get_spilling [--output=json] [--seconds=N] [--dir=DIR]
 *
 * Another process puts objects of 1 MiB as fast as it gets room; its bytes are written to disk all the while. Each get
 * is timed by itself, less the clock's own cost.
 */
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <swarm/store.h>

#include "transport/base/base.h"
#include "transport/base/env.h"

#define KEYS	   256u
#define SAMPLE_MAX 8000000u

struct figures {
	double p50, p99, p999;
	uint64_t gets;
};

static uint64_t now(void)
{
	return swi_now(swi_env_real());
}

static void must(int rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, swarm_strerror(rc));
	exit(1);
}

static struct swarm_ref numbered(uint64_t i)
{
	return (struct swarm_ref){.id = {.w = {0x737069, i + 1}}, .home = 1};
}

static int by_value(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static struct figures measure(struct swarm_store *st, double seconds, uint32_t *sample)
{
	const uint64_t end = now() + (uint64_t)(seconds * 1e9);
	uint64_t clock_ns = UINT64_MAX, n = 0, t = now();

	for (uint32_t i = 0; i < 1000; i++) {
		t = now();
		clock_ns = swi_min_u64(clock_ns, now() - t);
	}
	while (n < SAMPLE_MAX && t < end) {
		struct swarm_view v;
		uint64_t ns;

		t = now();
		must(swarm_store_get(st, numbered(n % KEYS), 10 * NS_PER_S, &v), "get");
		swarm_view_release(st, &v);
		ns = now() - t;
		sample[n++] = (uint32_t)swi_min_u64(UINT32_MAX, ns - swi_min_u64(ns, clock_ns));
	}
	qsort(sample, n, sizeof(*sample), by_value);
	return (struct figures){.p50 = sample[n / 2],
				.p99 = sample[(uint64_t)((double)n * 0.99)],
				.p999 = sample[(uint64_t)((double)n * 0.999)],
				.gets = n};
}

static pid_t start_writer(const char *dir)
{
	const pid_t pid = fork();
	struct swarm_store *st;
	char why[256] = "";

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (swarm_store_attach(dir, &st, why, sizeof(why)))
		_exit(1);
	for (uint64_t i = 0;; i++) {
		struct swarm_buf b;

		must(swarm_store_create(st, numbered(1000000 + i), MIB(1), 60 * NS_PER_S, &b), "create");
		memset(b.data, (int)i, 4096);
		must(swarm_store_seal(st, &b), "seal");
	}
}

/* Bytes written to disk so far. */
static double spilled(struct swarm_store *st)
{
	char *text;
	json_t *doc;
	double v;

	must(swarm_store_status(st, &text), "status");
	doc = json_loads(text, 0, NULL);
	v = json_number_value(json_object_get(doc, "spilled_bytes"));
	json_decref(doc);
	free(text);
	return v;
}

static void print(const struct figures *quiet, const struct figures *busy, double bytes_per_s, bool json)
{
	const double ratio = quiet->p99 > 0 ? busy->p99 / quiet->p99 : 0;

	if (json)
		printf("{\"name\": \"get_64B_spilling\", \"lat_ns.p50\": %.0f, \"lat_ns.p99\": %.0f, \"lat_ns.p99_9\": %.0f, "
		       "\"samples\": %llu, \"spill_bytes_per_s\": %.0f, \"baseline.p50\": %.0f, \"baseline.value\": %.0f, "
		       "\"baseline.p99_9\": %.0f, \"ratio\": %.3f}\n",
		       busy->p50, busy->p99, busy->p999, (unsigned long long)busy->gets, bytes_per_s, quiet->p50,
		       quiet->p99, quiet->p999, ratio);
	else
		printf("get of 64 B, quiet: p50 %.0f p99 %.0f p99.9 %.0f ns; while %.0f MB/s are spilled: p50 %.0f p99 %.0f "
		       "p99.9 %.0f ns; p99 ratio %.3f\n",
		       quiet->p50, quiet->p99, quiet->p999, bytes_per_s / 1e6, busy->p50, busy->p99, busy->p999, ratio);
}

static void run(struct swarm_store *st, const char *dir, double seconds, bool json)
{
	uint32_t *sample = calloc(SAMPLE_MAX, sizeof(*sample));
	const uint8_t data[64] = {0};
	struct figures quiet, busy;
	double bytes, begin;
	pid_t writer;

	if (!sample)
		exit(1);
	memset(sample, 1, SAMPLE_MAX * sizeof(*sample));
	for (uint64_t i = 0; i < KEYS; i++)
		must(swarm_store_put(st, numbered(i), data, sizeof(data), NS_PER_S), "put");
	quiet = measure(st, seconds, sample);
	writer = start_writer(dir);
	while (spilled(st) < MIB(64)) /* until it has filled the arena */
		;
	begin = (double)now() / 1e9;
	bytes = spilled(st);
	busy = measure(st, seconds, sample);
	bytes = spilled(st) - bytes;
	print(&quiet, &busy, bytes / ((double)now() / 1e9 - begin), json);
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	free(sample);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"output", required_argument, NULL, 'o'},
					      {"seconds", required_argument, NULL, 's'},
					      {"dir", required_argument, NULL, 'd'},
					      {NULL, 0, NULL, 0}};
	struct swarm_store_opts o = {.size = sizeof(o), .arena_bytes = MIB(256), .node = 1};
	char dir[] = "/tmp/swarm-perf-XXXXXX", spill[4096], why[256] = "", path[64];
	const char *under = "/var/tmp";
	struct swarm_store *st;
	double seconds = 3;
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'o')
			json = !strcmp(optarg, "json");
		else if (c == 's')
			seconds = strtod(optarg, NULL);
		else if (c == 'd')
			under = optarg;
		else
			return 2;
	}
	snprintf(spill, sizeof(spill), "%s/swarm-perf-XXXXXX", under);
	if (!mkdtemp(dir) || !mkdtemp(spill))
		return 1;
	o.dir = dir;
	o.spill_dir = spill;
	if (swarm_store_open(&o, &st, why, sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	run(st, dir, seconds, json);
	swarm_store_close(st);
	snprintf(path, sizeof(path), "%s/swarm.lock", dir);
	unlink(path);
	rmdir(dir);
	return rmdir(spill) ? 1 : 0; /* a store leaves nothing behind */
}
