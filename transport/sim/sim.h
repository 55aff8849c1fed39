/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - what sim_net.c (the wire) and sim_be.c (the cards) share.
 *
 * Lifetime: an endpoint is counted: once by its backend's list, once by its peer, once by every
 * event that names it. A READ belongs to the one event that carries it on, or to its endpoint once
 * that event came to nothing; cancelling it takes its swi_be_read away, so that no byte is written
 * afterwards.
 */
#ifndef SWI_SIM_H
#define SWI_SIM_H

#include "transport/sim/sim_net.h"

enum sim_kind {
	/* on the wire */
	SIM_CONN_REQ,
	SIM_CONN_ACK,
	SIM_CONN_NAK,
	SIM_MSG,
	SIM_FIN,
	SIM_READ_FIRST,  /* at the target: the first half is copied */
	SIM_READ_SECOND, /* at the target: the second half */
	SIM_READ_DONE,
	/* only in an inbox */
	SIM_ACCEPTED,
	SIM_CLOSED,
	SIM_WAKE, /* an endpoint that was full takes sends again */
};

struct sim_read {
	struct swi_list link;   /* swi_be_ep.reads while under way */
	struct swi_be_read *rd; /* NULL: cancelled, or reported */
	bool orphan; /* its event came to nothing; only the flush of the endpoint ends it */
};

struct sim_event {
	uint64_t at, seq;
	enum sim_kind kind;
	struct swi_be_ep *src, *dst; /* counted; dst: whose inbox, or whose card */
	struct sim_read *read;       /* owned */
	int status;
	struct swi_list link; /* of an inbox, or of the parked */
	char addr[64];        /* SIM_CONN_REQ: to whom */
	uint32_t len;
	uint8_t data[];
};

struct swi_be_ep {
	uint32_t refs;
	uint32_t id;            /* for the trace */
	char name[64];          /* of its node, also when that is gone */
	struct swi_be *be;      /* NULL once its backend was closed */
	struct swi_be_ep *peer; /* counted; NULL before the acceptor exists and after the end */
	struct swi_list link;   /* swi_be.eps */
	void *owner;
	bool up;              /* connected() or accepted() was queued: sends may go */
	bool granted;         /* the peer may READ */
	bool broken;          /* down() was queued */
	bool closing;         /* ep_close() */
	bool full;            /* said -EAGAIN */
	uint64_t last_ns;     /* arrival of the last thing sent: nothing overtakes it */
	uint32_t sends;       /* on the wire */
	uint32_t undelivered; /* messages in the inbox: receives that are not posted again */
	struct swi_list reads;
};

struct sim_mr {
	struct swi_list link;
	uint64_t rkey;
	uint64_t base; /* what peers are told: no real address, or a trace would depend on one */
	uint64_t len;
	const uint8_t *addr;
	bool remote_read;
};

struct swi_be {
	struct swi_simnet *net;
	struct swi_be_open_args args;
	struct swi_list link; /* swi_simnet.backends */
	char name[64];        /* the address, or "client-N" */
	bool listens, dead;
	uint64_t nic_free_ns;  /* when the outgoing link is idle */
	struct swi_list inbox; /* sim_event.link */
	struct swi_list eps;
	struct swi_list mrs;
};

/* sim_net.c */
struct sim_event *swi_sim_event(enum sim_kind kind, struct swi_be_ep *src, struct swi_be_ep *dst,
				uint32_t len);
void swi_sim_event_free(struct sim_event *ev);
/* Puts @ev on the wire of @be: it leaves when the link is free and arrives after the latency. */
void swi_sim_transmit(struct swi_be *be, struct sim_event *ev, uint64_t bytes);
void swi_sim_fin(struct swi_be_ep *ep);
struct swi_be_ep *swi_sim_ep_new(struct swi_be *be);
void swi_sim_ep_unref(struct swi_be_ep *ep);
void swi_sim_ep_forget_peer(struct swi_be_ep *ep);
/* SWARM_EPORTUSED, -EINVAL, -ENOMEM. */
int swi_sim_join(struct swi_simnet *net, struct swi_be *be, const char *bind);
void swi_sim_leave(struct swi_be *be);
uint64_t swi_sim_rand(struct swi_simnet *net);
const struct swi_simnet_opts *swi_sim_opts(const struct swi_simnet *net);
bool swi_sim_addr_ok(const char *addr);

#endif
