/* SPDX-License-Identifier: Apache-2.0 */
/* smsg_test.c - messages between stores: what is written is read, and what is cut or wrong is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/smsg.h"
#include "store/timer.h"

static const struct swarm_ref ref = {.id = {{7, 8}}, .home = 3};
static uint8_t buf[2048];

/* Decoders as one shape: 0 or an error; *out is not looked at. */
#define GET(name)                                                                                  \
	static int get_##name(struct swi_rd *r)                                                    \
	{                                                                                          \
		struct swi_smsg_##name m;                                                          \
		return swi_smsg_get_##name(r, &m);                                                 \
	}
GET(locate)
GET(located)
GET(lease)
GET(leased)
GET(move)
GET(parent)
GET(more)
GET(told)
GET(done)
GET(copy)
GET(record)
GET(keep)

static int get_ref(struct swi_rd *r)
{
	struct swarm_ref v;

	return swi_smsg_get_ref(r, &v);
}

static uint32_t write_one(int which)
{
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	const struct swi_copies copies = {
	    .len = 99, .count = 3, .node = {1, 2, 3}, .spilled = {false, true, false}};

	switch (which) {
	case 0:
		swi_smsg_put_locate(&w, &(struct swi_smsg_locate){.req = 5, .ref = ref, .flags = 1});
		break;
	case 1:
		swi_smsg_put_located(&w, &(struct swi_smsg_located){.req = 5,
								    .state = SWI_DIR_AVAILABLE,
								    .copies = copies,
								    .place = 3,
								    .offset = 640,
								    .gen = 5,
								    .digest = 99,
								    .text = "text"});
		break;
	case 2:
		swi_smsg_put_lease(&w, &(struct swi_smsg_lease){.req = 5, .id = ref.id, .flags = 1, .sent_by = 9});
		break;
	case 3:
		swi_smsg_put_leased(&w, &(struct swi_smsg_leased){.req = 5,
								  .lease = 9,
								  .offset = 128,
								  .gen = 4,
								  .epoch = 11,
								  .len = 77,
								  .digest = 1234});
		break;
	case 4:
		swi_smsg_put_move(&w, &(struct swi_smsg_move){.req = 5, .ref = ref});
		break;
	case 5:
		swi_smsg_put_done(&w, &(struct swi_smsg_done){.req = 5, .status = -ENOENT, .text = "x"});
		break;
	case 6:
		swi_smsg_put_copy(&w, &(struct swi_smsg_copy){.ref = ref, .node = 2, .len = 5});
		break;
	case 7:
		swi_smsg_put_record(&w, &(struct swi_smsg_record){
					    .ref = ref, .state = 1, .copies = copies, .text = "t"});
		break;
	case 9:
		swi_smsg_put_parent(&w, &(struct swi_smsg_parent){.req = 5, .node = 3, .epoch = 11});
		break;
	case 10:
		swi_smsg_put_more(&w, &(struct swi_smsg_more){.req = 5, .have = 1 << 20});
		break;
	case 11:
		swi_smsg_put_told(&w, &(struct swi_smsg_told){.req = 5});
		break;
	case 12:
		swi_smsg_put_keep(&w, &(struct swi_smsg_keep){.req = 5, .ref = ref, .timeout_ns = 1});
		break;
	default:
		swi_wr_ref(&w, ref);
	}
	assert_true(swi_wr_ok(&w));
	return w.len;
}

static int (*const get[])(struct swi_rd *) = {get_locate, get_located, get_lease,  get_leased, get_move,
					      get_done,	  get_copy,    get_record, get_ref,    get_parent,
					      get_more,	  get_told,    get_keep};

static void test_whole_and_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < SWI_ARRAY_LEN(get); i++) {
		const uint32_t len = write_one((int)i);
		struct swi_rd r = swi_rd_init(buf, len);

		assert_int_equal(get[i](&r), 0);
		assert_int_equal(r.pos, len);
		for (uint32_t cut = 0; cut < len; cut++) {
			uint8_t *exact = malloc(cut + 1); /* so that a sanitizer sees every byte too far */

			memcpy(exact, buf, cut);
			r = swi_rd_init(exact, cut);
			assert_int_equal(get[i](&r), SWARM_EPROTO);
			free(exact);
		}
		r = swi_rd_init(buf, len + 1);
		if (i != 6 && i != 7) /* rows of a batch may be followed by others */
			assert_int_equal(get[i](&r), SWARM_EPROTO);
	}
}

static void test_values(void **state)
{
	struct swi_smsg_located lo;
	struct swi_smsg_leased le;
	struct swi_rd r;

	(void)state;
	r = swi_rd_init(buf, write_one(1));
	assert_int_equal(swi_smsg_get_located(&r, &lo), 0);
	assert_int_equal(lo.req, 5);
	assert_int_equal(lo.copies.len, 99);
	assert_int_equal(lo.copies.count, 3);
	assert_int_equal(lo.copies.node[1], 2);
	assert_true(lo.copies.spilled[1]);
	assert_string_equal(lo.text, "text");
	r = swi_rd_init(buf, write_one(3));
	assert_int_equal(swi_smsg_get_leased(&r, &le), 0);
	assert_int_equal(le.lease, 9);
	assert_int_equal(le.offset, 128);
	assert_int_equal(le.gen, 4);
	assert_int_equal(le.epoch, 11);
	assert_int_equal(le.len, 77);
	assert_int_equal(le.digest, 1234);
}

static void refuse(int which, uint32_t at, uint8_t value)
{
	const uint32_t len = write_one(which);
	struct swi_rd r = swi_rd_init(buf, len);

	assert_true(at < len);
	buf[at] = value;
	assert_int_equal(get[which](&r), SWARM_EPROTO);
}

static void test_nonsense(void **state)
{
	struct swi_rd r;
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	uint32_t n;

	(void)state;
	refuse(1, 8, 4);		/* no such state */
	refuse(1, 8, SWI_DIR_FAILED);	/* failed, with status 0 */
	refuse(1, 9, 1);		/* a positive status */
	refuse(1, 21, 17);		/* too many copies */
	refuse(3, 20, SWI_REGIONS_MAX); /* no such region */
	refuse(3, 21, 1);		/* an offset between two granules */
	refuse(12, 0, 0);		/* a question without a number */
	refuse(6, 20, 0);		/* a copy on no node */
	swi_wr_u32(&w, 1000000); /* more rows than bytes */
	r = swi_rd_init(buf, 100);
	assert_int_equal(swi_smsg_get_count(&r, SWI_SMSG_COPY_BYTES, &n), SWARM_EPROTO);
	refuse(11, 8, 1); /* an id that is not there */
	memset(buf, 0, sizeof(buf)); /* the id that is none */
	for (size_t i = 0; i < SWI_ARRAY_LEN(get); i++) {
		r = swi_rd_init(buf, 24);
		assert_int_equal(get[i](&r), SWARM_EPROTO);
	}
}

static void test_garbage(void **state)
{
	uint64_t seed = 42;
	uint32_t taken = 0;

	(void)state;
	for (int i = 0; i < 300000; i++) {
		const size_t which = swi_splitmix64(&seed) % SWI_ARRAY_LEN(get);
		uint32_t len = write_one((int)which);
		uint32_t flips = 1 + (uint32_t)(swi_splitmix64(&seed) % 4);
		struct swi_rd r;

		while (flips--)
			buf[swi_splitmix64(&seed) % len] ^= (uint8_t)(1u << (swi_splitmix64(&seed) % 8));
		r = swi_rd_init(buf, len);
		taken += get[which](&r) == 0;
		assert_true(r.pos <= r.len);
	}
	assert_in_range(taken, 1000, 299000); /* both ends are reached */
}

/* ---- timers ---- */

static uint32_t fired[600], fired_count;
struct numbered {
	struct swi_timer t;
	uint32_t n;
};

static void on_timer(struct swi_timer *t)
{
	fired[fired_count++] = swi_container_of(t, struct numbered, t)->n;
}

static void test_timers(void **state)
{
	struct swi_timers ts = {0};
	struct numbered t[500] = {0};
	uint64_t seed = 3;
	uint64_t last = 0;

	(void)state;
	for (uint32_t i = 0; i < 500; i++) {
		t[i] = (struct numbered){.t.cb = on_timer, .n = i};
		swi_timer_set(&ts, &t[i].t, 1 + swi_splitmix64(&seed) % 50);
	}
	for (uint32_t i = 0; i < 500; i += 3)
		swi_timer_stop(&ts, &t[i].t);
	for (uint32_t i = 0; i < 500; i += 6)
		swi_timer_set(&ts, &t[i].t, 1 + swi_splitmix64(&seed) % 50);
	for (uint64_t now = 0; now <= 50; now++) {
		const uint32_t before = fired_count;

		assert_true(swi_timers_next(&ts) >= now);
		swi_timers_run(&ts, now);
		for (uint32_t i = before; i < fired_count; i++) {
			assert_int_equal(t[fired[i]].t.deadline_ns, now);
			/* equal deadlines: in the order in which they were set */
			assert_true(i == before || t[fired[i]].t.seq > last);
			last = t[fired[i]].t.seq;
		}
	}
	assert_int_equal(fired_count, 500 - 167 + 84);
	assert_int_equal(swi_timers_next(&ts), UINT64_MAX);
	swi_timers_fini(&ts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_whole_and_cut), cmocka_unit_test(test_values),
	    cmocka_unit_test(test_nonsense),	  cmocka_unit_test(test_garbage),
	    cmocka_unit_test(test_timers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
