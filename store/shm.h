/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm.h - what lies in shared memory: the one page that every local process must agree on.
 *
 * Three kinds of memfd, all allocated and pre-faulted at creation, sealed against shrinking:
 *   arena   object bytes only: extents of 64-byte granules. Registered once with the card.
 *   index   struct swi_shm_head, then the buckets, then one overflow byte a bucket pair.
 *   client  one for each attached process: its pins, intents and two rings. Mapped by that process
 *           and the node core alone.
 * Everything here that a client can write is foreign input to the node core.
 */
#ifndef SWI_SHM_H
#define SWI_SHM_H

#include "transport/base/base.h"
#include "transport/base/ring.h"

#define SWI_SHM_MAGIC	0x53574152u /* "SWAR" */
#define SWI_SHM_VERSION 1u
#define SWI_GRANULE	64u

/* ---- an object's header: the first 64 bytes of its extent; payload follows ---- */
#define SWI_OBJ_MAGIC 0x4a424f53u /* "SOBJ" */
enum swi_obj_state {
	SWI_OBJ_WRITING = 1,
	SWI_OBJ_SEALED = 2,
	SWI_OBJ_ABORTED = 3, /* by its client: never sealed */
	SWI_OBJ_REMOVED = 4, /* by the node: it was sealed; its grant is still open */
};
#define SWI_OBJ_F_SECONDARY 0x01u /* a copy; the primary is elsewhere: may be dropped at any time */
#define SWI_OBJ_F_DIGEST    0x02u /* digest is set */
#define SWI_OBJ_F_NAMED	    0x04u /* created with home == 0 */
#define SWI_OBJ_F_NEW	    0x08u /* named, made while there are peers: its client says SEALED; until the node has read that nobody was told of it */

struct swi_object_head {
	uint32_t magic;
	_Atomic uint16_t state; /* enum swi_obj_state */
	_Atomic uint16_t touch; /* coarse tick of the last local get (recency) */
	uint64_t oid[2];
	uint32_t gen;  /* generation of the extent: the grant it was carved from */
	uint32_t home; /* node number, 0 = named */
	uint64_t epoch; /* boot epoch of the node whose arena it lies in: with gen, names this extent among all nodes */
	uint64_t len;  /* payload bytes */
	_Atomic uint64_t digest; /* XXH3_64bits of the payload, valid with SWI_OBJ_F_DIGEST; computed on the first spill or remote read */
	uint32_t flags; /* SWI_OBJ_F_*; node core only after seal */
	uint32_t crc;	/* of a record on disk, and here while it is written there; else 0: readers on other nodes look */
};
static_assert(sizeof(struct swi_object_head) == 64, "one cache line");

/* Objects whose extent reaches this size are page-aligned and a page multiple (O_DIRECT); smaller ones are packed. */
#define SWI_LARGE_MIN (64u << 10)

/* Bytes of arena that an object of @len payload bytes takes. */
static inline uint64_t swi_extent_bytes(uint64_t len)
{
	const uint64_t raw = sizeof(struct swi_object_head) + len;

	return raw >= SWI_LARGE_MIN ? swi_align_up(raw, SWI_PAGE) : swi_align_up(raw, SWI_GRANULE);
}

/* ---- the index: open addressing over pairs of buckets ---- */
/*
 * slot.word = state:2 | size:7 | gen:20 | granule:35 ; slot.key = a 64-bit mix of the id.
 * A key lives in its pair (8 slots, 128 bytes: one cold READ) or, when that is full, in one of the
 * next SWI_INDEX_PROBE - 1 pairs; overflow[pair] counts what passed over a pair (sticky at 255).
 * The size class is for readers on other nodes: how much to READ; (gen, granule) alone name the object.
 */
#define SWI_SLOTS_PER_PAIR 8u
#define SWI_PAIR_BYTES	   (SWI_SLOTS_PER_PAIR * 16u)
#define SWI_INDEX_PROBE	   8u
#define SWI_ARENA_MAX	   (2ull << 40) /* what 35 bits of granule can name */
enum swi_slot_state { SWI_SLOT_EMPTY = 0, SWI_SLOT_CLAIMED = 1, SWI_SLOT_SEALED = 2, SWI_SLOT_DEAD = 3 };

struct swi_slot {
	_Atomic uint64_t word;
	_Atomic uint64_t key;
};

#define SWI_SLOT_STATE (3ull << 62)
#define SWI_SLOT_NAME  ((1ull << 55) - 1) /* gen and granule */

static inline uint64_t swi_slot_word(enum swi_slot_state st, uint32_t gen, uint64_t offset)
{
	return (uint64_t)st << 62 | (uint64_t)(gen & 0xfffffu) << 35 | offset / SWI_GRANULE;
}
static inline enum swi_slot_state swi_slot_state(uint64_t word)
{
	return (enum swi_slot_state)(word >> 62);
}
static inline uint32_t swi_slot_gen(uint64_t word)
{
	return (uint32_t)(word >> 35) & 0xfffffu;
}
static inline uint64_t swi_slot_offset(uint64_t word)
{
	return (word & ((1ull << 35) - 1)) * SWI_GRANULE;
}

/*
 * Size classes of extents: exact up to 16 granules, then eight to an octave, rounded up. 0: too large for a READ
 * of its own (SWI_DIRECT_MAX); who wants it asks the owner.
 */
#define SWI_DIRECT_MAX (1u << 20) /* bytes of the extent where the index leads, of the payload where a locator does */

static inline uint32_t swi_size_class(uint64_t extent_bytes)
{
	const uint64_t g = (extent_bytes + SWI_GRANULE - 1) / SWI_GRANULE;

	if (!g || extent_bytes > SWI_DIRECT_MAX)
		return 0;
	if (g <= 8)
		return (uint32_t)g;
	const uint32_t shift = 60u - (uint32_t)__builtin_clzll(g - 1);

	return 8 * shift + (uint32_t)((g - 1) >> shift) + 1;
}
static inline uint64_t swi_class_bytes(uint32_t c)
{
	if (c <= 8)
		return (uint64_t)c * SWI_GRANULE;
	return (uint64_t)(9 + (c - 9) % 8) << (c - 9) / 8 << 6;
}
static inline uint32_t swi_slot_class(uint64_t word)
{
	return (uint32_t)(word >> 55) & 0x7fu;
}
static inline uint64_t swi_slot_sized(uint64_t word, uint64_t extent_bytes)
{
	return word | (uint64_t)swi_size_class(extent_bytes) << 55;
}

#define SWI_PAIR_WORDS 16u
#define SWI_PADS       24u

struct swi_shm_head { /* start of the index memfd; one page */
	uint32_t magic, version;
	uint64_t index_bytes; /* of this memfd */
	uint64_t arena_bytes;
	uint64_t pair_count; /* a power of two */
	uint64_t slots_off, overflow_off; /* from the start of this memfd */
	uint64_t boot_epoch;
	_Atomic uint32_t node;	    /* this node's number, 0 until joined */
	_Atomic uint32_t clustered; /* 1: seals of named objects are announced */
	_Atomic uint32_t durable;   /* 1: seals by the public calls wait until the object is durable */
	_Atomic uint32_t keeps;	    /* 1: tasks may still need what a user deletes: the home decides when it goes */
	uint64_t chunk_bytes;	    /* of a client's chunk for small objects */
	alignas(64) _Atomic uint32_t waiters; /* > 0: somebody waits for an object: announce seals */
	_Atomic uint32_t subscribers; /* > 0: somebody wants to hear of seals, but nobody waits: announce if it costs no wait */
	_Atomic uint32_t sleeping;  /* 1: the node core sleeps: ring the doorbell after a push */
	_Atomic uint32_t tick;	    /* coarse time, 100 ms, for recency */
	alignas(64) _Atomic uint64_t objects; /* the node core alone: its own and those of clients that left, minus removed */
	/* The node core alone: here land pairs of other nodes' indexes (direct.c), which need registered memory. */
	alignas(64) uint64_t pads[SWI_PADS][SWI_PAIR_WORDS];
};
static_assert(sizeof(struct swi_shm_head) <= SWI_PAGE, "one page");

/* ---- a client's own memfd ---- */
#define SWI_PIN_SLOTS	 4096u
#define SWI_INTENT_SLOTS 64u
#define SWI_EVENTS	 64u
/* A body may be a quarter of a ring: a task of SWARM_ARGS_MAX references and full inline bytes fits. */
#define SWI_RING_REQ	 (512u << 10)
#define SWI_RING_RSP	 (512u << 10)

/*
 * What a thread is about to change in the index, so that the node can end it should the process die (grant.c).
 * what = delete:1 | low bits of .sealed:23 | granule + 1 of the object:40; 0 = nothing. (granule, generation)
 * names one object for ever, so the node finds the slot by itself, claimed or sealed or neither.
 */
struct swi_intent {
	_Atomic uint64_t what;
	_Atomic uint64_t sealed; /* objects ever sealed under it; one thread owns it while what != 0 */
};
#define SWI_INTENT_DELETE (1ull << 63)
#define SWI_INTENT_COUNT  0x7fffffull

static inline uint64_t swi_intent_seal(uint64_t offset, uint64_t sealed)
{
	return (sealed & SWI_INTENT_COUNT) << 40 | (offset / SWI_GRANULE + 1);
}
static inline uint64_t swi_intent_delete(uint64_t offset)
{
	return SWI_INTENT_DELETE | (offset / SWI_GRANULE + 1);
}
static inline uint64_t swi_intent_offset(uint64_t what)
{
	return ((what & 0xffffffffffull) - 1) * SWI_GRANULE;
}

/* pin[i] = granule + 1 of a pinned extent, 0 = free. One thread owns a slot at a time. */
struct swi_client_shm {
	uint32_t magic, version;
	uint32_t client; /* number given by the node */
	uint32_t pad;
	alignas(64) _Atomic uint32_t wake; /* futex word: the node adds 1 after a response */
	_Atomic uint32_t sleeping;	   /* threads of the client in futex wait */
	alignas(64) _Atomic uint32_t pin_high; /* slots below this were ever used */
	_Atomic uint32_t unsaid; /* seals that subscribers were not told of: the request ring was full */
	/* armed[i] = 1: eventfd i + 1 is to be written when its queue gets something; who swaps the 1 for 0 writes */
	_Atomic uint32_t armed[SWI_EVENTS];
	alignas(64) struct swi_intent intent[SWI_INTENT_SLOTS];
	alignas(64) _Atomic uint64_t pin[SWI_PIN_SLOTS];
	/* then: request ring (client produces), response ring (node produces) */
};
#define SWI_CLIENT_REQ_OFF swi_align_up(sizeof(struct swi_client_shm), SWI_PAGE)
#define SWI_CLIENT_RSP_OFF swi_align_up(SWI_CLIENT_REQ_OFF + swi_ring_bytes(SWI_RING_REQ), SWI_PAGE)
#define SWI_CLIENT_BYTES   swi_align_up(SWI_CLIENT_RSP_OFF + swi_ring_bytes(SWI_RING_RSP), SWI_PAGE)

#endif
