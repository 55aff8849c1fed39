/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ofi_rma.c - registration and READs.
 *
 * The provider would take any number of READs; what it holds is bounded here, in count and in
 * bytes, so that a message does not wait behind gigabytes of answers. The rest waits in
 * ep->waiting.
 */
#include "transport/ofi/ofi.h"

int swi_ofi_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr)
{
	const uint64_t access =
	    mem->remote_read ? FI_REMOTE_READ | FI_READ | FI_WRITE : FI_READ | FI_WRITE;
	struct fid_mr *mr;
	int rc;

	do { /* a key of 64 random bits; taken already: once in an age of the universe */
		rc = fi_mr_reg(be->domain, mem->addr, mem->len, access, 0, swi_rand(be->args.env) | 1, 0, &mr,
			       NULL);
	} while (rc == -FI_ENOKEY);
	if (rc == -FI_ENOMEM && strcmp(be->device, "tcp"))
		return SWARM_EMEMLOCK; /* providers that pin fail like this at RLIMIT_MEMLOCK */
	if (rc)
		return swi_ofi_err(rc);
	*out_mr = (struct swi_be_mr){
	    .addr = mem->addr,
	    .len = mem->len,
	    .base =
		be->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? (uint64_t)(uintptr_t)mem->addr : 0,
	    .rkey = fi_mr_key(mr),
	    .desc = fi_mr_desc(mr),
	    .handle = mr,
	};
	return 0;
}

void swi_ofi_mr_dereg(struct swi_be *be SWI_UNUSED, struct swi_be_mr *mr)
{
	struct fid_mr *m = mr->handle;

	if (m)
		fi_close(&m->fid);
	memset(mr, 0, sizeof(*mr));
}

static bool may_post(struct swi_be_ep *ep, uint32_t len)
{
	if (!ep->reads) {
		ep->round_reads = 0;
		ep->round_bytes = 0;
		return true;
	}
	return ep->reads < OFI_READS_MAX && ep->read_bytes + len <= OFI_READ_BYTES_MAX &&
	       ep->round_reads < OFI_ROUND_READS && ep->round_bytes < OFI_ROUND_BYTES;
}

/* 0, -EAGAIN (too many in flight), or an error; then @rd is not taken. */
static int post(struct swi_be_ep *ep, struct swi_be_read *rd)
{
	struct swi_be *be = ep->be;

	if (!may_post(ep, rd->len))
		return -EAGAIN;
	struct ofi_read *r = be->free_reads;

	if (r)
		be->free_reads = r->next;
	else
		r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->op = (struct ofi_op){.kind = OFI_READ, .ep = ep};
	r->rd = rd;
	const ssize_t rc = fi_read(ep->fid, rd->local, rd->len, rd->mr->desc, 0, rd->remote_addr,
				   rd->rkey, &r->op);

	if (rc) {
		r->next = be->free_reads;
		be->free_reads = r;
		return swi_ofi_err(rc);
	}
	swi_list_push_back(&ep->reading, &r->link);
	ep->reads++;
	ep->read_bytes += rd->len;
	ep->round_reads++;
	ep->round_bytes += rd->len;
	return 0;
}

int swi_ofi_read(struct swi_be_ep *ep, struct swi_be_read *rd)
{
	int rc = -EAGAIN;

	if (ep->down || ep->closing || !ep->up)
		return SWARM_EPEERLOST;
	if (swi_list_empty(&ep->waiting))
		rc = post(ep, rd);
	if (rc != -EAGAIN)
		return rc;
	swi_list_push_back(&ep->waiting, &rd->link);
	return 0;
}

static void pump(struct swi_be_ep *ep)
{
	struct swi_be_read *rd;

	while (!ep->down && !ep->closing &&
	       (rd = swi_list_first(&ep->waiting, struct swi_be_read, link))) {
		const int rc = post(ep, rd);

		if (rc == -EAGAIN)
			return;
		swi_list_del(&rd->link);
		if (rc)
			ep->be->args.events->read_done(ep->be->args.ctx, ep, rd, rc);
	}
}

static void finish(struct ofi_read *r, int status)
{
	struct swi_be_ep *ep = r->op.ep;
	struct swi_be_read *rd = r->rd;
	struct swi_be *be = ep->be;

	swi_list_del(&r->link);
	ep->reads--;
	ep->read_bytes -= rd->len;
	r->rd = NULL;
	r->next = be->free_reads;
	be->free_reads = r;
	be->args.events->read_done(be->args.ctx, ep, rd, status);
}

void swi_ofi_on_read(struct ofi_read *r, int status)
{
	struct swi_be_ep *ep = r->op.ep;

	if (status)
		swi_ofi_ep_down(ep, SWARM_EPEERLOST); /* before any of its READs is seen to fail */
	finish(r, status);
	pump(ep);
}

int swi_ofi_flush_reads(struct swi_be_ep *ep, bool all)
{
	int n = 0;

	for (struct swi_be_read *rd; (rd = swi_list_first(&ep->waiting, struct swi_be_read, link));
	     n++) {
		swi_list_del(&rd->link);
		ep->be->args.events->read_done(ep->be->args.ctx, ep, rd, SWARM_EPEERLOST);
	}
	for (struct ofi_read *r; all && (r = swi_list_first(&ep->reading, struct ofi_read, link));
	     n++)
		finish(r, SWARM_EPEERLOST);
	return n;
}
