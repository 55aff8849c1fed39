/* SPDX-License-Identifier: Apache-2.0 */
/*
 * data.h - the ids and the bytes of the harnesses' objects: both follow from two numbers, so that every
 * process knows what any object has to contain. Pure functions.
 */
#ifndef SWARM_PERF_DATA_H
#define SWARM_PERF_DATA_H

#include "transport/base/base.h"

/* Object @i of set @set, whose home is node @home. */
static inline struct swarm_ref perf_ref(uint64_t set, uint64_t i, uint32_t home)
{
	return (struct swarm_ref){.id = {.w = {0x5045524600000000ull ^ set, i + 1}}, .home = home};
}

static inline uint64_t perf_word(uint64_t seed, uint64_t at)
{
	return (seed + at + 1) * 0x9e3779b97f4a7c15ull;
}

static inline uint64_t perf_seed(struct swarm_ref ref)
{
	return (ref.id.w[0] ^ ref.id.w[1] << 20) * 0xbf58476d1ce4e5b9ull;
}

void perf_fill(void *data, uint64_t len, struct swarm_ref ref);
bool perf_filled(const void *data, uint64_t len, struct swarm_ref ref);

#endif
