/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover.c - what earlier lives left in the folders: swept, or (keep mode) taken up again.
 *
 * A full segment is known from its footer: its data is not read before somebody wants it. Any other
 * one is scanned, and there each record is proven by its digest; behind a bad place the scan looks
 * for the next header that carries this segment's salt, because a record that was acknowledged may
 * lie behind one that was cut off. Then marks are applied, and of two records of one object the one
 * in the higher segment number, further on, wins.
 * Nothing here trusts a length or count before comparing it with the file. A file that is not ours
 * is never touched. Runs inside create(), so it may wait. Owner thread only.
 */
#include "store/spill/log_impl.h"

#define SCAN_WINDOW MIB(4)
#define TAIL_READ   KIB(64)
#define AHEAD	    16u

struct file_list {
	uint64_t *v;
	size_t count, cap;
	uint32_t foreign;
	char example[64];
	bool oom;
};

struct scan {
	struct swi_spill *sp;
	struct swi_seg *seg;
	char *buf;
	uint64_t at, have; /* buf holds [at, at + have) of the file */
	uint64_t end;	   /* of the file, in whole blocks */
};

struct mark { /* what a tombstone names */
	UT_hash_handle hh;
	uint64_t key[3]; /* segment number and nonce, offset */
};

/* ---- reading, and waiting for it ---- */
static void arrived(struct swi_dio *dio)
{
	*(bool *)dio->owner = true;
}

static int do_now(struct swi_disk *d, struct swi_dio *dio)
{
	bool over = false;
	int rc;

	dio->cb = arrived;
	dio->owner = &over;
	rc = d->ops->submit(d, dio);
	if (rc)
		return rc;
	while (!over)
		(void)d->ops->wait(d);
	return dio->status;
}

static int read_now(struct swi_disk *d, struct swi_file *f, void *buf, uint64_t off, uint64_t len)
{
	struct swi_dio dio = {
		.op = SWI_DIO_READ, .file = f, .buf = buf, .off = off, .len = (uint32_t)len};

	return do_now(d, &dio);
}

/* ---- the files ---- */
static void file_seen(void *ctx, const char *name)
{
	struct file_list *fl = ctx;
	uint64_t number, *grown;

	if (!swi_seg_name_parse(name, &number)) {
		if (!fl->foreign++)
			snprintf(fl->example, sizeof(fl->example), "%s", name);
		return;
	}
	if (fl->count == fl->cap) {
		const size_t cap = fl->cap ? fl->cap * 2 : 64;

		grown = realloc(fl->v, cap * sizeof(*grown));
		if (!grown) {
			fl->oom = true;
			return;
		}
		fl->v = grown;
		fl->cap = cap;
	}
	fl->v[fl->count++] = number;
}

static void foreign(struct file_list *fl, const char *name)
{
	if (!fl->foreign++)
		snprintf(fl->example, sizeof(fl->example), "%s", name);
}

/* 0: ours, *out_header filled. -ENODATA: ours, but never written. Else not ours, or not readable. */
static int read_header(struct swi_disk *d, struct swi_file *f, char *block,
		       struct swi_seg_header *out_header)
{
	int rc;

	if (d->ops->file_bytes(f) == 0)
		return -ENODATA;
	if (d->ops->file_bytes(f) < SWI_DISK_ALIGN)
		return -EBADMSG;
	rc = read_now(d, f, block, 0, SWI_DISK_ALIGN);
	if (rc)
		return rc;
	memcpy(out_header, block, sizeof(*out_header));
	return swi_seg_header_check(out_header);
}

/* ---- records and marks of one segment ---- */
static void found_record(struct swi_seg *seg, struct swi_spill_obj *o, uint64_t off)
{
	o->seg = seg;
	o->off = off;
	o->state = OBJ_SPILLED;
	o->summed = (uint32_t)obj_sums(o);
	swi_list_push_back(&seg->objs, &o->seg_link);
	seg->recs += obj_entries(o);
}

static int found_tomb(struct swi_seg *seg, const struct swi_seg_tomb *st)
{
	struct swi_tomb *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	memcpy(t->oid, st->oid, sizeof(t->oid));
	t->target = (struct swi_seg_key){st->target, st->target_nonce};
	t->target_off = st->target_off;
	t->off = st->off;
	swi_list_push_back(&seg->tombs, &t->link);
	seg->recs++;
	return 0;
}

static void seg_clear(struct swi_seg *seg)
{
	while (!swi_list_empty(&seg->objs)) {
		struct swi_spill_obj *o = swi_list_first(&seg->objs, struct swi_spill_obj, seg_link);

		swi_list_del(&o->seg_link);
		free(o);
	}
	while (!swi_list_empty(&seg->tombs)) {
		struct swi_tomb *t = swi_list_first(&seg->tombs, struct swi_tomb, link);

		swi_list_del(&t->link);
		free(t);
	}
	seg->recs = 0;
}

/* ---- by footer ---- */
static int take_record(struct swi_seg *seg, const struct swi_seg_entry *e)
{
	struct swi_object_head head;
	struct swi_spill_obj *o;

	swi_seg_entry_to_head(&head, e);
	o = swi_log_obj_new(&head);
	if (!o)
		return -ENOMEM;
	memcpy(o->sums, e + 1, obj_sums(o) * sizeof(o->sums[0]));
	found_record(seg, o, e->off);
	return 0;
}

static int take_table(struct swi_seg *seg, const struct swi_seg_trailer *t, const char *table)
{
	const struct swi_seg_entry *all = (const struct swi_seg_entry *)(const void *)table, *e;
	uint64_t at = 0;
	int rc = 0;

	if (!swi_seg_table_valid(t, table))
		return -EBADMSG;
	while (!rc && at < t->count) {
		rc = swi_seg_table_next(all, t, seg->key, &at, &e);
		if (rc)
			return rc;
		rc = e->magic == SWI_SEG_TOMB_MAGIC
			     ? found_tomb(seg, (const struct swi_seg_tomb *)e)
			     : take_record(seg, e);
	}
	seg->append = t->data_end;
	seg->foot_done = true;
	return rc;
}

/* 0: taken. -ENOMEM. Anything else: there is no good footer. */
static int by_footer(struct scan *sc)
{
	struct swi_disk *d = sc->sp->disks[sc->seg->disk].d;
	/* As much as the footer before it had: segments of one log resemble each other. */
	const uint64_t tail = swi_min_u64(swi_max_u64(TAIL_READ, swi_min_u64(sc->sp->foot_bytes, SCAN_WINDOW)),
					  sc->end);
	struct swi_seg_trailer t;
	uint64_t count, len;
	void *table;
	int rc;

	rc = read_now(d, sc->seg->file, sc->buf, sc->end - tail, tail);
	if (rc)
		return rc;
	memcpy(&t, sc->buf + tail - sizeof(t), sizeof(t));
	rc = swi_seg_trailer_check(&t, sc->seg->key, sc->end, &count);
	if (rc)
		return rc;
	len = swi_seg_footer_bytes(count);
	sc->sp->foot_bytes = len;
	if (len <= tail)
		return take_table(sc->seg, &t, sc->buf + tail - len);
	if (len > GIB(1))
		return -EBADMSG;
	if (posix_memalign(&table, SWI_DISK_ALIGN, len))
		return -ENOMEM;
	rc = read_now(d, sc->seg->file, table, sc->end - len, len);
	if (!rc)
		rc = take_table(sc->seg, &t, table);
	free(table);
	return rc;
}

/* ---- by scanning ---- */
/* The bytes [off, off + len) of the file, len at most half a window; NULL: not readable. */
static const char *window(struct scan *sc, uint64_t off, uint64_t len)
{
	struct swi_disk *d = sc->sp->disks[sc->seg->disk].d;

	if (off >= sc->at && off + len <= sc->at + sc->have)
		return sc->buf + (off - sc->at);
	sc->have = 0;
	sc->at = swi_align_down(off, SWI_DISK_ALIGN);
	if (off + len > sc->end)
		return NULL;
	sc->have = swi_min_u64(SCAN_WINDOW, sc->end - sc->at);
	if (read_now(d, sc->seg->file, sc->buf, sc->at, sc->have)) {
		/* A bad block further on must not hide what lies before it. */
		sc->have = swi_align_up(off + len, SWI_DISK_ALIGN) - sc->at;
		if (read_now(d, sc->seg->file, sc->buf, sc->at, sc->have))
			sc->have = 0;
	}
	return sc->have ? sc->buf + (off - sc->at) : NULL;
}

/* Digest and sums of a payload that begins at @off, in pieces that end where its blocks do. */
static bool digest_long(struct scan *sc, XXH3_state_t *st, struct swi_spill_obj *o, uint64_t off)
{
	const uint64_t head = sizeof(o->head);
	uint64_t from = 0;

	while (from < o->head.len) {
		const uint64_t n = swi_min_u64(o->head.len - from,
					       from ? SCAN_WINDOW / 2 : SCAN_WINDOW / 2 - head);
		const char *p = window(sc, off + from, n);

		if (!p)
			return false;
		XXH3_64bits_update(st, p, n);
		swi_seg_sums_make(&o->sums[(head + from) / SWI_DISK_ALIGN], p, from, n);
		from += n;
	}
	return true;
}

static bool payload_good(struct scan *sc, struct swi_spill_obj *o, uint64_t off)
{
	const uint64_t want = atomic_load_explicit(&o->head.digest, memory_order_relaxed);
	XXH3_state_t *st;
	bool good;

	off += sizeof(o->head);
	if (!obj_is_large(o)) {
		const char *p = window(sc, off, o->head.len);

		return p && XXH3_64bits(p, o->head.len) == want;
	}
	st = XXH3_createState();
	if (!st)
		return false;
	XXH3_64bits_reset(st);
	good = digest_long(sc, st, o, off) && XXH3_64bits_digest(st) == want;
	XXH3_freeState(st);
	return good;
}

/* What lies at @off? *out_next: where to look then. */
static int scan_at(struct scan *sc, uint64_t off, uint64_t *out_next)
{
	const char *p = window(sc, off, sizeof(struct swi_object_head));
	struct swi_object_head head;
	struct swi_seg_tomb tomb;
	struct swi_spill_obj *o;

	*out_next = off + SWI_GRANULE;
	if (!p) { /* an unreadable place: on behind it */
		*out_next = swi_align_down(off, SWI_DISK_ALIGN) + SWI_DISK_ALIGN;
		return 0;
	}
	memcpy(&tomb, p, sizeof(tomb));
	if (swi_seg_tomb_valid(&tomb, sc->seg->key, off)) {
		sc->seg->append = *out_next;
		return found_tomb(sc->seg, &tomb);
	}
	memcpy(&head, p, sizeof(head));
	if (!swi_seg_record_valid(&head, sc->seg->key, off, sc->end))
		return 0;
	*out_next = off + swi_extent_bytes(head.len);
	atomic_init(&head.state, SWI_OBJ_SEALED);
	o = swi_log_obj_new(&head);
	if (!o)
		return -ENOMEM;
	if (!payload_good(sc, o, off)) {
		free(o);
		return 0; /* cut off; its place is its own all the same */
	}
	sc->seg->append = *out_next;
	found_record(sc->seg, o, off);
	return 0;
}

static int by_scan(struct scan *sc)
{
	struct swi_dio sync = {.op = SWI_DIO_SYNC, .file = sc->seg->file};
	uint64_t off = SWI_SEG_DATA_OFF;
	/*
	 * What a process that was killed had not synced may be in caches only. From now on it counts
	 * as durable, so it must become so first.
	 */
	int rc = do_now(sc->sp->disks[sc->seg->disk].d, &sync);

	if (rc)
		return rc;
	sc->have = 0;
	sc->seg->append = SWI_SEG_DATA_OFF;
	while (!rc && off + SWI_GRANULE <= sc->end)
		rc = scan_at(sc, off, &off);
	sc->seg->append = swi_align_up(sc->seg->append, SWI_DISK_ALIGN);
	return rc;
}

/* ---- one file ---- */
static int take_file(struct swi_spill *sp, uint32_t disk, struct swi_file *f, uint64_t file_number,
		     const struct swi_seg_header *h, char *buf)
{
	struct swi_seg *seg = swi_log_seg_new(sp, disk);
	struct scan sc = {.sp = sp, .seg = seg, .buf = buf};
	int rc;

	if (!seg) {
		sp->disks[disk].d->ops->close(f);
		return -ENOMEM;
	}
	seg->file = f;
	seg->file_number = file_number;
	seg->bytes = sp->disks[disk].d->ops->file_bytes(f);
	seg->key = (struct swi_seg_key){h->number, h->nonce};
	seg->state = SEG_CLOSED;
	seg->header_ok = true;
	swi_list_push_back(&sp->segs, &seg->link);
	seg->punched = seg->bytes - sp->disks[disk].d->ops->held_bytes(f); /* by an earlier life */
	sp->held_bytes += seg->bytes - seg->punched;
	sp->next_number = swi_max_u64(sp->next_number, h->number + 1);
	sc.end = swi_align_down(seg->bytes, SWI_DISK_ALIGN);
	rc = by_footer(&sc);
	if (!rc || rc == -ENOMEM)
		return rc;
	seg_clear(seg);
	seg->foot_done = false;
	return by_scan(&sc);
}

static int one_file(struct swi_spill *sp, uint32_t disk, uint64_t number, char *buf,
		    struct file_list *fl)
{
	struct swi_disk *d = sp->disks[disk].d;
	char name[SWI_SEG_NAME_LEN];
	struct swi_seg_header h;
	struct swi_file *f;
	int rc;

	sp->next_file = swi_max_u64(sp->next_file, number + 1);
	swi_seg_name(number, name);
	rc = d->ops->open(d, name, false, 0, &f);
	if (rc) {
		foreign(fl, name);
		return 0;
	}
	rc = read_header(d, f, buf, &h);
	if (!rc && sp->opts.keep)
		return take_file(sp, disk, f, number, &h, buf);
	d->ops->close(f);
	if (rc && rc != -ENODATA) {
		foreign(fl, name);
		return 0;
	}
	rc = d->ops->unlink(d, name);
	if (rc)
		swi_warn(sp->log, "spill folder %s: cannot remove %s: %s", d->ops->path(d), name,
			 swarm_strerror(rc));
	return 0;
}

static int one_disk(struct swi_spill *sp, uint32_t disk, char *buf, char *why, size_t why_len)
{
	struct swi_disk *d = sp->disks[disk].d;
	struct file_list fl = {0};
	int rc = d->ops->list(d, file_seen, &fl);

	if (!rc && fl.oom)
		rc = -ENOMEM;
	for (size_t i = 0; !rc && i < fl.count; i++)
		rc = one_file(sp, disk, fl.v[i], buf, &fl);
	free(fl.v);
	if (rc) {
		snprintf(why, why_len, "cannot read the spill folder %s: %s", d->ops->path(d),
			 swarm_strerror(rc));
		return rc;
	}
	if (fl.foreign)
		swi_warn(sp->log, "spill folder %s: %u files are not of this log (%s, ..) and are left alone",
			 d->ops->path(d), fl.foreign, fl.example);
	return 0;
}

/* ---- all together ---- */
static int gather_marks(struct swi_spill *sp, struct mark **marks)
{
	swi_list_for_each(it, &sp->segs) {
		struct swi_seg *seg = swi_list_entry(it, struct swi_seg, link);

		swi_list_for_each(jt, &seg->tombs) {
			const struct swi_tomb *t = swi_list_entry(jt, struct swi_tomb, link);
			const uint64_t key[3] = {t->target.number, t->target.nonce, t->target_off};
			struct mark *m;

			/* A number that was lost with its segment is not given again. */
			sp->next_number = swi_max_u64(sp->next_number, swi_sat_add(key[0], 1));
			HASH_FIND(hh, *marks, key, sizeof(key), m);
			if (m)
				continue;
			m = calloc(1, sizeof(*m));
			if (!m)
				return -ENOMEM;
			memcpy(m->key, key, sizeof(key));
			HASH_ADD(hh, *marks, key, sizeof(key), m);
			if (!m->hh.tbl) {
				free(m);
				return -ENOMEM;
			}
		}
	}
	return 0;
}

static bool newer(const struct swi_spill_obj *a, const struct swi_spill_obj *b)
{
	if (a->seg->key.number != b->seg->key.number)
		return a->seg->key.number > b->seg->key.number;
	return a->off > b->off;
}

/* A mark without a nonce is of an earlier release. */
static bool is_marked(const struct swi_spill_obj *o, struct mark *marks)
{
	uint64_t key[3] = {o->seg->key.number, o->seg->key.nonce, o->off};
	struct mark *m;

	if (!marks)
		return false;
	HASH_FIND(hh, marks, key, sizeof(key), m);
	if (m)
		return true;
	key[1] = 0;
	HASH_FIND(hh, marks, key, sizeof(key), m);
	return m != NULL;
}

/* Takes @o, unlinked, into the index, unless it is marked or there is a newer one. */
static int enter(struct swi_spill *sp, struct swi_spill_obj *o, struct mark *marks)
{
	const bool marked = is_marked(o, marks);
	struct swi_spill_obj *other = marked ? NULL : swi_log_lookup(sp, o->head.oid);

	if (marked || (other && !newer(o, other))) {
		if (other)
			swi_log_bury(sp, o, NULL); /* or it is back when the newer one was forgotten */
		free(o);
		return 0;
	}
	if (other) {
		swi_log_bury(sp, other, NULL);
		swi_log_detach(sp, other);
		swi_log_index_del(sp, other);
		free(other);
	}
	if (swi_log_index_add(sp, o)) {
		free(o);
		return -ENOMEM;
	}
	swi_log_attach(sp, o, o->seg, o->off);
	return 0;
}

/* The looks into the index are begun some records before they are needed: each is a miss in the cache. */
static void look_ahead(const struct swi_spill *sp, const struct swi_list *found, struct swi_list **at, uint32_t n)
{
	for (uint32_t i = 0; i < n && *at != found; i++, *at = (*at)->next)
		swi_log_index_ahead(sp, swi_list_entry(*at, struct swi_spill_obj, seg_link));
}

static int enter_all(struct swi_spill *sp, struct mark *marks)
{
	struct swi_list found, *ahead;
	uint64_t count = 0;
	int rc;

	swi_list_for_each(it, &sp->segs)
		count += swi_list_entry(it, struct swi_seg, link)->recs;
	rc = swi_log_index_reserve(sp, count);

	swi_list_for_each(it, &sp->segs) {
		struct swi_seg *seg = swi_list_entry(it, struct swi_seg, link);

		swi_list_init(&found);
		swi_list_splice(&found, &seg->objs);
		ahead = found.next;
		look_ahead(sp, &found, &ahead, AHEAD);
		while (!swi_list_empty(&found)) {
			struct swi_spill_obj *o =
				swi_list_first(&found, struct swi_spill_obj, seg_link);

			look_ahead(sp, &found, &ahead, 1);
			swi_list_del(&o->seg_link);
			if (rc)
				free(o);
			else
				rc = enter(sp, o, marks);
		}
	}
	return rc;
}

static int join(struct swi_spill *sp)
{
	struct mark *marks = NULL, *m, *next;
	int rc = gather_marks(sp, &marks);

	if (!rc)
		rc = enter_all(sp, marks);
	HASH_ITER(hh, marks, m, next)
	{
		HASH_DELETE(hh, marks, m);
		free(m);
	}
	if (rc)
		return rc;
	swi_list_for_each_safe(it, &sp->segs) {
		struct swi_seg *seg = swi_list_entry(it, struct swi_seg, link);

		if (!seg->foot_done)
			seg->state = SEG_CLOSING; /* gets its footer, so that the next start is quick */
		swi_log_consider(sp, seg);
		swi_log_settle(sp, seg);
	}
	swi_log_drain(sp);
	return 0;
}

int swi_log_recover(struct swi_spill *sp, char *why, size_t why_len)
{
	void *buf;
	int rc = 0;

	if (!sp->opts.disk_count)
		return 0;
	if (posix_memalign(&buf, SWI_DISK_ALIGN, SCAN_WINDOW)) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	for (uint32_t i = 0; !rc && i < sp->opts.disk_count; i++)
		rc = one_disk(sp, i, buf, why, why_len);
	free(buf);
	if (rc) {
		swi_list_for_each(it, &sp->segs)
			seg_clear(swi_list_entry(it, struct swi_seg, link));
		return rc;
	}
	rc = sp->opts.keep ? join(sp) : 0;
	if (rc)
		snprintf(why, why_len, "cannot rebuild the index of the spill log: %s",
			 swarm_strerror(rc));
	return rc;
}
