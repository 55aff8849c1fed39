/* SPDX-License-Identifier: Apache-2.0 */
/* locator.c - see locator.h. */
#include "store/locator.h"
#include "store/index.h"

#define BYTES ((size_t)SWI_LOCATOR_SETS * SWI_LOCATOR_WAYS * sizeof(struct swi_locator))

void swi_locators_make(struct swi_locators *ls)
{
	volatile uint8_t *p;

	if (ls->v)
		return;
	ls->v = calloc(1, BYTES);
	p = (volatile uint8_t *)ls->v;
	for (size_t at = 0; p && at < BYTES; at += SWI_PAGE)
		p[at] = 0;
}

void swi_locators_fini(struct swi_locators *ls)
{
	free(ls->v);
	*ls = (struct swi_locators){0};
}

static struct swi_locator *set_of(const struct swi_locators *ls, struct swarm_oid id)
{
	return &ls->v[(swi_index_key(id) >> 32) % SWI_LOCATOR_SETS * SWI_LOCATOR_WAYS];
}

void swi_locator_prefetch(const struct swi_locators *ls, struct swarm_oid id)
{
	const uint8_t *set = ls->v ? (const uint8_t *)set_of(ls, id) : NULL;

	for (size_t at = 0; set && at < SWI_LOCATOR_WAYS * sizeof(struct swi_locator); at += SWI_CACHE_LINE)
		__builtin_prefetch(set + at);
}

static bool in_use(const struct swi_locator *l)
{
	return l->epoch != 0;
}

static struct swi_locator *find(struct swi_locators *ls, struct swarm_oid id)
{
	struct swi_locator *set = ls->v ? set_of(ls, id) : NULL;

	for (uint32_t i = 0; set && i < SWI_LOCATOR_WAYS; i++) {
		if (in_use(&set[i]) && swarm_oid_equal(set[i].id, id))
			return &set[i];
	}
	return NULL;
}

const struct swi_locator *swi_locator_find(struct swi_locators *ls, struct swarm_oid id)
{
	struct swi_locator *l = find(ls, id);

	if (l)
		l->used = ++ls->clock & 0x7fffffffu;
	return l;
}

void swi_locator_put(struct swi_locators *ls, const struct swi_locator *loc)
{
	struct swi_locator *l, *set;

	swi_locators_make(ls);
	if (!ls->v || !loc->epoch)
		return;
	l = find(ls, loc->id);
	set = set_of(ls, loc->id);
	for (uint32_t i = 0; !l && i < SWI_LOCATOR_WAYS; i++) {
		if (!in_use(&set[i]))
			l = &set[i];
	}
	if (!l) {
		l = set;
		for (uint32_t i = 1; i < SWI_LOCATOR_WAYS; i++) {
			if (((ls->clock - set[i].used) & 0x7fffffffu) >
			    ((ls->clock - l->used) & 0x7fffffffu))
				l = &set[i];
		}
	}
	ls->count += !in_use(l);
	*l = *loc;
	l->used = ++ls->clock & 0x7fffffffu;
}

void swi_locator_drop(struct swi_locators *ls, struct swarm_oid id)
{
	struct swi_locator *l = find(ls, id);

	if (!l)
		return;
	*l = (struct swi_locator){0};
	ls->count--;
}

bool swi_locator_fits(const struct swi_locator *loc, const struct swi_object_head *h)
{
	/* crc: a record that lands from disk looks like the object that was written, and is not whole yet. */
	return h->magic == SWI_OBJ_MAGIC && h->oid[0] == loc->id.w[0] && h->oid[1] == loc->id.w[1] &&
	       h->gen == loc->gen && h->epoch == loc->epoch && h->len == loc->len && h->crc == 0 &&
	       atomic_load_explicit(&h->state, memory_order_relaxed) == SWI_OBJ_SEALED;
}

bool swi_locator_of_pair(const uint64_t pair[SWI_PAIR_WORDS], struct swarm_oid id, uint64_t epoch,
			 struct swi_locator *out, uint64_t *out_bytes)
{
	const uint64_t key = swi_index_key(id);

	for (uint32_t i = 0; i < SWI_SLOTS_PER_PAIR; i++) {
		const uint64_t word = pair[2 * i], bytes = swi_class_bytes(swi_slot_class(word));

		if (pair[2 * i + 1] != key || swi_slot_state(word) != SWI_SLOT_SEALED || !bytes || bytes > SWI_DIRECT_MAX)
			continue;
		*out = (struct swi_locator){
			.id = id, .epoch = epoch, .offset = swi_slot_offset(word), .gen = swi_slot_gen(word)};
		*out_bytes = bytes;
		return true;
	}
	return false;
}

bool swi_locator_complete(struct swi_locator *loc, const struct swi_object_head *h, uint64_t bytes)
{
	const uint64_t len = h->len;

	if (bytes < sizeof(*h) || len > bytes - sizeof(*h) || (h->gen & 0xfffffu) != loc->gen)
		return false;
	loc->gen = h->gen;
	loc->len = len;
	loc->has_digest = (h->flags & SWI_OBJ_F_DIGEST) != 0;
	loc->digest = atomic_load_explicit(&h->digest, memory_order_relaxed);
	return swi_locator_fits(loc, h);
}
