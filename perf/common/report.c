/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - see report.h: the three forms of output. */
#include <stdarg.h>

#include "perf/common/machine.h"
#include "perf/common/report.h"

struct perf_report {
	const struct perf_opts *o;
	const char *title;
	json_t *doc, *results, *config;
	bool text, csv, header_done;
	enum perf_kind headed; /* the columns that were printed last */
};

#define RULE                                                                                       \
	"------------------------------------------------------------------------------------------" \
	"--------------"

static json_t *argv_json(const struct perf_opts *o)
{
	json_t *a = json_array();

	for (int i = 0; i < o->argc; i++)
		json_array_append_new(a, json_string(o->argv[i]));
	return a;
}

struct perf_report *perf_report_new(const struct perf_opts *o, const char *title)
{
	struct perf_report *r = calloc(1, sizeof(*r));

	SWI_BUG_ON(!r);
	r->o = o;
	r->title = title;
	r->text = !strcmp(o->output, "text");
	r->csv = !strcmp(o->output, "csv");
	r->results = json_array();
	r->config = json_object();
	r->doc = json_pack("{s:i, s:s, s:o, s:o, s:o, s:O, s:O}", "schema", PERF_SCHEMA, "program",
			   o->program, "argv", argv_json(o), "machine", perf_machine(), "versions",
			   perf_versions(), "config", r->config, "results", r->results);
	SWI_BUG_ON(!r->doc);
	return r;
}

void perf_report_set(struct perf_report *r, const char *key, json_t *v)
{
	json_object_set_new(r->config, key, v);
}

/* ---- JSON ---- */

static void set_real(json_t *o, const char *key, double v)
{
	json_object_set_new(o, key, json_real(v));
}

static void set_int(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static json_t *lat_json(const struct perf_opts *o, const struct perf_hist *h)
{
	json_t *lat = json_object();
	char key[32];

	set_int(lat, "count", h->count);
	set_int(lat, "min", h->count ? h->min : 0);
	set_int(lat, "max", h->max);
	set_real(lat, "mean", perf_hist_mean(h));
	set_real(lat, "stdev", perf_hist_stdev(h));
	for (uint32_t i = 0; i < o->percent_count; i++) {
		snprintf(key, sizeof(key), "p%.6g", o->percent[i]);
		if (strchr(key, '.'))
			*strchr(key, '.') = '_'; /* a dot would read as a path */
		set_real(lat, key, perf_hist_percentile(h, o->percent[i]));
	}
	return lat;
}

static json_t *histogram_json(const struct perf_hist *h)
{
	json_t *a = json_array();
	uint64_t width;

	for (uint32_t i = 0; i < PERF_HIST_BUCKETS; i++) {
		if (!h->bucket[i])
			continue;
		const uint64_t low = perf_hist_low(i, &width);

		json_array_append_new(a, json_pack("[I, I, I]", (json_int_t)low, (json_int_t)width,
						   (json_int_t)h->bucket[i]));
	}
	return a;
}

static json_t *samples_json(const struct perf_arm *arm)
{
	json_t *a = json_array();

	for (uint64_t i = 0; i < arm->sample_count; i++)
		json_array_append_new(a, json_integer((json_int_t)arm->samples[i]));
	return a;
}

static const char *unit_of(enum perf_kind kind)
{
	return kind == PERF_LAT ? "ns" : kind == PERF_BW ? "bytes_per_s" : "ops_per_s";
}

static const char *value_key(enum perf_kind kind)
{
	return kind == PERF_LAT ? "p50_ns" : kind == PERF_BW ? "bw_bytes_per_s" : "ops_per_s";
}

static void set_spread(json_t *o, const char *key, struct perf_spread s)
{
	char name[48];

	set_real(o, key, s.median);
	snprintf(name, sizeof(name), "%s_min", key);
	set_real(o, name, s.min);
	snprintf(name, sizeof(name), "%s_max", key);
	set_real(o, name, s.max);
}

static json_t *runs_json(const struct perf_arm *arm)
{
	json_t *a = json_array();

	for (uint32_t i = 0; i < arm->runs; i++)
		json_array_append_new(a, json_real(arm->value[i]));
	return a;
}

/* cpu_s_per_gb and its spread, where every run knows it. */
static void set_cpu(json_t *j, const struct perf_arm *arm)
{
	for (uint32_t i = 0; i < arm->runs; i++)
		if (arm->cpu[i] < 0)
			return;
	if (arm->runs)
		set_spread(j, "cpu_s_per_gb", perf_spread_of(arm->cpu, arm->runs));
}

static json_t *baseline_json(const struct perf_opts *o, const struct perf_row *row, uint32_t i)
{
	const struct perf_arm *arm = row->arm[i];
	json_t *b = json_object();

	json_object_set_new(b, "name", json_string(arm->name));
	if (!arm->runs) {
		json_object_set_new(b, "why_not", json_string(arm->why ? arm->why : "not run"));
		return b;
	}
	json_object_set_new(b, "unit", json_string(unit_of(row->kind)));
	set_spread(b, "value", perf_spread_of(arm->value, arm->runs));
	json_object_set_new(b, "runs", runs_json(arm));
	set_spread(b, "ratio", perf_ratio(row, i));
	set_cpu(b, arm);
	if (arm->hist.count)
		json_object_set_new(b, "lat_ns", lat_json(o, &arm->hist));
	return b;
}

/* The first baseline that ran is "baseline", beside the row's own ratio; all of them are in "baselines". */
static void baselines(const struct perf_opts *o, const struct perf_row *row, json_t *j)
{
	json_t *all;

	if (row->arm_count < 2)
		return;
	all = json_array();
	for (uint32_t i = 1; i < row->arm_count; i++) {
		json_t *b = baseline_json(o, row, i);

		if (row->arm[i]->runs && !json_object_get(j, "baseline")) {
			json_object_set(j, "baseline", b);
			set_spread(j, "ratio", perf_ratio(row, i));
		}
		json_array_append_new(all, b);
	}
	json_object_set_new(j, "baselines", all);
}

static json_t *row_json(const struct perf_opts *o, const struct perf_row *row)
{
	const struct perf_arm *arm = row->arm[0];
	const double s = (double)swi_max_u64(arm->ns, 1) * 1e-9;
	json_t *j = json_pack("{s:s, s:I, s:I, s:I}", "op", row->op, "size_bytes",
			      (json_int_t)row->size_bytes, "ops", (json_int_t)arm->ops, "runs",
			      (json_int_t)arm->runs);

	if (arm->hist.count)
		json_object_set_new(j, "lat_ns", lat_json(o, &arm->hist));
	set_spread(j, value_key(row->kind), perf_spread_of(arm->value, arm->runs));
	json_object_set_new(j, "values", runs_json(arm));
	if (row->kind != PERF_BW && arm->bytes)
		set_real(j, "bw_bytes_per_s", (double)arm->bytes / s);
	if (row->kind != PERF_OPS && arm->ops)
		set_real(j, "ops_per_s", (double)arm->ops / s);
	set_cpu(j, arm);
	baselines(o, row, j);
	if (row->extra)
		json_object_update(j, row->extra);
	if (o->histogram)
		json_object_set_new(j, "histogram_ns", histogram_json(&arm->hist));
	if (o->unsorted)
		json_object_set_new(j, "samples_ns", samples_json(arm));
	return j;
}

/* ---- text and CSV ---- */

static void text_columns(struct perf_report *r, enum perf_kind kind)
{
	if (kind == PERF_LAT)
		printf(" #bytes     #iterations  t_min[usec]  t_typical[usec] t_avg[usec]  t_stdev[usec]  "
		       "99%%[usec]  99.9%%[usec]  t_max[usec]  op\n");
	else if (kind == PERF_BW)
		printf(" #bytes     #iterations  BW min[MB/sec]   BW median[MB/sec]  BW max[MB/sec]  "
		       "MsgRate[Mpps]  op\n");
	else
		printf(" #bytes     #iterations  min[1/sec]       median[1/sec]      max[1/sec]      op\n");
	r->headed = kind;
}

static void text_header(struct perf_report *r, enum perf_kind kind)
{
	const char *key;
	json_t *v;
	int column = 0;

	printf(RULE "\n%*s%s\n", (int)(104 - strlen(r->title)) / 2, "", r->title);
	json_object_foreach (r->config, key, v) {
		char value[128];

		if (json_is_string(v))
			snprintf(value, sizeof(value), "%s", json_string_value(v));
		else if (json_is_boolean(v))
			snprintf(value, sizeof(value), "%s", json_is_true(v) ? "on" : "off");
		else
			snprintf(value, sizeof(value), "%.12g", json_number_value(v));
		printf(" %-14s : %-32s%s", key, value, ++column % 2 ? "" : "\n");
	}
	printf("%s" RULE "\n", column % 2 ? "\n" : "");
	text_columns(r, kind);
	r->header_done = true;
}

static void text_arm(const struct perf_row *row, const struct perf_arm *a)
{
	const struct perf_spread s = perf_spread_of(a->value, a->runs);
	const struct perf_hist *h = &a->hist;
	const double size = (double)row->size_bytes;

	if (row->kind == PERF_LAT && h->count)
		printf(" %-10llu %-12llu %-12.3f %-15.3f %-12.3f %-14.3f %-10.3f %-12.3f %-12.3f %s\n",
		       (unsigned long long)row->size_bytes, (unsigned long long)a->ops,
		       (double)h->min / 1e3, perf_hist_percentile(h, 50) / 1e3, perf_hist_mean(h) / 1e3,
		       perf_hist_stdev(h) / 1e3, perf_hist_percentile(h, 99) / 1e3,
		       perf_hist_percentile(h, 99.9) / 1e3, (double)h->max / 1e3, row->op);
	else if (row->kind == PERF_LAT)
		printf(" %-10llu %-12llu %-12s %-15.3f %s\n", (unsigned long long)row->size_bytes,
		       (unsigned long long)a->ops, "", s.median / 1e3, row->op);
	else if (row->kind == PERF_BW)
		printf(" %-10llu %-12llu %-16.2f %-18.2f %-15.2f %-14.6f %s\n",
		       (unsigned long long)row->size_bytes, (unsigned long long)a->ops, s.min / 1e6,
		       s.median / 1e6, s.max / 1e6, size > 0 ? s.median / size / 1e6 : 0, row->op);
	else
		printf(" %-10llu %-12llu %-16.0f %-18.0f %-15.0f %s\n",
		       (unsigned long long)row->size_bytes, (unsigned long long)a->ops, s.min, s.median,
		       s.max, row->op);
}

static void text_cpu(const struct perf_arm *a)
{
	json_t *j = json_object();

	set_cpu(j, a);
	if (json_object_get(j, "cpu_s_per_gb"))
		printf("            %.3f CPU seconds for 10^9 bytes\n",
		       json_real_value(json_object_get(j, "cpu_s_per_gb")));
	json_decref(j);
}

static void text_row(struct perf_report *r, const struct perf_row *row)
{
	if (!r->header_done)
		text_header(r, row->kind);
	else if (r->headed != row->kind)
		text_columns(r, row->kind);
	text_arm(row, row->arm[0]);
	text_cpu(row->arm[0]);
	for (uint32_t i = 1; i < row->arm_count; i++) {
		const struct perf_arm *a = row->arm[i];
		const struct perf_spread v = perf_spread_of(a->value, a->runs), q = perf_ratio(row, i);

		if (!a->runs)
			printf("            %s: %s\n", a->name, a->why ? a->why : "not run");
		else if (row->kind == PERF_LAT)
			printf("            %s: %.3f usec, ratio %.3f (%.3f .. %.3f)\n", a->name,
			       v.median / 1e3, q.median, q.min, q.max);
		else
			printf("            %s: %.2f %s, ratio %.3f (%.3f .. %.3f)\n", a->name,
			       v.median / 1e6, row->kind == PERF_BW ? "MB/sec" : "Mops/sec", q.median,
			       q.min, q.max);
	}
	if (r->o->histogram) {
		uint64_t width;

		printf("            #low[ns]  width[ns]  samples\n");
		for (uint32_t i = 0; i < PERF_HIST_BUCKETS; i++) {
			const uint64_t low = perf_hist_low(i, &width);

			if (row->arm[0]->hist.bucket[i])
				printf("            %8llu  %9llu  %llu\n", (unsigned long long)low,
				       (unsigned long long)width,
				       (unsigned long long)row->arm[0]->hist.bucket[i]);
		}
	}
	if (r->o->unsorted)
		for (uint64_t i = 0; i < row->arm[0]->sample_count; i++)
			printf("%llu, %llu\n", (unsigned long long)i + 1,
			       (unsigned long long)row->arm[0]->samples[i]);
	fflush(stdout);
}

static void csv_row(struct perf_report *r, const struct perf_row *row)
{
	const struct perf_arm *a = row->arm[0];
	const struct perf_spread v = perf_spread_of(a->value, a->runs);

	if (!r->header_done) {
		printf("op,size_bytes,ops,runs,unit,value,value_min,value_max,lat_ns_p50,lat_ns_p99,"
		       "lat_ns_p99_9,baseline,baseline_value,ratio,ratio_min,ratio_max\n");
		r->header_done = true;
	}
	/* a line for each baseline, so that no column is a list */
	for (uint32_t i = row->arm_count > 1 ? 1 : 0; i < swi_max_u64(row->arm_count, 1); i++) {
		const struct perf_arm *b = row->arm[i];
		const struct perf_spread q = perf_ratio(row, i);

		printf("%s,%llu,%llu,%u,%s,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,", row->op,
		       (unsigned long long)row->size_bytes, (unsigned long long)a->ops, a->runs,
		       unit_of(row->kind), v.median, v.min, v.max, perf_hist_percentile(&a->hist, 50),
		       perf_hist_percentile(&a->hist, 99), perf_hist_percentile(&a->hist, 99.9));
		if (i && b->runs)
			printf("%s,%.6g,%.4f,%.4f,%.4f\n", b->name,
			       perf_spread_of(b->value, b->runs).median, q.median, q.min, q.max);
		else
			printf("%s,,,,\n", i ? b->name : "");
	}
}

void perf_report_row(struct perf_report *r, struct perf_row *row)
{
	if (r->text)
		text_row(r, row);
	else if (r->csv)
		csv_row(r, row);
	json_array_append_new(r->results, row_json(r->o, row));
	perf_row_free(row);
}

void perf_report_note(struct perf_report *r, const char *fmt, ...)
{
	va_list ap;

	if (!r->text)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

int perf_report_end(struct perf_report *r)
{
	int rc = 0;

	if (r->text && r->header_done)
		puts(RULE);
	if (!r->text && !r->csv) {
		rc = json_dumpf(r->doc, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
		putchar('\n');
	}
	if (r->o->out_file && json_dump_file(r->doc, r->o->out_file, JSON_INDENT(1))) {
		fprintf(stderr, "%s: cannot write %s: %s\n", r->o->program, r->o->out_file,
			strerror(errno));
		rc = -1;
	}
	if (fflush(stdout) || ferror(stdout))
		rc = -1;
	json_decref(r->doc);
	json_decref(r->results);
	json_decref(r->config);
	free(r);
	return rc ? 1 : 0;
}
