/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what a fuzz target has: one function that takes bytes of a stranger, and valid bytes to
 * begin with. The same file is linked with libFuzzer (clang) or with replay.c (any compiler).
 */
#ifndef SWI_TESTS_FUZZ_H
#define SWI_TESTS_FUZZ_H

#include "transport/base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Writes the @i-th valid input into @buf and returns its length; 0 = there is no such. */
size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap);

/* A property that must hold for every input; it stops the process, so that both drivers notice. */
#define FUZZ_CHECK(cond) SWI_BUG_ON(!(cond))

#endif
