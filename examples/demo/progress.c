/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.c - how far the demo is: one line that is redrawn on a terminal, a new line at every tenth
 * in a pipe. Everything goes to stderr, so that --json has stdout for itself.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"

#define BAR 14u

static bool drawn; /* a bar stands on the current line */

static bool is_terminal(void)
{
	static int known = -1;

	if (known < 0)
		known = isatty(STDERR_FILENO) ? 1 : 0;
	return known == 1;
}

void progress_begin(struct progress *p, const char *name)
{
	memset(p, 0, sizeof(*p));
	p->name = name;
	p->start_ns = demo_now_ns();
	p->last_permille = UINT32_MAX;
}

void progress_break(void)
{
	if (drawn)
		fputs("\r\033[K", stderr);
	drawn = false;
}

void progress_print(const char *fmt, ...)
{
	va_list ap;

	progress_break();
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	fflush(stderr);
}

static void draw_bar(const struct stage *s)
{
	const uint32_t full = s->total ? s->done * BAR / s->total : BAR;

	fprintf(stderr, "  %s ", s->name);
	for (uint32_t i = 0; i < BAR; i++)
		fputs(i < full ? "\u2588" : "\u2591", stderr);
	fprintf(stderr, " %u/%u", s->done, s->total);
}

void progress_show(struct progress *p, const struct stage *stage, uint32_t count, int nodes)
{
	const uint64_t now = demo_now_ns();
	const double seconds = (double)(now - p->start_ns) / 1e9;
	uint32_t done = 0, total = 0, permille;

	for (uint32_t i = 0; i < count; i++) {
		done += stage[i].done;
		total += stage[i].total;
	}
	permille = total ? (uint32_t)((uint64_t)done * 1000 / total) : 1000;
	if (is_terminal()) {
		fprintf(stderr, "\r\033[K%-10s %5.1f s  %d nodes", p->name, seconds, nodes);
		for (uint32_t i = 0; i < count; i++)
			draw_bar(&stage[i]);
		fflush(stderr);
		drawn = true;
		return;
	}
	if (p->last_permille != UINT32_MAX && permille / 100 == p->last_permille / 100 &&
	    now - p->last_ns < 5 * NS_PER_S)
		return;
	p->last_permille = permille;
	p->last_ns = now;
	fprintf(stderr, "%-10s %5.1f s  %d nodes", p->name, seconds, nodes);
	for (uint32_t i = 0; i < count; i++)
		fprintf(stderr, "  %s %u/%u", stage[i].name, stage[i].done, stage[i].total);
	fputc('\n', stderr);
}
