/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_sim.c - what differs between the backends: their parameter, and who moves the clock.
 * sim has an odd small card, so that regions come in chunks and READs in parts. fault decorates
 * libfabric and changes only what no caller may rely on: order and delay of completions, and a
 * backend that is full. paths is two of libfabric's, or of verbs' when the devices are in SWARM_DEVICES, a list.
 */
#include "conf.h"
#include "transport/fault/fault.h"
#include "transport/paths/paths_plan.h"
#include "transport/sim/sim_net.h"

static struct swi_simnet *net;
static struct swi_sim_env sim_env;
static struct swi_fault_plan plan;
static struct swi_paths_plan paths;

static void setup_paths(void)
{
	static char devices[128];
	char *next = devices;

	paths = (struct swi_paths_plan){.inner = swi_be_ofi, .count = 2};
	if (getenv("SWARM_DEVICES")) {
		snprintf(devices, sizeof(devices), "%s", getenv("SWARM_DEVICES"));
		paths.inner = swi_be_verbs;
		paths.own_hosts = true;
		conf.cards = true;
		for (uint32_t i = 0; i < paths.count; i++)
			paths.at[i].device = strsep(&next, ",");
		CHECK(paths.inner && paths.at[1].device);
	}
	conf.param = &paths;
}

void conf_setup(void)
{
	const struct swi_simnet_opts o = {.seed = 1,
					  .max_read = 100000,
					  .max_mr = 1028096, /* 251 pages */
					  .tail_permille = 10,
					  .tail_ns = 50 * NS_PER_US};

	conf.sim = !strcmp(conf.backend, "sim");
	conf.two_processes = !conf.sim;
	if (conf.sim) {
		CHECK_EQ(swi_simnet_create(&o, &net), 0);
		swi_sim_env_init(&sim_env, net, 2);
		conf.env = &sim_env.env;
		conf.param = net;
	}
	conf.cards = !strcmp(conf.backend, "verbs");
	if (!strcmp(conf.backend, "paths"))
		setup_paths();
	if (!strcmp(conf.backend, "fault")) {
		plan = (struct swi_fault_plan){
		    .inner = swi_be_ofi,
		    .seed = 3,
		    .rules = {{.kind = SWI_FAULT_FAIL,
			       .ops = SWI_FAULT_SEND,
			       .permille = 100,
			       .code = -EAGAIN},
			      {.kind = SWI_FAULT_FAIL,
			       .ops = SWI_FAULT_READ,
			       .permille = 100,
			       .code = -EAGAIN},
			      {.kind = SWI_FAULT_REORDER, .ops = SWI_FAULT_READ, .permille = 300},
			      {.kind = SWI_FAULT_DELAY,
			       .ops = SWI_FAULT_READ,
			       .permille = 100,
			       .delay = 5}}};
		conf.param = &plan;
	}
}

void conf_teardown(void)
{
	if (net)
		CHECK_EQ(swi_simnet_stats(net)->overruns, 0);
	swi_simnet_destroy(net);
}

void conf_sim_step(struct node **nodes, uint32_t count, uint64_t until)
{
	uint64_t t = swi_min_u64(until, swi_simnet_next_ns(net));

	for (uint32_t i = 0; i < count; i++) {
		if (!swi_tp_arm(nodes[i]->tp))
			return;
		t = swi_min_u64(t, swi_tp_deadline_ns(nodes[i]->tp));
	}
	if (!conf_raw_idle())
		return;
	swi_simnet_advance(net, swi_max_u64(t, swi_simnet_now(net)));
}
