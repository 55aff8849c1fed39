/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platter.h - the inside of a simulated drive, shared by platter.c and disk_sim.c alone.
 *
 * A file has two images: `now`, what a read sees, and `safe`, what a power failure leaves for
 * certain. A write goes into `now` and, with a copy of its bytes, into the list of unsafe writes.
 */
#ifndef SWI_SPILL_PLATTER_H
#define SWI_SPILL_PLATTER_H

#include "store/spill/disk_sim.h"

#define PLATTER_NAME 64u

struct page_map {
	uint8_t **page; /* SWI_DISK_ALIGN each; NULL = zeros */
	uint64_t count;
};

struct unsafe_write {
	struct swi_list link;
	uint64_t off, len;
	uint64_t number; /* in the order in which they reached the file */
	uint8_t bytes[];
};

struct platter_file {
	struct swi_list link; /* by name */
	char name[PLATTER_NAME];
	uint64_t bytes, punched;
	struct page_map now, safe;
	struct swi_list unsafe;
	uint64_t unsafe_bytes, writes;
};

struct swi_platter {
	struct swi_list files;
	uint64_t capacity;
	char name[PLATTER_NAME];
	bool in_use;
};

void swi_map_read(const struct page_map *m, uint64_t off, uint8_t *buf, uint64_t len);
void swi_map_write(struct page_map *m, uint64_t off, const uint8_t *buf, uint64_t len);
void swi_map_punch(struct page_map *m, uint64_t off, uint64_t len);

struct platter_file *swi_platter_find(struct swi_platter *p, const char *name);
struct platter_file *swi_platter_new(struct swi_platter *p, const char *name);
void swi_platter_remove(struct platter_file *pf);
int swi_platter_resize(struct platter_file *pf, uint64_t bytes);
uint64_t swi_platter_used(const struct swi_platter *p);
void swi_platter_put(struct platter_file *pf, uint64_t off, const uint8_t *buf, uint64_t len);
/* Unsafe writes up to number @upto become safe, oldest first. */
void swi_platter_sync(struct platter_file *pf, uint64_t upto);
/* Throws dice for every unsafe write: whole, lost, or up to a sector. */
void swi_platter_power_cut(struct swi_platter *p, uint64_t *rng);

#endif
