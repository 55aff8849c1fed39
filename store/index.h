/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.h - id -> extent, in shared memory, for every local process and for peers' cold READs.
 *
 * Lock-free: any process inserts and looks up, the node core alone removes. The protocol and why it
 * is safe stand at the top of index.c. struct swi_index is a private view of the shared memfd.
 */
#ifndef SWI_INDEX_H
#define SWI_INDEX_H

#include "store/shm.h"

struct swi_index {
	struct swi_shm_head *head;
	struct swi_slot *slots;
	_Atomic uint8_t *overflow;
	uint64_t mask; /* pair_count - 1 */
};

struct swi_index_hit {
	uint64_t slot; /* number of the slot */
	uint64_t word; /* as it was seen */
};

/* Bytes of the index memfd for about @objects_max objects (page multiple). */
uint64_t swi_index_bytes(uint64_t objects_max);
/* Writes head, empty slots and overflow counts into zeroed memory of swi_index_bytes(). */
void swi_index_format(struct swi_shm_head *head, uint64_t arena_bytes, uint64_t objects_max,
		      uint64_t boot_epoch);
/* Checks the head against what is mapped; -EPROTO, SWARM_EVERSION. */
int swi_index_open(struct swi_index *ix, struct swi_shm_head *head, uint64_t mapped_bytes);

static inline uint64_t swi_index_slots(const struct swi_index *ix)
{
	return (ix->mask + 1) * SWI_SLOTS_PER_PAIR;
}

/* The 64-bit mix of an id; never 0. */
static inline uint64_t swi_index_key(struct swarm_oid id)
{
	uint64_t h = (id.w[0] ^ 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;

	h ^= h >> 32;
	h = (h ^ id.w[1]) * 0xc4ceb9fe1a85ec53ull;
	h ^= h >> 29;
	h *= 0x94d049bb133111ebull;
	h ^= h >> 32;
	return h ? h : 1;
}

static inline uint64_t swi_index_home(const struct swi_index *ix, uint64_t key)
{
	return key & ix->mask;
}

/* The lines of the pair, to be changed: another core that saw them last gives them up once, not twice. */
static inline void swi_index_prefetch_own(const struct swi_index *ix, uint64_t key)
{
	struct swi_slot *pair = &ix->slots[swi_index_home(ix, key) * SWI_SLOTS_PER_PAIR];

	swi_prefetch_own(pair);
	swi_prefetch_own(pair + SWI_SLOTS_PER_PAIR / 2);
}

/* The lines of the pair, to be read. */
static inline void swi_index_prefetch_look(const struct swi_index *ix, uint64_t key)
{
	const struct swi_slot *pair = &ix->slots[swi_index_home(ix, key) * SWI_SLOTS_PER_PAIR];

	__builtin_prefetch(pair);
	__builtin_prefetch(pair + SWI_SLOTS_PER_PAIR / 2);
}

/* The lines that a look-up of something that is not there reads, and an insert then changes. */
static inline void swi_index_prefetch(const struct swi_index *ix, uint64_t key)
{
	swi_index_prefetch_own(ix, key);
	__builtin_prefetch((const void *)&ix->overflow[swi_index_home(ix, key)]);
}

/* A SEALED slot with @key. */
bool swi_index_find(const struct swi_index *ix, uint64_t key, struct swi_index_hit *out);
/* After a pin was published: is the slot still what it was? Pairs with swi_index_remove(). */
static inline bool swi_index_still(const struct swi_index *ix, const struct swi_index_hit *hit)
{
	return atomic_load_explicit(&ix->slots[hit->slot].word, memory_order_seq_cst) == hit->word;
}
/*
 * Publishes (@gen, @offset) under @key; @bytes: of the extent. A client names the object in an intent before. 0, -EEXIST,
 * SWARM_EINDEXFULL. *out_slot (may be NULL): where.
 */
int swi_index_insert(const struct swi_index *ix, uint64_t key, uint32_t gen, uint64_t offset,
		     uint64_t bytes, uint64_t *out_slot);
/* SEALED -> DEAD: nobody finds it any more; the node core removes it. False: it changed meanwhile. */
bool swi_index_kill(const struct swi_index *ix, const struct swi_index_hit *hit);

/* ---- node core only ---- */
/* SEALED or DEAD -> EMPTY. False: it changed meanwhile. After it, a pin scan tells who still reads. */
bool swi_index_remove(const struct swi_index *ix, const struct swi_index_hit *hit);
/*
 * The object that @hit leads to lies at (@gen, @offset) from now on; a look-up finds it at every moment. False: the
 * slot changed meanwhile. Who pinned the old place before still reads it: after this, a pin scan tells.
 */
bool swi_index_move(const struct swi_index *ix, const struct swi_index_hit *hit, uint32_t gen,
		    uint64_t offset, uint64_t bytes);
/* A DEAD slot with @key: killed by a client, not yet removed. */
bool swi_index_find_dead(const struct swi_index *ix, uint64_t key, struct swi_index_hit *out);
/* Does a SEALED or DEAD slot with @key lead to this very extent? */
bool swi_index_leads_to(const struct swi_index *ix, uint64_t key, uint32_t gen, uint64_t offset);
/* The slot in state @st that leads to this very extent, whatever its key says: it may not be stored yet. */
bool swi_index_find_extent(const struct swi_index *ix, uint64_t key, enum swi_slot_state st,
			   uint32_t gen, uint64_t offset, struct swi_index_hit *out);
/* CLAIMED by a process that is dead -> EMPTY. @key: of the object it was claimed for. */
bool swi_index_unclaim(const struct swi_index *ix, const struct swi_index_hit *hit, uint64_t key);
/* The word of a slot; every field of it is foreign. */
uint64_t swi_index_word(const struct swi_index *ix, uint64_t slot);

#endif
