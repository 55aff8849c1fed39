/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw.h - the baseline of everything remote: READs over the same backend without a store. Both ends spin as long
 * as the store's loop does and then sleep, so that the two are alike in all but the store. One thread each.
 */
#ifndef SWARM_PERF_RAW_H
#define SWARM_PERF_RAW_H

#include "perf/common/load.h"

struct perf_raw;

/* The server's end: listens, tells its address by @ready, and serves until the one reader has left or none came. */
int perf_raw_serve(const struct perf_opts *o, const char *host, const char *key_file, uint64_t len,
		   void (*ready)(void *ctx, const char *address), void *ctx);
/* The reader's end, with so much memory to READ into. NULL: *@why. */
struct perf_raw *perf_raw_connect(const struct perf_opts *o, const char *address, const char *key_file,
				  uint64_t len, char *why, size_t why_len);
void perf_raw_close(struct perf_raw *r);
/* One run: @iters READs of @size with @depth in flight, walking through the memory of both ends. @h (NULL = nobody asks) gets each latency. */
int perf_raw_run(struct perf_raw *r, uint64_t size, uint32_t depth, uint64_t iters, struct perf_hist *h,
		 uint64_t *out_ns);

#endif
