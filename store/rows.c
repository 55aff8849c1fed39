/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.c - rows that travel to a peer together: copies made and dropped, leases that ended. They
 * leave at the end of the step, except rows that nobody waits for (a secondary copy came or went): those wait
 * for LAZY_NS or for any other message to that peer, so that a get by READ alone costs no message of its
 * own. Order is kept, also against other messages.
 */
#include "store/snode_internal.h"

#define BATCH_BYTES KIB(32)
#define COPIES_HEAD 12u /* u64 number of the answer, u32 rows */
#define ENDS_HEAD   4u
#define LAZY_NS	    (2 * NS_PER_MS)

void swi_batch_copies(struct swi_peer *p)
{
	struct swi_wr *w = &p->copies, head = swi_wr_init(w->buf, COPIES_HEAD);

	if (!p->copies_count)
		return;
	const uint64_t num = swi_untold_ask(p->sn, p);

	swi_wr_u64(&head, num);
	swi_wr_u32(&head, p->copies_count);
	p->copies_count = 0;
	if (swi_peer_send(p->sn, p, SWI_S_COPIES, w->buf, w->len) < 0)
		swi_untold_unsent(p->sn, num);
	w->len = COPIES_HEAD;
}

static void batch_ends(struct swi_peer *p)
{
	struct swi_wr *w = &p->ends, head = swi_wr_init(w->buf, ENDS_HEAD);

	if (!p->ends_count)
		return;
	swi_wr_u32(&head, p->ends_count);
	p->ends_count = 0;
	(void)swi_peer_send(p->sn, p, SWI_S_LEASE_END, w->buf, w->len);
	w->len = ENDS_HEAD;
}

/* A row of @row bytes is written next; the head is, when the batch is sent. */
static void batch_room(struct swi_peer *p, struct swi_wr *w, uint32_t head, uint32_t row,
		       void (*send)(struct swi_peer *p))
{
	if (!w->buf) {
		uint8_t *buf = malloc(BATCH_BYTES);

		SWI_BUG_ON(!buf);
		*w = swi_wr_init(buf, BATCH_BYTES);
		w->len = head;
	}
	if (w->len + row > w->cap)
		send(p);
	if (swi_list_empty(&p->dirty))
		swi_list_push_back(&p->sn->peers.dirty, &p->dirty);
}

/* A name that was just put: its home is asked whether it knows. */
static bool is_new(const struct swi_snode *sn, const struct swi_smsg_copy *row)
{
	return !row->ref.home && row->node == sn->node &&
	       (row->flags & (SWI_COPY_PRIMARY | SWI_COPY_AGAIN | SWI_COPY_DEL)) == SWI_COPY_PRIMARY;
}

void swi_peer_say_copy(struct swi_snode *sn, struct swi_peer *p, const struct swi_smsg_copy *row,
		       bool lazy)
{
	const uint64_t due = lazy ? sn->now_ns + LAZY_NS : 0;

	batch_room(p, &p->copies, COPIES_HEAD, SWI_SMSG_COPY_BYTES, swi_batch_copies);
	p->copies_due_ns = p->copies_count++ ? swi_min_u64(p->copies_due_ns, due) : due;
	if (is_new(sn, row))
		swi_untold_say(sn, p, row->ref.id);
	swi_smsg_put_copy(&p->copies, row);
}

void swi_peer_say_end(struct swi_snode *sn, struct swi_peer *p, uint64_t lease)
{
	sn->stats.get_messages++;
	batch_room(p, &p->ends, ENDS_HEAD, 8, batch_ends);
	p->ends_count++;
	swi_wr_u64(&p->ends, lease);
}

int swi_peers_flush(struct swi_snode *sn)
{
	int n = 0;

	swi_list_for_each_safe(it, &sn->peers.dirty) {
		struct swi_peer *p = swi_list_entry(it, struct swi_peer, dirty);

		batch_ends(p);
		if (p->copies_count && sn->now_ns < p->copies_due_ns)
			continue;
		swi_list_del(&p->dirty);
		swi_batch_copies(p);
		n++;
	}
	return n;
}

uint64_t swi_batches_deadline_ns(const struct swi_snode *sn)
{
	uint64_t d = UINT64_MAX;

	swi_list_for_each(it, &sn->peers.dirty)
		d = swi_min_u64(d, swi_list_entry(it, struct swi_peer, dirty)->copies_due_ns);
	return d;
}
