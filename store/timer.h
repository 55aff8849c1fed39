/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer.h - the deadlines of one node core: a binary heap. Owner thread only.
 *
 * Equal deadlines fire in the order in which they were set, so that runs repeat. A timer is a member
 * of the thing that waits; set and stop are idempotent; a zeroed one is stopped.
 */
#ifndef SWI_TIMER_H
#define SWI_TIMER_H

#include "transport/base/base.h"

struct swi_timer {
	uint64_t deadline_ns;
	uint64_t seq;
	uint32_t pos; /* place in the heap + 1; 0 = stopped */
	void (*cb)(struct swi_timer *t);
};

struct swi_timers {
	struct swi_timer **heap;
	uint32_t count, cap;
	uint64_t seq;
};

void swi_timers_fini(struct swi_timers *ts);
/* UINT64_MAX = never: the timer is stopped. Setting a running timer moves it. */
void swi_timer_set(struct swi_timers *ts, struct swi_timer *t, uint64_t deadline_ns);
void swi_timer_stop(struct swi_timers *ts, struct swi_timer *t);
/* Fires what is due at @now_ns; returns how many. A callback may set and stop any timer. */
int swi_timers_run(struct swi_timers *ts, uint64_t now_ns);
uint64_t swi_timers_next(const struct swi_timers *ts); /* UINT64_MAX = none */

#endif
