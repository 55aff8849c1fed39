/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waitset.c - a persistent set of objects to wait for: client side. The node watches each object once, from its add on
 * (sets.c), and says which came; nothing is ever asked or looked through again, however often one waits.
 *
 * An item is pending, or in the ready list in the order in which it came; taking it ends it. All state is under
 * lc->note_lock, which the pump takes too; messages are posted without it. Since an answer names the id,
 * one that crosses a remove and a new add is still true: the object exists.
 */
#include "store/store_internal.h"
#include "transport/base/hash.h"

#define BATCH 4096u /* items of one message */

struct ws_item {
	struct swarm_oid id;
	UT_hash_handle hh;
	struct swi_list link; /* ws->ready; alone while pending */
	struct swarm_ref ref;
	uint64_t token;
	int status;
	bool ready;
};

struct swarm_waitset {
	struct swi_list link; /* lc->sets */
	struct swi_lc *lc;
	uint32_t number;
	struct ws_item *items;
	struct swi_list ready;
	_Atomic uint32_t count, ready_count; /* written with the lock; read without by who waits */
	struct swi_event event;
};

int swi_waitset_create(struct swi_lc *lc, struct swarm_waitset **out)
{
	struct swarm_waitset *ws = calloc(1, sizeof(*ws));

	if (!ws)
		return -ENOMEM;
	ws->lc = lc;
	ws->event.fd = -1;
	swi_list_init(&ws->ready);
	pthread_mutex_lock(&lc->note_lock);
	ws->number = ++lc->next_note;
	swi_list_push_back(&lc->sets, &ws->link);
	pthread_mutex_unlock(&lc->note_lock);
	*out = ws;
	return 0;
}

/* ---- items; with the lock ---- */

static struct ws_item *find(struct swarm_waitset *ws, struct swarm_oid id)
{
	struct ws_item *it;

	HASH_FIND(hh, ws->items, &id, sizeof(id), it);
	return it;
}

static void make_ready(struct swarm_waitset *ws, struct ws_item *it, int status)
{
	it->ready = true;
	it->status = status;
	swi_list_push_back(&ws->ready, &it->link);
	atomic_fetch_add(&ws->ready_count, 1);
	swi_event_raise(&ws->event);
}

static void item_free(struct swarm_waitset *ws, struct ws_item *it)
{
	HASH_DELETE(hh, ws->items, it);
	swi_list_del(&it->link);
	atomic_fetch_sub(&ws->count, 1);
	if (it->ready)
		atomic_fetch_sub(&ws->ready_count, 1);
	free(it);
}

/* 1: pending, the node is to be told. 0: ready at once. */
static int item_add(struct swarm_waitset *ws, struct swarm_ref ref, uint64_t token)
{
	struct ws_item *it = find(ws, ref.id) ? NULL : calloc(1, sizeof(*it));

	if (!it)
		return find(ws, ref.id) ? -EEXIST : -ENOMEM;
	it->id = ref.id;
	it->ref = ref;
	it->token = token;
	swi_list_init(&it->link);
	HASH_ADD(hh, ws->items, id, sizeof(it->id), it);
	atomic_fetch_add(&ws->count, 1);
	if (!swi_lc_contains(ws->lc, ref))
		return 1;
	make_ready(ws, it, 0);
	return 0;
}

void swi_waitset_note(struct swi_lc *lc, struct swi_rd *body)
{
	const uint32_t number = swi_rd_u32(body);
	const uint32_t n = swi_rd_u32(body);
	struct swarm_waitset *ws = NULL;

	pthread_mutex_lock(&lc->note_lock);
	swi_list_for_each(l, &lc->sets)
		if (swi_list_entry(l, struct swarm_waitset, link)->number == number)
			ws = swi_list_entry(l, struct swarm_waitset, link);
	for (uint32_t i = 0; ws && i < n; i++) {
		const struct swarm_oid id = swi_rd_oid(body);
		const int status = (int)swi_rd_u32(body);
		struct ws_item *it = body->bad ? NULL : find(ws, id);

		if (it && !it->ready)
			make_ready(ws, it, status < 0 ? status : 0);
	}
	pthread_mutex_unlock(&lc->note_lock);
}

/* ---- adding, removing ---- */

static int tell_added(struct swarm_waitset *ws, const struct swarm_ref *refs, uint32_t n)
{
	const uint32_t cap = 8 + n * 20;
	uint8_t *body = n ? malloc(cap) : NULL;
	struct swi_wr w = swi_wr_init(body, cap);

	if (!body)
		return n ? -ENOMEM : 0;
	swi_wr_u32(&w, ws->number);
	swi_wr_u32(&w, n);
	for (uint32_t i = 0; i < n; i++)
		swi_wr_ref(&w, refs[i]);
	const int rc = swi_lc_post(ws->lc, SWI_L_SET_ADD, body, w.len, NULL);

	free(body);
	return rc;
}

static void take_back(struct swarm_waitset *ws, const struct swarm_ref *refs, uint32_t n)
{
	pthread_mutex_lock(&ws->lc->note_lock);
	for (uint32_t i = 0; i < n; i++) {
		struct ws_item *it = find(ws, refs[i].id);

		if (it)
			item_free(ws, it);
	}
	pthread_mutex_unlock(&ws->lc->note_lock);
}

/* At most BATCH. *out_done: how many of them are in the set, also after an error. */
static int add_batch(struct swarm_waitset *ws, const struct swarm_ref *refs, const uint64_t *tokens,
		     uint32_t n, uint32_t *out_done)
{
	struct swarm_ref *pending = malloc((size_t)n * sizeof(*pending));
	uint32_t k = 0, done = 0;
	int rc = pending ? 0 : -ENOMEM;

	pthread_mutex_lock(&ws->lc->note_lock);
	for (; done < n && rc >= 0; done += rc >= 0) {
		rc = item_add(ws, refs[done], tokens ? tokens[done] : 0);
		if (rc == 1)
			pending[k++] = refs[done];
	}
	pthread_mutex_unlock(&ws->lc->note_lock);
	const int told = k ? tell_added(ws, pending, k) : 0;

	if (told) {
		take_back(ws, refs, done);
		done = 0;
	}
	free(pending);
	*out_done = done;
	return told ? told : rc < 0 ? rc : 0;
}

int64_t swi_waitset_add(struct swarm_waitset *ws, const struct swarm_ref *refs, const uint64_t *tokens,
			uint32_t count)
{
	uint32_t done = 0, n = 0;
	int rc = 0;

	for (; done < count && !rc; done += n)
		rc = add_batch(ws, refs + done, tokens ? tokens + done : NULL,
			       count - done < BATCH ? count - done : BATCH, &n);
	swi_lc_kick(ws->lc); /* what is here already is ready for who waits */
	return done ? (int64_t)done : rc;
}

int swi_waitset_remove(struct swarm_waitset *ws, struct swarm_ref ref)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	bool pending = false;
	struct ws_item *it;

	pthread_mutex_lock(&ws->lc->note_lock);
	it = find(ws, ref.id);
	if (it) {
		pending = !it->ready;
		item_free(ws, it);
	}
	pthread_mutex_unlock(&ws->lc->note_lock);
	if (!it)
		return -ENOENT;
	swi_lc_kick(ws->lc); /* perhaps it was the last one that somebody waited for */
	if (!pending)
		return 0;
	swi_wr_u32(&w, ws->number);
	swi_wr_u32(&w, 1);
	swi_wr_oid(&w, ref.id);
	return swi_lc_post(ws->lc, SWI_L_SET_DEL, buf, w.len, NULL);
}

/* ---- waiting ---- */

static bool any_ready(void *arg)
{
	struct swarm_waitset *ws = arg;

	return atomic_load(&ws->ready_count) || !atomic_load(&ws->count);
}

static bool all_ready(void *arg)
{
	struct swarm_waitset *ws = arg;

	return atomic_load(&ws->ready_count) >= atomic_load(&ws->count);
}

static uint32_t take(struct swarm_waitset *ws, struct swarm_ready *out, uint32_t max, bool *out_empty)
{
	uint32_t n = 0;

	pthread_mutex_lock(&ws->lc->note_lock);
	for (; n < max && !swi_list_empty(&ws->ready); n++) {
		struct ws_item *it = swi_list_first(&ws->ready, struct ws_item, link);

		out[n] = (struct swarm_ready){.ref = it->ref, .token = it->token, .status = it->status};
		item_free(ws, it);
	}
	*out_empty = swi_list_empty(&ws->ready);
	pthread_mutex_unlock(&ws->lc->note_lock);
	return n;
}

static void settle(struct swarm_waitset *ws, bool nothing)
{
	swi_event_settle(&ws->event, nothing);
	pthread_mutex_lock(&ws->lc->note_lock);
	if (!swi_list_empty(&ws->ready))
		swi_event_raise(&ws->event);
	pthread_mutex_unlock(&ws->lc->note_lock);
}

int swi_waitset_wait_any(struct swarm_waitset *ws, uint64_t timeout_ns, struct swarm_ready *out,
			 uint32_t max)
{
	bool empty;
	uint32_t n = 0;
	int rc = max ? 0 : -EINVAL;

	while (!rc && !n) {
		rc = swi_lc_wait_for(ws->lc, any_ready, ws, timeout_ns);
		n = rc ? 0 : take(ws, out, max, &empty);
		if (rc || empty)
			settle(ws, !n);
		if (!rc && !n && !atomic_load(&ws->count))
			rc = -ENOENT;
	}
	return rc ? rc : (int)n;
}

int swi_waitset_wait_all(struct swarm_waitset *ws, uint64_t timeout_ns)
{
	return swi_lc_wait_for(ws->lc, all_ready, ws, timeout_ns);
}

int swi_waitset_fd(struct swarm_waitset *ws)
{
	struct swi_event ev;
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	int rc = ws->event.number ? 0 : swi_event_open(ws->lc, &ev);

	if (rc || ws->event.number)
		return rc ? rc : ws->event.fd;
	pthread_mutex_lock(&ws->lc->note_lock);
	ws->event = ev;
	if (!swi_list_empty(&ws->ready))
		swi_event_raise(&ws->event);
	pthread_mutex_unlock(&ws->lc->note_lock);
	swi_wr_u32(&w, ws->number);
	swi_wr_u32(&w, ev.number);
	rc = swi_lc_post(ws->lc, SWI_L_SET_EVENT, buf, w.len, NULL);
	return rc ? rc : ev.fd;
}

void swi_waitset_destroy(struct swarm_waitset *ws)
{
	uint8_t buf[4];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	struct ws_item *it, *tmp;

	if (!ws)
		return;
	pthread_mutex_lock(&ws->lc->note_lock);
	swi_list_del(&ws->link);
	pthread_mutex_unlock(&ws->lc->note_lock);
	swi_wr_u32(&w, ws->number);
	(void)!swi_lc_post(ws->lc, SWI_L_SET_END, buf, w.len, NULL);
	swi_event_close(&ws->event);
	HASH_ITER(hh, ws->items, it, tmp)
		item_free(ws, it);
	free(ws);
}
