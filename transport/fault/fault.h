/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - a backend that decorates another one and makes it fail on purpose.
 *
 * Opened as backend "fault" with a struct swi_fault_plan as parameter. Every rule of the plan is
 * asked at every operation that its mask names; whether it fires depends on its count or on the
 * seed alone, so a failure repeats. Owner thread only.
 */
#ifndef SWI_FAULT_H
#define SWI_FAULT_H

#include "transport/ops.h"

#define SWI_FAULT_SEND 1u /* ops.send */
#define SWI_FAULT_READ 2u /* ops.read */

enum swi_fault_kind {
	SWI_FAULT_NONE,
	SWI_FAULT_FAIL,      /* the call returns @code */
	SWI_FAULT_FAIL_DONE, /* the READ is done, but reported as @code */
	SWI_FAULT_DELAY,     /* the READ is reported @delay calls of progress() later */
	SWI_FAULT_REORDER,   /* READs are reported in an order of the seed's */
	SWI_FAULT_CUT,       /* the endpoint ends with @code */
};

#define SWI_FAULT_RULES_MAX 4u

struct swi_fault_rule {
	enum swi_fault_kind kind;
	uint32_t ops;      /* SWI_FAULT_SEND | SWI_FAULT_READ */
	uint32_t nth;      /* fires at the n-th operation, from 1; 0: by chance */
	uint32_t permille; /* the chance, when nth is 0 */
	uint32_t max;      /* fires so often at most; 0 = without end */
	uint32_t delay;
	int code;
	uint32_t seen, fired; /* out */
};

struct swi_fault_plan {
	const struct swi_be_ops *inner;
	void *inner_param;
	uint64_t seed;
	struct swi_fault_rule rules[SWI_FAULT_RULES_MAX];
};

#endif
