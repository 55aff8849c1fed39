/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local_lat.c - what the local path costs: get + release and put of 64 bytes, put of 1 MiB beside a plain copy
 * into the same arena in the same run. Usage: local_lat [--output=json] [--rounds=N] [--arena-mib=N]
 *
 * A single operation is near the resolution of the clock, so for small ones p50 is the median of the means of
 * batches of 64, and p99.9 comes from timing them one by one (less the clock's own cost). A second process reads all the while.
 */
#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <swarm/store.h>

#include "transport/base/base.h"
#include "transport/base/env.h"

#define BATCH 64u
#define KEYS  256u

struct figures {
	const char *name;
	double p50, p999, baseline; /* [ns]; baseline 0 = none */
};

static uint64_t now(void)
{
	return swi_now(swi_env_real());
}

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double quantile(uint64_t *v, uint32_t n, double q)
{
	qsort(v, n, sizeof(*v), by_value);
	return (double)v[(uint32_t)(q * (n - 1))];
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
	return (struct swarm_ref){.id = {.w = {0x6c61747e, i + 1}}, .home = 1};
}

static void get_once(struct swarm_store *st, uint64_t i)
{
	struct swarm_view v;

	must(swarm_store_get(st, numbered(i % KEYS), 0, &v), "get");
	swarm_view_release(st, &v);
}

static void put_once(struct swarm_store *st, uint64_t i)
{
	static uint8_t data[64];

	must(swarm_store_put(st, numbered(1000000 + i), data, sizeof(data), NS_PER_S), "put");
}

static struct figures measure(struct swarm_store *st, const char *name, uint32_t rounds,
			      void (*op)(struct swarm_store *st, uint64_t i))
{
	uint64_t *batch = calloc(rounds / BATCH, sizeof(*batch)), *one = calloc(rounds, sizeof(*one));
	uint64_t clock_ns = UINT64_MAX, k = 0;

	if (!batch || !one)
		exit(1);
	for (uint32_t i = 0; i < 1000; i++) {
		const uint64_t t = now();

		clock_ns = swi_min_u64(clock_ns, now() - t);
	}
	for (uint32_t i = 0; i < rounds / BATCH; i++) {
		const uint64_t t = now();

		for (uint32_t j = 0; j < BATCH; j++)
			op(st, k++);
		batch[i] = now() - t;
	}
	for (uint32_t i = 0; i < rounds; i++) {
		const uint64_t t = now();

		op(st, k++);
		one[i] = now() - t;
		one[i] -= swi_min_u64(one[i], clock_ns);
	}
	const struct figures f = {.name = name,
				  .p50 = quantile(batch, rounds / BATCH, 0.5) / BATCH,
				  .p999 = quantile(one, rounds, 0.999)};

	free(batch);
	free(one);
	return f;
}

/* put of @len bytes against memcpy into extents of the same arena, turn by turn. */
static struct figures measure_large(struct swarm_store *st, uint64_t len, uint32_t rounds)
{
	uint64_t *put = calloc(rounds, sizeof(*put)), *copy = calloc(rounds, sizeof(*copy));
	uint8_t *data = malloc(len);
	struct swarm_buf target;

	if (!put || !copy || !data)
		exit(1);
	memset(data, 7, len);
	for (uint32_t i = 0; i < rounds; i++) {
		const struct swarm_ref ref = numbered(500000 + i);
		uint64_t t = now();

		must(swarm_store_put(st, ref, data, len, NS_PER_S), "put");
		put[i] = now() - t;
		must(swarm_store_delete(st, ref), "delete");
		must(swarm_store_create(st, numbered(900000 + i), len, NS_PER_S, &target), "create");
		t = now();
		memcpy(target.data, data, len);
		copy[i] = now() - t;
		swarm_store_abort(st, &target);
	}
	const struct figures f = {.name = "put_1MiB",
				  .p50 = quantile(put, rounds, 0.5),
				  .p999 = quantile(put, rounds, 0.999),
				  .baseline = quantile(copy, rounds, 0.5)};

	free(put);
	free(copy);
	free(data);
	return f;
}

static pid_t start_reader(const char *dir)
{
	const pid_t pid = fork();
	struct swarm_store *st;
	char why[256] = "";

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (swarm_store_attach(dir, &st, why, sizeof(why)))
		_exit(1);
	for (uint64_t i = 0;; i++)
		get_once(st, i);
}

static void print(const struct figures *f, uint32_t n, bool json)
{
	for (uint32_t i = 0; i < n; i++) {
		const double ratio = f[i].baseline > 0 ? f[i].p50 / f[i].baseline : 0;

		if (json)
			printf("{\"name\": \"%s\", \"lat_ns.p50\": %.1f, \"lat_ns.p99_9\": %.0f, "
			       "\"baseline\": %.1f, \"ratio\": %.3f}\n",
			       f[i].name, f[i].p50, f[i].p999, f[i].baseline, ratio);
		else
			printf("%-16s p50 %10.1f ns   p99.9 %10.0f ns   memcpy %10.1f ns   ratio %.3f\n",
			       f[i].name, f[i].p50, f[i].p999, f[i].baseline, ratio);
	}
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"output", required_argument, NULL, 'o'},
					      {"rounds", required_argument, NULL, 'r'},
					      {"arena-mib", required_argument, NULL, 'a'},
					      {NULL, 0, NULL, 0}};
	struct swarm_store_opts o = {.size = sizeof(o), .arena_bytes = MIB(512), .objects_max = 2000000, .node = 1};
	char dir[] = "/tmp/swarm-perf-XXXXXX", why[256] = "", path[64];
	struct swarm_store *st;
	struct figures f[4];
	uint32_t rounds = 200000;
	uint8_t data[64] = {0};
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'o')
			json = !strcmp(optarg, "json");
		else if (c == 'r')
			rounds = (uint32_t)swi_max_u64(strtoul(optarg, NULL, 10), BATCH);
		else if (c == 'a')
			o.arena_bytes = MIB(strtoul(optarg, NULL, 10));
		else
			return 2;
	}
	if (!mkdtemp(dir))
		return 1;
	o.dir = dir;
	if (swarm_store_open(&o, &st, why, sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	for (uint64_t i = 0; i < KEYS; i++)
		must(swarm_store_put(st, numbered(i), data, sizeof(data), NS_PER_S), "put");
	f[0] = measure(st, "get_64B", rounds, get_once);
	const pid_t reader = start_reader(dir);

	f[1] = measure(st, "get_64B_2proc", rounds, get_once);
	kill(reader, SIGKILL);
	waitpid(reader, NULL, 0);
	f[2] = measure(st, "put_64B", rounds, put_once);
	f[3] = measure_large(st, MIB(1), (uint32_t)swi_max_u64(rounds / 200, 10));
	print(f, 4, json);
	swarm_store_close(st);
	snprintf(path, sizeof(path), "%s/swarm.lock", dir);
	unlink(path);
	rmdir(dir);
	return 0;
}
