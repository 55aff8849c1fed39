/* SPDX-License-Identifier: Apache-2.0 */
/* sizes.c - see sizes.h. */
#include <math.h>

#include "perf/common/sizes.h"
#include "perf/trace.h"
#include "transport/base/env.h"

void perf_sizes_list(struct perf_sizes *s, const uint64_t *list, uint32_t n)
{
	*s = (struct perf_sizes){.cap = UINT64_MAX, .count = n};
	s->list = calloc(n, sizeof(*s->list));
	SWI_BUG_ON(!s->list);
	memcpy(s->list, list, n * sizeof(*list));
}

int perf_sizes_parse(struct perf_sizes *s, const char *spec)
{
	static const char name[] = "lognormal:";
	uint64_t list[PERF_SIZES_MAX], median;
	char number[32], *end;
	const char *colon;
	uint32_t n;

	*s = (struct perf_sizes){.cap = UINT64_MAX};
	if (strncmp(spec, name, strlen(name))) {
		if (perf_size_list(spec, list, PERF_SIZES_MAX, &n))
			return -EINVAL;
		perf_sizes_list(s, list, n);
		return 0;
	}
	spec += strlen(name);
	colon = strchr(spec, ':');
	if (!colon || (size_t)snprintf(number, sizeof(number), "%.*s", (int)(colon - spec), spec) >= sizeof(number) ||
	    swt_size(number, &median) || !median || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	s->mu = log((double)median);
	s->sigma = strtod(colon + 1, &end);
	return *end || !(s->sigma >= 0 && s->sigma <= 5) ? -EINVAL : 0;
}

int perf_sizes_trace(struct perf_sizes *s, const char *path, uint64_t token_bytes, char *why, size_t why_len)
{
	struct perf_trace t = {0};
	const int rc = perf_trace_file(&t, path, why, why_len);

	*s = (struct perf_sizes){.cap = UINT64_MAX};
	if (!rc) {
		s->list = calloc(t.requests, sizeof(*s->list));
		SWI_BUG_ON(!s->list);
		for (uint64_t i = 0; i < t.requests; i++)
			s->list[i] = swi_max_u64(1, t.request[i].input_tokens % (1ull << 32) * token_bytes);
		s->count = t.requests;
	}
	perf_trace_fini(&t);
	return rc;
}

uint64_t perf_sizes_next(const struct perf_sizes *s, uint64_t *rng)
{
	if (s->list)
		return swi_min_u64(s->list[swi_splitmix64(rng) % s->count], s->cap);
	/* Box and Muller's transform of two uniform numbers */
	const double u = ((double)(swi_splitmix64(rng) >> 11) + 1) * 0x1p-53;
	const double v = (double)(swi_splitmix64(rng) >> 11) * 0x1p-53;
	const double z = sqrt(-2 * log(u)) * cos(2 * M_PI * v);

	return swi_max_u64(1, swi_min_u64((uint64_t)exp(s->mu + s->sigma * z), s->cap));
}

uint64_t perf_sizes_max(const struct perf_sizes *s)
{
	uint64_t most = 0;

	if (!s->list)
		return (uint64_t)exp(s->mu + 4 * s->sigma);
	for (uint64_t i = 0; i < s->count; i++)
		most = swi_max_u64(most, s->list[i]);
	return most;
}

uint64_t perf_sizes_mean(const struct perf_sizes *s)
{
	double sum = 0;

	if (!s->list)
		return swi_max_u64(1, swi_min_u64((uint64_t)exp(s->mu + s->sigma * s->sigma / 2), s->cap));
	for (uint64_t i = 0; i < s->count; i++)
		sum += (double)swi_min_u64(s->list[i], s->cap);
	return swi_max_u64(1, (uint64_t)(sum / (double)s->count));
}

void perf_sizes_fini(struct perf_sizes *s)
{
	free(s->list);
	s->list = NULL;
}
