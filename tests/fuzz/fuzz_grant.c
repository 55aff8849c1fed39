/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_grant.c - the GRANT of a process of this host. First 4 bytes: how large its files are. What is accepted must
 * encode to the same bytes again, and a memory that fits into its file ends within it.
 */
#include "tests/fuzz/fuzz.h"
#include "transport/shm/shm_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct swi_rd r = swi_rd_init(data, (uint32_t)size), body;
	const uint64_t file_len = (uint64_t)swi_rd_u32(&r) << 12;
	uint8_t again[SHM_GRANT_MAX];
	struct swi_wr w = swi_wr_init(again, sizeof(again));
	struct shm_grant m;

	if (r.bad)
		return 0;
	body = swi_rd_init(data + r.pos, r.len - r.pos);
	if (swi_shm_get_grant(&body, &m))
		return 0;
	FUZZ_CHECK(m.word && m.slot < SHM_EPS_MAX && m.count <= SHM_WINDOWS_MAX);
	for (uint32_t i = 0; i < m.count; i++) {
		uint64_t end;
		const bool over = __builtin_add_overflow(m.mem[i].off, m.mem[i].len, &end);

		FUZZ_CHECK(swi_shm_memory_fits(&m.mem[i], file_len) == (!over && end <= file_len));
	}
	swi_shm_put_grant(&w, &m);
	FUZZ_CHECK(swi_wr_ok(&w) && w.len == body.len + 1 && again[0] == SHM_GRANT);
	FUZZ_CHECK(!memcmp(again + 1, body.buf, body.len));
	return 0;
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	static const uint32_t count[] = {0, 1, 3, SHM_WINDOWS_MAX};
	struct shm_grant m = {.slot = 7 * i, .word = 3};
	struct swi_wr w = swi_wr_init(buf + 3, (uint32_t)cap - 3), head = swi_wr_init(buf, 4);

	if (i >= SWI_ARRAY_LEN(count))
		return 0;
	for (; m.count < count[i]; m.count++)
		m.mem[m.count] = (struct shm_memory){0x1111111111111111ull + m.count, m.count * MIB(1), MIB(1)};
	swi_shm_put_grant(&w, &m);
	swi_wr_u32(&head, MIB(4) >> 12); /* over the kind, which is not part of the body */
	return w.len + 3;
}
