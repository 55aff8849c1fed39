/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's program: no daemon runs at that folder, and the library says so in words. */
#include <stdio.h>
#include <swarm/sched.h>
#include <swarm/version.h>

int main(void)
{
	struct swarm_client *client;
	char why[256] = "";
	int err = swarm_client_open("/nonexistent/swarm", &client, why, sizeof(why));

	printf("swarm %s: %s\n", swarm_version(), why);
	return err == SWARM_ENODAEMON && why[0] ? 0 : 1;
}
