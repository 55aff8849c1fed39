/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - JSON as a table for people: columns as wide as their widest cell, "-" where there is nothing.
 */
#include "tools/cli.h"

#define CELL_MAX 160u
#define COLUMNS_MAX 16u

const json_t *swt_at(const json_t *doc, const char *path)
{
	char part[64];

	while (doc && *path) {
		const char *dot = strchr(path, '.');
		const size_t n = dot ? (size_t)(dot - path) : strlen(path);

		if (n >= sizeof(part))
			return NULL;
		memcpy(part, path, n);
		part[n] = 0;
		doc = json_object_get(doc, part);
		path += n + (dot != NULL);
	}
	return doc;
}

static const char *number_cell(double v, enum swt_show show, char *buf, size_t len)
{
	switch (show) {
	case SWT_SHOW_SIZE:
		return swt_size_str((uint64_t)v, buf, len);
	case SWT_SHOW_TIME:
		if (v < 1e6)
			snprintf(buf, len, "%.1f us", v / 1e3);
		else if (v < 1e9)
			snprintf(buf, len, "%.1f ms", v / 1e6);
		else
			snprintf(buf, len, "%.1f s", v / 1e9);
		return buf;
	case SWT_SHOW_AMOUNT:
		snprintf(buf, len, "%g", v / SWARM_RESOURCE_UNIT);
		return buf;
	case SWT_SHOW_TEXT:
		break;
	}
	snprintf(buf, len, "%.15g", v);
	return buf;
}

const char *swt_cell(const json_t *v, enum swt_show show, char *buf, size_t len)
{
	if (!v || json_is_null(v))
		return "-";
	if (json_is_boolean(v))
		return json_is_true(v) ? "yes" : "no";
	if (json_is_string(v)) {
		snprintf(buf, len, "%s", json_string_value(v));
		return *buf ? buf : "-";
	}
	if (json_is_number(v))
		return number_cell(json_number_value(v), show, buf, len);
	char *text = json_dumps(v, JSON_COMPACT);
	snprintf(buf, len, "%s", text ? text : "-");
	free(text);
	return buf;
}

/* @width 0: the last of its line */
static void cell(const char *s, int width, FILE *f)
{
	if (width)
		fprintf(f, "%-*s  ", width, s);
	else
		fprintf(f, "%s\n", s);
}

static void row(const json_t *r, const struct swt_column *c, const int *width, FILE *f)
{
	char buf[CELL_MAX];

	for (uint32_t i = 0; c[i].key; i++) {
		const char *s = swt_cell(swt_at(r, c[i].key), c[i].show, buf, sizeof(buf));

		cell(s, c[i + 1].key ? width[i] : 0, f);
	}
}

void swt_table(const json_t *doc, const char *member, const struct swt_column *c, FILE *f)
{
	const json_t *rows = json_is_array(doc) ? doc : json_object_get(doc, member);
	int width[COLUMNS_MAX] = {0};
	char buf[CELL_MAX];
	const json_t *r;
	size_t n;

	for (uint32_t i = 0; c[i].key; i++) {
		SWI_BUG_ON(i >= COLUMNS_MAX);
		width[i] = (int)strlen(c[i].title);
		json_array_foreach(rows, n, r) {
			const char *s = swt_cell(swt_at(r, c[i].key), c[i].show, buf, sizeof(buf));

			if ((int)strlen(s) > width[i])
				width[i] = (int)strlen(s);
		}
	}
	for (uint32_t i = 0; c[i].key; i++)
		cell(c[i].title, c[i + 1].key ? width[i] : 0, f);
	json_array_foreach(rows, n, r)
		row(r, c, width, f);
}

void swt_print_json(const json_t *doc, FILE *f)
{
	json_dumpf(doc, f, JSON_INDENT(2));
	fputc('\n', f);
}
