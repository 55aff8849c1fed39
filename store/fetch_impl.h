/* SPDX-License-Identifier: Apache-2.0 */
/* fetch_impl.h - between the files of a fetch: want.c, fetch.c, publish.c, direct.c, pieces.c, parts.c. */
#ifndef SWI_FETCH_IMPL_H
#define SWI_FETCH_IMPL_H

#include "store/fetch.h"

struct swi_wnode { /* the private half of a want */
	struct swi_timer timer;
	struct swi_snode *sn;
	struct swi_want *w;
	struct swi_fetch *f; /* NULL: in fetches.fresh, or being told */
	bool for_peer;
};

/* The caller has just looked: it is not in memory here. */
void swi_fetch_join(struct swi_snode *sn, struct swi_want *w, struct swi_wnode *n);
void swi_fetch_unwanted(struct swi_fetch *f); /* a want left: perhaps it was the last */
void swi_fetch_free(struct swi_fetch *f);
/* ---- for publish.c ---- */
void swi_fetch_done(struct swi_fetch *f, uint64_t offset); /* it lies at @offset, held once for the fetch */
void swi_fetch_fail(struct swi_fetch *f, int status, const char *text); /* every want hears so */
void swi_fetch_again(struct swi_fetch *f); /* nobody who has it could give it: who has it is looked up again, so many times */
void swi_fetch_holder_failed(struct swi_fetch *f, int status, const char *why); /* on to the next */
void swi_fetch_lease_back(struct swi_fetch *f);
/* ---- publish.c ---- */
void swi_fetch_restored(struct swi_spill_io *io);
/* ---- parts.c ---- */
#define SWI_PART_BYTES KIB(512)
/* Brings f->len bytes from @peer's disk, part by part, into the fetch's room; swi_fetch_parts_over() follows. */
int swi_parts_begin(struct swi_fetch *f, struct swi_peer *peer);
void swi_parts_free(struct swi_fetch *f);
void swi_fetch_parts_over(struct swi_fetch *f, int status, const char *text);
/* ---- for pieces.c ---- */
void swi_fetch_read_over(struct swi_fetch *f, int status); /* no READ of it is in flight any more */
/* ---- for direct.c ---- */
void swi_fetch_room(struct swi_fetch *f); /* asks for room for f->len */
/* The object lies in the fetch's room with a header that fits: the digest, if @check, then it is published. */
void swi_fetch_verify(struct swi_fetch *f, uint64_t digest, bool check);
/* A READ of the object begins, and its digest will be asked for (or @len is 0). swi_read.landed = swi_fetch_landed, then. */
void swi_fetch_will_land(struct swi_fetch *f, uint64_t len);
void swi_fetch_landed(struct swi_read *rd, const void *at, uint32_t len); /* rd->owner: the fetch */
void swi_fetch_landed_to(struct swi_fetch *f, uint64_t end); /* the payload is here, up to @end */
/* A direct try is over without the object: on by messages. */
void swi_fetch_go_on(struct swi_fetch *f);

bool swi_fetch_for_peers_only(struct swi_fetch *f);
bool swi_fetch_hint_only(struct swi_fetch *f);
bool swi_fetch_recovers(struct swi_fetch *f);
/* Every want of the list, with a hold each on success: one of them is the caller's, which goes with this. */
void swi_wants_answer(struct swi_snode *sn, struct swi_list *wants, int status, const char *text,
		      uint64_t offset);

#endif
