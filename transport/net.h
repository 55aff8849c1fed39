/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h - which backends a transport uses, and those together as one: to progress, to sleep, to
 * register memory. transport.c and conn.c only; owner thread.
 */
#ifndef SWI_NET_H
#define SWI_NET_H

#include "transport/conn.h"

/* The one asked for, or the best there is and shared memory beside it. *@why on failure. */
int swi_nets_open(struct swi_tp *tp, const struct swi_tp_opts *opts, char *why, size_t why_len);
/* Deregisters everything and closes; half-open is fine. */
void swi_nets_close(struct swi_tp *tp);
/* Events of both; < 0: the main one is broken. */
int swi_nets_progress(struct swi_tp *tp, unsigned int budget);
int swi_nets_fd(struct swi_tp *tp);
bool swi_nets_arm(struct swi_tp *tp);
uint64_t swi_nets_deadline_ns(const struct swi_tp *tp);
/* @l->addr and @l->len as a region of every net; all or nothing. */
int swi_nets_register(struct swi_tp *tp, struct swi_local_region *l, int memfd);
/* By shared memory when @c->addr is a process of this user on this host, else by the main net. */
int swi_nets_connect(struct swi_conn *c);
/* To the next address of @c->addr that a connection can be begun to. */
int swi_nets_connect_next(struct swi_conn *c);

#endif
