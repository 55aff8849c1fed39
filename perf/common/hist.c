/* SPDX-License-Identifier: Apache-2.0 */
/* hist.c - see hist.h. */
#include <math.h>

#include "perf/common/hist.h"

void perf_hist_init(struct perf_hist *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

void perf_hist_merge(struct perf_hist *into, const struct perf_hist *from)
{
	for (uint32_t i = 0; i < PERF_HIST_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
	into->count += from->count;
	into->sum += from->sum;
	into->squares += from->squares;
	into->min = swi_min_u64(into->min, from->min);
	into->max = swi_max_u64(into->max, from->max);
}

uint64_t perf_hist_low(uint32_t i, uint64_t *out_width)
{
	const uint32_t octave = i >> PERF_HIST_SUB_BITS, sub = i & (PERF_HIST_SUB - 1u);

	if (!octave) {
		*out_width = 1;
		return i;
	}
	*out_width = 1ull << (octave - 1u);
	return (uint64_t)(PERF_HIST_SUB + sub) << (octave - 1u);
}

double perf_hist_percentile(const struct perf_hist *h, double percent)
{
	const double want = ceil((double)h->count * percent / 100.0);
	uint64_t seen = 0, width;

	if (!h->count)
		return 0;
	if (want <= 1)
		return (double)h->min;
	if (want >= (double)h->count)
		return (double)h->max;
	for (uint32_t i = 0; i < PERF_HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if ((double)seen >= want) {
			const double mid = (double)perf_hist_low(i, &width) + (double)(width - 1) / 2;

			return fmin(fmax(mid, (double)h->min), (double)h->max);
		}
	}
	return (double)h->max;
}

double perf_hist_mean(const struct perf_hist *h)
{
	return h->count ? h->sum / (double)h->count : 0;
}

double perf_hist_stdev(const struct perf_hist *h)
{
	const double mean = perf_hist_mean(h);

	return h->count ? sqrt(fmax(h->squares / (double)h->count - mean * mean, 0)) : 0;
}
