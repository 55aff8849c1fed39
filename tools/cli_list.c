/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_list.c - `swarm list nodes|tasks|objects|workers|segments`.
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
    .summary = "List the nodes, tasks, objects and workers of the cluster, or the spill segments of this node.",
    .args = "nodes|tasks|objects|workers|segments",
    .args_min = 1,
    .args_max = 1,
    .opts = options,
};

static const struct swt_column node_columns[] = {
    {"node", "NODE", SWT_SHOW_TEXT},	     {"address", "ADDRESS", SWT_SHOW_TEXT},
    {"state", "STATE", SWT_SHOW_TEXT},	     {"head", "HEAD", SWT_SHOW_TEXT},
    {"running", "RUNNING", SWT_SHOW_TEXT},   {"queued", "QUEUED", SWT_SHOW_TEXT},
    {"arena_used", "USED", SWT_SHOW_SIZE},   {"arena_bytes", "ARENA", SWT_SHOW_SIZE},
    {"free", "FREE", SWT_SHOW_TEXT},	     {"total", "TOTAL", SWT_SHOW_TEXT},
    {NULL, NULL, SWT_SHOW_TEXT},
};
static const struct swt_column task_columns[] = {
    {"task", "TASK", SWT_SHOW_TEXT},	   {"function", "FUNCTION", SWT_SHOW_TEXT},
    {"state", "STATE", SWT_SHOW_TEXT},	   {"home", "HOME", SWT_SHOW_TEXT},
    {"node", "NODE", SWT_SHOW_TEXT},	   {"attempt", "ATTEMPT", SWT_SHOW_TEXT},
    {"pid", "PID", SWT_SHOW_TEXT},	   {"run_ns", "TIME", SWT_SHOW_TIME},
    {"needs", "NEEDS", SWT_SHOW_TEXT},	   {NULL, NULL, SWT_SHOW_TEXT},
};
static const struct swt_column object_columns[] = {
    {"object", "OBJECT", SWT_SHOW_TEXT}, {"bytes", "SIZE", SWT_SHOW_SIZE},
    {"home", "HOME", SWT_SHOW_TEXT},	 {"node", "NODE", SWT_SHOW_TEXT},
    {"where", "WHERE", SWT_SHOW_TEXT},	 {"copy", "COPY", SWT_SHOW_TEXT},
    {NULL, NULL, SWT_SHOW_TEXT},
};
static const struct swt_column worker_columns[] = {
    {"node", "NODE", SWT_SHOW_TEXT},	     {"worker", "WORKER", SWT_SHOW_TEXT},
    {"pid", "PID", SWT_SHOW_TEXT},	     {"state", "STATE", SWT_SHOW_TEXT},
    {"runs", "RUNS", SWT_SHOW_TEXT},	     {"since_ns", "SINCE", SWT_SHOW_TIME},
    {"function", "FUNCTION", SWT_SHOW_TEXT}, {NULL, NULL, SWT_SHOW_TEXT},
};
static const struct swt_column segment_columns[] = {
    {"folder", "FOLDER", SWT_SHOW_TEXT},       {"file", "FILE", SWT_SHOW_TEXT},
    {"segment", "SEGMENT", SWT_SHOW_TEXT},     {"state", "STATE", SWT_SHOW_TEXT},
    {"bytes", "SIZE", SWT_SHOW_SIZE},	       {"live_bytes", "LIVE", SWT_SHOW_SIZE},
    {"dead_bytes", "DEAD", SWT_SHOW_SIZE},     {"punched_bytes", "PUNCHED", SWT_SHOW_SIZE},
    {"objects", "OBJECTS", SWT_SHOW_TEXT},     {NULL, NULL, SWT_SHOW_TEXT},
};

/* ---- documents of the cluster into flat rows ---- */

static int plain(const char *dir, const char *what, json_t **out_rows)
{
	json_t *doc = NULL;
	const int rc = swt_ask_once(&command, dir, what, &doc);

	if (rc)
		return rc;
	*out_rows = json_incref(json_object_get(doc, what));
	json_decref(doc);
	return 0;
}

static int workers(const char *dir, const char *what, json_t **out_rows)
{
	json_t *doc = NULL, *part;
	const int rc = swt_ask_once(&command, dir, what, &doc);
	size_t i;

	if (rc)
		return rc;
	*out_rows = json_array();
	json_array_foreach(json_object_get(doc, "nodes"), i, part)
		json_array_extend(*out_rows, json_object_get(part, "workers"));
	json_decref(doc);
	return 0;
}

/* What the runner of a task says of it (pid, time) beside what its home says. */
static void join_run(json_t *row, const json_t *nodes)
{
	const char *task = json_string_value(json_object_get(row, "task"));
	json_t *part, *run;
	size_t i, k;

	json_array_foreach(nodes, i, part) {
		json_array_foreach(json_object_get(part, "running"), k, run) {
			if (strcmp(json_string_value(json_object_get(run, "task")), task) != 0)
				continue;
			json_object_set(row, "pid", json_object_get(run, "pid"));
			json_object_set(row, "run_ns", json_object_get(run, "run_ns"));
			json_object_set(row, "state", json_object_get(run, "state"));
		}
	}
}

static int tasks(const char *dir, const char *what, json_t **out_rows)
{
	json_t *doc = NULL, *part, *row;
	const int rc = swt_ask_once(&command, dir, what, &doc);
	size_t i, k;

	if (rc)
		return rc;
	*out_rows = json_array();
	json_array_foreach(json_object_get(doc, "nodes"), i, part) {
		json_array_foreach(json_object_get(part, "homed"), k, row) {
			json_object_set(row, "home", json_object_get(part, "node"));
			join_run(row, json_object_get(doc, "nodes"));
			json_array_append(*out_rows, row);
		}
	}
	json_decref(doc);
	return 0;
}

/* A copy a row: an object that two nodes have is there twice. */
static int objects(const char *dir, const char *what, json_t **out_rows)
{
	json_t *doc = NULL, *part;
	const int rc = swt_ask_once(&command, dir, what, &doc);
	json_int_t total = 0;
	size_t i;

	if (rc)
		return rc;
	*out_rows = json_array();
	json_array_foreach(json_object_get(doc, "nodes"), i, part) {
		total += json_integer_value(json_object_get(part, "total"));
		json_array_extend(*out_rows, json_object_get(part, "list"));
	}
	if ((size_t)total > json_array_size(*out_rows))
		fprintf(stderr, "%s: %zu of %lld objects are shown\n", command.name, json_array_size(*out_rows),
			(long long)total);
	json_decref(doc);
	return 0;
}

static const struct {
	const char *what;
	int (*get)(const char *dir, const char *what, json_t **out_rows);
	const struct swt_column *columns;
} lists[] = {
    {"nodes", plain, node_columns},
    {"tasks", tasks, task_columns},
    {"objects", objects, object_columns},
    {"workers", workers, worker_columns},
    {"segments", plain, segment_columns},
};

int swt_cmd_list(int argc, char **argv)
{
	struct list_opts o = {.c = {NULL, NULL}};
	json_t *rows = NULL;
	int first, rc;
	size_t i = 0;

	rc = swt_parse(&command, argc, argv, &o, &first);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	while (i < SWI_ARRAY_LEN(lists) && strcmp(lists[i].what, argv[first]))
		i++;
	if (i == SWI_ARRAY_LEN(lists))
		return swt_error(&command, SWT_USAGE, "%s: expected %s", argv[first], command.args);
	rc = lists[i].get(o.c.dir, lists[i].what, &rows);
	if (rc)
		return rc;
	if (swt_json(&o.c)) {
		json_t *doc = json_pack("{s:O}", lists[i].what, rows);

		swt_print_json(doc, stdout);
		json_decref(doc);
	} else {
		swt_table(rows, NULL, lists[i].columns, stdout);
	}
	json_decref(rows);
	return 0;
}
