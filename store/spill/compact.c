/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compact.c - getting back what dead records hold, without waiting for a whole segment to die.
 *
 * A closed segment of which half or less is alive becomes a victim. First its dead ranges are given
 * back to the file system by punching holes, one after the other: a file system that discards
 * blocks takes up to a second for one, so the disk does it beside its transfers. Where that is not
 * supported, or the dead records are too small for it, its live records are read, verified and
 * appended anew, and the file goes when the last has moved. Both are bounded in each turn, so that
 * writes go on beside. A copy replaces its original in the index only when it is written (keep mode:
 * durable).
 *
 * A hole is punched only where nothing is written, moved or read any more: the segment is closed,
 * what lies in a gap is dead, and reads that began before the gaps were looked for have ended (they
 * may be of a record that died since). Its bytes count as given back when all holes of the segment
 * are there, and the file cannot go before, as the segment is busy. Owner thread only.
 */
#include "store/spill/log_impl.h"

#define GAP_MIN	       SWI_LARGE_MIN /* smaller holes cost the file system more than they give */
#define MOVES_MAX      32u
#define MOVE_BYTES_MAX MIB(8)

struct swi_gap {
	uint64_t off, len;
};

struct swi_move {
	struct swi_list link; /* sp->moves */
	struct swi_spill *sp;
	struct swi_spill_io io; /* the read, then the write */
	void *buf;
	uint64_t bytes;
	uint64_t src, src_off; /* segment number and offset of the original */
	struct swi_mark_group *doom; /* the original is forgotten: who waits for this copy's end */
	int status;		     /* of this copy, if it may lie there unmarked */
};

static bool half_dead(const struct swi_seg *seg)
{
	return seg->live_bytes * 2 <= seg->bytes - seg->punched;
}

void swi_log_consider(struct swi_spill *sp, struct swi_seg *seg)
{
	if (sp->closing || seg->state != SEG_CLOSED || !seg->live_bytes || sp->victim == seg ||
	    !swi_list_empty(&seg->victim_link) || !half_dead(seg))
		return;
	/* The mark before the hole: else a restart would find a record that cannot be read. */
	if (seg->tombs_pending)
		return;
	swi_list_push_back(&sp->victims, &seg->victim_link);
}

static void victim_over(struct swi_spill *sp)
{
	free(sp->gaps);
	sp->gaps = NULL;
	sp->gap_count = sp->gap_next = 0;
	sp->gap_done = 0;
	sp->victim = NULL;
}

void swi_log_compact_forget(struct swi_spill *sp, const struct swi_seg *seg)
{
	if (sp->victim == seg)
		victim_over(sp);
}

void swi_log_compact_stop(struct swi_spill *sp)
{
	victim_over(sp);
	while (!swi_list_empty(&sp->victims))
		swi_list_del(sp->victims.next);
}

/* ---- holes ---- */
static int by_offset(const void *a, const void *b)
{
	const struct swi_gap *x = a, *y = b;

	return (x->off > y->off) - (x->off < y->off);
}

static void gap_add(struct swi_spill *sp, struct swi_gap *gaps, uint64_t from, uint64_t to)
{
	from = swi_align_up(from, SWI_DISK_ALIGN);
	to = swi_align_down(to, SWI_DISK_ALIGN);
	if (from < to && to - from >= GAP_MIN)
		gaps[sp->gap_count++] = (struct swi_gap){from, to - from};
}

/* Live records sorted by place, and between them the gaps; in place, as a gap ends behind its record. */
static bool find_gaps(struct swi_spill *sp, struct swi_seg *seg)
{
	const uint64_t end = seg->bytes - swi_min_u64(swi_seg_footer_bytes(seg->recs), seg->bytes);
	uint64_t at = SWI_SEG_DATA_OFF;
	struct swi_gap *live;
	size_t n = 0;

	swi_list_for_each(it, &seg->objs)
		n++;
	live = calloc(n + 1, sizeof(*live));
	if (!live)
		return false;
	sp->gaps = calloc(n + 1, sizeof(*sp->gaps));
	if (!sp->gaps) {
		free(live);
		return false;
	}
	n = 0;
	swi_list_for_each(it, &seg->objs) {
		const struct swi_spill_obj *o = swi_list_entry(it, struct swi_spill_obj, seg_link);

		live[n++] = (struct swi_gap){o->off, obj_bytes(o)};
	}
	qsort(live, n, sizeof(*live), by_offset);
	for (size_t i = 0; i < n; i++) {
		gap_add(sp, sp->gaps, at, live[i].off);
		at = live[i].off + live[i].len;
	}
	gap_add(sp, sp->gaps, at, end);
	free(live);
	return true;
}

/* Marks that lie in a hole would be lost; a segment with marks is emptied by copying instead. */
static bool may_punch(const struct swi_spill *sp, const struct swi_seg *seg)
{
	return !sp->disks[seg->disk].no_punch && swi_list_empty(&seg->tombs) && !seg->emptied;
}

/* Reads that began before the gaps were looked for. */
static bool old_reads(const struct swi_seg *seg)
{
	return seg->reads[!seg->phase];
}

static void punch_failed(struct swi_spill *sp, struct spill_disk *sd, int rc)
{
	if (rc != -EIO && rc != -ENOSPC && rc != -ENOMEM) { /* never, as it seems */
		sd->no_punch = true;
		swi_info(sp->log, "spill folder %s: no holes can be punched (%s), copying instead",
			 sd->d->ops->path(sd->d), swarm_strerror(rc));
		return;
	}
	sp->stats.write_errors++;
	swi_warn(sp->log, "spill folder %s: a hole cannot be punched: %s; copying instead",
		 sd->d->ops->path(sd->d), swarm_strerror(rc));
}

/* No more holes for this segment: the last is there, or @rc is why there is none. */
static void punch_over(struct swi_spill *sp, struct swi_seg *seg, int rc)
{
	struct spill_disk *sd = &sp->disks[seg->disk];
	uint64_t sum = 0;

	if (rc)
		punch_failed(sp, sd, rc);
	/* All gaps were looked for anew, so this is the whole of what is punched by now. */
	for (size_t i = 0; i < sp->gap_next; i++)
		sum += sp->gaps[i].len;
	if (sum > seg->punched) {
		sp->held_bytes -= sum - seg->punched;
		seg->punched = sum;
		swi_log_room_again(sd);
	}
	free(sp->gaps);
	sp->gaps = NULL;
	sp->gap_count = sp->gap_next = 0;
	sp->gap_done = 0;
	seg->emptied = true; /* the next step for this segment, if any, is to copy */
}

static void hole_done(struct swi_dio *dio)
{
	struct swi_seg *seg = dio->owner;
	struct swi_spill *sp = seg->sp;

	swi_log_dio_over(seg);
	sp->punching = false;
	if (sp->gaps) { /* else the victim was given up meanwhile: what this one gave is found the next time */
		SWI_BUG_ON(sp->victim != seg);
		sp->gap_done += dio->len;
		if (!dio->status && sp->gap_done == sp->gaps[sp->gap_next].len) {
			sp->gap_next++;
			sp->gap_done = 0;
		}
		if (dio->status || sp->gap_next == sp->gap_count)
			punch_over(sp, seg, dio->status);
	}
	swi_log_dio_end(seg);
}

static void punch_next(struct swi_spill *sp, struct swi_seg *seg)
{
	const struct swi_gap *g = &sp->gaps[sp->gap_next];
	int rc;

	if (sp->gap_next == sp->gap_count) {
		punch_over(sp, seg, 0); /* there are none */
		return;
	}
	sp->hole = (struct swi_dio){.op = SWI_DIO_PUNCH, .file = seg->file, .off = g->off + sp->gap_done,
				    .len = (uint32_t)swi_min_u64(g->len - sp->gap_done, GIB(1)),
				    .cb = hole_done, .owner = seg};
	rc = swi_log_submit(sp, seg, &sp->hole);
	if (rc)
		punch_over(sp, seg, rc);
	else
		sp->punching = true;
}

/* ---- copies ---- */
static void move_free(struct swi_move *m)
{
	m->sp->move_count--;
	m->sp->move_bytes -= m->bytes;
	swi_list_del(&m->link);
	swi_log_group_put(m->sp, m->doom, m->status);
	free(m->buf);
	free(m);
}

/* The original, if it is still where the copy was made from. */
static struct swi_spill_obj *original(const struct swi_move *m)
{
	struct swi_spill_obj *o = swi_log_lookup(m->sp, m->io.id.w);

	if (!o || o->state != OBJ_SPILLED || o->seg->key.number != m->src || o->off != m->src_off)
		return NULL;
	return o;
}

void swi_log_move_doom(struct swi_spill *sp, const struct swi_spill_obj *o)
{
	swi_list_for_each(it, &sp->moves) {
		struct swi_move *m = swi_list_entry(it, struct swi_move, link);

		if (m->src == o->seg->key.number && m->src_off == o->off && !m->doom)
			m->doom = swi_log_group_get(sp);
	}
}

static void move_failed(struct swi_move *m)
{
	struct swi_spill_obj *o = original(m);

	if (o)
		o->moving = false;
	if (m->sp->victim && m->sp->victim->key.number == m->src)
		victim_over(m->sp); /* looked at again when more of it has died */
	move_free(m);
}

void swi_log_moved(struct swi_spill *sp, struct swi_spill_obj *shadow, int status)
{
	struct swi_move *m = shadow->move;
	struct swi_spill_obj *o = original(m);
	struct swi_seg *from;

	if (status) {
		free(shadow);
		m->status = status;
		move_failed(m);
		return;
	}
	if (!o) { /* forgotten meanwhile: the copy is dead as well */
		if (sp->opts.keep)
			swi_log_bury(sp, shadow, m->doom);
		free(shadow);
		move_free(m);
		return;
	}
	from = o->seg;
	if (sp->opts.keep)
		swi_log_bury(sp, o, NULL);
	if (o->read) { /* finishes from the old place; whatever it finds says nothing of the new one */
		o->read->obj = NULL;
		o->read = NULL;
	}
	swi_log_detach(sp, o);
	o->moving = false;
	swi_log_attach(sp, o, shadow->seg, shadow->off);
	sp->stats.compacted_bytes += m->bytes;
	free(shadow);
	move_free(m);
	swi_log_settle(sp, from);
}

static void move_read(struct swi_spill_io *io)
{
	struct swi_move *m = io->owner;
	struct swi_spill_obj *shadow = NULL;
	const struct swi_spill_obj *o = original(m);

	if (!io->status && o && !m->sp->closing)
		shadow = swi_log_obj_new(&o->head);
	if (!shadow) {
		move_failed(m);
		return;
	}
	shadow->summed = o->summed;
	memcpy(shadow->sums, o->sums, o->summed * sizeof(o->sums[0]));
	shadow->io = io;
	shadow->move = m;
	swi_log_append(m->sp, shadow);
}

static bool move_start(struct swi_spill *sp, struct swi_spill_obj *o)
{
	struct swi_move *m = calloc(1, sizeof(*m));

	if (!m)
		return false;
	m->bytes = obj_bytes(o);
	if (posix_memalign(&m->buf, SWI_DISK_ALIGN, swi_align_up(m->bytes, SWI_DISK_ALIGN))) {
		free(m);
		return false;
	}
	m->sp = sp;
	m->src = o->seg->key.number;
	m->src_off = o->off;
	m->io = (struct swi_spill_io){.id = {{o->head.oid[0], o->head.oid[1]}}, .extent = m->buf,
				      .extent_bytes = m->bytes, .cb = move_read, .owner = m};
	o->moving = true;
	swi_list_push_back(&sp->moves, &m->link);
	sp->move_count++;
	sp->move_bytes += m->bytes;
	swi_spill_restore(sp, &m->io);
	return true;
}

static void move_some(struct swi_spill *sp, struct swi_seg *seg)
{
	swi_list_for_each(it, &seg->objs) {
		struct swi_spill_obj *o = swi_list_entry(it, struct swi_spill_obj, seg_link);

		if (o->moving)
			continue;
		if (sp->move_count >= MOVES_MAX || sp->move_bytes >= MOVE_BYTES_MAX)
			return;
		if (!swi_log_room(sp, obj_bytes(o)) || !move_start(sp, o)) {
			victim_over(sp);
			return;
		}
	}
}

bool swi_log_compact_due(const struct swi_spill *sp)
{
	if (sp->punching)
		return false;
	if (!sp->victim)
		return !swi_list_empty(&sp->victims);
	if ((sp->gaps || may_punch(sp, sp->victim)) && old_reads(sp->victim))
		return false; /* their end is heard of */
	return sp->gaps || !sp->move_count;
}

void swi_log_compact(struct swi_spill *sp)
{
	if (sp->punching)
		return;
	if (SWI_LIKELY(!sp->victim)) {
		struct swi_seg *seg = swi_list_first(&sp->victims, struct swi_seg, victim_link);

		if (!seg)
			return;
		swi_list_del(&seg->victim_link);
		if (!seg->live_bytes || !half_dead(seg))
			return;
		sp->victim = seg;
		seg->emptied = false;
	}
	if ((sp->gaps || may_punch(sp, sp->victim)) && old_reads(sp->victim))
		return;
	if (!sp->gaps && may_punch(sp, sp->victim)) {
		/* Marks first, as above: it is considered again when they are there. */
		if (sp->victim->tombs_pending || !find_gaps(sp, sp->victim)) {
			victim_over(sp);
			return;
		}
		sp->victim->phase = !sp->victim->phase;
		if (old_reads(sp->victim))
			return;
	}
	if (sp->gaps) {
		punch_next(sp, sp->victim);
		return;
	}
	if (half_dead(sp->victim) && !swi_list_empty(&sp->victim->objs))
		move_some(sp, sp->victim);
	else
		victim_over(sp);
}
