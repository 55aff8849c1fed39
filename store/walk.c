/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.c - the end of a grant: which of its bytes are objects that stay, and all others back to the allocator.
 *
 * The headers form a chain from the grant's start; the index says which of them lead to objects. Should
 * the chain be damaged (a client wrote past the end of a buffer), then the objects behind the damage are
 * still in the index, and readers see them: so at the least sign of damage the index alone is
 * asked, slot by slot. Owner thread of the node.
 */
#include "store/snode_internal.h"

#define SCAN_MAX MIB(16) /* no grant for several objects is larger (chunk.c) */

struct kept {
	uint64_t offset, bytes;
};

struct kept_list {
	struct kept *v;
	uint64_t n, cap;
	bool failed;
};

static void keep(struct kept_list *kl, uint64_t offset, uint64_t bytes)
{
	if (kl->n == kl->cap) {
		const uint64_t cap = kl->cap ? kl->cap * 2 : 64;
		struct kept *v = realloc(kl->v, cap * sizeof(*v));

		if (!v) {
			kl->failed = true;
			return;
		}
		kl->v = v;
		kl->cap = cap;
	}
	kl->v[kl->n++] = (struct kept){.offset = offset, .bytes = bytes};
}

static bool is_link(struct swi_snode *sn, const struct swi_grant *g, uint64_t pos, uint64_t *out_ext)
{
	const struct swi_object_head *h = swi_object_at(sn, g->offset + pos, out_ext);

	return h && __atomic_load_n(&h->gen, __ATOMIC_ACQUIRE) == g->gen;
}

/* A header of this grant behind the end of its chain: something before it was overwritten. */
static bool more_behind(struct swi_snode *sn, const struct swi_grant *g, uint64_t pos, uint64_t limit)
{
	const uint64_t step = g->large ? SWI_PAGE : SWI_GRANULE;
	uint64_t ext;

	limit = swi_min_u64(limit, pos + SCAN_MAX);
	for (; pos + sizeof(struct swi_object_head) <= limit; pos += step)
		if (is_link(sn, g, pos, &ext))
			return true;
	return false;
}

/* By the chain. False: it is damaged. */
static bool keep_by_chain(struct swi_snode *sn, const struct swi_grant *g, uint64_t limit,
			  struct kept_list *kl)
{
	uint64_t pos = 0, ext = 0;

	for (; pos + sizeof(struct swi_object_head) <= limit; pos += ext) {
		const uint64_t at = g->offset + pos;

		if (!is_link(sn, g, pos, &ext))
			break;
		if (ext > limit - pos)
			return false;
		const struct swi_object_head *h = (const void *)(sn->arena + at);
		const struct swarm_oid id = {.w = {h->oid[0], h->oid[1]}};

		if (swi_index_leads_to(&sn->index, swi_index_key(id), g->gen, at) ||
		    swi_retiring(sn, at))
			keep(kl, at, ext);
		else if (atomic_load_explicit(&h->state, memory_order_relaxed) == SWI_OBJ_SEALED)
			return false; /* killed inside its seal, or its id was overwritten */
	}
	return !more_behind(sn, g, pos, limit);
}

/* By the index: every slot that leads into the grant, and what is on its way out. */
static void keep_by_index(struct swi_snode *sn, const struct swi_grant *g, struct kept_list *kl)
{
	const uint64_t slots = swi_index_slots(&sn->index);

	for (uint64_t i = 0; i < slots; i++) {
		const struct swi_index_hit hit = {.slot = i, .word = swi_index_word(&sn->index, i)};
		const enum swi_slot_state st = swi_slot_state(hit.word);
		const uint64_t at = swi_slot_offset(hit.word);
		uint64_t ext;

		if ((st != SWI_SLOT_SEALED && st != SWI_SLOT_DEAD) || at < g->offset ||
		    at >= g->offset + g->bytes || swi_slot_gen(hit.word) != (g->gen & 0xfffffu))
			continue;
		if (is_link(sn, g, at - g->offset, &ext)) {
			keep(kl, at, ext);
			continue;
		}
		swi_warn(sn->log, "an object's header at %llu was overwritten: the object is lost",
			 (unsigned long long)at);
		sn->clients.errors++;
		swi_index_remove(&sn->index, &hit);
	}
	swi_list_for_each(it, &sn->holds.retired)
	{
		const struct swi_hold *h = swi_list_entry(it, struct swi_hold, link);

		if (h->offset >= g->offset && h->offset < g->offset + g->bytes)
			keep(kl, h->offset, h->bytes);
	}
}

static int by_offset(const void *a, const void *b)
{
	const uint64_t x = ((const struct kept *)a)->offset, y = ((const struct kept *)b)->offset;

	return (x > y) - (x < y);
}

void swi_extent_give_back(struct swi_snode *sn, uint64_t from, uint64_t to)
{
	if (to > from && swi_arena_free(sn, from, to - from))
		swi_warn(sn->log, "a client's memory led to %llu bytes at %llu that are free already",
			 (unsigned long long)(to - from), (unsigned long long)from);
}

void swi_grant_return(struct swi_snode *sn, const struct swi_grant *g, uint64_t limit)
{
	struct kept_list kl = {0};
	uint64_t run = g->offset;

	if (!keep_by_chain(sn, g, limit, &kl)) {
		kl.n = 0;
		keep_by_index(sn, g, &kl);
		if (kl.n)
			qsort(kl.v, kl.n, sizeof(*kl.v), by_offset);
	}
	if (kl.failed) {
		swi_error(sn->log, "no memory to walk a grant: its %llu bytes are lost until the end",
			  (unsigned long long)g->bytes);
	} else {
		for (uint64_t i = 0; i < kl.n; i++) {
			swi_extent_give_back(sn, run, kl.v[i].offset);
			swi_quota_keep(sn, g->cl->account, kl.v[i].offset, kl.v[i].bytes);
			run = swi_max_u64(run, kl.v[i].offset + kl.v[i].bytes);
		}
		swi_extent_give_back(sn, run, g->offset + g->bytes);
	}
	free(kl.v);
}
