/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_internal.h - the inside of a host: host.c (memory), loop.c (who runs it), host_clients.c (who attaches, who is gone).
 */
#ifndef SWI_HOST_INTERNAL_H
#define SWI_HOST_INTERNAL_H

#include <sys/epoll.h>

#include "store/hello.h"

#define SWI_HOST_SPIN_NS (20 * NS_PER_US) /* without an event before a host sleeps, until it has learned */

struct swi_watched { /* a descriptor in the loop */
	struct swi_list link;
	int fd;
	void (*cb)(void *ctx, uint32_t events);
	void *ctx;
	bool gone; /* removed; freed when no event can name it any more */
};

struct swi_host_client {
	struct swi_list link;
	struct swi_host *h;
	struct swi_mem mem;
	int sock, pidfd; /* -1 for one inside this process */
	uint32_t pid;
	struct swi_client *cl; /* NULL: has not said hello */
	uint64_t deadline_ns;  /* of the hello */
	struct swi_doorbell db;
	int event[SWI_EVENTS]; /* eventfds of the client; -1 = none */
};

struct swi_host {
	char dir[4096]; /* "" = private */
	struct swi_log log;
	struct swi_env *env;
	struct swi_mem arena, index;
	struct swi_shm_head *head;
	struct swi_snode *sn;
	struct swi_host_upper upper;
	int epoll, bell, listener, lock;
	struct swi_list watched, dead; /* struct swi_watched */
	struct swi_list clients;       /* struct swi_host_client */
	_Atomic bool stop;
	struct swi_disk **disks;
	uint32_t disk_count;
	/* loop.c */
	_Atomic uint32_t core;	  /* 1: somebody runs the core; what is behind sn is its alone */
	_Atomic uint32_t callers; /* threads of the program that would run it */
	_Atomic uint32_t aside;	  /* futex word; 1: the host's thread lets them */
	_Atomic bool in_epoll;	  /* the host's thread waits there, or is about to */
	_Atomic bool lead_sleeps; /* a caller does, with the core */
	_Atomic uint64_t left_ns; /* when the last caller left the core, ... */
	_Atomic uint64_t led_ns;  /* ... and how long after it had asked for it */
	_Atomic uint64_t kept_ns; /* when one left that is expected back: until a little later nobody runs it */
	/* with the core */
	uint64_t spin_ns;   /* so long without an event before one sleeps */
	uint64_t yielded_ns; /* when a loop last let others run */
	uint64_t crowded_ns; /* until when waiting awake is not worth it */
	uint64_t wake_ns;   /* until when the host's thread sleeps */
	uint64_t polled_ns; /* when the descriptors were looked at last */
	bool rang;	    /* the doorbell was seen */
};

/* host.c: frees what was removed from the loop; the host's thread alone, whose events may name it. */
void swi_host_bury(struct swi_list *l);
/* host.c: wakes the threads of a client. */
void swi_host_ring(struct swi_doorbell *db, struct swi_client_shm *shm);
int swi_host_listen(struct swi_host *h, char *why, size_t why_len);
void swi_host_clients_fini(struct swi_host *h);
/* Cuts off those that are condemned or never said hello; number of them. */
int swi_host_clients_step(struct swi_host *h, uint64_t now_ns);
uint64_t swi_host_clients_deadline_ns(struct swi_host *h);

#endif
