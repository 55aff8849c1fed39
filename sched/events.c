/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - see events.h. */
#include "sched/events.h"

#include "sched/core.h"

void swi_events_fini(struct swi_node *n)
{
	struct swi_events *e = &n->events;

	for (uint32_t i = 0; e->line && i < SWI_EVENTS_MAX; i++)
		free(e->line[i]);
	free(e->line);
	e->line = NULL;
}

void swi_event(struct swi_node *n, const char *kind, json_t *fields)
{
	struct swi_events *e = &n->events;
	json_t *o = json_pack("{s:s,s:I,s:I,s:i}", "event", kind, "seq", (json_int_t)e->next, "t_ns",
			      (json_int_t)swi_node_now(n), "node", (int)n->number);
	char *line = NULL;

	if (o && fields)
		json_object_update(o, fields);
	json_decref(fields);
	if (o)
		line = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!e->line)
		e->line = calloc(SWI_EVENTS_MAX, sizeof(*e->line));
	if (!line || !e->line) {
		free(line);
		return;
	}
	free(e->line[e->next % SWI_EVENTS_MAX]);
	e->line[e->next++ % SWI_EVENTS_MAX] = line;
	swi_info(n->log, "%s", line);
	if (n->o.event)
		n->o.event(n->o.ctx, line);
}

char *swi_events_json(struct swi_node *n, uint64_t from)
{
	struct swi_events *e = &n->events;
	const uint64_t oldest = e->next > SWI_EVENTS_MAX ? e->next - SWI_EVENTS_MAX : 0;
	const uint64_t lost = from < oldest ? oldest - from : 0;
	json_t *list = json_array(), *o;
	char *text;

	for (uint64_t i = swi_max_u64(from, oldest); i < e->next; i++)
		json_array_append_new(list, json_loads(e->line[i % SWI_EVENTS_MAX], 0, NULL));
	o = json_pack("{s:I,s:I,s:o}", "next", (json_int_t)e->next, "lost", (json_int_t)lost, "events", list);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}
