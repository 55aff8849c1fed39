/* SPDX-License-Identifier: Apache-2.0 */
/* store_attr.c - the public calls that ask something for one object: pin, expire, replicate. Any thread. */
#include "store/store_internal.h"

#define ANSWER_NS (10 * NS_PER_S) /* for the node to answer what needs no waiting */

int swarm_store_pin(struct swarm_store *store, struct swarm_ref ref, uint32_t policy,
		    uint64_t timeout_ns)
{
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	int rc, status = 0;

	if (policy > SWARM_PIN_HARD)
		return -EINVAL;
	swi_wr_ref(&w, ref);
	swi_wr_u8(&w, (uint8_t)policy);
	swi_wr_u64(&w, timeout_ns);
	rc = swi_lc_call(store->lc, SWI_L_PIN, buf, w.len, swi_max_u64(timeout_ns, ANSWER_NS), NULL,
			 NULL, &status);
	return rc ? rc : status;
}

int swarm_store_expire(struct swarm_store *store, struct swarm_ref ref, uint64_t ttl_ns)
{
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	int rc, status = 0;

	swi_wr_ref(&w, ref);
	swi_wr_u64(&w, ttl_ns);
	rc = swi_lc_call(store->lc, SWI_L_EXPIRE, buf, w.len, ANSWER_NS, NULL, NULL, &status);
	return rc ? rc : status;
}

int swarm_store_replicate(struct swarm_store *store, struct swarm_ref ref, uint32_t copies,
			  uint64_t timeout_ns)
{
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	int rc, status = 0;

	if (!copies || copies > SWARM_COPIES_MAX)
		return -EINVAL;
	swi_wr_ref(&w, ref);
	swi_wr_u32(&w, copies);
	swi_wr_u64(&w, timeout_ns);
	rc = swi_lc_call(store->lc, SWI_L_REPLICATE, buf, w.len, swi_max_u64(timeout_ns, ANSWER_NS), NULL,
			 NULL, &status);
	return rc ? rc : status;
}
