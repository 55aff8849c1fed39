/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - request traces of language models in Mooncake's format: a JSON object a line with "timestamp" [ms],
 * "input_length", "output_length" and "hash_ids", the blocks of the prompt in order (the same id is the same block).
 * The text is foreign: every number is checked, nothing of it is used as a size without a limit. Pure.
 */
#ifndef SWARM_PERF_TRACE_H
#define SWARM_PERF_TRACE_H

#include "transport/base/base.h"

#define PERF_TRACE_IDS_MAX  65536u	 /* of one request */
#define PERF_TRACE_LINE_MAX (1u << 20)	 /* bytes */
#define PERF_TRACE_REQUESTS_MAX (1u << 26)

struct perf_request {
	uint64_t at_ms;
	uint64_t input_tokens, output_tokens;
	uint64_t first;	/* of its blocks, in perf_trace.block */
	uint32_t blocks;
};

struct perf_trace {
	struct perf_request *request;
	uint64_t requests, request_max;
	uint32_t *block; /* ids numbered 0, 1, .. in the order in which they first appear */
	uint64_t refs, ref_max;
	uint64_t distinct;
	struct perf_trace_id *by_id;
};

/* A whole text; @why begins with the number of the line. */
int perf_trace_text(struct perf_trace *t, const char *text, size_t len, char *why, size_t why_len);
/* 0 or < 0 with @why. */
int perf_trace_file(struct perf_trace *t, const char *path, char *why, size_t why_len);
/* Only the first @n requests are left. */
void perf_trace_cut(struct perf_trace *t, uint64_t n);
void perf_trace_fini(struct perf_trace *t);
/* The share of references to blocks that were referred to before: what an unlimited cache hits. */
static inline double perf_trace_reuse(const struct perf_trace *t)
{
	return t->refs ? (double)(t->refs - t->distinct) / (double)t->refs : 0;
}

#endif
