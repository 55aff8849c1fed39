/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's program: an embedded store, one object put and got, nothing else installed needed. */
#include <stdio.h>
#include <string.h>
#include <swarm/store.h>
#include <swarm/version.h>

int main(void)
{
	struct swarm_store_opts opts;
	struct swarm_store *store;
	struct swarm_view view;
	struct swarm_ref ref;
	char why[256] = "";
	int ok;

	memset(&opts, 0, sizeof(opts));
	opts.size = sizeof(opts);
	opts.arena_bytes = 16u << 20;
	if (swarm_store_open(&opts, &store, why, sizeof(why)) < 0) {
		fprintf(stderr, "open: %s\n", why);
		return 1;
	}
	ref = swarm_ref_new(store);
	if (swarm_store_put(store, ref, "hello", 5, SWARM_FOREVER) < 0 ||
	    swarm_store_get(store, ref, 0, &view) < 0)
		return 2;
	ok = view.len == 5 && !memcmp(view.data, "hello", 5);
	swarm_view_release(store, &view);
	swarm_store_close(store);
	printf("swarm %s: %s\n", swarm_version(), swarm_strerror(SWARM_OK));
	return ok ? 0 : 3;
}
