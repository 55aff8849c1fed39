/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range.c - reading some bytes of a spilled object without the rest, and proving them.
 *
 * Of a large object whole blocks go straight into the memory of who asked, and each is compared with
 * its sum. A small one lies among others anywhere in its blocks: it is read whole, and its digest
 * proves it. Nothing is copied and nothing is shared between readers. The segment stays (busy) until
 * the read is over, even if the object is forgotten or moved meanwhile: records are never written over
 * while their segment is in use, nor made a hole of, and what they are compared with is copied first. Owner thread only.
 */
#include "store/spill/log_impl.h"

struct range {
	struct swi_spill *sp;
	struct swi_seg *seg;
	struct swi_spill_io *io;
	struct swi_object_head head;
	uint64_t off;	     /* of the record */
	uint64_t first, end; /* blocks in the segment */
	bool retried;
	uint8_t phase;	 /* of the segment, when it began */
	uint32_t sums[]; /* of a large one: of these blocks */
};

static void range_step(struct range *r);

/* The blocks that are to be read; false: there are no such bytes. */
static bool blocks_of(const struct swi_spill_obj *o, uint64_t from, uint64_t len, uint64_t *out_first,
		      uint64_t *out_end)
{
	const uint64_t at = o->off + sizeof(o->head) + from;
	const bool large = obj_is_large(o);

	if (!len || from > o->head.len || len > o->head.len - from)
		return false;
	*out_first = swi_align_down(large ? at : o->off, SWI_DISK_ALIGN);
	*out_end = swi_align_up(large ? at + len : o->off + obj_bytes(o), SWI_DISK_ALIGN);
	return true;
}

uint64_t swi_spill_range_room(struct swi_spill *sp, struct swarm_oid id, uint64_t from, uint64_t len)
{
	const struct swi_spill_obj *o = swi_log_lookup(sp, id.w);
	uint64_t first, end;

	if (!o || o->state != OBJ_SPILLED || !blocks_of(o, from, len, &first, &end))
		return 0;
	/* A small one may have moved when it is read, and lie across one block more. */
	return obj_is_large(o) ? end - first : swi_align_up(obj_bytes(o), SWI_DISK_ALIGN) + SWI_DISK_ALIGN;
}

/* 0, or SWARM_ECORRUPT: what was read is not what was written. */
static int range_check(const struct range *r)
{
	const uint64_t head = sizeof(r->head);
	const char *p = r->io->extent;
	uint64_t from, to;

	if (swi_extent_bytes(r->head.len) < SWI_LARGE_MIN) {
		p += r->off - r->first;
		return swi_log_record_check(&r->head, r->seg, r->off, p,
					    XXH3_64bits(p + head, r->head.len));
	}
	from = swi_max_u64(r->first - r->off, head) - head; /* of the payload */
	to = swi_min_u64(r->end - r->off - head, r->head.len);
	return swi_seg_sums_match(r->sums, p + (r->off + head + from - r->first), from, to - from)
		       ? 0
		       : SWARM_ECORRUPT;
}

/* Better missing than wrong: the record goes, if it is still the one that was read. */
static void range_corrupt(struct range *r)
{
	struct swi_spill *sp = r->sp;
	struct swi_spill_obj *o = swi_log_lookup(sp, r->head.oid);

	swi_log_corrupt(sp, r->seg, &r->head, SWARM_ECORRUPT);
	if (o && o->state == OBJ_SPILLED && o->seg == r->seg && o->off == r->off)
		swi_log_drop(sp, o);
}

static void range_done(struct swi_dio *dio)
{
	struct range *r = dio->owner;
	struct swi_spill *sp = r->sp;
	struct swi_seg *seg = r->seg;
	int status = dio->status;

	swi_log_dio_over(seg);
	if (!status && dio->off + dio->len < r->end) {
		dio->off += dio->len;
		range_step(r);
		swi_log_dio_end(seg);
		return;
	}
	if (!status)
		status = range_check(r);
	if (status && !r->retried) {
		r->retried = true; /* a path that fails over, a drive that tries harder */
		dio->off = r->first;
		range_step(r);
		swi_log_dio_end(seg);
		return;
	}
	if (status == SWARM_ECORRUPT)
		range_corrupt(r);
	else if (status)
		sp->stats.read_errors++;
	else
		sp->stats.restored_bytes += r->io->len;
	swi_log_finish(sp, r->io, status);
	seg_read_end(seg, r->phase);
	free(r);
	swi_log_dio_end(seg);
}

/* The part that begins at dio->off: one transfer takes 1 GiB at most. */
static void range_step(struct range *r)
{
	struct swi_dio *dio = &r->io->dio;

	dio->buf = (char *)r->io->extent + (dio->off - r->first);
	dio->len = (uint32_t)swi_min_u64(r->end - dio->off, GIB(1));
	SWI_BUG_ON(swi_log_submit(r->sp, r->seg, dio));
}

static struct range *range_new(struct swi_spill *sp, const struct swi_spill_obj *o, uint64_t first,
			       uint64_t end)
{
	const uint64_t sums = obj_is_large(o) ? (end - first) / SWI_DISK_ALIGN : 0;
	struct range *r = calloc(1, sizeof(*r) + sums * sizeof(r->sums[0]));

	if (!r)
		return NULL;
	r->sp = sp;
	r->seg = o->seg;
	r->phase = seg_read_begin(o->seg);
	r->off = o->off;
	r->first = first;
	r->end = end;
	swi_head_copy(&r->head, &o->head);
	if (sums)
		memcpy(r->sums, &o->sums[(first - o->off) / SWI_DISK_ALIGN],
		       sums * sizeof(r->sums[0]));
	return r;
}

void swi_spill_read_range(struct swi_spill *sp, struct swi_spill_io *io)
{
	struct swi_spill_obj *o = swi_log_lookup(sp, io->id.w);
	uint64_t first, end;
	struct range *r;

	if (!o || o->state != OBJ_SPILLED || sp->closing) {
		swi_log_finish(sp, io, sp->closing ? -ECANCELED : -ENOENT);
		return;
	}
	if (!blocks_of(o, io->from, io->len, &first, &end) || io->extent_bytes < end - first ||
	    (uintptr_t)io->extent % SWI_DISK_ALIGN) {
		swi_log_finish(sp, io, -EINVAL);
		return;
	}
	r = range_new(sp, o, first, end);
	if (!r) {
		swi_log_finish(sp, io, -ENOMEM);
		return;
	}
	r->io = io;
	io->data = (char *)io->extent + (o->off + sizeof(o->head) + io->from - first);
	io->dio = (struct swi_dio){.op = SWI_DIO_READ, .file = o->seg->file, .off = first,
				   .cb = range_done, .owner = r};
	range_step(r);
}
