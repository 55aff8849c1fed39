/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_trace.c - traces of requests: of whoever hands one to swarm_kvtrace. What is accepted has blocks
 * inside its references, numbered without gaps; what is refused has added nothing of its line.
 */
#include "perf/trace.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct perf_trace t = {0};
	char why[256] = "";
	uint64_t refs = 0, highest = 0;
	const int rc = perf_trace_text(&t, (const char *)data, size, why, sizeof(why));

	FUZZ_CHECK(!rc || !strncmp(why, "line ", 5));
	for (uint64_t i = 0; i < t.requests; i++) {
		FUZZ_CHECK(t.request[i].first == refs && t.request[i].blocks <= PERF_TRACE_IDS_MAX);
		refs += t.request[i].blocks;
	}
	FUZZ_CHECK(refs == t.refs && t.distinct <= t.refs);
	for (uint64_t i = 0; i < t.refs; i++) {
		FUZZ_CHECK(t.block[i] <= highest);
		highest += t.block[i] == highest;
	}
	FUZZ_CHECK(highest == t.distinct);
	perf_trace_fini(&t);
	return 0;
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	static const char *const seed[] = {
		"{\"timestamp\": 0, \"input_length\": 6758, \"output_length\": 500, \"hash_ids\": [0, 1, 2]}\n"
		"{\"timestamp\": 3000, \"input_length\": 512, \"output_length\": 1, \"hash_ids\": [0, 7, 2]}\n",
		"{\"hash_ids\": [], \"timestamp\": 27.0, \"input_length\": 1, \"output_length\": 0, \"x\": null}\r\n\n"
		"{\"timestamp\": 28, \"input_length\": 1, \"output_length\": 0, \"hash_ids\": [9007199254740991]}",
		"{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [1]}\n",
		"{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [1, \"2\"]}\n",
		"[[[[[[[[[[1]]]]]]]]]]\n{\n",
	};

	if (i >= SWI_ARRAY_LEN(seed) || strlen(seed[i]) > cap)
		return 0;
	memcpy(buf, seed[i], strlen(seed[i]));
	return strlen(seed[i]);
}
