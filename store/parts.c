/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.c - a fetch part by part: the holder has the object on disk, and it is too large for what the holder lays
 * aside for readers. Each part is read from disk into that reserve, READ from there straight into its place here,
 * and given back; some are under way at once. The whole is verified at the end like any other. Owner thread of the node.
 */
#include "store/fetch_impl.h"
#include "store/snode_internal.h"

#define PARTS_AT_ONCE 3u

struct part {
	struct swi_fetch *f;
	uint64_t from, len, lease;
	bool asked, reading;
	struct swi_req rq;
	struct swi_read rd;
};

struct swi_parts {
	uint64_t next; /* the first byte that nobody asked for */
	int status;    /* the first failure; the rest is waited for */
	char text[SWI_SMSG_TEXT];
	struct part part[PARTS_AT_ONCE];
};

void swi_parts_free(struct swi_fetch *f)
{
	if (!f->parts)
		return;
	for (uint32_t i = 0; i < PARTS_AT_ONCE; i++)
		swi_req_end(f->sn, &f->parts->part[i].rq);
	free(f->parts);
	f->parts = NULL;
}

static void ask(struct part *p, struct swi_peer *peer);

static void part_over(struct part *p)
{
	struct swi_fetch *f = p->f;
	struct swi_parts *ps = f->parts;
	struct swi_peer *peer = swi_peer_by_epoch(f->sn, f->holder_epoch);
	uint32_t open = 0;

	p->asked = false;
	if (!ps->status && ps->next < f->len && peer)
		ask(p, peer);
	for (uint32_t i = 0; i < PARTS_AT_ONCE; i++)
		open += ps->part[i].asked;
	if (open)
		return;
	if (!ps->status && ps->next < f->len)
		ps->status = SWARM_EPEERLOST;
	swi_fetch_parts_over(f, ps->status, ps->text);
}

static void part_failed(struct part *p, int status, const char *text)
{
	struct swi_parts *ps = p->f->parts;

	if (!ps->status) {
		ps->status = status;
		snprintf(ps->text, sizeof(ps->text), "%s", text);
	}
	part_over(p);
}

static void part_read(struct swi_read *rd, int status)
{
	struct part *p = rd->owner;
	struct swi_snode *sn = p->f->sn;
	struct swi_peer *peer = swi_peer_by_epoch(sn, p->f->holder_epoch);

	sn->fetches.in_flight--;
	if (peer)
		swi_peer_say_end(sn, peer, p->lease);
	if (status)
		part_failed(p, status, "");
	else
		part_over(p);
}

static int on_leased(struct swi_req *rq, int status, uint16_t type, struct swi_rd *body)
{
	struct part *p = rq->owner;
	struct swi_fetch *f = p->f;
	struct swi_snode *sn = f->sn;
	struct swi_peer *peer = swi_peer_by_epoch(sn, f->holder_epoch);
	struct swi_smsg_leased m;
	uint64_t at, region;
	int rc;

	if (!type) {
		part_failed(p, status, "");
		return 0;
	}
	if (type != SWI_S_LEASED || swi_smsg_get_leased(body, &m))
		return SWARM_EPROTO;
	swi_req_end(sn, rq);
	if (m.status) {
		part_failed(p, m.status, m.text);
		return 0;
	}
	p->lease = m.lease;
	at = swi_sat_add(m.offset, m.digest);
	region = peer && peer->chosen ? swi_conn_region_len(peer->chosen->conn, m.region) : 0;
	if (m.len != p->len || at > region || m.len > region - at) {
		if (peer)
			swi_peer_say_end(sn, peer, m.lease);
		part_failed(p, SWARM_EPROTO, "it leased what lies outside of its memory");
		return 0;
	}
	p->rd.cb = part_read;
	p->rd.owner = p;
	sn->fetches.in_flight++;
	rc = swi_conn_read(peer->chosen->conn, m.region, at,
			   sn->arena + f->offset + sizeof(struct swi_object_head) + p->from, p->len, &p->rd);
	if (rc)
		part_read(&p->rd, rc);
	return 0;
}

static void ask(struct part *p, struct swi_peer *peer)
{
	struct swi_fetch *f = p->f;
	struct swi_smsg_range m = {.id = f->id, .from = f->parts->next};
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	p->from = m.from;
	p->len = m.len = swi_min_u64(SWI_PART_BYTES, f->len - m.from);
	f->parts->next += m.len;
	p->asked = true;
	p->rq.cb = on_leased;
	p->rq.owner = p;
	m.req = swi_req_begin(f->sn, &p->rq, peer);
	swi_smsg_put_range(&w, &m);
	(void)swi_peer_send(f->sn, peer, SWI_S_RANGE, buf, w.len);
}

int swi_parts_begin(struct swi_fetch *f, struct swi_peer *peer)
{
	f->parts = calloc(1, sizeof(*f->parts));
	if (!f->parts)
		return -ENOMEM;
	for (uint32_t i = 0; i < PARTS_AT_ONCE; i++)
		f->parts->part[i].f = f;
	for (uint32_t i = 0; i < PARTS_AT_ONCE && f->parts->next < f->len; i++)
		ask(&f->parts->part[i], peer);
	return 0;
}
