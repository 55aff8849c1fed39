/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opt.c - see opt.h. Nothing here knows any command.
 */
#include "tools/opt.h"

#include <ctype.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>

#define OPTS_MAX 48u
#define LONG_BASE 256
#define HELP_COLUMN 30

int swt_error(const struct swt_command *cmd, int code, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", cmd->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

/* ---- values ---- */

struct unit {
	const char *name;
	double factor;
};

/* A decimal number with one of @units (the first is the default); @max keeps it inside 64 bits. */
static int number(const char *s, const struct unit *units, double max, uint64_t *out)
{
	char *end;
	double v;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	v = strtod(s, &end);
	if (errno || !isfinite(v))
		return -EINVAL;
	for (; units->name; units++)
		if (!strcasecmp(end, units->name))
			break;
	if (!units->name || v * units->factor > max)
		return -EINVAL;
	*out = (uint64_t)(v * units->factor + 0.5);
	return 0;
}

int swt_size(const char *s, uint64_t *out)
{
	static const struct unit units[] = {
	    {"", 1},		{"B", 1},	     {"K", 0x1p10},   {"KiB", 0x1p10}, {"M", 0x1p20},
	    {"MiB", 0x1p20}, {"G", 0x1p30},   {"GiB", 0x1p30}, {"T", 0x1p40},   {"TiB", 0x1p40},
	    {NULL, 0},
	};

	return number(s, units, 0x1p60, out);
}

int swt_amount(const char *s, uint64_t *out)
{
	static const struct unit units[] = {{"", SWARM_RESOURCE_UNIT}, {NULL, 0}};

	return number(s, units, 0x1p40, out);
}

static int parse_time(const char *s, uint64_t *out)
{
	static const struct unit units[] = {
	    {"", 1e9}, {"s", 1e9}, {"ms", 1e6}, {"m", 60e9}, {"min", 60e9}, {"h", 3600e9}, {NULL, 0},
	};

	return number(s, units, 0x1p60, out);
}

const char *swt_size_str(uint64_t bytes, char *buf, size_t len)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = (double)bytes;
	uint32_t u = 0;

	while (v >= 1024 && u + 1 < SWI_ARRAY_LEN(unit)) {
		v /= 1024;
		u++;
	}
	snprintf(buf, len, u && v < 100 ? "%.1f %s" : "%.0f %s", v, unit[u]);
	return buf;
}

static bool is_choice(const char *choices, const char *s)
{
	const size_t n = strlen(s);

	for (const char *p = choices; p; p = strchr(p, '|')) {
		p += *p == '|';
		if (n && !strncmp(p, s, n) && (p[n] == '|' || !p[n]))
			return true;
	}
	return false;
}

static int u32_value(const char *s, uint32_t *out)
{
	char *end;
	unsigned long v;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || v > UINT32_MAX)
		return -EINVAL;
	*out = (uint32_t)v;
	return 0;
}

static int list_value(const char *s, struct swt_list *out)
{
	if (out->n == SWT_LIST_MAX)
		return -EINVAL;
	out->v[out->n++] = s;
	return 0;
}

static int set(const struct swt_opt *o, void *out, const char *value)
{
	void *at = (char *)out + o->off;

	switch (o->kind) {
	case SWT_FLAG:
		*(bool *)at = true;
		return 0;
	case SWT_LIST:
		return list_value(value, at);
	case SWT_U32:
		return u32_value(value, at);
	case SWT_SIZE:
		return swt_size(value, at);
	case SWT_AMOUNT:
		return swt_amount(value, at);
	case SWT_TIME:
		return parse_time(value, at);
	case SWT_CHOICE:
		if (!is_choice(o->choices, value))
			return -EINVAL;
		break;
	case SWT_STR:
		break;
	}
	*(const char **)at = value;
	return *value ? 0 : -EINVAL;
}

static const char *expects(const struct swt_opt *o)
{
	switch (o->kind) {
	case SWT_U32:
		return "a whole number";
	case SWT_SIZE:
		return "a size such as 192M or 2GiB";
	case SWT_AMOUNT:
		return "an amount such as 2 or 0.5";
	case SWT_TIME:
		return "a time such as 30s or 500ms";
	case SWT_CHOICE:
		return o->choices;
	case SWT_LIST:
		return "at most 16 values";
	default:
		return "a value";
	}
}

/* ---- parsing ---- */

static void tables(const struct swt_opt *opts, struct option *longs, char *shorts)
{
	uint32_t n = 0;

	*shorts++ = ':'; /* a missing argument is told apart from an unknown option */
	for (; opts[n].name; n++) {
		SWI_BUG_ON(n + 2 >= OPTS_MAX);
		longs[n] = (struct option){opts[n].name, opts[n].arg ? required_argument : no_argument,
					   NULL, LONG_BASE + (int)n};
		if (!opts[n].letter)
			continue;
		*shorts++ = opts[n].letter;
		if (opts[n].arg)
			*shorts++ = ':';
	}
	longs[n] = (struct option){"help", no_argument, NULL, 'h'};
	longs[n + 1] = (struct option){NULL, 0, NULL, 0};
	*shorts++ = 'h';
	*shorts = 0;
}

static const struct swt_opt *option_of(const struct swt_opt *opts, int c)
{
	if (c >= LONG_BASE)
		return &opts[c - LONG_BASE];
	while (opts->name && opts->letter != c)
		opts++;
	return opts;
}

static int bad_option(const struct swt_command *cmd, int c, char **argv)
{
	const char *what = argv[optind - 1];
	char letter[3] = {'-', (char)optopt, 0};

	if (optopt && optopt < LONG_BASE && strncmp(what, "--", 2))
		what = letter;
	if (c == ':')
		return swt_error(cmd, SWT_USAGE, "option %s needs an argument; see %s --help", what,
				 cmd->name);
	return swt_error(cmd, SWT_USAGE, "unknown option %s; see %s --help", what, cmd->name);
}

/* ---- help ---- */

static void help_option(const struct swt_opt *o)
{
	char left[64];
	int n;

	if (!o->help)
		return;
	if (o->letter)
		snprintf(left, sizeof(left), "  -%c, --%s%s%s", o->letter, o->name, o->arg ? "=" : "",
			 o->arg ? o->arg : "");
	else
		snprintf(left, sizeof(left), "      --%s%s%s", o->name, o->arg ? "=" : "",
			 o->arg ? o->arg : "");
	n = printf("%-*s ", HELP_COLUMN, left);
	if (n > HELP_COLUMN + 1)
		printf("\n%*s", HELP_COLUMN + 1, "");
	printf("%s\n", o->help);
}

static void print_help(const struct swt_command *cmd)
{
	printf("Usage: %s [OPTION]...%s%s\n%s\n\n", cmd->name, cmd->args ? " " : "",
		cmd->args ? cmd->args : "", cmd->summary);
	for (const struct swt_opt *o = cmd->opts; o->name; o++)
		help_option(o);
	help_option(&(struct swt_opt){.name = "help", .letter = 'h', .help = "show this text and leave"});
	if (cmd->more)
		printf("\n%s\n", cmd->more);
}

/* ---- the whole line ---- */

static int check_count(const struct swt_command *cmd, int given, const char *extra)
{
	if (given < cmd->args_min)
		return swt_error(cmd, SWT_USAGE, "%s is missing; see %s --help", cmd->args, cmd->name);
	if (given > cmd->args_max)
		return swt_error(cmd, SWT_USAGE, "%s is too much; see %s --help", extra, cmd->name);
	return 0;
}

int swt_parse(const struct swt_command *cmd, int argc, char **argv, void *out, int *out_first)
{
	struct option longs[OPTS_MAX];
	char shorts[2 * OPTS_MAX];
	int c;

	tables(cmd->opts, longs, shorts);
	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct swt_opt *o;

		if (c == 'h') {
			print_help(cmd);
			return SWT_HELP_GIVEN;
		}
		if (c == '?' || c == ':')
			return bad_option(cmd, c, argv);
		o = option_of(cmd->opts, c);
		if (set(o, out, optarg))
			return swt_error(cmd, SWT_USAGE, "--%s=%s: expected %s", o->name, optarg,
					 expects(o));
	}
	*out_first = optind;
	return check_count(cmd, argc - optind, argv[optind + cmd->args_max]);
}
