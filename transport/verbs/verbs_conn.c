/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_conn.c - endpoints: how they come up, go down and end (the states are in verbs.h).
 *
 * We move the queue pair through its states ourselves instead of leaving that to rdma_cm, for one
 * reason: rdma_cm would allow the peer remote reads from the first moment. Here no peer may read
 * anything before swi_verbs_grant(), whatever keys it guesses. Owner thread only.
 */
#include "transport/base/addr.h"
#include "transport/verbs/verbs.h"

static int ep_alloc(struct swi_be *be, bool inbound, void *owner, struct swi_be_ep **out_ep)
{
	struct swi_be_ep *ep = calloc(1, sizeof(*ep));

	if (!ep)
		return -ENOMEM;
	ep->be = be;
	ep->inbound = inbound;
	ep->owner = owner;
	ep->state = inbound ? EP_ACCEPTING : EP_RESOLVING;
	swi_list_init(&ep->reads_waiting);
	swi_list_init(&ep->dirty_link);
	swi_list_push_back(&be->open, &ep->link);
	*out_ep = ep;
	return 0;
}

/* The main lane, in INIT. */
static int qp_create(struct swi_be_ep *ep)
{
	int err = swi_verbs_lane_create(ep, &ep->lanes[0]);

	if (err)
		return err;
	ep->lane_count = 1;
	err = swi_verbs_slab_create(ep);
	if (err)
		return err;
	ep->init.qp_state = IBV_QPS_INIT;
	if (rdma_init_qp_attr(ep->id, &ep->init, &ep->init_mask) != 0)
		return swi_verbs_errno(errno);
	ep->init.qp_access_flags = 0;
	ep->init_mask |= IBV_QP_ACCESS_FLAGS;
	err = ibv_modify_qp(ep->lanes[0]->qp, &ep->init, ep->init_mask);
	return err ? swi_verbs_errno(err) : 0;
}

/* INIT -> ready to receive -> ready to send, with what both sides agreed on. */
static int qp_ready(struct swi_be_ep *ep)
{
	struct verbs_lane *l = ep->lanes[0];
	int err;

	ep->rtr.qp_state = IBV_QPS_RTR;
	if (rdma_init_qp_attr(ep->id, &ep->rtr, &ep->rtr_mask) != 0)
		return swi_verbs_errno(errno);
	ep->rtr.min_rnr_timer = 12; /* 0.64 ms; rdma_cm's 0 stands for 655 ms */
	ep->rtr_mask |= IBV_QP_MIN_RNR_TIMER;
	err = ibv_modify_qp(l->qp, &ep->rtr, ep->rtr_mask);
	if (err)
		return swi_verbs_errno(err);
	ep->rts.qp_state = IBV_QPS_RTS;
	if (rdma_init_qp_attr(ep->id, &ep->rts, &ep->rts_mask) != 0)
		return swi_verbs_errno(errno);
	err = ibv_modify_qp(l->qp, &ep->rts, ep->rts_mask);
	if (err)
		return swi_verbs_errno(err);
	swi_debug(ep->be->log,
		  "verbs: reads at once %u, path MTU code %d, acknowledge timeout 2^%u x 4.096 us, "
		  "%u retries",
		  ep->rts.max_rd_atomic, ep->rtr.path_mtu, ep->rts.timeout, ep->rts.retry_cnt);
	ep->read_depth = (uint32_t)swi_min_u64(ep->rts.max_rd_atomic, VERBS_READ_DEPTH);
	l->usable = true;
	return 0;
}

int swi_verbs_grant(struct swi_be_ep *ep)
{
	struct ibv_qp_attr attr = {
	    .qp_state = IBV_QPS_RTS,
	    .qp_access_flags = IBV_ACCESS_REMOTE_READ,
	};

	if (ep->state != EP_UP)
		return SWARM_EPEERLOST;
	if (ep->granted)
		return 0;
	if (ibv_modify_qp(ep->lanes[0]->qp, &attr, IBV_QP_STATE | IBV_QP_ACCESS_FLAGS) != 0)
		return SWARM_EPEERLOST; /* the card put it into error already */
	ep->granted = true;
	return swi_verbs_windows_bind(ep->lanes[0]);
}

int swi_verbs_connect(struct swi_be *be, const char *addr, void *owner, struct swi_be_ep **out_ep)
{
	struct sockaddr *from = be->source.ss_family ? (struct sockaddr *)&be->source : NULL;
	struct sockaddr_storage to;
	struct swi_be_ep *ep;
	int err = swi_addr_parse(addr, false, &to);

	if (err)
		return err;
	err = ep_alloc(be, false, owner, &ep);
	if (err)
		return err;
	err = rdma_create_id(be->ec, &ep->id, ep, RDMA_PS_TCP) ? swi_verbs_errno(errno) : 0;
	if (!err && rdma_resolve_addr(ep->id, from, (struct sockaddr *)&to, VERBS_RESOLVE_MS))
		err = swi_verbs_errno(errno);
	if (err) {
		swi_verbs_ep_end(ep, false);
		free(ep);
		return err;
	}
	*out_ep = ep;
	return 0;
}

static struct rdma_conn_param conn_param(struct swi_be_ep *ep, uint8_t responder, uint8_t initiator)
{
	return (struct rdma_conn_param){
	    .private_data = swi_verbs_hello,
	    .private_data_len = VERBS_HELLO_BYTES,
	    .responder_resources = responder,
	    .initiator_depth = initiator,
	    .retry_count = 6,     /* not 7: rdma_rxe takes that for "without end" */
	    .rnr_retry_count = 7, /* without end: a slow receiver is no error */
	    .qp_num = ep->lanes[0]->qp_num,
	};
}

static uint8_t depth(int device_max, uint8_t asked)
{
	return (uint8_t)swi_min_u64((uint64_t)(device_max < 0 ? 0 : device_max), asked);
}

static int on_addr_resolved(struct swi_be_ep *ep)
{
	if (ep->id->verbs != ep->be->dev)
		return -ENETUNREACH; /* the way there leaves through another card */
	ep->state = EP_ROUTING;
	return rdma_resolve_route(ep->id, VERBS_RESOLVE_MS) ? swi_verbs_errno(errno) : 0;
}

static int on_route_resolved(struct swi_be_ep *ep)
{
	struct ibv_device_attr *attr = &ep->be->attr;
	struct rdma_conn_param param;
	int err = qp_create(ep);

	if (err)
		return err;
	param = conn_param(ep, depth(attr->max_qp_rd_atom, UINT8_MAX),
			   depth(attr->max_qp_init_rd_atom, UINT8_MAX));
	ep->state = EP_CONNECTING;
	return rdma_connect(ep->id, &param) ? swi_verbs_errno(errno) : 0;
}

static bool is_hello(const struct rdma_conn_param *param)
{
	return swi_verbs_is_hello(param->private_data, param->private_data_len);
}

static int on_response(struct swi_be_ep *ep, const struct rdma_conn_param *param)
{
	int err;

	if (!is_hello(param))
		return SWARM_EPROTO;
	err = qp_ready(ep);
	if (err)
		return err;
	if (rdma_establish(ep->id))
		return swi_verbs_errno(errno);
	swi_verbs_ep_up(ep);
	return 0;
}

static int accept_request(struct swi_be_ep *ep, const struct rdma_conn_param *asked)
{
	struct ibv_device_attr *attr = &ep->be->attr;
	struct rdma_conn_param param;
	int err = qp_create(ep);

	if (err)
		return err;
	param = conn_param(ep, depth(attr->max_qp_rd_atom, asked->responder_resources),
			   depth(attr->max_qp_init_rd_atom, asked->initiator_depth));
	err = qp_ready(ep);
	if (err)
		return err;
	/* The card's own limit was not known to rdma_cm when it wrote the attributes. */
	ep->read_depth = (uint32_t)swi_min_u64(ep->read_depth, param.initiator_depth);
	return rdma_accept(ep->id, &param) ? swi_verbs_errno(errno) : 0;
}

static void on_request(struct swi_be *be, struct rdma_cm_id *id,
		       const struct rdma_conn_param *asked)
{
	struct swi_be_ep *ep = NULL;
	int err = id->verbs != be->dev ? -ENETUNREACH : is_hello(asked) ? 0 : SWARM_EPROTO;

	if (!err)
		err = ep_alloc(be, true, NULL, &ep);
	if (!err) {
		ep->id = id;
		id->context = ep;
		err = accept_request(ep, asked);
	}
	if (!err)
		return;
	swi_warn(be->log, "verbs: an inbound connection was refused: %s", swarm_strerror(err));
	be->counters.conns_refused++;
	rdma_reject(id, NULL, 0);
	if (ep)
		swi_verbs_ep_close(ep); /* nobody knows it: freed without a word */
	else
		rdma_destroy_id(id);
}

void swi_verbs_ep_up(struct swi_be_ep *ep)
{
	struct swi_be *be = ep->be;

	if (ep->state == EP_UP || ep->state == EP_DOWN || ep->state == EP_FLUSHING)
		return;
	ep->state = EP_UP;
	if (!ep->inbound) {
		be->ev->connected(be->ctx, ep);
		return;
	}
	ep->announced = true;
	be->ev->accepted(be->ctx, ep);
}

static void stop_lanes(struct swi_be_ep *ep)
{
	for (uint32_t i = 0; i < ep->lane_count; i++)
		swi_verbs_lane_stop(ep->lanes[i]);
	for (uint32_t i = 0; i < ep->serve_count; i++)
		swi_verbs_lane_stop(ep->serves[i]);
}

/* Both are synchronous: the card answers nothing on these queue pairs any more, and no key opens. */
void swi_verbs_revoke(struct swi_be_ep *ep)
{
	stop_lanes(ep);
	for (uint32_t i = 0; i < ep->lane_count; i++)
		swi_verbs_windows_drop(ep->lanes[i], NULL);
	for (uint32_t i = 0; i < ep->serve_count; i++)
		swi_verbs_windows_drop(ep->serves[i], NULL);
}

bool swi_verbs_ep_flushed(const struct swi_be_ep *ep)
{
	for (uint32_t i = 0; i < ep->lane_count; i++)
		if (!swi_verbs_lane_flushed(ep->lanes[i]))
			return false;
	for (uint32_t i = 0; i < ep->serve_count; i++)
		if (!swi_verbs_lane_flushed(ep->serves[i]))
			return false;
	return true;
}

/* The first failure of an endpoint; later ones say nothing new. */
void swi_verbs_ep_down(struct swi_be_ep *ep, int status)
{
	struct swi_be *be = ep->be;

	if (ep->state == EP_DOWN || ep->state == EP_FLUSHING)
		return;
	if (ep->inbound && !ep->announced) {
		swi_verbs_ep_close(ep);
		return;
	}
	ep->state = EP_DOWN;
	stop_lanes(ep);
	be->ev->down(be->ctx, ep, status);
}

void swi_verbs_ep_close(struct swi_be_ep *ep)
{
	struct swi_be *be = ep->be;

	if (ep->state == EP_FLUSHING)
		return;
	/* The peer is told at once; where there is no connection yet, destroying the id tells it.
	 */
	if (ep->state == EP_UP || ep->state == EP_DOWN || ep->state == EP_ACCEPTING)
		(void)rdma_disconnect(ep->id);
	stop_lanes(ep);
	ep->state = EP_FLUSHING;
	ep->flush_deadline_ns = swi_now(be->env) + VERBS_FLUSH_NS;
	swi_list_del(&ep->link);
	swi_list_push_back(&be->flushing, &ep->link);
}

/* Ends the card's use of the endpoint's memory. @tell: the reads that are left get their
 * read_done(). */
void swi_verbs_ep_end(struct swi_be_ep *ep, bool tell)
{
	for (uint32_t i = 0; i < ep->lane_count; i++)
		swi_verbs_lane_unmake(ep->lanes[i]);
	for (uint32_t i = 0; i < ep->serve_count; i++)
		swi_verbs_lane_destroy(ep->serves[i]);
	ep->serve_count = 0;
	swi_verbs_reads_cancel(ep, tell);
	while (ep->lane_count)
		swi_verbs_lane_destroy(ep->lanes[--ep->lane_count]);
	swi_verbs_slab_destroy(ep);
	if (ep->id)
		rdma_destroy_id(ep->id);
	ep->id = NULL;
	swi_list_del(&ep->link);
	swi_list_del(&ep->dirty_link);
}

static void on_ep_event(struct swi_be_ep *ep, const struct rdma_cm_event *event)
{
	int err = 0;

	switch (event->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		err = ep->state == EP_RESOLVING ? on_addr_resolved(ep) : 0;
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		err = ep->state == EP_ROUTING ? on_route_resolved(ep) : 0;
		break;
	case RDMA_CM_EVENT_CONNECT_RESPONSE:
		err = ep->state == EP_CONNECTING ? on_response(ep, &event->param.conn) : 0;
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		swi_verbs_ep_up(ep);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		err = swi_verbs_cm_error(event->event, event->status, ep->state == EP_UP);
		break;
	default: /* TIMEWAIT_EXIT, ADDR_CHANGE and the multicast ones say nothing to us */
		break;
	}
	if (err)
		swi_verbs_ep_down(ep, err);
}

/* @event is a copy that outlives its acknowledgement. */
void swi_verbs_cm_event(struct swi_be *be, const struct rdma_cm_event *event)
{
	if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST)
		on_request(be, event->id, &event->param.conn);
	else if (event->id == be->listen_id)
		be->broken = event->event == RDMA_CM_EVENT_DEVICE_REMOVAL;
	else if (event->id->context)
		on_ep_event(event->id->context, event);
}
