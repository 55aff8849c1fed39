/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.h - the front door: authenticated connections between nodes, over any backend.
 *
 * A connection carries typed messages (any size up to SWI_MSG_MAX, in order, credit-controlled) and
 * one-sided READs of the peer's registered regions. It is up only after both sides proved to know
 * the cluster key; region keys are sent after that proof and never before.
 *
 * Threads: the owner thread only. Nothing blocks. Callbacks come from swi_tp_progress() only.
 */
#ifndef SWI_TRANSPORT_H
#define SWI_TRANSPORT_H

#include "transport/ops.h"

#define SWI_MSG_MAX	  (1u << 20) /* bytes of a message body; larger data travels as an object */
#define SWI_REGIONS_MAX	  4u
#define SWI_REGION_ARENA  0u /* object bytes */
#define SWI_REGION_INDEX  1u /* the shared index, for cold READs */
#define SWI_CLUSTER_KEY_BYTES 32u

struct swi_tp;
struct swi_conn;

/* Who the other side is, proven by the handshake. */
struct swi_peer_id {
	uint32_t node;	    /* node number; 0 = has none yet (is about to join) */
	uint64_t epoch;	    /* boot epoch */
	char address[64];   /* where it listens, "" when it does not; a list when it has several paths */
};

struct swi_tp_handler {
	void *ctx;
	/* The connection is authenticated. @inbound: the peer connected to us. */
	void (*up)(void *ctx, struct swi_conn *conn, bool inbound);
	/* @body is borrowed until return; it may be unaligned. */
	void (*msg)(void *ctx, struct swi_conn *conn, uint16_t type, const void *body, uint32_t len);
	/*
	 * The end of a connection, once: also for one that we began and that never came up
	 * (SWARM_EAUTH, SWARM_EPEERLOST, -ETIMEDOUT, ...). Every READ was completed before, and @conn
	 * is freed on return. Inbound connections that fail before up() are never shown. It also
	 * comes after swi_conn_close().
	 */
	void (*down)(void *ctx, struct swi_conn *conn, int status);
};

struct swi_tp_opts {
	/*
	 * "verbs", "ofi", "shm", "sim", "fault": this one for every peer. NULL or "auto": verbs when a device is
	 * there, else ofi; and shared memory for peers of this user on this host.
	 */
	const char *backend;
	/*
	 * NULL = best. Verbs: "rxe0", "rxe0:1" (its port 1); several with commas, or "all": every port that is
	 * up, used together (paths/paths.h). @bind, and what is connected to, may be lists, then.
	 */
	const char *device;
	const char *bind;    /* "HOST:PORT"; NULL = do not listen */
	uint32_t queue_pairs; /* ops.h; other than 0 needs verbs */
	void *param;	     /* for the backend (ops.h) */
	uint8_t key[SWI_CLUSTER_KEY_BYTES];
	uint32_t node;
	uint64_t epoch;
	uint64_t connect_timeout_ns; /* 0 = 5 s: from swi_tp_connect() to up() */
	uint64_t silence_timeout_ns; /* 0 = 2 s: nothing heard, not even an answer to a ping */
};

struct swi_tp_counters {
	uint64_t conns_opened, conns_closed, auth_failures, proto_errors;
	uint64_t msgs_sent, msgs_received, msg_bytes_sent, msg_bytes_received;
	uint64_t reads_posted, reads_done, reads_failed, read_bytes;
};

/* A READ of the caller's; the struct is borrowed until cb(). */
struct swi_read {
	void (*cb)(struct swi_read *rd, int status); /* exactly once, from progress() */
	void *owner;
	/* NULL, or told of what has landed, before cb(), by a backend that can (ops.h): each part in order, the parts in any. */
	void (*landed)(struct swi_read *rd, const void *at, uint32_t len);
	/* private to conn.c */
	struct swi_conn *conn;
	uint64_t left;
	int status;
	uint32_t parts;
};

/* *@why gets one sentence on failure: what, and what to do. */
int swi_tp_open(const struct swi_tp_opts *opts, struct swi_env *env, const struct swi_log *log,
		const struct swi_tp_handler *handler, struct swi_tp **out_tp, char *why,
		size_t why_len);
/* Closes every connection without callbacks and frees. NULL is fine. */
void swi_tp_close(struct swi_tp *tp);

/*
 * Registers page-aligned memory as region @region, in chunks no larger than the device takes. Before any
 * connection. @memfd: the memfd that begins with this memory, sealed against shrinking, or -1; without
 * one, peers on this host go through the network as well (transport "shm": -ENOTSUP).
 */
int swi_tp_register(struct swi_tp *tp, uint32_t region, void *addr, uint64_t len, int memfd);
/* The number is given by the head after open; used by handshakes from now on. */
void swi_tp_set_node(struct swi_tp *tp, uint32_t node);

const char *swi_tp_address(const struct swi_tp *tp);
const char *swi_tp_backend(const struct swi_tp *tp); /* "ofi" */
const char *swi_tp_device(const struct swi_tp *tp);  /* "tcp" */
/* The cards or ports, when there are several: writes at most @max rows, returns how many there are. */
uint32_t swi_tp_paths(const struct swi_tp *tp, struct swi_path_info *out_rows, uint32_t max);
const struct swi_tp_counters *swi_tp_counters(const struct swi_tp *tp);

/*
 * up() or down() follows, never from inside this call. @addr: "HOST:PORT", several with commas: the next one is tried
 * when one cannot be reached. @user: swi_conn_user().
 */
int swi_tp_connect(struct swi_tp *tp, const char *addr, void *user, struct swi_conn **out_conn);
const struct swi_peer_id *swi_conn_peer(const struct swi_conn *conn);
void *swi_conn_user(const struct swi_conn *conn);
void swi_conn_set_user(struct swi_conn *conn, void *user);
/* What carries this connection: "verbs", "ofi", "shm". */
const char *swi_conn_backend(const struct swi_conn *conn);
/* down() follows from a later progress(), after every READ has been completed. Idempotent. */
void swi_conn_close(struct swi_conn *conn, int status);
/*
 * The same, and at once: what is written into our memory after the return is never part of a READ that
 * the peer believes, however silent it was and whenever it wakes. Before memory is reused that a peer
 * may still be reading.
 */
void swi_conn_revoke(struct swi_conn *conn, int status);

/* Copies; queued without limit of count but of 64 MiB in all (-ENOBUFS). SWARM_EPEERLOST once it is going down. */
int swi_conn_send(struct swi_conn *conn, uint16_t type, const void *body, uint32_t len);
/*
 * READs [offset, offset + len) of the peer's region into @local, which must lie in a region of our
 * own. Split at the peer's chunks and the backend's largest READ. 0: cb follows. < 0: refused here
 * and now, no cb (SWARM_EREMOTEACCESS: outside of what the peer registered; SWARM_EPEERLOST).
 */
int swi_conn_read(struct swi_conn *conn, uint32_t region, uint64_t offset, void *local,
		  uint64_t len, struct swi_read *rd);
/* Bytes of the peer's region, 0 when it has none. */
uint64_t swi_conn_region_len(const struct swi_conn *conn, uint32_t region);
/* Bytes that READs of ours brought over this connection. */
uint64_t swi_conn_read_bytes(const struct swi_conn *conn);

/* Moves everything forward; returns the number of events handled. */
int swi_tp_progress(struct swi_tp *tp);
int swi_tp_fd(struct swi_tp *tp);
bool swi_tp_arm(struct swi_tp *tp);
/* When progress() must be called even if nothing arrives (time limits, pings). */
uint64_t swi_tp_deadline_ns(const struct swi_tp *tp);

#endif
