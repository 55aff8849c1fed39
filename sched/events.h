/* SPDX-License-Identifier: Apache-2.0 */
/* events.h - the last lines that are worth a person's eye, numbered, so that a reader can go on where it stopped. Owner thread: the core's. */
#ifndef SWI_EVENTS_H
#define SWI_EVENTS_H

#include <jansson.h>

#include "transport/base/base.h"

#define SWI_EVENTS_MAX 4096u

struct swi_node;

struct swi_events {
	char **line; /* ring of SWI_EVENTS_MAX */
	uint64_t next; /* number of the next one */
};

void swi_events_fini(struct swi_node *n);
/* Takes over @fields (an object; NULL = none); adds "event", "seq", "t_ns", "node". */
void swi_event(struct swi_node *n, const char *kind, json_t *fields);
/* {"next": N, "lost": n, "events": [...]} from sequence number @from on. */
char *swi_events_json(struct swi_node *n, uint64_t from);

#endif
