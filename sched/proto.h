/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto.h - the scheduler's messages: in client rings (SWI_L_*, see store/proto.h) and between
 * nodes (SWI_P_*). Bodies by base/codec.h; the peer messages' bodies are laid out in smsg-like
 * encode/decode pairs in tmsg.c.
 */
#ifndef SWI_SCHED_PROTO_H
#define SWI_SCHED_PROTO_H

#include "store/proto.h"

enum swi_role { /* of an attached process */
	SWI_ROLE_STORE = 0,
	SWI_ROLE_DRIVER = 1,
	SWI_ROLE_WORKER = 2,
	SWI_ROLE_TOOL = 3,
};

enum swi_tlmsg { /* client rings */
	SWI_L_SUBMIT = 0x40,	/* {spec} (no answer): what goes wrong becomes the results' error */
	SWI_L_CANCEL = 0x41,	/* {ref, u8 force} (no answer) */
	SWI_L_READY = 0x42,	/* worker: {u32 worker} I can run tasks */
	SWI_L_EXEC = 0x43,	/* node -> worker: {u32 attempt, spec}: arguments are in local memory and held; may
				   come before the task before it is done */
	SWI_L_DONE = 0x44,	/* worker: {oid task, u32 attempt, i32 status, str text, u32 n, n x {u64 len}}, in the order of
				   EXEC; -EAGAIN: given back before it began */
	SWI_L_BLOCKED = 0x45,	/* worker: {u8 blocked}: waits inside a call / goes on */
	SWI_L_STOP = 0x46,	/* node -> worker: leave after this task */
	SWI_L_ADMIN = 0x47,	/* tool: {str command, str argument} -> {str text}: "drain" NODE, "stop", "stop" "all" (head
				   only: the others end), "gather" WHAT:
				   asks every node, so that SWI_L_STATUS of WHAT is about the whole cluster and fresh */
};

enum swi_tpmsg { /* between nodes */
	SWI_P_JOIN = 0x200,	   /* node -> head */
	SWI_P_JOINED = 0x201,	   /* head -> node: number, members */
	SWI_P_MEMBER_UP = 0x202,   /* head -> all */
	SWI_P_MEMBER_DOWN = 0x203, /* head -> all */
	SWI_P_LOAD = 0x204,	   /* node -> head: free resources, queue, demand; also the heartbeat */
	SWI_P_VIEW = 0x205,	   /* head -> nodes: what changed in the cluster's view */
	SWI_P_DRAIN = 0x206,	   /* head -> node */
	SWI_P_DRAINED = 0x207,	   /* node -> head: may be removed */
	SWI_P_STATUS = 0x208,	   /* any -> any: {u64 req, str what} */
	SWI_P_STATUS_REPLY = 0x209, /* {u64 req, bytes json} */
	SWI_P_TASK = 0x210,	   /* home -> runner: {u32 seq, u32 attempt, spec} */
	SWI_P_TASK_DONE = 0x211,   /* runner -> home */
	SWI_P_TASK_CANCEL = 0x212, /* home -> runner (a task), or any -> home (the task that makes a result) */
	SWI_P_TASK_REFUSED = 0x213, /* runner -> home: draining, or the task can never run here */
	SWI_P_STOP = 0x215,	   /* head -> node: the whole cluster is stopped, end at once */
	SWI_P_PREFETCH = 0x216,	   /* home -> a node that has them on disk: {u32 n, n x {ref, u64 len}} are needed soon */
	SWI_P_LINEAGE = 0x214,	   /* leaving home -> its heir: {u32 attempt, spec} of a finished task */
};

#endif
