/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - see trace.h. */
#include <jansson.h>

#include "perf/trace.h"
#include "transport/base/hash.h"

struct perf_trace_id {
	uint64_t id;
	uint32_t number;
	UT_hash_handle hh;
};

static int wrong(char *why, size_t why_len, const char *text)
{
	snprintf(why, why_len, "%s", text);
	return -EINVAL;
}

/* A whole number >= 0, also where it is written as 12.0; false = it is none. */
static bool whole(const json_t *v, uint64_t *out)
{
	const double d = json_number_value(v);

	if (!json_is_number(v) || !(d >= 0 && d < 0x1p53))
		return false;
	*out = (uint64_t)d;
	return json_is_integer(v) || (double)*out >= d;
}

static int grow(void **p, uint64_t *max, uint64_t need, size_t size)
{
	uint64_t n = *max ? *max : 1024;
	void *q;

	if (need <= *max)
		return 0;
	while (n < need)
		n *= 2;
	q = reallocarray(*p, n, size);
	if (!q)
		return -ENOMEM;
	*p = q;
	*max = n;
	return 0;
}

static int number_of(struct perf_trace *t, uint64_t id, uint32_t *out)
{
	struct perf_trace_id *e;

	HASH_FIND(hh, t->by_id, &id, sizeof(id), e);
	if (!e) {
		e = calloc(1, sizeof(*e));
		if (!e || t->distinct == UINT32_MAX) {
			free(e);
			return -ENOMEM;
		}
		e->id = id;
		e->number = (uint32_t)t->distinct++;
		HASH_ADD(hh, t->by_id, id, sizeof(e->id), e);
	}
	*out = e->number;
	return 0;
}

/* Everything is checked before anything is added. */
static int read_request(const json_t *doc, struct perf_request *r, const json_t **out_ids, const char **why)
{
	const json_t *ids = json_object_get(doc, "hash_ids"), *id;
	uint64_t unused;
	size_t i;

	*why = "not a JSON object with timestamp, input_length, output_length and hash_ids";
	if (!json_is_object(doc) || !json_is_array(ids))
		return -EINVAL;
	if (!whole(json_object_get(doc, "timestamp"), &r->at_ms))
		return *why = "timestamp is no whole number >= 0", -EINVAL;
	if (!whole(json_object_get(doc, "input_length"), &r->input_tokens) ||
	    !whole(json_object_get(doc, "output_length"), &r->output_tokens))
		return *why = "input_length or output_length is no whole number >= 0", -EINVAL;
	if (json_array_size(ids) > PERF_TRACE_IDS_MAX)
		return *why = "too many hash_ids", -EINVAL;
	json_array_foreach (ids, i, id)
		if (!whole(id, &unused))
			return *why = "hash_ids has a member that is no whole number >= 0", -EINVAL;
	*out_ids = ids;
	return 0;
}

static int add_request(struct perf_trace *t, struct perf_request *r, const json_t *ids)
{
	const uint64_t n = json_array_size(ids);
	int rc = grow((void **)&t->request, &t->request_max, t->requests + 1, sizeof(*t->request));
	const json_t *v;
	size_t i;

	if (!rc)
		rc = grow((void **)&t->block, &t->ref_max, t->refs + n, sizeof(*t->block));
	if (rc)
		return rc;
	r->first = t->refs;
	r->blocks = (uint32_t)n;
	json_array_foreach (ids, i, v) {
		uint64_t id = 0;

		(void)whole(v, &id);
		rc = number_of(t, id, &t->block[t->refs + i]);
		if (rc)
			return rc;
	}
	t->refs += n;
	t->request[t->requests++] = *r;
	return 0;
}

static bool blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
			return false;
	return true;
}

/* Adds the request of one line (blank lines add nothing). -EINVAL: *@why says what is wrong; nothing was added. */
static int add_line(struct perf_trace *t, const char *line, size_t len, char *why, size_t why_len)
{
	struct perf_request r = {0};
	const json_t *ids = NULL;
	const char *text = "";
	json_t *doc;
	int rc;

	if (blank(line, len))
		return 0;
	if (len > PERF_TRACE_LINE_MAX)
		return wrong(why, why_len, "the line is too long");
	if (t->requests == PERF_TRACE_REQUESTS_MAX)
		return wrong(why, why_len, "too many requests");
	doc = json_loadb(line, len, 0, NULL);
	if (!doc)
		return wrong(why, why_len, "not JSON");
	rc = read_request(doc, &r, &ids, &text);
	if (rc)
		snprintf(why, why_len, "%s", text);
	else
		rc = add_request(t, &r, ids);
	if (rc == -ENOMEM)
		snprintf(why, why_len, "out of memory");
	json_decref(doc);
	return rc;
}

int perf_trace_text(struct perf_trace *t, const char *text, size_t len, char *why, size_t why_len)
{
	char what[128];
	uint64_t line = 1;

	for (size_t at = 0; at < len; line++) {
		const char *end = memchr(text + at, '\n', len - at);
		const size_t n = end ? (size_t)(end - (text + at)) : len - at;
		const int rc = add_line(t, text + at, n, what, sizeof(what));

		if (rc) {
			snprintf(why, why_len, "line %llu: %s", (unsigned long long)line, what);
			return rc;
		}
		at += n + 1;
	}
	return 0;
}

int perf_trace_file(struct perf_trace *t, const char *path, char *why, size_t why_len)
{
	FILE *f = fopen(path, "rb");
	char *line = NULL, what[128];
	size_t max = 0;
	uint64_t number = 1;
	int rc = f ? 0 : -errno;
	ssize_t n;

	if (rc)
		snprintf(why, why_len, "%s: %s", path, strerror(-rc));
	for (; !rc && (n = getline(&line, &max, f)) >= 0; number++) {
		n -= n && line[n - 1] == '\n';
		rc = add_line(t, line, (size_t)n, what, sizeof(what));
		if (rc)
			snprintf(why, why_len, "%s:%llu: %s", path, (unsigned long long)number, what);
	}
	if (!rc && ferror(f))
		rc = wrong(why, why_len, "the file cannot be read");
	else if (!rc && !t->refs)
		rc = wrong(why, why_len, "the trace has no blocks");
	free(line);
	if (f)
		fclose(f);
	return rc;
}

/* Blocks are numbered as they appear: those of the first requests are the first numbers. */
void perf_trace_cut(struct perf_trace *t, uint64_t n)
{
	if (n >= t->requests)
		return;
	t->requests = n;
	t->refs = n ? t->request[n].first : 0;
	t->distinct = 0;
	for (uint64_t i = 0; i < t->refs; i++)
		t->distinct = swi_max_u64(t->distinct, t->block[i] + 1ull);
}

void perf_trace_fini(struct perf_trace *t)
{
	struct perf_trace_id *e, *tmp;

	HASH_ITER(hh, t->by_id, e, tmp) {
		HASH_DEL(t->by_id, e);
		free(e);
	}
	free(t->request);
	free(t->block);
	memset(t, 0, sizeof(*t));
}
