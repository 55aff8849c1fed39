/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bits.h - a large sparse set of numbers: a bit each, and levels above that say which words below are not empty, so that
 * the next and the previous member are found in a few steps. No locks: its owner's.
 */
#ifndef SWI_BITS_H
#define SWI_BITS_H

#include "transport/base/base.h"

#define SWI_BITS_LEVELS 8u
#define SWI_BITS_NONE	UINT64_MAX

struct swi_bits {
	uint64_t *level[SWI_BITS_LEVELS]; /* 0: a bit a number */
	uint64_t words[SWI_BITS_LEVELS];
	uint32_t levels;
};

/* Of [0, count), none. -ENOMEM. */
int swi_bits_init(struct swi_bits *b, uint64_t count);
void swi_bits_fini(struct swi_bits *b); /* half-built is fine */
void swi_bits_set(struct swi_bits *b, uint64_t bit);
void swi_bits_clear(struct swi_bits *b, uint64_t bit);
/* The largest member <= @bit, the smallest >= @bit (which may be the count); SWI_BITS_NONE. */
uint64_t swi_bits_prev(const struct swi_bits *b, uint64_t bit);
uint64_t swi_bits_next(const struct swi_bits *b, uint64_t bit);

#endif
