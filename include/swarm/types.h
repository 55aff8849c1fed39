/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm/types.h - the small value types that every public header shares.
 */
#ifndef SWARM_TYPES_H
#define SWARM_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SWARM_API	 __attribute__((visibility("default")))
#define SWARM_MUST_CHECK __attribute__((warn_unused_result))

/** No time limit, wherever a function takes a timeout in nanoseconds. */
#define SWARM_FOREVER UINT64_MAX

/** Resource quantities are integers in units of 1/10,000 (10,000 = one whole CPU). */
#define SWARM_RESOURCE_UNIT 10000u

/** An object id: 16 bytes that name one immutable value. Compare with swarm_oid_equal(). */
struct swarm_oid {
	uint64_t w[2];
};

/**
 * An object reference: an id and a hint of the node that answers for it (its home).
 * home == 0: a named object; its home is found by rendezvous hashing over the live nodes.
 * A reference is a plain value: copy it freely, send it to others, keep it in objects.
 */
struct swarm_ref {
	struct swarm_oid id;
	uint32_t home;	/* node number of the home, or 0 */
	uint32_t flags; /* must be 0 */
};

static inline int swarm_oid_equal(struct swarm_oid a, struct swarm_oid b)
{
	return a.w[0] == b.w[0] && a.w[1] == b.w[1];
}

#ifdef __cplusplus
}
#endif
#endif
