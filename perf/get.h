/* SPDX-License-Identifier: Apache-2.0 */
/* get.h - what swarm_get_lat and swarm_get_bw share: everything but the name and the unit. */
#ifndef SWARM_PERF_GET_H
#define SWARM_PERF_GET_H

#include "perf/common/report.h"

/* main() of both. */
int perf_get_main(int argc, char **argv, enum perf_kind kind);

#endif
