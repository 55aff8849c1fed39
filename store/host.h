/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - the real surroundings of a node core: memory, sockets, epoll. One thread at a time runs it.
 *
 * It makes the memfds, listens on <dir>/swarm.sock, checks the uid of who attaches, passes the fds
 * (arena, index, client, doorbell) by SCM_RIGHTS, notices a dead client by the end of its socket, and loops: step
 * the core, step the layer above, sleep when neither has anything to do. The simulator replaces this
 * file and nothing else.
 */
#ifndef SWI_HOST_H
#define SWI_HOST_H

#include <swarm/store.h>

#include "store/node.h"

struct swi_host;

struct swi_host_opts {
	const char *dir; /* run directory (made 0700); NULL = no socket: only swi_host_attach_local() */
	uint64_t arena_bytes, objects_max;
	bool huge_pages, hugetlb, numa, lock; /* of the arena (arena.h) */
	bool small_pages; /* no huge ones even in a large arena */
	uint32_t numa_node;
	uint64_t client_quota, pin_bytes_max;
	const char *const *spill_dirs;
	uint32_t spill_dir_count;
	uint32_t spill_depth; /* transfers in flight for each folder; 0 = the disk's default */
	uint64_t spill_bytes, spill_reserve, segment_bytes;
	bool spill_keep, durable;
	struct swi_tp_opts tp; /* tp.bind NULL and tp.backend NULL = no network */
	uint32_t node;
	bool no_verify; /* tests (node.h) */
	const char *log_name;
};

/* The layer above, run by the same thread. Members may be NULL. */
struct swi_host_upper {
	void *ctx;
	int (*step)(void *ctx);		      /* events handled */
	uint64_t (*deadline_ns)(void *ctx);
	/* May this process attach in this role? 0 or a negative code. */
	int (*admit)(void *ctx, uint32_t role, uint32_t pid);
};

/* Makes everything and the core; *@why names what failed and the remedy. */
int swi_host_create(const struct swi_host_opts *opts, struct swi_host **out, char *why, size_t why_len);
void swi_host_destroy(struct swi_host *h); /* after run() returned; removes the socket; NULL is fine */
struct swi_snode *swi_host_snode(struct swi_host *h);
const char *swi_host_dir(struct swi_host *h);
void swi_host_set_upper(struct swi_host *h, const struct swi_host_upper *upper);
/* Any descriptor of the layer above (pidfd, signalfd, pipe). cb runs on the loop's thread. */
int swi_host_add_fd(struct swi_host *h, int fd, uint32_t epoll_events,
		    void (*cb)(void *ctx, uint32_t events), void *ctx);
void swi_host_del_fd(struct swi_host *h, int fd);
int swi_host_run(struct swi_host *h); /* until stop */
/*
 * A thread of this process that waits for the core runs it itself until @done(arg), which it asks after every
 * step. False: not done, and somebody else runs it from now on; @timeout_ns is over, or nothing happened for a while.
 * While swi_host_run() runs, on a host without disks (whose rings belong to a thread) and without a layer above.
 */
bool swi_host_help(struct swi_host *h, bool (*done)(void *arg), void *arg, uint64_t timeout_ns);
bool swi_host_may_help(const struct swi_host *h);
void swi_host_stop(struct swi_host *h); /* any thread, or a signal handler */

/* The default run directory of this user: $SWARM_DIR, else $XDG_RUNTIME_DIR/swarm, else /tmp/swarm-UID. */
int swi_default_dir(char *buf, size_t len);
/* Reads a cluster key: 64 hex digits, mode 0600 or stricter. SWARM_EAUTH with @why. */
int swi_key_read(const char *path, uint8_t key[SWI_CLUSTER_KEY_BYTES], char *why, size_t why_len);
/* Makes one (0600), or reads the one that is there. */
int swi_key_make(const char *path, uint8_t key[SWI_CLUSTER_KEY_BYTES], char *why, size_t why_len);

#endif
