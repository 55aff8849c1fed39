/* SPDX-License-Identifier: Apache-2.0 */
/* put.h - what swarm_put_lat and swarm_put_bw share: everything but the name and the unit. */
#ifndef SWARM_PERF_PUT_H
#define SWARM_PERF_PUT_H

#include "perf/common/report.h"

/* main() of both. */
int perf_put_main(int argc, char **argv, enum perf_kind kind);

#endif
