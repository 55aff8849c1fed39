/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_folder.h - one folder of segment files: the synchronous, rare half of the real disk.
 */
#ifndef SWI_SPILL_DISK_FOLDER_H
#define SWI_SPILL_DISK_FOLDER_H

#include <fcntl.h>

#include "store/disk.h"

#define SWI_FOLDER_PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

struct swi_folder {
	int fd; /* of the folder, locked against other processes; -1 = closed */
	char *path;
	const struct swi_log *log;
	bool said_buffered, said_no_prealloc;
};

/* Opens (makes) the folder and locks it. @why: one sentence on failure. */
int swi_folder_init(struct swi_folder *fo, const char *path, const struct swi_log *log, char *why,
		    size_t why_len);
void swi_folder_fini(struct swi_folder *fo); /* a zeroed or failed one is fine */

/* @bytes > 0: preallocated; -EEXIST where @create meets a file, which is then left alone. */
int swi_folder_open(struct swi_folder *fo, const char *name, bool create, uint64_t bytes,
		    int *out_fd, uint64_t *out_bytes);
int swi_folder_unlink(struct swi_folder *fo, const char *name);
/* How many of the @bytes of a file are held on the disk. */
uint64_t swi_folder_held(int fd, uint64_t bytes);
/* Bytes that the device under the folder takes as one request from memory in small pages. */
uint64_t swi_folder_request_max(const struct swi_folder *fo);
/* May block for as long as the file system discards blocks. */
int swi_folder_punch(int fd, uint64_t off, uint64_t len);
/* Sorted by name: the order of the file system's own hash would differ between runs. */
int swi_folder_list(struct swi_folder *fo, void (*each)(void *ctx, const char *name), void *ctx);
int swi_folder_space(struct swi_folder *fo, uint64_t *out_free, uint64_t *out_total);

#endif
