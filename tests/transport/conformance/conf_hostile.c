/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_hostile.c - strangers: wrong keys, other versions, nonsense before and after the proof,
 * guessed and stale keys of regions. Whatever they do, the node that they talk to goes on serving
 * others.
 */
#include "conf_raw.h"

static void wrong_key(void)
{
	struct node a, b;
	int status;

	node_open(&b, &(struct node_opts){.mem = MIB(1), .listen = true, .key = 1});
	node_open(&a, &(struct node_opts){.key = 2});
	conf_connect_fails(&a, swi_tp_address(b.tp), &status);
	CHECK_EQ(status, SWARM_EAUTH);
	CHECK_EQ(swi_tp_counters(a.tp)->auth_failures, 1);
	CHECK_EQ(swi_tp_counters(b.tp)->auth_failures, 1);
	CHECK_EQ(a.ups + b.ups + b.downs, 0);
	node_close(&a);
	node_close(&b);
}

/* A stranger learns a nonce and a name, and never a region key. */
static void no_key_before_proof(void)
{
	struct node b;
	struct raw r;
	uint8_t mac[SWI_MAC_BYTES] = {1, 2, 3};

	node_open(&b, &(struct node_opts){.mem = MIB(1), .listen = true});
	raw_open(&r, false);
	raw_connect(&r, &b);
	raw_hello(&r, SWI_WIRE_HELLO, &r.auth.hello);
	raw_wait_kind(&r, SWI_WIRE_CHALLENGE);
	conf_idle_ms(20);
	CHECK_EQ(r.frames, 1);
	raw_frame(&r, &(struct swi_wire_hdr){.kind = SWI_WIRE_RESPONSE, .total = sizeof(mac)}, mac,
		  sizeof(mac));
	raw_wait_end(&r);
	CHECK_EQ(r.reject, SWARM_EAUTH);
	CHECK_EQ(r.kinds[SWI_WIRE_READY], 0);
	CHECK_EQ(swi_tp_counters(b.tp)->auth_failures, 1);
	raw_close(&r);
	node_close(&b);
}

/* Both directions: a newer connector, and a newer acceptor. */
static void answer_in_version_2(struct raw *r)
{
	uint8_t frame[SWI_WIRE_HDR_BYTES + 8] = {0};

	if (r->hdr.kind != SWI_WIRE_HELLO)
		return;
	swi_wire_put_hdr(&(struct swi_wire_hdr){.kind = SWI_WIRE_CHALLENGE, .total = 8}, frame);
	frame[2] = SWI_WIRE_VERSION + 1;
	raw_send(r, frame, sizeof(frame));
}

static void reject_in_version_9(struct raw *r)
{
	uint8_t frame[SWI_WIRE_HDR_BYTES + 4];
	struct swi_wr w = swi_wr_init(frame + SWI_WIRE_HDR_BYTES, 4);

	if (r->hdr.kind != SWI_WIRE_HELLO)
		return;
	swi_wire_put_hdr(&(struct swi_wire_hdr){.kind = SWI_WIRE_REJECT, .total = 4}, frame);
	frame[2] = 9;
	swi_wire_put_reject(&w, SWARM_EVERSION);
	raw_send(r, frame, sizeof(frame));
}

static void other_version(void)
{
	void (*const answers[])(struct raw *) = {answer_in_version_2, reject_in_version_9};
	uint8_t frame[SWI_WIRE_HDR_BYTES + 200] = {0};
	struct node a, b;
	struct raw r;
	int status;

	node_open(&b, &(struct node_opts){.listen = true});
	raw_open(&r, false);
	raw_connect(&r, &b);
	swi_wire_put_hdr(&(struct swi_wire_hdr){.kind = SWI_WIRE_HELLO, .total = 200}, frame);
	frame[2] = SWI_WIRE_VERSION + 1;
	raw_send(&r, frame, sizeof(frame));
	raw_wait_end(&r);
	CHECK_EQ(r.reject, SWARM_EVERSION);
	raw_close(&r);
	node_close(&b);
	for (size_t i = 0; i < SWI_ARRAY_LEN(answers); i++) {
		raw_open(&r, true);
		r.on_recv = answers[i];
		node_open(&a, &(struct node_opts){0});
		conf_connect_fails(&a, r.ops->address(r.be), &status);
		CHECK_EQ(status, SWARM_EVERSION);
		node_close(&a);
		raw_close(&r);
	}
}

/* What a stranger may send first, all of it wrong. */
static uint32_t nonsense(int which, uint8_t *buf)
{
	struct swi_wire_hdr h = {.kind = SWI_WIRE_HELLO, .total = 48};

	memset(buf, 0x5a, 512);
	switch (which) {
	case 0: /* no frame at all */
		return 512;
	case 1: /* shorter than a header */
		swi_wire_put_hdr(&h, buf);
		return 7;
	case 2: /* a message before the handshake */
		h.kind = SWI_WIRE_MSG;
		break;
	case 3: /* a proof before the challenge */
		h.kind = SWI_WIRE_RESPONSE;
		break;
	case 4: /* regions before the proof */
		h.kind = SWI_WIRE_READY;
		break;
	case 5: /* a kind that is none */
		h.kind = SWI_WIRE_KIND_COUNT;
		break;
	case 6: /* credits that were never owed */
		h.credits = 1;
		break;
	case 7: /* longer than a body may be */
		h.total = SWI_MSG_MAX + 1;
		h.flags = SWI_WIRE_MORE;
		break;
	case 8: /* a HELLO in fragments */
		h.flags = SWI_WIRE_MORE;
		h.total = 4000;
		break;
	case 9: /* a HELLO whose address is longer than its frame */
		break;
	default:
		return 0;
	}
	swi_wire_put_hdr(&h, buf);
	return SWI_WIRE_HDR_BYTES + 48;
}

static void nonsense_first(void)
{
	struct node a, b;
	uint8_t buf[512];

	node_open(&b, &(struct node_opts){.listen = true});
	node_open(&a, &(struct node_opts){0});
	conf_connect(&a, &b);
	uint64_t count = 0;

	for (uint32_t len; (len = nonsense((int)count, buf)); count++) {
		struct raw r;

		raw_open(&r, false);
		raw_connect(&r, &b);
		raw_send(&r, buf, len);
		raw_wait_end(&r);
		CHECK(r.reject == 0 || r.reject == SWARM_EPROTO);
		CHECK_EQ(swi_tp_counters(b.tp)->proto_errors, count + 1);
		raw_close(&r);
	}
	CHECK_EQ(count, 10);
	CHECK_EQ(b.ups, 1); /* and the honest one never noticed */
	CHECK_EQ(a.downs + b.downs, 0);
	node_close(&a);
	node_close(&b);
}

/* A member of the cluster that breaks the rules later: closed with SWARM_EPROTO, and shown as such.
 */
static bool one_down(void *ctx)
{
	return ((struct node *)ctx)->downs > 0;
}

static bool one_up(void *ctx)
{
	return ((struct node *)ctx)->ups > 0;
}

static void nonsense_later(void)
{
	static const struct swi_wire_hdr bad[][2] = {
	    {{.kind = SWI_WIRE_HELLO, .total = 48}, {.kind = SWI_WIRE_HELLO, .total = 48}},
	    {{.kind = SWI_WIRE_MSG, .total = 100, .flags = SWI_WIRE_MORE},
	     {.kind = SWI_WIRE_MSG, .total = 48}},
	    {{.kind = SWI_WIRE_MSG, .total = 60, .flags = SWI_WIRE_MORE},
	     {.kind = SWI_WIRE_MSG, .total = 60, .flags = SWI_WIRE_MORE}},
	    {{.kind = SWI_WIRE_MSG, .total = 100, .flags = SWI_WIRE_MORE},
	     {.kind = SWI_WIRE_MSG, .total = 100}},
	    {{.kind = SWI_WIRE_MSG, .total = 100}, {.kind = SWI_WIRE_MSG, .total = 48}},
	};
	const uint8_t body[48] = {0};

	for (size_t i = 0; i < SWI_ARRAY_LEN(bad); i++) {
		struct node b;
		struct raw r;

		node_open(&b, &(struct node_opts){.listen = true});
		raw_open(&r, false);
		raw_connect(&r, &b);
		raw_handshake(&r, 0);
		conf_wait(one_up, &b);
		CHECK_EQ(swi_conn_peer(b.conn)->node, 66);
		raw_frame(&r, &bad[i][0], body, sizeof(body));
		raw_frame(&r, &bad[i][1], body, sizeof(body));
		raw_wait_end(&r);
		CHECK(r.down || r.reject == SWARM_EPROTO);
		raw_close(&r); /* as an honest peer does when it is told off */
		conf_wait(one_down, &b);
		CHECK_EQ(b.down_status, SWARM_EPROTO);
		CHECK_EQ(b.downs, 1);
		CHECK_EQ(b.msgs, 0);
		node_close(&b);
	}
}

/* Who connects and says nothing is shown the door. */
static bool raw_is_down(void *ctx)
{
	return ((struct raw *)ctx)->down;
}

static void mute_stranger(void)
{
	struct node b;
	struct raw r;

	node_open(&b, &(struct node_opts){.listen = true, .connect_ns = 200 * NS_PER_MS});
	raw_open(&r, false);
	raw_connect(&r, &b);
	conf_wait(raw_is_down, &r);
	CHECK_EQ(b.ups + b.downs, 0);
	raw_close(&r);
	node_close(&b);
}

/* A READ with @rkey in place of the right one must fail, and harm nobody else. */
static void bad_key_fails(struct node *b, uint64_t xor_with, uint64_t rkey)
{
	struct node a, other;

	node_open(&a, &(struct node_opts){.mem = MIB(1)});
	node_open(&other, &(struct node_opts){.mem = MIB(1)});
	conf_connect(&a, b);
	conf_connect(&other, b);
	memset(a.mem, 0xaa, 64);
	struct swi_chunk *k = &a.conn->regions.at[SWI_REGION_ARENA].chunks[0];

	k->rkey = rkey ? rkey : k->rkey ^ xor_with;
	const int rc = read_sync(&a, a.conn, 0, 0, 64);

	CHECK(rc == SWARM_EREMOTEACCESS || rc == SWARM_EPEERLOST);
	for (int i = 0; i < 64; i++)
		CHECK(a.mem[i] == 0xaa);
	CHECK_EQ(read_sync(&other, other.conn, 0, 0, 64), 0);
	CHECK_EQ(other.downs, 0);
	node_close(&a);
	node_close(&other);
}

static void guessed_key(void)
{
	struct node b;

	node_open(&b, &(struct node_opts){.mem = MIB(1), .listen = true});
	bad_key_fails(&b, 1, 0);
	bad_key_fails(&b, 1ull << 31, 0);
	node_close(&b);
}

/* Beyond the end of what is registered, past the check on our own side. */
static void out_of_bounds(void)
{
	struct node a, b;
	struct read r;

	node_open(&b, &(struct node_opts){.mem = SWI_PAGE, .listen = true});
	node_open(&a, &(struct node_opts){.mem = MIB(1)});
	conf_connect(&a, &b);
	a.conn->regions.at[SWI_REGION_ARENA].len = MIB(1);
	a.conn->regions.at[SWI_REGION_ARENA].chunk_len = MIB(1);
	read_init(&r);
	const int rc = read_sync(&a, a.conn, SWI_PAGE - 8, 0, 16);

	CHECK(rc == SWARM_EREMOTEACCESS || rc == SWARM_EPEERLOST);
	node_close(&a);
	node_close(&b);
}

/* The peer restarts on the same address: another epoch, and the old keys open nothing. */
static void stale_key(void)
{
	struct node a, b;
	char addr[64];

	node_open(&b, &(struct node_opts){.mem = MIB(1), .epoch = 1, .listen = true});
	snprintf(addr, sizeof(addr), "%s", swi_tp_address(b.tp));
	node_open(&a, &(struct node_opts){.mem = MIB(1)});
	conf_connect(&a, &b);
	const uint64_t old = a.conn->regions.at[SWI_REGION_ARENA].chunks[0].rkey;

	CHECK_EQ(swi_conn_peer(a.conn)->epoch, 1);
	node_close(&b);
	conf_wait(one_down, &a);
	CHECK_EQ(a.down_status, SWARM_EPEERLOST);
	node_open(&b, &(struct node_opts){.mem = MIB(1), .epoch = 2, .listen = true, .bind = addr});
	conf_connect(&a, &b);
	CHECK_EQ(swi_conn_peer(a.conn)->epoch, 2);
	if (a.conn->regions.at[SWI_REGION_ARENA].chunks[0].rkey != old)
		bad_key_fails(&b, 0, old);
	else
		printf("   the device gave the same key again: nothing to be refused\n");
	node_close(&a);
	node_close(&b);
}

void test_hostile(void)
{
	wrong_key();
	no_key_before_proof();
	other_version();
	nonsense_first();
	nonsense_later();
	mute_stranger();
	guessed_key();
	out_of_bounds();
	stale_key();
}
