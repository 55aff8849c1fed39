/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm.h - the backend for two processes of one user on one host: no network stack in between.
 *
 * Messages go over a unix-domain SOCK_SEQPACKET socket whose abstract name is made of the uid and the
 * node's address; both sides check the other's uid. After grant() the peer gets the memfds behind the
 * registered memory, opened for reading only, and maps them when it READs for the first time; a READ is
 * a memcpy by the reader, in pieces, inside progress().
 *
 * Revocation. A mapping cannot be taken away, so the right to trust it is: each side has a page of
 * words that its peers map read-only, one word for each endpoint; the peer may trust what it copied as
 * long as the word still has the value that grant() told it. revoke() changes the word, a full barrier
 * follows, and only then is memory reused; the reader looks at the word after the copy, behind an
 * acquire fence. So whoever copied a reused byte also sees the changed word, and fails the READ. The
 * values of a word only grow: it stays wrong for an old peer when its slot has a new one.
 *
 * Against whom this protects: mistakes of peers that proved the cluster key. A process of the same user
 * that means harm could trace us anyway.
 *
 * Everything here is the owner thread's.
 */
#ifndef SWI_SHM_H
#define SWI_SHM_H

#include <sys/socket.h>

#include "transport/base/addr.h"
#include "transport/ops.h"
#include "transport/shm/shm_wire.h"

#define SHM_WORDS_BYTES (SHM_EPS_MAX * sizeof(uint64_t))
#define SHM_FDS_MAX     (SHM_WINDOWS_MAX + 1) /* theirs, and the words' */
#define SHM_DGRAM_MAX   (1u + SWI_BE_MSG_MAX)
#define SHM_COPY_BYTES  (MIB(1) + SWI_PAGE) /* of one progress(): about what a message may wait for; 1 MiB and a header */

struct shm_mr {
	struct swi_list link; /* swi_be.mrs */
	int fd;		      /* opened for reading only; -1: local memory */
	uint64_t fd_off, len, rkey;
};

struct shm_window { /* memory of the peer */
	int fd;	    /* -1 once it is mapped */
	uint64_t rkey, off, len, file_len;
	uint8_t *map; /* the whole file; NULL before the first READ */
};

struct swi_be_ep {
	struct swi_list link;	   /* swi_be.eps, or .todo */
	struct swi_list busy_link; /* swi_be.busy while there are reads */
	struct swi_be *be;
	void *owner;
	int fd; /* -1 once closed */
	bool inbound;
	bool up, down, closing;
	bool wants_out; /* a send met a full socket */
	int doom;	/* outbound that never came up: why */
	int fail;	/* what the reads of a dead endpoint end with */

	/* what the peer may read of ours */
	uint32_t slot; /* its word in swi_be.words */
	uint64_t word; /* granted: the word's value; 0 = not granted */

	/* what we may read of the peer's */
	struct shm_window windows[SHM_WINDOWS_MAX];
	uint32_t window_count;
	int words_fd;
	const _Atomic uint64_t *words; /* mapped with the first window */
	uint32_t peer_slot;
	uint64_t peer_word;

	struct swi_list reads; /* swi_be_read.link, oldest first */
	uint64_t head_done;    /* bytes of the first that are copied */
};

struct shm_counters {
	uint64_t maps_created, maps_destroyed, fds_received, fds_closed;
};

struct swi_be {
	struct swi_be_open_args args;
	int listen_fd, epfd;
	char address[80];
	struct swi_list eps, todo, busy, mrs;
	uint32_t mr_count;
	int words_fd, words_ro_fd;
	_Atomic uint64_t *words;
	bool slot_used[SHM_EPS_MAX];
	uint32_t slot_hint;
	bool look;	 /* the caller may have slept: look at every socket */
	uint32_t hot;	 /* calls of progress() that look at the sockets at once */
	uint32_t waited; /* calls since they were looked at */
	struct shm_counters n;
};

/* shm_conn.c */
int swi_shm_listen(struct swi_be *be, const char *bind_addr, char *why, size_t why_len);
int swi_shm_connect(struct swi_be *be, const char *addr, void *owner, struct swi_be_ep **out_ep);
void swi_shm_accept(struct swi_be *be);
void swi_shm_ep_down(struct swi_be_ep *ep, int status);
void swi_shm_ep_close(struct swi_be_ep *ep);
/* Connected and closing endpoints move on; returns how many. */
int swi_shm_todo(struct swi_be *be);
void swi_shm_ep_free(struct swi_be_ep *ep);

/* shm_msg.c */
int swi_shm_grant(struct swi_be_ep *ep);
void swi_shm_revoke(struct swi_be_ep *ep);
int swi_shm_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b, uint32_t blen);
/* Reads what the socket has, at most @budget datagrams; returns how many. */
int swi_shm_receive(struct swi_be_ep *ep, unsigned int budget);
void swi_shm_watch(struct swi_be_ep *ep, bool out);

/* shm_rma.c */
int swi_shm_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr);
void swi_shm_mr_dereg(struct swi_be *be, struct swi_be_mr *mr);
int swi_shm_read(struct swi_be_ep *ep, struct swi_be_read *rd);
/* Copies at most SHM_COPY_BYTES; returns how many pieces. */
int swi_shm_copy(struct swi_be *be, unsigned int budget);
void swi_shm_flush_reads(struct swi_be_ep *ep, int status);
void swi_shm_unmap(struct swi_be_ep *ep);
/* Whether @fd is a memfd that can neither shrink nor be something that blocks; *out_len is its size. */
bool swi_shm_fd_ok(int fd, uint64_t *out_len);

/* For tests. */
const struct shm_counters *swi_shm_counters(const struct swi_be *be);

#endif
