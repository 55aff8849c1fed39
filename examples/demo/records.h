/* SPDX-License-Identifier: Apache-2.0 */
/*
 * records.h - the sort's input: 100-byte records as of sortbenchmark.org, each a function of (seed,
 * number). So any range can be made anywhere, and made again after a loss, without the ones before it.
 */
#ifndef DEMO_RECORDS_H
#define DEMO_RECORDS_H

#include <stdint.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define RECORD_BYTES 100u
#define KEY_BYTES    10u

/* What a task is told about a range of records. */
struct record_range {
	uint64_t seed, first, count;
};

/* What the validator says of one sorted partition, and what the driver expects of all of them. */
struct record_check {
	uint64_t count;
	uint64_t checksum; /* sum of the records' XXH64, modulo 2^64: does not depend on the order */
	uint64_t ordered;  /* 1: every key is at least the one before it */
	uint8_t first[KEY_BYTES], last[KEY_BYTES];
};

static inline uint64_t record_mix(uint64_t v)
{
	v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9ull;
	v = (v ^ (v >> 27)) * 0x94d049bb133111ebull;
	return v ^ (v >> 31);
}

/* Key: 10 pseudo-random bytes. Then the number in hexadecimal, and filler that depends on it. */
static inline void record_make(uint64_t seed, uint64_t number, uint8_t *out)
{
	static const char hex[] = "0123456789ABCDEF";
	const uint64_t a = record_mix(seed + number * 0x9e3779b97f4a7c15ull);
	const uint64_t b = record_mix(a + seed);

	memcpy(out, &a, 8);
	memcpy(out + 8, &b, 2);
	memcpy(out + 10, "\0\x11", 2);
	for (unsigned int i = 0; i < 32; i++)
		out[12 + i] = i < 16 ? '0' : (uint8_t)hex[number >> (4 * (31 - i)) & 15];
	memcpy(out + 44, "\x88\x99\xaa\xbb", 4);
	for (unsigned int i = 0; i < 12; i++)
		memset(out + 48 + 4 * i, hex[b >> (4 * i) & 15], 4);
	memcpy(out + 96, "\xcc\xdd\xee\xff", 4);
}

static inline __attribute__((nonnull)) uint64_t record_sum(const uint8_t *rec)
{
	return XXH64(rec, RECORD_BYTES, 0);
}

/* Which of @parts key ranges of equal width a record belongs to. */
static inline uint32_t record_part(const uint8_t *rec, uint32_t parts)
{
	const uint32_t top = (uint32_t)rec[0] << 24 | (uint32_t)rec[1] << 16 | (uint32_t)rec[2] << 8 | rec[3];

	return (uint32_t)((uint64_t)top * parts >> 32);
}

#endif
