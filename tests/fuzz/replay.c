/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - runs a fuzz target without libFuzzer: every file of the corpus, every seed, and for each
 * of these a fixed number of mutations from a fixed generator, the same in every run.
 *
 *   replay CORPUS_DIR          run
 *   replay --seeds CORPUS_DIR  write the seeds as files seed-N
 *
 * The input lies at the end of a block of its own, so that a read past its end is seen by ASan or valgrind.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"
#include "transport/base/env.h"

#define INPUT_MAX 65536u
#define MUTATIONS 400u

static uint64_t inputs;

static void run_one(const uint8_t *data, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1);

	SWI_BUG_ON(!exact);
	memcpy(exact, data, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	inputs++;
}

/* Bit flips, bytes of the edge, cuts, doubled tails: one to four of them. */
static size_t mutate(uint8_t *buf, size_t len, uint64_t *rng)
{
	static const uint8_t edge[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
	const uint64_t rounds = swi_splitmix64(rng) % 4 + 1;

	for (uint64_t i = 0; i < rounds && len; i++) {
		const uint64_t at = swi_splitmix64(rng) % len, r = swi_splitmix64(rng);

		switch (r % 6) {
		case 0:
			buf[at] ^= (uint8_t)(1u << (r >> 8 & 7));
			break;
		case 1:
			buf[at] = edge[(r >> 8) % SWI_ARRAY_LEN(edge)];
			break;
		case 2:
			buf[at] = (uint8_t)(r >> 8);
			break;
		case 3:
			len = at;
			break;
		case 4:
			if (len + (len - at) <= INPUT_MAX) {
				memcpy(buf + len, buf + at, len - at);
				len += len - at;
			}
			break;
		default: /* four bytes, as a length that lies */
			for (uint64_t k = at; k < len && k < at + 4; k++)
				buf[k] = (uint8_t)(r & 0x100 ? 0xff : r >> 16);
		}
	}
	return len;
}

static void run_many(const uint8_t *data, size_t len)
{
	static uint8_t buf[INPUT_MAX];
	uint64_t rng = len * 0x9e3779b97f4a7c15ull + inputs;

	run_one(data, len);
	for (size_t cut = 0; cut < len && cut < 256; cut++)
		run_one(data, cut);
	for (unsigned int i = 0; i < MUTATIONS; i++) {
		memcpy(buf, data, len);
		run_one(buf, mutate(buf, len, &rng));
	}
}

static int run_file(const char *dir, const char *name)
{
	static uint8_t buf[INPUT_MAX];
	char path[4096];
	FILE *f;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f) {
		fprintf(stderr, "cannot read %s: %s\n", path, strerror(errno));
		return 1;
	}
	len = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	run_many(buf, len);
	return 0;
}

static int write_seeds(const char *dir)
{
	static uint8_t buf[INPUT_MAX];
	size_t len;

	mkdir(dir, 0777);
	for (unsigned int i = 0; (len = fuzz_seed(i, buf, sizeof(buf))) != 0; i++) {
		char path[4096];
		FILE *f;

		snprintf(path, sizeof(path), "%s/seed-%02u", dir, i);
		f = fopen(path, "wb");
		if (!f || fwrite(buf, 1, len, f) != len || fclose(f)) {
			fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	static uint8_t buf[INPUT_MAX];
	struct dirent **names;
	unsigned int files = 0;
	size_t len;
	int n;

	if (argc == 3 && !strcmp(argv[1], "--seeds"))
		return write_seeds(argv[2]);
	if (argc != 2) {
		fprintf(stderr, "usage: %s [--seeds] CORPUS_DIR\n", argv[0]);
		return 2;
	}
	n = scandir(argv[1], &names, NULL, alphasort);
	if (n < 0) {
		fprintf(stderr, "cannot list %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			if (run_file(argv[1], names[i]->d_name))
				return 1;
			files++;
		}
		free(names[i]);
	}
	free(names);
	for (unsigned int i = 0; (len = fuzz_seed(i, buf, sizeof(buf))) != 0; i++)
		run_many(buf, len);
	printf("%u files, %llu inputs\n", files, (unsigned long long)inputs);
	return files ? 0 : 1; /* an empty corpus is a mistake */
}
