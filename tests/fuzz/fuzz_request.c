/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_request.c - requests of an evil client to a whole node core: the input is a row of {u8 type, u8 0, u16 length,
 * bytes}. Whatever comes, the core stays whole: it answers or cuts the client off, nothing of the client's is
 * left when it is gone, and another client's object is still there.
 */
#include <swarm/store.h>

#include "store/proto.h"
#include "store/request.h"
#include "store/snode_internal.h"
#include "tests/fuzz/fuzz.h"
#include "transport/sim/sim_net.h"

#define ARENA	 KIB(512)
#define STEPS	 4u
#define STEP_NS	 (3 * NS_PER_MS)

struct world {
	struct swi_simnet *net;
	struct swi_sim_env env;
	struct swi_log log;
	struct swi_snode *sn;
	struct swi_client *good, *evil;
	void *arena, *good_shm, *evil_shm;
	struct swi_shm_head *shm;
};

static const struct swarm_oid kept = {{1, 1}};

static void step(struct world *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		swi_snode_step(w->sn);
		swi_simnet_advance(w->net, swi_simnet_now(w->net) + STEP_NS);
	}
}

/* The object of the good client, made by the core itself: nothing of it depends on the requests. */
static void make_kept(struct world *w)
{
	uint64_t offset;

	FUZZ_CHECK(!swi_extent_alloc(&w->sn->extents, swi_extent_bytes(64), SWI_GRANULE,
				     swi_extent_side(64, ARENA), &offset));
	struct swi_object_head *h = (void *)((uint8_t *)w->arena + offset);

	*h = (struct swi_object_head){.magic = SWI_OBJ_MAGIC,
				      .state = SWI_OBJ_SEALED,
				      .oid = {kept.w[0], kept.w[1]},
				      .gen = swi_snode_gen(w->sn),
				      .home = 1,
				      .len = 64};
	FUZZ_CHECK(!swi_local_publish(w->sn, kept, h->gen, offset, swi_extent_bytes(64)));
}

static void world_open(struct world *w)
{
	const struct swi_simnet_opts no = {.seed = 1};
	struct swi_snode_opts o = {.arena_bytes = ARENA, .node = 1, .epoch = 5};
	char why[256] = "";

	FUZZ_CHECK(!swi_simnet_create(&no, &w->net));
	swi_sim_env_init(&w->env, w->net, 7);
	w->log.level = SWI_LOG_NONE;
	w->arena = fuzz_zeroed(0, ARENA);
	w->shm = fuzz_zeroed(1, swi_index_bytes(200));
	swi_index_format(w->shm, ARENA, 200, o.epoch);
	o.env = &w->env.env;
	o.log = &w->log;
	o.arena = w->arena;
	o.shm = w->shm;
	FUZZ_CHECK(!swi_snode_create(&o, &w->sn, why, sizeof(why)));
	w->good_shm = fuzz_zeroed(2, SWI_CLIENT_BYTES);
	w->evil_shm = fuzz_zeroed(3, SWI_CLIENT_BYTES);
	FUZZ_CHECK(!swi_client_attach(w->sn, w->good_shm, NULL, 1, 0, &w->good));
	FUZZ_CHECK(!swi_client_attach(w->sn, w->evil_shm, NULL, 2, 0, &w->evil));
	make_kept(w);
}

static void world_close(struct world *w)
{
	swi_client_gone(w->sn, w->good);
	swi_snode_destroy(w->sn);
	swi_simnet_destroy(w->net);
}

/* Does @type name what everybody may forget: the kept object? Then it need not be there at the end. */
static bool may_delete(uint8_t type)
{
	return type == SWI_L_DELETE || type == SWI_L_EXPIRE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {0};
	struct swi_index_hit hit;
	uint64_t offset;
	bool deleted = false;

	world_open(&w);
	for (size_t at = 0; at + 4 <= size && !swi_client_condemned(w.evil);) {
		const size_t len = data[at + 2] | (size_t)data[at + 3] << 8;
		const size_t have = size - at - 4 < len ? size - at - 4 : len;
		struct swi_msg msg = {.type = data[at], .req = at + 1, .len = (uint32_t)have};
		uint8_t *body = malloc(have ? have : 1); /* exact: a read past its end is seen */

		FUZZ_CHECK(body);
		memcpy(body, data + at + 4, have);
		msg.body = body;
		deleted |= may_delete(data[at]);
		if (swi_client_request(w.evil, &msg) < 0)
			swi_client_condemn(w.evil, "nonsense");
		free(body);
		step(&w, 1);
		at += 4 + have;
	}
	step(&w, STEPS);
	swi_client_gone(w.sn, w.evil);
	step(&w, STEPS);
	FUZZ_CHECK(w.sn->holds.count == 0);
	FUZZ_CHECK(deleted || swi_object_find(w.sn, kept, &hit, &offset));
	world_close(&w);
	return 0;
}

/* ---- seeds: every request once, as a client would write it ---- */

static void begin(struct swi_wr *w, uint8_t type, uint32_t *out_at)
{
	swi_wr_u8(w, type);
	swi_wr_u8(w, 0);
	*out_at = w->len;
	swi_wr_u16(w, 0);
}

static void end(struct swi_wr *w, uint32_t at)
{
	const uint32_t len = w->len - at - 2;

	w->buf[at] = (uint8_t)len;
	w->buf[at + 1] = (uint8_t)(len >> 8);
}

static void put_refs(struct swi_wr *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		swi_wr_ref(w, (struct swarm_ref){.id = {{1, i + 1}}, .home = i % 3});
}

static void seed_store(struct swi_wr *w)
{
	uint32_t at;

	begin(w, SWI_L_CHUNK, &at);
	swi_wr_u64(w, SWI_PAGE * 4);
	swi_wr_u8(w, 0);
	swi_wr_u64(w, 0);
	end(w, at);
	begin(w, SWI_L_GET, &at);
	put_refs(w, 1);
	swi_wr_u64(w, NS_PER_MS);
	end(w, at);
	begin(w, SWI_L_WAIT, &at);
	swi_wr_u32(w, 2);
	swi_wr_u32(w, 1);
	swi_wr_u64(w, NS_PER_MS);
	put_refs(w, 2);
	end(w, at);
	begin(w, SWI_L_EXPLAIN, &at);
	put_refs(w, 1);
	end(w, at);
	begin(w, SWI_L_LIST, &at);
	swi_wr_u64(w, 0);
	swi_wr_u32(w, 10);
	end(w, at);
}

static void seed_many(struct swi_wr *w)
{
	uint32_t at;

	begin(w, SWI_L_GET_MANY, &at);
	swi_wr_u64(w, 2 * NS_PER_MS);
	swi_wr_u32(w, 3);
	put_refs(w, 3);
	end(w, at);
	begin(w, SWI_L_GET_MANY, &at);
	swi_wr_u64(w, UINT64_MAX);
	swi_wr_u32(w, 1);
	put_refs(w, 1);
	end(w, at);
	begin(w, SWI_L_HELD_MANY, &at);
	swi_wr_u32(w, 1);
	swi_wr_u64(w, 0);
	end(w, at);
}

static void seed_async(struct swi_wr *w)
{
	uint32_t at;

	begin(w, SWI_L_GET, &at);
	put_refs(w, 1);
	swi_wr_u64(w, UINT64_MAX);
	swi_wr_u32(w, 3);
	end(w, at);
	begin(w, SWI_L_GET_CANCEL, &at);
	swi_wr_u64(w, 1); /* the number of the message above: its place in the input, + 1 */
	end(w, at);
	begin(w, SWI_L_SET_ADD, &at);
	swi_wr_u32(w, 1);
	swi_wr_u32(w, 3);
	put_refs(w, 3);
	end(w, at);
	begin(w, SWI_L_SET_EVENT, &at);
	swi_wr_u32(w, 1);
	swi_wr_u32(w, 2);
	end(w, at);
	begin(w, SWI_L_SET_DEL, &at);
	swi_wr_u32(w, 1);
	swi_wr_u32(w, 1);
	swi_wr_oid(w, (struct swarm_oid){{1, 2}});
	end(w, at);
	begin(w, SWI_L_SET_END, &at);
	swi_wr_u32(w, 1);
	end(w, at);
}

static void put_subscribe(struct swi_wr *w, uint32_t number, uint8_t filter, uint32_t refs)
{
	static const uint8_t prefix[16] = {1};
	uint32_t at;

	begin(w, SWI_L_SUBSCRIBE, &at);
	swi_wr_u32(w, number);
	swi_wr_u32(w, 1u << SWARM_EVENT_SEALED | 1u << SWARM_EVENT_DELETED);
	swi_wr_u32(w, 2);
	swi_wr_u8(w, filter);
	swi_wr_u8(w, 1);
	swi_wr_raw(w, prefix, sizeof(prefix));
	swi_wr_u32(w, refs);
	put_refs(w, refs);
	end(w, at);
}

static void seed_notify(struct swi_wr *w)
{
	uint32_t at;

	put_subscribe(w, 1, SWARM_SUB_ALL, 0);
	put_subscribe(w, 2, SWARM_SUB_PREFIX, 0);
	put_subscribe(w, 3, SWARM_SUB_REFS, 2);
	for (uint32_t i = 0; i < 4; i++) {
		begin(w, SWI_L_SEALED, &at);
		put_refs(w, 1);
		swi_wr_u64(w, 64);
		end(w, at);
	}
	begin(w, SWI_L_SUB_ACK, &at);
	swi_wr_u32(w, 1);
	swi_wr_u32(w, 2);
	end(w, at);
	begin(w, SWI_L_DELETE, &at);
	put_refs(w, 1);
	end(w, at);
	begin(w, SWI_L_SUB_EVENT, &at);
	swi_wr_u32(w, 1);
	swi_wr_u32(w, 64);
	end(w, at);
	begin(w, SWI_L_SUB_END, &at);
	swi_wr_u32(w, 3);
	end(w, at);
}

static void seed_attr(struct swi_wr *w)
{
	uint32_t at;

	for (uint8_t policy = 3; policy--;) {
		begin(w, SWI_L_PIN, &at);
		put_refs(w, 1);
		swi_wr_u8(w, policy);
		swi_wr_u64(w, NS_PER_MS);
		end(w, at);
	}
	begin(w, SWI_L_REPLICATE, &at);
	put_refs(w, 1);
	swi_wr_u32(w, 2);
	swi_wr_u64(w, NS_PER_S);
	end(w, at);
	begin(w, SWI_L_EXPIRE, &at);
	put_refs(w, 1);
	swi_wr_u64(w, NS_PER_MS);
	end(w, at);
}

static void seed_more(struct swi_wr *w)
{
	uint32_t at;

	begin(w, SWI_L_GET_RANGE, &at);
	put_refs(w, 1);
	swi_wr_u64(w, 8);
	swi_wr_u64(w, 16);
	swi_wr_u64(w, NS_PER_MS);
	end(w, at);
	begin(w, SWI_L_SYNC, &at);
	swi_wr_u32(w, 1);
	swi_wr_u64(w, NS_PER_MS);
	put_refs(w, 1);
	end(w, at);
	begin(w, SWI_L_STATUS, &at);
	swi_wr_str(w, "store");
	swi_wr_u64(w, 0);
	end(w, at);
	begin(w, SWI_L_PEER, &at);
	swi_wr_str(w, "10.0.0.1:6480");
	swi_wr_u64(w, NS_PER_MS);
	end(w, at);
	begin(w, SWI_L_HELD_DONE, &at);
	swi_wr_u64(w, 0);
	end(w, at);
	begin(w, SWI_L_CHUNK_DONE, &at);
	swi_wr_u64(w, 0);
	swi_wr_u64(w, 0);
	end(w, at);
}

static void (*const seeds[])(struct swi_wr *w) = {
    seed_store,
    seed_many,
    seed_async,
    seed_notify,
    seed_attr,
    seed_more,
};

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	struct swi_wr w = swi_wr_init(buf, (uint32_t)cap);

	return fuzz_seed_of(seeds, SWI_ARRAY_LEN(seeds), i, &w);
}
