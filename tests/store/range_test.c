/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range_test.c - parts of objects through the public API, on the real disk; and a writer that outruns it:
 * what is put faster than the disk takes it waits, and nothing fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <pthread.h>
#include <unistd.h>

#include <swarm/store.h>

#define MB  (1ull << 20)
#define SEC 1000000000ull

static char dir[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static struct swarm_store *open_store(uint64_t arena)
{
	struct swarm_store_opts o = {.size = sizeof(o), .arena_bytes = arena, .spill_dir = dir};
	struct swarm_store *st;
	char why[256] = "";

	strcpy(dir, "/var/tmp/range_test.XXXXXX");
	assert_non_null(mkdtemp(dir));
	if (swarm_store_open(&o, &st, why, sizeof(why)))
		fail_msg("%s", why);
	return st;
}

static void close_store(struct swarm_store *st)
{
	swarm_store_close(st);
	assert_int_equal(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static uint8_t byte_of(uint64_t k, uint64_t i)
{
	return (uint8_t)(k * 37 + i * 11 + (i >> 8));
}

static int put(struct swarm_store *st, uint64_t k, uint64_t len, uint64_t timeout_ns)
{
	const uint8_t key[16] = {(uint8_t)k, (uint8_t)(k >> 8), 1};
	struct swarm_buf b;
	const int rc = swarm_store_create(st, swarm_ref_key(key), len, timeout_ns, &b);

	if (rc)
		return rc;
	for (uint64_t i = 0; i < len; i++)
		((uint8_t *)b.data)[i] = byte_of(k, i);
	return swarm_store_seal(st, &b);
}

static struct swarm_ref ref_of(uint64_t k)
{
	const uint8_t key[16] = {(uint8_t)k, (uint8_t)(k >> 8), 1};

	return swarm_ref_key(key);
}

static json_int_t counter(struct swarm_store *st, const char *group, const char *name)
{
	char *text;
	json_t *doc;
	json_int_t v;

	assert_int_equal(swarm_store_status(st, &text), 0);
	doc = json_loads(text, 0, NULL);
	assert_non_null(doc);
	v = json_integer_value(json_object_get(group ? json_object_get(doc, group) : doc, name));
	json_decref(doc);
	free(text);
	return v;
}

static void check_part(struct swarm_store *st, uint64_t k, uint64_t from, uint64_t len)
{
	struct swarm_view v;
	int rc = swarm_store_get_range(st, ref_of(k), from, len, 5 * SEC, &v);

	if (rc)
		fail_msg("object %llu, %llu bytes at %llu: %s", (unsigned long long)k, (unsigned long long)len,
			 (unsigned long long)from, swarm_strerror(rc));
	assert_int_equal(v.len, len);
	assert_true(swarm_oid_equal(v.ref.id, ref_of(k).id));
	for (uint64_t i = 0; i < len; i++)
		if (((const uint8_t *)v.data)[i] != byte_of(k, from + i))
			fail_msg("object %llu, byte %llu is wrong", (unsigned long long)k,
				 (unsigned long long)(from + i));
	swarm_view_release(st, &v);
	assert_null(v.data);
}

static void test_parts(void **state)
{
	struct swarm_store *st = open_store(16 * MB);
	struct swarm_view v;
	uint64_t on_disk = 0;

	(void)state;
	for (uint64_t k = 0; k < 48; k++)
		assert_int_equal(put(st, k, MB, 10 * SEC), 0);
	assert_int_equal(put(st, 100, 1000, 10 * SEC), 0);
	for (uint64_t k = 0; k < 48; k++) {
		on_disk += !swarm_store_contains(st, ref_of(k));
		check_part(st, k, k * 4321, 5000);
		check_part(st, k, MB - 1 - k, 1 + k);
	}
	assert_true(on_disk >= 32);
	check_part(st, 100, 0, 1000);
	check_part(st, 100, 999, 1);
	/* No object came back for it, and no more than the parts' blocks were read. */
	assert_int_equal(counter(st, NULL, "restores"), 0);
	assert_in_range(counter(st, NULL, "range_reads"), 2 * on_disk, 2 * 48);
	assert_in_range(counter(st, "spill", "restored_bytes"), 5000, 48 * 6000);
	/* A part as large as the object, and none at all. */
	check_part(st, 0, 0, MB);
	assert_int_equal(swarm_store_get_range(st, ref_of(1), MB, 1, SEC, &v), -EINVAL);
	assert_int_equal(swarm_store_get_range(st, ref_of(47), 0, MB + 1, SEC, &v), -EINVAL);
	assert_int_equal(swarm_store_get_range(st, ref_of(1), 0, 0, SEC, &v), -EINVAL);
	assert_int_equal(swarm_store_get_range(st, ref_of(1), UINT64_MAX, 2, SEC, &v), -EINVAL);
	assert_int_equal(swarm_store_get_range(st, ref_of(7777), 0, 1, 1000000, &v), -ENOENT);
	assert_int_equal(swarm_store_get_range(st, ref_of(2), 0, 1, 0, &v), -ENOENT); /* memory only */
	/* A view keeps its bytes when the object is deleted. */
	assert_int_equal(swarm_store_get_range(st, ref_of(3), 10, 100, SEC, &v), 0);
	swarm_store_delete(st, ref_of(3));
	for (uint64_t k = 200; k < 240; k++)
		assert_int_equal(put(st, k, MB, 10 * SEC), 0);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(((const uint8_t *)v.data)[i], byte_of(3, 10 + i));
	swarm_view_release(st, &v);
	close_store(st);
}

/* ---- faster than the disk ---- */

struct writer {
	struct swarm_store *st;
	uint64_t first, count;
	int rc;
};

static void *write_many(void *arg)
{
	struct writer *w = arg;

	for (uint64_t k = w->first; k < w->first + w->count && !w->rc; k++) {
		struct swarm_buf b;

		w->rc = swarm_store_create(w->st, ref_of(k), MB, 60 * SEC, &b);
		if (w->rc)
			break;
		for (uint64_t i = 0; i < MB; i += 4096) /* as fast as memory: many times what the disk takes */
			((uint8_t *)b.data)[i] = byte_of(k, i);
		w->rc = swarm_store_seal(w->st, &b);
	}
	return NULL;
}

static void test_nothing_fails_while_patience_lasts(void **state)
{
	struct swarm_store *st = open_store(16 * MB);
	struct writer w[4];
	pthread_t t[4];

	(void)state;
	for (uint64_t i = 0; i < 4; i++) {
		w[i] = (struct writer){.st = st, .first = 1000 * i, .count = 64};
		assert_int_equal(pthread_create(&t[i], NULL, write_many, &w[i]), 0);
	}
	for (uint64_t i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(w[i].rc, 0);
	assert_true(counter(st, NULL, "rooms_waited") > 0);
	assert_int_equal(counter(st, NULL, "rooms_refused_late"), 0);
	for (uint64_t i = 0; i < 4; i++)
		for (uint64_t k = 1000 * i; k < 1000 * i + 64; k += 7) {
			struct swarm_view v;

			assert_int_equal(swarm_store_get_range(st, ref_of(k), 8192, 1, 10 * SEC, &v), 0);
			assert_int_equal(*(const uint8_t *)v.data, byte_of(k, 8192));
			swarm_view_release(st, &v);
		}
	close_store(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parts),
	    cmocka_unit_test(test_nothing_fails_while_patience_lasts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
