/* SPDX-License-Identifier: Apache-2.0 */
/* swarm_put_lat - how long a put takes: local, or until another node has the object. */
#include "perf/put.h"

int main(int argc, char **argv)
{
	return perf_put_main(argc, argv, PERF_LAT);
}
