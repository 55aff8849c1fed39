/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_status.c - `swarm status`: the cluster at a glance.
 */
#include "tools/cli.h"

struct status_opts {
	struct swt_common c;
};

static const struct swt_opt options[] = {
    SWT_COMMON_OPTIONS(struct status_opts, c),
    SWT_OPT_END,
};

static const struct swt_command command = {
    .name = "swarm status",
    .summary = "Show how the cluster is: its nodes, its tasks, its memory.",
    .opts = options,
};

static const struct swt_column node_columns[] = {
    {"node", "NODE", SWT_SHOW_TEXT},	       {"address", "ADDRESS", SWT_SHOW_TEXT},
    {"state", "STATE", SWT_SHOW_TEXT},	       {"head", "HEAD", SWT_SHOW_TEXT},
    {"running", "RUNNING", SWT_SHOW_TEXT},     {"queued", "QUEUED", SWT_SHOW_TEXT},
    {"store.arena_used", "USED", SWT_SHOW_SIZE}, {"store.arena_bytes", "ARENA", SWT_SHOW_SIZE},
    {"store.spilled_bytes", "ON DISK", SWT_SHOW_SIZE}, {"free", "FREE", SWT_SHOW_TEXT},
    {"total", "TOTAL", SWT_SHOW_TEXT},	       {NULL, NULL, SWT_SHOW_TEXT},
};

/* What all nodes counted together; one line for each title, the parts without one go on with it. */
static const struct part {
	const char *title, *key, *text;
	enum swt_show show;
} parts[] = {
    {"Tasks", "tasks.submitted", "submitted", SWT_SHOW_TEXT},
    {NULL, "tasks.waiting", "wait for arguments", SWT_SHOW_TEXT},
    {NULL, "tasks.ready", "for room", SWT_SHOW_TEXT},
    {NULL, "tasks.placed", "placed", SWT_SHOW_TEXT},
    {NULL, "tasks.done", "done", SWT_SHOW_TEXT},
    {NULL, "tasks.failed", "failed", SWT_SHOW_TEXT},
    {NULL, "tasks.retried", "retried", SWT_SHOW_TEXT},
    {NULL, "tasks.rerun", "run again for lost results", SWT_SHOW_TEXT},
    {"Workers", "runs.workers_busy", "busy", SWT_SHOW_TEXT},
    {NULL, "runs.workers_idle", "idle", SWT_SHOW_TEXT},
    {NULL, "runs.workers_died", "died", SWT_SHOW_TEXT},
    {"Objects", "store.objects", "in memory", SWT_SHOW_TEXT},
    {NULL, "store.arena_used", "of the arenas in use", SWT_SHOW_SIZE},
    {NULL, "store.spilled_objects", "on disk", SWT_SHOW_TEXT},
    {NULL, "store.spilled_bytes", "there", SWT_SHOW_SIZE},
    {"Moved", "store.fetch_bytes", "fetched from other nodes", SWT_SHOW_SIZE},
    {NULL, "store.restore_bytes", "restored from disk", SWT_SHOW_SIZE},
    {NULL, "store.evicted_bytes", "evicted", SWT_SHOW_SIZE},
    {"Recovery", "recovery.objects_lost", "objects lost", SWT_SHOW_TEXT},
    {NULL, "recovery.objects_recovered", "made again", SWT_SHOW_TEXT},
    {NULL, "recovery.objects_gone", "gone", SWT_SHOW_TEXT},
    {NULL, "recovery.recovery_ns", "spent on it", SWT_SHOW_TIME},
    {"Members", "members.joined", "joined", SWT_SHOW_TEXT},
    {NULL, "members.died", "died", SWT_SHOW_TEXT},
    {NULL, "members.drained", "drained", SWT_SHOW_TEXT},
    {NULL, "members.started", "started for demand", SWT_SHOW_TEXT},
    {NULL, "members.start_failed", "failed to start", SWT_SHOW_TEXT},
};
/* Each row of @rows gets the "store" of what its node said in @said. */
static void add_stores(json_t *rows, const json_t *said)
{
	json_t *row, *doc;
	size_t i, k;

	json_array_foreach(rows, i, row) {
		json_array_foreach(said, k, doc) {
			if (json_equal(json_object_get(row, "node"), json_object_get(doc, "node")))
				json_object_set(row, "store", json_object_get(doc, "store"));
		}
	}
}

static void show_sum(const json_t *sum)
{
	char buf[64];

	for (size_t i = 0; i < SWI_ARRAY_LEN(parts); i++) {
		const struct part *p = &parts[i];

		if (p->title)
			printf("%s%-10s", i ? "\n" : "", p->title);
		printf("%s%s %s", p->title ? "" : ", ",
		       swt_cell(swt_at(sum, p->key), p->show, buf, sizeof(buf)), p->text);
	}
	putchar('\n');
}

static int show(const struct status_opts *o, const json_t *doc)
{
	json_t *nodes = NULL;
	const int rc = swt_ask_once(&command, o->c.dir, "nodes", &nodes);

	if (rc)
		return rc;
	add_stores(json_object_get(nodes, "nodes"), json_object_get(doc, "nodes"));
	swt_table(nodes, "nodes", node_columns, stdout);
	putchar('\n');
	show_sum(json_object_get(doc, "sum"));
	json_decref(nodes);
	return 0;
}

int swt_cmd_status(int argc, char **argv)
{
	struct status_opts o = {.c = {NULL, NULL}};
	json_t *doc = NULL;
	int first, rc;

	rc = swt_parse(&command, argc, argv, &o, &first);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	rc = swt_ask_once(&command, o.c.dir, "status", &doc);
	if (rc)
		return rc;
	if (swt_json(&o.c))
		swt_print_json(doc, stdout);
	else
		rc = show(&o, doc);
	json_decref(doc);
	return rc;
}
