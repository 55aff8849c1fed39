/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_node.c - a whole node core (store and scheduler) among strangers: a peer that knows the cluster key and says
 * what it likes, whose memory says what it likes when it is READ, a driver and a worker that ask what they like. The
 * first byte says who is the head; then a row of {u8 who, u8 type, u16 length, bytes}. The core stays whole.
 */
#include "sched/core.h"
#include "sched/tmsg.h"
#include "store/index.h"
#include "store/request.h"
#include "store/snode_internal.h"
#include "tests/fuzz/fuzz.h"
#include "transport/sim/sim_net.h"

#define ARENA	   KIB(512)
#define EVIL_ARENA KIB(64)
#define EVIL_INDEX KIB(16)
#define NODES_KEY  0x5a
#define STEP_NS	   NS_PER_MS
#define BEGIN	   60u /* steps until the two have met */
#define REST	   20u
#define ROWS_MAX   64u

enum who { WHO_STORE, WHO_STORE_2, WHO_SCHED, WHO_SCHED_2, WHO_DRIVER, WHO_WORKER, WHO_MEMORY, WHO_TIME };

struct world {
	struct swi_simnet *net;
	struct swi_sim_env env, evil_env;
	struct swi_log log;
	struct swi_snode *sn;
	struct swi_node *node;
	struct swi_tp *evil;
	struct swi_conn *conn; /* of the evil peer's; NULL = none now */
	struct swi_client *driver, *worker;
	bool ended;
};

static int spawn(void *ctx SWI_UNUSED, uint32_t worker SWI_UNUSED)
{
	return 0;
}

static void kill_worker(void *ctx SWI_UNUSED, uint32_t worker SWI_UNUSED)
{
}

static void ended(void *ctx, int status SWI_UNUSED, const char *text SWI_UNUSED)
{
	((struct world *)ctx)->ended = true;
}

static void evil_up(void *ctx, struct swi_conn *conn, bool inbound SWI_UNUSED)
{
	((struct world *)ctx)->conn = conn;
}

static void evil_msg(void *ctx SWI_UNUSED, struct swi_conn *conn SWI_UNUSED, uint16_t type SWI_UNUSED,
		     const void *body SWI_UNUSED, uint32_t len SWI_UNUSED)
{
}

static void evil_down(void *ctx, struct swi_conn *conn, int status SWI_UNUSED)
{
	struct world *w = ctx;

	if (w->conn == conn)
		w->conn = NULL;
}

static const struct swi_tp_handler evil_handler = {.up = evil_up, .msg = evil_msg, .down = evil_down};

static void step(struct world *w, uint32_t n)
{
	for (uint32_t i = 0; i < n && !w->ended; i++) {
		swi_snode_step(w->sn);
		swi_node_step(w->node);
		(void)swi_tp_progress(w->evil);
		swi_simnet_advance(w->net, swi_simnet_now(w->net) + STEP_NS);
	}
}

static void open_evil(struct world *w, bool head)
{
	struct swi_tp_handler h = evil_handler;
	struct swi_tp_opts o = {.backend = "sim", .bind = "evil:1", .param = w->net, .node = head ? 1 : 2, .epoch = 9};
	char why[256];

	h.ctx = w;
	memset(o.key, NODES_KEY, sizeof(o.key));
	swi_sim_env_init(&w->evil_env, w->net, 11);
	FUZZ_CHECK(!swi_tp_open(&o, &w->evil_env.env, &w->log, &h, &w->evil, why, sizeof(why)));
	FUZZ_CHECK(!swi_tp_register(w->evil, SWI_REGION_ARENA, fuzz_zeroed(0, EVIL_ARENA), EVIL_ARENA, -1));
	FUZZ_CHECK(!swi_tp_register(w->evil, SWI_REGION_INDEX, fuzz_zeroed(1, EVIL_INDEX), EVIL_INDEX, -1));
}

static void open_good(struct world *w, bool head)
{
	struct swi_snode_opts so = {.env = &w->env.env,
				    .log = &w->log,
				    .arena_bytes = ARENA,
				    .tp = {.backend = "sim", .bind = "good:1", .param = w->net, .epoch = 5},
				    .epoch = 5};
	struct swi_node_opts no = {.head = head,
				   .head_address = head ? NULL : "evil:1",
				   .total = {.cpu = 2 * SWARM_RESOURCE_UNIT, .memory = GIB(1)},
				   .workers = {.spawn = spawn, .kill = kill_worker},
				   .ended = ended,
				   .ctx = w};
	char why[256];

	memset(so.tp.key, NODES_KEY, sizeof(so.tp.key));
	so.arena = fuzz_zeroed(2, ARENA);
	so.shm = fuzz_zeroed(3, swi_index_bytes(200));
	swi_index_format(so.shm, ARENA, 200, so.epoch);
	FUZZ_CHECK(!swi_snode_create(&so, &w->sn, why, sizeof(why)));
	no.sn = w->sn;
	FUZZ_CHECK(!swi_node_create(&no, &w->node, why, sizeof(why)));
	FUZZ_CHECK(!swi_client_attach(w->sn, fuzz_zeroed(4, SWI_CLIENT_BYTES), NULL, 1, SWI_ROLE_DRIVER, &w->driver));
	FUZZ_CHECK(!swi_client_attach(w->sn, fuzz_zeroed(5, SWI_CLIENT_BYTES), NULL, 2, SWI_ROLE_WORKER, &w->worker));
}

static void world_open(struct world *w, bool head)
{
	const struct swi_simnet_opts no = {.seed = 1};
	struct swi_conn *conn;

	FUZZ_CHECK(!swi_simnet_create(&no, &w->net));
	swi_sim_env_init(&w->env, w->net, 7);
	w->log.level = SWI_LOG_NONE;
	open_evil(w, !head);
	open_good(w, head);
	if (head)
		FUZZ_CHECK(!swi_tp_connect(w->evil, "good:1", NULL, &conn));
	step(w, head ? BEGIN / 4 : BEGIN);
	FUZZ_CHECK(w->conn);
}

static void world_close(struct world *w)
{
	swi_node_destroy(w->node);
	swi_client_gone(w->sn, w->driver);
	if (w->worker)
		swi_client_gone(w->sn, w->worker);
	swi_snode_destroy(w->sn);
	swi_tp_close(w->evil);
	swi_simnet_destroy(w->net);
}

static void request(struct swi_client *cl, uint8_t type, uint64_t req, const uint8_t *body, uint32_t len)
{
	const struct swi_msg msg = {.type = type, .req = req, .body = body, .len = len};

	if (!swi_client_condemned(cl) && swi_client_request(cl, &msg) < 0)
		swi_client_condemn(cl, "nonsense");
}

static void memory(uint8_t at, const uint8_t *body, uint32_t len)
{
	const bool index = at & 0x80;
	uint8_t *region = fuzz_block[index];
	const uint32_t off = (at & 0x7fu) * 64u;
	const uint32_t cap = index ? EVIL_INDEX : EVIL_ARENA;

	memcpy(region + off, body, swi_min_u64(len, cap - off));
}

static void row(struct world *w, uint8_t who, uint8_t type, uint64_t req, const uint8_t *body, uint32_t len)
{
	switch (who % 8) {
	case WHO_STORE:
	case WHO_STORE_2:
		if (w->conn)
			(void)swi_conn_send(w->conn, (uint16_t)(SWI_P_STORE + type % 0x18), body, len);
		break;
	case WHO_SCHED:
	case WHO_SCHED_2:
		if (w->conn)
			(void)swi_conn_send(w->conn, (uint16_t)(SWI_P_UPPER + type % 0x18), body, len);
		break;
	case WHO_DRIVER:
		request(w->driver, type, req, body, len);
		break;
	case WHO_WORKER:
		request(w->worker, type, req, body, len);
		break;
	case WHO_MEMORY:
		memory(type, body, len);
		break;
	default:
		step(w, type % 64);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {0};
	uint32_t rows = 0;

	if (!size)
		return 0;
	world_open(&w, data[0] & 1);
	for (size_t at = 1; at + 4 <= size && !w.ended && rows < ROWS_MAX; rows++) {
		const size_t len = data[at + 2] | (size_t)data[at + 3] << 8;
		const size_t have = size - at - 4 < len ? size - at - 4 : len;
		uint8_t *body = malloc(have ? have : 1); /* exact: a read past its end is seen */

		FUZZ_CHECK(body);
		memcpy(body, data + at + 4, have);
		row(&w, data[at], data[at + 1], rows + 1, body, (uint32_t)have);
		free(body);
		step(&w, 2);
		at += 4 + have;
	}
	step(&w, REST);
	world_close(&w);
	return 0;
}

/* ---- seeds ---- */

static uint32_t begin(struct swi_wr *w, enum who who, uint32_t type)
{
	swi_wr_u8(w, (uint8_t)who);
	swi_wr_u8(w, (uint8_t)type);
	swi_wr_u16(w, 0);
	return w->len;
}

static void end(struct swi_wr *w, uint32_t at)
{
	const uint32_t len = w->len - at;

	w->buf[at - 2] = (uint8_t)len;
	w->buf[at - 1] = (uint8_t)(len >> 8);
}

static void put_join(struct swi_wr *w)
{
	const struct swi_resources res = {.cpu = 20000, .memory = GIB(1)};
	const uint32_t at = begin(w, WHO_SCHED, SWI_P_JOIN);

	swi_wr_u64(w, 9);
	swi_wr_str(w, "evil:1");
	swi_wr_u8(w, 0);
	swi_resources_encode(w, &res);
	end(w, at);
}

static void put_joined(struct swi_wr *w)
{
	const struct swi_tmsg_member m[2] = {{.node = 1, .epoch = 9, .address = "evil:1", .total = {.cpu = 20000}},
					     {.node = 2, .epoch = 5, .address = "good:1", .total = {.cpu = 20000}}};
	const uint32_t at = begin(w, WHO_SCHED, SWI_P_JOINED);

	swi_wr_u32(w, 2);
	swi_wr_u32(w, 2);
	swi_tmsg_member_encode(w, &m[0]);
	swi_tmsg_member_encode(w, &m[1]);
	swi_wr_u32(w, 0);
	end(w, at);
}

static void put_spec(struct swi_wr *w, uint32_t home)
{
	static const struct swarm_ref arg = {{{3, 3}}, 2, 0};
	const struct swarm_arg args[] = {SWARM_ARG_REF(arg), SWARM_ARG_BYTES("x", 1)};
	struct swi_spec s = {.task = {{5, 6}},	 .parent = {{7, 8}},	  .home = home,
			     .module = {{{9, 9}}, 0, 0}, .function = "f", .return_count = 1,
			     .arg_count = 2,	 .ref_count = 1,	  .need = {.cpu = SWARM_RESOURCE_UNIT}};
	uint8_t buf[512];
	struct swi_wr sw = swi_wr_init(buf, sizeof(buf));

	swi_spec_encode(&sw, &s, args);
	swi_wr_raw(w, buf, sw.len);
}

static void put_task(struct swi_wr *w, uint32_t home)
{
	uint8_t buf[512];
	struct swi_wr sw = swi_wr_init(buf, sizeof(buf));
	const uint32_t at = begin(w, WHO_SCHED, SWI_P_TASK);

	put_spec(&sw, home);
	swi_wr_u32(w, 1);
	swi_wr_u32(w, 1);
	swi_wr_bytes(w, buf, sw.len);
	end(w, at);
}

static void put_submit(struct swi_wr *w)
{
	const uint32_t at = begin(w, WHO_DRIVER, SWI_L_SUBMIT);

	put_spec(w, 1);
	end(w, at);
}

static void put_ready(struct swi_wr *w)
{
	const uint32_t at = begin(w, WHO_WORKER, SWI_L_READY);

	swi_wr_u32(w, 1);
	end(w, at);
}

static void put_get(struct swi_wr *w, struct swarm_ref ref)
{
	const uint32_t at = begin(w, WHO_DRIVER, SWI_L_GET);

	swi_wr_ref(w, ref);
	swi_wr_u64(w, NS_PER_S);
	end(w, at);
}

static void put_time(struct swi_wr *w, uint8_t steps)
{
	end(w, begin(w, WHO_TIME, steps));
}

/* An object of the peer's as it lies in its memory, and a slot of its index that leads there. */
static void put_object(struct swi_wr *w, struct swarm_oid id)
{
	const struct swi_object_head h = {.magic = SWI_OBJ_MAGIC, .state = SWI_OBJ_SEALED, .oid = {id.w[0], id.w[1]},
					  .gen = 3, .home = 2, .epoch = 9, .len = 64};
	uint32_t at = begin(w, WHO_MEMORY, 1);

	swi_wr_raw(w, (const void *)&h, sizeof(h));
	end(w, at);
	at = begin(w, WHO_MEMORY, 0x80);
	swi_wr_u64(w, swi_slot_sized(swi_slot_word(SWI_SLOT_SEALED, 3, 64), 128));
	swi_wr_u64(w, swi_index_key(id));
	end(w, at);
	at = begin(w, WHO_STORE, SWI_S_STAND - SWI_P_STORE);
	swi_wr_u64(w, 16);
	end(w, at);
}

static void put_copies(struct swi_wr *w)
{
	const struct swi_smsg_copy c = {.ref = {{{4, 4}}, 1, 0}, .node = 2, .flags = SWI_COPY_PRIMARY, .len = 64};
	const struct swi_smsg_told t = {.req = 1, .refused = 1};
	uint32_t at = begin(w, WHO_STORE, SWI_S_COPIES - SWI_P_STORE);

	swi_wr_u64(w, 1);
	swi_wr_u32(w, 1);
	swi_smsg_put_copy(w, &c);
	end(w, at);
	at = begin(w, WHO_STORE, SWI_S_TOLD - SWI_P_STORE);
	swi_smsg_put_told(w, &t);
	swi_wr_oid(w, c.ref.id);
	end(w, at);
}

static void put_located(struct swi_wr *w)
{
	const struct swi_smsg_located m = {.req = 1, .state = SWI_DIR_AVAILABLE, .place = SWI_PLACE_KNOWN, .offset = 64,
					   .gen = 3, .copies = {.len = 64, .count = 1, .node = {2}}};
	const struct swi_smsg_leased l = {.req = 2, .lease = 1, .offset = 64, .gen = 3, .epoch = 9, .len = 64, .have = 64};
	uint32_t at = begin(w, WHO_STORE, SWI_S_LOCATED - SWI_P_STORE);

	swi_smsg_put_located(w, &m);
	end(w, at);
	at = begin(w, WHO_STORE, SWI_S_LEASED - SWI_P_STORE);
	swi_smsg_put_leased(w, &l);
	end(w, at);
}

static void put_locate(struct swi_wr *w)
{
	const struct swi_smsg_locate m = {.req = 1, .ref = {{{1, 1}}, 1, 0}, .flags = SWI_LOCATE_LEASE};
	const struct swi_smsg_lease l = {.req = 2, .id = {{1, 1}}};
	const struct swi_smsg_range g = {.req = 3, .id = {{1, 1}}, .len = 8};
	const struct swi_smsg_move v = {.req = 4, .ref = {{{4, 4}}, 1, 0}};
	uint32_t at = begin(w, WHO_STORE, SWI_S_LOCATE - SWI_P_STORE);

	swi_smsg_put_locate(w, &m);
	end(w, at);
	at = begin(w, WHO_STORE, SWI_S_LEASE - SWI_P_STORE);
	swi_smsg_put_lease(w, &l);
	end(w, at);
	at = begin(w, WHO_STORE, SWI_S_RANGE - SWI_P_STORE);
	swi_smsg_put_range(w, &g);
	end(w, at);
	at = begin(w, WHO_STORE, SWI_S_MOVE - SWI_P_STORE);
	swi_smsg_put_move(w, &v);
	end(w, at);
}

/* A copy is asked for: by the peer, and of it. */
static void put_keep(struct swi_wr *w)
{
	const struct swi_smsg_keep m = {.req = 5, .ref = {{{3, 3}}, 2, 0}, .timeout_ns = NS_PER_S};
	const struct swi_smsg_done done = {.req = 1};
	uint32_t at = begin(w, WHO_STORE, SWI_S_KEEP - SWI_P_STORE);

	swi_smsg_put_keep(w, &m);
	end(w, at);
	at = begin(w, WHO_DRIVER, SWI_L_REPLICATE);
	swi_wr_ref(w, m.ref);
	swi_wr_u32(w, 2);
	swi_wr_u64(w, NS_PER_S);
	end(w, at);
	put_time(w, 10);
	at = begin(w, WHO_STORE, SWI_S_KEPT - SWI_P_STORE);
	swi_smsg_put_done(w, &done);
	end(w, at);
}

static void put_xfer(struct swi_wr *w)
{
	const struct swi_smsg_record r = {.ref = {{{6, 6}}, 2, 0}, .state = SWI_DIR_AVAILABLE,
					  .copies = {.len = 100, .count = 1, .node = {2}}};
	const uint32_t at = begin(w, WHO_STORE, SWI_S_XFER - SWI_P_STORE);

	swi_wr_u64(w, 1);
	swi_wr_u32(w, 1);
	swi_smsg_put_record(w, &r);
	end(w, at);
}

static void put_load(struct swi_wr *w)
{
	const struct swi_resources res = {.cpu = 20000, .memory = GIB(1)};
	const struct swi_report rep = {.stamp = 7, .total = res, .free = res, .idle = true};
	const struct swi_scale_demand d = {.tasks = 1, .need = res, .largest = res};
	const uint32_t at = begin(w, WHO_SCHED, SWI_P_LOAD);

	swi_report_encode(w, &rep);
	swi_demand_encode(w, &d);
	end(w, at);
}

static void put_admin(struct swi_wr *w, const char *cmd, const char *arg)
{
	const uint32_t at = begin(w, WHO_DRIVER, SWI_L_ADMIN);

	swi_wr_str(w, cmd);
	swi_wr_str(w, arg);
	end(w, at);
}

static void put_reply(struct swi_wr *w)
{
	static const char doc[] = "{\"tasks\": [{\"id\": 1}], \"nodes\": 5}";
	const uint32_t at = begin(w, WHO_SCHED, SWI_P_STATUS_REPLY);

	swi_wr_u64(w, 1);
	swi_wr_bytes(w, doc, sizeof(doc) - 1);
	end(w, at);
}

static void seed_head(struct swi_wr *w)
{
	put_join(w);
	put_load(w);
	put_ready(w);
	put_submit(w);
	put_time(w, 60);
	put_task(w, 2);
	put_copies(w);
	put_locate(w);
	put_xfer(w);
	put_admin(w, "gather", "tasks");
	put_reply(w);
	put_admin(w, "drain", "2");
}

static void seed_reads(struct swi_wr *w)
{
	put_join(w);
	put_object(w, (struct swarm_oid){{3, 3}});
	put_get(w, (struct swarm_ref){{{3, 3}}, 2, 0});
	put_time(w, 10);
	put_get(w, (struct swarm_ref){{{4, 4}}, 2, 0});
	put_located(w);
	put_time(w, 20);
	put_keep(w);
	put_time(w, 20);
}

static void seed_member(struct swi_wr *w)
{
	put_joined(w);
	put_time(w, 60);
	put_ready(w);
	put_task(w, 1);
	put_object(w, (struct swarm_oid){{3, 3}});
	put_get(w, (struct swarm_ref){{{3, 3}}, 1, 0});
	put_located(w);
	put_submit(w);
	end(w, begin(w, WHO_SCHED, SWI_P_DRAIN));
	put_time(w, 60);
	end(w, begin(w, WHO_SCHED, SWI_P_STOP));
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	static void (*const seeds[])(struct swi_wr *) = {seed_head, seed_reads, seed_member};
	struct swi_wr w = swi_wr_init(buf, (uint32_t)cap);

	swi_wr_u8(&w, i < 2); /* head */
	return fuzz_seed_of(seeds, SWI_ARRAY_LEN(seeds), i, &w);
}
