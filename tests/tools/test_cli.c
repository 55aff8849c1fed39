/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli.c - the programs as people use them: a head and two nodes, every command, and every way to use
 * them wrongly, with the very sentence that is expected.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/patience.h"
#include <swarm/store.h>

#include "tests/tools/proc.h"

static struct test_cluster cl;
static struct proc_result res;

static int start(void **state)
{
	static const char *const opts[] = {"--arena=16M", "--cpus=1", NULL};

	(void)state;
	cluster_init(&cl);
	for (uint32_t i = 0; i < 3; i++)
		cluster_start(&cl, i, opts);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	cluster_fini(&cl);
	return 0;
}

/* The last run failed with @status, and said one line that has every one of the words. */
static void said(int status, const char *const *words)
{
	const char *nl = strchr(res.err, '\n');

	if (res.status != status)
		fail_msg("exit status %d, not %d: %s", res.status, status, res.err);
	assert_non_null(nl);
	if (nl[1])
		fail_msg("more than one line: %s", res.err);
	for (; *words; words++)
		if (!strstr(res.err, *words))
			fail_msg("\"%s\" is missing in: %s", *words, res.err);
}
#define SAID(status, ...) said((status), (const char *const[]){__VA_ARGS__, NULL})

static json_t *answer(void)
{
	json_t *doc;

	if (res.status)
		fail_msg("exit status %d: %s", res.status, res.err);
	doc = json_loads(res.out, 0, NULL);
	if (!doc)
		fail_msg("no JSON: %s", res.out);
	return doc;
}

static const char *head(void)
{
	return cl.node[0].dir;
}

/* A run directory that nobody uses. */
static const char *fresh(void)
{
	static char dir[160];
	static int n;

	snprintf(dir, sizeof(dir), "%s/fresh%d", cl.root, n++);
	return dir;
}

/* ---- what goes well ---- */

static const json_t *rows_of(const json_t *doc, const char *member)
{
	return json_is_array(doc) ? doc : json_object_get(doc, member);
}

static void list_nodes(void **state)
{
	const json_t *rows, *r;
	json_t *doc;
	uint32_t found = 0;
	size_t i;

	(void)state;
	PROC_RUN(&res, "swarm", "list", "nodes", "--format=json", "--dir", head());
	doc = answer();
	rows = rows_of(doc, "nodes");
	assert_int_equal(json_array_size(rows), 3);
	json_array_foreach(rows, i, r)
		for (uint32_t k = 0; k < 3; k++)
			found += !strcmp(json_string_value(json_object_get(r, "address")),
					 cl.node[k].address);
	json_decref(doc);
	assert_int_equal(found, 3);
	PROC_RUN(&res, "swarm", "list", "nodes", "--dir", head());
	assert_int_equal(res.status, 0);
	assert_non_null(strstr(res.out, "ADDRESS"));
	assert_non_null(strstr(res.out, cl.node[2].address));
}

static void every_list_answers(void **state)
{
	static const char *const what[] = {"nodes", "tasks", "objects", "workers", "segments"};
	static const char *const line[] = {"ADDRESS", "\nTasks ", "\nWorkers ", "\nObjects ",
					   "\nMoved ", "\nRecovery ", "\nMembers ", " up "};

	(void)state;
	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		PROC_RUN(&res, "swarm", "list", what[i], "-f", "json", "-d", head());
		json_decref(answer());
		PROC_RUN(&res, "swarm", "list", what[i], "-d", cl.node[1].dir);
		assert_int_equal(res.status, 0);
	}
	PROC_RUN(&res, "swarm", "status", "-f", "json", "-d", head());
	json_decref(answer());
	PROC_RUN(&res, "swarm", "status", "-d", head());
	assert_int_equal(res.status, 0);
	for (size_t i = 0; i < sizeof(line) / sizeof(line[0]); i++)
		assert_non_null(strstr(res.out, line[i]));
	PROC_RUN(&res, "swarm", "events", "-d", head());
	assert_int_equal(res.status, 0);
	assert_non_null(strstr(res.out, "node"));
}

static uint64_t number(const json_t *o, const char *key)
{
	assert_true(json_is_integer(json_object_get(o, key)));
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

/* Every byte of every arena is accounted for, once. */
static void adds_up(const json_t *arena)
{
	static const char *const part[] = {"free_bytes",     "primary_bytes", "secondary_bytes", "unsealed_bytes",
					   "arriving_bytes", "leaving_bytes", "reserve_bytes"};
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++)
		sum += number(arena, part[i]);
	assert_int_equal(sum, number(arena, "total_bytes"));
	assert_int_equal(number(arena, "used_bytes") + number(arena, "free_bytes"), number(arena, "total_bytes"));
	assert_true(number(arena, "largest_free_bytes") <= number(arena, "free_bytes"));
}

#define LEN 200000u

/* A put and a writer on one node, a reader on another: both are named, wherever one asks. */
static void memory_explains(void **state)
{
	const struct swarm_ref ref = swarm_ref_named("memory");
	uint64_t primary = 0, secondary = 0, unsealed = 0, pinned = 0, listed = 0;
	static char bytes[LEN];
	struct swarm_store *a, *b;
	struct swarm_view v;
	struct swarm_buf w;
	json_t *doc, *part, *o;
	char id[33];
	size_t i, k;

	(void)state;
	assert_int_equal(swarm_store_attach(cl.node[1].dir, &a, NULL, 0), 0);
	assert_int_equal(swarm_store_attach(cl.node[2].dir, &b, NULL, 0), 0);
	assert_int_equal(swarm_store_put(a, ref, bytes, LEN, SWARM_FOREVER), 0);
	assert_int_equal(swarm_store_create(a, swarm_ref_named("unsealed"), 3 * LEN, SWARM_FOREVER, &w), 0);
	assert_int_equal(swarm_store_get(b, ref, 20000000000u, &v), 0);
	PROC_RUN(&res, "swarm", "memory", "-f", "json", "-d", head());
	doc = answer();
	assert_int_equal(json_array_size(json_object_get(doc, "nodes")), 3);
	json_array_foreach(json_object_get(doc, "nodes"), i, part) {
		const json_t *arena = json_object_get(part, "arena");

		adds_up(arena);
		primary += number(arena, "primary_bytes");
		secondary += number(arena, "secondary_bytes");
		unsealed += number(arena, "unsealed_bytes");
		json_array_foreach(json_object_get(part, "owners"), k, o) {
			if (number(o, "pid") != (uint64_t)getpid())
				continue;
			assert_string_equal(json_string_value(json_object_get(o, "kind")), "store");
			pinned += number(o, "pinned_bytes");
		}
	}
	json_decref(doc);
	assert_true(primary >= LEN);
	assert_true(secondary >= LEN);
	assert_true(unsealed >= 3 * LEN);
	assert_in_range(pinned, LEN, LEN + 8192);
	PROC_RUN(&res, "swarm", "memory", "-d", cl.node[1].dir);
	assert_int_equal(res.status, 0);
	assert_non_null(strstr(res.out, "UNSEALED"));
	assert_non_null(strstr(res.out, "FETCHED AHEAD"));
	/* Both copies are listed. */
	snprintf(id, sizeof(id), "%016llx%016llx", (unsigned long long)ref.id.w[0],
		 (unsigned long long)ref.id.w[1]);
	PROC_RUN(&res, "swarm", "list", "objects", "-f", "json", "-d", head());
	doc = answer();
	json_array_foreach(rows_of(doc, "objects"), i, o)
		listed += !strcmp(json_string_value(json_object_get(o, "object")), id);
	json_decref(doc);
	assert_int_equal(listed, 2);
	swarm_view_release(b, &v);
	swarm_store_abort(a, &w);
	swarm_store_delete(a, ref);
	swarm_store_close(a);
	swarm_store_close(b);
}

static void info_needs_no_daemon(void **state)
{
	json_t *doc, *t;
	bool ofi = false;
	size_t i;

	(void)state;
	PROC_RUN(&res, "swarm", "info", "--format=json");
	doc = answer();
	assert_true(json_is_string(json_object_get(doc, "version")));
	json_array_foreach(json_object_get(doc, "transports"), i, t) {
		const bool available = json_is_true(json_object_get(t, "available"));

		/* What is not there says why. */
		if (!available)
			assert_true(*json_string_value(json_object_get(t, "why")));
		ofi |= available && !strcmp(json_string_value(json_object_get(t, "name")), "ofi");
	}
	assert_true(ofi);
	json_decref(doc);
}

static void help_everywhere(void **state)
{
	static const char *const cmd[] = {"start", "stop", "status", "list", "info", "drain", "events", "memory"};

	(void)state;
	for (int i = 0; i < 8; i++) {
		PROC_RUN(&res, "swarm", cmd[i], "--help");
		assert_int_equal(res.status, 0);
		assert_non_null(strstr(res.out, "Usage: swarm "));
		assert_non_null(strstr(res.out, "--help"));
		assert_string_equal(res.err, "");
	}
	PROC_RUN(&res, "swarmd", "--help");
	assert_int_equal(res.status, 0);
	assert_non_null(strstr(res.out, "--arena=SIZE"));
	assert_null(strstr(res.out, "ready-fd"));
	PROC_RUN(&res, "swarm-worker", "--help");
	assert_int_equal(res.status, 0);
}

static void key_is_private(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(cl.key, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(head(), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

/* What `swarm start` prints is what one can run. */
static void start_prints_what_to_do(void **state)
{
	const char *dir = fresh();
	char line[400];

	(void)state;
	PROC_RUN(&res, "swarm", "start", "--head", "--dir", dir, "--bind", "127.0.0.1:0", "--arena",
		 "16M", "--transport=ofi");
	assert_int_equal(res.status, 0);
	snprintf(line, sizeof(line), "--key-file %s/cluster.key", dir);
	assert_non_null(strstr(res.out, "swarm start --address 127.0.0.1:"));
	assert_non_null(strstr(res.out, line));
	snprintf(line, sizeof(line), "SWARM_DIR=%s", dir);
	assert_non_null(strstr(res.out, line));
	PROC_RUN(&res, "swarm", "stop", "--dir", dir, "--format=json");
	json_decref(answer());
	snprintf(line, sizeof(line), "%s/swarm.sock", dir);
	assert_int_not_equal(access(line, F_OK), 0);
}

static void drain_lets_a_node_go(void **state)
{
	static const char *const opts[] = {"--arena=16M", "--cpus=1", NULL};
	char number[16];

	(void)state;
	cluster_start(&cl, 3, opts);
	snprintf(number, sizeof(number), "%u", cl.node[3].number);
	PROC_RUN(&res, "swarm", "drain", number, "--dir", head());
	assert_int_equal(res.status, 0);
	assert_true(pid_gone_within(cl.node[3].pid, TEST_LIMIT_MS));
	cl.node[3].up = false;
}

/* The head starts nodes by itself, and takes them along when it leaves. */
static void head_starts_nodes(void **state)
{
	const char *dir = fresh();
	json_t *doc = NULL;
	size_t n = 0;

	(void)state;
	PROC_RUN(&res, "swarm", "start", "--head", "--dir", dir, "--bind", "127.0.0.1:0", "--arena=16M",
		 "--transport=ofi", "--min-nodes=2", "--max-nodes=2", "--cpus=1");
	assert_int_equal(res.status, 0);
	for (int i = 0; i < 200 && n < 2; i++) {
		PROC_RUN(&res, "swarm", "list", "nodes", "-f", "json", "-d", dir);
		doc = answer();
		n = json_array_size(rows_of(doc, "nodes"));
		json_decref(doc);
		poll(NULL, 0, 50);
	}
	assert_int_equal(n, 2);
	PROC_RUN(&res, "swarm", "stop", "--dir", dir);
	assert_int_equal(res.status, 0);
}

/* Everything at once, from the head. */
static void stop_all(void **state)
{
	(void)state;
	PROC_RUN(&res, "swarm", "stop", "--all", "--dir", cl.node[1].dir);
	SAID(1, "only the head");
	PROC_RUN(&res, "swarm", "stop", "--all", "--dir", head());
	assert_int_equal(res.status, 0);
	for (int i = 0; i < 3; i++) {
		assert_true(pid_gone_within(cl.node[i].pid, TEST_LIMIT_MS));
		cl.node[i].up = false;
	}
}

/* ---- what goes wrong ---- */

static void used_wrongly(void **state)
{
	(void)state;
	PROC_RUN(&res, "swarm", "fly");
	SAID(2, "no command fly", "swarm --help");
	PROC_RUN(&res, "swarm", "start");
	SAID(2, "swarm start: ", "--head", "--address HOST:PORT");
	PROC_RUN(&res, "swarm", "start", "--head", "--address=a:1");
	SAID(2, "exclude each other");
	PROC_RUN(&res, "swarm", "start", "--head", "--fly");
	SAID(2, "unknown option --fly", "swarm start --help");
	PROC_RUN(&res, "swarm", "start", "--head", "-Z");
	SAID(2, "unknown option -Z");
	PROC_RUN(&res, "swarm", "start", "--head", "--arena");
	SAID(2, "--arena needs an argument");
	PROC_RUN(&res, "swarm", "start", "--head", "--arena=lots");
	SAID(2, "--arena=lots", "192M");
	PROC_RUN(&res, "swarm", "start", "--head", "--arena=1M");
	SAID(2, "--arena=1.0 MiB is too small", "8M");
	PROC_RUN(&res, "swarm", "start", "--head", "--port=70000");
	SAID(2, "--port=70000", "65535");
	PROC_RUN(&res, "swarm", "start", "--head", "--transport=pigeon");
	SAID(2, "--transport=pigeon", "auto|verbs|ofi");
	PROC_RUN(&res, "swarm", "start", "--head", "--resource=tape");
	SAID(2, "--resource=tape", "NAME=AMOUNT");
	PROC_RUN(&res, "swarm", "start", "--address=nowhere");
	SAID(2, "--address=nowhere", "HOST:PORT");
	PROC_RUN(&res, "swarm", "start", "--address=a:1", "--max-nodes=3");
	SAID(2, "--max-nodes", "head");
	PROC_RUN(&res, "swarm", "list");
	SAID(2, "nodes|tasks|objects|workers|segments is missing");
	PROC_RUN(&res, "swarm", "list", "fish");
	SAID(2, "fish", "nodes|tasks|objects|workers|segments");
	PROC_RUN(&res, "swarm", "list", "nodes", "tasks");
	SAID(2, "tasks is too much");
	PROC_RUN(&res, "swarm", "drain", "two", "--dir", head());
	SAID(2, "two", "node number");
	PROC_RUN(&res, "swarm", "status", "--format=xml");
	SAID(2, "--format=xml", "table|json");
	PROC_RUN(&res, "swarm-worker");
	SAID(2, "swarmd starts this program");
}

static void nobody_there(void **state)
{
	const char *dir = fresh();

	(void)state;
	PROC_RUN(&res, "swarm", "status", "--dir", dir);
	SAID(1, "swarm status: ", dir);
	PROC_RUN(&res, "swarm", "stop", "--dir", dir);
	SAID(1, "no daemon runs in", dir, "--dir");
	PROC_RUN(&res, "swarm", "drain", "77", "--dir", head());
	SAID(1, "77");
}

static void one_daemon_a_directory(void **state)
{
	char pid[32];

	(void)state;
	snprintf(pid, sizeof(pid), "pid %d", cl.node[0].pid);
	PROC_RUN(&res, "swarm", "start", "--head", "--dir", head(), "--bind", "127.0.0.1:0",
		 "--arena=16M");
	SAID(1, "runs in", head(), pid, "swarm stop", "another --dir");
}

static void port_in_use(void **state)
{
	(void)state;
	PROC_RUN(&res, "swarm", "start", "--head", "--dir", fresh(), "--bind", cl.node[0].address,
		 "--arena=16M", "--transport=ofi");
	SAID(1, cl.node[0].address, "taken", "another port");
}

static void arena_beyond_memory(void **state)
{
	(void)state;
	PROC_RUN(&res, "swarm", "start", "--head", "--dir", fresh(), "--arena=900T");
	SAID(1, "arena of 900", "memory", "smaller --arena");
}

static void key_missing_or_wrong(void **state)
{
	const char *dir = fresh();
	char path[200];
	FILE *f;

	(void)state;
	PROC_RUN(&res, "swarm", "start", "--address", cl.node[0].address, "--dir", dir);
	SAID(2, "key", "--key-file");
	PROC_RUN(&res, "swarm", "start", "--address", cl.node[0].address, "--dir", dir,
		 "--key-file=/nonexistent/key", "--arena=16M", "--bind=127.0.0.1:0");
	SAID(1, "/nonexistent/key");
	snprintf(path, sizeof(path), "%s/other.key", cl.root);
	f = fopen(path, "w");
	assert_non_null(f);
	for (int i = 0; i < 64; i++)
		fputc('a', f);
	fputc('\n', f);
	fclose(f);
	assert_int_equal(chmod(path, 0644), 0);
	PROC_RUN(&res, "swarm", "start", "--address", cl.node[0].address, "--dir", dir, "--key-file",
		 path, "--arena=16M", "--bind=127.0.0.1:0", "--transport=ofi");
	SAID(1, path, "600");
	assert_int_equal(chmod(path, 0600), 0);
	PROC_RUN(&res, "swarm", "start", "--address", cl.node[0].address, "--dir", dir, "--key-file",
		 path, "--arena=16M", "--bind=127.0.0.1:0", "--transport=ofi");
	SAID(1, "key");
}

static void no_such_device(void **state)
{
	(void)state;
	PROC_RUN(&res, "swarm", "start", "--head", "--dir", fresh(), "--bind=127.0.0.1:0",
		 "--arena=16M", "--transport=verbs", "--device=nosuch0");
	SAID(1, "verbs");
}

static void worker_program_missing(void **state)
{
	(void)state;
	setenv("SWARM_WORKER", "/nonexistent/worker", 1);
	PROC_RUN(&res, "swarm", "start", "--head", "--dir", fresh(), "--bind=127.0.0.1:0",
		 "--arena=16M", "--transport=ofi");
	unsetenv("SWARM_WORKER");
	SAID(1, "/nonexistent/worker");
}

/* Nonsense from local processes and from the network ends their connections and nothing else. */
static void daemon_survives_strangers(void **state)
{
	const char *colon = strrchr(cl.node[0].address, ':');
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10)),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	char junk[4096];

	(void)state;
	memset(junk, 0x5a, sizeof(junk));
	for (int i = 0; i < 20; i++) {
		const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
		(void)!send(fd, junk, sizeof(junk), MSG_NOSIGNAL);
		close(fd);
	}
	PROC_RUN(&res, "swarm", "status", "--dir", head());
	assert_int_equal(res.status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(list_nodes),
	    cmocka_unit_test(every_list_answers),
	    cmocka_unit_test(memory_explains),
	    cmocka_unit_test(info_needs_no_daemon),
	    cmocka_unit_test(help_everywhere),
	    cmocka_unit_test(key_is_private),
	    cmocka_unit_test(start_prints_what_to_do),
	    cmocka_unit_test(used_wrongly),
	    cmocka_unit_test(nobody_there),
	    cmocka_unit_test(one_daemon_a_directory),
	    cmocka_unit_test(port_in_use),
	    cmocka_unit_test(arena_beyond_memory),
	    cmocka_unit_test(key_missing_or_wrong),
	    cmocka_unit_test(no_such_device),
	    cmocka_unit_test(worker_program_missing),
	    cmocka_unit_test(daemon_survives_strangers),
	    cmocka_unit_test(drain_lets_a_node_go),
	    cmocka_unit_test(head_starts_nodes),
	    cmocka_unit_test(stop_all),
	};

	if (getenv("TEST_FILTER"))
		cmocka_set_test_filter(getenv("TEST_FILTER"));
	return cmocka_run_group_tests(tests, start, stop);
}
