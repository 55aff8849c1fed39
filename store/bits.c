/* SPDX-License-Identifier: Apache-2.0 */
/* bits.c - see bits.h. */
#include "store/bits.h"

int swi_bits_init(struct swi_bits *b, uint64_t count)
{
	memset(b, 0, sizeof(*b));
	for (uint64_t bits = count; b->levels < SWI_BITS_LEVELS;) {
		const uint64_t words = (bits + 63) / 64;

		b->level[b->levels] = calloc(words, sizeof(uint64_t));
		if (!b->level[b->levels])
			return -ENOMEM;
		b->words[b->levels++] = words;
		if (words == 1)
			break;
		bits = words;
	}
	return 0;
}

void swi_bits_fini(struct swi_bits *b)
{
	for (uint32_t l = 0; l < b->levels; l++)
		free(b->level[l]);
	memset(b, 0, sizeof(*b));
}

void swi_bits_set(struct swi_bits *b, uint64_t bit)
{
	for (uint32_t l = 0; l < b->levels; l++, bit /= 64) {
		uint64_t *w = &b->level[l][bit / 64];
		const bool had = *w != 0;

		*w |= 1ull << (bit % 64);
		if (had)
			return;
	}
}

void swi_bits_clear(struct swi_bits *b, uint64_t bit)
{
	for (uint32_t l = 0; l < b->levels; l++, bit /= 64) {
		uint64_t *w = &b->level[l][bit / 64];

		*w &= ~(1ull << (bit % 64));
		if (*w)
			return;
	}
}

uint64_t swi_bits_prev(const struct swi_bits *b, uint64_t bit)
{
	for (uint32_t l = 0; l < b->levels; l++) {
		const uint64_t w = b->level[l][bit / 64] & (~0ull >> (63 - bit % 64));

		if (w) {
			bit = bit / 64 * 64 + 63u - (uint64_t)__builtin_clzll(w);
			while (l--)
				bit = bit * 64 + 63u - (uint64_t)__builtin_clzll(b->level[l][bit]);
			return bit;
		}
		if (bit / 64 == 0)
			return SWI_BITS_NONE;
		bit = bit / 64 - 1;
	}
	return SWI_BITS_NONE;
}

uint64_t swi_bits_next(const struct swi_bits *b, uint64_t bit)
{
	for (uint32_t l = 0; l < b->levels; l++) {
		if (bit / 64 >= b->words[l])
			return SWI_BITS_NONE;
		const uint64_t w = b->level[l][bit / 64] & (~0ull << (bit % 64));

		if (w) {
			bit = bit / 64 * 64 + (uint64_t)__builtin_ctzll(w);
			while (l--)
				bit = bit * 64 + (uint64_t)__builtin_ctzll(b->level[l][bit]);
			return bit;
		}
		bit = bit / 64 + 1;
	}
	return SWI_BITS_NONE;
}
