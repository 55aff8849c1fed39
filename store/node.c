/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.c - the loop of the node core: it makes the rooms, moves each forward, and adds up. See node.h.
 */
#include "store/arena.h"
#include "store/snode_internal.h"
#include "store/sync.h"

#define LATE_NS	      (500 * NS_PER_MS) /* between two steps: who looks so late looks at the network first, */
#define LOOKS_MAX     64 /* until it is empty, or so often */
#define STAGING_BYTES MIB(16) /* taken from the machine as it is used: small objects are gathered here before they are written */

static int check_opts(const struct swi_snode_opts *o, char *why, size_t why_len)
{
	if (o->arena_bytes > SWI_ARENA_MAX) {
		snprintf(why, why_len, "an arena has at most 2 TiB");
		return -E2BIG;
	}
	if (o->arena && o->shm && o->env && o->log && o->epoch &&
	    o->shm->arena_bytes == o->arena_bytes && o->shm->boot_epoch == o->epoch)
		return 0;
	snprintf(why, why_len, "the node core needs an arena, an index made for it, and an epoch");
	return -EINVAL;
}

/* ---- life ---- */

static int open_net(struct swi_snode *sn, char *why, size_t why_len)
{
	struct swi_tp_handler handler = swi_peers_handler;
	struct swi_tp_opts o = sn->opts.tp;
	int rc;

	if (!o.backend && !o.bind)
		return 0;
	handler.ctx = sn;
	o.node = sn->opts.node;
	o.epoch = sn->epoch;
	rc = swi_tp_open(&o, sn->env, sn->log, &handler, &sn->tp, why, why_len);
	if (rc)
		return rc;
	rc = swi_tp_register(sn->tp, SWI_REGION_ARENA, sn->arena, sn->arena_bytes,
			     sn->opts.arena_fd > 0 ? sn->opts.arena_fd : -1);
	if (!rc)
		rc = swi_tp_register(sn->tp, SWI_REGION_INDEX, sn->shm, sn->shm->index_bytes,
				     sn->opts.index_fd > 0 ? sn->opts.index_fd : -1);
	if (rc)
		snprintf(why, why_len, "the arena cannot be registered with the network device: %s; %s",
			 swarm_strerror(rc), swarm_strremedy(rc));
	return rc;
}

static int open_spill(struct swi_snode *sn, char *why, size_t why_len)
{
	const struct swi_snode_opts *o = &sn->opts;
	struct swi_spill_opts so = {
	    .disks = o->disks,
	    .disk_count = o->disk_count,
	    .segment_bytes = o->segment_bytes,
	    .quota_bytes = o->spill_bytes,
	    .reserve_bytes = o->spill_reserve,
	    .boot_epoch = o->epoch,
	    .keep = o->spill_keep,
	    .staging_bytes = STAGING_BYTES,
	};

	if (!o->disk_count)
		return 0;
	sn->staging = aligned_alloc(MIB(2), STAGING_BYTES);
	if (!sn->staging)
		return -ENOMEM;
	swi_mem_prefer_huge(sn->staging, STAGING_BYTES); /* one segment of a disk's request for many */
	so.staging = sn->staging;
	for (uint32_t i = 0; i < o->disk_count; i++) {
		struct swi_disk *d = o->disks[i];

		if (d->ops->register_memory) /* faster where it works */
			(void)d->ops->register_memory(d, sn->arena, sn->arena_bytes);
	}
	return swi_spill_create(&so, sn->env, sn->log, &sn->spill, why, why_len);
}

static int open_rooms(struct swi_snode *sn, char *why, size_t why_len)
{
	int rc = swi_index_open(&sn->index, sn->shm, sn->shm->index_bytes);

	if (!rc)
		rc = swi_extents_init(&sn->extents, sn->arena_bytes);
	swi_relocate_init(sn);
	if (!rc)
		rc = swi_clients_init(sn);
	if (!rc)
		swi_evict_init(sn);
	if (!rc)
		rc = open_spill(sn, why, why_len);
	if (!rc)
		rc = open_net(sn, why, why_len);
	if (!rc)
		rc = swi_rooms_reserve(sn);
	return rc;
}

int swi_snode_create(const struct swi_snode_opts *opts, struct swi_snode **out, char *why,
		     size_t why_len)
{
	struct swi_snode *sn;
	int rc = check_opts(opts, why, why_len);

	if (rc)
		return rc;
	sn = calloc(1, sizeof(*sn));
	if (!sn)
		return -ENOMEM;
	sn->opts = *opts;
	sn->env = opts->env;
	sn->log = opts->log;
	sn->arena = opts->arena;
	sn->arena_bytes = opts->arena_bytes;
	sn->shm = opts->shm;
	sn->epoch = opts->epoch;
	sn->now_ns = swi_now(sn->env);
	swi_list_init(&sn->clients.list);
	swi_notify_init(sn);
	swi_attrs_init(sn);
	swi_quotas_init(sn);
	swi_holds_init(sn);
	swi_quarantine_init(sn);
	swi_fetches_init(sn);
	swi_peers_init(sn);
	swi_dir_init(sn);
	swi_untolds_init(sn);
	swi_digests_init(sn);
	swi_rooms_init(sn);
	swi_draining_init(sn);
	swi_keeps_init(sn);
	swi_list_init(&sn->syncs);
	swi_ranges_init(sn);
	atomic_store(&sn->shm->durable, opts->durable);
	snprintf(why, why_len, "the node core cannot start");
	rc = open_rooms(sn, why, why_len);
	if (rc) {
		swi_snode_destroy(sn);
		return rc;
	}
	if (opts->node)
		swi_snode_set_number(sn, opts->node);
	*out = sn;
	return 0;
}

/*
 * First nothing is written into the arena any more (network, disk), then those who wait are let go,
 * then what they waited for.
 */
void swi_snode_destroy(struct swi_snode *sn)
{
	if (!sn)
		return;
	swi_peers_cut(sn);
	swi_tp_close(sn->tp);
	sn->tp = NULL;
	memset(&sn->hooks, 0, sizeof(sn->hooks));
	swi_spill_destroy(sn->spill);
	sn->spill = NULL;
	swi_clients_fini(sn);
	swi_syncs_fini(sn);
	swi_draining_fini(sn);
	swi_keeps_fini(sn);
	swi_peers_fini(sn);
	swi_fetches_fini(sn);
	swi_ranges_fini(sn);
	swi_casts_fini(sn);
	swi_evict_fini(sn);
	swi_dir_fini(sn);
	swi_untolds_fini(sn);
	swi_holds_fini(sn);
	swi_locators_fini(&sn->locators);
	swi_rooms_fini(sn);
	swi_relocate_fini(sn);
	swi_extents_fini(&sn->extents);
	swi_attrs_fini(sn);
	swi_quotas_fini(sn);
	swi_timers_fini(&sn->timers);
	free(sn->staging);
	free(sn);
}

void swi_snode_set_hooks(struct swi_snode *sn, const struct swi_snode_hooks *hooks)
{
	sn->hooks = *hooks;
	atomic_store(&sn->shm->keeps, hooks->obj_keep != NULL);
}

void swi_snode_set_number(struct swi_snode *sn, uint32_t node)
{
	sn->node = node;
	atomic_store(&sn->shm->node, node);
	if (sn->tp)
		swi_tp_set_node(sn->tp, node);
	sn->dir.moved = true;
}

uint64_t swi_snode_epoch(const struct swi_snode *sn)
{
	return sn->epoch;
}

uint32_t swi_snode_number(const struct swi_snode *sn)
{
	return sn->node;
}

/* ---- the loop ---- */

int swi_snode_peer_msg(struct swi_snode *sn, struct swi_link *l, uint16_t type, struct swi_rd *body)
{
	int rc;

	switch (type) {
	case SWI_S_LOCATE:
		return swi_dir_on_locate(l, body);
	case SWI_S_UNWATCH:
		return swi_dir_on_unwatch(l, body);
	case SWI_S_COPIES:
		return swi_dir_on_copies(l, body);
	case SWI_S_TOLD:
		return swi_dir_on_told(l, body);
	case SWI_S_LEASE:
		return swi_serve_on_lease(l, body);
	case SWI_S_RANGE:
		return swi_serve_on_range(l, body);
	case SWI_S_LEASE_END:
		return swi_serve_on_ends(l, body);
	case SWI_S_STAND:
		return swi_lease_on_stand(l, body);
	case SWI_S_SYNC:
		return swi_lease_on_sync(l, body);
	case SWI_S_SYNCED:
		return swi_lease_on_synced(l, body);
	case SWI_S_DROP:
		return swi_dir_on_drop(l, body);
	case SWI_S_DELETE:
		return swi_dir_on_delete(l, body);
	case SWI_S_MOVE:
		return swi_drain_on_move(l, body);
	case SWI_S_XFER:
		return swi_dir_on_xfer(l, body);
	case SWI_S_KEEP:
		return swi_keep_on_keep(l, body);
	case SWI_S_LEASED:
		rc = swi_req_answer(sn, l->peer, type, body);
		return rc == -ENOENT ? swi_serve_unclaimed(l, body) : rc;
	case SWI_S_PARENT:
	case SWI_S_MORE:
	case SWI_S_LOCATED:
	case SWI_S_MOVED:
	case SWI_S_XFERRED:
	case SWI_S_KEPT:
		rc = swi_req_answer(sn, l->peer, type, body);
		return rc == -ENOENT ? 0 : rc; /* nobody waits any more */
	default:
		return SWARM_EPROTO;
	}
}

/* Ten times a second and not in every step: each client reads this cache line in most of its calls. */
static void tell_time(struct swi_snode *sn)
{
	const uint32_t tick = (uint32_t)(sn->now_ns / (100 * NS_PER_MS));

	if (atomic_load_explicit(&sn->shm->tick, memory_order_relaxed) != tick)
		atomic_store_explicit(&sn->shm->tick, tick, memory_order_relaxed);
}

/* Who was stopped, or slept, hears what came meanwhile before he judges who was silent. */
static int look_first(struct swi_snode *sn)
{
	const uint64_t before = sn->now_ns;
	int n = 0;

	sn->now_ns = swi_now(sn->env);
	for (int i = 0, more = 1; sn->tp && sn->now_ns - before >= LATE_NS && more > 0 && i < LOOKS_MAX; i++)
		n += more = swi_tp_progress(sn->tp);
	return n;
}

int swi_snode_step(struct swi_snode *sn)
{
	int n = 0;

	n += look_first(sn);
	tell_time(sn);
	n += swi_clients_step(sn);
	n += swi_fetches_step(sn);
	/* What was asked for is on its way; the rest of the house is kept meanwhile, so that nobody waits for that. */
	n += swi_timers_run(&sn->timers, sn->now_ns);
	n += swi_client_sets_step(sn);
	n += swi_notify_step(sn);
	n += swi_relocate_step(sn);
	n += swi_evict_step(sn, n > 0);
	n += swi_holds_step(sn);
	n += swi_quarantine_step(sn);
	n += swi_grants_step(sn);
	n += swi_rooms_step(sn);
	n += swi_announce_step(sn);
	n += swi_draining_step(sn);
	n += swi_peers_flush(sn);
	/* What comes back: who waits for it is answered by the end of this step. */
	if (sn->tp)
		n += swi_tp_progress(sn->tp);
	if (sn->spill)
		n += swi_spill_progress(sn->spill);
	n += swi_peers_step(sn);
	n += swi_dir_step(sn);
	n += swi_digests_step(sn);
	n += swi_peers_flush(sn);
	return n;
}

static bool busy(const struct swi_snode *sn)
{
	return !swi_list_empty(&sn->digests) || !swi_list_empty(&sn->dir.dirty) ||
	       !swi_list_empty(&sn->dir.fresh) ||
	       !swi_list_empty(&sn->fetches.fresh) || sn->announce.running || sn->dir.moved ||
	       (sn->rooms.again && !swi_list_empty(&sn->rooms.list)) ||
	       (sn->clients.rooms_again && !swi_list_empty(&sn->clients.rooms));
}

uint64_t swi_snode_deadline_ns(const struct swi_snode *csn)
{
	struct swi_snode *sn = (struct swi_snode *)csn;
	uint64_t d = swi_clients_deadline_ns(sn);

	if (busy(sn))
		return sn->now_ns;
	d = swi_min_u64(d, swi_timers_next(&sn->timers));
	d = swi_min_u64(d, swi_holds_deadline_ns(sn));
	d = swi_min_u64(d, swi_quarantine_deadline_ns(sn));
	d = swi_min_u64(d, swi_batches_deadline_ns(sn));
	d = swi_min_u64(d, swi_evict_deadline_ns(sn));
	d = swi_min_u64(d, swi_relocate_deadline_ns(sn));
	d = swi_min_u64(d, swi_draining_deadline_ns(sn));
	if (sn->tp)
		d = swi_min_u64(d, swi_tp_deadline_ns(sn->tp));
	if (sn->spill)
		d = swi_min_u64(d, swi_spill_deadline_ns(sn->spill));
	/* The coarse clock in the shared page: recency, while anybody uses it. */
	if (sn->clients.count)
		d = swi_min_u64(d, swi_sat_add(sn->now_ns, 100 * NS_PER_MS));
	return d;
}

struct swi_env *swi_snode_env(struct swi_snode *sn)
{
	return sn->env;
}

struct swi_log *swi_snode_log(struct swi_snode *sn)
{
	return sn->log;
}

void *swi_snode_arena(struct swi_snode *sn)
{
	return sn->arena;
}

uint64_t swi_snode_arena_bytes(const struct swi_snode *sn)
{
	return sn->arena_bytes;
}

uint64_t swi_snode_arena_used(const struct swi_snode *sn)
{
	return sn->extents.used;
}

bool swi_snode_tight(struct swi_snode *sn)
{
	return swi_evict_tight(sn);
}

uint32_t swi_snode_gen(struct swi_snode *sn)
{
	if (++sn->next_gen == 0)
		sn->next_gen = 1;
	return sn->next_gen;
}

struct swi_object_head *swi_object_at(struct swi_snode *sn, uint64_t offset, uint64_t *out_extent)
{
	if (offset % SWI_GRANULE || offset > sn->arena_bytes - sizeof(struct swi_object_head))
		return NULL;
	struct swi_object_head *h = (void *)(sn->arena + offset);
	const uint64_t len = __atomic_load_n(&h->len, __ATOMIC_RELAXED);

	if (h->magic != SWI_OBJ_MAGIC || len > sn->arena_bytes ||
	    swi_extent_bytes(len) > sn->arena_bytes - offset)
		return NULL;
	if (out_extent)
		*out_extent = swi_extent_bytes(len);
	return h;
}

bool swi_object_find(struct swi_snode *sn, struct swarm_oid id, struct swi_index_hit *out_hit,
		     uint64_t *out_offset)
{
	if (!swi_index_find(&sn->index, swi_index_key(id), out_hit))
		return false;
	const uint64_t offset = swi_slot_offset(out_hit->word);
	const struct swi_object_head *h = swi_object_at(sn, offset, NULL);

	if (!h || h->oid[0] != id.w[0] || h->oid[1] != id.w[1] ||
	    (h->gen & 0xfffffu) != swi_slot_gen(out_hit->word))
		return false;
	*out_offset = offset;
	return true;
}

/* Takes a sealed or dead object out of the index and retires its extent. False: it changed meanwhile. */
static bool drop_object(struct swi_snode *sn, const struct swi_index_hit *hit)
{
	const uint64_t offset = swi_slot_offset(hit->word);
	uint64_t bytes;

	if (!swi_index_remove(&sn->index, hit))
		return false;
	if (!swi_object_at(sn, offset, &bytes)) {
		sn->clients.errors++; /* a slot or header that a client wrote over */
		return true;
	}
	swi_retire(sn, offset, bytes);
	return true;
}

bool swi_object_deleted(struct swi_snode *sn, const struct swi_index_hit *hit)
{
	const struct swi_object_head *h = swi_object_at(sn, swi_slot_offset(hit->word), NULL);
	struct swarm_ref ref = {0};
	uint64_t len = 0;

	if (h) {
		ref = (struct swarm_ref){.id = {.w = {h->oid[0], h->oid[1]}}, .home = h->home};
		len = h->len;
	}
	if (!drop_object(sn, hit))
		return false;
	if (h) {
		swi_deleted_forget(sn, ref.id);
		swi_notify_deleted(sn, ref, len);
	}
	return true;
}

void swi_snode_stats(struct swi_snode *sn, struct swi_snode_stats *out)
{
	struct swi_snode_stats s = sn->stats;

	s.arena_bytes = sn->arena_bytes;
	s.arena_used = sn->extents.used;
	s.arena_largest_free = swi_extents_largest(&sn->extents);
	s.objects = swi_clients_objects(sn);
	s.holds = sn->holds.count;
	s.locators = sn->locators.count;
	s.quarantine_bytes = swi_quarantine_bytes(&sn->quarantine);
	s.quarantine_peak = sn->quarantine.peak_bytes;
	s.moved_objects = sn->relocate.c.moved_objects;
	s.moved_bytes = sn->relocate.c.moved_bytes;
	s.peers = sn->peers.count;
	s.clients = sn->clients.count;
	s.client_errors = sn->clients.errors + sn->extents.bad_frees;
	s.pins = 0;
	swi_list_for_each(it, &sn->clients.list)
		s.pins += swi_pin_count(swi_list_entry(it, struct swi_client, link)->shm);
	*out = s;
}

struct swi_spill *swi_snode_spill(struct swi_snode *sn)
{
	return sn->spill;
}

struct swi_tp *swi_snode_tp(struct swi_snode *sn)
{
	return sn->tp;
}

