/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_wire.h - the bytes of a GRANT (docs/WIRE.md 1.8), which opens one side's memory to the other. The decoder takes
 * bytes of a peer, accepts exactly one encoding and answers SWARM_EPROTO for the rest; what came as descriptors is not
 * its business. No state.
 */
#ifndef SWI_SHM_WIRE_H
#define SWI_SHM_WIRE_H

#include "transport/base/codec.h"

#define SHM_EPS_MAX	4096u
#define SHM_WINDOWS_MAX 16u /* memories that one side lets its peers read */
#define SHM_GRANT_MAX	(1u + 16u + SHM_WINDOWS_MAX * 24u)

/* The first byte of a datagram. */
enum shm_kind { SHM_MSG = 1, SHM_GRANT };

struct shm_memory { /* a piece of a memfd */
	uint64_t rkey, off, len;
};

struct shm_grant {
	uint32_t slot; /* of the words: below SHM_EPS_MAX */
	uint64_t word; /* the value that it has as long as the grant holds; not 0 */
	uint32_t count;
	struct shm_memory mem[SHM_WINDOWS_MAX];
};

/* The kind comes first in what is written, and was read by the caller in what is decoded. */
void swi_shm_put_grant(struct swi_wr *w, const struct shm_grant *m);
int swi_shm_get_grant(struct swi_rd *r, struct shm_grant *out);

/* Whether all of @m lies in a file of @file_len bytes. */
static inline bool swi_shm_memory_fits(const struct shm_memory *m, uint64_t file_len)
{
	return m->off <= file_len && m->len <= file_len - m->off;
}

#endif
