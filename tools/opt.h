/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opt.h - command lines from one table a command: getopt_long's tables, the help text and the errors
 * all come from it. Exit codes of every tool: 0 done, 1 failed, 2 used wrongly.
 */
#ifndef SWT_OPT_H
#define SWT_OPT_H

#include "transport/base/base.h"

#define SWT_FAILED 1
#define SWT_USAGE  2

#define SWT_LIST_MAX 16u

struct swt_list { /* an option that may be given several times */
	const char *v[SWT_LIST_MAX];
	uint32_t n;
};

enum swt_kind {
	SWT_FLAG,   /* bool */
	SWT_STR,    /* const char * */
	SWT_LIST,   /* struct swt_list */
	SWT_U32,    /* uint32_t */
	SWT_SIZE,   /* uint64_t bytes: 192M, 1.5GiB */
	SWT_AMOUNT, /* uint64_t in 1/10,000: 2, 0.5 */
	SWT_TIME,   /* uint64_t ns: 30s, 500ms */
	SWT_CHOICE, /* const char *, one of @choices */
};

struct swt_opt {
	const char *name; /* long name; NULL ends the table */
	char letter;	  /* 0 = none */
	enum swt_kind kind;
	size_t off;	  /* in the command's struct */
	const char *arg;  /* what the argument is called, NULL for flags */
	const char *help; /* NULL: not shown (for our own programs) */
	const char *choices; /* "a|b|c" */
};

struct swt_command {
	const char *name;    /* "swarm start" */
	const char *summary; /* one sentence */
	const char *args;    /* "NODE", or NULL */
	int args_min, args_max;
	const struct swt_opt *opts;
	const char *more; /* text below the options, or NULL */
};

#define SWT_HELP_GIVEN (-1)
/* Fills *@out. 0; SWT_HELP_GIVEN (leave with 0); SWT_USAGE (one line was printed). *@out_first: first plain argument. */
int swt_parse(const struct swt_command *cmd, int argc, char **argv, void *out, int *out_first);
/* "swarm start: <text>" on stderr; returns @code. */
int swt_error(const struct swt_command *cmd, int code, const char *fmt, ...) SWI_PRINTF(3, 4);

/* 0 or -EINVAL. */
int swt_size(const char *s, uint64_t *out);
int swt_amount(const char *s, uint64_t *out);
/* "1.5 GiB" */
const char *swt_size_str(uint64_t bytes, char *buf, size_t len);

#endif
