/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill_rig.h - a spill log on simulated or real disks, and objects whose bytes follow from their id.
 */
#ifndef TEST_SPILL_RIG_H
#define TEST_SPILL_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/shm.h"
#include "store/spill/disk_sim.h"
#include "store/spill/segment.h"
#include "store/spill/spill.h"

#define RIG_DISKS 4u

struct rig {
	struct swi_env env; /* virtual for simulated disks */
	uint64_t now, rng;
	struct swi_log log;
	char lines[8192]; /* what was logged */
	uint32_t disk_count;
	struct swi_platter *platters[RIG_DISKS]; /* NULL: a real folder */
	char dirs[RIG_DISKS][128];
	struct swi_disk *disks[RIG_DISKS];
	struct swi_disk_sim_opts sim;
	struct swi_spill_opts opts;
	void *staging;
	struct swi_spill *sp;
};

void rig_init_sim(struct rig *r, uint32_t disks, uint64_t capacity, uint64_t seed);
/* Real folders made under @parent ("/dev/shm", or a place on a disk). */
void rig_init_real(struct rig *r, uint32_t disks, const char *parent);
void rig_open_disks(struct rig *r);
void rig_open(struct rig *r);  /* the log, by r->opts; fails the test where it cannot */
void rig_close(struct rig *r); /* log and disks, in order */
void rig_crash(struct rig *r); /* simulated disks lose power, then all is closed */
void rig_fini(struct rig *r);  /* and the folders */
/* One turn; virtual time goes to the next event. */
void rig_step(struct rig *r);

/* An extent (page-aligned) of an object: id {n, version}, payload from both, digest set. */
void *rig_extent(uint64_t n, uint64_t version, uint64_t len);
struct swarm_oid rig_id(uint64_t n, uint64_t version);
/* Is this extent exactly that object? */
bool rig_same(const void *extent, uint64_t n, uint64_t version, uint64_t len);

/* Where the record of this object lies on a simulated disk: in which file, at which byte. */
bool rig_place(struct rig *r, uint64_t n, uint64_t version, uint32_t *out_disk,
	       char out_name[SWI_SEG_NAME_LEN], uint64_t *out_off);
/* Turns one bit of the record, counted from its header on; a second time turns it back. */
void rig_flip(struct rig *r, uint64_t n, uint64_t version, uint64_t bit);

/* Synchronous: begins, steps until the callback, returns the status. */
int rig_write(struct rig *r, uint64_t n, uint64_t version, uint64_t len);
/* Restores and compares; a status, or -EBADMSG where the bytes are wrong. */
int rig_restore(struct rig *r, uint64_t n, uint64_t version, uint64_t len);

#endif
