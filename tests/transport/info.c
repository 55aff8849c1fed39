/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - the list of transports: rows, the room given, and reasons. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <swarm/transport.h>
#include <swarm/version.h>

static void list__no_room__only_counts(void **state)
{
	(void)state;
	assert_int_equal(swarm_transport_list(NULL, 0), 3);
}

static void list__less_room__rest_untouched(void **state)
{
	struct swarm_transport_info row[2];

	(void)state;
	memset(row, 0x5a, sizeof(row));
	assert_int_equal(swarm_transport_list(row, 1), 3);
	assert_string_equal(row[0].name, "verbs");
	assert_int_equal(row[1].name[0], 0x5a);
}

/* What is available names its device; what is not says why; and only what is built in is available. */
static void list__every_row__device_or_reason(void **state)
{
	struct swarm_transport_info row[3];

	(void)state;
	assert_int_equal(swarm_transport_list(row, 3), 3);
	assert_string_equal(row[1].name, "ofi");
	assert_string_equal(row[2].name, "shm");
	assert_true(row[2].flags & SWARM_TRANSPORT_AVAILABLE);
	for (int i = 0; i < 3; i++) {
		if (row[i].flags & SWARM_TRANSPORT_AVAILABLE) {
			assert_true(row[i].flags & SWARM_TRANSPORT_BUILT_IN);
			assert_true(row[i].device[0]);
			assert_false(row[i].why[0]);
		} else {
			assert_true(row[i].why[0]);
			assert_false(row[i].device[0]);
		}
	}
}

static void version__library__that_of_the_headers(void **state)
{
	(void)state;
	assert_string_equal(swarm_version(), SWARM_VERSION_STRING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list__no_room__only_counts),
		cmocka_unit_test(list__less_room__rest_untouched),
		cmocka_unit_test(list__every_row__device_or_reason),
		cmocka_unit_test(version__library__that_of_the_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
