/* SPDX-License-Identifier: Apache-2.0 */
/* sizes.h - distributions of object sizes: a list, log-normal, or the requests of a trace. Const once made; the generator is the caller's. */
#ifndef SWARM_PERF_SIZES_H
#define SWARM_PERF_SIZES_H

#include "perf/common/opts.h"

struct perf_sizes {
	uint64_t *list; /* each as likely; NULL = log-normal */
	uint64_t count;
	double mu, sigma;
	uint64_t cap; /* larger ones are cut to it */
};

/* Those in @list. */
void perf_sizes_list(struct perf_sizes *s, const uint64_t *list, uint32_t n);
/* "64,4k" or "lognormal:4k:1.5". 0 or -EINVAL. */
int perf_sizes_parse(struct perf_sizes *s, const char *spec);
/* The prompts of a trace at @token_bytes. < 0 with @why. */
int perf_sizes_trace(struct perf_sizes *s, const char *path, uint64_t token_bytes, char *why, size_t why_len);
uint64_t perf_sizes_next(const struct perf_sizes *s, uint64_t *rng);
/* The largest, or for log-normal that of four sigma. */
uint64_t perf_sizes_max(const struct perf_sizes *s);
/* Of many; the cap is applied. */
uint64_t perf_sizes_mean(const struct perf_sizes *s);
void perf_sizes_fini(struct perf_sizes *s);

#endif
