/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what the commands of `swarm` share: asking the daemon, and showing the answer.
 */
#ifndef SWT_CLI_H
#define SWT_CLI_H

#include <jansson.h>

#include <swarm/store.h>

#include "tools/opt.h"

struct swt_common { /* options of most commands */
	const char *dir;
	const char *format;
};
#define SWT_COMMON_OPTIONS(T, m)                                                                   \
	{"dir", 'd', SWT_STR, offsetof(T, m) + offsetof(struct swt_common, dir), "DIR",            \
	 "run directory of the daemon (default $SWARM_DIR, else one per user)", NULL},             \
	{"format", 'f', SWT_CHOICE, offsetof(T, m) + offsetof(struct swt_common, format), "FORMAT", \
	 "table or json (default table)", "table|json"}
#define SWT_OPT_END {NULL, 0, SWT_FLAG, 0, NULL, NULL, NULL}

static inline bool swt_json(const struct swt_common *c)
{
	return c->format && !strcmp(c->format, "json");
}

/* ask.c: the daemon of @dir (NULL = default). Errors are printed; the functions return an exit status. */
int swt_attach(const struct swt_command *cmd, const char *dir, struct swarm_store **out);
/* A document of the daemon (SWI_L_STATUS); the caller decrefs. */
int swt_ask(const struct swt_command *cmd, struct swarm_store *s, const char *what, json_t **out_doc);
/* attach, ask, leave; what the other nodes say is asked for first */
int swt_ask_once(const struct swt_command *cmd, const char *dir, const char *what, json_t **out_doc);
/* SWI_L_ADMIN; *out_text is freed by the caller. */
int swt_admin(const struct swt_command *cmd, const char *dir, const char *command,
	      const char *argument, char **out_text);

/* table.c */
enum swt_show { SWT_SHOW_TEXT, SWT_SHOW_SIZE, SWT_SHOW_TIME, SWT_SHOW_AMOUNT };
struct swt_column {
	const char *key; /* "a.b" leads into an object */
	const char *title;
	enum swt_show show;
};
/* Rows: an array, or the array below @member of an object. Columns end with key NULL. */
void swt_table(const json_t *doc, const char *member, const struct swt_column *columns, FILE *f);
void swt_print_json(const json_t *doc, FILE *f);
const char *swt_cell(const json_t *v, enum swt_show show, char *buf, size_t len);
/* Follows "a.b.c"; NULL when it is not there. */
const json_t *swt_at(const json_t *doc, const char *path);

/* Each command: argv[0] is the command's name. */
int swt_cmd_start(int argc, char **argv);
int swt_cmd_stop(int argc, char **argv);
int swt_cmd_status(int argc, char **argv);
int swt_cmd_list(int argc, char **argv);
int swt_cmd_memory(int argc, char **argv);
int swt_cmd_info(int argc, char **argv);
int swt_cmd_drain(int argc, char **argv);
int swt_cmd_events(int argc, char **argv);

#endif
