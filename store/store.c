/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - the public API: opening, attaching, closing, and the object calls. calls.c has those that ask the node.
 */
#include <unistd.h>
#include <xxhash.h>

#include "store/snode_internal.h"
#include "store/store_internal.h"

static bool help(void *ctx, bool (*done)(void *arg), void *arg, uint64_t timeout_ns)
{
	return swi_host_help(ctx, done, arg, timeout_ns);
}

static int make_lc(struct swarm_store *st, void (*upper)(void *ctx, const struct swi_msg *msg),
		   void *upper_ctx)
{
	const bool may_help = st->host && swi_host_may_help(st->host);
	const struct swi_lc_opts o = {
	    .arena = st->at.arena.addr,
	    .index = st->at.index.addr,
	    .shm = st->at.client.addr,
	    .ring = swi_attach_ring,
	    .ring_ctx = &st->at,
	    .wait = swi_attach_wait,
	    .wake_others = swi_attach_wake_others,
	    .event = swi_attach_event,
	    .gone = swi_attach_gone,
	    .wait_ctx = &st->at,
	    .help = may_help ? help : NULL,
	    .help_ctx = st->host,
	    .upper = upper,
	    .upper_ctx = upper_ctx,
	};

	st->ref_hi = swi_rand(swi_env_real());
	return swi_lc_create(&o, &st->lc);
}

static struct swarm_store *store_new(void)
{
	struct swarm_store *st = calloc(1, sizeof(*st));

	if (st)
		st->at = (struct swi_attachment){
		    .arena.fd = -1, .index.fd = -1, .client.fd = -1, .doorbell = -1, .sock = -1};
	return st;
}

int swi_store_attach(const char *dir, uint32_t role,
		     void (*upper)(void *ctx, const struct swi_msg *msg), void *upper_ctx,
		     struct swarm_store **out, char *why, size_t why_len)
{
	char path[4096], unused[8];
	struct swarm_store *st;
	int rc = 0;

	if (!why) {
		why = unused;
		why_len = sizeof(unused);
	}
	if (!dir) {
		rc = swi_default_dir(path, sizeof(path));
		dir = path;
	}
	st = store_new();
	if (!st)
		return -ENOMEM;
	if (!rc)
		rc = swi_attach_dial(dir, role, &st->at, why, why_len);
	if (!rc)
		rc = make_lc(st, upper, upper_ctx);
	if (rc) {
		swarm_store_close(st);
		return rc;
	}
	*out = st;
	return 0;
}

int swarm_store_attach(const char *dir, struct swarm_store **out_store, char *why, size_t why_len)
{
	return swi_store_attach(dir, 0, NULL, NULL, out_store, why, why_len);
}

struct swi_lc *swi_store_lc(struct swarm_store *store)
{
	return store->lc;
}

/* ---- embedded ---- */

static void *run_host(void *arg)
{
	swi_host_run(arg);
	return NULL;
}

static_assert(SWARM_QUEUE_PAIRS_MAX == SWI_QUEUE_PAIRS_MAX, "one limit");
static int host_opts(const struct swarm_store_opts *o, struct swi_host_opts *ho, char *why,
		     size_t why_len)
{
	*ho = (struct swi_host_opts){
	    .dir = o->dir,
	    .arena_bytes = o->arena_bytes,
	    .objects_max = o->objects_max,
	    .huge_pages = o->flags & SWARM_STORE_HUGE_PAGES,
	    .small_pages = o->flags & SWARM_STORE_SMALL_PAGES,
	    .hugetlb = o->flags & SWARM_STORE_HUGETLB,
	    .numa = o->flags & SWARM_STORE_NUMA,
	    .lock = o->flags & SWARM_STORE_LOCK,
	    .numa_node = o->numa_node,
	    .client_quota = o->client_quota_bytes,
	    .pin_bytes_max = o->pin_bytes_max,
	    .spill_bytes = o->spill_bytes,
	    .spill_depth = o->spill_depth,
	    .spill_keep = o->flags & (SWARM_STORE_KEEP | SWARM_STORE_DURABLE),
	    .durable = o->flags & SWARM_STORE_DURABLE,
	    .node = o->node,
	    .log_name = "store",
	};
	while (!ho->node) /* random, and never 0 */
		ho->node = (uint32_t)swi_rand(swi_env_real());
	if (!o->bind)
		return 0;
	ho->tp.bind = o->bind;
	ho->tp.backend = o->transport ? o->transport : "auto";
	ho->tp.device = o->device;
	ho->tp.queue_pairs = o->queue_pairs;
	if (!o->key_file) {
		snprintf(why, why_len, "a store that serves peers needs a cluster key file");
		return SWARM_EAUTH;
	}
	return swi_key_read(o->key_file, ho->tp.key, why, why_len);
}

static int open_embedded(struct swarm_store *st, const struct swarm_store_opts *o, char *why,
			 size_t why_len)
{
	struct swi_host_opts ho;
	int rc = host_opts(o, &ho, why, why_len);

	if (rc)
		return rc;
	if (o->spill_dir) {
		ho.spill_dirs = &o->spill_dir;
		ho.spill_dir_count = 1;
	}
	rc = swi_host_create(&ho, &st->host, why, why_len);
	if (!rc)
		rc = swi_host_attach_local(st->host, 0, &st->at, why, why_len);
	if (!rc)
		rc = make_lc(st, NULL, NULL);
	if (rc)
		return rc;
	if (swi_snode_tp(swi_host_snode(st->host)))
		snprintf(st->address, sizeof(st->address), "%s",
			 swi_tp_address(swi_snode_tp(swi_host_snode(st->host))));
	rc = -pthread_create(&st->thread, NULL, run_host, st->host);
	st->running = !rc;
	return rc;
}

int swarm_store_open(const struct swarm_store_opts *opts, struct swarm_store **out_store, char *why,
		     size_t why_len)
{
	struct swarm_store_opts o = {0};
	struct swarm_store *st;
	char unused[8];
	int rc;

	if (!why) {
		why = unused;
		why_len = sizeof(unused);
	}
	if (why_len)
		why[0] = '\0';
	if (opts && (opts->size < sizeof(uint32_t) * 2 || opts->size > sizeof(o))) {
		snprintf(why, why_len, "set size to sizeof(struct swarm_store_opts)");
		return -EINVAL;
	}
	if (opts)
		memcpy(&o, opts, opts->size);
	if (o.flags & ~(SWARM_STORE_HUGE_PAGES | SWARM_STORE_KEEP | SWARM_STORE_DURABLE |
			SWARM_STORE_HUGETLB | SWARM_STORE_NUMA | SWARM_STORE_LOCK | SWARM_STORE_SMALL_PAGES)) {
		snprintf(why, why_len, "unknown flags 0x%x", o.flags);
		return -EINVAL;
	}
	if ((o.flags & (SWARM_STORE_KEEP | SWARM_STORE_DURABLE)) && !o.spill_dir) {
		snprintf(why, why_len, "to keep objects a store needs a folder: set spill_dir");
		return -EINVAL;
	}
	if (o.spill_depth > SWARM_SPILL_DEPTH_MAX || o.queue_pairs > SWARM_QUEUE_PAIRS_MAX) {
		snprintf(why, why_len, "spill_depth is at most %u, and queue_pairs %u", SWARM_SPILL_DEPTH_MAX,
			 SWARM_QUEUE_PAIRS_MAX);
		return -EINVAL;
	}
	st = store_new();
	if (!st)
		return -ENOMEM;
	rc = open_embedded(st, &o, why, why_len);
	if (rc) {
		if (why_len && !why[0])
			snprintf(why, why_len, "the store cannot start: %s", swarm_strerror(rc));
		swarm_store_close(st);
		return rc;
	}
	*out_store = st;
	return 0;
}

void swarm_store_close(struct swarm_store *store)
{
	if (!store)
		return;
	if (store->running) {
		swi_host_stop(store->host);
		pthread_join(store->thread, NULL);
	}
	swi_lc_destroy(store->lc);
	swi_attachment_fini(&store->at); /* the node notices and takes back what was ours */
	swi_host_destroy(store->host);
	free(store);
}

const char *swarm_store_address(struct swarm_store *store)
{
	return store->address;
}

uint32_t swarm_store_node(struct swarm_store *store)
{
	return swi_lc_node(store->lc);
}

/* ---- references ---- */

struct swarm_ref swarm_ref_named(const char *name)
{
	const XXH128_hash_t h = XXH3_128bits(name, strlen(name));

	return (struct swarm_ref){.id = {.w = {h.low64, h.high64}}};
}

struct swarm_ref swarm_ref_key(const uint8_t key[16])
{
	struct swarm_ref ref = {0};

	for (uint32_t i = 0; i < 16; i++)
		ref.id.w[i / 8] |= (uint64_t)key[i] << (8 * (i % 8));
	return ref;
}

struct swarm_ref swarm_ref_new(struct swarm_store *store)
{
	return (struct swarm_ref){
	    .id = {.w = {store->ref_hi, atomic_fetch_add_explicit(&store->ref_lo, 1,
								  memory_order_relaxed) + 1}},
	    .home = swi_lc_node(store->lc)};
}

/* ---- objects ---- */

int swarm_store_create(struct swarm_store *store, struct swarm_ref ref, uint64_t len,
		       uint64_t timeout_ns, struct swarm_buf *out_buf)
{
	return swi_lc_create_object(store->lc, ref, len, timeout_ns, out_buf);
}

/* Of a durable store: sealed means on disk. */
static int seal(struct swarm_store *store, struct swarm_buf *buf)
{
	const struct swarm_ref ref = buf->ref;
	const int rc = swi_lc_seal(store->lc, buf);

	if (SWI_LIKELY(rc || !swi_lc_durable(store->lc)))
		return rc;
	return swarm_store_sync(store, &ref, 1, SWARM_FOREVER);
}

int swarm_store_seal(struct swarm_store *store, struct swarm_buf *buf)
{
	return seal(store, buf);
}

void swarm_store_abort(struct swarm_store *store, struct swarm_buf *buf)
{
	swi_lc_abort(store->lc, buf);
}

#define BLIND_MAX KIB(4)

int swarm_store_put(struct swarm_store *store, struct swarm_ref ref, const void *data, uint64_t len,
		    uint64_t timeout_ns)
{
	struct swarm_buf buf;
	/* A small one that exists already costs a copy, and nobody else the look. */
	const int rc = len <= BLIND_MAX
			   ? swi_lc_create_blind(store->lc, ref, len, timeout_ns, &buf)
			   : swi_lc_create_object(store->lc, ref, len, timeout_ns, &buf);

	if (rc)
		return rc;
	if (len)
		memcpy(buf.data, data, len);
	return seal(store, &buf);
}

int swarm_store_get(struct swarm_store *store, struct swarm_ref ref, uint64_t timeout_ns,
		    struct swarm_view *out_view)
{
	return swi_lc_get(store->lc, ref, timeout_ns, out_view);
}

int swarm_store_get_range(struct swarm_store *store, struct swarm_ref ref, uint64_t offset, uint64_t len,
			  uint64_t timeout_ns, struct swarm_view *out_view)
{
	return swi_lc_get_range(store->lc, ref, offset, len, timeout_ns, out_view);
}

void swarm_view_release(struct swarm_store *store, struct swarm_view *view)
{
	swi_lc_release(store->lc, view);
}

int swarm_store_get_many(struct swarm_store *store, const struct swarm_ref *refs, uint32_t count,
			 uint64_t timeout_ns, struct swarm_view *out_views, int *out_status)
{
	int *status = out_status;
	int rc;

	if (count > SWARM_MANY_MAX)
		return -EINVAL;
	if (!status)
		status = calloc(count + 1, sizeof(*status));
	if (!status)
		return -ENOMEM;
	rc = swi_lc_get_many(store->lc, refs, count, timeout_ns, out_views, status);
	if (!out_status)
		free(status);
	return rc;
}

/* One group for all that were sealed; where that fails, each is asked for its own error. */
static int put_many_durable(struct swarm_store *store, const struct swarm_put *puts, uint32_t count,
			    uint64_t timeout_ns, int *out_status)
{
	struct swarm_ref *refs = calloc(count + 1, sizeof(*refs));
	int *status = calloc(count + 1, sizeof(*status));
	uint32_t n = 0;
	int done = -ENOMEM;

	if (refs && status) {
		done = swi_lc_put_many(store->lc, puts, count, timeout_ns, status);
		for (uint32_t i = 0; i < count; i++)
			if (!status[i])
				refs[n++] = puts[i].ref;
		if (swarm_store_sync(store, refs, n, SWARM_FOREVER)) {
			for (uint32_t i = 0; i < count; i++) {
				if (status[i])
					continue;
				status[i] = swarm_store_sync(store, &puts[i].ref, 1, SWARM_FOREVER);
				done -= status[i] != 0;
			}
		}
		if (out_status)
			memcpy(out_status, status, count * sizeof(*status));
	}
	free(refs);
	free(status);
	return done;
}

int swarm_store_put_many(struct swarm_store *store, const struct swarm_put *puts, uint32_t count,
			 uint64_t timeout_ns, int *out_status)
{
	if (count > SWARM_MANY_MAX)
		return -EINVAL;
	if (swi_lc_durable(store->lc))
		return put_many_durable(store, puts, count, timeout_ns, out_status);
	return swi_lc_put_many(store->lc, puts, count, timeout_ns, out_status);
}

void swarm_views_release(struct swarm_store *store, struct swarm_view *views, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		swi_lc_release(store->lc, &views[i]);
}

int swarm_store_contains(struct swarm_store *store, struct swarm_ref ref)
{
	return swi_lc_contains(store->lc, ref);
}

int swarm_store_delete(struct swarm_store *store, struct swarm_ref ref)
{
	const int rc = swi_lc_delete(store->lc, ref);

	if (rc || !swi_lc_durable(store->lc))
		return rc;
	return swarm_store_sync(store, NULL, 0, SWARM_FOREVER); /* deleted means it is not coming back */
}
