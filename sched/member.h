/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member.h - who is alive. The head gives numbers (its own is 1, never reused), hears everybody's reports as
 * heartbeats, and says who came and who went; everybody else believes the head. Owner thread: the core's.
 */
#ifndef SWI_MEMBER_H
#define SWI_MEMBER_H

#include "sched/view.h"

enum swi_join { SWI_JOIN_DIALING, SWI_JOIN_ASKED, SWI_JOIN_IN, SWI_JOIN_OUT };

struct swi_gone_member { /* head: for those who missed the news */
	struct swi_list link;
	uint32_t node, heir;
	uint64_t epoch;
	bool killed;
};

struct swi_membership {
	struct swi_list gone;
	enum swi_join join;
	uint32_t next_number;	 /* head */
	uint64_t began_ns, next_dial_ns, backoff_ns;
	uint64_t head_lost_ns;	 /* 0 = connected */
	uint64_t next_load_ns;
	uint64_t checked_ns;	 /* head: when it last looked who is dead */
	uint64_t joined, died, drained;
	bool leaving;		 /* we drain */
	bool drain_running, drain_done;
	struct swi_drain drain;
	bool ended;
	bool check;		 /* look at the drain */
};

void swi_member_init(struct swi_node *n);
void swi_member_fini(struct swi_node *n);
/* Head: @node is dead (@killed) or left; everybody is told, and what hangs on it is settled. */
void swi_member_declare(struct swi_node *n, uint32_t node, bool killed, const char *why);
int swi_member_step(struct swi_node *n);
uint64_t swi_member_deadline_ns(const struct swi_node *n);
void swi_member_peer_up(struct swi_node *n, struct swi_peer *peer);
void swi_member_peer_down(struct swi_node *n, struct swi_peer *peer, int status);
int swi_member_msg(struct swi_node *n, struct swi_peer *peer, uint16_t type, struct swi_rd *rd);
/* Head: begin to drain @node. 0, -ENOENT, -EINVAL (the head itself). */
int swi_member_drain(struct swi_node *n, uint32_t node);
void swi_member_leave(struct swi_node *n);
void swi_member_end(struct swi_node *n, int status, const char *text);

/* ---- join.c, for member.c ---- */
int swi_join_step(struct swi_node *n);
uint64_t swi_join_deadline_ns(const struct swi_node *n);
void swi_join_head_up(struct swi_node *n, struct swi_peer *head);
void swi_join_head_down(struct swi_node *n, struct swi_peer *peer, int status);
int swi_join_on_drain(struct swi_node *n, uint32_t from, struct swi_rd *rd);
int swi_join_on_drained(struct swi_node *n, uint32_t from, struct swi_rd *rd);

#endif
