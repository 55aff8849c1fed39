/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.c - which disk, which segment, which bytes; the life of a segment.
 *
 *   OPEN -> CLOSING -> CLOSED -> (kept log: DYING ->) gone, or FREE and then OPEN again under a new
 *   number and nonce
 *
 * Every disk has one open segment. A record that does not fit in it and is large gets a segment of
 * its own size, so that big objects waste no tails and die with their file. A disk that refuses
 * (full, EIO) is left alone until its back-off ends; the others go on. Owner thread only.
 */
#include "store/spill/log_impl.h"

#define BACKOFF_MIN_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS (10 * NS_PER_S)
#define SPACE_AGE_NS   (50 * NS_PER_MS) /* an answer of space() serves for so long */
#define NAME_TRIES     64
#define SPEED_WINDOW   MIB(2) /* a disk's speed is judged anew after so many bytes */

static void back_off(struct swi_spill *sp, struct spill_disk *sd, int why)
{
	if (sd->retry_ns)
		return;
	sd->backoff_ns = sd->backoff_ns ? swi_min_u64(sd->backoff_ns * 2, BACKOFF_MAX_NS)
					: BACKOFF_MIN_NS;
	sd->retry_ns = swi_sat_add(swi_now(sp->env), sd->backoff_ns);
	if (sd->why != why)
		swi_warn(sp->log, "spill folder %s: %s; not used for %llu ms",
			 sd->d->ops->path(sd->d), swarm_strerror(why),
			 (unsigned long long)(sd->backoff_ns / NS_PER_MS));
	sd->why = why;
}

void swi_log_disk_fine(struct spill_disk *sd)
{
	sd->errors = 0;
	sd->backoff_ns = 0;
	sd->why = 0;
}

void swi_log_room_again(struct spill_disk *sd)
{
	sd->space_ns = 0;
	if (sd->why == SWARM_EDISKFULL)
		sd->retry_ns = 0;
}

void swi_log_speed(struct swi_spill *sp, struct spill_disk *sd, uint64_t bytes)
{
	const uint64_t now = swi_now(sp->env);

	if (!bytes) {
		if (!sd->writing++) { /* from idle: the pause does not count */
			sd->window_ns = now;
			sd->window_bytes = 0;
		}
		return;
	}
	sd->writing--;
	sd->window_bytes += bytes;
	if (sd->window_bytes < SPEED_WINDOW || now <= sd->window_ns)
		return;
	const uint64_t seen = sd->window_bytes * 1000 / ((now - sd->window_ns) / 1000 + 1) + 1;

	sd->speed = sd->speed ? (sd->speed * 3 + seen) / 4 : seen; /* KB/s or so: only ratios count */
	sd->window_ns = now;
	sd->window_bytes = 0;
}

/* What stays free: what was asked for, else 2 % of the disk, at least 64 MiB and at most 1 GiB. */
static uint64_t reserve(const struct swi_spill *sp, uint64_t total)
{
	if (sp->opts.reserve_bytes)
		return sp->opts.reserve_bytes;
	return swi_min_u64(swi_max_u64(total / 50, MIB(64)), GIB(1));
}

/* Free bytes of a disk beyond the reserve. */
static uint64_t available(struct swi_spill *sp, struct spill_disk *sd, bool fresh)
{
	const uint64_t now = swi_now(sp->env);
	uint64_t free_bytes, total;

	if (!fresh && sd->space_ns && now < swi_sat_add(sd->space_ns, SPACE_AGE_NS))
		return sd->avail;
	sd->space_ns = now;
	sd->avail = 0;
	if (!sd->d->ops->space(sd->d, &free_bytes, &total) && free_bytes > reserve(sp, total))
		sd->avail = free_bytes - reserve(sp, total);
	return sd->avail;
}

static uint64_t quota_left(const struct swi_spill *sp)
{
	if (!sp->opts.quota_bytes)
		return UINT64_MAX;
	return sp->opts.quota_bytes > sp->held_bytes ? sp->opts.quota_bytes - sp->held_bytes : 0;
}

/* ---- segments ---- */
struct swi_seg *swi_log_seg_new(struct swi_spill *sp, uint32_t disk)
{
	struct swi_seg *seg = calloc(1, sizeof(*seg));

	if (!seg)
		return NULL;
	seg->sp = sp;
	seg->disk = disk;
	swi_list_init(&seg->link);
	swi_list_init(&seg->victim_link);
	swi_list_init(&seg->objs);
	swi_list_init(&seg->unsynced);
	swi_list_init(&seg->syncing);
	swi_list_init(&seg->tombs);
	return seg;
}

/* The struct and its file handle, not the file. */
static void seg_free(struct swi_seg *seg)
{
	if (seg->file)
		seg->sp->disks[seg->disk].d->ops->close(seg->file);
	while (!swi_list_empty(&seg->tombs)) {
		struct swi_tomb *t = swi_list_first(&seg->tombs, struct swi_tomb, link);

		swi_list_del(&t->link);
		free(t);
	}
	swi_list_del(&seg->link);
	swi_list_del(&seg->victim_link);
	free(seg->meta_buf);
	free(seg);
}

static void unlink_seg(struct swi_spill *sp, struct swi_seg *seg)
{
	struct spill_disk *sd = &sp->disks[seg->disk];
	char name[SWI_SEG_NAME_LEN];
	int rc;

	swi_seg_name(seg->file_number, name);
	rc = sd->d->ops->unlink(sd->d, name);
	if (rc && rc != -ENOENT)
		swi_warn(sp->log, "spill folder %s: cannot remove %s: %s", sd->d->ops->path(sd->d),
			 name, swarm_strerror(rc));
	sp->held_bytes -= seg->bytes - seg->punched;
	seg_free(seg);
	swi_log_room_again(sd);
}

static void release_free(struct swi_spill *sp, struct spill_disk *sd)
{
	while (!swi_list_empty(&sd->free)) {
		sd->free_count--;
		unlink_seg(sp, swi_list_first(&sd->free, struct swi_seg, link));
	}
}

void swi_log_unlink_all(struct swi_spill *sp)
{
	while (!swi_list_empty(&sp->segs)) {
		struct swi_seg *seg = swi_list_first(&sp->segs, struct swi_seg, link);

		if (sp->opts.keep)
			seg_free(seg);
		else
			unlink_seg(sp, seg);
	}
	for (uint32_t i = 0; i < sp->opts.disk_count; i++)
		release_free(sp, &sp->disks[i]);
}

static void header_done(struct swi_dio *dio)
{
	struct swi_seg *seg = dio->owner;
	struct swi_spill *sp = seg->sp;

	swi_log_dio_over(seg);
	seg->writes--;
	free(seg->meta_buf);
	seg->meta_buf = NULL;
	if (dio->status)
		swi_log_retire(sp, seg, dio->status);
	else
		seg->header_ok = true;
	swi_log_sync(sp, seg);
	swi_log_dio_end(seg);
}

/* A new use of the file: number, nonce, header. */
static int begin_use(struct swi_spill *sp, struct swi_seg *seg)
{
	int rc;

	if (posix_memalign(&seg->meta_buf, SWI_DISK_ALIGN, SWI_DISK_ALIGN)) {
		seg->meta_buf = NULL;
		return -ENOMEM;
	}
	memset(seg->meta_buf, 0, SWI_DISK_ALIGN);
	seg->key = (struct swi_seg_key){sp->next_number++, swi_rand(sp->env)};
	seg->state = SEG_OPEN;
	seg->append = SWI_SEG_DATA_OFF;
	seg->recs = seg->live_bytes = seg->live_objects = 0;
	seg->header_ok = seg->foot_done = seg->emptied = false;
	swi_seg_header_init(seg->meta_buf, seg->key, sp->opts.boot_epoch, seg->bytes);
	seg->meta = (struct swi_dio){.op = SWI_DIO_WRITE, .file = seg->file, .buf = seg->meta_buf,
				     .len = SWI_DISK_ALIGN, .cb = header_done, .owner = seg};
	rc = swi_log_submit(sp, seg, &seg->meta);
	if (!rc)
		seg->writes++;
	return rc;
}

static int create_file(struct swi_spill *sp, struct swi_seg *seg, uint64_t bytes)
{
	struct swi_disk *d = sp->disks[seg->disk].d;
	char name[SWI_SEG_NAME_LEN];
	int rc = -EEXIST;

	for (int i = 0; rc == -EEXIST && i < NAME_TRIES; i++) {
		seg->file_number = sp->next_file++;
		swi_seg_name(seg->file_number, name);
		rc = d->ops->open(d, name, true, bytes, &seg->file);
	}
	if (!rc)
		seg->bytes = bytes;
	return rc;
}

/* A file of @want bytes if there is room for it, else of what room there is, at least @need. */
static int new_file(struct swi_spill *sp, uint32_t disk, uint64_t want, uint64_t need,
		    struct swi_seg **out_seg)
{
	struct spill_disk *sd = &sp->disks[disk];
	uint64_t room = swi_min_u64(available(sp, sd, true), quota_left(sp));
	struct swi_seg *seg;
	int rc;

	if (room < want && sd->free_count) {
		release_free(sp, sd);
		room = swi_min_u64(available(sp, sd, true), quota_left(sp));
	}
	if (room < want) {
		want = swi_align_down(room, SWI_DISK_ALIGN);
		if (want < swi_max_u64(need, SPILL_SEG_MIN))
			return SWARM_EDISKFULL;
	}
	seg = swi_log_seg_new(sp, disk);
	if (!seg)
		return -ENOMEM;
	rc = create_file(sp, seg, want);
	if (rc) {
		seg_free(seg);
		return rc == -ENOSPC ? SWARM_EDISKFULL : rc;
	}
	sp->held_bytes += seg->bytes;
	sd->space_ns = 0;
	*out_seg = seg;
	return 0;
}

static struct swi_seg *reuse(struct spill_disk *sd, uint64_t need)
{
	struct swi_seg *seg = swi_list_first(&sd->free, struct swi_seg, link);

	if (!seg || seg->bytes < need)
		return NULL;
	swi_list_del(&seg->link);
	sd->free_count--;
	return seg;
}

static int open_seg(struct swi_spill *sp, uint32_t disk, uint64_t want, uint64_t need,
		    struct swi_seg **out_seg)
{
	struct spill_disk *sd = &sp->disks[disk];
	struct swi_seg *seg = reuse(sd, need);
	int rc = 0;

	if (!seg)
		rc = new_file(sp, disk, want, need, &seg);
	if (rc) {
		/* Full by quota needs no back-off: forgetting makes room, and that is seen at once. */
		if (rc != SWARM_EDISKFULL || quota_left(sp) >= swi_max_u64(need, SPILL_SEG_MIN))
			back_off(sp, sd, rc);
		return rc;
	}
	rc = begin_use(sp, seg);
	if (rc) {
		unlink_seg(sp, seg);
		return rc;
	}
	swi_list_push_back(&sp->segs, &seg->link);
	*out_seg = seg;
	return 0;
}

static bool fits(const struct swi_seg *seg, uint64_t len, uint64_t count)
{
	return seg->append + len + swi_seg_footer_bytes(seg->recs + count) <= seg->bytes;
}

static int alloc_on(struct swi_spill *sp, uint32_t disk, uint64_t len, uint64_t count,
		    struct swi_seg **out_seg)
{
	const uint64_t need = SWI_SEG_DATA_OFF + len + swi_seg_footer_bytes(count);
	struct spill_disk *sd = &sp->disks[disk];
	int rc;

	if (sd->open && fits(sd->open, len, count)) {
		*out_seg = sd->open;
		return 0;
	}
	if (need > sp->opts.segment_bytes / 2)
		return open_seg(sp, disk, need, need, out_seg); /* its own segment */
	if (sd->open)
		swi_log_close(sp, sd->open);
	rc = open_seg(sp, disk, sp->opts.segment_bytes, need, &sd->open);
	if (rc)
		sd->open = NULL;
	else
		*out_seg = sd->open;
	return rc;
}

/* The usable disk that got the least for its free space; @tried is a bit set. */
static int pick_disk(const struct swi_spill *sp, uint64_t tried, int avoid)
{
	int best = -1;

	for (uint32_t i = 0; i < sp->opts.disk_count && i < 64; i++) {
		if ((tried >> i & 1) || sp->disks[i].retry_ns || (int)i == avoid)
			continue;
		if (best < 0 || sp->disks[i].vtime < sp->disks[best].vtime)
			best = (int)i;
	}
	return best;
}

static int no_disk_error(const struct swi_spill *sp, int rc)
{
	for (uint32_t i = 0; i < sp->opts.disk_count; i++)
		if (sp->disks[i].retry_ns && sp->disks[i].why == SWARM_EDISKFULL)
			return SWARM_EDISKFULL;
	return rc;
}

/*
 * What giving @len bytes to this disk counts: less where much is free, and less where writes are
 * fast. Free space beyond 64 GiB says nothing more about what to do now.
 */
static uint64_t cost(struct swi_spill *sp, uint32_t i, uint64_t len)
{
	const uint64_t room = swi_min_u64(available(sp, &sp->disks[i], false), GIB(64)) / MIB(1) + 1;
	uint64_t fastest = 1, mine = sp->disks[i].speed;

	for (uint32_t k = 0; k < sp->opts.disk_count; k++)
		fastest = swi_max_u64(fastest, sp->disks[k].speed);
	if (!mine)
		mine = fastest;
	return (len * KIB(1) / room + 1) * swi_min_u64(fastest * 16 / mine + 1, KIB(1)) / 16 + 1;
}

int swi_log_alloc(struct swi_spill *sp, uint64_t len, uint64_t count, int avoid,
		  struct swi_seg **out_seg, uint64_t *out_off)
{
	uint64_t tried = 0;
	struct swi_seg *seg;
	int rc = -EIO;

	for (;;) {
		int i = pick_disk(sp, tried, avoid);
		int err;

		if (i < 0 && avoid >= 0) {
			i = pick_disk(sp, tried, -1); /* better the bad one than none */
			avoid = -1;
		}
		if (i < 0)
			return no_disk_error(sp, rc);
		err = alloc_on(sp, (uint32_t)i, len, count, &seg);
		if (err) {
			if (rc != SWARM_EDISKFULL)
				rc = err == -ENOMEM || err == SWARM_EDISKFULL ? err : -EIO;
			tried |= 1ull << i;
			continue;
		}
		sp->disks[i].vtime += cost(sp, (uint32_t)i, len);
		break;
	}
	*out_off = seg->append;
	*out_seg = seg;
	seg->append += len;
	seg->recs += count;
	if (seg != sp->disks[seg->disk].open)
		swi_log_close(sp, seg); /* it was made for this record alone; its header is in flight */
	return 0;
}

bool swi_log_room(struct swi_spill *sp, uint64_t bytes)
{
	const uint64_t len = swi_align_up(bytes, SWI_DISK_ALIGN);
	const uint64_t entries = swi_seg_entries(bytes);
	const uint64_t need = SWI_SEG_DATA_OFF + len + swi_seg_footer_bytes(entries);

	for (uint32_t i = 0; i < sp->opts.disk_count; i++) {
		struct spill_disk *sd = &sp->disks[i];
		const struct swi_seg *free_seg = swi_list_first(&sd->free, struct swi_seg, link);

		if (sd->retry_ns)
			continue;
		if ((sd->open && fits(sd->open, len, entries)) || (free_seg && free_seg->bytes >= need))
			return true;
		if (swi_min_u64(available(sp, sd, false), quota_left(sp)) >=
		    swi_max_u64(need, SPILL_SEG_MIN))
			return true;
	}
	return false;
}

/* ---- the end of a segment ---- */
void swi_log_retire(struct swi_spill *sp, struct swi_seg *seg, int why)
{
	struct spill_disk *sd = &sp->disks[seg->disk];

	sp->stats.write_errors++;
	if (!seg->failed)
		swi_warn(sp->log, "spill folder %s: segment %llu is given up: %s",
			 sd->d->ops->path(sd->d), (unsigned long long)seg->key.number,
			 swarm_strerror(why));
	seg->failed = true;
	if (why == -ENOSPC)
		back_off(sp, sd, SWARM_EDISKFULL);
	else if (++sd->errors >= 2)
		back_off(sp, sd, why);
	if (seg->state == SEG_OPEN)
		swi_log_close(sp, seg);
}

void swi_log_close(struct swi_spill *sp, struct swi_seg *seg)
{
	struct spill_disk *sd = &sp->disks[seg->disk];

	if (sd->open == seg)
		sd->open = NULL;
	if (seg->state == SEG_OPEN)
		seg->state = SEG_CLOSING;
	swi_log_settle(sp, seg);
}

static void footer_done(struct swi_dio *dio)
{
	struct swi_seg *seg = dio->owner;
	struct swi_spill *sp = seg->sp;

	swi_log_dio_over(seg);
	free(seg->meta_buf);
	seg->meta_buf = NULL;
	seg->state = SEG_CLOSED;
	if (dio->status)
		sp->stats.write_errors++; /* found by scanning, then */
	swi_log_consider(sp, seg);
	swi_log_dio_end(seg);
}

static uint64_t footer_fill(struct swi_seg *seg, struct swi_seg_entry *e)
{
	uint64_t n = 0;

	swi_list_for_each(it, &seg->objs) {
		const struct swi_spill_obj *o = swi_list_entry(it, struct swi_spill_obj, seg_link);

		swi_seg_entry_from_head(&e[n], &o->head, o->off);
		memset(&e[n + 1], 0, (obj_entries(o) - 1) * sizeof(*e));
		memcpy(&e[n + 1], o->sums, obj_sums(o) * sizeof(o->sums[0]));
		n += obj_entries(o);
	}
	swi_list_for_each(it, &seg->tombs) {
		const struct swi_tomb *t = swi_list_entry(it, struct swi_tomb, link);

		swi_seg_tomb_init((struct swi_seg_tomb *)&e[n++], seg->key, t->oid, t->target,
				  t->target_off, t->off);
	}
	return n;
}

/* False: no memory or no disk for it. Then recovery scans this segment. */
static bool write_footer(struct swi_spill *sp, struct swi_seg *seg)
{
	uint64_t count = 0, len;

	swi_list_for_each(it, &seg->objs)
		count += obj_entries(swi_list_entry(it, struct swi_spill_obj, seg_link));
	swi_list_for_each(it, &seg->tombs)
		count++;
	SWI_BUG_ON(count > seg->recs);
	len = swi_seg_footer_bytes(count);
	if (len > GIB(1) || len > seg->bytes || seg->append > seg->bytes - len || posix_memalign(&seg->meta_buf, SWI_DISK_ALIGN, len)) {
		seg->meta_buf = NULL;
		return false;
	}
	SWI_BUG_ON(footer_fill(seg, seg->meta_buf) != count);
	swi_seg_footer_seal(seg->meta_buf, count, seg->key, seg->append);
	seg->meta = (struct swi_dio){.op = SWI_DIO_WRITE, .file = seg->file, .buf = seg->meta_buf,
				     .off = seg->bytes - len, .len = (uint32_t)len,
				     .cb = footer_done, .owner = seg};
	if (!swi_log_submit(sp, seg, &seg->meta))
		return true;
	free(seg->meta_buf);
	seg->meta_buf = NULL;
	return false;
}

/*
 * A file that is unlinked may be back after a power failure, with all that it ever held; the marks of
 * that are not needed by then and may be gone. So before the file its header goes, for certain.
 * Where that fails the segment stays, and with it the marks of what it holds.
 */
static void killed(struct swi_dio *dio)
{
	struct swi_seg *seg = dio->owner;
	struct swi_spill *sp = seg->sp;

	swi_log_dio_over(seg);
	seg->busy--;
	if (!dio->status && dio == &seg->meta) {
		seg->sync = (struct swi_dio){
			.op = SWI_DIO_SYNC, .file = seg->file, .cb = killed, .owner = seg};
		if (!swi_log_submit(sp, seg, &seg->sync))
			return;
	}
	if (!dio->status && dio == &seg->sync) {
		unlink_seg(sp, seg);
		return;
	}
	sp->stats.write_errors++;
	free(seg->meta_buf);
	seg->meta_buf = NULL;
	seg->state = SEG_CLOSED;
}

static void kill_begin(struct swi_spill *sp, struct swi_seg *seg)
{
	if (posix_memalign(&seg->meta_buf, SWI_DISK_ALIGN, SWI_DISK_ALIGN)) {
		seg->meta_buf = NULL;
		return;
	}
	memset(seg->meta_buf, 0, SWI_DISK_ALIGN);
	seg->meta = (struct swi_dio){.op = SWI_DIO_WRITE, .file = seg->file, .buf = seg->meta_buf,
				     .len = SWI_DISK_ALIGN, .cb = killed, .owner = seg};
	if (!swi_log_submit(sp, seg, &seg->meta)) {
		seg->state = SEG_DYING;
		return;
	}
	free(seg->meta_buf);
	seg->meta_buf = NULL;
}

/* Dead, idle, and nobody needs the tombstones in it. */
static void release(struct swi_spill *sp, struct swi_seg *seg)
{
	struct spill_disk *sd = &sp->disks[seg->disk];

	swi_list_del(&seg->victim_link);
	swi_log_compact_forget(sp, seg);
	if (sp->opts.keep) {
		kill_begin(sp, seg);
		return;
	}
	swi_list_del(&seg->link);
	if (sp->closing || seg->failed || seg->punched ||
	    seg->bytes != sp->opts.segment_bytes || sd->free_count >= SPILL_FREE_SEGS) {
		unlink_seg(sp, seg);
		return;
	}
	seg->state = SEG_FREE;
	sd->free_count++;
	swi_list_push_back(&sd->free, &seg->link);
}

void swi_log_settle(struct swi_spill *sp, struct swi_seg *seg)
{
	const bool written = !seg->writes && swi_list_empty(&seg->unsynced) &&
			     swi_list_empty(&seg->syncing);

	if (seg->state == SEG_CLOSING && written && !seg->foot_done) {
		seg->foot_done = true;
		/* Only a kept log is ever read again, and only live records are worth listing. */
		if (!sp->opts.keep || (swi_list_empty(&seg->objs) && swi_list_empty(&seg->tombs)) ||
		    !write_footer(sp, seg))
			seg->state = SEG_CLOSED;
	}
	if (seg->state == SEG_CLOSED && !seg->busy && !seg->live_bytes &&
	    swi_list_empty(&seg->objs) && swi_log_tombs_free(sp, seg))
		release(sp, seg);
}
