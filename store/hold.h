/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.h - extents that must stay, and extents that go as soon as they may. Owner thread of the node.
 *
 * An object leaves memory in three steps: it is taken out of the index, its extent is retired, and when no pin
 * and no hold covers it any more it passes the quarantine (lease.h): then it is free.
 */
#ifndef SWI_HOLD_H
#define SWI_HOLD_H

#include "store/node.h"
#include "store/pin.h"
#include "store/pool.h"
#include "transport/base/hash.h"

struct swi_hold {
	UT_hash_handle hh;
	struct swi_list link; /* holds.retired or the quarantine's, else alone */
	uint64_t offset;
	uint64_t bytes; /* > 0: retired, or in quarantine */
	uint64_t count;
	/* 0, or: a task has consumed it, or is about to (soon), and its record stays until then. */
	uint64_t used_ns;
	bool soon;
	struct swi_list used; /* holds.used */
};

struct swi_holds {
	struct swi_hold *by_offset; /* one of them, held by nobody, is always there */
	struct swi_list retired;
	struct swi_list used; /* in order of used_ns */
	/* What came of those that were consumed, the last few dozen of them. */
	uint32_t used_deleted, used_stayed;
	uint64_t count, retired_bytes;
	struct swi_pinset pins; /* as of the last scan */
	struct swi_pool spare; /* struct swi_hold */
};

void swi_holds_init(struct swi_snode *sn);
void swi_holds_fini(struct swi_snode *sn);
/* Frees what may go; number of extents freed. */
int swi_holds_step(struct swi_snode *sn);
uint64_t swi_holds_deadline_ns(const struct swi_snode *sn);
/* The extent is in no slot any more. */
void swi_retire(struct swi_snode *sn, uint64_t offset, uint64_t bytes);
bool swi_is_held(const struct swi_snode *sn, uint64_t offset);
/* A task has consumed it a moment ago: whoever owns it probably deletes it next. Or a task here is about to. */
bool swi_is_used(const struct swi_snode *sn, uint64_t offset);
void swi_used_forget(struct swi_snode *sn, uint64_t offset); /* it leaves memory otherwise */
/*
 * Should it not even be begun to write it to disk: what was consumed is mostly deleted here, and this was so a
 * moment ago? @waited: somebody waits for room; then the moment is short, and what is about to be consumed may go.
 */
bool swi_is_going(const struct swi_snode *sn, uint64_t offset, bool waited);
bool swi_retiring(const struct swi_snode *sn, uint64_t offset);
/* The extent goes back to the allocator: from swi_holds_step() and the quarantine. */
void swi_hold_free(struct swi_snode *sn, struct swi_hold *h);
/* Takes the pins of every client into sn->holds.pins. */
int swi_pins_scan(struct swi_snode *sn);

#endif
