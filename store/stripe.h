/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stripe.h - a large object READ from several nodes at once.
 *
 * Who READs one in pieces asks others that have it in memory for a lease as well (SWI_LEASE_WHOLE: now and whole, or not
 * at all), and each piece goes to whom the fewest are under way. The holder that the fetch itself has a lease from
 * (pieces.c, "the first") needs nobody else: a stripe that is refused, dies or fails only leaves its pieces to it. The
 * first piece is always its own, as the header there names the extent. Owner thread of the node.
 */
#ifndef SWI_STRIPE_H
#define SWI_STRIPE_H

#include "store/req.h"

struct swi_fetch;

#define SWI_STRIPES_MAX 3u /* beside the first holder */
#define SWI_STRIPE_MIN	4u /* pieces; shorter ones are not worth the message */

struct swi_stripe {
	struct swi_fetch *f;
	struct swi_req rq;
	uint64_t epoch; /* of the holder */
	uint64_t lease; /* 0 = none */
	uint64_t offset;
	uint8_t region;
	bool usable; /* pieces may be READ from it */
	uint32_t busy;
};

/* Asks whom it can; nothing is waited for. */
void swi_stripes_ask(struct swi_fetch *f);
/* No READ of the fetch is in flight: what was asked and given is given back. Idempotent. */
void swi_stripes_end(struct swi_fetch *f);

#endif
