/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_memory.c - `swarm memory`: where the bytes of each node are, why they stay, and who holds them.
 */
#include "tools/cli.h"

struct memory_opts {
	struct swt_common c;
};

static const struct swt_opt options[] = {
    SWT_COMMON_OPTIONS(struct memory_opts, c),
    SWT_OPT_END,
};

static const struct swt_command command = {
    .name = "swarm memory",
    .summary = "Explain where the memory and the spill folders of each node go: what lies there, why it stays, who holds it.",
    .opts = options,
};

/* Every byte of an arena is in one of the columns from FREE to RESERVE. */
static const struct swt_column arena_columns[] = {
    {"node", "NODE", SWT_SHOW_TEXT},
    {"arena.total_bytes", "ARENA", SWT_SHOW_SIZE},
    {"arena.free_bytes", "FREE", SWT_SHOW_SIZE},
    {"arena.primary_bytes", "PRIMARY", SWT_SHOW_SIZE},
    {"arena.secondary_bytes", "SECONDARY", SWT_SHOW_SIZE},
    {"arena.unsealed_bytes", "UNSEALED", SWT_SHOW_SIZE},
    {"arena.arriving_bytes", "ARRIVING", SWT_SHOW_SIZE},
    {"arena.leaving_bytes", "LEAVING", SWT_SHOW_SIZE},
    {"arena.reserve_bytes", "RESERVE", SWT_SHOW_SIZE},
    {"arena.largest_free_bytes", "LARGEST FREE", SWT_SHOW_SIZE},
    {"arena.free_pieces", "PIECES", SWT_SHOW_TEXT},
    {NULL, NULL, SWT_SHOW_TEXT},
};
static const struct swt_column why_columns[] = {
    {"node", "NODE", SWT_SHOW_TEXT},
    {"why.pinned_bytes", "PINNED", SWT_SHOW_SIZE},
    {"why.held_bytes", "HELD", SWT_SHOW_SIZE},
    {"why.leased_bytes", "LEASED", SWT_SHOW_SIZE},
    {"why.being_written_bytes", "BEING WRITTEN", SWT_SHOW_SIZE},
    {"why.asked_for_bytes", "ASKED FOR", SWT_SHOW_SIZE},
    {"why.ahead_bytes", "FETCHED AHEAD", SWT_SHOW_SIZE},
    {"arena.clean_bytes", "ALSO ON DISK", SWT_SHOW_SIZE},
    {"disk.live_bytes", "SPILLED", SWT_SHOW_SIZE},
    {"disk.dead_bytes", "DEAD", SWT_SHOW_SIZE},
    {"disk.segment_bytes", "SEGMENTS", SWT_SHOW_SIZE},
    {NULL, NULL, SWT_SHOW_TEXT},
};
static const struct swt_column owner_columns[] = {
    {"node", "NODE", SWT_SHOW_TEXT},	     {"pid", "PID", SWT_SHOW_TEXT},
    {"kind", "KIND", SWT_SHOW_TEXT},	     {"pins", "PINS", SWT_SHOW_TEXT},
    {"pinned_bytes", "PINNED", SWT_SHOW_SIZE}, {"lent_bytes", "LENT", SWT_SHOW_SIZE},
    {"waiting_requests", "WAITS", SWT_SHOW_TEXT}, {"function", "FUNCTION", SWT_SHOW_TEXT},
    {"task", "TASK", SWT_SHOW_TEXT},	     {NULL, NULL, SWT_SHOW_TEXT},
};

static json_t *owners(const json_t *nodes)
{
	json_t *list = json_array(), *part, *o;
	size_t i, k;

	json_array_foreach(nodes, i, part) {
		json_array_foreach(json_object_get(part, "owners"), k, o) {
			json_object_set(o, "node", json_object_get(part, "node"));
			json_array_append(list, o);
		}
	}
	return list;
}

int swt_cmd_memory(int argc, char **argv)
{
	struct memory_opts o = {.c = {NULL, NULL}};
	json_t *doc = NULL, *list;
	int first, rc;

	rc = swt_parse(&command, argc, argv, &o, &first);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	rc = swt_ask_once(&command, o.c.dir, "memory", &doc);
	if (rc)
		return rc;
	if (swt_json(&o.c)) {
		swt_print_json(doc, stdout);
	} else {
		list = owners(json_object_get(doc, "nodes"));
		swt_table(doc, "nodes", arena_columns, stdout);
		putchar('\n');
		swt_table(doc, "nodes", why_columns, stdout);
		putchar('\n');
		swt_table(list, NULL, owner_columns, stdout);
		json_decref(list);
	}
	json_decref(doc);
	return 0;
}
