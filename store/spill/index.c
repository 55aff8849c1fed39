/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.c - from an object's id to its record: open addressing with linear probing, 16 bytes a slot.
 *
 * A log of small objects has millions of records, each looked up when it is written, restored and
 * forgotten, and entered again when the log is opened. So a record costs one line of the table and
 * nothing in the record itself. The table is never read in its own order: iteration goes by segment.
 * Invariant: at most three quarters are in use, and no free slot lies between a record and the slot
 * that its hash names. Owner thread only.
 */
#include <sys/mman.h>

#include "store/spill/log_impl.h"

#define SLOTS_MIN 64u
#define HUGE	  MIB(2)

static uint64_t hash_of(const uint64_t oid[2])
{
	return XXH3_64bits(oid, 2 * sizeof(*oid));
}

/* The slot of @oid, or the free one where it would go. The table has free slots. */
static uint64_t probe(const struct swi_log_index *ix, const uint64_t oid[2], uint64_t hash)
{
	uint64_t i = hash & ix->mask;

	for (;; i = (i + 1) & ix->mask) {
		const struct swi_log_slot *s = &ix->slots[i];

		if (!s->obj || (s->hash == hash && s->obj->head.oid[0] == oid[0] &&
				s->obj->head.oid[1] == oid[1]))
			return i;
	}
}

struct swi_spill_obj *swi_log_lookup(struct swi_spill *sp, const uint64_t oid[2])
{
	const struct swi_log_index *ix = &sp->index;

	return ix->slots ? ix->slots[probe(ix, oid, hash_of(oid))].obj : NULL;
}

/* A large table in huge pages: a look into it is a miss in the cache and should not be one in the page table, too. */
static struct swi_log_slot *table_new(uint64_t slots)
{
	const uint64_t bytes = slots * sizeof(struct swi_log_slot);
	void *p;

	if (bytes < HUGE)
		return calloc(slots, sizeof(struct swi_log_slot));
	if (posix_memalign(&p, HUGE, bytes))
		return NULL;
	(void)madvise(p, bytes, MADV_HUGEPAGE);
	memset(p, 0, bytes);
	return p;
}

static int grow(struct swi_log_index *ix, uint64_t slots)
{
	struct swi_log_slot *old = ix->slots;
	const uint64_t old_slots = old ? ix->mask + 1 : 0;
	struct swi_log_slot *grown = table_new(slots);

	if (!grown)
		return -ENOMEM;
	ix->slots = grown;
	ix->mask = slots - 1;
	for (uint64_t i = 0; i < old_slots; i++) {
		uint64_t at = old[i].hash & ix->mask;

		if (!old[i].obj)
			continue;
		while (grown[at].obj)
			at = (at + 1) & ix->mask;
		grown[at] = old[i];
	}
	free(old);
	return 0;
}

int swi_log_index_reserve(struct swi_spill *sp, uint64_t more)
{
	struct swi_log_index *ix = &sp->index;
	const uint64_t count = ix->count + more;
	uint64_t slots = ix->slots ? ix->mask + 1 : SLOTS_MIN;

	if (count > UINT64_MAX / 8)
		return -ENOMEM;
	while (slots / 4 * 3 < count)
		slots *= 2;
	return ix->slots && slots == ix->mask + 1 ? 0 : grow(ix, slots);
}

int swi_log_index_add(struct swi_spill *sp, struct swi_spill_obj *o)
{
	struct swi_log_index *ix = &sp->index;
	const uint64_t hash = hash_of(o->head.oid);
	const int rc = swi_log_index_reserve(sp, 1);
	uint64_t i;

	if (rc)
		return rc;
	i = probe(ix, o->head.oid, hash);
	SWI_BUG_ON(ix->slots[i].obj);
	ix->slots[i] = (struct swi_log_slot){hash, o};
	ix->count++;
	return 0;
}

/* What lies behind the slot that becomes free moves up, so that no probe ends too early. */
void swi_log_index_del(struct swi_spill *sp, struct swi_spill_obj *o)
{
	struct swi_log_index *ix = &sp->index;
	uint64_t hole = probe(ix, o->head.oid, hash_of(o->head.oid)), i = hole;

	SWI_BUG_ON(ix->slots[hole].obj != o);
	for (;;) {
		uint64_t want;

		i = (i + 1) & ix->mask;
		if (!ix->slots[i].obj)
			break;
		want = ix->slots[i].hash & ix->mask;
		if (((i - want) & ix->mask) < ((i - hole) & ix->mask))
			continue; /* its own place lies behind the hole */
		ix->slots[hole] = ix->slots[i];
		hole = i;
	}
	ix->slots[hole].obj = NULL;
	ix->count--;
}

void swi_log_index_ahead(const struct swi_spill *sp, const struct swi_spill_obj *o)
{
	const struct swi_log_index *ix = &sp->index;

	if (ix->slots)
		__builtin_prefetch(&ix->slots[hash_of(o->head.oid) & ix->mask], 1);
}

void swi_log_index_fini(struct swi_spill *sp)
{
	struct swi_log_index *ix = &sp->index;

	for (uint64_t i = 0; ix->slots && i <= ix->mask; i++)
		free(ix->slots[i].obj);
	free(ix->slots);
	*ix = (struct swi_log_index){0};
}
