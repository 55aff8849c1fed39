/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.c - rows that travel to a peer together: copies made and dropped, leases that ended. They
 * leave at the end of the step, except rows that nobody waits for (a secondary copy came or went): those wait
 * for LAZY_NS or for any other message to that peer, so that a get by READ alone costs no message of its
 * own. Order is kept, also against other messages.
 */
#include "store/snode_internal.h"

#define BATCH_BYTES KIB(32)
#define LAZY_NS	    (2 * NS_PER_MS)

static void batch_send(struct swi_peer *p, uint16_t type, struct swi_wr *w, uint32_t *count)
{
	struct swi_wr head = swi_wr_init(w->buf, 4);

	if (!*count)
		return;
	swi_wr_u32(&head, *count);
	*count = 0;
	(void)swi_peer_send(p->sn, p, type, w->buf, w->len);
	w->len = 4;
}

void swi_batch_copies(struct swi_peer *p)
{
	batch_send(p, SWI_S_COPIES, &p->copies, &p->copies_count);
}

static struct swi_wr *batch_room(struct swi_peer *p, struct swi_wr *w, uint32_t *count,
				 uint16_t type, uint32_t row)
{
	if (!w->buf) {
		uint8_t *buf = malloc(BATCH_BYTES);

		SWI_BUG_ON(!buf);
		*w = swi_wr_init(buf, BATCH_BYTES);
		w->len = 4; /* the count, written when sent */
	}
	if (w->len + row > w->cap)
		batch_send(p, type, w, count);
	if (swi_list_empty(&p->dirty))
		swi_list_push_back(&p->sn->peers.dirty, &p->dirty);
	(*count)++;
	return w;
}

void swi_peer_say_copy(struct swi_snode *sn, struct swi_peer *p, const struct swi_smsg_copy *row,
		       bool lazy)
{
	struct swi_wr *w =
	    batch_room(p, &p->copies, &p->copies_count, SWI_S_COPIES, SWI_SMSG_COPY_BYTES);
	const uint64_t due = lazy ? sn->now_ns + LAZY_NS : 0;

	p->copies_due_ns = p->copies_count == 1 ? due : swi_min_u64(p->copies_due_ns, due);
	swi_smsg_put_copy(w, row);
}

void swi_peer_say_end(struct swi_snode *sn, struct swi_peer *p, uint64_t lease)
{
	sn->stats.get_messages++;
	swi_wr_u64(batch_room(p, &p->ends, &p->ends_count, SWI_S_LEASE_END, 8), lease);
}

int swi_peers_flush(struct swi_snode *sn)
{
	int n = 0;

	swi_list_for_each_safe(it, &sn->peers.dirty) {
		struct swi_peer *p = swi_list_entry(it, struct swi_peer, dirty);

		batch_send(p, SWI_S_LEASE_END, &p->ends, &p->ends_count);
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
