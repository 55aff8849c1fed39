/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_read.c - READs: one of the caller's becomes parts that lie in one chunk of the peer, one
 * chunk of ours and one READ of the backend. At most SWI_READ_WINDOW parts of a connection are with
 * the backend; what does not fit waits as a job.
 *
 * Invariant: rd->parts = parts with the backend + 1 while a job exists; the callback comes when it
 * is 0, always from progress(). rd->left = bytes not yet posted.
 */
#include "transport/conn.h"

#define SLAB_PARTS 256u

struct slab {
	struct slab *next;
	struct swi_read_part parts[SLAB_PARTS];
};

struct read_job {
	struct swi_list link; /* swi_conn.jobs */
	struct swi_read *rd;
	uint32_t region;
	uint64_t offset;
	uint8_t *local;
};

static struct swi_read_part *part_get(struct swi_tp *tp)
{
	struct swi_read_part *p = tp->free_parts;

	if (!p) {
		struct slab *s = calloc(1, sizeof(*s));

		if (!s)
			return NULL;
		s->next = tp->slabs;
		tp->slabs = s;
		for (uint32_t i = SLAB_PARTS; i-- > 0;) {
			s->parts[i].next_free = tp->free_parts;
			tp->free_parts = &s->parts[i];
		}
		p = tp->free_parts;
	}
	tp->free_parts = p->next_free;
	return p;
}

static void part_put(struct swi_tp *tp, struct swi_read_part *p)
{
	p->next_free = tp->free_parts;
	tp->free_parts = p;
}

void swi_tp_parts_fini(struct swi_tp *tp)
{
	for (struct slab *s = tp->slabs, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	tp->slabs = NULL;
	tp->free_parts = NULL;
}

/* The registration that @p lies in, and the bytes from @p to its end. NULL: not ours. */
static const struct swi_be_mr *local_mr(const struct swi_conn *c, const uint8_t *p,
					uint64_t *out_left)
{
	const struct swi_tp *tp = c->tp;

	for (uint32_t i = 0; i < SWI_REGIONS_MAX; i++) {
		const struct swi_local_region *l = &tp->regions[i];

		if (!l->len || p < l->addr || p >= l->addr + l->len)
			continue;
		const uint64_t off = (uint64_t)(p - l->addr);
		const struct swi_local_chunks *on = &l->on[c->net - tp->nets];
		const struct swi_be_mr *mr = &on->mrs[off / on->chunk_len];

		*out_left = mr->len - off % on->chunk_len;
		return mr;
	}
	return NULL;
}

/* Whether [p, p + len) lies in one region of ours. */
static bool local_ok(const struct swi_tp *tp, const uint8_t *p, uint64_t len)
{
	for (uint32_t i = 0; i < SWI_REGIONS_MAX; i++) {
		const struct swi_local_region *l = &tp->regions[i];

		if (l->len && p >= l->addr && p <= l->addr + l->len &&
		    len <= l->len - (uint64_t)(p - l->addr))
			return true;
	}
	return false;
}

static void part_landed(struct swi_be_read *be, const void *at, uint32_t len)
{
	struct swi_read *rd = ((struct swi_read_part *)be->owner)->rd;

	rd->landed(rd, at, len);
}

/* Posts the next part of @rd, of which *offset and *local are moved on. */
static int post_part(struct swi_conn *c, struct swi_read *rd, uint32_t region, uint64_t *offset,
		     uint8_t **local)
{
	struct swi_tp *tp = c->tp;
	const struct swi_region *g = &c->regions.at[region];
	const uint64_t in_chunk = *offset % g->chunk_len;
	uint64_t local_left;
	const struct swi_be_mr *mr = local_mr(c, *local, &local_left);
	uint64_t n = swi_min_u64(rd->left, c->net->part_max);

	SWI_BUG_ON(!mr);
	n = swi_min_u64(n, swi_min_u64(g->chunk_len - in_chunk, local_left));
	if (c->parts >= SWI_READ_WINDOW)
		return -EAGAIN;
	struct swi_read_part *p = part_get(tp);

	if (!p)
		return -ENOMEM;
	const struct swi_chunk *k = &g->chunks[*offset / g->chunk_len];

	p->conn = c;
	p->rd = rd;
	p->be = (struct swi_be_read){.local = *local,
				     .mr = mr,
				     .remote_addr = k->base + in_chunk,
				     .rkey = k->rkey,
				     .len = (uint32_t)n,
				     .owner = p,
				     .landed = rd->landed ? part_landed : NULL};
	const int rc = c->net->ops->read(c->ep, &p->be);

	if (rc) {
		part_put(tp, p);
		return rc;
	}
	c->parts++;
	rd->parts++;
	rd->left -= n;
	*offset += n;
	*local += n;
	return 0;
}

static int post_all(struct swi_conn *c, struct swi_read *rd, uint32_t region, uint64_t *offset,
		    uint8_t **local)
{
	int rc = 0;

	while (rd->left && !rc)
		rc = post_part(c, rd, region, offset, local);
	return rc;
}

static void finish(struct swi_conn *c, struct swi_read *rd)
{
	c->tp->n.reads_done++;
	if (rd->status)
		c->tp->n.reads_failed++;
	rd->cb(rd, rd->status);
}

int swi_conn_read(struct swi_conn *c, uint32_t region, uint64_t offset, void *local, uint64_t len,
		  struct swi_read *rd)
{
	uint8_t *to = local;
	int rc = -EAGAIN;

	if (c->state != SWI_CONN_UP)
		return SWARM_EPEERLOST;
	if (region >= SWI_REGIONS_MAX || offset > c->regions.at[region].len ||
	    len > c->regions.at[region].len - offset)
		return SWARM_EREMOTEACCESS;
	if (!local_ok(c->tp, to, len))
		return -EFAULT;
	rd->conn = c;
	rd->left = len;
	rd->status = 0;
	rd->parts = 0;
	if (len && swi_list_empty(&c->jobs))
		rc = post_all(c, rd, region, &offset, &to);
	if (rc && rc != -EAGAIN && !rd->parts)
		return rc; /* nothing was taken */
	if (rd->left || !len) {
		struct read_job *j = malloc(sizeof(*j));

		if (!j && !rd->parts)
			return -ENOMEM;
		if (!j || (rc && rc != -EAGAIN)) { /* the parts that are under way report it */
			rd->status = j ? rc : -ENOMEM;
			free(j);
		} else {
			*j = (struct read_job){
			    .rd = rd, .region = region, .offset = offset, .local = to};
			rd->parts++;
			swi_list_push_back(&c->jobs, &j->link);
			swi_conn_kick(c);
		}
	}
	c->tp->n.reads_posted++;
	return 0;
}

void swi_conn_read_done(struct swi_conn *c, struct swi_read_part *p, int status)
{
	struct swi_read *rd = p->rd;

	SWI_BUG_ON(!c->parts || !rd->parts);
	if (status && !rd->status)
		rd->status = status;
	if (!status) {
		c->tp->n.read_bytes += p->be.len;
		c->read_bytes += p->be.len;
	}
	part_put(c->tp, p);
	c->parts--;
	if (!swi_list_empty(&c->jobs))
		swi_conn_kick(c);
	if (--rd->parts == 0)
		finish(c, rd);
}

bool swi_conn_pump_reads(struct swi_conn *c)
{
	struct read_job *j;

	while ((j = swi_list_first(&c->jobs, struct read_job, link))) {
		struct swi_read *rd = j->rd;
		int rc = 0;

		if (!swi_conn_alive(c))
			rc = c->status ? c->status : SWARM_EPEERLOST;
		else if (!rd->status)
			rc = post_all(c, rd, j->region, &j->offset, &j->local);
		if (rc == -EAGAIN)
			return c->parts >=
			       SWI_READ_WINDOW; /* a full window is emptied by read_done() */
		if (rc && !rd->status)
			rd->status = rc;
		swi_list_del(&j->link);
		free(j);
		if (--rd->parts == 0)
			finish(c, rd);
	}
	return true;
}

void swi_conn_read_fini(struct swi_conn *c)
{
	swi_list_for_each_safe (it, &c->jobs) {
		swi_list_del(it);
		free(swi_list_entry(it, struct read_job, link));
	}
}
