/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vacancy.c - see vacancy.h.
 *
 * Invariant: where neither a group nor one that its runs reach into is stale, sum[] and at[] of it are what look()
 * says. Of equal runs the first counts, whichever way it was found.
 */
#include "store/vacancy.h"

#define NONE UINT64_MAX

int swi_vacancy_init(struct swi_vacancy *r, uint64_t granules)
{
	memset(r, 0, sizeof(*r));
	r->granules = KIB(64) / SWI_GRANULE;
	while (granules / r->granules >= SWI_VACANCY_REGIONS)
		r->granules *= 2;
	r->count = (granules + r->granules - 1) / r->granules;
	r->round = 1;
	r->free = calloc(r->count, sizeof(*r->free));
	r->barred = calloc(r->count, sizeof(*r->barred));
	return r->free && r->barred ? 0 : -ENOMEM;
}

void swi_vacancy_fini(struct swi_vacancy *r)
{
	free(r->free);
	free(r->barred);
	memset(r, 0, sizeof(*r));
}

static void touched(struct swi_vacancy *r, uint64_t region)
{
	r->best[0].stale[region / SWI_VACANCY_GROUP] = true;
	r->best[1].stale[region / SWI_VACANCY_GROUP] = true;
}

void swi_vacancy_count(struct swi_vacancy *r, uint64_t start, uint64_t size, bool free)
{
	while (size) {
		const uint64_t i = start / r->granules;
		const uint64_t part = swi_min_u64(size, (i + 1) * r->granules - start);

		r->free[i] += free ? (uint32_t)part : -(uint32_t)part;
		touched(r, i);
		start += part;
		size -= part;
	}
}

void swi_vacancy_bar(struct swi_vacancy *r, uint64_t granule)
{
	const uint64_t i = granule / r->granules;

	if (i >= r->count || r->barred[i] == r->round)
		return;
	r->barred[i] = r->round;
	r->has_barred[i / SWI_VACANCY_GROUP] = true;
	touched(r, i);
}

void swi_vacancy_next_round(struct swi_vacancy *r)
{
	r->round++;
	for (uint64_t g = 0; g < SWI_VACANCY_GROUPS; g++) {
		if (!r->has_barred[g])
			continue;
		r->has_barred[g] = false;
		touched(r, g * SWI_VACANCY_GROUP);
	}
}

/* The best run that begins in [from, to). */
static uint64_t look(const struct swi_vacancy *r, uint64_t run, uint64_t from, uint64_t to, uint64_t above,
		     uint64_t *out_at)
{
	const uint64_t end = swi_min_u64(r->count, to + run - 1);
	uint64_t sum = 0, n = 0, best = above;

	for (uint64_t i = from; i < end; i++) {
		if (r->barred[i] == r->round) {
			sum = n = 0;
			continue;
		}
		sum += r->free[i];
		if (++n > run)
			sum -= r->free[i - run];
		if (n >= run && sum > best) {
			best = sum;
			*out_at = i + 1 - run;
		}
	}
	return best;
}

static void look_at_group(struct swi_vacancy *r, struct swi_vacancy_best *b, uint64_t group)
{
	const uint64_t from = group * SWI_VACANCY_GROUP;
	uint64_t at = 0;

	b->sum[group] = look(r, b->run, from, from + SWI_VACANCY_GROUP, 0, &at);
	b->at[group] = (uint32_t)at;
}

uint64_t swi_vacancy_emptiest(struct swi_vacancy *r, uint64_t run, uint64_t above)
{
	struct swi_vacancy_best *b = &r->best[run > 1];
	const uint64_t reach = run / SWI_VACANCY_GROUP + 1; /* groups behind its own that a run may end in */
	uint64_t again = 0, best = above, at = NONE;

	if (reach > 1) { /* rare: a large part of the arena, and few runs */
		(void)look(r, run, 0, r->count, above, &at);
		return at;
	}
	if (b->run != run)
		memset(b->stale, true, sizeof(b->stale));
	b->run = run;
	for (uint64_t g = (r->count + SWI_VACANCY_GROUP - 1) / SWI_VACANCY_GROUP; g-- > 0;) {
		if (b->stale[g])
			again = reach + 1;
		b->stale[g] = false;
		if (again) {
			look_at_group(r, b, g);
			again--;
		}
		if (b->sum[g] > above && b->sum[g] >= best) { /* the last that is as good is the first in order */
			best = b->sum[g];
			at = b->at[g];
		}
	}
	return at;
}
