/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.c - the loop of the node core: it makes the rooms, moves each forward, and adds up. See node.h.
 */
#include <jansson.h>

#include "store/snode_internal.h"

static int check_opts(const struct swi_snode_opts *o, char *why, size_t why_len)
{
	if (o->arena && o->shm && o->env && o->log && o->epoch &&
	    o->shm->arena_bytes == o->arena_bytes)
		return 0;
	snprintf(why, why_len, "the node core needs an arena, an index made for it, and an epoch");
	return -EINVAL;
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
	sn->now_ns = swi_now(sn->env);
	swi_list_init(&sn->clients.list);
	swi_holds_init(sn);
	swi_fetches_init(sn);
	rc = swi_index_open(&sn->index, sn->shm, sn->shm->index_bytes);
	if (!rc)
		rc = swi_extents_init(&sn->extents, sn->arena_bytes);
	if (!rc)
		rc = swi_clients_init(sn);
	if (rc) {
		snprintf(why, why_len, "the node core cannot start: %s", swarm_strerror(rc));
		swi_snode_destroy(sn);
		return rc;
	}
	if (opts->node)
		swi_snode_set_number(sn, opts->node);
	*out = sn;
	return 0;
}

void swi_snode_destroy(struct swi_snode *sn)
{
	if (!sn)
		return;
	swi_clients_fini(sn);
	swi_holds_fini(sn);
	swi_extents_fini(&sn->extents);
	free(sn);
}

void swi_snode_set_hooks(struct swi_snode *sn, const struct swi_snode_hooks *hooks)
{
	sn->hooks = *hooks;
}

void swi_snode_set_number(struct swi_snode *sn, uint32_t node)
{
	sn->node = node;
	atomic_store(&sn->shm->node, node);
}

uint32_t swi_snode_number(const struct swi_snode *sn)
{
	return sn->node;
}

int swi_snode_step(struct swi_snode *sn)
{
	int n = 0;

	sn->now_ns = swi_now(sn->env);
	atomic_store_explicit(&sn->shm->tick, (uint32_t)(sn->now_ns / (100 * NS_PER_MS)),
			      memory_order_relaxed);
	n += swi_clients_step(sn);
	n += swi_fetches_step(sn);
	n += swi_holds_step(sn);
	n += swi_grants_step(sn);
	return n;
}

uint64_t swi_snode_deadline_ns(const struct swi_snode *sn)
{
	uint64_t d = swi_clients_deadline_ns((struct swi_snode *)sn);

	d = swi_min_u64(d, swi_fetches_deadline_ns(sn));
	return swi_min_u64(d, swi_holds_deadline_ns(sn));
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

bool swi_object_drop(struct swi_snode *sn, const struct swi_index_hit *hit)
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

void swi_delete(struct swi_snode *sn, struct swarm_ref ref)
{
	struct swi_index_hit hit;
	uint64_t offset;

	if (swi_object_find(sn, ref.id, &hit, &offset))
		swi_object_drop(sn, &hit);
}

void swi_snode_stats(struct swi_snode *sn, struct swi_snode_stats *out)
{
	struct swi_snode_stats s = sn->stats;

	s.arena_bytes = sn->arena_bytes;
	s.arena_used = sn->extents.used;
	s.arena_largest_free = swi_extents_largest(&sn->extents);
	s.objects = atomic_load(&sn->shm->objects);
	s.holds = sn->holds.count;
	s.clients = sn->clients.count;
	s.client_errors = sn->clients.errors + sn->extents.bad_frees;
	s.pins = 0;
	swi_list_for_each(it, &sn->clients.list)
		s.pins += swi_pin_count(swi_list_entry(it, struct swi_client, link)->shm);
	*out = s;
}

struct swi_spill *swi_snode_spill(struct swi_snode *sn SWI_UNUSED)
{
	return NULL;
}

struct swi_tp *swi_snode_tp(struct swi_snode *sn SWI_UNUSED)
{
	return NULL;
}

char *swi_snode_status_json(struct swi_snode *sn)
{
	struct swi_snode_stats s;

	swi_snode_stats(sn, &s);
	json_t *root = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "node",
				 (json_int_t)sn->node, "arena_bytes", (json_int_t)s.arena_bytes,
				 "arena_used", (json_int_t)s.arena_used, "arena_largest_free",
				 (json_int_t)s.arena_largest_free, "objects", (json_int_t)s.objects,
				 "pins", (json_int_t)s.pins, "holds", (json_int_t)s.holds, "clients",
				 (json_int_t)s.clients, "client_errors", (json_int_t)s.client_errors,
				 "local_hits", (json_int_t)s.local_hits);
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

	json_decref(root);
	return text;
}
