/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tasks_sort.c - the tasks of the sort: make records, split them by key range, sort one range, look at
 * the result.
 */
#include <stdio.h>
#include <stdlib.h>

#include <swarm/sched.h>

#include "records.h"

/* Argument 0: struct record_range. Result 0: its records. */
SWARM_TASK(generate)
{
	struct record_range r;
	uint64_t len;
	const void *arg = swarm_task_arg(task, 0, &len);
	void *data;
	uint8_t *rec;
	int err;

	if (len != sizeof(r))
		return swarm_task_fail(task, "generate: argument of %llu bytes", (unsigned long long)len);
	memcpy(&r, arg, sizeof(r));
	err = swarm_task_return_create(task, 0, r.count * RECORD_BYTES, &data);
	if (err < 0)
		return err;
	rec = data;
	for (uint64_t i = 0; i < r.count; i++, rec += RECORD_BYTES)
		record_make(r.seed, r.first + i, rec);
	return 0;
}

/* Argument 0: records. Result p: those of key range p of as many as there are results. */
SWARM_TASK(split)
{
	const uint32_t parts = swarm_task_return_count(task);
	uint64_t len, *count = calloc(parts, sizeof(*count));
	const uint8_t *in = swarm_task_arg(task, 0, &len);
	uint8_t **at = calloc(parts, sizeof(*at));
	int err = 0;

	if (!count || !at || len % RECORD_BYTES) {
		err = swarm_task_fail(task, "split: %llu bytes, %u parts", (unsigned long long)len, parts);
		goto out;
	}
	for (uint64_t i = 0; i < len; i += RECORD_BYTES)
		count[record_part(in + i, parts)]++;
	for (uint32_t p = 0; p < parts; p++) {
		void *data;

		if (!count[p])
			continue;
		err = swarm_task_return_create(task, p, count[p] * RECORD_BYTES, &data);
		if (err < 0)
			goto out;
		at[p] = data;
	}
	for (uint64_t i = 0; i < len; i += RECORD_BYTES) {
		uint8_t **to = &at[record_part(in + i, parts)];

		memcpy(*to, in + i, RECORD_BYTES);
		*to += RECORD_BYTES;
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

/* Arguments: records of one key range. Result 0: all of them, in order. */
SWARM_TASK(sort)
{
	uint64_t total = 0, n = 0, len;
	struct item *item;
	void *data;
	int err;

	for (uint32_t i = 0; i < swarm_task_arg_count(task); i++) {
		(void)swarm_task_arg(task, i, &len);
		if (len % RECORD_BYTES)
			return swarm_task_fail(task, "sort: argument %u has %llu bytes", i,
					       (unsigned long long)len);
		total += len / RECORD_BYTES;
	}
	item = malloc((total + 1) * sizeof(*item));
	if (!item)
		return swarm_task_fail(task, "sort: no memory for %llu keys", (unsigned long long)total);
	for (uint32_t i = 0; i < swarm_task_arg_count(task); i++) {
		const uint8_t *in = swarm_task_arg(task, i, &len);

		for (uint64_t k = 0; k < len; k += RECORD_BYTES)
			item[n++] = item_of(in + k);
	}
	qsort(item, n, sizeof(*item), by_key);
	err = swarm_task_return_create(task, 0, total * RECORD_BYTES, &data);
	for (uint64_t i = 0; i < n && !err; i++)
		memcpy((uint8_t *)data + i * RECORD_BYTES, item[i].rec, RECORD_BYTES);
	free(item);
	return err;
}

/* Argument 0: records. Result 0: struct record_check. */
SWARM_TASK(validate)
{
	struct record_check c = {.ordered = 1};
	uint64_t len;
	const uint8_t *in = swarm_task_arg(task, 0, &len);

	if (len % RECORD_BYTES)
		return swarm_task_fail(task, "validate: %llu bytes", (unsigned long long)len);
	c.count = len / RECORD_BYTES;
	for (uint64_t i = 0; i < c.count; i++) {
		const uint8_t *rec = in + i * RECORD_BYTES;

		c.checksum += record_sum(rec);
		if (i && memcmp(rec - RECORD_BYTES, rec, KEY_BYTES) > 0)
			c.ordered = 0;
	}
	if (c.count) {
		memcpy(c.first, in, KEY_BYTES);
		memcpy(c.last, in + (c.count - 1) * RECORD_BYTES, KEY_BYTES);
	}
	return swarm_task_return(task, 0, &c, sizeof(c));
}
