/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restore.c - reading spilled objects back and proving that they are what was written.
 *
 * A large object is read straight into the extent that waits for it; a small one through pages of
 * the read area, because it lies anywhere in its block. Requests for an object that is being read
 * already wait for that read. What fails its checks is dropped from the index: better missing than
 * wrong. Owner thread only.
 */
#include "store/spill/log_impl.h"

static bool page_used(const struct swi_spill *sp, uint32_t i)
{
	return sp->area_used[i / 64] >> (i % 64) & 1;
}

static void pages_mark(struct swi_spill *sp, uint32_t first, uint32_t count, bool used)
{
	for (uint32_t i = first; i < first + count; i++) {
		if (used)
			sp->area_used[i / 64] |= 1ull << (i % 64);
		else
			sp->area_used[i / 64] &= ~(1ull << (i % 64));
	}
	sp->area_taken += used ? count : 0u - count;
}

/* First fit behind the last one given. NULL: none now. */
static char *pages_take(struct swi_spill *sp, uint32_t count)
{
	uint32_t run = 0;

	if (sp->area_taken + count > sp->area_pages)
		return NULL; /* asked for at every turn while many wait */
	for (uint32_t step = 0; step < sp->area_pages + count; step++) {
		const uint32_t i = (sp->area_hint + step) % sp->area_pages;

		if (i == 0)
			run = 0;
		if (i % 64 == 0 && sp->area_used[i / 64] == UINT64_MAX && i + 64 <= sp->area_pages) {
			run = 0;
			step += 63;
			continue;
		}
		run = page_used(sp, i) ? 0 : run + 1;
		if (run < count)
			continue;
		pages_mark(sp, i + 1 - count, count, true);
		sp->area_hint = (i + 1) % sp->area_pages;
		return sp->area + (uint64_t)(i + 1 - count) * SWI_DISK_ALIGN;
	}
	return NULL;
}

static void pages_give(struct swi_spill *sp, const char *p, uint32_t count)
{
	pages_mark(sp, (uint32_t)((uint64_t)(p - sp->area) / SWI_DISK_ALIGN), count, false);
}

static struct swi_spill_io *first_io(struct swi_spill_read *r)
{
	return swi_list_first(&r->ios, struct swi_spill_io, link);
}

/* Where the record came to lie. */
static const char *record_of(struct swi_spill_read *r)
{
	return r->buf ? r->buf + r->off % SWI_DISK_ALIGN : (const char *)first_io(r)->extent;
}

/* @most further bytes of the payload into the digest; false: there are more. */
static bool digest_more(struct swi_spill_read *r, uint64_t most)
{
	const char *payload = record_of(r) + sizeof(r->head);
	const uint64_t part = swi_min_u64(r->head.len - r->digested, most);

	if (!r->digest && part < r->head.len) {
		r->digest = XXH3_createState();
		if (r->digest)
			XXH3_64bits_reset(r->digest);
	}
	if (!r->digest) { /* short; or no memory: then all at once */
		r->sum = XXH3_64bits(payload, r->head.len);
		return true;
	}
	XXH3_64bits_update(r->digest, payload + r->digested, part);
	r->digested += part;
	if (r->digested < r->head.len)
		return false;
	r->sum = XXH3_64bits_digest(r->digest);
	XXH3_freeState(r->digest);
	r->digest = NULL;
	return true;
}

int swi_log_record_check(const struct swi_object_head *want, const struct swi_seg *seg, uint64_t off,
			 const char *p, uint64_t sum)
{
	const struct swi_object_head *h = (const struct swi_object_head *)(const void *)p;
	const uint64_t digest = atomic_load_explicit(&want->digest, memory_order_relaxed);

	if (h->magic != SWI_OBJ_MAGIC || h->len != want->len || h->gen != want->gen ||
	    h->home != want->home || h->epoch != want->epoch ||
	    memcmp(h->oid, want->oid, sizeof(h->oid)) ||
	    atomic_load_explicit(&h->digest, memory_order_relaxed) != digest)
		return SWARM_ECORRUPT;
	if (h->crc != swi_seg_record_crc(want, seg->key, off))
		return SWARM_ECORRUPT;
	return sum == digest ? 0 : SWARM_ECORRUPT;
}

void swi_log_corrupt(struct swi_spill *sp, const struct swi_seg *seg,
		     const struct swi_object_head *head, int status)
{
	struct swi_disk *d = sp->disks[seg->disk].d;
	char name[SWI_SEG_NAME_LEN];

	if (status == SWARM_ECORRUPT)
		sp->stats.corrupt_records++;
	else
		sp->stats.read_errors++;
	swi_seg_name(seg->file_number, name);
	swi_warn(sp->log, "spill folder %s: object %016llx%016llx cannot be read from %s: %s; %s",
		 d->ops->path(d), (unsigned long long)head->oid[0], (unsigned long long)head->oid[1],
		 name, swarm_strerror(status), swarm_strremedy(status));
	snprintf(sp->trouble, sizeof(sp->trouble), "%s/%s", d->ops->path(d), name);
}

static void hand_out(struct swi_spill *sp, struct swi_spill_read *r, const char *from, int status)
{
	const uint64_t bytes = swi_extent_bytes(r->head.len);

	while (!swi_list_empty(&r->ios)) {
		struct swi_spill_io *io = first_io(r);

		swi_list_del(&io->link);
		if (!status) {
			if (io->extent != from)
				memcpy((char *)io->extent + sizeof(r->head), from + sizeof(r->head),
				       bytes - sizeof(r->head));
			/* The header as it was sealed: touch and crc belong to the disk copy alone. */
			memcpy(io->extent, &r->head, sizeof(r->head));
			sp->stats.restored_objects++;
			sp->stats.restored_bytes += bytes;
		}
		swi_log_finish(sp, io, status);
	}
}

static void read_over(struct swi_spill *sp, struct swi_spill_read *r, int status)
{
	const char *from = record_of(r);

	if (!status)
		status = swi_log_record_check(&r->head, r->seg, r->off, from, r->sum);
	hand_out(sp, r, from, status);
	seg_read_end(r->seg, r->phase);
	if (r->buf)
		pages_give(sp, r->buf, r->pages);
	if (status)
		swi_log_corrupt(sp, r->seg, &r->head, status);
	if (r->obj) {
		r->obj->read = NULL;
		if (status)
			swi_log_drop(sp, r->obj);
	}
	free(r);
}

static void read_step(struct swi_spill *sp, struct swi_spill_read *r);

static void read_done(struct swi_dio *dio)
{
	struct swi_spill_read *r = dio->owner;
	struct swi_seg *seg = r->seg;
	struct swi_spill *sp = r->sp;
	const uint64_t end = swi_align_up(r->off + swi_extent_bytes(r->head.len), SWI_DISK_ALIGN);

	swi_log_dio_over(seg);
	if (dio->status && !r->retried) {
		r->retried = true; /* a path that fails over, a drive that tries harder */
		read_step(sp, r);
	} else if (!dio->status && dio->off + dio->len < end) {
		dio->off += dio->len;
		read_step(sp, r);
	} else {
		r->status = dio->status;
		seg->busy++; /* until it is verified */
		swi_list_push_back(&sp->arrived, &r->link);
	}
	swi_log_dio_end(seg);
}

/*
 * In portions, of large objects too: while one is being digested the disk should have the next ones to
 * do, and the node has others to serve.
 */
void swi_log_verify(struct swi_spill *sp, uint64_t bytes)
{
	uint64_t done = 0;

	while (done < bytes && !swi_list_empty(&sp->arrived)) {
		struct swi_spill_read *r = swi_list_first(&sp->arrived, struct swi_spill_read, link);
		struct swi_seg *seg = r->seg;

		swi_list_del(&r->link);
		if (!r->status && !digest_more(r, bytes)) {
			swi_list_push_back(&sp->arrived, &r->link); /* goes on when the others had a turn */
			return;
		}
		done += swi_extent_bytes(r->head.len);
		read_over(sp, r, r->status);
		swi_log_dio_end(seg);
	}
}

/* The part that begins at dio->off. */
static void read_step(struct swi_spill *sp, struct swi_spill_read *r)
{
	const uint64_t first = swi_align_down(r->off, SWI_DISK_ALIGN);
	const uint64_t end = swi_align_up(r->off + swi_extent_bytes(r->head.len), SWI_DISK_ALIGN);
	char *base = r->buf ? r->buf : first_io(r)->extent;

	r->dio.buf = base + (r->dio.off - first);
	r->dio.len = (uint32_t)swi_min_u64(end - r->dio.off, GIB(1));
	SWI_BUG_ON(swi_log_submit(sp, r->seg, &r->dio));
}

static void read_start(struct swi_spill *sp, struct swi_spill_read *r)
{
	r->dio = (struct swi_dio){.op = SWI_DIO_READ, .file = r->seg->file,
				  .off = swi_align_down(r->off, SWI_DISK_ALIGN),
				  .cb = read_done, .owner = r};
	read_step(sp, r);
}

void swi_log_read_pump(struct swi_spill *sp)
{
	while (!swi_list_empty(&sp->reads_waiting)) {
		struct swi_spill_read *r =
			swi_list_first(&sp->reads_waiting, struct swi_spill_read, link);

		r->buf = pages_take(sp, r->pages);
		if (!r->buf)
			return;
		swi_list_del(&r->link);
		read_start(sp, r);
		r->seg->busy--; /* the transfer holds it now */
	}
}

static struct swi_spill_read *read_new(struct swi_spill *sp, struct swi_spill_obj *o)
{
	const uint64_t end = swi_align_up(o->off + obj_bytes(o), SWI_DISK_ALIGN);
	struct swi_spill_read *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->sp = sp;
	r->obj = o;
	r->seg = o->seg;
	r->off = o->off;
	r->pages = (uint32_t)((end - swi_align_down(o->off, SWI_DISK_ALIGN)) / SWI_DISK_ALIGN);
	swi_head_copy(&r->head, &o->head);
	swi_list_init(&r->ios);
	swi_list_init(&r->link);
	o->read = r;
	r->phase = seg_read_begin(r->seg);
	return r;
}

void swi_spill_restore(struct swi_spill *sp, struct swi_spill_io *io)
{
	struct swi_spill_obj *o = swi_log_lookup(sp, io->id.w);
	struct swi_spill_read *r;

	if (!o || o->state != OBJ_SPILLED || sp->closing) {
		swi_log_finish(sp, io, sp->closing ? -ECANCELED : -ENOENT);
		return;
	}
	if (io->extent_bytes != obj_bytes(o) ||
	    (obj_is_large(o) && (uintptr_t)io->extent % SWI_DISK_ALIGN)) {
		swi_log_finish(sp, io, -EINVAL);
		return;
	}
	if (o->read) {
		swi_list_push_back(&o->read->ios, &io->link);
		return;
	}
	r = read_new(sp, o);
	if (!r) {
		swi_log_finish(sp, io, -ENOMEM);
		return;
	}
	swi_list_push_back(&r->ios, &io->link);
	if (obj_is_large(o)) {
		read_start(sp, r);
		return;
	}
	r->seg->busy++; /* while it waits for pages */
	swi_list_push_back(&sp->reads_waiting, &r->link);
	swi_log_read_pump(sp);
}
