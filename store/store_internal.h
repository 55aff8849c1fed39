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

/* waitset.c, cq.c, subscribe.c: as in store.h. */
int swi_waitset_create(struct swi_lc *lc, struct swarm_waitset **out);
int64_t swi_waitset_add(struct swarm_waitset *ws, const struct swarm_ref *refs, const uint64_t *tokens,
			uint32_t count);
int swi_waitset_remove(struct swarm_waitset *ws, struct swarm_ref ref);
int swi_waitset_wait_any(struct swarm_waitset *ws, uint64_t timeout_ns, struct swarm_ready *out,
			 uint32_t max);
int swi_waitset_wait_all(struct swarm_waitset *ws, uint64_t timeout_ns);
int swi_waitset_fd(struct swarm_waitset *ws);
void swi_waitset_destroy(struct swarm_waitset *ws);
int swi_cq_create(struct swi_lc *lc, uint32_t depth, struct swarm_cq **out);
int swi_cq_get(struct swarm_cq *cq, struct swarm_ref ref, uint64_t timeout_ns, uint64_t user,
	       uint64_t *out_id);
int swi_cq_cancel(struct swarm_cq *cq, uint64_t id);
int swi_cq_poll(struct swarm_cq *cq, struct swarm_completion *out, uint32_t max);
int swi_cq_wait(struct swarm_cq *cq, uint64_t timeout_ns, struct swarm_completion *out, uint32_t max);
int swi_cq_fd(struct swarm_cq *cq);
void swi_cq_destroy(struct swarm_cq *cq);
/* Asks and does not wait: the subscription stands when @call has ended with status 0. */
int swi_sub_begin(struct swi_lc *lc, const struct swarm_sub_opts *opts, struct swi_call *call,
		  struct swarm_sub **out);
int swi_sub_create(struct swi_lc *lc, const struct swarm_sub_opts *opts, struct swarm_sub **out);
int swi_sub_next(struct swarm_sub *sub, uint64_t timeout_ns, struct swarm_event *out, uint32_t max);
int swi_sub_fd(struct swarm_sub *sub);
void swi_sub_destroy(struct swarm_sub *sub);

int swi_attach_dial(const char *dir, uint32_t role, struct swi_attachment *out, char *why,
		    size_t why_len);
void swi_attach_ring(void *ctx);
int swi_attach_wait(void *ctx, struct swi_client_shm *shm, uint32_t seen, uint64_t timeout_ns);
/* An eventfd of this process goes to the node, or ends (-1). */
int swi_attach_event(void *ctx, uint32_t number, int fd);
bool swi_attach_gone(void *ctx);
void swi_attach_wake_others(void *ctx, struct swi_client_shm *shm);

#endif
