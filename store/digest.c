/* SPDX-License-Identifier: Apache-2.0 */
/* digest.c - see digest.h. */
#include "transport/base/xxh.h"

#include "store/snode_internal.h"

#define BYTES_A_STEP MIB(8)

void swi_digests_init(struct swi_snode *sn)
{
	swi_list_init(&sn->digests);
}

void swi_digest_open(struct swi_digest *d, const void *data, uint64_t len)
{
	d->data = data;
	d->len = len;
	d->pos = 0;
	d->state = XXH3_createState();
	SWI_BUG_ON(!d->state);
	XXH3_64bits_reset(d->state);
	swi_list_init(&d->link);
}

void swi_digest_cancel(struct swi_digest *d)
{
	if (!d->state)
		return;
	swi_list_del(&d->link);
	XXH3_freeState(d->state);
	d->state = NULL;
}

void swi_digest_to(struct swi_digest *d, uint64_t end)
{
	end = swi_min_u64(end, d->len);
	if (end <= d->pos)
		return;
	XXH3_64bits_update(d->state, d->data + d->pos, end - d->pos);
	d->pos = end;
}

uint64_t swi_digest_finish(struct swi_digest *d)
{
	swi_digest_to(d, d->len);
	const uint64_t digest = XXH3_64bits_digest(d->state);

	swi_digest_cancel(d);
	return digest;
}

void swi_digest_go_on(struct swi_snode *sn, struct swi_digest *d)
{
	swi_list_push_back(&sn->digests, &d->link);
}

void swi_digest_begin(struct swi_snode *sn, struct swi_digest *d, const void *data, uint64_t len)
{
	swi_digest_open(d, data, len);
	swi_digest_go_on(sn, d);
}

int swi_digests_step(struct swi_snode *sn)
{
	uint64_t budget = BYTES_A_STEP;
	int n = 0;

	while (!swi_list_empty(&sn->digests)) {
		struct swi_digest *d = swi_list_first(&sn->digests, struct swi_digest, link);
		const uint64_t part = swi_min_u64(d->len - d->pos, budget);

		swi_digest_to(d, d->pos + part);
		budget -= part;
		n++;
		if (d->pos < d->len)
			break;
		d->cb(d, swi_digest_finish(d));
	}
	return n;
}
