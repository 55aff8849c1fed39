/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line per event. The library is quiet (WARN) unless SWARM_LOG=debug|info|warn|error
 * or a program says otherwise. Every instance logs through its own struct, so that many nodes in
 * one process (the simulator) keep apart and can be captured into a trace.
 *
 * The thread that logs runs a node, so it never waits for who reads: what a full pipe or socket or a stopped terminal does not
 * take is dropped, counted, and said before the next line that is taken.
 */
#ifndef SWI_LOG_H
#define SWI_LOG_H

#include "transport/base/base.h"

enum swi_log_level { SWI_LOG_DEBUG, SWI_LOG_INFO, SWI_LOG_WARN, SWI_LOG_ERROR, SWI_LOG_NONE };

struct swi_log {
	enum swi_log_level level; /* lines below are not formatted at all */
	char name[24];		  /* prefix: "node 3" */
	/* NULL: descriptor 2 with a wall-clock stamp. The line has no newline. */
	void (*sink)(void *ctx, enum swi_log_level level, const char *name, const char *line);
	void *sink_ctx;
};

/* Level from $SWARM_LOG, else WARN. @name is copied. */
void swi_log_init(struct swi_log *log, const char *name);
void swi_log_write(const struct swi_log *log, enum swi_log_level level, const char *fmt, ...)
    SWI_PRINTF(3, 4);
/* Writes all of it (at most PIPE_BUF bytes) to @fd without waiting for its reader; false: not taken. */
bool swi_log_say(int fd, const char *text, size_t len);

#define swi_log(log, lvl, ...)                                                                     \
	do {                                                                                       \
		if ((lvl) >= (log)->level)                                                         \
			swi_log_write(log, lvl, __VA_ARGS__);                                      \
	} while (0)
#define swi_debug(log, ...) swi_log(log, SWI_LOG_DEBUG, __VA_ARGS__)
#define swi_info(log, ...)  swi_log(log, SWI_LOG_INFO, __VA_ARGS__)
#define swi_warn(log, ...)  swi_log(log, SWI_LOG_WARN, __VA_ARGS__)
#define swi_error(log, ...) swi_log(log, SWI_LOG_ERROR, __VA_ARGS__)

#endif
