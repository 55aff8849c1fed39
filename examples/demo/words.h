/* SPDX-License-Identifier: Apache-2.0 */
/*
 * words.h - what a word is, and a table that counts words. Used by the map tasks and by the plain
 * count that checks them; everything else of the two is separate.
 *
 * A word is a longest run of letters, digits, '_' and bytes >= 0x80. A table borrows the text that it counts.
 */
#ifndef DEMO_WORDS_H
#define DEMO_WORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct word {
	const char *text; /* borrowed */
	uint32_t len;
	uint32_t hash;
	uint64_t count;
};

struct words { /* open addressing, a power of two, at most half full */
	struct word *slot;
	uint64_t cap, used;
};

static inline bool word_byte(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c >= 0x80;
}

static inline uint32_t word_hash(const char *text, uint32_t len)
{
	return (uint32_t)XXH3_64bits(text, len);
}

static inline struct word *words_slot(const struct words *w, const struct word *key)
{
	uint64_t i = key->hash & (w->cap - 1);

	while (w->slot[i].text && (w->slot[i].hash != key->hash || w->slot[i].len != key->len ||
				   memcmp(w->slot[i].text, key->text, key->len)))
		i = (i + 1) & (w->cap - 1);
	return &w->slot[i];
}

static inline bool words_grow(struct words *w)
{
	struct words bigger = {.cap = w->cap ? w->cap * 2 : 4096, .used = w->used};

	bigger.slot = (struct word *)calloc(bigger.cap, sizeof(*bigger.slot));
	if (!bigger.slot)
		return false;
	for (uint64_t i = 0; i < w->cap; i++)
		if (w->slot[i].text)
			*words_slot(&bigger, &w->slot[i]) = w->slot[i];
	free(w->slot);
	*w = bigger;
	return true;
}

static inline bool words_add(struct words *w, const char *text, uint32_t len, uint64_t count)
{
	const struct word key = {text, len, word_hash(text, len), 0};
	struct word *slot;

	if (w->used * 2 >= w->cap && !words_grow(w))
		return false;
	slot = words_slot(w, &key);
	if (!slot->text) {
		*slot = key;
		w->used++;
	}
	slot->count += count;
	return true;
}

/* Counts every word of a text. */
static inline bool words_count(struct words *w, const char *text, uint64_t len)
{
	uint64_t i = 0;

	while (i < len) {
		uint64_t start;

		while (i < len && !word_byte((unsigned char)text[i]))
			i++;
		start = i;
		while (i < len && word_byte((unsigned char)text[i]))
			i++;
		if (i > start && !words_add(w, text + start, (uint32_t)(i - start), 1))
			return false;
	}
	return true;
}

/* The order of words in partitions: by bytes, the shorter first. */
static inline int word_compare(const char *a, uint32_t alen, const char *b, uint32_t blen)
{
	const int c = memcmp(a, b, alen < blen ? alen : blen);

	return c ? c : (alen > blen) - (alen < blen);
}

/* A counted word in a partition object: {u64 count, u32 length, bytes}, packed, in order of words. */
#define WORD_HEAD 12u

static inline uint8_t *word_write(uint8_t *out, const char *text, uint32_t len, uint64_t count)
{
	memcpy(out, &count, 8);
	memcpy(out + 8, &len, 4);
	memcpy(out + WORD_HEAD, text, len);
	return out + WORD_HEAD + len;
}

/* Reads the next one: false at the end, or where the bytes make no sense (*pos stays below @len then). */
static inline bool word_read(const uint8_t *data, uint64_t len, uint64_t *pos, struct word *out)
{
	if (len - *pos < WORD_HEAD)
		return false;
	memcpy(&out->count, data + *pos, 8);
	memcpy(&out->len, data + *pos + 8, 4);
	if (len - *pos - WORD_HEAD < out->len)
		return false;
	out->text = (const char *)data + *pos + WORD_HEAD;
	out->hash = 0;
	*pos += WORD_HEAD + out->len;
	return true;
}

#endif
