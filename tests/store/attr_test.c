/* SPDX-License-Identifier: Apache-2.0 */
/* attr_test.c - pins by policy, ends in time, quotas, how names and ids stay apart, and the arena's options. */
#include <dirent.h>
#include <sys/resource.h>

#include "tests/store/api_rig.h"

static uint8_t bytes[MIB(1)];

static int put(struct swarm_store *st, struct swarm_ref ref, uint64_t len)
{
	return swarm_store_put(st, ref, bytes, len, 2 * NS_PER_S);
}

/* ---- the end in time ---- */

static bool gone(struct swarm_store *st, struct swarm_ref ref)
{
	const uint64_t end = test_now() + 20 * NS_PER_S;

	while (swarm_store_contains(st, ref))
		if (test_now() > end)
			return false;
	return true;
}

static void test_expires(void **state)
{
	struct api *a = *state;
	struct swarm_view v;
	char text[128];

	assert_int_equal(swarm_store_expire(a->st, numbered(1), NS_PER_MS), -ENOENT);
	assert_int_equal(put(a->st, numbered(1), 100), 0);
	assert_int_equal(put(a->st, numbered(2), MIB(1)), 0);
	assert_int_equal(put(a->st, numbered(3), 100), 0);
	assert_int_equal(swarm_store_get(a->other, numbered(2), 0, &v), 0);
	assert_int_equal(swarm_store_expire(a->st, numbered(3), 100 * NS_PER_MS), 0);
	assert_int_equal(swarm_store_expire(a->st, numbered(3), SWARM_FOREVER), 0); /* taken back */
	assert_int_equal(swarm_store_expire(a->other, numbered(2), 0), 0);
	const uint64_t before = test_now();

	assert_int_equal(swarm_store_expire(a->st, numbered(1), 150 * NS_PER_MS), 0);
	assert_true(gone(a->st, numbered(1)));
	assert_true(test_now() - before >= 150 * NS_PER_MS);
	assert_int_equal(swarm_store_explain(a->st, numbered(1), text, sizeof(text)), SWARM_EDELETED);
	assert_int_equal(swarm_store_contains(a->st, numbered(3)), 1);
	assert_int_equal(swarm_store_contains(a->st, numbered(2)), 1); /* somebody reads it */
	assert_true(!memcmp(v.data, bytes, v.len));
	assert_int_equal(status_number(a->st, "expiring"), 1);
	swarm_view_release(a->other, &v);
	assert_true(gone(a->st, numbered(2)));
	assert_int_equal(status_number(a->st, "expired"), 2);
	assert_int_equal(status_number(a->st, "expiring"), 0);
	/* Made anew under its name: the old end does not count. */
	assert_int_equal(put(a->st, numbered(1), 7), 0);
	assert_int_equal(swarm_store_expire(a->st, numbered(1), 20 * NS_PER_MS), 0);
	assert_int_equal(swarm_store_delete(a->st, numbered(1)), 0);
	while (status_number(a->st, "expiring"))
		;
	assert_int_equal(put(a->st, numbered(1), 8), 0);
	assert_int_equal(swarm_store_get(a->st, numbered(99), 60 * NS_PER_MS, &v), -ENOENT);
	assert_int_equal(swarm_store_contains(a->st, numbered(1)), 1);
}

/* ---- pins ---- */

static uint32_t flags_of(struct swarm_store *st, struct swarm_ref ref)
{
	static struct swarm_object_info row[256];
	const int64_t n = swarm_store_list(st, row, 256);

	assert_true(n >= 0 && n <= 256);
	for (int64_t i = 0; i < n; i++)
		if (swarm_oid_equal(row[i].ref.id, ref.id))
			return row[i].flags;
	return 0;
}

/* 4 x the arena goes through: hard stays in memory, soft may be written, both are whole. */
static void test_pins(void **state)
{
	char spill[] = "/tmp/swarm-test-XXXXXX", cmd[64], why[256] = "";
	struct swarm_store_opts o = {
	    .size = sizeof(o), .arena_bytes = MIB(16), .pin_bytes_max = MIB(4), .spill_dir = spill};
	struct swarm_store *st;
	struct swarm_view v;

	(void)state;
	assert_non_null(mkdtemp(spill));
	if (swarm_store_open(&o, &st, why, sizeof(why)))
		fail_msg("%s", why);
	for (uint64_t i = 0; i < 6; i++)
		assert_int_equal(put(st, numbered(i), MIB(1) - KIB(8)), 0);
	assert_int_equal(swarm_store_pin(st, numbered(100), SWARM_PIN_HARD, 0), -ENOENT);
	assert_int_equal(swarm_store_pin(st, numbered(0), 3, 0), -EINVAL);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(swarm_store_pin(st, numbered(i), SWARM_PIN_HARD, 0), 0);
	assert_int_equal(swarm_store_pin(st, numbered(4), SWARM_PIN_HARD, 0), SWARM_EPINLIMIT);
	assert_non_null(strstr(swarm_strerror(SWARM_EPINLIMIT), "pin_bytes_max"));
	assert_non_null(strstr(swarm_strremedy(SWARM_EPINLIMIT), "unpin"));
	assert_int_equal(swarm_store_pin(st, numbered(3), SWARM_PIN_SOFT, 0), 0); /* gives room back */
	assert_int_equal(swarm_store_pin(st, numbered(4), SWARM_PIN_HARD, 0), 0);
	assert_int_equal(status_number(st, "pinned_hard"), 4);
	assert_int_equal(status_number(st, "pinned_soft"), 1);
	assert_true(flags_of(st, numbered(4)) & SWARM_OBJECT_PIN_HARD);
	assert_true(flags_of(st, numbered(3)) & SWARM_OBJECT_PIN_SOFT);
	for (uint64_t i = 10; i < 74; i++)
		assert_int_equal(swarm_store_put(st, numbered(i), bytes, MIB(1) - KIB(8), 20 * NS_PER_S), 0);
	for (uint64_t i = 0; i < 5; i++) /* soft: what is there without pins is enough for the others */
		assert_int_equal(swarm_store_contains(st, numbered(i)), 1);
	assert_int_equal(swarm_store_contains(st, numbered(5)), 0);
	assert_true(status_number(st, "spilled_objects") > 40);
	assert_int_equal(flags_of(st, numbered(0)) & SWARM_OBJECT_SPILLED, 0);
	/* Unpinned it leaves as any other. */
	assert_int_equal(swarm_store_pin(st, numbered(0), SWARM_PIN_NONE, 0), 0);
	for (uint64_t i = 80; i < 120; i++)
		assert_int_equal(swarm_store_put(st, numbered(i), bytes, MIB(1) - KIB(8), 20 * NS_PER_S), 0);
	assert_int_equal(swarm_store_contains(st, numbered(0)), 0);
	assert_int_equal(swarm_store_contains(st, numbered(1)), 1);
	assert_int_equal(swarm_store_get(st, numbered(0), 20 * NS_PER_S, &v), 0);
	assert_memory_equal(v.data, bytes, v.len);
	swarm_view_release(st, &v);
	assert_int_equal(swarm_store_delete(st, numbered(1)), 0); /* a pin does not keep from a delete */
	while (status_number(st, "pinned_hard") != 2)
		;
	swarm_store_close(st);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", spill);
	assert_int_equal(system(cmd), 0);
}

/* ---- quotas ---- */

static int quota_open(void **state)
{
	api_opts.client_quota_bytes = MIB(4);
	const int rc = api_attached(state);

	api_opts.client_quota_bytes = 0;
	return rc;
}

static int child_fills(const char *dir)
{
	struct swarm_store *st, *again;
	uint64_t n = 0;
	int rc = 0;

	if (swarm_store_attach(dir, &st, NULL, 0) || swarm_store_attach(dir, &again, NULL, 0))
		return 1;
	while (n < 100 && !(rc = put(n % 2 ? st : again, numbered(1000 + n), KIB(200))))
		n++;
	/* Two attachments, one process: 4 MiB in all. */
	return rc == SWARM_EQUOTA && n >= 12 && n <= 20 ? 0 : 2;
}

static void test_quota(void **state)
{
	struct api *a = *state;
	uint64_t n = 0, small = 0;
	int rc;

	while (n < 100 && !(rc = put(a->st, numbered(n), KIB(500))))
		n++;
	assert_int_equal(rc, SWARM_EQUOTA);
	assert_in_range(n, 6, 8);
	assert_non_null(strstr(swarm_strerror(rc), "client_quota_bytes"));
	assert_non_null(strstr(swarm_strremedy(rc), "delete objects"));
	/* Another process has a quota of its own, and its death does not give it to us. */
	assert_int_equal(wait_child(fork_child(child_fills, test_dir)), 0);
	/* What it deletes it may fill again, at once. */
	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(swarm_store_delete(a->st, numbered(i)), 0);
	for (uint64_t i = 0; i < n - 1; i++)
		assert_int_equal(put(a->st, numbered(i), KIB(500)), 0);
	for (uint64_t i = 0; i < n - 1; i++)
		assert_int_equal(swarm_store_delete(a->st, numbered(i)), 0);
	/* Small ones, from chunks. */
	while (small < 100000 && !(rc = put(a->st, numbered(5000 + small), 1000)))
		small++;
	assert_int_equal(rc, SWARM_EQUOTA);
	assert_in_range(small * 1088, MIB(3), MIB(4));
	assert_true(status_number(a->st, "quota_refusals") > 0);
}

/* ---- names and ids ---- */

static void test_names(void **state)
{
	struct api *a = *state;
	static char name[KIB(64)];
	uint8_t key[16] = {0};
	struct swarm_ref ref[6];
	struct swarm_view v;

	memset(name, 'n', sizeof(name) - 1);
	ref[0] = swarm_ref_named("");
	ref[1] = swarm_ref_named(name); /* 65,535 bytes */
	name[sizeof(name) - 2] = 'm';
	ref[2] = swarm_ref_named(name);
	ref[3] = swarm_ref_key(key); /* all zero is a key like any other */
	memcpy(key, "\xff\0\n\x80" "\"%s/../\0\1\xfe", 13);
	ref[4] = swarm_ref_key(key);
	ref[5] = swarm_ref_new(a->st);
	for (uint32_t i = 0; i < 6; i++) {
		for (uint32_t k = 0; k < i; k++)
			assert_false(swarm_oid_equal(ref[i].id, ref[k].id));
		assert_int_equal(swarm_store_put(a->st, ref[i], &i, sizeof(i), 0), 0);
	}
	for (uint32_t i = 0; i < 6; i++) {
		assert_int_equal(swarm_store_get(a->other, ref[i], 0, &v), 0);
		assert_memory_equal(v.data, &i, sizeof(i));
		assert_int_equal(v.ref.home, ref[i].home);
		swarm_view_release(a->other, &v);
	}
	/* A generated id given as a key is the same value: the first one stands, whatever it is called. */
	struct swarm_ref twin = ref[5];

	twin.home = 0;
	assert_int_equal(put(a->other, twin, 100), -EEXIST);
	assert_int_equal(swarm_store_get(a->other, twin, 0, &v), 0);
	assert_int_equal(v.len, sizeof(uint32_t));
	swarm_view_release(a->other, &v);
	assert_int_equal(ref[0].home, 0);
	assert_int_equal(ref[5].home, swarm_store_node(a->st));
}

/* ---- the arena ---- */

static uint64_t free_huge_pages(void)
{
	char line[128];
	uint64_t n = 0;
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "HugePages_Free:", 15))
			n = strtoull(line + 15, NULL, 10);
	if (f)
		fclose(f);
	return n;
}

static int open_with(struct swarm_store_opts *o, char *why, size_t why_len)
{
	struct swarm_store *st;

	o->size = sizeof(*o);
	why[0] = '\0';
	const int rc = swarm_store_open(o, &st, why, why_len);

	if (!rc) {
		assert_int_equal(put(st, numbered(1), MIB(1)), 0);
		swarm_store_close(st);
	}
	return rc;
}

static void test_arena_options(void **state)
{
	char why[512];
	struct swarm_store_opts huge = {.flags = SWARM_STORE_HUGETLB, .arena_bytes = MIB(8)},
				clear = {.flags = SWARM_STORE_HUGE_PAGES, .arena_bytes = MIB(8)},
				numa = {.flags = SWARM_STORE_NUMA, .arena_bytes = MIB(8)},
				lock = {.flags = SWARM_STORE_LOCK, .arena_bytes = MIB(8)},
				vast = {.arena_bytes = 1ull << 50}, unknown = {.flags = 0x8000};
	int rc;

	(void)state;
	rc = open_with(&huge, why, sizeof(why));
	if (free_huge_pages() < 4) {
		assert_int_equal(rc, -ENOMEM);
		assert_non_null(strstr(why, "vm.nr_hugepages"));
		assert_non_null(strstr(why, "arena"));
	} else {
		assert_int_equal(rc, 0);
	}
	assert_int_equal(open_with(&clear, why, sizeof(why)), 0);
	rc = open_with(&numa, why, sizeof(why)); /* node 0 */
	assert_true(rc == 0 || (rc == -ENOSYS && strstr(why, "NUMA node 0")) || (rc == -EPERM && strstr(why, "NUMA")));
	numa.numa_node = 900;
	assert_true(open_with(&numa, why, sizeof(why)) < 0);
	assert_non_null(strstr(why, "NUMA node 900"));
	assert_int_equal(open_with(&vast, why, sizeof(why)), -ENOMEM);
	assert_non_null(strstr(why, "available"));
	assert_int_equal(open_with(&unknown, why, sizeof(why)), -EINVAL);
	rc = open_with(&lock, why, sizeof(why));
	assert_true(rc == 0 || rc == SWARM_EMEMLOCK);
}

/* Without privileges and with a low limit: said before any memory is taken. */
static int child_locks(const char *dir SWI_UNUSED)
{
	const struct rlimit low = {.rlim_cur = KIB(64), .rlim_max = KIB(64)};
	struct swarm_store_opts o = {.flags = SWARM_STORE_LOCK, .arena_bytes = MIB(8)};
	char why[512];

	if (setrlimit(RLIMIT_MEMLOCK, &low) || (geteuid() == 0 && setuid(65534)))
		return 1;
	const int rc = open_with(&o, why, sizeof(why));

	return rc == SWARM_EMEMLOCK && strstr(why, "RLIMIT_MEMLOCK is 64 KiB") && strstr(why, "ulimit -l")
		   ? 0
		   : 2;
}

static void test_memlock(void **state)
{
	(void)state;
	assert_int_equal(wait_child(fork_child(child_locks, NULL)), 0);
}

/* An old program's struct is shorter; a newer one's is refused. */
static void test_options_by_size(void **state)
{
	struct swarm_store_opts o = {.size = offsetof(struct swarm_store_opts, numa_node),
				     .arena_bytes = MIB(8),
				     .numa_node = 77,
				     .client_quota_bytes = 1};
	struct swarm_store *st;
	char why[256];

	(void)state;
	assert_int_equal(swarm_store_open(&o, &st, why, sizeof(why)), 0);
	assert_int_equal(put(st, numbered(1), KIB(100)), 0); /* no quota of 1 byte */
	swarm_store_close(st);
	o.size = sizeof(o) + 8;
	assert_int_equal(swarm_store_open(&o, &st, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "sizeof"));
}

/* Entries of the submission rings of this process, as the kernel shows them: the largest; 0 = none. */
static unsigned int ring_entries(void)
{
	DIR *dir = opendir("/proc/self/fdinfo");
	const struct dirent *e;
	unsigned int mask, most = 0;

	assert_non_null(dir);
	while ((e = readdir(dir)) != NULL) {
		char path[300], line[256];
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", e->d_name);
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "SqMask: %x", &mask) == 1 && mask + 1 > most)
				most = mask + 1;
		if (f)
			fclose(f);
	}
	closedir(dir);
	return most;
}

static void test_spill_depth(void **state)
{
	char spill[] = "/tmp/swarm-test-XXXXXX", why[256];
	struct swarm_store_opts o = {.size = sizeof(o), .arena_bytes = MIB(8), .spill_dir = spill};
	struct swarm_store *st;

	(void)state;
	assert_non_null(mkdtemp(spill));
	assert_int_equal(swarm_store_open(&o, &st, why, sizeof(why)), 0);
	const unsigned int usual = ring_entries();

	swarm_store_close(st);
	if (usual)
		assert_int_equal(usual, 64);
	o.spill_depth = 8;
	assert_int_equal(swarm_store_open(&o, &st, why, sizeof(why)), 0);
	assert_int_equal(ring_entries(), usual ? 8 : 0);
	for (uint64_t i = 0; i < 32; i++) /* what does not fit goes through it */
		assert_int_equal(put(st, numbered(i), MIB(1) - KIB(8)), 0);
	assert_true(status_number(st, "spilled_objects") > 0);
	swarm_store_close(st);
	o.spill_depth = SWARM_SPILL_DEPTH_MAX + 1;
	assert_int_equal(swarm_store_open(&o, &st, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "spill_depth"));
	assert_int_equal(rmdir(spill), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_memlock), /* it forks: first */
	    API_TEST(test_expires),
	    cmocka_unit_test(test_pins),
	    cmocka_unit_test_setup_teardown(test_quota, quota_open, api_close),
	    API_TEST(test_names),
	    cmocka_unit_test(test_arena_options),
	    cmocka_unit_test(test_options_by_size),
	    cmocka_unit_test(test_spill_depth),
	};

	fill(bytes, sizeof(bytes), 9);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
