/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snode_internal.h - the node core's one struct: each room's state is a member, changed by its room.
 *
 * Owner thread only. The rooms are named in node.h; a room's functions take the whole node.
 */
#ifndef SWI_SNODE_INTERNAL_H
#define SWI_SNODE_INTERNAL_H

#include "store/announce.h"
#include "store/attr.h"
#include "store/cast.h"
#include "store/clients.h"
#include "store/delete.h"
#include "store/digest.h"
#include "store/directory.h"
#include "store/drain.h"
#include "store/evict.h"
#include "store/extent.h"
#include "store/fetch.h"
#include "store/hold.h"
#include "store/index.h"
#include "store/keep.h"
#include "store/lease.h"
#include "store/local.h"
#include "store/locator.h"
#include "store/notify.h"
#include "store/node.h"
#include "store/peer.h"
#include "store/quota.h"
#include "store/range.h"
#include "store/relocate.h"
#include "store/req.h"
#include "store/room.h"
#include "store/serve.h"
#include "store/timer.h"
#include "store/untold.h"

struct swi_snode {
	struct swi_snode_opts opts; /* as given; tp.bind and the like are not kept */
	struct swi_env *env;
	struct swi_log *log;
	uint8_t *arena;
	uint64_t arena_bytes;
	struct swi_shm_head *shm;
	struct swi_snode_hooks hooks;
	uint32_t node;
	uint32_t next_gen; /* of an extent's generation; never 0 */
	uint64_t now_ns;   /* time of this step */
	struct swi_index index;
	struct swi_extents extents;
	struct swi_clients clients;
	struct swi_notify notify;
	struct swi_attrs attrs;
	struct swi_quotas quotas;
	struct swi_holds holds;
	struct swi_fetches fetches;
	struct swi_casts casts;
	struct swi_tp *tp;	 /* NULL: no network */
	struct swi_spill *spill; /* NULL: no disk */
	void *staging;		 /* of the spill log */
	uint64_t epoch;
	struct swi_timers timers;
	struct swi_peers peers;
	struct swi_req *reqs; /* by number */
	uint64_t req_seq;
	struct swi_dir dir;
	struct swi_untolds untolds;
	struct swi_announce announce;
	struct swi_list digests; /* struct swi_digest */
	struct swi_leases leases;
	struct swi_quarantine quarantine;
	struct swi_locators locators;
	struct swi_rooms rooms;
	struct swi_ranges ranges;
	struct swi_evict evict;
	struct swi_relocate relocate;
	struct swi_draining draining;
	struct swi_keeps keeps;
	struct swi_list syncs; /* struct client_sync that nobody waits for any more (sync.c) */
	struct swi_snode_stats stats; /* counters; the sizes are filled in by swi_snode_stats() */
};

/* The object whose header lies at @offset, checked as foreign memory; NULL = there is none. */
struct swi_object_head *swi_object_at(struct swi_snode *sn, uint64_t offset, uint64_t *out_extent);
/* The sealed object @id in local memory. */
bool swi_object_find(struct swi_snode *sn, struct swarm_oid id, struct swi_index_hit *out_hit,
		     uint64_t *out_offset);
/* A generation for an extent that is about to be written. */
uint32_t swi_snode_gen(struct swi_snode *sn);
/*
 * Takes a sealed or dead object, which its user deleted, out of the index and retires its extent; who subscribed is
 * told. False: it changed meanwhile.
 */
bool swi_object_deleted(struct swi_snode *sn, const struct swi_index_hit *hit);

/* node.c: a message of this layer (types 0x100-0x1ff) on the chosen connection. < 0: nonsense. */
int swi_snode_peer_msg(struct swi_snode *sn, struct swi_link *l, uint16_t type, struct swi_rd *body);

#endif
