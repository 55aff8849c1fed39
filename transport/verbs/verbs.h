/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs.h - the verbs backend's own structures: RC queue pairs made by rdma_cm, on one device.
 *
 * One backend instance has one device, one protection domain, one completion queue and one shared
 * receive queue. An endpoint has one or more lanes, each a queue pair: the main one, made by rdma_cm,
 * carries messages and READs; the others, made when large READs first wait for each other
 * (verbs_lane.c), carry READs only. The life of an endpoint:
 *
 *   RESOLVING -> ROUTING -> CONNECTING -> UP -> DOWN -> FLUSHING -> (destroyed)
 *                           ACCEPTING --^
 *
 * DOWN: down() was called, the caller has not closed yet. FLUSHING: the caller closed; the queue
 * pairs are in error and we wait until the card has given back every send and every read. Only then
 * are the queue pairs destroyed, closed() called and the memory freed. Should a card never give them
 * back, FLUSH_NS ends the wait: destroying a queue pair stops its card's accesses by definition.
 *
 * Everything here is the owner thread's.
 */
#ifndef SWI_VERBS_H
#define SWI_VERBS_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include "transport/base/hash.h"
#include "transport/ops.h"
#include "transport/verbs/verbs_wire.h"

/* Reads with the card: so many of one lane, and (but for the first) so many bytes of all lanes together. */
#define VERBS_READ_DEPTH  64u
#define VERBS_READ_BYTES  MIB(4)
/* Sends, reads, binds of windows, and the last one that shows that all before are over. */
#define VERBS_SQ_DEPTH    (SWI_BE_SEND_DEPTH + VERBS_READ_DEPTH + VERBS_WINDOWS_MAX + 1)
#define VERBS_RING	  512u /* power of two, not less than VERBS_SQ_DEPTH */
#define VERBS_SRQ_DEPTH   512u /* receives that all endpoints share */
#define VERBS_LANE_MIN    KIB(128) /* READs of at least so many bytes are worth a lane */
#define VERBS_SIGNAL_SENDS 16u /* one completion for so many sends */
#define VERBS_SIGNAL_READS 8u  /* and for so many small reads of one doorbell */
#define VERBS_CHAIN	  32u /* work requests of one doorbell */
#define VERBS_CQ_FIRST    (VERBS_SRQ_DEPTH + 8u * VERBS_SQ_DEPTH)
#define VERBS_INLINE_MAX 256u
#define VERBS_MAX_LANES  8192u
#define VERBS_MAX_READ   KIB(256) /* so that four lanes share one of 1 MiB */
#define VERBS_POLL_BATCH 16
#define VERBS_RESOLVE_MS 2000
#define VERBS_FLUSH_NS   (2 * NS_PER_S)

static_assert(SWI_BE_SEND_DEPTH <= 64, "slots are bits of one word");
static_assert(VERBS_RING >= VERBS_SQ_DEPTH && (VERBS_RING & (VERBS_RING - 1)) == 0, "ring");

/*
 * A work request's number:
 *   63 receive   61..32 generation of the lane   31..16 its index in lanes[]   15..0 number
 * The number is that of a receive buffer, or the place in the lane's ring. A completion whose
 * generation is not that of lanes[index] is of a queue pair that is gone.
 *
 * The ring holds what the card has of a send queue, oldest first. Few work requests ask for a
 * completion; since a send queue completes in order and errors are always reported, a completion
 * stands for all that is older as well.
 */
#define WR_RECV     (1ull << 63)
#define WR_GEN_MASK 0x3fffffffu

enum op_kind { OP_SEND, OP_READ, OP_BIND, OP_LAST };

struct verbs_op {
	enum op_kind kind;
	union {
		uint32_t slot; /* OP_SEND */
		struct swi_be_read *rd; /* OP_READ */
	};
};

enum ep_state {
	EP_RESOLVING,
	EP_ROUTING,
	EP_CONNECTING,
	EP_ACCEPTING,
	EP_UP,
	EP_DOWN,
	EP_FLUSHING,
};

struct swi_verbs_counters {
	uint64_t qps_created, qps_destroyed;
	uint64_t mrs_created, mrs_destroyed;
	uint64_t mws_created, mws_destroyed;
	uint64_t lanes_opened;
	uint64_t doorbells; /* ibv_post_send() with reads */
	uint64_t cqes;
	uint64_t conns_refused;  /* inbound: foreign hello, other device, no room */
	uint64_t flush_timeouts; /* the card did not give everything back */
};

struct verbs_mr {
	struct swi_list link; /* swi_be.mrs */
	struct ibv_mr *mr;
	bool remote_read;
};

struct verbs_window { /* one memory as one peer may read it through one lane */
	const struct verbs_mr *mr;
	struct ibv_mw *mw;
	uint32_t rkey;
};

struct verbs_key { /* a key that the peer told us, and the same memory's on another lane */
	uint32_t main, here;
};

struct verbs_lane {
	struct swi_be_ep *ep;
	struct ibv_qp *qp; /* ours, not id->qp: see verbs_conn.c */
	UT_hash_handle hh; /* swi_be.by_qp */
	uint32_t qp_num;
	uint16_t index;
	uint32_t gen;
	uint32_t psn; /* of a further lane: our first packet's number */
	bool usable;  /* reads may be posted */
	uint32_t inline_max;

	struct verbs_op ring[VERBS_RING];
	uint32_t head, tail; /* free running; [tail, head) is with the card */
	uint32_t quiet_sends; /* since the last that asked for a completion */
	uint32_t reads;
	uint64_t read_bytes;

	/* what the peer reads through it */
	struct verbs_window *windows;
	uint32_t window_count;
	/* what it is called that we read through it; NULL on the main lane: as it was told */
	struct verbs_key *keys;
	uint32_t key_count;
};

enum lanes_state {
	LANES_NONE,  /* nobody wanted any yet */
	LANES_ASKED, /* we wait for the peer's */
	LANES_UP,
	LANES_NEVER, /* refused */
};

struct swi_be_ep {
	struct swi_list link; /* in be->open or be->flushing */
	struct swi_list dirty_link; /* be->dirty: reads wait to be rung */
	struct swi_be *be;
	void *owner;
	struct rdma_cm_id *id;
	enum ep_state state;
	bool inbound;
	bool announced; /* inbound: accepted() was called, so the caller knows it */
	bool granted;
	uint64_t flush_deadline_ns;

	struct verbs_lane *lanes[VERBS_LANES_MAX]; /* [0]: messages as well; the others: we read */
	uint32_t lane_count;
	enum lanes_state lanes_state;
	struct verbs_lane *serves[VERBS_LANES_MAX]; /* the peer reads */
	uint32_t serve_count;
	bool serve_answer; /* the peer waits for our answer about them */
	/* how the main lane was brought up: the others take the same path */
	struct ibv_qp_attr init, rtr, rts;
	int init_mask, rtr_mask, rts_mask;

	/* send slots, SWI_BE_MSG_MAX bytes each; one registration */
	uint8_t *slab;
	struct ibv_mr *slab_mr;
	uint64_t send_free; /* a bit per slot */

	uint32_t read_depth; /* of one lane: what was negotiated */
	struct swi_list reads_waiting;
};

struct lane_slot {
	struct verbs_lane *lane;
	uint32_t gen;
};

struct swi_be {
	/* const after open */
	struct swi_env *env;
	const struct swi_log *log;
	const struct swi_be_events *ev;
	void *ctx;
	struct rdma_event_channel *ec;
	struct rdma_cm_id *listen_id;
	struct ibv_context *dev;
	struct ibv_pd *pd;
	struct ibv_comp_channel *cc;
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	uint8_t *recv_slab; /* VERBS_SRQ_DEPTH buffers of SWI_BE_MSG_MAX bytes */
	struct ibv_mr *recv_mr;
	uint32_t srq_depth;
	bool windows; /* the device has type 2 windows: regions are read through them alone */
	struct ibv_device_attr attr;
	uint8_t port;
	uint8_t asked_port; /* 0: the first that is up */
	char name[80];	    /* of the device, with the port where one was asked for */
	uint64_t max_read;
	int epfd, timerfd;
	char address[80];
	struct sockaddr_storage
	    source; /* outbound connections leave from here, if the family is set */

	struct swi_list open, flushing, dirty, mrs;
	uint32_t remote_mrs;
	struct lane_slot lanes[VERBS_MAX_LANES];
	struct verbs_lane *by_qp; /* uthash: by qp_num */
	uint32_t lane_hint;
	uint32_t max_lanes; /* that we ask a peer for, beside the main one */
	uint16_t unposted[VERBS_SRQ_DEPTH]; /* receive buffers that are with us */
	uint32_t unposted_count;
	uint32_t cqe_used,
	    cqe_stale; /* completions that may come; of them, of destroyed queue pairs */
	struct swi_verbs_counters counters;
	bool broken; /* the device is gone */

	/* sleeping */
	bool armed;     /* the completion channel will tell */
	bool look;      /* the caller may have slept: look at every descriptor */
	uint32_t quiet; /* polls since the connection channel was looked at */
	struct ibv_wc stash[VERBS_POLL_BATCH]; /* what arm() found */
	int stashed;
};

/* verbs_err.c */
int swi_verbs_wc_error(enum ibv_wc_status status);
int swi_verbs_cm_error(enum rdma_cm_event_type type, int status, bool up);
int swi_verbs_errno(int err);
int swi_verbs_reg_error(int err);

/* verbs_conn.c */
int swi_verbs_connect(struct swi_be *be, const char *addr, void *owner, struct swi_be_ep **out_ep);
int swi_verbs_grant(struct swi_be_ep *ep);
void swi_verbs_revoke(struct swi_be_ep *ep);
void swi_verbs_cm_event(struct swi_be *be, const struct rdma_cm_event *event);
void swi_verbs_ep_up(struct swi_be_ep *ep);
void swi_verbs_ep_down(struct swi_be_ep *ep, int status);
void swi_verbs_ep_close(struct swi_be_ep *ep);
void swi_verbs_ep_end(struct swi_be_ep *ep, bool tell);
/* The card has given back all that it had of @ep. */
bool swi_verbs_ep_flushed(const struct swi_be_ep *ep);

/* verbs_qp.c: queue pairs and their rings */
int swi_verbs_lane_create(struct swi_be_ep *ep, struct verbs_lane **out_lane);
/* Destroys the queue pair: the card touches nothing of it any more. What is in the ring stays there. */
void swi_verbs_lane_unmake(struct verbs_lane *l);
void swi_verbs_lane_destroy(struct verbs_lane *l);
/* Into error: the card answers nothing on it any more, and gives back what it has. */
void swi_verbs_lane_stop(struct verbs_lane *l);
bool swi_verbs_lane_flushed(const struct verbs_lane *l);
/* Puts @op into the ring; returns the number of its work request. */
uint64_t swi_verbs_push(struct verbs_lane *l, struct verbs_op op);
/* Takes the newest @n of the ring back: the card did not take them. */
void swi_verbs_unpush(struct verbs_lane *l, uint32_t n);
void swi_verbs_sq_done(struct verbs_lane *l, uint32_t place, const struct ibv_wc *wc);

/* verbs_lane.c: further lanes, asked for and served */
void swi_verbs_lanes_want(struct swi_be_ep *ep);
void swi_verbs_lanes_recv(struct swi_be_ep *ep, const void *buf, uint32_t len);
void swi_verbs_lanes_bound(struct swi_be_ep *ep);
/* The name of the memory with @rkey on @l; false: the peer did not offer it. */
bool swi_verbs_lane_key(const struct verbs_lane *l, uint64_t rkey, uint32_t *out_rkey);

/* verbs_mw.c: memory windows */
/* Binds a window for every region that peers may read. 0, -ENOMEM, -E2BIG, SWARM_EPEERLOST. */
int swi_verbs_windows_bind(struct verbs_lane *l);
void swi_verbs_windows_drop(struct verbs_lane *l, const struct verbs_mr *only);
uint64_t swi_verbs_rkey(struct swi_be_ep *ep, const struct swi_be_mr *mr);

/* verbs_msg.c */
int swi_verbs_srq_create(struct swi_be *be);
void swi_verbs_srq_destroy(struct swi_be *be);
void swi_verbs_repost(struct swi_be *be);
int swi_verbs_slab_create(struct swi_be_ep *ep);
void swi_verbs_slab_destroy(struct swi_be_ep *ep);
int swi_verbs_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b,
		   uint32_t blen);
/* A message between the two backends, about lanes. */
int swi_verbs_send_own(struct swi_be_ep *ep, const void *buf, uint32_t len);
void swi_verbs_recv_done(struct swi_be *be, uint32_t buffer, const struct ibv_wc *wc);

/* verbs_rma.c */
int swi_verbs_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr);
void swi_verbs_mr_dereg(struct swi_be *be, struct swi_be_mr *mr);
int swi_verbs_read(struct swi_be_ep *ep, struct swi_be_read *rd);
void swi_verbs_read_done(struct verbs_lane *l, struct swi_be_read *rd, int status);
void swi_verbs_reads_cancel(struct swi_be_ep *ep, bool tell);
/* Gives the waiting reads to the card, one doorbell a lane. */
void swi_verbs_ring(struct swi_be *be);

/* verbs_port.c */
/* "NAME" or "NAME:PORT"; port 0 = none was named. -EINVAL. */
int swi_verbs_port_parse(const char *spec, char *out_name, size_t len, uint8_t *out_port);
/* The first port that is up, or @asked; 0 = none. */
uint8_t swi_verbs_port_active(struct ibv_context *dev, uint8_t asked);
/* An address that belongs to this port, with port number 0. */
bool swi_verbs_port_addr(struct rdma_event_channel *ec, const struct ibv_context *dev, uint8_t port,
			 struct sockaddr_storage *out_sa);
/* Every port that is up and has an address, as "NAME:PORT"; first the one that @bind belongs to. */
uint32_t swi_verbs_ports(const char *bind, char out_names[][64], uint32_t max);

/* verbs_progress.c */
int swi_verbs_progress(struct swi_be *be, unsigned int budget);
int swi_verbs_fd(struct swi_be *be);
bool swi_verbs_arm(struct swi_be *be);
int swi_verbs_cq_reserve(struct swi_be *be, uint32_t cqes);

/* verbs_init.c */
extern const struct swi_be_ops swi_verbs_ops;
/* For tests: what was made and what was destroyed again. */
const struct swi_verbs_counters *swi_verbs_counters(const struct swi_be *be);

#endif
