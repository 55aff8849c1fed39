/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs.h - the verbs backend's own structures: RC queue pairs made by rdma_cm, on one device.
 *
 * One backend instance has one device, one protection domain and one completion queue that all
 * of its endpoints share. The life of an endpoint:
 *
 *   RESOLVING -> ROUTING -> CONNECTING -> UP -> DOWN -> FLUSHING -> (destroyed)
 *                           ACCEPTING --^
 *
 * DOWN: down() was called, the caller has not closed yet. FLUSHING: the caller closed; the queue
 * pair is in error and we wait until the card has given back every send and every read. Only then
 * is the queue pair destroyed, closed() called and the memory freed. Should a card never give them
 * back, FLUSH_NS ends the wait: destroying a queue pair stops its card's accesses by definition.
 *
 * Everything here is the owner thread's.
 */
#ifndef SWI_VERBS_H
#define SWI_VERBS_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include "transport/ops.h"

/* Reads of one endpoint that are with the card: so many, and (but for the first) so many bytes. */
#define VERBS_READ_DEPTH 64u
#define VERBS_READ_BYTES MIB(4)
#define VERBS_EP_CQES    (SWI_BE_RECV_DEPTH + SWI_BE_SEND_DEPTH + VERBS_READ_DEPTH)
#define VERBS_CQ_FIRST   (16u * VERBS_EP_CQES)
#define VERBS_INLINE_MAX 256u
#define VERBS_MAX_EPS    4096u
#define VERBS_MAX_READ   MIB(1)
#define VERBS_POLL_BATCH 16
#define VERBS_RESOLVE_MS 2000
#define VERBS_FLUSH_NS   (2 * NS_PER_S)

static_assert(SWI_BE_SEND_DEPTH <= 64 && VERBS_READ_DEPTH <= 64, "slots are bits of one word");

/*
 * A work request's number:
 *   63..62 kind   61..32 generation of the endpoint   31..16 its index in eps[]   15..0 slot
 * A completion whose generation is not that of eps[index] is of an endpoint that is gone: cards
 * may leave receives of a destroyed queue pair in the completion queue.
 */
enum wr_kind { WR_RECV = 0, WR_SEND = 1, WR_READ = 2 };
#define WR_GEN_MASK 0x3fffffffu

enum ep_state {
	EP_RESOLVING,
	EP_ROUTING,
	EP_CONNECTING,
	EP_ACCEPTING,
	EP_UP,
	EP_DOWN,
	EP_FLUSHING,
};

/* In the private data of both directions: who we are, nothing more. */
struct verbs_hello {
	uint8_t magic[4];
	uint8_t version;
	uint8_t zero[3];
};

struct swi_verbs_counters {
	uint64_t qps_created, qps_destroyed;
	uint64_t mrs_created, mrs_destroyed;
	uint64_t conns_refused;  /* inbound: foreign hello, other device, no room */
	uint64_t flush_timeouts; /* the card did not give everything back */
	uint64_t stale_wcs;
};

struct swi_be_ep {
	struct swi_list link; /* in be->open or be->flushing */
	struct swi_be *be;
	void *owner;
	struct rdma_cm_id *id;
	struct ibv_qp *qp; /* ours, not id->qp: see verbs_conn.c */
	enum ep_state state;
	bool inbound;
	bool announced; /* inbound: accepted() was called, so the caller knows it */
	bool granted;
	uint16_t index;
	uint32_t gen;
	uint64_t flush_deadline_ns;

	/* receive slots, then send slots, SWI_BE_MSG_MAX bytes each; one registration */
	uint8_t *slab;
	struct ibv_mr *slab_mr;
	uint32_t inline_max;

	uint64_t send_free; /* a bit per slot */
	uint64_t read_free;
	uint32_t read_depth; /* how many of the read slots are used: what was negotiated */
	uint32_t reads_posted;
	uint64_t read_bytes; /* of the posted ones */
	struct swi_be_read *reads[VERBS_READ_DEPTH];
	struct swi_list reads_waiting;
};

struct ep_slot {
	struct swi_be_ep *ep;
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
	struct ibv_device_attr attr;
	uint8_t port;
	uint64_t max_read;
	int epfd, timerfd;
	char address[80];
	struct sockaddr_storage
	    source; /* outbound connections leave from here, if the family is set */

	struct swi_list open, flushing;
	struct ep_slot eps[VERBS_MAX_EPS];
	uint32_t ep_hint;
	uint32_t cqe_used,
	    cqe_stale; /* completions that may come; of them, of destroyed endpoints */
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

/* verbs_msg.c */
int swi_verbs_slab_create(struct swi_be_ep *ep);
void swi_verbs_slab_destroy(struct swi_be_ep *ep);
int swi_verbs_post_recv(struct swi_be_ep *ep, uint32_t slot);
int swi_verbs_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b,
		   uint32_t blen);
void swi_verbs_recv_done(struct swi_be_ep *ep, uint32_t slot, const struct ibv_wc *wc);
void swi_verbs_send_done(struct swi_be_ep *ep, uint32_t slot, const struct ibv_wc *wc);

/* verbs_rma.c */
int swi_verbs_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr);
void swi_verbs_mr_dereg(struct swi_be *be, struct swi_be_mr *mr);
int swi_verbs_read(struct swi_be_ep *ep, struct swi_be_read *rd);
void swi_verbs_read_done(struct swi_be_ep *ep, uint32_t slot, const struct ibv_wc *wc);
void swi_verbs_reads_cancel(struct swi_be_ep *ep, bool tell);

/* verbs_progress.c */
int swi_verbs_progress(struct swi_be *be, unsigned int budget);
int swi_verbs_fd(struct swi_be *be);
bool swi_verbs_arm(struct swi_be *be);
int swi_verbs_cq_reserve(struct swi_be *be);

/* verbs_init.c */
extern const struct swi_be_ops swi_verbs_ops;
/* For tests: what was made and what was destroyed again. */
const struct swi_verbs_counters *swi_verbs_counters(const struct swi_be *be);

static inline uint64_t swi_verbs_wr_id(enum wr_kind kind, const struct swi_be_ep *ep, uint32_t slot)
{
	return (uint64_t)kind << 62 | (uint64_t)ep->gen << 32 | (uint64_t)ep->index << 16 | slot;
}

#endif
