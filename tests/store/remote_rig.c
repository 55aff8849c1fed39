/* SPDX-License-Identifier: Apache-2.0 */
/* remote_rig.c - see remote_rig.h. */
#include "tests/patience.h"
#include "tests/store/remote_rig.h"

#include <jansson.h>
#include <poll.h>

struct rig rig = {.transport = "ofi", .bind = "127.0.0.1:0"};

int rig_setup(void **state)
{
	uint8_t key[SWI_CLUSTER_KEY_BYTES];
	char why[256];

	(void)state;
	snprintf(rig.dir, sizeof(rig.dir), "/tmp/swarm-remote-XXXXXX");
	assert_non_null(mkdtemp(rig.dir));
	snprintf(rig.key, sizeof(rig.key), "%s/key", rig.dir);
	snprintf(rig.other_key, sizeof(rig.other_key), "%s/other", rig.dir);
	assert_int_equal(swi_key_make(rig.key, key, why, sizeof(why)), 0);
	assert_int_equal(swi_key_make(rig.other_key, key, why, sizeof(why)), 0);
	return 0;
}

int rig_teardown(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", rig.dir);
	return system(cmd) ? -1 : 0;
}

static struct swarm_store *open_with(uint32_t node, uint64_t arena, const char *spill,
				     const char *key, int *out_rc)
{
	char dir[128] = "", why[256] = "";
	struct swarm_store_opts o = {
	    .size = sizeof(o),
	    .arena_bytes = arena,
	    .bind = rig.bind,
	    .transport = rig.transport,
	    .key_file = key,
	    .node = node,
	};
	struct swarm_store *st = NULL;

	if (spill) {
		snprintf(dir, sizeof(dir), "%s/%s", rig.dir, spill);
		o.spill_dir = dir;
	}
	*out_rc = swarm_store_open(&o, &st, why, sizeof(why));
	if (*out_rc == SWARM_ENOTRANSPORT) {
		printf("skipped: %s\n", why);
		exit(77);
	}
	if (*out_rc)
		print_error("%s\n", why);
	return st;
}

struct swarm_store *rig_open(uint32_t node, uint64_t arena, const char *spill)
{
	int rc;
	struct swarm_store *st = open_with(node, arena, spill, rig.key, &rc);

	assert_int_equal(rc, 0);
	return st;
}

struct swarm_store *rig_open_key(uint32_t node, const char *key, int *out_rc)
{
	return open_with(node, MIB(8), NULL, key, out_rc);
}

void rig_join(struct swarm_store *a, struct swarm_store *b)
{
	assert_int_equal(swarm_store_peer(a, swarm_store_address(b), TEST_LIMIT_NS), 0);
}

uint64_t rig_stat(struct swarm_store *st, const char *name)
{
	char *text;
	json_t *o;
	uint64_t v;

	assert_int_equal(swarm_store_status(st, &text), 0);
	o = json_loads(text, 0, NULL);
	assert_true(json_is_integer(json_object_get(o, name))); /* a name that nobody has would be 0 for ever */
	v = (uint64_t)json_integer_value(json_object_get(o, name));
	json_decref(o);
	free(text);
	return v;
}

uint64_t rig_peers(struct swarm_store *st)
{
	char *text;
	json_t *o;
	uint64_t n;

	assert_int_equal(swarm_store_status(st, &text), 0);
	o = json_loads(text, 0, NULL);
	assert_true(json_is_array(json_object_get(o, "peers")));
	n = json_array_size(json_object_get(o, "peers"));
	json_decref(o);
	free(text);
	return n;
}

bool rig_stat_reaches(struct swarm_store *st, const char *name, uint64_t at_least)
{
	struct swi_env *env = swi_env_real();
	const uint64_t end = swi_now(env) + TEST_LIMIT_NS;

	while (rig_stat(st, name) < at_least) {
		if (swi_now(env) > end)
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}

struct swarm_ref rig_put(struct swarm_store *st, struct swarm_ref ref, uint64_t len)
{
	struct swarm_buf b;

	assert_int_equal(swarm_store_create(st, ref, len, TEST_LIMIT_NS, &b), 0);
	fill(b.data, len, ref.id.w[0] ^ ref.id.w[1]);
	assert_int_equal(swarm_store_seal(st, &b), 0);
	return ref;
}

int rig_get(struct swarm_store *st, struct swarm_ref ref, uint64_t len, uint64_t timeout_ns)
{
	struct swarm_view v;
	const int rc = swarm_store_get(st, ref, timeout_ns, &v);

	if (rc)
		return rc;
	assert_int_equal(v.len, len);
	assert_true(filled(v.data, len, ref.id.w[0] ^ ref.id.w[1]));
	swarm_view_release(st, &v);
	return 0;
}
