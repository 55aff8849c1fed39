/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what a fuzz target has: one function that takes bytes of a stranger, and valid bytes to
 * begin with. The same file is linked with libFuzzer (clang) or with replay.c (any compiler).
 */
#ifndef SWI_TESTS_FUZZ_H
#define SWI_TESTS_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "transport/base/base.h"
#include "transport/base/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Writes the @i-th valid input into @buf and returns its length; 0 = there is no such. */
size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap);

/* A property that must hold for every input; it stops the process, so that both drivers notice. */
#define FUZZ_CHECK(cond) SWI_BUG_ON(!(cond))

static void *fuzz_block[6] SWI_UNUSED; /* fuzz_zeroed()'s */

/* Block @i of memory, all zero, that is kept from input to input: mapping it anew would cost more than the run. */
static inline void *fuzz_zeroed(uint32_t i, uint64_t bytes)
{
	bytes = swi_align_up(bytes, SWI_PAGE);
	FUZZ_CHECK(i < SWI_ARRAY_LEN(fuzz_block));
	if (!fuzz_block[i])
		fuzz_block[i] = aligned_alloc(SWI_PAGE, bytes);
	FUZZ_CHECK(fuzz_block[i]);
	memset(fuzz_block[i], 0, bytes);
	return fuzz_block[i];
}

/* fuzz_seed() of a target that has @count functions, each of which writes one input behind what @w holds already. */
static inline size_t fuzz_seed_of(void (*const *seeds)(struct swi_wr *w), size_t count, unsigned int i, struct swi_wr *w)
{
	if (i >= count)
		return 0;
	seeds[i](w);
	FUZZ_CHECK(swi_wr_ok(w));
	return w->len;
}

#endif
