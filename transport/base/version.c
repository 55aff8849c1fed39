/* SPDX-License-Identifier: Apache-2.0 */
/* version.c - the version of the library itself; the header's may be that of another build. */
#include <swarm/version.h>

const char *swarm_version(void)
{
	return SWARM_VERSION_STRING;
}
