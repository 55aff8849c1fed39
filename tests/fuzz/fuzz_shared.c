/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_shared.c - all the shared memory that a client can write, as an evil client leaves it: headers in its chunk and
 * elsewhere in the arena, slots and head of the index, its intents, pins and rings. The input is a row of
 * {u8 where, u8 length, u16 place, bytes}, or a request. Then the node lists, evicts, spills, drops the client. It stays whole.
 */
#include <swarm/store.h>

#include "store/index.h"
#include "store/proto.h"
#include "store/request.h"
#include "store/snode_internal.h"
#include "store/spill/disk_sim.h"
#include "tests/fuzz/fuzz.h"
#include "transport/sim/sim_net.h"

#define ARENA	 KIB(512)
#define OBJECTS	 200u
#define CHUNK	 (4 * SWI_PAGE)
#define PLATTER	 MIB(4)
#define STEP_NS	 (3 * NS_PER_MS)
#define ROWS_MAX 128u

enum where { AT_CHUNK, AT_SLOT, AT_INTENT, AT_PIN, AT_ARENA, AT_HEAD, AT_RING, AT_REQUEST, AT_COUNT };

struct world {
	struct swi_simnet *net;
	struct swi_sim_env env;
	struct swi_log log;
	struct swi_platter *platter;
	struct swi_disk *disk;
	struct swi_snode *sn;
	struct swi_client *evil;
	uint8_t *arena, *index;
	struct swi_client_shm *shm;
	uint64_t chunk; /* offset of the client's grant */
};

static void step(struct world *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		swi_snode_step(w->sn);
		swi_simnet_advance(w->net, swi_simnet_now(w->net) + STEP_NS);
	}
}

static void request(struct world *w, uint16_t type, const void *body, uint32_t len)
{
	const struct swi_msg msg = {.type = type, .req = 1, .body = body, .len = len};

	if (!swi_client_condemned(w->evil) && swi_client_request(w->evil, &msg) < 0)
		swi_client_condemn(w->evil, "nonsense");
}

static void ask_chunk(struct world *w)
{
	uint8_t buf[32];
	struct swi_wr wr = swi_wr_init(buf, sizeof(buf));

	swi_wr_u64(&wr, CHUNK);
	swi_wr_u8(&wr, 0);
	swi_wr_u64(&wr, 0);
	request(w, SWI_L_CHUNK, buf, wr.len);
}

static void world_open(struct world *w)
{
	const struct swi_disk_sim_opts dopts = {.seed = 3};
	const struct swi_simnet_opts no = {.seed = 1};
	struct swi_snode_opts o = {.arena_bytes = ARENA, .node = 1, .epoch = 5, .disk_count = 1, .spill_bytes = PLATTER, .segment_bytes = MIB(1)};
	char why[256] = "";

	FUZZ_CHECK(!swi_simnet_create(&no, &w->net));
	swi_sim_env_init(&w->env, w->net, 7);
	w->log.level = SWI_LOG_NONE;
	w->platter = swi_platter_create(PLATTER, "disk");
	FUZZ_CHECK(w->platter && !swi_disk_sim_create(&dopts, w->platter, &w->env.env, &w->disk));
	w->arena = fuzz_zeroed(0, ARENA);
	w->index = fuzz_zeroed(1, swi_index_bytes(OBJECTS));
	w->shm = fuzz_zeroed(2, SWI_CLIENT_BYTES);
	swi_index_format((void *)w->index, ARENA, OBJECTS, o.epoch);
	o.env = &w->env.env;
	o.log = &w->log;
	o.arena = w->arena;
	o.shm = (void *)w->index;
	o.disks = &w->disk;
	FUZZ_CHECK(!swi_snode_create(&o, &w->sn, why, sizeof(why)));
	FUZZ_CHECK(!swi_client_attach(w->sn, w->shm, NULL, 2, 0, &w->evil));
	ask_chunk(w);
	FUZZ_CHECK(!swi_list_empty(&w->evil->grants));
	w->chunk = swi_list_first(&w->evil->grants, struct swi_grant, link)->offset;
}

static void world_close(struct world *w)
{
	swi_snode_destroy(w->sn);
	w->disk->ops->destroy(w->disk);
	swi_platter_destroy(w->platter);
	swi_simnet_destroy(w->net);
}

/* Copies what fits to @at in a block of @cap bytes. */
static void put(void *block, uint64_t cap, uint64_t at, const uint8_t *bytes, uint64_t len)
{
	if (at < cap)
		memcpy((uint8_t *)block + at, bytes, swi_min_u64(len, cap - at));
}

static void row(struct world *w, uint8_t where, uint16_t place, const uint8_t *bytes, uint32_t len)
{
	switch (where % AT_COUNT) {
	case AT_CHUNK:
		put(w->arena + w->chunk, CHUNK, place * 8ull, bytes, len);
		break;
	case AT_SLOT:
		put(w->index + SWI_PAGE, swi_index_bytes(OBJECTS) - SWI_PAGE, place * 8ull, bytes, len);
		break;
	case AT_INTENT:
		put(w->shm->intent, sizeof(w->shm->intent), place * 8ull, bytes, len);
		break;
	case AT_PIN:
		put(w->shm->pin, sizeof(w->shm->pin), place * 8ull, bytes, len);
		atomic_store(&w->shm->pin_high, place);
		break;
	case AT_ARENA:
		put(w->arena, ARENA, place * 64ull, bytes, len);
		break;
	case AT_HEAD: /* behind magic and sizes, which are copied when the node begins */
		put(w->index, SWI_PAGE, place * 4ull, bytes, len);
		break;
	case AT_RING:
		put((uint8_t *)w->shm + SWI_CLIENT_REQ_OFF, SWI_CLIENT_BYTES - SWI_CLIENT_REQ_OFF, place * 8ull, bytes,
		    len);
		break;
	default:
		request(w, place % 0x2c, bytes, len);
	}
}

static void look_at_all(struct world *w)
{
	uint8_t buf[32];
	struct swi_wr wr = swi_wr_init(buf, sizeof(buf));

	swi_wr_u64(&wr, 0);
	swi_wr_u32(&wr, UINT32_MAX);
	request(w, SWI_L_LIST, buf, wr.len);
	for (uint32_t i = 0; i < 2 * ARENA / CHUNK && !swi_client_condemned(w->evil); i++) {
		ask_chunk(w); /* until everything that may leave must leave */
		step(w, 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {0};
	uint32_t rows = 0;

	world_open(&w);
	for (size_t at = 0; at + 4 <= size && rows < ROWS_MAX; rows++) {
		const size_t have = size - at - 4 < data[at + 1] ? size - at - 4 : data[at + 1];
		const uint16_t place = (uint16_t)(data[at + 2] | data[at + 3] << 8);
		uint8_t *bytes = malloc(have ? have : 1); /* exact: a read past its end is seen */

		FUZZ_CHECK(bytes);
		memcpy(bytes, data + at + 4, have);
		row(&w, data[at], place, bytes, (uint32_t)have);
		free(bytes);
		if (data[at] & 0x80)
			step(&w, 1);
		at += 4 + have;
	}
	step(&w, 2);
	look_at_all(&w);
	swi_client_gone(w.sn, w.evil);
	step(&w, 8);
	FUZZ_CHECK(w.sn->holds.count == 0);
	world_close(&w);
	return 0;
}

/* ---- seeds ---- */

static void begin(struct swi_wr *w, enum where where, uint16_t place, uint8_t len)
{
	swi_wr_u8(w, (uint8_t)where);
	swi_wr_u8(w, len);
	swi_wr_u16(w, place);
}

/* The first grant of a fresh arena; its generation, as the node gives them. */
static void first_grant(uint64_t *offset, uint32_t *gen)
{
	struct world w = {0};
	const struct swi_grant *g;

	world_open(&w);
	g = swi_list_first(&w.evil->grants, struct swi_grant, link);
	*offset = g->offset;
	*gen = g->gen;
	swi_client_gone(w.sn, w.evil);
	world_close(&w);
}

static void put_object(struct swi_wr *w, uint32_t at, enum swi_obj_state state)
{
	const struct swarm_oid id = {{at + 1, 1}};
	struct swi_object_head h = {.magic = SWI_OBJ_MAGIC, .oid = {id.w[0], id.w[1]}, .home = 1, .epoch = 5, .len = 64};
	uint64_t offset;

	first_grant(&offset, &h.gen);
	atomic_init(&h.state, state);
	begin(w, AT_CHUNK, (uint16_t)(at / 8), sizeof(h));
	swi_wr_raw(w, (const void *)&h, sizeof(h));
	if (state != SWI_OBJ_SEALED)
		return;
	const uint64_t key = swi_index_key(id);
	const struct swi_index ix = {.mask = swi_next_pow2(swi_max_u64(OBJECTS / 6 + 1, 16)) - 1};

	begin(w, AT_SLOT, (uint16_t)(swi_index_home(&ix, key) * SWI_SLOTS_PER_PAIR * 2), 16);
	swi_wr_u64(w, swi_slot_sized(swi_slot_word(SWI_SLOT_SEALED, h.gen, offset + at), 128));
	swi_wr_u64(w, key);
}

static void seed_objects(struct swi_wr *w)
{
	put_object(w, 0, SWI_OBJ_SEALED);
	put_object(w, 128, SWI_OBJ_ABORTED);
	put_object(w, 256, SWI_OBJ_SEALED);
	put_object(w, 384, SWI_OBJ_WRITING);
}

static void seed_intents(struct swi_wr *w)
{
	uint64_t offset;
	uint32_t gen;

	first_grant(&offset, &gen);
	put_object(w, 0, SWI_OBJ_SEALED);
	begin(w, AT_INTENT, 0, 32);
	swi_wr_u64(w, swi_intent_seal(offset, 0));
	swi_wr_u64(w, 0);
	swi_wr_u64(w, swi_intent_delete(offset));
	swi_wr_u64(w, UINT64_MAX);
	begin(w, AT_PIN, 4, 16);
	swi_wr_u64(w, offset / SWI_GRANULE + 1);
	swi_wr_u64(w, UINT64_MAX);
}

static void seed_rest(struct swi_wr *w)
{
	put_object(w, 0, SWI_OBJ_SEALED);
	begin(w, AT_ARENA, 3, 8);
	swi_wr_u64(w, SWI_OBJ_MAGIC);
	begin(w, AT_HEAD, 12, 8);
	swi_wr_u64(w, UINT64_MAX);
	begin(w, AT_RING, 0, 16);
	swi_wr_u64(w, 64);
	swi_wr_u64(w, 0);
	begin(w, AT_REQUEST, SWI_L_DELETE, 20);
	swi_wr_ref(w, (struct swarm_ref){{{1, 1}}, 1, 0});
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	static void (*const seeds[])(struct swi_wr *) = {seed_objects, seed_intents, seed_rest};
	struct swi_wr w = swi_wr_init(buf, (uint32_t)cap);

	return fuzz_seed_of(seeds, SWI_ARRAY_LEN(seeds), i, &w);
}
