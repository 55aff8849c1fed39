/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - the one writer of results: rows with arms, as a table like perftest's, as CSV, or as one JSON
 * document whose keys carry their units. Arm 0 is what is measured; the others are the baselines that ran
 * in the same call, turn by turn. One thread.
 */
#ifndef SWARM_PERF_REPORT_H
#define SWARM_PERF_REPORT_H

#include <jansson.h>

#include "perf/common/hist.h"
#include "perf/common/opts.h"

#define PERF_SCHEMA   1
#define PERF_ARMS_MAX 4u

enum perf_kind {
	PERF_LAT, /* the value of a run is its median latency [ns] */
	PERF_BW,  /* bytes a second */
	PERF_OPS, /* operations a second */
};

struct perf_arm {
	char name[64];
	struct perf_hist hist; /* all runs; may stay empty */
	uint64_t *samples;     /* in order, with -U; NULL without */
	uint64_t sample_count, sample_max;
	double value[PERF_RUNS_MAX];
	double cpu[PERF_RUNS_MAX]; /* CPU seconds per 10^9 bytes; < 0 = not known */
	uint64_t ops, bytes, ns; /* of all runs; ns is the time that they took */
	uint32_t runs;
	const char *why; /* runs == 0: why this baseline is not there */
};

struct perf_row {
	enum perf_kind kind;
	char op[32];
	uint64_t size_bytes;
	uint32_t arm_count;
	struct perf_arm *arm[PERF_ARMS_MAX];
	json_t *extra; /* more keys of this row; owned; NULL = none */
};

struct perf_spread {
	double min, median, max;
};

struct perf_report;

struct perf_row *perf_row_new(enum perf_kind kind, const char *op, uint64_t size_bytes);
/* The new arm; its histogram is empty. @samples: about how many it keeps with -U, else 0. */
struct perf_arm *perf_row_arm(struct perf_row *row, const char *name, uint64_t samples);
void perf_row_free(struct perf_row *row);
/* One run of an arm ended: @h (may be NULL) is merged; the value of the run is computed for @kind. */
void perf_arm_run(struct perf_arm *arm, enum perf_kind kind, const struct perf_hist *h, uint64_t ops,
		  uint64_t bytes, uint64_t ns);
/* The same for a baseline that reports its own value. */
void perf_arm_value(struct perf_arm *arm, double value);
/* What the last run cost: CPU seconds per 10^9 bytes. */
static inline void perf_arm_cpu(struct perf_arm *arm, double s_per_gb)
{
	SWI_BUG_ON(!arm->runs);
	arm->cpu[arm->runs - 1] = s_per_gb;
}
/* Room for one more; false: samples are not kept. */
bool perf_arm_grow(struct perf_arm *arm);
static inline void perf_arm_sample(struct perf_arm *arm, uint64_t ns)
{
	if (arm->sample_count < arm->sample_max || perf_arm_grow(arm))
		arm->samples[arm->sample_count++] = ns;
}
/* All of @from, in their order. */
void perf_arm_samples(struct perf_arm *arm, const struct perf_arm *from);

struct perf_spread perf_spread_of(const double *v, uint32_t n);
/* Median, minimum and maximum of the ratios arm 0 / arm @i, run by run. */
struct perf_spread perf_ratio(const struct perf_row *row, uint32_t i);

struct perf_report *perf_report_new(const struct perf_opts *o, const char *title);
/* A line of the header and a key of the document: how it was measured. Takes @v. */
void perf_report_set(struct perf_report *r, const char *key, json_t *v);
/* Prints or keeps the row, and frees it. */
void perf_report_row(struct perf_report *r, struct perf_row *row);
/* A text line that is no row (text output only). */
void perf_report_note(struct perf_report *r, const char *fmt, ...) SWI_PRINTF(2, 3);
/* Prints the document where one is wanted and frees @r. The exit status: 1 when it cannot be written. */
int perf_report_end(struct perf_report *r);

#endif
