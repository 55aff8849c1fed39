/* SPDX-License-Identifier: Apache-2.0 */
/*
 * durable_test.c - objects that outlive the store: sync, durable puts, reopening the folder, SIGKILL at
 * any moment, group commit. The folder is on a disk (the build's), not in tmpfs.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include "tests/store/store_test.h"

static char folder[64];

static int make_folder(void **state SWI_UNUSED)
{
	snprintf(folder, sizeof(folder), "./durable-test-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state SWI_UNUSED)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", folder);
	return system(cmd);
}

static struct swarm_store *open_with(uint32_t flags, uint64_t arena)
{
	struct swarm_store_opts o = {.size = sizeof(o), .arena_bytes = arena, .flags = flags,
				     .spill_dir = folder, .node = 7};
	struct swarm_store *st = NULL;
	char why[256] = "";
	const int rc = swarm_store_open(&o, &st, why, sizeof(why));

	if (rc)
		fprintf(stderr, "open: %d %s\n", rc, why);
	return st;
}

static uint64_t len_of(uint64_t n)
{
	return n % 4 == 3 ? KIB(64) + n * 611 : n * 37 % 9000;
}

static int put(struct swarm_store *st, uint64_t n)
{
	uint8_t *p = malloc(len_of(n) + 1);
	int rc;

	fill(p, len_of(n), n);
	rc = swarm_store_put(st, numbered(n), p, len_of(n), 10 * NS_PER_S);
	free(p);
	return rc;
}

/* 0: there and right; -EBADMSG: wrong; else why not. What nobody has is waited for to the end of @ms. */
static int look_for(struct swarm_store *st, uint64_t n, uint64_t ms)
{
	struct swarm_view v;
	int rc = swarm_store_get(st, numbered(n), ms * NS_PER_MS, &v);

	if (rc)
		return rc;
	if (v.len != len_of(n) || !filled(v.data, v.len, n))
		rc = -EBADMSG;
	swarm_view_release(st, &v);
	return rc;
}

static int look(struct swarm_store *st, uint64_t n)
{
	return look_for(st, n, 30000);
}

static void sync__then_reopen__is_there_and_the_rest_is_not(void **state SWI_UNUSED)
{
	struct swarm_store *st = open_with(SWARM_STORE_KEEP, MIB(32));
	struct swarm_ref refs[100];
	uint8_t ready;

	assert_non_null(st);
	for (uint64_t n = 0; n < 100; n++) {
		refs[n / 2] = n % 2 ? numbered(n) : refs[n / 2];
		assert_int_equal(put(st, n), 0);
	}
	assert_int_equal(swarm_store_sync(st, refs, 50, SWARM_FOREVER), 0);
	assert_int_equal(swarm_store_sync(st, refs, 50, SWARM_FOREVER), 0); /* costs nothing now */
	swarm_store_close(st);
	st = open_with(SWARM_STORE_KEEP, MIB(32));
	assert_non_null(st);
	assert_int_equal(swarm_store_wait(st, &refs[3], 1, 1, NS_PER_S, &ready), 1);
	for (uint64_t n = 0; n < 100; n++) {
		assert_int_equal(look_for(st, n, n % 2 ? 30000 : 20), n % 2 ? 0 : -ENOENT);
	}
	for (uint64_t n = 1; n < 100; n += 4)
		assert_int_equal(swarm_store_delete(st, numbered(n)), 0);
	assert_int_equal(look(st, 1), SWARM_EDELETED); /* and the deletes are behind us */
	swarm_store_close(st);
	st = open_with(SWARM_STORE_KEEP, MIB(32));
	for (uint64_t n = 1; n < 100; n += 2)
		assert_int_equal(look_for(st, n, n % 4 == 1 ? 20 : 30000), n % 4 == 1 ? -ENOENT : 0);
	swarm_store_close(st);
}

static void sync__objects_with_an_old_home__are_found_by_their_reference(void **state SWI_UNUSED)
{
	struct swarm_store_opts o = {.size = sizeof(o), .arena_bytes = MIB(16), .spill_dir = folder,
				     .flags = SWARM_STORE_KEEP}; /* a random node number */
	struct swarm_store *st;
	struct swarm_view v;
	struct swarm_ref ref;
	uint8_t ready = 0;

	assert_int_equal(swarm_store_open(&o, &st, NULL, 0), 0);
	ref = swarm_ref_new(st);
	assert_int_equal(swarm_store_put(st, ref, "lasting", 7, 0), 0);
	assert_int_equal(swarm_store_sync(st, &ref, 1, SWARM_FOREVER), 0);
	swarm_store_close(st);
	assert_int_equal(swarm_store_open(&o, &st, NULL, 0), 0);
	assert_int_not_equal(swarm_store_node(st), ref.home);
	assert_int_equal(swarm_store_wait(st, &ref, 1, 1, NS_PER_S, &ready), 1);
	assert_int_equal(swarm_store_get(st, ref, NS_PER_S, &v), 0);
	assert_memory_equal(v.data, "lasting", 7);
	swarm_view_release(st, &v);
	assert_int_equal(swarm_store_delete(st, ref), 0);
	swarm_store_close(st);
	assert_int_equal(swarm_store_open(&o, &st, NULL, 0), 0);
	assert_true(swarm_store_get(st, ref, 50 * NS_PER_MS, &v) < 0);
	swarm_store_close(st);
}

static void sync__of_many__costs_few_syncs(void **state SWI_UNUSED)
{
	enum { COUNT = 6000 }; /* more than one message takes */
	struct swarm_ref *refs = calloc(COUNT, sizeof(*refs));
	struct swarm_store *st = open_with(SWARM_STORE_KEEP, MIB(64));

	assert_non_null(refs);
	for (uint64_t n = 0; n < COUNT; n++) {
		refs[n] = numbered(n);
		assert_int_equal(swarm_store_put(st, refs[n], &n, sizeof(n), NS_PER_S), 0);
	}
	assert_int_equal(swarm_store_sync(st, refs, COUNT, SWARM_FOREVER), 0);
	print_message("%d objects durable by %llu syncs\n", COUNT,
		      (unsigned long long)status_number(st, "syncs"));
	assert_in_range(status_number(st, "syncs"), 1, COUNT / 100);
	swarm_store_close(st);
	free(refs);
}

struct putter {
	pthread_t thread;
	struct swarm_store *st;
	uint64_t first, count;
	int rc;
};

static void *put_some(void *arg)
{
	struct putter *p = arg;

	for (uint64_t n = p->first; !p->rc && n < p->first + p->count; n++)
		p->rc = put(p->st, n);
	return NULL;
}

static void durable__puts_of_many_threads__share_syncs(void **state SWI_UNUSED)
{
	struct swarm_store *st = open_with(SWARM_STORE_DURABLE, MIB(64));
	struct putter p[8];

	for (uint64_t i = 0; i < 8; i++) {
		p[i] = (struct putter){.st = st, .first = i * 40, .count = 40};
		assert_int_equal(pthread_create(&p[i].thread, NULL, put_some, &p[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(p[i].thread, NULL);
		assert_int_equal(p[i].rc, 0);
	}
	print_message("320 durable puts by %llu syncs\n",
		      (unsigned long long)status_number(st, "syncs"));
	assert_in_range(status_number(st, "syncs"), 1, 300);
	swarm_store_close(st);
	st = open_with(SWARM_STORE_DURABLE, MIB(64));
	for (uint64_t n = 0; n < 320; n++)
		assert_int_equal(look(st, n), 0);
	swarm_store_close(st);
}

/* Writes to @fd how many puts have returned, until it is killed. */
static void put_for_ever(int fd)
{
	struct swarm_store *st = open_with(SWARM_STORE_DURABLE, MIB(32));

	for (uint64_t n = 0; st && !put(st, n); n++)
		if (write(fd, &n, sizeof(n)) != sizeof(n))
			break;
	_exit(1);
}

static void durable__put_many__is_one_group(void **state SWI_UNUSED)
{
	struct swarm_store *st = open_with(SWARM_STORE_DURABLE, MIB(32));
	struct swarm_put puts[500];
	uint64_t word[500];
	int status[500];
	struct swarm_view v;

	for (uint64_t n = 0; n < 500; n++) {
		word[n] = n * n;
		puts[n] = (struct swarm_put){numbered(n % 499), &word[n], sizeof(word[n])};
	}
	assert_int_equal(swarm_store_put_many(st, puts, 500, NS_PER_S, status), 499);
	assert_int_equal(status[499], -EEXIST);
	assert_in_range(status_number(st, "syncs"), 1, 20);
	swarm_store_close(st);
	st = open_with(SWARM_STORE_DURABLE, MIB(32));
	for (uint64_t n = 0; n < 499; n++) {
		assert_int_equal(swarm_store_get(st, numbered(n), 30 * NS_PER_S, &v), 0);
		assert_memory_equal(v.data, &word[n], sizeof(word[n]));
		swarm_view_release(st, &v);
	}
	swarm_store_close(st);
}

/*
 * Runs @work in a process of its own, which says a number after each round, and kills it behind at least @enough rounds,
 * somewhere in the next. Returns how many it finished.
 */
static uint64_t killed_behind(void (*work)(int fd), uint64_t enough)
{
	uint64_t done = 0, n;
	int fd[2], status;
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		work(fd[1]);
	close(fd[1]);
	while (done < enough && read(fd[0], &n, sizeof(n)) == sizeof(n))
		done = n + 1;
	assert_int_equal(kill(pid, SIGKILL), 0);
	while (read(fd[0], &n, sizeof(n)) == sizeof(n))
		done = n + 1;
	close(fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	return done;
}

static void durable__killed_at_any_moment__keeps_what_returned(void **state SWI_UNUSED)
{
	for (uint64_t round = 0; round < 12; round++) {
		/* The kill comes right behind an answer, while the next put is somewhere on its way. */
		const uint64_t acked = killed_behind(put_for_ever, 3 + round * 9);
		struct swarm_store *st;
		uint64_t n;
		int status;

		st = open_with(SWARM_STORE_KEEP, MIB(32));
		assert_non_null(st);
		for (n = 0; n < acked; n++)
			assert_int_equal(look(st, n), 0);
		status = look_for(st, acked, 500); /* the one on its way: whole, or missing */
		assert_true(status == 0 || status == -ENOENT);
		for (n = 0; n <= acked; n++)
			assert_int_equal(swarm_store_delete(st, numbered(n)), 0);
		swarm_store_close(st);
	}
}

/* Puts two, deletes the first of them, says so to @fd; until it is killed. */
static void put_and_delete_for_ever(int fd)
{
	struct swarm_store *st = open_with(SWARM_STORE_DURABLE, MIB(32));

	for (uint64_t n = 0; st && !put(st, 2 * n) && !put(st, 2 * n + 1); n++)
		if (swarm_store_delete(st, numbered(2 * n)) || write(fd, &n, sizeof(n)) != sizeof(n))
			break;
	_exit(1);
}

static void durable__killed_behind_a_delete__it_stays_deleted(void **state SWI_UNUSED)
{
	for (uint64_t round = 0; round < 6; round++) {
		const uint64_t done = killed_behind(put_and_delete_for_ever, 1 + round * 7);
		struct swarm_store *st;
		uint64_t n;

		st = open_with(SWARM_STORE_DURABLE, MIB(32));
		assert_non_null(st);
		for (n = 0; n < done; n++) {
			assert_int_equal(look_for(st, 2 * n, 5), -ENOENT);
			assert_int_equal(look(st, 2 * n + 1), 0);
		}
		for (n = 0; n <= done; n++) {
			assert_int_equal(swarm_store_delete(st, numbered(2 * n)), 0);
			assert_int_equal(swarm_store_delete(st, numbered(2 * n + 1)), 0);
		}
		swarm_store_close(st);
	}
}

static void sync__more_than_memory__writes_and_evicts_together(void **state SWI_UNUSED)
{
	struct swarm_store *st = open_with(SWARM_STORE_KEEP, MIB(16));
	struct swarm_ref refs[8];

	assert_non_null(st);
	for (uint64_t n = 3; n < 1600; n += 4) { /* 64 KiB and more each, 200 MB in all */
		assert_int_equal(put(st, n), 0);
		refs[n / 4 % 8] = numbered(n);
		if (n / 4 % 8 == 7)
			assert_int_equal(swarm_store_sync(st, refs, 8, 30 * NS_PER_S), 0);
	}
	swarm_store_close(st);
	st = open_with(SWARM_STORE_KEEP, MIB(16));
	for (uint64_t n = 3; n < 1600; n += 4)
		assert_int_equal(look(st, n), 0);
	swarm_store_close(st);
}

static void sync__errors__are_typed(void **state SWI_UNUSED)
{
	struct swarm_store_opts none = {.size = sizeof(none), .arena_bytes = MIB(8),
					.flags = SWARM_STORE_KEEP};
	struct swarm_store *st = NULL;
	struct swarm_ref refs[2] = {numbered(1), numbered(2)};
	char why[128] = "", text[256];

	assert_int_equal(swarm_store_open(&none, &st, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "spill_dir"));
	st = open_with(0, MIB(16));
	assert_int_equal(put(st, 1), 0);
	assert_int_equal(swarm_store_sync(st, refs, 1, NS_PER_S), -EOPNOTSUPP);
	swarm_store_close(st);
	st = open_with(SWARM_STORE_KEEP, MIB(16));
	assert_int_equal(put(st, 1), 0);
	assert_int_equal(swarm_store_sync(st, refs, 0, NS_PER_S), 0);
	assert_int_equal(swarm_store_sync(st, refs, 2, NS_PER_S), -ENOENT);
	assert_int_equal(swarm_store_sync(st, refs, 1, NS_PER_S), 0);
	assert_int_equal(swarm_store_explain(st, refs[0], text, sizeof(text)), 0);
	swarm_store_close(st);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
	const struct CMUnitTest tests[] = {
		T(sync__then_reopen__is_there_and_the_rest_is_not),
		T(sync__objects_with_an_old_home__are_found_by_their_reference),
		T(sync__of_many__costs_few_syncs),
		T(durable__puts_of_many_threads__share_syncs),
		T(durable__put_many__is_one_group),
		T(durable__killed_at_any_moment__keeps_what_returned),
		T(durable__killed_behind_a_delete__it_stays_deleted),
		T(sync__more_than_memory__writes_and_evicts_together),
		T(sync__errors__are_typed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
