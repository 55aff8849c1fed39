/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops.h - what a backend must do: the table behind which verbs, libfabric, the simulator and the
 * fault decorator are exchangeable. Read this file first.
 *
 * A backend moves bytes between two endpoints and knows nothing of keys, nodes or objects. It
 * offers: a listener, connections that carry messages of at most SWI_BE_FRAME_MAX bytes in order,
 * and one-sided READs of memory that the other side registered. Flow control (credits), fragments,
 * authentication and time limits are conn.c's, above.
 *
 * Threads: one thread owns a backend; every call comes from it; callbacks run on it, only from
 * inside progress(). Nothing here blocks.
 * Errors: 0 or a negative code. -EAGAIN is back-pressure only: try again after progress().
 */
#ifndef SWI_OPS_H
#define SWI_OPS_H

#include "transport/base/base.h"
#include "transport/base/env.h"
#include "transport/base/list.h"
#include "transport/base/log.h"

#define SWI_BE_MSG_MAX	  8192u /* bytes of one message on the wire, header included */
#define SWI_BE_OWN_HDR	  16u	/* of these, for a backend that decorates another one */
#define SWI_BE_FRAME_MAX  (SWI_BE_MSG_MAX - SWI_BE_OWN_HDR) /* what the layer above sends at most */
#define SWI_BE_RECV_DEPTH 64u	/* receives that a backend keeps posted on every endpoint */
#define SWI_BE_SEND_DEPTH 64u	/* sends that an endpoint takes before -EAGAIN */

struct swi_be;	  /* one instance of a backend */
struct swi_be_ep; /* one end of one connection */

/* What mr_reg() is given. */
struct swi_be_mem {
	void *addr;
	uint64_t len;
	int fd;		  /* the memfd behind it, sealed against shrinking; -1 = it is not one */
	uint64_t fd_off;  /* where in the memfd it begins */
	bool remote_read; /* peers may READ it */
};

/* Memory registered with the card, readable by authenticated peers (or local only). */
struct swi_be_mr {
	void *addr;
	uint64_t len;
	uint64_t base; /* what a peer adds its offset to: a virtual address, or 0 */
	uint64_t rkey;
	void *desc;   /* local descriptor for reads that land here */
	void *handle; /* the backend's */
};

/*
 * One READ: [remote_base + offset, + len) of the peer into local memory that lies inside @mr.
 * The struct and the memory are the backend's from post until done(); done() comes exactly once,
 * also when the endpoint dies (after the card can no longer write into the memory).
 */
struct swi_be_read {
	struct swi_list link; /* the backend's while posted */
	void *local;
	const struct swi_be_mr *mr;
	uint64_t remote_addr;
	uint64_t rkey;
	uint32_t len; /* at most the backend's max_read */
	void *owner;  /* the caller's */
	/*
	 * NULL, or: a backend that copies the bytes itself tells each piece that has landed, while the cache has it; in
	 * order, without a gap, from progress(), before read_done(). One whose card writes them tells nothing.
	 */
	void (*landed)(struct swi_be_read *rd, const void *at, uint32_t len);
};

struct swi_path_info { /* one card or port of a backend that has several */
	char device[64];
	uint32_t legs; /* connections that use it now */
	uint64_t reads, read_bytes;
	uint64_t reposted; /* READs that it had when it failed, and that went another way */
	uint64_t joined, failures; /* of legs */
};

/* Called by the backend, from progress() only. @ctx is swi_be_open_args.ctx. */
struct swi_be_events {
	/* An inbound connection is up: messages can be sent. set_owner() it, or close it. */
	void (*accepted)(void *ctx, struct swi_be_ep *ep);
	/* An outbound connection is up. */
	void (*connected)(void *ctx, struct swi_be_ep *ep);
	/* A message; @buf is borrowed until the callback returns. */
	void (*recv)(void *ctx, struct swi_be_ep *ep, const void *buf, uint32_t len);
	/* A read ended: 0, or SWARM_EREMOTEACCESS, SWARM_EPEERLOST, ... */
	void (*read_done)(void *ctx, struct swi_be_ep *ep, struct swi_be_read *rd, int status);
	/*
	 * The endpoint failed or the peer closed; also an outbound connection that never came up.
	 * SWARM_EREMOTEACCESS: the peer's side refused a READ, for a wrong key or because it took the right
	 * back; a kernel that cleans up after a dead process may do that first.
	 * Comes once, before any read_done() of what was in flight is complete; the caller answers
	 * with ep_close(). Not called after ep_close().
	 */
	void (*down)(void *ctx, struct swi_be_ep *ep, int status);
	/* The last callback for an endpoint: every read is done and its memory is gone. */
	void (*closed)(void *ctx, struct swi_be_ep *ep);
};

#define SWI_QUEUE_PAIRS_MAX 4u

struct swi_be_open_args {
	struct swi_env *env;
	const struct swi_log *log;
	const struct swi_be_events *events;
	void *ctx;
	const char *bind;   /* "HOST:PORT" to listen on; port 0 = any; NULL = do not listen */
	const char *device; /* verbs: device name, or name:port; ofi: provider name; NULL = best */
	uint32_t queue_pairs; /* verbs: that READs to a peer are spread over, 1 to SWI_QUEUE_PAIRS_MAX; 0 = all */
	/*
	 * sim: struct swi_simnet *; fault: struct swi_fault_plan *; paths: struct swi_paths_plan *; shm: not NULL = it only looks whether a
	 * peer is on this host: connect() fails at once when nobody of this user listens there.
	 */
	void *param;
};

struct swi_be_ops {
	uint32_t size; /* sizeof(struct swi_be_ops) */
	const char *name;

	/* SWARM_ENOTRANSPORT (no device; @why says what is missing), SWARM_EPORTUSED, -EINVAL (address). */
	int (*open)(const struct swi_be_open_args *args, struct swi_be **out_be, char *why,
		    size_t why_len);
	/* Ends everything at once: closed() was seen for every endpoint, or is not wanted any more. NULL is fine. */
	void (*close)(struct swi_be *be);
	/* The address that peers connect to ("HOST:PORT"), or "" when not listening. Lives as long as @be. */
	const char *(*address)(struct swi_be *be);
	/* "tcp", "rxe0": what carries the bytes, for `swarm info`. */
	const char *(*device)(struct swi_be *be);
	/* Largest READ in bytes, and largest memory that one registration takes. */
	uint64_t (*max_read)(struct swi_be *be);
	uint64_t (*max_mr)(struct swi_be *be);

	/*
	 * Registers page-aligned memory. SWARM_EMEMLOCK, -ENOMEM; -ENOTSUP: peers of this backend can
	 * read a memfd only, and this is none.
	 */
	int (*mr_reg)(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr);
	void (*mr_dereg)(struct swi_be *be, struct swi_be_mr *mr);

	/* Begins to connect; connected() or down() follows. @owner is what owner() returns. */
	int (*connect)(struct swi_be *be, const char *addr, void *owner, struct swi_be_ep **out_ep);
	void (*set_owner)(struct swi_be_ep *ep, void *owner);
	void *(*owner)(struct swi_be_ep *ep);
	/*
	 * The peer has proved who it is: from now on it may READ memory that is registered with
	 * remote_read. Before this call its card is refused whatever key it guesses (where the device
	 * can do so; elsewhere keys are random). 0, or SWARM_EPEERLOST. Idempotent.
	 */
	int (*grant)(struct swi_be_ep *ep);
	/*
	 * The key under which this peer READs @mr, after grant(). NULL: @mr->rkey, the same for all.
	 */
	uint64_t (*rkey)(struct swi_be_ep *ep, const struct swi_be_mr *mr);
	/*
	 * Takes grant() back, at once: memory that is written after the return never reaches the peer as
	 * the result of a READ that it may trust, however long it sleeps in between. The endpoint is of no
	 * use afterwards: ep_close() it. Idempotent.
	 */
	void (*revoke)(struct swi_be_ep *ep);
	/* Copies the pieces (at most SWI_BE_FRAME_MAX bytes together) and sends them. 0, -EAGAIN, SWARM_EPEERLOST. */
	int (*send)(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b, uint32_t blen);
	/* 0: @rd is the backend's until read_done(). < 0: nothing was taken. */
	int (*read)(struct swi_be_ep *ep, struct swi_be_read *rd);
	/*
	 * No more use of @ep by the caller. Sends already accepted may or may not arrive. Reads in flight
	 * are flushed: read_done() with an error for each, then closed(), all from later progress() calls.
	 */
	void (*ep_close)(struct swi_be_ep *ep);

	/* Reaps at most @budget events; returns how many, or < 0 when the backend itself is broken. */
	int (*progress)(struct swi_be *be, unsigned int budget);
	/* A descriptor that becomes readable when progress() has something to do, or -1 (poll always). */
	int (*fd)(struct swi_be *be);
	/* Call before sleeping on fd(). true: armed, sleep. false: there is work, call progress(). */
	bool (*arm)(struct swi_be *be);

	/* --- several cards at once (paths/); NULL elsewhere --- */

	/*
	 * The backend of one card lists those that could be used together, as what .device takes; first the one
	 * that has the address @bind (NULL: any).
	 */
	uint32_t (*ports)(const char *bind, char out_names[][64], uint32_t max);
	/* How many there are. Both sides tell each other; both having several, pair() is called. */
	uint32_t (*paths)(struct swi_be *be);
	/*
	 * The peer has several, too, and @secret is known to nobody but it and us, as soon as each has proved to
	 * the other who it is: further paths may be used. Before grant().
	 */
	void (*pair)(struct swi_be_ep *ep, const uint8_t secret[32]);
	/* What this peer adds its offset to, instead of @mr->base. */
	uint64_t (*base)(struct swi_be_ep *ep, const struct swi_be_mr *mr);
	/* Writes at most @max rows; returns how many there are. */
	uint32_t (*info)(struct swi_be *be, struct swi_path_info *out_rows, uint32_t max);
	/* When progress() must be called even if nothing arrives, or UINT64_MAX. */
	uint64_t (*deadline_ns)(struct swi_be *be);
};

/* NULL when not built in. */
extern const struct swi_be_ops *const swi_be_verbs;
extern const struct swi_be_ops *const swi_be_ofi;
extern const struct swi_be_ops *const swi_be_shm;
extern const struct swi_be_ops *const swi_be_sim;
extern const struct swi_be_ops *const swi_be_fault;
extern const struct swi_be_ops *const swi_be_paths;

#endif
