/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths_plan.h - what backend "paths" is opened with, and what it tells of each path. See paths.h.
 */
#ifndef SWI_PATHS_PLAN_H
#define SWI_PATHS_PLAN_H

#include "transport/ops.h"

#define SWI_PATHS_MAX 4u

/*
 * The backend's parameter. An address to listen on, or to connect to, may be a list with commas, one for
 * each path; the first path takes the first. Those without one of their own listen on the first one's
 * host (@own_hosts: on every host, that is: the card's own) and port 0 (@own_hosts: the same port).
 * A path whose device is not there, or not up, is left out with a warning; one is needed.
 */
struct swi_paths_plan {
	const struct swi_be_ops *inner;
	uint32_t count; /* 1 to SWI_PATHS_MAX */
	bool own_hosts;
	struct {
		const char *device;
		void *param;
	} at[SWI_PATHS_MAX];
};

#endif
