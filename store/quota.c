/* SPDX-License-Identifier: Apache-2.0 */
/* quota.c - see quota.h. */
#include "store/quota.h"
#include "store/snode_internal.h"

void swi_quotas_init(struct swi_snode *sn)
{
	swi_list_init(&sn->quotas.accounts);
}

static void account_free_if_over(struct swi_account *ac)
{
	if (ac->clients || ac->objects)
		return;
	swi_list_del(&ac->link);
	free(ac);
}

static void charge_free(struct swi_snode *sn, struct swi_charge *ch)
{
	struct swi_account *ac = ch->account;

	HASH_DELETE(hh, sn->quotas.by_offset, ch);
	ac->used -= ch->bytes;
	ac->objects--;
	free(ch);
	account_free_if_over(ac);
}

void swi_quotas_fini(struct swi_snode *sn)
{
	struct swi_charge *ch, *tmp;

	HASH_ITER(hh, sn->quotas.by_offset, ch, tmp)
		charge_free(sn, ch);
}

struct swi_account *swi_account_open(struct swi_snode *sn, uint32_t pid)
{
	struct swi_account *ac;

	if (!sn->opts.client_quota)
		return NULL;
	swi_list_for_each(it, &sn->quotas.accounts)
	{
		ac = swi_list_entry(it, struct swi_account, link);
		if (ac->pid == pid && ac->clients) { /* else it is of an earlier process with this number */
			ac->clients++;
			return ac;
		}
	}
	ac = calloc(1, sizeof(*ac));
	if (!ac)
		return NULL;
	ac->pid = pid;
	ac->clients = 1;
	swi_list_push_back(&sn->quotas.accounts, &ac->link);
	return ac;
}

void swi_account_close(struct swi_snode *sn SWI_UNUSED, struct swi_account *ac)
{
	if (!ac)
		return;
	ac->clients--;
	account_free_if_over(ac);
}

int swi_quota_fit(struct swi_snode *sn, struct swi_account *ac, uint64_t least, uint64_t *bytes)
{
	const uint64_t quota = sn->opts.client_quota;

	if (!ac || (ac->used <= quota && *bytes <= quota - ac->used))
		return 0;
	swi_holds_step(sn); /* what it deleted a moment ago */
	const uint64_t left = ac->used < quota ? swi_align_down(quota - ac->used, SWI_PAGE) : 0;

	if (left < least) {
		sn->quotas.refused++;
		return SWARM_EQUOTA;
	}
	*bytes = swi_min_u64(*bytes, left);
	return 0;
}

void swi_quota_keep(struct swi_snode *sn, struct swi_account *ac, uint64_t offset, uint64_t bytes)
{
	struct swi_charge *ch = ac ? calloc(1, sizeof(*ch)) : NULL;

	if (!ch)
		return;
	swi_quota_free(sn, offset); /* a row of this place would be stale */
	ch->offset = offset;
	ch->account = ac;
	ch->bytes = bytes;
	ac->used += bytes;
	ac->objects++;
	HASH_ADD(hh, sn->quotas.by_offset, offset, sizeof(ch->offset), ch);
}

void swi_quota_move(struct swi_snode *sn, uint64_t from, uint64_t to)
{
	struct swi_charge *ch;

	HASH_FIND(hh, sn->quotas.by_offset, &from, sizeof(from), ch);
	if (!ch)
		return;
	HASH_DELETE(hh, sn->quotas.by_offset, ch);
	swi_quota_free(sn, to); /* a row of this place would be stale */
	ch->offset = to;
	HASH_ADD(hh, sn->quotas.by_offset, offset, sizeof(ch->offset), ch);
}

void swi_quota_free(struct swi_snode *sn, uint64_t offset)
{
	struct swi_charge *ch;

	HASH_FIND(hh, sn->quotas.by_offset, &offset, sizeof(offset), ch);
	if (ch)
		charge_free(sn, ch);
}
