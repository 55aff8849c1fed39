/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.h - starting a program of ours as a child that is watched through a pidfd. Owner thread: the one that starts it,
 * whose end also ends the child.
 */
#ifndef SWI_SPAWN_H
#define SWI_SPAWN_H

#include <sys/types.h>

#include "transport/base/base.h"

struct swi_spawn {
	const char *program;
	char *const *argv;
	const char *log_path; /* standard output and error, appended to */
	int pass_fd;	      /* becomes descriptor 3; -1 = none */
	int death_signal;     /* what the child gets when we die */
};

/* 0, or a negative errno also when exec failed. *out_pidfd is close-on-exec. */
int swi_spawn(const struct swi_spawn *s, pid_t *out_pid, int *out_pidfd);
/* Never after the child was reaped. */
void swi_spawn_signal(int pidfd, int sig);
/* Finds a program of ours: beside the running binary, else in the libexec folder. -ENOENT with @why. */
int swi_program_find(const char *name, char *path, size_t path_len, char *why, size_t why_len);

#endif
