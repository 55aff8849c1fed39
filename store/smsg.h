/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smsg.h - the messages that the stores of two nodes exchange: types 0x100-0x1ff of a connection.
 *
 * Every body has one struct, one encoder and one decoder. A decoder gets bytes of a peer: it never
 * reads past them, refuses what does not fit exactly (SWARM_EPROTO: the connection is closed) and
 * leaves *out untouched then. docs/WIRE.md lists the layouts. No state.
 */
#ifndef SWI_SMSG_H
#define SWI_SMSG_H

#include "store/node.h"

enum swi_smsg {
	SWI_S_USE = 0x100,     /* the node with the lower epoch chose this connection: talk here */
	SWI_S_LOCATE = 0x101,  /* to a home: who has it? -> LOCATED, or LEASED when it lies here */
	SWI_S_LOCATED = 0x102, /* as often as the state changes, until a final one */
	SWI_S_UNWATCH = 0x103, /* no answer to that LOCATE is wanted any more */
	SWI_S_COPIES = 0x104,  /* to a home: copies made and dropped, in order */
	SWI_S_LEASE = 0x105,   /* to a holder: keep it until I have READ it -> LEASED */
	SWI_S_LEASED = 0x106,
	SWI_S_LEASE_END = 0x107, /* these READs are over */
	SWI_S_DROP = 0x108,	 /* home to holder: the object was deleted */
	SWI_S_DELETE = 0x109,	 /* to a home: delete it everywhere */
	SWI_S_MOVE = 0x10a,	 /* of a node that drains: take this primary copy -> MOVED */
	SWI_S_MOVED = 0x10b,
	SWI_S_XFER = 0x10c, /* of a node that drains: be the home of these -> XFERRED */
	SWI_S_XFERRED = 0x10d,
	SWI_S_STAND = 0x10e,  /* u64 pairs of my index: you may READ without asking, and answer SYNC (lease.h) */
	SWI_S_SYNC = 0x10f,   /* u64 round: answer when every such READ posted before has ended */
	SWI_S_SYNCED = 0x110, /* u64 round */
	SWI_S_RANGE = 0x111, /* to a holder: keep this part of it until I have READ it -> LEASED */
	SWI_S_PARENT = 0x112, /* instead of LEASED: take it from that node, which is getting it (cast.h) */
	SWI_S_MORE = 0x113,   /* after a LEASED of a part: so much is there now */
	SWI_S_TOLD = 0x114, /* your COPIES were read, but these were for a home that I am not, as far as I know: tell again */
	SWI_S_KEEP = 0x115, /* bring a copy and keep it (keep.h) -> KEPT */
	SWI_S_KEPT = 0x116,
};

#define SWI_SMSG_TEXT	  256u /* longest explanation that travels, NUL included */
#define SWI_SMSG_BODY_MAX 1024u /* enough for every body that is not a batch */

#define SWI_LOCATE_LEASE 0x01u /* I want the bytes: answer with a lease when you have them */

struct swi_smsg_locate {
	uint64_t req;
	struct swarm_ref ref;
	uint8_t flags;
};
#define SWI_PLACE_KNOWN	 0x01u /* the fields below are there */
#define SWI_PLACE_DIGEST 0x02u /* and the digest is known */

struct swi_smsg_located {
	uint64_t req;
	uint8_t state; /* enum swi_dir_state; AVAILABLE and FAILED are final */
	int32_t status; /* why FAILED */
	struct swi_copies copies;
	uint8_t place; /* SWI_PLACE_*; of the home's own copy in memory */
	uint64_t offset; /* of its header in the arena */
	uint32_t gen;
	uint64_t digest;
	char text[SWI_SMSG_TEXT];
};
#define SWI_LEASE_FROM_YOU 0x01u /* not from another reader: that was tried */
#define SWI_LEASE_WHOLE	   0x02u /* only if it lies in memory now, whole: the reader has another holder, too */

struct swi_smsg_lease {
	uint64_t req;
	struct swarm_oid id;
	uint8_t flags; /* SWI_LEASE_* */
	uint64_t sent_by; /* epoch of who sent the reader on to here by PARENT; 0 = nobody */
};
struct swi_smsg_range {
	uint64_t req;
	struct swarm_oid id;
	uint64_t from, len; /* bytes of the payload */
};
/* The answer to a RANGE: len is the part's, digest the distance from offset to its first byte. */
struct swi_smsg_leased {
	uint64_t req;
	int32_t status; /* < 0: text says why; the other fields are 0 */
	uint64_t lease; /* number for LEASE_END */
	uint8_t region;
	uint64_t offset; /* of the header in that region */
	uint32_t gen;
	uint64_t epoch; /* in the header */
	uint64_t len, digest;
	uint64_t have; /* payload bytes that are there, from the first on; < len: MORE follows */
	char text[SWI_SMSG_TEXT];
};
struct swi_smsg_parent {
	uint64_t req;
	uint32_t node;
	uint64_t epoch; /* its boot epoch */
};
struct swi_smsg_more {
	uint64_t req;
	int32_t status; /* < 0: no more will come from here */
	uint64_t have;
};

#define SWI_COPY_DEL	 0x01u /* else: it has one */
#define SWI_COPY_PRIMARY 0x02u
#define SWI_COPY_SPILLED 0x04u
#define SWI_COPY_AGAIN	 0x08u /* told again after a change of membership, not newly made */
struct swi_smsg_copy {
	struct swarm_ref ref;
	uint32_t node;
	uint8_t flags;
	uint64_t len;
	int32_t reason; /* of a DEL: 0, -ENOENT, SWARM_ECORRUPT, ... */
};
#define SWI_SMSG_COPY_BYTES (20u + 4u + 1u + 8u + 4u)

struct swi_smsg_told {
	uint64_t req; /* of the COPIES; 0 = no answer was asked for */
	uint32_t refused; /* so many ids follow */
};
struct swi_smsg_move { /* MOVE, UNWATCH */
	uint64_t req;
	struct swarm_ref ref;
};
struct swi_smsg_keep {
	uint64_t req;
	struct swarm_ref ref;
	uint64_t timeout_ns; /* UINT64_MAX = none */
};
struct swi_smsg_done { /* MOVED, XFERRED, KEPT */
	uint64_t req;
	int32_t status;
	char text[SWI_SMSG_TEXT];
};
struct swi_smsg_record {
	struct swarm_ref ref;
	uint8_t state;
	int32_t status;
	struct swi_copies copies;
	char text[SWI_SMSG_TEXT];
};

void swi_smsg_put_locate(struct swi_wr *w, const struct swi_smsg_locate *m);
void swi_smsg_put_located(struct swi_wr *w, const struct swi_smsg_located *m);
void swi_smsg_put_lease(struct swi_wr *w, const struct swi_smsg_lease *m);
void swi_smsg_put_range(struct swi_wr *w, const struct swi_smsg_range *m);
void swi_smsg_put_leased(struct swi_wr *w, const struct swi_smsg_leased *m);
void swi_smsg_put_parent(struct swi_wr *w, const struct swi_smsg_parent *m);
void swi_smsg_put_more(struct swi_wr *w, const struct swi_smsg_more *m);
void swi_smsg_put_copy(struct swi_wr *w, const struct swi_smsg_copy *m); /* one row */
void swi_smsg_put_told(struct swi_wr *w, const struct swi_smsg_told *m); /* all but the ids */
void swi_smsg_put_move(struct swi_wr *w, const struct swi_smsg_move *m);
void swi_smsg_put_keep(struct swi_wr *w, const struct swi_smsg_keep *m);
void swi_smsg_put_done(struct swi_wr *w, const struct swi_smsg_done *m);
void swi_smsg_put_record(struct swi_wr *w, const struct swi_smsg_record *m); /* one row */

/* 0 or SWARM_EPROTO. Those that end a body also refuse bytes that are left over. */
int swi_smsg_get_locate(struct swi_rd *r, struct swi_smsg_locate *out);
int swi_smsg_get_located(struct swi_rd *r, struct swi_smsg_located *out);
int swi_smsg_get_lease(struct swi_rd *r, struct swi_smsg_lease *out);
int swi_smsg_get_range(struct swi_rd *r, struct swi_smsg_range *out);
int swi_smsg_get_leased(struct swi_rd *r, struct swi_smsg_leased *out);
int swi_smsg_get_parent(struct swi_rd *r, struct swi_smsg_parent *out);
int swi_smsg_get_more(struct swi_rd *r, struct swi_smsg_more *out);
int swi_smsg_get_move(struct swi_rd *r, struct swi_smsg_move *out);
int swi_smsg_get_keep(struct swi_rd *r, struct swi_smsg_keep *out);
int swi_smsg_get_done(struct swi_rd *r, struct swi_smsg_done *out);
int swi_smsg_get_ref(struct swi_rd *r, struct swarm_ref *out); /* DELETE, DROP */
int swi_smsg_get_told(struct swi_rd *r, struct swi_smsg_told *out); /* exactly so many ids are left then */
/* Rows of a batch: u32 count first, then exactly so many rows of at least @row_bytes. */
int swi_smsg_get_count(struct swi_rd *r, uint32_t row_bytes, uint32_t *out);
int swi_smsg_get_copy(struct swi_rd *r, struct swi_smsg_copy *out);
int swi_smsg_get_record(struct swi_rd *r, struct swi_smsg_record *out);
#define SWI_SMSG_RECORD_MIN (20u + 1u + 4u + 8u + 4u + 4u)

#endif
