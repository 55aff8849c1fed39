/* SPDX-License-Identifier: Apache-2.0 */
/* scratch.c - see scratch.h. One thread. */
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/common/scratch.h"

#define FOLDERS_MAX 8u
#define TRIES	    600

static struct {
	pid_t owner, keeper[FOLDERS_MAX];
	int fd[FOLDERS_MAX]; /* a byte, or its end, is the word to remove */
	uint32_t n;
} made;

static int remove_one(const char *path, const struct stat *st SWI_UNUSED, int type SWI_UNUSED,
		      struct FTW *ftw SWI_UNUSED)
{
	(void)!remove(path); /* what cannot go must not keep the rest */
	return 0;
}

/*
 * Makes the folder, so that there is none without its keeper, and says how it is called. Outlives the program by as long
 * as it takes to remove it; no signal of its terminal reaches it.
 */
static _Noreturn void keep(char path[PERF_SCRATCH_MAX], int in, int out)
{
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t all;
	char byte;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, NULL);
	(void)setsid();
	for (int i = 0; i < 3; i++)
		(void)dup2(null, i); /* nobody's pipe stays open because of us */
	if (!mkdtemp(path))
		_exit(1);
	if (write(out, path, PERF_SCRATCH_MAX) == PERF_SCRATCH_MAX)
		(void)!read(in, &byte, 1);
	/* Another child of the program may still be at work in there. */
	for (int i = 0; i < TRIES && !access(path, F_OK); i++) {
		if (i)
			poll(NULL, 0, 100);
		(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
	_exit(0);
}

static void at_end(void)
{
	if (made.owner != getpid())
		return;
	for (uint32_t i = 0; i < made.n; i++) {
		(void)!write(made.fd[i], "", 1);
		(void)waitpid(made.keeper[i], NULL, 0);
	}
}

void perf_scratch(const struct perf_opts *o, const char *parent, char out[PERF_SCRATCH_MAX])
{
	const char *tmp = getenv("TMPDIR");
	int word[2], name[2];
	pid_t pid;

	if (!parent)
		parent = tmp && *tmp ? tmp : "/tmp";
	if ((size_t)snprintf(out, PERF_SCRATCH_MAX, "%s/swarm-perf-XXXXXX", parent) >= PERF_SCRATCH_MAX)
		perf_die(o, "%s: the name is too long", parent);
	if (made.n == FOLDERS_MAX || pipe2(word, O_CLOEXEC) || pipe2(name, O_CLOEXEC))
		perf_die(o, "no pipes for a folder below %s: %s", parent, strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		perf_die(o, "fork: %s", strerror(errno));
	if (!pid) {
		close(word[1]);
		close(name[0]);
		for (uint32_t i = 0; i < made.n; i++)
			close(made.fd[i]);
		keep(out, word[0], name[1]);
	}
	close(word[0]);
	close(name[1]);
	if (read(name[0], out, PERF_SCRATCH_MAX) != PERF_SCRATCH_MAX)
		perf_die(o, "no folder can be made below %s", parent);
	close(name[0]);
	if (!made.n) {
		made.owner = getpid();
		(void)atexit(at_end);
	}
	made.keeper[made.n] = pid;
	made.fd[made.n++] = word[1];
}
