/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_crash.c - power failures and damaged bytes on a kept log.
 *
 * The promise: what was acknowledged is there and right, unless its own bytes were damaged; what was
 * not is there and right, or missing; nothing is ever wrong.
 */
#include "spill_rig.h"

#define OBJECTS 64u

static uint64_t len_of(uint64_t n)
{
	uint64_t s = n;
	const uint64_t v = swi_splitmix64(&s);

	return v % 3 ? (v >> 8) % 9000 : KIB(64) + (v >> 8) % KIB(100);
}

struct try {
	struct swi_spill_io io;
	bool begun, over;
};

static void over(struct swi_spill_io *io)
{
	swi_container_of(io, struct try, io)->over = true;
}

/* Begins writes and forgets and stops at an arbitrary moment. */
static void one_life(struct rig *r, struct try *tries, bool *forgotten, uint64_t dice)
{
	const uint32_t steps = (uint32_t)(dice % 80);

	for (uint32_t i = 0; i < steps; i++) {
		const uint64_t n = swi_splitmix64(&dice) % OBJECTS;
		struct try *t = &tries[n];

		if (!t->begun) {
			t->begun = true;
			t->io = (struct swi_spill_io){.id = rig_id(n, 0),
						      .extent = rig_extent(n, 0, len_of(n)),
						      .extent_bytes = swi_extent_bytes(len_of(n)),
						      .cb = over};
			swi_spill_write(r->sp, &t->io);
		} else if (t->over && swi_splitmix64(&dice) % 3 == 0) {
			swi_spill_forget(r->sp, rig_id(n, 0));
			forgotten[n] = true;
		}
		if (swi_splitmix64(&dice) % 3)
			rig_step(r);
	}
}

static void crash__at_any_moment__keeps_what_was_acknowledged(void **state SWI_UNUSED)
{
	uint64_t acknowledged = 0, lost = 0;

	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct try *tries = calloc(OBJECTS, sizeof(*tries));
		bool acked[OBJECTS], forgotten[OBJECTS] = {false};
		struct rig r;

		assert_non_null(tries);
		rig_init_sim(&r, 1 + (uint32_t)(seed % 2), MIB(512), seed);
		r.opts.keep = true;
		rig_open(&r);
		one_life(&r, tries, forgotten, seed * 0x9e3779b97f4a7c15ull);
		for (uint32_t n = 0; n < OBJECTS; n++)
			acked[n] = tries[n].over && tries[n].io.status == 0;
		rig_crash(&r);
		rig_open_disks(&r);
		rig_open(&r);
		for (uint32_t n = 0; n < OBJECTS; n++) {
			const int rc = rig_restore(&r, n, 0, len_of(n));

			if (rc && (rc != -ENOENT || (acked[n] && !forgotten[n])))
				fail_msg("seed %llu object %u: %d", (unsigned long long)seed, n, rc);
			acknowledged += acked[n];
			lost += rc != 0 && tries[n].begun && !acked[n];
			free(tries[n].io.extent);
		}
		rig_fini(&r);
		free(tries);
	}
	assert_true(acknowledged > 1000 && lost > 100); /* else this proves nothing */
}

static void forget__then_stop_or_crash__stays_forgotten(void **state SWI_UNUSED)
{
	for (int crash = 0; crash < 2; crash++) {
		struct rig r;

		rig_init_sim(&r, 1, MIB(64), 5);
		r.opts.keep = true;
		rig_open(&r);
		for (uint64_t n = 0; n < 20; n++)
			assert_int_equal(rig_write(&r, n, 0, len_of(n)), 0);
		for (uint64_t n = 0; n < 20; n += 2)
			swi_spill_forget(r.sp, rig_id(n, 0));
		assert_int_equal(rig_write(&r, 50, 0, 100), 0); /* behind the marks in the log */
		assert_int_equal(rig_write(&r, 51, 0, 100), 0);
		crash ? rig_crash(&r) : rig_close(&r);
		rig_open_disks(&r);
		rig_open(&r);
		for (uint64_t n = 0; n < 20; n++)
			assert_int_equal(rig_restore(&r, n, 0, len_of(n)), n % 2 ? 0 : -ENOENT);
		rig_fini(&r);
	}
}

/* ---- damage ---- */
static void first_name(void *ctx, const char *name)
{
	char *out = ctx;

	if (!out[0])
		snprintf(out, SWI_SEG_NAME_LEN, "%s", name);
}

struct image {
	char name[SWI_SEG_NAME_LEN];
	uint8_t *bytes;
	uint64_t len;
};

#define FEW 6u
static const uint64_t few_len[FEW] = {0, 1, 200, 1000, 4032, KIB(64)};

/* A segment with a few records; with or without its footer. */
static void make_image(struct image *im, bool footer)
{
	struct rig r;

	rig_init_sim(&r, 1, MIB(64), 9);
	r.opts.segment_bytes = MIB(1);
	r.opts.keep = true;
	rig_open(&r);
	for (uint64_t n = 0; n < FEW; n++)
		assert_int_equal(rig_write(&r, n, 0, few_len[n]), 0);
	footer ? rig_close(&r) : rig_crash(&r);
	memset(im, 0, sizeof(*im));
	swi_platter_each(r.platters[0], first_name, im->name);
	im->len = MIB(1);
	im->bytes = malloc(im->len);
	assert_non_null(im->bytes);
	assert_int_equal(swi_platter_read(r.platters[0], im->name, 0, im->bytes, im->len), 0);
	rig_fini(&r);
}

/* Opens a log on this image. Bit n of the result: object n is there and right. None may be wrong. */
static uint32_t survivors(const struct image *im, uint64_t len)
{
	uint32_t there = 0;
	struct rig r;

	rig_init_sim(&r, 1, MIB(64), 9);
	r.opts.segment_bytes = MIB(1);
	r.opts.keep = true;
	assert_int_equal(swi_platter_write(r.platters[0], im->name, 0, im->bytes, len), 0);
	rig_open(&r);
	for (uint64_t n = 0; n < FEW; n++) {
		const int rc = rig_restore(&r, n, 0, few_len[n]);

		if (rc && rc != -ENOENT && rc != SWARM_ECORRUPT)
			fail_msg("object %llu: %d", (unsigned long long)n, rc);
		there |= rc ? 0 : 1u << n;
		/* Wrong once is missing from then on. */
		assert_int_equal(rig_restore(&r, n, 0, few_len[n]), rc ? -ENOENT : 0);
	}
	rig_fini(&r);
	return there;
}

/* Where object n lies in the image. */
static uint64_t place_of(const struct image *im, uint64_t n)
{
	for (uint64_t off = SWI_SEG_DATA_OFF; off + SWI_GRANULE <= im->len; off += SWI_GRANULE) {
		struct swi_object_head h;

		memcpy(&h, im->bytes + off, sizeof(h));
		if (h.magic == SWI_OBJ_MAGIC && h.oid[0] == n && h.len == few_len[n] && h.crc)
			return off;
	}
	fail_msg("object %llu is not in the image", (unsigned long long)n);
	return 0;
}

static void cut__at_every_byte__keeps_what_lies_before(void **state SWI_UNUSED)
{
	uint64_t end[FEW];
	struct image im;
	uint8_t *whole;

	make_image(&im, false);
	assert_int_equal(survivors(&im, im.len), (1u << FEW) - 1);
	whole = malloc(im.len);
	assert_non_null(whole);
	memcpy(whole, im.bytes, im.len);
	for (uint32_t n = 0; n < FEW; n++)
		end[n] = place_of(&im, n) + sizeof(struct swi_object_head) + few_len[n];
	/* Bytes from `cut` on never reached the disk. Every byte of three records, then strides. */
	for (uint64_t cut = SWI_SEG_DATA_OFF; cut <= end[FEW - 1] + 1;
	     cut += cut < end[2] + 70 ? 1 : 331) {
		uint32_t want = 0;

		memcpy(im.bytes, whole, im.len);
		memset(im.bytes + cut, 0, im.len - cut);
		for (uint32_t n = 0; n < FEW; n++)
			want |= cut >= end[n] ? 1u << n : 0;
		/* A cut inside trailing zero bytes of a record loses nothing: hence "at least". */
		assert_int_equal(survivors(&im, im.len) & want, want);
	}
	free(whole);
	free(im.bytes);
}

static void flip_everywhere(bool footer)
{
	struct image im;
	uint64_t foot, entries;

	make_image(&im, footer);
	entries = FEW - 1 + swi_seg_entries(swi_extent_bytes(few_len[FEW - 1])); /* the last one is large */
	foot = im.len - swi_seg_footer_bytes(entries);
	for (uint32_t n = 0; n < FEW; n++) {
		const uint64_t at = place_of(&im, n);
		const uint64_t span = sizeof(struct swi_object_head) + (few_len[n] ? 1 : 0);

		for (uint64_t bit = 0; bit < span * 8; bit++) { /* every one */
			uint32_t there;

			im.bytes[at + bit / 8] ^= (uint8_t)(1u << bit % 8);
			there = survivors(&im, im.len);
			/* The neighbours never suffer. */
			assert_int_equal(there | 1u << n, (1u << FEW) - 1);
			im.bytes[at + bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	/* Every bit of the entries, of the sums and of the trailer, some of the zeros between them. */
	for (uint64_t bit = 0; footer && bit < (im.len - foot) * 8;
	     bit += bit < entries * 512 || bit >= (im.len - foot - 64) * 8 ? 1 : 509) {
		im.bytes[foot + bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(survivors(&im, im.len), (1u << FEW) - 1); /* by scanning, then */
		im.bytes[foot + bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(im.bytes);
}

static void flip__in_every_field__never_gives_wrong_bytes(void **state SWI_UNUSED)
{
	flip_everywhere(false);
	flip_everywhere(true);
}

static void flip__in_segment_header__is_a_foreign_file(void **state SWI_UNUSED)
{
	struct image im;

	make_image(&im, true);
	for (uint64_t bit = 0; bit < 64 * 8; bit++) { /* every one */
		im.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(survivors(&im, im.len), 0);
		im.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(im.bytes);
}

static void truncated__segment__keeps_what_is_left(void **state SWI_UNUSED)
{
	static const uint64_t lens[] = {0, 1, 100, 4095, 4096, 8192, 12288, KIB(100), MIB(1) - 4096};
	struct image im;

	make_image(&im, true);
	for (size_t i = 0; i < SWI_ARRAY_LEN(lens); i++) {
		uint32_t want = 0;

		for (uint32_t n = 0; n < FEW && lens[i] > SWI_DISK_ALIGN; n++)
			if (place_of(&im, n) + swi_extent_bytes(few_len[n]) <= lens[i])
				want |= 1u << n;
		assert_int_equal(survivors(&im, lens[i]), want);
	}
	free(im.bytes);
}

static void stale__records_of_an_earlier_use__are_not_taken(void **state SWI_UNUSED)
{
	struct swi_seg_header h;
	struct image im;

	make_image(&im, true);
	swi_seg_header_init(&h, (struct swi_seg_key){77, 0x1234}, 8, im.len);
	memcpy(im.bytes, &h, sizeof(h)); /* the file was taken into use again, nothing written yet */
	assert_int_equal(survivors(&im, im.len), 0);
	free(im.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crash__at_any_moment__keeps_what_was_acknowledged),
		cmocka_unit_test(forget__then_stop_or_crash__stays_forgotten),
		cmocka_unit_test(cut__at_every_byte__keeps_what_lies_before),
		cmocka_unit_test(flip__in_every_field__never_gives_wrong_bytes),
		cmocka_unit_test(flip__in_segment_header__is_a_foreign_file),
		cmocka_unit_test(truncated__segment__keeps_what_is_left),
		cmocka_unit_test(stale__records_of_an_earlier_use__are_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
