/* SPDX-License-Identifier: Apache-2.0 */
/* conn_fsm.c - every (state, event) pair against the list of edges, and the list against its
 * picture. */
#include "check.h"

#include "transport/conn_fsm.h"

struct edge {
	enum swi_conn_state from, to;
	enum swi_conn_event ev;
	const char *why;
};

#define EDGE(f, e, t, w) {SWI_CONN_##f, SWI_CONN_##t, SWI_EV_##e, w},
static const struct edge edges[] = {SWI_CONN_EDGES(EDGE)};

static const struct edge *find(enum swi_conn_state s, enum swi_conn_event ev)
{
	for (size_t i = 0; i < SWI_ARRAY_LEN(edges); i++)
		if (edges[i].from == s && edges[i].ev == ev)
			return &edges[i];
	return NULL;
}

static void every_pair__is_an_edge_or_refused(void **state)
{
	size_t seen = 0;

	(void)state;
	for (int s = 0; s < SWI_CONN_STATE_COUNT; s++) {
		for (int ev = 0; ev < SWI_EV_COUNT; ev++) {
			const struct edge *e =
			    find((enum swi_conn_state)s, (enum swi_conn_event)ev);

			assert_int_equal(
			    swi_conn_next((enum swi_conn_state)s, (enum swi_conn_event)ev),
			    e ? e->to : SWI_CONN_NONE);
			seen += e != NULL;
		}
	}
	assert_int_equal(seen, SWI_ARRAY_LEN(edges)); /* no pair twice */
}

/* What the rest of the code takes for granted. */
static void order_and_ends(void **state)
{
	(void)state;
	for (int ev = 0; ev < SWI_EV_COUNT; ev++) {
		assert_int_equal(swi_conn_next(SWI_CONN_DOWN, (enum swi_conn_event)ev),
				 SWI_CONN_NONE);
		assert_int_equal(swi_conn_next(SWI_CONN_NONE, (enum swi_conn_event)ev),
				 SWI_CONN_NONE);
	}
	for (int s = SWI_CONN_CONNECTING; s <= SWI_CONN_LINGER; s++)
		assert_int_equal(swi_conn_next((enum swi_conn_state)s, SWI_EV_LOST),
				 SWI_CONN_DRAINING);
	assert_true(SWI_CONN_UP < SWI_CONN_LINGER); /* swi_conn_alive() */
	assert_string_equal(swi_conn_state_name(SWI_CONN_UP), "UP");
	assert_string_equal(swi_conn_state_name(SWI_CONN_DOWN), "DOWN");
	assert_string_equal(swi_conn_event_name(SWI_EV_CLOSED), "CLOSED");
}

static void picture__has_the_same_edges(void **state)
{
	static char text[65536];
	FILE *f = fopen(CONN_FSM_DOT, "r");
	size_t arrows = 0;

	(void)state;
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	fclose(f);
	for (size_t i = 0; i < SWI_ARRAY_LEN(edges); i++) {
		char line[256];

		snprintf(line, sizeof(line), "\t%s -> %s [label=\"%s: %s\"];\n",
			 swi_conn_state_name(edges[i].from), swi_conn_state_name(edges[i].to),
			 swi_conn_event_name(edges[i].ev), edges[i].why);
		if (!strstr(text, line))
			fail_msg("conn_fsm.dot lacks: %s", line);
	}
	for (const char *p = text; (p = strstr(p, " -> ")); p += 4)
		arrows++;
	assert_int_equal(arrows, SWI_ARRAY_LEN(edges));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_pair__is_an_edge_or_refused),
	    cmocka_unit_test(order_and_ends),
	    cmocka_unit_test(picture__has_the_same_edges),
	};

	return RUN(tests);
}
