/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - the other nodes: who they are, the one connection to each, what waits to be sent.
 *
 * Invariant: two nodes talk over one connection at a time, in order. Both may dial at once; the
 * one with the lower boot epoch chooses which connection is used and says so with its first
 * message (SWI_S_USE); the other says nothing before that. So a duplicate can be closed without
 * losing a byte. Owner thread only.
 */
#ifndef SWI_PEER_H
#define SWI_PEER_H

#include "transport/base/hash.h"

#include "store/node.h"
#include "store/smsg.h"
#include "store/timer.h"

struct swi_link { /* one connection, ours or theirs */
	struct swi_list link;	/* peer->links; alone when the peer is gone */
	struct swi_snode *sn;
	struct swi_conn *conn;
	struct swi_peer *peer;	/* NULL: removed; the connection is closing */
	struct swi_list leases; /* given over this connection (serve.c) */
	struct swi_list serves; /* asked for, not yet given (serve.c) */
	struct swi_list followers; /* served out of a fetch (cast.c) */
	bool up, inbound;
	/* lease.c: the owner's side */
	struct swi_list standing; /* quarantine.standing while it has a standing lease of ours */
	bool stands, revoked;
	uint64_t owes, owes_ns; /* the round it has not answered, and since when; 0 = none */
	/* and the reader's */
	bool may_read;
	uint64_t index_pairs; /* of the peer */
	uint64_t sync;	      /* a round to answer, 0 = none */
	uint32_t reading[2];  /* READs without a lease of their own, by phase */
	uint8_t read_phase;
};

struct swi_peer {
	struct swi_list link; /* peers.list: order of arrival */
	struct swi_snode *sn;
	uint32_t node;	/* 0: has none yet */
	uint64_t epoch; /* 0: dialled by address, not yet known */
	char address[64];
	struct swi_list links;
	struct swi_link *chosen;  /* messages go here; NULL = not up */
	struct swi_link *dialing; /* ours, not chosen yet */
	struct swi_list queue;	  /* to be sent when chosen */
	uint64_t queue_bytes;
	struct swi_timer retry;
	struct swi_timer tell; /* it did not know yet that it is a home: its rows are told again then (dirmsg.c) */
	uint64_t backoff_ns, lost_ns; /* since when it cannot be reached, 0 = can */
	bool was_up, removed;
	bool refused;	 /* nobody listened when it was dialled last */
	bool may_return; /* nobody declared it dead: it did not answer for too long */
	struct swi_list dials; /* struct swi_dial */
	struct swi_list reqs;  /* struct swi_req (req.c) */
	struct swi_wr copies;  /* batch of COPIES rows */
	uint32_t copies_count;
	struct swi_telling *telling; /* what must be answered of that batch (untold.h); NULL = nothing */
	uint64_t copies_due_ns; /* sent by the first step after this */
	struct swi_wr ends; /* batch of LEASE_END numbers */
	uint32_t ends_count;
	uint32_t cold_misses; /* cold READs in a row that found nothing there (direct.c) */
	struct swi_list dirty; /* peers.dirty when a batch is not empty */
};

/* "Tell me how dialling this address went": the node number, or a negative code. Once. */
struct swi_dial {
	struct swi_list link;
	void (*cb)(struct swi_dial *d, int status, uint32_t node);
	void *owner;
};

struct swi_gone { /* a life of a node that is over */
	uint64_t epoch;
	uint32_t node, heir;
	bool may_return; /* the same life, when it answers again: it was stopped, or cut off */
	UT_hash_handle hh;
};

struct swi_peers {
	struct swi_list list;  /* struct swi_peer */
	struct swi_list dirty; /* struct swi_peer, by ->dirty */
	struct swi_list orphans; /* struct swi_link without a peer */
	struct swi_gone *gone; /* by epoch: late messages are ignored */
	uint32_t count;
};

void swi_peers_init(struct swi_snode *sn);
void swi_peers_fini(struct swi_snode *sn);
/* The end begins: nothing is sent any more. Before swi_tp_close(). */
void swi_peers_cut(struct swi_snode *sn);
extern const struct swi_tp_handler swi_peers_handler; /* ctx is the node */
int swi_peers_step(struct swi_snode *sn);
/* Sends the batches that are due. At the end of every step. */
int swi_peers_flush(struct swi_snode *sn);
struct swi_peer *swi_peer_by_epoch(struct swi_snode *sn, uint64_t epoch);
/* As swi_peer_dial(), and tells @d. @d is borrowed until its cb() or swi_dial_cancel(). */
int swi_peer_dial_tell(struct swi_snode *sn, const char *address, struct swi_dial *d);
void swi_dial_cancel(struct swi_dial *d);
/* Who answers for what was homed at @node: itself, its heir (or the heir's), 0 = nobody. */
uint32_t swi_peer_heir_of(struct swi_snode *sn, uint32_t node);
/* True when @node was known once, and is dead or left. */
bool swi_peer_was_removed(struct swi_snode *sn, uint32_t node);

/* ---- batches (rows.c) ---- */
/* @lazy: nobody waits for this row; it may travel some ms later, with others. */
void swi_peer_say_copy(struct swi_snode *sn, struct swi_peer *p, const struct swi_smsg_copy *row,
		       bool lazy);
void swi_peer_say_end(struct swi_snode *sn, struct swi_peer *p, uint64_t lease);
/* What is said later must not overtake them. */
void swi_batch_copies(struct swi_peer *p);
uint64_t swi_batches_deadline_ns(const struct swi_snode *sn);

#endif
