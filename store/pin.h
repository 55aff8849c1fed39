/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pin.h - who reads which extent: hazard pointers in each client's own table.
 *
 * A pin is one compare-and-swap into the reader's own memory; nothing that others read is written.
 * The node core frees an extent only after it took it out of the index and then found no pin of it.
 * A dead client's pins vanish with its table.
 */
#ifndef SWI_PIN_H
#define SWI_PIN_H

#include "store/shm.h"

/* Pins the extent at @offset (seq_cst: the caller re-checks the index after it). 0, -EMFILE. */
int swi_pin_set(struct swi_client_shm *shm, uint64_t offset, uint32_t *out_pin);
void swi_pin_clear(struct swi_client_shm *shm, uint32_t pin);

/* ---- node core: which extents are pinned by anybody, as of one pass ---- */
struct swi_pinset {
	uint64_t *granule; /* sorted */
	uint64_t count, cap;
};
void swi_pinset_fini(struct swi_pinset *ps);
void swi_pinset_clear(struct swi_pinset *ps);
/* Adds the pins of one client; its table is foreign input. -ENOMEM. */
int swi_pinset_add(struct swi_pinset *ps, struct swi_client_shm *shm);
void swi_pinset_sort(struct swi_pinset *ps); /* after the last add */
bool swi_pinset_has(const struct swi_pinset *ps, uint64_t offset);
/* Pins of one client, for status. */
uint64_t swi_pin_count(struct swi_client_shm *shm);

#endif
