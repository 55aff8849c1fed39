/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths.h - several cards or ports as one backend: it decorates two or more instances of another one
 * (verbs, on one port each), as the fault decorator does with one.
 *
 * An endpoint has legs, each an endpoint of one instance. It begins with one, over which the peers
 * shake hands as if there were no other, so a peer with a single card is served as well. When both have
 * several (pair()), the connector makes a leg on each further path and proves on it that it belongs to this
 * connection; a leg brings the keys under which the same memory is read through it. READs go where the
 * fewest bytes are under way. Messages go over one leg, numbered, and are kept until the peer has
 * acknowledged them. When a leg fails its READs are posted again on another one, and its messages are sent
 * again; the receiver drops what it has. down() comes when the last leg has failed. The connector
 * makes what failed again, with growing pauses.
 *
 * Invariant: a READ is posted again only after the failed leg has given it back (its card can no longer
 * write into the memory), and a message is delivered once, in order: the numbers decide.
 *
 * Everything here is the owner thread's.
 *	paths_init.c	the backend's table, memory, progress, time
 *	paths_leg.c	endpoints and legs: how they come up, fail and end
 *	paths_join.c	further legs: asked for, proven, tried again
 *	paths_msg.c	messages
 *	paths_read.c	READs
 *	paths_wire.c	every byte of ours on a wire
 */
#ifndef SWI_PATHS_H
#define SWI_PATHS_H

#include "transport/base/codec.h"
#include "transport/ops.h"
#include "transport/paths/paths_plan.h"
#include "transport/paths/paths_wire.h"

#define PATHS_RING	 64u	       /* power of two */
#define PATHS_WINDOW	 40u	       /* messages that the peer has not acknowledged, at most */
#define PATHS_ACK_AT	 8u	       /* received, and nothing said about it */
#define PATHS_READ_BYTES MIB(4)	       /* with one leg */
#define PATHS_READS	 64u
#define PATHS_STRANGERS	 64u	       /* legs that have not said yet what they are for */
#define PATHS_TICK_NS	 (100 * NS_PER_MS)
#define PATHS_PROBE_NS	 (200 * NS_PER_MS) /* quiet for so long with something under way */
#define PATHS_IDLE_NS	 (1 * NS_PER_S)	   /* and without */
/* After the question, without any sign of life: a card repeats a lost packet after 0.54 s, and twice is not dead. */
#define PATHS_SILENT_NS	 (900 * NS_PER_MS)
#define PATHS_TRY_NS	 (1 * NS_PER_S)	   /* for one address of several */
#define PATHS_JOIN_NS	 (2 * NS_PER_S)
#define PATHS_STRANGE_NS (5 * NS_PER_S)
#define PATHS_RETRY_MIN  (250 * NS_PER_MS)
#define PATHS_RETRY_MAX  (8 * NS_PER_S)

static_assert(PATHS_WINDOW + 24 <= SWI_BE_RECV_DEPTH, "answers, probes and keys find receives posted too");

enum leg_state {
	LEG_CONNECTING,
	LEG_STRANGER, /* inbound: its first message says what it is for */
	LEG_JOINING,  /* connected; the proofs are under way */
	LEG_UP,
	LEG_ENDING, /* closed; its closed() is to come */
};

struct path { /* one instance */
	struct swi_be *be;    /* ours */
	struct swi_be *inner; /* NULL: could not be opened */
	uint32_t index;
	bool broken; /* its device is gone */
	struct swi_path_info info;
};

struct leg {
	struct swi_list link; /* ep->legs, or be->strangers without one */
	struct path *path;
	struct swi_be_ep *ep;	 /* NULL: nobody's (yet, or any more) */
	struct swi_be_ep *inner; /* of the instance */
	enum leg_state state;
	int doom; /* it failed where no callback may be made */
	uint64_t deadline_ns; /* until it has to be up */
	uint64_t heard_ns, probed_ns, suspect_ns;
	bool want_answer;
	uint64_t attempt; /* the connector's number of this JOIN */
	uint32_t remote;  /* which of the peer's addresses */
	struct swi_paths_key *keys; /* by name; NULL: memory is called here as it was told */
	uint32_t key_count;
	uint32_t reads;
	uint64_t read_bytes;
	struct swi_list posted; /* paths_read.link */
};

struct paths_msg {
	uint32_t len;
	uint8_t kind;
	uint8_t body[];
};

struct paths_name { /* one memory of ours as this peer was told of it */
	struct paths_mr *mr;
	uint64_t rkey, base;
};

struct paths_retry {
	uint64_t at_ns, pause_ns;
	uint32_t turn; /* which address comes first */
};

struct swi_be_ep {
	struct swi_list link; /* be->eps or be->closing */
	struct swi_list busy_link; /* be->busy: READs or messages wait */
	struct swi_be *be;
	void *owner;
	struct swi_list legs;
	struct leg *at[SWI_PATHS_MAX]; /* by path of ours: being made, or up */
	struct leg *main;	       /* carries our messages */
	bool inbound, up, paired, granted, down, closing;
	bool rx_numbered; /* the peer's messages are numbered by now */

	/* the peer's addresses: as connect() got them, later as the peer said */
	char peer[SWI_PATHS_MAX][SWI_PATHS_ADDR];
	uint32_t peer_count, tries;

	/* further legs */
	uint64_t id, attempt;
	uint8_t secret[SWI_PATHS_SECRET];
	struct paths_retry retry[SWI_PATHS_MAX];
	struct paths_name *names;
	uint32_t name_count;

	/* messages: numbers (acked, sent] are with the main leg, (sent, last] wait */
	struct paths_msg *out[PATHS_RING];
	uint32_t acked, sent, last;
	uint32_t received, owed;

	struct swi_list waiting; /* READs that no leg has: paths_read.link */
};

struct paths_mr {
	struct swi_list link; /* be->mrs */
	struct swi_be_mr at[SWI_PATHS_MAX];
	bool remote_read;
};

struct paths_read {
	struct swi_list link; /* ep->waiting or leg->posted */
	struct swi_be_read inner;
	struct swi_be_read *user;
	struct swi_be_ep *ep;
	struct leg *leg;
	bool refused; /* some card did */
	struct paths_read *next_free;
};

struct swi_be {
	/* const after open */
	struct swi_be_open_args args;
	const struct swi_be_ops *ops; /* of the instances */
	uint32_t count;
	int epfd; /* -1: some instance has no descriptor */
	char address[128], device[128];
	struct path paths[SWI_PATHS_MAX];

	uint64_t now, next_tick;
	struct swi_list eps, closing, busy, strangers, mrs;
	uint32_t stranger_count;
	bool doomed; /* some leg is */
	struct paths_read *free_reads;
};

/* paths_leg.c */
extern const struct swi_be_events swi_paths_events; /* ctx: struct path */
int swi_paths_connect(struct swi_be *be, const char *addr, void *owner, struct swi_be_ep **out_ep);
void swi_paths_ep_close(struct swi_be_ep *ep);
/* Connects a leg of @ep on @p. */
int swi_paths_leg_connect(struct swi_be_ep *ep, struct path *p, const char *addr, struct leg **out_leg);
/* From progress() only: the leg is closed, and what it carried goes another way. */
void swi_paths_leg_fail(struct leg *l, int status);
/* Anywhere: the same in the next progress(). */
void swi_paths_doom(struct leg *l, int status);
/* The peer breaks the rules. */
void swi_paths_ep_fail(struct swi_be_ep *ep, int status);
struct swi_be_ep *swi_paths_adopt(struct leg *l);
void swi_paths_leg_join(struct leg *l, struct swi_be_ep *ep);
void swi_paths_reap(struct swi_be *be);
uint32_t swi_paths_up(const struct swi_be_ep *ep);
void swi_paths_busy(struct swi_be_ep *ep);
void swi_paths_ep_free(struct swi_be_ep *ep);
void swi_paths_leg_free(struct leg *l);

/* paths_join.c */
void swi_paths_pair(struct swi_be_ep *ep, const uint8_t secret[SWI_PATHS_SECRET]);
int swi_paths_grant(struct swi_be_ep *ep);
uint64_t swi_paths_base(struct swi_be_ep *ep, const struct swi_be_mr *mr);
uint64_t swi_paths_rkey(struct swi_be_ep *ep, const struct swi_be_mr *mr);
void swi_paths_join_send(struct leg *l);
int swi_paths_on_addrs(struct leg *l, struct swi_rd *r);
int swi_paths_on_join(struct leg *l, struct swi_rd *r);
int swi_paths_on_keys(struct leg *l, struct swi_rd *r, uint8_t kind);
/* A path of the connector's without a leg: when to try again. */
void swi_paths_retry_later(struct swi_be_ep *ep, uint32_t path);
void swi_paths_retry_due(struct swi_be_ep *ep);

/* paths_msg.c */
int swi_paths_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b, uint32_t blen);
/* A numbered message of ours. 0, -EAGAIN, -ENOMEM. */
int swi_paths_queue(struct swi_be_ep *ep, uint8_t kind, const void *a, uint32_t alen, const void *b,
		    uint32_t blen);
/* One without a number, over this leg. */
int swi_paths_send_on(struct leg *l, uint8_t kind, const void *body, uint32_t len);
void swi_paths_recv(struct leg *l, const void *buf, uint32_t len);
void swi_paths_pump_msgs(struct swi_be_ep *ep);

/* paths_read.c */
int swi_paths_read(struct swi_be_ep *ep, struct swi_be_read *rd);
void swi_paths_read_done(struct path *p, struct swi_be_read *inner, int status);
void swi_paths_pump_reads(struct swi_be_ep *ep);
/* Those that wait end. */
void swi_paths_cancel_reads(struct swi_be_ep *ep);
/* The backend is being closed: without a word. */
void swi_paths_drop_reads(struct swi_be *be, struct swi_list *reads);

#endif
