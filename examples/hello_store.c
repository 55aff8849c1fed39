/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello_store.c - the smallest program with objects: a store inside this process, no daemon.
 * Build: cc hello_store.c $(pkg-config --cflags --libs swarm-store)
 */
#include <stdio.h>
#include <string.h>
#include <swarm/store.h>

static int fail(const char *what, int err)
{
	fprintf(stderr, "hello_store: %s: %s. %s\n", what, swarm_strerror(err), swarm_strremedy(err));
	return 1;
}

int main(void)
{
	const struct swarm_store_opts opts = {.size = sizeof(opts), .arena_bytes = 16 << 20};
	const struct swarm_ref name = swarm_ref_named("greeting");
	struct swarm_store *store;
	struct swarm_view view;
	struct swarm_buf buf;
	char why[256] = "";
	int err;

	err = swarm_store_open(&opts, &store, why, sizeof(why));
	if (err < 0)
		return fail(why, err);

	/* Room in shared memory; written in place; from seal on nobody can change it. */
	err = swarm_store_create(store, name, 13, SWARM_FOREVER, &buf);
	if (err < 0)
		return fail("create", err);
	memcpy(buf.data, "hello, swarm!", buf.len);
	err = swarm_store_seal(store, &buf);
	if (err < 0)
		return fail("seal", err);

	/* A view of the same memory: nothing is copied, and it stays until released. */
	err = swarm_store_get(store, name, SWARM_FOREVER, &view);
	if (err < 0)
		return fail("get", err);
	printf("%.*s\n", (int)view.len, (const char *)view.data);
	swarm_view_release(store, &view);
	swarm_store_close(store);
	return 0;
}
