/* SPDX-License-Identifier: Apache-2.0 */
/* scaler.h - the head's loop around swi_scale(): gathers demand and idleness, starts and drains nodes. Owner thread: the core's. */
#ifndef SWI_SCALER_H
#define SWI_SCALER_H

#include "sched/view.h"

struct swi_scaler {
	uint32_t starting;	/* asked for, not joined */
	uint64_t asked_ns;	/* when the last was asked for */
	uint64_t next_ns;
	uint64_t started, failed;
};

void swi_scaler_joined(struct swi_node *n, bool provided);
int swi_scaler_step(struct swi_node *n);
uint64_t swi_scaler_deadline_ns(const struct swi_node *n);
/* What this home's ready tasks miss. */
void swi_scaler_demand(struct swi_node *n, struct swi_scale_demand *out);
bool swi_scaler_can_grow(const struct swi_node *n);

#endif
