/* SPDX-License-Identifier: Apache-2.0 */
/*
 * want.c - who wants an object here, and until when; the transfer itself is fetch.c's. See fetch.h.
 */
#include "store/fetch_impl.h"
#include "store/snode_internal.h"

void swi_fetches_init(struct swi_snode *sn)
{
	struct swi_fetch *anchor = calloc(1, sizeof(*anchor));

	SWI_BUG_ON(!anchor);
	swi_list_init(&sn->fetches.fresh);
	sn->fetches.anchor = anchor;
	/* Half as long as an id is: no id finds it. */
	HASH_ADD_KEYPTR(hh, sn->fetches.by_id, &anchor->id, sizeof(anchor->id) / 2, anchor);
}

static void want_end(struct swi_want *w, struct swi_wnode *n)
{
	swi_timer_stop(&n->sn->timers, &n->timer);
	swi_list_del(&w->link);
	w->priv = NULL;
	swi_pool_put(&n->sn->fetches.spare_wants, n);
}

static void want_due_text(struct swi_snode *sn, struct swi_fetch *f, struct swi_want *w, int *code,
			  char *text, size_t len)
{
	char id[SWI_OID_TEXT];

	swi_oid_text(w->ref.id, id);
	*code = -ETIMEDOUT;
	if (f && f->phase == SWI_FETCH_ROOM) {
		*code = SWARM_EFULL;
		swi_room_explain(sn, f->bytes, text, len);
	} else if (f && f->phase == SWI_FETCH_RESTORE) {
		snprintf(text, len, "object %s is being read from disk", id);
	} else if (f && f->phase != SWI_FETCH_LOCATE && f->phase != SWI_FETCH_PAUSE) {
		snprintf(text, len, "object %s is being fetched from node %u", id, f->holder);
	} else {
		*code = swi_dir_explain(sn, w->ref, text, len);
		if (!*code)
			*code = -ETIMEDOUT;
	}
}

static void want_due(struct swi_timer *t)
{
	struct swi_wnode *n = swi_container_of(t, struct swi_wnode, timer);
	struct swi_snode *sn = n->sn;
	struct swi_fetch *f = n->f;
	struct swi_want *w = n->w;
	char text[SWI_SMSG_TEXT];
	int code;

	want_due_text(sn, f, w, &code, text, sizeof(text));
	want_end(w, n);
	if (f)
		swi_fetch_unwanted(f);
	w->cb(w, code, text, 0);
}

static void want_add(struct swi_snode *sn, struct swi_want *w, bool for_peer)
{
	struct swi_wnode *n = swi_pool_get(&sn->fetches.spare_wants, sizeof(*n), sizeof(*n));

	SWI_BUG_ON(!n);
	n->sn = sn;
	n->w = w;
	n->for_peer = for_peer;
	n->timer.cb = want_due;
	w->priv = n;
	swi_list_push_back(&sn->fetches.fresh, &w->link);
	/* Of many that are asked for at once the lines are on their way together when the step begins the first. */
	swi_index_prefetch(&sn->index, swi_index_key(w->ref.id));
	swi_locator_prefetch(&sn->locators, w->ref.id);
}

void swi_want(struct swi_snode *sn, struct swi_want *w)
{
	want_add(sn, w, false);
}

void swi_want_for_peer(struct swi_snode *sn, struct swi_want *w)
{
	want_add(sn, w, true);
}

void swi_want_cancel(struct swi_snode *sn, struct swi_want *w)
{
	struct swi_wnode *n = w->priv;
	struct swi_fetch *f;

	(void)sn;
	if (!n)
		return;
	f = n->f;
	want_end(w, n);
	if (f)
		swi_fetch_unwanted(f);
}

bool swi_fetch_for_peers_only(struct swi_fetch *f)
{
	swi_list_for_each(it, &f->wants) {
		const struct swi_want *w = swi_list_entry(it, struct swi_want, link);

		if (!((const struct swi_wnode *)w->priv)->for_peer)
			return false;
	}
	return true;
}

bool swi_fetch_hint_only(struct swi_fetch *f)
{
	swi_list_for_each(it, &f->wants) {
		if (!swi_list_entry(it, struct swi_want, link)->hint)
			return false;
	}
	return true;
}

bool swi_fetch_recovers(struct swi_fetch *f)
{
	swi_list_for_each(it, &f->wants) {
		if (swi_list_entry(it, struct swi_want, link)->recovery)
			return true;
	}
	return false;
}

void swi_wants_answer(struct swi_snode *sn, struct swi_list *wants, int status, const char *text,
		      uint64_t offset)
{
	bool ours = !status; /* the hold: the last who hears of it gets it */
	struct swi_list told;

	swi_list_init(&told);
	swi_list_splice(&told, wants);
	while (!swi_list_empty(&told)) {
		struct swi_want *w = swi_list_first(&told, struct swi_want, link);

		want_end(w, w->priv);
		if (!status && swi_list_empty(&told))
			ours = false;
		else if (!status)
			swi_hold_add(sn, offset);
		w->cb(w, status, text, offset);
	}
	if (ours) /* nobody wanted it any more */
		swi_hold_drop(sn, offset);
}

static void want_begin(struct swi_snode *sn, struct swi_want *w)
{
	struct swi_wnode *n = w->priv;
	const bool for_peer = n->for_peer;
	uint64_t offset, len;

	if (swi_hold_find(sn, w->ref.id, &offset)) {
		sn->stats.local_hits += !for_peer;
		want_end(w, n);
		w->cb(w, 0, "", offset);
		return;
	}
	if ((for_peer || w->hint) && !swi_spilled_here(sn, w->ref.id, &len)) {
		want_end(w, n);
		w->cb(w, -ENOENT, "the object is not here any more", 0);
		return;
	}
	sn->stats.gets_local_miss += !for_peer;
	swi_timer_set(&sn->timers, &n->timer, w->deadline_ns);
	swi_fetch_join(sn, w, n);
}

int swi_fetches_step(struct swi_snode *sn)
{
	struct swi_list batch;
	int n = 0;

	swi_list_init(&batch);
	swi_list_splice(&batch, &sn->fetches.fresh);
	for (; !swi_list_empty(&batch); n++) {
		struct swi_want *w = swi_list_first(&batch, struct swi_want, link);

		swi_list_del(&w->link);
		want_begin(sn, w);
	}
	return n;
}

void swi_fetches_fini(struct swi_snode *sn)
{
	struct swi_fetch *f, *tmp;
	struct swi_list *fresh = &sn->fetches.fresh;

	while (!swi_list_empty(fresh)) {
		struct swi_want *w = swi_list_first(fresh, struct swi_want, link);

		want_end(w, w->priv);
	}
	HASH_ITER(hh, sn->fetches.by_id, f, tmp) {
		if (f == sn->fetches.anchor)
			continue;
		while (!swi_list_empty(&f->wants)) {
			struct swi_want *w = swi_list_first(&f->wants, struct swi_want, link);

			want_end(w, w->priv);
		}
		swi_fetch_free(f);
	}
	if (sn->fetches.anchor)
		HASH_DELETE(hh, sn->fetches.by_id, sn->fetches.anchor);
	free(sn->fetches.anchor);
	sn->fetches.anchor = NULL;
	swi_pool_fini(&sn->fetches.spare);
	swi_pool_fini(&sn->fetches.spare_wants);
}
