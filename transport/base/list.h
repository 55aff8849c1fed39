/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.h - an intrusive doubly linked list with a sentinel head. Owner thread only.
 */
#ifndef SWI_LIST_H
#define SWI_LIST_H

#include "transport/base/base.h"

struct swi_list {
	struct swi_list *next, *prev;
};

static inline void swi_list_init(struct swi_list *l)
{
	l->next = l->prev = l;
}

static inline bool swi_list_empty(const struct swi_list *l)
{
	return l->next == l;
}

static inline void swi_list_insert(struct swi_list *at, struct swi_list *n)
{
	n->next = at;
	n->prev = at->prev;
	at->prev->next = n;
	at->prev = n;
}

static inline void swi_list_push_back(struct swi_list *l, struct swi_list *n)
{
	swi_list_insert(l, n);
}

static inline void swi_list_push_front(struct swi_list *l, struct swi_list *n)
{
	swi_list_insert(l->next, n);
}

/* Removes @n and leaves it a list of its own, so that removing twice is harmless. */
static inline void swi_list_del(struct swi_list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	swi_list_init(n);
}

/* Moves every element of @from to the end of @to. */
static inline void swi_list_splice(struct swi_list *to, struct swi_list *from)
{
	if (swi_list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	swi_list_init(from);
}

#define swi_list_entry(ptr, type, member) swi_container_of(ptr, type, member)
#define swi_list_first(l, type, member)                                                            \
	(swi_list_empty(l) ? NULL : swi_list_entry((l)->next, type, member))
#define swi_list_for_each(it, l) for (struct swi_list *it = (l)->next; it != (l); it = it->next)
/* @it may be removed inside the loop; others may not. */
#define swi_list_for_each_safe(it, l)                                                              \
	for (struct swi_list *it = (l)->next, *it##_next = it->next; it != (l);                    \
	     it = it##_next, it##_next = it->next)

#endif
