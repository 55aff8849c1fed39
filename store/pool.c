/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - see pool.h. */
#include "store/pool.h"

void *swi_pool_get(struct swi_pool *p, size_t size, size_t clear)
{
	struct swi_pool_block *b = p->first;

	if (!b)
		return calloc(1, size);
	p->first = b->next;
	p->count--;
	return memset(b, 0, clear);
}

void swi_pool_put(struct swi_pool *p, void *block)
{
	struct swi_pool_block *b = block;

	if (p->count >= SWI_POOL_KEEP) {
		free(block);
		return;
	}
	b->next = p->first;
	p->first = b;
	p->count++;
}

void swi_pool_fini(struct swi_pool *p)
{
	for (struct swi_pool_block *b = p->first, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	*p = (struct swi_pool){0};
}
