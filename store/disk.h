/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.h - the disk as an ops table: io_uring for the real node, memory and a seed for the simulator.
 *
 * Control calls (open, unlink, list, space) are rare and synchronous; data calls are queued and
 * complete from progress(). Owner thread only. A disk is one folder.
 */
#ifndef SWI_DISK_H
#define SWI_DISK_H

#include "transport/base/base.h"
#include "transport/base/env.h"
#include "transport/base/list.h"
#include "transport/base/log.h"

#define SWI_DISK_ALIGN 4096u /* offset and length of every READ, WRITE and PUNCH, and its address */

struct swi_disk;
struct swi_file;

/* PUNCH gives the bytes of a range back to the file system: a hole, read as zeros. -EOPNOTSUPP where it cannot. */
enum swi_dio_op { SWI_DIO_READ, SWI_DIO_WRITE, SWI_DIO_SYNC, SWI_DIO_PUNCH };
#define SWI_DIO_OPS 4u

/* One transfer. The struct and its memory are the disk's from submit() until cb(). */
struct swi_dio {
	struct swi_list link; /* the disk's while queued; the caller's otherwise */
	enum swi_dio_op op;
	struct swi_file *file;
	void *buf;    /* of a transfer: SWI_DISK_ALIGN aligned; inside the registered memory where possible */
	uint64_t off; /* SWI_DISK_ALIGN aligned */
	uint32_t len; /* SWI_DISK_ALIGN multiple, at most 1 GiB */
	int status;   /* at cb(): 0 = all of it was done, else -EIO, -ENOSPC, ...; a short transfer is retried inside */
	void (*cb)(struct swi_dio *dio); /* from progress() only, exactly once */
	void *owner;
	uint32_t sent, parts; /* the disk's own */
};

/* Whether a disk may take it; buf, off and len of a SYNC mean nothing. */
static inline bool swi_dio_valid(const struct swi_dio *dio)
{
	const uintptr_t buf = dio->op == SWI_DIO_PUNCH ? 0 : (uintptr_t)dio->buf;

	return dio->op == SWI_DIO_SYNC || (!((buf | dio->off | dio->len) % SWI_DISK_ALIGN) && dio->len &&
					   dio->len <= GIB(1));
}

struct swi_disk_ops {
	uint32_t size;
	const char *name; /* "uring", "sim" */
	/* Opens (creates) @name of @bytes, preallocated: -ENOSPC now rather than later. bytes 0: as it is on disk. */
	int (*open)(struct swi_disk *d, const char *name, bool create, uint64_t bytes,
		    struct swi_file **out_file);
	uint64_t (*file_bytes)(struct swi_file *f);
	/* Bytes of the disk that the file holds now: less than file_bytes() where holes were punched. */
	uint64_t (*held_bytes)(struct swi_file *f);
	void (*close)(struct swi_file *f); /* nothing may be in flight on it */
	int (*unlink)(struct swi_disk *d, const char *name);
	/* Calls @each for every file name in the folder, in a fixed order. */
	int (*list)(struct swi_disk *d, void (*each)(void *ctx, const char *name), void *ctx);
	int (*space)(struct swi_disk *d, uint64_t *out_free, uint64_t *out_total);
	/* Memory that most transfers use: registered once. Optional speed-up; 0 or a negative code that may be ignored. */
	int (*register_memory)(struct swi_disk *d, void *addr, uint64_t len);
	int (*submit)(struct swi_disk *d, struct swi_dio *dio);
	int (*progress)(struct swi_disk *d); /* number of completions; also hands what was submitted to the kernel */
	/* Blocks until one transfer in flight has completed (the simulator: at once), else 0. Opening and closing only. */
	int (*wait)(struct swi_disk *d);
	int (*fd)(struct swi_disk *d);	     /* readable when progress() has something, or -1 */
	const char *(*path)(struct swi_disk *d); /* the folder, for messages */
	void (*destroy)(struct swi_disk *d); /* waits for what is in flight; NULL is fine */
};

struct swi_disk {
	const struct swi_disk_ops *ops;
};

struct swi_disk_uring_opts {
	const char *path; /* folder; made (0700) if missing */
	uint32_t depth;	  /* transfers in flight; 0 = 64 */
};
/* *@why: one sentence on failure. Falls back from O_DIRECT, and from io_uring to threads-free pread, with one logged line. */
int swi_disk_uring_create(const struct swi_disk_uring_opts *opts, const struct swi_log *log,
			  struct swi_disk **out_disk, char *why, size_t why_len);

#endif
