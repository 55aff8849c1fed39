/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk.c - the room that a process carves its objects from. See lc.h.
 *
 * Within a lane the header of an object is complete (its generation last) before the next one can be
 * carved behind it: so the headers in a chunk form a chain that the node core can walk when
 * this process is dead. Several lanes keep threads apart; a lane costs a chunk only once it is used.
 *
 * Large objects have extents of their own, several in one grant where a process makes many; when the last of it is used
 * the next is asked for at once (object.c), so that a put waits for no answer. Never before: what lies unused is one grant at most.
 */
#include "store/lc.h"

void swi_chunks_init(struct swi_lc *lc)
{
	for (uint32_t i = 0; i < SWI_LC_LANES; i++)
		pthread_mutex_init(&lc->lane[i].lock, NULL);
	pthread_mutex_init(&lc->spare_lock, NULL);
	swi_list_init(&lc->spare);
	swi_list_init(&lc->large);
	swi_list_init(&lc->chunks);
}

void swi_chunks_fini(struct swi_lc *lc)
{
	while (!swi_list_empty(&lc->chunks)) { /* also those of buffers that are still open */
		struct swi_chunk *c = swi_list_first(&lc->chunks, struct swi_chunk, all);

		swi_list_del(&c->all);
		free(c);
	}
	for (uint32_t i = 0; i < SWI_LC_LANES; i++)
		pthread_mutex_destroy(&lc->lane[i].lock);
	pthread_mutex_destroy(&lc->spare_lock);
}

static void sub_refs(struct swi_lc *lc, struct swi_chunk *c, uint64_t n)
{
	uint8_t buf[16];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (atomic_fetch_sub_explicit(&c->refs, n, memory_order_acq_rel) != n)
		return;
	swi_wr_u64(&w, c->offset);
	swi_wr_u64(&w, c->pos);
	/* Nobody waits for it: no doorbell. When the ring is full, ask the node to look. */
	if (swi_lc_try_post_quiet(lc, SWI_L_CHUNK_DONE, buf, w.len) == -EAGAIN)
		(void)!swi_lc_post(lc, SWI_L_CHUNK_DONE, buf, w.len, NULL);
	pthread_mutex_lock(&lc->spare_lock);
	swi_list_del(&c->all);
	pthread_mutex_unlock(&lc->spare_lock);
	free(c);
}

void swi_chunk_put(struct swi_lc *lc, struct swi_chunk *c)
{
	sub_refs(lc, c, 1);
}

/*
 * The lane or list has no use for it any more. Carving counts in plain memory, under the lock that it needs
 * anyway; only here do the objects carved become references, less those whose buffers ended already.
 */
static void let_go(struct swi_lc *lc, struct swi_chunk *c)
{
	sub_refs(lc, c, SWI_CHUNK_OURS - c->carved);
}

#define BATCH_MAX   MIB(16)
#define STREAK	    2	/* large objects made before room for several is asked for at once */
#define SHORT_FOR (-64) /* requests */

void swi_chunk_room_short(struct swi_lc *lc)
{
	atomic_store_explicit(&lc->large_streak, SHORT_FOR, memory_order_relaxed);
}

/* How many large objects with extents of @ext are worth one request, and may lie unused. */
static uint64_t batch_of(const struct swi_lc *lc, uint64_t ext)
{
	return swi_min_u64(lc->arena_bytes / 64, BATCH_MAX) / ext;
}

uint64_t swi_chunk_ahead(struct swi_lc *lc, uint64_t len)
{
	const uint64_t ext = swi_extent_bytes(len), n = batch_of(lc, ext);

	if (SWI_LIKELY(!atomic_load_explicit(&lc->large_dry, memory_order_relaxed)) || n < 2 ||
	    atomic_load_explicit(&lc->large_streak, memory_order_relaxed) <= STREAK ||
	    atomic_exchange(&lc->ahead_on, true))
		return 0;
	atomic_store_explicit(&lc->large_dry, false, memory_order_relaxed);
	return n * ext;
}

/* A large object needs a round trip to the node core; a process that makes many takes room for several. */
void swi_lc_want_chunk(struct swi_lc *lc, uint64_t len, uint64_t *out_bytes, bool *out_large)
{
	const uint64_t ext = swi_extent_bytes(len);
	const uint64_t n = batch_of(lc, ext);

	*out_large = ext >= SWI_LARGE_MIN;
	if (!*out_large)
		*out_bytes = swi_max_u64(lc->index.head->chunk_bytes, swi_align_up(ext, SWI_PAGE));
	else if (atomic_fetch_add_explicit(&lc->large_streak, 1, memory_order_relaxed) >= STREAK &&
		 n > 1)
		*out_bytes = n * ext;
	else
		*out_bytes = ext;
}

/* Extents begun for objects of another size: nothing more is put there. Under spare_lock. */
static void take_begun(struct swi_lc *lc, struct swi_list *out)
{
	swi_list_for_each_safe(it, &lc->large)
	{
		struct swi_chunk *c = swi_list_entry(it, struct swi_chunk, link);

		if (!c->pos)
			continue;
		swi_list_del(&c->link);
		swi_list_push_back(out, &c->link);
	}
}

void swi_lc_grant(struct swi_lc *lc, uint64_t offset, uint64_t bytes, uint32_t gen, bool large)
{
	struct swi_chunk *c = calloc(1, sizeof(*c));
	struct swi_list begun;
	uint8_t buf[16];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (!c || offset > lc->arena_bytes || bytes > lc->arena_bytes - offset) {
		free(c); /* no memory for the record: back with it */
		swi_wr_u64(&w, offset);
		swi_wr_u64(&w, 0);
		swi_lc_try_post(lc, SWI_L_CHUNK_DONE, buf, w.len, NULL);
		return;
	}
	c->offset = offset;
	c->bytes = bytes;
	c->gen = gen;
	c->large = large;
	atomic_init(&c->refs, SWI_CHUNK_OURS);
	swi_list_init(&begun);
	pthread_mutex_lock(&lc->spare_lock);
	if (large) {
		take_begun(lc, &begun);
		atomic_store_explicit(&lc->large_dry, false, memory_order_relaxed);
	}
	swi_list_push_back(large ? &lc->large : &lc->spare, &c->link);
	swi_list_push_back(&lc->chunks, &c->all);
	pthread_mutex_unlock(&lc->spare_lock);
	while (!swi_list_empty(&begun)) {
		c = swi_list_first(&begun, struct swi_chunk, link);
		swi_list_del(&c->link);
		let_go(lc, c);
	}
}

static struct swi_chunk *take_spare(struct swi_lc *lc, uint64_t bytes)
{
	struct swi_chunk *c = NULL;

	pthread_mutex_lock(&lc->spare_lock);
	swi_list_for_each(it, &lc->spare)
	{
		struct swi_chunk *s = swi_list_entry(it, struct swi_chunk, link);

		if (s->bytes >= bytes) {
			swi_list_del(&s->link);
			c = s;
			break;
		}
	}
	pthread_mutex_unlock(&lc->spare_lock);
	return c;
}

uint64_t swi_chunks_room(struct swi_lc *lc)
{
	struct swi_lane *lane = &lc->lane[0]; /* the one that lock_lane() tries first */
	uint64_t room = 0;

	if (!pthread_mutex_trylock(&lane->lock)) {
		room = lane->cur ? lane->cur->bytes - lane->cur->pos : 0;
		pthread_mutex_unlock(&lane->lock);
	}
	pthread_mutex_lock(&lc->spare_lock);
	swi_list_for_each(it, &lc->spare)
		room += swi_list_entry(it, struct swi_chunk, link)->bytes;
	pthread_mutex_unlock(&lc->spare_lock);
	return room;
}

static void write_head(struct swi_lc *lc, const struct swi_chunk *c, uint64_t offset,
		       const struct swi_object_head *head)
{
	struct swi_object_head *h = (void *)(lc->arena + offset);

	__atomic_store_n(&h->gen, 0, __ATOMIC_RELAXED);
	h->magic = SWI_OBJ_MAGIC;
	atomic_store_explicit(&h->state, SWI_OBJ_WRITING, memory_order_relaxed);
	atomic_store_explicit(&h->touch,
			      (uint16_t)atomic_load_explicit(&lc->index.head->tick,
							     memory_order_relaxed),
			      memory_order_relaxed);
	h->oid[0] = head->oid[0];
	h->oid[1] = head->oid[1];
	h->home = head->home;
	h->epoch = lc->index.head->boot_epoch;
	h->len = head->len;
	atomic_store_explicit(&h->digest, 0, memory_order_relaxed);
	h->flags = head->flags;
	h->crc = 0;
	/* From here on the chain has this link. Partner: is_link() in walk.c. */
	__atomic_store_n(&h->gen, c->gen, __ATOMIC_RELEASE);
}

static int carve_large(struct swi_lc *lc, uint64_t bytes, struct swi_object_head *head,
		       struct swi_chunk **out_chunk, uint64_t *out_offset)
{
	struct swi_chunk *c = NULL;
	bool full = false;

	pthread_mutex_lock(&lc->spare_lock);
	swi_list_for_each(it, &lc->large)
	{
		struct swi_chunk *l = swi_list_entry(it, struct swi_chunk, link);

		if (l->bytes - l->pos >= bytes) {
			c = l;
			break;
		}
	}
	if (c) {
		*out_offset = c->offset + c->pos;
		write_head(lc, c, *out_offset, head);
		c->pos += bytes;
		c->carved++;
		full = c->bytes - c->pos < SWI_LARGE_MIN;
		if (full)
			swi_list_del(&c->link);
		if (full && swi_list_empty(&lc->large))
			atomic_store_explicit(&lc->large_dry, true, memory_order_relaxed);
	}
	pthread_mutex_unlock(&lc->spare_lock);
	if (!c)
		return -EAGAIN;
	*out_chunk = c;
	if (full) /* the list's reference; the buffer's keeps it */
		let_go(lc, c);
	return 0;
}

static bool is_there(struct swi_lc *lc, const struct swi_object_head *head)
{
	const struct swarm_oid id = {.w = {head->oid[0], head->oid[1]}};
	struct swi_index_hit hit;

	return swi_index_find(&lc->index, swi_index_key(id), &hit);
}

static struct swi_lane *lock_lane(struct swi_lc *lc)
{
	for (uint32_t i = 0; i < SWI_LC_LANES; i++)
		if (!pthread_mutex_trylock(&lc->lane[i].lock))
			return &lc->lane[i];
	pthread_mutex_lock(&lc->lane[0].lock);
	return &lc->lane[0];
}

int swi_chunk_carve(struct swi_lc *lc, uint64_t bytes, struct swi_object_head *head, bool blind,
		    struct swi_chunk **out_chunk, uint64_t *out_offset)
{
	struct swi_chunk *c, *full = NULL;

	if (bytes >= SWI_LARGE_MIN)
		return is_there(lc, head) ? -EEXIST
					  : carve_large(lc, bytes, head, out_chunk, out_offset);
	struct swi_lane *lane = lock_lane(lc);

	if (SWI_UNLIKELY(!lane->cur || lane->cur->bytes - lane->cur->pos < bytes)) {
		c = take_spare(lc, bytes);
		if (!c) {
			pthread_mutex_unlock(&lane->lock);
			return is_there(lc, head) ? -EEXIST : -EAGAIN;
		}
		full = lane->cur;
		lane->cur = c;
	}
	c = lane->cur;
	*out_offset = c->offset + c->pos;
	write_head(lc, c, *out_offset, head);
	const int rc = !blind && is_there(lc, head) ? -EEXIST : 0; /* then the next object is written over it */

	if (!rc) {
		c->pos += bytes;
		c->carved++;
		__builtin_prefetch(lc->arena + *out_offset + bytes, 1); /* where the next one will lie */
	}
	pthread_mutex_unlock(&lane->lock);
	*out_chunk = c;
	if (full)
		let_go(lc, full);
	return rc;
}
