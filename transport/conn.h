/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - what transport.c and the four files of a connection share; nobody else includes it.
 *
 *	conn.c		life: states, time limits, the backend's events, the end
 *	conn_hs.c	the handshake
 *	conn_msg.c	frames, credits, fragments
 *	conn_read.c	READs, split and windowed
 *
 * Everything belongs to the thread that owns the struct swi_tp. A connection is freed in one place
 * only, swi_conn_work(), which runs at the end of swi_tp_progress() with no callback on the stack:
 * so a callback may do whatever it likes to any connection.
 */
#ifndef SWI_CONN_H
#define SWI_CONN_H

#include "transport/auth.h"
#include "transport/conn_fsm.h"
#include "transport/wire.h"

#define SWI_SEND_QUEUE_MAX MIB(64) /* bytes of message bodies that wait on one connection */
#define SWI_CREDIT_BATCH   16u     /* credits are given back at the latest when so many are owed */
#define SWI_HALF_OPEN_MAX  256u    /* inbound connections that have not proved anything yet */
#define SWI_LINGER_NS      (1 * NS_PER_S)
#define SWI_READ_PART_MAX  MIB(1) /* so that one large READ does not hold up everything else */
#define SWI_READ_WINDOW    256u   /* parts of one connection that the backend holds at a time */

struct swi_read_part { /* one READ of the backend; from a pool of the tp */
	struct swi_be_read be;
	struct swi_conn *conn;
	struct swi_read *rd;
	struct swi_read_part *next_free;
};

/*
 * One backend that is open. [0] is the one that was asked for or chosen; [1] is there when the choice
 * was ours: shared memory, for peers that are processes of this user on this host.
 */
enum { SWI_NET_MAIN, SWI_NET_LOCAL, SWI_NETS };

struct swi_net {
	struct swi_tp *tp;
	const struct swi_be_ops *ops; /* NULL = not there */
	struct swi_be *be;
	uint64_t part_max; /* bytes of one READ */
};

struct swi_local_chunks { /* a region as one backend has it */
	uint64_t chunk_len;
	uint32_t count;
	struct swi_be_mr *mrs;
};

struct swi_local_region {
	uint8_t *addr;
	uint64_t len;
	struct swi_local_chunks on[SWI_NETS];
};

struct swi_tp {
	/* const after open, but for a local net that the memory does not suit */
	struct swi_net nets[SWI_NETS];
	int epfd; /* over the descriptors of both; -1 when there is one */
	struct swi_env *env;
	const struct swi_log *log;
	struct swi_tp_handler handler;
	uint8_t key[SWI_CLUSTER_KEY_BYTES];
	uint64_t epoch, connect_timeout_ns, silence_timeout_ns;

	uint32_t node;
	struct swi_local_region regions[SWI_REGIONS_MAX];
	struct swi_list conns; /* swi_conn.link: every one, oldest first */
	struct swi_list work;  /* swi_conn.work_link: something to do in the next progress() */
	struct swi_list blocked; /* swi_conn.work_link: met -EAGAIN; tried each progress() */
	uint64_t now; /* of the progress() that runs */
	uint64_t next_timer; /* no time limit ends before */
	uint32_t half_open;
	bool in_progress;
	struct swi_read_part *free_parts;
	void *slabs; /* chain of the blocks that the parts live in */
	struct swi_tp_counters n;
};

struct swi_out_msg { /* a body that waits to be sent, wholly or from @sent on */
	struct swi_list link;
	uint16_t type;
	uint8_t kind;
	uint32_t len, sent;
	uint8_t body[];
};

struct swi_conn {
	struct swi_list link, work_link;
	struct swi_tp *tp;
	struct swi_net *net;
	struct swi_be_ep *ep; /* NULL once closed() was seen, and between two addresses */
	void *user;
	enum swi_conn_state state;
	bool inbound, shown; /* shown: the handler knows it, so down() is owed */
	int status;          /* why it ends */
	struct swi_peer_id peer;
	char addr[272]; /* that we connect to; a list when the peer has several */
	uint32_t addr_next; /* where in it what was not tried yet begins */
	bool redial;	    /* CONNECTING: an address failed; the next is tried when its endpoint is gone */
	struct swi_auth_transcript auth;
	struct swi_regions regions; /* the peer's */
	uint64_t read_bytes;	    /* that READs of ours brought from this peer */

	/* time limits */
	uint64_t limit_ns;   /* end of the handshake, or of LINGER */
	uint64_t try_ns;     /* CONNECTING: end of the time for this address, when there is another */
	uint64_t heard_ns;   /* last sign of life */
	uint64_t suspect_ns; /* when the silence was first found too long; 0 = it is not */

	/* frames: see conn_msg.c */
	uint32_t credits, owed;
	bool want_ping, want_pong, want_reject, pinged;
	struct swi_list out; /* swi_out_msg.link */
	uint64_t out_bytes;
	struct {
		uint8_t *buf;
		uint32_t total, have;
		uint16_t type;
		uint8_t kind;
	} in; /* the body that is being put together */

	/* READs: see conn_read.c */
	struct swi_list jobs;
	uint32_t parts;
};

/* conn.c */
extern const struct swi_be_events swi_conn_events; /* ctx: struct swi_net */
int swi_conn_create(struct swi_net *net, bool inbound, struct swi_conn **out_conn);
void swi_conn_free(struct swi_conn *c);
/* The one place that changes a state. False: not an edge, nothing changed. */
bool swi_conn_move(struct swi_conn *c, enum swi_conn_event ev);
/* The connection is over, for the reason @status; the first reason counts. */
void swi_conn_lost(struct swi_conn *c, int status);
/* The peer broke the rules, or did not prove the key: tell it, let it close, then end. */
void swi_conn_refuse(struct swi_conn *c, int status);
void swi_conn_kick(struct swi_conn *c);
/* Sends, posts and ends what can be; may free @c. */
void swi_conn_work(struct swi_conn *c);
void swi_conn_timers(struct swi_tp *tp);
static inline bool swi_conn_alive(const struct swi_conn *c)
{
	return c->state < SWI_CONN_LINGER;
}

/* conn_hs.c */
void swi_conn_hello(struct swi_conn *c);
/* A whole HELLO, CHALLENGE, RESPONSE or READY. 0, or why the peer is refused. */
int swi_conn_handshake(struct swi_conn *c, uint8_t kind, const void *body, uint32_t len);
enum swi_conn_event swi_conn_kind_event(uint8_t kind);

/* conn_msg.c */
int swi_conn_queue(struct swi_conn *c, uint8_t kind, uint16_t type, const void *body, uint32_t len);
void swi_conn_recv(struct swi_conn *c, const void *frame, uint32_t len);
/* 0, -EAGAIN (the backend is full, try again later), or why nothing can be sent any more. */
int swi_conn_flush(struct swi_conn *c);
/* Sends REJECT before all that waits. 0, -EAGAIN, or it cannot be sent. */
int swi_conn_send_reject(struct swi_conn *c, int status);
void swi_conn_msg_fini(struct swi_conn *c);

/* conn_read.c */
void swi_conn_read_done(struct swi_conn *c, struct swi_read_part *p, int status);
/* Posts what waits; fails it when the connection is over. False: the backend is full. */
bool swi_conn_pump_reads(struct swi_conn *c);
void swi_conn_read_fini(struct swi_conn *c);
void swi_tp_parts_fini(struct swi_tp *tp);

#endif
