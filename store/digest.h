/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - XXH3 of payloads, a slice a step, so that a large object does not stop the node; or as they land, while the
 * processor's cache still has them, and by steps only what is left then.
 *
 * The bytes must stay in place (a hold) until cb(), finish or cancel. Owner thread only.
 */
#ifndef SWI_DIGEST_H
#define SWI_DIGEST_H

#include "store/node.h"

struct swi_digest {
	struct swi_list link;
	const uint8_t *data;
	uint64_t len, pos;
	void *state; /* XXH3_state_t; NULL = not running */
	void (*cb)(struct swi_digest *d, uint64_t digest); /* from the step */
	void *owner;
};

void swi_digests_init(struct swi_snode *sn);
void swi_digest_begin(struct swi_snode *sn, struct swi_digest *d, const void *data, uint64_t len);
/* Without steps: the caller says how far the bytes are there, and then finishes, or lets steps go on. */
void swi_digest_open(struct swi_digest *d, const void *data, uint64_t len);
void swi_digest_to(struct swi_digest *d, uint64_t end); /* nothing where it is farther already */
uint64_t swi_digest_finish(struct swi_digest *d);	 /* all of it, now */
void swi_digest_go_on(struct swi_snode *sn, struct swi_digest *d);
void swi_digest_cancel(struct swi_digest *d); /* idempotent */
int swi_digests_step(struct swi_snode *sn);

#endif
