/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's program: the installed transport library tells its version and names an error. */
#include <stdio.h>
#include <string.h>
#include <swarm/error.h>
#include <swarm/version.h>

int main(void)
{
	if (strcmp(swarm_errname(SWARM_ELOST), "SWARM_ELOST") || !swarm_strerror(SWARM_ELOST)[0])
		return 1;
	printf("swarm %s\n", swarm_version());
	return strcmp(swarm_version(), SWARM_VERSION_STRING) != 0;
}
