/* SPDX-License-Identifier: Apache-2.0 */
/* store_test.h - what the store's tests share: a store with a run directory of its own, children, patterns. */
#ifndef SWARM_STORE_TEST_H
#define SWARM_STORE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/lc.h"
#include "store/store_internal.h"
#include "tests/patience.h"

static char test_dir[64];

static inline SWI_UNUSED void fill(void *p, uint64_t len, uint64_t seed)
{
	uint8_t *b = p;

	for (uint64_t i = 0; i < len; i++)
		b[i] = (uint8_t)(seed * 131 + i * 7 + (i >> 9));
}

static inline SWI_UNUSED bool filled(const void *p, uint64_t len, uint64_t seed)
{
	const uint8_t *b = p;

	for (uint64_t i = 0; i < len; i++)
		if (b[i] != (uint8_t)(seed * 131 + i * 7 + (i >> 9)))
			return false;
	return true;
}

static inline SWI_UNUSED struct swarm_ref numbered(uint64_t n)
{
	return (struct swarm_ref){.id = {.w = {0x7e57, n + 1}}};
}

static inline uint64_t test_now(void)
{
	return swi_now(swi_env_real());
}

static inline SWI_UNUSED uint64_t status_number(struct swarm_store *st, const char *key)
{
	char *json, pat[64];

	assert_int_equal(swarm_store_status(st, &json), 0);
	snprintf(pat, sizeof(pat), "\"%s\":", key);
	const char *at = strstr(json, pat);

	assert_non_null(at);
	const uint64_t v = strtoull(at + strlen(pat), NULL, 10);

	free(json);
	return v;
}

static inline SWI_UNUSED uint64_t arena_used(struct swarm_store *st)
{
	return status_number(st, "arena_used");
}

/* Asks until no more than @most bytes are used: releases and ends of processes are noticed asynchronously. */
static inline SWI_UNUSED bool arena_settles(struct swarm_store *st, uint64_t most)
{
	const uint64_t end = test_now() + TEST_LIMIT_NS;

	while (arena_used(st) > most)
		if (test_now() > end)
			return false;
	return true;
}

static inline SWI_UNUSED int open_store(void **state)
{
	struct swarm_store_opts o = {.size = sizeof(o), .arena_bytes = MIB(32), .objects_max = 20000};
	char why[256] = "";

	snprintf(test_dir, sizeof(test_dir), "/tmp/swarm-test-XXXXXX");
	if (!mkdtemp(test_dir))
		return -1;
	o.dir = test_dir;
	const int rc = swarm_store_open(&o, (struct swarm_store **)state, why, sizeof(why));

	if (rc)
		fprintf(stderr, "open: %d %s\n", rc, why);
	return rc;
}

static inline SWI_UNUSED void remove_dir(const char *dir)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/swarm.lock", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/swarm.sock", dir);
	unlink(path);
	rmdir(dir);
}

static inline SWI_UNUSED int close_store(void **state)
{
	swarm_store_close(*state);
	remove_dir(test_dir);
	return 0;
}

static inline SWI_UNUSED pid_t fork_child(int (*fn)(const char *dir), const char *dir)
{
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) /* not looked at for leaks: it has the memory of its parent's threads, and not the threads */
		_exit(fn(dir));
	return pid;
}

static inline SWI_UNUSED int wait_child(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

#endif
