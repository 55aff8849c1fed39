/* SPDX-License-Identifier: Apache-2.0 */
/* swarm_put_bw - bytes a second that puts take: local, or until another node has the objects. */
#include "perf/put.h"

int main(int argc, char **argv)
{
	return perf_put_main(argc, argv, PERF_BW);
}
