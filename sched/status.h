/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h - the JSON documents. "status", "tasks", "workers" and "objects" are about the whole cluster: this
 * node's part is made when asked, the others' are what they answered to the last gathering. Owner
 * thread: the core's.
 */
#ifndef SWI_STATUS_H
#define SWI_STATUS_H

#include <jansson.h>

#include "store/node.h"
#include "transport/base/codec.h"
#include "transport/base/list.h"

struct swi_node;

struct swi_status {
	struct swi_list parts;	  /* what others said of themselves, the dead too */
	struct swi_list gathers;  /* questions under way */
	uint64_t next_req;
};

void swi_status_init(struct swi_node *n);
void swi_status_fini(struct swi_node *n);
char *swi_status_json(struct swi_node *n, const char *what); /* malloc'd; NULL = no such document */
/* Asks every peer for its part of @what; the client hears when all have answered, or after 500 ms. */
void swi_status_gather(struct swi_node *n, struct swi_client *cl, uint64_t req, const char *what);
void swi_status_client_gone(struct swi_node *n, struct swi_client *cl);
/* The node is gone: what it said last is kept under this state. */
void swi_status_keep(struct swi_node *n, uint32_t node, const char *state);
int swi_status_on_ask(struct swi_node *n, uint32_t from, struct swi_rd *rd);
int swi_status_on_reply(struct swi_node *n, uint32_t from, struct swi_rd *rd);
int swi_status_step(struct swi_node *n);
uint64_t swi_status_deadline_ns(const struct swi_node *n);
/* status_docs.c: this node's part. */
json_t *swi_status_part(struct swi_node *n, const char *what);
json_t *swi_status_nodes(struct swi_node *n);
json_t *swi_status_info(struct swi_node *n);

#endif
