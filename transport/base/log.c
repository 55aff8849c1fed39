/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - see log.h. */
#include <stdarg.h>
#include <strings.h>
#include <time.h>

#include "transport/base/log.h"

static const char *const level_names[] = {"debug", "info", "warn", "error", "none"};

void swi_log_init(struct swi_log *log, const char *name)
{
	const char *s = getenv("SWARM_LOG");

	memset(log, 0, sizeof(*log));
	log->level = SWI_LOG_WARN;
	snprintf(log->name, sizeof(log->name), "%s", name);
	for (unsigned int i = 0; s && i < SWI_ARRAY_LEN(level_names); i++)
		if (!strcasecmp(s, level_names[i]))
			log->level = (enum swi_log_level)i;
}

void swi_log_write(const struct swi_log *log, enum swi_log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (log->sink) {
		log->sink(log->sink_ctx, level, log->name, line);
		return;
	}
	struct timespec ts;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	fprintf(stderr, "%02d:%02d:%02d.%03ld swarm %s [%s] %s\n", tm.tm_hour, tm.tm_min, tm.tm_sec,
		ts.tv_nsec / 1000000, level_names[level], log->name, line);
}
