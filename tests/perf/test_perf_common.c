/* SPDX-License-Identifier: Apache-2.0 */
/* test_perf_common.c - the histogram against sorted samples, lists of sizes and percentiles, medians, ratios, the JSON document, the server. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <swarm/version.h>

#include "perf/common/report.h"
#include "perf/common/serve.h"
#include "store/host.h"
#include "tests/patience.h"
#include "transport/base/env.h"

#define N 200000u

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void buckets__every_value_lies_in_its_bucket(void **state)
{
	uint64_t rng = 1, width;

	(void)state;
	for (uint32_t i = 0; i + 1 < PERF_HIST_BUCKETS; i++) {
		const uint64_t low = perf_hist_low(i, &width);
		uint64_t next_width;

		assert_int_equal(perf_hist_index(low), i);
		assert_int_equal(perf_hist_index(low + width - 1), i);
		assert_int_equal(perf_hist_low(i + 1, &next_width), low + width);
	}
	for (uint32_t i = 0; i < N; i++) {
		const uint64_t v = swi_splitmix64(&rng) >> (swi_splitmix64(&rng) & 63);

		assert_true(perf_hist_low(perf_hist_index(v), &width) <= v);
		assert_true(v - perf_hist_low(perf_hist_index(v), &width) < width);
	}
	assert_int_equal(perf_hist_index(UINT64_MAX), PERF_HIST_BUCKETS - 1);
}

static void percentiles__agree_with_sorted_samples(void **state)
{
	static const double percent[] = {0, 1, 10, 50, 90, 99, 99.9, 99.99, 100};
	static struct perf_hist h, half[2];
	uint64_t *v = calloc(N, sizeof(*v)), rng = 7;
	double sum = 0;

	(void)state;
	assert_non_null(v);
	perf_hist_init(&h);
	perf_hist_init(&half[0]);
	perf_hist_init(&half[1]);
	for (uint32_t i = 0; i < N; i++) {
		v[i] = 20 + (swi_splitmix64(&rng) >> (24 + swi_splitmix64(&rng) % 36));
		perf_hist_add(&half[i & 1], v[i]);
		sum += (double)v[i];
	}
	perf_hist_merge(&h, &half[0]);
	perf_hist_merge(&h, &half[1]);
	qsort(v, N, sizeof(*v), by_value);
	assert_int_equal(h.count, N);
	assert_int_equal(h.min, v[0]);
	assert_int_equal(h.max, v[N - 1]);
	assert_true(fabs(perf_hist_mean(&h) - sum / N) < 1e-6 * sum / N);
	for (uint32_t i = 0; i < SWI_ARRAY_LEN(percent); i++) {
		const uint64_t rank = (uint64_t)swi_max_u64((uint64_t)ceil(N * percent[i] / 100.0), 1);
		const double want = (double)v[rank - 1], got = perf_hist_percentile(&h, percent[i]);

		assert_true(fabs(got - want) <= want / 256 + 0.5);
	}
	free(v);
}

static void lists__are_read_or_refused(void **state)
{
	static const char *const bad[] = {"", ",", "64,", "0", "x", "64,,4k", "-1", "1e99"};
	uint64_t s[4];
	double p[4];
	uint32_t n = 0;

	(void)state;
	assert_int_equal(perf_size_list("64,4k,1M", s, 4, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(s[1], 4096);
	assert_int_equal(s[2], 1 << 20);
	for (uint32_t i = 0; i < SWI_ARRAY_LEN(bad); i++)
		assert_int_equal(perf_size_list(bad[i], s, 4, &n), -EINVAL);
	assert_int_equal(perf_size_list("1,2,3,4,5", s, 4, &n), -EINVAL);
	assert_int_equal(perf_percent_list("50:99,99.9", p, 4, &n), 0);
	assert_int_equal(n, 3);
	assert_true(fabs(p[2] - 99.9) < 1e-9);
	assert_int_equal(perf_percent_list("101", p, 4, &n), -EINVAL);
	assert_int_equal(perf_percent_list("nan", p, 4, &n), -EINVAL);
	assert_int_equal(perf_percent_list("50,", p, 4, &n), -EINVAL);
}

/* @gid as the kernel writes GID 7 of port 2 of device d. */
static int gid_of(const char *root, const char *gid, char *out, size_t len)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/d/ports/2/gids/7", root);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fprintf(f, "%s\n", gid) > 0);
	fclose(f);
	return perf_gid_address(root, "d:2", 7, out, len);
}

static void gid__is_the_address_of_a_network_or_refused(void **state)
{
	static const char *const part[] = {"", "/d", "/d/ports", "/d/ports/2", "/d/ports/2/gids"};
	char root[] = "/tmp/swarm-perf-gid-XXXXXX", path[256], out[64] = "";

	(void)state;
	assert_non_null(mkdtemp(root));
	for (uint32_t i = 1; i < SWI_ARRAY_LEN(part); i++) {
		snprintf(path, sizeof(path), "%s%s", root, part[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	assert_int_equal(gid_of(root, "0000:0000:0000:0000:0000:ffff:0a4d:0002", out, sizeof(out)), 0);
	assert_string_equal(out, "10.77.0.2");
	assert_int_equal(gid_of(root, "fd00:0000:0000:0000:0000:0000:0000:0005", out, sizeof(out)), 0);
	assert_string_equal(out, "fd00::5");
	assert_int_equal(gid_of(root, "fe80:0000:0000:0000:5054:00ff:fe12:3456", out, sizeof(out)), -EINVAL);
	assert_int_equal(gid_of(root, "0000:0000:0000:0000:0000:0000:0000:0000", out, sizeof(out)), -EINVAL);
	assert_int_equal(gid_of(root, "nonsense", out, sizeof(out)), -EINVAL);
	assert_int_equal(perf_gid_address(root, "d:2", 8, out, sizeof(out)), -ENOENT);
	assert_int_equal(perf_gid_address(root, "d", 7, out, sizeof(out)), -ENOENT); /* port 1 */
	snprintf(path, sizeof(path), "%s/d/ports/2/gids/7", root);
	assert_int_equal(unlink(path), 0);
	for (uint32_t i = SWI_ARRAY_LEN(part); i-- > 0;) {
		snprintf(path, sizeof(path), "%s%s", root, part[i]);
		assert_int_equal(rmdir(path), 0);
	}
}

static struct perf_row *make_row(void)
{
	struct perf_row *row = perf_row_new(PERF_LAT, "get", 64);
	struct perf_arm *ours = perf_row_arm(row, "swarm", 4), *base = perf_row_arm(row, "memcpy", 0);
	static struct perf_hist h;

	for (uint32_t run = 0; run < 3; run++) {
		perf_hist_init(&h);
		perf_hist_add(&h, 100 + run); /* below 128: exact */
		perf_arm_run(ours, PERF_LAT, &h, 1, 64, 100);
		perf_arm_value(base, run == 1 ? 202 : 50);
		perf_arm_sample(ours, run);
	}
	perf_row_arm(row, "ib_read_lat", 0)->why = "not installed";
	return row;
}

static void ratios__are_taken_run_by_run(void **state)
{
	struct perf_row *row = make_row();
	const struct perf_spread q = perf_ratio(row, 1);
	const double v[] = {4, 1, 3, 2};

	(void)state;
	assert_true(fabs(q.min - 0.5) < 1e-12);
	assert_true(fabs(q.median - 2.0) < 1e-12);
	assert_true(fabs(q.max - 2.04) < 1e-12);
	assert_true(fabs(perf_spread_of(v, 4).median - 2.5) < 1e-12);
	perf_row_free(row);
}

static void document__has_the_promised_keys(void **state)
{
	char path[] = "/tmp/swarm-perf-test-XXXXXX";
	const int fd = mkstemp(path);
	char *argv[] = {(char *)"t", NULL};
	struct perf_opts o = {.program = "t", .argc = 1, .argv = argv, .output = "csv", .out_file = path,
			      .percent = {50, 99.9}, .percent_count = 2, .unsorted = true};
	struct perf_report *r = perf_report_new(&o, "Test");
	json_t *doc, *row, *b;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	perf_report_set(r, "mode", json_string("local"));
	perf_report_row(r, make_row());
	assert_int_equal(perf_report_end(r), 0);
	doc = json_load_file(path, 0, NULL);
	unlink(path);
	assert_non_null(doc);
	row = json_array_get(json_object_get(doc, "results"), 0);
	assert_int_equal(json_real_value(json_object_get(json_object_get(row, "lat_ns"), "p50")), 101);
	assert_non_null(json_object_get(json_object_get(row, "lat_ns"), "p99_9"));
	assert_true(json_number_value(json_object_get(row, "ops_per_s")) > 0);
	assert_true(json_number_value(json_object_get(row, "bw_bytes_per_s")) > 0);
	b = json_object_get(row, "baseline");
	assert_string_equal(json_string_value(json_object_get(b, "name")), "memcpy");
	assert_int_equal(json_real_value(json_object_get(b, "value")), 50);
	assert_int_equal(json_real_value(json_object_get(row, "ratio")), 2);
	assert_int_equal(json_array_size(json_object_get(row, "baselines")), 2);
	assert_int_equal(json_array_size(json_object_get(row, "samples_ns")), 3);
	assert_non_null(json_object_get(json_object_get(doc, "machine"), "kernel"));
	assert_non_null(json_object_get(json_object_get(doc, "versions"), "swarm"));
	json_decref(doc);
}

/* Of an answer; "" = none. */
static const char *error_of(const json_t *answer)
{
	const char *text = json_string_value(json_object_get(answer, "error"));

	return text ? text : "";
}

static void server__refuses_another_version(void **state)
{
	const struct swarm_store_opts so = {.size = sizeof(so), .arena_bytes = MIB(16), .node = 1};
	struct perf_opts o = {.program = "test"};
	struct perf_server s = {.o = &o, .arena = MIB(16)};
	static const char *const bad[] = {"{\"cmd\": \"hello\", \"node\": 2}",
					  "{\"cmd\": \"hello\", \"node\": 2, \"version\": \"0.0.9\"}"};
	json_t *request, *answer;

	(void)state;
	assert_int_equal(swarm_store_open(&so, &s.st, NULL, 0), 0);
	for (size_t i = 0; i < SWI_ARRAY_LEN(bad); i++) {
		request = json_loads(bad[i], 0, NULL);
		answer = perf_serve_one(&s, request);
		assert_non_null(strstr(error_of(answer), "both ends have to be of one version"));
		json_decref(answer);
		json_decref(request);
	}
	request = json_pack("{s:s, s:i, s:s}", "cmd", "hello", "node", 2, "version", swarm_version());
	answer = perf_serve_one(&s, request);
	assert_string_equal(error_of(answer), "");
	assert_int_equal(json_integer_value(json_object_get(answer, "arena_bytes")), MIB(16));
	json_decref(answer);
	json_decref(request);
	swarm_store_close(s.st);
}

static struct swarm_store *client_of(const struct perf_opts *o, const char *key, const char *address)
{
	struct swarm_store *st = perf_open(o, MIB(16), 0, NULL, "127.0.0.1:0", key, 2);

	assert_int_equal(swarm_store_peer(st, address, TEST_LIMIT_NS), 0);
	return st;
}

/* It waits for a client, but not for one that went before it asked for anything. */
static void server__ends_when_a_client_went_without_a_word(void **state)
{
	const struct perf_opts o = {.program = "test"};
	char dir[] = "/tmp/swarm-test-XXXXXX", key[64], address[128] = "", why[256];
	uint8_t bytes[SWI_CLUSTER_KEY_BYTES];
	int out[2], status = 0;
	size_t n = 0;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(key, sizeof(key), "%s/key", dir);
	assert_int_equal(swi_key_make(key, bytes, why, sizeof(why)), 0);
	assert_int_equal(pipe(out), 0);
	fflush(NULL);
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		alarm(TEST_LIMIT_S); /* for ever is a failure */
		_exit(perf_serve(&o, MIB(16), key, out[1]));
	}
	close(out[1]);
	while (n + 1 < sizeof(address) && read(out[0], &address[n], 1) == 1 && address[n] != '\n')
		n++;
	address[n] = '\0';
	close(out[0]);
	if (n) /* else no transport is here */
		swarm_store_close(client_of(&o, key, address));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	unlink(key);
	rmdir(dir);
	if (!n)
		skip();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(server__ends_when_a_client_went_without_a_word), /* it forks: first */
		cmocka_unit_test(buckets__every_value_lies_in_its_bucket),
		cmocka_unit_test(percentiles__agree_with_sorted_samples),
		cmocka_unit_test(lists__are_read_or_refused),
		cmocka_unit_test(gid__is_the_address_of_a_network_or_refused),
		cmocka_unit_test(ratios__are_taken_run_by_run),
		cmocka_unit_test(document__has_the_promised_keys),
		cmocka_unit_test(server__refuses_another_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
