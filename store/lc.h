/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lc.h - the inside of a local client (object.h): call.c (requests and the pump), object.c (get, put),
 * chunk.c (the room that objects are carved from).
 *
 * All locks here are of this process alone: a process that dies with one held stops nobody.
 */
#ifndef SWI_LC_H
#define SWI_LC_H

#include <pthread.h>

#include "store/index.h"
#include "store/object.h"
#include "store/pin.h"

#define SWI_LC_LANES   4u
#define SWI_LC_BUCKETS 64u

/* A grant of ours. Freed, and reported as done, when the last reference goes: the lane's and each open buffer's. */
struct swi_chunk {
	struct swi_list link; /* lc->spare or lc->large */
	struct swi_list all;  /* lc->chunks */
	uint64_t offset, bytes;
	uint64_t pos; /* carved so far; the lane's lock */
	uint32_t gen;
	bool large;
	uint64_t carved;       /* objects; as pos */
	_Atomic uint64_t refs; /* SWI_CHUNK_OURS less buffers that ended; see let_go() */
};

#define SWI_CHUNK_OURS (1ull << 32) /* what a lane's or a list's reference counts for */

struct swi_lane {
	alignas(SWI_CACHE_LINE) pthread_mutex_t lock;
	struct swi_chunk *cur;
};

struct swi_lc {
	struct swi_lc_opts o;
	uint8_t *arena;
	uint64_t arena_bytes;
	struct swi_index index;
	struct swi_client_shm *shm;

	alignas(SWI_CACHE_LINE) pthread_mutex_t push_lock; /* the request ring's producer end */
	struct swi_ring_end req;
	pthread_mutex_t pump_lock; /* the response ring's consumer end */
	struct swi_ring_end rsp;
	pthread_mutex_t call_lock;
	struct swi_list calls[SWI_LC_BUCKETS]; /* struct swi_call, by req */
	_Atomic uint64_t next_req;
	_Atomic uint64_t pumped; /* responses ever handled */

	struct swi_lane lane[SWI_LC_LANES];
	pthread_mutex_t spare_lock; /* the three lists below */
	struct swi_list spare; /* chunks that came while another was in use */
	struct swi_list large; /* extents for large objects with room left */
	struct swi_list chunks; /* all of them, by ->all */
	pthread_mutex_t note_lock; /* the two lists below; taken while pumping: never post with it */
	struct swi_list sets; /* struct swarm_waitset */
	struct swi_list subs; /* struct swarm_sub */
	uint32_t next_note;   /* number of a set or subscription */
	_Atomic uint32_t in_flight; /* gets of completion queues */
	uint64_t events;      /* bit i: eventfd i + 1 is taken */

	_Atomic int large_streak; /* requests for large room in a row; < 0: room is short */
	_Atomic bool large_dry;	  /* the last room for large ones was just used up */
	_Atomic bool ahead_on;	  /* room for large ones is asked for, and nobody waits for it yet */
	struct swi_call ahead;	  /* that request, while it is on */
};

/* chunk.c */
void swi_chunks_init(struct swi_lc *lc);
void swi_chunks_fini(struct swi_lc *lc);
/*
 * A process that makes many large objects has used its room up: how much to ask for before it needs it; 0 = nothing.
 * At most once at a time (ahead_on, which is set then): so it never has more unused than without.
 */
uint64_t swi_chunk_ahead(struct swi_lc *lc, uint64_t len);
/* Room for several objects at once was refused: ask for what is needed only, for a while. */
void swi_chunk_room_short(struct swi_lc *lc);
/*
 * Room for @bytes with @head written at its start. 0, -EAGAIN: ask for a chunk. -EEXIST: @head's id is in the
 * index; looked at unless @blind and there is room, and late, when the lines that the caller asked for have come.
 */
int swi_chunk_carve(struct swi_lc *lc, uint64_t bytes, struct swi_object_head *head, bool blind,
		    struct swi_chunk **out_chunk, uint64_t *out_offset);
void swi_chunk_put(struct swi_lc *lc, struct swi_chunk *c);
/* Bytes that small objects can be carved from without a question; what other threads use is not counted. */
uint64_t swi_chunks_room(struct swi_lc *lc);

/* batch.c: nobody waits for this answer of a GET_MANY any more. */
void swi_batch_undo(struct swi_lc *lc, struct swi_rd *body);

/* event.c: an eventfd that says that a queue of this process is not empty. */
struct swi_event {
	struct swi_lc *lc;
	uint32_t number; /* 0 = none */
	int fd;
};
#define SWI_EVENT_NONE {.fd = -1}
/* -EMFILE: all SWI_EVENTS are in use, -ENOSYS: not in a simulation. */
int swi_event_open(struct swi_lc *lc, struct swi_event *ev);
void swi_event_close(struct swi_event *ev); /* idempotent */
/* The queue got something. With the queue's lock, or before anybody knows of it. */
void swi_event_raise(struct swi_event *ev);
/*
 * The queue was found empty (@nothing: it had nothing at all for the caller): from here on the next arrival makes
 * the descriptor readable. Pumps; the caller then looks once more and raises it if something came. Without locks.
 */
void swi_event_settle(struct swi_event *ev, bool nothing);

/* waitset.c, subscribe.c: SET_READY and NOTIFY, on the pumping thread. The body is the node's word. */
void swi_waitset_note(struct swi_lc *lc, struct swi_rd *body);
void swi_sub_note(struct swi_lc *lc, struct swi_rd *body);

/* call.c */
#define SWI_LC_GRACE_NS (2 * NS_PER_S) /* after a call's time: the node's own limit ends first */
int swi_calls_init(struct swi_lc *lc);
void swi_calls_fini(struct swi_lc *lc);
/* As swi_lc_try_post() without ringing the doorbell: the node core reads it when it next looks. */
int swi_lc_try_post_quiet(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len);
/*
 * As swi_lc_try_post(); where this process may run the node core itself, without ringing the doorbell: the core reads
 * it when it next looks, or when the caller waits for the answer.
 */
int swi_lc_ask(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len, struct swi_call *call);
/*
 * Posts, waits and hands the answer to @on_reply (on whichever thread pumps). The node keeps to
 * @timeout_ns itself; some grace later the call is given up. 0: *out_status is the answer's status.
 */
int swi_lc_call(struct swi_lc *lc, uint16_t type, const void *body, uint32_t len,
		uint64_t timeout_ns,
		void (*on_reply)(struct swi_call *call, int status, struct swi_rd *body), void *owner,
		int *out_status);

#endif
