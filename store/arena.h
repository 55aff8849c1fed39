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
	_Atomic uint32_t *users; /* of one mapping, in this process; NULL = it cannot be shared */
};

struct swi_mem_opts {
	bool transparent; /* huge pages, as many as the machine gives at a bearable price */
	bool hugetlb;	  /* of those that the host has reserved; @bytes is rounded up to them */
	bool numa;	  /* on numa_node alone */
	bool lock;	  /* mlock */
	uint32_t numa_node;
};
/*
 * @bytes is rounded up to pages. -ENOMEM, -EINVAL, SWARM_EMEMLOCK ...; *@why names the memory and the remedy.
 * @opts NULL: plain pages.
 */
int swi_mem_create_opts(const char *name, uint64_t bytes, const struct swi_mem_opts *opts,
			struct swi_mem *out, char *why, size_t why_len);
int swi_mem_create(const char *name, uint64_t bytes, bool huge_pages, struct swi_mem *out, char *why,
		   size_t why_len);
/* Maps what another process made: its size is sealed and at least @min_bytes, or -EPROTO. Takes @fd over on success. */
int swi_mem_map(int fd, uint64_t min_bytes, struct swi_mem *out);
/*
 * A second owner in the process that made @from: the same mapping, which ends with the last of them (swi_mem_fini()
 * by any thread). Mapped twice it would cost its page tables and their filling twice, and no race detector knows
 * that two addresses are one byte. -EMFILE.
 */
int swi_mem_share(const struct swi_mem *from, struct swi_mem *out);
/* A hint for private memory that was not touched yet. */
void swi_mem_prefer_huge(void *addr, uint64_t bytes);
void swi_mem_fini(struct swi_mem *m); /* idempotent */

#endif
