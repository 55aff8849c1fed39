/* SPDX-License-Identifier: Apache-2.0 */
/* raw.c - see raw.h. */
#include <poll.h>
#include <sched.h>

#include "perf/common/raw.h"
#include "perf/common/rig.h"
#include "store/arena.h"
#include "store/host.h"
#include "transport/transport.h"

/* Waits as a busy store does (store/loop.c): awake for so long without an event, giving the processor to who wants it now and then. */
#define SPIN_NS    (2 * NS_PER_MS)
#define YIELD_NS   (5 * NS_PER_US)
#define ALONE_NS   (20 * NS_PER_S)
#define DEPTH_MAX  4096u

struct raw_read {
	struct swi_read rd;
	uint64_t asked_at;
};

struct perf_raw {
	struct swi_tp *tp;
	struct swi_log log;
	struct swi_mem shared; /* as the store's arena is */
	uint8_t *mem;
	uint64_t len;
	struct swi_conn *conn;
	bool down;
	int error;
	uint64_t event_ns, yielded_ns;
	/* of a run */
	uint64_t size, left, done, next;
	struct perf_hist *hist;
	struct raw_read *reads;
};

static void on_up(void *ctx, struct swi_conn *c, bool inbound SWI_UNUSED)
{
	((struct perf_raw *)ctx)->conn = c;
}

static void on_down(void *ctx, struct swi_conn *c SWI_UNUSED, int status)
{
	struct perf_raw *r = ctx;

	r->down = true;
	r->error = status;
}

static int open_end(const struct perf_opts *o, const char *bind, const char *key_file, uint64_t len,
		    struct perf_raw **out, char *why, size_t why_len)
{
	struct perf_raw *r = calloc(1, sizeof(*r));
	const struct swi_tp_handler h = {.ctx = r, .up = on_up, .down = on_down};
	struct swi_tp_opts to = {.backend = o->transport ? o->transport : "auto",
				 .device = o->device,
				 .bind = bind,
				 .queue_pairs = o->queue_pairs,
				 .node = bind ? 1 : 2,
				 .epoch = bind ? 1 : 2,
				 /* the reader is silent while the store has its turn */
				 .silence_timeout_ns = 3600 * NS_PER_S};
	const struct swi_mem_opts mo = {.transparent = o->huge, .hugetlb = o->hugetlb};
	int rc;

	SWI_BUG_ON(!r);
	swi_log_init(&r->log, o->program);
	r->len = swi_align_up(len, SWI_PAGE);
	r->shared.fd = -1;
	rc = swi_mem_create_opts("swarm-perf-raw", r->len, &mo, &r->shared, why, why_len);
	r->mem = r->shared.addr;
	if (!rc)
		rc = swi_key_read(key_file, to.key, why, why_len);
	if (!rc)
		rc = swi_tp_open(&to, swi_env_real(), &r->log, &h, &r->tp, why, why_len);
	if (!rc)
		rc = swi_tp_register(r->tp, SWI_REGION_ARENA, r->mem, r->len, r->shared.fd);
	if (rc) {
		if (why_len && !why[0])
			snprintf(why, why_len, "%s", swarm_strerror(rc));
		perf_raw_close(r);
		return rc;
	}
	*out = r;
	return 0;
}

void perf_raw_close(struct perf_raw *r)
{
	if (!r)
		return;
	swi_tp_close(r->tp);
	swi_mem_fini(&r->shared);
	free(r);
}

static void step(struct perf_raw *r)
{
	struct pollfd p = {.fd = swi_tp_fd(r->tp), .events = POLLIN};

	const int n = swi_tp_progress(r->tp);
	const uint64_t now = perf_now();

	if (n || !r->event_ns) {
		r->event_ns = now;
	} else if (now - r->event_ns >= SPIN_NS && p.fd >= 0 && swi_tp_arm(r->tp)) {
		(void)poll(&p, 1, 100);
		r->event_ns = 0;
	} else if (now - swi_max_u64(r->event_ns, r->yielded_ns) >= YIELD_NS) {
		sched_yield();
		r->yielded_ns = now;
	}
}

int perf_raw_serve(const struct perf_opts *o, const char *host, const char *key_file, uint64_t len,
		   void (*ready)(void *ctx, const char *address), void *ctx)
{
	const uint64_t begin = perf_now();
	char bind[128], why[256] = "";
	struct perf_raw *r;
	int rc;

	snprintf(bind, sizeof(bind), strchr(host, ':') ? "[%s]:0" : "%s:0", host);
	rc = open_end(o, bind, key_file, len, &r, why, sizeof(why));
	if (rc) {
		ready(ctx, NULL);
		return rc;
	}
	memset(r->mem, 0x5a, r->len);
	ready(ctx, swi_tp_address(r->tp));
	while (!r->down && (r->conn || perf_now() - begin < ALONE_NS))
		step(r);
	perf_raw_close(r);
	return 0;
}

struct perf_raw *perf_raw_connect(const struct perf_opts *o, const char *address, const char *key_file,
				  uint64_t len, char *why, size_t why_len)
{
	struct perf_raw *r;
	struct swi_conn *c;
	int rc = open_end(o, NULL, key_file, len, &r, why, why_len);

	if (rc)
		return NULL;
	rc = swi_tp_connect(r->tp, address, NULL, &c);
	while (!rc && !r->conn && !r->down)
		step(r);
	if (rc || r->down) {
		snprintf(why, why_len, "no connection to %s: %s", address, swarm_strerror(rc ? rc : r->error));
		perf_raw_close(r);
		return NULL;
	}
	return r;
}

static void post(struct perf_raw *r, struct raw_read *rr)
{
	const uint64_t theirs = swi_conn_region_len(r->conn, SWI_REGION_ARENA), n = r->next++;
	const uint64_t from = n % (theirs / r->size) * r->size, to = n % (r->len / r->size) * r->size;
	int rc;

	r->left--;
	rr->asked_at = r->hist ? perf_now() : 0;
	rc = swi_conn_read(r->conn, SWI_REGION_ARENA, from, r->mem + to, r->size, &rr->rd);
	if (rc)
		r->error = rc;
}

static void read_done(struct swi_read *rd, int status)
{
	struct raw_read *rr = swi_container_of(rd, struct raw_read, rd);
	struct perf_raw *r = rd->owner;

	r->done++;
	if (r->hist)
		perf_hist_add(r->hist, perf_now() - rr->asked_at);
	if (status)
		r->error = status;
	else if (r->left)
		post(r, rr);
}

int perf_raw_run(struct perf_raw *r, uint64_t size, uint32_t depth, uint64_t iters, struct perf_hist *h,
		 uint64_t *out_ns)
{
	const uint32_t n = (uint32_t)swi_min_u64(swi_min_u64(depth, DEPTH_MAX), iters);
	const uint64_t begin = perf_now();

	if (size > r->len || size > swi_conn_region_len(r->conn, SWI_REGION_ARENA) || !n)
		return -EINVAL;
	r->size = size;
	r->left = iters;
	r->done = 0;
	r->error = 0;
	r->hist = h;
	r->reads = calloc(n, sizeof(*r->reads));
	SWI_BUG_ON(!r->reads);
	for (uint32_t i = 0; i < n && !r->error; i++) {
		r->reads[i].rd = (struct swi_read){.cb = read_done, .owner = r};
		post(r, &r->reads[i]);
	}
	while (r->done < iters && !r->error && !r->down)
		step(r);
	*out_ns = perf_now() - begin;
	if (r->error || r->down) {
		swi_tp_close(r->tp); /* the READs in flight are ours until then */
		r->tp = NULL;
	}
	free(r->reads);
	r->reads = NULL;
	return r->error ? r->error : r->down ? SWARM_EPEERLOST : 0;
}
