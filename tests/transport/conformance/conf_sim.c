/* SPDX-License-Identifier: Apache-2.0 */
/* conf_sim.c - what differs between the backends: their parameter, and who moves the clock. */
#include "conf.h"

void conf_setup(void)
{
	conf.two_processes = true;
}

void conf_teardown(void)
{
}

void conf_sim_step(struct node **nodes SWI_UNUSED, uint32_t count SWI_UNUSED, uint64_t until SWI_UNUSED)
{
}
