/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ofi_progress.c - completions and events, and when it is safe to sleep.
 *
 * Ordering: the completion queue is read before the event queue, so that what a peer sent before it
 * died is delivered before its down().
 */
#include "transport/ofi/ofi.h"

#define BATCH 32u
#define EQ_INTERVAL                                                                                \
	16u /* idle calls between two looks at the event queue; a look costs a system call */

static void on_completion(const struct fi_cq_msg_entry *e)
{
	struct ofi_op *op = e->op_context;

	if (op->kind == OFI_RECV)
		swi_ofi_on_recv(swi_container_of(op, struct ofi_recv, op), (uint32_t)e->len);
	else if (op->kind == OFI_SEND)
		swi_ofi_on_send(swi_container_of(op, struct ofi_send, op));
	else
		swi_ofi_on_read(swi_container_of(op, struct ofi_read, op), 0);
}

static void on_error(struct swi_be *be)
{
	struct fi_cq_err_entry e = {0};

	if (fi_cq_readerr(be->cq, &e, 0) < 1 || !e.op_context)
		return;
	struct ofi_op *op = e.op_context;

	be->look_eq = true; /* the endpoint is about to end, or has */
	if (op->kind == OFI_SEND)
		swi_ofi_on_send(swi_container_of(op, struct ofi_send, op));
	else if (op->kind == OFI_READ)
		swi_ofi_on_read(swi_container_of(op, struct ofi_read, op), swi_ofi_err(e.err));
}

/* *drained: nothing was left. */
static int read_cq(struct swi_be *be, unsigned int budget, bool *drained)
{
	struct fi_cq_msg_entry e[BATCH];
	unsigned int n = 0;

	*drained = false;
	while (n < budget) {
		const size_t most = swi_min_u64(BATCH, budget - n);
		const ssize_t rc = fi_cq_read(be->cq, e, most);

		if (rc == -FI_EAGAIN) {
			*drained = true;
			break;
		}
		if (rc == -FI_EAVAIL) {
			on_error(be);
			n++;
			continue;
		}
		if (rc < 0)
			return swi_ofi_err(rc);
		for (ssize_t i = 0; i < rc; i++)
			on_completion(&e[i]);
		n += (unsigned int)rc;
		if ((size_t)rc < most) /* probably the last: who waits for these does not wait for another look */
			break;
	}
	return (int)n;
}

int swi_ofi_progress(struct swi_be *be, unsigned int budget)
{
	bool drained;
	int n = read_cq(be, budget, &drained);

	if (n < 0)
		return n;
	if (!n && ++be->idle % EQ_INTERVAL == 0)
		be->look_eq = true;
	if (be->look_eq)
		n += swi_ofi_read_eq(be);
	/*
	 * drained is of before read_eq(): an endpoint whose fid is closed in this reap() waits for
	 * the next time that the queue is found empty.
	 */
	if (be->work)
		n += swi_ofi_reap(be, drained);
	return n;
}

bool swi_ofi_arm(struct swi_be *be)
{
	struct fid *fids[] = {&be->eq->fid, &be->cq->fid};
	uint8_t buf[sizeof(struct fi_eq_cm_entry) + 256];
	uint32_t event;

	be->look_eq = true; /* whatever wakes us may be an event */
	if (be->work || fi_trywait(be->fabric, fids, SWI_ARRAY_LEN(fids)))
		return false;
	/* trywait() resets the signal of the event queue without looking into it */
	return fi_eq_read(be->eq, &event, buf, sizeof(buf), FI_PEEK) == -FI_EAGAIN;
}
