/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch.h - wants, and the transfer that all wants for one object share. Owner thread of the node.
 *
 * A fetch ends by an extent of this arena with the object in it: found, restored from disk, or READ
 * from a peer and verified. A byte that failed its check is never published. An extent under a READ
 * or a restore is freed only after that has ended, whoever died meanwhile.
 */
#ifndef SWI_FETCH_H
#define SWI_FETCH_H

#include "transport/base/hash.h"

#include "store/digest.h"
#include "store/directory.h"
#include "store/locator.h"
#include "store/pool.h"
#include "store/room.h"

enum swi_fetch_phase {
	SWI_FETCH_BUCKET, /* READ of the owner's index in flight */
	SWI_FETCH_LOCATE, /* waits for the home to say who has it */
	SWI_FETCH_ROOM,	  /* waits for arena memory */
	SWI_FETCH_LEASE,  /* waits for the holder to promise that it stays */
	SWI_FETCH_READ,	  /* one-sided READ in flight */
	SWI_FETCH_VERIFY, /* the digest is being computed */
	SWI_FETCH_RESTORE, /* disk read in flight */
	SWI_FETCH_PAUSE,  /* a try failed; the next one begins soon */
};

enum swi_direct { SWI_DIRECT_NONE, SWI_DIRECT_WARM, SWI_DIRECT_COLD };

struct swi_fetch {
	struct swarm_oid id;
	UT_hash_handle hh;
	struct swi_snode *sn;
	struct swarm_ref ref;
	struct swi_list wants; /* struct swi_want */
	enum swi_fetch_phase phase;
	struct swi_watch watch;
	struct swi_copies copies;
	bool tried[SWI_COPIES_MAX];
	uint32_t attempts, holder; /* node number of who is asked or READ */
	uint64_t holder_epoch;
	struct swi_room room;
	bool have_room, restoring, leased;
	bool deleted; /* meanwhile: what comes is for those who wait, and does not stay */
	bool checked; /* the payload matched its digest */
	uint64_t len, bytes, offset;
	/* pieces.c, cast.c */
	struct swi_pieces *pieces;
	bool striped;	 /* some came from another than the holder */
	bool stripe_off; /* what came so did not match its digest: from one at a time from now on */
	struct swi_list followers; /* struct swi_follower: READ what lands here */
	bool followed;	     /* they hold the room: it is retired, not freed */
	bool from_part;	     /* the holder is fetching it itself */
	uint64_t root_epoch; /* of who sent us to the holder; 0 = nobody */
	/* direct.c */
	enum swi_direct direct;
	bool direct_off; /* one failed: by messages from now on */
	bool asked_home; /* the home's index was READ */
	uint64_t *pair;	       /* where its slots land, while they are needed: a pad, or a piece of our arena */
	uint64_t direct_bytes; /* of the READ of the object */
	struct swi_locator loc;
	struct swi_link *link; /* of the READ in flight */
	uint8_t link_phase;
	struct swi_req rq;
	struct swi_read rd;
	struct swi_spill_io io;
	struct swi_parts *parts; /* it comes part by part (parts.c) */
	struct swi_digest digest;
	uint64_t to_digest; /* payload bytes of which the digest is made as they land; 0 = afterwards, or not */
	struct swi_timer pause;
	int last_status;
	/* The last two are texts for the most part, which a new fetch does not clear: SWI_FETCH_CLEAR. */
	struct swi_smsg_leased lease;
	char last_text[SWI_SMSG_TEXT];
};
#define SWI_FETCH_CLEAR offsetof(struct swi_fetch, lease.text)

struct swi_fetches {
	struct swi_fetch *by_id; /* beside them, under no object's id, always @anchor: the table is not made anew for each get */
	struct swi_fetch *anchor;
	uint32_t count;
	struct swi_list fresh; /* struct swi_want, not looked at yet */
	uint64_t in_flight;    /* READs and restores: nothing may be freed under them */
	struct swi_pool spare, spare_wants; /* struct swi_fetch, struct swi_wnode */
	uint32_t pads; /* a bit for each of the shared page's pads that is taken */
};

void swi_fetches_init(struct swi_snode *sn);
void swi_fetches_fini(struct swi_snode *sn); /* the transport and the spill log are closed */
int swi_fetches_step(struct swi_snode *sn);
/* A spilled object for a peer: restored, but nothing is evicted for it and it need not stay. */
void swi_want_for_peer(struct swi_snode *sn, struct swi_want *w);
/* The object was deleted: a copy that is on its way does not stay. */
void swi_fetch_deleted(struct swi_snode *sn, struct swarm_oid id);
/* A LOCATE was answered by a lease. False: nobody fetches @id (any more). */
bool swi_fetch_leased(struct swi_snode *sn, struct swarm_oid id, struct swi_peer *peer,
		      const struct swi_smsg_leased *lease);

#endif
