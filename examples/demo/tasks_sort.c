/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tasks_sort.c - the tasks of the sort: make records, split them by key range, sort one range, look at
 * the result.
 */
#include <stdio.h>
#include <stdlib.h>

#include <swarm/sched.h>

#include "records.h"

/* Record number at which run @i of @runs begins, when @count records are cut into runs. */
static uint64_t run_begin(uint64_t count, uint32_t i, uint32_t runs)
{
	return count * i / runs;
}

/* Argument 0: struct record_range. Results: its records, in as many runs as there are results. */
SWARM_TASK(generate)
{
	const uint32_t runs = swarm_task_return_count(task);
	struct record_range r;
	uint64_t len, number;
	const void *arg = swarm_task_arg(task, 0, &len);

	if (len != sizeof(r))
		return swarm_task_fail(task, "generate: argument of %llu bytes", (unsigned long long)len);
	memcpy(&r, arg, sizeof(r));
	number = r.first;
	for (uint32_t i = 0; i < runs; i++) {
		const uint64_t n = run_begin(r.count, i + 1, runs) - run_begin(r.count, i, runs);
		void *data;
		const int err = swarm_task_return_create(task, i, n * RECORD_BYTES, &data);

		if (err < 0)
			return err;
		for (uint64_t k = 0; k < n; k++)
			record_make(r.seed, number++, (uint8_t *)data + k * RECORD_BYTES);
	}
	return 0;
}

/* Number of records in all arguments, or -1 where one is no list of records. */
static int64_t records_of(struct swarm_task *task)
{
	uint64_t total = 0, len;

	for (uint32_t i = 0; i < swarm_task_arg_count(task); i++) {
		(void)swarm_task_arg(task, i, &len);
		if (len % RECORD_BYTES)
			return -1;
		total += len / RECORD_BYTES;
	}
	return (int64_t)total;
}

/* Arguments: records. Result p: those of key range p of as many as there are results. */
SWARM_TASK(split)
{
	const uint32_t parts = swarm_task_return_count(task), args = swarm_task_arg_count(task);
	uint64_t len, *count = calloc(parts, sizeof(*count));
	uint8_t **at = calloc(parts, sizeof(*at));
	int err = 0;

	if (!count || !at || records_of(task) < 0) {
		err = swarm_task_fail(task, "split: no memory, or an argument that is no records");
		goto out;
	}
	for (uint32_t a = 0; a < args; a++) {
		const uint8_t *in = swarm_task_arg(task, a, &len);

		for (uint64_t i = 0; i < len; i += RECORD_BYTES)
			count[record_part(in + i, parts)]++;
	}
	for (uint32_t p = 0; p < parts; p++) {
		void *data;

		if (!count[p])
			continue;
		err = swarm_task_return_create(task, p, count[p] * RECORD_BYTES, &data);
		if (err < 0)
			goto out;
		at[p] = data;
	}
	for (uint32_t a = 0; a < args; a++) {
		const uint8_t *in = swarm_task_arg(task, a, &len);

		for (uint64_t i = 0; i < len; i += RECORD_BYTES) {
			uint8_t **to = &at[record_part(in + i, parts)];

			memcpy(*to, in + i, RECORD_BYTES);
			*to += RECORD_BYTES;
		}
	}
out:
	free(at);
	free(count);
	return err;
}

struct item { /* what is sorted: the key as two numbers, and where the record lies */
	uint64_t high;
	uint32_t low;
	const uint8_t *rec;
};

static struct item item_of(const uint8_t *rec)
{
	struct item it = {.rec = rec};

	for (unsigned int i = 0; i < 8; i++)
		it.high = it.high << 8 | rec[i];
	it.low = (uint32_t)rec[8] << 8 | rec[9];
	return it;
}

/* By key; equal keys by the rest of the record, so that the result is one and the same in every run. */
static int by_key(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->high != y->high)
		return x->high < y->high ? -1 : 1;
	if (x->low != y->low)
		return x->low < y->low ? -1 : 1;
	return memcmp(x->rec, y->rec, RECORD_BYTES);
}

/* Writes the sorted records out, cut into as many runs as there are results. */
static int return_runs(struct swarm_task *task, const struct item *item, uint64_t count)
{
	const uint32_t runs = swarm_task_return_count(task);

	for (uint32_t i = 0; i < runs; i++) {
		const uint64_t from = run_begin(count, i, runs), to = run_begin(count, i + 1, runs);
		void *data;
		const int err = swarm_task_return_create(task, i, (to - from) * RECORD_BYTES, &data);

		if (err < 0)
			return err;
		for (uint64_t k = from; k < to; k++)
			memcpy((uint8_t *)data + (k - from) * RECORD_BYTES, item[k].rec, RECORD_BYTES);
	}
	return 0;
}

/* Arguments: records of one key range. Results: all of them, in order, cut into runs. */
SWARM_TASK(sort)
{
	const int64_t total = records_of(task);
	uint64_t n = 0, len;
	struct item *item;
	int err;

	item = total < 0 ? NULL : malloc(((uint64_t)total + 1) * sizeof(*item));
	if (!item)
		return swarm_task_fail(task, "sort: no memory, or an argument that is no records");
	for (uint32_t i = 0; i < swarm_task_arg_count(task); i++) {
		const uint8_t *in = swarm_task_arg(task, i, &len);

		for (uint64_t k = 0; k < len; k += RECORD_BYTES)
			item[n++] = item_of(in + k);
	}
	qsort(item, n, sizeof(*item), by_key);
	err = return_runs(task, item, n);
	free(item);
	return err;
}

/* Arguments: the runs of one key range, in order. Result 0: struct record_check. */
SWARM_TASK(validate)
{
	struct record_check c = {.ordered = 1};
	uint64_t len;

	if (records_of(task) < 0)
		return swarm_task_fail(task, "validate: an argument is no records");
	for (uint32_t a = 0; a < swarm_task_arg_count(task); a++) {
		const uint8_t *rec = swarm_task_arg(task, a, &len);

		for (const uint8_t *end = rec + len; rec < end; rec += RECORD_BYTES) {
			c.checksum += record_sum(rec);
			if (c.count && memcmp(c.last, rec, KEY_BYTES) > 0)
				c.ordered = 0;
			if (!c.count++)
				memcpy(c.first, rec, KEY_BYTES);
			memcpy(c.last, rec, KEY_BYTES);
		}
	}
	return swarm_task_return(task, 0, &c, sizeof(c));
}
