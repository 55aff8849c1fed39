/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smsg.c - bytes of the messages between stores. Pure functions; see smsg.h.
 */
#include "store/smsg.h"

static void put_copies(struct swi_wr *w, const struct swi_copies *c)
{
	swi_wr_u64(w, c->len);
	swi_wr_u32(w, c->count);
	for (uint32_t i = 0; i < c->count; i++) {
		swi_wr_u32(w, c->node[i]);
		swi_wr_u8(w, c->spilled[i]);
	}
}

static void get_copies(struct swi_rd *r, struct swi_copies *c)
{
	c->len = swi_rd_u64(r);
	c->count = swi_rd_u32(r);
	if (c->count > SWI_COPIES_MAX) {
		r->bad = true;
		c->count = 0;
	}
	for (uint32_t i = 0; i < c->count; i++) {
		c->node[i] = swi_rd_u32(r);
		c->spilled[i] = swi_rd_u8(r) != 0;
	}
}

static int rd_end(const struct swi_rd *r)
{
	return swi_rd_done(r) ? 0 : SWARM_EPROTO;
}

/* A status of a peer: never positive, never outside of what an error code can be. */
static int32_t get_status(struct swi_rd *r)
{
	const int32_t status = (int32_t)swi_rd_u32(r);

	if (status > 0 || status < -8191)
		r->bad = true;
	return status;
}

void swi_smsg_put_locate(struct swi_wr *w, const struct swi_smsg_locate *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_ref(w, m->ref);
	swi_wr_u8(w, m->flags);
}

int swi_smsg_get_locate(struct swi_rd *r, struct swi_smsg_locate *out)
{
	struct swi_smsg_locate m = {0};

	m.req = swi_rd_u64(r);
	m.ref = swi_rd_ref(r);
	m.flags = swi_rd_u8(r);
	if (rd_end(r) || swi_oid_is_zero(m.ref.id))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_located(struct swi_wr *w, const struct swi_smsg_located *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_u8(w, m->state);
	swi_wr_u32(w, (uint32_t)m->status);
	put_copies(w, &m->copies);
	swi_wr_u8(w, m->place);
	if (m->place) {
		swi_wr_u64(w, m->offset);
		swi_wr_u32(w, m->gen);
		swi_wr_u64(w, m->digest);
	}
	swi_wr_str(w, m->text);
}

int swi_smsg_get_located(struct swi_rd *r, struct swi_smsg_located *out)
{
	struct swi_smsg_located m = {0};

	m.req = swi_rd_u64(r);
	m.state = swi_rd_u8(r);
	m.status = get_status(r);
	get_copies(r, &m.copies);
	m.place = swi_rd_u8(r);
	if (m.place) {
		m.offset = swi_rd_u64(r);
		m.gen = swi_rd_u32(r);
		m.digest = swi_rd_u64(r);
	}
	swi_rd_str(r, m.text, sizeof(m.text));
	if (rd_end(r) || m.state > SWI_DIR_FAILED || m.place == SWI_PLACE_DIGEST ||
	    m.place > (SWI_PLACE_KNOWN | SWI_PLACE_DIGEST) || m.offset % SWI_GRANULE || (m.state == SWI_DIR_FAILED && !m.status))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_lease(struct swi_wr *w, const struct swi_smsg_lease *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_oid(w, m->id);
	swi_wr_u8(w, m->flags);
	swi_wr_u64(w, m->sent_by);
}

int swi_smsg_get_lease(struct swi_rd *r, struct swi_smsg_lease *out)
{
	struct swi_smsg_lease m = {0};

	m.req = swi_rd_u64(r);
	m.id = swi_rd_oid(r);
	m.flags = swi_rd_u8(r);
	m.sent_by = swi_rd_u64(r);
	if (rd_end(r) || swi_oid_is_zero(m.id) || m.flags & ~(SWI_LEASE_FROM_YOU | SWI_LEASE_WHOLE))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_range(struct swi_wr *w, const struct swi_smsg_range *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_oid(w, m->id);
	swi_wr_u64(w, m->from);
	swi_wr_u64(w, m->len);
}

int swi_smsg_get_range(struct swi_rd *r, struct swi_smsg_range *out)
{
	struct swi_smsg_range m = {0};

	m.req = swi_rd_u64(r);
	m.id = swi_rd_oid(r);
	m.from = swi_rd_u64(r);
	m.len = swi_rd_u64(r);
	if (rd_end(r) || swi_oid_is_zero(m.id) || !m.len || m.len > UINT64_MAX - m.from)
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_leased(struct swi_wr *w, const struct swi_smsg_leased *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_u32(w, (uint32_t)m->status);
	swi_wr_u64(w, m->lease);
	swi_wr_u8(w, m->region);
	swi_wr_u64(w, m->offset);
	swi_wr_u32(w, m->gen);
	swi_wr_u64(w, m->epoch);
	swi_wr_u64(w, m->len);
	swi_wr_u64(w, m->digest);
	swi_wr_u64(w, m->have);
	swi_wr_str(w, m->text);
}

int swi_smsg_get_leased(struct swi_rd *r, struct swi_smsg_leased *out)
{
	struct swi_smsg_leased m = {0};

	m.req = swi_rd_u64(r);
	m.status = get_status(r);
	m.lease = swi_rd_u64(r);
	m.region = swi_rd_u8(r);
	m.offset = swi_rd_u64(r);
	m.gen = swi_rd_u32(r);
	m.epoch = swi_rd_u64(r);
	m.len = swi_rd_u64(r);
	m.digest = swi_rd_u64(r);
	m.have = swi_rd_u64(r);
	swi_rd_str(r, m.text, sizeof(m.text));
	if (rd_end(r) || m.region >= SWI_REGIONS_MAX || m.offset % SWI_GRANULE || m.have > m.len)
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_parent(struct swi_wr *w, const struct swi_smsg_parent *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_u32(w, m->node);
	swi_wr_u64(w, m->epoch);
}

int swi_smsg_get_parent(struct swi_rd *r, struct swi_smsg_parent *out)
{
	struct swi_smsg_parent m = {0};

	m.req = swi_rd_u64(r);
	m.node = swi_rd_u32(r);
	m.epoch = swi_rd_u64(r);
	if (rd_end(r) || !m.epoch)
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_more(struct swi_wr *w, const struct swi_smsg_more *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_u32(w, (uint32_t)m->status);
	swi_wr_u64(w, m->have);
}

int swi_smsg_get_more(struct swi_rd *r, struct swi_smsg_more *out)
{
	struct swi_smsg_more m = {0};

	m.req = swi_rd_u64(r);
	m.status = get_status(r);
	m.have = swi_rd_u64(r);
	if (rd_end(r))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_copy(struct swi_wr *w, const struct swi_smsg_copy *m)
{
	swi_wr_ref(w, m->ref);
	swi_wr_u32(w, m->node);
	swi_wr_u8(w, m->flags);
	swi_wr_u64(w, m->len);
	swi_wr_u32(w, (uint32_t)m->reason);
}

int swi_smsg_get_copy(struct swi_rd *r, struct swi_smsg_copy *out)
{
	struct swi_smsg_copy m = {0};

	m.ref = swi_rd_ref(r);
	m.node = swi_rd_u32(r);
	m.flags = swi_rd_u8(r);
	m.len = swi_rd_u64(r);
	m.reason = get_status(r);
	if (r->bad || !m.node || swi_oid_is_zero(m.ref.id))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_move(struct swi_wr *w, const struct swi_smsg_move *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_ref(w, m->ref);
}

int swi_smsg_get_move(struct swi_rd *r, struct swi_smsg_move *out)
{
	struct swi_smsg_move m = {0};

	m.req = swi_rd_u64(r);
	m.ref = swi_rd_ref(r);
	if (rd_end(r) || swi_oid_is_zero(m.ref.id))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_keep(struct swi_wr *w, const struct swi_smsg_keep *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_ref(w, m->ref);
	swi_wr_u64(w, m->timeout_ns);
}

int swi_smsg_get_keep(struct swi_rd *r, struct swi_smsg_keep *out)
{
	struct swi_smsg_keep m = {0};

	m.req = swi_rd_u64(r);
	m.ref = swi_rd_ref(r);
	m.timeout_ns = swi_rd_u64(r);
	if (rd_end(r) || !m.req || swi_oid_is_zero(m.ref.id))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_done(struct swi_wr *w, const struct swi_smsg_done *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_u32(w, (uint32_t)m->status);
	swi_wr_str(w, m->text);
}

int swi_smsg_get_done(struct swi_rd *r, struct swi_smsg_done *out)
{
	struct swi_smsg_done m = {0};

	m.req = swi_rd_u64(r);
	m.status = get_status(r);
	swi_rd_str(r, m.text, sizeof(m.text));
	if (rd_end(r))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

void swi_smsg_put_record(struct swi_wr *w, const struct swi_smsg_record *m)
{
	swi_wr_ref(w, m->ref);
	swi_wr_u8(w, m->state);
	swi_wr_u32(w, (uint32_t)m->status);
	put_copies(w, &m->copies);
	swi_wr_str(w, m->text);
}

int swi_smsg_get_record(struct swi_rd *r, struct swi_smsg_record *out)
{
	struct swi_smsg_record m = {0};

	m.ref = swi_rd_ref(r);
	m.state = swi_rd_u8(r);
	m.status = get_status(r);
	get_copies(r, &m.copies);
	swi_rd_str(r, m.text, sizeof(m.text));
	if (r->bad || m.state > SWI_DIR_FAILED || swi_oid_is_zero(m.ref.id) ||
	    (m.state == SWI_DIR_FAILED && !m.status))
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

int swi_smsg_get_ref(struct swi_rd *r, struct swarm_ref *out)
{
	const struct swarm_ref v = swi_rd_ref(r);

	if (rd_end(r) || swi_oid_is_zero(v.id))
		return SWARM_EPROTO;
	*out = v;
	return 0;
}

void swi_smsg_put_told(struct swi_wr *w, const struct swi_smsg_told *m)
{
	swi_wr_u64(w, m->req);
	swi_wr_u32(w, m->refused);
}

int swi_smsg_get_told(struct swi_rd *r, struct swi_smsg_told *out)
{
	struct swi_smsg_told m = {0};

	m.req = swi_rd_u64(r);
	m.refused = swi_rd_u32(r);
	if (r->bad || (uint64_t)m.refused * sizeof(struct swarm_oid) != r->len - r->pos)
		return SWARM_EPROTO;
	*out = m;
	return 0;
}

int swi_smsg_get_count(struct swi_rd *r, uint32_t row_bytes, uint32_t *out)
{
	const uint32_t n = swi_rd_u32(r);

	if (r->bad || (uint64_t)n * row_bytes > r->len - r->pos)
		return SWARM_EPROTO;
	*out = n;
	return 0;
}
