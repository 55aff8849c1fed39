/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.h - a task as data: what a client submits, lineage keeps, and nodes send one another.
 *
 * The encoded form (base/codec.h) is the only one that is stored or sent; struct swi_spec is a decoded
 * view whose pointers lead into the encoded bytes. Ids: a task's id is XXH3-128 of (parent task id,
 * counter of the parent); result i's id is XXH3-128 of (task id, i). So a parent that is run again
 * names the same children and results.
 */
#ifndef SWI_SPEC_H
#define SWI_SPEC_H

#include <swarm/sched.h>

#include "transport/base/codec.h"

#define SWI_CUSTOM_MAX 4u

struct swi_resources { /* a need, or what a node has */
	uint64_t cpu, gpu; /* 1/10,000 */
	uint64_t memory;   /* bytes */
	uint32_t custom_count;
	struct {
		char name[24];
		uint64_t amount;
	} custom[SWI_CUSTOM_MAX];
};

struct swi_spec {
	struct swarm_oid task, parent;
	uint32_t home; /* node that it was submitted on: home of its results */
	uint32_t flags, retries;
	uint64_t timeout_ns;
	struct swarm_ref module;
	char function[SWARM_NAME_MAX];
	struct swi_resources need;
	uint32_t return_count;
	uint32_t arg_count;
	uint32_t ref_count; /* how many arguments are references */
	const uint8_t *args; /* encoded, each: u8 kind; ref or bytes */
	uint32_t args_len;
	const uint8_t *bytes; /* the whole encoded spec */
	uint32_t bytes_len;
};

struct swi_spec_arg {
	bool is_ref;
	struct swarm_ref ref;
	const void *data;
	uint32_t len;
};

struct swarm_oid swi_task_id(struct swarm_oid parent, uint64_t counter);
struct swarm_oid swi_result_id(struct swarm_oid task, uint32_t i);

void swi_spec_encode(struct swi_wr *w, const struct swi_spec *s, const struct swarm_arg *args);
/* Checks everything, every argument too. 0 or -EBADMSG. Pointers of *out lead into @bytes. */
int swi_spec_decode(const void *bytes, uint32_t len, struct swi_spec *out);
/* Iterates the arguments: start with *pos = 0; false at the end. Only on a decoded spec. */
bool swi_spec_next_arg(const struct swi_spec *s, uint32_t *pos, struct swi_spec_arg *out);

void swi_resources_encode(struct swi_wr *w, const struct swi_resources *r);
void swi_resources_decode(struct swi_rd *rd, struct swi_resources *out);
bool swi_resources_fit(const struct swi_resources *have, const struct swi_resources *need);
void swi_resources_sub(struct swi_resources *have, const struct swi_resources *need);
void swi_resources_add(struct swi_resources *have, const struct swi_resources *give);
/* "cpu=1 gpu=0.5 memory=1GiB tape=2" for messages. */
const char *swi_resources_str(const struct swi_resources *r, char *buf, size_t len);

#endif
