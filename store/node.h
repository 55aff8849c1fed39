/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - the store half of the node core: an event-driven state machine with one owner thread.
 *
 * Every effect goes through tables: struct swi_env (time, randomness), struct swi_tp (network),
 * struct swi_disk_ops (disk), struct swi_doorbell (waking a client). The real node and the simulator
 * share every line. swi_snode_step() moves everything forward and never blocks; nothing here calls
 * back into its caller except from swi_snode_step().
 *
 * Rooms: clients.c (attached processes: rings, grants, undo), extent.c (who owns which bytes of the
 * arena), hold.c (extents that must stay), peer.c (connections to nodes), directory.c (objects whose home
 * is here), delete.c (what was deleted, and is remembered), untold.c (names that their home does not know yet),
 * census.c (who else has a name that is lost), fetch.c (remote or spilled object -> local extent), direct.c
 * (READs without a message), locator.c (where), lease.c (no reuse under READs), evict.c (what leaves memory), relocate.c (what makes way), node.c (the loop).
 */
#ifndef SWI_NODE_H
#define SWI_NODE_H

#include "store/disk.h"
#include "store/shm.h"
#include "store/spill/spill.h"
#include "transport/base/codec.h"
#include "transport/transport.h"

struct swi_snode;
struct swi_client; /* an attached process (clients.h) */
struct swi_peer;   /* another node (peer.h) */

/* ---------------------------------------------------------------- life */

struct swi_snode_opts {
	struct swi_env *env;
	struct swi_log *log;
	/* memory made by arena.c (real) or malloc (simulator); outlives the node */
	void *arena;
	uint64_t arena_bytes;
	struct swi_shm_head *shm; /* the index memfd, initialised by swi_index_format() */
	int arena_fd, index_fd;	  /* the memfds behind them; 0 = none (simulator) */
	/* network; NULL backend = none */
	struct swi_tp_opts tp;
	/* spill; disk_count 0 = none; disks outlive the node */
	struct swi_disk *const *disks;
	uint32_t disk_count;
	uint64_t spill_bytes, spill_reserve, segment_bytes;
	bool spill_keep;
	bool durable; /* every seal by the public calls waits until the object is durable; with spill_keep */
	uint32_t node;	 /* 0 = given later by swi_snode_set_number() */
	uint64_t epoch;	 /* boot epoch, random, never 0 */
	uint64_t client_quota, pin_bytes_max; /* swarm_store_opts; 0 = none, half of the arena */
	uint32_t high_water_permille; /* eviction starts; 0 = 850 */
	uint64_t piece_bytes; /* larger objects travel in pieces of so much, multiple of 64; 0 = 1 MiB */
	bool no_verify; /* tests: what is READ is not compared with its digest; the header still is */
};

/* What the layer above hangs in; every member may be NULL. All are called from swi_snode_step(). */
struct swi_snode_hooks {
	void *ctx;
	void (*client_up)(void *ctx, struct swi_client *cl);
	void (*client_gone)(void *ctx, struct swi_client *cl); /* killed or left; freed on return */
	/* Messages with type >= SWI_L_UPPER. < 0: nonsense, the client is cut off. */
	int (*client_msg)(void *ctx, struct swi_client *cl, const struct swi_msg *msg);
	/* A client of the layer above (a worker) begins / stops to wait for objects inside a call. */
	void (*client_blocked)(void *ctx, struct swi_client *cl, bool blocked);
	void (*peer_up)(void *ctx, struct swi_peer *peer);
	void (*peer_down)(void *ctx, struct swi_peer *peer, int status);
	/* Messages with type >= SWI_P_UPPER. < 0: nonsense, the connection is closed. */
	int (*peer_msg)(void *ctx, struct swi_peer *peer, uint16_t type, struct swi_rd *body);
	/*
	 * A home record of ours has no copy left (or, @made == false, somebody asks for one that was
	 * never made). The layer above re-runs its task and calls swi_dir_expect(), or returns a
	 * negative code with @why filled: the object then fails with it.
	 */
	int (*obj_lost)(void *ctx, struct swarm_oid id, bool made, char *why, size_t why_len);
	/*
	 * A user deletes an object homed here. true: something that was asked for before still needs it;
	 * the layer above calls swi_delete() again when that is over.
	 */
	bool (*obj_keep)(void *ctx, struct swarm_oid id);
	/*
	 * What it would take to make @id (homed here) again by running its task: UINT64_MAX when nothing can. @drop: its
	 * copy here leaves now, unwritten.
	 */
	uint64_t (*obj_remake_ns)(void *ctx, struct swarm_oid id, bool drop);
	/* A client waits for room, and nothing may leave: give back what is held for later. */
	void (*need_room)(void *ctx);
	/* Bytes of @node's arena that nothing lies in, as it said last; UINT64_MAX: not known. */
	uint64_t (*peer_free)(void *ctx, uint32_t node);
	/* JSON for SWI_L_STATUS when @what is not the store's ("store"): malloc'd text or NULL. */
	char *(*status)(void *ctx, const char *what);
};

int swi_snode_create(const struct swi_snode_opts *opts, struct swi_snode **out, char *why,
		     size_t why_len);
void swi_snode_destroy(struct swi_snode *sn); /* NULL and half-built are fine */
void swi_snode_set_hooks(struct swi_snode *sn, const struct swi_snode_hooks *hooks);
/* The number given by the head; also goes to the transport and the shared page. Once. */
void swi_snode_set_number(struct swi_snode *sn, uint32_t node);
uint32_t swi_snode_number(const struct swi_snode *sn);
uint64_t swi_snode_epoch(const struct swi_snode *sn); /* boot epoch */

int swi_snode_step(struct swi_snode *sn);		   /* events handled; 0 = idle */
uint64_t swi_snode_deadline_ns(const struct swi_snode *sn); /* call step again by then */
struct swi_tp *swi_snode_tp(struct swi_snode *sn);	   /* NULL without network */
struct swi_spill *swi_snode_spill(struct swi_snode *sn);
struct swi_env *swi_snode_env(struct swi_snode *sn);
struct swi_log *swi_snode_log(struct swi_snode *sn);
void *swi_snode_arena(struct swi_snode *sn); /* where an offset given by a want or hold leads */
uint64_t swi_snode_arena_bytes(const struct swi_snode *sn);
uint64_t swi_snode_arena_used(const struct swi_snode *sn);
bool swi_snode_tight(struct swi_snode *sn); /* the arena is fuller than its high-water mark */

struct swi_snode_stats {
	uint64_t arena_bytes, arena_used, arena_largest_free, objects, pins, holds;
	uint64_t gets_local_miss, fetches, fetch_bytes, fetch_failures, restores, restore_bytes;
	uint64_t evicted_objects, evicted_bytes, spilled_objects, spilled_bytes;
	uint64_t served_reads, served_bytes; /* leases given to peers */
	uint64_t digest_errors, client_errors, clients, peers;
	uint64_t local_hits; /* wants that found the object in memory */
	/* fetches by how they came: one READ, two READs, or by messages; and what all of them posted and sent */
	uint64_t warm_gets, cold_gets, message_gets, get_reads, get_messages;
	uint64_t direct_misses, cold_misses; /* READ was something else; no slot in the owner's index */
	uint64_t locators, locators_stale;   /* known; dropped because their node began another life */
	uint64_t cast_sent_on;		     /* readers of large objects that were sent to another reader */
	uint64_t syncs, revoked;	     /* asked whether READs have ended; connections closed over it */
	uint64_t quarantine_bytes, quarantine_peak;
	uint64_t moved_objects, moved_bytes; /* within the arena, to make room in one piece */
};
void swi_snode_stats(struct swi_snode *sn, struct swi_snode_stats *out);
/* The store's part of SWI_L_STATUS; malloc'd JSON. */
char *swi_snode_status_json(struct swi_snode *sn);
/* {"segments": [..]}: where the bytes of the spill folders are; malloc'd JSON. */
char *swi_snode_segments_json(struct swi_snode *sn);

/* ---------------------------------------------------------------- wants: bring an object here */

/*
 * A want: "have @ref in local memory and hold it there". Exactly one cb() unless cancelled. On
 * status 0 the object lies at @offset (its header first) and carries one hold of the caller's,
 * ended by swi_hold_drop(). On failure @text says why, in words. Wants for one object share one transfer.
 */
struct swi_want {
	struct swi_list link; /* private while active */
	struct swarm_ref ref;
	uint64_t deadline_ns; /* UINT64_MAX = none */
	bool recovery;	      /* may use the memory reserved for recovery */
	bool hint;	      /* free memory below the high-water mark or nothing: never waits for room, nobody leaves for it */
	void (*cb)(struct swi_want *w, int status, const char *text, uint64_t offset);
	void *owner;
	void *priv; /* private */
};
/* Never calls back from inside; the answer comes from a later (or the same) swi_snode_step(). */
void swi_want(struct swi_snode *sn, struct swi_want *w);
void swi_want_cancel(struct swi_snode *sn, struct swi_want *w); /* no cb any more; idempotent */

/* Holds keep an extent in memory, counted, on behalf of the core itself. */
void swi_hold_add(struct swi_snode *sn, uint64_t offset);
void swi_hold_drop(struct swi_snode *sn, uint64_t offset);
/* As swi_hold_drop(), by a task that has consumed it: it is written to disk later than others, for it may be deleted. */
void swi_hold_drop_used(struct swi_snode *sn, uint64_t offset);
/* As swi_hold_drop(), of what a task here is about to consume: others are written to disk before it. */
void swi_hold_drop_soon(struct swi_snode *sn, uint64_t offset);
/* Local memory only: true and one hold when the object is there. */
bool swi_hold_find(struct swi_snode *sn, struct swarm_oid id, uint64_t *out_offset);

/* ---------------------------------------------------------------- watches: know about an object */

#define SWI_COPIES_MAX 16u
struct swi_copies { /* who has it */
	uint64_t len;
	uint32_t count;
	uint32_t node[SWI_COPIES_MAX];
	bool spilled[SWI_COPIES_MAX];
};
/*
 * A watch: "tell me when @ref exists, or has failed for good". Nothing is fetched. cb() once.
 * status 0: @copies is valid during the call. Unknown at the deadline: -ENOENT; being made: -ETIMEDOUT.
 */
struct swi_watch {
	struct swi_list link; /* private while active */
	struct swarm_ref ref;
	uint64_t deadline_ns;
	void (*cb)(struct swi_watch *w, int status, const char *text, const struct swi_copies *copies);
	void *owner;
	void *priv;
};
void swi_watch(struct swi_snode *sn, struct swi_watch *w);
/* Calls @each for every watch of this node on @id. */
void swi_watch_each(struct swi_snode *sn, struct swarm_oid id,
		    void (*each)(void *ctx, struct swi_watch *w), void *ctx);
void swi_watch_cancel(struct swi_snode *sn, struct swi_watch *w);

/* ---------------------------------------------------------------- the directory: objects whose home is here */

enum swi_dir_state {
	SWI_DIR_UNKNOWN,   /* somebody asked, nobody made it yet */
	SWI_DIR_PENDING,   /* a task will make it */
	SWI_DIR_AVAILABLE, /* at least one copy */
	SWI_DIR_FAILED,	   /* never: code and text */
};
/* A task was accepted that will make @id: watchers wait instead of failing. Also after a loss. */
void swi_dir_expect(struct swi_snode *sn, struct swarm_oid id);
void swi_dir_add_copy(struct swi_snode *sn, struct swarm_oid id, uint32_t node, uint64_t len,
		      bool primary);
void swi_dir_fail(struct swi_snode *sn, struct swarm_oid id, int code, const char *text);
/* If @id is in memory here, its home is told: whoever made it was to say so, and is gone. */
void swi_dir_found(struct swi_snode *sn, struct swarm_oid id);
enum swi_dir_state swi_dir_get(struct swi_snode *sn, struct swarm_oid id, struct swi_copies *out_copies);
/* Forget the object everywhere: every copy, every spilled record. Watchers get SWARM_EDELETED. */
void swi_delete(struct swi_snode *sn, struct swarm_ref ref);
/* Number of records, for status. */
uint64_t swi_dir_count(struct swi_snode *sn);

/* ---------------------------------------------------------------- peers */

#define SWI_P_STORE 0x100 /* message types of this layer: 0x100-0x1ff (smsg.h) */
#define SWI_P_UPPER 0x200 /* of the layer above */

/* Learn of a node, or of its new address or epoch. Connects when something is to be said. */
struct swi_peer *swi_peer_add(struct swi_snode *sn, uint32_t node, uint64_t epoch,
			      const char *address);
/* Connect by address alone: the peer becomes known by the handshake. cb via hooks.peer_up / peer_down. */
int swi_peer_dial(struct swi_snode *sn, const char *address);
struct swi_peer *swi_peer_find(struct swi_snode *sn, uint32_t node); /* NULL = unknown or dead */
uint32_t swi_peer_node(const struct swi_peer *peer);
uint64_t swi_peer_epoch(const struct swi_peer *peer);
bool swi_peer_is_up(const struct swi_peer *peer);
/* Queued until connected; lost when the peer dies (peer_down tells). */
int swi_peer_send(struct swi_snode *sn, struct swi_peer *peer, uint16_t type, const void *body,
		  uint32_t len);
/*
 * The node is dead (killed == true) or left in good order. Its copies leave every record, leases that it
 * held end, records homed there fail over to @heir (0 = none: SWARM_EHOMELOST); hooks.obj_lost follows for what lost its last copy.
 */
void swi_peer_remove(struct swi_snode *sn, uint32_t node, bool killed, uint32_t heir);
/* Every known live peer, in order of arrival. */
/* The live node that answers for a named object: rendezvous hashing over this node and its peers. */
uint32_t swi_home_of(struct swi_snode *sn, struct swarm_ref ref);

/* ---------------------------------------------------------------- draining */

struct swi_drain { /* one at a time; a second only after one that failed */
	void (*cb)(struct swi_drain *d, int status); /* every primary copy has another home in memory or on disk elsewhere; records handed to @heir */
	void *owner;
	uint32_t heir;
};
/* Moves primary copies to peers (round robin over @targets) and home records to @heir, then cb(). */
void swi_drain_start(struct swi_snode *sn, struct swi_drain *d, const uint32_t *targets,
		     uint32_t target_count);

/* ---------------------------------------------------------------- clients (clients.c) */

struct swi_doorbell { /* how to wake a sleeping client; the simulator's does nothing */
	void (*ring)(struct swi_doorbell *db, struct swi_client_shm *shm);
	/* Writes eventfd @number of this client if it is armed; NULL: there are none. */
	void (*event)(struct swi_doorbell *db, struct swi_client_shm *shm, uint32_t number);
};
/* @shm: SWI_CLIENT_BYTES, zeroed, made by the host; @role is the layer above's. The client is the node's until _gone. */
int swi_client_attach(struct swi_snode *sn, struct swi_client_shm *shm, struct swi_doorbell *db,
		      uint32_t pid, uint32_t role, struct swi_client **out);
/* What it makes is the cluster's (a worker): no quota counts it. From hooks.client_up alone. */
void swi_client_no_quota(struct swi_client *cl);
/* The process is dead or left: undo what it left half-done, drop its pins, holds and grants. Frees @cl. */
void swi_client_gone(struct swi_snode *sn, struct swi_client *cl);
/* Asks the host to cut the client off (nonsense in its ring). The host calls swi_client_gone(). */
bool swi_client_condemned(const struct swi_client *cl);
uint32_t swi_client_role(const struct swi_client *cl);
uint32_t swi_client_pid(const struct swi_client *cl);
void *swi_client_user(const struct swi_client *cl);
void swi_client_set_user(struct swi_client *cl, void *user);
/* Queues (in private memory when the ring is full) and rings the doorbell. */
void swi_client_send(struct swi_client *cl, uint16_t type, uint64_t req, const void *body,
		     uint32_t len);
/* A SWI_L_REPLY: status and text when negative. */
void swi_client_reply_error(struct swi_client *cl, uint64_t req, int status, const char *text);

#endif
