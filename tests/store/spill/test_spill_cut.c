/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_cut.c - every byte at which a kept log can be cut, and every bit of its structures turned.
 *
 * The image: two folders, in each a full segment with a footer and an open one without; small records, large
 * ones, some of them holes by now, and marks for what was forgotten. What must be found in a damaged image
 * follows from what is whole in it, byte by byte, as this file finds it by itself. Images that are equal,
 * because a cut falls into zeros, are tried once. Every SHAREth trial: test_spill_cut [SHARE [FIRST]].
 */
#include <malloc.h>
#include <xxhash.h>

#include "spill_rig.h"

#define FOLDERS	  2u
#define FILES_MAX 16u
#define ITEMS_MAX 512u
#define THINGS	  96u /* objects, by number */
#define SEGMENT	  MIB(1)

static uint64_t share = 397, first = 7;

struct image_file {
	uint32_t folder;
	char name[SWI_SEG_NAME_LEN];
	struct swi_seg_key key;
	uint8_t *bytes;
};

enum item_kind { ITEM_HEADER, ITEM_RECORD, ITEM_MARK, ITEM_FOOTER };

struct item {
	enum item_kind kind;
	uint32_t file;
	uint64_t at, len; /* the bytes that matter */
	uint64_t n;	  /* record: the object; mark: the one that it forgets */
	struct swi_object_head head;
};

static struct image_file file[FILES_MAX];
static uint32_t files;
static struct item item[ITEMS_MAX];
static uint32_t items;
static uint64_t trial, tried, there_in_all, missing_in_all;

/* ---- making it ---- */
static uint64_t len_of(uint64_t n)
{
	return n % 3 == 0 ? KIB(64) + n * 100 : n * 11 % 700;
}

/* Mostly zeros: a cut in them changes nothing, and need not be tried. */
static void *extent_of(uint64_t n)
{
	const uint64_t len = len_of(n);
	struct swi_object_head *h = NULL;
	uint64_t s = n;

	assert_int_equal(posix_memalign((void **)&h, SWI_DISK_ALIGN, swi_align_up(swi_extent_bytes(len), SWI_PAGE)), 0);
	memset((void *)h, 0, swi_extent_bytes(len));
	for (uint64_t i = 0; i < len; i += i < 40 ? 1 : i + 7000 < len ? 6151 : 97)
		((uint8_t *)(h + 1))[i] = (uint8_t)(swi_splitmix64(&s) | 1);
	h->magic = SWI_OBJ_MAGIC;
	atomic_init(&h->state, SWI_OBJ_SEALED);
	h->oid[0] = n;
	h->home = 3;
	h->epoch = 7;
	h->len = len;
	atomic_init(&h->digest, XXH3_64bits(h + 1, len));
	h->flags = SWI_OBJ_F_DIGEST;
	return h;
}

static void set_flag(struct swi_spill_io *io)
{
	*(bool *)io->owner = true;
}

static void wait_for(struct rig *r, const bool *flag)
{
	for (uint32_t turns = 0; !*flag; turns++) {
		assert_true(turns < 100000);
		rig_step(r);
	}
}

static void write_thing(struct rig *r, uint64_t n)
{
	bool over = false;
	struct swi_spill_io io = {.id = rig_id(n, 0), .extent = extent_of(n), .cb = set_flag,
				  .extent_bytes = swi_extent_bytes(len_of(n)), .owner = &over};

	swi_spill_write(r->sp, &io);
	wait_for(r, &over);
	assert_int_equal(io.status, 0);
	free(io.extent);
}

static void take_file(void *ctx, const char *name)
{
	struct rig *r = ((void **)ctx)[0];
	const uint32_t *folder = ((void **)ctx)[1];
	struct image_file *f = &file[files];
	struct swi_seg_header h;

	assert_true(files++ < FILES_MAX);
	f->folder = *folder;
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->bytes = malloc(SEGMENT);
	assert_non_null(f->bytes);
	assert_int_equal(swi_platter_read(r->platters[f->folder], name, 0, f->bytes, SEGMENT), 0);
	memcpy(&h, f->bytes, sizeof(h));
	assert_int_equal(swi_seg_header_check(&h), 0);
	f->key = (struct swi_seg_key){h.number, h.nonce};
}

static uint64_t punched;

static void add_punched(void *ctx SWI_UNUSED, const struct swi_spill_segment *s)
{
	punched += s->punched_bytes;
}

static void make_image(void)
{
	bool over = false;
	struct swi_spill_io all = {.cb = set_flag, .owner = &over};
	struct rig r;

	rig_init_sim(&r, FOLDERS, MIB(64), 9);
	r.opts.segment_bytes = SEGMENT;
	r.opts.keep = true;
	rig_open(&r);
	for (uint64_t n = 0; n < THINGS; n++)
		write_thing(&r, n);
	for (uint64_t n = 0; n < THINGS; n++) /* most of the first ones: holes; some of the others */
		if (n < 66 ? n % 12 && (n % 3 == 0 || n % 4 != 1) : n % 7 == 0)
			swi_spill_forget(r.sp, rig_id(n, 0));
	swi_spill_barrier(r.sp, &all);
	wait_for(&r, &over);
	for (int i = 0; i < 500; i++)
		rig_step(&r);
	swi_spill_each_segment(r.sp, add_punched, NULL);
	for (uint32_t i = 0; i < FOLDERS; i++) {
		void *ctx[2] = {&r, &i};

		swi_platter_each(r.platters[i], take_file, ctx);
	}
	rig_fini(&r);
	assert_true(punched > 0 && files >= 4);
}

/* ---- what lies in it ---- */
static void add_item(enum item_kind kind, uint32_t f, uint64_t at, uint64_t len, uint64_t n)
{
	assert_true(items < ITEMS_MAX);
	item[items++] = (struct item){.kind = kind, .file = f, .at = at, .len = len, .n = n};
}

static uint64_t look_at(uint32_t f, uint64_t at)
{
	const uint8_t *p = file[f].bytes + at;
	struct swi_object_head h;
	struct swi_seg_tomb t;

	memcpy(&t, p, sizeof(t));
	if (swi_seg_tomb_valid(&t, file[f].key, at)) {
		add_item(ITEM_MARK, f, at, sizeof(t), t.oid[0]);
		return at + SWI_GRANULE;
	}
	memcpy(&h, p, sizeof(h));
	if (!swi_seg_record_valid(&h, file[f].key, at, SEGMENT))
		return at + SWI_GRANULE;
	if (XXH3_64bits(p + sizeof(h), h.len) == atomic_load(&h.digest)) {
		add_item(ITEM_RECORD, f, at, sizeof(h) + h.len, h.oid[0]);
		swi_head_copy(&item[items - 1].head, &h);
	}
	return at + swi_extent_bytes(h.len);
}

static void find_items(void)
{
	uint32_t kinds[4] = {0};

	for (uint32_t f = 0; f < files; f++) {
		struct swi_seg_trailer t;
		uint64_t count = 0, at = SWI_SEG_DATA_OFF;

		add_item(ITEM_HEADER, f, 0, sizeof(struct swi_seg_header), 0);
		memcpy(&t, file[f].bytes + SEGMENT - sizeof(t), sizeof(t));
		if (!swi_seg_trailer_check(&t, file[f].key, SEGMENT, &count))
			add_item(ITEM_FOOTER, f, SEGMENT - swi_seg_footer_bytes(count), swi_seg_footer_bytes(count), 0);
		while (at + SWI_GRANULE <= SEGMENT)
			at = look_at(f, at);
	}
	for (uint32_t i = 0; i < items; i++)
		kinds[item[i].kind]++;
	print_message("%u files, %u records, %u marks, %u footers, %llu KiB of holes\n", files,
		      kinds[ITEM_RECORD], kinds[ITEM_MARK], kinds[ITEM_FOOTER], (unsigned long long)punched >> 10);
	assert_true(kinds[ITEM_RECORD] > 30 && kinds[ITEM_MARK] > 10 && kinds[ITEM_FOOTER] >= 2);
}

/* ---- trying ---- */
enum fate { MISSING, THERE, EITHER };

struct damage {
	bool gone[FILES_MAX]; /* the whole file */
	uint32_t file;
	uint64_t cut; /* of that file: from here on all is zero */
	bool flip;
	uint64_t bit;
};

static bool all_zero(const uint8_t *p, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* Are its bytes those of the whole image? */
static bool whole(const struct item *it, const struct damage *d)
{
	const uint8_t *p = file[it->file].bytes + it->at;

	if (d->gone[it->file])
		return false;
	if (it->file != d->file)
		return true;
	if (d->flip)
		return d->bit / 8 < it->at || d->bit / 8 >= it->at + it->len;
	if (d->cut >= it->at + it->len)
		return true;
	return d->cut <= it->at ? all_zero(p, it->len) : all_zero(p + (d->cut - it->at), it->at + it->len - d->cut);
}

/* What must be found of each object. A turned bit may also be one that means nothing: then either will do. */
static void fates(const struct damage *d, enum fate *out)
{
	bool file_ok[FILES_MAX], marked[THINGS] = {false}, doubt[THINGS] = {false};

	for (uint32_t i = 0; i < items; i++)
		if (item[i].kind == ITEM_HEADER)
			file_ok[item[i].file] = whole(&item[i], d);
	for (uint64_t n = 0; n < THINGS; n++)
		out[n] = MISSING;
	for (uint32_t i = 0; i < items; i++) {
		const struct item *it = &item[i];
		const bool ok = file_ok[it->file] && whole(it, d);

		if (it->kind == ITEM_MARK)
			marked[it->n] |= ok;
		if (it->kind == ITEM_RECORD && ok)
			out[it->n] = THERE;
		if (d->flip && !ok && (it->kind == ITEM_MARK || it->kind == ITEM_RECORD))
			doubt[it->n] = true;
	}
	for (uint64_t n = 0; n < THINGS; n++)
		out[n] = doubt[n] ? EITHER : marked[n] ? MISSING : out[n];
}

static void lay(struct rig *r, const struct damage *d)
{
	for (uint32_t f = 0; f < files; f++) {
		struct swi_platter *p = r->platters[file[f].folder];
		const uint64_t end = d->file == f && !d->flip ? d->cut : SEGMENT;
		uint8_t byte;

		if (d->gone[f])
			continue;
		assert_int_equal(swi_platter_write(p, file[f].name, SEGMENT - 1, "", 1), 0);
		for (uint64_t at = 0; at < end; at += SWI_DISK_ALIGN) {
			const uint64_t n = swi_min_u64(SWI_DISK_ALIGN, end - at);

			if (!all_zero(file[f].bytes + at, n))
				assert_int_equal(swi_platter_write(p, file[f].name, at, file[f].bytes + at, n), 0);
		}
		if (!d->flip || d->file != f)
			continue;
		byte = file[f].bytes[d->bit / 8] ^ (uint8_t)(1u << d->bit % 8);
		assert_int_equal(swi_platter_write(p, file[f].name, d->bit / 8, &byte, 1), 0);
	}
}

static void check_bytes(uint64_t n, const char *payload)
{
	for (uint32_t i = 0; i < items; i++) {
		const struct item *it = &item[i];

		if (it->kind != ITEM_RECORD || it->n != n)
			continue;
		if (memcmp(payload, file[it->file].bytes + it->at + sizeof(it->head), len_of(n)))
			fail_msg("object %llu is wrong", (unsigned long long)n);
		return;
	}
	fail_msg("object %llu has no record", (unsigned long long)n);
}

static bool found(struct rig *r, uint64_t n)
{
	static char *buf;
	bool over = false;
	struct swi_spill_io io = {.id = rig_id(n, 0), .cb = set_flag, .owner = &over,
				  .extent_bytes = swi_extent_bytes(len_of(n))};

	if (!buf)
		assert_int_equal(posix_memalign((void **)&buf, SWI_DISK_ALIGN, KIB(128)), 0);
	if (!swi_spill_find(r->sp, io.id, NULL))
		return false;
	io.extent = buf;
	swi_spill_restore(r->sp, &io);
	wait_for(r, &over);
	if (!io.status) {
		check_bytes(n, buf + sizeof(struct swi_object_head));
		return true;
	}
	assert_int_equal(io.status, SWARM_ECORRUPT);
	return false;
}

static void try_it(const struct damage *d)
{
	enum fate want[THINGS];
	struct rig r;

	if (trial++ % share != first % share)
		return;
	tried++;
	fates(d, want);
	rig_init_sim(&r, FOLDERS, MIB(64), 9);
	r.opts.segment_bytes = SEGMENT;
	r.opts.keep = true;
	lay(&r, d);
	rig_open(&r);
	for (uint64_t n = 0; n < THINGS; n++) {
		const bool there = found(&r, n);

		if (want[n] != EITHER && there != (want[n] == THERE))
			fail_msg("object %llu is %s; %s %llu of %s in folder %u", (unsigned long long)n,
				 there ? "there" : "missing", d->flip ? "bit" : "cut at byte",
				 (unsigned long long)(d->flip ? d->bit : d->cut), file[d->file].name,
				 file[d->file].folder);
		there_in_all += there;
		missing_in_all += !there;
	}
	rig_fini(&r);
}

static void image__whole__has_what_was_not_forgotten(void **state SWI_UNUSED)
{
	const struct damage none = {.cut = SEGMENT};
	const uint64_t had = share;

	make_image();
	find_items();
	share = 1;
	try_it(&none);
	share = had;
	trial = 0;
	assert_true(there_in_all > 20 && missing_in_all > 20);
}

/* The bytes of one file from @cut on never came; with it all files of later numbers, or only it. */
static void cut__at_every_byte__leaves_what_is_whole(void **state SWI_UNUSED)
{
	for (uint32_t f = 0; f < files; f++) {
		for (uint64_t cut = 0; cut < SEGMENT; cut++) {
			struct damage d = {.file = f, .cut = cut};

			if (!file[f].bytes[cut])
				continue; /* the same as the next one */
			try_it(&d);
			for (uint32_t k = 0; k < files; k++)
				d.gone[k] = file[k].key.number > file[f].key.number;
			try_it(&d);
		}
	}
}

static void flip__of_every_bit_of_a_structure__is_found(void **state SWI_UNUSED)
{
	for (uint32_t i = 0; i < items; i++) {
		const struct item *it = &item[i];
		const uint64_t meta = it->kind == ITEM_RECORD ? sizeof(it->head) : it->len;

		for (uint64_t bit = 0; bit < it->len * 8; bit += bit < meta * 8 ? 1 : 1009) {
			const struct damage d = {.file = it->file, .flip = true, .bit = it->at * 8 + bit};

			try_it(&d);
		}
	}
}

static void count__of_trials(void **state SWI_UNUSED)
{
	print_message("%llu of %llu damaged images tried; %llu objects there and right, %llu missing\n",
		      (unsigned long long)tried, (unsigned long long)trial,
		      (unsigned long long)there_in_all, (unsigned long long)missing_in_all);
	assert_true(tried > trial / share);
	for (uint32_t f = 0; f < files; f++)
		free(file[f].bytes);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(image__whole__has_what_was_not_forgotten),
		cmocka_unit_test(cut__at_every_byte__leaves_what_is_whole),
		cmocka_unit_test(flip__of_every_bit_of_a_structure__is_found),
		cmocka_unit_test(count__of_trials),
	};

	if (argc > 1)
		share = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		first = strtoull(argv[2], NULL, 10);
	/* Each trial allocates the same large buffers anew: not from the kernel each time. */
	(void)mallopt(M_MMAP_THRESHOLD, (int)MIB(64));
	(void)mallopt(M_TRIM_THRESHOLD, (int)MIB(256));
	if (!share) {
		fprintf(stderr, "usage: test_spill_cut [SHARE [FIRST]]\n");
		return 2;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
