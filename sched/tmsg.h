/* SPDX-License-Identifier: Apache-2.0 */
/* tmsg.h - bodies of the messages between schedulers that more than one file reads or writes. docs/WIRE.md has the layouts. */
#ifndef SWI_TMSG_H
#define SWI_TMSG_H

#include "sched/view.h"

void swi_report_encode(struct swi_wr *w, const struct swi_report *r);
void swi_report_decode(struct swi_rd *rd, struct swi_report *out);
void swi_demand_encode(struct swi_wr *w, const struct swi_scale_demand *d);
void swi_demand_decode(struct swi_rd *rd, struct swi_scale_demand *out);

struct swi_tmsg_member {
	uint32_t node;
	uint64_t epoch;
	char address[64];
	bool provided;
	struct swi_resources total;
};
void swi_tmsg_member_encode(struct swi_wr *w, const struct swi_tmsg_member *m);
void swi_tmsg_member_decode(struct swi_rd *rd, struct swi_tmsg_member *out);

/* A buffer that grows until the body fits: body(w, ctx) is called once or twice. Free w.buf. */
struct swi_wr swi_tmsg_build(void (*body)(struct swi_wr *w, const void *ctx), const void *ctx);

#endif
