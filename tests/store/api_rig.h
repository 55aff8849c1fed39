/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_rig.h - every test of a public call runs twice: embedded, where the handle owns the store, and attached,
 * where the same store is joined through its socket as another process would.
 */
#ifndef SWI_TEST_API_RIG_H
#define SWI_TEST_API_RIG_H

#include "tests/store/store_test.h"

struct api {
	struct swarm_store *host; /* the embedded store */
	struct swarm_store *st;	  /* what the test uses: the same, or attached to it */
	struct swarm_store *other; /* a second attachment, another client of the node */
};

static struct swarm_store_opts api_opts = {
    .size = sizeof(api_opts), .arena_bytes = MIB(32), .objects_max = 20000};

static inline int api_open(void **state, bool attached)
{
	struct api *a = calloc(1, sizeof(*a));
	struct swarm_store_opts o = api_opts;
	char why[256] = "";

	snprintf(test_dir, sizeof(test_dir), "/tmp/swarm-test-XXXXXX");
	if (!a || !mkdtemp(test_dir))
		return -1;
	o.dir = test_dir;
	int rc = swarm_store_open(&o, &a->host, why, sizeof(why));

	a->st = a->host;
	if (!rc && attached)
		rc = swarm_store_attach(test_dir, &a->st, why, sizeof(why));
	if (!rc)
		rc = swarm_store_attach(test_dir, &a->other, why, sizeof(why));
	if (rc)
		fprintf(stderr, "open: %d %s\n", rc, why);
	*state = a;
	return rc;
}

static inline SWI_UNUSED int api_embedded(void **state)
{
	return api_open(state, false);
}

static inline SWI_UNUSED int api_attached(void **state)
{
	return api_open(state, true);
}

static inline SWI_UNUSED int api_close(void **state)
{
	struct api *a = *state;

	swarm_store_close(a->other);
	if (a->st != a->host)
		swarm_store_close(a->st);
	swarm_store_close(a->host);
	free(a);
	remove_dir(test_dir);
	return 0;
}

/* Both ways, each in a store of its own. */
#define API_TEST(fn)                                                                               \
	{#fn " embedded", fn, api_embedded, api_close, NULL},                                      \
	{                                                                                          \
		#fn " attached", fn, api_attached, api_close, NULL                                 \
	}

#endif
