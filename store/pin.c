/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pin.c - see pin.h. A slot is owned by the thread that made it non-zero until it is 0 again.
 *
 * pin_high is raised (seq_cst) before the first pin above it, so that a scan which misses the
 * raise comes before the pin in the total order: that reader then sees the index entry gone.
 */
#include "store/pin.h"

#define SPREAD 16u /* slots between two threads' first choices: two cache lines */

#define NEAR   16u /* slots looked at where one was given back, before the search goes on where no pin of ours has been */

/*
 * Of this thread: the lowest slot that may be free again, and the slot behind its last. What was given back is taken first,
 * so that pins stay few and close: every scan of the node goes over all slots that were ever used.
 */
static _Thread_local uint32_t low, next;
static _Thread_local bool begun;
static _Atomic uint32_t threads;

static void raise_high(struct swi_client_shm *shm, uint32_t need)
{
	uint32_t high = atomic_load_explicit(&shm->pin_high, memory_order_relaxed);

	while (high < need && !atomic_compare_exchange_weak(&shm->pin_high, &high, need))
		;
}

static bool take(struct swi_client_shm *shm, uint32_t p, uint64_t v)
{
	uint64_t free_slot = 0;

	if (atomic_load_explicit(&shm->pin[p], memory_order_relaxed))
		return false;
	if (SWI_UNLIKELY(p >= atomic_load_explicit(&shm->pin_high, memory_order_relaxed)))
		raise_high(shm, p + 1);
	return atomic_compare_exchange_strong(&shm->pin[p], &free_slot, v);
}

int swi_pin_set(struct swi_client_shm *shm, uint64_t offset, uint32_t *out_pin)
{
	const uint64_t v = offset / SWI_GRANULE + 1;

	if (SWI_UNLIKELY(!begun)) {
		low = next = atomic_fetch_add(&threads, 1) % (SWI_PIN_SLOTS / 4 / SPREAD) * SPREAD;
		begun = true;
	}
	for (uint32_t i = 0, p = low; i < NEAR + SWI_PIN_SLOTS; i++) {
		if (i == NEAR)
			p = next;
		if (SWI_LIKELY(take(shm, p, v))) {
			*out_pin = p;
			low = (p + 1) % SWI_PIN_SLOTS;
			if (i >= NEAR || p >= next)
				next = low;
			return 0;
		}
		p = (p + 1) % SWI_PIN_SLOTS;
	}
	return -EMFILE;
}

void swi_pin_clear(struct swi_client_shm *shm, uint32_t pin)
{
	atomic_store_explicit(&shm->pin[pin], 0, memory_order_release); /* partner: swi_pinset_add() */
	if (pin < low)
		low = pin;
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
