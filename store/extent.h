/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extent.h - who owns which bytes of the arena: an allocator with all its records outside of it.
 *
 * Good fit in segregated classes (16 a power of two), immediate coalescing; from 64 KiB on the outermost fit. What
 * is taken from the low side (chunks, copies) and from the high side (what is large for this arena) grows towards
 * each other, which keeps fragmentation down. Any allocated range may be given back in parts. A double free and a range that is
 * not wholly allocated are told from the records and refused. What is free is counted by region too (vacancy.h).
 * Owner thread only; deterministic.
 */
#ifndef SWI_EXTENT_H
#define SWI_EXTENT_H

#include "store/bits.h"
#include "store/pool.h"
#include "store/vacancy.h"
#include "store/shm.h"
#include "transport/base/list.h"

#define SWI_EXTENT_CLASSES 640u /* 40 powers of two, 16 steps each */

enum swi_extent_side { SWI_EXTENT_LOW, SWI_EXTENT_HIGH };

/* Large for this arena, a 64th and more: from the high side, so that room for the next such stays in one piece. */
static inline enum swi_extent_side swi_extent_side(uint64_t bytes, uint64_t arena_bytes)
{
	return bytes >= SWI_LARGE_MIN && bytes >= arena_bytes / 64 ? SWI_EXTENT_HIGH : SWI_EXTENT_LOW;
}

struct swi_free_block;

struct swi_extents {
	uint64_t granules;
	uint64_t used;	      /* bytes */
	uint64_t free_blocks;
	uint64_t frees;	      /* successful ones ever: "try again" for those who wait for room */
	uint64_t bad_frees;   /* refused */
	struct swi_free_block *by_start; /* hash: first granule -> block */
	struct swi_pool spare; /* struct swi_free_block */
	struct swi_list class_list[SWI_EXTENT_CLASSES];
	uint64_t class_map[SWI_EXTENT_CLASSES / 64];
	struct swi_bits starts; /* the granules that begin a free block */
	struct swi_bits large;	/* the units of 64 KiB in which one of 64 KiB and more begins */
	struct swi_free_block **large_at; /* by unit, where large has it */
	struct swi_vacancy vacancy;
};

/* Everything free. -EINVAL, -ENOMEM. */
int swi_extents_init(struct swi_extents *x, uint64_t bytes);
void swi_extents_fini(struct swi_extents *x); /* half-built is fine */
/* @bytes is rounded up to granules; @align SWI_GRANULE or SWI_PAGE. 0, -ENOSPC (not now), -E2BIG (never), -ENOMEM. */
int swi_extent_alloc(struct swi_extents *x, uint64_t bytes, uint64_t align,
		     enum swi_extent_side side, uint64_t *out_offset);
/* -EINVAL: no such range, or part of it is free already (counted). */
int swi_extent_free(struct swi_extents *x, uint64_t offset, uint64_t bytes);
/* Is all of [offset, offset + bytes) allocated? */
bool swi_extent_is_allocated(const struct swi_extents *x, uint64_t offset, uint64_t bytes);
uint64_t swi_extents_largest(const struct swi_extents *x);
/* The first free block that ends behind @offset; false: there is none. */
bool swi_extent_next_free(const struct swi_extents *x, uint64_t offset, uint64_t *out_offset,
			  uint64_t *out_bytes);
/* Allocates this very range, which must lie in one free block: -EINVAL. -ENOMEM. */
int swi_extent_take(struct swi_extents *x, uint64_t offset, uint64_t bytes);
static inline uint64_t swi_extents_free_bytes(const struct swi_extents *x)
{
	return x->granules * SWI_GRANULE - x->used;
}
/* Every record agrees with every other (tests): NULL, or what is wrong. */
const char *swi_extents_check(const struct swi_extents *x);

#endif
