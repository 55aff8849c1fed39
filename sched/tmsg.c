/* SPDX-License-Identifier: Apache-2.0 */
/* tmsg.c - see tmsg.h. Decoders set rd->bad on nonsense; callers check once. Pure functions, any thread. */
#include "sched/tmsg.h"

void swi_report_encode(struct swi_wr *w, const struct swi_report *r)
{
	swi_wr_u64(w, r->stamp);
	swi_resources_encode(w, &r->total);
	swi_resources_encode(w, &r->free);
	swi_wr_u32(w, r->queued);
	swi_wr_u32(w, r->running);
	swi_wr_u32(w, r->idle_workers);
	swi_wr_u64(w, r->queue_ns);
	swi_wr_u64(w, r->arena_bytes);
	swi_wr_u64(w, r->arena_used);
	swi_wr_u32(w, r->heard);
	swi_wr_u8(w, (uint8_t)(r->draining | r->idle << 1));
}

void swi_report_decode(struct swi_rd *rd, struct swi_report *out)
{
	uint8_t flags;

	*out = (struct swi_report){.stamp = swi_rd_u64(rd)};
	swi_resources_decode(rd, &out->total);
	swi_resources_decode(rd, &out->free);
	out->queued = swi_rd_u32(rd);
	out->running = swi_rd_u32(rd);
	out->idle_workers = swi_rd_u32(rd);
	out->queue_ns = swi_rd_u64(rd);
	out->arena_bytes = swi_rd_u64(rd);
	out->arena_used = swi_rd_u64(rd);
	out->heard = swi_rd_u32(rd);
	flags = swi_rd_u8(rd);
	out->draining = flags & 1;
	out->idle = flags >> 1 & 1;
	if (flags > 3)
		rd->bad = true;
}

static void sum_clip(struct swi_resources *r)
{
	/* What a sum says beyond these is more than any cluster has. */
	r->cpu = swi_min_u64(r->cpu, 1ull << 48);
	r->gpu = swi_min_u64(r->gpu, 1ull << 48);
	r->memory = swi_min_u64(r->memory, 1ull << 60);
	for (uint32_t i = 0; i < r->custom_count; i++)
		r->custom[i].amount = swi_min_u64(r->custom[i].amount, 1ull << 48);
}

void swi_demand_encode(struct swi_wr *w, const struct swi_scale_demand *d)
{
	struct swi_resources sum = d->need, largest = d->largest;

	sum_clip(&sum);
	sum_clip(&largest);
	swi_wr_u32(w, d->tasks);
	swi_resources_encode(w, &sum);
	swi_resources_encode(w, &largest);
}

void swi_demand_decode(struct swi_rd *rd, struct swi_scale_demand *out)
{
	*out = (struct swi_scale_demand){.tasks = swi_rd_u32(rd)};
	swi_resources_decode(rd, &out->need);
	swi_resources_decode(rd, &out->largest);
}

void swi_tmsg_member_encode(struct swi_wr *w, const struct swi_tmsg_member *m)
{
	swi_wr_u32(w, m->node);
	swi_wr_u64(w, m->epoch);
	swi_wr_str(w, m->address);
	swi_wr_u8(w, m->provided);
	swi_resources_encode(w, &m->total);
}

void swi_tmsg_member_decode(struct swi_rd *rd, struct swi_tmsg_member *out)
{
	*out = (struct swi_tmsg_member){.node = swi_rd_u32(rd), .epoch = swi_rd_u64(rd)};
	swi_rd_str(rd, out->address, sizeof(out->address));
	out->provided = swi_rd_u8(rd);
	swi_resources_decode(rd, &out->total);
	if (!out->epoch)
		rd->bad = true;
}

struct swi_wr swi_tmsg_build(void (*body)(struct swi_wr *w, const void *ctx), const void *ctx)
{
	struct swi_wr w = swi_wr_init(malloc(1024), 1024);

	SWI_BUG_ON(!w.buf);
	body(&w, ctx);
	if (!swi_wr_ok(&w)) {
		const uint32_t need = w.len;

		free(w.buf);
		w = swi_wr_init(malloc(need), need);
		SWI_BUG_ON(!w.buf);
		body(&w, ctx);
	}
	return w;
}
