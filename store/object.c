/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.c - get and put in shared memory. See object.h; the index protocol stands in index.c.
 *
 * What a process killed between two steps leaves, and who undoes it: a pin (vanishes with its table), an
 * object without a slot (the walk of its grant), a CLAIMED or DEAD slot (the intent names the object; it is
 * stored before the slot changes, and cleared when nothing is left to be undone).
 */
#include "store/lc.h"

#define AHEAD_NS NS_PER_MS /* longer than that a busy node is not waited for without asking */

static _Thread_local uint32_t intent_hint;
static _Atomic uint32_t intent_threads;

int swi_lc_create(const struct swi_lc_opts *opts, struct swi_lc **out)
{
	struct swi_lc *lc = aligned_alloc(SWI_CACHE_LINE, sizeof(*lc));
	int rc;

	if (!lc)
		return -ENOMEM;
	memset(lc, 0, sizeof(*lc));
	lc->o = *opts;
	lc->arena = opts->arena;
	lc->arena_bytes = opts->index->arena_bytes;
	lc->shm = opts->shm;
	rc = swi_index_open(&lc->index, opts->index, opts->index->index_bytes);
	if (!rc && (lc->shm->magic != SWI_SHM_MAGIC || lc->shm->version != SWI_SHM_VERSION))
		rc = SWARM_EVERSION;
	if (rc) {
		free(lc);
		return rc;
	}
	swi_calls_init(lc);
	swi_chunks_init(lc);
	*out = lc;
	return 0;
}

void swi_lc_destroy(struct swi_lc *lc)
{
	if (!lc)
		return;
	swi_chunks_fini(lc);
	swi_calls_fini(lc);
	free(lc);
}

uint32_t swi_lc_node(const struct swi_lc *lc)
{
	return atomic_load_explicit(&lc->index.head->node, memory_order_relaxed);
}

bool swi_lc_durable(const struct swi_lc *lc)
{
	return atomic_load_explicit(&lc->index.head->durable, memory_order_relaxed);
}

/* The header that a slot leads to, if its extent can lie in the arena at all. */
static struct swi_object_head *head_at(struct swi_lc *lc, uint64_t offset)
{
	if (SWI_UNLIKELY(offset > lc->arena_bytes - sizeof(struct swi_object_head)))
		return NULL;
	return (void *)(lc->arena + offset);
}

static bool is_object(const struct swi_lc *lc, const struct swi_object_head *h,
		      struct swarm_oid id, uint32_t gen20, uint64_t offset)
{
	/*
	 * Partner: the sealer's release of the state, in swi_lc_seal(). Who found the slot has acquired that already; who was
	 * told by the node has it only by way of the node, which may see the index at another address.
	 */
	(void)atomic_load_explicit(&h->state, memory_order_acquire);
	return h->oid[0] == id.w[0] && h->oid[1] == id.w[1] && (h->gen & 0xfffffu) == gen20 &&
	       h->magic == SWI_OBJ_MAGIC &&
	       h->len <= lc->arena_bytes - offset - sizeof(*h);
}

static void touch(struct swi_lc *lc, struct swi_object_head *h)
{
	const uint16_t now =
	    (uint16_t)atomic_load_explicit(&lc->index.head->tick, memory_order_relaxed);

	if (atomic_load_explicit(&h->touch, memory_order_relaxed) != now)
		atomic_store_explicit(&h->touch, now, memory_order_relaxed);
}

static void make_view(struct swi_lc *lc, struct swi_object_head *h, uint32_t pin,
		      struct swarm_view *out)
{
	touch(lc, h);
	out->data = h + 1;
	out->len = h->len;
	out->ref = (struct swarm_ref){.id = {.w = {h->oid[0], h->oid[1]}}, .home = h->home};
	out->priv[0] = (uint64_t)pin + 1;
	out->priv[1] = (uint64_t)((uint8_t *)h - lc->arena);
}

int swi_lc_try_get(struct swi_lc *lc, struct swarm_ref ref, struct swarm_view *out_view)
{
	const uint64_t key = swi_index_key(ref.id);

	for (;;) {
		struct swi_index_hit hit;
		uint32_t pin;

		if (!swi_index_find(&lc->index, key, &hit))
			return -ENOENT;
		const uint64_t offset = swi_slot_offset(hit.word);
		struct swi_object_head *h = head_at(lc, offset);

		if (SWI_UNLIKELY(!h))
			return -ENOENT;
		__builtin_prefetch(h);
		const int rc = swi_pin_set(lc->shm, offset, &pin);

		if (SWI_UNLIKELY(rc))
			return rc;
		if (SWI_UNLIKELY(!swi_index_still(&lc->index, &hit))) {
			swi_pin_clear(lc->shm, pin);
			continue;
		}
		if (SWI_UNLIKELY(!is_object(lc, h, ref.id, swi_slot_gen(hit.word), offset))) {
			swi_pin_clear(lc->shm, pin);
			return -ENOENT; /* another id with the same key */
		}
		make_view(lc, h, pin, out_view);
		return 0;
	}
}

int swi_lc_adopt(struct swi_lc *lc, struct swarm_ref ref, uint64_t offset, uint32_t gen20,
		 struct swarm_view *out_view)
{
	struct swi_object_head *h = offset % SWI_GRANULE ? NULL : head_at(lc, offset);
	uint32_t pin;
	const int rc = h ? swi_pin_set(lc->shm, offset, &pin) : -EPROTO;

	if (rc)
		return rc;
	if (!is_object(lc, h, ref.id, gen20, offset)) {
		swi_pin_clear(lc->shm, pin);
		return SWARM_ECORRUPT;
	}
	make_view(lc, h, pin, out_view);
	return 0;
}

int swi_lc_accept(struct swi_lc *lc, struct swarm_ref ref, uint64_t offset, uint32_t gen20,
		  struct swarm_view *out_view)
{
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	const int rc = swi_lc_adopt(lc, ref, offset, gen20, out_view);

	/* The node's hold covers the object until it has read this: by then our pin stands. */
	swi_wr_u64(&w, offset);
	if (swi_lc_try_post_quiet(lc, SWI_L_HELD_DONE, buf, w.len) == -EAGAIN)
		(void)!swi_lc_post(lc, SWI_L_HELD_DONE, buf, w.len, NULL);
	return rc;
}

struct got {
	uint64_t offset;
	uint32_t gen20;
};

static void got_object(struct swi_call *call, int status, struct swi_rd *body)
{
	struct got *g = call->owner;

	if (status)
		return;
	g->offset = swi_rd_u64(body);
	g->gen20 = swi_rd_u32(body);
	if (body->bad)
		call->status = -EPROTO;
}

int swi_lc_get(struct swi_lc *lc, struct swarm_ref ref, uint64_t timeout_ns,
	       struct swarm_view *out_view)
{
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	struct got g = {0};
	int status, rc = swi_lc_try_get(lc, ref, out_view);

	if (SWI_LIKELY(rc != -ENOENT) || timeout_ns == 0)
		return rc;
	swi_wr_ref(&w, ref);
	swi_wr_u64(&w, timeout_ns);
	rc = swi_lc_call(lc, SWI_L_GET, buf, w.len, timeout_ns, got_object, &g, &status);
	if (rc || status)
		return rc ? rc : status;
	return swi_lc_accept(lc, ref, g.offset, g.gen20, out_view);
}

/* ---- a part of it ---- */

struct got_part {
	uint64_t offset, distance;
	uint32_t gen20;
};

static void got_part(struct swi_call *call, int status, struct swi_rd *body)
{
	struct got_part *g = call->owner;

	if (status)
		return;
	g->offset = swi_rd_u64(body);
	g->gen20 = swi_rd_u32(body);
	g->distance = swi_rd_u64(body);
	if (body->bad)
		call->status = -EPROTO;
}

/* @distance: from the extent's first byte, its header, to the part's. */
static int narrow(struct swi_lc *lc, uint64_t distance, uint64_t len, int wrong, struct swarm_view *view)
{
	const uint64_t head = sizeof(struct swi_object_head), end = head + view->len;

	if (distance < head || distance > end || len > end - distance) {
		swi_lc_release(lc, view);
		return wrong;
	}
	view->data = (const uint8_t *)view->data + (distance - head);
	view->len = len;
	return 0;
}

int swi_lc_get_range(struct swi_lc *lc, struct swarm_ref ref, uint64_t from, uint64_t len,
		     uint64_t timeout_ns, struct swarm_view *out_view)
{
	const uint64_t head = sizeof(struct swi_object_head);
	struct got_part g = {0};
	struct swarm_view v;
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	int status, rc;

	if (!len || len > UINT64_MAX / 2 || from > UINT64_MAX / 2)
		return -EINVAL;
	rc = swi_lc_try_get(lc, ref, &v);
	if (!rc) {
		rc = narrow(lc, head + from, len, -EINVAL, &v);
	} else if (rc == -ENOENT && timeout_ns) {
		swi_wr_ref(&w, ref);
		swi_wr_u64(&w, from);
		swi_wr_u64(&w, len);
		swi_wr_u64(&w, timeout_ns);
		rc = swi_lc_call(lc, SWI_L_GET_RANGE, buf, w.len, timeout_ns, got_part, &g, &status);
		rc = rc ? rc : status;
		if (!rc)
			rc = swi_lc_accept(lc, ref, g.offset, g.gen20, &v);
		if (!rc)
			rc = narrow(lc, g.distance, len, SWARM_ECORRUPT, &v);
	}
	if (!rc)
		*out_view = v;
	return rc;
}

void swi_lc_release(struct swi_lc *lc, struct swarm_view *view)
{
	if (view->priv[0] && view->priv[0] <= SWI_PIN_SLOTS)
		swi_pin_clear(lc->shm, (uint32_t)view->priv[0] - 1);
	memset(view, 0, sizeof(*view));
}

int swi_lc_contains(struct swi_lc *lc, struct swarm_ref ref)
{
	struct swi_index_hit hit;

	return swi_index_find(&lc->index, swi_index_key(ref.id), &hit);
}

/* ---- create ---- */

static int try_create(struct swi_lc *lc, struct swarm_ref ref, uint64_t len, bool blind,
		      struct swarm_buf *out_buf)
{
	const bool peers = atomic_load_explicit(&lc->index.head->clustered, memory_order_relaxed);
	struct swi_object_head head = {.oid = {ref.id.w[0], ref.id.w[1]},
				       .home = ref.home,
				       .len = len,
				       .flags = ref.home ? 0 : SWI_OBJ_F_NAMED | (peers ? SWI_OBJ_F_NEW : 0)};
	struct swi_chunk *c;
	uint64_t offset;

	if (len > lc->arena_bytes || swi_extent_bytes(len) > lc->arena_bytes)
		return -E2BIG;
	swi_index_prefetch(&lc->index, swi_index_key(ref.id));
	const int rc = swi_chunk_carve(lc, swi_extent_bytes(len), &head, blind, &c, &offset);

	if (rc)
		return rc;
	out_buf->data = lc->arena + offset + sizeof(head);
	out_buf->len = len;
	out_buf->ref = ref;
	out_buf->priv[0] = (uint64_t)(uintptr_t)c;
	out_buf->priv[1] = offset;
	return 0;
}

int swi_lc_try_create(struct swi_lc *lc, struct swarm_ref ref, uint64_t len, struct swarm_buf *out_buf)
{
	return try_create(lc, ref, len, false, out_buf);
}

struct granted {
	struct swi_lc *lc;
	bool large;
};

static void got_chunk(struct swi_call *call, int status, struct swi_rd *body)
{
	const struct granted *g = call->owner;

	if (status)
		return;
	const uint64_t offset = swi_rd_u64(body);
	const uint64_t bytes = swi_rd_u64(body);
	const uint32_t gen = swi_rd_u32(body);

	if (body->bad)
		call->status = -EPROTO;
	else
		swi_lc_grant(g->lc, offset, bytes, gen, g->large);
}

/* ---- room for large ones, before it is needed ---- */

static void got_ahead(struct swi_call *call, int status, struct swi_rd *body)
{
	struct swi_lc *lc = call->owner;

	if (status) {
		swi_chunk_room_short(lc);
	} else {
		const uint64_t offset = swi_rd_u64(body);
		const uint64_t bytes = swi_rd_u64(body);
		const uint32_t gen = swi_rd_u32(body);

		if (!body->bad)
			swi_lc_grant(lc, offset, bytes, gen, true);
	}
	atomic_store(&lc->ahead_on, false); /* the call is the next asker's */
}

/* The round trip goes on while the caller fills the object that it has. The node waits for no room: a refusal comes at once. */
static void ask_ahead(struct swi_lc *lc, uint64_t len)
{
	const uint64_t bytes = swi_chunk_ahead(lc, len);
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (SWI_LIKELY(!bytes))
		return;
	lc->ahead = (struct swi_call){.on_reply = got_ahead, .owner = lc, .detached = true};
	swi_wr_u64(&w, bytes);
	swi_wr_u8(&w, true);
	swi_wr_u64(&w, 0);
	if (swi_lc_ask(lc, SWI_L_CHUNK, buf, w.len, &lc->ahead))
		atomic_store(&lc->ahead_on, false); /* the ring is full: whoever needs room asks */
}

static bool ahead_is_over(void *arg)
{
	struct swi_lc *lc = arg;

	return !atomic_load(&lc->ahead_on);
}

/* What was asked for ahead is nearer than an answer to a new question. True: look whether there is room. */
static bool wait_ahead(struct swi_lc *lc, uint64_t timeout_ns)
{
	return atomic_load(&lc->ahead_on) &&
	       !swi_lc_wait_for(lc, ahead_is_over, lc, swi_min_u64(timeout_ns, AHEAD_NS));
}

static int create(struct swi_lc *lc, struct swarm_ref ref, uint64_t len, uint64_t timeout_ns,
		  bool blind, struct swarm_buf *out_buf)
{
	for (bool waited = false;;) {
		struct granted g = {.lc = lc};
		uint8_t buf[32];
		struct swi_wr w = swi_wr_init(buf, sizeof(buf));
		uint64_t bytes;
		int status, rc = try_create(lc, ref, len, blind, out_buf);

		if (!rc && len >= SWI_LARGE_MIN)
			ask_ahead(lc, len);
		if (SWI_LIKELY(rc != -EAGAIN))
			return rc;
		if (len >= SWI_LARGE_MIN && !waited) {
			waited = true;
			if (wait_ahead(lc, timeout_ns))
				continue;
		}
		swi_lc_want_chunk(lc, len, &bytes, &g.large);
		swi_wr_u64(&w, bytes);
		swi_wr_u8(&w, g.large);
		const bool several = g.large && bytes > swi_extent_bytes(len);
		const uint64_t patience = several ? 0 : timeout_ns;

		swi_wr_u64(&w, patience);
		/* The node answers at once when it is to wait for nothing; it may be slow all the same. */
		rc = swi_lc_call(lc, SWI_L_CHUNK, buf, w.len, timeout_ns, got_chunk, &g, &status);
		if (!rc && status && several)
			swi_chunk_room_short(lc);
		else if (rc || status)
			return rc ? rc : status;
	}
}

int swi_lc_create_object(struct swi_lc *lc, struct swarm_ref ref, uint64_t len, uint64_t timeout_ns,
			 struct swarm_buf *out_buf)
{
	return create(lc, ref, len, timeout_ns, false, out_buf);
}

int swi_lc_create_blind(struct swi_lc *lc, struct swarm_ref ref, uint64_t len, uint64_t timeout_ns,
			struct swarm_buf *out_buf)
{
	return create(lc, ref, len, timeout_ns, true, out_buf);
}

/* ---- seal, abort ---- */

/* Of this process's intents one that no other thread uses, saying that @offset is about to be sealed or deleted. */
static struct swi_intent *take_intent(struct swi_lc *lc, uint64_t offset, bool is_delete)
{
	if (SWI_UNLIKELY(!intent_hint))
		intent_hint = 1 + atomic_fetch_add(&intent_threads, 1) % (SWI_INTENT_SLOTS / 4) * 4;
	for (uint32_t i = intent_hint - 1;; i = (i + 1) % SWI_INTENT_SLOTS) {
		struct swi_intent *in = &lc->shm->intent[i];
		uint64_t none = 0;

		/* Its last owner's count was stored before it let go (release). */
		if (atomic_load_explicit(&in->what, memory_order_acquire) == 0 &&
		    atomic_compare_exchange_strong(
			&in->what, &none,
			is_delete ? swi_intent_delete(offset)
				  : swi_intent_seal(offset, atomic_load_explicit(
								&in->sealed, memory_order_relaxed)))) {
			intent_hint = i + 1;
			return in;
		}
		swi_cpu_relax(); /* more than 64 threads of this process in a seal at once */
	}
}

static void drop_intent(struct swi_intent *in)
{
	atomic_store_explicit(&in->what, 0, memory_order_release);
}

static void announce(struct swi_lc *lc, struct swarm_ref ref, uint64_t offset)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_ref(&w, ref);
	swi_wr_u64(&w, offset);
	(void)!swi_lc_post(lc, SWI_L_SEALED, buf, w.len, NULL);
}

/* For subscribers only: nobody waits, so neither do we; what cannot be said is counted. */
static void mention(struct swi_lc *lc, struct swarm_ref ref, uint64_t offset)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_ref(&w, ref);
	swi_wr_u64(&w, offset);
	if (swi_lc_try_post(lc, SWI_L_SEALED, buf, w.len, NULL))
		atomic_fetch_add_explicit(&lc->shm->unsaid, 1, memory_order_relaxed);
}

int swi_lc_seal(struct swi_lc *lc, struct swarm_buf *buf)
{
	struct swi_chunk *c = (struct swi_chunk *)(uintptr_t)buf->priv[0];
	struct swi_shm_head *index = lc->index.head;
	struct swi_object_head *h = (void *)(lc->arena + buf->priv[1]);
	int rc;

	if (!c)
		return -EINVAL;
	struct swi_intent *in = take_intent(lc, buf->priv[1], false);
	const bool promised = h->flags & SWI_OBJ_F_NEW; /* the node changes them as soon as it is published */

	atomic_store_explicit(&h->state, SWI_OBJ_SEALED, memory_order_release);
	rc = swi_index_insert(&lc->index, swi_index_key(buf->ref.id), c->gen, buf->priv[1],
			      swi_extent_bytes(buf->len), NULL);
	if (rc)
		atomic_store_explicit(&h->state, SWI_OBJ_ABORTED, memory_order_relaxed);
	else
		atomic_store_explicit(&in->sealed,
				      atomic_load_explicit(&in->sealed, memory_order_relaxed) + 1,
				      memory_order_relaxed);
	/* Sealed first, waiters read after (seq_cst). Partner: swi_want(), which raises it and then looks. */
	if (!rc &&
	    (atomic_load(&index->waiters) || promised ||
	     (!buf->ref.home && atomic_load_explicit(&index->clustered, memory_order_relaxed))))
		announce(lc, buf->ref, buf->priv[1]);
	else if (!rc && SWI_UNLIKELY(atomic_load(&index->subscribers))) /* partner: do_subscribe() in notify.c */
		mention(lc, buf->ref, buf->priv[1]);
	drop_intent(in); /* only now: a node that was not told of the object tells those who wait for it */
	swi_chunk_put(lc, c);
	memset(buf, 0, sizeof(*buf));
	return rc;
}

void swi_lc_abort(struct swi_lc *lc, struct swarm_buf *buf)
{
	struct swi_chunk *c = (struct swi_chunk *)(uintptr_t)buf->priv[0];
	struct swi_object_head *h = (void *)(lc->arena + buf->priv[1]);

	if (!c)
		return;
	atomic_store_explicit(&h->state, SWI_OBJ_ABORTED, memory_order_relaxed);
	swi_chunk_put(lc, c);
	memset(buf, 0, sizeof(*buf));
}

/*
 * It vanishes at once. Should we die before the node is told, the intent leads it to the slot. The header is read without a
 * pin: if it was reused meanwhile, the slot has changed and kill fails; if the node has just moved the object, the slot
 * leads elsewhere by now. NULL: there is nothing to hide.
 */
static struct swi_intent *hide(struct swi_lc *lc, struct swarm_ref ref)
{
	struct swi_index_hit hit;

	while (swi_index_find(&lc->index, swi_index_key(ref.id), &hit)) {
		const uint64_t offset = swi_slot_offset(hit.word);
		const struct swi_object_head *h = head_at(lc, offset);

		__builtin_prefetch(h);
		struct swi_intent *in = take_intent(lc, offset, true);

		if (h && is_object(lc, h, ref.id, swi_slot_gen(hit.word), offset)
			? swi_index_kill(&lc->index, &hit)
			: swi_index_still(&lc->index, &hit)) /* another id with the same key */
			return in;
		drop_intent(in);
	}
	return NULL;
}

int swi_lc_delete(struct swi_lc *lc, struct swarm_ref ref)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	struct swi_intent *in = NULL;

	swi_index_prefetch_own(&lc->index, swi_index_key(ref.id)); /* most of a delete's time is this miss */
	swi_prefetch_own(&lc->req.ring->tail); /* the node has read it since: it comes back meanwhile */
	if (!atomic_load_explicit(&lc->index.head->keeps, memory_order_relaxed)) /* else tasks may still need it */
		in = hide(lc, ref);
	swi_wr_ref(&w, ref);
	const int rc = swi_lc_post(lc, SWI_L_DELETE, buf, w.len, NULL);

	if (in)
		drop_intent(in);
	return rc;
}
