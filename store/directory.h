/* SPDX-License-Identifier: Apache-2.0 */
/*
 * directory.h - what is known about objects: home records, and questions put to other homes.
 *
 * A record is the home's (this node answers for the object) or a proxy (somebody here wants to know;
 * the home was asked). Copies in local memory and in the local spill log are never written down:
 * the index and the log are the record, so a local seal needs no message. A record exists only
 * while it says more than they do. Changes only mark a record; watchers are told by the step.
 */
#ifndef SWI_DIRECTORY_H
#define SWI_DIRECTORY_H

#include "transport/base/hash.h"

#include "store/node.h"
#include "store/pool.h"
#include "store/req.h"
#include "store/timer.h"

#define SWI_REC_TEXT 48

struct swi_deleted;
struct swi_local;

struct swi_copy {
	uint32_t node;
	bool primary, spilled;
};

struct swi_rec {
	struct swi_snode *sn;
	struct swarm_oid id;
	UT_hash_handle hh;
	uint32_t home; /* as in the reference: 0 = named */
	uint8_t state; /* enum swi_dir_state; of a proxy: the home's last word */
	bool proxy;
	bool made;     /* had a copy once */
	bool lost;     /* had one, has none */
	bool asked;    /* obj_lost was called for this loss */
	bool waiting;  /* counted in shm->waiters */
	bool dirty;    /* in dir.dirty */
	bool drained;  /* handed to the heir as it is */
	bool answered; /* proxy: the home said something */
	bool want_bytes; /* proxy: a fetch is among the watchers: a lease is welcome */
	int code;
	char *text; /* of FAILED, or where the last copy went, unless that is ... */
	uint32_t dropped_by; /* this node, which made room */
	uint64_t len;
	struct swi_copy *copies, few[2]; /* more than these: a block of their own */
	uint32_t count, cap;
	struct swi_list watches; /* struct swi_watch */
	struct swi_list remotes; /* struct remote (directory.c) */
	struct swi_list link;	 /* dir.dirty */
	struct swi_req rq;	 /* proxy: LOCATE */
	struct swi_census *census; /* home of a lost name: NULL = nobody was asked (census.h) */
	uint64_t census_ns;	   /* when all were asked last */
};

struct swi_dir {
	struct swi_rec *recs;
	struct swi_list dirty;	 /* struct swi_rec */
	struct swi_list fresh;	 /* struct swi_watch, not looked at yet */
	struct swi_deleted *deleted; /* delete.h; in order of deletion: the hash is the queue */
	bool moved; /* membership changed: every home is found anew */
	struct swi_pool spare; /* struct swi_rec */
};

void swi_dir_init(struct swi_snode *sn);
void swi_dir_fini(struct swi_snode *sn);
int swi_dir_step(struct swi_snode *sn);

/* Node number of the home as of now: ours, a live peer's, or 0 with *out_code: -ENOENT (not known here), SWARM_EHOMELOST. */
uint32_t swi_dir_home(struct swi_snode *sn, struct swarm_ref ref, int *out_code);
struct swi_rec *swi_dir_find(struct swi_snode *sn, struct swarm_oid id);
/* What a get at its deadline would return, in words. */
int swi_dir_explain(struct swi_snode *sn, struct swarm_ref ref, char *text, size_t len);
/* A copy is here (memory or spill), or is here no more: tell the home, wake who waits. */
void swi_dir_have(struct swi_snode *sn, struct swarm_ref ref, uint64_t len, uint8_t flags);
/* As swi_dir_add_copy(), of an object that we answer for under whatever reference: a name, or one that we inherited. */
void swi_dir_copy_at(struct swi_snode *sn, struct swarm_ref ref, uint32_t node, uint64_t len, bool primary);
void swi_dir_have_not(struct swi_snode *sn, struct swarm_ref ref, uint32_t node, int reason);
/* clients.c: a client announced a seal (SWI_L_SEALED), or would have. Nothing happens if the object has gone from there. */
void swi_snode_sealed(struct swi_snode *sn, struct swarm_oid id, uint64_t offset);
/*
 * Nobody was told of it, but its client is about to say SEALED, or has said so and we have not read it. Until then nothing
 * is said of it: whatever is known or asked about this name means an object that was here before.
 */
bool swi_dir_is_new(struct swi_snode *sn, const struct swi_local *lo);
/* As swi_watch(), by a fetch: the home may answer with a lease, which goes to swi_fetch_leased(). */
void swi_watch_bytes(struct swi_snode *sn, struct swi_watch *w);
/* The record as it would travel to an heir; false: nothing worth telling. */
bool swi_dir_record(struct swi_snode *sn, struct swi_rec *rec, struct swi_smsg_record *out);

/* ---- between directory.c and dirmsg.c ---- */
struct swi_remote { /* a peer that waits for a record */
	struct swi_list link;
	struct swi_peer *peer;
	uint64_t req;
	uint8_t told; /* state + 1 of the last LOCATED */
};
struct swi_rec *swi_rec_get(struct swi_snode *sn, struct swarm_ref ref);
void swi_rec_touch(struct swi_snode *sn, struct swi_rec *rec); /* something changed: the step looks */
void swi_rec_add_copy(struct swi_snode *sn, struct swi_rec *rec, struct swi_copy copy);
void swi_rec_del_copy(struct swi_snode *sn, struct swi_rec *rec, uint32_t node);
void swi_rec_set_text(struct swi_rec *rec, const char *text);
/* Where the last copy went, or why it failed; "": nothing is known. Into @buf, if it is not there yet. */
const char *swi_rec_text(const struct swi_rec *rec, char buf[SWI_REC_TEXT]);
/* Tells every watcher, local and remote, and forgets them. */
void swi_rec_fire(struct swi_snode *sn, struct swi_rec *rec, int status, const char *text,
		  const struct swi_copies *copies);
/* Proxy: puts the question to the home of today, when it is not there yet. */
void swi_rec_ask(struct swi_snode *sn, struct swi_rec *rec);
void swi_rec_unask(struct swi_snode *sn, struct swi_rec *rec);
void swi_remote_tell(struct swi_snode *sn, struct swi_rec *rec, struct swi_remote *r, int status,
		     const char *text, const struct swi_copies *copies);

/* ---- messages ---- */
int swi_dir_on_locate(struct swi_link *l, struct swi_rd *body);
int swi_dir_on_unwatch(struct swi_link *l, struct swi_rd *body);
int swi_dir_on_copies(struct swi_link *l, struct swi_rd *body);
int swi_dir_on_told(struct swi_link *l, struct swi_rd *body);
/* peer.tell is due: what is here is told once more to the homes that @peer may be. */
void swi_dir_tell_again(struct swi_timer *peer_tell);
int swi_dir_on_xfer(struct swi_link *l, struct swi_rd *body);

/* ---- membership ---- */
void swi_dir_peer_added(struct swi_snode *sn, uint32_t node);
void swi_dir_peer_again(struct swi_snode *sn, uint32_t node); /* connected again after a loss */
void swi_dir_peer_link_lost(struct swi_snode *sn, struct swi_peer *peer);
void swi_dir_peer_removed(struct swi_snode *sn, uint32_t node);

#endif
