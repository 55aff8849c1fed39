/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_rig.h - two verbs backends in one process, an owner that listens and a guest that
 * connects, and a record of every callback. For tests on a machine with an RDMA device.
 */
#ifndef VERBS_RIG_H
#define VERBS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transport/verbs/verbs.h"

#define RIG_SKIP 77

struct rig_read {
	struct swi_be_read rd;
	uint32_t done; /* how often read_done() came */
	int status;
};

struct rig_side {
	struct swi_be *be;
	struct swi_be_ep *ep; /* the last that was accepted or connected */
	uint32_t up, down, closed, recvs, reads_done;
	int down_status;
	bool close_on_down;
	uint32_t recv_len; /* of the last message */
};

struct rig {
	struct rig_side owner, guest;
	uint8_t *memory; /* the owner's, RIG_BYTES, registered for remote reads */
	uint8_t *local;  /* the guest's, RIG_BYTES, registered for itself */
	struct swi_be_mr mr, local_mr;
	uint64_t rkey; /* of mr, as the guest was told it by the last grant */
};

#define RIG_BYTES ((size_t)MIB(1))

/* 0; RIG_SKIP with a reason printed; or the error. @addr: HOST:PORT of an RDMA device. */
int rig_open(struct rig *rig, const char *addr);
/* mr_reg() of anonymous memory. */
int rig_reg(struct swi_be *be, void *p, uint64_t len, bool remote_read, struct swi_be_mr *out_mr);
void rig_close(struct rig *rig);
/* A fresh connection: rig->guest.ep and rig->owner.ep. @grant: the owner lets the guest read. */
void rig_connect(struct rig *rig, bool grant);
/* The owner lets the guest read: rig->rkey. */
void rig_grant(struct rig *rig);
/* Closes both ends and waits for both closed(). */
void rig_disconnect(struct rig *rig);
/* Drives both sides until *@value reaches @want; fails the test after 20 s. */
void rig_until(struct rig *rig, const uint32_t *value, uint32_t want);
/* One read of the owner's memory by the guest, to its end. Returns its status. */
int rig_read(struct rig *rig, uint64_t remote_addr, uint64_t rkey, uint32_t len);
/* Fills the owner's memory with bytes that depend on @seed; compares the guest's with them. */
void rig_fill(struct rig *rig, uint8_t seed);
bool rig_same(const struct rig *rig, size_t len);
/* HOST:PORT from the arguments, the environment or the usual. */
const char *rig_address(int argc, char **argv);

#endif
