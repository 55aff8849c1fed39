/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - uthash with a hash function of our own; include this instead of <uthash.h>.
 *
 * uthash's own function falls through its switch, which clang's warnings refuse. Numbers and object ids, which is
 * nearly all that is ever looked up, are mixed right here: the call of XXH3 costs several times as much. Tables keep the
 * order of insertion, so that iterating is deterministic.
 */
#ifndef SWI_HASH_H
#define SWI_HASH_H

#include <stdint.h>
#include <string.h>

#include "transport/base/xxh.h"

static inline uint64_t swi_hash_mix(uint64_t h)
{
	h = (h ^ h >> 32) * 0xd6e8feb86659fd93ull;
	h = (h ^ h >> 32) * 0xd6e8feb86659fd93ull;
	return h ^ h >> 32;
}

static inline unsigned int swi_hash(const void *key, size_t len)
{
	uint64_t w[2];

	if (len != sizeof(w[0]) && len != sizeof(w))
		return (unsigned int)XXH3_64bits(key, len);
	w[1] = 0;
	memcpy(w, key, len);
	return (unsigned int)swi_hash_mix(w[0] + 0x9e3779b97f4a7c15ull * swi_hash_mix(w[1] + len));
}

#ifndef HASH_FUNCTION
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = swi_hash(keyptr, keylen))
#endif
#include <uthash.h>

#endif
