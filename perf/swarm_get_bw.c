/* SPDX-License-Identifier: Apache-2.0 */
/* swarm_get_bw - bytes a second that gets bring: local, or from another node beside READs without the store. */
#include "perf/get.h"

int main(int argc, char **argv)
{
	return perf_get_main(argc, argv, PERF_BW);
}
