/* SPDX-License-Identifier: Apache-2.0 */
/* data.c - see data.h. */
#include "perf/common/data.h"

void perf_fill(void *data, uint64_t len, struct swarm_ref ref)
{
	const uint64_t seed = perf_seed(ref), words = len / 8;
	uint64_t w;

	for (uint64_t i = 0; i < words; i++) {
		w = perf_word(seed, i);
		memcpy((uint8_t *)data + 8 * i, &w, 8);
	}
	w = perf_word(seed, words);
	memcpy((uint8_t *)data + 8 * words, &w, len % 8);
}

bool perf_filled(const void *data, uint64_t len, struct swarm_ref ref)
{
	const uint64_t seed = perf_seed(ref), words = len / 8;
	uint64_t w, bad = 0;

	for (uint64_t i = 0; i < words; i++) {
		memcpy(&w, (const uint8_t *)data + 8 * i, 8);
		bad |= w ^ perf_word(seed, i);
	}
	w = perf_word(seed, words);
	return !bad && !memcmp((const uint8_t *)data + 8 * words, &w, len % 8);
}
