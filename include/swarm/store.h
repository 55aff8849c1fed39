/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm/store.h - the object store: immutable objects in shared, registered memory.
 *
 * Two ways in: swarm_store_open() starts a store inside this process (embedded, no daemon);
 * swarm_store_attach() joins the node daemon of this host. All other calls are the same.
 * Life of an object: create (writable) -> write in place -> seal (immutable, visible) -> delete.
 * Handles may be used by any number of threads at once. After fork() a child must not use them.
 */
#ifndef SWARM_STORE_H
#define SWARM_STORE_H

#include <swarm/error.h>
#include <swarm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct swarm_store;

/** Options of swarm_store_open(); zero means the default. Set size = sizeof(struct swarm_store_opts). */
struct swarm_store_opts {
	uint32_t size;
	uint32_t flags;		 /* SWARM_STORE_* */
	uint64_t arena_bytes;	 /* memory for objects; default 256 MiB; allocated at once */
	uint64_t objects_max;	 /* slots of the index; default arena_bytes / 4 KiB, at least 65,536 */
	const char *spill_dir;	 /* folder for what does not fit; NULL = no spilling */
	uint64_t spill_bytes;	 /* limit of the spill folder; default: what the disk has, less a reserve */
	const char *dir;	 /* run directory to serve other processes of this user; NULL = private */
	const char *bind;	 /* "HOST:PORT" to serve peers; NULL = none; port 0 = any */
	const char *transport;	 /* "auto" (default), "verbs", "ofi", "shm" */
	const char *device;	 /* network device (verbs: several as "a:1,b:1", or "all") or provider; NULL = best */
	const char *key_file;	 /* cluster key (64 hex digits); needed with bind */
	uint32_t node;		 /* node number among the peers; default: random */
	uint32_t numa_node;	 /* with SWARM_STORE_NUMA: the node whose memory the arena takes */
	uint64_t client_quota_bytes; /* of the arena that one client process may fill (not a worker); 0 = no quota */
	uint64_t pin_bytes_max;	 /* that may be pinned hard at once; default: half of the arena */
	uint32_t spill_depth;	 /* transfers in flight to spill_dir, 1 to 4096; default 64 */
	uint32_t queue_pairs;	 /* verbs: that READs to a peer are spread over, 1 to 4; default 4 */
};
#define SWARM_SPILL_DEPTH_MAX 4096u
#define SWARM_QUEUE_PAIRS_MAX 4u
#define SWARM_STORE_HUGE_PAGES 0x1u /* huge pages in the arena where the machine has them: the default from 64 MiB on */
#define SWARM_STORE_KEEP       0x2u /* keep spill_dir: a store opened on it later finds what was spilled or synced */
#define SWARM_STORE_SMALL_PAGES 0x8u /* no huge pages: a large arena starts sooner where memory is fragmented */
#define SWARM_STORE_DURABLE    0x4u /* as KEEP, and seal and put return when the object is durable */
#define SWARM_STORE_HUGETLB    0x10u /* the arena lies in huge pages that the host has reserved (vm.nr_hugepages) */
#define SWARM_STORE_NUMA       0x20u /* the arena lies on numa_node alone */
#define SWARM_STORE_LOCK       0x40u /* lock the arena in memory; SWARM_EMEMLOCK where the limit forbids it */

/** A writable, unsealed object. Fields other than data, len and ref are private. */
struct swarm_buf {
	void *data;
	uint64_t len;
	struct swarm_ref ref;
	uint64_t priv[2];
};

/** A pinned, read-only view of a sealed object. Fields other than data, len and ref are private. */
struct swarm_view {
	const void *data;
	uint64_t len;
	struct swarm_ref ref;
	uint64_t priv[2];
};

/** One row of swarm_store_put_many(): the caller's bytes, read before the call returns. */
struct swarm_put {
	struct swarm_ref ref;
	const void *data;
	uint64_t len; /* bytes */
};

/** The most rows of swarm_store_get_many() and swarm_store_put_many(). */
#define SWARM_MANY_MAX 4096u

/** One row of swarm_store_list(). */
struct swarm_object_info {
	struct swarm_ref ref;
	uint64_t len;	   /* bytes */
	uint32_t flags;	   /* SWARM_OBJECT_* */
	uint32_t reserved;
};
#define SWARM_OBJECT_IN_MEMORY 0x1u
#define SWARM_OBJECT_SPILLED   0x2u
#define SWARM_OBJECT_SECONDARY 0x4u /* a copy whose primary is on another node */
#define SWARM_OBJECT_PIN_SOFT  0x8u /* swarm_store_pin() */
#define SWARM_OBJECT_PIN_HARD  0x10u

/**
 * swarm_store_open - start a store inside this process.
 *
 * What:     allocates and pre-faults the arena, starts one service thread (spill, peers, clients).
 * Lifetime: the store lives until swarm_store_close(). On failure *out_store is untouched.
 * Threads:  any. Blocks while memory is allocated (about 0.3 s per GiB).
 * On error: @why (may be NULL) receives one sentence that names the thing and the remedy.
 * Return:   0, -EINVAL, -ENOMEM, SWARM_EMEMLOCK, SWARM_ENOTRANSPORT, SWARM_EPORTUSED, SWARM_EAUTH (key file), -EACCES ...
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_open(const struct swarm_store_opts *opts,
						struct swarm_store **out_store, char *why,
						size_t why_len);

/**
 * swarm_store_attach - join the store of the node daemon (or embedded store with a dir) on this host.
 *
 * @dir: its run directory; NULL = $SWARM_DIR, else the default of this user.
 * Return: 0, SWARM_ENODAEMON, -EACCES (other user), SWARM_EVERSION, -ENOMEM. Threads: any.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_attach(const char *dir, struct swarm_store **out_store,
						  char *why, size_t why_len);

/**
 * swarm_store_close - leave or end the store; NULL is fine.
 *
 * Views and buffers become invalid; unsealed objects are dropped. No other thread may be in a call.
 */
SWARM_API void swarm_store_close(struct swarm_store *store);

/** swarm_store_address - "HOST:PORT" where peers reach this store, "" when it serves none. Lives as long as the store. */
SWARM_API const char *swarm_store_address(struct swarm_store *store);

/** swarm_store_node - this node's number; refs made here carry it as home. */
SWARM_API uint32_t swarm_store_node(struct swarm_store *store);

/**
 * swarm_store_peer - make a peer store known by its address; both then see each other's objects.
 *
 * Blocks until the peer has proven the cluster key. A lost connection is made again by itself. A peer that does not answer for
 * about 5 s is given up (what was only there is lost); one that was stopped or cut off and answers again is taken back, by its
 * own dialling or by this call. Return: 0, SWARM_EAUTH, SWARM_EPEERLOST, -ETIMEDOUT, SWARM_EVERSION.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_peer(struct swarm_store *store, const char *address,
						uint64_t timeout_ns);

/** swarm_ref_named - the reference of a named object: its id is the 128-bit XXH3 of the string. */
SWARM_API struct swarm_ref swarm_ref_named(const char *name);
/** swarm_ref_key - the reference of a named object whose id is these 16 bytes. */
SWARM_API struct swarm_ref swarm_ref_key(const uint8_t key[16]);
/** swarm_ref_new - a fresh reference whose home is this node. Any thread; no system call. */
SWARM_API struct swarm_ref swarm_ref_new(struct swarm_store *store);

/**
 * swarm_store_create - room for an object of @len bytes, writable by the caller.
 *
 * Lifetime: *out_buf is the caller's until seal or abort; its bytes are not zeroed.
 * Cost:     small objects: carved from memory leased to this process, no system call; large ones
 *           (or a used-up lease): one round trip to the node core.
 * Return:   0, -EEXIST (sealed here already), SWARM_EFULL or -ETIMEDOUT (no room within timeout_ns), -E2BIG
 *           (larger than the arena), SWARM_EQUOTA (this process has filled client_quota_bytes with what it made;
 *           at once: waiting would not help), SWARM_ENODAEMON (the daemon died).
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_create(struct swarm_store *store, struct swarm_ref ref,
						  uint64_t len, uint64_t timeout_ns,
						  struct swarm_buf *out_buf);
/**
 * swarm_store_seal - make the object immutable and visible to every process.
 *
 * The buffer is consumed in every case. Return: 0, -EEXIST (somebody sealed this id first: theirs stands, ours is
 * dropped), SWARM_EINDEXFULL; of a durable store also the errors of swarm_store_sync(): the object is then visible,
 * but only in memory. Cost: two atomic operations; wakes nobody unless somebody waits.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_seal(struct swarm_store *store, struct swarm_buf *buf);
/** swarm_store_abort - drop an unsealed object; the buffer is consumed. */
SWARM_API void swarm_store_abort(struct swarm_store *store, struct swarm_buf *buf);
/** swarm_store_put - create, copy @len bytes of @data, seal. Errors as of create and seal. */
SWARM_API SWARM_MUST_CHECK int swarm_store_put(struct swarm_store *store, struct swarm_ref ref,
					       const void *data, uint64_t len, uint64_t timeout_ns);
/**
 * swarm_store_get - pin a sealed object and return a read-only view of its bytes.
 *
 * What:     found in local memory: done. Else the node core restores it from disk or READs it from
 *           another node into the local arena; waits for objects that do not exist yet.
 * Units:    @timeout_ns [ns]; 0 = local memory only; SWARM_FOREVER = no limit.
 * Lifetime: the bytes are valid and never change until swarm_view_release().
 * Threads:  any, concurrently. Cost: local hit: no lock, system call or copy.
 * Return:   0, -ENOENT (nobody has it), -ETIMEDOUT (exists or is being made, but not here in time),
 *           SWARM_EFULL, SWARM_ELOST, SWARM_ECORRUPT, SWARM_EDELETED, SWARM_ETASK and the other task codes
 *           (its task failed), SWARM_EHOMELOST, -EMFILE (all 4,096 pins of this process in use), SWARM_ENODAEMON.
 *           On error *out_view is untouched; swarm_store_explain() has the details.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_get(struct swarm_store *store, struct swarm_ref ref,
					       uint64_t timeout_ns, struct swarm_view *out_view);
/**
 * swarm_store_get_range - a view of the bytes [offset, offset + len) of an object, without the rest.
 *
 * What:     in local memory: a view into the object, no copy. Spilled here: only the disk blocks of the part are
 *           read. On another node: one READ of the part alone; if it is on that node's disk, the part alone is read there.
 *           What was brought so is kept for nobody else, and goes with the view. The digest of an object covers all of
 *           it: a part is not checked against it, only what the disk and the network check themselves.
 * Units:    @offset and @len in bytes, @len not 0; @timeout_ns [ns], as for swarm_store_get().
 * Lifetime: as swarm_store_get(); out_view->len is @len.
 * Threads:  any, concurrently.
 * Return:   0, -EINVAL (no such bytes), else as swarm_store_get(). On error *out_view is untouched.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_get_range(struct swarm_store *store, struct swarm_ref ref,
						     uint64_t offset, uint64_t len,
						     uint64_t timeout_ns,
						     struct swarm_view *out_view);
/** swarm_view_release - unpin. The view's bytes must not be touched afterwards. A zeroed view is fine. */
SWARM_API void swarm_view_release(struct swarm_store *store, struct swarm_view *view);
/**
 * swarm_store_get_many - pin many objects with one question to the node for all that are not here.
 *
 * What:     as swarm_store_get() for each of @refs, with one deadline for all. out_views[i] belongs to refs[i]; where
 *           out_status[i] (NULL = not wanted) is not 0 the view is zeroed, so all can be released in bulk. A
 *           ref may appear twice: each view is a pin of its own.
 * Units:    @timeout_ns [ns]; 0 = local memory only; @count at most SWARM_MANY_MAX.
 * Lifetime: each view's bytes are valid and never change until it is released, by swarm_views_release() or alone.
 * Threads:  any, concurrently. Cost: hits as swarm_store_get(), all misses together one round trip to the node core.
 * On error: nothing stays pinned; out_views and out_status are untouched.
 * Return:   how many views are valid (less than @count: see out_status, codes of swarm_store_get()), or
 *           -EINVAL (too many), -ENOMEM.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_get_many(struct swarm_store *store,
						    const struct swarm_ref *refs, uint32_t count,
						    uint64_t timeout_ns,
						    struct swarm_view *out_views, int *out_status);
/**
 * swarm_store_put_many - put many objects; all the room that they need is asked for at once.
 *
 * What:     create, copy and seal each row, in order, as swarm_store_put(). One that fails (-EEXIST, say) does not stop
 *           the others: out_status[i] (NULL = not wanted) says what became of each.
 * Units:    @timeout_ns [ns] is for all together; @count at most SWARM_MANY_MAX.
 * Lifetime: the rows and their bytes are borrowed until return.
 * Threads:  any, concurrently. Cost: one round trip to the node core for what does not fit into room that this process
 *           has already.
 * Return:   how many were sealed by this call, or -EINVAL (too many), -ENOMEM.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_put_many(struct swarm_store *store,
						    const struct swarm_put *puts, uint32_t count,
						    uint64_t timeout_ns, int *out_status);
/** swarm_views_release - release @count views; zeroed ones among them are fine. Any thread; no system call. */
SWARM_API void swarm_views_release(struct swarm_store *store, struct swarm_view *views,
				   uint32_t count);
/** swarm_store_contains - 1: in local memory now; 0: not. No system call, no waiting. */
SWARM_API int swarm_store_contains(struct swarm_store *store, struct swarm_ref ref);
/**
 * swarm_store_wait - wait until at least @min of @count objects exist somewhere (sealed, or failed for good).
 *
 * @out_ready[i] is set to 1 or 0 for each (NULL = not wanted). Nothing is fetched.
 * Return: number ready (>= @min), or -ETIMEDOUT (out_ready is valid), -EINVAL, SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_wait(struct swarm_store *store,
						const struct swarm_ref *refs, uint32_t count,
						uint32_t min, uint64_t timeout_ns,
						uint8_t *out_ready);
/**
 * swarm_store_sync - make objects durable: on disk, and found by the next store on the same folder.
 *
 * What:     each of the @count objects in this node's memory is written to the spill folder (they stay in memory) and
 *           the disk confirms it; what was written already costs nothing. Many objects in one call, or calls of many
 *           threads, share the disk's confirmation (fdatasync). Their content survives SIGKILL and power loss from then on,
 *           until they are deleted. A named object is found by its name, another one by its old reference.
 *           What this node was told to delete before the call is gone for good when it returns 0, also with @count 0:
 *           without it a deleted object may be back after power loss.
 * Needs:    a store opened with SWARM_STORE_KEEP or SWARM_STORE_DURABLE, or a daemon started with --spill-keep or --durable.
 * Threads:  any, concurrently. Units: @timeout_ns [ns]; SWARM_FOREVER = no limit.
 * Return:   0: all are durable, and so are the deletes. Else the first failure: -ENOENT (not on this node), SWARM_EDISKFULL, -EIO,
 *           SWARM_EDELETED, -ETIMEDOUT (they go on being written), -EOPNOTSUPP (this store keeps nothing),
 *           SWARM_ENODAEMON. Others of the list may be durable all the same; calling again is cheap.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_sync(struct swarm_store *store,
						const struct swarm_ref *refs, uint32_t count,
						uint64_t timeout_ns);
/**
 * swarm_store_delete - forget the object everywhere: every copy, in memory and on disk.
 *
 * Asynchronous: returns at once, pinned views stay valid until released. Of a durable store (SWARM_STORE_DURABLE, --durable) it
 * returns when no crash of this node can bring the object back; of one that is kept only, swarm_store_sync() says so. Objects whose
 * home is another node are gone there when that one was told. Return: 0, SWARM_ENODAEMON; of a durable store also -EIO,
 * SWARM_EDISKFULL: it is deleted, but may be back after a crash.
 */
SWARM_API int swarm_store_delete(struct swarm_store *store, struct swarm_ref ref);
/** How an object stays in a node's memory. */
enum swarm_pin_policy {
	SWARM_PIN_NONE = 0,
	SWARM_PIN_SOFT = 1, /* leaves memory after everything that is not pinned; may be spilled */
	SWARM_PIN_HARD = 2, /* never leaves memory; counted against pin_bytes_max */
};
/**
 * swarm_store_pin - pin an object by policy in this node's memory, or unpin it (SWARM_PIN_NONE).
 *
 * What:     brought here first when it is not. The last call counts, whoever made it; the pin is the object's, not the
 *           caller's: it stays when this process ends, and goes when the object is deleted.
 * Units:    @timeout_ns [ns], as of swarm_store_get().
 * Threads:  any. Cost: one round trip to the node core.
 * Return:   0, SWARM_EPINLIMIT (pin_bytes_max would be passed; the object is as before), -EINVAL, codes of swarm_store_get().
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_pin(struct swarm_store *store, struct swarm_ref ref,
					       uint32_t policy, uint64_t timeout_ns);
/**
 * swarm_store_expire - delete an object by itself after a time.
 *
 * What:     as swarm_store_delete(), everywhere, when @ttl_ns have passed on this node's clock and no process of this node
 *           reads the object; while one does, it waits. The last call counts. The time is this node's: it ends with the node.
 * Units:    @ttl_ns [ns] from now; 0 = now; SWARM_FOREVER = never (takes an earlier call back).
 * Threads:  any. Cost: one round trip to the node core.
 * Return:   0, -ENOENT (this node has no copy, in memory or on disk), -ENOMEM, SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_expire(struct swarm_store *store, struct swarm_ref ref,
						  uint64_t ttl_ns);
/** The most copies that swarm_store_replicate() can be asked for. */
#define SWARM_COPIES_MAX 16u
/**
 * swarm_store_replicate - see to it that at least @copies nodes have an object, in memory or on disk, and keep it.
 *
 * What:     the first copy counts. Nodes that have one already keep it; of the others those are asked that have room for it, as far as
 *           that is known, else it is spread by the id. They READ the object from a node that has it. Each further copy is
 *           pinned soft: it leaves memory after everything else, and then for that node's disk; where there is none it stays. A node that
 *           drains passes it on. Calling again, or from several nodes at once, copies nothing that is there.
 * Lifetime: the copies stay until the object is deleted; unpinning does not end them. While one of the nodes lives the object can be had
 *           by all, also when its home (the node of the reference, or the one a name falls to) was killed: as soon as that death is known
 *           (0.1 s where its host says so, about 10 s where nobody answers any more) the others are asked. Not survived: the death of
 *           all of them, and a delete of which the home died before it had passed it on. What is lost with a node is not made
 *           up for by itself: call again.
 * Units:    @copies 1 to SWARM_COPIES_MAX; @timeout_ns [ns], as of swarm_store_get().
 * Threads:  any, concurrently. Cost: a message to each of the nodes and its answer, and a READ by each that had no copy.
 * Return:   0, -EINVAL, SWARM_EFEWNODES (the cluster has fewer nodes than @copies: nothing was copied; ask for fewer, or add
 *           nodes), SWARM_EFULL (so many have no room, after a second's patience of each; what was copied stays), -ETIMEDOUT (what
 *           was copied stays, the rest may still come), SWARM_EDRAINING, codes of swarm_store_get().
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_replicate(struct swarm_store *store, struct swarm_ref ref,
						     uint32_t copies, uint64_t timeout_ns);
/**
 * swarm_store_list - the objects of this node, in memory and spilled.
 *
 * Writes at most @max rows; returns how many objects there are (may be more than @max), or an error.
 */
SWARM_API SWARM_MUST_CHECK int64_t swarm_store_list(struct swarm_store *store,
						    struct swarm_object_info *out_rows, uint64_t max);
/**
 * swarm_store_explain - why an object cannot be had, in words: node, task, attempts, cause.
 *
 * Always writes a NUL-terminated text. Return: the code that a get would return now (0 = it can be had).
 */
SWARM_API int swarm_store_explain(struct swarm_store *store, struct swarm_ref ref, char *text,
				  size_t text_len);
/**
 * swarm_store_status - counters and sizes of this node as a JSON object. The caller frees *out_json with free().
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_status(struct swarm_store *store, char **out_json);

/* ---------------------------------------------------------------- wait sets */

/** A set of objects to wait for, kept by the node from wait to wait. */
struct swarm_waitset;

/** One object that left a wait set because it exists, or never will. */
struct swarm_ready {
	struct swarm_ref ref;
	uint64_t token;	   /* as given to add */
	int status;	   /* 0: sealed somewhere; else why it never will be: SWARM_EDELETED, SWARM_ETASK ..; -ENOMEM: not watched */
	uint32_t reserved;
};

/**
 * swarm_waitset_create - an empty wait set.
 *
 * Lifetime: until swarm_waitset_destroy(), which must come before the store is closed.
 * Return:   0, -ENOMEM. Threads: any.
 */
SWARM_API SWARM_MUST_CHECK int swarm_waitset_create(struct swarm_store *store,
						    struct swarm_waitset **out_ws);
/**
 * swarm_waitset_add - put objects into the set: each is told to the node once, however often one waits.
 *
 * What:     tokens[i] (NULL = all 0) comes back with refs[i] when it is ready. Nothing is fetched.
 * Lifetime: the arrays are borrowed until return.
 * Threads:  any, also while another waits. Cost: O(@count); a message for 4,096 of them; those in local memory
 *           need none. A process may have 1,048,576 in its sets.
 * Return:   how many were added, from the first on: less than @count when one failed; when none was added -EEXIST (in the
 *           set already), -ENOMEM, SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int64_t swarm_waitset_add(struct swarm_waitset *ws,
						     const struct swarm_ref *refs,
						     const uint64_t *tokens, uint32_t count);
/** swarm_waitset_remove - take an object out, ready or not. Return: 0, -ENOENT, SWARM_ENODAEMON. Threads: any. */
SWARM_API int swarm_waitset_remove(struct swarm_waitset *ws, struct swarm_ref ref);
/**
 * swarm_waitset_wait_any - wait until something in the set is ready, and take it out.
 *
 * What:     writes up to @max rows, in the order in which they became ready; each leaves the set by that. What
 *           remains ready is returned by the next call.
 * Units:    @timeout_ns [ns]; 0 = what is ready now.
 * Threads:  any; each row goes to one of them. Cost: O(rows written), whatever the size of the set.
 * Return:   number of rows (>= 1), -ETIMEDOUT, -ENOENT (the set is empty), -EINVAL (@max is 0), SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_waitset_wait_any(struct swarm_waitset *ws, uint64_t timeout_ns,
						      struct swarm_ready *out_rows, uint32_t max);
/**
 * swarm_waitset_wait_all - wait until everything in the set is ready; nothing is taken out.
 *
 * Threads: any. Cost: O(1) beyond the waiting. Return: 0 (also when the set is empty), -ETIMEDOUT, SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_waitset_wait_all(struct swarm_waitset *ws, uint64_t timeout_ns);
/**
 * swarm_waitset_fd - an eventfd that is readable while the set has something ready.
 *
 * What:     for poll, epoll or io_uring. Do not read it: swarm_waitset_wait_any() with timeout 0 does, when it finds
 *           no more. It may be readable once too often.
 * Lifetime: the set's; do not close it. Threads: one at a time for the first call.
 * Return:   the descriptor, -EMFILE (64 such in this process), SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_waitset_fd(struct swarm_waitset *ws);
/** swarm_waitset_destroy - end the set; NULL is fine. No other thread may be in a call on it. */
SWARM_API void swarm_waitset_destroy(struct swarm_waitset *ws);

/* ---------------------------------------------------------------- gets that do not wait */

/** A queue in which gets end. */
struct swarm_cq;

/** The end of one swarm_cq_get(). */
struct swarm_completion {
	uint64_t user; /* as given to the get */
	struct swarm_ref ref;
	int status; /* 0, or a code of swarm_store_get() */
	uint32_t reserved;
	struct swarm_view view; /* valid when status is 0: the caller's from now on, ended by swarm_view_release() */
};

/**
 * swarm_cq_create - a queue for at most @depth gets that are in flight or have ended and were not taken.
 *
 * Units:    @depth 1 to 16,384. Lifetime: until swarm_cq_destroy(), which must come before the store is closed.
 * Return:   0, -EINVAL, -ENOMEM, -EMFILE (64 queues, sets and subscriptions with a descriptor in this process), SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_cq_create(struct swarm_store *store, uint32_t depth,
					       struct swarm_cq **out_cq);
/**
 * swarm_cq_get - begin a get; it ends in the queue.
 *
 * What:     as swarm_store_get(), without waiting. Exactly one completion with @user follows, unless cancel says 0. What
 *           is in local memory is in the queue, pinned, when this returns.
 * Units:    @timeout_ns [ns], as of swarm_store_get(). *out_id (NULL = not wanted): for swarm_cq_cancel().
 * Threads:  any, concurrently; never blocks. Cost: a hit as swarm_store_get(), else one message in a ring.
 * Return:   0, -EAGAIN (@depth or 32,768 of this process are in flight, or the ring to the node is full: poll, then try again;
 *           nothing was begun), SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_cq_get(struct swarm_cq *cq, struct swarm_ref ref,
					    uint64_t timeout_ns, uint64_t user, uint64_t *out_id);
/**
 * swarm_cq_cancel - give up a get that is in flight.
 *
 * Threads: any; never blocks. Return: 0 (no completion will follow), -EALREADY (it has ended: its completion is in the
 * queue, or is about to be), -ENOENT (its completion was taken, or there was no such get).
 */
SWARM_API int swarm_cq_cancel(struct swarm_cq *cq, uint64_t id);
/**
 * swarm_cq_poll - take what has ended, without waiting.
 *
 * What:     writes up to @max rows in the order in which they ended. Lifetime: each row and its view are the caller's from then on.
 * Threads:  any; each row goes to one of them. Cost: no system call, except one when the queue was found empty. Where the
 *           node is gone every get in flight ends with SWARM_ENODAEMON.
 * Return:   number of rows, 0 when nothing has ended, -EINVAL (@max is 0).
 */
SWARM_API SWARM_MUST_CHECK int swarm_cq_poll(struct swarm_cq *cq, struct swarm_completion *out_rows,
					     uint32_t max);
/**
 * swarm_cq_wait - as swarm_cq_poll(), after waiting until something has ended.
 *
 * Units: @timeout_ns [ns]. Threads: any. Return: number of rows (>= 1), -ETIMEDOUT, -EINVAL (@max is 0), SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_cq_wait(struct swarm_cq *cq, uint64_t timeout_ns,
					     struct swarm_completion *out_rows, uint32_t max);
/**
 * swarm_cq_fd - an eventfd that is readable while the queue is not empty.
 *
 * What:     for poll, epoll or io_uring, also where no thread of this process is in a call: the node writes it. Do not
 *           read it: swarm_cq_poll() does, when it finds no more. It may be readable once too often. The death of the
 *           node does not write it: poll with a limit in time, and call swarm_cq_poll() then.
 * Lifetime: the queue's; do not close it. Return: the descriptor. Threads: any.
 */
SWARM_API SWARM_MUST_CHECK int swarm_cq_fd(struct swarm_cq *cq);
/**
 * swarm_cq_destroy - end the queue; NULL is fine.
 *
 * Gets in flight are given up, views that nobody took are released; views that were taken stay valid. No other thread
 * may be in a call on it.
 */
SWARM_API void swarm_cq_destroy(struct swarm_cq *cq);

/* ---------------------------------------------------------------- notifications */

/** Somebody who wants to hear of objects sealed and deleted on this node. */
struct swarm_sub;

enum swarm_event_kind {
	SWARM_EVENT_SEALED = 1,	 /* a process of this node made it; copies fetched from others are not told */
	SWARM_EVENT_DELETED = 2, /* its copy on this node went because it was deleted or its time was over */
	SWARM_EVENT_LOST = 3,	 /* len events before this row came too fast and are not among the rows */
};

struct swarm_event {
	uint32_t kind; /* enum swarm_event_kind */
	uint32_t reserved;
	struct swarm_ref ref;
	uint64_t len; /* bytes of the object; LOST: number of events */
};

enum swarm_sub_filter {
	SWARM_SUB_ALL = 0,
	SWARM_SUB_PREFIX = 1, /* named objects (swarm_ref_key) whose 16 bytes begin with prefix */
	SWARM_SUB_REFS = 2,   /* those in refs */
};

/** Options of swarm_store_subscribe(); zero means the default. Set size = sizeof(struct swarm_sub_opts). */
struct swarm_sub_opts {
	uint32_t size;
	uint32_t kinds;	   /* 1 << SWARM_EVENT_SEALED, 1 << SWARM_EVENT_DELETED; default both */
	uint32_t capacity; /* events that may wait to be taken; default 1,024, at most SWARM_SUB_CAPACITY_MAX */
	uint32_t filter;   /* enum swarm_sub_filter */
	uint32_t prefix_len;
	uint8_t prefix[16];
	uint32_t ref_count; /* at most SWARM_MANY_MAX */
	const struct swarm_ref *refs;
};
#define SWARM_SUB_CAPACITY_MAX 65536u

/**
 * swarm_store_subscribe - hear of every seal and delete on this node from now on.
 *
 * What:     what happens after the return is told, in the order in which the node learns of it. More than capacity events
 *           that wait are not kept: they are counted, and the count is the next row (SWARM_EVENT_LOST). Neither the node nor
 *           who seals ever waits for a subscriber.
 * Lifetime: until swarm_sub_close(), which must come before the store is closed. @opts is borrowed until return; NULL = all.
 * Threads:  any. Cost: while anybody subscribes to seals each seal of this node sends one message to the node core.
 * Return:   0, -EINVAL, -ENOMEM, -EMFILE (64 of this process), SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_store_subscribe(struct swarm_store *store,
						     const struct swarm_sub_opts *opts,
						     struct swarm_sub **out_sub);
/**
 * swarm_sub_next - take the next events.
 *
 * Units: @timeout_ns [ns]; 0 = what is here. Threads: any; each row goes to one of them. Return: number of rows (>= 1),
 * -ETIMEDOUT, -EINVAL (@max is 0), SWARM_ENODAEMON.
 */
SWARM_API SWARM_MUST_CHECK int swarm_sub_next(struct swarm_sub *sub, uint64_t timeout_ns,
					      struct swarm_event *out_rows, uint32_t max);
/** swarm_sub_fd - an eventfd that is readable while events wait; rules and errors as of swarm_waitset_fd(). */
SWARM_API SWARM_MUST_CHECK int swarm_sub_fd(struct swarm_sub *sub);
/** swarm_sub_close - end the subscription; NULL is fine. No other thread may be in a call on it. */
SWARM_API void swarm_sub_close(struct swarm_sub *sub);

#ifdef __cplusplus
}
#endif
#endif
