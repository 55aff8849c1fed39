/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill.c - the face of the spill log: requests, completions, one turn of work.
 *
 * Invariant: an object in the index with state OBJ_SPILLED lies whole on its segment and counts in
 * that segment's live bytes; one with OBJ_WRITING has exactly one request that will hear of it.
 * Owner thread only.
 */
#include "store/spill/log_impl.h"

#define VERIFY_A_TURN MIB(1)
#define SUM_A_TURN    MIB(1)

/* ---- records ---- */
void swi_log_attach(struct swi_spill *sp, struct swi_spill_obj *o, struct swi_seg *seg, uint64_t off)
{
	o->seg = seg;
	o->off = off;
	o->state = OBJ_SPILLED;
	swi_list_push_back(&seg->objs, &o->seg_link);
	seg->live_bytes += obj_bytes(o);
	seg->live_objects++;
	sp->stats.objects++;
	sp->stats.live_bytes += obj_bytes(o);
}

void swi_log_detach(struct swi_spill *sp, struct swi_spill_obj *o)
{
	swi_list_del(&o->seg_link);
	o->seg->live_bytes -= obj_bytes(o);
	o->seg->live_objects--;
	sp->stats.objects--;
	sp->stats.live_bytes -= obj_bytes(o);
}

void swi_log_drop(struct swi_spill *sp, struct swi_spill_obj *o)
{
	struct swi_seg *seg = o->seg;

	swi_log_detach(sp, o);
	swi_log_index_del(sp, o);
	if (o->read)
		o->read->obj = NULL;
	free(o);
	swi_log_consider(sp, seg);
	swi_log_settle(sp, seg);
}

/* ---- transfers and completions ---- */
void swi_log_finish(struct swi_spill *sp, struct swi_spill_io *io, int status)
{
	io->status = status;
	swi_list_push_back(&sp->done, &io->link);
}

int swi_log_submit(struct swi_spill *sp, struct swi_seg *seg, struct swi_dio *dio)
{
	struct spill_disk *sd = &sp->disks[seg->disk];
	int rc = sd->d->ops->submit(sd->d, dio);

	if (rc)
		return rc;
	seg->busy++;
	sd->inflight++;
	sp->inflight++;
	sp->dirty = true;
	return 0;
}

void swi_log_dio_over(struct swi_seg *seg)
{
	seg->sp->disks[seg->disk].inflight--;
	seg->sp->inflight--;
}

void swi_log_dio_end(struct swi_seg *seg)
{
	seg->busy--;
	swi_log_settle(seg->sp, seg);
}

static int deliver(struct swi_spill *sp)
{
	struct swi_list now;
	int n = 0;

	swi_list_init(&now);
	swi_list_splice(&now, &sp->done);
	while (!swi_list_empty(&now)) {
		struct swi_spill_io *io = swi_list_first(&now, struct swi_spill_io, link);

		swi_list_del(&io->link);
		n++;
		io->cb(io);
	}
	return n;
}

int swi_log_poll(struct swi_spill *sp)
{
	int n = 0;

	sp->dirty = false;
	for (uint32_t i = 0; i < sp->opts.disk_count; i++)
		if (sp->disks[i].inflight)
			n += sp->disks[i].d->ops->progress(sp->disks[i].d);
	return n;
}

void swi_log_drain(struct swi_spill *sp)
{
	while (sp->inflight)
		for (uint32_t i = 0; i < sp->opts.disk_count; i++)
			if (sp->disks[i].inflight)
				(void)sp->disks[i].d->ops->wait(sp->disks[i].d);
}

void swi_spill_quiesce(struct swi_spill *sp)
{
	swi_log_drain(sp);
}

int swi_spill_progress(struct swi_spill *sp)
{
	uint64_t now = 0;
	int n;

	for (uint32_t i = 0; i < sp->opts.disk_count; i++) {
		struct spill_disk *sd = &sp->disks[i];

		if (!sd->retry_ns)
			continue;
		if (!now)
			now = swi_now(sp->env);
		if (now >= sd->retry_ns)
			sd->retry_ns = sd->space_ns = 0; /* ask again */
	}
	swi_log_pump(sp, false);
	n = swi_log_poll(sp);
	swi_log_verify(sp, VERIFY_A_TURN);
	swi_log_sum(sp, SUM_A_TURN);
	swi_log_pump(sp, false);
	swi_log_read_pump(sp);
	swi_log_compact(sp);
	n += deliver(sp);
	if (sp->dirty) {
		swi_log_pump(sp, false);
		n += swi_log_poll(sp);
		n += deliver(sp);
	}
	return n;
}

/* Something that no completion will call for. */
static bool work_now(const struct swi_spill *sp)
{
	return swi_log_compact_due(sp) || !swi_list_empty(&sp->done) || !swi_list_empty(&sp->arrived) ||
	       !swi_list_empty(&sp->summing) || sp->dirty ||
	       (!sp->batches_busy && (sp->filling || !swi_list_empty(&sp->small)));
}

uint64_t swi_spill_deadline_ns(struct swi_spill *sp)
{
	uint64_t at = UINT64_MAX;

	if (work_now(sp))
		return 0;
	for (uint32_t i = 0; i < sp->opts.disk_count; i++)
		if (sp->disks[i].retry_ns)
			at = swi_min_u64(at, sp->disks[i].retry_ns);
	return at;
}

/* ---- requests ---- */
static int write_check(const struct swi_spill *sp, const struct swi_spill_io *io)
{
	const struct swi_object_head *h = io->extent;
	const struct swarm_oid id = {{h->oid[0], h->oid[1]}};

	if (!sp->opts.disk_count)
		return SWARM_EDISKFULL;
	if (sp->closing)
		return -ECANCELED;
	if (h->magic != SWI_OBJ_MAGIC || !swarm_oid_equal(id, io->id) ||
	    !(h->flags & SWI_OBJ_F_DIGEST) || h->len > UINT64_MAX / 2 ||
	    io->extent_bytes != swi_extent_bytes(h->len))
		return -EINVAL;
	if (io->extent_bytes >= SWI_LARGE_MIN && (uintptr_t)io->extent % SWI_DISK_ALIGN)
		return -EINVAL;
	return 0;
}

static bool same_value(const struct swi_object_head *a, const struct swi_object_head *b)
{
	return a->len == b->len && atomic_load_explicit(&a->digest, memory_order_relaxed) ==
					   atomic_load_explicit(&b->digest, memory_order_relaxed);
}

void swi_spill_write(struct swi_spill *sp, struct swi_spill_io *io)
{
	const int bad = write_check(sp, io);
	struct swi_spill_obj *o;

	if (bad) {
		swi_log_finish(sp, io, bad);
		return;
	}
	o = swi_log_lookup(sp, io->id.w);
	if (o && o->state == OBJ_WRITING) {
		if (o->doomed || !same_value(&o->head, io->extent)) {
			swi_log_finish(sp, io, -EALREADY);
			return;
		}
		io->priv = o->io->priv; /* one record serves all who want it written */
		o->io->priv = io;
		return;
	}
	if (o && same_value(&o->head, io->extent)) {
		swi_log_finish(sp, io, 0); /* it is there */
		return;
	}
	if (o)
		swi_spill_forget(sp, io->id); /* a name that was given a new value */
	o = swi_log_obj_new(io->extent);
	if (!o) {
		swi_log_finish(sp, io, -ENOMEM);
		return;
	}
	o->io = io;
	io->priv = NULL;
	if (swi_log_index_add(sp, o)) {
		free(o);
		swi_log_finish(sp, io, -ENOMEM);
		return;
	}
	swi_log_append(sp, o);
}

bool swi_spill_find(struct swi_spill *sp, struct swarm_oid id, struct swi_object_head *out_head)
{
	const struct swi_spill_obj *o = swi_log_lookup(sp, id.w);

	if (!o || o->state != OBJ_SPILLED)
		return false;
	if (out_head)
		swi_head_copy(out_head, &o->head);
	return true;
}

void swi_spill_forget(struct swi_spill *sp, struct swarm_oid id)
{
	struct swi_spill_obj *o = swi_log_lookup(sp, id.w);

	if (!o)
		return;
	if (o->state == OBJ_WRITING) {
		if (sp->opts.keep && !o->doomed)
			o->doom = swi_log_group_get(sp);
		o->doomed = true;
		return;
	}
	if (sp->opts.keep) {
		swi_log_bury(sp, o, NULL);
		if (o->moving)
			swi_log_move_doom(sp, o);
	}
	swi_log_drop(sp, o);
}

void swi_spill_each(struct swi_spill *sp,
		    void (*each)(void *ctx, const struct swi_object_head *head), void *ctx)
{
	swi_list_for_each(it, &sp->segs) {
		const struct swi_seg *seg = swi_list_entry(it, struct swi_seg, link);

		swi_list_for_each(jt, &seg->objs)
			each(ctx, &swi_list_entry(jt, struct swi_spill_obj, seg_link)->head);
	}
}

static void tell_segment(const struct swi_spill *sp, const struct swi_seg *seg,
			 void (*each)(void *ctx, const struct swi_spill_segment *seg), void *ctx)
{
	static const char *const names[] = {[SEG_OPEN] = "open", [SEG_CLOSING] = "closing",
					    [SEG_CLOSED] = "closed", [SEG_DYING] = "dying",
					    [SEG_FREE] = "free"};
	struct swi_disk *d = sp->disks[seg->disk].d;
	const uint64_t used = seg->state == SEG_FREE ? 0 : seg->append - SWI_SEG_DATA_OFF;
	const uint64_t gone = seg->live_bytes + seg->punched;
	const struct swi_spill_segment row = {
		.folder = d->ops->path(d),
		.state = names[seg->state],
		.number = seg->key.number,
		.file = seg->file_number,
		.bytes = seg->bytes,
		.live_bytes = seg->live_bytes,
		.dead_bytes = used > gone ? used - gone : 0,
		.punched_bytes = seg->punched,
		.objects = seg->live_objects,
		.compacting = sp->victim == seg,
	};

	each(ctx, &row);
}

void swi_spill_each_segment(struct swi_spill *sp,
			    void (*each)(void *ctx, const struct swi_spill_segment *seg), void *ctx)
{
	swi_list_for_each(it, &sp->segs)
		tell_segment(sp, swi_list_entry(it, struct swi_seg, link), each, ctx);
	for (uint32_t i = 0; i < sp->opts.disk_count; i++)
		swi_list_for_each(it, &sp->disks[i].free)
			tell_segment(sp, swi_list_entry(it, struct swi_seg, link), each, ctx);
}

const char *swi_spill_trouble(struct swi_spill *sp)
{
	return sp->trouble;
}

bool swi_spill_has_room(struct swi_spill *sp, uint64_t bytes)
{
	return !sp->closing && swi_log_room(sp, bytes);
}

const struct swi_spill_stats *swi_spill_stats(struct swi_spill *sp)
{
	struct swi_spill_stats *st = &sp->stats;

	st->segment_count = 0;
	swi_list_for_each(it, &sp->segs)
		st->segment_count++;
	for (uint32_t i = 0; i < sp->opts.disk_count; i++)
		st->segment_count += sp->disks[i].free_count;
	st->segment_bytes = sp->held_bytes;
	return st;
}

/* ---- life ---- */
/*
 * Half of the staging memory gathers writes, half takes the reads of small objects. Many batches in
 * flight keep a disk busier than few large ones.
 */
static void split_staging(struct swi_spill *sp)
{
	const uint64_t half = swi_align_down(sp->opts.staging_bytes / 2, SWI_DISK_ALIGN);
	const uint64_t batch = swi_min_u64(
		swi_max_u64(swi_align_down(half / SPILL_BATCHES_MAX, SWI_DISK_ALIGN), SPILL_BATCH_MIN),
		SPILL_BATCH_MAX);
	const uint64_t count = swi_min_u64(half / batch, SPILL_BATCHES_MAX);

	sp->batch_bytes = (uint32_t)batch;
	for (uint64_t i = 0; i < count; i++) {
		struct swi_batch *b = &sp->batch[i];

		b->sp = sp;
		b->buf = (char *)sp->opts.staging + i * batch;
		swi_list_init(&b->objs);
		swi_list_push_back(&sp->batches, &b->link);
	}
	sp->area = (char *)sp->opts.staging + half;
	sp->area_pages = (uint32_t)swi_min_u64(half / SWI_DISK_ALIGN, SPILL_PAGES_MAX);
}

static int opts_check(const struct swi_spill_opts *o, char *why, size_t why_len)
{
	if (!o->disk_count)
		return 0;
	if (o->staging && !((uintptr_t)o->staging % SWI_DISK_ALIGN) && o->staging_bytes >= MIB(1))
		return 0;
	snprintf(why, why_len, "the spill log needs 1 MiB of aligned staging memory");
	return -EINVAL;
}

static void lists_init(struct swi_spill *sp)
{
	struct swi_list *const all[] = {&sp->segs,    &sp->done,	  &sp->small,	&sp->batches,
					&sp->victims, &sp->reads_waiting, &sp->arrived, &sp->summing,
					&sp->groups,  &sp->moves};

	for (size_t i = 0; i < SWI_ARRAY_LEN(all); i++)
		swi_list_init(all[i]);
}

static int disks_init(struct swi_spill *sp)
{
	sp->disks = calloc(swi_max_u64(sp->opts.disk_count, 1), sizeof(*sp->disks));
	if (!sp->disks)
		return -ENOMEM;
	for (uint32_t i = 0; i < sp->opts.disk_count; i++) {
		sp->disks[i].d = sp->opts.disks[i];
		swi_list_init(&sp->disks[i].free);
		(void)sp->disks[i].d->ops->register_memory(sp->disks[i].d, sp->opts.staging,
							   sp->opts.staging_bytes);
	}
	return 0;
}

int swi_spill_create(const struct swi_spill_opts *opts, struct swi_env *env,
		     const struct swi_log *log, struct swi_spill **out, char *why, size_t why_len)
{
	int rc = opts_check(opts, why, why_len);
	struct swi_spill *sp;

	if (rc)
		return rc;
	sp = calloc(1, sizeof(*sp));
	if (!sp) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	sp->opts = *opts;
	sp->env = env;
	sp->log = log;
	lists_init(sp);
	sp->opts.segment_bytes = swi_max_u64(
		swi_align_up(opts->segment_bytes ? opts->segment_bytes : MIB(64), SWI_DISK_ALIGN),
		SPILL_SEG_MIN);
	if (opts->quota_bytes)
		sp->opts.segment_bytes = swi_min_u64(
			sp->opts.segment_bytes,
			swi_max_u64(swi_align_down(opts->quota_bytes / 4, SWI_DISK_ALIGN), SPILL_SEG_MIN));
	if (opts->disk_count)
		split_staging(sp);
	sp->next_number = 1;
	rc = disks_init(sp);
	if (rc)
		snprintf(why, why_len, "out of memory");
	else
		rc = swi_log_recover(sp, why, why_len);
	if (rc) {
		swi_spill_destroy(sp);
		return rc;
	}
	*out = sp;
	return 0;
}

/* Everything gathered goes out; in keep mode every segment gets its footer. */
static void close_down(struct swi_spill *sp)
{
	sp->closing = true;
	swi_log_compact_stop(sp);
	while (sp->inflight || sp->filling || !swi_list_empty(&sp->small) ||
	       !swi_list_empty(&sp->reads_waiting) || !swi_list_empty(&sp->summing)) {
		swi_log_pump(sp, true);
		swi_log_read_pump(sp);
		swi_log_sum(sp, UINT64_MAX);
		if (!sp->inflight)
			break;
		swi_log_drain(sp);
		swi_log_verify(sp, UINT64_MAX);
	}
	swi_log_verify(sp, UINT64_MAX);
	swi_log_fail_waiting(sp, -ECANCELED);
	for (uint32_t i = 0; i < sp->opts.disk_count; i++)
		if (sp->disks[i].open)
			swi_log_close(sp, sp->disks[i].open);
	swi_log_drain(sp);
}

void swi_spill_destroy(struct swi_spill *sp)
{
	if (!sp)
		return;
	if (sp->disks)
		close_down(sp);
	while (!swi_list_empty(&sp->done))
		deliver(sp);
	if (sp->disks)
		swi_log_unlink_all(sp);
	swi_log_index_fini(sp);
	swi_log_groups_free(sp);
	free(sp->disks);
	free(sp);
}
