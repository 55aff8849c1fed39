/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_ring.c - a client's request ring as an evil client leaves it: the input is the ring's memory
 * (8 bytes of tail, 8 of head, then data). The consumer must stay inside it and come to an end.
 */
#include "tests/fuzz/fuzz.h"
#include "transport/base/ring.h"

#define CAP 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct swi_ring *ring = aligned_alloc(SWI_CACHE_LINE, swi_align_up(swi_ring_bytes(CAP), SWI_CACHE_LINE));
	struct swi_ring_end end;
	struct swi_msg msg;
	uint64_t pos[2] = {0, 0}, seen = 0, sum = 0;

	FUZZ_CHECK(ring);
	swi_ring_init(ring);
	memset(ring->data, 0, CAP);
	swi_ring_attach(&end, ring, CAP); /* the consumer attached while all was well */
	memcpy(pos, data, size < sizeof(pos) ? size : sizeof(pos));
	if (size > sizeof(pos))
		memcpy(ring->data, data + sizeof(pos), size - sizeof(pos) < CAP ? size - sizeof(pos) : CAP);
	atomic_store(&ring->tail, pos[0]);
	atomic_store(&ring->head, pos[1]);
	while (swi_ring_peek(&end, &msg) == 1) {
		const uint8_t *body = msg.body;

		FUZZ_CHECK(body >= ring->data && body + msg.len <= ring->data + CAP);
		for (uint32_t i = 0; i < msg.len; i++)
			sum += body[i];
		swi_ring_pop(&end);
		FUZZ_CHECK(++seen <= CAP); /* every message takes room: there cannot be more */
	}
	(void)swi_ring_ready(&end);
	free(ring);
	return sum == UINT64_MAX; /* keeps the reads; 0 in every real case */
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	struct swi_ring *ring = aligned_alloc(SWI_CACHE_LINE, swi_align_up(swi_ring_bytes(CAP), SWI_CACHE_LINE));
	struct swi_ring_end end;
	uint64_t pos[2];
	size_t len = 0;

	FUZZ_CHECK(ring && cap >= CAP + sizeof(pos));
	if (i < 3) {
		swi_ring_init(ring);
		memset(ring->data, 0, CAP);
		swi_ring_attach(&end, ring, CAP);
		for (unsigned int k = 0; k <= i; k++)
			FUZZ_CHECK(!swi_ring_push(&end, (uint16_t)(k + 1), 0, k, "some bytes of body", 10 + k, "more, and more", 4 * k));
		pos[0] = atomic_load(&ring->tail);
		pos[1] = atomic_load(&ring->head);
		memcpy(buf, pos, sizeof(pos));
		memcpy(buf + sizeof(pos), ring->data, pos[0] + 64);
		len = sizeof(pos) + pos[0] + 64;
	}
	free(ring);
	return len;
}
