/* SPDX-License-Identifier: Apache-2.0 */
/* policy.c - see policy.h. */
#include "store/policy.h"

#include "transport/base/env.h"

#define DISK_DEFAULT (500ull * 1000 * 1000) /* bytes per second until measured */
#define NET_DEFAULT  (1000ull * 1000 * 1000)
#define DISK_ACCESS_NS (20 * NS_PER_US) /* many are under way at once */
#define NET_ACCESS_NS  (50 * NS_PER_US)
#define USED_FACTOR    64
#define REMAKE_MIN_NS  (500 * NS_PER_US) /* placing a task, fetching what it needs */
#define REMAKE_GAIN    4u /* memory of an object is not given up for a small gain */
#define REMAKE_FULL_NS (2 * NS_PER_S) /* with nowhere to write, so much is worth it */

static uint64_t span_ns(uint64_t bytes, uint64_t rate, uint64_t otherwise)
{
	return (uint64_t)((double)bytes * 1e9 / (double)(rate ? rate : otherwise));
}

/* What it takes to have the object leave and come back. */
static uint64_t cost_ns(const struct swi_leaver *l, const struct swi_rates *r)
{
	const uint64_t read = DISK_ACCESS_NS + span_ns(l->bytes, r->read_bytes_per_s, DISK_DEFAULT);

	switch (l->back) {
	case SWI_BACK_PEER:
		return NET_ACCESS_NS + span_ns(l->bytes, r->net_bytes_per_s, NET_DEFAULT);
	case SWI_BACK_DISK:
		return read;
	case SWI_BACK_WRITE:
		return read + DISK_ACCESS_NS + span_ns(l->bytes, r->write_bytes_per_s, DISK_DEFAULT);
	case SWI_BACK_REMAKE:
		return swi_max_u64(l->make_ns, REMAKE_MIN_NS);
	}
	return UINT64_MAX;
}

uint64_t swi_policy_price(const struct swi_leaver *l, const struct swi_rates *r)
{
	const double cost = (double)cost_ns(l, r) * (l->used && l->back == SWI_BACK_WRITE ? USED_FACTOR : 1);
	/* In 1/65536 ns a KiB, so that nothing worth telling apart is rounded away; at most about 2^60. */
	const double price = cost * 65536.0 * 1024.0 / (double)swi_max_u64(l->bytes, 1) /
			     (1.0 + (double)l->age);

	return price < 1e18 ? (uint64_t)price : (uint64_t)1e18;
}

uint32_t swi_policy_class(uint64_t price)
{
	uint32_t log;

	if (price < 4)
		return (uint32_t)price;
	log = 63u - (uint32_t)__builtin_clzll(price);
	return log * 4 + (uint32_t)(price >> (log - 2) & 3);
}

bool swi_policy_remake(uint64_t bytes, uint64_t make_ns, bool disk, const struct swi_rates *r)
{
	const struct swi_leaver l = {.bytes = bytes, .back = SWI_BACK_WRITE};

	if (make_ns == SWI_REMAKE_NEVER)
		return false;
	make_ns = swi_max_u64(make_ns, REMAKE_MIN_NS);
	if (!disk)
		return make_ns <= REMAKE_FULL_NS;
	return make_ns < cost_ns(&l, r) / REMAKE_GAIN;
}

uint64_t swi_policy_wanted(const struct swi_marks *m, struct swi_pressure *p)
{
	const uint64_t stays = p->used > p->going ? p->used - p->going : 0;
	uint64_t want = 0, lack;

	if (stays > m->high)
		p->running = true;
	else if (stays <= m->low)
		p->running = false;
	if (p->running)
		want = stays - m->low;
	if (!p->missing)
		return want;
	lack = swi_sat_add(stays, p->missing);
	lack = lack > m->arena ? lack - m->arena : 0;
	/* Enough is free, or on its way, and still they wait. */
	if (!lack && p->head > p->going)
		lack = p->head - p->going;
	return swi_max_u64(want, swi_min_u64(lack, stays));
}
