/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_spec.c - task specs: of clients, of peers, of lineage. What is accepted can be walked through
 * argument by argument, stays inside its bytes, and encodes to the same bytes again.
 */
#include "sched/spec.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct swarm_arg *args;
	struct swi_spec s;
	struct swi_spec_arg a;
	struct swi_wr w;
	uint32_t pos = 0, n = 0, refs = 0;
	uint8_t *again;

	if (swi_spec_decode(data, (uint32_t)size, &s))
		return 0;
	FUZZ_CHECK(s.arg_count <= SWARM_ARGS_MAX && s.return_count && s.return_count <= SWARM_RETURNS_MAX);
	FUZZ_CHECK(memchr(s.function, 0, sizeof(s.function)));
	args = calloc(s.arg_count + 1u, sizeof(*args));
	again = malloc(size);
	FUZZ_CHECK(args && again);
	while (swi_spec_next_arg(&s, &pos, &a)) {
		FUZZ_CHECK(n < s.arg_count);
		if (a.is_ref) {
			args[n++] = SWARM_ARG_REF(a.ref);
			refs++;
			continue;
		}
		/* Empty bytes may point anywhere; others lie inside the encoding. */
		FUZZ_CHECK(!a.len || ((const uint8_t *)a.data >= data &&
				      (const uint8_t *)a.data + a.len <= data + size));
		args[n++] = SWARM_ARG_BYTES(a.len ? a.data : "", a.len);
	}
	FUZZ_CHECK(n == s.arg_count && refs == s.ref_count);
	w = swi_wr_init(again, (uint32_t)size);
	swi_spec_encode(&w, &s, args);
	FUZZ_CHECK(w.len == size && !memcmp(again, data, size));
	free(again);
	free(args);
	return 0;
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	const struct swarm_ref ref = {{{1, 2}}, 3, 0};
	const struct swarm_arg args[] = {SWARM_ARG_REF(ref), SWARM_ARG_BYTES("hello", 5),
					 SWARM_ARG_BYTES("", 0)};
	struct swi_wr w = swi_wr_init(buf, (uint32_t)cap);
	struct swi_spec s = {
		.task = {{5, 6}},
		.parent = {{7, 8}},
		.home = 1,
		.module = ref,
		.function = "count_words",
		.need = {.cpu = SWARM_RESOURCE_UNIT},
		.return_count = 1,
	};

	if (i > 3)
		return 0;
	s.arg_count = i < 3 ? i : 3;
	s.ref_count = i ? 1 : 0;
	if (i == 3) {
		s.return_count = SWARM_RETURNS_MAX;
		s.timeout_ns = NS_PER_S;
		s.retries = 3;
		s.need.memory = GIB(1);
		s.need.custom_count = 1;
		snprintf(s.need.custom[0].name, sizeof(s.need.custom[0].name), "tape");
		s.need.custom[0].amount = 20000;
	}
	swi_spec_encode(&w, &s, args);
	return w.len;
}
