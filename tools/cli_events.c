/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_events.c - `swarm events`: what happened, oldest first; --follow goes on until interrupted.
 */
#include <time.h>

#include "tools/cli.h"

#define POLL_NS (200 * NS_PER_MS)

struct events_opts {
	struct swt_common c;
	bool follow;
};

static const struct swt_opt options[] = {
    SWT_COMMON_OPTIONS(struct events_opts, c),
    {"follow", 'F', SWT_FLAG, offsetof(struct events_opts, follow), NULL,
     "go on with what happens from now on, until interrupted", NULL},
    SWT_OPT_END,
};

static const struct swt_command command = {
    .name = "swarm events",
    .summary = "Show what happened: nodes that came and went, tasks run again, objects lost.",
    .opts = options,
};

static void show_one(const struct events_opts *o, const json_t *e)
{
	const char *key;
	json_t *v;

	if (swt_json(&o->c)) {
		json_dumpf(e, stdout, JSON_COMPACT);
		putchar('\n');
		return;
	}
	printf("%-6lld %-18s", (long long)json_integer_value(json_object_get(e, "seq")),
	       json_string_value(json_object_get(e, "event")));
	json_object_foreach((json_t *)e, key, v) {
		char buf[256];

		if (strcmp(key, "seq") && strcmp(key, "event") && strcmp(key, "t_ns"))
			printf(" %s=%s", key, swt_cell(v, SWT_SHOW_TEXT, buf, sizeof(buf)));
	}
	putchar('\n');
}

/* Shows what came since *next; an exit status. */
static int more(const struct events_opts *o, struct swarm_store *s, json_int_t *next)
{
	json_t *doc = NULL, *e;
	char what[48];
	size_t i;
	int rc;

	snprintf(what, sizeof(what), "events:%lld", (long long)*next);
	rc = swt_ask(&command, s, what, &doc);
	if (rc)
		return rc;
	json_array_foreach(json_object_get(doc, "events"), i, e)
		show_one(o, e);
	*next = json_integer_value(json_object_get(doc, "next"));
	json_decref(doc);
	fflush(stdout);
	return 0;
}

int swt_cmd_events(int argc, char **argv)
{
	struct events_opts o = {.follow = false};
	const struct timespec nap = {.tv_nsec = POLL_NS};
	struct swarm_store *s;
	json_int_t next = 0;
	int first, rc;

	rc = swt_parse(&command, argc, argv, &o, &first);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	rc = swt_attach(&command, o.c.dir, &s);
	if (rc)
		return rc;
	rc = more(&o, s, &next);
	while (!rc && o.follow) {
		nanosleep(&nap, NULL);
		rc = more(&o, s, &next);
	}
	swarm_store_close(s);
	return rc;
}
