/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugetlb_test.c - an arena in huge pages that the host has reserved: objects in and out of it by its own process, by
 * an attached one, by a disk and by another node's READs.
 *
 * Runs where so many huge pages are free; as root it reserves what is missing and puts the number back. Else it is
 * skipped (77) and says why.
 */
#include <dirent.h>

#include "store/host.h"
#include "tests/store/store_test.h"

#define ARENA	  MIB(32)
#define PEER	  MIB(16)
#define OBJECTS	  64u /* of 1 MiB: twice what the arena holds */
#define PAGES	  "/proc/sys/vm/nr_hugepages"
#define LARGEST   MIB(2) /* a larger page would take gigabytes for a test */

static uint8_t bytes[MIB(1) - KIB(4)];
static uint64_t found; /* huge pages as they were; UINT64_MAX: left as they are */

static uint64_t meminfo(const char *key)
{
	char line[128];
	uint64_t n = 0;
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			n = strtoull(line + strlen(key), NULL, 10);
	if (f)
		fclose(f);
	return n;
}

static uint64_t pages(void)
{
	unsigned long long n = 0;
	FILE *f = fopen(PAGES, "re");

	if (!f || fscanf(f, "%llu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

static bool set_pages(uint64_t n)
{
	FILE *f = fopen(PAGES, "we");

	if (!f)
		return false;
	fprintf(f, "%llu", (unsigned long long)n);
	return fclose(f) == 0;
}

static void put_back(void)
{
	if (found != UINT64_MAX)
		(void)set_pages(found);
}

static uint64_t free_pages(void)
{
	const uint64_t n = meminfo("HugePages_Free:"), taken = meminfo("HugePages_Rsvd:");

	return n - swi_min_u64(n, taken);
}

/* NULL: so many are free now. Else why not. */
static const char *have_pages(void)
{
	const uint64_t size = meminfo("Hugepagesize:") * 1024;

	found = UINT64_MAX;
	if (!size)
		return "this kernel has no huge pages";
	if (size > LARGEST)
		return "the huge pages of this host are larger than 2 MiB";
	const uint64_t need = (ARENA + PEER) / size;

	if (free_pages() >= need)
		return NULL;
	found = pages();
	if (!set_pages(found + need - free_pages())) {
		found = UINT64_MAX;
		return "too few huge pages are free, and only root may reserve more (vm.nr_hugepages)";
	}
	(void)atexit(put_back);
	return free_pages() >= need ? NULL : "this host has no memory for huge pages";
}

struct node {
	struct swarm_store *st;
	char dir[32], spill[32], key[64];
};

static struct swarm_store *open_huge(const struct swarm_store_opts *more, uint64_t arena)
{
	const uint64_t need = arena / (meminfo("Hugepagesize:") * 1024), end = test_now() + TEST_LIMIT_NS;
	struct swarm_store_opts o = *more;
	struct swarm_store *st;
	char why[512] = "";

	/* The kernel ends a ring, which holds the pages of the store before, a moment after its descriptor. */
	while (free_pages() < need && test_now() < end)
		;

	o.size = sizeof(o);
	o.flags = SWARM_STORE_HUGETLB;
	o.arena_bytes = arena;
	if (swarm_store_open(&o, &st, why, sizeof(why)))
		fail_msg("%s", why);
	return st;
}

static int open_node(void **state)
{
	struct node *n = calloc(1, sizeof(*n));
	uint8_t key[SWI_CLUSTER_KEY_BYTES];
	char why[256];

	strcpy(n->dir, "/tmp/swarm-test-XXXXXX");
	strcpy(n->spill, "/var/tmp/swarm-test-XXXXXX");
	if (!mkdtemp(n->dir) || !mkdtemp(n->spill))
		return -1;
	snprintf(n->key, sizeof(n->key), "%s/key", n->dir);
	if (swi_key_make(n->key, key, why, sizeof(why)))
		return -1;
	*state = n;
	return 0;
}

static int close_node(void **state)
{
	struct node *n = *state;

	swarm_store_close(n->st);
	unlink(n->key);
	remove_dir(n->dir);
	rmdir(n->spill);
	free(n);
	return 0;
}

/* Of the mapping called @name of this process: the size of its pages; 0: there is none. */
static uint64_t page_of(const char *name)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long long kib = 0;
	char line[512];
	bool here = false;

	assert_non_null(f);
	while (!kib && fgets(line, sizeof(line), f)) {
		if (strstr(line, name))
			here = true;
		else if (here)
			(void)!sscanf(line, "KernelPageSize: %llu", &kib);
	}
	fclose(f);
	return kib * 1024;
}

static void put_one(struct swarm_store *st, struct swarm_ref ref, uint64_t seed)
{
	fill(bytes, sizeof(bytes), seed);
	assert_int_equal(swarm_store_put(st, ref, bytes, sizeof(bytes), TEST_LIMIT_NS), 0);
}

static void look_at(struct swarm_store *st, struct swarm_ref ref, uint64_t seed)
{
	struct swarm_view v;

	assert_int_equal(swarm_store_get(st, ref, TEST_LIMIT_NS, &v), 0);
	assert_int_equal(v.len, sizeof(bytes));
	assert_true(filled(v.data, v.len, seed));
	swarm_view_release(st, &v);
}

static int attached(const char *dir)
{
	struct swarm_store *st;

	if (swarm_store_attach(dir, &st, NULL, 0))
		return 1;
	if (page_of("memfd:arena") != meminfo("Hugepagesize:") * 1024)
		return 2;
	for (uint64_t i = 0; i < OBJECTS; i++)
		look_at(st, numbered(i), i);
	for (uint64_t i = OBJECTS; i < OBJECTS + 8; i++)
		put_one(st, numbered(i), i);
	swarm_store_close(st);
	return 0;
}

/* Twice the arena goes through it: half of it is written and read again. */
static void test_local(void **state)
{
	struct node *n = *state;

	n->st = open_huge(&(struct swarm_store_opts){.dir = n->dir, .spill_dir = n->spill}, ARENA);
	assert_int_equal(page_of("memfd:arena"), meminfo("Hugepagesize:") * 1024);
	for (uint64_t i = 0; i < OBJECTS; i++)
		put_one(n->st, numbered(i), i);
	assert_true(status_number(n->st, "spilled_objects") > OBJECTS / 4);
	for (uint64_t i = 0; i < OBJECTS; i++)
		look_at(n->st, numbered(i), i);
	assert_true(status_number(n->st, "restored_objects") > OBJECTS / 4);
	assert_int_equal(wait_child(fork_child(attached, n->dir)), 0);
	/* The node is asked first: a race detector does not see what another process wrote after the node had been there. */
	assert_int_equal(status_number(n->st, "client_errors"), 0);
	for (uint64_t i = OBJECTS; i < OBJECTS + 8; i++)
		look_at(n->st, numbered(i), i);
}

/* A peer's card, or the kernel in its place, reads the pages and writes into pages of its own. */
static void read_over(struct node *n, const char *transport)
{
	struct swarm_store_opts o = {.bind = "127.0.0.1:0", .transport = transport, .key_file = n->key, .node = 1};
	struct swarm_store *peer;
	struct swarm_ref ref[8];

	n->st = open_huge(&o, ARENA);
	o.node = 2;
	peer = open_huge(&o, PEER);
	assert_int_equal(swarm_store_peer(peer, swarm_store_address(n->st), TEST_LIMIT_NS), 0);
	for (uint64_t i = 0; i < SWI_ARRAY_LEN(ref); i++) {
		ref[i] = swarm_ref_new(n->st);
		put_one(n->st, ref[i], 100 + i);
	}
	for (uint64_t i = 0; i < SWI_ARRAY_LEN(ref); i++)
		look_at(peer, ref[i], 100 + i);
	assert_true(status_number(peer, "read_bytes") >= SWI_ARRAY_LEN(ref) * sizeof(bytes));
	swarm_store_close(peer);
	swarm_store_close(n->st);
	n->st = NULL;
}

static void test_shm(void **state)
{
	read_over(*state, "shm");
}

static void test_ofi(void **state)
{
	read_over(*state, "ofi");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_local, open_node, close_node),
	    cmocka_unit_test_setup_teardown(test_shm, open_node, close_node),
	    cmocka_unit_test_setup_teardown(test_ofi, open_node, close_node),
	};
	const char *why = have_pages();

	if (why) {
		printf("skipped: %s\n", why);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
