/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello.h - the only bytes that cross the run directory's socket: one question, one answer with four
 * descriptors. After them only the client speaks: of its eventfds. The socket's end is the end of either side.
 */
#ifndef SWI_HELLO_H
#define SWI_HELLO_H

#include "store/arena.h"
#include "store/host.h"

#define SWI_SOCKET_NAME	 "swarm.sock"
#define SWI_HELLO_MAGIC	 0x4f4c4853u /* "SHLO" */

struct swi_hello {
	uint32_t magic, version, role, kind; /* enum swi_hello_kind */
};
/* After its hello a client may still say which eventfds it has: role is the number, with a descriptor or without. */
enum swi_hello_kind { SWI_HELLO_JOIN = 0, SWI_HELLO_EVENT = 1 };

enum { SWI_FD_ARENA, SWI_FD_INDEX, SWI_FD_CLIENT, SWI_FD_DOORBELL, SWI_FD_COUNT };

struct swi_welcome {
	uint32_t magic, version;
	int32_t status;
	uint32_t reserved;
	char text[240]; /* when status < 0 */
};

/* What an attached process has of its node. */
struct swi_attachment {
	struct swi_mem arena, index, client;
	int doorbell; /* eventfd; -1 = none */
	int sock;     /* also when the node lives in this process */
};
void swi_attachment_fini(struct swi_attachment *at);

/* Joins from inside the process that runs the host, before swi_host_run(). Duplicates the descriptors. */
int swi_host_attach_local(struct swi_host *h, uint32_t role, struct swi_attachment *out, char *why,
			  size_t why_len);

/* sock.c: the path of the socket in @dir, or -ENAMETOOLONG. */
int swi_sock_path(const char *dir, char *buf, size_t len);
/* Sends @len bytes and @count descriptors as one message; never SIGPIPE. */
int swi_sock_send(int sock, const void *data, size_t len, const int *fds, uint32_t count);
/* Receives one message of exactly @len bytes; *out_count descriptors (at most @max), closed on failure. */
int swi_sock_recv(int sock, void *data, size_t len, int *fds, uint32_t max, uint32_t *out_count);

/* sock.c: waking and waiting on a client's word, across processes. */
void swi_futex_wake(struct swi_client_shm *shm);
/* 0 woken or changed, -ETIMEDOUT. */
int swi_futex_wait(struct swi_client_shm *shm, uint32_t seen, uint64_t timeout_ns);

#endif
