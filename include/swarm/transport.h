/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm/transport.h - which transports this library has, and which of them work on this machine.
 *
 * A transport carries bytes between nodes: "verbs" (InfiniBand, RoCE, soft-RoCE), "ofi" (libfabric:
 * TCP anywhere) or "shm" (memory, between processes of one user on one host). Programs name one in
 * struct swarm_store_opts or leave the choice to "auto": verbs where there is a device, else ofi, and
 * shm for peers on the same host. They never talk to it directly.
 */
#ifndef SWARM_TRANSPORT_H
#define SWARM_TRANSPORT_H

#include <swarm/error.h>
#include <swarm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One row of swarm_transport_list(). */
struct swarm_transport_info {
	char name[16];	 /* "verbs", "ofi", "shm": what swarm_store_opts.transport takes */
	uint32_t flags;	 /* SWARM_TRANSPORT_* */
	char device[64]; /* what would carry the bytes: "rxe0", "tcp"; "" when not available */
	char why[128];	 /* when not available: why, in one sentence */
};
#define SWARM_TRANSPORT_BUILT_IN  0x1u /* compiled into this library */
#define SWARM_TRANSPORT_AVAILABLE 0x2u /* and it can be opened on this machine */

/**
 * swarm_transport_list - the transports, best first, and what each finds on this machine.
 *
 * What:    opens every built-in transport for a moment and closes it again.
 * Threads: any. Blocks for some milliseconds while devices are looked for.
 * Return:  how many transports there are (may be more than @max; at most @max rows are written).
 */
SWARM_API uint32_t swarm_transport_list(struct swarm_transport_info *out_rows, uint32_t max);

#ifdef __cplusplus
}
#endif
#endif
