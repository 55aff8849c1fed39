/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ofi_conn.c - endpoints: connecting, accepting, and above all ending.
 *
 * Invariant: an endpoint is freed only after its fid was closed and the completion queue was found
 * empty afterwards: fi_close() flushes synchronously, so nothing can name it any more. A fid is not
 * closed while the provider holds READs of it: the tcp provider (1.17) reports and frees a READ
 * whose answer has arrived in part twice when its endpoint is closed, which corrupts its pool.
 * Cutting the socket instead makes it fail each READ by the way that it takes when a peer dies.
 */
#include <sys/socket.h>

#include "transport/ofi/ofi.h"

void swi_ofi_ep_up(struct swi_be_ep *ep)
{
	const struct swi_be_open_args *a = &ep->be->args;

	if (ep->up || ep->down || ep->closing)
		return;
	ep->up = true;
	if (ep->inbound)
		a->events->accepted(a->ctx, ep);
	else
		a->events->connected(a->ctx, ep);
}

void swi_ofi_ep_down(struct swi_be_ep *ep, int status)
{
	const bool tell = !ep->down && !ep->closing;

	ep->down = true;
	if (!tell)
		return;
	if (ep->inbound && !ep->up) { /* nobody knows it yet */
		swi_ofi_ep_close(ep);
		return;
	}
	ep->be->args.events->down(ep->be->args.ctx, ep, status);
}

void swi_ofi_ep_close(struct swi_be_ep *ep)
{
	if (ep->closing)
		return;
	ep->closing = true;
	swi_list_del(&ep->link);
	swi_list_push_back(&ep->be->closing, &ep->link);
	ep->be->work = true;
}

/* Only from close() of the backend, or when nothing can name @ep any more. */
void swi_ofi_ep_free(struct swi_be_ep *ep)
{
	if (ep->fid)
		fi_close(&ep->fid->fid);
	for (struct ofi_read *r; (r = swi_list_first(&ep->reading, struct ofi_read, link));) {
		swi_list_del(&r->link);
		free(r);
	}
	swi_list_del(&ep->link);
	free(ep->recvs);
	free(ep);
}

/* An endpoint out of @info, bound and with receives posted. */
static int make_ep(struct swi_be *be, struct fi_info *info, bool inbound, struct swi_be_ep **out_ep)
{
	struct swi_be_ep *ep = calloc(1, sizeof(*ep));
	int rc;

	if (!ep)
		return -FI_ENOMEM;
	ep->be = be;
	ep->inbound = inbound;
	swi_list_init(&ep->link);
	swi_list_init(&ep->reading);
	swi_list_init(&ep->waiting);
	rc = fi_endpoint(be->domain, info, &ep->fid, ep);
	if (!rc)
		rc = fi_ep_bind(ep->fid, &be->eq->fid, 0);
	if (!rc)
		rc = fi_ep_bind(ep->fid, &be->cq->fid, FI_TRANSMIT | FI_RECV);
	if (!rc)
		rc = fi_enable(ep->fid);
	if (!rc)
		rc = swi_ofi_post_recvs(ep);
	if (rc) {
		swi_list_push_back(&be->closing,
				   &ep->link); /* its receives are flushed as any other's */
		ep->closing = ep->down = true;
		be->work = true;
		return rc;
	}
	swi_list_push_back(&be->eps, &ep->link);
	*out_ep = ep;
	return 0;
}

int swi_ofi_connect(struct swi_be *be, const char *addr, void *owner, struct swi_be_ep **out_ep)
{
	struct fi_info *info = fi_dupinfo(be->info);
	struct swi_be_ep *ep;
	int rc;

	if (!info)
		return -ENOMEM;
	free(info->src_addr);
	free(info->dest_addr);
	info->src_addr = info->dest_addr = NULL;
	info->src_addrlen = info->dest_addrlen = 0;
	rc = swi_ofi_resolve(addr, &info->dest_addr, &info->dest_addrlen);
	if (rc) {
		fi_freeinfo(info);
		return rc;
	}
	const struct sockaddr *sa = info->dest_addr;

	info->addr_format = sa->sa_family == AF_INET ? FI_SOCKADDR_IN : FI_SOCKADDR_IN6;
	rc = make_ep(be, info, false, &ep);
	if (rc) {
		fi_freeinfo(info);
		return swi_ofi_err(rc);
	}
	ep->owner = owner;
	rc = fi_connect(ep->fid, info->dest_addr, NULL, 0);
	fi_freeinfo(info);
	if (rc) {
		ep->doom = swi_ofi_connect_err(rc);
		swi_list_del(&ep->link);
		swi_list_push_back(&be->doomed, &ep->link);
		be->work = true;
	}
	*out_ep = ep;
	return 0;
}

static void on_connreq(struct swi_be *be, struct fi_info *info)
{
	struct swi_be_ep *ep;
	int rc = be->ending ? -FI_ESHUTDOWN : make_ep(be, info, true, &ep);

	if (be->ending) {
		(void)fi_reject(be->pep, info->handle, NULL, 0);
	} else if (rc) {
		swi_warn(be->args.log, "an inbound connection cannot be accepted: %s",
			 fi_strerror(-rc));
		(void)fi_reject(be->pep, info->handle, NULL, 0);
	} else {
		rc = fi_accept(ep->fid, NULL, 0);
		if (rc)
			swi_ofi_ep_close(ep);
	}
	fi_freeinfo(info);
}

static void on_eq_error(struct swi_be *be)
{
	struct fi_eq_err_entry e = {0};

	if (fi_eq_readerr(be->eq, &e, 0) < 0 || !e.fid || e.fid->fclass != FI_CLASS_EP)
		return;
	struct swi_be_ep *ep = e.fid->context;

	ep->ended = true;
	be->work = true;
	swi_ofi_ep_down(ep, ep->up ? SWARM_EPEERLOST : swi_ofi_connect_err(e.err));
}

int swi_ofi_read_eq(struct swi_be *be)
{
	uint8_t buf[sizeof(struct fi_eq_cm_entry) + 256];
	struct fi_eq_cm_entry e;
	uint32_t event;
	int n = 0;

	be->look_eq = false;
	for (;; n++) {
		const ssize_t rc = fi_eq_read(be->eq, &event, buf, sizeof(buf), 0);

		if (rc == -FI_EAVAIL) {
			on_eq_error(be);
			continue;
		}
		if (rc < (ssize_t)sizeof(e))
			return n;
		memcpy(&e, buf, sizeof(e));
		struct swi_be_ep *ep = event == FI_CONNREQ ? NULL : e.fid->context;

		if (event == FI_CONNREQ) {
			on_connreq(be, e.info);
		} else if (event == FI_CONNECTED) {
			swi_ofi_ep_up(ep);
		} else if (event == FI_SHUTDOWN) {
			ep->ended = true;
			be->work = true;
			swi_ofi_ep_down(ep, SWARM_EPEERLOST);
		}
	}
}

/* One step of a closing endpoint. True: it is gone. */
static bool close_step(struct swi_be_ep *ep, bool drained)
{
	struct swi_be *be = ep->be;

	(void)swi_ofi_flush_reads(ep, false);
	if (ep->fid && ep->reads && !ep->ended) {
		if (!ep->cut && !swi_ofi_cut_socket(ep->fid))
			swi_debug(be->args.log, "the socket of a closing endpoint is gone already");
		ep->cut = true;
		be->look_eq = true;
		return false;
	}
	if (ep->fid) {
		fi_close(&ep->fid->fid);
		ep->fid = NULL;
		be->work = true;
		return false;
	}
	if (!drained) {
		be->work = true;
		return false;
	}
	(void)swi_ofi_flush_reads(ep, true);
	if (ep->up || !ep->inbound)
		be->args.events->closed(be->args.ctx, ep);
	swi_ofi_ep_free(ep);
	return true;
}

int swi_ofi_reap(struct swi_be *be, bool drained)
{
	int n = 0;

	be->work = false;
	for (struct swi_be_ep *ep; (ep = swi_list_first(&be->doomed, struct swi_be_ep, link));
	     n++) {
		swi_list_del(&ep->link);
		swi_list_push_back(&be->eps, &ep->link);
		swi_ofi_ep_down(ep, ep->doom);
	}
	struct swi_list todo;

	swi_list_init(&todo);
	swi_list_splice(&todo, &be->closing);
	while (!swi_list_empty(&todo)) {
		struct swi_be_ep *ep = swi_list_entry(todo.next, struct swi_be_ep, link);

		swi_list_del(&ep->link);
		swi_list_push_back(&be->closing, &ep->link);
		n += close_step(ep, drained);
	}
	return n;
}
