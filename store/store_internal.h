/* SPDX-License-Identifier: Apache-2.0 */
/* store_internal.h - the inside of a struct swarm_store: store.c (life), calls.c (requests), attach.c. */
#ifndef SWI_STORE_INTERNAL_H
#define SWI_STORE_INTERNAL_H

#include <pthread.h>

#include "store/hello.h"
#include "store/lc.h"

struct swarm_store {
	struct swi_attachment at;
	struct swi_lc *lc;
	struct swi_host *host; /* embedded; NULL = attached */
	pthread_t thread;      /* runs the host */
	bool running;
	char address[64];
	uint64_t ref_hi;	  /* of fresh references: random, of this attachment */
	_Atomic uint64_t ref_lo;
};

int swi_attach_dial(const char *dir, uint32_t role, struct swi_attachment *out, char *why,
		    size_t why_len);
void swi_attach_ring(void *ctx);
int swi_attach_wait(void *ctx, struct swi_client_shm *shm, uint32_t seen, uint64_t timeout_ns);
void swi_attach_wake_others(void *ctx, struct swi_client_shm *shm);

#endif
