/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - what a figure depends on: processor, kernel, limits, versions, build. Read once, when asked.
 */
#ifndef SWARM_PERF_MACHINE_H
#define SWARM_PERF_MACHINE_H

#include <jansson.h>

/* {"cpu", "cpus", "kernel", "load1", ...}; the caller decrefs. */
json_t *perf_machine(void);
/* {"swarm", "git", "build_type", "compiler", "libfabric", ...} */
json_t *perf_versions(void);

#endif
