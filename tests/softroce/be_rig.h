/* SPDX-License-Identifier: Apache-2.0 */
/*
 * be_rig.h - one connection over the verbs backend's table: its owner side lets all of a memory be READ and says in a
 * message where it lies, its reader side READs. A step that fails ends the program with a line that says which.
 */
#ifndef BE_RIG_H
#define BE_RIG_H

#include "transport/verbs/verbs.h"

struct be_rig {
	const struct swi_be_ops *ops;
	struct swi_be *be;
	struct swi_be_ep *ep; /* of the reader */
	struct swi_be_mr mr;
	struct {
		uint64_t base, rkey;
	} offer; /* what the owner said */
	uint32_t offers, down, closed;
	int down_status;
};

extern struct be_rig rig;

_Noreturn void rig_fail(const char *what, int err);
/* @bind: the owner's address; NULL = a reader, of whose READs @read_done hears. */
void rig_open(const char *name, const char *bind, uint64_t bytes, void (*read_done)(struct swi_be_read *rd, int status));
void rig_connect(const char *addr);
/* Handles what is there; the number of events. */
int rig_turn(void);
/* Nothing was there: sleeps until something comes, for a second at most. */
void rig_sleep(void);
/* Prepares a READ of @len bytes at @at, to the same place here. */
struct swi_be_read rig_read(uint64_t at, uint32_t len);
void rig_post(struct swi_be_read *rd);

#endif
