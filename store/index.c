/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.c - see index.h. Shared memory; any process inserts and reads, the node core removes.
 *
 * A slot lives EMPTY -> CLAIMED -> SEALED (-> DEAD) -> EMPTY. (gen, offset) in its word names one
 * object for ever (gen20 repeats after a million grants of the very same bytes), so a compare-and-swap
 * on a whole word never confuses two objects.
 *
 * Insert. (1) Look for the key SEALED: -EEXIST. (2) Walk the probe sequence; a full pair's overflow
 * count goes up before the next pair is tried, so that a reader who may need to pass it does.
 * CAS EMPTY -> CLAIMED, store the key (release). (3) Full fence, then walk
 * the sequence again for other slots with the same key. Two inserters each claim, fence, look: at
 * least one sees the other, and it settles the matter:
 *   - the other is SEALED: we lose.
 *   - the other is CLAIMED behind us: we CAS it to EMPTY. If that fails it just sealed or gave up: look again.
 *   - the other is CLAIMED before us: it has precedence; we look again for a while, and then treat
 *     it as in the case above: its owner is dead or stopped, and nobody waits for such a one.
 * (4) CAS our own CLAIMED -> SEALED. This fails only if somebody took our claim away: begin again.
 * So of two claims at most one passes (4): whoever saw the other either lost or took its claim away.
 *
 * Look-up. word (acquire), key (acquire), word again: a key is stored after its claim, so a key of a later
 * tenant implies that the second load sees a changed word. The hit is then pinned (seq_cst) and
 * the word loaded once more (seq_cst): with the node's CAS to EMPTY, its fence and its scan of the
 * pins either the node sees the pin or the reader sees the change. The header's id decides last.
 *
 * Move (node core). The object's bytes are in their new place, then CAS SEALED (gen, offset) -> SEALED (gen', offset'):
 * no look-up misses it. A reader that has not re-checked sees the change and looks again; one that has, its pin is seen by
 * the scan that every retired extent waits for. A kill that meets it fails, and its client looks again.
 *
 * Overflow counts: +1 by the inserter for each pair that it passed, -1 by whoever takes the entry
 * out; at 255 the count stays for ever. A process killed between the two leaves a count too high, which costs a
 * longer walk and nothing else. A dead process named the object in an intent before it claimed a
 * slot for it: the node finds the slot by the word and undoes it with swi_index_unclaim().
 */
#include "store/index.h"

/*
 * Looks at a claim that has precedence: some microseconds, the time of the few steps that its owner has left if
 * it runs. One that does not run is not waited for; alive, it finds its claim gone and begins again.
 */
#define LOOKS 100u

uint64_t swi_index_bytes(uint64_t objects_max)
{
	const uint64_t pairs = swi_next_pow2(swi_max_u64(objects_max / 6 + 1, 16));

	return swi_align_up(SWI_PAGE + pairs * SWI_SLOTS_PER_PAIR * sizeof(struct swi_slot) + pairs,
			    SWI_PAGE);
}

void swi_index_format(struct swi_shm_head *head, uint64_t arena_bytes, uint64_t objects_max,
		      uint64_t boot_epoch)
{
	const uint64_t pairs = swi_next_pow2(swi_max_u64(objects_max / 6 + 1, 16));
	/* An open chunk holds back what dies in it: keep all clients' chunks a small part of the arena. */
	const uint64_t chunk = swi_min_u64(
	    MIB(1), swi_max_u64(arena_bytes / 256, swi_min_u64(KIB(64), arena_bytes / 64)));

	head->magic = SWI_SHM_MAGIC;
	head->version = SWI_SHM_VERSION;
	head->index_bytes = swi_index_bytes(objects_max);
	head->arena_bytes = arena_bytes;
	head->pair_count = pairs;
	head->slots_off = SWI_PAGE;
	head->overflow_off = SWI_PAGE + pairs * SWI_SLOTS_PER_PAIR * sizeof(struct swi_slot);
	head->boot_epoch = boot_epoch;
	head->chunk_bytes = swi_align_up(swi_max_u64(chunk, KIB(16)), SWI_PAGE);
}

int swi_index_open(struct swi_index *ix, struct swi_shm_head *head, uint64_t mapped_bytes)
{
	if (mapped_bytes < SWI_PAGE || head->magic != SWI_SHM_MAGIC)
		return -EPROTO;
	if (head->version != SWI_SHM_VERSION)
		return SWARM_EVERSION;
	const uint64_t pairs = head->pair_count;

	if (!swi_is_pow2(pairs) || pairs > mapped_bytes || head->index_bytes > mapped_bytes ||
	    head->slots_off != SWI_PAGE ||
	    head->overflow_off != SWI_PAGE + pairs * SWI_SLOTS_PER_PAIR * sizeof(struct swi_slot) ||
	    head->overflow_off + pairs > mapped_bytes)
		return -EPROTO;
	*ix = (struct swi_index){.head = head,
				 .slots = (void *)((uint8_t *)head + head->slots_off),
				 .overflow = (void *)((uint8_t *)head + head->overflow_off),
				 .mask = pairs - 1};
	return 0;
}

static uint64_t pair_at(const struct swi_index *ix, uint64_t key, uint32_t step)
{
	return (swi_index_home(ix, key) + step) & ix->mask;
}

static bool passed_over(const struct swi_index *ix, uint64_t pair)
{
	return atomic_load_explicit(&ix->overflow[pair], memory_order_acquire) != 0;
}

static void overflow_add(const struct swi_index *ix, uint64_t pair, int delta)
{
	uint8_t v = atomic_load_explicit(&ix->overflow[pair], memory_order_relaxed);

	do {
		if (v == UINT8_MAX || (delta < 0 && v == 0))
			return;
	} while (!atomic_compare_exchange_weak_explicit(&ix->overflow[pair], &v,
							(uint8_t)(v + delta), memory_order_seq_cst,
							memory_order_relaxed));
}

/* An entry that lay @steps pairs behind its home is gone. */
static void overflow_release(const struct swi_index *ix, uint64_t key, uint32_t steps)
{
	for (uint32_t i = 0; i < steps; i++)
		overflow_add(ix, pair_at(ix, key, i), -1);
}

/* The slot's word if it holds @key in one of the states wanted, else 0. */
static uint64_t slot_match(struct swi_slot *s, uint64_t key, bool claimed_too)
{
	for (;;) {
		const uint64_t w = atomic_load_explicit(&s->word, memory_order_acquire);
		const enum swi_slot_state st = swi_slot_state(w);

		if (st != SWI_SLOT_SEALED && !(claimed_too && st == SWI_SLOT_CLAIMED))
			return 0;
		if (atomic_load_explicit(&s->key, memory_order_acquire) != key)
			return 0;
		if (SWI_LIKELY(atomic_load_explicit(&s->word, memory_order_acquire) == w))
			return w;
	}
}

bool swi_index_find(const struct swi_index *ix, uint64_t key, struct swi_index_hit *out)
{
	for (uint32_t i = 0; i < SWI_INDEX_PROBE; i++) {
		const uint64_t pair = pair_at(ix, key, i);
		struct swi_slot *s = &ix->slots[pair * SWI_SLOTS_PER_PAIR];

		for (uint32_t j = 0; j < SWI_SLOTS_PER_PAIR; j++) {
			if (atomic_load_explicit(&s[j].key, memory_order_relaxed) != key)
				continue;
			const uint64_t w = slot_match(&s[j], key, false);

			if (w) {
				out->slot = pair * SWI_SLOTS_PER_PAIR + j;
				out->word = w;
				return true;
			}
		}
		if (!passed_over(ix, pair))
			return false;
	}
	return false;
}

struct claim {
	uint32_t step, j; /* place in the probe sequence */
	uint64_t slot, word;
};

/* Step (2). 0, or SWARM_EINDEXFULL with every count taken back. */
static int claim_slot(const struct swi_index *ix, uint64_t key, struct claim *cl)
{
	for (uint32_t i = 0; i < SWI_INDEX_PROBE; i++) {
		const uint64_t pair = pair_at(ix, key, i);
		struct swi_slot *s = &ix->slots[pair * SWI_SLOTS_PER_PAIR];

		for (uint32_t j = 0; j < SWI_SLOTS_PER_PAIR; j++) {
			uint64_t w = atomic_load_explicit(&s[j].word, memory_order_relaxed);

			if (swi_slot_state(w) != SWI_SLOT_EMPTY)
				continue;
			cl->step = i;
			cl->j = j;
			cl->slot = pair * SWI_SLOTS_PER_PAIR + j;
			if (!atomic_compare_exchange_strong_explicit(&s[j].word, &w, cl->word,
								     memory_order_seq_cst,
								     memory_order_relaxed))
				continue;
			atomic_store_explicit(&s[j].key, key, memory_order_release);
			return 0;
		}
		overflow_add(ix, pair, 1);
	}
	overflow_release(ix, key, SWI_INDEX_PROBE);
	return SWARM_EINDEXFULL;
}

static bool still_mine(const struct swi_index *ix, const struct claim *cl)
{
	return atomic_load_explicit(&ix->slots[cl->slot].word, memory_order_relaxed) == cl->word;
}

enum look { LOOK_CLEAR, LOOK_LOST, LOOK_AGAIN };

/* One slot with our key that is not ours: what does it mean? @behind: it comes after ours. */
static enum look judge(struct swi_slot *s, uint64_t w, bool behind, uint32_t *looks)
{
	if (swi_slot_state(w) == SWI_SLOT_SEALED)
		return LOOK_LOST;
	if (!behind && (*looks)++ < LOOKS) {
		swi_cpu_relax();
		return LOOK_AGAIN;
	}
	if (atomic_compare_exchange_strong_explicit(&s->word, &w, 0, memory_order_seq_cst,
						    memory_order_relaxed))
		return LOOK_CLEAR;
	return LOOK_AGAIN;
}

/* Step (3), one walk. */
static enum look look_round(const struct swi_index *ix, uint64_t key, const struct claim *cl,
			    uint32_t *looks)
{
	for (uint32_t i = 0; i < SWI_INDEX_PROBE; i++) {
		const uint64_t pair = pair_at(ix, key, i);
		struct swi_slot *s = &ix->slots[pair * SWI_SLOTS_PER_PAIR];

		for (uint32_t j = 0; j < SWI_SLOTS_PER_PAIR; j++) {
			const uint64_t w = i == cl->step && j == cl->j
					       ? 0
					       : slot_match(&s[j], key, true);

			if (!w)
				continue;
			const bool behind = i > cl->step || (i == cl->step && j > cl->j);
			const enum look l = judge(&s[j], w, behind, looks);

			if (l != LOOK_CLEAR)
				return l;
		}
		if (!passed_over(ix, pair))
			break;
	}
	return LOOK_CLEAR;
}

/* Steps (3) and (4). 0: sealed. -EEXIST: lost. -EAGAIN: our claim was taken away. */
static int settle(const struct swi_index *ix, uint64_t key, const struct claim *cl)
{
	const uint64_t sealed = (cl->word & ~SWI_SLOT_STATE) | (uint64_t)SWI_SLOT_SEALED << 62;
	uint32_t looks = 0;

	for (;;) {
		atomic_thread_fence(memory_order_seq_cst); /* partner: the same fence of the other inserter */
		const enum look l = look_round(ix, key, cl, &looks);

		if (l == LOOK_LOST)
			return -EEXIST;
		if (l == LOOK_AGAIN) {
			if (!still_mine(ix, cl))
				return -EAGAIN;
			continue;
		}
		uint64_t w = cl->word;

		return atomic_compare_exchange_strong_explicit(&ix->slots[cl->slot].word, &w, sealed,
							       memory_order_seq_cst,
							       memory_order_relaxed)
			   ? 0
			   : -EAGAIN;
	}
}

int swi_index_insert(const struct swi_index *ix, uint64_t key, uint32_t gen, uint64_t offset,
		     uint64_t bytes, uint64_t *out_slot)
{
	struct claim cl = {
	    .word = swi_slot_sized(swi_slot_word(SWI_SLOT_CLAIMED, gen, offset), bytes)};
	struct swi_index_hit hit;
	int rc;

	do {
		rc = -EEXIST;
		if (swi_index_find(ix, key, &hit))
			break;
		rc = claim_slot(ix, key, &cl);
		if (rc)
			break;
		rc = settle(ix, key, &cl);
		if (rc) {
			uint64_t w = cl.word;

			atomic_compare_exchange_strong(&ix->slots[cl.slot].word, &w, 0);
			overflow_release(ix, key, cl.step);
		}
	} while (rc == -EAGAIN);
	if (!rc && out_slot)
		*out_slot = cl.slot;
	return rc;
}

bool swi_index_kill(const struct swi_index *ix, const struct swi_index_hit *hit)
{
	uint64_t w = hit->word;
	const uint64_t dead = (w & ~SWI_SLOT_STATE) | (uint64_t)SWI_SLOT_DEAD << 62;

	return atomic_compare_exchange_strong(&ix->slots[hit->slot].word, &w, dead);
}

static bool take_out(const struct swi_index *ix, const struct swi_index_hit *hit, uint64_t key)
{
	const uint64_t pair = hit->slot / SWI_SLOTS_PER_PAIR;
	uint64_t w = hit->word;

	if (!atomic_compare_exchange_strong(&ix->slots[hit->slot].word, &w, 0))
		return false;
	const uint64_t steps = (pair - swi_index_home(ix, key)) & ix->mask;

	if (steps < SWI_INDEX_PROBE) /* else the key is nonsense that a client wrote */
		overflow_release(ix, key, (uint32_t)steps);
	return true;
}

bool swi_index_remove(const struct swi_index *ix, const struct swi_index_hit *hit)
{
	const uint64_t key = atomic_load_explicit(&ix->slots[hit->slot].key, memory_order_acquire);

	if (!take_out(ix, hit, key))
		return false;
	atomic_fetch_sub_explicit(&ix->head->objects, 1, memory_order_relaxed);
	return true;
}

bool swi_index_move(const struct swi_index *ix, const struct swi_index_hit *hit, uint32_t gen,
		    uint64_t offset, uint64_t bytes)
{
	uint64_t w = hit->word;

	return swi_slot_state(w) == SWI_SLOT_SEALED &&
	       atomic_compare_exchange_strong(
		   &ix->slots[hit->slot].word, &w,
		   swi_slot_sized(swi_slot_word(SWI_SLOT_SEALED, gen, offset), bytes));
}

bool swi_index_unclaim(const struct swi_index *ix, const struct swi_index_hit *hit, uint64_t key)
{
	return swi_slot_state(hit->word) == SWI_SLOT_CLAIMED && take_out(ix, hit, key);
}

/* A slot of the probe sequence in state @st whose (gen, offset) is @bits; @bits 0: any. */
static bool scan(const struct swi_index *ix, uint64_t key, enum swi_slot_state st, uint64_t bits,
		 struct swi_index_hit *out)
{
	for (uint32_t i = 0; i < SWI_INDEX_PROBE; i++) {
		const uint64_t pair = pair_at(ix, key, i);

		for (uint32_t j = 0; j < SWI_SLOTS_PER_PAIR; j++) {
			const uint64_t slot = pair * SWI_SLOTS_PER_PAIR + j;
			const uint64_t w = swi_index_word(ix, slot);

			if (swi_slot_state(w) != st || (bits && (w & SWI_SLOT_NAME) != bits))
				continue;
			if (atomic_load_explicit(&ix->slots[slot].key, memory_order_acquire) != key)
				continue;
			*out = (struct swi_index_hit){.slot = slot, .word = w};
			return true;
		}
		if (!passed_over(ix, pair))
			return false;
	}
	return false;
}

bool swi_index_find_extent(const struct swi_index *ix, uint64_t key, enum swi_slot_state st,
			   uint32_t gen, uint64_t offset, struct swi_index_hit *out)
{
	const uint64_t word = swi_slot_word(st, gen, offset);

	for (uint32_t i = 0; i < SWI_INDEX_PROBE * SWI_SLOTS_PER_PAIR; i++) {
		const uint64_t slot = pair_at(ix, key, i / SWI_SLOTS_PER_PAIR) * SWI_SLOTS_PER_PAIR +
				      i % SWI_SLOTS_PER_PAIR;

		const uint64_t seen = swi_index_word(ix, slot);

		if ((seen & (SWI_SLOT_STATE | SWI_SLOT_NAME)) != word)
			continue;
		*out = (struct swi_index_hit){.slot = slot, .word = seen};
		return true;
	}
	return false;
}

bool swi_index_find_dead(const struct swi_index *ix, uint64_t key, struct swi_index_hit *out)
{
	return scan(ix, key, SWI_SLOT_DEAD, 0, out);
}

bool swi_index_leads_to(const struct swi_index *ix, uint64_t key, uint32_t gen, uint64_t offset)
{
	const uint64_t bits = swi_slot_word(SWI_SLOT_EMPTY, gen, offset);
	struct swi_index_hit hit;

	/* A kill between the two scans turns SEALED into DEAD, never back. */
	return scan(ix, key, SWI_SLOT_SEALED, bits, &hit) || scan(ix, key, SWI_SLOT_DEAD, bits, &hit);
}

uint64_t swi_index_word(const struct swi_index *ix, uint64_t slot)
{
	return atomic_load_explicit(&ix->slots[slot].word, memory_order_acquire);
}
