/* SPDX-License-Identifier: Apache-2.0 */
/* directory.c - the records and who waits for them; see directory.h. Messages: dirmsg.c. */
#include "store/directory.h"
#include "store/announce.h"
#include "store/census.h"
#include "store/delete.h"
#include "store/evict.h"
#include "store/snode_internal.h"

struct wnode { /* the private half of a watch */
	struct swi_timer timer;
	struct swi_snode *sn;
	struct swi_watch *w;
	struct swi_rec *rec; /* NULL: in dir.fresh */
	bool bytes;
};

void swi_dir_init(struct swi_snode *sn)
{
	swi_list_init(&sn->dir.dirty);
	swi_list_init(&sn->dir.fresh);
}

/* ---- records ---- */

struct swi_rec *swi_dir_find(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_rec *rec;

	HASH_FIND(hh, sn->dir.recs, &id, sizeof(id), rec);
	return rec;
}

static struct swarm_ref rec_ref(const struct swi_rec *rec)
{
	return (struct swarm_ref){.id = rec->id, .home = rec->home};
}

struct swi_rec *swi_rec_get(struct swi_snode *sn, struct swarm_ref ref)
{
	struct swi_rec *rec = swi_dir_find(sn, ref.id);
	int code;

	if (rec)
		return rec;
	rec = swi_pool_get(&sn->dir.spare, sizeof(*rec), sizeof(*rec));
	SWI_BUG_ON(!rec);
	rec->sn = sn;
	rec->copies = rec->few;
	rec->cap = sizeof(rec->few) / sizeof(rec->few[0]);
	rec->id = ref.id;
	rec->home = ref.home;
	rec->proxy = swi_dir_home(sn, ref, &code) != sn->node;
	swi_list_init(&rec->watches);
	swi_list_init(&rec->remotes);
	swi_list_init(&rec->link);
	rec->rq.owner = rec;
	HASH_ADD(hh, sn->dir.recs, id, sizeof(rec->id), rec);
	return rec;
}

void swi_rec_touch(struct swi_snode *sn, struct swi_rec *rec)
{
	rec->drained = false;
	if (rec->dirty)
		return;
	rec->dirty = true;
	swi_list_push_back(&sn->dir.dirty, &rec->link);
}

void swi_rec_set_text(struct swi_rec *rec, const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	free(rec->text);
	rec->text = copy;
	rec->dropped_by = 0;
}

const char *swi_rec_text(const struct swi_rec *rec, char buf[SWI_REC_TEXT])
{
	if (rec->text || !rec->dropped_by)
		return rec->text ? rec->text : "";
	snprintf(buf, SWI_REC_TEXT, "on node %u: dropped", rec->dropped_by);
	return buf;
}

void swi_rec_add_copy(struct swi_snode *sn, struct swi_rec *rec, struct swi_copy copy)
{
	for (uint32_t i = 0; i < rec->count; i++) {
		if (rec->copies[i].node == copy.node) {
			rec->copies[i] = copy;
			return;
		}
	}
	if (copy.node == sn->node)
		return; /* the index and the spill log know better */
	if (rec->count == rec->cap) {
		const uint32_t cap = rec->cap * 2;
		struct swi_copy *c = realloc(rec->copies == rec->few ? NULL : rec->copies, cap * sizeof(*c));

		SWI_BUG_ON(!c);
		if (rec->copies == rec->few)
			memcpy(c, rec->few, sizeof(rec->few));
		rec->copies = c;
		rec->cap = cap;
	}
	rec->copies[rec->count++] = copy; /* NOLINT: cap is never 0 */
}

void swi_rec_del_copy(struct swi_snode *sn, struct swi_rec *rec, uint32_t node)
{
	(void)sn;
	for (uint32_t i = 0; i < rec->count; i++) {
		if (rec->copies[i].node == node) {
			memmove(&rec->copies[i], &rec->copies[i + 1],
				(rec->count - i - 1) * sizeof(*rec->copies));
			rec->count--;
			return;
		}
	}
}

static bool here(struct swi_snode *sn, struct swarm_oid id, uint64_t *out_len, bool *out_spilled)
{
	struct swi_local lo;

	*out_spilled = false;
	if (swi_local_find(sn, id, &lo)) {
		*out_len = lo.len;
		return true;
	}
	*out_spilled = true;
	return swi_spilled_here(sn, id, out_len);
}

static void rec_copies(struct swi_snode *sn, struct swi_rec *rec, struct swi_copies *out)
{
	bool spilled;

	memset(out, 0, sizeof(*out));
	out->len = rec->len;
	if (here(sn, rec->id, &out->len, &spilled)) {
		out->node[0] = sn->node;
		out->spilled[0] = spilled;
		out->count = 1;
	}
	for (int pass = 0; pass < 2; pass++) { /* memory before disk */
		for (uint32_t i = 0; i < rec->count && out->count < SWI_COPIES_MAX; i++) {
			if (rec->copies[i].spilled != (pass == 1))
				continue;
			out->node[out->count] = rec->copies[i].node;
			out->spilled[out->count++] = rec->copies[i].spilled;
		}
	}
}

static void rec_free(struct swi_snode *sn, struct swi_rec *rec)
{
	swi_rec_unask(sn, rec);
	swi_census_end(sn, rec);
	if (rec->waiting)
		atomic_fetch_sub_explicit(&sn->shm->waiters, 1, memory_order_relaxed);
	HASH_DELETE(hh, sn->dir.recs, rec);
	swi_list_del(&rec->link);
	if (rec->copies != rec->few)
		free(rec->copies);
	free(rec->text);
	swi_pool_put(&sn->dir.spare, rec);
}

/* ---- telling ---- */

static void watch_end(struct swi_watch *w, struct wnode *n)
{
	swi_timer_stop(&n->sn->timers, &n->timer);
	swi_list_del(&w->link);
	w->priv = NULL;
	free(n);
}

void swi_rec_fire(struct swi_snode *sn, struct swi_rec *rec, int status, const char *text,
		  const struct swi_copies *copies)
{
	struct swi_list told;

	while (!swi_list_empty(&rec->remotes)) {
		struct swi_remote *r = swi_list_first(&rec->remotes, struct swi_remote, link);

		swi_remote_tell(sn, rec, r, status, text, copies);
		swi_list_del(&r->link);
		free(r);
	}
	swi_list_init(&told);
	swi_list_splice(&told, &rec->watches);
	while (!swi_list_empty(&told)) { /* a callback may cancel others: they leave this list */
		struct swi_watch *w = swi_list_first(&told, struct swi_watch, link);

		watch_end(w, w->priv);
		w->cb(w, status, text, copies);
	}
}

static void lost_hook(struct swi_snode *sn, struct swi_rec *rec)
{
	char why[SWI_SMSG_TEXT] = "", id[SWI_OID_TEXT], buf[SWI_REC_TEXT];
	const char *where = swi_rec_text(rec, buf);
	int rc = rec->lost ? SWARM_ELOST : 0;

	rec->asked = true;
	if (sn->hooks.obj_lost)
		rc = sn->hooks.obj_lost(sn->hooks.ctx, rec->id, rec->lost, why, sizeof(why));
	if (rc >= 0 || rec->state != SWI_DIR_UNKNOWN)
		return;
	if (!why[0])
		snprintf(why, sizeof(why), "object %s lost its last copy", swi_oid_text(rec->id, id));
	const size_t n = strlen(why);

	if (*where)
		snprintf(why + n, sizeof(why) - n, " (%s)", where);
	rec->state = SWI_DIR_FAILED;
	rec->code = rc;
	swi_rec_set_text(rec, why);
}

/* Wakes sealers up (shm->waiters) while somebody waits; true: it was sealed in that moment. */
static bool wait_for_seal(struct swi_snode *sn, struct swi_rec *rec)
{
	struct swi_local lo;

	if (rec->waiting)
		return false;
	rec->waiting = true;
	/* Partner: the client publishes its slot and then reads waiters, both seq_cst (object.c). */
	atomic_fetch_add_explicit(&sn->shm->waiters, 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
	return swi_local_find(sn, rec->id, &lo);
}

static void find_home_anew(struct swi_snode *sn, struct swi_rec *rec)
{
	int code;
	const uint32_t home = swi_dir_home(sn, rec_ref(rec), &code);

	if (rec->proxy && home == sn->node) {
		swi_rec_unask(sn, rec);
		rec->proxy = false;
		rec->state = SWI_DIR_UNKNOWN;
	} else if (!rec->proxy && !rec->home && home != sn->node) {
		swi_census_end(sn, rec);
		rec->proxy = true; /* its copies are told to the new home by who has them */
		rec->state = SWI_DIR_UNKNOWN;
		rec->count = 0;
	}
}

static bool rec_available(struct swi_snode *sn, struct swi_rec *rec)
{
	uint64_t len;
	bool spilled;

	return rec->count || here(sn, rec->id, &len, &spilled);
}

static bool has_watchers(const struct swi_rec *rec)
{
	return !swi_list_empty(&rec->watches) || !swi_list_empty(&rec->remotes);
}

static void settle_available(struct swi_snode *sn, struct swi_rec *rec)
{
	struct swi_copies copies;

	rec->state = SWI_DIR_AVAILABLE;
	rec->made = true;
	rec->lost = rec->asked = false;
	swi_census_end(sn, rec);
	if (!has_watchers(rec))
		return;
	rec_copies(sn, rec, &copies);
	swi_rec_fire(sn, rec, 0, "", &copies);
}

/* The loss of a name is told when no other node has it: anybody may have put it again. */
static bool name_is_gone(struct swi_snode *sn, struct swi_rec *rec)
{
	return rec->home || !rec->lost || swi_census_over(sn, rec);
}

/* Who asks for a lost name the next time may be right: then everybody is asked once more. */
static void doubt(struct swi_snode *sn, struct swi_rec *rec)
{
	if (rec->home || !rec->lost)
		return;
	swi_census_end(sn, rec);
	rec->state = SWI_DIR_UNKNOWN;
	rec->asked = false;
}

static void settle_absent(struct swi_snode *sn, struct swi_rec *rec)
{
	if (rec->state == SWI_DIR_AVAILABLE) {
		rec->state = SWI_DIR_UNKNOWN;
		rec->lost = !rec->proxy;
		rec->asked = false;
	}
	if (!has_watchers(rec))
		return;
	if (wait_for_seal(sn, rec)) {
		settle_available(sn, rec);
		return;
	}
	if (rec->proxy)
		swi_rec_ask(sn, rec);
	else if (swi_dir_is_deleted(sn, rec->id))
		swi_rec_fire(sn, rec, SWARM_EDELETED, "the object was deleted", NULL);
	else if (rec->state == SWI_DIR_UNKNOWN && !rec->asked && name_is_gone(sn, rec))
		lost_hook(sn, rec);
	if (rec->state == SWI_DIR_FAILED) {
		swi_rec_fire(sn, rec, rec->code, rec->text ? rec->text : "", NULL);
		doubt(sn, rec);
	}
	swi_list_for_each(it, &rec->remotes) {
		struct swi_remote *r = swi_list_entry(it, struct swi_remote, link);

		if (r->told != rec->state + 1)
			swi_remote_tell(sn, rec, r, 0, "", NULL);
	}
}

static void settle(struct swi_snode *sn, struct swi_rec *rec)
{
	find_home_anew(sn, rec);
	if (rec_available(sn, rec))
		settle_available(sn, rec);
	else
		settle_absent(sn, rec);
	if (has_watchers(rec) || rec->dirty)
		return;
	if (rec->waiting) {
		rec->waiting = false;
		atomic_fetch_sub_explicit(&sn->shm->waiters, 1, memory_order_relaxed);
	}
	swi_rec_unask(sn, rec);
	if (rec->proxy || (!rec->count && rec->state != SWI_DIR_PENDING &&
			   rec->state != SWI_DIR_FAILED && !rec->lost))
		rec_free(sn, rec);
}

/* ---- watches ---- */

static void watch_due(struct swi_timer *t)
{
	struct wnode *n = swi_container_of(t, struct wnode, timer);
	struct swi_snode *sn = n->sn;
	struct swi_watch *w = n->w;
	struct swi_rec *rec = n->rec;
	char text[SWI_SMSG_TEXT];
	int code = swi_dir_explain(sn, w->ref, text, sizeof(text));

	watch_end(w, n);
	if (rec)
		swi_rec_touch(sn, rec);
	if (!code) /* it came in this very moment: next time it is a hit */
		code = -ETIMEDOUT;
	w->cb(w, code, text, NULL);
}

static void watch_add(struct swi_snode *sn, struct swi_watch *w, bool bytes)
{
	struct wnode *n = calloc(1, sizeof(*n));

	SWI_BUG_ON(!n);
	n->sn = sn;
	n->w = w;
	n->bytes = bytes;
	n->timer.cb = watch_due;
	w->priv = n;
	swi_list_push_back(&sn->dir.fresh, &w->link);
}

void swi_watch(struct swi_snode *sn, struct swi_watch *w)
{
	watch_add(sn, w, false);
}

void swi_watch_bytes(struct swi_snode *sn, struct swi_watch *w)
{
	watch_add(sn, w, true);
}

void swi_watch_cancel(struct swi_snode *sn, struct swi_watch *w)
{
	struct wnode *n = w->priv;
	struct swi_rec *rec;

	if (!n)
		return;
	rec = n->rec;
	watch_end(w, n);
	if (rec)
		swi_rec_touch(sn, rec);
}

static void watch_begin(struct swi_snode *sn, struct swi_watch *w)
{
	struct wnode *n = w->priv;
	struct swi_rec *rec = swi_rec_get(sn, w->ref);

	n->rec = rec;
	swi_list_push_back(&rec->watches, &w->link);
	if (n->bytes && !rec->want_bytes) {
		rec->want_bytes = true;
		swi_rec_unask(sn, rec); /* asked without: ask once more, for a lease */
	}
	swi_timer_set(&sn->timers, &n->timer, w->deadline_ns);
	swi_rec_touch(sn, rec);
}

int swi_dir_step(struct swi_snode *sn)
{
	struct swi_list batch;
	struct swi_rec *rec, *tmp;
	int n = 0;

	if (sn->dir.moved) {
		sn->dir.moved = false;
		swi_deleted_moved(sn);
		HASH_ITER(hh, sn->dir.recs, rec, tmp) {
			if (rec->proxy || !rec->home)
				swi_rec_touch(sn, rec);
		}
	}
	swi_list_init(&batch);
	swi_list_splice(&batch, &sn->dir.fresh);
	for (; !swi_list_empty(&batch); n++) {
		struct swi_watch *w = swi_list_first(&batch, struct swi_watch, link);

		swi_list_del(&w->link);
		watch_begin(sn, w);
	}
	swi_list_splice(&batch, &sn->dir.dirty);
	for (; !swi_list_empty(&batch); n++) {
		rec = swi_list_first(&batch, struct swi_rec, link);
		swi_list_del(&rec->link);
		rec->dirty = false;
		settle(sn, rec);
	}
	return n;
}

void swi_dir_fini(struct swi_snode *sn)
{
	struct swi_rec *rec, *tmp;

	while (!swi_list_empty(&sn->dir.fresh)) {
		struct swi_watch *w = swi_list_first(&sn->dir.fresh, struct swi_watch, link);

		watch_end(w, w->priv);
	}
	HASH_ITER(hh, sn->dir.recs, rec, tmp) {
		while (!swi_list_empty(&rec->watches)) {
			struct swi_watch *w = swi_list_first(&rec->watches, struct swi_watch, link);

			watch_end(w, w->priv);
		}
		while (!swi_list_empty(&rec->remotes)) {
			struct swi_remote *r =
			    swi_list_first(&rec->remotes, struct swi_remote, link);

			swi_list_del(&r->link);
			free(r);
		}
		rec_free(sn, rec);
	}
	swi_pool_fini(&sn->dir.spare);
	swi_deleted_fini(sn);
}

/* ---- what the layer above says ---- */

void swi_dir_expect(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_rec *rec = swi_rec_get(sn, (struct swarm_ref){.id = id, .home = sn->node});

	swi_deleted_clear(sn, id);
	if (rec->state == SWI_DIR_AVAILABLE && rec_available(sn, rec))
		return;
	rec->state = SWI_DIR_PENDING;
	rec->asked = false;
	rec->code = 0;
	swi_rec_set_text(rec, NULL);
	swi_rec_touch(sn, rec);
}

void swi_dir_add_copy(struct swi_snode *sn, struct swarm_oid id, uint32_t node, uint64_t len,
		      bool primary)
{
	swi_dir_copy_at(sn, (struct swarm_ref){.id = id, .home = sn->node}, node, len, primary);
}

void swi_dir_copy_at(struct swi_snode *sn, struct swarm_ref ref, uint32_t node, uint64_t len, bool primary)
{
	struct swi_rec *rec = swi_rec_get(sn, ref);

	if (node != sn->node && !swi_peer_find(sn, node) && swi_peer_was_removed(sn, node)) {
		swi_rec_touch(sn, rec);
		rec->made = true;
		rec->lost = !rec->count;
		return;
	}
	rec->len = len;
	swi_rec_add_copy(sn, rec, (struct swi_copy){.node = node, .primary = primary});
	if (rec->state == SWI_DIR_FAILED || rec->state == SWI_DIR_PENDING)
		rec->state = SWI_DIR_UNKNOWN;
	swi_rec_touch(sn, rec);
}

void swi_dir_fail(struct swi_snode *sn, struct swarm_oid id, int code, const char *text)
{
	struct swi_rec *rec = swi_rec_get(sn, (struct swarm_ref){.id = id, .home = sn->node});

	rec->state = SWI_DIR_FAILED;
	rec->code = code < 0 ? code : SWARM_ELOST;
	swi_rec_set_text(rec, text);
	swi_rec_touch(sn, rec);
}

void swi_watch_each(struct swi_snode *sn, struct swarm_oid id,
		    void (*each)(void *ctx, struct swi_watch *w), void *ctx)
{
	struct swi_rec *rec = swi_dir_find(sn, id);

	if (!rec)
		return;
	swi_list_for_each_safe(it, &rec->watches)
		each(ctx, swi_list_entry(it, struct swi_watch, link));
}

enum swi_dir_state swi_dir_get(struct swi_snode *sn, struct swarm_oid id,
			       struct swi_copies *out_copies)
{
	struct swi_rec *rec = swi_dir_find(sn, id), bare = {.id = id};
	struct swi_copies copies;

	rec_copies(sn, rec ? rec : &bare, &copies);
	if (out_copies)
		*out_copies = copies;
	if (copies.count)
		return SWI_DIR_AVAILABLE;
	if (!rec || rec->state == SWI_DIR_AVAILABLE)
		return swi_dir_is_deleted(sn, id) ? SWI_DIR_FAILED : SWI_DIR_UNKNOWN;
	return (enum swi_dir_state)rec->state;
}

uint64_t swi_dir_count(struct swi_snode *sn)
{
	return HASH_COUNT(sn->dir.recs);
}

uint32_t swi_dir_home(struct swi_snode *sn, struct swarm_ref ref, int *out_code)
{
	uint32_t home = ref.home;

	*out_code = 0;
	if (!home)
		return swi_home_of(sn, ref);
	if (home == sn->node || swi_peer_find(sn, home))
		return home;
	if (!swi_peer_was_removed(sn, home)) {
		*out_code = -ENOENT;
		return 0;
	}
	home = swi_peer_heir_of(sn, home);
	if (!home)
		*out_code = SWARM_EHOMELOST;
	return home;
}

int swi_dir_explain(struct swi_snode *sn, struct swarm_ref ref, char *text, size_t len)
{
	struct swi_rec *rec = swi_dir_find(sn, ref.id);
	char id[SWI_OID_TEXT], buf[SWI_REC_TEXT];
	uint64_t bytes;
	bool spilled;
	int code;
	const uint32_t home = swi_dir_home(sn, ref, &code);

	swi_oid_text(ref.id, id);
	if (here(sn, ref.id, &bytes, &spilled)) {
		snprintf(text, len, "object %s is here, %s, %llu bytes", id,
			 spilled ? "on disk" : "in memory", (unsigned long long)bytes);
		return 0;
	}
	if (swi_dir_is_deleted(sn, ref.id)) {
		snprintf(text, len, "object %s was deleted", id);
		return SWARM_EDELETED;
	}
	if (rec && (rec->state == SWI_DIR_FAILED || (rec->lost && rec->code))) {
		const char *why = swi_rec_text(rec, buf);

		snprintf(text, len, "%s", *why ? why : swarm_strerror(rec->code));
		return rec->code;
	}
	if (rec && rec->state == SWI_DIR_PENDING) {
		snprintf(text, len, "object %s is being made; its home is node %u", id, home);
		return -ETIMEDOUT;
	}
	if (rec && rec->count) {
		snprintf(text, len, "object %s exists on node %u", id, rec->copies[0].node);
		return 0;
	}
	if (!home) {
		snprintf(text, len,
			 code == SWARM_EHOMELOST
			     ? "object %s: its home, node %u, is lost and nobody inherited its record"
			     : "object %s: its home, node %u, is not known here",
			 id, ref.home);
		return code;
	}
	if (home != sn->node && (!rec || !rec->answered)) {
		snprintf(text, len, "object %s: its home, node %u, did not answer in time", id,
			 home);
		return -ETIMEDOUT;
	}
	snprintf(text, len, "object %s: nobody has made it; asked node %u, its home", id, home);
	return -ENOENT;
}
