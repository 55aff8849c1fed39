/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.h - the local path: what an attached process does by itself, in shared memory.
 *
 * get = probe, pin, re-check; put = carve, write, claim a slot, publish. Nothing here takes a lock that
 * another process could wait for, and a process killed between any two instructions leaves only what
 * clients.c undoes: unsealed extents in its grants, a CLAIMED slot named by an intent, pins.
 * The functions named try_ never wait and are what the simulator's clients use; the others wait.
 * Threads: any, concurrently, on one struct swi_lc.
 */
#ifndef SWI_OBJECT_H
#define SWI_OBJECT_H

#include <swarm/store.h>

#include "store/proto.h"
#include "store/shm.h"
#include "transport/base/codec.h"
#include "transport/base/list.h"

struct swi_lc; /* a local client: one attachment */

struct swi_lc_opts {
	void *arena;
	struct swi_shm_head *index; /* the whole index memfd */
	struct swi_client_shm *shm;
	/* Rings the node's doorbell (eventfd write); NULL in the simulator. */
	void (*ring)(void *ctx);
	void *ring_ctx;
	/* Waits until shm->wake != seen or timeout: futex; NULL in the simulator (try_ calls only). Returns SWARM_ENODAEMON when the node is gone. */
	int (*wait)(void *ctx, struct swi_client_shm *shm, uint32_t seen, uint64_t timeout_ns);
	/* Wakes every other thread of this process that is inside wait(); NULL in the simulator. */
	void (*wake_others)(void *ctx, struct swi_client_shm *shm);
	void *wait_ctx;
	/* Runs the node core on this thread until @done(arg), or until that is not worth it any more: false. NULL: it is not ours to run. */
	bool (*help)(void *ctx, bool (*done)(void *arg), void *arg, uint64_t timeout_ns);
	void *help_ctx;
	/* eventfd @number (1 to SWI_EVENTS) of this client is @fd from now on; -1 = ends. NULL: there are none. 0 or an error. */
	int (*event)(void *ctx, uint32_t number, int fd);
	/* Is the node gone? NULL: never. */
	bool (*gone)(void *ctx);
	/* Unsolicited messages of the layer above (type >= SWI_L_UPPER), on whichever thread pumps. */
	void (*upper)(void *ctx, const struct swi_msg *msg);
	void *upper_ctx;
};

int swi_lc_create(const struct swi_lc_opts *opts, struct swi_lc **out);
void swi_lc_destroy(struct swi_lc *lc);
uint32_t swi_lc_node(const struct swi_lc *lc);
/* Do the public calls wait until what they sealed is durable? */
bool swi_lc_durable(const struct swi_lc *lc);

/* ---- requests ---- */
struct swi_call {
	struct swi_list link;
	uint64_t req;
	bool done;
	bool detached; /* nobody waits for done: on_reply is the last that touches the call */
	/* On the pumping thread; @status and the rest of the reply body. May be NULL. */
	void (*on_reply)(struct swi_call *call, int status, struct swi_rd *body);
	void *owner;
	int status;
};
/* Pushes a request; @call NULL = no answer wanted. -EAGAIN when the ring is full. */
int swi_lc_try_post(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len,
		    struct swi_call *call);
/* As try_post, but pumps while the ring is full. SWARM_ENODAEMON. */
int swi_lc_post(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len,
		struct swi_call *call);
/* Handles every response that is there; returns how many. */
int swi_lc_pump(struct swi_lc *lc);
/* Pumps until @call is done; spins first. 0 (look at call->status), -ETIMEDOUT (the call is then forgotten), SWARM_ENODAEMON. */
int swi_lc_wait(struct swi_lc *lc, struct swi_call *call, uint64_t timeout_ns);
/* Pumps until @is(arg), which is asked on this thread, without a lock; timeout 0: looks once. 0, -ETIMEDOUT, SWARM_ENODAEMON. */
int swi_lc_wait_for(struct swi_lc *lc, bool (*is)(void *arg), void *arg, uint64_t timeout_ns);
/* Those in wait_for() ask again: something changed in this process alone. */
void swi_lc_kick(struct swi_lc *lc);
/* True: @call is its owner's again and on_reply will not be called. False: it was, or is being called now. */
bool swi_lc_forget(struct swi_lc *lc, struct swi_call *call);
/* Waits until something was pumped (any reply or upper message) or timeout. For workers. */
int swi_lc_wait_any(struct swi_lc *lc, uint64_t timeout_ns);

/* ---- objects ---- */
int swi_lc_try_get(struct swi_lc *lc, struct swarm_ref ref, struct swarm_view *out_view); /* 0, -ENOENT, -EMFILE */
/* After a GET answer {offset, gen20, len}: pins it and tells the node (HELD_DONE). */
int swi_lc_accept(struct swi_lc *lc, struct swarm_ref ref, uint64_t offset, uint32_t gen20,
		  struct swarm_view *out_view);
/* As accept, while the hold goes on. */
int swi_lc_adopt(struct swi_lc *lc, struct swarm_ref ref, uint64_t offset, uint32_t gen20,
		 struct swarm_view *out_view);
int swi_lc_get(struct swi_lc *lc, struct swarm_ref ref, uint64_t timeout_ns,
	       struct swarm_view *out_view);
int swi_lc_get_range(struct swi_lc *lc, struct swarm_ref ref, uint64_t from, uint64_t len,
		     uint64_t timeout_ns, struct swarm_view *out_view);
/* batch.c: as in store.h; @status has a row for each. Number of views, or of objects put. */
int swi_lc_get_many(struct swi_lc *lc, const struct swarm_ref *refs, uint32_t count,
		    uint64_t timeout_ns, struct swarm_view *views, int *status);
int swi_lc_put_many(struct swi_lc *lc, const struct swarm_put *puts, uint32_t count,
		    uint64_t timeout_ns, int *status);
void swi_lc_release(struct swi_lc *lc, struct swarm_view *view);
/* -EAGAIN: the chunk is used up or the object is large: ask for room (SWI_L_CHUNK) and hand the answer to swi_lc_grant(). */
int swi_lc_try_create(struct swi_lc *lc, struct swarm_ref ref, uint64_t len, struct swarm_buf *out_buf);
/* What to ask for, for an object of @len bytes. */
void swi_lc_want_chunk(struct swi_lc *lc, uint64_t len, uint64_t *out_bytes, bool *out_large);
void swi_lc_grant(struct swi_lc *lc, uint64_t offset, uint64_t bytes, uint32_t gen, bool large);
/* As create_object, for who seals at once and is told of -EEXIST then: one look-up less. */
int swi_lc_create_blind(struct swi_lc *lc, struct swarm_ref ref, uint64_t len, uint64_t timeout_ns,
			struct swarm_buf *out_buf);
int swi_lc_create_object(struct swi_lc *lc, struct swarm_ref ref, uint64_t len, uint64_t timeout_ns,
			 struct swarm_buf *out_buf);
int swi_lc_seal(struct swi_lc *lc, struct swarm_buf *buf);
void swi_lc_abort(struct swi_lc *lc, struct swarm_buf *buf);
int swi_lc_contains(struct swi_lc *lc, struct swarm_ref ref);
/* Hides the object from every process at once and tells the node. */
int swi_lc_delete(struct swi_lc *lc, struct swarm_ref ref);

/* ---- the real attachment (attach.c) ---- */
/* Joins the node at @dir with a role (0 = plain store client; others are the layer above's). */
int swi_store_attach(const char *dir, uint32_t role,
		     void (*upper)(void *ctx, const struct swi_msg *msg), void *upper_ctx,
		     struct swarm_store **out, char *why, size_t why_len);
struct swi_lc *swi_store_lc(struct swarm_store *store);

#endif
