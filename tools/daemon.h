/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - a node as a process: host, node core, real workers and (head) the provider that starts more nodes.
 */
#ifndef SWT_DAEMON_H
#define SWT_DAEMON_H

#include "tools/daemon_opts.h"

/* Runs a node until it ends. @o is complete. Exit status of the process. */
int swt_daemon_run(const struct swt_daemon_opts *o);

/* lock.c: one daemon a run directory; the lock goes with the process, however it ends. */
/* *out_fd is kept open for the process's life. -EBUSY: *out_pid has it. */
int swt_lock_take(const char *dir, int *out_fd, long *out_pid);
/* pid of the daemon that holds the directory; 0 = none; < 0 an errno. */
long swt_lock_holder(const char *dir);

#endif
