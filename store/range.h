/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range.h - a part of an object without the rest. Owner thread of the node.
 *
 * Resident here: the object itself is held. Else an extent is taken for the part alone - a page with a header,
 * then the bytes - and filled from disk (only their blocks) or by a READ from who has the object
 * in memory or reads the part from its own disk for us. That extent is in no index: it goes with its last hold
 * and pin. Who asks for the same part at the same time shares one transfer. The digest covers whole objects:
 * a part is not checked against it.
 */
#ifndef SWI_RANGE_H
#define SWI_RANGE_H

#include "store/directory.h"
#include "store/room.h"

struct swi_range;

struct swi_range_ask { /* borrowed until cb() or cancel */
	struct swi_list link; /* private while active */
	struct swarm_ref ref;
	uint64_t from, len; /* bytes of the payload */
	uint64_t deadline_ns;
	bool here_only; /* for a peer: from this node's memory or disk, out of the reserve */
	/* status 0: @hold carries one hold of the caller's, the bytes begin at @at (arena offsets). */
	void (*cb)(struct swi_range_ask *a, int status, const char *text, uint64_t hold, uint64_t at);
	void *owner;
	struct swi_range *range; /* private */
	struct swi_timer timer;	 /* private */
};

struct swi_ranges {
	struct swi_list list; /* struct swi_range */
	uint64_t reads, read_bytes; /* parts brought, from disk or a peer */
};

void swi_ranges_init(struct swi_snode *sn);
void swi_ranges_fini(struct swi_snode *sn); /* the transport and the spill log are closed */
/* May answer from inside. */
void swi_range_get(struct swi_snode *sn, struct swi_range_ask *a);
void swi_range_cancel(struct swi_snode *sn, struct swi_range_ask *a); /* idempotent */
/* SWI_L_GET_RANGE. < 0: nonsense. */
int swi_range_request(struct swi_client *cl, const struct swi_msg *msg);
void swi_range_requests_drop(struct swi_client *cl);

#endif
