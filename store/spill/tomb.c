/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tomb.c - marks for what was forgotten, so that a kept log does not bring it back at the next start.
 *
 * A record cannot be taken out of a written segment. A mark (tombstone) in a later place names its
 * segment and offset; recovery leaves out what is marked. A mark is needed as long as the segment
 * of the marked record exists: when the segment that holds the mark goes first, the mark is
 * written again elsewhere. The mark travels through the same batches as small objects do.
 *
 * Forgetting returns at once; a barrier tells when all that was forgotten before it is durable. It
 * waits for its group: the marks since the last barrier, and records that were forgotten while they
 * were being written or copied and have no mark yet. Groups end in order. Owner thread only.
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

/* ---- groups ---- */
static void groups_over(struct swi_spill *sp)
{
	struct swi_mark_group *g;

	while ((g = swi_list_first(&sp->groups, struct swi_mark_group, link)) != NULL && !g->pending) {
		if (sp->mark_error)
			g->status = sp->mark_error;
		/* Told to all who wait now, or else to the first who asks. */
		sp->mark_error = swi_list_empty(&g->ios) || g->link.next != &sp->groups ? g->status : 0;
		while (!swi_list_empty(&g->ios)) {
			struct swi_spill_io *io = swi_list_first(&g->ios, struct swi_spill_io, link);

			swi_list_del(&io->link);
			swi_log_finish(sp, io, g->status);
		}
		swi_list_del(&g->link);
		free(g);
	}
}

struct swi_mark_group *swi_log_group_get(struct swi_spill *sp)
{
	struct swi_mark_group *g = swi_list_empty(&sp->groups)
					   ? NULL
					   : swi_list_entry(sp->groups.prev, struct swi_mark_group, link);

	if (!g || !swi_list_empty(&g->ios)) {
		g = calloc(1, sizeof(*g));
		if (!g) {
			sp->mark_error = -ENOMEM;
			return NULL;
		}
		swi_list_init(&g->ios);
		swi_list_push_back(&sp->groups, &g->link);
	}
	g->pending++;
	return g;
}

void swi_log_group_put(struct swi_spill *sp, struct swi_mark_group *g, int status)
{
	if (!g)
		return;
	g->pending--;
	if (status)
		g->status = status;
	groups_over(sp);
}

void swi_spill_barrier(struct swi_spill *sp, struct swi_spill_io *io)
{
	struct swi_mark_group *g;

	if (swi_list_empty(&sp->groups)) {
		swi_log_finish(sp, io, sp->mark_error);
		sp->mark_error = 0;
		return;
	}
	g = swi_list_entry(sp->groups.prev, struct swi_mark_group, link);
	swi_list_push_back(&g->ios, &io->link);
}

void swi_log_groups_free(struct swi_spill *sp)
{
	while (!swi_list_empty(&sp->groups)) {
		struct swi_mark_group *g = swi_list_first(&sp->groups, struct swi_mark_group, link);

		swi_list_del(&g->link);
		free(g);
	}
}

/* ---- marks ---- */
static int mark_write(struct swi_spill *sp, struct swi_tomb *t)
{
	struct swi_spill_obj *o = swi_log_obj_new(NULL);
	struct swi_seg *target;

	if (!o)
		return -ENOMEM;
	o->tomb = t;
	target = seg_by_number(sp, t->target.number);
	if (target)
		target->tombs_pending++;
	swi_log_append(sp, o);
	return 0;
}

void swi_log_bury(struct swi_spill *sp, const struct swi_spill_obj *o, struct swi_mark_group *group)
{
	struct swi_tomb *t;

	if (group)
		group->pending++;
	else
		group = swi_log_group_get(sp);
	/* A segment that has no footer yet will not list it; but a crash before that would. */
	t = calloc(1, sizeof(*t));
	if (!t) { /* it may come back after a restart; its bytes are right all the same */
		swi_log_group_put(sp, group, -ENOMEM);
		return;
	}
	swi_list_init(&t->link);
	memcpy(t->oid, o->head.oid, sizeof(t->oid));
	t->target = o->seg->key;
	t->target_off = o->off;
	t->group = group;
	if (mark_write(sp, t)) {
		free(t);
		swi_log_group_put(sp, group, -ENOMEM);
	}
}

void swi_log_tomb_over(struct swi_spill *sp, struct swi_spill_obj *o, int status)
{
	struct swi_tomb *t = o->tomb;
	struct swi_seg *target = seg_by_number(sp, t->target.number);
	struct swi_seg *from = t->from ? seg_by_number(sp, t->from) : NULL;
	struct swi_mark_group *group = t->group;

	t->from = 0;
	t->group = NULL;
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
	swi_log_group_put(sp, group, target ? status : 0);
}

bool swi_log_tombs_free(struct swi_spill *sp, struct swi_seg *seg)
{
	swi_list_for_each_safe(it, &seg->tombs) {
		struct swi_tomb *t = swi_list_entry(it, struct swi_tomb, link);

		if (t->target.number != seg->key.number && seg_by_number(sp, t->target.number)) {
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
