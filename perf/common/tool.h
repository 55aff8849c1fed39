/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tool.h - programs of others as baselines: ib_read_lat and ib_read_bw (perftest), fi_rma_bw (fabtests), when they are
 * installed. Their client runs in the harness, their server where the harness's server is. One thread.
 */
#ifndef SWARM_PERF_TOOL_H
#define SWARM_PERF_TOOL_H

#include "perf/common/report.h"
#include "perf/common/rig.h"

/* The server's side of {"tool"}: {"name", "size", "iters", "depth", "port", "device"}. */
json_t *perf_tool_serve(const json_t *request);
/* The program that suits @kind and the backend of @rig; NULL = none, *out_why says which is missing. */
const char *perf_tool_for(const struct perf_rig *rig, enum perf_kind kind, const char **out_why);
/* One run of it against the server of @rig: ns (PERF_LAT) or bytes a second. 0 or < 0. */
int perf_tool_run(struct perf_rig *rig, const char *name, uint64_t size, uint32_t depth, uint64_t iters,
		  double *out_value);

#endif
