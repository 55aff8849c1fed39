/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range.c - reading some bytes of a spilled object without the rest.
 *
 * Whole blocks go straight into the memory of who asked; nothing is copied and nothing is shared
 * between readers. The segment stays (busy) until the read is over, even if the object is forgotten
 * or moved meanwhile: records are never written over while their segment is in use. Owner thread only.
 */
#include "store/spill/log_impl.h"

struct range {
	struct swi_spill *sp;
	struct swi_seg *seg;
	struct swi_spill_io *io;
	uint64_t first, end; /* blocks in the segment */
	bool retried;
};

static void range_step(struct range *r);

/* The blocks that hold the bytes; false: there are none such. */
static bool blocks_of(const struct swi_spill_obj *o, uint64_t from, uint64_t len, uint64_t *out_first,
		      uint64_t *out_end)
{
	const uint64_t at = o->off + sizeof(o->head) + from;

	if (!len || from > o->head.len || len > o->head.len - from)
		return false;
	*out_first = swi_align_down(at, SWI_DISK_ALIGN);
	*out_end = swi_align_up(at + len, SWI_DISK_ALIGN);
	return true;
}

uint64_t swi_spill_range_room(struct swi_spill *sp, struct swarm_oid id, uint64_t from, uint64_t len)
{
	const struct swi_spill_obj *o = swi_log_lookup(sp, id.w);
	uint64_t first, end;

	if (!o || o->state != OBJ_SPILLED || !blocks_of(o, from, len, &first, &end))
		return 0;
	return end - first;
}

static void range_done(struct swi_dio *dio)
{
	struct range *r = dio->owner;
	struct swi_spill *sp = r->sp;
	struct swi_seg *seg = r->seg;

	swi_log_dio_over(seg);
	if (dio->status && !r->retried) {
		r->retried = true; /* a path that fails over, a drive that tries harder */
		range_step(r);
	} else if (!dio->status && dio->off + dio->len < r->end) {
		dio->off += dio->len;
		range_step(r);
	} else {
		if (dio->status)
			sp->stats.read_errors++;
		else
			sp->stats.restored_bytes += r->io->len;
		swi_log_finish(sp, r->io, dio->status);
		free(r);
	}
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
	r = malloc(sizeof(*r));
	if (!r) {
		swi_log_finish(sp, io, -ENOMEM);
		return;
	}
	*r = (struct range){.sp = sp, .seg = o->seg, .io = io, .first = first, .end = end};
	io->data = (char *)io->extent + (o->off + sizeof(o->head) + io->from - first);
	io->dio = (struct swi_dio){.op = SWI_DIO_READ, .file = o->seg->file, .off = first,
				   .cb = range_done, .owner = r};
	range_step(r);
}
