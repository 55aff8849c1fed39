/* SPDX-License-Identifier: Apache-2.0 */
/* row.c - rows and arms of report.h: collecting runs, medians, ratios. */
#include "perf/common/report.h"

struct perf_row *perf_row_new(enum perf_kind kind, const char *op, uint64_t size_bytes)
{
	struct perf_row *row = calloc(1, sizeof(*row));

	SWI_BUG_ON(!row);
	row->kind = kind;
	row->size_bytes = size_bytes;
	snprintf(row->op, sizeof(row->op), "%s", op);
	return row;
}

struct perf_arm *perf_row_arm(struct perf_row *row, const char *name, uint64_t samples)
{
	struct perf_arm *arm = calloc(1, sizeof(*arm));

	SWI_BUG_ON(!arm || row->arm_count == PERF_ARMS_MAX);
	perf_hist_init(&arm->hist);
	snprintf(arm->name, sizeof(arm->name), "%s", name);
	if (samples) {
		arm->samples = calloc(samples, sizeof(*arm->samples));
		SWI_BUG_ON(!arm->samples);
		arm->sample_max = samples;
	}
	row->arm[row->arm_count++] = arm;
	return arm;
}

bool perf_arm_grow(struct perf_arm *arm)
{
	if (!arm->sample_max)
		return false;
	arm->sample_max *= 2;
	arm->samples = realloc(arm->samples, arm->sample_max * sizeof(*arm->samples));
	SWI_BUG_ON(!arm->samples);
	return true;
}

void perf_arm_samples(struct perf_arm *arm, const struct perf_arm *from)
{
	for (uint64_t i = 0; i < from->sample_count; i++)
		perf_arm_sample(arm, from->samples[i]);
}

void perf_row_free(struct perf_row *row)
{
	if (!row)
		return;
	for (uint32_t i = 0; i < row->arm_count; i++) {
		free(row->arm[i]->samples);
		free(row->arm[i]);
	}
	json_decref(row->extra);
	free(row);
}

void perf_arm_value(struct perf_arm *arm, double value)
{
	SWI_BUG_ON(arm->runs == PERF_RUNS_MAX);
	arm->cpu[arm->runs] = -1;
	arm->value[arm->runs++] = value;
}

void perf_arm_run(struct perf_arm *arm, enum perf_kind kind, const struct perf_hist *h, uint64_t ops,
		  uint64_t bytes, uint64_t ns)
{
	const double s = (double)swi_max_u64(ns, 1) * 1e-9;

	if (h)
		perf_hist_merge(&arm->hist, h);
	arm->ops += ops;
	arm->bytes += bytes;
	arm->ns += ns;
	if (kind == PERF_LAT && h)
		perf_arm_value(arm, perf_hist_percentile(h, 50));
	else if (kind == PERF_BW)
		perf_arm_value(arm, (double)bytes / s);
	else
		perf_arm_value(arm, (double)ops / s);
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct perf_spread perf_spread_of(const double *v, uint32_t n)
{
	double s[PERF_RUNS_MAX];

	if (!n)
		return (struct perf_spread){0};
	n = (uint32_t)swi_min_u64(n, PERF_RUNS_MAX);
	memcpy(s, v, n * sizeof(*s));
	qsort(s, n, sizeof(*s), by_value);
	return (struct perf_spread){s[0], n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2, s[n - 1]};
}

struct perf_spread perf_ratio(const struct perf_row *row, uint32_t i)
{
	const struct perf_arm *ours = row->arm[0], *base = row->arm[i];
	const uint32_t n = (uint32_t)swi_min_u64(ours->runs, base->runs);
	double v[PERF_RUNS_MAX];

	for (uint32_t k = 0; k < n; k++)
		v[k] = base->value[k] > 0 ? ours->value[k] / base->value[k] : 0;
	return perf_spread_of(v, n);
}
