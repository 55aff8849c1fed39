/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_sim.h - a disk in memory and virtual time, with every fault in the book.
 *
 * The platter is what survives: it outlives the disk handle, as a drive outlives the process. A
 * handle is one life: made on a platter, used through swi_disk_ops, ended by destroy or by crash().
 * Everything follows from the seed and the calls. Not thread-safe: one simulator thread.
 */
#ifndef SWI_SPILL_DISK_SIM_H
#define SWI_SPILL_DISK_SIM_H

#include "store/disk.h"

struct swi_platter;

enum swi_sim_fault_kind {
	SWI_SIM_EIO,	 /* the transfer fails, nothing is transferred */
	SWI_SIM_ENOSPC,	 /* a write fails so */
	SWI_SIM_SHORT,	 /* it is done in two parts, the second one later */
	SWI_SIM_FLIP,	 /* one bit of what is read, or of what is stored, is turned */
	SWI_SIM_LATENCY, /* it takes @arg more nanoseconds */
};

/* Strikes transfers of kind @op number @after + 1 .. @after + @count, counted from when it was set. */
struct swi_sim_fault {
	enum swi_sim_fault_kind kind;
	enum swi_dio_op op;
	uint64_t after, count;
	uint64_t arg;
};

struct swi_disk_sim_opts {
	uint64_t seed;
	uint64_t latency_ns;	   /* of every transfer; 0 = 80 us */
	uint64_t bytes_per_second; /* 0 = 2 GiB/s */
	bool no_punch;
};

/* @capacity: sum of the bytes of all files. */
struct swi_platter *swi_platter_create(uint64_t capacity, const char *name);
void swi_platter_destroy(struct swi_platter *p); /* no handle may exist; NULL is fine */
/* For tests that damage or inspect what lies there. -ENOENT, -EINVAL where it is not. */
int swi_platter_read(struct swi_platter *p, const char *name, uint64_t off, void *buf, uint64_t len);
int swi_platter_write(struct swi_platter *p, const char *name, uint64_t off, const void *buf,
		      uint64_t len); /* makes the file, or grows it */
int swi_platter_each(struct swi_platter *p, void (*each)(void *ctx, const char *name), void *ctx);
void swi_platter_set_capacity(struct swi_platter *p, uint64_t capacity);

int swi_disk_sim_create(const struct swi_disk_sim_opts *opts, struct swi_platter *p,
			struct swi_env *env, struct swi_disk **out_disk);
/* Replaces the fault plan; at most 16 are kept. */
int swi_disk_sim_faults(struct swi_disk *d, const struct swi_sim_fault *faults, size_t count);
/*
 * The power fails. Every write that no later sync covered is, by the seed, there, lost, there up to
 * some 512-byte boundary, or there in any of its sectors. A file made or removed without a sync after
 * it may be gone, or back. What is in flight and all that follows on this handle ends with -EIO.
 */
void swi_disk_sim_crash(struct swi_disk *d);
/* When the next transfer ends, or UINT64_MAX. */
uint64_t swi_disk_sim_deadline_ns(struct swi_disk *d);
/* Transfers of a kind begun so far: to place faults. */
uint64_t swi_disk_sim_count(struct swi_disk *d, enum swi_dio_op op);

#endif
