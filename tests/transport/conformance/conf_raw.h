/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_raw.h - a peer that speaks to a backend directly, and so can say whatever it likes.
 */
#ifndef CONF_RAW_H
#define CONF_RAW_H

#include "conf.h"

struct raw {
	const struct swi_be_ops *ops;
	struct swi_be *be;
	struct swi_be_ep *ep;
	struct swi_log log;
	bool up, down, closed;
	uint32_t frames; /* received */
	uint32_t kinds[SWI_WIRE_KIND_COUNT];
	struct swi_wire_hdr hdr; /* of the last one */
	uint8_t body[SWI_BE_MSG_MAX];
	uint32_t body_len;
	int reject; /* the code of a REJECT, or 0 */
	struct swi_auth_transcript auth;
	void (*on_recv)(struct raw *r); /* or NULL */
};

/* @listen: at conf.bind, on a port of its own. */
void raw_open(struct raw *r, bool listen);
void raw_close(struct raw *r);
/* Connects to @n and waits until it is up. */
void raw_connect(struct raw *r, struct node *n);
void raw_send(struct raw *r, const void *frame, uint32_t len);
/* A frame of ours with this header and body. */
void raw_frame(struct raw *r, const struct swi_wire_hdr *h, const void *body, uint32_t len);
void raw_hello(struct raw *r, enum swi_wire_kind kind, struct swi_wire_hello *m);
/* The whole handshake as connector, with every byte of the key = @key. Up to and with our READY. */
void raw_handshake(struct raw *r, uint8_t key);
/* Waits for a REJECT or the end of the connection. */
void raw_wait_end(struct raw *r);
void raw_wait_kind(struct raw *r, enum swi_wire_kind kind);

#endif
