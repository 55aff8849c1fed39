/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_folder.c - a spill folder that somebody else wrote, and a log that takes it up (keep). The input is a row of
 * {u8 kind, u8 length, u16 place, bytes} that says what lies where in the segment files; checksums are put right
 * afterwards, so that what is behind them is reached. What the log then has can be restored whole, or is refused.
 */
#include "store/spill/disk_sim.h"
#include "store/spill/segment.h"
#include "store/spill/spill.h"
#include "tests/fuzz/fuzz.h"
#include "transport/base/codec.h"
#include "transport/base/xxh.h"
#include "transport/sim/sim_net.h"

#define FILES	   3u
#define FILE_MAX   KIB(64)
#define OBJECT_MAX KIB(128)
#define STAGING	   MIB(1)
#define MARKS	   64u
#define ROWS_MAX   128u
#define TURNS	   1000u

enum kind { K_RAW, K_RECORD, K_TOMB, K_FOOTER, K_HEADER, K_LENGTH, K_FILE, K_COUNT };

struct mark { /* to be signed at the end */
	uint8_t kind;
	uint32_t off;
	uint64_t arg[2];
};

struct image {
	uint8_t *bytes; /* FILE_MAX */
	uint32_t len;
	struct swi_seg_key key;
	struct mark mark[MARKS];
	uint32_t marks;
};

struct world {
	struct swi_simnet *net;
	struct swi_sim_env env;
	struct swi_platter *platter;
	struct swi_disk *disk;
	struct swi_spill *sp;
	uint8_t *staging, *extent;
	struct image image;
	uint32_t file;
};

/* ---- the files ---- */

static void sign_record(struct image *im, const struct mark *m)
{
	struct swi_object_head h;

	memcpy((void *)&h, im->bytes + m->off, sizeof(h));
	h.magic = SWI_OBJ_MAGIC;
	h.flags |= SWI_OBJ_F_DIGEST;
	if (h.len <= im->len - m->off - sizeof(h))
		atomic_init(&h.digest, XXH3_64bits(im->bytes + m->off + sizeof(h), h.len));
	h.crc = swi_seg_record_crc(&h, im->key, m->off);
	memcpy(im->bytes + m->off, (const void *)&h, sizeof(h));
}

static void sign(struct image *im, const struct mark *m)
{
	struct swi_seg_tomb t;
	uint64_t footer;

	if (m->off + 64 > im->len)
		return;
	if (m->kind == K_RECORD) {
		sign_record(im, m);
	} else if (m->kind == K_TOMB) {
		memcpy(&t, im->bytes + m->off, sizeof(t));
		swi_seg_tomb_init(&t, im->key, t.oid, (struct swi_seg_key){t.target, t.target_nonce}, t.target_off, m->off);
		memcpy(im->bytes + m->off, &t, sizeof(t));
	} else if (m->kind == K_FOOTER) {
		footer = swi_seg_footer_bytes(m->arg[0]);
		if (footer <= im->len)
			swi_seg_footer_seal(im->bytes + im->len - footer, m->arg[0], im->key, m->arg[1]);
	}
}

static void end_file(struct world *w)
{
	struct image *im = &w->image;
	char name[SWI_SEG_NAME_LEN];

	for (uint32_t i = 0; i < im->marks; i++)
		sign(im, &im->mark[i]);
	swi_seg_name(++w->file, name);
	FUZZ_CHECK(!swi_platter_write(w->platter, name, 0, im->bytes, im->len));
	memset(im->bytes, 0, FILE_MAX);
	im->marks = 0;
}

static void take_header(struct image *im, const uint8_t *bytes, size_t len)
{
	uint64_t v[4] = {1, 2, 3, 4};
	struct swi_seg_header h;

	memcpy(v, bytes, swi_min_u64(len, sizeof(v)));
	im->key = (struct swi_seg_key){v[0], v[1]};
	swi_seg_header_init(&h, im->key, v[2], v[3]);
	memcpy(im->bytes, &h, sizeof(h));
}

static void take_row(struct world *w, uint8_t kind, uint16_t place, const uint8_t *bytes, size_t len)
{
	struct image *im = &w->image;
	const uint32_t off = place % (uint32_t)(FILE_MAX / 64) * 64u;
	struct mark *m = im->marks < MARKS ? &im->mark[im->marks] : NULL;

	switch (kind % K_COUNT) {
	case K_HEADER:
		take_header(im, bytes, len);
		return;
	case K_LENGTH:
		im->len = (1u + place % (uint32_t)(FILE_MAX / SWI_DISK_ALIGN)) * (uint32_t)SWI_DISK_ALIGN;
		return;
	case K_FILE:
		if (w->file + 1 < FILES)
			end_file(w);
		return;
	case K_FOOTER:
		if (!m)
			return;
		*m = (struct mark){.kind = K_FOOTER, .arg = {place % 1024u, SWI_SEG_DATA_OFF}};
		memcpy(&m->arg[1], bytes, swi_min_u64(len, 8));
		im->marks++;
		return;
	default:
		memcpy(im->bytes + off, bytes, swi_min_u64(len, FILE_MAX - off));
		if (!m || kind % K_COUNT == K_RAW)
			return;
		*m = (struct mark){.kind = kind % K_COUNT, .off = off};
		im->marks++;
	}
}

/* ---- the log ---- */

struct ids {
	struct swarm_oid id[64];
	uint64_t len[64];
	uint32_t n;
};

static void note(void *ctx, const struct swi_object_head *head)
{
	struct ids *ids = ctx;

	if (ids->n == SWI_ARRAY_LEN(ids->id))
		return;
	ids->id[ids->n] = (struct swarm_oid){{head->oid[0], head->oid[1]}};
	ids->len[ids->n++] = head->len;
}

static void over(struct swi_spill_io *io)
{
	*(bool *)io->owner = true;
}

static void turn(struct world *w)
{
	(void)swi_spill_progress(w->sp);
	swi_simnet_advance(w->net, swi_simnet_now(w->net) + NS_PER_MS);
}

static void wait_for(struct world *w, const bool *done)
{
	for (uint32_t i = 0; i < TURNS && !*done; i++)
		turn(w);
	FUZZ_CHECK(*done);
}

static void restore(struct world *w, struct swarm_oid id, uint64_t len)
{
	bool done = false;
	struct swi_spill_io io = {.id = id, .extent = w->extent, .extent_bytes = swi_extent_bytes(len), .cb = over, .owner = &done};
	const struct swi_object_head *h = (const void *)w->extent;

	if (len > OBJECT_MAX || io.extent_bytes > 2 * OBJECT_MAX)
		return;
	swi_spill_restore(w->sp, &io);
	wait_for(w, &done);
	FUZZ_CHECK(io.status || (h->len == len && h->oid[0] == id.w[0] && h->oid[1] == id.w[1] &&
				 XXH3_64bits(h + 1, len) == atomic_load(&h->digest)));
}

static void part(struct world *w, struct swarm_oid id, uint64_t len)
{
	const uint64_t from = len / 3, n = len - from, room = n ? swi_spill_range_room(w->sp, id, from, n) : 0;
	bool done = false;
	struct swi_spill_io io = {.id = id, .from = from, .len = n, .extent = w->extent, .extent_bytes = room, .cb = over, .owner = &done};

	if (!room || room > 2 * OBJECT_MAX)
		return;
	swi_spill_read_range(w->sp, &io);
	wait_for(w, &done);
	FUZZ_CHECK(io.status || ((uint8_t *)io.data >= w->extent && (uint8_t *)io.data + n <= w->extent + room));
}

/* One life of a log on this folder. */
static void live(struct world *w)
{
	static const struct swi_log quiet = {.level = SWI_LOG_NONE};
	const struct swi_disk_sim_opts dopts = {.seed = 3};
	struct swi_spill_opts o = {.disk_count = 1, .segment_bytes = FILE_MAX, .boot_epoch = 9, .keep = true, .staging = w->staging, .staging_bytes = STAGING};
	struct ids ids = {.n = 0};
	char why[256];

	FUZZ_CHECK(!swi_disk_sim_create(&dopts, w->platter, &w->env.env, &w->disk));
	o.disks = &w->disk;
	if (!swi_spill_create(&o, &w->env.env, &quiet, &w->sp, why, sizeof(why))) {
		swi_spill_each(w->sp, note, &ids);
		for (uint32_t i = 0; i < ids.n; i++) {
			restore(w, ids.id[i], ids.len[i]);
			part(w, ids.id[i], ids.len[i]);
			if (i % 2)
				swi_spill_forget(w->sp, ids.id[i]);
		}
		for (uint32_t i = 0; i < 20; i++)
			turn(w);
		swi_spill_destroy(w->sp);
	}
	w->disk->ops->destroy(w->disk);
}

static void *block(uint32_t i, uint64_t bytes)
{
	static void *kept[3];

	if (!kept[i])
		kept[i] = aligned_alloc(SWI_PAGE, bytes);
	FUZZ_CHECK(kept[i]);
	return kept[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct swi_simnet_opts no = {.seed = 1};
	struct world w = {.staging = block(0, STAGING), .extent = block(1, 2 * OBJECT_MAX)};
	uint32_t rows = 0;

	FUZZ_CHECK(!swi_simnet_create(&no, &w.net));
	swi_sim_env_init(&w.env, w.net, 7);
	w.platter = swi_platter_create(MIB(8), "disk");
	FUZZ_CHECK(w.platter);
	w.image.bytes = block(2, FILE_MAX);
	w.image.len = 4 * SWI_DISK_ALIGN;
	memset(w.image.bytes, 0, FILE_MAX);
	for (size_t at = 0; at + 4 <= size && rows < ROWS_MAX; rows++) {
		const size_t have = size - at - 4 < data[at + 1] ? size - at - 4 : data[at + 1];

		take_row(&w, data[at], (uint16_t)(data[at + 2] | data[at + 3] << 8), data + at + 4, have);
		at += 4 + have;
	}
	end_file(&w);
	live(&w);
	live(&w); /* what the first one left */
	swi_platter_destroy(w.platter);
	swi_simnet_destroy(w.net);
	return 0;
}

/* ---- seeds ---- */

static void begin(struct swi_wr *w, enum kind kind, uint32_t granule, uint8_t len)
{
	swi_wr_u8(w, (uint8_t)kind);
	swi_wr_u8(w, len);
	swi_wr_u16(w, (uint16_t)granule);
}

static void put_header(struct swi_wr *w, uint64_t number)
{
	begin(w, K_HEADER, 0, 32);
	swi_wr_u64(w, number);
	swi_wr_u64(w, 0x1234);
	swi_wr_u64(w, 5);
	swi_wr_u64(w, KIB(16));
}

static void put_record(struct swi_wr *w, uint32_t granule, uint64_t id, uint64_t len)
{
	const struct swi_object_head h = {.oid = {id, 1}, .gen = 3, .home = 1, .epoch = 5, .len = len};

	begin(w, K_RECORD, granule, sizeof(h));
	swi_wr_raw(w, (const void *)&h, sizeof(h));
}

static void put_tomb(struct swi_wr *w, uint32_t granule, uint64_t target, uint64_t target_off)
{
	const struct swi_seg_tomb t = {.oid = {1, 1}, .target = target, .target_nonce = 0x1234, .target_off = target_off};

	begin(w, K_TOMB, granule, sizeof(t));
	swi_wr_raw(w, &t, sizeof(t));
}

static void seed_scan(struct swi_wr *w)
{
	put_header(w, 1);
	put_record(w, 64, 1, 100);
	put_record(w, 68, 2, 5000);
	put_record(w, 160, 3, 0);
	put_tomb(w, 164, 1, SWI_SEG_DATA_OFF);
}

static void seed_footer(struct swi_wr *w)
{
	struct swi_object_head h = {.magic = SWI_OBJ_MAGIC, .oid = {1, 1}, .gen = 3, .home = 1, .epoch = 5, .len = 100, .flags = SWI_OBJ_F_DIGEST};
	struct swi_seg_entry e;

	put_header(w, 1);
	put_record(w, 64, 1, 100);
	swi_seg_entry_from_head(&e, &h, SWI_SEG_DATA_OFF);
	begin(w, K_RAW, 3 * 64, sizeof(e));
	swi_wr_raw(w, &e, sizeof(e));
	begin(w, K_FOOTER, 1, 8);
	swi_wr_u64(w, 2 * SWI_DISK_ALIGN);
}

static void seed_two(struct swi_wr *w)
{
	seed_footer(w);
	begin(w, K_FILE, 0, 0);
	put_header(w, 2);
	begin(w, K_LENGTH, 15, 0);
	put_record(w, 64, 1, 200); /* the same object again */
	put_record(w, 128, 9, KIB(40));
	put_tomb(w, 72, 1, SWI_SEG_DATA_OFF);
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	static void (*const seeds[])(struct swi_wr *) = {seed_scan, seed_footer, seed_two};
	struct swi_wr w = swi_wr_init(buf, (uint32_t)cap);

	return fuzz_seed_of(seeds, SWI_ARRAY_LEN(seeds), i, &w);
}
