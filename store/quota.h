/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.h - how much of the arena each client process has filled. Owner thread of the node.
 *
 * Charged to a process: its open grants, and of those that ended the objects that stay, until their bytes are free
 * again - also after its death, as long as another life of it does not begin: an account is a process's, not
 * an attachment's. Kept only where the node has a quota; what the core itself fetches or restores is nobody's.
 */
#ifndef SWI_QUOTA_H
#define SWI_QUOTA_H

#include "store/node.h"
#include "transport/base/hash.h"

struct swi_account {
	struct swi_list link; /* quotas.accounts */
	uint32_t pid;
	uint32_t clients; /* attached now */
	uint64_t objects; /* rows that name it */
	uint64_t used;	  /* bytes */
};

struct swi_charge { /* an object that stayed */
	uint64_t offset;
	UT_hash_handle hh;
	struct swi_account *account;
	uint64_t bytes;
};

struct swi_quotas {
	struct swi_list accounts;
	struct swi_charge *by_offset;
	uint64_t refused;
};

void swi_quotas_init(struct swi_snode *sn);
void swi_quotas_fini(struct swi_snode *sn);
/* The account of an attaching process; NULL: there is no quota, or no memory. */
struct swi_account *swi_account_open(struct swi_snode *sn, uint32_t pid);
void swi_account_close(struct swi_snode *sn, struct swi_account *ac);
/*
 * May @ac have @bytes more? *bytes is made smaller, down to @least, where that makes it fit. 0, SWARM_EQUOTA.
 */
int swi_quota_fit(struct swi_snode *sn, struct swi_account *ac, uint64_t least, uint64_t *bytes);
/* An object at @offset stays when its grant ends. */
void swi_quota_keep(struct swi_snode *sn, struct swi_account *ac, uint64_t offset, uint64_t bytes);
/* The object at @from lies at @to from now on. */
void swi_quota_move(struct swi_snode *sn, uint64_t from, uint64_t to);
/* The extent at @offset is free. */
void swi_quota_free(struct swi_snode *sn, uint64_t offset);

#endif
