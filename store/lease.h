/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.h - the standing lease of a connection: READs without a word, and no reuse under them.
 *
 * As soon as a connection is chosen, each side tells the other (STAND) that it may READ any object whose place it
 * knows. In return the reader answers SYNC as soon as every such READ that it posted before has ended.
 * The owner's side: an extent that nobody pins or holds any more gets a header that no reader accepts, is
 * put in quarantine, and is reused only when every connection with a standing lease has answered a SYNC
 * that was sent after that, or has ended (its queue pair is closed by then). Who does not answer
 * is revoked: its connection is closed. So no clock is compared with another. Owner thread of the node.
 */
#ifndef SWI_LEASE_H
#define SWI_LEASE_H

#include "store/hold.h"
#include "store/peer.h"

struct swi_quarantine {
	struct swi_list standing; /* struct swi_link, by ->standing */
	struct swi_list fresh;	  /* struct swi_hold: the next round is for these */
	struct swi_list asked;	  /* struct swi_hold: the round under way is for these */
	uint64_t fresh_ns;	  /* since when the oldest fresh one waits */
	uint64_t fresh_bytes, asked_bytes, peak_bytes;
	uint64_t round;
	uint32_t owing; /* connections that have not answered this round */
};

void swi_quarantine_init(struct swi_snode *sn);
/* Bytes that are on their way back to the allocator. */
static inline uint64_t swi_quarantine_bytes(const struct swi_quarantine *q)
{
	return q->fresh_bytes + q->asked_bytes;
}
/* Nobody here needs the extent any more. True: free it now, nobody can be reading it. */
bool swi_quarantine_pass(struct swi_snode *sn, struct swi_hold *h);
int swi_quarantine_step(struct swi_snode *sn);
uint64_t swi_quarantine_deadline_ns(const struct swi_snode *sn);

/* ---- connections ---- */
void swi_lease_stand(struct swi_link *l); /* it was chosen: grants the standing lease */
void swi_lease_link_down(struct swi_link *l);
int swi_lease_on_stand(struct swi_link *l, struct swi_rd *body);
int swi_lease_on_sync(struct swi_link *l, struct swi_rd *body);
int swi_lease_on_synced(struct swi_link *l, struct swi_rd *body);
/* May this node READ from @p without asking? */
static inline bool swi_lease_stands(const struct swi_peer *p)
{
	return p && p->chosen && p->chosen->may_read;
}
/* Around every READ without a lease of its own: what begin() returned goes to end(). */
uint8_t swi_lease_read_begin(struct swi_link *l);
void swi_lease_read_end(struct swi_link *l, uint8_t phase);

#endif
