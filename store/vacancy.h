/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vacancy.h - where the arena is emptiest: its free granules counted by region, of which there are a few thousand.
 *
 * Who looks for a window to clear (compact.h) asks for the run of so many regions that has the most free granules and
 * in which nothing is barred. He asks often, and between two questions little changes: so the best run that begins
 * in each group of 64 regions is kept, and only groups that were touched are looked at again. The answer
 * is that of a look at all regions. Owner thread only; deterministic.
 */
#ifndef SWI_VACANCY_H
#define SWI_VACANCY_H

#include "store/shm.h"

#define SWI_VACANCY_REGIONS	   8192u /* of equal size, a power of two of 64 KiB and more */
#define SWI_VACANCY_GROUP  64u
#define SWI_VACANCY_GROUPS (SWI_VACANCY_REGIONS / SWI_VACANCY_GROUP)

struct swi_vacancy_best { /* for runs of one length */
	uint64_t run; /* 0: none yet */
	bool stale[SWI_VACANCY_GROUPS];
	uint64_t sum[SWI_VACANCY_GROUPS]; /* 0: no run that begins here has anything free, or all are barred */
	uint32_t at[SWI_VACANCY_GROUPS];
};

struct swi_vacancy {
	uint64_t count, granules; /* of a region */
	uint32_t *free;		  /* granules */
	uint32_t *barred;	  /* the round in which it was */
	uint32_t round;
	bool has_barred[SWI_VACANCY_GROUPS]; /* in this round */
	struct swi_vacancy_best best[2];     /* runs of one region, which most are; and of the length last asked for */
};

/* Nothing is free. -ENOMEM. */
int swi_vacancy_init(struct swi_vacancy *r, uint64_t granules);
void swi_vacancy_fini(struct swi_vacancy *r); /* half-built is fine */
/* [start, start + size), in granules, is free now, or not any more. */
void swi_vacancy_count(struct swi_vacancy *r, uint64_t start, uint64_t size, bool free);
/* Until the next round no run with @granule's region is the answer. */
void swi_vacancy_bar(struct swi_vacancy *r, uint64_t granule);
void swi_vacancy_next_round(struct swi_vacancy *r);
/* The first region of the run of @run that has the most, and more than @above; UINT64_MAX = there is none. */
uint64_t swi_vacancy_emptiest(struct swi_vacancy *r, uint64_t run, uint64_t above);

#endif
