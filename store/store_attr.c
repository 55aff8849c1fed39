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

	if (!copies || copies > SWI_COPIES_MAX)
		return -EINVAL;
	swi_wr_ref(&w, ref);
	swi_wr_u32(&w, copies);
	swi_wr_u64(&w, timeout_ns);
	rc = swi_lc_call(store->lc, SWI_L_REPLICATE, buf, w.len, timeout_ns, NULL, NULL, &status);
	return rc ? rc : status;
}

int swarm_store_put_with(struct swarm_store *store, struct swarm_ref ref, const void *data,
			 uint64_t len, uint64_t timeout_ns, const struct swarm_put_opts *opts)
{
	struct swarm_put_opts o = {0};
	int rc;

	if (opts && (opts->size < 2 * sizeof(uint32_t) || opts->size > sizeof(o)))
		return -EINVAL;
	if (opts)
		memcpy(&o, opts, opts->size);
	if (o.copies > SWI_COPIES_MAX || o.pin > SWARM_PIN_HARD || o.expires > 1)
		return -EINVAL;
	rc = swarm_store_put(store, ref, data, len, timeout_ns);
	if (!rc && o.expires)
		rc = swarm_store_expire(store, ref, o.ttl_ns);
	if (!rc && o.pin)
		rc = swarm_store_pin(store, ref, o.pin, timeout_ns);
	if (!rc && o.copies > 1)
		rc = swarm_store_replicate(store, ref, o.copies, timeout_ns);
	return rc;
}
