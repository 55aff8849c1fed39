/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch.h - folders for the files of a run, that are gone when the program is, however it ended: a child process
 * waits for that and removes them. Made before any thread.
 */
#ifndef SWARM_PERF_SCRATCH_H
#define SWARM_PERF_SCRATCH_H

#include "perf/common/opts.h"

#define PERF_SCRATCH_MAX 512u

/* Makes a folder below @parent (NULL = TMPDIR, else /tmp) and writes its name into @out. What fails is said, and ends the program. */
void perf_scratch(const struct perf_opts *o, const char *parent, char out[PERF_SCRATCH_MAX]);

#endif
