/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - blocks of one size that are taken and given back all the time: those given back wait for the next taker.
 *
 * A get needs three such blocks, and the allocator's way for a zeroed one is several times longer than all else that
 * is done with them. A pool keeps at most SWI_POOL_KEEP; the rest goes back to the allocator. Under AddressSanitizer it keeps
 * none, so that a use after the end is still found. Owner thread of the node.
 */
#ifndef SWI_POOL_H
#define SWI_POOL_H

#include "transport/base/base.h"

#if defined(__SANITIZE_ADDRESS__)
#define SWI_POOL_KEEP 0u
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SWI_POOL_KEEP 0u
#endif
#endif
#ifndef SWI_POOL_KEEP
#define SWI_POOL_KEEP 64u
#endif

struct swi_pool_block {
	struct swi_pool_block *next;
};

struct swi_pool { /* zeroed: empty */
	struct swi_pool_block *first;
	uint32_t count;
};

/*
 * Its first @clear bytes are zero. @size is the same in every call on one pool, and at least that of a pointer.
 * NULL: no memory.
 */
void *swi_pool_get(struct swi_pool *p, size_t size, size_t clear);
void swi_pool_put(struct swi_pool *p, void *block);
void swi_pool_fini(struct swi_pool *p);

#endif
