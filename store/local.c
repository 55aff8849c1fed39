/* SPDX-License-Identifier: Apache-2.0 */
/* local.c - see local.h. */
#include "store/local.h"
#include "store/snode_internal.h"

static bool take(struct swi_snode *sn, const struct swi_index_hit *hit, struct swi_local *out)
{
	const uint64_t offset = swi_slot_offset(hit->word);
	struct swi_local lo = {.hit = *hit, .offset = offset};

	lo.head = swi_object_at(sn, offset, &lo.bytes);
	if (!lo.head || atomic_load_explicit(&lo.head->state, memory_order_acquire) != SWI_OBJ_SEALED)
		return false;
	lo.ref.id = (struct swarm_oid){{lo.head->oid[0], lo.head->oid[1]}};
	lo.ref.home = lo.head->home;
	lo.len = __atomic_load_n(&lo.head->len, __ATOMIC_RELAXED);
	lo.epoch = lo.head->epoch;
	lo.gen = lo.head->gen;
	lo.flags = __atomic_load_n(&lo.head->flags, __ATOMIC_RELAXED);
	lo.digest = atomic_load_explicit(&lo.head->digest, memory_order_relaxed);
	lo.touch = atomic_load_explicit(&lo.head->touch, memory_order_relaxed);
	/* swi_object_at() looked at the length once, we once more: they must agree. */
	if (lo.bytes != swi_extent_bytes(lo.len) || (lo.gen & 0xfffffu) != swi_slot_gen(hit->word))
		return false;
	*out = lo;
	return true;
}

bool swi_local_find(struct swi_snode *sn, struct swarm_oid id, struct swi_local *out)
{
	struct swi_index_hit hit;
	uint64_t offset;

	return swi_object_find(sn, id, &hit, &offset) && take(sn, &hit, out) &&
	       swarm_oid_equal(out->ref.id, id);
}

bool swi_local_at(struct swi_snode *sn, uint64_t slot, struct swi_local *out)
{
	const struct swi_index_hit hit = {.slot = slot, .word = swi_index_word(&sn->index, slot)};

	return swi_slot_state(hit.word) == SWI_SLOT_SEALED && take(sn, &hit, out);
}

bool swi_spilled_here(struct swi_snode *sn, struct swarm_oid id, uint64_t *out_len)
{
	struct swi_object_head head;

	if (!sn->spill || !swi_spill_find(sn->spill, id, &head))
		return false;
	*out_len = head.len;
	return true;
}

void swi_head_begin(struct swi_object_head *h, struct swarm_ref ref, uint64_t len)
{
	memset(h, 0, sizeof(*h));
	h->magic = SWI_OBJ_MAGIC;
	h->oid[0] = ref.id.w[0];
	h->oid[1] = ref.id.w[1];
	h->home = ref.home;
	h->len = len;
	h->flags = ref.home ? 0 : SWI_OBJ_F_NAMED;
}

int swi_local_publish(struct swi_snode *sn, struct swarm_oid id, uint32_t gen, uint64_t offset,
		      uint64_t bytes)
{
	uint64_t slot;
	const int rc = swi_index_insert(&sn->index, swi_index_key(id), gen, offset, bytes, &slot);

	if (rc)
		return rc;
	atomic_fetch_add_explicit(&sn->shm->objects, 1, memory_order_relaxed);
	swi_evict_note(sn, slot);
	return 0;
}

void swi_local_set_flags(const struct swi_local *lo, uint32_t set, uint32_t clear)
{
	const uint32_t flags = __atomic_load_n(&lo->head->flags, __ATOMIC_RELAXED);

	__atomic_store_n(&lo->head->flags, (flags | set) & ~clear, __ATOMIC_RELAXED);
}

void swi_local_set_digest(const struct swi_local *lo, uint64_t digest)
{
	atomic_store_explicit(&lo->head->digest, digest, memory_order_relaxed);
	swi_local_set_flags(lo, SWI_OBJ_F_DIGEST, 0);
}

const char *swi_oid_text(struct swarm_oid id, char buf[SWI_OID_TEXT])
{
	snprintf(buf, SWI_OID_TEXT, "%016llx%016llx", (unsigned long long)id.w[0],
		 (unsigned long long)id.w[1]);
	return buf;
}
