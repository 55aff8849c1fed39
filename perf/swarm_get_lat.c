/* SPDX-License-Identifier: Apache-2.0 */
/* swarm_get_lat - how long a get takes: local, or from another node beside a READ without the store. */
#include "perf/get.h"

int main(int argc, char **argv)
{
	return perf_get_main(argc, argv, PERF_LAT);
}
