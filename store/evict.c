/* SPDX-License-Identifier: Apache-2.0 */
/* evict.c - see evict.h. */
#include <swarm/store.h>

#include "store/snode_internal.h"

#define SLOTS_A_STEP   8192u
#define VICTIMS	       64u
#define CALM	       8u /* while nobody waits for room: one such part of these in a step, ... */
#define PUT_OFF_MAX    16u /* ... and none in so many busy steps */
#define KNOWN_MAX      32768u
#define SPILLING_MAX   1024u /* small ones are written together */
#define SPILLING_BYTES MIB(64)
#define RETRY_NS       (5 * NS_PER_MS)
#define DISK_RETRY_NS  (200 * NS_PER_MS)
#define SURVEY_NS      (300 * NS_PER_MS) /* ages are in ticks of 100 ms */
#define HIGH_PERMILLE  850u
#define LOW_BELOW      100u /* permille between the two marks */

static void marks(struct swi_snode *sn, struct swi_marks *out)
{
	const uint32_t p = sn->opts.high_water_permille;
	const uint32_t high = p && p <= 1000 ? p : HIGH_PERMILLE;

	out->arena = sn->arena_bytes;
	out->high = sn->arena_bytes / 1000 * high;
	out->low = sn->arena_bytes / 1000 * (high > LOW_BELOW ? high - LOW_BELOW : 0);
}

bool swi_evict_tight(struct swi_snode *sn)
{
	struct swi_marks m;

	marks(sn, &m);
	return sn->extents.used > m.high;
}

bool swi_evict_idle_room(struct swi_snode *sn, uint64_t bytes)
{
	struct swi_marks m;

	marks(sn, &m);
	return !swi_room_missing(sn) && swi_sat_add(sn->extents.used, bytes) <= m.high;
}

bool swi_evict_plenty(struct swi_snode *sn, uint64_t bytes)
{
	struct swi_marks m;

	marks(sn, &m);
	return swi_sat_add(sn->extents.used, bytes) <= m.low;
}

static void pass_begin(struct swi_snode *sn, bool taking);

void swi_evict_init(struct swi_snode *sn)
{
	swi_list_init(&sn->evict.written);
	pass_begin(sn, false);
}

/* ---- how fast the disk is ---- */

void swi_meter_begin(struct swi_snode *sn, struct swi_meter *m)
{
	if (!m->busy++)
		m->since_ns = sn->now_ns;
}

void swi_meter_end(struct swi_snode *sn, struct swi_meter *m, uint64_t bytes)
{
	m->busy--;
	m->bytes += bytes;
	m->ns += sn->now_ns - m->since_ns;
	m->since_ns = sn->now_ns;
	if (m->ns < 20 * NS_PER_MS)
		return;
	m->rate = (uint64_t)((double)m->bytes * 1e9 / (double)m->ns);
	if (m->ns > NS_PER_S) { /* what was long ago counts less and less */
		m->bytes /= 2;
		m->ns /= 2;
	}
}

/* ---- leaving ---- */

/* Tells the home what is left of it here. */
static void left(struct swi_snode *sn, const struct swi_local *v)
{
	uint64_t len;

	sn->stats.evicted_objects++;
	sn->stats.evicted_bytes += v->bytes;
	if (swi_spilled_here(sn, v->ref.id, &len)) {
		swi_dir_have(sn, v->ref, v->len, SWI_COPY_PRIMARY | SWI_COPY_AGAIN | SWI_COPY_SPILLED);
		return;
	}
	if (!(v->flags & SWI_OBJ_F_SECONDARY)) {
		sn->evict.remade_objects++;
		sn->evict.remade_bytes += v->bytes;
		(void)sn->hooks.obj_remake_ns(sn->hooks.ctx, v->ref.id, true);
	}
	swi_attr_left(sn, v->ref.id);
	swi_dir_have_not(sn, v->ref, sn->node, 0);
}

/*
 * Takes @n objects out of the index and frees what nobody pins; the others go back. One look at the
 * pins serves all. Returns the bytes that left.
 */
static uint64_t leave(struct swi_snode *sn, const struct swi_local *victim, uint32_t n)
{
	uint64_t bytes = 0;
	bool out[VICTIMS];

	for (uint32_t i = 0; i < n; i++)
		out[i] = swi_index_remove(&sn->index, &victim[i].hit);
	const int rc = swi_pins_scan(sn); /* begins with the fence that pairs with a reader's pin */

	for (uint32_t i = 0; i < n; i++) {
		const struct swi_local *v = &victim[i];

		if (!out[i])
			continue;
		if ((rc || swi_pinset_has(&sn->holds.pins, v->offset)) &&
		    !swi_local_publish(sn, v->ref.id, v->gen, v->offset, v->bytes))
			continue; /* back: a get of that moment asked us and is answered after this */
		swi_used_forget(sn, v->offset);
		swi_retire(sn, v->offset, v->bytes);
		bytes += v->bytes;
		left(sn, v);
	}
	if (bytes) {
		sn->evict.stuck = sn->evict.shy = false;
		sn->evict.gone = true;
	}
	return bytes;
}

/* ---- writing ---- */

static void spilling_free(struct swi_spilling *s)
{
	struct swi_snode *sn = s->sn;

	swi_digest_cancel(&s->digest);
	swi_list_del(&s->link);
	HASH_DELETE(hh, sn->evict.spilling, s);
	sn->evict.spilling_bytes -= s->bytes;
	swi_hold_drop(sn, s->offset);
	free(s);
}

static void written(struct swi_spill_io *io)
{
	struct swi_spilling *s = io->owner;
	struct swi_snode *sn = s->sn;

	swi_meter_end(sn, &sn->evict.write, io->status ? 0 : s->bytes);
	sn->evict.retry_ns = 0;
	if (io->status) {
		swi_warn(sn->log, "an object of %llu bytes could not be written to disk: %s",
			 (unsigned long long)s->bytes, swarm_strerror(io->status));
		sn->evict.disk_ns = sn->now_ns + DISK_RETRY_NS;
		spilling_free(s);
		return;
	}
	sn->stats.spilled_objects++;
	sn->stats.spilled_bytes += s->bytes;
	swi_list_push_back(&sn->evict.written, &s->link);
}

/* One look at the pins serves all that were written since the last step. */
static void leave_written(struct swi_snode *sn)
{
	struct swi_list *done = &sn->evict.written;

	while (!swi_list_empty(done)) {
		struct swi_local victim[VICTIMS];
		uint32_t n = 0;

		while (n < VICTIMS && !swi_list_empty(done)) {
			struct swi_spilling *s = swi_list_first(done, struct swi_spilling, link);
			const struct swarm_oid id = s->id;
			const uint64_t offset = s->offset;
			const bool forgotten = s->forgotten;

			spilling_free(s);
			if (forgotten)
				swi_spill_forget(sn->spill, id);
			else if (swi_local_find(sn, id, &victim[n]) && victim[n].offset == offset &&
				 !swi_is_held(sn, offset) &&
				 swi_attr_pin(sn, id) != SWARM_PIN_HARD)
				n++;
		}
		if (n)
			leave(sn, victim, n);
	}
}

static void write_out(struct swi_spilling *s)
{
	s->io.id = s->id;
	s->io.extent = s->sn->arena + s->offset;
	s->io.extent_bytes = s->bytes;
	s->io.cb = written;
	s->io.owner = s;
	swi_meter_begin(s->sn, &s->sn->evict.write);
	swi_spill_write(s->sn->spill, &s->io);
}

static void digested(struct swi_digest *d, uint64_t digest)
{
	struct swi_spilling *s = d->owner;
	struct swi_local lo;

	if (!swi_local_find(s->sn, s->id, &lo) || lo.offset != s->offset) {
		spilling_free(s); /* deleted meanwhile */
		return;
	}
	swi_local_set_digest(&lo, digest);
	write_out(s);
}

static bool may_write(struct swi_snode *sn, uint64_t bytes)
{
	return sn->spill && sn->now_ns >= sn->evict.disk_ns && swi_spill_has_room(sn->spill, bytes);
}

/* So many may be on their way at once that the disk never waits, and most of the arena stays free to leave. */
static bool may_begin(struct swi_snode *sn, uint64_t bytes)
{
	const struct swi_evict *e = &sn->evict;
	const uint64_t most = swi_min_u64(SPILLING_BYTES, sn->arena_bytes / 4);

	return HASH_COUNT(e->spilling) < SPILLING_MAX && (!e->spilling || e->spilling_bytes + bytes <= most);
}

static void spill_begin(struct swi_snode *sn, const struct swi_local *lo)
{
	struct swi_spilling *s = calloc(1, sizeof(*s));

	if (!s)
		return;
	s->sn = sn;
	s->id = lo->ref.id;
	s->offset = lo->offset;
	s->bytes = lo->bytes;
	s->digest.cb = digested;
	s->digest.owner = s;
	swi_list_init(&s->link);
	HASH_ADD(hh, sn->evict.spilling, id, sizeof(s->id), s);
	sn->evict.spilling_bytes += s->bytes;
	swi_hold_add(sn, s->offset);
	if (lo->flags & SWI_OBJ_F_DIGEST)
		write_out(s);
	else
		swi_digest_begin(sn, &s->digest, lo->head + 1, lo->len);
}

void swi_evict_forget(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_spilling *s;

	HASH_FIND(hh, sn->evict.spilling, &id, sizeof(id), s);
	if (s)
		s->forgotten = true;
}

void swi_evict_fini(struct swi_snode *sn)
{
	struct swi_spilling *s, *tmp;

	HASH_ITER(hh, sn->evict.spilling, s, tmp)
		spilling_free(s);
	free(sn->evict.known.slot);
	sn->evict.known.slot = NULL;
}

/* ---- few objects in a large index ---- */

static void known_add(struct swi_known *k, uint64_t slot)
{
	if (!k->all)
		return;
	if (k->n == KNOWN_MAX || slot > UINT32_MAX)
		k->all = false;
	else
		k->slot[k->n++] = (uint32_t)slot;
}

/* Back to its beginning: what the round has not seen yet follows what it kept. */
static void known_rewind(struct swi_known *k)
{
	if (k->n > k->at)
		memmove(k->slot + k->kept, k->slot + k->at, (k->n - k->at) * sizeof(*k->slot));
	k->n = k->kept + k->n - k->at;
	k->kept = k->at = 0;
}

static void known_forget(struct swi_snode *sn)
{
	struct swi_known *k = &sn->evict.known;

	if (!k->slot)
		k->slot = malloc(KNOWN_MAX * sizeof(*k->slot));
	k->all = k->slot != NULL; /* without it every round goes over all slots */
	k->kept = k->at = k->n = 0;
	k->whole_ns = sn->now_ns;
}

void swi_evict_note(struct swi_snode *sn, uint64_t slot)
{
	const struct swi_evict *e = &sn->evict;
	const uint64_t slots = swi_index_slots(&sn->index);

	/* While a survey of all goes on, what lies ahead of the hand is found by it. */
	if (e->few || e->taking || (slot + slots - e->slot) % slots >= e->left)
		known_add(&sn->evict.known, slot);
}

/* ---- choosing ---- */

/* Bytes that should begin to leave; moves evict.running. */
static uint64_t wanted(struct swi_snode *sn)
{
	struct swi_pressure p = {.used = sn->extents.used,
				 .going = sn->evict.spilling_bytes + swi_quarantine_bytes(&sn->quarantine) +
					  swi_compact_in_hand(&sn->relocate.c),
				 .missing = swi_room_missing(sn),
				 /* While objects make way for the first in line nobody has to leave for him. */
				 .head = swi_compact_active(&sn->relocate.c) ? 0 : swi_room_head(sn),
				 .running = sn->evict.running};
	struct swi_marks m;
	uint64_t want;

	marks(sn, &m);
	want = swi_policy_wanted(&m, &p);
	sn->evict.running = p.running;
	return want;
}

static uint32_t age(struct swi_snode *sn, const struct swi_local *lo)
{
	const uint16_t tick = (uint16_t)atomic_load_explicit(&sn->shm->tick, memory_order_relaxed);
	const uint16_t ticks = (uint16_t)(tick - lo->touch);

	return ticks < 0xff00 ? ticks : 0; /* touched in this very moment */
}

static uint64_t remake_ns(struct swi_snode *sn, const struct swi_local *lo)
{
	if (!sn->hooks.obj_remake_ns || lo->ref.home != sn->node || swi_attr_is_replica(sn, lo->ref.id))
		return SWI_REMAKE_NEVER;
	return sn->hooks.obj_remake_ns(sn->hooks.ctx, lo->ref.id, false);
}

/* May it leave, and how would it come back? *out_class: the lower, the sooner. */
static bool may_leave(struct swi_snode *sn, const struct swi_local *lo, enum swi_back *out_back,
		      uint32_t *out_class)
{
	const struct swi_rates rates = {.write_bytes_per_s = sn->evict.write.rate,
					.read_bytes_per_s = sn->evict.read.rate};
	struct swi_leaver l = {
	    .bytes = lo->bytes, .age = age(sn, lo), .used = swi_is_used(sn, lo->offset)};
	struct swi_spilling *s;
	uint64_t len;

	/* In an open grant its bytes would stay with the writer's chunk: nothing would be won. */
	if (swi_is_held(sn, lo->offset) || sn->clients.page_grant[lo->offset / SWI_PAGE])
		return false;
	const uint8_t pin = swi_attr_pin(sn, lo->ref.id);

	if (pin == SWARM_PIN_HARD || (sn->evict.shy && swi_pinset_has(&sn->holds.pins, lo->offset)))
		return false;
	if (lo->flags & SWI_OBJ_F_SECONDARY) {
		l.back = SWI_BACK_PEER;
	} else if (swi_spilled_here(sn, lo->ref.id, &len)) {
		l.back = SWI_BACK_DISK;
	} else {
		const bool disk = may_write(sn, lo->bytes);

		HASH_FIND(hh, sn->evict.spilling, &lo->ref.id, sizeof(lo->ref.id), s);
		if (s)
			return false;
		if (disk && swi_is_going(sn, lo->offset, swi_room_missing(sn) > 0)) {
			sn->evict.going = true;
			return false;
		}
		l.make_ns = remake_ns(sn, lo);
		if (swi_policy_remake(lo->bytes, l.make_ns, disk, &rates))
			l.back = SWI_BACK_REMAKE;
		else if (disk)
			l.back = SWI_BACK_WRITE;
		else
			return false;
	}
	*out_back = l.back;
	/* Pinned soft: after everything else. */
	*out_class = pin == SWARM_PIN_SOFT ? SWI_POLICY_CLASSES - 1
					   : swi_policy_class(swi_policy_price(&l, &rates));
	return true;
}

/* Begins the next pass, over the known slots where those are enough. */
static void pass_begin(struct swi_snode *sn, bool taking)
{
	struct swi_evict *e = &sn->evict;

	e->taking = taking;
	e->gone = false;
	known_rewind(&e->known);
	e->few = e->known.all && (taking || sn->now_ns - e->known.whole_ns <= SURVEY_NS);
	e->left = swi_index_slots(&sn->index);
	if (taking)
		return;
	if (!e->few)
		known_forget(sn);
	e->going = false;
	memset(e->by_class, 0, sizeof(e->by_class));
}

/* The cheapest classes that together hold @want bytes. */
static void survey_over(struct swi_snode *sn, uint64_t want)
{
	struct swi_evict *e = &sn->evict;
	uint64_t sum = 0;

	e->survey_ns = sn->now_ns;
	for (e->limit = 0; e->limit < SWI_POLICY_CLASSES - 1; e->limit++) {
		sum += e->by_class[e->limit];
		if (sum >= want)
			break;
	}
	if (e->few && sum < want) { /* what clients made since counts now */
		e->known.all = false;
		pass_begin(sn, false);
		return;
	}
	pass_begin(sn, sum > 0);
	if (sum)
		return;
	e->retry_ns = sn->now_ns + RETRY_NS; /* everything is pinned, held or being written */
	e->stuck = !e->spilling && !e->going;
	sn->rooms.again = sn->clients.rooms_again = e->stuck; /* now whatever fits */
	if (e->stuck && !swi_list_empty(&sn->clients.rooms) && sn->hooks.need_room)
		sn->hooks.need_room(sn->hooks.ctx);
}

static bool pass_over(const struct swi_evict *e)
{
	return e->few ? e->known.at == e->known.n : !e->left;
}

static bool next(struct swi_snode *sn, struct swi_local *lo)
{
	struct swi_evict *e = &sn->evict;
	struct swi_known *k = &e->known;
	bool found;

	e->looks++;
	if (e->few) {
		const uint32_t slot = k->slot[k->at++];

		found = swi_local_at(sn, slot, lo);
		if (found)
			k->slot[k->kept++] = slot;
		return found;
	}
	found = swi_local_at(sn, e->slot, lo);
	if (found && !e->taking)
		known_add(k, e->slot);
	e->slot = e->slot + 1 == swi_index_slots(&sn->index) ? 0 : e->slot + 1;
	e->left--;
	return found;
}

/* What next() found is found once more. */
static void step_back(struct swi_snode *sn)
{
	struct swi_evict *e = &sn->evict;

	if (e->few) {
		e->known.slot[--e->known.at] = e->known.slot[--e->known.kept];
		return;
	}
	e->slot = (e->slot ? e->slot : swi_index_slots(&sn->index)) - 1;
	e->left++;
}

static uint32_t so_many(struct swi_snode *sn, uint32_t n)
{
	return swi_room_missing(sn) ? n : n / CALM;
}

static void survey(struct swi_snode *sn, uint64_t want)
{
	struct swi_evict *e = &sn->evict;
	uint32_t n = so_many(sn, SLOTS_A_STEP);
	struct swi_local lo;
	enum swi_back back;
	uint32_t class;

	/* One with an object in it takes as long as many without. */
	for (; n && !pass_over(e); n--) {
		if (!next(sn, &lo))
			continue;
		n -= n < CALM ? n - 1 : CALM - 1;
		if (may_leave(sn, &lo, &back, &class))
			e->by_class[class] += lo.bytes;
	}
	if (pass_over(e))
		survey_over(sn, want);
}

static void take(struct swi_snode *sn, uint64_t want)
{
	const uint32_t most = so_many(sn, VICTIMS);
	struct swi_evict *e = &sn->evict;
	struct swi_local victim[VICTIMS], lo;
	enum swi_back back;
	uint64_t got = 0;
	uint32_t n = 0, class;

	for (uint32_t i = so_many(sn, SLOTS_A_STEP); i && !pass_over(e) && got < want && n < most; i--) {
		if (!next(sn, &lo))
			continue;
		i -= i < CALM ? i - 1 : CALM - 1;
		if (!may_leave(sn, &lo, &back, &class) || class > e->limit)
			continue;
		if (back == SWI_BACK_WRITE && !may_begin(sn, lo.bytes)) {
			step_back(sn); /* goes on here when something was written */
			e->retry_ns = sn->now_ns + RETRY_NS;
			break;
		}
		got += lo.bytes;
		if (back == SWI_BACK_WRITE) {
			spill_begin(sn, &lo);
			e->gone = true;
		} else {
			victim[n++] = lo;
			e->known.kept -= e->few; /* named again when it is put back */
		}
	}
	if (n)
		leave(sn, victim, n);
	if (!pass_over(e))
		return;
	e->shy = e->shy || !e->gone; /* or we would go round for as long as the readers read */
	pass_begin(sn, false);
}

/* What nobody waits for is done while there is nothing else to do, unless that never happens. */
static bool put_off(struct swi_snode *sn, bool busy)
{
	struct swi_evict *e = &sn->evict;

	if (!busy || swi_room_missing(sn) || ++e->put_off > PUT_OFF_MAX)
		e->put_off = 0;
	return e->put_off;
}

int swi_evict_step(struct swi_snode *sn, bool busy)
{
	struct swi_evict *e = &sn->evict;
	uint64_t want;

	leave_written(sn);
	want = wanted(sn);
	if (!want) {
		e->stuck = false;
		e->retry_ns = 0;
		return 0;
	}
	if (sn->now_ns < e->retry_ns || put_off(sn, busy))
		return 0;
	e->retry_ns = 0;
	if (e->taking && sn->now_ns - e->survey_ns > SURVEY_NS)
		pass_begin(sn, false);
	if (e->shy && swi_pins_scan(sn)) {
		e->retry_ns = sn->now_ns + RETRY_NS;
		return 1;
	}
	if (!e->taking)
		survey(sn, want);
	if (e->taking)
		take(sn, want);
	return 1;
}

uint64_t swi_evict_deadline_ns(struct swi_snode *sn)
{
	if (!swi_list_empty(&sn->evict.written))
		return sn->now_ns;
	if (!wanted(sn))
		return UINT64_MAX;
	return sn->evict.retry_ns ? sn->evict.retry_ns : sn->now_ns;
}
