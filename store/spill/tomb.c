/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tomb.c - marks for what was forgotten, so that a kept log does not bring it back at the next start.
 *
 * A record cannot be taken out of a written segment. A mark (tombstone) in a later place names its
 * segment and offset; recovery leaves out what is marked. A mark is needed as long as the segment
 * of the marked record exists: when the segment that holds the mark goes first, the mark is
 * written again elsewhere. The mark travels through the same batches as small objects do.
 * Owner thread only.
 */
#include "store/spill/log_impl.h"

/* By number; the list is as long as there are segments, and marks are rare beside records. */
static struct swi_seg *seg_by_number(struct swi_spill *sp, uint64_t number)
{
	for (struct swi_list *it = sp->segs.prev; it != &sp->segs; it = it->prev) {
		struct swi_seg *seg = swi_list_entry(it, struct swi_seg, link);

		if (seg->key.number == number)
			return seg;
	}
	return NULL;
}

static int mark_write(struct swi_spill *sp, struct swi_tomb *t)
{
	struct swi_spill_obj *o = swi_log_obj_new(NULL);
	struct swi_seg *target;

	if (!o)
		return -ENOMEM;
	o->tomb = t;
	target = seg_by_number(sp, t->target);
	if (target)
		target->tombs_pending++;
	swi_log_append(sp, o);
	return 0;
}

void swi_log_bury(struct swi_spill *sp, const struct swi_spill_obj *o)
{
	struct swi_tomb *t;

	/* A segment that has no footer yet will not list it; but a crash before that would. */
	t = calloc(1, sizeof(*t));
	if (!t)
		return; /* it may come back after a restart; its bytes are right all the same */
	swi_list_init(&t->link);
	memcpy(t->oid, o->head.oid, sizeof(t->oid));
	t->target = o->seg->key.number;
	t->target_off = o->off;
	if (mark_write(sp, t))
		free(t);
}

void swi_log_tomb_over(struct swi_spill *sp, struct swi_spill_obj *o, int status)
{
	struct swi_tomb *t = o->tomb;
	struct swi_seg *target = seg_by_number(sp, t->target);
	struct swi_seg *from = t->from ? seg_by_number(sp, t->from) : NULL;

	t->from = 0;
	if (!status && target)
		swi_list_push_back(&o->seg->tombs, &t->link);
	else
		free(t); /* its record is gone, or the disks are: then nothing more can be done */
	free(o);
	if (target) {
		target->tombs_pending--;
		swi_log_consider(sp, target);
	}
	if (from) {
		from->tombs_moving--;
		swi_log_settle(sp, from);
	}
}

bool swi_log_tombs_free(struct swi_spill *sp, struct swi_seg *seg)
{
	swi_list_for_each_safe(it, &seg->tombs) {
		struct swi_tomb *t = swi_list_entry(it, struct swi_tomb, link);

		if (t->target != seg->key.number && seg_by_number(sp, t->target)) {
			if (sp->closing)
				return false; /* the file stays, for the sake of its marks */
			t->from = seg->key.number;
			swi_list_del(&t->link);
			if (!mark_write(sp, t)) {
				seg->tombs_moving++;
				continue;
			}
			swi_list_push_back(&seg->tombs, &t->link);
			return false;
		}
		swi_list_del(&t->link);
		free(t);
	}
	return !seg->tombs_moving;
}
