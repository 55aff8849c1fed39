/* SPDX-License-Identifier: Apache-2.0 */
/* conf_raw.c - see conf_raw.h. */
#include "conf_raw.h"

static struct raw *raws[4];
static uint32_t raw_count;

static void on_accepted(void *ctx, struct swi_be_ep *ep)
{
	struct raw *r = ctx;

	r->ep = ep;
	r->up = true;
	r->ops->set_owner(ep, r);
}

static void on_connected(void *ctx, struct swi_be_ep *ep SWI_UNUSED)
{
	((struct raw *)ctx)->up = true;
}

static void on_recv(void *ctx, struct swi_be_ep *ep SWI_UNUSED, const void *buf, uint32_t len)
{
	struct raw *r = ctx;

	CHECK_EQ(swi_wire_get_hdr(buf, len, &r->hdr), 0);
	r->frames++;
	r->kinds[r->hdr.kind]++;
	r->body_len = len - SWI_WIRE_HDR_BYTES;
	memcpy(r->body, (const uint8_t *)buf + SWI_WIRE_HDR_BYTES, r->body_len);
	if (r->hdr.kind == SWI_WIRE_REJECT)
		CHECK_EQ(swi_wire_get_reject(r->body, r->body_len, &r->reject), 0);
	if (r->on_recv)
		r->on_recv(r);
}

static void on_read_done(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED,
			 struct swi_be_read *rd SWI_UNUSED, int status SWI_UNUSED)
{
}

static void on_down(void *ctx, struct swi_be_ep *ep, int status SWI_UNUSED)
{
	struct raw *r = ctx;

	CHECK(!r->down);
	r->down = true;
	r->ops->ep_close(ep);
}

static void on_closed(void *ctx, struct swi_be_ep *ep SWI_UNUSED)
{
	struct raw *r = ctx;

	r->closed = true;
	r->ep = NULL;
}

static const struct swi_be_events raw_events = {
    .accepted = on_accepted,
    .connected = on_connected,
    .recv = on_recv,
    .read_done = on_read_done,
    .down = on_down,
    .closed = on_closed,
};

int conf_raw_progress(void)
{
	int n = 0;

	for (uint32_t i = 0; i < raw_count; i++) {
		const int rc = raws[i]->ops->progress(raws[i]->be, 64);

		CHECK(rc >= 0);
		n += rc;
	}
	return n;
}

bool conf_raw_idle(void)
{
	for (uint32_t i = 0; i < raw_count; i++)
		if (!raws[i]->ops->arm(raws[i]->be))
			return false;
	return true;
}

bool conf_raw_open(void)
{
	return raw_count > 0;
}

void raw_open(struct raw *r, bool listen)
{
	const struct swi_be_ops *const all[] = {swi_be_verbs, swi_be_ofi, swi_be_shm, swi_be_sim,
						swi_be_fault, swi_be_paths};
	char why[256];

	memset(r, 0, sizeof(*r));
	for (size_t i = 0; i < SWI_ARRAY_LEN(all); i++)
		if (all[i] && !strcmp(all[i]->name, conf.backend))
			r->ops = all[i];
	swi_log_init(&r->log, "raw");
	const struct swi_be_open_args args = {.env = conf.env,
					      .log = &r->log,
					      .events = &raw_events,
					      .ctx = r,
					      .bind = listen ? conf.bind : NULL,
					      .param = conf.param};

	CHECK_EQ(r->ops->open(&args, &r->be, why, sizeof(why)), 0);
	raws[raw_count++] = r;
}

void raw_close(struct raw *r)
{
	for (uint32_t i = 0; i < raw_count; i++)
		if (raws[i] == r)
			raws[i] = raws[--raw_count];
	r->ops->close(r->be);
}

static bool is_up(void *ctx)
{
	return ((struct raw *)ctx)->up;
}

void raw_connect(struct raw *r, struct node *n)
{
	CHECK_EQ(r->ops->connect(r->be, swi_tp_address(n->tp), r, &r->ep), 0);
	conf_wait(is_up, r);
}

void raw_send(struct raw *r, const void *frame, uint32_t len)
{
	int rc;

	do
		rc = r->ops->send(r->ep, frame, len, NULL, 0);
	while (rc == -EAGAIN); /* the faulty backend rolls its dice again */
	CHECK_EQ(rc, 0);
}

void raw_frame(struct raw *r, const struct swi_wire_hdr *h, const void *body, uint32_t len)
{
	uint8_t buf[SWI_BE_MSG_MAX];

	CHECK(len <= SWI_WIRE_PAYLOAD_MAX);
	swi_wire_put_hdr(h, buf);
	if (len)
		memcpy(buf + SWI_WIRE_HDR_BYTES, body, len);
	raw_send(r, buf, SWI_WIRE_HDR_BYTES + len);
}

void raw_hello(struct raw *r, enum swi_wire_kind kind, struct swi_wire_hello *m)
{
	uint8_t buf[256];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	memset(m, 0, sizeof(*m));
	swi_auth_nonce(conf.env, m->nonce);
	m->id.node = 66;
	swi_wire_put_hello(&w, m);
	raw_frame(r, &(struct swi_wire_hdr){.kind = (uint8_t)kind, .total = w.len}, buf, w.len);
}

struct kind_wait {
	struct raw *r;
	enum swi_wire_kind kind;
};

static bool has_kind(void *ctx)
{
	const struct kind_wait *k = ctx;

	return k->r->kinds[k->kind] > 0;
}

void raw_wait_kind(struct raw *r, enum swi_wire_kind kind)
{
	struct kind_wait k = {.r = r, .kind = kind};

	conf_wait(has_kind, &k);
}

static bool has_ended(void *ctx)
{
	const struct raw *r = ctx;

	return r->reject || r->down;
}

void raw_wait_end(struct raw *r)
{
	conf_wait(has_ended, r);
}

void raw_handshake(struct raw *r, uint8_t key_byte)
{
	uint8_t key[SWI_CLUSTER_KEY_BYTES], body[512];
	struct swi_wr w = swi_wr_init(body + SWI_MAC_BYTES, sizeof(body) - SWI_MAC_BYTES);
	const struct swi_regions none = {0};

	memset(key, key_byte, sizeof(key));
	raw_hello(r, SWI_WIRE_HELLO, &r->auth.hello);
	raw_wait_kind(r, SWI_WIRE_CHALLENGE);
	CHECK_EQ(swi_wire_get_hello(r->body, r->body_len, &r->auth.challenge), 0);
	swi_auth_proof(key, SWI_AUTH_CONNECTOR, &r->auth, NULL, 0, body);
	raw_frame(r, &(struct swi_wire_hdr){.kind = SWI_WIRE_RESPONSE, .total = SWI_MAC_BYTES},
		  body, SWI_MAC_BYTES);
	raw_wait_kind(r, SWI_WIRE_READY);
	swi_wire_put_regions(&w, &none);
	swi_auth_proof(key, SWI_AUTH_READY_CONNECTOR, &r->auth, body + SWI_MAC_BYTES, w.len, body);
	w.len += SWI_MAC_BYTES;
	raw_frame(r, &(struct swi_wire_hdr){.kind = SWI_WIRE_READY, .total = w.len}, body, w.len);
}
