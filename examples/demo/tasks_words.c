/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tasks_words.c - the tasks of the word count. Each is a function of its arguments alone (and of files
 * that do not change meanwhile), so that a lost result can be made again.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <swarm/sched.h>

#include "words.h"

/* Reads a whole file into result @i when it is text (no NUL byte); else the result stays empty. */
static int load_file(struct swarm_task *task, uint32_t i, const char *path)
{
	struct stat st;
	uint64_t have = 0;
	char *data = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int err = 0;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
		goto out;
	data = malloc((size_t)st.st_size);
	if (!data) {
		err = swarm_task_fail(task, "no memory for %s", path);
		goto out;
	}
	while (have < (uint64_t)st.st_size) {
		const ssize_t n = read(fd, data + have, (size_t)st.st_size - have);

		if (n <= 0)
			goto out; /* unreadable: not counted, here and in the plain count */
		have += (uint64_t)n;
	}
	if (!memchr(data, 0, have))
		err = swarm_task_return(task, i, data, have);
out:
	free(data);
	close(fd);
	return err;
}

/* Argument 0: paths, each ended by a NUL. Result i: the bytes of file i, empty when it is no text. */
SWARM_TASK(load)
{
	uint64_t len, pos = 0;
	const char *paths = swarm_task_arg(task, 0, &len);

	for (uint32_t i = 0; i < swarm_task_return_count(task); i++) {
		const char *path = paths + pos;
		const size_t n = pos < len ? strnlen(path, len - pos) : 0;
		int err;

		if (!n || pos + n >= len)
			return swarm_task_fail(task, "the list of paths ends early");
		err = load_file(task, i, path);
		if (err < 0)
			return err;
		pos += n + 1;
	}
	return 0;
}

static int by_word(const void *a, const void *b)
{
	const struct word *x = a, *y = b;

	return word_compare(x->text, x->len, y->text, y->len);
}

/* Moves the words of partition @part of @parts to the front of @out, in order; returns how many. */
static uint64_t pick(const struct words *w, uint32_t part, uint32_t parts, struct word *out, uint64_t *out_bytes)
{
	uint64_t n = 0, bytes = 0;

	for (uint64_t i = 0; i < w->cap; i++)
		if (w->slot[i].text && w->slot[i].hash % parts == part) {
			out[n++] = w->slot[i];
			bytes += WORD_HEAD + w->slot[i].len;
		}
	qsort(out, n, sizeof(*out), by_word);
	*out_bytes = bytes;
	return n;
}

static int return_words(struct swarm_task *task, uint32_t i, const struct word *word, uint64_t n,
			uint64_t bytes)
{
	void *data;
	uint8_t *at;
	int err = swarm_task_return_create(task, i, bytes, &data);

	if (err < 0)
		return err;
	at = data;
	for (uint64_t k = 0; k < n; k++)
		at = word_write(at, word[k].text, word[k].len, word[k].count);
	return 0;
}

/* Arguments: texts. Result p: the counted words of partition p (by hash), sorted. */
SWARM_TASK(map)
{
	const uint32_t parts = swarm_task_return_count(task);
	struct words w = {0};
	struct word *sorted = NULL;
	int err = 0;

	for (uint32_t i = 0; i < swarm_task_arg_count(task); i++) {
		uint64_t len;
		const char *text = swarm_task_arg(task, i, &len);

		if (len && !words_count(&w, text, len)) {
			err = swarm_task_fail(task, "no memory for the table of words");
			goto out;
		}
	}
	sorted = malloc((w.used + 1) * sizeof(*sorted));
	if (!sorted) {
		err = swarm_task_fail(task, "no memory for %llu words", (unsigned long long)w.used);
		goto out;
	}
	for (uint32_t p = 0; p < parts && !err; p++) {
		uint64_t bytes;
		const uint64_t n = pick(&w, p, parts, sorted, &bytes);

		err = n ? return_words(task, p, sorted, n, bytes) : 0;
	}
out:
	free(sorted);
	free(w.slot);
	return err;
}

/* Arguments: counted words, each sorted. Result 0: their union, counts added, sorted. */
SWARM_TASK(reduce)
{
	struct words w = {0};
	struct word *sorted = NULL, word;
	uint64_t bytes = 0, n;
	int err = 0;

	for (uint32_t i = 0; i < swarm_task_arg_count(task); i++) {
		uint64_t len, pos = 0;
		const uint8_t *data = swarm_task_arg(task, i, &len);

		while (word_read(data, len, &pos, &word))
			if (!words_add(&w, word.text, word.len, word.count)) {
				err = swarm_task_fail(task, "no memory for the table of words");
				goto out;
			}
		if (pos != len) {
			err = swarm_task_fail(task, "argument %u is no list of words", i);
			goto out;
		}
	}
	sorted = malloc((w.used + 1) * sizeof(*sorted));
	if (!sorted) {
		err = swarm_task_fail(task, "no memory for %llu words", (unsigned long long)w.used);
		goto out;
	}
	n = pick(&w, 0, 1, sorted, &bytes);
	err = return_words(task, 0, sorted, n, bytes);
out:
	free(sorted);
	free(w.slot);
	return err;
}
