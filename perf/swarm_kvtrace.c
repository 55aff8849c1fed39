/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm_kvtrace - replays a trace of requests as a cache of KV blocks on N nodes: what was in memory, on another
 * node, on disk or missing, how long each took, and what moved. The bytes of every hit are checked. A cache that
 * is large enough must hit what the trace itself repeats; the program says both.
 */
#include <unistd.h>

#include "perf/kv.h"

struct kv_opts {
	struct perf_opts c;
	uint64_t block_bytes, spill_bytes;
	uint32_t nodes, speed;
	const char *spill_dir;
};

static const char *const outcome[] = {"hit, memory", "hit, remote", "hit, spilled", "miss, put"};

/* Room for the whole trace, with the copies that nodes make of each other's blocks on top. */
static uint64_t enough(const struct kv_opts *o, const struct perf_trace *t)
{
	return (t->distinct + 1024) * swi_extent_bytes(o->block_bytes) / 10 * 15 + MIB(16);
}

static void open_nodes(struct kv *kv, const struct kv_opts *o, const char *key)
{
	const uint64_t arena = o->c.arena_bytes ? o->c.arena_bytes : enough(o, kv->trace);
	char dir[PERF_PATH_MAX], bind[128], why[256] = "";

	snprintf(bind, sizeof(bind), "%s:0", o->c.bind ? o->c.bind : "127.0.0.1");
	for (uint32_t i = 0; i < kv->nodes; i++) {
		struct swarm_store_opts so = {.size = sizeof(so),
					      .flags = (o->c.huge ? SWARM_STORE_HUGE_PAGES : 0) |
						       (o->c.hugetlb ? SWARM_STORE_HUGETLB : 0),
					      .arena_bytes = arena,
					      .objects_max = kv->trace->distinct * 2 + 65536,
					      .transport = o->c.transport,
					      .device = o->c.device,
					      .node = i + 1};
		struct kv_node *n = &kv->node[i];

		if (kv->nodes > 1) {
			so.bind = bind;
			so.key_file = key;
			so.queue_pairs = o->c.queue_pairs;
		}
		if (o->spill_dir) {
			snprintf(dir, sizeof(dir), "%s/node-%u", o->spill_dir, i + 1);
			so.spill_dir = dir;
			so.spill_bytes = o->spill_bytes;
		}
		if (swarm_store_open(&so, &n->st, why, sizeof(why)))
			perf_die(&o->c, "node %u: %s", i + 1, why);
		n->number = i + 1;
		n->capacity = arena / 10 * 8;
		if (o->spill_dir)
			n->capacity = o->spill_bytes ? n->capacity + o->spill_bytes / 10 * 7 : UINT64_MAX;
		for (uint32_t k = 0; k < i; k++)
			perf_must(&o->c,
				  swarm_store_peer(n->st, swarm_store_address(kv->node[k].st), 10 * NS_PER_S),
				  "joining the nodes");
	}
}

static uint64_t sum(const struct kv *kv, const char *key)
{
	uint64_t v = 0;

	for (uint32_t i = 0; i < kv->nodes; i++)
		v += perf_status(kv->node[i].st, key);
	return v;
}

static json_t *summary(const struct kv *kv, const struct kv_counts *c)
{
	const struct perf_trace *t = kv->trace;
	const uint64_t hits = c->n[KV_MEMORY] + c->n[KV_REMOTE] + c->n[KV_SPILLED];

	return json_pack("{s:I, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "requests", (json_int_t)t->requests, "references", (json_int_t)t->refs,
			 "distinct_blocks", (json_int_t)t->distinct, "trace_reuse_ratio",
			 perf_trace_reuse(t), "hit_ratio", (double)hits / (double)t->refs, "hits",
			 (json_int_t)hits, "hits_memory", (json_int_t)c->n[KV_MEMORY], "hits_remote",
			 (json_int_t)c->n[KV_REMOTE], "hits_spilled", (json_int_t)c->n[KV_SPILLED], "misses",
			 (json_int_t)c->n[KV_MISS], "evicted_blocks", (json_int_t)c->evicted, "lost_blocks",
			 (json_int_t)c->lost, "wrong_blocks", (json_int_t)c->wrong, "bytes_put",
			 (json_int_t)c->bytes[KV_MISS], "bytes_read_from_nodes", (json_int_t)sum(kv, "fetch_bytes"),
			 "bytes_spilled", (json_int_t)sum(kv, "spilled_bytes"), "bytes_restored",
			 (json_int_t)sum(kv, "restore_bytes"));
}

static void lat_row(struct perf_report *r, const char *name, const struct perf_hist *h, uint64_t bytes,
		    uint64_t size)
{
	struct perf_row *row = perf_row_new(PERF_LAT, name, size);
	struct perf_arm *arm = perf_row_arm(row, "swarm", 0);

	if (h->count)
		perf_arm_run(arm, PERF_LAT, h, h->count, bytes, (uint64_t)h->sum);
	perf_report_row(r, row);
}

static void report(struct perf_report *r, const struct kv *kv, const struct kv_counts *c, uint64_t ns)
{
	struct perf_row *row = perf_row_new(PERF_OPS, "replay", kv->block_bytes);
	struct perf_arm *arm = perf_row_arm(row, "swarm", 0);
	json_t *s = summary(kv, c);

	perf_arm_run(arm, PERF_OPS, NULL, kv->trace->refs, kv->trace->refs * kv->block_bytes, ns);
	row->extra = s;
	json_incref(s);
	for (int i = 0; i < KV_OUTCOMES; i++)
		lat_row(r, outcome[i], &c->hist[i], c->bytes[i], kv->block_bytes);
	lat_row(r, "request", &c->request, 0, 0);
	perf_report_row(r, row);
	perf_report_note(r,
			 " references %lld, distinct %lld: the trace repeats %.4f %%\n"
			 " hits %.4f %%: memory %lld, remote %lld, spilled %lld; misses %lld; evicted %lld\n"
			 " bytes put %lld, READ from nodes %lld, spilled %lld, restored %lld; wrong blocks %lld",
			 json_integer_value(json_object_get(s, "references")),
			 json_integer_value(json_object_get(s, "distinct_blocks")), 100 * perf_trace_reuse(kv->trace),
			 100 * json_real_value(json_object_get(s, "hit_ratio")),
			 json_integer_value(json_object_get(s, "hits_memory")),
			 json_integer_value(json_object_get(s, "hits_remote")),
			 json_integer_value(json_object_get(s, "hits_spilled")),
			 json_integer_value(json_object_get(s, "misses")),
			 json_integer_value(json_object_get(s, "evicted_blocks")),
			 json_integer_value(json_object_get(s, "bytes_put")),
			 json_integer_value(json_object_get(s, "bytes_read_from_nodes")),
			 json_integer_value(json_object_get(s, "bytes_spilled")),
			 json_integer_value(json_object_get(s, "bytes_restored")),
			 json_integer_value(json_object_get(s, "wrong_blocks")));
	json_decref(s);
}

static const struct swt_opt options[] = {
	{"nodes", 'N', SWT_U32, offsetof(struct kv_opts, nodes), "N", "nodes of the cluster (default 1)", NULL},
	{"block", 's', SWT_SIZE, offsetof(struct kv_opts, block_bytes), "SIZE",
	 "bytes of a block (default 4k)", NULL},
	{"requests", 'n', SWT_U32, offsetof(struct kv_opts, c) + offsetof(struct perf_opts, iters), "N",
	 "only the first N requests of the file", NULL},
	{"speed", 0, SWT_U32, offsetof(struct kv_opts, speed), "N",
	 "requests start N times as fast as recorded (default: as fast as they go)", NULL},
	{"spill", 0, SWT_STR, offsetof(struct kv_opts, spill_dir), "FOLDER",
	 "blocks that do not fit go to disk here", NULL},
	{"spill-size", 0, SWT_SIZE, offsetof(struct kv_opts, spill_bytes), "SIZE",
	 "at most so much of it for each node", NULL},
	{"transport", 0, SWT_CHOICE, offsetof(struct kv_opts, c) + offsetof(struct perf_opts, transport), "NAME",
	 "auto, verbs, ofi or shm (default auto)", "auto|verbs|ofi|shm"},
	{"device", 'd', SWT_STR, offsetof(struct kv_opts, c) + offsetof(struct perf_opts, device), "NAME",
	 "verbs: the device; ofi: the provider", NULL},
	{"bind", 0, SWT_STR, offsetof(struct kv_opts, c) + offsetof(struct perf_opts, bind), "ADDRESS",
	 "address of the nodes (default 127.0.0.1)", NULL},
	PERF_OPT_ARENA(struct kv_opts, c),
	PERF_OPT_LATENCY(struct kv_opts, c),
	PERF_OPT_FORMAT(struct kv_opts, c),
	PERF_OPT_VERBS(struct kv_opts, c),
	PERF_OPT_NOT(struct kv_opts, c, 2, "port", 'p', "PORT", "all nodes are in this process, on ports of their own"),
	PERF_OPT_NOT(struct kv_opts, c, 3, "tx-depth", 't', "N", "a request looks up its blocks one after the other"),
	PERF_OPT_NOT(struct kv_opts, c, 4, "outs", 'o', "N", "a request looks up its blocks one after the other"),
	PERF_OPT_NOT(struct kv_opts, c, 5, "duration", 'D', "TIME", "the trace says how much there is; see --requests and --speed"),
	PERF_OPT_NOT(struct kv_opts, c, 6, "threads", 0, "N", "each node has one; see --nodes"),
	PERF_OPT_NOT_FLAG(struct kv_opts, c, 7, "all", 'a', "all blocks of a cache are of one size"),
	PERF_OPT_NOT_FLAG(struct kv_opts, c, 8, "bidirectional", 'b', "every node reads from every other as it is"),
	PERF_OPT_NOT_FLAG(struct kv_opts, c, 9, "events", 'e', "a request waits for its blocks"),
	PERF_OPT_NOT_FLAG(struct kv_opts, c, 10, "unsorted", 'U', "see --histogram"),
	PERF_OPT_NOT_FLAG(struct kv_opts, c, 11, "check-data", 0, "every byte of every hit is checked, always"),
	{NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL},
};

static const struct swt_command command = {
	.name = "swarm_kvtrace",
	.summary = "Replays a trace of requests (Mooncake's format) as a cache of KV blocks.",
	.args = "FILE",
	.args_min = 1,
	.args_max = 1,
	.opts = options,
};

static void init(struct kv_counts *c)
{
	for (int i = 0; i < KV_OUTCOMES; i++)
		perf_hist_init(&c->hist[i]);
	perf_hist_init(&c->request);
}

static int replay(struct kv *kv, const struct kv_opts *o, const char *file)
{
	static struct kv_counts all;
	struct perf_report *r = perf_report_new(&o->c, "Swarm replay of a trace");
	uint64_t ns;
	int rc;

	kv->counts = calloc(kv->nodes, sizeof(*kv->counts));
	SWI_BUG_ON(!kv->counts);
	for (uint32_t i = 0; i < kv->nodes; i++)
		init(&kv->counts[i]);
	init(&all);
	perf_report_set(r, "trace", json_string(file));
	perf_report_set(r, "nodes", json_integer(kv->nodes));
	perf_report_set(r, "arena_bytes", json_integer((json_int_t)perf_status(kv->node[0].st, "arena_bytes")));
	perf_report_set(r, "speed", json_integer(o->speed));
	rc = kv_run(kv, &ns);
	if (rc)
		perf_die(&o->c, "the replay stopped: %s", swarm_strerror(rc));
	for (uint32_t i = 0; i < kv->nodes; i++)
		kv_add(&all, &kv->counts[i]);
	report(r, kv, &all, ns);
	if (all.wrong)
		fprintf(stderr, "%s: %llu blocks had wrong bytes\n", o->c.program, (unsigned long long)all.wrong);
	free(kv->counts);
	return perf_report_end(r) || all.wrong;
}

int main(int argc, char **argv)
{
	struct kv_opts o = {.nodes = 1, .block_bytes = KIB(4), .c.runs = 1};
	struct perf_trace trace = {0};
	struct kv kv = {.o = &o.c, .trace = &trace};
	struct perf_rig rig = {.o = &o.c};
	char why[512] = "";
	int rc = perf_opts_parse(&command, argc, argv, &o, &o.c);

	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	if (o.nodes < 1 || o.nodes > KV_NODES_MAX)
		return swt_error(&command, SWT_USAGE, "--nodes=%u: expected 1 to %u", o.nodes, KV_NODES_MAX);
	if (o.nodes == 1 && (o.c.transport || o.c.device || o.c.bind || o.c.queue_pairs))
		return swt_error(&command, SWT_USAGE, "--transport, --device, --bind, --qp and --gid-index go with --nodes of more than 1");
	if (o.spill_bytes && !o.spill_dir)
		return swt_error(&command, SWT_USAGE, "--spill-size goes with --spill");
	if (perf_trace_file(&trace, argv[argc - 1], why, sizeof(why)))
		return swt_error(&command, 1, "%s", why);
	if (o.c.iters)
		perf_trace_cut(&trace, o.c.iters);
	kv.nodes = o.nodes;
	kv.block_bytes = o.block_bytes;
	kv.speed = o.speed;
	if (o.nodes > 1)
		perf_rig_key(&rig);
	open_nodes(&kv, &o, rig.key);
	rc = replay(&kv, &o, argv[argc - 1]);
	for (uint32_t i = 0; i < kv.nodes; i++)
		swarm_store_close(kv.node[i].st);
	perf_trace_fini(&trace);
	return rc;
}
