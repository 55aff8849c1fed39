/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - what each message of a client asks for: request.c has the short ones and says who else there is.
 *
 * A body is foreign input, copied out of shared memory before it comes here; < 0 = nonsense, the client is
 * cut off. A request that must wait is a struct of its own on a list of its client; it ends by exactly one
 * reply, or with its client. Owner thread of the node.
 */
#ifndef SWI_REQUEST_H
#define SWI_REQUEST_H

#include "store/clients.h"
#include "store/proto.h"

/* Objects that one client may wait for in lists (GET_MANY, wait sets) at once. */
#define SWI_CLIENT_ITEMS_MAX (1u << 20)
#define SWI_GET_MANY_ROW     24u /* bytes of a row of its answer */

/* ---- request.c ---- */
/* A call of the client begins (1) or ends (-1) to wait. */
void swi_client_blocked(struct swi_client *cl, int delta);
/* The hold on @offset becomes the client's. -ENOMEM: it stays the caller's. */
int swi_client_held_add(struct swi_client *cl, uint64_t offset);
/* -EPROTO: it has no such hold. */
int swi_client_held_end(struct swi_client *cl, uint64_t offset);

/* ---- many.c ---- */
int swi_client_get_many(struct swi_client *cl, const struct swi_msg *msg);
int swi_client_held_many(struct swi_client *cl, const struct swi_msg *msg);
void swi_client_manys_drop(struct swi_client *cl);

/* ---- sets.c: SET_* ---- */
int swi_client_set(struct swi_client *cl, const struct swi_msg *msg);
void swi_client_sets_drop(struct swi_client *cl);

/* ---- attr.c: PIN, EXPIRE ---- */
int swi_client_attr(struct swi_client *cl, const struct swi_msg *msg);
void swi_client_attrs_drop(struct swi_client *cl);

/* ---- replicate.c: REPLICATE ---- */
int swi_client_replicate(struct swi_client *cl, const struct swi_msg *msg);
void swi_client_replicates_drop(struct swi_client *cl);

/* ---- notify.c: SUBSCRIBE, SUB_* ---- */
int swi_client_notify(struct swi_client *cl, const struct swi_msg *msg);
void swi_client_subs_drop(struct swi_client *cl);

#endif
