/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_idle.c - two daemons that are connected and have nothing to do take less than 1 % of a core each:
 * they sleep on descriptors, and only heartbeats and pings wake them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>
#include <unistd.h>

#include "tests/tools/proc.h"

#define SPAN_S 5 /* measured */
#define LIMIT  (1.0 * TEST_PATIENCE) /* per cent of a core; a sanitizer makes every wake-up dearer */

static double cpu_s(int pid)
{
	unsigned long user, sys;
	char path[40], line[1024], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	fclose(f);
	p = strrchr(line, ')'); /* the name may hold anything */
	assert_non_null(p);
	assert_int_equal(sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
				&sys),
			 2);
	return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static struct test_cluster c;

/* Also after a failure: no daemon outlives its test. */
static int teardown(void **state)
{
	(void)state;
	if (c.root[0])
		cluster_fini(&c);
	c.root[0] = '\0';
	return 0;
}

static void idle(const char *transport)
{
	char option[40];
	double before[2];
	const char *extra[] = {option, "--arena=16M", NULL};

	snprintf(option, sizeof(option), "--transport=%s", transport);
	cluster_init(&c);
	cluster_start(&c, 0, extra);
	cluster_start(&c, 1, extra); /* returns when it has joined */
	nanosleep(&(struct timespec){.tv_sec = 1}, NULL); /* what follows a start is no idleness */
	for (uint32_t i = 0; i < 2; i++)
		before[i] = cpu_s(c.node[i].pid);
	nanosleep(&(struct timespec){.tv_sec = SPAN_S}, NULL);
	for (uint32_t i = 0; i < 2; i++) {
		const double percent = (cpu_s(c.node[i].pid) - before[i]) * 100 / SPAN_S;

		print_message("%s, daemon %u: %.2f %% of a core\n", transport, i, percent);
		assert_true(percent < LIMIT);
	}
	cluster_stop(&c, 1);
	cluster_stop(&c, 0);
}

static void idle__over_libfabric__sleeps(void **state)
{
	(void)state;
	idle("ofi");
}

static void idle__over_shared_memory__sleeps(void **state)
{
	(void)state;
	idle("shm");
}

static void idle__as_chosen__sleeps(void **state)
{
	(void)state;
	idle("auto");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(idle__over_libfabric__sleeps, teardown),
	    cmocka_unit_test_teardown(idle__over_shared_memory__sleeps, teardown),
	    cmocka_unit_test_teardown(idle__as_chosen__sleeps, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
