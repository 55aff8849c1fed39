/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_drain.c - `swarm drain NODE`: the node takes no more tasks, moves its objects away and leaves.
 */
#include "tools/cli.h"

struct drain_opts {
	struct swt_common c;
};

static const struct swt_opt options[] = {
    SWT_COMMON_OPTIONS(struct drain_opts, c),
    SWT_OPT_END,
};

static const struct swt_command command = {
    .name = "swarm drain",
    .summary = "Let a node finish its tasks, move its objects to others, and leave the cluster.",
    .args = "NODE",
    .args_min = 1,
    .args_max = 1,
    .opts = options,
};

int swt_cmd_drain(int argc, char **argv)
{
	struct drain_opts o = {.c = {NULL, NULL}};
	char *text = NULL;
	int first, rc;

	rc = swt_parse(&command, argc, argv, &o, &first);
	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	if (!argv[first][0] || argv[first][strspn(argv[first], "0123456789")])
		return swt_error(&command, SWT_USAGE,
				 "%s: expected a node number, see swarm list nodes", argv[first]);
	rc = swt_admin(&command, o.c.dir, "drain", argv[first], &text);
	if (rc)
		return rc;
	if (swt_json(&o.c)) {
		json_t *doc = json_pack("{s:s, s:s}", "drain", argv[first], "answer",
					text ? text : "");

		swt_print_json(doc, stdout);
		json_decref(doc);
	} else {
		printf("%s\n", text && *text ? text : "The node drains; swarm list nodes shows when it left.");
	}
	free(text);
	return 0;
}
