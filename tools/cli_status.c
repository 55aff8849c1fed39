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

/* "prefix.key  value", one line a leaf; arrays are the lists' business. */
static void leaves(const json_t *v, const char *prefix)
{
	const char *key;
	json_t *member;

	json_object_foreach((json_t *)v, key, member) {
		char path[128], buf[160];
		const size_t n = strlen(key);
		enum swt_show show = SWT_SHOW_TEXT;

		if (json_is_array(member))
			continue;
		snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", key);
		if (json_is_object(member)) {
			leaves(member, path);
			continue;
		}
		if (strstr(key, "bytes") || !strcmp(key, "memory") || strstr(key, "arena"))
			show = SWT_SHOW_SIZE;
		else if (n > 3 && !strcmp(key + n - 3, "_ns"))
			show = SWT_SHOW_TIME;
		else if (!strcmp(key, "cpu") || !strcmp(key, "gpu"))
			show = SWT_SHOW_AMOUNT;
		printf("%-36s %s\n", path, swt_cell(member, show, buf, sizeof(buf)));
	}
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
		leaves(doc, "");
	json_decref(doc);
	return 0;
}
