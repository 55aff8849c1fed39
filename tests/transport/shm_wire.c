/* SPDX-License-Identifier: Apache-2.0 */
/* shm_wire.c - the GRANT of a process of this host: bytes, round trips, cuts, and what must not be accepted. */
#include "check.h"

#include "transport/shm/shm_wire.h"

static uint8_t buf[SHM_GRANT_MAX + 64];

static uint32_t put(const struct shm_grant *m)
{
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_shm_put_grant(&w, m);
	assert_true(swi_wr_ok(&w));
	return w.len;
}

static int get(const void *p, uint32_t len, struct shm_grant *out)
{
	struct swi_rd r = swi_rd_init(p, len);

	assert_int_equal(swi_rd_u8(&r), SHM_GRANT);
	return swi_shm_get_grant(&r, out);
}

static void grant__bytes_are_as_documented(void **state SWI_UNUSED)
{
	static const uint8_t want[] = {2, 7, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x11, 0, 0, 0, 0,
				       0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0};
	const struct shm_grant m = {.slot = 7, .word = 9, .count = 1, .mem = {{0x11, 4096, 65536}}};
	struct shm_grant got;

	assert_int_equal(put(&m), sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
	assert_int_equal(get(want, sizeof(want), &got), 0);
	assert_memory_equal(&got, &m, sizeof(m));
}

static void grant__of_the_most__makes_the_round_and_no_cut_does(void **state SWI_UNUSED)
{
	struct shm_grant m = {.slot = SHM_EPS_MAX - 1, .word = UINT64_MAX}, got;
	uint32_t len;

	for (; m.count < SHM_WINDOWS_MAX; m.count++)
		m.mem[m.count] = (struct shm_memory){m.count, m.count << 12, UINT64_MAX - m.count};
	len = put(&m);
	assert_int_equal(len, SHM_GRANT_MAX);
	assert_int_equal(get(buf, len, &got), 0);
	assert_memory_equal(&got, &m, sizeof(m));
	for (uint32_t n = 1; n < len; n++)
		assert_int_equal(get(buf, n, &got), SWARM_EPROTO);
	assert_int_equal(get(buf, len + 1, &got), SWARM_EPROTO); /* a byte too much */
}

static void grant__of_what_cannot_be__is_refused(void **state SWI_UNUSED)
{
	struct shm_grant got, m = {.slot = SHM_EPS_MAX, .word = 1};

	assert_int_equal(get(buf, put(&m), &got), SWARM_EPROTO); /* no such word */
	m = (struct shm_grant){.slot = 1, .word = 0};
	assert_int_equal(get(buf, put(&m), &got), SWARM_EPROTO); /* a word that is never granted */
	m.word = 1;
	assert_int_equal(get(buf, put(&m), &got), 0);
	buf[13] = SHM_WINDOWS_MAX + 1;
	assert_int_equal(get(buf, SHM_GRANT_MAX + 24, &got), SWARM_EPROTO);
}

static void memory__beyond_its_file__does_not_fit(void **state SWI_UNUSED)
{
	static const struct {
		struct shm_memory m;
		bool fits;
	} list[] = {{{0, 0, 8192}, true}, {{0, 4096, 4096}, true}, {{0, 8192, 0}, true}, {{0, 4096, 4097}, false},
		    {{0, 8193, 0}, false}, {{0, UINT64_MAX, 2}, false}, {{0, 4096, UINT64_MAX}, false}};

	for (size_t i = 0; i < SWI_ARRAY_LEN(list); i++)
		assert_int_equal(swi_shm_memory_fits(&list[i].m, 8192), list[i].fits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(grant__bytes_are_as_documented),
	    cmocka_unit_test(grant__of_the_most__makes_the_round_and_no_cut_does),
	    cmocka_unit_test(grant__of_what_cannot_be__is_refused),
	    cmocka_unit_test(memory__beyond_its_file__does_not_fit),
	};

	return RUN(tests);
}
