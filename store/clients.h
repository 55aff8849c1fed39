/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clients.h - node side of attached processes: their rings, grants and what is undone when they die.
 *
 * Invariant: every byte that a client may carve objects from lies in a grant (struct swi_grant) and is
 * allocated in sn->extents until the grant ends. What leaves memory while its grant is open only
 * becomes ABORTED; the walk at the grant's end frees it. Owner thread of the node.
 * clients.c: attach, step, replies, gone. grant.c: room. request.c: what each message asks for.
 */
#ifndef SWI_CLIENTS_H
#define SWI_CLIENTS_H

#include "store/pool.h"
#include "store/node.h"

struct swi_grant {
	struct swi_list link;	  /* client->grants */
	struct swi_client *cl;
	uint64_t offset, bytes;
	uint32_t gen;
	uint32_t number;	  /* place in clients.grant[] */
	bool large;
};

struct swi_client_held { /* holds given by GET answers, until HELD_DONE */
	struct swi_list link;
	uint64_t offset;
};

struct swi_client {
	struct swi_list link; /* clients.list: order of arrival */
	struct swi_snode *sn;
	struct swi_client_shm *shm;
	struct swi_doorbell *db;
	struct swi_ring_end req, rsp;
	uint32_t pid, role, number;
	bool condemned, gone;
	uint32_t blocked; /* GET and WAIT calls not yet answered */
	void *user;
	struct swi_list out;	/* replies that the full ring did not take */
	uint64_t out_bytes;
	struct swi_list grants; /* struct swi_grant */
	struct swi_list held;	/* struct swi_client_held */
	struct swi_list gets;	/* struct client_get (request.c) */
	struct swi_list manys;	/* struct swi_client_many (many.c) */
	struct swi_list waits;	/* struct client_wait (request.c) */
	struct swi_list rooms;	/* struct client_room (grant.c), by its own link */
	struct swi_list ranges; /* struct client_range (range.c) */
	struct swi_list dials;	/* struct client_dial (request.c) */
	struct swi_list syncs;	/* struct client_sync (sync.c) */
	char *status_text;	/* of the last SWI_L_STATUS with offset 0 */
	uint32_t requests;	/* asked and not answered */
	uint32_t items;		/* objects waited for in lists (request.h) */
	struct swi_list sets;	/* struct swi_client_set (sets.c) */
	struct swi_list pin_calls; /* struct swi_client_pin (attr.c) */
	struct swi_list replicates; /* struct swi_replicate (replicate.c) */
	struct swi_account *account; /* NULL: no quota */
	struct swi_list subs;	/* struct swi_client_sub (notify.c) */
	uint32_t set_count, sub_count;
	uint32_t unsaid_seen;	/* shm->unsaid when last looked at */
	uint64_t late_events;	/* bit i: eventfd i + 1 is for a message that waits in out */
};

struct swi_clients {
	struct swi_list list;
	uint32_t count, next_number;
	struct swi_list rooms;	/* requests for room that wait, oldest first */
	uint64_t rooms_bytes;	/* what they want in all: room that eviction should make; 0 = nobody waits */
	uint64_t rooms_frees;	/* extents.frees when they were last tried */
	bool rooms_again;	/* tried again although nothing was freed: one left the line */
	uint64_t served, refused; /* that had to wait: room came, did not come in time */
	uint64_t refused_late;	  /* of the refused: those that had any patience */
	uint64_t waited_ns, waited_max_ns;
	uint32_t *page_grant;	/* grant number + 1 for each page of the arena */
	struct swi_grant **grant;
	uint32_t grant_cap;
	uint32_t *grant_free;	/* numbers to use again */
	uint32_t grant_free_count, grant_count;
	uint64_t errors;	/* clients condemned, ranges refused */
	struct swi_list dirty_sets; /* struct swi_client_set with rows to be sent */
	struct swi_pool spare_held; /* struct swi_client_held */
	uint8_t *scratch;	/* a request is copied out of shared memory before it is read */
};

int swi_clients_init(struct swi_snode *sn);
void swi_clients_fini(struct swi_snode *sn);
int swi_clients_step(struct swi_snode *sn);
uint64_t swi_clients_deadline_ns(struct swi_snode *sn);
/* True when a request ring holds something: asked by the host after it announced that it sleeps. */
bool swi_clients_ready(struct swi_snode *sn);
/* Objects in memory: what everybody sealed, less what was removed. A client that lies changes this number only. */
uint64_t swi_clients_objects(struct swi_snode *sn);
/* What was just sent is for a queue that a poll loop of the client watches; 0 = for none. */
void swi_client_event(struct swi_client *cl, uint32_t event);
/* sets.c: sends what came. */
int swi_client_sets_step(struct swi_snode *sn);
/* Nonsense came from this client: it will be cut off. */
void swi_client_condemn(struct swi_client *cl, const char *what);

/* ---- grant.c ---- */
/* Gives an object's bytes back: at once, or when the open grant they lie in ends. */
void swi_grant_free(struct swi_snode *sn, uint64_t offset, uint64_t bytes);
/* Was it made in a grant that still stands? Its client says all there is to say of an object before it gives the grant back. */
bool swi_in_grant(struct swi_snode *sn, uint64_t offset);
/* SWI_L_CHUNK, SWI_L_CHUNK_DONE. < 0: nonsense. */
int swi_grant_request(struct swi_client *cl, const struct swi_msg *msg);
int swi_grant_done(struct swi_client *cl, const struct swi_msg *msg);
int swi_grants_step(struct swi_snode *sn);
uint64_t swi_grants_deadline_ns(struct swi_snode *sn);
/* Of the client that waits longest for room: its ticket, its bytes; 0 = none waits. */
uint64_t swi_grants_ticket(struct swi_snode *sn);
uint64_t swi_grants_head(struct swi_snode *sn);
/* And what of it must be in one piece: less than a whole chunk will do. */
uint64_t swi_grants_piece(struct swi_snode *sn);
uint64_t swi_grants_least(struct swi_snode *sn);
/* The client is gone: slots that its intents name, everything unsealed in its grants. */
void swi_grants_undo(struct swi_client *cl);
void swi_grants_fini(struct swi_snode *sn);

/* ---- walk.c ---- */
/* Frees what is no object that stays: in [0, limit) by the headers and the index, and all behind it. */
void swi_grant_return(struct swi_snode *sn, const struct swi_grant *g, uint64_t limit);
/* [from, to) is free; a range that was free already is counted and otherwise ignored. */
void swi_extent_give_back(struct swi_snode *sn, uint64_t from, uint64_t to);

/* ---- request.c ---- */
/* One message of a client. < 0: nonsense. */
int swi_client_request(struct swi_client *cl, const struct swi_msg *msg);
void swi_client_requests_drop(struct swi_client *cl);

#endif
