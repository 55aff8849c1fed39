/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - shared memory that is there: memfds allocated and pre-faulted at once, sealed in size.
 *
 * A sparse file would mean page faults in the put path and SIGBUS when memory runs out; here an allocation
 * fails at the start, with a sentence. The arena, the index and every client's memory are made so.
 */
#ifndef SWI_ARENA_H
#define SWI_ARENA_H

#include "transport/base/base.h"

struct swi_mem {
	int fd; /* -1 = none */
	void *addr;
	uint64_t bytes;
};

/* @bytes is rounded up to pages. -ENOMEM, -EINVAL ...; *@why names the memory and the remedy. */
int swi_mem_create(const char *name, uint64_t bytes, bool huge_pages, struct swi_mem *out, char *why,
		   size_t why_len);
/* Maps what another process made: its size is sealed and at least @min_bytes, or -EPROTO. Takes @fd over on success. */
int swi_mem_map(int fd, uint64_t min_bytes, struct swi_mem *out);
void swi_mem_fini(struct swi_mem *m); /* idempotent */

#endif
