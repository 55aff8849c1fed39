/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.c - see ring.h.
 *
 * Ordering: push stores the bytes, then tail with release (pairs with the acquire in ring_fill());
 * pop stores head with release (pairs with the acquire in push), so that the producer may overwrite.
 */
#include "transport/base/ring.h"

struct head { /* in the ring, 8-byte aligned */
	uint32_t len;
	uint16_t type;
	uint16_t flags;
	uint64_t req;
};

#define PAD_TYPE 0xffff

void swi_ring_init(struct swi_ring *ring)
{
	atomic_store_explicit(&ring->tail, 0, memory_order_relaxed);
	atomic_store_explicit(&ring->head, 0, memory_order_relaxed);
}

void swi_ring_attach(struct swi_ring_end *end, struct swi_ring *ring, uint64_t cap)
{
	*end = (struct swi_ring_end){.ring = ring, .cap = cap};
}

static bool has_room(struct swi_ring_end *e, uint64_t need)
{
	if (e->cap - (e->pos - e->cached) >= need)
		return true;
	const uint64_t head = atomic_load_explicit(&e->ring->head, memory_order_acquire);

	if (head > e->pos || e->pos - head > e->cap)
		return false; /* the consumer wrote nonsense: the ring looks full for ever */
	e->cached = head;
	return e->cap - (e->pos - e->cached) >= need;
}

int swi_ring_push(struct swi_ring_end *e, uint16_t type, uint16_t flags, uint64_t req, const void *a,
		  uint32_t alen, const void *b, uint32_t blen)
{
	const uint64_t body = (uint64_t)alen + blen;
	const uint64_t need = swi_align_up(sizeof(struct head) + body, sizeof(struct head));
	const uint64_t to_end = e->cap - (e->pos & (e->cap - 1));
	const uint64_t pad = need > to_end ? to_end : 0;

	if (body > swi_ring_body_max(e->cap))
		return -EMSGSIZE;
	if (!has_room(e, need + pad))
		return -EAGAIN;
	if (pad) {
		const struct head h = {.len = (uint32_t)(pad - sizeof(h)), .type = PAD_TYPE};

		memcpy(e->ring->data + (e->pos & (e->cap - 1)), &h, sizeof(h));
		e->pos += pad;
	}
	uint8_t *p = e->ring->data + (e->pos & (e->cap - 1));
	const struct head h = {.len = (uint32_t)body, .type = type, .flags = flags, .req = req};

	memcpy(p, &h, sizeof(h));
	if (alen)
		memcpy(p + sizeof(h), a, alen);
	if (blen)
		memcpy(p + sizeof(h) + alen, b, blen);
	swi_prefetch_own(p + need + SWI_CACHE_LINE); /* the consumer has it: the next message will not wait for it */
	e->pos += need;
	atomic_store_explicit(&e->ring->tail, e->pos, memory_order_release);
	return 0;
}

/* Bytes that can be read, or -EPROTO. */
static int64_t ring_fill(struct swi_ring_end *e)
{
	if (e->cached == e->pos) {
		e->cached = atomic_load_explicit(&e->ring->tail, memory_order_acquire);
		if (e->cached < e->pos || e->cached - e->pos > e->cap) {
			e->cached = e->pos; /* not to be believed later: look again next time, report again */
			return -EPROTO;
		}
	}
	return (int64_t)(e->cached - e->pos);
}

bool swi_ring_ready(struct swi_ring_end *e)
{
	return ring_fill(e) != 0;
}

int swi_ring_peek(struct swi_ring_end *e, struct swi_msg *out_msg)
{
	for (;;) {
		const int64_t fill = ring_fill(e);
		struct head h;

		if (fill <= 0)
			return (int)fill;
		const uint64_t at = e->pos & (e->cap - 1);

		if ((uint64_t)fill < sizeof(h) || e->cap - at < sizeof(h))
			return -EPROTO;
		memcpy(&h, e->ring->data + at, sizeof(h));
		const uint64_t size = swi_align_up(sizeof(h) + (uint64_t)h.len, sizeof(h));

		if (size > (uint64_t)fill || size > e->cap - at)
			return -EPROTO;
		if (h.type == PAD_TYPE) {
			e->pos += size;
			atomic_store_explicit(&e->ring->head, e->pos, memory_order_release);
			continue;
		}
		e->peeked = size;
		*out_msg = (struct swi_msg){.type = h.type,
					    .flags = h.flags,
					    .len = h.len,
					    .req = h.req,
					    .body = e->ring->data + at + sizeof(h)};
		return 1;
	}
}

void swi_ring_pop(struct swi_ring_end *e)
{
	e->pos += e->peeked;
	e->peeked = 0;
	atomic_store_explicit(&e->ring->head, e->pos, memory_order_release);
}
