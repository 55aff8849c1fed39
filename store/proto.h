/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto.h - the messages in a client's two rings. Bodies are written and read with base/codec.h.
 *
 * A request carries a number (swi_msg.req, never 0 when an answer is wanted); the answer is a
 * SWI_L_REPLY with the same number whose body begins with {i32 status}; a negative status is
 * followed by {str text}, a non-negative one by what the table says. Requests marked (no answer)
 * are never answered. 0x01-0x3f: store; 0x40-0x7f: the layer above.
 */
#ifndef SWI_PROTO_H
#define SWI_PROTO_H

enum swi_lmsg {
	SWI_L_REPLY = 0x01,	 /* node -> client */
	SWI_L_CHUNK = 0x02,	 /* {u64 bytes, u8 large, u64 timeout_ns} -> {u64 offset, u64 bytes, u32 gen} */
	SWI_L_CHUNK_DONE = 0x03, /* {u64 offset, u64 used}: nothing more is created in it (no answer) */
	SWI_L_SEALED = 0x04,	 /* {ref, u64 offset of its header}: announced when waiters > 0, or named and clustered (no answer) */
	SWI_L_GET = 0x05,	 /* {ref, u64 timeout_ns, or u32 event after them} -> {u64 offset, u32 gen20, u64 len}; held until HELD_DONE or the client's end */
	SWI_L_HELD_DONE = 0x06,	 /* {u64 offset}: ends one hold that a GET answer gave (no answer) */
	SWI_L_WAIT = 0x07,	 /* {u32 n, u32 min, u64 timeout_ns, n x ref} -> {u32 ready, n x u8}; status -ETIMEDOUT also carries them after the text */
	SWI_L_DELETE = 0x08,	 /* {ref} (no answer) */
	SWI_L_LIST = 0x09,	 /* {u64 cursor, u32 max} -> {u64 next_cursor (0 = end), u64 total, u32 n, n x {ref, u64 len, u32 flags}} */
	SWI_L_STATUS = 0x0a,	 /* {str what, u64 offset} -> {u64 total, bytes}: JSON text, a piece at a time; offset 0 makes a new one */
	SWI_L_PEER = 0x0b,	 /* {str address, u64 timeout_ns} -> {u32 node} */
	SWI_L_EXPLAIN = 0x0c,	 /* {ref} -> {str text}; status = what a get would return now */
	SWI_L_GET_MANY = 0x0d,	 /* {u64 timeout_ns, u32 n, n x ref} -> {u32 n, n x {i32 status, u64 offset, u32 gen20, u64 len}}, when all are settled; a hold for each status 0 */
	SWI_L_HELD_MANY = 0x0e,	 /* {u32 n, n x u64 offset}: ends as many holds that GET or GET_MANY gave (no answer) */
	SWI_L_SYNC = 0x12,	 /* {u32 n, u64 timeout_ns, n x ref} -> {}: all are durable; else the first one's error */
	SWI_L_GET_CANCEL = 0x18, /* {u64 req}: nobody waits for that GET any more (no answer) */
	SWI_L_SET_ADD = 0x19,	 /* {u32 set, u32 n, n x ref}: the set is made by its first use (no answer) */
	SWI_L_SET_DEL = 0x1a,	 /* {u32 set, u32 n, n x oid} (no answer) */
	SWI_L_SET_EVENT = 0x1b,	 /* {u32 set, u32 event}: which eventfd to write with SET_READY (no answer) */
	SWI_L_SET_END = 0x1c,	 /* {u32 set} (no answer) */
	SWI_L_SET_READY = 0x1d,	 /* node -> client, unasked: {u32 set, u32 n, n x {oid, i32 status}}: left the set */
	SWI_L_SUBSCRIBE = 0x1e,	 /* {u32 sub, u32 kinds, u32 capacity, u8 filter, u8 prefix_len, 16 bytes, u32 n, n x ref} -> {} */
	SWI_L_SUB_EVENT = 0x1f,	 /* {u32 sub, u32 event} (no answer) */
	SWI_L_SUB_ACK = 0x20,	 /* {u32 sub, u32 n}: so many rows of NOTIFY were taken (no answer) */
	SWI_L_SUB_END = 0x21,	 /* {u32 sub} (no answer) */
	SWI_L_NOTIFY = 0x22,	 /* node -> client, unasked: {u32 sub, u32 n, n x {u8 kind, ref, u64 len}} */
	SWI_L_PIN = 0x28,	 /* {ref, u8 policy, u64 timeout_ns} -> {} */
	SWI_L_EXPIRE = 0x29,	 /* {ref, u64 ttl_ns} -> {} */
	SWI_L_REPLICATE = 0x2a,	 /* {ref, u32 copies, u64 timeout_ns} -> {} */
	SWI_L_GET_RANGE = 0x13, /* {ref, u64 from, u64 len, u64 timeout_ns} -> {u64 offset, u32 gen20, u64 distance}: the part begins so far behind the extent's offset; held as by GET */
	SWI_L_UPPER = 0x40,	 /* first of the layer above */
};

#endif
