/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pin.c - see pin.h. A slot is owned by the thread that made it non-zero until it is 0 again.
 *
 * pin_high is raised (seq_cst) before the first pin above it, so that a scan which misses the
 * raise comes before the pin in the total order: that reader then sees the index entry gone.
 */
#include "store/pin.h"

#define SPREAD 16u /* slots between two threads' first choices: two cache lines */

static _Thread_local uint32_t hint; /* 1 + slot last used by this thread; 0 = none yet */
static _Atomic uint32_t threads;

static void raise_high(struct swi_client_shm *shm, uint32_t need)
{
	uint32_t high = atomic_load_explicit(&shm->pin_high, memory_order_relaxed);

	while (high < need && !atomic_compare_exchange_weak(&shm->pin_high, &high, need))
		;
}

int swi_pin_set(struct swi_client_shm *shm, uint64_t offset, uint32_t *out_pin)
{
	const uint64_t v = offset / SWI_GRANULE + 1;

	if (SWI_UNLIKELY(!hint))
		hint = 1 + atomic_fetch_add(&threads, 1) % (SWI_PIN_SLOTS / 4 / SPREAD) * SPREAD;
	for (uint32_t i = 0, p = hint - 1; i < SWI_PIN_SLOTS; i++, p = (p + 1) % SWI_PIN_SLOTS) {
		uint64_t free_slot = 0;

		if (atomic_load_explicit(&shm->pin[p], memory_order_relaxed))
			continue;
		if (SWI_UNLIKELY(p >= atomic_load_explicit(&shm->pin_high, memory_order_relaxed)))
			raise_high(shm, p + 1);
		if (!atomic_compare_exchange_strong(&shm->pin[p], &free_slot, v))
			continue;
		hint = p + 1;
		*out_pin = p;
		return 0;
	}
	return -EMFILE;
}

void swi_pinset_fini(struct swi_pinset *ps)
{
	free(ps->granule);
	*ps = (struct swi_pinset){0};
}

void swi_pinset_clear(struct swi_pinset *ps)
{
	ps->count = 0;
}

int swi_pinset_add(struct swi_pinset *ps, struct swi_client_shm *shm)
{
	const uint64_t high = swi_min_u64(atomic_load(&shm->pin_high), SWI_PIN_SLOTS);

	if (ps->count + high > ps->cap) {
		const uint64_t cap = swi_next_pow2(ps->count + high);
		uint64_t *p = realloc(ps->granule, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		ps->granule = p;
		ps->cap = cap;
	}
	for (uint64_t i = 0; i < high; i++) {
		const uint64_t v = atomic_load(&shm->pin[i]);

		if (v)
			ps->granule[ps->count++] = v - 1;
	}
	return 0;
}

static int by_granule(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void swi_pinset_sort(struct swi_pinset *ps)
{
	if (ps->count > 1)
		qsort(ps->granule, ps->count, sizeof(*ps->granule), by_granule);
}

bool swi_pinset_has(const struct swi_pinset *ps, uint64_t offset)
{
	const uint64_t g = offset / SWI_GRANULE;

	return ps->count &&
	       bsearch(&g, ps->granule, ps->count, sizeof(*ps->granule), by_granule) != NULL;
}

uint64_t swi_pin_count(struct swi_client_shm *shm)
{
	const uint64_t high = swi_min_u64(atomic_load(&shm->pin_high), SWI_PIN_SLOTS);
	uint64_t n = 0;

	for (uint64_t i = 0; i < high; i++)
		n += atomic_load_explicit(&shm->pin[i], memory_order_relaxed) != 0;
	return n;
}
