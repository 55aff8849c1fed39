/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wordcount.c - how often does every word occur in the text files of some folders?
 *
 *   load   reads a batch of files; one object for each file
 *   map    counts the words of a batch; one object for each partition of the words
 *   reduce adds up one partition over all batches
 *
 * All tasks are submitted at once: each runs when its arguments exist, where most of their bytes are.
 * The result is compared, word by word, with a count made here by one thread and without the cluster.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demo.h"
#include "words.h"

#define PARTS	    16u
#define BATCH_FILES 256u
#define BATCH_BYTES (3ull << 20)
#define BATCH_PATHS (30u << 10) /* below SWARM_INLINE_MAX */

struct file {
	char *path;
	uint64_t bytes;
};

struct batch {
	uint32_t first, count; /* files */
	struct swarm_ref *file_ref;
	struct swarm_ref map_ref[PARTS];
};

struct job {
	struct file *file;
	uint32_t files, files_cap;
	uint64_t bytes;
	struct batch *batch;
	uint32_t batches;
	struct swarm_ref reduce_ref[PARTS];
};

/* ---- which files ---- */

static struct job *walking; /* nftw() has no argument for its callback */

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	struct job *j = walking;

	(void)ftw;
	if (type != FTW_F || !S_ISREG(st->st_mode) || st->st_size == 0 || access(path, R_OK))
		return 0;
	if (j->files == j->files_cap) {
		const uint32_t cap = j->files_cap ? j->files_cap * 2 : 4096;
		struct file *more = realloc(j->file, cap * sizeof(*more));

		if (!more)
			return -1;
		j->file = more;
		j->files_cap = cap;
	}
	j->file[j->files].path = strdup(path);
	j->file[j->files].bytes = (uint64_t)st->st_size;
	if (!j->file[j->files].path)
		return -1;
	j->bytes += j->file[j->files++].bytes;
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static int find_files(struct job *j, const char *folders)
{
	char *list = strdup(folders), *save = NULL;
	int err = list ? 0 : -1;

	walking = j;
	for (char *dir = list ? strtok_r(list, ":", &save) : NULL; dir && !err; dir = strtok_r(NULL, ":", &save))
		err = nftw(dir, visit, 32, FTW_PHYS) < 0 && errno != ENOENT ? -1 : 0;
	free(list);
	if (err)
		return demo_fail("cannot list %s: %s", folders, strerror(errno));
	if (!j->files)
		return demo_fail("there is no file under %s", folders);
	qsort(j->file, j->files, sizeof(*j->file), by_path);
	return 0;
}

/* ---- the plain count ---- */

static char *read_text(const char *path, uint64_t *out_len)
{
	struct stat st;
	uint64_t have = 0;
	char *data = NULL;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && st.st_size > 0)
		data = malloc((size_t)st.st_size);
	while (data && have < (uint64_t)st.st_size) {
		const ssize_t n = read(fd, data + have, (size_t)st.st_size - have);

		if (n <= 0)
			break;
		have += (uint64_t)n;
	}
	close(fd);
	if (data && (have < (uint64_t)st.st_size || memchr(data, 0, have))) {
		free(data);
		data = NULL;
	}
	*out_len = have;
	return data;
}

/* The words' bytes are copied when they are new, since the file is not kept. */
static int keep_new(struct words *all, const struct words *some)
{
	for (uint64_t i = 0; i < some->cap; i++) {
		const struct word *s = &some->slot[i];
		const uint64_t used = all->used;
		char *copy;

		if (!s->text)
			continue;
		if (!words_add(all, s->text, s->len, s->count))
			return -1;
		if (all->used == used)
			continue;
		copy = malloc(s->len);
		if (!copy)
			return -1;
		memcpy(copy, s->text, s->len);
		words_slot(all, s)->text = copy;
	}
	return 0;
}

static int plain_count(const struct job *j, struct words *all)
{
	for (uint32_t i = 0; i < j->files; i++) {
		struct words some = {0};
		uint64_t len;
		char *text = read_text(j->file[i].path, &len);
		int err = 0;

		if (demo_interrupted) {
			free(text);
			return -1;
		}
		if (text && (!words_count(&some, text, len) || keep_new(all, &some) < 0))
			err = demo_fail("no memory for the plain count");
		free(some.slot);
		free(text);
		if (err)
			return err;
	}
	return 0;
}

/* ---- the tasks ---- */

static int cut_batches(struct job *j)
{
	uint64_t bytes = 0, paths = 0;
	struct batch *b = NULL;

	j->batch = calloc(j->files, sizeof(*j->batch));
	if (!j->batch)
		return demo_fail("no memory for %u batches", j->files);
	for (uint32_t i = 0; i < j->files; i++) {
		const uint64_t path = strlen(j->file[i].path) + 1;

		if (!b || b->count == BATCH_FILES || bytes >= BATCH_BYTES || paths + path > BATCH_PATHS) {
			b = &j->batch[j->batches++];
			b->first = i;
			bytes = paths = 0;
		}
		b->count++;
		bytes += j->file[i].bytes;
		paths += path;
	}
	return 0;
}

static int submit_batch(struct demo *d, struct job *j, struct batch *b)
{
	char paths[SWARM_INLINE_MAX];
	struct swarm_arg arg[BATCH_FILES];
	uint64_t len = 0;

	b->file_ref = calloc(b->count, sizeof(*b->file_ref));
	if (!b->file_ref)
		return demo_fail("no memory for a batch");
	for (uint32_t i = 0; i < b->count; i++) {
		const char *path = j->file[b->first + i].path;
		const uint64_t n = strlen(path) + 1;

		memcpy(paths + len, path, n);
		len += n;
	}
	arg[0] = SWARM_ARG_BYTES(paths, len);
	if (run_submit(d, "load", arg, 1, b->count, b->file_ref) < 0)
		return -1;
	for (uint32_t i = 0; i < b->count; i++)
		arg[i] = SWARM_ARG_REF(b->file_ref[i]);
	return run_submit(d, "map", arg, b->count, PARTS, b->map_ref);
}

static int submit_reduces(struct demo *d, struct job *j)
{
	struct swarm_arg *arg = calloc(j->batches, sizeof(*arg));
	int err = 0;

	if (!arg)
		return demo_fail("no memory for arguments");
	for (uint32_t p = 0; p < PARTS && !err; p++) {
		for (uint32_t b = 0; b < j->batches; b++)
			arg[b] = SWARM_ARG_REF(j->batch[b].map_ref[p]);
		err = run_submit(d, "reduce", arg, j->batches, 1, &j->reduce_ref[p]);
	}
	free(arg);
	return err;
}

static int watch_tasks(struct demo *d, struct demo_report *r, struct job *j)
{
	struct swarm_ref *load = calloc(j->batches, sizeof(*load));
	struct swarm_ref *map = calloc(j->batches, sizeof(*map));
	uint8_t *flags = calloc(4ull * j->batches + 2 * PARTS, 1);
	int err = -1;

	if (!load || !map || !flags) {
		demo_fail("no memory for %u tasks", j->batches);
		goto out;
	}
	for (uint32_t b = 0; b < j->batches; b++) {
		load[b] = j->batch[b].file_ref[0];
		map[b] = j->batch[b].map_ref[0];
	}
	struct watch w[] = {
		{.name = "load", .refs = load, .count = j->batches},
		{.name = "map", .refs = map, .count = j->batches},
		{.name = "reduce", .refs = j->reduce_ref, .count = PARTS},
	};
	uint8_t *at = flags;

	for (uint32_t i = 0; i < 3; i++) {
		w[i].ready = at;
		w[i].seen = at + w[i].count;
		at += 2 * w[i].count;
	}
	err = run_watch(d, r, w, 3, NULL);
out:
	free(load);
	free(map);
	free(flags);
	return err;
}

/* ---- the comparison ---- */

/* Every word of a partition must be in the plain count with the same number; counts it as seen. */
static int compare_part(struct words *all, const struct swarm_view *view, uint64_t *words, uint64_t *seen)
{
	struct word word;
	uint64_t pos = 0;
	int err = 0;

	while (!err && word_read(view->data, view->len, &pos, &word)) {
		struct word *plain;

		word.hash = word_hash(word.text, word.len);
		plain = words_slot(all, &word);
		if (!plain->text || plain->count != word.count)
			err = demo_fail("'%.*s' was counted %llu times, and is there %llu times", (int)word.len,
					word.text, (unsigned long long)word.count,
					plain->text ? (unsigned long long)plain->count : 0ull);
		*words += word.count;
		(*seen)++;
	}
	if (!err && pos != view->len)
		err = demo_fail("a partition of %llu bytes makes no sense at byte %llu",
				(unsigned long long)view->len, (unsigned long long)pos);
	return err;
}

static int compare(struct demo_report *r, const struct swarm_view *counted, struct words *all)
{
	uint64_t seen = 0;

	for (uint32_t p = 0; p < PARTS; p++)
		if (compare_part(all, &counted[p], &r->items, &seen) < 0)
			return -1;
	if (seen != all->used)
		return demo_fail("the cluster found %llu different words, the plain count %llu",
				 (unsigned long long)seen, (unsigned long long)all->used);
	progress_print("wordcount: %llu words, %llu different, all counts equal to the plain count",
		       (unsigned long long)r->items, (unsigned long long)seen);
	r->exact = true;
	return 0;
}

static void job_free(struct demo *d, struct job *j)
{
	for (uint32_t b = 0; b < j->batches; b++) {
		if (j->batch[b].file_ref)
			run_delete(d, j->batch[b].file_ref, j->batch[b].count);
		run_delete(d, j->batch[b].map_ref, PARTS);
		free(j->batch[b].file_ref);
	}
	run_delete(d, j->reduce_ref, PARTS);
	for (uint32_t i = 0; i < j->files; i++)
		free(j->file[i].path);
	free(j->file);
	free(j->batch);
}

int wordcount_run(struct demo *d, struct demo_report *r)
{
	struct swarm_view counted[PARTS] = {{0}};
	struct words all = {0};
	struct job j = {0};
	uint64_t start;
	int err = find_files(&j, d->opts.text);

	if (!err)
		err = cut_batches(&j);
	start = demo_now_ns();
	for (uint32_t b = 0; b < j.batches && !err; b++)
		err = submit_batch(d, &j, &j.batch[b]);
	if (!err)
		err = submit_reduces(d, &j);
	if (!err) {
		progress_print("wordcount: %u files, %.1f MB, %u load, %u map and %u reduce tasks", j.files,
			       (double)j.bytes / 1e6, j.batches, j.batches, PARTS);
		err = watch_tasks(d, r, &j);
	}
	if (!err)
		err = run_get_all(d, j.reduce_ref, PARTS, counted);
	r->seconds = (double)(demo_now_ns() - start) / 1e9;
	r->bytes = j.bytes;
	if (!err)
		err = plain_count(&j, &all);
	if (!err)
		err = compare(r, counted, &all);
	swarm_views_release(swarm_client_store(d->client), counted, PARTS);
	job_free(d, &j);
	for (uint64_t i = 0; i < all.cap; i++)
		free((void *)(uintptr_t)all.slot[i].text);
	free(all.slot);
	return err;
}
