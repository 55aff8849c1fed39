/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - uthash with XXH3 as its hash function; include this instead of <uthash.h>.
 *
 * uthash's own function falls through its switch, which clang's warnings refuse. Tables keep the order of
 * insertion, so that iterating is deterministic.
 */
#ifndef SWI_HASH_H
#define SWI_HASH_H

#include "transport/base/xxh.h"

#ifndef HASH_FUNCTION
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = (unsigned int)XXH3_64bits(keyptr, keylen))
#endif
#include <uthash.h>

#endif
