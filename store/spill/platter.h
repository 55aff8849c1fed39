/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platter.h - the inside of a simulated drive, shared by platter.c and disk_sim.c alone.
 *
 * A file has two images: `now`, what a read sees, and `safe`, what a power failure leaves for
 * certain. A write goes into `now` and, with a copy of its bytes, into the list of unsafe writes.
 * A new file's name is for certain after its first sync; that of a removed one is gone for certain when
 * after it a new file was synced (the drive's file system syncs its folder then), or many were removed.
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
	bool named; /* its name survives a power failure */
};

struct swi_platter {
	struct swi_list files;
	struct swi_list removed; /* their names may come back, oldest first */
	struct swi_list gone;	 /* of the last life: open handles may still lead here */
	uint64_t capacity;
	char name[PLATTER_NAME];
	bool in_use;
};

void swi_map_read(const struct page_map *m, uint64_t off, uint8_t *buf, uint64_t len);
void swi_map_write(struct page_map *m, uint64_t off, const uint8_t *buf, uint64_t len);

struct platter_file *swi_platter_find(struct swi_platter *p, const char *name);
struct platter_file *swi_platter_new(struct swi_platter *p, const char *name);
void swi_platter_remove(struct swi_platter *p, struct platter_file *pf);
/* A sync of this file is over: it was named, or is now, and so are all changes of names before. */
void swi_platter_name(struct swi_platter *p, struct platter_file *pf);
/* A new life: nobody knows what the last one lost. */
void swi_platter_forget_gone(struct swi_platter *p);
int swi_platter_resize(struct platter_file *pf, uint64_t bytes);
uint64_t swi_platter_used(const struct swi_platter *p);
void swi_platter_put(struct platter_file *pf, uint64_t off, const uint8_t *buf, uint64_t len);
/* A hole, durable at once. */
void swi_platter_punch(struct platter_file *pf, uint64_t off, uint64_t len);
/* Unsafe writes up to number @upto become safe, oldest first. */
void swi_platter_sync(struct platter_file *pf, uint64_t upto);
/* Throws dice for every unsafe write: whole, lost, up to a sector, or any of its sectors; and for every unsafe name. */
void swi_platter_power_cut(struct swi_platter *p, uint64_t *rng);

#endif
