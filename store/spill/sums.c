/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sums.c - the sums of large records, by which a part of one is proven without the rest.
 *
 * They are made from the arena while the disk takes the record, a portion in every turn, and kept with
 * the record in the index; the footer has them too. A write is acknowledged when both are done, so
 * whatever is spilled has its sums. Owner thread only.
 */
#include "store/spill/log_impl.h"

struct swi_spill_obj *swi_log_obj_new(const struct swi_object_head *head)
{
	const uint64_t sums = head ? swi_seg_sum_count(swi_extent_bytes(head->len)) : 0;
	struct swi_spill_obj *o = calloc(1, sizeof(*o) + sums * sizeof(o->sums[0]));

	if (!o)
		return NULL;
	if (head)
		swi_head_copy(&o->head, head);
	swi_list_init(&o->seg_link);
	return o;
}

/* At most @bytes more of this record; returns how many were done. */
static uint64_t sum_some(struct swi_spill_obj *o, uint64_t bytes)
{
	const uint64_t head = sizeof(struct swi_object_head);
	const uint64_t blocks = swi_min_u64(bytes / SWI_DISK_ALIGN + 1, obj_sums(o) - o->summed);
	const uint64_t at = swi_max_u64((uint64_t)o->summed * SWI_DISK_ALIGN, head);
	const uint64_t end = swi_min_u64((o->summed + blocks) * SWI_DISK_ALIGN, head + o->head.len);

	swi_seg_sums_make(&o->sums[o->summed], (const char *)o->io->extent + at, at - head, end - at);
	o->summed += (uint32_t)blocks;
	return blocks * SWI_DISK_ALIGN;
}

void swi_log_sum(struct swi_spill *sp, uint64_t bytes)
{
	while (bytes && !swi_list_empty(&sp->summing)) {
		struct swi_spill_obj *o = swi_list_first(&sp->summing, struct swi_spill_obj, seg_link);

		bytes -= swi_min_u64(sum_some(o, bytes), bytes);
		if (o->summed < obj_sums(o))
			continue;
		swi_list_del(&o->seg_link);
		if (o->landed)
			swi_log_large_over(sp, o, 0);
	}
}
