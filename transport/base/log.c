/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - see log.h. */
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

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

/* Lines of this process that nobody took, since the last one that was taken. */
static _Atomic uint64_t unsaid;

/* A kernel that cannot be asked not to wait on a pipe (before 6.4) may wait when other processes fill it since poll(). */
static ssize_t write_fd(int fd, const char *text, size_t len)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = len};
	struct stat st;
	ssize_t n;

	if (!fstat(fd, &st) && S_ISFIFO(st.st_mode)) {
		n = pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);
		if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
			return n;
	}
	return write(fd, text, len);
}

bool swi_log_say(int fd, const char *text, size_t len)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	ssize_t n = send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno == ENOTSOCK) {
		/* Full, or a stopped terminal; a pipe with room takes a line as a whole. */
		if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) || p.revents & POLLERR)
			return false;
		n = write_fd(fd, text, len);
	}
	return n == (ssize_t)len;
}

static void say_line(const char *line, size_t len, const char *name)
{
	const uint64_t n = atomic_exchange(&unsaid, 0);
	char told[128];
	int told_len;

	if (n) {
		told_len = snprintf(told, sizeof(told), "swarm [%s] %llu lines before this one were dropped: nobody read them\n",
				    name, (unsigned long long)n);
		if (!swi_log_say(STDERR_FILENO, told, (size_t)told_len)) {
			atomic_fetch_add(&unsaid, n + 1);
			return;
		}
	}
	if (!swi_log_say(STDERR_FILENO, line, len))
		atomic_fetch_add(&unsaid, 1);
}

void swi_log_write(const struct swi_log *log, enum swi_log_level level, const char *fmt, ...)
{
	char text[1024], line[1200];
	struct timespec ts;
	struct tm tm;
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (log->sink) {
		log->sink(log->sink_ctx, level, log->name, text);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = snprintf(line, sizeof(line), "%02d:%02d:%02d.%03ld swarm %s [%s] %s\n", tm.tm_hour, tm.tm_min,
		     tm.tm_sec, ts.tv_nsec / 1000000, level_names[level], log->name, text);
	say_line(line, swi_min_u64((uint64_t)n, sizeof(line) - 1), log->name);
}
