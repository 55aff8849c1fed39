/* SPDX-License-Identifier: Apache-2.0 */
/* announce.c - see announce.h. */
#include <xxhash.h>

#include "store/announce.h"
#include "store/directory.h"
#include "store/snode_internal.h"

#define SLOTS_A_STEP 4096u

uint64_t swi_rendezvous(struct swarm_oid id, uint32_t node)
{
	uint8_t buf[20];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_oid(&w, id);
	swi_wr_u32(&w, node);
	return XXH3_64bits(buf, sizeof(buf));
}

uint32_t swi_home_of(struct swi_snode *sn, struct swarm_ref ref)
{
	uint64_t best = swi_rendezvous(ref.id, sn->node), w;
	uint32_t home = sn->node;

	if (ref.home)
		return ref.home;
	swi_list_for_each(it, &sn->peers.list) {
		const struct swi_peer *p = swi_list_entry(it, struct swi_peer, link);

		if (!p->node)
			continue;
		w = swi_rendezvous(ref.id, p->node);
		if (w > best || (w == best && p->node > home)) {
			best = w;
			home = p->node;
		}
	}
	return home;
}

void swi_announce_node(struct swi_snode *sn, uint32_t node)
{
	struct swi_announce *a = &sn->announce;

	if (!a->running) {
		a->running = true;
		a->all = false;
		a->count = 0;
		a->slot = 0;
	}
	a->left = swi_index_slots(&sn->index);
	for (uint32_t i = 0; i < a->count; i++) {
		if (a->node[i] == node)
			return;
	}
	if (a->count == SWI_ANNOUNCE_NODES)
		a->all = true;
	else
		a->node[a->count++] = node;
}

/* Did the home of this object change by what is being answered? */
static bool moved(struct swi_snode *sn, struct swarm_ref ref)
{
	const struct swi_announce *a = &sn->announce;
	const uint32_t home = swi_home_of(sn, ref);

	if (a->all)
		return true;
	for (uint32_t i = 0; i < a->count; i++) {
		if (a->node[i] == home)
			return true;
		if (!ref.home && swi_rendezvous(ref.id, a->node[i]) >= swi_rendezvous(ref.id, home))
			return true;
	}
	return false;
}

static void tell_again(struct swi_snode *sn, struct swarm_ref ref, uint64_t len, bool secondary,
		       bool spilled)
{
	uint8_t flags = (uint8_t)((secondary ? 0 : SWI_COPY_PRIMARY) | (spilled ? SWI_COPY_SPILLED : 0));

	if (ref.home == sn->node || !moved(sn, ref))
		return;
	if (secondary || !swi_untold(sn, ref.id))
		flags |= SWI_COPY_AGAIN;
	else if (swi_untold_on_way(sn, ref.id, swi_home_of(sn, ref)))
		return;
	swi_dir_have(sn, ref, len, flags);
}

static void each_spilled(void *ctx, const struct swi_object_head *head)
{
	const struct swarm_ref ref = {.id = {{head->oid[0], head->oid[1]}}, .home = head->home};

	tell_again(ctx, ref, head->len, head->flags & SWI_OBJ_F_SECONDARY, true);
}

int swi_announce_step(struct swi_snode *sn)
{
	struct swi_announce *a = &sn->announce;
	const uint64_t slots = swi_index_slots(&sn->index);
	struct swi_local lo;

	if (!a->running)
		return 0;
	for (uint32_t n = 0; n < SLOTS_A_STEP && a->left; n++, a->left--) {
		if (swi_local_at(sn, a->slot, &lo) && !swi_dir_is_new(sn, &lo))
			tell_again(sn, lo.ref, lo.len, lo.flags & SWI_OBJ_F_SECONDARY, false);
		a->slot = a->slot + 1 == slots ? 0 : a->slot + 1;
	}
	if (a->left)
		return 1;
	if (sn->spill)
		swi_spill_each(sn->spill, each_spilled, sn);
	a->running = false;
	return 1;
}
