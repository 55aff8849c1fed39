/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_tmsg.c - bodies of the messages between schedulers: reports, demands, members. First byte: which.
 * What is accepted encodes to bytes that mean the same. */
#include "sched/tmsg.h"
#include "tests/fuzz/fuzz.h"

#define TRY(name, type, decode, encode)                                                            \
	static void try_##name(struct swi_rd *r, struct swi_wr *w)                                 \
	{                                                                                          \
		static uint8_t second[4096];                                                       \
		struct swi_wr w2 = swi_wr_init(second, sizeof(second));                            \
		type m, m2;                                                                        \
		struct swi_rd r2;                                                                  \
                                                                                                   \
		decode(r, &m);                                                                     \
		if (!swi_rd_done(r))                                                               \
			return;                                                                    \
		encode(w, &m);                                                                     \
		r2 = swi_rd_init(w->buf, w->len);                                                  \
		decode(&r2, &m2);                                                                  \
		FUZZ_CHECK(swi_wr_ok(w) && swi_rd_done(&r2));                                      \
		encode(&w2, &m2);                                                                  \
		FUZZ_CHECK(w2.len == w->len && !memcmp(second, w->buf, w->len));                   \
	}
TRY(report, struct swi_report, swi_report_decode, swi_report_encode)
TRY(demand, struct swi_scale_demand, swi_demand_decode, swi_demand_encode)
TRY(member, struct swi_tmsg_member, swi_tmsg_member_decode, swi_tmsg_member_encode)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const decoder[])(struct swi_rd *, struct swi_wr *) = {try_report, try_demand,
									     try_member};
	static uint8_t again[4096];
	struct swi_wr w = swi_wr_init(again, sizeof(again));
	struct swi_rd r;

	if (!size)
		return 0;
	r = swi_rd_init(data + 1, (uint32_t)size - 1);
	decoder[data[0] % SWI_ARRAY_LEN(decoder)](&r, &w);
	return 0;
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	const struct swi_resources res = {.cpu = 20000, .memory = GIB(1), .custom_count = 1,
					  .custom = {{"tape", 10000}}};
	const struct swi_report report = {.stamp = 7, .total = res, .free = res, .queued = 1, .idle = true};
	const struct swi_scale_demand demand = {.tasks = 3, .need = res, .largest = res};
	const struct swi_tmsg_member member = {.node = 2, .epoch = 99, .address = "10.0.0.1:6480", .total = res};
	struct swi_wr w = swi_wr_init(buf + 1, (uint32_t)cap - 1);

	buf[0] = (uint8_t)i;
	if (i == 0)
		swi_report_encode(&w, &report);
	else if (i == 1)
		swi_demand_encode(&w, &demand);
	else if (i == 2)
		swi_tmsg_member_encode(&w, &member);
	else
		return 0;
	return w.len + 1;
}
