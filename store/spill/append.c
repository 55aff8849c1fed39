/* SPDX-License-Identifier: Apache-2.0 */
/*
 * append.c - writing records, and when a write counts as done.
 *
 * A large object goes to disk from the arena, where it lies. Small ones are copied one behind the
 * other into a staging buffer; the buffer is written when it is full, or when no other one is in
 * flight, so that a lone record does not wait and many share one transfer. Where it goes is chosen
 * when it goes. A write is acknowledged when the disk has it; in keep mode when it is durable: one
 * fdatasync serves all that were written before it began.
 * Invariant: a record is in exactly one of sp->small, a batch, a large transfer (and then, until it is
 * summed, in sp->summing), seg->unsynced, seg->syncing, seg->objs. Owner thread only.
 */
#include "store/spill/log_impl.h"

#define BATCHES_AHEAD 2u /* so many unfinished batches may be in flight before others must fill up */

static void append_large(struct swi_spill *sp, struct swi_spill_obj *o, int avoid);

static void record_over(struct swi_spill *sp, struct swi_spill_obj *o, int status)
{
	struct swi_spill_io *io = o->io;
	struct swi_mark_group *doom;

	if (o->tomb) {
		swi_log_tomb_over(sp, o, status);
		return;
	}
	if (o->move) {
		swi_log_moved(sp, o, status);
		return;
	}
	o->io = NULL;
	doom = o->doom;
	o->read = NULL;

	/* The record's checksum is the disk's: in the arena it would keep readers on other nodes away. */
	if (obj_is_large(o))
		((struct swi_object_head *)io->extent)->crc = 0;

	if (!status) {
		sp->stats.written_objects++;
		sp->stats.written_bytes += obj_bytes(o);
		swi_log_attach(sp, o, o->seg, o->off);
		if (o->doomed) {
			status = -ECANCELED;
			if (sp->opts.keep)
				swi_log_bury(sp, o, doom);
			swi_log_drop(sp, o);
		}
	} else {
		swi_log_index_del(sp, o);
		free(o);
	}
	swi_log_group_put(sp, doom, status == -ECANCELED ? 0 : status); /* it may lie there, unmarked */
	while (io) { /* who began it, and who joined */
		struct swi_spill_io *next = io->priv;

		swi_log_finish(sp, io, status);
		io = next;
	}
}

/* A transfer failed: another try on another segment, of another disk where there is one. */
static void record_failed(struct swi_spill *sp, struct swi_spill_obj *o, int status)
{
	o->avoid = (int16_t)o->seg->disk; /* the segment itself may be gone by then */
	/* What failed may lie there all the same, and must not be found when its next copy was forgotten. */
	if (sp->opts.keep && !o->tomb && !o->attempts)
		swi_log_bury(sp, o, o->move ? NULL : o->doom);
	if (o->attempts++) {
		record_over(sp, o, status == -ENOSPC ? SWARM_EDISKFULL : status);
		return;
	}
	if (obj_is_large(o))
		append_large(sp, o, o->avoid);
	else
		swi_list_push_back(&sp->small, &o->seg_link);
}

static void records_failed(struct swi_spill *sp, struct swi_list *objs, int status)
{
	while (!swi_list_empty(objs)) {
		struct swi_spill_obj *o = swi_list_first(objs, struct swi_spill_obj, seg_link);

		swi_list_del(&o->seg_link);
		record_failed(sp, o, status);
	}
}

/* All of @seg. */
static void records_over(struct swi_spill *sp, struct swi_seg *seg, struct swi_list *objs)
{
	seg->writes++; /* one that was forgotten must not close the segment before the others count */
	while (!swi_list_empty(objs)) {
		struct swi_spill_obj *o = swi_list_first(objs, struct swi_spill_obj, seg_link);

		swi_list_del(&o->seg_link);
		record_over(sp, o, 0);
	}
	seg->writes--;
}

/* The disk has these records, or it refused. */
static void written(struct swi_spill *sp, struct swi_seg *seg, struct swi_list *objs, uint64_t len,
		    int status)
{
	seg->writes--;
	swi_log_speed(sp, &sp->disks[seg->disk], len);
	if (status) {
		swi_log_retire(sp, seg, status);
		records_failed(sp, objs, status);
		return;
	}
	swi_log_disk_fine(&sp->disks[seg->disk]);
	if (!sp->opts.keep) {
		records_over(sp, seg, objs);
		return;
	}
	swi_list_splice(&seg->unsynced, objs);
	swi_log_sync(sp, seg);
}

/* ---- durability ---- */
static void sync_done(struct swi_dio *dio)
{
	struct swi_seg *seg = dio->owner;
	struct swi_spill *sp = seg->sp;
	struct swi_list objs;

	swi_log_dio_over(seg);
	seg->sync_busy = false;
	swi_list_init(&objs);
	swi_list_splice(&objs, &seg->syncing);
	if (dio->status) {
		/* The kernel may have dropped the pages: what was not acknowledged is written anew. */
		swi_log_retire(sp, seg, dio->status);
		records_failed(sp, &objs, dio->status);
	} else {
		records_over(sp, seg, &objs);
	}
	swi_log_sync(sp, seg);
	swi_log_dio_end(seg);
}

void swi_log_sync(struct swi_spill *sp, struct swi_seg *seg)
{
	/* Without its header a segment is not found again, so that comes first. */
	if (!sp->opts.keep || seg->sync_busy || swi_list_empty(&seg->unsynced) ||
	    (!seg->header_ok && !seg->failed))
		return;
	if (!seg->header_ok) {
		struct swi_list objs;

		swi_list_init(&objs);
		swi_list_splice(&objs, &seg->unsynced);
		records_failed(sp, &objs, -EIO);
		return;
	}
	swi_list_splice(&seg->syncing, &seg->unsynced);
	sp->stats.syncs++;
	seg->sync = (struct swi_dio){
		.op = SWI_DIO_SYNC, .file = seg->file, .cb = sync_done, .owner = seg};
	seg->sync_busy = true;
	SWI_BUG_ON(swi_log_submit(sp, seg, &seg->sync));
}

/* ---- large records ---- */
static void large_step(struct swi_spill *sp, struct swi_spill_obj *o);

void swi_log_large_over(struct swi_spill *sp, struct swi_spill_obj *o, int status)
{
	struct swi_seg *seg = o->seg;
	struct swi_list objs;

	o->landed = false;
	swi_list_init(&objs);
	swi_list_push_back(&objs, &o->seg_link);
	written(sp, seg, &objs, obj_bytes(o), status);
	swi_log_dio_end(seg);
}

static void large_done(struct swi_dio *dio)
{
	struct swi_spill_obj *o = dio->owner;
	struct swi_seg *seg = o->seg;
	struct swi_spill *sp = seg->sp;

	swi_log_dio_over(seg);
	dio->off += dio->len;
	if (!dio->status && dio->off < o->off + obj_bytes(o)) {
		large_step(sp, o);
		swi_log_dio_end(seg);
	} else if (!dio->status && o->summed < obj_sums(o)) {
		o->landed = true; /* the segment stays busy until it is summed */
	} else {
		swi_list_del(&o->seg_link);
		swi_log_large_over(sp, o, dio->status);
	}
}

/* The part that begins at dio->off: one transfer takes 1 GiB at most. */
static void large_step(struct swi_spill *sp, struct swi_spill_obj *o)
{
	struct swi_dio *dio = &o->io->dio;
	const uint64_t done = dio->off - o->off;

	dio->buf = (char *)o->io->extent + done;
	dio->len = (uint32_t)swi_min_u64(obj_bytes(o) - done, GIB(1));
	SWI_BUG_ON(swi_log_submit(sp, o->seg, dio));
}

static void append_large(struct swi_spill *sp, struct swi_spill_obj *o, int avoid)
{
	struct swi_object_head *h = o->io->extent;
	int rc = swi_log_alloc(sp, obj_bytes(o), obj_entries(o), avoid, &o->seg, &o->off);

	if (rc) {
		record_over(sp, o, rc);
		return;
	}
	h->crc = swi_seg_record_crc(&o->head, o->seg->key, o->off);
	o->io->dio = (struct swi_dio){.op = SWI_DIO_WRITE, .file = o->seg->file, .off = o->off,
				      .cb = large_done, .owner = o};
	o->seg->writes++;
	swi_log_speed(sp, &sp->disks[o->seg->disk], 0);
	if (o->summed < obj_sums(o))
		swi_list_push_back(&sp->summing, &o->seg_link);
	large_step(sp, o);
}

void swi_log_append(struct swi_spill *sp, struct swi_spill_obj *o)
{
	if (obj_is_large(o))
		append_large(sp, o, -1);
	else
		swi_list_push_back(&sp->small, &o->seg_link);
}

/* ---- small records ---- */
static void batch_done(struct swi_dio *dio)
{
	struct swi_batch *b = dio->owner;
	struct swi_seg *seg = b->seg;
	struct swi_spill *sp = b->sp;
	struct swi_list objs;

	swi_log_dio_over(seg);
	swi_list_init(&objs);
	swi_list_splice(&objs, &b->objs);
	swi_list_push_back(&sp->batches, &b->link);
	sp->batches_busy--;
	written(sp, seg, &objs, dio->len, dio->status);
	swi_log_dio_end(seg);
}

/* The batch has its place in a segment: now the records' salted checksums can be made. */
static void batch_place(struct swi_batch *b, uint64_t at)
{
	swi_list_for_each(it, &b->objs) {
		struct swi_spill_obj *o = swi_list_entry(it, struct swi_spill_obj, seg_link);
		char *p = b->buf + o->off;

		o->seg = b->seg;
		o->off += at;
		if (o->tomb) {
			o->tomb->off = o->off;
			swi_seg_tomb_init((struct swi_seg_tomb *)(void *)p, b->seg->key,
					  o->tomb->oid, o->tomb->target, o->tomb->target_off, o->off);
		} else {
			((struct swi_object_head *)(void *)p)->crc =
				swi_seg_record_crc(&o->head, b->seg->key, o->off);
		}
	}
}

static void batch_write(struct swi_spill *sp)
{
	struct swi_batch *b = sp->filling;
	const uint64_t len = swi_align_up(b->used, SWI_DISK_ALIGN);
	int rc, avoid = -1;
	uint64_t at;

	sp->filling = NULL;
	swi_list_for_each(it, &b->objs) {
		const struct swi_spill_obj *o = swi_list_entry(it, struct swi_spill_obj, seg_link);

		if (o->attempts)
			avoid = o->avoid; /* a second try: not where the first failed */
	}
	rc = swi_log_alloc(sp, len, b->count, avoid, &b->seg, &at);
	if (rc) {
		swi_list_push_back(&sp->batches, &b->link);
		while (!swi_list_empty(&b->objs)) {
			struct swi_spill_obj *o =
				swi_list_first(&b->objs, struct swi_spill_obj, seg_link);

			swi_list_del(&o->seg_link);
			record_over(sp, o, rc);
		}
		return;
	}
	memset(b->buf + b->used, 0, len - b->used);
	batch_place(b, at);
	b->dio = (struct swi_dio){.op = SWI_DIO_WRITE, .file = b->seg->file, .buf = b->buf, .off = at,
				  .len = (uint32_t)len, .cb = batch_done, .owner = b};
	b->seg->writes++;
	swi_log_speed(sp, &sp->disks[b->seg->disk], 0);
	sp->batches_busy++;
	SWI_BUG_ON(swi_log_submit(sp, b->seg, &b->dio));
}

static void batch_add(struct swi_batch *b, struct swi_spill_obj *o)
{
	const uint64_t len = obj_bytes(o);

	if (!o->tomb)
		memcpy(b->buf + b->used, o->io->extent, len);
	o->off = b->used;
	b->used += (uint32_t)len;
	b->count++;
	swi_list_push_back(&b->objs, &o->seg_link);
}

void swi_log_pump(struct swi_spill *sp, bool force)
{
	while (!swi_list_empty(&sp->small)) {
		struct swi_spill_obj *o = swi_list_first(&sp->small, struct swi_spill_obj, seg_link);
		struct swi_batch *b = sp->filling;

		if (b && b->used + obj_bytes(o) > sp->batch_bytes) {
			batch_write(sp);
			/* The disk has it while the next one is filled; batches that came back are filled, too. */
			(void)swi_log_poll(sp);
			continue;
		}
		if (!b) {
			b = swi_list_first(&sp->batches, struct swi_batch, link);
			if (!b)
				return; /* all are in flight */
			swi_list_del(&b->link);
			b->used = b->count = 0;
			sp->filling = b;
		}
		swi_list_del(&o->seg_link);
		batch_add(b, o);
	}
	if (sp->filling && (force || sp->batches_busy < BATCHES_AHEAD))
		batch_write(sp);
}

void swi_log_fail_waiting(struct swi_spill *sp, int status)
{
	struct swi_list objs;

	swi_list_init(&objs);
	if (sp->filling) {
		swi_list_splice(&objs, &sp->filling->objs);
		swi_list_push_back(&sp->batches, &sp->filling->link);
		sp->filling = NULL;
	}
	swi_list_splice(&objs, &sp->small);
	while (!swi_list_empty(&objs)) {
		struct swi_spill_obj *o = swi_list_first(&objs, struct swi_spill_obj, seg_link);

		swi_list_del(&o->seg_link);
		record_over(sp, o, status);
	}
}
