/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_list.c - `swarm list nodes|tasks|objects|workers`.
 */
#include "tools/cli.h"

struct list_opts {
	struct swt_common c;
};

static const struct swt_opt options[] = {
    SWT_COMMON_OPTIONS(struct list_opts, c),
    SWT_OPT_END,
};

static const struct swt_command command = {
    .name = "swarm list",
    .summary = "List what the cluster has: nodes, tasks, objects or workers.",
    .args = "nodes|tasks|objects|workers",
    .args_min = 1,
    .args_max = 1,
    .opts = options,
};

static const struct swt_column node_columns[] = {
    {"node", "NODE", SWT_SHOW_TEXT},	       {"address", "ADDRESS", SWT_SHOW_TEXT},
    {"state", "STATE", SWT_SHOW_TEXT},	       {"head", "HEAD", SWT_SHOW_TEXT},
    {"free.cpu", "CPU FREE", SWT_SHOW_AMOUNT}, {"total.cpu", "CPU", SWT_SHOW_AMOUNT},
    {"running", "RUNNING", SWT_SHOW_TEXT},     {"queued", "QUEUED", SWT_SHOW_TEXT},
    {"arena_used", "USED", SWT_SHOW_SIZE},     {"arena_bytes", "ARENA", SWT_SHOW_SIZE},
    {NULL, NULL, SWT_SHOW_TEXT},
};
static const struct swt_column task_columns[] = {
    {"task", "TASK", SWT_SHOW_TEXT},	     {"function", "FUNCTION", SWT_SHOW_TEXT},
    {"state", "STATE", SWT_SHOW_TEXT},	     {"node", "NODE", SWT_SHOW_TEXT},
    {"attempt", "ATTEMPT", SWT_SHOW_TEXT},   {"pid", "PID", SWT_SHOW_TEXT},
    {"run_ns", "TIME", SWT_SHOW_TIME},	     {NULL, NULL, SWT_SHOW_TEXT},
};
static const struct swt_column object_columns[] = {
    {"object", "OBJECT", SWT_SHOW_TEXT}, {"bytes", "SIZE", SWT_SHOW_SIZE},
    {"node", "NODE", SWT_SHOW_TEXT},	 {"where", "WHERE", SWT_SHOW_TEXT},
    {"holds", "HELD BY", SWT_SHOW_TEXT}, {NULL, NULL, SWT_SHOW_TEXT},
};
static const struct swt_column worker_columns[] = {
    {"node", "NODE", SWT_SHOW_TEXT},   {"worker", "WORKER", SWT_SHOW_TEXT},
    {"pid", "PID", SWT_SHOW_TEXT},     {"state", "STATE", SWT_SHOW_TEXT},
    {"runs", "RUNS", SWT_SHOW_TEXT},   {"since_ns", "SINCE", SWT_SHOW_TIME},
    {"function", "FUNCTION", SWT_SHOW_TEXT}, {NULL, NULL, SWT_SHOW_TEXT},
};
static const struct {
	const char *what;
	const struct swt_column *columns;
} lists[] = {
    {"nodes", node_columns},
    {"tasks", task_columns},
    {"objects", object_columns},
    {"workers", worker_columns},
};

int swt_cmd_list(int argc, char **argv)
{
	struct list_opts o = {.c = {NULL, NULL}};
	json_t *doc = NULL;
	int first, rc;
	size_t i = 0;

	rc = swt_parse(&command, argc, argv, &o, &first);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	while (i < SWI_ARRAY_LEN(lists) && strcmp(lists[i].what, argv[first]))
		i++;
	if (i == SWI_ARRAY_LEN(lists))
		return swt_error(&command, SWT_USAGE, "%s: expected %s", argv[first], command.args);
	rc = swt_ask_once(&command, o.c.dir, lists[i].what, &doc);
	if (rc)
		return rc;
	if (swt_json(&o.c))
		swt_print_json(doc, stdout);
	else
		swt_table(doc, lists[i].what, lists[i].columns, stdout);
	json_decref(doc);
	return 0;
}
